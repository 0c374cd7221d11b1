//! A node that carries bundles: the exchange with the peers it meets.
//!
//! Two nodes that meet send each other their delivery likelihoods, the ids of their bundles and their
//! receipts; then each gives the other the bundles it should carry, one after the other. Copies count as
//! given once the other has accepted them. A bundle that is not acknowledged stays.

mod keeping;
mod messages;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bundle::{Bundle, MAX_LIFE, MAX_PAYLOAD, lock_of};
use crate::wire::Message;
use crate::{Carried, Parameters, Quotas, Table};

/// Id of a peer.
type Node = [u8; 8];
/// Id of a bundle.
type Id = [u8; 16];

/// Number of copies of a bundle at its source. In the simulations, it delivers as much as a flood with less
/// than a tenth of the transmissions.
pub(crate) const COPIES: u8 = 4;
/// Maximum number of hops of a bundle, even if it allows more itself.
const HOPS: u8 = 16;
/// Milliseconds to wait for the answer to a bundle before it is left for the next meeting.
const ANSWER: u64 = 60_000;
/// Milliseconds between two summaries to a peer that stays near.
const REFRESH: u64 = 600_000;
/// Milliseconds between two summaries to a peer that stays near, once another peer was met.
const REFRESH_SOON: u64 = 15_000;
/// Milliseconds within which a second summary of the same peer is ignored.
const SUMMARY_GAP: u64 = 10_000;
/// Milliseconds by which the creation of a bundle may lie in the future, because clocks differ.
const SKEW: u64 = 3_600_000;
/// Number of ids remembered of a peer's bundles above which those that are not carried here are forgotten.
const HAS: usize = 2000;
/// Maximum number of peers with which messages are exchanged at once; meetings with others only count.
const MEETINGS: usize = 64;
/// Maximum number of unconfirmed bundles for this node; the oldest is forgotten, and accepted again.
const ARRIVALS: usize = 256;
/// Maximum number of unconfirmed bundles for this node from one neighbour.
const ARRIVALS_OF_NEIGHBOUR: usize = 64;

/// Effect that the caller has to carry out or report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Send bytes to a peer that is met.
    Say {
        /// Recipient of the bytes.
        peer: [u8; 8],
        /// Encoded message, at most 48 KiB.
        bytes: Vec<u8>,
    },
    /// A bundle for this node came. The caller opens the payload, stores the message and calls
    /// [`Carrier::confirm`] with the token in it; until then the bundle may come again. Only opening proves
    /// its source.
    Arrived {
        /// Id of the bundle.
        id: [u8; 16],
        /// Claimed author of the bundle.
        source: [u8; 8],
        /// Sealed payload.
        payload: Vec<u8>,
    },
    /// Another node took a bundle of this node to carry; reported once per bundle.
    Handed {
        /// Id of the bundle.
        id: [u8; 16],
    },
    /// A bundle of this node arrived: its recipient named the token sealed in it.
    Delivered {
        /// Id of the bundle.
        id: [u8; 16],
    },
    /// A bundle of this node expired without a receipt.
    Expired {
        /// Id of the bundle.
        id: [u8; 16],
    },
}

/// Reasons why a message is not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("a sealed message of {length} bytes is too long to be carried")]
    TooLong {
        /// Size of the payload, in bytes.
        length: usize,
    },
    /// Bundles of this node fill half of the store. Sending may succeed again once some were delivered or
    /// have expired.
    #[error("too many messages of this node are on their way")]
    Full,
}

/// Metadata of a bundle that is carried.
#[derive(Debug, Clone)]
struct Held {
    /// Neighbour that brought the bundle; `None` for one of this node.
    neighbour: Option<Node>,
    lock: [u8; 32],
    /// Number that rises with each bundle taken.
    order: u64,
    was_handed: bool,
}

/// An unconfirmed bundle for this node.
#[derive(Debug, Clone)]
struct Arrival {
    neighbour: Node,
    expires: u64,
    order: u64,
}

