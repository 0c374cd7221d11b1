//! The network over libp2p.
//!
//! QUIC first, TCP with Noise and Yamux, WebSocket for restrictive proxies; mDNS on the local network,
//! Kademlia beyond it, relays and hole punching between homes. This crate authenticates nodes and carries
//! links; it knows nothing of jobs, and listens nowhere until it is started.

mod address;
mod any_port;
mod behaviour;
mod bulk;
mod calls;
mod doors;
mod gate;
mod meter;
mod neighbours;
mod raw;
mod relay_places;
mod scoped;
mod swarm;

use std::collections::BTreeMap;
use std::sync::Arc;

use fog_transport::{Boxed, Channel, Link, LinkError, NetEvent, NodeTraffic, PeerClass, Transport};
use fog_types::NodeId;
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::mpsc;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

pub use address::is_callable;
use bulk::Bulk;
use meter::Meter;
use swarm::{Order, Swarm};

/// Configuration of a node.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Whether to listen on the local network and look for nodes there.
    pub lan: bool,
    /// Whether to listen on public addresses and ask the router for a port.
    pub open: bool,
    /// Whether to listen on loopback only, whatever else is set: for networks on one machine.
    pub loopback: bool,
    /// Whether to relay for nodes that cannot be reached.
    pub relay: bool,
    /// UDP and TCP port; a random one when it is taken or 0. WebSocket has the next one.
    pub port: u16,
    /// Addresses of first peers, each with a peer id.
    pub known: Vec<String>,
}

/// Reason why the network did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The key is not an Ed25519 secret.
    #[error("the key of this device cannot be used")]
    Key,
    /// A component could not be set up.
    #[error("the network could not be started: {0}")]
    Setup(String),
    /// There is no address to listen on.
    #[error("no port to listen on: {0}")]
    Listen(String),
}

/// A running node. Dropping it leaves the network.
pub struct LibP2p {
    node: NodeId,
    orders: mpsc::Sender<Order>,
    streams: libp2p_stream::Control,
    registry: Arc<Registry>,
    bulk: Arc<Bulk>,
    meter: Arc<Meter>,
}

impl Drop for LibP2p {
    fn drop(&mut self) {
        self.bulk.close();
    }
}

/// Returns the libp2p peer id of a node.
pub(crate) fn peer_of(node: NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&node.to_peer_id_bytes()).ok()
}

pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes())
}

fn keypair(secret: &[u8; 32]) -> Result<Keypair, StartError> {
    let mut copy = *secret;
    Keypair::ed25519_from_bytes(&mut copy).map_err(|_| StartError::Key)
}

impl LibP2p {
    /// Starts a node on the current runtime.
    ///
    /// # Errors
    /// When the key is invalid, a component cannot be set up, or no port is free.
    pub fn start(secret: &[u8; 32], config: &Config) -> Result<(Self, mpsc::Receiver<NetEvent>), StartError> {
        let key = keypair(secret)?;
        let node = node_of(&key.public().to_peer_id()).ok_or(StartError::Key)?;
        let mut registry = Registry::default();
        let (to, events) = mpsc::channel(1024);
        let bulk = Arc::new(Bulk::new(config.loopback));
        let meter = Arc::new(Meter::new(config.relay));
        let swarm = Swarm::new(&key, config, &mut registry, to.clone(), bulk.clone(), &meter)?;
        let mut streams = swarm.streams();
        for channel in Channel::ALL {
            let mut incoming = streams
                .accept(StreamProtocol::new(channel.protocol()))
                .map_err(|e| StartError::Setup(e.to_string()))?;
            let to = to.clone();
            // Accepted at once: libp2p drops a stream that nobody waits for.
            tokio::spawn(async move {
                while let Some((peer, stream)) = futures::StreamExt::next(&mut incoming).await {
                    let Some(node) = node_of(&peer) else { continue };
                    let link = Link { node, channel, pipe: Box::new(stream.compat()) };
                    if to.send(NetEvent::Incoming(link)).await.is_err() {
                        return;
                    }
                }
            });
        }
        let asked = streams.accept(bulk::PROTOCOL).map_err(|e| StartError::Setup(e.to_string()))?;
        tokio::spawn(bulk::accept_all(bulk.clone(), asked, to));
        let (orders, inbox) = mpsc::channel(256);
        tokio::spawn(swarm.run(inbox));
        Ok((Self { node, orders, streams, registry: Arc::new(registry), bulk, meter }, events))
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::warn!("the network is busy; a request was dropped");
        }
    }
}

