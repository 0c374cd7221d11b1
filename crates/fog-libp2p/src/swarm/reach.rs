//! Swarm: addresses at which this node can be reached, directly or through relays.

use fog_transport::{NetEvent, Reach};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Swarm;
use crate::address::{self, is_public, is_relayed};

/// Number of relays that are asked for a reservation.
const RELAYS: usize = 2;

impl Swarm {
    pub(super) async fn say_listening(&mut self) {
        let me = *self.swarm.local_peer_id();
        let all = self
            .listening
            .iter()
            .filter(|a| self.config.loopback || address::ip_of(a).is_none_or(|ip| !ip.is_loopback()));
        let named = all.map(|address| {
            if is_relayed(address) {
                address.to_string()
            } else {
                address.clone().with(Protocol::P2p(me)).to_string()
            }
        });
        let named = named.collect();
        self.say(NetEvent::Listening(named)).await;
    }

    pub(super) async fn look_at_reach(&mut self) {
        let mut reach = Reach::Unknown;
        for address in self.swarm.external_addresses() {
            if is_public(address) {
                reach = Reach::Public;
                break;
            }
            if is_relayed(address) {
                reach = Reach::Relayed;
            }
        }
        if reach != self.reach {
            self.reach = reach;
            self.say(NetEvent::Reach(reach)).await;
        }
    }

    /// Asks relays for a reservation while this node cannot be reached directly.
    pub(super) fn reserve(&mut self) {
        if self.config.loopback
            || self.config.relay
            || self.reach == Reach::Public
            || self.relays.len() >= RELAYS
        {
            return;
        }
        let free =
            self.peers.iter().filter(|(peer, known)| known.is_relay && !self.relays.contains_key(peer));
        let wanted: Vec<(PeerId, Multiaddr)> = free
            .filter_map(|(peer, known)| {
                let direct = known.addresses.iter().find(|address| !is_relayed(address))?;
                let direct = if direct.iter().any(|part| matches!(part, Protocol::P2p(_))) {
                    direct.clone()
                } else {
                    direct.clone().with(Protocol::P2p(*peer))
                };
                Some((*peer, direct.with(Protocol::P2pCircuit)))
            })
            .take(RELAYS - self.relays.len())
            .collect();
        for (peer, address) in wanted {
            match self.swarm.listen_on(address) {
                Ok(listener) => drop(self.relays.insert(peer, listener)),
                Err(error) => tracing::debug!(%error, "no place at a relay"),
            }
        }
    }
}
