//! Adverts over GossipSub: each device announces seldom whether it has room or work. From adverts a device
//! learns of others without a link, and dials some of them when it needs them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_grid::{Advert, Capacity, Group, Relation};
use fog_types::NodeId;
use rand::RngExt as _;

use crate::context::Context;
use crate::network::Network;
use crate::network::membership::{LAN, OPEN};

/// Interval of adverts while nothing changes.
const SELDOM: Duration = Duration::from_secs(300);
/// Shortest interval between two adverts, also after a change.
const GAP: Duration = Duration::from_secs(30);
/// Most devices that are known from adverts only.
const MAX_FAR: usize = 1000;
/// Time without an advert after which such a device is forgotten.
const FORGET: Duration = Duration::from_secs(1200);
/// Number of devices that are dialled at once; the other constants bound how often.
const CALLS: usize = 4;
const CALL_EVERY: Duration = Duration::from_secs(10);
const MOST_PATIENT: Duration = Duration::from_secs(600);
const CALL_AGAIN: Duration = Duration::from_secs(120);

/// Most dials of one address within [`CALL_AGAIN`], whichever devices name it.
#[derive(Debug, Clone, Copy)]
struct Calls {
    direct: u32,
    /// Bound for relayed addresses; it is higher because one relay leads to many nodes.
    relayed: u32,
}

impl Calls {
    /// Bounds for addresses from adverts.
    const HEARD_OF: Self = Self { direct: 1, relayed: 8 };
    /// Bounds for devices that were connected before: once in ten seconds at most.
    const KNOWN: Self = Self { direct: 12, relayed: 64 };
}

/// A device that is known from its adverts.
pub(crate) struct AdvertisedPeer {
    pub(crate) advert: Advert,
    pub(crate) relation: Relation,
    pub(crate) heard: Instant,
    called: Option<Instant>,
    /// Number of dials that did not lead to a connection.
    calls: u32,
}

/// Content of the last advert of this device, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastAdvert {
    at: Instant,
    has_room: bool,
    has_work: bool,
}

fn topic_of(group: &Group) -> String {
    // Only members of the group know the secret from which the topic's name derives.
    format!(
        "fog/1/{}",
        blake3::Hash::from_bytes(blake3::derive_key("fog-compute 2026-11 topic of a group", &group.secret))
            .to_hex()
    )
}

fn common_topic(name: &str) -> String {
    format!("fog/1/{name}")
}

/// First hop of an address, without the peer id that is said to be there.
fn place_of(address: &str) -> String {
    address.split("/p2p/").next().unwrap_or(address).to_owned()
}

/// Selects the addresses that may be dialled now: those at which a device can be and that were not dialled
/// too often.
fn callable(
    now: Instant,
    called: &mut BTreeMap<String, (Instant, u32)>,
    addresses: &[String],
    is_from_afar: bool,
    loopback: bool,
    most: Calls,
) -> Vec<String> {
    called.retain(|_, (at, _)| now.saturating_duration_since(*at) < CALL_AGAIN);
    let mut kept: Vec<String> = addresses
        .iter()
        .filter(|address| fog_libp2p::is_callable(address, is_from_afar, loopback))
        .cloned()
        .collect();
    kept.retain(|address| {
        let most = if address.contains("/p2p-circuit") { most.relayed } else { most.direct };
        let (_, times) = called.entry(place_of(address)).or_insert((now, 0));
        *times = times.saturating_add(1);
        *times <= most
    });
    kept
}

impl Network {
    /// Joins the topics of all joined networks.
    pub(crate) fn join_topics(&self, ctx: &Context) {
        let Some(net) = &ctx.net else { return };
        for group in &self.groups {
            net.transport.join_topic(&topic_of(group));
        }
        for (name, is_joined) in [(LAN, self.lan), (OPEN, self.open)] {
            if is_joined {
                net.transport.join_topic(&common_topic(name));
            }
        }
    }

    /// Sends an advert if one is due.
    pub(crate) fn advertise(&mut self, ctx: &mut Context, capacity: Capacity, wants: usize) {
        if self.advertised.is_some_and(|told| ctx.since(told.at) < GAP) {
            return;
        }
        let Some(net) = &ctx.net else { return };
        let Some(node) = ctx.me().filter(|_| !ctx.directory.peers.is_empty()) else { return };
        let wants = u32::try_from(wants).unwrap_or(u32::MAX);
        let (has_room, has_work) = (capacity.free > 0 && capacity.duty > 0, wants > 0);
        let is_due = self.advertised.is_none_or(|told| {
            let is_other = (told.has_room, told.has_work) != (has_room, has_work);
            is_other || ctx.since(told.at) >= SELDOM
        });
        if !is_due {
            return;
        }
        let addresses =
            self.listening.iter().filter(|address| address.len() <= 256).take(4).cloned().collect();
        let advert = Advert {
            node,
            at_ms: ctx.clock.unix().0.saturating_add(self.clock_correction(ctx)),
            name: self.device_name(ctx),
            capacity,
            wants,
            addresses,
        };
        for group in &self.groups {
            net.transport.publish(&topic_of(group), advert.encode(Some(group), ctx.rng().random()));
        }
        for (name, is_joined) in [(LAN, self.lan), (OPEN, self.open)] {
            if is_joined {
                net.transport.publish(&common_topic(name), advert.encode(None, ctx.rng().random()));
            }
        }
        self.advertised = Some(LastAdvert { at: ctx.now(), has_room, has_work });
    }