impl Transport for LibP2p {
    fn local(&self) -> NodeId {
        self.node
    }

    fn open(&self, node: NodeId, channel: Channel) -> Boxed<Result<Link, LinkError>> {
        let (mut streams, bulk, orders) = (self.streams.clone(), self.bulk.clone(), self.orders.clone());
        Box::pin(async move {
            let peer = peer_of(node).ok_or(LinkError::Unsupported)?;
            if channel == Channel::Content
                && let Some(plain) = bulk.open(peer, &mut streams).await
            {
                return Ok(Link { node, channel, pipe: Box::new(plain) });
            }
            let protocol = StreamProtocol::new(channel.protocol());
            let opening = async {
                match streams.open_stream(peer, protocol.clone()).await {
                    // The connection was closed meanwhile; there may be a newer one.
                    Err(libp2p_stream::OpenStreamError::Io(error))
                        if error.kind() == std::io::ErrorKind::ConnectionReset =>
                    {
                        streams.open_stream(peer, protocol).await
                    }
                    opened => opened,
                }
            };
            match tokio::time::timeout(swarm::OPEN_PATIENCE, opening).await {
                Ok(Ok(stream)) => Ok(Link { node, channel, pipe: Box::new(stream.compat()) }),
                Ok(Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))) => {
                    Err(LinkError::Unsupported)
                }
                Ok(Err(error)) => Err(LinkError::Unreachable(error.to_string())),
                Err(_) => {
                    // The connection used is not known; the newest one is the most likely to work.
                    let _ = orders.try_send(Order::DropOld(peer));
                    Err(LinkError::Unreachable("it does not answer".to_owned()))
                }
            }
        })
    }

    fn dial(&self, node: NodeId, addresses: Vec<String>) {
        let Some(peer) = peer_of(node) else { return };
        let (orders, addresses) = (self.orders.clone(), address::parse_all(&addresses));
        tokio::spawn(async move {
            let mut found: Vec<Multiaddr> = Vec::new();
            for address in addresses {
                found.extend(address::resolve(address).await);
            }
            // The network may have been left meanwhile.
            let _ = orders.send(Order::Dial(peer, found)).await;
        });
    }

    fn hang_up(&self, node: NodeId) {
        if let Some(peer) = peer_of(node) {
            self.order(Order::HangUp(peer));
        }
    }

    fn meet(&self, place: &[u8; 32]) {
        self.order(Order::Meet(*place));
    }

    fn join_topic(&self, topic: &str) {
        self.order(Order::Join(topic.to_owned()));
    }

    fn leave_topic(&self, topic: &str) {
        self.order(Order::Leave(topic.to_owned()));
    }

    fn publish(&self, topic: &str, data: Vec<u8>) {
        self.order(Order::Publish(topic.to_owned(), data));
    }

    fn judge(&self, id: Vec<u8>, from: NodeId, is_valid: bool) {
        if let Some(peer) = peer_of(from) {
            self.order(Order::Judge(id, peer, is_valid));
        }
    }

    fn set_class(&self, node: NodeId, class: PeerClass) {
        if let Some(peer) = peer_of(node) {
            self.meter.set_class(peer, class);
        }
    }

    fn drop_old_connections(&self, node: NodeId) {
        if let Some(peer) = peer_of(node) {
            self.order(Order::DropOld(peer));
        }
    }

    fn cut_off(&self, node: NodeId) {
        if let Some(peer) = peer_of(node) {
            self.meter.cut_off(peer);
        }
        self.hang_up(node);
    }

    fn take_traffic(&self) -> Vec<NodeTraffic> {
        self.meter.take()
    }

    fn traffic(&self) -> (u64, u64) {
        let ((received, sent), (plain_received, plain_sent)) =
            (traffic_in(&self.metrics()), self.bulk.traffic());
        (received + plain_received, sent + plain_sent)
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Returns the sums of the bandwidth counters, in and out.
fn traffic_in(metrics: &str) -> (u64, u64) {
    let mut sums: BTreeMap<bool, u64> = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("libp2p_bandwidth_bytes_total{")) {
        let bytes = line.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        *sums.entry(line.contains("Inbound")).or_default() += bytes;
    }
    (sums.get(&true).copied().unwrap_or(0), sums.get(&false).copied().unwrap_or(0))
}