#[derive(Debug, Clone)]
struct Receipt {
    token: [u8; 16],
    until: u64,
    order: u64,
}

/// A peer that is met now.
#[derive(Debug, Clone, Default)]
struct Meeting {
    /// Delivery likelihoods of the peer; `None` before its first summary.
    theirs: Option<BTreeMap<Node, f64>>,
    has: BTreeSet<Id>,
    /// Bundle given to the peer and not answered: id, copies, and the time until which the answer is
    /// awaited.
    giving: Option<(Id, u8, u64)>,
    heard: Option<u64>,
    said: u64,
    /// Whether another peer was met since the last summary.
    is_stale: bool,
}

impl Meeting {
    fn refresh_at(&self) -> u64 {
        self.said.saturating_add(if self.is_stale { REFRESH_SOON } else { REFRESH })
    }
}

/// A node that carries bundles. All times are in milliseconds of Unix time. When the clock is set,
/// [`Self::handle_clock_set`] keeps bundles from expiring sooner or later than they would have.
#[derive(Debug, Clone)]
pub struct Carrier {
    me: Node,
    quotas: Quotas,
    table: Table<Node>,
    carried: Carried<Node>,
    held: BTreeMap<Id, Held>,
    /// Unconfirmed bundles by id and lock, so that a forged bundle does not keep out the true one with the
    /// same id.
    arrivals: BTreeMap<(Id, [u8; 32]), Arrival>,
    receipts: BTreeMap<Id, Receipt>,
    met: BTreeMap<Node, Meeting>,
    effects: VecDeque<Effect>,
    sequence: u64,
    order: u64,
    version: u64,
}

impl Carrier {
    /// Creates a node without bundles and meetings. `me` is the peer id under which others meet this node.
    #[must_use]
    pub fn new(me: [u8; 8], quotas: Quotas) -> Self {
        Self {
            me,
            quotas,
            table: Table::new(Parameters::default()),
            carried: Carried::new(quotas),
            held: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            receipts: BTreeMap::new(),
            met: BTreeMap::new(),
            effects: VecDeque::new(),
            sequence: 0,
            order: 0,
            version: 0,
        }
    }

