//! Admission of connections. Places are shared by address, so that a client with many connections uses up
//! only its own places; an idle stranger makes room for a new one when all places are taken; and nodes that
//! share a network with this one, or worked with it before, always find a place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fog_transport::PeerClass;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{
    ConnectionClosed, ConnectionEstablished, DialFailure, FromSwarm, ListenFailure,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::{Interval, interval};

use crate::address::ip_of;
use crate::doors::Doors;
use crate::meter::Meter;

/// Greatest number of half-open connections; each takes a descriptor and some 20 KB for 10 s at most, for 3
/// s while there are many.
const MAX_HALF_OPEN: usize = 256;
/// Greatest number of half-open connections from one address.
const MAX_HALF_OPEN_PER_ADDRESS: usize = 8;
/// Half-open places reserved for addresses where a related node was.
const HALF_OPEN_FOR_KNOWN: usize = 64;
/// Age from which on a half-open connection makes room for a new one; most honest nodes have authenticated
/// by then.
const HALF_OPEN_SAFE: Duration = Duration::from_secs(1);
/// Greatest number of connections that strangers opened.
const MAX_STRANGERS: usize = 128;
/// Greatest number of connections of strangers from one address.
const MAX_STRANGERS_PER_ADDRESS: usize = 32;
/// Age before which a stranger's place is not given away; by then a node has shown that it shares a
/// network.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// Connections that strangers may begin from one address at once, and per minute afterwards. A stranger may
/// send and receive little, but the number of strangers is unlimited. A device has an address of its own
/// only on the local network.
const BEGUN_AT_ONCE: f64 = 30.0;
const BEGUN_PER_MINUTE: f64 = 30.0;
/// Longest life of a connection that a stranger opened, since QUIC frames without stream data are not
/// counted. A node with a reason connects again.
pub(crate) const STRANGER_TIME: Duration = Duration::from_secs(600);
/// Time between two searches for older connections.
pub(crate) const SWEEP: Duration = Duration::from_secs(30);
/// Greatest number of addresses for which beginnings are counted.
const MAX_BEGINNERS: usize = 4096;
/// Greatest number of remembered addresses of related nodes.
const MAX_ADDRESSES: usize = 256;

/// An address as far as one owner controls it: all of IPv4, the first half of IPv6.
pub(crate) type Site = IpAddr;

