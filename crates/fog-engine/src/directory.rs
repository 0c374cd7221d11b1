//! Directory of other devices: who is connected, what they share with this one, and what was seen of them.
//!
//! The network changes who is there; every subsystem may read it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_grid::{Capacity, Evidence, Relation};
use fog_transport::Route;
use fog_types::NodeId;

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

    /// What this device shares with another one.
    pub(crate) fn related(&self, node: NodeId) -> Relation {
        self.peers.get(&node).and_then(|peer| peer.relation.clone()).unwrap_or(Relation::Stranger)
    }

    /// Name of a device, or the beginning of its id.
    pub(crate) fn peer_name(&self, node: NodeId) -> String {
        let name = self.peers.get(&node).map(|peer| peer.name.clone()).unwrap_or_default();
        if name.is_empty() { node.short() } else { name }
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
    pub(crate) fn take(&mut self) -> bool {
        let forgiven = self.last.map_or(0, |last| (last.elapsed().as_millis() / Self::EACH.as_millis()) as u32);
        if forgiven > 0 || self.last.is_none() {
            self.count = self.count.saturating_sub(forgiven);
            self.last = Some(Instant::now());
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
