//! The engine's view of a network: links to nodes, and events.
//!
//! An adapter (`fog-libp2p`, or the in-memory network of this crate) encrypts links and authenticates the
//! peer by its [`NodeId`]; the layers above see no address and no socket. The messages on a link are
//! defined elsewhere.

mod frame;
pub mod memory;
mod packets;

use std::future::Future;
use std::pin::Pin;

use fog_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};

pub use frame::{FrameError, read_frame, read_frame_within, write_frame};
pub use packets::{PacketEnd, PacketLink, packet_link, packets_over};

/// A boxed future of an adapter.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Purpose of a link. Each channel has its own protocol name, so that an older node refuses an unknown
/// channel instead of misreading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Small messages, one link for each direction with traffic.
    Control,
    /// One request and its content, then closed. Content is sealed by its owner, so on a local network an
    /// adapter may carry it unencrypted, on a connection that is bound to the node by a token sent over an
    /// encrypted one.
    Content,
    /// Packets of the BitChat mesh, one link for each pair of devices.
    Chat,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Control, Self::Content, Self::Chat];

    /// Returns the protocol name on the wire.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Control => "/fog/control/1",
            Self::Content => "/fog/content/1",
            Self::Chat => "/fog/chat/1",
        }
    }
}

/// A bidirectional byte stream.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// One authenticated stream to a node.
pub struct Link {
    /// Node at the other end.
    pub node: NodeId,
    /// Purpose of the link.
    pub channel: Channel,
    /// The byte stream.
    pub pipe: Box<dyn Pipe>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("node", &self.node)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Path over which bytes reach a node now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name of the transport: `quic`, `tcp`, `websocket` or `memory`.
    pub transport: &'static str,
    /// Whether the path leads through a relay, since no direct one was found.
    pub is_relayed: bool,
    /// Whether the address belongs to this local network or to this machine.
    pub is_local: bool,
    /// The address, for display.
    pub address: String,
}

/// Reachability of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Not known yet, or no peer is there that could test it.
    #[default]
    Unknown,
    /// Reachable from anywhere.
    Public,
    /// Reachable only through a relay or by hole punching.
    Relayed,
}

/// Event of a network.
#[derive(Debug)]
pub enum NetEvent {
    /// A node is connected, or its route changed.
    Connected {
        /// The node.
        node: NodeId,
        /// Route to the node.
        route: Route,
    },
    /// The last connection to a node is closed.
    Disconnected {
        /// The node.
        node: NodeId,
    },
    /// Round-trip time of a connection.
    RoundTrip {
        /// Node at the other end.
        node: NodeId,
        /// Time in milliseconds.
        millis: u32,
    },
    /// A node opened a link.
    Incoming(Link),
    /// Addresses that a node announces for itself, without those that it may not claim.
    Addresses {
        /// The node.
        node: NodeId,
        /// The addresses, at most 16.
        addresses: Vec<String>,
        /// Whether the node relays for others.
        is_relay: bool,
    },
    /// A GossipSub message of a topic, not validated yet: [`Transport::judge`] decides whether it is
    /// forwarded.
    Gossip {
        /// Id of the message.
        id: Vec<u8>,
        /// Node that forwarded the message.
        from: NodeId,
        /// Node that signed the message.
        author: NodeId,
        /// The topic.
        topic: String,
        /// Content, at most [`MAX_GOSSIP`] bytes.
        data: Vec<u8>,
    },
    /// All addresses on which this node listens.
    Listening(Vec<String>),
    /// Reachability of this node.
    Reach(Reach),
}

/// Relation of a node to this one, as far as an adapter needs it to share places and to count bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerClass {
    /// A node about which nothing is known. It may identify itself, and little more.
    #[default]
    Stranger,
    /// A node that shared a network before; a place is kept for it.
    Known,
    /// A node that shares a network now.
    Related,
}

/// Bytes that were exchanged with a node beyond the local network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTraffic {
    /// The node.
    pub node: NodeId,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// Greatest size of one GossipSub message in bytes.
pub const MAX_GOSSIP: usize = 4096;

/// Reason why no link was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The node cannot be reached now.
    #[error("the device cannot be reached: {0}")]
    Unreachable(String),
    /// The node does not know this channel.
    #[error("the device runs another version")]
    Unsupported,
    /// The network was left.
    #[error("the network was left")]
    Closed,
}

/// A network.
pub trait Transport: Send + Sync {
    /// Returns the id of this node.
    fn local(&self) -> NodeId;
    /// Opens a link; connects first if needed.
    fn open(&self, node: NodeId, channel: Channel) -> Boxed<Result<Link, LinkError>>;
    /// Tries to connect, also at known addresses; failures are not reported.
    fn dial(&self, node: NodeId, addresses: Vec<String>);
    /// Closes every connection to a node.
    fn hang_up(&self, node: NodeId);
    /// Announces this node at a meeting place and looks there for other nodes, now and at intervals.
    fn meet(&self, place: &[u8; 32]);
    /// Subscribes to a topic.
    fn join_topic(&self, topic: &str);
    /// Unsubscribes from a topic.
    fn leave_topic(&self, topic: &str);
    /// Publishes a message in a topic; dropped when nobody is subscribed.
    fn publish(&self, topic: &str, data: Vec<u8>);
    /// Reports whether a received message is valid and may be forwarded.
    fn judge(&self, id: Vec<u8>, from: NodeId, is_valid: bool);
    /// Returns the bytes received and sent since the start, of all traffic.
    fn traffic(&self) -> (u64, u64);
    /// Sets the class of a node. Optional for an adapter that serves nobody else.
    fn set_class(&self, _node: NodeId, _class: PeerClass) {}
    /// Closes the direct connections to a node that are older than its newest one: the node has restarted
    /// and has lost them. Optional for an adapter with one connection for each node.
    fn drop_old_connections(&self, _node: NodeId) {}
    /// Closes every connection to a node and refuses new ones for some minutes.
    fn cut_off(&self, node: NodeId) {
        self.hang_up(node);
    }
    /// Returns counters in the Prometheus text format, with its end.
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
    /// Returns the bytes exchanged beyond the local network since the last call, by node.
    fn take_traffic(&self) -> Vec<NodeTraffic> {
        Vec::new()
    }
}
