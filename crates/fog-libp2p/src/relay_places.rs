//! Places at this relay. Nodes that share a network with it may use the relay's full limits; all others
//! together get a few reservations and circuits, so that they take no place from those nodes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fog_transport::PeerClass;
use libp2p::{Multiaddr, PeerId, relay};

use crate::gate::{STRANGER_TIME, SWEEP, Site, site_of};
use crate::meter::Meter;

/// Longest life of a circuit; an input file of a gigabyte takes less on most lines.
const CIRCUIT_TIME: Duration = Duration::from_secs(3600);
/// Greatest number of bytes on a circuit in each direction. The default of 128 KiB is too little for one
/// input file.
const CIRCUIT_BYTES: u64 = 1 << 30;
const MAX_CIRCUITS: usize = 128;
const MAX_CIRCUITS_PER_PEER: usize = 8;
const MAX_RESERVATIONS: usize = 256;

/// Greatest number of reservations of all strangers, and of those at one address.
const STRANGER_RESERVATIONS: usize = 32;
const STRANGER_RESERVATIONS_PER_SITE: usize = 4;
/// Greatest number of circuits that strangers began.
const STRANGER_CIRCUITS: usize = 16;
const STRANGER_CIRCUITS_PER_SITE: usize = 4;
/// Longest time of a stranger's reservation, which ends with its connection.
const RESERVED: Duration = STRANGER_TIME.saturating_add(SWEEP);
/// Time after which a requested circuit is taken to have failed.
const ASKED: Duration = Duration::from_secs(30);

/// Place of a stranger.
struct Place {
    peer: PeerId,
    site: Option<Site>,
    until: Instant,
    /// Whether the place is requested but not yet granted.
    is_asked: bool,
}

#[derive(Default)]
struct Places {
    reservations: Vec<Place>,
    circuits: Vec<Place>,
}

/// Whether all places are taken, in total or for this address.
fn are_taken(places: &[Place], site: Option<Site>, most: usize, most_of_site: usize) -> bool {
    places.len() >= most || places.iter().filter(|place| place.site == site).count() >= most_of_site
}

/// Places of strangers.
pub(crate) struct RelayPlaces {
    meter: Arc<Meter>,
    places: Mutex<Places>,
}

impl RelayPlaces {
    pub(crate) fn new(meter: Arc<Meter>) -> Arc<Self> {
        Arc::new(Self { meter, places: Mutex::default() })
    }