    /// Sends a sealed message by way of the peers that are met. `token` is random and sealed in the payload
    /// as well; a node that names it has opened the payload. `life` is in milliseconds, reduced to what the
    /// quotas and [`MAX_LIFE`] allow.
    ///
    /// # Errors
    ///
    /// [`SendError`] when the payload is too long or this node has too many bundles on the way.
    pub fn send(
        &mut self,
        destination: [u8; 8],
        payload: Vec<u8>,
        token: [u8; 16],
        life: u64,
        now: u64,
    ) -> Result<[u8; 16], SendError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(SendError::TooLong { length: payload.len() });
        }
        self.expire(now);
        self.sequence += 1;
        let bundle = Bundle {
            source: self.me,
            destination,
            created: now.max(crate::bundle::DTN_EPOCH + 1),
            sequence: self.sequence,
            life: life.min(self.quotas.life).min(MAX_LIFE),
            previous: None,
            hop_limit: HOPS,
            hops: 0,
            lock: lock_of(&token),
            payload,
        };
        let id = bundle.id();
        if !self.keep_own(&bundle) {
            return Err(SendError::Full);
        }
        self.offer_all(now);
        Ok(id)
    }

    /// Handles that a peer is near and messages can be exchanged with it.
    pub fn handle_met(&mut self, peer: [u8; 8], now: u64) {
        self.expire(now);
        if peer == self.me {
            return;
        }
        self.table.meet(&peer, now);
        self.version += 1;
        self.met
            .iter_mut()
            .filter(|(other, _)| **other != peer)
            .for_each(|(_, meeting)| meeting.is_stale = true);
        if self.met.len() < MEETINGS || self.met.contains_key(&peer) {
            self.met.insert(peer, Meeting::default());
            self.say_summary(peer, now);
        }
    }

    /// Handles that a peer is gone. A bundle that was given and not answered stays here too.
    pub fn handle_parted(&mut self, peer: [u8; 8], now: u64) {
        self.met.remove(&peer);
        self.expire(now);
        self.offer_all(now);
    }

    /// Handles a message of a peer. Malformed messages and those of peers that are not met are ignored.
    pub fn handle_message(&mut self, peer: [u8; 8], bytes: &[u8], now: u64) {
        self.expire(now);
        if !self.met.contains_key(&peer) {
            return;
        }
        match Message::decode(bytes) {
            Some(Message::Summary { likelihoods, ids, receipts }) => {
                self.hear_summary(peer, &likelihoods, ids, receipts, now)
            }
            Some(Message::Give { copies, bundle }) => self.hear_bundle(peer, copies, &bundle, now),
            Some(Message::Answer { id, answer }) => self.hear_answer(peer, id, answer, now),
            Some(Message::Receipts(receipts)) => self.hear_receipts(peer, receipts, now),
            None => {}
        }
    }

    /// Confirms that the payload of a bundle with this token was opened and its message is stored. Returns
    /// false, without effect, when `token` is not that of an unconfirmed bundle that arrived here.
    ///
    /// A bundle that comes again after a restart cannot be opened a second time; a caller that stores the
    /// token with the message can confirm it with that.
    pub fn confirm(&mut self, id: [u8; 16], token: [u8; 16]) -> bool {
        let Some(arrival) = self.arrivals.remove(&(id, lock_of(&token))) else { return false };
        // Other bundles with this id were forged.
        self.arrivals.retain(|(other, _), _| *other != id);
        self.remember_receipt(id, token, arrival.expires);
        self.spread_receipt(id, token, None);
        true
    }

    /// Handles the timeout that [`Self::poll_timeout`] gave.
    pub fn handle_timeout(&mut self, now: u64) {
        self.expire(now);
        let mut refresh = Vec::new();
        for (peer, meeting) in &mut self.met {
            if let Some((id, _, until)) = meeting.giving
                && until <= now
            {
                meeting.giving = None;
                meeting.has.insert(id);
            }
            if meeting.refresh_at() <= now {
                refresh.push(*peer);
            }
        }
        for peer in refresh {
            self.say_summary(peer, now);
        }
        self.offer_all(now);
    }

    /// Handles that the clock was set by `by` milliseconds: nothing expires sooner or later because of it.
    pub fn handle_clock_set(&mut self, by: i64) {
        self.table.move_by(by);
        self.carried.move_by(by);
        let ends = self
            .arrivals
            .values_mut()
            .map(|arrival| &mut arrival.expires)
            .chain(self.receipts.values_mut().map(|receipt| &mut receipt.until));
        ends.for_each(|end| *end = end.saturating_add_signed(by));
        for meeting in self.met.values_mut() {
            let given = meeting.giving.as_mut().map(|(_, _, until)| until);
            let times = [&mut meeting.said].into_iter().chain(&mut meeting.heard).chain(given);
            times.for_each(|time| *time = time.saturating_add_signed(by));
        }
        self.version += 1;
    }

    /// Earliest time at which [`Self::handle_timeout`] has something to do; `None` if never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let talks = self
            .met
            .values()
            .flat_map(|meeting| [Some(meeting.refresh_at()), meeting.giving.map(|(_, _, until)| until)]);
        let ends = self.carried.letters().map(|letter| letter.expires);
        let ends = ends
            .chain(self.arrivals.values().map(|arrival| arrival.expires))
            .chain(self.receipts.values().map(|receipt| receipt.until));
        talks.flatten().chain(ends).min()
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Counter that rises when [`Self::state`] changes and has to be stored again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of bundles that are carried for others.
    #[must_use]
    pub fn carried_for_others(&self) -> usize {
        self.held.values().filter(|held| held.neighbour.is_some()).count()
    }
}

#[cfg(test)]
#[path = "meeting_tests.rs"]
mod tests;
