//! Messages between two who are not there at the same time: sealed with a double ratchet (Olm, by `vodozemac`).
//!
//! Fog nodes that meet exchange cards inside their authenticated session; with the card of somebody a message for
//! them can be sealed at any time later. The keys are random ones that `vodozemac` draws from the operating system,
//! the one exception to this crate's rule that randomness comes in from outside.

mod stored;

use std::collections::{BTreeMap, VecDeque};

use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use crate::MAX_PAYLOAD;
use crate::wire::Reader;

pub use stored::RestoreError;

/// Most bytes that can be sealed: what comes out fits in a bundle with padding and keys.
pub const MAX_PLAINTEXT: usize = MAX_PAYLOAD - 256;

/// First byte of cards and of sealed messages.
const VERSION: u8 = 1;
/// One-time keys on a card: one for the first message after it, one more if that session is lost.
const KEYS: usize = 2;
/// Most one-time keys on a card that is read.
const MAX_KEYS: usize = 8;
/// Most one-time keys that were given away and not used; the oldest go. A first message that was sealed with one of
/// those cannot be opened any more. Our own choice: 300 cards.
const ISSUED: usize = 600;
/// Most sessions in all; the one that was used least recently goes.
const SESSIONS: usize = 500;
/// Most sessions with the same peer. There are several when both write first, or after another meeting.
const SESSIONS_OF_PEER: usize = 4;
/// Most peers whose cards are remembered.
const PEERS: usize = 500;
/// Most sessions that are gone and whose first message is still refused.
const SPENT: usize = 2000;

/// Why a sealed message cannot be opened. None of these gets better by trying again, but for [`Self::Stranger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too long, or not in the form of a sealed message.
    #[error("not a sealed message")]
    Malformed,
    /// No card of this peer is known, or it was sealed by somebody else than who their card names. It can be opened
    /// when their card was learnt, at the next meeting.
    #[error("sealed by somebody whose card is not known")]
    Stranger,
    /// It was opened before, or damaged, or no key for it is left.
    #[error("no key opens this message")]
    NoKey,
}

/// The keys of one node, and its sessions with others. Peers are named by their Noise key, which the session that
/// cards come through has authenticated.
///
/// What is sealed may only leave this device when [`Self::state`] was stored: a node that goes back to an older
/// state seals a second message with the same key.
pub struct Ratchet {
    account: Account,
    /// The key that a card names for when its one-time keys are used up.
    fallback: [u8; 32],
    /// One-time keys that were given away, the oldest first.
    issued: VecDeque<[u8; 32]>,
    peers: BTreeMap<[u8; 32], Peer>,
    /// Ids of sessions that are gone: with the fallback key their first message could be opened again.
    spent: VecDeque<String>,
    /// Rises with every use of a peer or session.
    uses: u64,
    version: u64,
}

/// What is known of somebody.
struct Peer {
    card: Card,
    /// They were met since the last session with them began or was heard of. Then the next message begins a new one:
    /// they may have lost the old one, and keys of a new one are new.
    is_fresh: bool,
    sessions: Vec<Talk>,
    used: u64,
}

struct Talk {
    session: Session,
    used: u64,
    /// When it began or was last heard in. The one with the highest is written in.
    heard: u64,
}

/// The keys that somebody gave away.
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
    /// New random keys.
    #[must_use]
    pub fn new() -> Self {
        let mut ratchet =
            Self { account: Account::new(), fallback: [0; 32], issued: VecDeque::new(), peers: BTreeMap::new(), spent: VecDeque::new(), uses: 0, version: 0 };
        ratchet.rotate();
        ratchet
    }

    /// A new fallback key. The one before still opens messages, the one before that does not: to be called about
    /// once in the life of a bundle, every week.
    pub fn rotate(&mut self) {
        self.account.generate_fallback_key();
        if let Some(key) = self.account.fallback_key().values().next() {
            self.fallback = key.to_bytes();
        }
        self.account.mark_keys_as_published();
        self.version += 1;
    }

    /// Keys for somebody who is met, about 130 bytes. Every peer gets another card at every meeting, once
    /// [`Self::state`] is stored.
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

    /// The card of somebody who is met, as it came through the session that authenticated their Noise key. False
    /// when it is none, or this node's own.
    pub fn learn(&mut self, peer_noise_key: [u8; 32], card: &[u8]) -> bool {
        let Some(card) = Card::decode(card).filter(|card| card.identity != self.account.curve25519_key().to_bytes()) else { return false };
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
            let Some(oldest) = self.peers.iter().min_by_key(|(_, peer)| peer.used).map(|(key, _)| *key) else { break };
            if let Some(peer) = self.peers.remove(&oldest) {
                self.spend(peer.sessions);
            }
        }
        self.version += 1;
        true
    }

    /// Whether something can be sealed for somebody.
    #[must_use]
    pub fn knows(&self, peer_noise_key: &[u8; 32]) -> bool {
        self.peers.contains_key(peer_noise_key)
    }

    /// The Noise keys of everybody for whom something can be sealed.
    pub fn peers(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.peers.keys()
    }

    /// Seals something for a peer. None when no card of theirs is known or it is longer than [`MAX_PLAINTEXT`].
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
            let created = self.account.create_outbound_session(SessionConfig::version_1(), peer.card.identity.into(), key.into());
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

    /// Opens what a peer sealed for this node, each message once, in any order as far as up to 40 are missing in
    /// between. What cannot be opened changes nothing.
    ///
    /// # Errors
    ///
    /// When it was not sealed by this peer for this node, was opened before, or is damaged; see [`OpenError`].
    pub fn open(&mut self, peer_noise_key: &[u8; 32], bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let &[VERSION, kind, ref body @ ..] = bytes else { return Err(OpenError::Malformed) };
        if bytes.len() > MAX_PAYLOAD {
            return Err(OpenError::Malformed);
        }
        let message = OlmMessage::from_parts(usize::from(kind), body).map_err(|_| OpenError::Malformed)?;
        // The same message can be written in other ways, with fields that are passed over; one is enough.
        if message.to_parts().1 != body {
            return Err(OpenError::Malformed);
        }
        let peer = self.peers.get_mut(peer_noise_key).ok_or(OpenError::Stranger)?;
        let uses = self.uses + 1;
        if let OlmMessage::PreKey(first) = &message {
            // The highest bit of these keys neither counts nor is authenticated: with it set, a message that was opened
            // would look like another one. Nobody honest sets it.
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
                let created = self.account.create_inbound_session(SessionConfig::version_1(), identity, first).map_err(|_| OpenError::NoKey)?;
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

    /// Rises when [`Self::state`] is another: there is something to store.
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

    /// Only the peer's sessions that just became more can be too many.
    fn keep_bounds(&mut self, changed: &[u8; 32]) {
        let mut gone = Vec::new();
        if let Some(peer) = self.peers.get_mut(changed)
            && peer.sessions.len() > SESSIONS_OF_PEER
        {
            take_oldest(&mut peer.sessions, &mut gone);
        }
        if self.peers.values().map(|peer| peer.sessions.len()).sum::<usize>() > SESSIONS {
            let oldest = |peer: &&mut Peer| peer.sessions.iter().map(|talk| talk.used).min().unwrap_or(u64::MAX);
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
        let card = Self { identity: reader.array()?, fallback: reader.array()?, once: reader.list(MAX_KEYS, Reader::array)? };
        reader.0.is_empty().then_some(card)
    }
}

#[cfg(test)]
#[path = "ratchet_tests.rs"]
mod tests;
