"""Noise sessions with people, and what travels in them: texts, receipts, state, files.

A handshake in progress never disturbs a working session: it is a candidate that replaces
the old session when it completes. While it runs we keep receiving on the old one and hold
back what we want to send.
"""

import os
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import payloads, wire
from .noise import Handshake, NoiseError, Transport

INITIATOR_SECONDS, RESPONDER_SECONDS = 10, 20
STATE_SECONDS = 5
RETRIES = (5, 15, 30, 60)  # seconds between attempts while something waits
HANDSHAKES_A_MINUTE = 10
EARLY = 4  # ciphertexts kept that came before the handshake's end
TEXT_LIMIT = 255


@dataclass
class Session:
    """All we hold about talking in private with one peer."""

    transport: Transport | None = None
    since: float = 0.0
    candidate: Handshake | None = None
    begun: float = 0.0
    early: list = field(default_factory=list)
    waiting: list = field(default_factory=list)  # plaintexts held back
    files: list = field(default_factory=list)  # held back until the peer's state is known
    state: set | None = None  # capabilities from the peer's authenticated state
    failures: int = 0
    attempts: int = 0
    recent: deque = field(default_factory=lambda: deque(maxlen=HANDSHAKES_A_MINUTE))
    linkless: float | None = None


@dataclass
class Sent:
    """A private text or file of ours, kept until it is delivered."""

    peer: bytes
    text: str
    delivered: bool = False
    read: bool = False