pub(crate) fn site_of(address: &Multiaddr) -> Option<Site> {
    ip_of(address).map(|ip| match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("there is no place for this connection: {0}")]
struct NoPlace(&'static str);

fn deny<T>(why: &'static str) -> Result<T, ConnectionDenied> {
    Err(ConnectionDenied::new(NoPlace(why)))
}

struct Incoming {
    peer: PeerId,
    site: Option<Site>,
    since: Instant,
}

struct HalfOpen {
    remote: Multiaddr,
    site: Option<Site>,
    since: Instant,
}

/// Keeps account of the places.
pub(crate) struct Gate {
    meter: Arc<Meter>,
    doors: Arc<Doors>,
    half_open: BTreeMap<ConnectionId, HalfOpen>,
    /// Number of connections that strangers of an address may still begin, and the time at which it was
    /// computed.
    beginners: BTreeMap<Site, (f64, Instant)>,
    incoming: BTreeMap<ConnectionId, Incoming>,
    /// Connections that this node opened.
    outgoing: BTreeMap<ConnectionId, (PeerId, Option<Site>)>,
    /// Addresses where related nodes are or were.
    known_sites: BTreeSet<Site>,
    closing: VecDeque<(PeerId, ConnectionId)>,
    /// Interval of the sweep; created at the first poll, when a runtime certainly exists.
    sweep: Option<Interval>,
}

impl Gate {
    pub(crate) fn new(meter: Arc<Meter>, doors: Arc<Doors>) -> Self {
        Self {
            meter,
            doors,
            half_open: BTreeMap::new(),
            beginners: BTreeMap::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            known_sites: BTreeSet::new(),
            closing: VecDeque::new(),
            sweep: None,
        }
    }

    /// Closes connections of strangers that are too old.
    fn close_old(&mut self, now: Instant) {
        let is_old = |known: &Incoming| {
            now.saturating_duration_since(known.since) >= STRANGER_TIME
                && self.meter.class(&known.peer) == PeerClass::Stranger
        };
        let old: Vec<(PeerId, ConnectionId)> = self
            .incoming
            .iter()
            .filter(|(_, known)| is_old(known))
            .map(|(id, known)| (known.peer, *id))
            .collect();
        for (peer, id) in old {
            self.incoming.remove(&id);
            self.closing.push_back((peer, id));
        }
    }

    fn note_sites(&mut self) {
        let all = self
            .incoming
            .values()
            .map(|known| (known.peer, known.site))
            .chain(self.outgoing.values().copied());
        let related: Vec<Site> = all
            .filter(|(peer, _)| self.meter.class(peer) == PeerClass::Related)
            .filter_map(|(_, site)| site)
            .collect();
        self.known_sites.extend(related);
        self.forget_sites();
    }

    /// Records the end of a connection and remembers the address of a related node.
    fn closed(&mut self, id: ConnectionId) {
        let incoming = self.incoming.remove(&id).map(|known| (known.peer, known.site));
        let outgoing = self.outgoing.remove(&id);
        for (peer, site) in incoming.into_iter().chain(outgoing) {
            if self.meter.class(&peer) != PeerClass::Stranger {
                self.known_sites.extend(site);
            }
        }
        self.forget_sites();
    }

    fn forget_sites(&mut self) {
        while self.known_sites.len() > MAX_ADDRESSES {
            self.known_sites.pop_first();
        }
    }

    fn admit_half_open(
        &mut self,
        id: ConnectionId,
        remote: &Multiaddr,
        now: Instant,
    ) -> Result<(), ConnectionDenied> {
        self.note_sites();
        let site = site_of(remote);
        let is_known = site.is_some_and(|site| self.known_sites.contains(&site));
        let of_site = self.half_open.values().filter(|other| other.site == site).count();
        let (most, most_of_site) = if is_known {
            (MAX_HALF_OPEN, MAX_HALF_OPEN_PER_ADDRESS + HALF_OPEN_FOR_KNOWN)
        } else {
            (MAX_HALF_OPEN - HALF_OPEN_FOR_KNOWN, MAX_HALF_OPEN_PER_ADDRESS)
        };
        if of_site >= most_of_site {
            let oldest = self
                .half_open
                .iter()
                .filter(|(_, other)| other.site == site)
                .min_by_key(|(_, other)| other.since);
            let oldest = oldest.map(|(id, _)| *id);
            self.displace(oldest, now, "too many of its address have not said who they are")?;
        } else if self.half_open.len() >= most {
            let oldest = self.oldest_of_the_most();
            self.displace(oldest, now, "too many have not said who they are")?;
        }
        self.half_open.insert(id, HalfOpen { remote: remote.clone(), site, since: now });
        Ok(())
    }

    /// Returns the oldest connection of those addresses that hold the most places.
    fn oldest_of_the_most(&self) -> Option<ConnectionId> {
        let mut counts: BTreeMap<Option<Site>, usize> = BTreeMap::new();
        for other in self.half_open.values() {
            *counts.entry(other.site).or_default() += 1;
        }
        let count = |other: &HalfOpen| counts.get(&other.site).copied().unwrap_or(0);
        self.half_open.iter().max_by_key(|(_, other)| (count(other), Reverse(other.since))).map(|(id, _)| *id)
    }

    fn displace(
        &mut self,
        oldest: Option<ConnectionId>,
        now: Instant,
        why: &'static str,
    ) -> Result<(), ConnectionDenied> {
        let is_old = |id: &ConnectionId| {
            self.half_open
                .get(id)
                .is_some_and(|old| now.saturating_duration_since(old.since) >= HALF_OPEN_SAFE)
        };
        let Some(old) = oldest.filter(is_old).and_then(|id| self.half_open.remove(&id)) else {
            return deny(why);
        };
        self.doors.close(&old.remote);
        Ok(())
    }

    /// Counts a beginning from an address. Returns whether one more stranger may begin there.
    fn try_begin(&mut self, site: Option<Site>, now: Instant) -> bool {
        let Some(site) = site.filter(|site| !site.is_loopback() && !self.known_sites.contains(site)) else {
            return true;
        };
        let refilled = |(left, at): (f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * BEGUN_PER_MINUTE / 60.0)
                .min(BEGUN_AT_ONCE)
        };
        if self.beginners.len() >= MAX_BEGINNERS {
            self.beginners.retain(|_, counted| refilled(*counted) < BEGUN_AT_ONCE);
        }
        if self.beginners.len() >= MAX_BEGINNERS && !self.beginners.contains_key(&site) {
            // So many addresses at once belong to one attacker.
            return false;
        }
        let counted = self.beginners.entry(site).or_insert((BEGUN_AT_ONCE, now));
        let left = refilled(*counted);
        *counted = (if left >= 1.0 { left - 1.0 } else { left }, now);
        left >= 1.0
    }

    fn admit(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        site: Option<Site>,
        now: Instant,
    ) -> Result<(), ConnectionDenied> {
        self.half_open.remove(&id);
        if self.meter.is_cut(&peer) {
            return deny("it was cut off a while ago");
        }
        if self.meter.class(&peer) == PeerClass::Stranger {
            if !self.try_begin(site, now) {
                return deny("too many strangers came from its address a moment ago");
            }
            let is_stranger = |known: &&Incoming| self.meter.class(&known.peer) == PeerClass::Stranger;
            let strangers: Vec<(&ConnectionId, &Incoming)> =
                self.incoming.iter().filter(|(_, known)| is_stranger(known)).collect();
            let of_site = strangers.iter().filter(|(_, known)| known.site == site).count();
            let needs_place = strangers.len() >= MAX_STRANGERS || of_site >= MAX_STRANGERS_PER_ADDRESS;
            // The oldest idle stranger makes room, one of the same address if that is full.
            let is_full_site = of_site >= MAX_STRANGERS_PER_ADDRESS;
            let may_go = |known: &Incoming| {
                now.saturating_duration_since(known.since) >= GREETING_TIME
                    && (!is_full_site || known.site == site)
            };
            let oldest =
                strangers.iter().filter(|(_, known)| may_go(known)).min_by_key(|(_, known)| known.since);
            let oldest = oldest.map(|(id, known)| (known.peer, **id));
            if needs_place {
                let Some(oldest) = oldest else { return deny("too many strangers are connected") };
                self.incoming.remove(&oldest.1);
                self.closing.push_back(oldest);
            }
        }
        self.incoming.insert(id, Incoming { peer, site, since: now });
        Ok(())
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.admit_half_open(id, remote, Instant::now())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(id, peer, site_of(remote), Instant::now())?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.meter.is_cut(&peer) {
            return deny("it was cut off a while ago");
        }
        self.outgoing.insert(id, (peer, site_of(address)));
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                self.half_open.remove(&connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => self.closed(connection_id),
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.outgoing.remove(&connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.half_open.remove(&connection_id);
                self.incoming.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        while self.sweep.get_or_insert_with(|| interval(SWEEP)).poll_tick(cx).is_ready() {
            self.close_old(Instant::now());
        }
        // The rest is closed at the next polls; the swarm polls after each admission.
        match self.closing.pop_front() {
            Some((peer_id, id)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Arc::default(), Arc::default())
    }

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn remote(n: u8, port: usize) -> Multiaddr {
        format!("/ip4/198.51.100.{n}/tcp/{port}").parse().unwrap()
    }

    fn site(n: u8) -> Option<Site> {
        Some(IpAddr::from([198, 51, 100, n]))
    }

    #[test]
    fn addresses_of_one_owner_are_one_site() {
        let of = |text: &str| site_of(&text.parse().unwrap());
        assert_eq!(of("/ip6/2001:db8:1:2::5/tcp/4"), of("/ip6/2001:db8:1:2:ffff::/udp/4/quic-v1"));
        assert_ne!(of("/ip6/2001:db8:1:2::5/tcp/4"), of("/ip6/2001:db8:1:3::5/tcp/4"));
        assert_eq!(of("/ip6/::ffff:198.51.100.7/tcp/4"), of("/ip4/198.51.100.7/tcp/4"));
        assert_ne!(of("/ip4/198.51.100.7/tcp/4"), of("/ip4/198.51.100.8/tcp/4"));
    }

    #[test]
    fn half_open_connections_of_one_address_leave_room_for_others() {
        let (mut gate, now) = (gate(), Instant::now());
        let let_in = (0..500).filter(|n| gate.admit_half_open(id(*n), &remote(1, *n), now).is_ok()).count();
        assert_eq!(let_in, MAX_HALF_OPEN_PER_ADDRESS);
        // Ten addresses with endless tries leave room for the next.
        for n in 0..1000 {
            let _ = gate.admit_half_open(id(1000 + n), &remote((2 + n % 10) as u8, n), now);
        }
        assert!(gate.admit_half_open(id(2100), &remote(20, 1), now).is_ok());
        // Many addresses leave room for those where a related node was.
        for n in 0..1000 {
            let _ = gate.admit_half_open(id(3000 + n), &remote((30 + n % 200) as u8, n), now);
        }
        assert!(gate.admit_half_open(id(4000), &remote(250, 1), now).is_err());
        gate.known_sites.extend(site(250));
        assert!(gate.admit_half_open(id(4001), &remote(250, 1), now).is_ok());
    }

    #[test]
    fn a_member_that_was_called_or_has_gone_is_known_where_it_was() {
        let (mut gate, now) = (gate(), Instant::now());
        let (called, gone) = (PeerId::random(), PeerId::random());
        gate.handle_established_outbound_connection(
            id(1),
            called,
            &remote(250, 1),
            Endpoint::Dialer,
            PortUse::New,
        )
        .unwrap();
        gate.admit(id(2), gone, site(251), now).unwrap();
        for peer in [called, gone] {
            gate.meter.set_class(peer, PeerClass::Related);
        }
        // The node disconnects before anybody else comes, and the engine sets its class later.
        gate.closed(id(2));
        gate.meter.set_class(gone, PeerClass::Known);
        for n in 0..1000 {
            let _ = gate.admit_half_open(id(1000 + n), &remote((n % 200) as u8, n), now);
        }
        assert!(gate.admit_half_open(id(4000), &remote(252, 1), now).is_err(), "the places are full");
        for n in [250, 251] {
            assert!(
                gate.admit_half_open(id(4000 + usize::from(n)), &remote(n, 1), now).is_ok(),
                "it waits behind all others: {n}"
            );
        }
    }

    #[test]
    fn who_is_silent_makes_room_for_who_is_new() {
        let (mut gate, begun) = (gate(), Instant::now());
        // All places are taken, by 20 addresses with as many as allowed and by some with one each.
        for n in 0..1000 {
            let _ = gate.admit_half_open(id(n), &remote((n % 20) as u8, n), begun);
        }
        (0..50).for_each(|n| drop(gate.admit_half_open(id(2000 + n), &remote(100 + n as u8, 1), begun)));
        let full = gate.half_open.len();
        let alone = |gate: &Gate| (2000..2050).filter(|n| gate.half_open.contains_key(&id(*n))).count();
        let of_one = alone(&gate);
        assert_eq!(full, MAX_HALF_OPEN - HALF_OPEN_FOR_KNOWN);
        assert!(of_one < 50, "the places are full");
        assert!(gate.admit_half_open(id(3000), &remote(200, 1), begun).is_err(), "the others have just come");
        let later = begun + HALF_OPEN_SAFE;
        for n in 0..20 {
            assert!(gate.admit_half_open(id(4000 + n), &remote(201 + n as u8, 1), later).is_ok());
        }
        // Connections of the addresses with the most places were closed.
        assert_eq!((gate.half_open.len(), alone(&gate)), (full, of_one));
        // At a full address its own oldest connection is closed.
        let mut gate = Gate::new(Arc::default(), Arc::default());
        (0..MAX_HALF_OPEN_PER_ADDRESS)
            .for_each(|n| gate.admit_half_open(id(n), &remote(1, n), begun).unwrap());
        assert!(gate.admit_half_open(id(50), &remote(1, 50), later).is_ok());
        assert!(!gate.half_open.contains_key(&id(0)));
    }

    #[test]
    fn strangers_of_one_address_begin_so_often_and_no_more() {
        let (mut gate, begun) = (gate(), Instant::now());
        let mut begin = |n: u8, now| (0..200).filter(|_| gate.try_begin(site(n), now)).count();
        assert_eq!((begin(1, begun), begin(2, begun)), (30, 30));
        assert_eq!(begin(1, begun + Duration::from_secs(20)), 10);
        gate.known_sites.extend(site(1));
        assert_eq!((0..200).filter(|_| gate.try_begin(site(1), begun)).count(), 200);
        // Refused connections create no account.
        assert!(!(0..200).all(|_| gate.try_begin(site(3), begun)));
        assert!(gate.admit(id(1), PeerId::random(), site(3), begun).is_err());
    }

    #[test]
    fn idle_strangers_make_room_and_related_nodes_always_have_a_place() {
        let (mut gate, begun) = (gate(), Instant::now());
        // Eight addresses with as many connections as are admitted.
        let let_in = (0..512)
            .filter(|n| gate.admit(id(*n), PeerId::random(), site((n % 8) as u8), begun).is_ok())
            .count();
        assert_eq!(let_in, MAX_STRANGERS);
        // A new stranger cannot take the place of another new one; a known node can connect.
        let later = begun + GREETING_TIME / 2;
        assert!(gate.admit(id(600), PeerId::random(), site(100), later).is_err());
        let known = PeerId::random();
        gate.meter.set_class(known, PeerClass::Known);
        assert!(gate.admit(id(601), known, site(100), later).is_ok());
        // Strangers without a greeting in time make room.
        let later = begun + GREETING_TIME;
        assert!(gate.admit(id(602), PeerId::random(), site(100), later).is_ok());
        assert_eq!(gate.closing.len(), 1);
        // Nodes that have become related stay.
        let kept: Vec<PeerId> = gate.incoming.values().map(|known| known.peer).collect();
        kept.iter().for_each(|peer| gate.meter.set_class(*peer, PeerClass::Related));
        assert!(gate.admit(id(603), PeerId::random(), site(101), later).is_ok());
        assert_eq!(gate.closing.len(), 1);
    }

    #[test]
    fn a_stranger_does_not_stay_and_a_related_node_does() {
        let (mut gate, begun) = (gate(), Instant::now());
        let peers: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        for (n, peer) in peers.iter().enumerate() {
            gate.admit(id(n), *peer, site(n as u8), begun).unwrap();
        }
        gate.meter.set_class(peers[1], PeerClass::Related);
        gate.meter.set_class(peers[2], PeerClass::Known);
        gate.close_old(begun + STRANGER_TIME - Duration::from_secs(1));
        assert!(gate.closing.is_empty());
        gate.close_old(begun + STRANGER_TIME);
        assert_eq!(gate.closing, [(peers[0], id(0))]);
        assert_eq!(gate.incoming.len(), 2);
    }

    #[test]
    fn one_address_takes_its_own_places_only() {
        let (mut gate, begun) = (gate(), Instant::now());
        let let_in =
            (0..512).filter(|n| gate.admit(id(*n), PeerId::random(), site(1), begun).is_ok()).count();
        assert_eq!(let_in, BEGUN_AT_ONCE as usize);
        assert!(gate.admit(id(600), PeerId::random(), site(2), begun).is_ok());
        assert!(gate.closing.is_empty());
        // A node that was cut off is not admitted again at once.
        let bad = PeerId::random();
        gate.meter.cut_off(bad);
        assert!(gate.admit(id(601), bad, site(3), begun).is_err());
    }
}
