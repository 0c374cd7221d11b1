//! Network: joined networks, the peers in them, and the traffic with both.

pub(crate) mod adverts;
pub(crate) mod clocks;
pub(crate) mod control_link;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod hellos;
pub(crate) mod invitations;
pub(crate) mod lifecycle;
pub(crate) mod membership;
pub(crate) mod readers;
pub(crate) mod runtime;
#[cfg(test)]
mod scenario_tests;
pub(crate) mod views;

use std::collections::BTreeMap;
use std::time::Instant;

use fog_grid::{Group, Pace};
use fog_transport::{Link, NetEvent, Reach};
use fog_types::NodeId;
use tokio::sync::oneshot;

use crate::effects::Answer;
use crate::network::adverts::{AdvertisedPeer, LastAdvert};

/// Message of the network's threads to the event loop.
pub(crate) enum NetworkEvent {
    /// An event of the network with this number.
    Event(u64, NetEvent),
    /// A message of a node. The sender signals a waiting reader that the message was handled.
    Said(NodeId, Box<crate::network::readers::Heard>, Option<oneshot::Sender<()>>),
    /// A node opened a link of the mesh.
    ChatLink(Box<Link>),
    /// A node requests content. The last value counts against the node's open requests.
    ContentRequested(Box<Link>, fog_grid::ContentRequest, crate::network::readers::Counted),
}

/// A device of earlier connections that is dialled until it answers.
pub(crate) struct Known {
    pub(crate) addresses: Vec<String>,
    pub(crate) next: Instant,
    pub(crate) tries: u32,
}

impl Known {
    pub(crate) fn new(addresses: Vec<String>, now: Instant) -> Self {
        Self { addresses, next: now, tries: 0 }
    }
}

/// Networks that this device has joined.
pub(crate) struct Network {
    groups: Vec<Group>,
    lan: bool,
    open: bool,
    joined: Vec<fog_api::JoinedNetwork>,
    net_began: Option<Instant>,
    /// Time before which a network that could not be started is not tried again.
    retry_at: Option<Instant>,
    /// Requests for invitations, with the name of the group, that wait for an address of this device.
    invites: Vec<(Option<String>, Answer)>,
    problem: String,
    reach: Reach,
    listening: Vec<String>,
    /// Time at which the traffic of the period was last stored.
    last_stored: Option<Instant>,
    /// Devices of earlier connections that are dialled until they answer.
    known: BTreeMap<NodeId, Known>,
    /// Devices that are known from their adverts.
    far: BTreeMap<NodeId, AdvertisedPeer>,
    /// Addresses named by others that were dialled, with the start and number of the dials.
    called: BTreeMap<String, (Instant, u32)>,
    /// Milliseconds by which other devices' clocks were ahead of this device's steady time.
    clocks: BTreeMap<NodeId, i64>,
    pace: Pace,
    advertised: Option<LastAdvert>,
    /// Number of adverts of others that were received and forwarded.
    adverts: u64,
    last_call: Option<Instant>,
    told: fog_api::NetworkView,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self {
            groups: Vec::new(),
            lan: false,
            open: false,
            joined: Vec::new(),
            net_began: None,
            retry_at: None,
            invites: Vec::new(),
            problem: String::new(),
            reach: Reach::Unknown,
            listening: Vec::new(),
            last_stored: None,
            known: BTreeMap::new(),
            far: BTreeMap::new(),
            called: BTreeMap::new(),
            clocks: BTreeMap::new(),
            pace: Pace::default(),
            advertised: None,
            adverts: 0,
            last_call: None,
            told: fog_api::NetworkView::default(),
        }
    }

    /// Number of devices that are known from their adverts.
    pub(crate) fn advertised_peers(&self) -> usize {
        self.far.len()
    }
}

#[cfg(test)]
impl Network {
    /// Takes part in the open network without threads.
    pub(crate) fn join_open(&mut self) {
        self.open = true;
    }
}
