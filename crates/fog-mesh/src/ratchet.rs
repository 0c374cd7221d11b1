//! Messages between peers that are not online at the same time, sealed with a double ratchet (Olm, by
//! `vodozemac`).
//!
//! Fog nodes that meet exchange cards inside their authenticated session; with the card of a peer, a
//! message for it can be sealed at any later time. `vodozemac` draws random keys from the operating system,
//! the one exception to the rule of this crate that randomness comes from the caller.

mod stored;

use std::collections::{BTreeMap, VecDeque};

use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use crate::MAX_PAYLOAD;
use crate::wire::Reader;

pub use stored::RestoreError;

/// Maximum size of a plaintext in bytes, so that the sealed message fits in a bundle with padding and keys.
pub const MAX_PLAINTEXT: usize = MAX_PAYLOAD - 256;

/// First byte of cards and of sealed messages.
const VERSION: u8 = 1;
/// Number of one-time keys on a card: one for the next message, one more if that session is lost.
const KEYS: usize = 2;
/// Maximum number of one-time keys accepted on a card.
const MAX_KEYS: usize = 8;
/// Maximum number of one-time keys that were given away and not used, 300 cards; the oldest are dropped. A
/// first message that was sealed with a dropped key cannot be opened.
const ISSUED: usize = 600;
/// Maximum number of sessions in total; the one used least recently is dropped.
const SESSIONS: usize = 500;
/// Maximum number of sessions with one peer. Several exist when both write first, or after another meeting.
const SESSIONS_OF_PEER: usize = 4;
/// Maximum number of peers whose cards are remembered.
const PEERS: usize = 500;
/// Maximum number of dropped sessions whose first message is still refused.
const SPENT: usize = 2000;

/// Reasons why a sealed message cannot be opened. Only after [`Self::Stranger`] may a later attempt
/// succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The message is too long or malformed.
    #[error("not a sealed message")]
    Malformed,
    /// No card of this peer is known, or its card names another identity than the message. The message can
    /// be opened once the right card was learned at a meeting.
    #[error("sealed by somebody whose card is not known")]
    Stranger,
    /// The message was opened before, is damaged, or has no key left.
    #[error("no key opens this message")]
    NoKey,
}

/// Keys of a node and its sessions with peers. Peers are named by their Noise key, which the session that
/// brings their cards authenticates.
///
/// A sealed message may leave this device only after [`Self::state`] was stored: a node that goes back to
/// an older state seals a second message with the same key.
pub struct Ratchet {
    account: Account,
    /// Key on cards for when their one-time keys are used up.
    fallback: [u8; 32],
    /// One-time keys that were given away, the oldest first.
    issued: VecDeque<[u8; 32]>,
    peers: BTreeMap<[u8; 32], Peer>,
    /// Ids of dropped sessions: with the fallback key, their first message could be opened again.
    spent: VecDeque<String>,
    /// Counter that rises with every use of a peer or session.
    uses: u64,
    version: u64,
}

/// Card and sessions of a peer.
struct Peer {
    card: Card,
    /// Whether the peer was met since the last session with it began or was heard. The next message then
    /// begins a new session: the peer may have lost the old one, and a new one has new keys.
    is_fresh: bool,
    sessions: Vec<Talk>,
    used: u64,
}

struct Talk {
    session: Session,
    used: u64,
    /// Value of `uses` when the session began or was last heard; the session with the highest value is
    /// used for sending.
    heard: u64,
}

/// Public keys that a peer gave away.
#[derive(Clone)]
struct Card {
    identity: [u8; 32],
    fallback: [u8; 32],
    once: Vec<[u8; 32]>,
}

impl Default for Ratchet {
    fn default() -> Self {
        Self::new()
    }
}

impl Ratchet {
    /// Creates a ratchet with new random keys.
    #[must_use]
    pub fn new() -> Self {
        let mut ratchet = Self {
            account: Account::new(),
            fallback: [0; 32],
            issued: VecDeque::new(),
            peers: BTreeMap::new(),
            spent: VecDeque::new(),
            uses: 0,
            version: 0,
        };
        ratchet.rotate();
        ratchet
    }