class Private:
    def __init__(self, node):
        self.node = node
        self.sessions = {}
        self.sent = {}  # message ID -> Sent
        self.media = {}  # stable media ID -> file name
        self._got = {}  # (peer, message ID) of texts already shown
        self._unread = {}  # message ID -> peer
        self._challenges = {}  # nonce -> peer

    # ---- what the script asks for -----------------------------------------------------------

    def tell(self, person, text):
        if len(text.encode()) > TEXT_LIMIT:
            raise ValueError(f"a private text has at most {TEXT_LIMIT} bytes")
        message_id = str(uuid.uuid4()).upper()
        self.sent[message_id] = Sent(person.id, text)
        self.send(person.id, payloads.PRIVATE, payloads.private_message(message_id, text))
        return message_id

    def give(self, person, file):
        """A file, once the peer's authenticated state says that it takes encrypted ones."""
        self._session(person.id).files.append(file)
        self._flush_files(person.id)
        self.ensure(person.id)

    def saw(self, message_id):
        """The user has seen a text: a read receipt goes back, once."""
        peer = self._unread.pop(message_id, None)
        if peer:
            self.send(peer, payloads.READ, message_id.encode())

    def verify(self, person):
        nonce = os.urandom(16)
        self._challenges[nonce] = person.id
        self.send(person.id, payloads.CHALLENGE, payloads.challenge(person.noise_key, nonce))

    # ---- sending ----------------------------------------------------------------------------

    def send(self, peer, code, body, version=1):
        session = self._session(peer)
        if session.transport is None or session.candidate:
            session.waiting.append((code, body, version))
            self.ensure(peer)
            return
        sealed = session.transport.seal(bytes([code]) + body)
        p = self.node.packet(wire.ENCRYPTED, sealed, peer, version=version)
        self._transmit(p)

    def ensure(self, peer):
        """Begins a handshake unless there is a session or one is on its way."""
        session = self._session(peer)
        if session.transport or session.candidate or not self._may_shake(session):
            return
        if peer not in self.node.people:
            return
        session.candidate = Handshake(True, self.node.me.noise)
        session.begun = time.time()
        self._shake(peer, session.candidate.write())

    def _shake(self, peer, message):
        self._transmit(self.node.packet(wire.HANDSHAKE, message, peer))

    def _transmit(self, p):
        if self.node.flavour.sign_noise:
            p = wire.sign(p, self.node.me.sign)
        try:
            self.node.send(p)
        except wire.WireError as e:
            self.node.emit("error", what=f"cannot send: {e}")

    def _session(self, peer):
        return self.sessions.setdefault(peer, Session())

    @staticmethod
    def _may_shake(session):
        now = time.time()
        if len(session.recent) == session.recent.maxlen and now - session.recent[0] < 60:
            return False
        session.recent.append(now)
        return True

    # ---- the handshake ----------------------------------------------------------------------

    def on_handshake(self, p):
        session, message = self._session(p.sender), p.payload
        running = session.candidate
        try:
            if len(message) == 32:
                self._on_first(p.sender, session, message)
            elif running and len(message) == (96 if running.initiator else 64):
                self._on_next(p.sender, session, message)
            else:
                self.node.emit(
                    "ignored",
                    what="handshake message out of turn",
                    id=p.sender.hex(),
                    size=len(message),
                )
        except NoiseError as e:
            if len(message) != 32:
                session.candidate = None
            self.node.emit("error", what=f"handshake: {e}", id=p.sender.hex())

    def _on_first(self, peer, session, message):
        mine = session.candidate
        if mine and mine.initiator:
            if self.node.me.id < peer:
                self.node.emit("session", state="crossed, ours goes on", id=peer.hex())
                return
            self.node.emit("session", state="crossed, ours yields", id=peer.hex())
        if not self._may_shake(session):
            return
        candidate = Handshake(False, self.node.me.noise)
        candidate.read(message)
        answer = candidate.write()
        session.candidate, session.begun = candidate, time.time()
        self._shake(peer, answer)

    def _on_next(self, peer, session, message):
        candidate = session.candidate
        candidate.read(message)
        if payloads.peer_id(candidate.rs) != peer:
            raise NoiseError("static key of somebody else")
        if not candidate.done:
            self._shake(peer, candidate.write())
        self._established(peer, session)

    def _established(self, peer, session):
        candidate, session.candidate = session.candidate, None
        session.transport = Transport(*candidate.split())
        session.since, session.state = time.time(), None
        session.failures = session.attempts = 0
        role = "initiator" if candidate.initiator else "responder"
        self.node.emit("session", state="established", id=peer.hex(), role=role)
        bits = self.node.flavour.capabilities
        self.send(peer, payloads.PEER_STATE, payloads.peer_state(bits, self.node.me.sign_key))
        waiting, session.waiting = session.waiting, []
        for item in waiting:
            self.send(peer, *item)
        # Texts that went out on a session now lost, and were never acknowledged.
        held = {body for code, body, _ in waiting if code == payloads.PRIVATE}
        for message_id, sent in self.sent.items():
            body = payloads.private_message(message_id, sent.text)
            if sent.peer == peer and not sent.delivered and body not in held:
                self.send(peer, payloads.PRIVATE, body)
        self.node.later(0.1, self.node.announce)
        early, session.early = session.early, []
        for p in early:
            self.on_encrypted(p)

    # ---- receiving --------------------------------------------------------------------------

    def on_encrypted(self, p):
        session = self._session(p.sender)
        if session.transport is None:
            if session.candidate and len(session.early) < EARLY:
                session.early.append(p)
            else:
                self.ensure(p.sender)
            return
        try:
            plain = session.transport.open(p.payload)
        except NoiseError as e:
            if session.candidate and len(session.early) < EARLY:
                session.early.append(p)  # perhaps the first of the new session
                return
            session.failures += 1
            self.node.emit("error", what=f"private: {e}", id=p.sender.hex())
            if session.failures >= 3:
                session.transport, session.failures = None, 0
                self.ensure(p.sender)
            return
        session.failures = 0
        if plain:
            self._on_inner(p.sender, session, plain[0], plain[1:])

    def _on_inner(self, peer, session, code, body):
        person = self.node.people.get(peer)
        who = {"name": person.name if person else "", "id": peer.hex()}
        match code:
            case payloads.PRIVATE:
                self._on_text(peer, body, who)
            case payloads.DELIVERED | payloads.READ:
                self._on_receipt(peer, code, body.decode(), who)
            case payloads.PEER_STATE:
                bits, sign_key = payloads.read_peer_state(body)
                self._on_state(peer, session, bits, sign_key, who)
            case payloads.PRIVATE_FILE | payloads.OLD_FILE:
                file = payloads.File.decode(body)
                self.node.on_file(file, private=True, **who)
                media_id = payloads.stable_media_id(peer, self.node.me.id, file.name)
                self.send(peer, payloads.DELIVERED, media_id.encode())
            case payloads.CHALLENGE:
                self._on_challenge(peer, body, who)
            case payloads.RESPONSE:
                self._on_response(peer, body, who)
            case _:
                self.node.emit("ignored", what=f"inner type {code:#x}", **who)

    def _on_text(self, peer, body, who):
        message_id, text = payloads.read_private_message(body)
        # Acknowledged each time, shown once.
        self.send(peer, payloads.DELIVERED, message_id.encode())
        if (peer, message_id) in self._got:
            return
        self._got[peer, message_id] = True
        for word in ("[FAVORITED]", "[UNFAVORITED]"):
            if text.startswith(word):
                self.node.emit("favourite", on=word == "[FAVORITED]", **who)
                return
        self._unread[message_id] = peer
        self.node.emit("private", text=text, message=message_id, **who)

    def _on_receipt(self, peer, code, message_id, who):
        kind = "delivered" if code == payloads.DELIVERED else "read"
        sent = self.sent.get(message_id)
        if sent and sent.peer == peer:
            news = not (sent.delivered if kind == "delivered" else sent.read)
            sent.delivered, sent.read = True, sent.read or kind == "read"
            if news:
                self.node.emit(kind, message=message_id, text=sent.text, **who)
        elif message_id in self.media:
            self.node.emit(kind, message=message_id, file=self.media[message_id], **who)
        else:
            self.node.emit(kind, message=message_id, unknown=True, **who)

    def _on_state(self, peer, session, bits, sign_key, who):
        # Own state went out when the session was established: that is the reply too.
        session.state = bits
        person = self.node.people.get(peer)
        if person:
            if person.sign_key != sign_key:
                self.node.emit("warning", what="signing key replaced by the session's", **who)
            person.sign_key = sign_key
            self.node.pinned[person.noise_key] = (sign_key, True)
        self.node.emit("state", capabilities=sorted(bits), **who)
        self._flush_files(peer)

    # ---- files ------------------------------------------------------------------------------

    def _flush_files(self, peer):
        session = self._session(peer)
        if session.state is None:
            return
        files, session.files = session.files, []
        for file in files:
            if payloads.PRIVATE_MEDIA not in session.state:
                self.node.emit("error", what="peer takes no private files", id=peer.hex())
                continue
            media_id = payloads.stable_media_id(self.node.me.id, peer, file.name)
            self.media[media_id] = file.name
            self.send(peer, payloads.PRIVATE_FILE, file.encode(), version=2)
            self.node.emit("gave", file=file.name, size=len(file.content), message=media_id)

    # ---- verification -----------------------------------------------------------------------

    def _on_challenge(self, peer, body, who):
        key_hex, nonce = payloads.read_challenge(body)
        if key_hex != self.node.me.noise_key.hex():
            self.node.emit("verify", what="challenge for another key, refused", **who)
            return
        signature = self.node.me.sign.sign(payloads.response_preimage(key_hex, nonce))
        answer = payloads.tlv((1, key_hex.encode()), (2, nonce), (3, signature))
        self.send(peer, payloads.RESPONSE, answer)
        self.node.emit("verify", what="answered", **who)

    def _on_response(self, peer, body, who):
        key_hex, nonce, signature = payloads.read_challenge(body, signed=True)
        person = self.node.people.get(peer)
        if self._challenges.pop(nonce, None) != peer or not person:
            self.node.emit("verify", what="response nobody asked for", **who)
            return
        try:
            if key_hex != person.noise_key.hex():
                raise InvalidSignature
            key = Ed25519PublicKey.from_public_bytes(person.sign_key)
            key.verify(signature, payloads.response_preimage(key_hex, nonce))
            self.node.emit("verify", what="verified", **who)
        except InvalidSignature:
            self.node.emit("verify", what="response is wrong", **who)

    # ---- time -------------------------------------------------------------------------------

    def on_direct(self, person):
        """A person is in reach again: whatever waits for them gets another chance."""
        session = self._session(person.id)
        session.attempts, session.linkless = 0, None
        if session.waiting or session.files:
            self.ensure(person.id)

    def forget(self, peer):
        """Drops the session but keeps what was not delivered."""
        old = self.sessions.pop(peer, None)
        if old and old.transport:
            self.node.emit("session", state="dropped", id=peer.hex())
        if old and (old.waiting or old.files):
            self.sessions[peer] = Session(waiting=old.waiting, files=old.files)

    def tick(self, now):
        for peer, session in list(self.sessions.items()):
            person = self.node.people.get(peer)
            c = session.candidate
            if c and now - session.begun > (
                INITIATOR_SECONDS if c.initiator else RESPONDER_SECONDS
            ):
                session.candidate = None
                self.node.emit("session", state="handshake timed out", id=peer.hex())
                if session.transport:  # back to the old session
                    waiting, session.waiting = session.waiting, []
                    for item in waiting:
                        self.send(peer, *item)
            pause = RETRIES[min(session.attempts, len(RETRIES) - 1)]
            wanted = session.waiting or (session.files and session.transport is None)
            if person and wanted and not session.transport and not session.candidate:
                if now - session.begun > pause:
                    session.attempts += 1
                    self.ensure(peer)
            if session.files and session.transport and session.state is None:
                if now - session.since > STATE_SECONDS:
                    session.files = []
                    self.node.emit(
                        "error", what="no peer state in 5 s: an older client", id=peer.hex()
                    )
            self._forget_like_android(peer, session, person, now)

    def _forget_like_android(self, peer, session, person, now):
        limit = self.node.flavour.forgets_after
        if limit is None or session.transport is None:
            return
        if person and person.links:
            session.linkless = None
        else:
            session.linkless = session.linkless or now
            if now - session.linkless > limit:
                self.forget(peer)
