//! The loop that drives libp2p and reports its events.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog_transport::{MAX_GOSSIP, NetEvent, PeerClass, Reach, Route};
use futures::StreamExt as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::Version;
use libp2p::core::{ConnectedPoint, Transport as _};
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId};
use libp2p::identity::Keypair;
use libp2p::metrics::{BandwidthTransport, Registry};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify, kad, mdns, noise, ping, quic, relay, tcp, websocket};
use tokio::sync::mpsc;

use crate::address::{self, is_public, is_relayed};
use crate::any_port::AnyPort;
use crate::behaviour::{KAD, MEET_AT_MOST, Parts, PartsEvent, RELAY_HOP};
use crate::bulk::Bulk;
use crate::calls::Calls;
use crate::doors::{Doors, Timed};
use crate::gate::Gate;
use crate::meter::Meter;
use crate::relay_places::RelayPlaces;
use crate::scoped::ScopedTcp;
use crate::{Config, StartError, node_of};

/// Longest time for opening a stream, including a new connection through a relay.
pub(crate) const OPEN_PATIENCE: Duration = Duration::from_secs(15);
/// Time after which a connection without streams is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Interval of housekeeping: relays, meeting places, relayed connections that are no longer needed.
const TICK: Duration = Duration::from_secs(5);
/// Time between two look-ups of a meeting place.
const MEET_EVERY: Duration = Duration::from_secs(60);
/// Age of a direct connection after which the relayed one beside it is closed.
const SETTLED: Duration = Duration::from_secs(10);
/// Greatest time between connections that two nodes open to each other simultaneously. A connection that is
/// older than the newest by more dates from before.
const SAME_MOMENT: Duration = Duration::from_secs(3);
/// Greatest number of connections to one node: a relayed one, a direct one each way, and one that is
/// closing.
const MAX_CONNECTIONS_PER_PEER: usize = 4;
/// Longest time for leaving the network.
const GOODBYE: Duration = Duration::from_millis(500);
/// Number of relays that are asked for a reservation.
const RELAYS: usize = 2;
/// Number of attempts to reconnect to a lost node, over about six minutes.
const TRIES: u32 = 11;
/// Greatest number of nodes of the local network that are dialled.
const MAX_NEIGHBOURS: usize = 64;

/// Identify updates that a node may send: a number at once, and one more per interval. A node sends one
/// when its addresses change. A node that sends ten times as many at once is cut off for a while.
const SAID_AT_ONCE: u32 = 30;
const SAID_EACH: Duration = Duration::from_secs(2);

type Connections = libp2p::core::transport::Boxed<(PeerId, StreamMuxerBox)>;

pub(crate) enum Order {
    Dial(PeerId, Vec<Multiaddr>),
    HangUp(PeerId),
    DropOld(PeerId),
    Meet([u8; 32]),
    Join(String),
    Leave(String),
    Publish(String, Vec<u8>),
    Judge(Vec<u8>, PeerId, bool),
}

