//! Noise sessions: `Noise_XX_25519_ChaChaPoly_SHA256`, with no prologue and no payloads in the handshake.
//!
//! A session that works is never given up for a message that proves nothing: handshakes run beside it, and it
//! is replaced when one is complete.

use std::collections::BTreeMap;

use snow::{Builder, HandshakeState};

use crate::identity::{Identity, PeerId, is_weak};
use crate::transport::Cipher;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
const FIRST: usize = 32;
const SECOND: usize = 96;
const THIRD: usize = 64;
/// Milliseconds that who began waits, and who answered.
const INITIATOR_WAITS: u64 = 10_000;
const RESPONDER_WAITS: u64 = 20_000;
/// An old session still reads for so long.
const GRACE: u64 = 20_000;
const MINUTE: u64 = 60_000;
/// Beginnings that are answered in a minute: of one peer, and of all.
const OF_ONE: usize = 10;
const OF_ALL: usize = 30;
/// Answers to one peer that wait for its third message.
const CANDIDATES: usize = 2;
/// Answers that are tried on a handshake: each costs a computation, and somebody who sees it begin can send any.
const MAX_ANSWERS: u32 = 64;
/// Ciphertexts kept that came before their session: of one peer, and of all.
const EARLY_OF_ONE: usize = 4;
const EARLY_OF_ALL: usize = 32;
/// Peers with a session; the one that was silent longest goes.
const MAX_SESSIONS: usize = 512;
/// A session is renewed after so long, or so many messages.
const RENEW_AFTER: u64 = 24 * 60 * MINUTE / 10 * 9;
const RENEW_MESSAGES: u32 = 900_000_000;

/// Why something was not said or not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no session; [`Sessions::begin`] begins one.
    #[error("there is no session with this peer")]
    None,
    /// It came before its session is complete and is kept until then.
    #[error("it came before the session")]
    Early,
    /// Not from this session, or altered.
    #[error("it cannot be opened")]
    Sealed,
    /// It came before.
    #[error("it is a repetition")]
    Replayed,
    /// Too many for now.
    #[error("too many handshakes")]
    Busy,
}

/// What follows from a handshake message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// To be sent to the peer as a handshake packet.
    Send(PeerId, Vec<u8>),
    /// There is a session; the other side holds this Noise key.
    Established {
        /// With whom.
        peer: PeerId,
        /// Its key; the peer's name is made from it.
        noise: [u8; 32],
        /// What came before it and can be read now.
        early: Vec<Vec<u8>>,
    },
    /// The peer did not answer.
    TimedOut(PeerId),
}

/// The session with one peer.
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
    /// Messages that were tried on it.
    tried: u32,
}

impl Waiting {
    fn new(handshake: Box<HandshakeState>, begun: u64) -> Self {
        Self { handshake, begun, tried: 0 }
    }

    /// Reads the next message; what does not belong to the handshake leaves it as it was.
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

/// The sessions of this device.
pub struct Sessions {
    identity: Identity,
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    beginnings: Vec<u64>,
}

impl Sessions {
    /// Of a device with these keys.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { me: identity.peer(), identity, peers: BTreeMap::new(), beginnings: Vec::new() }
    }

