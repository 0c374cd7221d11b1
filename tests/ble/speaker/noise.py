"""`Noise_XX_25519_ChaChaPoly_SHA256` and BitChat's numbered transport messages."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
PATTERN = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
WINDOW = 1024


class NoiseError(Exception):
    """A handshake or transport message that must be thrown away."""


def _hkdf(chaining_key, material):
    temp = hmac.digest(chaining_key, material, "sha256")
    one = hmac.digest(temp, b"\x01", "sha256")
    return one, hmac.digest(temp, one + b"\x02", "sha256")


def _nonce(n):
    return bytes(4) + n.to_bytes(8, "little")  # the AEAD nonce is little-endian


class Handshake:
    """One side of an XX handshake: `write` and `read` in turn, three messages in all."""

    def __init__(self, initiator, static, prologue=b"", ephemeral=None):
        self.initiator, self.s, self.e = initiator, static, ephemeral
        self.rs = self.re = None  # the other side's keys, as raw bytes
        self.step, self.key, self.n = 0, None, 0
        self.h = self.ck = NAME  # exactly 32 bytes long, so not hashed
        self._mix_hash(prologue)

    @property
    def done(self):
        return self.step == len(PATTERN)

    def write(self, payload=b""):
        out = b""
        for token in self._tokens(mine=True):
            if token == "e":
                self.e = self.e or X25519PrivateKey.generate()
                raw = self.e.public_key().public_bytes_raw()
                self._mix_hash(raw)
                out += raw
            elif token == "s":
                out += self._seal(self.s.public_key().public_bytes_raw())
            else:
                self._mix_key(self._dh(token))
        return out + self._seal(payload)

    def read(self, message):
        rest = message
        for token in self._tokens(mine=False):
            if token in ("e", "s"):
                n = 32 if token == "e" or not self.key else 48
                raw, rest = rest[:n], rest[n:]
                if len(raw) < n:
                    raise NoiseError("handshake message too short")
                if token == "e":
                    self.re = raw
                    self._mix_hash(raw)
                else:
                    self.rs = self._open(raw)
            else:
                self._mix_key(self._dh(token))
        return self._open(rest)

    def split(self):
        """(key to send with, key to receive with)."""
        first, second = _hkdf(self.ck, b"")
        return (first, second) if self.initiator else (second, first)

    def _tokens(self, mine):
        if self.done or (self.step % 2 == 0) != (self.initiator == mine):
            raise NoiseError("handshake message out of turn")
        self.step += 1
        return PATTERN[self.step - 1]

    def _dh(self, token):
        # "es" is the initiator's e with the responder's s; "se" the other way round.
        own = token[0] if self.initiator else token[1]
        their = token[1] if self.initiator else token[0]
        private = self.e if own == "e" else self.s
        public = self.re if their == "e" else self.rs
        try:
            return private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # an all-zero result: a low-order key
            raise NoiseError("low-order public key") from None

    def _mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def _mix_key(self, material):
        self.ck, self.key = _hkdf(self.ck, material)
        self.n = 0

    def _seal(self, data):
        if self.key:
            data = ChaCha20Poly1305(self.key).encrypt(_nonce(self.n), data, self.h)
            self.n += 1
        self._mix_hash(data)
        return data

    def _open(self, data):
        out = data
        if self.key:
            try:
                out = ChaCha20Poly1305(self.key).decrypt(_nonce(self.n), data, self.h)
            except InvalidTag:
                raise NoiseError("handshake message does not decrypt") from None
            self.n += 1
        self._mix_hash(data)
        return out


class Transport:
    """After the handshake: `nonce u32 || ciphertext || tag`, with a replay window."""

    def __init__(self, send_key, receive_key):
        self._out, self._in = ChaCha20Poly1305(send_key), ChaCha20Poly1305(receive_key)
        self.sent = 0
        self._top, self._bits = -1, 0  # bit i of _bits: number _top - i was seen

    def seal(self, plaintext):
        if self.sent >= 2**32 - 1:
            raise NoiseError("this session is used up")
        n, self.sent = self.sent, self.sent + 1
        return n.to_bytes(4, "big") + self._out.encrypt(_nonce(n), plaintext, None)

    def open(self, data):
        if len(data) < 20:
            raise NoiseError("transport message too short")
        n = int.from_bytes(data[:4], "big")
        behind = self._top - n
        if behind >= WINDOW or (behind >= 0 and self._bits >> behind & 1):
            raise NoiseError("replayed or too old")
        try:
            out = self._in.decrypt(_nonce(n), data[4:], None)
        except InvalidTag:
            raise NoiseError("transport message does not decrypt") from None
        if behind < 0:
            self._bits = (
                (self._bits << -behind | 1) & ((1 << WINDOW) - 1) if -behind < WINDOW else 1
            )
            self._top = n
        else:
            self._bits |= 1 << behind
        return out