struct Connection {
    id: ConnectionId,
    route: Route,
    ip: Option<IpAddr>,
    is_dialer: bool,
    since: Instant,
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

#[derive(Default)]
struct Peer {
    connections: Vec<Connection>,
    told: Option<Route>,
    addresses: Vec<Multiaddr>,
    /// Addresses at which the node was reached, newest last.
    dialled: Vec<Multiaddr>,
    is_relay: bool,
    told_of_itself: Told,
}

/// Number of Identify updates of a node, decaying with time.
#[derive(Default)]
struct Told {
    count: u32,
    last: Option<Instant>,
}

impl Told {
    /// Counts an update; returns true when there are too many.
    fn count_update(&mut self, now: Instant) -> bool {
        let forgiven =
            self.last.map_or(0, |last| now.saturating_duration_since(last).as_secs() / SAID_EACH.as_secs());
        if forgiven > 0 || self.last.is_none() {
            self.count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
            self.last = Some(now);
        }
        self.count = self.count.saturating_add(1);
        self.count > SAID_AT_ONCE
    }
}

/// A node whose connection was lost.
struct Again {
    addresses: Vec<Multiaddr>,
    at: Instant,
    tries: u32,
}

pub(crate) struct Swarm {
    swarm: libp2p::Swarm<Parts>,
    events: mpsc::Sender<NetEvent>,
    config: Config,
    peers: BTreeMap<PeerId, Peer>,
    /// Relays that were asked for a reservation, with the listener of each.
    relays: BTreeMap<PeerId, ListenerId>,
    places: BTreeMap<[u8; 32], Option<Instant>>,
    reach: Reach,
    listening: Vec<Multiaddr>,
    /// Nodes to reconnect to after a lost connection.
    again: BTreeMap<PeerId, Again>,
    /// Dials to nodes found on the local network.
    calls: Calls,
    meter: Arc<Meter>,
    bulk: Arc<Bulk>,
    places_for_others: Arc<RelayPlaces>,
}

/// Builds the transports, each authenticated and counted by node.
fn transport(
    key: &Keypair,
    relayed: relay::client::Transport,
    registry: &mut Registry,
    meter: Arc<Meter>,
    doors: Arc<Doors>,
    loopback: bool,
) -> Result<Connections, noise::Error> {
    let streams = || AnyPort(tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)));
    let mut quic_config = quic::Config::new(key);
    quic_config.max_idle_timeout = 20_000;
    quic_config.keep_alive_interval = Duration::from_secs(8);
    // Data that arrive out of order wait in memory, uncounted until the gap is filled; 128 strangers may do
    // so at once. This still allows 20 MB a second on a line of 100 ms.
    quic_config.max_stream_data = 2 << 20;
    quic_config.max_connection_data = 4 << 20;
    // Frames without data are counted too.
    let yamux = {
        let meter = meter.clone();
        move |peer: &PeerId, _: &ConnectedPoint| meter.yamux(*peer)
    };
    let plain = streams()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex_ext(yamux.clone());
    let plain = plain.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let datagrams =
        quic::tokio::Transport::new(quic_config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    // Without a resolver: the one of libp2p finds no configuration on phones.
    let sockets = websocket::Config::new(streams());
    let sockets =
        sockets.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux.clone());
    let sockets = sockets.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let relayed =
        relayed.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux.clone());
    let relayed = relayed.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let scoped =
        ScopedTcp.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux);
    let scoped = scoped.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let plain = scoped.or_transport(plain).map(|either, _| either.into_inner());
    let direct = plain
        .or_transport(datagrams)
        .map(|either, _| either.into_inner())
        .or_transport(sockets)
        .map(|either, _| either.into_inner());
    let all = relayed.or_transport(direct).map(|either, _| either.into_inner());
    let counted = BandwidthTransport::new(all, registry).map(move |(peer, muxer), endpoint| {
        let counted = meter.connection(peer, StreamMuxerBox::new(muxer), &endpoint);
        (peer, StreamMuxerBox::new(counted))
    });
    // Connections that do not authenticate in time lose their place.
    Ok(Timed::new(counted.boxed(), doors, loopback).boxed())
}