    /// Whether there is a session with a peer.
    #[must_use]
    pub fn has(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|known| known.session.is_some())
    }

    /// Whether a handshake that this side began is under way.
    #[must_use]
    pub fn is_beginning(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|known| known.begun.is_some())
    }

    /// Whether a handshake message is a beginning, which anybody can make.
    #[must_use]
    pub fn is_first(message: &[u8]) -> bool {
        message.len() == FIRST
    }

    /// Begins a handshake, unless one is under way. `ephemeral` is 32 fresh random bytes.
    pub fn begin(&mut self, peer: PeerId, ephemeral: &[u8; 32], now: u64) -> Option<SessionEvent> {
        if self.is_beginning(peer) {
            return None;
        }
        let mut handshake = Box::new(self.handshake(ephemeral, true)?);
        let message = write(&mut handshake)?;
        self.peers.entry(peer).or_default().begun = Some(Waiting::new(handshake, now));
        Some(SessionEvent::Send(peer, message))
    }

    /// A handshake message from a peer. `ephemeral` is 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SessionError`]; whatever session there is goes on.
    pub fn handle(&mut self, peer: PeerId, message: &[u8], ephemeral: &[u8; 32], now: u64) -> Result<Vec<SessionEvent>, SessionError> {
        match message.len() {
            FIRST => self.first(peer, message, ephemeral, now),
            SECOND => self.second(peer, message, now),
            THIRD => self.third(peer, message, now),
            _ => Err(SessionError::Sealed),
        }
    }

    fn first(&mut self, peer: PeerId, message: &[u8], ephemeral: &[u8; 32], now: u64) -> Result<Vec<SessionEvent>, SessionError> {
        // Both began at once: the smaller name goes on.
        if self.me < peer && self.is_beginning(peer) {
            return Ok(Vec::new());
        }
        let is_recent = |at: &u64| now.saturating_sub(*at) < MINUTE;
        self.beginnings.retain(is_recent);
        let of_one = self.peers.get(&peer).map_or(0, |known| known.beginnings.iter().filter(|at| is_recent(at)).count());
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
        let place = known.answered.iter_mut().position(|waiting| waiting.read(message).is_ok()).ok_or(SessionError::Sealed)?;
        let waiting = known.answered.remove(place);
        let noise = remote(&waiting.handshake, peer).ok_or(SessionError::Sealed)?;
        known.answered.clear();
        Ok(vec![self.establish(peer, noise, waiting, false, now)])
    }

    fn establish(&mut self, peer: PeerId, noise: [u8; 32], mut waiting: Waiting, is_initiator: bool, now: u64) -> SessionEvent {
        let (first, second) = waiting.handshake.dangerously_get_raw_split();
        let (send, receive) = if is_initiator { (first, second) } else { (second, first) };
        let session = Session { noise, send: Cipher::new(&send), receive: Cipher::new(&receive), begun: now, used: now };
        if !self.has(peer) && self.peers.values().filter(|known| known.session.is_some()).count() >= MAX_SESSIONS {
            let silent = self.peers.iter().filter_map(|(peer, known)| Some((known.session.as_ref()?.used, *peer))).min();
            if let Some((_, silent)) = silent {
                self.peers.remove(&silent);
            }
        }
        let known = self.peers.entry(peer).or_default();
        known.previous = known.session.replace(session).map(|old| (old, now));
        let early = std::mem::take(&mut known.early);
        SessionEvent::Established { peer, noise, early }
    }

    /// Seals something for a peer.
    ///
    /// # Errors
    /// [`SessionError::None`].
    pub fn seal(&mut self, peer: PeerId, open: &[u8], now: u64) -> Result<Vec<u8>, SessionError> {
        let session = self.peers.get_mut(&peer).and_then(|known| known.session.as_mut()).ok_or(SessionError::None)?;
        session.used = now;
        session.send.seal(open).ok_or(SessionError::None)
    }

    /// Opens what a peer sent; what comes a little before its session is complete is kept until then.
    ///
    /// # Errors
    /// [`SessionError`]; the session goes on.
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
        if is_coming && result != Err(SessionError::Replayed) && known.early.len() < EARLY_OF_ONE && kept < EARLY_OF_ALL && sealed.len() <= 1 << 16 {
            known.early.push(sealed.to_vec());
            return Err(SessionError::Early);
        }
        result
    }

    /// Ends the session with a peer.
    pub fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// Peers whose session is old and is to be begun anew.
    #[must_use]
    pub fn to_renew(&self, now: u64) -> Vec<PeerId> {
        let is_old = |session: &Session| now.saturating_sub(session.begun) > RENEW_AFTER || session.send.sent() > RENEW_MESSAGES;
        self.peers.iter().filter(|(_, known)| known.session.as_ref().is_some_and(is_old) && known.begun.is_none()).map(|(peer, _)| *peer).collect()
    }

    /// The Noise key of the other side of a session.
    #[must_use]
    pub fn noise_key(&self, peer: PeerId) -> Option<[u8; 32]> {
        self.peers.get(&peer)?.session.as_ref().map(|session| session.noise)
    }

    #[cfg(test)]
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Gives up what was not answered.
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
        self.peers.retain(|_, known| known.session.is_some() || known.begun.is_some() || !known.answered.is_empty() || !known.beginnings.is_empty());
        events
    }

    fn handshake(&self, ephemeral: &[u8; 32], is_initiator: bool) -> Option<HandshakeState> {
        let secret = self.identity.noise_secret();
        let builder = Builder::new(PATTERN.parse().ok()?).local_private_key(secret.as_slice()).ok()?;
        // Randomness comes from the caller, as everywhere here; it is fresh for each handshake.
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

/// The key of the other side, if it is the one that its name is made from.
fn remote(handshake: &HandshakeState, peer: PeerId) -> Option<[u8; 32]> {
    let noise: [u8; 32] = handshake.get_remote_static()?.try_into().ok()?;
    (PeerId::of(&noise) == peer && !is_weak(&noise)).then_some(noise)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
