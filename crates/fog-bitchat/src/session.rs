//! Noise sessions: `Noise_XX_25519_ChaChaPoly_SHA256`, with no prologue and no payloads in the handshake.
//!
//! A working session is never given up for a message that proves nothing: handshakes run beside it, and it
//! is replaced when one of them is complete.

use std::collections::BTreeMap;

use snow::{Builder, HandshakeState};

use crate::identity::{Identity, PeerId, is_weak};
use crate::transport::Cipher;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
const FIRST: usize = 32;
const SECOND: usize = 96;
const THIRD: usize = 64;
/// Milliseconds for which an initiator, and a responder, waits for the next message.
const INITIATOR_WAITS: u64 = 10_000;
const RESPONDER_WAITS: u64 = 20_000;
/// Milliseconds for which a replaced session can still decrypt.
const GRACE: u64 = 20_000;
const MINUTE: u64 = 60_000;
/// Maximum number of first messages answered in a minute, of one peer and of all.
const OF_ONE: usize = 10;
const OF_ALL: usize = 30;
/// Maximum number of answers to one peer that wait for its third message.
const CANDIDATES: usize = 2;
/// Maximum number of messages tried on one handshake: each costs a computation, and anybody who sees the
/// handshake can send some.
const MAX_ANSWERS: u32 = 64;
/// Maximum number of ciphertexts kept until their session is complete, of one peer and of all.
const EARLY_OF_ONE: usize = 4;
const EARLY_OF_ALL: usize = 32;
/// Maximum number of peers with a session; the one that was silent longest is dropped.
const MAX_SESSIONS: usize = 512;
/// Age in milliseconds, and number of messages, after which a session is renewed.
const RENEW_AFTER: u64 = 24 * 60 * MINUTE / 10 * 9;
const RENEW_MESSAGES: u32 = 900_000_000;

/// Reasons why a message cannot be sealed, opened or handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no session; [`Sessions::begin`] starts one.
    #[error("there is no session with this peer")]
    None,
    /// The ciphertext came before its session was complete, and is kept until then.
    #[error("it came before the session")]
    Early,
    /// The message is not of this session, or was altered.
    #[error("it cannot be opened")]
    Sealed,
    /// The message came before.
    #[error("it is a repetition")]
    Replayed,
    /// The peer, or all of them, began too many handshakes within a minute.
    #[error("too many handshakes")]
    Busy,
}

/// Consequence of a handshake message or a timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// Handshake message to send to the peer.
    Send(PeerId, Vec<u8>),
    /// A session is established; the peer holds this Noise key.
    Established {
        /// Peer of the session.
        peer: PeerId,
        /// Noise key of the peer, from which its id is made.
        noise: [u8; 32],
        /// Ciphertexts that came before the session and can be opened now.
        early: Vec<Vec<u8>>,
    },
    /// The peer did not answer a handshake.
    TimedOut(PeerId),
}

/// Session with one peer.
struct Session {
    noise: [u8; 32],
    send: Cipher,
    receive: Cipher,
    begun: u64,
    used: u64,
}

struct Waiting {
    handshake: Box<HandshakeState>,
    begun: u64,
    /// Number of messages that were tried on the handshake.
    tried: u32,
}

impl Waiting {
    fn new(handshake: Box<HandshakeState>, begun: u64) -> Self {
        Self { handshake, begun, tried: 0 }
    }

    /// Reads the next message; one that does not belong to the handshake leaves it unchanged.
    fn read(&mut self, message: &[u8]) -> Result<(), SessionError> {
        self.tried += 1;
        if self.tried > MAX_ANSWERS {
            return Err(SessionError::Busy);
        }
        read(&mut self.handshake, message)
    }
}

#[derive(Default)]
struct Peer {
    session: Option<Session>,
    previous: Option<(Session, u64)>,
    begun: Option<Waiting>,
    answered: Vec<Waiting>,
    early: Vec<Vec<u8>>,
    beginnings: Vec<u64>,
}

/// All sessions of this device.
pub struct Sessions {
    identity: Identity,
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    beginnings: Vec<u64>,
}

