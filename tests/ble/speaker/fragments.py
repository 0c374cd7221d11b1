"""Fragmentation: a complete frame cut into fragment packets, and put together again."""

import os
from dataclasses import dataclass, field

from .wire import FRAGMENT, MAX_PAYLOAD, Packet, WireError, decode

MAX_PER_SET = 256
MAX_SETS = 64
MAX_BYTES = MAX_PAYLOAD + 1024  # a frame around the largest payload
LIFETIME = 30.0


@dataclass
class Fragment:
    id: bytes
    index: int
    total: int
    inner_type: int
    data: bytes

    def encode(self):
        head = self.id + self.index.to_bytes(2, "big") + self.total.to_bytes(2, "big")
        return head + bytes([self.inner_type]) + self.data

    @staticmethod
    def decode(payload):
        if len(payload) < 13:
            raise WireError("fragment payload too short")
        index, total = int.from_bytes(payload[8:10], "big"), int.from_bytes(payload[10:12], "big")
        if index >= total:
            raise WireError(f"fragment {index} of {total}")
        return Fragment(payload[:8], index, total, payload[12], payload[13:])


def cut(packet, frame, size):
    """The fragment packets of a frame: same sender, timestamp, TTL, recipient, RSR; unsigned."""
    parts = [frame[i : i + size] for i in range(0, len(frame), size)]
    if len(parts) > MAX_PER_SET:
        raise WireError(f"{len(parts)} fragments, at most {MAX_PER_SET} arrive")
    set_id = os.urandom(8)
    return [
        Packet(
            type=FRAGMENT,
            sender=packet.sender,
            timestamp=packet.timestamp,
            ttl=packet.ttl,
            recipient=packet.recipient,
            rsr=packet.rsr,
            body=Fragment(set_id, i, len(parts), packet.type, part).encode(),
        )
        for i, part in enumerate(parts)
    ]


@dataclass
class _Set:
    total: int
    inner_type: int
    born: float
    parts: dict = field(default_factory=dict)


class Assembly:
    """The sets in flight, keyed by sender and fragment ID."""

    def __init__(self):
        self._sets = {}

    def add(self, packet, now):
        """The inner packet when this fragment completes its set, else None."""
        f = Fragment.decode(packet.payload)
        if f.inner_type == FRAGMENT:
            raise WireError("a fragment inside a fragment")
        if f.total > MAX_PER_SET:
            raise WireError(f"{f.total} fragments in a set")
        self.expire(now)
        key = packet.sender, f.id
        s = self._sets.get(key)
        if s is None:
            if len(self._sets) >= MAX_SETS:
                del self._sets[min(self._sets, key=lambda k: self._sets[k].born)]
            s = self._sets[key] = _Set(f.total, f.inner_type, now)
        if (s.total, s.inner_type) != (f.total, f.inner_type):
            raise WireError("fragments of one set disagree")
        s.parts.setdefault(f.index, f.data)
        if sum(map(len, s.parts.values())) > MAX_BYTES:
            del self._sets[key]
            raise WireError("fragment set too large")
        if len(s.parts) < s.total:
            return None
        del self._sets[key]
        inner = _decode_repairing(b"".join(s.parts[i] for i in range(s.total)))
        if inner.type != s.inner_type or inner.sender != packet.sender:
            raise WireError("fragments hold another packet than they said")
        return inner

    def expire(self, now):
        """Forgets old sets and names those that stayed incomplete."""
        old = [k for k, s in self._sets.items() if now - s.born > LIFETIME]
        return [(k[0], len(s.parts), s.total) for k in old for s in [self._sets.pop(k)]]


def _decode_repairing(frame):
    """Undoes the known slip of a sender that strips "padding" off a frame never padded."""
    try:
        return decode(frame)
    except WireError as e:
        if not 1 <= e.missing <= 16:
            raise
        return decode(frame + bytes([e.missing]) * e.missing)
