//! Routes that this node chooses to peers that are not linked, over nodes that announce each other as
//! neighbours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Node;
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;

/// Maximum number of nodes between this node and the recipient.
const MAX_HOPS: usize = 4;
/// Milliseconds for which the announced neighbours of a peer count.
const CLAIM_LIFE: u64 = 60_000;
/// Milliseconds within which a recipient must be heard after a packet was sent over a route, and for which
/// no route to it is chosen if it is not.
const CONFIRMED_IN: u64 = 10_000;
const NOT_AGAIN: u64 = 60_000;

/// Neighbours that a peer announced.
#[derive(Default)]
pub(super) struct Claim {
    neighbours: Vec<PeerId>,
    at: u64,
}

#[derive(Default)]
pub(super) struct Routes {
    claims: BTreeMap<PeerId, Claim>,
    /// Peers heard in packets of version 2, the only ones with room for a route.
    modern: BTreeSet<PeerId>,
    /// Recipients of packets sent over a route, and since when they were not heard.
    unconfirmed: BTreeMap<PeerId, u64>,
    failed: BTreeMap<PeerId, u64>,
}

impl Routes {
    pub(super) fn claimed(&mut self, peer: PeerId, neighbours: Vec<PeerId>, now: u64) {
        if neighbours.is_empty() {
            self.claims.remove(&peer);
        } else {
            self.claims.insert(peer, Claim { neighbours, at: now });
        }
    }

    pub(super) fn heard(&mut self, frame: &Frame, me: PeerId) {
        if frame.version >= 2 {
            self.modern.insert(frame.sender);
        }
        if frame.recipient == Some(me) {
            self.unconfirmed.remove(&frame.sender);
        }
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        self.claims.remove(&peer);
        self.modern.remove(&peer);
        self.unconfirmed.remove(&peer);
    }

    pub(super) fn handle_timeout(&mut self, now: u64) {
        self.claims.retain(|_, claim| now.saturating_sub(claim.at) < CLAIM_LIFE);
        self.failed.retain(|_, until| *until > now);
        for (peer, _) in
            self.unconfirmed.extract_if(.., |_, since| now.saturating_sub(*since) >= CONFIRMED_IN)
        {
            self.failed.insert(peer, now + NOT_AGAIN);
        }
    }

    fn claims(&self, one: PeerId, other: PeerId) -> bool {
        self.claims.get(&one).is_some_and(|claim| claim.neighbours.contains(&other))
    }

    /// Shortest route over edges that both ends announce and hops that are fit. Contains neither this node
    /// nor the recipient.
    fn find(
        &self,
        me: PeerId,
        linked: &[PeerId],
        to: PeerId,
        is_fit: impl Fn(PeerId) -> bool,
    ) -> Option<Vec<PeerId>> {
        let first = linked.iter().copied().filter(|peer| is_fit(*peer) && self.claims(*peer, me));
        let mut ways: VecDeque<Vec<PeerId>> = first.map(|peer| vec![peer]).collect();
        let mut seen: BTreeSet<PeerId> = linked.iter().copied().chain([me]).collect();
        while let Some(way) = ways.pop_front() {
            let last = *way.last()?;
            for next in self.claims.get(&last).map_or(&[][..], |claim| &claim.neighbours) {
                if !self.claims(*next, last) || !is_fit(*next) {
                    continue;
                }
                if *next == to {
                    return Some(way);
                }
                if way.len() < MAX_HOPS && seen.insert(*next) {
                    ways.push_back(way.iter().copied().chain([*next]).collect());
                }
            }
        }
        None
    }
}

impl Node {
    /// Route to a peer that is not linked, if one is known. Only for unsigned packets: a signature would
    /// cover the route.
    pub(super) fn choose_way(&mut self, to: PeerId, frame: &Frame, now: u64) -> Option<Vec<PeerId>> {
        let is_fit = frame.sender == self.me
            && frame.signature.is_none()
            && matches!(frame.kind, Kind::HANDSHAKE | Kind::ENCRYPTED);
        if !is_fit || self.routes.failed.contains_key(&to) {
            return None;
        }
        let way = self.routes.find(self.me, &self.linked(), to, |hop| self.routes.modern.contains(&hop))?;
        self.routes.unconfirmed.entry(to).or_insert(now);
        Some(way)
    }

    fn linked(&self) -> Vec<PeerId> {
        self.people.keys().copied().filter(|peer| self.link_to(*peer).is_some()).collect()
    }

    /// Nodes between this node and a peer, as those on the way announce; empty when there is a link.
    pub(super) fn way_to(&self, to: PeerId) -> Option<Vec<PeerId>> {
        if self.link_to(to).is_some() {
            Some(Vec::new())
        } else {
            self.routes.find(self.me, &self.linked(), to, |_| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 8])
    }

    /// Both ends of each edge announce it at `now`; every node speaks version 2.
    fn claimed(edges: &[(u8, u8)], now: u64) -> Routes {
        let mut routes = Routes::default();
        let everybody: BTreeSet<u8> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        for one in everybody {
            let of = edges
                .iter()
                .filter_map(|(a, b)| if *a == one { Some(*b) } else { (*b == one).then_some(*a) });
            routes.claimed(peer(one), of.map(peer).collect(), now);
            routes.modern.insert(peer(one));
        }
        routes
    }

    #[test]
    fn the_shortest_way_over_edges_that_both_ends_claim() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 9), (1, 4), (4, 9)];
        let mut routes = claimed(&edges, 1);
        let linked = [peer(1)];
        let find = |routes: &Routes, to: u8| {
            routes.find(peer(0), &linked, peer(to), |hop| routes.modern.contains(&hop))
        };
        assert_eq!(find(&routes, 9), Some(vec![peer(1), peer(4)]));
        // One end does not announce the edge any more: the longer route is taken.
        routes.claimed(peer(4), vec![peer(1)], 2);
        assert_eq!(find(&routes, 9), Some([1, 2, 3].map(peer).to_vec()));
        // A node that was never heard in version 2 is no hop.
        routes.modern.remove(&peer(3));
        assert_eq!(find(&routes, 9), None);
        assert_eq!(
            find(&claimed(&[(1, 2), (2, 9)], 1), 9),
            None,
            "the first hop does not say that it is linked"
        );
        let long: Vec<(u8, u8)> = (0..7).map(|n| (n, n + 1)).collect();
        assert_eq!(find(&claimed(&long, 1), 5).map(|way| way.len()), Some(4));
        assert_eq!(find(&claimed(&long, 1), 6), None, "too far");
    }

    #[test]
    fn a_way_on_which_nobody_answers_is_not_chosen_for_a_minute_and_claims_grow_old() {
        let mut routes = claimed(&[(0, 1), (1, 9)], 1_000);
        routes.unconfirmed.insert(peer(9), 1_000);
        routes.handle_timeout(10_000);
        assert!(routes.failed.is_empty());
        routes.handle_timeout(11_000);
        assert!(routes.failed.contains_key(&peer(9)) && routes.unconfirmed.is_empty());
        assert!(!routes.claims.is_empty());
        routes.handle_timeout(71_000);
        assert!(routes.failed.is_empty() && routes.claims.is_empty());
        // A recipient that is heard confirms its route.
        routes.unconfirmed.insert(peer(9), 71_000);
        routes.heard(&Frame::new(Kind::ENCRYPTED, peer(9), 1, Vec::new()).to(peer(0)), peer(0));
        routes.handle_timeout(90_000);
        assert!(routes.failed.is_empty());
    }
}
