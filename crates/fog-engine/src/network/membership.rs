//! Networks: joining and leaving, peers, and the traffic that is allowed.

use std::time::{Duration, Instant};

use fog_api::settings::keys;
use fog_api::{ApiError, EventBody, JoinedNetwork, NetworkView, Reply};
use fog_grid::{Capacity, ContentKey, Evidence, Group, Invite, Relation, Sealer};
use fog_libp2p::Config;
use fog_store::NetworkRow;
use fog_transport::{NetEvent, PeerClass, Reach};
use fog_types::{BlobId, ErrorKind, NodeId};
use rand::RngExt as _;

use crate::context::Context;
use crate::effects::{Answer, Input};
use crate::network::errors::NetworkError;
use crate::network::runtime::Net;
use crate::network::{Known, Network};
use crate::query::to_api;

/// Key of the traffic of this period among the stored settings.
const TRAFFIC_KEY: &str = "_traffic";
/// Number of known devices that are dialled at the start: first the most recent of those with work in
/// either direction, up to half of the places, then the most recent of all, so that invented nodes cannot
/// take all places.
const CALLED: usize = 32;
/// Time in which a new network should report its listening addresses.
const LISTENING: Duration = Duration::from_secs(3);
/// Most characters of a group's name.
const MAX_NAME: usize = 60;
/// Most addresses in an invitation, to keep its QR code readable.
const INVITED: usize = 4;
pub(crate) const LAN: &str = "lan";
pub(crate) const OPEN: &str = "open";

/// Time after which a network that could not be started is tried again.
const RETRY: Duration = Duration::from_secs(10);

impl Network {
    /// Reads the joined networks, to take part again.
    pub(crate) fn restore(&mut self, ctx: &mut Context) -> Result<(), fog_store::StoreError> {
        for row in ctx.store.networks()? {
            self.know_network(ctx, &row);
        }
        for row in ctx.store.peers(1000)? {
            if let Ok(evidence) = serde_json::from_str::<Evidence>(&row.evidence) {
                ctx.directory.evidence.insert(row.node, evidence);
            }
        }
        if let Some(traffic) = ctx.store.settings()?.get(TRAFFIC_KEY) {
            ctx.traffic = serde_json::from_value(traffic.clone()).unwrap_or_default();
        }
        Ok(())
    }

    fn know_network(&mut self, ctx: &mut Context, row: &NetworkRow) {
        let is_group = row.sealed.is_some();
        match (&row.sealed, row.name.as_str()) {
            (Some(sealed), _) => match self.open_group(ctx, row, sealed) {
                Some(group) => self.groups.push(group),
                None => {
                    return tracing::error!(
                        name = row.name,
                        "a group cannot be entered: its secret does not open with this device's key"
                    );
                }
            },
            (None, LAN) => self.lan = true,
            (None, _) => self.open = true,
        }
        self.joined.push(JoinedNetwork { name: row.name.clone(), is_group, joined_ms: row.joined.0 });
    }

    /// Creates the sealer of a group's secret. Each entry has its own key, so a fixed position in the
    /// cipher stream is used once.
    fn group_sealer(&self, ctx: &Context, name: &str, joined_ms: i64, size: u64) -> Sealer {
        let about = blake3::hash(format!("{joined_ms} {name}").as_bytes());
        Sealer::new(&ContentKey::derive(&ctx.secret, BlobId(*about.as_bytes())), size)
    }

    fn open_group(&self, ctx: &Context, row: &NetworkRow, sealed: &[u8]) -> Option<Group> {
        let open = self.group_sealer(ctx, &row.name, row.joined.0, 32).open(0, sealed).ok()?;
        Some(Group { name: row.name.clone(), secret: open.try_into().ok()? })
    }

