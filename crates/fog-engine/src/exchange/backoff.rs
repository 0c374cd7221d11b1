//! Rests of requesters whose files do not arrive: no offers are accepted from them for a while, which grows
//! with each failure.

use std::net::{IpAddr, Ipv6Addr};

use fog_eligibility::Moment;
use fog_grid::Relation;
use fog_types::NodeId;

use crate::context::Context;
use crate::exchange::Exchange;

/// Rest of a requester in milliseconds after its second failure; it doubles with each further one. The
/// first failure has no consequence, because links break.
const FIRST_REST_MS: u64 = 10_000;
/// Longest rest in milliseconds of a requester; `LONGEST_REST_OF_ADDRESS_MS` applies to all devices without
/// a group's secret at one address.
const LONGEST_REST_MS: u64 = 3_600_000;
const LONGEST_REST_OF_ADDRESS_MS: u64 = 600_000;
/// Milliseconds after the end of a rest until failures are forgotten.
const FORGOTTEN_MS: u64 = 3 * 3_600_000;
/// Most requesters whose failures are remembered, and most whose files are known to have arrived.
const MAX_KNOWN: usize = 4096;

/// Holder of failures: a single node if its id is trusted or has a history, else all nodes at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answerable {
    Node(NodeId),
    Address(IpAddr),
}

/// Failures of a requester to deliver the files of its offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failures {
    /// Number of failures; each successful offer halves it.
    count: u32,
    /// Time of the last failure.
    last: Moment,
    /// Time until which no offers are accepted.
    until: Moment,
}

/// Part of a route's address that belongs to one owner: a whole IPv4 address, or the first half of an IPv6
/// one.
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

impl Exchange {
    /// Whether files of a node's offers have arrived, or work for or by it was settled.
    fn has_brought(&self, ctx: &Context, node: NodeId) -> bool {
        let evidence = ctx.directory.evidence(node);
        self.brought.contains(&node) || evidence.valid + evidence.receipted > 0.0
    }

    fn answerable(&self, ctx: &Context, node: NodeId) -> Answerable {
        let by_address =
            || ctx.directory.peers.get(&node).and_then(|peer| site_of(&peer.route.as_ref()?.address));
        match ctx.directory.related(node) {
            Relation::Lan | Relation::Open if !self.has_brought(ctx, node) => {
                by_address().map_or(Answerable::Node(node), Answerable::Address)
            }
            _ => Answerable::Node(node),
        }
    }

    /// Whether a requester has delivered files and failed at most once since.
    pub(crate) fn is_reliable(&self, ctx: &Context, node: NodeId) -> bool {
        self.has_brought(ctx, node)
            && self.failures.get(&Answerable::Node(node)).is_none_or(|failures| failures.count < 2)
    }

    /// Whether no offers are accepted from a requester now.
    pub(crate) fn is_resting(&self, ctx: &Context, node: NodeId) -> bool {
        self.failures
            .get(&self.answerable(ctx, node))
            .is_some_and(|failures| failures.until > ctx.clock.moment())
    }

    /// Notes that the files of an offer accepted at `taken` did not arrive. Offers that broke off together
    /// count once. The rest lasts at least `least_ms`.
    pub(crate) fn brought_nothing(&mut self, ctx: &mut Context, node: NodeId, taken: Moment, least_ms: u64) {
        let (who, now) = (self.answerable(ctx, node), ctx.clock.moment());
        let failures =
            self.failures.entry(who).or_insert(Failures { count: 0, last: Moment(0), until: Moment(0) });
        if failures.count == 0 || taken >= failures.last {
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        let longest =
            if matches!(who, Answerable::Node(_)) { LONGEST_REST_MS } else { LONGEST_REST_OF_ADDRESS_MS };
        let rest = match failures.count {
            0 | 1 => 0,
            count => FIRST_REST_MS.saturating_mul(1 << (count - 2).min(20)).min(longest),
        };
        failures.until = failures.until.max(failures.last.plus(rest)).max(if least_ms > 0 {
            now.plus(least_ms)
        } else {
            Moment(0)
        });
        while self.failures.len() > MAX_KNOWN {
            let Some(least) =
                self.failures.iter().min_by_key(|(_, failures)| failures.until).map(|(who, _)| *who)
            else {
                break;
            };
            self.failures.remove(&least);
        }
    }

    /// Notes that the files of an offer arrived.
    pub(crate) fn brought_files(&mut self, ctx: &mut Context, node: NodeId) {
        let who = self.answerable(ctx, node);
        if let Some(failures) = self.failures.get_mut(&who) {
            failures.count /= 2;
        }
        if self.brought.len() < MAX_KNOWN {
            self.brought.insert(node);
        }
    }

    /// Forgets failures of long ago.
    pub(crate) fn forget_failures(&mut self, ctx: &mut Context) {
        let now = ctx.clock.moment();
        self.failures.retain(|_, failures| {
            failures.count > 0 && now < failures.until.max(failures.last).plus(FORGOTTEN_MS)
        });
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
