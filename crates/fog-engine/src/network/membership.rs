//! Networks: joining and leaving, peers, and the traffic that is allowed.

use std::time::{Duration, Instant};

use fog_api::{ApiError, EventBody, JoinedNetwork, NetworkView, Reply};
use fog_grid::{Capacity, ContentKey, Evidence, Group, Hello, Invite, Message, Relation, Sealer, VERSION};
use fog_libp2p::Config;
use fog_store::NetworkRow;
use fog_transport::{NetEvent, PeerClass, Reach, Transport as _};
use fog_types::{BlobId, ErrorKind, NodeId, Percent};

use crate::directory::Peer;
use crate::event_loop::Engine;
use crate::exchange::content;
use crate::grid::{Known, Net, NetworkEvent};
use crate::query::to_api;

/// Key of the traffic of this period among the stored settings.
const TRAFFIC_KEY: &str = "_traffic";
/// Number of known devices that are dialled at the start: first the most recent of those with work in
/// either direction, up to half of the places, then the most recent of all, so that invented nodes cannot
/// take all places.
const CALLED: usize = 32;
/// Time in which a new network should report its listening addresses.
const LISTENING: Duration = Duration::from_secs(3);
/// Most addresses in an invitation, to keep its QR code readable.
const INVITED: usize = 4;
pub(crate) const LAN: &str = "lan";
pub(crate) const OPEN: &str = "open";

fn refuse(kind: ErrorKind, message: impl ToString) -> ApiError {
    ApiError { kind, message: message.to_string() }
}

/// Number of hellos to a device that does not answer: nodes of other programs never do.
const MOST_ASKED: u8 = 6;

/// Shortest time between two accepted restarts of a device, since each costs a write and a new link.
const ANEW: Duration = Duration::from_secs(5);

/// Most devices whose evidence is remembered.
const MAX_EVIDENCE: usize = 4096;

/// Most tasks that a device can claim to run at once.
const MOST_SLOTS: u16 = 1024;

impl Engine {
    /// Reads the joined networks and takes part again.
    pub(crate) fn start_grid(&mut self) -> Result<(), fog_store::StoreError> {
        for row in self.ctx.store.networks()? {
            self.know_network(&row);
        }
        for row in self.ctx.store.peers(1000)? {
            if let Ok(evidence) = serde_json::from_str::<Evidence>(&row.evidence) {
                self.ctx.directory.evidence.insert(row.node, evidence);
            }
        }
        if let Some(traffic) = self.ctx.store.settings()?.get(TRAFFIC_KEY) {
            self.grid.traffic = serde_json::from_value(traffic.clone()).unwrap_or_default();
        }
        self.look_back()?;
        self.restore_hosted()?;
        self.restore_lent()?;
        Ok(())
    }

    fn know_network(&mut self, row: &NetworkRow) {
        let is_group = row.sealed.is_some();
        match (&row.sealed, row.name.as_str()) {
            (Some(sealed), _) => match self.open_group(row, sealed) {
                Some(group) => self.grid.groups.push(group),
                None => return tracing::error!(name = row.name, "a group cannot be entered: its secret does not open with this device's key"),
            },
            (None, LAN) => self.grid.lan = true,
            (None, _) => self.grid.open = true,
        }
        self.grid.joined.push(JoinedNetwork { name: row.name.clone(), is_group, joined_ms: row.joined.0 });
    }

    /// Creates the sealer of a group's secret. Each entry has its own key, so a fixed position in the
    /// cipher stream is used once.
    fn group_sealer(&self, name: &str, joined_ms: i64, size: u64) -> Sealer {
        let about = blake3::hash(format!("{joined_ms} {name}").as_bytes());
        Sealer::new(&ContentKey::derive(&self.grid.secret, BlobId(*about.as_bytes())), size)
    }

    fn open_group(&self, row: &NetworkRow, sealed: &[u8]) -> Option<Group> {
        let open = self.group_sealer(&row.name, row.joined.0, 32).open(0, sealed).ok()?;
        Some(Group { name: row.name.clone(), secret: open.try_into().ok()? })
    }