    /// Replaces the fallback key. The previous one still opens messages, older ones do not; to be called
    /// about once per maximum bundle lifetime, every week.
    pub fn rotate(&mut self) {
        self.account.generate_fallback_key();
        if let Some(key) = self.account.fallback_key().values().next() {
            self.fallback = key.to_bytes();
        }
        self.account.mark_keys_as_published();
        self.version += 1;
    }

    /// Card with keys for a peer that is met, about 130 bytes. Each peer gets a new card at each meeting,
    /// after [`Self::state`] was stored.
    pub fn card(&mut self) -> Vec<u8> {
        let keys = self.account.generate_one_time_keys(KEYS).created;
        self.account.mark_keys_as_published();
        self.issued.extend(keys.iter().map(Curve25519PublicKey::to_bytes));
        while self.issued.len() > ISSUED {
            if let Some(oldest) = self.issued.pop_front() {
                self.account.remove_one_time_key(oldest.into());
            }
        }
        self.version += 1;
        let card = Card {
            identity: self.account.curve25519_key().to_bytes(),
            fallback: self.fallback,
            once: keys.iter().map(Curve25519PublicKey::to_bytes).collect(),
        };
        card.encode()
    }

    /// Learns the card of a peer, received in the session that authenticated its Noise key. Returns false
    /// when the card is malformed or this node's own.
    pub fn learn(&mut self, peer_noise_key: [u8; 32], card: &[u8]) -> bool {
        let Some(card) =
            Card::decode(card).filter(|card| card.identity != self.account.curve25519_key().to_bytes())
        else {
            return false;
        };
        self.uses += 1;
        let mut sessions = Vec::new();
        if let Some(known) = self.peers.remove(&peer_noise_key) {
            if known.card.identity == card.identity {
                sessions = known.sessions;
            } else {
                self.spend(known.sessions);
            }
        }
        self.peers.insert(peer_noise_key, Peer { card, is_fresh: true, sessions, used: self.uses });
        while self.peers.len() > PEERS {
            let Some(oldest) = self.peers.iter().min_by_key(|(_, peer)| peer.used).map(|(key, _)| *key)
            else {
                break;
            };
            if let Some(peer) = self.peers.remove(&oldest) {
                self.spend(peer.sessions);
            }
        }
        self.version += 1;
        true
    }

    /// Whether a message can be sealed for a peer.
    #[must_use]
    pub fn knows(&self, peer_noise_key: &[u8; 32]) -> bool {
        self.peers.contains_key(peer_noise_key)
    }

    /// Noise keys of all peers for which messages can be sealed.
    pub fn peers(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.peers.keys()
    }

    /// Seals a message for a peer. `None` when no card of the peer is known or the message exceeds
    /// [`MAX_PLAINTEXT`].
    pub fn seal(&mut self, peer_noise_key: &[u8; 32], plaintext: &[u8]) -> Option<Vec<u8>> {
        if plaintext.len() > MAX_PLAINTEXT {
            return None;
        }
        self.uses += 1;
        let uses = self.uses;
        let peer = self.peers.get_mut(peer_noise_key)?;
        peer.used = uses;
        if peer.is_fresh || peer.sessions.is_empty() {
            let key = peer.card.once.pop().unwrap_or(peer.card.fallback);
            let created = self.account.create_outbound_session(
                SessionConfig::version_1(),
                peer.card.identity.into(),
                key.into(),
            );
            if let Ok(session) = created {
                peer.sessions.push(Talk { session, used: uses, heard: uses });
                peer.is_fresh = false;
            }
        }
        let talk = peer.sessions.iter_mut().max_by_key(|talk| talk.heard)?;
        talk.used = uses;
        let message = talk.session.encrypt(plaintext).ok()?;
        self.keep_bounds(peer_noise_key);
        self.version += 1;
        let (kind, bytes) = message.to_parts();
        Some([&[VERSION, u8::from(kind == 1)][..], &bytes].concat())
    }