    /// Returns the limits of the relay.
    pub(crate) fn config(self: &Arc<Self>) -> relay::Config {
        let mut config = relay::Config {
            max_reservations: MAX_RESERVATIONS,
            max_reservations_per_peer: 2,
            reservation_duration: Duration::from_secs(3600),
            max_circuits: MAX_CIRCUITS,
            max_circuits_per_peer: MAX_CIRCUITS_PER_PEER,
            max_circuit_duration: CIRCUIT_TIME,
            max_circuit_bytes: CIRCUIT_BYTES,
            // The default rate limits by node and address also apply.
            ..relay::Config::default()
        };
        // Checked last, since a node that is refused earlier must take no place.
        let places = self.clone();
        let reserve =
            move |peer: PeerId, address: &Multiaddr, now: Instant| places.may_reserve(peer, address, now);
        config.reservation_rate_limiters.push(Box::new(reserve));
        let places = self.clone();
        let connect =
            move |peer: PeerId, address: &Multiaddr, now: Instant| places.may_connect(peer, address, now);
        config.circuit_src_rate_limiters.push(Box::new(connect));
        config
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stranger(&self, peer: &PeerId) -> bool {
        self.meter.class(peer) == PeerClass::Stranger
    }

    /// Forgets places that have expired, or whose nodes turned out to share a network.
    fn prune(&self, places: &mut Vec<Place>, now: Instant) {
        places.retain(|place| place.until > now && self.is_stranger(&place.peer));
    }

    fn may_reserve(&self, peer: PeerId, address: &Multiaddr, now: Instant) -> bool {
        if !self.is_stranger(&peer) {
            return true;
        }
        let mut places = self.places();
        let (reservations, site) = (&mut places.reservations, site_of(address));
        self.prune(reservations, now);
        // The node renews its reservation, or has one on another connection.
        if let Some(own) = reservations.iter_mut().find(|place| place.peer == peer) {
            own.until = now + RESERVED;
            return true;
        }
        if are_taken(reservations, site, STRANGER_RESERVATIONS, STRANGER_RESERVATIONS_PER_SITE) {
            return false;
        }
        reservations.push(Place { peer, site, until: now + RESERVED, is_asked: false });
        true
    }

    fn may_connect(&self, peer: PeerId, address: &Multiaddr, now: Instant) -> bool {
        if !self.is_stranger(&peer) {
            return true;
        }
        let mut places = self.places();
        let (circuits, site) = (&mut places.circuits, site_of(address));
        self.prune(circuits, now);
        if are_taken(circuits, site, STRANGER_CIRCUITS, STRANGER_CIRCUITS_PER_SITE) {
            return false;
        }
        circuits.push(Place { peer, site, until: now + ASKED, is_asked: true });
        true
    }

    /// Follows the state of circuits.
    pub(crate) fn handle(&self, event: &relay::Event, now: Instant) {
        let mut places = self.places();
        match event {
            relay::Event::CircuitReqAccepted { src_peer_id, .. } => {
                if let Some(asked) =
                    places.circuits.iter_mut().find(|place| place.is_asked && place.peer == *src_peer_id)
                {
                    (asked.is_asked, asked.until) = (false, now + CIRCUIT_TIME);
                }
            }
            relay::Event::CircuitClosed { src_peer_id, .. } => {
                // A refused circuit expires: its event also comes when no place was taken.
                if let Some(at) =
                    places.circuits.iter().position(|place| !place.is_asked && place.peer == *src_peer_id)
                {
                    places.circuits.swap_remove(at);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: usize) -> Multiaddr {
        format!("/ip4/198.51.100.{n}/tcp/4001").parse().unwrap()
    }

    #[test]
    fn strangers_have_few_reservations_and_leave_the_others_to_related_nodes() {
        let (meter, now) = (Arc::new(Meter::new(true)), Instant::now());
        let places = RelayPlaces::new(meter.clone());
        let reserved = |from: Multiaddr, now| {
            (0..100).filter(|_| places.may_reserve(PeerId::random(), &from, now)).count()
        };
        assert_eq!(reserved(from(1), now), STRANGER_RESERVATIONS_PER_SITE);
        assert_eq!(
            (2..100).map(|n| reserved(from(n), now)).sum::<usize>(),
            STRANGER_RESERVATIONS - STRANGER_RESERVATIONS_PER_SITE
        );
        let friend = PeerId::random();
        assert!(!places.may_reserve(friend, &from(1), now));
        meter.set_class(friend, PeerClass::Related);
        assert!(places.may_reserve(friend, &from(1), now));
        // Their connections have ended by then.
        assert_eq!(reserved(from(1), now + RESERVED), STRANGER_RESERVATIONS_PER_SITE);
    }

    #[test]
    fn circuits_of_strangers_are_few_until_they_end() {
        let (meter, now) = (Arc::new(Meter::new(true)), Instant::now());
        let places = RelayPlaces::new(meter.clone());
        let (peer, to) = (PeerId::random(), PeerId::random());
        let connect = |now| (0..100).filter(|_| places.may_connect(peer, &from(1), now)).count();
        assert_eq!(connect(now), STRANGER_CIRCUITS_PER_SITE);
        assert!(
            (2..100).filter(|n| places.may_connect(PeerId::random(), &from(*n), now)).count()
                == STRANGER_CIRCUITS - STRANGER_CIRCUITS_PER_SITE
        );
        // Two circuits are granted, the others fail.
        (0..2).for_each(|_| {
            places.handle(&relay::Event::CircuitReqAccepted { src_peer_id: peer, dst_peer_id: to }, now)
        });
        let later = now + ASKED;
        assert_eq!(connect(later), STRANGER_CIRCUITS_PER_SITE - 2);
        // A refusal frees no place; the end of a circuit does.
        let denied = relay::Event::CircuitReqDenied {
            src_peer_id: peer,
            dst_peer_id: to,
            status: relay::StatusCode::NoReservation,
        };
        places.handle(&denied, later);
        assert_eq!(connect(later), 0);
        places
            .handle(&relay::Event::CircuitClosed { src_peer_id: peer, dst_peer_id: to, error: None }, later);
        assert_eq!(connect(later), 1);
        meter.set_class(peer, PeerClass::Related);
        assert_eq!(connect(later), 100);
    }
}