    pub(crate) fn join_network(&mut self, what: &str) -> Result<Reply, ApiError> {
        if self.ctx.identity.is_none() {
            return Err(refuse(ErrorKind::Storage, "no network can be joined, because the key of this device cannot be had; `fog doctor` says why"));
        }
        let what = what.trim();
        let before = self.grid.joined.len();
        if what == LAN || what == OPEN {
            if !self.grid.joined.iter().any(|known| known.name == what) {
                self.add_network(what, None)?;
            }
        } else {
            let invite: Invite = what
                .parse()
                .map_err(|error| refuse(ErrorKind::BadInput, format!("{error}. `fog network join lan` joins the local network, `open` the open one")))?;
            if Some(invite.node) == self.ctx.me() {
                return Err(refuse(ErrorKind::Conflict, "this invitation is from this very device; use it on another one"));
            }
            if !self.grid.groups.iter().any(|known| known.id() == invite.group.id()) {
                let mut group = invite.group.clone();
                let taken = |name: &str| name == LAN || name == OPEN || self.grid.joined.iter().any(|known| known.name == name);
                if taken(&group.name) {
                    group.name = (2..).map(|n| format!("{} {n}", invite.group.name)).find(|name| !taken(name)).unwrap_or_default();
                }
                self.add_network(&group.name.clone(), Some(&group))?;
            }
            self.remember_addresses(invite.node, &invite.addresses);
            // The user wants these devices dialled now, however often they were before.
            self.grid.called.clear();
            if let Some(net) = &self.ctx.net {
                net.transport.set_class(invite.node, PeerClass::Known);
            }
            self.grid.known.insert(invite.node, Known::new(invite.addresses));
        }
        if self.grid.joined.len() == before && self.ctx.net.is_some() {
            // The device is a member already: existing connections stay.
            self.call_known();
        } else {
            self.restart_net();
        }
        Ok(Reply::Network(Box::new(self.network_view())))
    }

    fn add_network(&mut self, name: &str, group: Option<&Group>) -> Result<(), ApiError> {
        let joined = self.ctx.clock.unix();
        let sealed = group.map(|group| self.group_sealer(name, joined.0, 32).seal(0, &group.secret)).transpose().map_err(|e| refuse(ErrorKind::Bug, e))?;
        let row = NetworkRow { name: name.to_owned(), sealed, joined };
        self.ctx.store.add_network(&row).map_err(to_api)?;
        self.ctx.unstored.joins(name);
        self.know_network(&row);
        Ok(())
    }

    pub(crate) fn leave_network(&mut self, name: Option<&str>) -> Result<Reply, ApiError> {
        let leaves: Vec<String> = self.grid.joined.iter().map(|known| known.name.clone()).filter(|known| name.is_none_or(|name| name == known)).collect();
        let gone = match self.ctx.store.remove_network(name) {
            Ok(gone) => gone,
            Err(error) => {
                let gone = leaves.len();
                self.ctx.leave_later(leaves, &error);
                gone
            }
        };
        if gone == 0 {
            let message =
                name.map_or_else(|| "no network was joined".to_owned(), |name| format!("no network called '{name}' was joined; `fog network` shows them"));
            return Err(refuse(ErrorKind::NotFound, message));
        }
        self.grid.groups.clear();
        self.grid.joined.clear();
        (self.grid.lan, self.grid.open) = (false, false);
        // If the networks cannot be read, all of them are left.
        let stays = self.ctx.store.networks().inspect_err(|error| tracing::error!(%error, "the other networks cannot be read")).unwrap_or_default();
        for row in stays.iter().filter(|row| !self.ctx.unstored.has_left(&row.name)).collect::<Vec<_>>() {
            self.know_network(row);
        }
        self.restart_net();
        Ok(Reply::Network(Box::new(self.network_view())))
    }