    /// Opens a message that a peer sealed for this node: each one once, in any order, with at most 40
    /// skipped in between. A failure changes nothing.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it was not sealed by this peer for this node, was opened before, or is damaged.
    pub fn open(&mut self, peer_noise_key: &[u8; 32], bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let &[VERSION, kind, ref body @ ..] = bytes else { return Err(OpenError::Malformed) };
        if bytes.len() > MAX_PAYLOAD {
            return Err(OpenError::Malformed);
        }
        let message = OlmMessage::from_parts(usize::from(kind), body).map_err(|_| OpenError::Malformed)?;
        // The same message has other encodings, with ignored fields; only the usual one is accepted.
        if message.to_parts().1 != body {
            return Err(OpenError::Malformed);
        }
        let peer = self.peers.get_mut(peer_noise_key).ok_or(OpenError::Stranger)?;
        let uses = self.uses + 1;
        if let OlmMessage::PreKey(first) = &message {
            // The highest bit of these keys is ignored and not authenticated: with it set, a message that
            // was opened before would look like another one. No honest sender sets it.
            if [first.base_key(), first.one_time_key()].iter().any(|key| key.as_bytes()[31] & 0x80 != 0) {
                return Err(OpenError::Malformed);
            }
            if first.identity_key().to_bytes() != peer.card.identity {
                return Err(OpenError::Stranger);
            }
            let id = first.session_id();
            if peer.sessions.iter().all(|talk| talk.session.session_id() != id) {
                if self.spent.contains(&id) {
                    return Err(OpenError::NoKey);
                }
                let identity = first.identity_key();
                let created = self
                    .account
                    .create_inbound_session(SessionConfig::version_1(), identity, first)
                    .map_err(|_| OpenError::NoKey)?;
                let used_up = first.one_time_key().to_bytes();
                self.issued.retain(|key| *key != used_up);
                peer.sessions.push(Talk { session: created.session, used: uses, heard: uses });
                self.heard(peer_noise_key, uses);
                return Ok(created.plaintext);
            }
        }
        peer.sessions.sort_by_key(|talk| std::cmp::Reverse(talk.heard));
        let opened = peer.sessions.iter_mut().find_map(|talk| {
            let plaintext = talk.session.decrypt(&message).ok()?;
            (talk.used, talk.heard) = (uses, uses);
            Some(plaintext)
        });
        let plaintext = opened.ok_or(OpenError::NoKey)?;
        self.heard(peer_noise_key, uses);
        Ok(plaintext)
    }

    /// Counter that rises when [`Self::state`] changes and has to be stored again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    fn heard(&mut self, peer_noise_key: &[u8; 32], uses: u64) {
        self.uses = uses;
        if let Some(peer) = self.peers.get_mut(peer_noise_key) {
            peer.used = uses;
            peer.is_fresh = false;
        }
        self.keep_bounds(peer_noise_key);
        self.version += 1;
    }

    /// Only the sessions of the peer that just got one more can exceed the bounds.
    fn keep_bounds(&mut self, changed: &[u8; 32]) {
        let mut gone = Vec::new();
        if let Some(peer) = self.peers.get_mut(changed)
            && peer.sessions.len() > SESSIONS_OF_PEER
        {
            take_oldest(&mut peer.sessions, &mut gone);
        }
        if self.peers.values().map(|peer| peer.sessions.len()).sum::<usize>() > SESSIONS {
            let oldest =
                |peer: &&mut Peer| peer.sessions.iter().map(|talk| talk.used).min().unwrap_or(u64::MAX);
            if let Some(peer) = self.peers.values_mut().min_by_key(oldest) {
                take_oldest(&mut peer.sessions, &mut gone);
            }
        }
        self.spend(gone);
    }

    fn spend(&mut self, sessions: Vec<Talk>) {
        self.spent.extend(sessions.iter().map(|talk| talk.session.session_id()));
        while self.spent.len() > SPENT {
            self.spent.pop_front();
        }
    }
}

fn take_oldest(sessions: &mut Vec<Talk>, gone: &mut Vec<Talk>) {
    let oldest = sessions.iter().enumerate().min_by_key(|(_, talk)| talk.used).map(|(at, _)| at);
    gone.extend(oldest.map(|at| sessions.swap_remove(at)));
}

impl Card {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.identity);
        bytes.extend_from_slice(&self.fallback);
        bytes.extend_from_slice(&u16::try_from(self.once.len()).unwrap_or(0).to_be_bytes());
        self.once.iter().for_each(|key| bytes.extend_from_slice(key));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.byte()? != VERSION {
            return None;
        }
        let card = Self {
            identity: reader.array()?,
            fallback: reader.array()?,
            once: reader.list(MAX_KEYS, Reader::array)?,
        };
        reader.0.is_empty().then_some(card)
    }
}

#[cfg(test)]
#[path = "ratchet_tests.rs"]
mod tests;
