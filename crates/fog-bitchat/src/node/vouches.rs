//! Vouching: a peer that the user verified is told which other peers they verified, and its own vouches are
//! believed.

use std::collections::BTreeMap;

use super::{Event, Node};
use crate::announce::Capabilities;
use crate::identity::{PeerId, PeerKeys};
use crate::inner::Inner;
use crate::vouch::{MAX_LISTED, Vouch};

/// Maximum number of vouches sent to one peer; the newest ones.
const MAX_TOLD: usize = 64;
/// Maximum number of peers whose vouches are kept until the peers are verified.
const MAX_EARLY: usize = 64;

#[derive(Default)]
pub(super) struct Vouches {
    /// Peers that the user verified, and the turn in which.
    verified: BTreeMap<PeerId, (PeerKeys, u64)>,
    /// Counter of changes to the verified peers.
    turn: u64,
    /// Turn in which a peer was last told, in the present session.
    told: BTreeMap<PeerId, u64>,
    /// Vouches of peers that are not verified yet.
    early: BTreeMap<PeerId, Vec<Vouch>>,
}

impl Node {
    /// Records that the user verified these keys in person, or no longer holds them for verified.
    pub fn set_verified(&mut self, keys: PeerKeys, is_verified: bool) {
        let vouches = &mut self.vouches;
        vouches.turn += 1;
        if is_verified {
            vouches.verified.insert(keys.peer(), (keys, vouches.turn));
            if let Some(whom) = vouches.early.remove(&keys.peer()).filter(|_| self.is_verified(keys.peer())) {
                self.say(Event::Vouched { by: keys.peer(), whom });
            }
        } else {
            vouches.verified.remove(&keys.peer());
        }
    }

    fn is_verified(&self, peer: PeerId) -> bool {
        let now = self.people.get(&peer).map(|known| known.keys);
        now.is_some() && now == self.vouches.verified.get(&peer).map(|(keys, _)| *keys)
    }

    /// A session began: the peer may have lost what was told in the previous one.
    pub(super) fn tell_vouches_anew(&mut self, peer: PeerId) {
        self.vouches.told.remove(&peer);
        self.vouches.early.remove(&peer);
    }

    /// Sends vouches to verified peers that have a session and understand them, and to nobody else, for
    /// privacy.
    pub(super) fn tell_vouches(&mut self, now: u64) {
        let turn = self.vouches.turn;
        self.vouches.told.retain(|peer, _| self.people.contains_key(peer));
        let due = |peer: &PeerId| {
            let stated = self.people.get(peer).and_then(|known| known.stated).unwrap_or_default();
            self.vouches.told.get(peer) != Some(&turn)
                && stated.has(Capabilities::VOUCH)
                && self.sessions.has(*peer)
                && self.is_verified(*peer)
        };
        for peer in self.vouches.verified.keys().copied().filter(due).collect::<Vec<_>>() {
            self.vouches.told.insert(peer, turn);
            let mut others: Vec<(PeerKeys, u64)> =
                self.vouches.verified.values().filter(|(keys, _)| keys.peer() != peer).copied().collect();
            others.sort_unstable_by_key(|(_, turn)| std::cmp::Reverse(*turn));
            let vouches: Vec<Vouch> =
                others.iter().take(MAX_TOLD).map(|(keys, _)| Vouch::of(keys, &self.identity, now)).collect();
            for list in vouches.chunks(MAX_LISTED) {
                self.send_in_session(peer, &Inner::Vouches(list.to_vec()), now);
            }
        }
    }

    /// Handles the vouches of a peer.
    pub(super) fn vouched(&mut self, by: PeerId, mut whom: Vec<Vouch>, now: u64) {
        let Some(keys) = self.people.get(&by).filter(|known| known.stated.is_some()).map(|known| known.keys)
        else {
            return;
        };
        let theirs = self.now_of(by, now);
        whom.retain(|vouch| {
            (vouch.is_in_time(now) || vouch.is_in_time(theirs))
                && vouch.is_by(&keys.signing)
                && vouch.peer() != by
                && vouch.peer() != self.me
        });
        if whom.is_empty() {
            return;
        }
        if self.is_verified(by) {
            return self.say(Event::Vouched { by, whom });
        }
        // The peer may be verified in a moment: two people scan each other one after the other.
        let early = &mut self.vouches.early;
        if early.len() < MAX_EARLY || early.contains_key(&by) {
            let said = early.entry(by).or_default();
            said.extend(whom);
            let too_many = said.len().saturating_sub(MAX_TOLD);
            said.drain(..too_many);
        }
    }
}
