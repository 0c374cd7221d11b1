//! Ways that this node chooses itself: to somebody who is not linked, over those who say that they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Node;
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;

/// Most hops between this node and the recipient.
const MAX_HOPS: usize = 4;
/// What somebody says of their neighbours counts so many milliseconds.
const CLAIM_LIFE: u64 = 60_000;
/// Milliseconds in which a recipient is heard after something went a chosen way, and how long none is chosen when they
/// are not.
const CONFIRMED_IN: u64 = 10_000;
const NOT_AGAIN: u64 = 60_000;

/// What somebody said of their neighbours.
#[derive(Default)]
pub(super) struct Claim {
    neighbours: Vec<PeerId>,
    at: u64,
}

#[derive(Default)]
pub(super) struct Routes {
    claims: BTreeMap<PeerId, Claim>,
    /// Who was heard in packets of version 2, in which alone there is room for a way.
    modern: BTreeSet<PeerId>,
    /// To whom something went a chosen way, and since when they were not heard.
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
        for (peer, _) in self.unconfirmed.extract_if(.., |_, since| now.saturating_sub(*since) >= CONFIRMED_IN) {
            self.failed.insert(peer, now + NOT_AGAIN);
        }
    }

    fn claims(&self, one: PeerId, other: PeerId) -> bool {
        self.claims.get(&one).is_some_and(|claim| claim.neighbours.contains(&other))
    }

    /// The shortest way over edges that both ends claim and hops that are fit; those between, not this node and not the
    /// recipient.
    fn find(&self, me: PeerId, linked: &[PeerId], to: PeerId, is_fit: impl Fn(PeerId) -> bool) -> Option<Vec<PeerId>> {
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
    /// A way for a packet of this node to somebody who is not linked, if one is known. Only for packets that are not
    /// signed: the way would be part of what is.
    pub(super) fn choose_way(&mut self, to: PeerId, frame: &Frame, now: u64) -> Option<Vec<PeerId>> {
        let is_fit = frame.sender == self.me && frame.signature.is_none() && matches!(frame.kind, Kind::HANDSHAKE | Kind::ENCRYPTED);
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

    /// Who is between this node and somebody, as those on the way say; nobody when there is a link.
    pub(super) fn way_to(&self, to: PeerId) -> Option<Vec<PeerId>> {
        if self.link_to(to).is_some() { Some(Vec::new()) } else { self.routes.find(self.me, &self.linked(), to, |_| true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 8])
    }

    /// Both ends of each edge say so at `now`; everybody speaks version 2.
    fn claimed(edges: &[(u8, u8)], now: u64) -> Routes {
        let mut routes = Routes::default();
        let everybody: BTreeSet<u8> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        for one in everybody {
            let of = edges.iter().filter_map(|(a, b)| if *a == one { Some(*b) } else { (*b == one).then_some(*a) });
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
        let find = |routes: &Routes, to: u8| routes.find(peer(0), &linked, peer(to), |hop| routes.modern.contains(&hop));
        assert_eq!(find(&routes, 9), Some(vec![peer(1), peer(4)]));
        // One end does not say so any more: the longer way.
        routes.claimed(peer(4), vec![peer(1)], 2);
        assert_eq!(find(&routes, 9), Some([1, 2, 3].map(peer).to_vec()));
        // Who was never heard in version 2 reads no way.
        routes.modern.remove(&peer(3));
        assert_eq!(find(&routes, 9), None);
        assert_eq!(find(&claimed(&[(1, 2), (2, 9)], 1), 9), None, "the first hop does not say that it is linked");
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
        // Who is heard has confirmed it.
        routes.unconfirmed.insert(peer(9), 71_000);
        routes.heard(&Frame::new(Kind::ENCRYPTED, peer(9), 1, Vec::new()).to(peer(0)), peer(0));
        routes.handle_timeout(90_000);
        assert!(routes.failed.is_empty());
    }
}