    pub(crate) fn join_network(&mut self, ctx: &mut Context, what: &str) -> Result<(), ApiError> {
        if ctx.identity.is_none() {
            return Err(NetworkError::NoKeyToJoin.into());
        }
        let what = what.trim();
        let before = self.joined.len();
        if what == LAN || what == OPEN {
            if !self.joined.iter().any(|known| known.name == what) {
                self.add_network(ctx, what, None)?;
            }
        } else {
            let invite: Invite = what.parse().map_err(|error: fog_grid::InviteError| {
                NetworkError::BadInvitation { why: error.to_string() }
            })?;
            if Some(invite.node) == ctx.me() {
                return Err(NetworkError::OwnInvitation.into());
            }
            if !self.groups.iter().any(|known| known.id() == invite.group.id()) {
                let mut group = invite.group.clone();
                let taken = |name: &str| {
                    name == LAN || name == OPEN || self.joined.iter().any(|known| known.name == name)
                };
                if taken(&group.name) {
                    group.name = (2..)
                        .map(|n| format!("{} {n}", invite.group.name))
                        .find(|name| !taken(name))
                        .unwrap_or_default();
                }
                self.add_network(ctx, &group.name.clone(), Some(&group))?;
            }
            self.remember_addresses(ctx, invite.node, &invite.addresses);
            // The user wants these devices dialled now, however often they were before.
            self.called.clear();
            if let Some(net) = &ctx.net {
                net.transport.set_class(invite.node, PeerClass::Known);
            }
            self.known.insert(invite.node, Known::new(invite.addresses, ctx.now()));
        }
        if self.joined.len() == before && ctx.net.is_some() {
            // The device is a member already: existing connections stay.
            self.call_known(ctx);
        } else {
            self.restart_net(ctx);
        }
        Ok(())
    }

    fn add_network(&mut self, ctx: &mut Context, name: &str, group: Option<&Group>) -> Result<(), ApiError> {
        let joined = ctx.clock.unix();
        let sealed = group
            .map(|group| self.group_sealer(ctx, name, joined.0, 32).seal(0, &group.secret))
            .transpose()
            .map_err(|e| ApiError::new(ErrorKind::Bug, e))?;
        let row = NetworkRow { name: name.to_owned(), sealed, joined };
        ctx.store.add_network(&row).map_err(to_api)?;
        ctx.unstored.joins(name);
        self.know_network(ctx, &row);
        Ok(())
    }

    pub(crate) fn leave_network(&mut self, ctx: &mut Context, name: Option<&str>) -> Result<(), ApiError> {
        let leaves: Vec<String> = self
            .joined
            .iter()
            .map(|known| known.name.clone())
            .filter(|known| name.is_none_or(|name| name == known))
            .collect();
        let gone = match ctx.store.remove_network(name) {
            Ok(gone) => {
                ctx.note_left(leaves);
                gone
            }
            Err(error) => {
                let gone = leaves.len();
                ctx.leave_later(leaves, &error);
                gone
            }
        };
        if gone == 0 {
            return Err(name
                .map_or(NetworkError::NoneJoined, |name| NetworkError::NotJoined { name: name.to_owned() })
                .into());
        }
        self.groups.clear();
        self.joined.clear();
        (self.lan, self.open) = (false, false);
        // If the networks cannot be read, all of them are left.
        let stays = ctx
            .store
            .networks()
            .inspect_err(|error| tracing::error!(%error, "the other networks cannot be read"))
            .unwrap_or_default();
        for row in stays.iter().filter(|row| !ctx.unstored.has_left(&row.name)).collect::<Vec<_>>() {
            self.know_network(ctx, row);
        }
        self.restart_net(ctx);
        Ok(())
    }

    /// Networks as the store has them, but for those that were left.
    fn rows(ctx: &Context) -> Option<Vec<NetworkRow>> {
        let rows = ctx
            .store
            .networks()
            .inspect_err(|error| tracing::error!(%error, "the joined networks cannot be read"));
        Some(rows.ok()?.into_iter().filter(|row| !ctx.unstored.has_left(&row.name)).collect())
    }

    /// Whether a network was joined that could not be stored.
    pub(crate) fn is_unlike_rows(&self, ctx: &Context) -> bool {
        Self::rows(ctx).is_some_and(|rows| {
            self.joined.iter().any(|joined| rows.iter().all(|row| row.name != joined.name))
        })
    }

    /// Takes part in the stored networks alone. Requests for invitations into others are refused.
    pub(crate) fn reload(&mut self, ctx: &mut Context) {
        let Some(rows) = Self::rows(ctx) else { return };
        self.groups.clear();
        self.joined.clear();
        (self.lan, self.open) = (false, false);
        for row in &rows {
            self.know_network(ctx, row);
        }
        for (_, answer) in std::mem::take(&mut self.invites) {
            ctx.out.answer(answer, Err(NetworkError::GroupNotStored.into()));
        }
        self.restart_net(ctx);
    }

