//! Directory of other devices: who is connected, what they share with this one, and what was seen of them.
//!
//! The network changes who is there; every subsystem may read it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_grid::{Capacity, Evidence, Relation};
use fog_transport::Route;
use fog_types::NodeId;

use crate::context::Context;

/// Most devices whose evidence is remembered.
const MAX_EVIDENCE: usize = 4096;

/// Other devices, by node id.
#[derive(Default)]
pub(crate) struct Directory {
    /// Devices that are connected.
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// Evidence by node, as stored.
    pub(crate) evidence: BTreeMap<NodeId, Evidence>,
}

impl Directory {
    /// Evidence about a device; none for an unknown one.
    pub(crate) fn evidence(&self, node: NodeId) -> Evidence {
        self.evidence.get(&node).copied().unwrap_or_default()
    }

    /// Relation of this device to another one.
    pub(crate) fn related(&self, node: NodeId) -> Relation {
        self.peers.get(&node).and_then(|peer| peer.relation.clone()).unwrap_or(Relation::Stranger)
    }

    /// Name of a device, or the beginning of its id.
    pub(crate) fn peer_name(&self, node: NodeId) -> String {
        let name = self.peers.get(&node).map(|peer| peer.name.clone()).unwrap_or_default();
        if name.is_empty() { node.short() } else { name }
    }
}

impl Context {
    pub(crate) fn store_evidence(&mut self, node: NodeId, evidence: Evidence) {
        self.directory.evidence.insert(node, evidence);
        // Nodes are easily invented; those with the least evidence are removed.
        while self.directory.evidence.len() > MAX_EVIDENCE {
            let weight = |(_, known): &(&NodeId, &Evidence)| {
                (((known.valid + known.invalid + known.lost) * 16.0) as u64, known.at_ms)
            };
            let least = self
                .directory
                .evidence
                .iter()
                .filter(|(known, _)| **known != node)
                .min_by_key(weight)
                .map(|(known, _)| *known);
            let Some(least) = least else { break };
            self.directory.evidence.remove(&least);
        }
        let text = serde_json::to_string(&evidence).unwrap_or_default();
        if let Err(error) = self.store.set_evidence(node, &text, self.clock.unix()) {
            tracing::warn!(%error, "what was seen of a device is not remembered");
        }
    }

    /// Adds an observation to the evidence about a device. Evidence fades with the lived time, not with a
    /// calendar that may be wrong for a while.
    pub(crate) fn judge(&mut self, node: NodeId, saw: fn(&mut Evidence, i64)) {
        let mut evidence = self.directory.evidence(node);
        saw(&mut evidence, self.clock.lived().0);
        self.store_evidence(node, evidence);
    }
}

/// Another device that is connected.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) route: Option<Route>,
    pub(crate) round_trip: Option<u32>,
    pub(crate) relation: Option<Relation>,
    pub(crate) capacity: Capacity,
    pub(crate) addresses: Vec<String>,
    /// Number of tasks offered minus tasks returned since the peer's last hello.
    pub(crate) promised: i32,
    /// Number of repeated hellos that the peer did not answer.
    pub(crate) asked: u8,
    /// Time at which the peer last announced a restart.
    pub(crate) began_anew: Option<Instant>,
    /// Budget of writes and dials that changes of the peer may cause.
    pub(crate) writes: Writes,
}

/// Writes that a node may cause: [`Writes::AT_ONCE`], and one more each [`Writes::EACH`].
#[derive(Default)]
pub(crate) struct Writes {
    count: u32,
    last: Option<Instant>,
}

impl Writes {
    const AT_ONCE: u32 = 8;
    const EACH: Duration = Duration::from_secs(5);

    /// Takes one write from the budget. Returns whether it is allowed.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let forgiven = self.last.map_or(0, |last| {
            (now.saturating_duration_since(last).as_millis() / Self::EACH.as_millis()) as u32
        });
        if forgiven > 0 || self.last.is_none() {
            self.count = self.count.saturating_sub(forgiven);
            self.last = Some(now);
        }
        let may = self.count < Self::AT_ONCE;
        self.count += u32::from(may);
        may
    }
}

impl Peer {
    /// Number of tasks that the peer could take now, as far as this device knows.
    pub(crate) fn free(&self) -> u32 {
        (i32::from(self.capacity.free) - self.promised).clamp(0, i32::from(self.capacity.slots)) as u32
    }
}