    pub(crate) fn invite(&mut self, group: Option<&str>) -> Result<Reply, ApiError> {
        if self.ctx.identity.is_none() {
            return Err(refuse(ErrorKind::Storage, "nobody can be invited, because the key of this device cannot be had; `fog doctor` says why"));
        }
        let name = group.map(str::trim).map_or_else(|| self.grid.groups.first().map_or("home", |group| &group.name).to_owned(), str::to_owned);
        if name == LAN || name == OPEN {
            return Err(refuse(ErrorKind::BadInput, format!("'{name}' is joined without an invitation: `fog network join {name}`")));
        }
        if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
            return Err(refuse(ErrorKind::BadInput, "a group's name has 1 to 60 characters"));
        }
        if !self.grid.groups.iter().any(|known| known.name == name) {
            let group = Group { name: name.clone(), secret: rand::random() };
            self.add_network(&name, Some(&group))?;
            self.restart_net();
        }
        let (Some(group), Some(node)) = (self.grid.groups.iter().find(|known| known.name == name), self.ctx.me()) else {
            return Err(refuse(ErrorKind::Bug, "the group that was just made is not there"));
        };
        let mut addresses = self.grid.listening.clone();
        // Relayed addresses come first because they work from anywhere, then those with QUIC.
        addresses.sort_by_key(|address| (!address.contains("p2p-circuit"), !address.contains("quic"), address.contains("/ip6/")));
        addresses.truncate(INVITED);
        let text = Invite { group: group.clone(), node, addresses }.to_string();
        Ok(Reply::Invite { group: name, text })
    }

    /// Whether the network was started a moment ago and has no listening address yet.
    pub(crate) fn is_about_to_listen(&self) -> bool {
        self.ctx.net.is_some() && self.grid.listening.is_empty() && self.listens_in().is_some_and(|wait| !wait.is_zero())
    }

    /// Time after which a new network without a listening address is not waited for any more.
    fn listens_in(&self) -> Option<Duration> {
        self.grid.net_began.map(|began| LISTENING.saturating_sub(began.elapsed()))
    }

    /// Time until requests for invitations are answered even without an address; `None` when there are
    /// none.
    pub(crate) fn invites_due_in(&self) -> Option<Duration> {
        self.listens_in().filter(|_| !self.grid.invites.is_empty())
    }

    fn remember_addresses(&mut self, node: NodeId, addresses: &[String]) {
        let name = self.ctx.directory.peers.get(&node).map(|peer| peer.name.as_str()).unwrap_or_default();
        let connected = self.ctx.directory.peers.iter().filter(|(_, peer)| peer.route.is_some()).map(|(node, _)| *node);
        if let Err(error) = self.ctx.store.touch_peer(node, name, addresses, connected, self.ctx.clock.unix()) {
            tracing::warn!(%error, "a device is not remembered");
        }
    }

    pub(crate) fn store_evidence(&mut self, node: NodeId, evidence: Evidence) {
        self.ctx.directory.evidence.insert(node, evidence);
        // Nodes are easily invented; those with the least evidence are removed.
        while self.ctx.directory.evidence.len() > MAX_EVIDENCE {
            let weight = |(_, known): &(&NodeId, &Evidence)| (((known.valid + known.invalid + known.lost) * 16.0) as u64, known.at_ms);
            let least = self.ctx.directory.evidence.iter().filter(|(known, _)| **known != node).min_by_key(weight).map(|(known, _)| *known);
            let Some(least) = least else { break };
            self.ctx.directory.evidence.remove(&least);
        }
        let text = serde_json::to_string(&evidence).unwrap_or_default();
        if let Err(error) = self.ctx.store.set_evidence(node, &text, self.ctx.clock.unix()) {
            tracing::warn!(%error, "what was seen of a device is not remembered");
        }
    }

    /// Reason why no traffic is allowed although a network was joined.
    fn forbidden(&self) -> Option<String> {
        if !self.ctx.settings.flag("network_when_metered") && self.ctx.rules.readings().metered == Some(true) {
            return Some("the connection is metered; nothing is sent until it is not".to_owned());
        }
        let cap = self.data_cap();
        (cap > 0 && self.grid.traffic.used() >= cap).then(|| format!("the data limit of {} in 30 days is used up", fog_types::ByteCount(cap)))
    }

    /// Whether the data limit forbids large transfers with a device.
    pub(crate) fn is_rationed(&self, node: NodeId) -> bool {
        let peer = self.ctx.directory.peers.get(&node);
        let is_local = peer.and_then(|peer| peer.route.as_ref()).is_some_and(|route| route.is_local && !route.is_relayed);
        let cap = self.data_cap();
        !is_local && (self.grid.traffic.is_saving(cap) || self.grid.traffic.is_over_share(node, &self.ctx.directory.related(node), cap))
    }

    pub(crate) fn data_cap(&self) -> u64 {
        (self.ctx.settings.number("data_cap") * 1e9) as u64
    }

    fn restart_net(&mut self) {
        self.stop_net();
        self.look_at_net();
    }

    pub(crate) fn stop_net(&mut self) {
        self.grid.last_stored = None;
        self.count_traffic();
        let now = self.ctx.now_ms();
        self.ctx.net = None;
        for node in std::mem::take(&mut self.ctx.directory.peers).into_keys() {
            self.grid.requester.handle_reach(node, false, now);
        }
        self.grid.listening.clear();
        self.grid.reach = Reach::Unknown;
        self.grid.last_hello = None;
        self.grid.advertised = None;
        self.grid.far.clear();
        // Transfers ended with the network; their tasks begin them anew when the network is back.
        self.grid.arriving.clear();
        self.grid.states.clear();
        self.grid.sealing.clear();
        self.grid.wanted_proofs.clear();
        self.grid.wanted_replays.clear();
        self.grid.is_showing = false;
        for hosted in self.grid.hosted.values_mut() {
            hosted.is_sealing = false;
            // Sealing may have ended with the network's threads.
            hosted.telling.is_under_way = false;
        }
        let unfinished: Vec<_> = self.grid.waiting.iter().filter(|(_, waiting)| waiting.files.is_empty()).map(|(lease, _)| *lease).collect();
        for lease in unfinished.into_iter().chain(std::mem::take(&mut self.grid.proofs).into_keys()) {
            self.grid.waiting.remove(&lease);
            self.grid.requester.handle_not_fetched(lease, now);
        }
    }

    /// Starts or stops the network according to the joined networks and the rules.
    pub(crate) fn look_at_net(&mut self) {
        let wanted = !self.grid.joined.is_empty() && !self.ctx.is_stopping;
        let forbidden = if wanted { self.forbidden() } else { None };
        let should_run = wanted && forbidden.is_none();
        if should_run == self.ctx.net.is_some() {
            if !should_run {
                self.grid.problem = forbidden.unwrap_or_default();
            }
            return;
        }
        if !should_run {
            self.grid.problem = forbidden.unwrap_or_default();
            self.stop_net();
            return;
        }
        let Some(secret) = self.ctx.key.map(|key| blake3::derive_key("fog-compute 2026-11 identity of this device", key.as_slice())) else { return };
        let mut known = self.ctx.store.peers(1000).unwrap_or_default();
        let config = Config {
            lan: self.grid.lan,
            open: self.grid.open,
            loopback: self.ctx.config.network.loopback,
            relay: self.ctx.config.network.relay,
            port: self.ctx.config.network.port.unwrap_or(self.ctx.settings.number("network_port") as u16),
            known: self.ctx.config.network.known.clone(),
        };
        match Net::start(&secret, &config, self.ctx.to_self.clone()) {
            Ok(net) => {
                self.grid.problem.clear();
                for group in &self.grid.groups {
                    net.transport.meet(&group.id().0);
                }
                if self.grid.open {
                    net.transport.meet(blake3::hash(b"fog-compute open network 1").as_bytes());
                }
                // Devices with work in either direction get their places first.
                let has_worked = |node| {
                    let evidence = self.ctx.directory.evidence(node);
                    evidence.valid + evidence.receipted > 0.0
                };
                let places: Vec<(NodeId, bool)> = known.iter().map(|peer| (peer.node, has_worked(peer.node))).collect();
                let mut first: Vec<NodeId> = places.iter().filter(|(_, is_known)| *is_known).map(|(node, _)| *node).collect();
                first.truncate(CALLED / 2);
                known.sort_by_key(|peer| !first.contains(&peer.node));
                known.truncate(CALLED);
                self.grid.known = known.into_iter().map(|peer| (peer.node, Known::new(peer.addresses))).collect();
                for (node, is_known) in places {
                    if is_known {
                        net.transport.set_class(node, PeerClass::Known);
                    }
                }
                self.ctx.net = Some(net);
                self.grid.net_began = Some(Instant::now());
                self.join_topics();
                self.call_known();
            }
            Err(error) => {
                tracing::warn!(%error, "no network");
                self.grid.problem = error.to_string();
                // The next attempt follows at a later tick, or when a network is joined.
                self.grid.last_tick = Some(Instant::now());
            }
        }
    }

    fn count_traffic(&mut self) {
        let Some(net) = &self.ctx.net else { return };
        self.grid.traffic.begin(self.ctx.clock.unix().0);
        let cap = self.data_cap();
        for of in net.transport.take_traffic() {
            let relation = self.ctx.directory.related(of.node);
            self.grid.traffic.add(of, &relation);
            if self.grid.traffic.is_over_share(of.node, &relation, cap) {
                tracing::debug!(node = %of.node, "it has had its share of the data limit");
                net.transport.cut_off(of.node);
            }
        }
        // Each write waits for the disk; a crash loses at most a minute's count.
        if self.grid.last_stored.is_some_and(|last| last.elapsed() < Duration::from_secs(60)) {
            return;
        }
        self.grid.last_stored = Some(Instant::now());
        if let Ok(value) = serde_json::to_value(&self.grid.traffic)
            && let Err(error) = self.ctx.store.set_settings(&[(TRAFFIC_KEY.to_owned(), Some(value))])
        {
            tracing::warn!(%error, "the bytes of this period are not remembered");
        }
    }

    /// Does the periodic work of the network.
    pub(crate) fn grid_tick(&mut self) {
        let pace = if self.grid.is_busy(self.ctx.net.is_some()) { Duration::from_secs(1) } else { Duration::from_secs(10) };
        if self.grid.last_tick.is_some_and(|last| last.elapsed() < pace) {
            return;
        }
        self.grid.last_tick = Some(Instant::now());
        self.grid.was_busy = self.grid.has_work();
        self.count_traffic();
        self.look_at_net();
        self.grid.requester.handle_timeout(self.ctx.now_ms());
        self.host_tick();
        self.chat.chat_tick(&mut self.ctx);
        if let Err(error) = self.spot_check_tick().and_then(|()| self.proof_tick()) {
            tracing::warn!(%error, "a check of a device is not decided yet");
        }
        self.say_hello();
        self.ask_the_silent();
        self.advertise();
        self.call_known();
        self.call_far();
        let view = self.network_view();
        let same = NetworkView { received: self.grid.told.received, sent: self.grid.told.sent, ..view.clone() } == self.grid.told;
        if !same {
            self.announce_network(view);
        }
    }

    fn announce_network(&mut self, view: NetworkView) {
        self.grid.told = view.clone();
        self.ctx.announce(EventBody::Network(Box::new(view)));
    }

    pub(crate) fn net_news(&mut self, news: NetworkEvent) -> Result<(), fog_store::StoreError> {
        match news {
            NetworkEvent::Event(number, event) => {
                // A network that was left may still send events.
                if self.ctx.net.as_ref().is_some_and(|net| net.number == number) {
                    self.net_event(event);
                }
            }
            NetworkEvent::Said(node, heard, done) => {
                let said = self.said(node, *heard);
                if let Some(done) = done {
                    self.ctx.out.signal(done);
                }
                return said;
            }
            NetworkEvent::ChatLink(link) => self.chat.chat_link_came(&mut self.ctx, *link),
            NetworkEvent::ContentRequested(link, request, counted) => {
                if self.is_rationed(link.node) {
                    if let Some(net) = &self.ctx.net {
                        net.spawn(async move {
                            content::turn_away(*link).await;
                            drop(counted);
                        });
                    }
                    return Ok(());
                }
                let row = self.ctx.store.content(&BlobId(request.id.0).to_string())?.map(|row| self.unlocked(row));
                if row.is_none() {
                    counted.was_in_vain();
                }
                let shipped =
                    row.as_ref().and_then(|row| self.grid.hosted.values().find(|hosted| hosted.shipped.as_ref().is_some_and(|(blob, _)| *blob == row.blob)));
                let in_use = shipped.and_then(|hosted| hosted.shipped.as_ref()).map(|(_, in_use)| in_use.clone());
                let damage = row.as_ref().filter(|row| row.open.is_some()).map(|row| content::DamageReport { blob: row.blob, to: self.ctx.to_self.clone() });
                let found = row.and_then(|row| Some((self.ctx.store.blob(row.blob).ok()?, row))).map(|(path, row)| (row, path));
                if let Some(net) = &self.ctx.net {
                    net.spawn(async move {
                        content::serve(*link, request, found, damage).await;
                        drop((counted, in_use));
                    });
                }
            }
            NetworkEvent::Sealed(job, rows) => self.sealed(job, rows),
            // A send fails only when the requesting task is gone.
            NetworkEvent::Noted(rows, noted) => drop(noted.send(self.ctx.store.put_contents(&rows).map_err(|error| error.to_string()))),
            NetworkEvent::ToTell(job, told) => return self.result_sealed(job, told),
            NetworkEvent::OfferInputsFetched(arrival) => return self.arrived(*arrival),
            NetworkEvent::Listed(lease, listed) => return self.listed_files(lease, listed),
            NetworkEvent::ResultFetched(lease, returned) => return self.returned(lease, returned),
            NetworkEvent::Placed { task, winner, placed } => self.result_placed(task, winner, placed),
            NetworkEvent::State { lease, task, node, state } => return self.state_arrived(lease, task, node, state),
            NetworkEvent::CheckpointSealed { task, node, units, sealed } => return self.state_sealed(task, node, units, sealed),
            NetworkEvent::Damaged(blob) => return self.state_damaged(blob),
            NetworkEvent::SegmentChosen(lease, drawn) => return self.drawn(lease, drawn),
            NetworkEvent::CheckpointFetched(lease, segment, file) => return self.replay(lease, segment, file),
            NetworkEvent::SegmentVerified(lease, found) => {
                let proved = self.proved(lease, found);
                return self.replay_ended().and(proved);
            }
            NetworkEvent::NotReplayed(lease, problem) => return self.not_replayed(lease, &problem),
            NetworkEvent::CheckpointReady { job, lease, mark, file } => return self.state_to_show(job, lease, mark, file),
            NetworkEvent::Shipped { job, units, file } => return self.shipped(job, units, file),
        }
        Ok(())
    }

    fn net_event(&mut self, event: NetEvent) {
        let now = self.ctx.now_ms();
        match event {
            NetEvent::Connected { node, route } => {
                let is_new = !self.ctx.directory.peers.contains_key(&node);
                let peer = self.ctx.directory.peers.entry(node).or_default();
                let was_local = peer.route.as_ref().is_some_and(|route| route.is_local);
                let is_local = route.is_local;
                peer.route = Some(route);
                self.grid.requester.handle_reach(node, true, now);
                if is_new || was_local != is_local {
                    self.hello_to(node);
                }
            }
            NetEvent::Disconnected { node } => {
                // The traffic is counted while its peer is still known.
                self.count_traffic();
                let was_related = self.ctx.directory.related(node) != Relation::Stranger;
                self.ctx.directory.peers.remove(&node);
                if let Some(net) = &self.ctx.net {
                    net.forget(node);
                    net.relations.forget(node);
                    net.transport.set_class(node, if was_related { PeerClass::Known } else { PeerClass::Stranger });
                }
                self.grid.requester.handle_reach(node, false, now);
            }
            NetEvent::RoundTrip { node, millis } => {
                if let Some(peer) = self.ctx.directory.peers.get_mut(&node) {
                    peer.round_trip = Some(millis);
                }
            }
            NetEvent::Addresses { node, addresses, .. } => {
                if let Some(peer) = self.ctx.directory.peers.get_mut(&node) {
                    let has_changed = peer.addresses != addresses;
                    peer.addresses.clone_from(&addresses);
                    let is_related = peer.relation.as_ref().is_some_and(|relation| *relation != Relation::Stranger);
                    if has_changed && is_related && peer.writes.take() {
                        self.remember_addresses(node, &addresses);
                    }
                }
            }
            NetEvent::Listening(addresses) => {
                self.grid.listening = addresses;
                self.answer_invites();
            }
            NetEvent::Reach(reach) => self.grid.reach = reach,
            NetEvent::Gossip { id, from, author, topic, data } => {
                let is_fit = self.heard_gossip(author, &topic, &data);
                if let Some(net) = &self.ctx.net {
                    net.transport.judge(id, from, is_fit);
                }
            }
            NetEvent::Incoming(_) => {}
        }
    }

    /// Capacity that this device lends now.
    pub(crate) fn capacity(&self) -> Capacity {
        let duty = if self.ctx.finishing || self.ctx.is_stopping { Percent::ZERO } else { self.ctx.rules.verdict().duty };
        let slots = self.ctx.settings.slots();
        let waiting = self.grid.arriving.len() + self.grid.hosted.values().filter(|hosted| hosted.message.is_none()).count();
        let own = self.ctx.load.own;
        let readings = self.ctx.rules.readings();
        Capacity {
            slots: slots as u16,
            free: slots.saturating_sub(waiting + own) as u16,
            memory: self.ctx.lent_budget().saturating_sub(self.ctx.load.memory()),
            // Evictable files make way for a job; room promised to other offers does not.
            disk: self.grid.arriving.values().fold(self.disk_room(), |room, arriving| room.saturating_sub(arriving.room)),
            duty: duty.get(),
            speed: self.ctx.load.speed,
            battery: (readings.charging == Some(false)).then_some(readings.battery).flatten().map(|level| level as u8),
            forecast: self.forecast(),
        }
    }

    fn hello(&self, to: NodeId, capacity: Capacity) -> Option<Hello> {
        let me = self.ctx.me()?;
        let groups = self.grid.groups.iter().take(16).map(|group| (group.id(), group.proof(me, to))).collect();
        Some(Hello {
            version: VERSION,
            name: self.device_name(),
            lan: self.grid.lan,
            open: self.grid.open,
            groups,
            capacity,
            has_heard: self.ctx.directory.related(to) != Relation::Stranger,
            clock_ms: self.ctx.clock.unix().0,
        })
    }

    pub(crate) fn device_name(&self) -> String {
        let set = self.ctx.settings.text("device_name").trim();
        let name = if set.is_empty() { fog_probes::host_name() } else { set.to_owned() };
        name.chars().filter(|c| !c.is_control()).take(60).collect()
    }

    pub(crate) fn hello_to(&mut self, node: NodeId) {
        let capacity = self.capacity_for(node);
        if capacity.free == 0 && (self.is_resting(node) || self.grid.arriving.values().any(|arriving| arriving.node == node)) {
            self.grid.turned_away.insert(node);
        }
        if let Some(hello) = self.hello(node, capacity) {
            self.ctx.say(node, Message::Hello(hello));
        }
    }

    /// Sends a hello to the peers when the lent capacity has changed notably, and each minute.
    pub(crate) fn say_hello(&mut self) {
        // This runs after every event, and computing the capacity is expensive.
        let is_fresh = self.grid.last_hello.as_ref().is_some_and(|(at, _)| at.elapsed() < Duration::from_millis(500));
        if self.ctx.directory.peers.is_empty() || (is_fresh && self.grid.turned_away.is_empty()) {
            return;
        }
        let capacity = self.capacity();
        if capacity.free > 0 && capacity.duty > 0 {
            for node in std::mem::take(&mut self.grid.turned_away) {
                if !self.is_resting(node) && self.capacity_for(node).free > 0 {
                    self.hello_to(node);
                } else if self.ctx.directory.peers.contains_key(&node) {
                    self.grid.turned_away.insert(node);
                }
            }
        }
        let brief = |c: &Capacity| (c.free, c.duty == 0, c.slots, c.battery.is_some());
        let is_due =
            self.grid.last_hello.as_ref().is_none_or(|(at, told)| {
                (brief(told) != brief(&capacity) && at.elapsed() > Duration::from_millis(500)) || at.elapsed() > Duration::from_secs(60)
            });
        if !is_due {
            return;
        }
        self.grid.last_hello = Some((Instant::now(), capacity));
        let related: Vec<NodeId> = self
            .ctx
            .directory
            .peers
            .iter()
            .filter(|(_, peer)| peer.relation.as_ref().is_some_and(|r| *r != Relation::Stranger))
            .map(|(node, _)| *node)
            .collect();
        for node in related {
            self.hello_to(node);
        }
    }

    /// Repeats the hello on a new link to devices that have not answered: the answer may have gone to a
    /// dead connection, which neither side notices at once.
    fn ask_the_silent(&mut self) {
        let mut silent = Vec::new();
        for (node, peer) in &mut self.ctx.directory.peers {
            if peer.route.is_some() && peer.relation.is_none() && peer.asked < MOST_ASKED {
                peer.asked += 1;
                silent.push(*node);
            }
        }
        for node in silent {
            self.renew_link(node);
            self.hello_to(node);
        }
    }

    /// Drops the control link to a device, so that the next message opens a new one.
    fn renew_link(&self, node: NodeId) {
        if let Some(net) = &self.ctx.net {
            net.forget(node);
        }
    }

    pub(crate) fn heard_hello(&mut self, node: NodeId, hello: &Hello) {
        let Some(me) = self.ctx.me() else { return };
        // A device is reported connected before its hello: this one is gone, and its hello was read late.
        if !self.ctx.directory.peers.contains_key(&node) {
            return;
        }
        let is_local = self.ctx.directory.peers.get(&node).and_then(|peer| peer.route.as_ref()).is_some_and(|route| route.is_local);
        let shared = self.grid.groups.iter().find(|group| {
            let id = group.id();
            hello.groups.iter().any(|(theirs, proof)| *theirs == id && group.accepts(*proof, node, me))
        });
        let relation = match shared {
            Some(group) => Relation::Group(group.name.clone()),
            None if self.grid.lan && hello.lan && is_local => Relation::Lan,
            None if self.grid.open && hello.open => Relation::Open,
            None => Relation::Stranger,
        };
        let is_fitting = hello.version == VERSION && relation != Relation::Stranger;
        if is_fitting {
            self.note_clock(node, hello.clock_ms);
        }
        let unanswered = self.grid.requester.handle_room(node) as i32;
        let peer: &mut Peer = self.ctx.directory.peers.entry(node).or_default();
        let is_new = peer.relation.as_ref() != Some(&relation);
        if let Some(net) = &self.ctx.net {
            let is_related = relation != Relation::Stranger;
            net.relations.set(node, is_related);
            net.transport.set_class(node, if is_related { PeerClass::Related } else { PeerClass::Stranger });
        }
        peer.name.clone_from(&hello.name);
        // Exaggerated claims are cut to the size of the largest machine.
        let slots = hello.capacity.slots.min(MOST_SLOTS);
        peer.capacity = Capacity { slots, free: hello.capacity.free.min(slots), ..hello.capacity };
        peer.promised = unanswered;
        peer.relation = Some(relation);
        // A device that claims to restart all the time is not believed each time.
        let begins_anew = !is_new && !hello.has_heard && peer.began_anew.is_none_or(|last| last.elapsed() >= ANEW);
        if begins_anew {
            peer.began_anew = Some(Instant::now());
        }
        let has_turned = is_new && is_fitting && peer.writes.take();
        if is_fitting && (has_turned || begins_anew) {
            let addresses = peer.addresses.clone();
            self.remember_addresses(node, &addresses);
            if !is_new {
                // The device has restarted, here or at another address: its old connections are dead.
                if let Some(net) = &self.ctx.net {
                    net.transport.drop_old_connections(node);
                }
                self.renew_link(node);
            }
            // The device may have connected before it knew the relation, or what it waits for.
            self.hello_to(node);
            self.greet(node);
            if !hello.has_heard {
                // The device has just started: chat links to its previous run are dead.
                self.chat.forget_links(node);
            }
            self.chat.chat_tick(&mut self.ctx);
        }
    }
}
