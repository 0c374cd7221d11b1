"""One phone without a radio: links, announces, the public room, relaying and gossip sync.

The radio gives it pipes (ways out) and links (ways in); it is driven by `link_up`,
`receive`, `link_down` and `tick`, and tells what happens through `emit(event, **fields)`.
"""

import asyncio
import hashlib
import os
import random
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import payloads, wire
from .flavour import FLAVOURS
from .fragments import Assembly, cut
from .private import Private
from .syncset import DEFAULT_TYPES, Filter, Request, Store, packet_id

CLOCK_MS = 120_000
RSR_SECONDS = 30
QUIET_SECONDS = 60
TEXT_BYTES = 99  # signed payloads stay below 100 bytes
PUBLIC_TYPES = (wire.ANNOUNCE, wire.MESSAGE, wire.FILE)


class Identity:
    """The two long-lived key pairs and what follows from them."""

    def __init__(self, noise=None, seed=None):
        self.noise = X25519PrivateKey.from_private_bytes(noise or os.urandom(32))
        self.sign = Ed25519PrivateKey.from_private_bytes(seed or os.urandom(32))
        self.noise_key = self.noise.public_key().public_bytes_raw()
        self.sign_key = self.sign.public_key().public_bytes_raw()
        self.id = payloads.peer_id(self.noise_key)

    @staticmethod
    def load(path):
        """From a file of 128 hex digits, which is made when there is none."""
        if not os.path.exists(path):
            with open(path, "w") as f:
                f.write(os.urandom(64).hex() + "\n")
        with open(path) as f:
            raw = bytes.fromhex(f.read().strip())
        return Identity(raw[:32], raw[32:])


@dataclass
class Person:
    id: bytes
    name: str
    noise_key: bytes
    sign_key: bytes
    capabilities: set
    heard: float
    announced: int = 0  # the time inside the newest announce
    links: set = field(default_factory=set)


