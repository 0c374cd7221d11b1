//! Dials to nodes found on the local network. Anybody there can announce any number of nodes, so these
//! dials get a share of all dials, and few places for each address.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::gate::{Site, site_of};

/// Greatest number of such dials at once, out of 64 in total; the rest is for addresses of invitations and
/// for known nodes.
const MAX_CALLS: usize = 32;
/// Greatest number of dials to one address at once.
const MAX_CALLS_TO_ADDRESS: usize = 4;
/// Greatest number of found nodes that wait to be dialled.
const MAX_WAITING: usize = 1024;
/// Longest time of a dial while others wait.
const PATIENCE: Duration = Duration::from_secs(3);

struct Call {
    peer: PeerId,
    site: Option<Site>,
    since: Instant,
}

/// Dials in progress, and nodes that wait.
#[derive(Default)]
pub(crate) struct Calls {
    under_way: BTreeMap<ConnectionId, Call>,
    waiting: VecDeque<(PeerId, Vec<Multiaddr>)>,
}

impl Calls {
    /// Adds a node that was found. A known node comes first.
    pub(crate) fn found(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, is_known: bool) {
        if let Some((_, before)) = self.waiting.iter_mut().find(|(other, _)| *other == peer) {
            *before = addresses;
        } else if is_known {
            self.waiting.truncate(MAX_WAITING - 1);
            self.waiting.push_front((peer, addresses));
        } else if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((peer, addresses));
        }
    }

    fn site(addresses: &[Multiaddr]) -> Option<Site> {
        addresses.iter().find_map(site_of)
    }

    /// Returns the next node to dial: the first for whose address there is a place.
    pub(crate) fn next(&mut self) -> Option<(PeerId, Vec<Multiaddr>)> {
        if self.under_way.len() >= MAX_CALLS {
            return None;
        }
        let has_place = |addresses: &[Multiaddr]| {
            let site = Self::site(addresses);
            self.under_way.values().filter(|call| call.site == site).count() < MAX_CALLS_TO_ADDRESS
        };
        let next = self.waiting.iter().position(|(_, addresses)| has_place(addresses))?;
        self.waiting.remove(next)
    }

    /// Records the start of a dial.
    pub(crate) fn begun(&mut self, id: ConnectionId, peer: PeerId, addresses: &[Multiaddr], now: Instant) {
        self.under_way.insert(id, Call { peer, site: Self::site(addresses), since: now });
    }

    /// Records the end of a dial, successful or not.
    pub(crate) fn ended(&mut self, id: ConnectionId) {
        self.under_way.remove(&id);
    }

    /// Returns the dials that take too long while others wait.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<PeerId> {
        let is_late = |call: &&Call| now.saturating_duration_since(call.since) >= PATIENCE;
        if self.waiting.is_empty() {
            Vec::new()
        } else {
            self.under_way.values().filter(is_late).map(|call| call.peer).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> Vec<Multiaddr> {
        vec![format!("/ip4/198.51.100.{n}/tcp/4").parse().unwrap()]
    }

    #[test]
    fn names_of_one_address_leave_calls_to_others() {
        let (mut calls, begun) = (Calls::default(), Instant::now());
        (0..2000).for_each(|_| calls.found(PeerId::random(), at(1), false));
        assert_eq!(calls.waiting.len(), MAX_WAITING);
        calls.waiting.truncate(500);
        let mut count = 0;
        let mut call_all = |calls: &mut Calls| {
            let mut called = Vec::new();
            while let Some((peer, addresses)) = calls.next() {
                count += 1;
                calls.begun(ConnectionId::new_unchecked(count), peer, &addresses, begun);
                called.push(peer);
            }
            called
        };
        assert_eq!(call_all(&mut calls).len(), MAX_CALLS_TO_ADDRESS);
        let honest = PeerId::random();
        calls.found(honest, at(2), false);
        assert_eq!(call_all(&mut calls), [honest], "it waits behind hundreds");
        // Many addresses together leave the other half of all dials free.
        (3..200).for_each(|n| calls.found(PeerId::random(), at(n), false));
        assert_eq!(call_all(&mut calls).len(), MAX_CALLS - MAX_CALLS_TO_ADDRESS - 1);
        assert!(calls.overdue(begun + PATIENCE / 2).is_empty());
        assert_eq!(calls.overdue(begun + PATIENCE).len(), MAX_CALLS);
        calls.ended(ConnectionId::new_unchecked(1));
        assert_eq!(call_all(&mut calls).len(), 1);
        let known = PeerId::random();
        calls.found(known, at(201), true);
        calls.ended(ConnectionId::new_unchecked(6));
        assert_eq!(call_all(&mut calls), [known]);
        calls.waiting.clear();
        assert!(calls.overdue(begun + PATIENCE).is_empty(), "nobody waits for them");
    }
}
