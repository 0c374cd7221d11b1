//! Swarm: dials to nodes that are wanted, that were found, and whose connections were lost.

use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::Swarm;

/// Number of attempts to reconnect to a lost node, over about six minutes.
const TRIES: u32 = 11;
/// Greatest number of nodes of the local network that are dialled.
pub(super) const MAX_NEIGHBOURS: usize = 64;

/// A node whose connection was lost.
pub(super) struct Again {
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) at: Instant,
    pub(super) tries: u32,
}

impl Swarm {
    pub(super) fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.call(peer, addresses);
    }

    /// Dials a node; returns the id of the new connection, if one is being made.
    fn call(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Option<ConnectionId> {
        if peer == *self.swarm.local_peer_id() || self.swarm.is_connected(&peer) {
            return None;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
        let options = if addresses.is_empty() {
            options.build()
        } else {
            options.addresses(addresses).extend_addresses_through_behaviour().build()
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Some(id),
            Err(error) => {
                tracing::debug!(%error, "not dialled");
                None
            }
        }
    }

    /// Dials nodes found on the local network, as far as there are places.
    pub(super) fn call_found(&mut self) {
        for peer in self.calls.overdue(Instant::now()) {
            if !self.swarm.is_connected(&peer) {
                // No open connection ends: there is none.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
        while self.peers.len() < MAX_NEIGHBOURS
            && let Some((peer, addresses)) = self.calls.next()
        {
            if let Some(id) = self.call(peer, addresses.clone()) {
                self.calls.begun(id, peer, &addresses, Instant::now());
            }
        }
    }

    /// Reconnects to lost nodes with growing delays, and gives up after some minutes.
    pub(super) fn call_again(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (peer, again) in self.again.iter_mut().filter(|(_, again)| again.at <= now) {
            again.tries += 1;
            again.at = now + Duration::from_secs(1 << again.tries.min(6));
            due.push((*peer, again.addresses.clone()));
        }
        self.again.retain(|_, again| again.tries < TRIES);
        for (peer, addresses) in due {
            self.dial(peer, addresses);
        }
    }
}
