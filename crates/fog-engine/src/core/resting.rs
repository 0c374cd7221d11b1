//! Requesters whose files do not come: nothing is taken from them for a while, and longer each time.

use std::net::{IpAddr, Ipv6Addr};

use fog_eligibility::Moment;
use fog_grid::Relation;
use fog_types::NodeId;

use super::Core;

/// Nothing is taken from a requester for so many milliseconds after its second failure, and twice as long after each that
/// follows. The first counts for nothing: a link breaks.
const FIRST_REST_MS: u64 = 10_000;
/// Longest rest of a requester, and of all devices without a group's secret at one address, in milliseconds.
const LONGEST_REST_MS: u64 = 3_600_000;
const LONGEST_REST_OF_ADDRESS_MS: u64 = 600_000;
/// Milliseconds after the end of a rest from which on nothing is held against a requester any more.
const FORGOTTEN_MS: u64 = 3 * 3_600_000;
/// Requesters of which failures are remembered, and of which it is remembered that their files came.
const MAX_KNOWN: usize = 4096;

/// The one that answers for an offer: a node where names cost something, else everybody at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answerable {
    Node(NodeId),
    Address(IpAddr),
}

/// Failures of a requester to bring the files of its offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failures {
    /// How many, of which each offer that succeeded took half.
    count: u32,
    /// When the last one was.
    last: Moment,
    /// Nothing is taken before this.
    until: Moment,
}

/// The address of a route as far as one owner has it: all of IPv4, half of IPv6.
fn site_of(address: &str) -> Option<IpAddr> {
    let mut parts = address.split('/');
    parts.find(|part| matches!(*part, "ip4" | "ip6"))?;
    match parts.next()?.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
        }
        ip => Some(ip),
    }
}

impl Core {
    /// Whether files of a node's offers have come, or work for it was settled.
    fn has_brought(&self, node: NodeId) -> bool {
        let evidence = self.grid.evidence(node);
        self.grid.brought.contains(&node) || evidence.valid + evidence.receipted > 0.0
    }

    fn answerable(&self, node: NodeId) -> Answerable {
        let by_address = || self.grid.peers.get(&node).and_then(|peer| site_of(&peer.route.as_ref()?.address));
        match self.related(node) {
            Relation::Lan | Relation::Open if !self.has_brought(node) => by_address().map_or(Answerable::Node(node), Answerable::Address),
            _ => Answerable::Node(node),
        }
    }

    /// Whether a requester is one whose files come.
    pub(super) fn is_reliable(&self, node: NodeId) -> bool {
        self.has_brought(node) && self.grid.failures.get(&Answerable::Node(node)).is_none_or(|failures| failures.count < 2)
    }

    /// Whether nothing is taken from a requester now.
    pub(super) fn is_resting(&self, node: NodeId) -> bool {
        self.grid.failures.get(&self.answerable(node)).is_some_and(|failures| failures.until > self.clock.moment())
    }

    /// The files of an offer that was taken at this moment did not come. What broke off together counts once. It rests for
    /// so many milliseconds at the least.
    pub(super) fn brought_nothing(&mut self, node: NodeId, taken: Moment, least_ms: u64) {
        let (who, now) = (self.answerable(node), self.clock.moment());
        let failures = self.grid.failures.entry(who).or_insert(Failures { count: 0, last: Moment(0), until: Moment(0) });
        if failures.count == 0 || taken >= failures.last {
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        let longest = if matches!(who, Answerable::Node(_)) { LONGEST_REST_MS } else { LONGEST_REST_OF_ADDRESS_MS };
        let rest = match failures.count {
            0 | 1 => 0,
            count => FIRST_REST_MS.saturating_mul(1 << (count - 2).min(20)).min(longest),
        };
        failures.until = failures.until.max(failures.last.plus(rest)).max(if least_ms > 0 { now.plus(least_ms) } else { Moment(0) });
        while self.grid.failures.len() > MAX_KNOWN {
            let Some(least) = self.grid.failures.iter().min_by_key(|(_, failures)| failures.until).map(|(who, _)| *who) else { break };
            self.grid.failures.remove(&least);
        }
    }

    /// The files of an offer came.
    pub(super) fn brought_files(&mut self, node: NodeId) {
        let who = self.answerable(node);
        if let Some(failures) = self.grid.failures.get_mut(&who) {
            failures.count /= 2;
        }
        if self.grid.brought.len() < MAX_KNOWN {
            self.grid.brought.insert(node);
        }
    }

    /// Forgets what was long ago.
    pub(super) fn forget_failures(&mut self) {
        let now = self.clock.moment();
        self.grid.failures.retain(|_, failures| failures.count > 0 && now < failures.until.max(failures.last).plus(FORGOTTEN_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_owner_are_one() {
        assert_eq!(site_of("/ip4/10.0.0.7/udp/4/quic-v1"), site_of("/ip4/10.0.0.7/tcp/9"));
        assert_ne!(site_of("/ip4/10.0.0.7/tcp/9"), site_of("/ip4/10.0.0.8/tcp/9"));
        assert_eq!(site_of("/ip6/2001:db8:1:2::5/tcp/4"), site_of("/ip6/2001:db8:1:2:ffff::/tcp/4"));
        assert_eq!(site_of("/ip6/::ffff:10.0.0.7/tcp/4"), site_of("/ip4/10.0.0.7/tcp/4"));
        assert_eq!(site_of(""), None);
    }
}
