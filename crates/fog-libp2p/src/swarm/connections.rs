//! Swarm: the connections to each node, and which of them are closed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use fog_transport::{NetEvent, Route};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::Swarm;
use super::dials::{Again, MAX_NEIGHBOURS};
use crate::{address, node_of};

/// Greatest time between connections that two nodes open to each other simultaneously. A connection that is
/// older than the newest by more dates from before.
const SAME_MOMENT: Duration = Duration::from_secs(3);
/// Greatest number of connections to one node: a relayed one, a direct one each way, and one that is
/// closing.
const MAX_CONNECTIONS_PER_PEER: usize = 4;

pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) route: Route,
    ip: Option<IpAddr>,
    is_dialer: bool,
    pub(super) since: Instant,
}

/// Returns the direct connections that are older than the newest one and not simultaneous with it.
fn of_before(connections: &[Connection]) -> Vec<ConnectionId> {
    let direct = || connections.iter().filter(|connection| !connection.route.is_relayed);
    let Some(newest) = direct().map(|connection| connection.since).max() else { return Vec::new() };
    direct()
        .filter(|old| newest.saturating_duration_since(old.since) > SAME_MOMENT)
        .map(|old| old.id)
        .collect()
}

/// Returns the connection to close when the last one exceeds the limit: the oldest one to another address,
/// which may be dead, otherwise the last one itself.
fn too_many(connections: &[Connection]) -> Option<ConnectionId> {
    let newest = connections.last().filter(|_| connections.len() > MAX_CONNECTIONS_PER_PEER)?;
    let elsewhere = connections
        .iter()
        .filter(|old| !old.route.is_relayed && old.ip != newest.ip)
        .min_by_key(|old| old.since);
    Some(elsewhere.unwrap_or(newest).id)
}

impl Swarm {
    pub(super) async fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address();
        let route = address::route_of(address, endpoint.is_relayed());
        let ip = address::ip_of(address);
        let new = Connection { id, ip, is_dialer: endpoint.is_dialer(), since: Instant::now(), route };
        let known = self.peers.entry(peer).or_default();
        // A node that comes from another address has changed networks; its old connections are dead.
        if !new.is_dialer && !new.route.is_relayed {
            let is_elsewhere = |old: &&Connection| {
                old.ip.zip(new.ip).is_some_and(|(old, new)| old != new && old.is_ipv4() == new.is_ipv4())
            };
            for old in known.connections.iter().filter(|old| !old.route.is_relayed).filter(is_elsewhere) {
                self.swarm.close_connection(old.id);
            }
        }
        if new.is_dialer && !new.route.is_relayed {
            known.dialled.retain(|before| before != address);
            known.dialled.push(address.clone());
            let too_many = known.dialled.len().saturating_sub(4);
            known.dialled.drain(..too_many);
        }
        known.connections.push(new);
        if let Some(id) = too_many(&known.connections) {
            self.swarm.close_connection(id);
        }
        self.again.remove(&peer);
        self.tell_route(peer).await;
    }

    pub(super) async fn closed(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.connections.retain(|connection| connection.id != id);
        if known.connections.is_empty() {
            let addresses: Vec<Multiaddr> = known.addresses.iter().chain(&known.dialled).cloned().collect();
            self.peers.remove(&peer);
            self.bulk.set_way(peer, None);
            if !addresses.is_empty() && self.again.len() < MAX_NEIGHBOURS {
                self.again
                    .insert(peer, Again { addresses, at: Instant::now() + Duration::from_secs(1), tries: 0 });
            }
            if let Some(node) = node_of(&peer) {
                self.say(NetEvent::Disconnected { node }).await;
            }
        } else {
            self.tell_route(peer).await;
        }
    }

    /// Reports the best route to a node when it has changed.
    async fn tell_route(&mut self, peer: PeerId) {
        let Some(node) = node_of(&peer) else { return };
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let rank = |c: &&Connection| (c.route.is_relayed, c.route.transport != "quic", c.since);
        let Some(best) = known.connections.iter().min_by_key(rank) else { return };
        self.bulk.set_way(peer, best.ip.filter(|_| best.route.is_local && !best.route.is_relayed));
        let best = best.route.clone();
        if known.told.as_ref() != Some(&best) {
            known.told = Some(best.clone());
            self.say(NetEvent::Connected { node, route: best }).await;
        }
    }

    /// Closes the old connections of a node. A stream may be opened on any connection, and on a dead one it
    /// waits until the time limit.
    pub(super) fn drop_old(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        for id in of_before(&known.connections) {
            tracing::debug!(%peer, "a connection of before is closed");
            self.swarm.close_connection(id);
        }
    }

    /// Closes all connections after the loss of an address: they are dead, which would go unnoticed for
    /// seconds.
    pub(super) fn network_changed(&mut self) {
        let closing: Vec<ConnectionId> =
            self.peers.values().flat_map(|known| known.connections.iter().map(|c| c.id)).collect();
        for id in closing {
            self.swarm.close_connection(id);
        }
        self.relays.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_the_newest_connection_is_of_before() {
        let begun = Instant::now();
        let connection = |n: usize, since: u64, is_relayed: bool| Connection {
            id: ConnectionId::new_unchecked(n),
            route: address::route_of(&"/ip4/10.77.0.2/udp/4/quic-v1".parse().unwrap(), is_relayed),
            ip: None,
            is_dialer: n.is_multiple_of(2),
            since: begun + Duration::from_secs(since),
        };
        assert_eq!(of_before(&[]), []);
        // Both nodes dialled simultaneously: neither connection is old.
        assert_eq!(of_before(&[connection(1, 0, false), connection(2, 2, false)]), []);
        // The direction does not matter, and a relayed connection is a separate way.
        let all = [
            connection(1, 0, false),
            connection(2, 1, false),
            connection(3, 0, true),
            connection(4, 30, false),
            connection(5, 50, true),
        ];
        assert_eq!(of_before(&all), [ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2)]);
    }

    #[test]
    fn a_node_that_comes_from_another_address_finds_a_place_whatever_is_left_of_before() {
        let begun = Instant::now();
        let connection = |n: usize, ip: [u8; 4]| Connection {
            id: ConnectionId::new_unchecked(n),
            route: address::route_of(&"/ip4/10.77.0.2/udp/4/quic-v1".parse().unwrap(), false),
            ip: Some(ip.into()),
            is_dialer: false,
            since: begun + Duration::from_secs(n as u64),
        };
        let mut all: Vec<Connection> = (0..4).map(|n| connection(n, [10, 77, 0, 2])).collect();
        assert_eq!(too_many(&all), None);
        all.push(connection(4, [10, 77, 0, 9]));
        assert_eq!(too_many(&all), Some(ConnectionId::new_unchecked(0)));
        all[4].ip = all[0].ip;
        assert_eq!(too_many(&all), Some(ConnectionId::new_unchecked(4)));
    }
}