    /// Answers a request for an invitation, once this device has an address: without one it is useless.
    pub(crate) fn invite_when_listening(&mut self, ctx: &mut Context, group: Option<String>, answer: Answer) {
        let made = self.invite(ctx, group.as_deref());
        if made.is_ok() && self.is_about_to_listen(ctx) {
            return self.invites.push((group, answer));
        }
        ctx.out.answer(answer, made);
    }

    /// Answers the requests for invitations that waited for an address of this device.
    pub(crate) fn answer_invites(&mut self, ctx: &mut Context) {
        if self.invites.is_empty() || self.is_about_to_listen(ctx) {
            return;
        }
        for (group, answer) in std::mem::take(&mut self.invites) {
            let made = self.invite(ctx, group.as_deref());
            ctx.out.answer(answer, made);
        }
    }

    pub(crate) fn invite(&mut self, ctx: &mut Context, group: Option<&str>) -> Result<Reply, ApiError> {
        if ctx.identity.is_none() {
            return Err(NetworkError::NoKeyToInvite.into());
        }
        let name = group.map(str::trim).map_or_else(
            || self.groups.first().map_or("home", |group| &group.name).to_owned(),
            str::to_owned,
        );
        if name == LAN || name == OPEN {
            return Err(NetworkError::NeedsNoInvitation { name }.into());
        }
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(NetworkError::BadGroupName { most: MAX_NAME }.into());
        }
        if !self.groups.iter().any(|known| known.name == name) {
            let group = Group { name: name.clone(), secret: ctx.rng().random() };
            self.add_network(ctx, &name, Some(&group))?;
            self.restart_net(ctx);
        }
        let (Some(group), Some(node)) = (self.groups.iter().find(|known| known.name == name), ctx.me())
        else {
            return Err(ApiError::new(ErrorKind::Bug, "the group that was just made is not there"));
        };
        let mut addresses = self.listening.clone();
        // Relayed addresses come first because they work from anywhere, then those with QUIC.
        addresses.sort_by_key(|address| {
            (!address.contains("p2p-circuit"), !address.contains("quic"), address.contains("/ip6/"))
        });
        addresses.truncate(INVITED);
        let text = Invite { group: group.clone(), node, addresses }.to_string();
        Ok(Reply::Invite { group: name, text })
    }

    /// Whether the network was started a moment ago and has no listening address yet.
    pub(crate) fn is_about_to_listen(&self, ctx: &Context) -> bool {
        ctx.net.is_some()
            && self.listening.is_empty()
            && self.listens_in(ctx).is_some_and(|wait| !wait.is_zero())
    }

    /// Time after which a new network without a listening address is not waited for any more.
    fn listens_in(&self, ctx: &Context) -> Option<Duration> {
        self.net_began.map(|began| LISTENING.saturating_sub(ctx.since(began)))
    }

    /// Returns when requests for invitations are answered even without an address, and why.
    pub(crate) fn poll_timeout(&self, ctx: &Context) -> Option<(Instant, &'static str)> {
        let until =
            self.net_began.filter(|_| !self.invites.is_empty() && self.is_about_to_listen(ctx))? + LISTENING;
        Some((until, "an invitation has waited for an address"))
    }

    pub(crate) fn remember_addresses(&mut self, ctx: &mut Context, node: NodeId, addresses: &[String]) {
        let name = ctx.directory.peers.get(&node).map(|peer| peer.name.as_str()).unwrap_or_default();
        let connected =
            ctx.directory.peers.iter().filter(|(_, peer)| peer.route.is_some()).map(|(node, _)| *node);
        if let Err(error) = ctx.store.touch_peer(node, name, addresses, connected, ctx.clock.unix()) {
            tracing::warn!(%error, "a device is not remembered");
        }
    }

    /// Reason why no traffic is allowed although a network was joined.
    fn forbidden(&self, ctx: &Context) -> Option<String> {
        if !ctx.settings.flag(keys::NETWORK_WHEN_METERED) && ctx.rules.readings().metered == Some(true) {
            return Some("the connection is metered; nothing is sent until it is not".to_owned());
        }
        let cap = ctx.data_cap();
        (cap > 0 && ctx.traffic.used() >= cap)
            .then(|| format!("the data limit of {} in 30 days is used up", fog_types::ByteCount(cap)))
    }

    fn restart_net(&mut self, ctx: &mut Context) {
        self.retry_at = None;
        self.stop_net(ctx);
        self.look_at_net(ctx);
    }

    pub(crate) fn stop_net(&mut self, ctx: &mut Context) {
        self.last_stored = None;
        self.count_traffic(ctx);
        ctx.net = None;
        let gone = std::mem::take(&mut ctx.directory.peers).into_keys().collect();
        self.listening.clear();
        self.reach = Reach::Unknown;
        self.advertised = None;
        self.far.clear();
        ctx.out.input(Input::NetworkStopped(gone));
    }

    /// Starts or stops the network according to the joined networks and the rules.
    pub(crate) fn look_at_net(&mut self, ctx: &mut Context) {
        let wanted = !self.joined.is_empty() && !ctx.is_stopping;
        let forbidden = if wanted { self.forbidden(ctx) } else { None };
        let should_run = wanted && forbidden.is_none();
        if should_run == ctx.net.is_some() {
            if !should_run {
                self.problem = forbidden.unwrap_or_default();
            }
            return;
        }
        if !should_run {
            self.problem = forbidden.unwrap_or_default();
            self.stop_net(ctx);
            return;
        }
        if self.retry_at.is_some_and(|at| at > ctx.now()) {
            return;
        }
        let Some(secret) = ctx
            .key
            .map(|key| blake3::derive_key("fog-compute 2026-11 identity of this device", key.as_slice()))
        else {
            return;
        };
        let mut known = ctx.store.peers(1000).unwrap_or_default();
        let config = Config {
            lan: self.lan,
            open: self.open,
            loopback: ctx.config.network.loopback,
            relay: ctx.config.network.relay,
            port: ctx.config.network.port.unwrap_or(ctx.settings.number(keys::NETWORK_PORT) as u16),
            known: ctx.config.network.known.clone(),
        };
        match start(ctx, &secret, &config) {
            Ok(net) => {
                self.problem.clear();
                for group in &self.groups {
                    net.transport.meet(&group.id().0);
                }
                if self.open {
                    net.transport.meet(blake3::hash(b"fog-compute open network 1").as_bytes());
                }
                // Devices with work in either direction get their places first.
                let has_worked = |node| {
                    let evidence = ctx.directory.evidence(node);
                    evidence.valid + evidence.receipted > 0.0
                };
                let places: Vec<(NodeId, bool)> =
                    known.iter().map(|peer| (peer.node, has_worked(peer.node))).collect();
                let mut first: Vec<NodeId> =
                    places.iter().filter(|(_, is_known)| *is_known).map(|(node, _)| *node).collect();
                first.truncate(CALLED / 2);
                known.sort_by_key(|peer| !first.contains(&peer.node));
                known.truncate(CALLED);
                let begun = ctx.now();
                self.known =
                    known.into_iter().map(|peer| (peer.node, Known::new(peer.addresses, begun))).collect();
                for (node, is_known) in places {
                    if is_known {
                        net.transport.set_class(node, PeerClass::Known);
                    }
                }
                ctx.net = Some(net);
                self.net_began = Some(ctx.now());
                self.join_topics(ctx);
                self.call_known(ctx);
            }
            Err(error) => {
                tracing::warn!(%error, "no network");
                self.problem = error.to_string();
                // The next attempt follows at a later tick, or when a network is joined.
                self.retry_at = Some(ctx.now() + RETRY);
            }
        }
    }

    pub(crate) fn count_traffic(&mut self, ctx: &mut Context) {
        let Some(net) = &ctx.net else { return };
        ctx.traffic.begin(ctx.clock.unix().0);
        let cap = ctx.data_cap();
        for of in net.transport.take_traffic() {
            let relation = ctx.directory.related(of.node);
            ctx.traffic.add(of, &relation);
            if ctx.traffic.is_over_share(of.node, &relation, cap) {
                tracing::debug!(node = %of.node, "it has had its share of the data limit");
                net.transport.cut_off(of.node);
            }
        }
        // Each write waits for the disk; a crash loses at most a minute's count.
        if self.last_stored.is_some_and(|last| ctx.since(last) < Duration::from_secs(60)) {
            return;
        }
        self.last_stored = Some(ctx.now());
        if let Ok(value) = serde_json::to_value(&ctx.traffic)
            && let Err(error) = ctx.store.set_settings(&[(TRAFFIC_KEY.to_owned(), Some(value))])
        {
            tracing::warn!(%error, "the bytes of this period are not remembered");
        }
    }

    /// Does the periodic work of the network; `lends` and `wants` are what this device lends now and the
    /// number of its tasks that wait for others.
    pub(crate) fn tick(&mut self, ctx: &mut Context, lends: Capacity, wants: usize, is_hosting: bool) {
        self.ask_the_silent(ctx);
        self.advertise(ctx, lends, wants);
        self.call_known(ctx);
        self.call_far(ctx, lends, wants, is_hosting);
    }

    /// Announces a view of the network if anything in it except bytes has changed.
    pub(crate) fn announce_network(&mut self, ctx: &mut Context, view: NetworkView) {
        let told = &self.told;
        let is_same = NetworkView { received: told.received, sent: told.sent, ..view.clone() } == *told;
        if !is_same {
            self.told = view.clone();
            ctx.announce(EventBody::Network(Box::new(view)));
        }
    }

    /// Handles an event of the network with this number; one that was left may still send events.
    pub(crate) fn net_event(&mut self, ctx: &mut Context, number: u64, event: NetEvent) {
        if ctx.net.as_ref().is_none_or(|net| net.number != number) {
            return;
        }
        match event {
            NetEvent::Connected { node, route } => {
                let is_new = !ctx.directory.peers.contains_key(&node);
                let peer = ctx.directory.peers.entry(node).or_default();
                let was_local = peer.route.as_ref().is_some_and(|route| route.is_local);
                let is_local = route.is_local;
                peer.route = Some(route);
                ctx.out.input(Input::PeerUp(node));
                if is_new || was_local != is_local {
                    ctx.out.input(Input::HelloWanted(node));
                }
            }
            NetEvent::Disconnected { node } => {
                // The traffic is counted while its peer is still known.
                self.count_traffic(ctx);
                let was_related = ctx.directory.related(node) != Relation::Stranger;
                ctx.directory.peers.remove(&node);
                if let Some(net) = &ctx.net {
                    net.forget(node);
                    net.relations.forget(node);
                    net.transport
                        .set_class(node, if was_related { PeerClass::Known } else { PeerClass::Stranger });
                }
                ctx.out.input(Input::PeerDown(node));
            }
            NetEvent::RoundTrip { node, millis } => {
                if let Some(peer) = ctx.directory.peers.get_mut(&node) {
                    peer.round_trip = Some(millis);
                }
            }
            NetEvent::Addresses { node, addresses, .. } => {
                let now = ctx.now();
                if let Some(peer) = ctx.directory.peers.get_mut(&node) {
                    let has_changed = peer.addresses != addresses;
                    peer.addresses.clone_from(&addresses);
                    let is_related =
                        peer.relation.as_ref().is_some_and(|relation| *relation != Relation::Stranger);
                    if has_changed && is_related && peer.writes.take(now) {
                        self.remember_addresses(ctx, node, &addresses);
                    }
                }
            }
            NetEvent::Listening(addresses) => {
                self.listening = addresses;
                self.answer_invites(ctx);
            }
            NetEvent::Reach(reach) => self.reach = reach,
            NetEvent::Gossip { id, from, author, topic, data } => {
                let is_fit = self.heard_gossip(ctx, author, &topic, &data);
                if let Some(net) = &ctx.net {
                    net.transport.judge(id, from, is_fit);
                }
            }
            NetEvent::Incoming(_) => {}
        }
    }
}

/// Starts the network of a device.
fn start(ctx: &Context, secret: &[u8; 32], config: &Config) -> anyhow::Result<Net> {
    #[cfg(test)]
    if let (Some(network), Some(me)) = (&ctx.in_memory, ctx.me()) {
        return Ok(Net::in_memory(network, me, ctx.to_self.clone()));
    }
    Net::start(secret, config, ctx.to_self.clone())
}
