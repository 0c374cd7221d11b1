//! Bytes that count against the owner's data cap: traffic with related nodes beyond the local network, with
//! a share per node.

use fog_api::settings::keys;
use fog_grid::Relation;
use fog_transport::NodeTraffic;
use fog_types::{NodeId, UnixMillis};

use crate::context::Context;
use serde::{Deserialize, Serialize};

/// Length of a period in milliseconds: 30 days.
pub(crate) const PERIOD_MS: i64 = 30 * 86_400_000;
/// Most nodes whose bytes are counted separately; those with the fewest are forgotten.
const MAX_NODES: usize = 256;
/// Fraction of the cap from which nothing is fetched or served, so that running work can still be reported.
const SAVING_FROM: f64 = 0.9;
/// Fraction of the cap for one member of a group; `OTHER_SHARE` is that for any other node.
const MEMBER_SHARE: f64 = 0.5;
const OTHER_SHARE: f64 = 0.1;
/// Fraction of the cap for all nodes that share only the open network, so that groups keep the rest.
const OPEN_SHARE: f64 = 0.5;

/// Bytes of the current period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Start of the period, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Bytes of nodes that share only the open network.
    #[serde(default)]
    open: u64,
    /// Bytes by node.
    #[serde(default)]
    nodes: Vec<(NodeId, u64)>,
}

impl Traffic {
    /// Begins a new period when the current one is over. A clock that was once far ahead must not make a
    /// period endless.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        if !(0..PERIOD_MS).contains(&now_ms.saturating_sub(self.since_ms)) {
            let is_set_back = self.since_ms > now_ms;
            let before = std::mem::take(self);
            *self = if is_set_back { before } else { Self::default() };
            self.since_ms = now_ms;
        }
    }

    /// Moves the period with the calendar, so that its length stays the same and it does not begin in the
    /// future.
    pub(crate) fn move_by(&mut self, shift: i64, now: UnixMillis) {
        self.since_ms = self.since_ms.saturating_add(shift).min(now.0);
    }

    /// Adds the bytes that were exchanged with a node.
    pub(crate) fn add(&mut self, of: NodeTraffic, relation: &Relation) {
        // Strangers are cut off before their bytes matter, and must not use up the cap.
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
            && let Some(least) =
                self.nodes.iter().enumerate().min_by_key(|(_, (_, bytes))| *bytes).map(|(at, _)| at)
        {
            self.nodes.swap_remove(least);
        }
    }

    /// Total bytes of the period.
    pub(crate) fn used(&self) -> u64 {
        self.received.saturating_add(self.sent)
    }

    /// Whether so much of the cap is used that no large transfer may begin; a cap of 0 means none.
    pub(crate) fn is_saving(&self, cap: u64) -> bool {
        cap > 0 && self.used() as f64 >= cap as f64 * SAVING_FROM
    }

    /// Whether a node has used its share of the cap; a cap of 0 means none.
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

impl Context {
    /// Whether the data limit forbids large transfers with a device.
    pub(crate) fn is_rationed(&self, node: NodeId) -> bool {
        let peer = self.directory.peers.get(&node);
        let is_local = peer
            .and_then(|peer| peer.route.as_ref())
            .is_some_and(|route| route.is_local && !route.is_relayed);
        let cap = self.data_cap();
        !is_local
            && (self.traffic.is_saving(cap)
                || self.traffic.is_over_share(node, &self.directory.related(node), cap))
    }

    pub(crate) fn data_cap(&self) -> u64 {
        (self.settings.number(keys::DATA_CAP) * 1e9) as u64
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
        assert!(
            !traffic.is_over_share(NodeId([2; 32]), &group, cap)
                && !traffic.is_over_share(NodeId([3; 32]), &Relation::Open, cap)
        );
        // Nodes of the open network leave half to the groups.
        (10..15).for_each(|n| traffic.add(of(n, 90_000), &Relation::Open));
        assert!(
            traffic.is_over_share(NodeId([3; 32]), &Relation::Open, cap)
                && !traffic.is_over_share(NodeId([3; 32]), &group, cap)
        );
        assert!(!traffic.is_saving(cap));
        traffic.add(of(4, 400_000), &group);
        assert!(
            traffic.is_saving(cap)
                && !traffic.is_saving(0)
                && !traffic.is_over_share(NodeId([2; 32]), &Relation::Open, 0)
        );
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
        // Format that was stored before nodes were counted.
        assert_eq!(
            serde_json::from_str::<Traffic>(r#"{"since_ms":1,"received":2,"sent":3}"#).unwrap().used(),
            5
        );
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
