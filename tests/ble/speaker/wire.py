"""Frames: layout, decoding rules, compression, padding and the signature preimage."""

import zlib
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# Outer message types.
ANNOUNCE, MESSAGE, LEAVE = 0x01, 0x02, 0x03
HANDSHAKE, ENCRYPTED = 0x10, 0x11
FRAGMENT, REQUEST_SYNC, FILE = 0x20, 0x21, 0x22

# Header flags.
HAS_RECIPIENT, HAS_SIGNATURE, COMPRESSED, HAS_ROUTE, RSR = 0x01, 0x02, 0x04, 0x08, 0x10

BROADCAST = b"\xff" * 8
MAX_TTL = 7
MAX_PAYLOAD = 1_179_760
MAX_VALUE = 512  # the ATT attribute limit: one value is one frame


class WireError(ValueError):
    """Bytes that are not a frame. `missing` says how many bytes were lacking at the end."""

    def __init__(self, why, missing=0):
        super().__init__(why)
        self.missing = missing


@dataclass(frozen=True)
class Packet:
    """One packet. `body` is the payload field as it stands on the wire: with `compressed` it
    is the original size and raw DEFLATE, and `payload` gives it back inflated."""

    type: int
    sender: bytes
    body: bytes
    timestamp: int = 0
    ttl: int = MAX_TTL
    version: int = 1
    recipient: bytes | None = None
    route: tuple[bytes, ...] | None = None
    compressed: bool = False
    rsr: bool = False
    signature: bytes | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)

    @property
    def payload(self):
        return inflate(self.body, self.version) if self.compressed else self.body

    @property
    def to(self):
        """The recipient of a directed packet, None for either form of broadcast."""
        return None if self.recipient in (None, BROADCAST) else self.recipient


def encode(p):
    """The frame of a packet, without padding."""
    flags = (HAS_RECIPIENT if p.recipient else 0) | (HAS_SIGNATURE if p.signature else 0)
    flags |= (COMPRESSED if p.compressed else 0) | (RSR if p.rsr else 0)
    routed = p.version == 2 and p.route is not None
    flags |= HAS_ROUTE if routed else 0
    width = 2 if p.version == 1 else 4
    if len(p.body) >= 1 << (8 * width):
        raise WireError("payload too long for this version")
    out = bytes([p.version, p.type, p.ttl]) + p.timestamp.to_bytes(8, "big") + bytes([flags])
    out += len(p.body).to_bytes(width, "big") + p.sender + (p.recipient or b"")
    if routed:
        out += bytes([len(p.route)]) + b"".join(p.route)
    return out + p.body + (p.signature or b"")


def decode(data):
    """A packet from a frame: first as it stands, then once more without padding."""
    data = bytes(data)
    try:
        return _parse(data)
    except WireError as first:
        try:
            return replace(_parse(unpad(data)), raw=data)
        except WireError:
            raise first from None


def _parse(data):
    at = 0

    def take(n):
        nonlocal at
        at += n
        if at > len(data):
            raise WireError("truncated", at - len(data))
        return data[at - n : at]

    version = take(1)[0]
    if version not in (1, 2):
        raise WireError(f"version {version}")
    kind, ttl = take(2)
    timestamp = int.from_bytes(take(8), "big")
    flags = take(1)[0]
    length = int.from_bytes(take(2 if version == 1 else 4), "big")
    if length > MAX_PAYLOAD:
        raise WireError("payload above the limit")
    sender = take(8)
    recipient = take(8) if flags & HAS_RECIPIENT else None
    route = None
    if version == 2 and flags & HAS_ROUTE:
        route = tuple(take(8) for _ in range(take(1)[0]))
    body = take(length)
    signature = take(64) if flags & HAS_SIGNATURE else None
    if flags & COMPRESSED:
        inflate(body, version)  # a bad stream makes the whole frame bad
    return Packet(
        type=kind,
        sender=sender,
        body=body,
        timestamp=timestamp,
        ttl=ttl,
        version=version,
        recipient=recipient,
        route=route,
        compressed=bool(flags & COMPRESSED),
        rsr=bool(flags & RSR),
        signature=signature,
        raw=data,
    )


# ---- compression ---------------------------------------------------------------------------


def inflate(body, version):
    """Original size and raw DEFLATE to the payload. The stream must end exactly."""
    width = 2 if version == 1 else 4
    size, packed = int.from_bytes(body[:width], "big"), body[width:]
    if not packed or size < 1:
        raise WireError("empty compressed payload")
    if size > MAX_PAYLOAD or size > 50_000 * len(packed):
        raise WireError("implausible original size")
    z = zlib.decompressobj(-15)
    try:
        out = z.decompress(packed, size + 1)
    except zlib.error as e:
        raise WireError(f"deflate: {e}") from None
    if len(out) != size or not z.eof or z.unused_data:
        raise WireError("inflated size differs from original size")
    return out


def deflate(payload, version, level=6):
    """Original size and raw DEFLATE, or None where the rule says to leave the payload alone."""
    if len(payload) < 100 or len(set(payload)) / min(len(payload), 256) >= 0.9:
        return None
    z = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = z.compress(payload) + z.flush()
    width = 2 if version == 1 else 4
    if len(packed) >= len(payload) or len(payload) >= 1 << (8 * width):
        return None
    return len(payload).to_bytes(width, "big") + packed


# ---- padding -------------------------------------------------------------------------------


def pad(frame):
    """To the next block of 256, 512, 1024 or 2048, where 1 to 255 bytes do it."""
    block = next((b for b in (256, 512, 1024, 2048) if len(frame) + 16 <= b), None)
    n = (block or 0) - len(frame)
    return frame + bytes([n]) * n if 1 <= n <= 255 else frame


def unpad(data):
    n = data[-1] if data else 0
    return data[:-n] if 1 <= n <= len(data) and data.endswith(bytes([n]) * n) else data


# ---- signature -----------------------------------------------------------------------------


def preimage(p):
    """What Ed25519 signs: TTL 0, no RSR, no signature, and always padded."""
    return pad(encode(replace(p, ttl=0, rsr=False, signature=None)))


def sign(p, key: Ed25519PrivateKey):
    return replace(p, signature=key.sign(preimage(p)))


def verify(p, public):
    """Checks the form received, then the two forms a relaying iPhone may have made of it."""
    if not p.signature:
        return False
    forms = [p]
    if p.compressed:
        plain = replace(p, body=p.payload, compressed=False)
        again = deflate(plain.body, p.version)
        forms += ([replace(p, body=again)] if again else []) + [plain]
    for form in forms:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(p.signature, preimage(form))
            return True
        except (InvalidSignature, ValueError, WireError):
            continue
    return False
