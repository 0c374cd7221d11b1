"""Payload formats: announce, file, request sync, and everything inside a Noise session."""

import base64
import hashlib
import struct
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

# Codes inside a Noise session.
PRIVATE, READ, DELIVERED = 0x01, 0x02, 0x03
OLD_FILE, PRIVATE_FILE, PEER_STATE = 0x09, 0x20, 0x21
CHALLENGE, RESPONSE = 0x10, 0x11

PRIVATE_MEDIA = 8  # the capability bit


class PayloadError(ValueError):
    """A payload that does not follow its format."""


def tlv(*fields, width=1):
    """Type u8, length of `width` bytes, value; for each (type, value)."""
    out = b""
    for kind, value in fields:
        if len(value) >= 1 << (8 * width):
            raise PayloadError(f"value of {len(value)} bytes in field {kind}")
        out += bytes([kind]) + len(value).to_bytes(width, "big") + value
    return out


def untlv(data, width=1):
    """The (type, value) pairs; `width` may be a function of the type."""
    fields, at = [], 0
    while at < len(data):
        kind = data[at]
        w = width(kind) if callable(width) else width
        start = at + 1 + w
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if start > len(data) or end > len(data):
            raise PayloadError(f"field {kind} overruns")
        fields.append((kind, data[start:end]))
        at = end
    return fields


def _text(raw):
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise PayloadError("not UTF-8") from None


def fingerprint(noise_key):
    return hashlib.sha256(noise_key).digest()


def peer_id(noise_key):
    return fingerprint(noise_key)[:8]


# ---- capabilities and announce -------------------------------------------------------------


def capabilities(bits):
    """Minimal little-endian bit field of at least one byte."""
    value = sum(1 << b for b in set(bits))
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "little")


def bits_of(raw):
    value = int.from_bytes(raw, "little")
    return {b for b in range(value.bit_length()) if value >> b & 1}


@dataclass
class Announce:
    name: str
    noise_key: bytes
    sign_key: bytes
    capabilities: set | None = None  # None: the field was absent
    neighbours: list | None = None

    def encode(self, neighbours_last=False):
        core = [(1, self.name.encode()), (2, self.noise_key), (3, self.sign_key)]
        near = [] if self.neighbours is None else [(4, b"".join(self.neighbours[:10]))]
        caps = [] if self.capabilities is None else [(5, capabilities(self.capabilities))]
        return tlv(*core, *(caps + near if neighbours_last else near + caps))

    @staticmethod
    def decode(data):
        f = dict(untlv(data))
        if not {1, 2, 3} <= f.keys() or len(f[2]) != 32 or len(f[3]) != 32:
            raise PayloadError("announce without name and two keys")
        near = f.get(4)
        if near is not None and len(near) % 8:
            raise PayloadError("neighbours are not peer IDs")
        return Announce(
            _text(f[1]),
            f[2],
            f[3],
            bits_of(f[5]) if 5 in f else None,
            None if near is None else [near[i : i + 8] for i in range(0, len(near), 8)],
        )


# ---- file ----------------------------------------------------------------------------------


@dataclass
class File:
    name: str
    mime: str
    content: bytes

    def encode(self):
        size = struct.pack(">I", len(self.content))
        head = tlv((1, self.name.encode()), (2, size), (3, self.mime.encode()), width=2)
        return head + tlv((4, self.content), width=4)

    @staticmethod
    def decode(data):
        f = untlv(data, lambda kind: 4 if kind == 4 else 2)
        if any(kind not in (1, 2, 3, 4) for kind, _ in f):
            raise PayloadError("unknown field in a file")
        f = dict(f)
        if 4 not in f:
            raise PayloadError("file without content")
        if 2 in f and (len(f[2]) not in (4, 8) or int.from_bytes(f[2], "big") != len(f[4])):
            raise PayloadError("file size differs from the content")
        return File(_text(f.get(1, b"")), _text(f.get(3, b"")), f[4])


def stable_media_id(sender, recipient, name):
    """`media-…` of a private file, from the two peer IDs and the file name."""
    data = b"bitchat-private-media-message-v1"
    for part in (sender.hex().encode(), recipient.hex().encode(), name.encode()):
        data += struct.pack(">I", len(part)) + part
    return "media-" + hashlib.sha256(data).hexdigest()[:32]


def stable_message_id(sender, timestamp, text):
    """The ID an iPhone derives for a public message."""
    data = f"{sender.hex()}|{timestamp}|{text.strip()}"
    return hashlib.sha256(data.encode()).hexdigest()[:32]


# ---- inside a Noise session ----------------------------------------------------------------


def private_message(message_id, text):
    return tlv((0, message_id.encode()), (1, text.encode()))


def read_private_message(body):
    f = untlv(body)
    if sorted(kind for kind, _ in f) != [0, 1]:
        raise PayloadError("private message needs an ID and a text, nothing else")
    f = dict(f)
    return _text(f[0]), _text(f[1])


def peer_state(bits, sign_key):
    return b"\x01" + tlv((1, capabilities(bits)), (2, sign_key))


def read_peer_state(body):
    if body[:1] != b"\x01":
        raise PayloadError("peer state of another version")
    f = [(kind, value) for kind, value in untlv(body[1:]) if kind in (1, 2)]
    if sorted(kind for kind, _ in f) != [1, 2]:
        raise PayloadError("peer state needs capabilities and key once each")
    f = dict(f)
    if not 1 <= len(f[1]) <= 8 or (len(f[1]) > 1 and f[1][-1] == 0) or len(f[2]) != 32:
        raise PayloadError("peer state with a malformed field")
    return bits_of(f[1]), f[2]


def challenge(noise_key, nonce):
    return tlv((1, noise_key.hex().encode()), (2, nonce))


def read_challenge(body, signed=False):
    """(noise key hex, nonce) or, of a response, (noise key hex, nonce, signature)."""
    f = untlv(body)
    if [kind for kind, _ in f] != ([1, 2, 3] if signed else [1, 2]):
        raise PayloadError("verification fields out of order")
    return (_text(f[0][1]), *(value for _, value in f[1:]))


def response_preimage(key_hex, nonce):
    return b"bitchat-verify-resp-v1" + bytes([len(key_hex)]) + key_hex.encode() + nonce


# ---- QR code -------------------------------------------------------------------------------


def qr_preimage(noise_hex, sign_hex, name, ts, nonce, npub=""):
    parts = (
        "bitchat-verify-v1",
        "1",
        noise_hex.lower(),
        sign_hex.lower(),
        npub,
        name,
        str(ts),
        nonce,
    )
    return b"".join(bytes([len(p.encode())]) + p.encode() for p in parts)


def qr_url(noise_key, sign_key, name, ts, nonce):
    """`sign_key` is the private key; the nonce is 16 bytes."""
    public = sign_key.public_key().public_bytes_raw()
    text = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    sig = sign_key.sign(qr_preimage(noise_key.hex(), public.hex(), name, ts, text))
    return (
        f"bitchat://verify?v=1&noise={noise_key.hex()}&sign={public.hex()}"
        f"&nick={quote(name, safe='')}&ts={ts}&nonce={text}&sig={sig.hex()}"
    )


def read_qr(url):
    """The fields of a QR code and the bytes its signature must cover."""
    q = {k: v[0] for k, v in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}
    signed = qr_preimage(q["noise"], q["sign"], q["nick"], q["ts"], q["nonce"], q.get("npub", ""))
    return q, signed
