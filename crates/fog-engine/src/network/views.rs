//! Views of other devices for front ends, and counters.

use fog_api::{ApiError, NetworkView, PeerPath, PeerView, ReachView, Reply};
use fog_grid::Relation;
use fog_transport::{Reach, Transport as _};
use fog_types::NodeId;
use fog_types::text::clean_name;

use crate::chat::Names;
use crate::directory::Peer;
use crate::event_loop::Engine;
use crate::grid::AdvertisedPeer;
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

impl Engine {
    pub(crate) fn network_view(&self) -> NetworkView {
        NetworkView {
            id: self.ctx.me().filter(|_| !self.grid.joined.is_empty()).map(|me| me.to_string()).unwrap_or_default(),
            name: self.device_name(),
            joined: self.grid.joined.clone(),
            is_on: self.ctx.net.is_some(),
            problem: self.grid.problem.clone(),
            reach: match self.grid.reach {
                Reach::Unknown => ReachView::Unknown,
                Reach::Public => ReachView::Public,
                Reach::Relayed => ReachView::Relayed,
            },
            addresses: self.grid.listening.clone(),
            peers: self.peer_views(),
            received: self.grid.traffic.received,
            sent: self.grid.traffic.sent,
            data_cap: self.data_cap(),
            adverts: self.grid.adverts,
            clock_off_ms: Some(self.clock_correction()).filter(|off| *off != 0),
        }
    }

    fn peer_views(&self) -> Vec<PeerView> {
        let now = self.ctx.clock.unix().0;
        let mut list: Vec<PeerView> = self.ctx.directory.peers.iter().map(|(node, peer)| self.peer_view(*node, peer, now)).collect();
        tell_apart(&mut list);
        list.sort_by(|a, b| (a.network.is_empty(), &a.name, &a.id).cmp(&(b.network.is_empty(), &b.name, &b.id)));
        list
    }

    fn peer_view(&self, node: NodeId, peer: &Peer, now: i64) -> PeerView {
        let route = peer.route.as_ref();
        PeerView {
            id: node.to_string(),
            name: Some(clean_name(&peer.name)).filter(|name| !name.is_empty()).unwrap_or_else(|| node.short()),
            network: match peer.relation.as_ref() {
                Some(Relation::Group(name)) => name.clone(),
                Some(Relation::Lan) => LAN.to_owned(),
                Some(Relation::Open) => OPEN.to_owned(),
                Some(Relation::Stranger) | None => String::new(),
            },
            connected: route.is_some(),
            transport: route.map(|route| route.transport.to_owned()).unwrap_or_default(),
            path: route.map_or(PeerPath::None, |route| if route.is_relayed { PeerPath::Relayed } else { PeerPath::Direct }),
            address: route.map(|route| route.address.clone()).unwrap_or_default(),
            round_trip_ms: peer.round_trip,
            free: peer.capacity.free,
            slots: peer.capacity.slots,
            duty: peer.capacity.duty,
            lent: self.lent_to(node),
            hosted: self.grid.hosted.values().filter(|hosted| hosted.requester == node && hosted.message.is_none()).count() as u32,
            reliability: (self.ctx.directory.evidence(node).reliability() * 1000.0) as u16,
            seen_ms: now,
            clock_off_ms: peer.relation.as_ref().filter(|_| route.is_some()).and_then(|_| self.clock_off(node)),
        }
    }

    /// Lists devices that are connected, known from adverts, or were connected before.
    pub(crate) fn peers(&self) -> Result<Reply, ApiError> {
        let mut list = self.peer_views();
        for (node, far) in self.grid.far.iter().filter(|(node, _)| !self.ctx.directory.peers.contains_key(node)) {
            let AdvertisedPeer { advert, relation, heard, .. } = far;
            // The time of arrival is used, because the advert's own time depends on its author's clock.
            let seen = self.ctx.clock.unix().0.saturating_sub_unsigned(u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX));
            let peer = Peer { name: advert.name.clone(), relation: Some(relation.clone()), capacity: advert.capacity, ..Peer::default() };
            list.push(self.peer_view(*node, &peer, seen));
        }
        for row in self.ctx.store.peers(1000).map_err(to_api)? {
            if !self.ctx.directory.peers.contains_key(&row.node) && !self.grid.far.contains_key(&row.node) {
                let away = Peer { name: row.name, ..Peer::default() };
                list.push(self.peer_view(row.node, &away, row.seen.0));
            }
        }
        tell_apart(&mut list);
        Ok(Reply::Peers(list))
    }

    pub(crate) fn metrics(&self) -> Result<Reply, ApiError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        let counts = self.counts();
        let active = self.ctx.load.running.len();
        let states =
            [("queued", counts.queued), ("running", counts.running), ("paused", counts.paused), ("finished", counts.finished), ("failed", counts.failed)];
        text.push_str("# HELP fog_jobs Jobs by state.\n# TYPE fog_jobs gauge\n");
        for (state, count) in states {
            let _ = writeln!(text, "fog_jobs{{state=\"{state}\"}} {count}");
        }
        for (name, help, value) in [
            ("fog_tasks_running", "Tasks in workers.", active as u64),
            ("fog_duty_percent", "Share of processor time that is lent.", u64::from(self.ctx.rules.verdict().duty.get())),
            ("fog_peers", "Devices that can be reached.", self.ctx.directory.peers.len() as u64),
            ("fog_hosted_jobs", "Jobs of other devices that are here.", self.grid.hosted.len() as u64),
            ("fog_lent_tasks", "Tasks of this device that others have.", self.grid.requester.leases().count() as u64),
            ("fog_waiting_tasks", "Tasks of this device that wait for another one.", self.grid.requester.open() as u64),
            ("fog_far_peers", "Devices that are known from what they say to everybody.", self.grid.far.len() as u64),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        if let Some(net) = &self.ctx.net {
            // This includes traffic that the data limit does not count: the local network, and strangers.
            text.push_str("# HELP fog_network_bytes Bytes on all networks since they were joined.\n# TYPE fog_network_bytes counter\n");
            let (received, sent) = net.transport.traffic();
            for (direction, bytes) in [("received", received), ("sent", sent)] {
                let _ = writeln!(text, "fog_network_bytes{{direction=\"{direction}\"}} {bytes}");
            }
            text.push_str("# HELP fog_control_refused Messages of other devices that were refused, by reason.\n# TYPE fog_control_refused counter\n");
            for (reason, count) in net.counters.refused() {
                let _ = writeln!(text, "fog_control_refused{{reason=\"{reason}\"}} {count}");
            }
            let opened = net.counters.opened();
            let _ = writeln!(
                text,
                "# HELP fog_control_opened Signed messages that were checked and read.\n# TYPE fog_control_opened counter\nfog_control_opened {opened}"
            );
        }
        match &self.ctx.net {
            Some(net) => text.push_str(&net.transport.metrics()),
            None => text.push_str("# EOF\n"),
        }
        Ok(Reply::Text(text))
    }
}