impl Sessions {
    /// Sessions of a device with these keys, none at first.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { me: identity.peer(), identity, peers: BTreeMap::new(), beginnings: Vec::new() }
    }

    /// Whether there is a session with a peer.
    #[must_use]
    pub fn has(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|known| known.session.is_some())
    }

    /// Whether a handshake that this side began is in progress.
    #[must_use]
    pub fn is_beginning(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|known| known.begun.is_some())
    }

    /// Whether a handshake message is a first one, which anybody can make.
    #[must_use]
    pub fn is_first(message: &[u8]) -> bool {
        message.len() == FIRST
    }

    /// Begins a handshake, unless this side has begun one with the peer. `ephemeral` is 32 fresh random
    /// bytes.
    pub fn begin(&mut self, peer: PeerId, ephemeral: &[u8; 32], now: u64) -> Option<SessionEvent> {
        if self.is_beginning(peer) {
            return None;
        }
        let mut handshake = Box::new(self.handshake(ephemeral, true)?);
        let message = write(&mut handshake)?;
        self.peers.entry(peer).or_default().begun = Some(Waiting::new(handshake, now));
        Some(SessionEvent::Send(peer, message))
    }

    /// Handles a handshake message of a peer. `ephemeral` is 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SessionError`] when the message is rejected; an existing session is kept.
    pub fn handle(
        &mut self,
        peer: PeerId,
        message: &[u8],
        ephemeral: &[u8; 32],
        now: u64,
    ) -> Result<Vec<SessionEvent>, SessionError> {
        match message.len() {
            FIRST => self.first(peer, message, ephemeral, now),
            SECOND => self.second(peer, message, now),
            THIRD => self.third(peer, message, now),
            _ => Err(SessionError::Sealed),
        }
    }

    fn first(
        &mut self,
        peer: PeerId,
        message: &[u8],
        ephemeral: &[u8; 32],
        now: u64,
    ) -> Result<Vec<SessionEvent>, SessionError> {
        // Both sides began at once: the handshake of the smaller id continues.
        if self.me < peer && self.is_beginning(peer) {
            return Ok(Vec::new());
        }
        let is_recent = |at: &u64| now.saturating_sub(*at) < MINUTE;
        self.beginnings.retain(is_recent);
        let of_one = self
            .peers
            .get(&peer)
            .map_or(0, |known| known.beginnings.iter().filter(|at| is_recent(at)).count());
        if of_one >= OF_ONE || self.beginnings.len() >= OF_ALL {
            return Err(SessionError::Busy);
        }
        self.beginnings.push(now);
        let mut handshake = Box::new(self.handshake(ephemeral, false).ok_or(SessionError::Sealed)?);
        read(&mut handshake, message)?;
        let answer = write(&mut handshake).ok_or(SessionError::Sealed)?;
        let known = self.peers.entry(peer).or_default();
        known.begun = None;
        known.beginnings.retain(is_recent);
        known.beginnings.push(now);
        if known.answered.len() >= CANDIDATES {
            known.answered.remove(0);
        }
        known.answered.push(Waiting::new(handshake, now));
        Ok(vec![SessionEvent::Send(peer, answer)])
    }

    fn second(&mut self, peer: PeerId, message: &[u8], now: u64) -> Result<Vec<SessionEvent>, SessionError> {
        let known = self.peers.get_mut(&peer).ok_or(SessionError::None)?;
        let waiting = known.begun.as_mut().ok_or(SessionError::None)?;
        waiting.read(message)?;
        let noise = remote(&waiting.handshake, peer);
        let third = write(&mut waiting.handshake);
        let waiting = known.begun.take().ok_or(SessionError::None)?;
        let (Some(noise), Some(third)) = (noise, third) else { return Err(SessionError::Sealed) };
        let established = self.establish(peer, noise, waiting, true, now);
        Ok(vec![SessionEvent::Send(peer, third), established])
    }

    fn third(&mut self, peer: PeerId, message: &[u8], now: u64) -> Result<Vec<SessionEvent>, SessionError> {
        let known = self.peers.get_mut(&peer).ok_or(SessionError::None)?;
        let place = known
            .answered
            .iter_mut()
            .position(|waiting| waiting.read(message).is_ok())
            .ok_or(SessionError::Sealed)?;
        let waiting = known.answered.remove(place);
        let noise = remote(&waiting.handshake, peer).ok_or(SessionError::Sealed)?;
        known.answered.clear();
        Ok(vec![self.establish(peer, noise, waiting, false, now)])
    }

    fn establish(
        &mut self,
        peer: PeerId,
        noise: [u8; 32],
        mut waiting: Waiting,
        is_initiator: bool,
        now: u64,
    ) -> SessionEvent {
        let (first, second) = waiting.handshake.dangerously_get_raw_split();
        let (send, receive) = if is_initiator { (first, second) } else { (second, first) };
        let session = Session {
            noise,
            send: Cipher::new(&send),
            receive: Cipher::new(&receive),
            begun: now,
            used: now,
        };
        if !self.has(peer)
            && self.peers.values().filter(|known| known.session.is_some()).count() >= MAX_SESSIONS
        {
            let silent = self
                .peers
                .iter()
                .filter_map(|(peer, known)| Some((known.session.as_ref()?.used, *peer)))
                .min();
            if let Some((_, silent)) = silent {
                self.peers.remove(&silent);
            }
        }
        let known = self.peers.entry(peer).or_default();
        known.previous = known.session.replace(session).map(|old| (old, now));
        let early = std::mem::take(&mut known.early);
        SessionEvent::Established { peer, noise, early }
    }

    /// Encrypts a message for a peer.
    ///
    /// # Errors
    /// [`SessionError::None`] when there is no session or its counter is exhausted.
    pub fn seal(&mut self, peer: PeerId, open: &[u8], now: u64) -> Result<Vec<u8>, SessionError> {
        let session =
            self.peers.get_mut(&peer).and_then(|known| known.session.as_mut()).ok_or(SessionError::None)?;
        session.used = now;
        session.send.seal(open).ok_or(SessionError::None)
    }

    /// Decrypts a message of a peer; one that comes before its session is complete is kept until then.
    ///
    /// # Errors
    /// [`SessionError`] when the message cannot be opened; the session is kept.
    pub fn open(&mut self, peer: PeerId, sealed: &[u8], now: u64) -> Result<Vec<u8>, SessionError> {
        let kept: usize = self.peers.values().map(|known| known.early.len()).sum();
        let known = self.peers.get_mut(&peer).ok_or(SessionError::None)?;
        let mut result = Err(SessionError::None);
        if let Some(session) = &mut known.session {
            result = session.receive.open(sealed);
            if result.is_ok() {
                session.used = now;
                return result;
            }
        }
        if let Some((old, _)) = &mut known.previous
            && let Ok(open) = old.receive.open(sealed)
        {
            return Ok(open);
        }
        let is_coming = known.begun.is_some() || !known.answered.is_empty();
        if is_coming
            && result != Err(SessionError::Replayed)
            && known.early.len() < EARLY_OF_ONE
            && kept < EARLY_OF_ALL
            && sealed.len() <= 1 << 16
        {
            known.early.push(sealed.to_vec());
            return Err(SessionError::Early);
        }
        result
    }

    /// Ends the session with a peer.
    pub fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// Peers whose session is to be renewed because of its age or its number of messages.
    #[must_use]
    pub fn to_renew(&self, now: u64) -> Vec<PeerId> {
        let is_old = |session: &Session| {
            now.saturating_sub(session.begun) > RENEW_AFTER || session.send.sent() > RENEW_MESSAGES
        };
        self.peers
            .iter()
            .filter(|(_, known)| known.session.as_ref().is_some_and(is_old) && known.begun.is_none())
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Noise key of the peer of a session.
    #[must_use]
    pub fn noise_key(&self, peer: PeerId) -> Option<[u8; 32]> {
        self.peers.get(&peer)?.session.as_ref().map(|session| session.noise)
    }

    #[cfg(test)]
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Drops handshakes that were not answered in time, and replaced sessions after their grace period.
    pub fn handle_timeout(&mut self, now: u64) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        for (peer, known) in &mut self.peers {
            if known.begun.take_if(|waiting| now.saturating_sub(waiting.begun) >= INITIATOR_WAITS).is_some() {
                events.push(SessionEvent::TimedOut(*peer));
            }
            known.answered.retain(|waiting| now.saturating_sub(waiting.begun) < RESPONDER_WAITS);
            known.previous.take_if(|(_, since)| now.saturating_sub(*since) >= GRACE);
            known.beginnings.retain(|at| now.saturating_sub(*at) < MINUTE);
            if known.begun.is_none() && known.answered.is_empty() {
                known.early.clear();
            }
        }
        self.peers.retain(|_, known| {
            known.session.is_some()
                || known.begun.is_some()
                || !known.answered.is_empty()
                || !known.beginnings.is_empty()
        });
        events
    }

    fn handshake(&self, ephemeral: &[u8; 32], is_initiator: bool) -> Option<HandshakeState> {
        let secret = self.identity.noise_secret();
        let builder = Builder::new(PATTERN.parse().ok()?).local_private_key(secret.as_slice()).ok()?;
        // Randomness comes from the caller, as everywhere in this crate; it is fresh for each handshake.
        let builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
        if is_initiator { builder.build_initiator().ok() } else { builder.build_responder().ok() }
    }
}

fn write(handshake: &mut HandshakeState) -> Option<Vec<u8>> {
    let mut message = vec![0; SECOND];
    let length = handshake.write_message(&[], &mut message).ok()?;
    message.truncate(length);
    Some(message)
}

fn read(handshake: &mut HandshakeState, message: &[u8]) -> Result<(), SessionError> {
    let mut payload = [0; 16];
    match handshake.read_message(message, &mut payload) {
        Ok(0) => Ok(()),
        _ => Err(SessionError::Sealed),
    }
}

/// Noise key of the other side, if the peer's id is made from it and it is not weak.
fn remote(handshake: &HandshakeState, peer: PeerId) -> Option<[u8; 32]> {
    let noise: [u8; 32] = handshake.get_remote_static()?.try_into().ok()?;
    (PeerId::of(&noise) == peer && !is_weak(&noise)).then_some(noise)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
