"""Gossip sync: packet IDs, the Golomb-coded set, REQUEST_SYNC, and what is kept to answer it."""

import hashlib
from dataclasses import dataclass

from .payloads import PayloadError, tlv, untlv
from .wire import ANNOUNCE, FILE, MESSAGE

P = 7  # one false "present" in about 128
BUDGET = 400  # bytes of filter
MAX_FILTER = 1024

# The bit of each outer type in field 0x04 of a request.
TYPE_BIT = {ANNOUNCE: 0, MESSAGE: 1, FILE: 7}
DEFAULT_TYPES = {ANNOUNCE, MESSAGE}


def packet_id(p):
    data = bytes([p.type]) + p.sender + p.timestamp.to_bytes(8, "big") + p.payload
    return hashlib.sha256(data).digest()[:16]


def _value(pid, m):
    h = int.from_bytes(hashlib.sha256(pid).digest()[:8], "big") & (1 << 63) - 1
    return h % m or 1


@dataclass
class Filter:
    p: int
    m: int
    stream: bytes

    @staticmethod
    def of(ids, p=P, budget=BUDGET):
        """A set of packet IDs, newest first; the oldest are left out when it grows too big."""
        ids = list(ids)[: budget * 8 // (p + 2)]
        while True:
            m = max(1, len(ids) << p)
            stream = _golomb(sorted({_value(i, m) for i in ids}), p)
            if len(stream) <= budget:
                return Filter(p, m, stream)
            ids = ids[: len(ids) * 9 // 10]

    def values(self):
        bits = "".join(f"{b:08b}" for b in self.stream)
        found, at, last = set(), 0, 0
        while True:
            stop = bits.find("0", at)
            if stop < 0 or stop + 1 + self.p > len(bits):
                return found
            low = int(bits[stop + 1 : stop + 1 + self.p], 2)
            last += (stop - at << self.p) + low + 1
            if last >= self.m:
                return found
            found.add(last)
            at = stop + 1 + self.p

    def missing(self, packets):
        have = self.values()
        return [p for p in packets if _value(packet_id(p), self.m) not in have]


def _golomb(values, p):
    bits, last = "", 0
    for v in values:
        x, last = v - last - 1, v
        bits += "1" * (x >> p) + "0" + f"{x & (1 << p) - 1:0{p}b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


@dataclass
class Request:
    filter: Filter
    types: set | None = None  # None: the field was absent
    since: int | None = None

    def encode(self):
        f = self.filter
        fields = [(1, bytes([f.p])), (2, f.m.to_bytes(4, "big")), (3, f.stream)]
        if self.types is not None:
            mask = sum(1 << TYPE_BIT[t] for t in self.types)
            fields.append((4, mask.to_bytes(max(1, (mask.bit_length() + 7) // 8), "little")))
        if self.since is not None:
            fields.append((5, self.since.to_bytes(8, "big")))
        return tlv(*fields, width=2)

    @staticmethod
    def decode(payload):
        f = dict(untlv(payload, width=2))
        if not {1, 2, 3} <= f.keys() or len(f[1]) != 1 or len(f[2]) != 4:
            raise PayloadError("sync request without P, M and a filter")
        p, m = f[1][0], int.from_bytes(f[2], "big")
        if not 1 <= p <= 32 or m < 1 or len(f[3]) > MAX_FILTER:
            raise PayloadError("sync request with an impossible filter")
        types = None
        if 4 in f:
            if not 1 <= len(f[4]) <= 8:
                raise PayloadError("sync request with malformed types")
            mask = int.from_bytes(f[4], "little")
            types = {t for t, bit in TYPE_BIT.items() if mask >> bit & 1}
        since = int.from_bytes(f[5], "big") if 5 in f and len(f[5]) == 8 else None
        return Request(Filter(p, m, f[3]), types, since)


class Store:
    """The last verified public packets: one announce a peer, 500 messages, 20 files."""

    LIMIT = {MESSAGE: 500, FILE: 20}
    AGE_MS = {ANNOUNCE: 180_000, MESSAGE: 6 * 3_600_000, FILE: 15 * 60_000}

    def __init__(self):
        self._announces, self._others = {}, {MESSAGE: {}, FILE: {}}

    def keep(self, p):
        if p.type == ANNOUNCE:
            old = self._announces.get(p.sender)
            if old is None or old.timestamp <= p.timestamp:
                self._announces[p.sender] = p
        elif p.type in self._others:
            kept = self._others[p.type]
            kept[packet_id(p)] = p
            while len(kept) > self.LIMIT[p.type]:
                del kept[min(kept, key=lambda i: kept[i].timestamp)]

    def forget_announce(self, sender):
        self._announces.pop(sender, None)

    def packets(self, types, now_ms):
        """What is fresh enough to offer, newest first."""
        found = list(self._announces.values()) if ANNOUNCE in types else []
        for kind, kept in self._others.items():
            found += kept.values() if kind in types else []
        found = [p for p in found if now_ms - p.timestamp <= self.AGE_MS[p.type]]
        return sorted(found, key=lambda p: -p.timestamp)