class Node:
    def __init__(self, name, emit, identity=None, flavour="plain"):
        self.name, self.emit = name, emit
        self.me = identity or Identity()
        self.flavour = FLAVOURS[flavour]
        self.people, self.links, self.pipes = {}, [], []
        self.pinned = {}  # noise key -> (signing key, whether a Noise session vouched for it)
        self.private = Private(self)
        self.store, self.assembly = Store(), Assembly()
        self._seen = OrderedDict()
        self._last_time = 0
        self._next_announce = self._next_sync = 0.0
        self._asked, self._answered = {}, {}
        self._tasks = set()

    # ---- links ------------------------------------------------------------------------------

    def pipe_up(self, pipe):
        self.pipes.append(pipe)
        self.announce_on(pipe)

    def pipe_down(self, pipe):
        if pipe in self.pipes:
            self.pipes.remove(pipe)
        for link in [x for x in self.links if x.pipe is pipe]:
            self.link_down(link)

    def link_up(self, link):
        self.links.append(link)
        self.emit("link", state="up", link=link.label, role=link.pipe.role, limit=link.pipe.limit)
        if link.pipe not in self.pipes:
            self.pipe_up(link.pipe)
        elif time.time() - link.pipe.announced > 1:
            self.announce_on(link.pipe)

    def link_down(self, link):
        if link in self.links:
            self.links.remove(link)
            self.emit("link", state="down", link=link.label)
            for person in self.people.values():
                person.links.discard(link)

    def find(self, name):
        """A person by nickname or by the beginning of the peer ID."""
        for p in self.people.values():
            if p.name == name or (len(name) >= 4 and p.id.hex().startswith(name.lower())):
                return p
        return None

    # ---- sending ----------------------------------------------------------------------------

    def stamp(self):
        self._last_time = max(int(time.time() * 1000), self._last_time + 1)
        return self._last_time

    def packet(self, kind, payload, recipient=None, **more):
        """A new packet of ours, compressed where this flavour does so, not yet signed."""
        p = wire.Packet(kind, self.me.id, payload, self.stamp(), recipient=recipient, **more)
        level = self.flavour.compress_level
        packed = level and wire.deflate(payload, p.version, level)
        return replace(p, body=packed, compressed=True) if packed else p

    def send(self, p, pipes=None, public=False):
        """Sends a packet whole or in fragments: on `pipes`, else towards its recipient."""
        if public:
            self._remember(p)
            self.store.keep(p)
        if pipes is None:
            pipes = self._ways_to(p.to)
        if not pipes:
            return
        frame = wire.encode(p)
        if p.type in (wire.HANDSHAKE, wire.ENCRYPTED):
            frame = wire.pad(frame)
        limit = min(x.limit for x in pipes)
        if len(frame) <= limit:
            for pipe in pipes:
                pipe.put(frame)
            return
        if self.flavour.strips_before_cutting:
            frame = wire.unpad(frame)  # the known slip of Android's sender
        directed = 0 if p.to else 1
        size = min(self.flavour.fragment_data[directed], limit - 43)
        for part in cut(p, frame, size):
            for pipe in pipes:
                pipe.put(wire.encode(part), self.flavour.fragment_pause[directed])

    def _ways_to(self, peer):
        person = self.people.get(peer)
        if person and person.links:
            # iPhones prefer the link they write on, Android the one it notifies on.
            want = "peripheral" if self.flavour.name == "android" else "central"
            links = sorted(person.links, key=lambda x: x.pipe.role != want)
            return [links[0].pipe]
        return list(self.pipes)

    def announce(self):
        for pipe in self.pipes:
            self.announce_on(pipe)
        self._next_announce = time.time() + random.uniform(11, 19)

    def announce_on(self, pipe):
        near = None
        if self.flavour.neighbours:
            near = [p.id for p in self.people.values() if p.links]
        body = payloads.Announce(
            self.name, self.me.noise_key, self.me.sign_key, set(self.flavour.capabilities), near
        )
        p = self.packet(wire.ANNOUNCE, body.encode(self.flavour.name == "android"))
        self.send(wire.sign(p, self.me.sign), [pipe], public=True)
        pipe.announced = time.time()

    def _announce_back(self, pipe):
        if time.time() - pipe.announced > 1:
            self.announce_on(pipe)

    def say(self, text):
        """Public text, in pieces below 100 bytes (the other flavours send it whole)."""
        for piece in split_text(text, TEXT_BYTES) if self.flavour.name == "plain" else [text]:
            p = self.packet(wire.MESSAGE, piece.encode(), self._public_recipient())
            p = wire.sign(p, self.me.sign)
            self.send(p, public=True)
            self.emit("said", text=piece, id=packet_id(p).hex())

    def share(self, file):
        p = self.packet(wire.FILE, file.encode(), self._public_recipient(), version=2)
        self.send(wire.sign(p, self.me.sign), public=True)

    def leave(self):
        self.send(wire.sign(self.packet(wire.LEAVE, b""), self.me.sign))

    def _public_recipient(self):
        return wire.BROADCAST if self.flavour.broadcast_recipient else None

    # ---- receiving --------------------------------------------------------------------------

    def receive(self, link, data):
        """One value from the radio: exactly one frame, or nothing."""
        if len(data) > wire.MAX_VALUE:
            self.emit("error", what="frame too large", size=len(data))
            return
        try:
            p = wire.decode(data)
        except wire.WireError as e:
            self.emit("error", what=f"bad frame: {e}", frame=data.hex())
            return
        self._check_manners(link, p)
        self._process(link, replace(p, ttl=min(p.ttl, wire.MAX_TTL)))

    def _check_manners(self, link, p):
        """Warns about what both phones bear, but a good sender does not do."""
        if not link.heard and (p.type, p.ttl) != (wire.ANNOUNCE, wire.MAX_TTL):
            self.emit(
                "warning", what="first frame of a link is no announce with TTL 7", type=p.type
            )
        link.heard = True
        if p.type in (wire.HANDSHAKE, wire.ENCRYPTED):
            if len(p.raw) != len(wire.pad(wire.encode(p))):
                self.emit("warning", what="Noise frame not padded", size=len(p.raw))
        if p.ttl > wire.MAX_TTL:
            self.emit("warning", what="TTL above 7", ttl=p.ttl)

    def _process(self, link, p):
        if p.sender == self.me.id:
            return
        if not p.rsr and abs(time.time() * 1000 - p.timestamp) > CLOCK_MS:
            self.emit("error", what="clock", type=p.type, sender=p.sender.hex())
            return
        if p.rsr and time.time() - self._asked.get(link.peer, 0) > RSR_SECONDS:
            self.emit("ignored", what="sync reply that was not asked for", sender=p.sender.hex())
            return
        fresh = self._key(p) not in self._seen
        if not fresh and not (p.type == wire.ANNOUNCE and p.ttl == wire.MAX_TTL):
            return
        person = self.people.get(p.sender)
        if person:
            person.heard = time.time()
        if p.to in (None, self.me.id):
            try:
                if not self._accept(link, p):
                    return
            except ValueError as e:  # WireError, PayloadError
                self.emit("error", what=f"bad payload: {e}", type=p.type, sender=p.sender.hex())
                return
        self._remember(p)
        if fresh and p.type in PUBLIC_TYPES and p.to is None:
            self.store.keep(p)
        if fresh:
            self._relay(link, p)

    def _accept(self, link, p):
        """Acts on a packet; False when it must be neither remembered nor relayed."""
        match p.type:
            case wire.ANNOUNCE:
                return self._on_announce(link, p)
            case wire.MESSAGE | wire.FILE | wire.LEAVE:
                key = self.signing_key(p.sender)
                if key is None or not wire.verify(p, key):
                    why = "no announce yet" if key is None else "bad signature"
                    self.emit("error", what=f"dropped: {why}", type=p.type, sender=p.sender.hex())
                    return False
                if p.type != wire.LEAVE and wire.deflate(p.payload, p.version):
                    self.emit(
                        "warning",
                        what="signed and compressible: an iPhone may refuse it",
                        type=p.type,
                        size=len(p.payload),
                    )
                self._on_public(p)
            case wire.HANDSHAKE if p.to:
                self.private.on_handshake(p)
            case wire.ENCRYPTED if p.to:
                self.private.on_encrypted(p)
            case wire.FRAGMENT:
                inner = self.assembly.add(p, time.time())
                if inner:
                    self._process(link, replace(inner, ttl=0, rsr=p.rsr))
            case wire.REQUEST_SYNC:
                self._on_request_sync(link, p)
        return True

    def _on_announce(self, link, p):
        a = payloads.Announce.decode(p.payload)
        known, bound = self.pinned.get(a.noise_key, (a.sign_key, False))
        if payloads.peer_id(a.noise_key) != p.sender or not wire.verify(p, a.sign_key):
            self.emit("error", what="announce not by its own keys", sender=p.sender.hex())
            return False
        if known != a.sign_key:
            self.emit("error", what="announce with another signing key", sender=p.sender.hex())
            return False
        self.pinned[a.noise_key] = known, bound
        if len(p.payload) >= 100:
            self.emit("warning", what="announce of 100 bytes or more", size=len(p.payload))
        old = self.people.get(p.sender)
        person = old or Person(p.sender, "", a.noise_key, a.sign_key, set(), 0)
        self.people[p.sender] = person
        said = a.name, a.capabilities or set()
        changed = p.timestamp > person.announced and said != (person.name, person.capabilities)
        if p.timestamp > person.announced:
            (person.name, person.capabilities), person.announced = said, p.timestamp
        person.heard = time.time()
        direct = p.ttl == wire.MAX_TTL
        newly_bound = direct and link.peer != p.sender
        if newly_bound:
            for other in self.people.values():
                other.links.discard(link)
            link.peer = p.sender
        if direct:
            person.links.add(link)
        if changed or newly_bound:
            self.emit(
                "person",
                name=a.name,
                id=p.sender.hex(),
                direct=bool(person.links),
                capabilities=sorted(person.capabilities),
            )
        if newly_bound:
            self.later(0.3, lambda: self._announce_back(link.pipe))
            self.later(1.0, lambda: self.request_sync(p.sender))
            self.private.on_direct(person)
            if self.flavour.eager_handshake and payloads.PRIVATE_MEDIA in person.capabilities:
                self.private.ensure(p.sender)
        return True

    def signing_key(self, peer):
        return next((k for n, (k, _) in self.pinned.items() if payloads.peer_id(n) == peer), None)

    def _on_public(self, p):
        name = self.people[p.sender].name if p.sender in self.people else ""
        whole = {"name": name, "id": p.sender.hex(), "ttl": p.ttl, "sync": p.rsr}
        if p.type == wire.MESSAGE:
            self.emit("text", text=p.payload.decode(), message=packet_id(p).hex(), **whole)
        elif p.type == wire.FILE:
            self.on_file(payloads.File.decode(p.payload), private=False, **whole)
        elif not p.payload:
            self._forget(p.sender, "leave")

    def on_file(self, file, **fields):
        digest = hashlib.sha256(file.content).hexdigest()
        self.emit(
            "file", file=file.name, mime=file.mime, size=len(file.content), sha256=digest, **fields
        )

    def _forget(self, peer, why):
        person = self.people.pop(peer, None)
        self.private.forget(peer)
        self.store.forget_announce(peer)
        for link in self.links:
            link.peer = None if link.peer == peer else link.peer
        if person:
            self.emit("gone", name=person.name, id=peer.hex(), why=why)

    # ---- duplicates and relaying ------------------------------------------------------------

    @staticmethod
    def _key(p):
        return p.sender, p.timestamp, p.type, hashlib.sha256(p.payload).digest()[:8]

    def _remember(self, p):
        self._seen[self._key(p)] = time.time()
        while len(self._seen) > 5000 or time.time() - next(iter(self._seen.values())) > 300:
            self._seen.popitem(last=False)

    def _relay(self, link, p):
        """Copies the received bytes and changes the TTL, to every pipe but where it came from."""
        if p.ttl <= 1 or p.to == self.me.id or p.type == wire.REQUEST_SYNC or not p.raw:
            return
        frame = p.raw[:2] + bytes([p.ttl - 1]) + p.raw[3:]
        back = {link.pipe} if sum(x.pipe is link.pipe for x in self.links) < 2 else set()
        back |= {x.pipe for x in self.links if x.peer == p.sender and x.pipe.role == "central"}
        out = [x for x in self.pipes if x not in back and len(frame) <= x.limit]
        if out:
            self.later(random.uniform(0.010, 0.040), lambda: [x.put(frame) for x in out])

    # ---- gossip sync ------------------------------------------------------------------------

    def request_sync(self, peer):
        person = self.people.get(peer)
        if not person or not person.links:
            return
        have = self.store.packets(DEFAULT_TYPES, time.time() * 1000)
        directed = self.flavour.directed_sync
        request = Request(Filter.of(map(packet_id, have)), DEFAULT_TYPES if directed else None)
        p = self.packet(wire.REQUEST_SYNC, request.encode(), peer if directed else None, ttl=0)
        self._asked[peer] = time.time()
        self.send(wire.sign(p, self.me.sign), self._ways_to(peer))
        self.emit("sync", what="asked", id=peer.hex(), have=len(have))

    def _on_request_sync(self, link, p):
        key = self.signing_key(p.sender)
        if p.ttl != 0 or link.peer != p.sender or key is None or not wire.verify(p, key):
            self.emit("error", what="sync request refused", sender=p.sender.hex(), ttl=p.ttl)
            return
        times = self._answered.setdefault(p.sender, deque())
        while times and time.time() - times[0] > 30:
            times.popleft()
        if len(times) >= 8:
            return
        times.append(time.time())
        request = Request.decode(p.payload)
        types = DEFAULT_TYPES if request.types is None else request.types
        have = self.store.packets(types, time.time() * 1000)
        have = [x for x in have if x.timestamp >= (request.since or 0) and x.sender != p.sender]
        reply = request.filter.missing(have)
        # Announces first: a message whose author is unknown would be dropped.
        for x in sorted(reply, key=lambda x: (x.type != wire.ANNOUNCE, x.timestamp)):
            self.send(replace(x, ttl=0, rsr=self.flavour.rsr), [link.pipe])
        self.emit("sync", what="answered", id=p.sender.hex(), sent=len(reply), kept=len(have))

    # ---- time -------------------------------------------------------------------------------

    def later(self, seconds, do):
        async def run():
            await asyncio.sleep(seconds)
            do()

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tick(self):
        """To be called a few times a second."""
        now = time.time()
        if self.pipes and now > self._next_announce:
            self.announce()
        if now > self._next_sync:
            self._next_sync = now + 15
            for peer in {x.peer for x in self.links if x.peer}:
                self.request_sync(peer)
        for sender, got, total in self.assembly.expire(now):
            self.emit("error", what="fragments missing", sender=sender.hex(), got=got, total=total)
        for person in list(self.people.values()):
            if not person.links and now - person.heard > QUIET_SECONDS:
                self._forget(person.id, "silent")
        self.private.tick(now)


def split_text(text, limit):
    """Pieces of at most `limit` bytes of UTF-8, cut at spaces where there are any."""
    pieces, now = [], ""
    for word in text.split(" "):
        longer = f"{now} {word}" if now else word
        if len(longer.encode()) <= limit:
            now = longer
            continue
        if now:
            pieces.append(now)
        now = ""
        for char in word:
            if len((now + char).encode()) > limit:
                pieces.append(now)
                now = ""
            now += char
    return pieces + [now] if now or not pieces else pieces
