//! Bytes against the owner's data cap: what related nodes exchange beyond the local network, and nobody's more than a share.

use fog_grid::Relation;
use fog_transport::NodeTraffic;
use fog_types::{NodeId, UnixMillis};
use serde::{Deserialize, Serialize};

/// Length of a period, in milliseconds: 30 days.
pub(crate) const PERIOD_MS: i64 = 30 * 86_400_000;
/// Nodes whose bytes are remembered by themselves; those with the fewest are forgotten.
const MAX_NODES: usize = 256;
/// From this part of the cap on nothing is fetched or served: what is under way can still be said and acknowledged.
const SAVING_FROM: f64 = 0.9;
/// Parts of the cap that one node may use: a member of a group, and anybody else.
const MEMBER_SHARE: f64 = 0.5;
const OTHER_SHARE: f64 = 0.1;
/// The part that all nodes may use together that only joined the open network, so that they do not take it from groups.
const OPEN_SHARE: f64 = 0.5;

/// Bytes of the running period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Since when, milliseconds since 1970.
    pub(crate) since_ms: i64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Of these, of nodes that only joined the open network.
    #[serde(default)]
    open: u64,
    /// Of these, by node.
    #[serde(default)]
    nodes: Vec<(NodeId, u64)>,
}

impl Traffic {
    /// Begins a new period when this one is over. A clock that was far ahead once must not make one that never ends.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        if !(0..PERIOD_MS).contains(&now_ms.saturating_sub(self.since_ms)) {
            let is_set_back = self.since_ms > now_ms;
            let before = std::mem::take(self);
            *self = if is_set_back { before } else { Self::default() };
            self.since_ms = now_ms;
        }
    }

    /// The calendar was set: the period takes as long as it would have, and does not begin in the future.
    pub(crate) fn move_by(&mut self, shift: i64, now: UnixMillis) {
        self.since_ms = self.since_ms.saturating_add(shift).min(now.0);
    }

    /// Adds what was exchanged with a node.
    pub(crate) fn add(&mut self, of: NodeTraffic, relation: &Relation) {
        // A stranger is cut off before its bytes matter, and must not use up what others need.
        if *relation == Relation::Stranger {
            return;
        }
        let bytes = of.received.saturating_add(of.sent);
        self.received = self.received.saturating_add(of.received);
        self.sent = self.sent.saturating_add(of.sent);
        if *relation == Relation::Open {
            self.open = self.open.saturating_add(bytes);
        }
        match self.nodes.iter_mut().find(|(node, _)| *node == of.node) {
            Some((_, known)) => *known = known.saturating_add(bytes),
            None => self.nodes.push((of.node, bytes)),
        }
        if self.nodes.len() > MAX_NODES
            && let Some(least) = self.nodes.iter().enumerate().min_by_key(|(_, (_, bytes))| *bytes).map(|(at, _)| at)
        {
            self.nodes.swap_remove(least);
        }
    }

    /// Bytes that count.
    pub(crate) fn used(&self) -> u64 {
        self.received.saturating_add(self.sent)
    }

    /// Whether so much of a cap is used that nothing large is begun; 0 is no cap.
    pub(crate) fn is_saving(&self, cap: u64) -> bool {
        cap > 0 && self.used() as f64 >= cap as f64 * SAVING_FROM
    }

    /// Whether a node has had its share of a cap; 0 is no cap.
    pub(crate) fn is_over_share(&self, node: NodeId, relation: &Relation, cap: u64) -> bool {
        if cap == 0 {
            return false;
        }
        let share = if matches!(relation, Relation::Group(_)) { MEMBER_SHARE } else { OTHER_SHARE };
        let used = self.nodes.iter().find(|(known, _)| *known == node).map_or(0, |(_, bytes)| *bytes);
        let is_open_used_up = *relation == Relation::Open && self.open as f64 >= cap as f64 * OPEN_SHARE;
        is_open_used_up || used as f64 >= cap as f64 * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: u8, received: u64) -> NodeTraffic {
        NodeTraffic { node: NodeId([n; 32]), received, sent: 0 }
    }

    #[test]
    fn strangers_use_up_nothing_and_nobody_more_than_a_share() {
        let (mut traffic, cap) = (Traffic::default(), 1_000_000);
        let group = Relation::Group("home".to_owned());
        traffic.add(of(1, u64::MAX), &Relation::Stranger);
        assert_eq!(traffic.used(), 0);
        traffic.add(of(2, 100_000), &Relation::Open);
        assert!(traffic.is_over_share(NodeId([2; 32]), &Relation::Open, cap));
        assert!(!traffic.is_over_share(NodeId([2; 32]), &group, cap) && !traffic.is_over_share(NodeId([3; 32]), &Relation::Open, cap));
        // Nodes of the open network leave half to the groups.
        (10..15).for_each(|n| traffic.add(of(n, 90_000), &Relation::Open));
        assert!(traffic.is_over_share(NodeId([3; 32]), &Relation::Open, cap) && !traffic.is_over_share(NodeId([3; 32]), &group, cap));
        assert!(!traffic.is_saving(cap));
        traffic.add(of(4, 400_000), &group);
        assert!(traffic.is_saving(cap) && !traffic.is_saving(0) && !traffic.is_over_share(NodeId([2; 32]), &Relation::Open, 0));
        traffic.add(of(4, u64::MAX), &group);
        assert_eq!(traffic.used(), u64::MAX);
    }

    #[test]
    fn a_period_ends_after_thirty_days_and_not_before_for_a_clock_set_back() {
        let mut traffic = Traffic { since_ms: 1_000 + PERIOD_MS, received: 5, ..Traffic::default() };
        traffic.begin(1_000);
        assert_eq!((traffic.since_ms, traffic.used()), (1_000, 5));
        traffic.begin(PERIOD_MS);
        assert_eq!((traffic.since_ms, traffic.used()), (1_000, 5));
        traffic.begin(1_000 + PERIOD_MS);
        assert_eq!((traffic.since_ms, traffic.used()), (1_000 + PERIOD_MS, 0));
        // As it was stored before nodes were counted.
        assert_eq!(serde_json::from_str::<Traffic>(r#"{"since_ms":1,"received":2,"sent":3}"#).unwrap().used(), 5);
    }

    #[test]
    fn the_nodes_that_are_remembered_are_bounded() {
        let mut traffic = Traffic::default();
        for n in 0..1000u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            traffic.add(NodeTraffic { node: NodeId(id), received: u64::from(n), sent: 0 }, &Relation::Lan);
        }
        assert_eq!(traffic.nodes.len(), MAX_NODES);
    }
}
