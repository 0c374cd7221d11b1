//! The loop that drives libp2p and reports its events.

mod connections;
mod dials;
mod peer_info;
mod reach;
mod transports;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog_transport::{MAX_GOSSIP, NetEvent, PeerClass, Reach, Route};
use futures::StreamExt as _;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId};
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify, kad, mdns, ping, relay};
use tokio::sync::mpsc;

use self::connections::Connection;
use self::dials::Again;
use self::peer_info::Told;
use self::transports::transport;
use crate::address::{is_public, is_relayed};
use crate::behaviour::{MEET_AT_MOST, Parts, PartsEvent};
use crate::bulk::Bulk;
use crate::calls::Calls;
use crate::doors::Doors;
use crate::gate::Gate;
use crate::meter::Meter;
use crate::relay_places::RelayPlaces;
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
/// Longest time for leaving the network.
const GOODBYE: Duration = Duration::from_millis(500);

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
}