    /// Handles an advert. Returns whether it may be forwarded.
    pub(crate) fn handle_advert(
        &mut self,
        ctx: &mut Context,
        author: NodeId,
        topic: &str,
        data: &[u8],
    ) -> bool {
        let group = self.groups.iter().find(|group| topic_of(group) == topic);
        let relation = match group {
            Some(group) => Relation::Group(group.name.clone()),
            None if self.lan && topic == common_topic(LAN) => Relation::Lan,
            None if self.open && topic == common_topic(OPEN) => Relation::Open,
            None => return false,
        };
        let Some(advert) = Advert::decode(data, author, group, &self.clocks_of(ctx, author)) else {
            return false;
        };
        let now = ctx.now_ms();
        if !self.pace.admits(author, now) {
            return false;
        }
        self.far.retain(|_, far| ctx.since(far.heard) < FORGET);
        if self.far.len() >= MAX_FAR && !self.far.contains_key(&author) {
            let oldest = self.far.iter().min_by_key(|(_, far)| far.heard).map(|(node, _)| *node);
            oldest.and_then(|node| self.far.remove(&node));
        }
        let (called, calls) = self.far.get(&author).map_or((None, 0), |far| (far.called, far.calls));
        self.adverts += 1;
        self.far.insert(author, AdvertisedPeer { advert, relation, heard: ctx.now(), called, calls });
        true
    }

    /// Dials devices from adverts that offer what this device needs: room for its waiting tasks, or tasks
    /// for its own room.
    pub(crate) fn call_far(&mut self, ctx: &mut Context, lends: Capacity, wants: usize, is_hosting: bool) {
        if self.far.is_empty() || self.last_call.is_some_and(|last| ctx.since(last) < CALL_EVERY) {
            return;
        }
        let Some(net) = &ctx.net else { return };
        let is_near_full = ctx.directory.peers.values().all(|peer| peer.free() == 0);
        let needs_room = is_near_full && wants > 0;
        let has_room = lends.free > 0 && lends.duty > 0 && !is_hosting;
        if !needs_room && !has_room {
            return;
        }
        let is_wanted = |far: &AdvertisedPeer| {
            (needs_room && far.advert.capacity.free > 0) || (has_room && far.advert.wants > 0)
        };
        let is_due = |far: &AdvertisedPeer| {
            far.called.is_none_or(|at| ctx.since(at) > CALL_AGAIN * (1 << far.calls.min(6)))
        };
        let mut fit: Vec<NodeId> = self
            .far
            .iter()
            .filter(|(node, far)| !ctx.directory.peers.contains_key(node) && is_wanted(far) && is_due(far))
            .map(|(node, _)| *node)
            .collect();
        // Devices that delivered results before come first; among equals those with the most to give.
        fit.sort_by_key(|node| {
            let advert = self.far.get(node).map(|far| (far.advert.capacity.free, far.advert.wants));
            ((ctx.directory.evidence(*node).reliability() * -1000.0) as i64, std::cmp::Reverse(advert))
        });
        fit.truncate(CALLS);
        for node in &fit {
            if let Some(far) = self.far.get_mut(node) {
                (far.called, far.calls) = (Some(ctx.now()), far.calls.saturating_add(1));
                let is_from_afar = far.relation == Relation::Open;
                let addresses = callable(
                    ctx.now(),
                    &mut self.called,
                    &far.advert.addresses,
                    is_from_afar,
                    ctx.config.network.loopback,
                    Calls::HEARD_OF,
                );
                net.transport.dial(*node, addresses);
            }
        }
        if !fit.is_empty() {
            self.last_call = Some(ctx.now());
            tracing::debug!(count = fit.len(), "calling devices that were heard of");
        }
    }

    /// Dials devices of earlier connections that are absent, at growing intervals: a device may have been
    /// off or not listening at the first attempt.
    pub(crate) fn call_known(&mut self, ctx: &mut Context) {
        let Some(net) = &ctx.net else { return };
        let (now, loopback) = (ctx.now(), ctx.config.network.loopback);
        for (node, known) in self.known.iter_mut().filter(|(_, known)| known.next <= now) {
            if ctx.directory.peers.contains_key(node) {
                (known.tries, known.next) = (0, now + CALL_EVERY);
                continue;
            }
            known.tries += 1;
            known.next = now + MOST_PATIENT.min(Duration::from_secs(5 << known.tries.min(10)));
            // The addresses are the device's own claim, and many devices can claim one address.
            let addresses =
                callable(ctx.now(), &mut self.called, &known.addresses, false, loopback, Calls::KNOWN);
            net.transport.dial(*node, addresses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_devices_that_name_one_address_do_not_make_this_one_knock_there_again_and_again() {
        let mut called = BTreeMap::new();
        let victim = [
            "/ip4/198.51.100.7/tcp/4001".to_owned(),
            "/ip4/198.51.100.7/tcp/25".to_owned(),
            "/dns4/example.org/tcp/4001".to_owned(),
        ];
        let calls = (0..1000)
            .map(|_| callable(Instant::now(), &mut called, &victim, false, false, Calls::KNOWN))
            .collect::<Vec<_>>();
        assert!(calls.iter().flatten().all(|address| *address == victim[0]), "{:?}", calls.first());
        assert_eq!(calls.iter().flatten().count(), 12);
        // An address from an advert is dialled once; relayed addresses are dialled more often.
        assert_eq!(
            callable(Instant::now(), &mut called, &victim, true, false, Calls::HEARD_OF),
            Vec::<String>::new()
        );
        let relayed = [
            "/ip4/198.51.100.9/tcp/4001/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit"
                .to_owned(),
        ];
        assert_eq!(
            (0..1000)
                .filter(|_| !callable(Instant::now(), &mut called, &relayed, true, false, Calls::HEARD_OF)
                    .is_empty())
                .count(),
            8
        );
    }
}