impl Swarm {
    pub(crate) fn new(
        key: &Keypair,
        config: &Config,
        registry: &mut Registry,
        events: mpsc::Sender<NetEvent>,
        bulk: Arc<Bulk>,
        meter: &Arc<Meter>,
    ) -> Result<Self, StartError> {
        let setup = |error: &dyn std::fmt::Display| StartError::Setup(error.to_string());
        let (relay_transport, relay_client) = relay::client::new(key.public().to_peer_id());
        let doors = Arc::new(Doors::default());
        let transport =
            transport(key, relay_transport, registry, meter.clone(), doors.clone(), config.loopback)
                .map_err(|e| setup(&e))?;
        let places = RelayPlaces::new(meter.clone());
        let behaviour = Parts::new(key, relay_client, config, Gate::new(meter.clone(), doors), &places)
            .map_err(|e| setup(&e))?;
        let swarm_config =
            libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE).with_smart_dial();
        let swarm = libp2p::Swarm::new(transport, behaviour, key.public().to_peer_id(), swarm_config);
        let mut this = Self {
            swarm,
            events,
            config: config.clone(),
            peers: BTreeMap::new(),
            relays: BTreeMap::new(),
            places: BTreeMap::new(),
            reach: Reach::Unknown,
            listening: Vec::new(),
            again: BTreeMap::new(),
            calls: Calls::default(),
            meter: meter.clone(),
            bulk,
            places_for_others: places,
        };
        this.listen()?;
        for address in config.known.iter().filter_map(|text| text.parse::<Multiaddr>().ok()) {
            if let Some(Protocol::P2p(peer)) = address.iter().last() {
                this.dial(peer, vec![address]);
            }
        }
        Ok(this)
    }

    pub(crate) fn streams(&self) -> libp2p_stream::Control {
        self.swarm.behaviour().streams.new_control()
    }

    fn listen(&mut self) -> Result<(), StartError> {
        let ips: &[IpAddr] = if self.config.loopback {
            &[IpAddr::V4(Ipv4Addr::LOCALHOST)]
        } else {
            &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        };
        let mut problem = String::new();
        let mut count = 0;
        for ip in ips {
            let mut host = Multiaddr::empty();
            host.push(match ip {
                IpAddr::V4(ip) => Protocol::Ip4(*ip),
                IpAddr::V6(ip) => Protocol::Ip6(*ip),
            });
            let port = self.config.port;
            for (what, port) in
                [("quic", port), ("tcp", port), ("ws", if port == 0 { 0 } else { port.saturating_add(1) })]
            {
                let with = |port| {
                    let host = host.clone();
                    match what {
                        "quic" => host.with(Protocol::Udp(port)).with(Protocol::QuicV1),
                        "tcp" => host.with(Protocol::Tcp(port)),
                        _ => host.with(Protocol::Tcp(port)).with(Protocol::Ws("/".into())),
                    }
                };
                match self.swarm.listen_on(with(port)).or_else(|_| self.swarm.listen_on(with(0))) {
                    Ok(_) => count += 1,
                    Err(error) => problem = error.to_string(),
                }
            }
        }
        if count == 0 { Err(StartError::Listen(problem)) } else { Ok(()) }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let redial = self.again.values().map(|again| again.at).min();
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.handle(event).await,
                _ = tick.tick() => self.tick(),
                () = tokio::time::sleep_until(redial.unwrap_or_else(Instant::now).into()), if redial.is_some() => self.call_again(),
            }
        }
        Box::pin(self.leave()).await;
    }

    /// Disconnects from all nodes, so that none waits for this one. Open links end too.
    async fn leave(mut self) {
        for peer in std::mem::take(&mut self.peers).into_keys() {
            // The connection may have ended already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let goodbye = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        // A node that does not receive the end notices the silence.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Dial(peer, addresses) => self.dial(peer, addresses),
            Order::HangUp(peer) => {
                self.again.remove(&peer);
                // An error means that the node is not connected, as wanted.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Order::DropOld(peer) => self.drop_old(peer),
            Order::Meet(place) => {
                self.places.insert(place, None);
                self.meet();
            }
            Order::Join(topic) => {
                if let Err(error) = self.swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic)) {
                    tracing::warn!(%error, "a topic could not be joined");
                }
            }
            Order::Leave(topic) => {
                self.swarm.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(topic));
            }
            Order::Publish(topic, data) => {
                // A topic without subscribers is no error: the message is repeated later.
                if let Err(error) = self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), data) {
                    tracing::debug!(%error, "nothing was published");
                }
            }
            Order::Judge(id, from, is_valid) => {
                let verdict = if is_valid { MessageAcceptance::Accept } else { MessageAcceptance::Reject };
                self.swarm.behaviour_mut().gossip.report_message_validation_result(
                    &MessageId::new(&id),
                    &from,
                    verdict,
                );
            }
        }
    }

    /// Closes the old connections of a node. A stream may be opened on any connection, and on a dead one it
    /// waits until the time limit.
    fn drop_old(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        for id in of_before(&known.connections) {
            tracing::debug!(%peer, "a connection of before is closed");
            self.swarm.close_connection(id);
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
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
    fn call_found(&mut self) {
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

    async fn say(&mut self, event: NetEvent) {
        // An error means that the engine has left; the order to stop follows.
        let _ = self.events.send(event).await;
    }

    async fn handle(&mut self, event: SwarmEvent<PartsEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_part(event).await,
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.calls.ended(connection_id);
                self.connected(peer_id, connection_id, &endpoint).await;
                self.call_found();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.closed(peer_id, connection_id).await
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                if self.config.relay && is_public(&address) {
                    // A relay is declared reachable by whoever starts it.
                    self.swarm.add_external_address(address.clone());
                }
                self.listening.push(address);
                self.say_listening().await;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.retain(|known| *known != address);
                self.say_listening().await;
                if !is_relayed(&address) {
                    self.network_changed();
                }
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, .. } => {
                self.relays.retain(|_, id| *id != listener_id);
                self.listening.retain(|known| !addresses.contains(known));
                self.say_listening().await;
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                // The prober may be on this very network, which proves nothing about access from outside.
                if !is_public(&address) && !is_relayed(&address) {
                    self.swarm.remove_external_address(&address);
                }
                self.look_at_reach().await;
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.look_at_reach().await,
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                tracing::debug!(?peer_id, %error, "no connection");
                self.calls.ended(connection_id);
                self.call_found();
            }
            _ => {}
        }
    }

    async fn handle_part(&mut self, event: PartsEvent) {
        match event {
            PartsEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, info).await
            }
            PartsEvent::Ping(ping::Event { peer, result: Ok(time), .. }) => {
                if let Some(node) = node_of(&peer) {
                    self.say(NetEvent::RoundTrip {
                        node,
                        millis: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
                    })
                    .await;
                }
            }
            // libp2p keeps a connection that does not answer pings; over TCP nothing else would notice for
            // a long time.
            PartsEvent::Ping(ping::Event { peer, connection, result: Err(error) })
                if !matches!(error, ping::Failure::Unsupported) =>
            {
                tracing::debug!(%peer, %error, "a connection does not answer");
                self.swarm.close_connection(connection);
            }
            PartsEvent::Neighbours(mdns::Event::Discovered(found)) => {
                let mut addresses: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
                for (peer, address) in found {
                    addresses.entry(peer).or_default().push(address);
                }
                for (peer, addresses) in addresses {
                    if !self.peers.contains_key(&peer) {
                        let is_known = self.meter.class(&peer) != PeerClass::Stranger;
                        self.calls.found(peer, addresses, is_known);
                    }
                }
                self.call_found();
            }
            PartsEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                let author = message.source.as_ref().and_then(node_of);
                let (Some(from), Some(author)) = (node_of(&propagation_source), author) else { return };
                if message.data.len() > MAX_GOSSIP {
                    self.obey(Order::Judge(message_id.0, propagation_source, false));
                    return;
                }
                self.say(NetEvent::Gossip {
                    id: message_id.0,
                    from,
                    author,
                    topic: message.topic.into_string(),
                    data: message.data,
                })
                .await;
            }
            PartsEvent::Kad(event) => self.handle_kad(event),
            PartsEvent::Autonat(autonat::v2::client::Event { tested_addr, server, result, .. }) => {
                tracing::debug!(%tested_addr, %server, ?result, "an address was tested from outside");
            }
            PartsEvent::RelayClient(relay::client::Event::ReservationReqAccepted { .. }) => {
                self.look_at_reach().await
            }
            PartsEvent::Relay(event) => self.places_for_others.handle(&event, Instant::now()),
            PartsEvent::Dcutr(event) => tracing::debug!(?event, "hole punching"),
            _ => {}
        }
    }

    fn handle_kad(&mut self, event: kad::Event) {
        match event {
            // Only meeting places are accepted, and only from nodes that announce themselves over their own
            // connection.
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } if record.key.as_ref().len() == 32 && self.swarm.is_connected(&record.provider) => {
                use kad::store::RecordStore as _;
                // A full store refuses; the node asks others too.
                let _ = self.swarm.behaviour_mut().kad.store_mut().add_provider(record);
            }
            kad::Event::OutboundQueryProgressed {
                result:
                    kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })),
                ..
            } => {
                for peer in providers.into_iter().take(MEET_AT_MOST) {
                    self.dial(peer, Vec::new());
                }
            }
            _ => {}
        }
    }

    async fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(node) = node_of(&peer) else { return };
        if let Some(known) = self.peers.get_mut(&peer)
            && known.told_of_itself.count_update(Instant::now())
        {
            if known.told_of_itself.count > 10 * SAID_AT_ONCE {
                tracing::debug!(%peer, "it says all the time where it is");
                self.meter.cut_off(peer);
            }
            return;
        }
        let is_relay = info.protocols.contains(&RELAY_HOP);
        let from_here = self.peers.get(&peer).is_some_and(|p| p.connections.iter().any(|c| c.route.is_local));
        let addresses = address::told_of_itself(info.listen_addrs, from_here, self.config.loopback);
        if info.protocols.contains(&KAD) {
            for address in &addresses {
                self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            }
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.is_relay = is_relay;
            known.addresses.clone_from(&addresses);
        }
        self.say(NetEvent::Addresses {
            node,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            is_relay,
        })
        .await;
        if is_relay {
            self.reserve();
        }
    }

    async fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
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

    async fn closed(&mut self, peer: PeerId, id: ConnectionId) {
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

    async fn say_listening(&mut self) {
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

    async fn look_at_reach(&mut self) {
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

    fn tick(&mut self) {
        self.reserve();
        self.meet();
        self.call_found();
        let needless: Vec<ConnectionId> = self
            .peers
            .values()
            .filter(|peer| {
                peer.connections.iter().any(|c| !c.route.is_relayed && c.since.elapsed() > SETTLED)
            })
            .flat_map(|peer| peer.connections.iter().filter(|c| c.route.is_relayed).map(|c| c.id))
            .collect();
        for id in needless {
            self.swarm.close_connection(id);
        }
    }

    /// Asks relays for a reservation while this node cannot be reached directly.
    fn reserve(&mut self) {
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

    /// Announces this node at its meeting places and looks for others there.
    fn meet(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let due: Vec<[u8; 32]> = self
            .places
            .iter()
            .filter(|(_, last)| last.is_none_or(|at| at.elapsed() > MEET_EVERY))
            .map(|(place, _)| *place)
            .collect();
        for place in due {
            let key = kad::RecordKey::new(&place);
            let kad = &mut self.swarm.behaviour_mut().kad;
            if let Err(error) = kad.start_providing(key.clone()) {
                tracing::debug!(%error, "not announced");
            }
            kad.get_providers(key);
            self.places.insert(place, Some(Instant::now()));
        }
    }

    /// Closes all connections after the loss of an address: they are dead, which would go unnoticed for
    /// seconds.
    fn network_changed(&mut self) {
        let closing: Vec<ConnectionId> =
            self.peers.values().flat_map(|known| known.connections.iter().map(|c| c.id)).collect();
        for id in closing {
            self.swarm.close_connection(id);
        }
        self.relays.clear();
    }

    /// Reconnects to lost nodes with growing delays, and gives up after some minutes.
    fn call_again(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_has_a_rate() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let taken = (0..500).filter(|n| !told.count_update(begun + Duration::from_millis(2 * n))).count();
        assert_eq!(taken, SAID_AT_ONCE as usize);
        assert!(told.count > 10 * SAID_AT_ONCE);
        // A node whose addresses change now and then is always heard.
        let mut told = Told::default();
        assert!((0..500).all(|n| !told.count_update(begun + Duration::from_secs(3 * n))));
    }

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
