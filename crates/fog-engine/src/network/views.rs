//! Views of other devices for front ends, and counters.

use fog_api::{ApiError, NetworkView, PeerPath, PeerView, ReachView, Reply};
use fog_grid::Relation;
use fog_transport::Reach;
use fog_types::NodeId;
use fog_types::text::clean_name;

use crate::context::Context;
use crate::directory::Peer;
use crate::names::Names;
use crate::network::Network;
use crate::network::adverts::AdvertisedPeer;
use crate::network::membership::{LAN, OPEN};
use crate::query::to_api;

/// Appends the beginning of their ids to devices whose names look the same.
fn tell_apart(list: &mut [PeerView]) {
    let mut names = Names::default();
    for peer in list.iter() {
        names.set(&peer.id, &peer.name);
    }
    for peer in list {
        if !peer.name.contains('#') {
            peer.name = names.label(&peer.id, &peer.name);
        }
    }
}

/// Number of tasks that a node has of this device, and of its jobs that are here.
pub(crate) type WorkOf<'a> = dyn Fn(NodeId) -> (u32, u32) + 'a;

impl Network {
    pub(crate) fn view(&self, ctx: &Context, work: &WorkOf<'_>) -> NetworkView {
        NetworkView {
            id: ctx.me().filter(|_| !self.joined.is_empty()).map(|me| me.to_string()).unwrap_or_default(),
            name: self.device_name(ctx),
            joined: self.joined.clone(),
            is_on: ctx.net.is_some(),
            problem: self.problem.clone(),
            reach: match self.reach {
                Reach::Unknown => ReachView::Unknown,
                Reach::Public => ReachView::Public,
                Reach::Relayed => ReachView::Relayed,
            },
            addresses: self.listening.clone(),
            peers: self.peer_views(ctx, work),
            received: ctx.traffic.received,
            sent: ctx.traffic.sent,
            data_cap: ctx.data_cap(),
            adverts: self.adverts,
            clock_off_ms: Some(self.clock_correction(ctx)).filter(|off| *off != 0),
        }
    }

    fn peer_views(&self, ctx: &Context, work: &WorkOf<'_>) -> Vec<PeerView> {
        let now = ctx.clock.unix().0;
        let mut list: Vec<PeerView> = ctx
            .directory
            .peers
            .iter()
            .map(|(node, peer)| self.peer_view(ctx, *node, peer, now, work))
            .collect();
        tell_apart(&mut list);
        list.sort_by(|a, b| {
            (a.network.is_empty(), &a.name, &a.id).cmp(&(b.network.is_empty(), &b.name, &b.id))
        });
        list
    }

    fn peer_view(&self, ctx: &Context, node: NodeId, peer: &Peer, now: i64, work: &WorkOf<'_>) -> PeerView {
        let route = peer.route.as_ref();
        let (lent, hosted) = work(node);
        PeerView {
            id: node.to_string(),
            name: Some(clean_name(&peer.name))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| node.short()),
            network: match peer.relation.as_ref() {
                Some(Relation::Group(name)) => name.clone(),
                Some(Relation::Lan) => LAN.to_owned(),
                Some(Relation::Open) => OPEN.to_owned(),
                Some(Relation::Stranger) | None => String::new(),
            },
            connected: route.is_some(),
            transport: route.map(|route| route.transport.to_owned()).unwrap_or_default(),
            path: route.map_or(PeerPath::None, |route| {
                if route.is_relayed { PeerPath::Relayed } else { PeerPath::Direct }
            }),
            address: route.map(|route| route.address.clone()).unwrap_or_default(),
            round_trip_ms: peer.round_trip,
            free: peer.capacity.free,
            slots: peer.capacity.slots,
            duty: peer.capacity.duty,
            lent,
            hosted,
            reliability: (ctx.directory.evidence(node).reliability() * 1000.0) as u16,
            seen_ms: now,
            clock_off_ms: peer
                .relation
                .as_ref()
                .filter(|_| route.is_some())
                .and_then(|_| self.clock_off(ctx, node)),
        }
    }

    /// Lists devices that are connected, known from adverts, or were connected before.
    pub(crate) fn peers(&self, ctx: &Context, work: &WorkOf<'_>) -> Result<Reply, ApiError> {
        let mut list = self.peer_views(ctx, work);
        for (node, far) in self.far.iter().filter(|(node, _)| !ctx.directory.peers.contains_key(node)) {
            let AdvertisedPeer { advert, relation, heard, .. } = far;
            // The time of arrival is used, because the advert's own time depends on its author's clock.
            let seen =
                ctx.clock.unix().0.saturating_sub_unsigned(
                    u64::try_from(ctx.since(*heard).as_millis()).unwrap_or(u64::MAX),
                );
            let peer = Peer {
                name: advert.name.clone(),
                relation: Some(relation.clone()),
                capacity: advert.capacity,
                ..Peer::default()
            };
            list.push(self.peer_view(ctx, *node, &peer, seen, work));
        }
        for row in ctx.store.peers(1000).map_err(to_api)? {
            if !ctx.directory.peers.contains_key(&row.node) && !self.far.contains_key(&row.node) {
                let away = Peer { name: row.name, ..Peer::default() };
                list.push(self.peer_view(ctx, row.node, &away, row.seen.0, work));
            }
        }
        tell_apart(&mut list);
        Ok(Reply::Peers(list))
    }
}
