//! What a network is to the engine: links to nodes, and events.
//!
//! An adapter (`fog-libp2p`, the network in memory here) authenticates the other side by its
//! [`NodeId`] and encrypts; nothing above it sees an address or a socket. What travels over a link is
//! decided elsewhere.

mod frame;
pub mod memory;
mod packets;

use std::future::Future;
use std::pin::Pin;

use fog_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};

pub use frame::{FrameError, read_frame, read_frame_within, write_frame};
pub use packets::{PacketEnd, PacketLink, packet_link, packets_over};

/// A future of an adapter.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a link is for. Each has a protocol name of its own, so that an older node refuses what it
/// does not know instead of misreading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Small messages, one link for each direction that has something to say.
    Control,
    /// One question and its content, then closed. Content is sealed by its owner: on a local network an adapter may
    /// carry it as it is, on a connection that the node opened by a token said over an encrypted one.
    Content,
    /// Packets of the BitChat mesh, one link for each pair of devices.
    Chat,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Control, Self::Content, Self::Chat];

    /// Its name on the wire.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Control => "/fog/control/1",
            Self::Content => "/fog/content/1",
            Self::Chat => "/fog/chat/1",
        }
    }
}

/// Bytes both ways.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// One authenticated stream to a node.
pub struct Link {
    /// The other side.
    pub node: NodeId,
    /// What it is for.
    pub channel: Channel,
    /// The bytes.
    pub pipe: Box<dyn Pipe>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("node", &self.node).field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// How bytes reach a node now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `quic`, `tcp`, `websocket`, `memory`.
    pub transport: &'static str,
    /// Through another node, because no direct way was found.
    pub is_relayed: bool,
    /// Its address is one of this local network (or of this machine).
    pub is_local: bool,
    /// The address, for people.
    pub address: String,
}

/// How far this node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Not found out yet, or nobody there who could tell.
    #[default]
    Unknown,
    /// From anywhere.
    Public,
    /// Only through a relay or after both sides knock.
    Relayed,
}

/// What happens on a network.
#[derive(Debug)]
pub enum NetEvent {
    /// A node can be talked to, or its route changed.
    Connected {
        /// Who.
        node: NodeId,
        /// How.
        route: Route,
    },
    /// No connection to a node is left.
    Disconnected {
        /// Who.
        node: NodeId,
    },
    /// Time of a round trip.
    RoundTrip {
        /// To whom.
        node: NodeId,
        /// In milliseconds.
        millis: u32,
    },
    /// A node opened a link.
    Incoming(Link),
    /// Where a node says it can be found; only what it may say of itself.
    Addresses {
        /// Who.
        node: NodeId,
        /// Addresses, at most 16.
        addresses: Vec<String>,
        /// It relays for others.
        is_relay: bool,
    },
    /// A message to everybody in a topic, not yet believed: [`Transport::judge`] says whether it goes on.
    Gossip {
        /// Which message.
        id: Vec<u8>,
        /// Who handed it on.
        from: NodeId,
        /// Who signed it.
        author: NodeId,
        /// The topic.
        topic: String,
        /// At most [`MAX_GOSSIP`] bytes.
        data: Vec<u8>,
    },
    /// The addresses where this node listens, complete.
    Listening(Vec<String>),
    /// How far this node can be reached.
    Reach(Reach),
}

/// How a node stands to this one, as far as an adapter has to know: who gets a place, and whose bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerClass {
    /// Nothing is known of it. It may say who it is, and little more.
    #[default]
    Stranger,
    /// It shared a network before; a place is kept for it.
    Known,
    /// It shares a network now.
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

/// Most bytes of one message to everybody.
pub const MAX_GOSSIP: usize = 4096;

/// Why no link was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no way to it now.
    #[error("the device cannot be reached: {0}")]
    Unreachable(String),
    /// It does not know this channel.
    #[error("the device runs another version")]
    Unsupported,
    /// The network was left.
    #[error("the network was left")]
    Closed,
}

/// A network.
pub trait Transport: Send + Sync {
    /// This node.
    fn local(&self) -> NodeId;
    /// Opens a link; connects first when needed.
    fn open(&self, node: NodeId, channel: Channel) -> Boxed<Result<Link, LinkError>>;
    /// Tries to connect, with addresses that are known; nothing happens when that fails.
    fn dial(&self, node: NodeId, addresses: Vec<String>);
    /// Closes every connection to a node.
    fn hang_up(&self, node: NodeId);
    /// Looks for nodes that name the same meeting place, now and from time to time, and is found there.
    fn meet(&self, place: &[u8; 32]);
    /// Takes part in a topic.
    fn join_topic(&self, topic: &str);
    /// Leaves a topic.
    fn leave_topic(&self, topic: &str);
    /// Says something to everybody in a topic; dropped when nobody listens.
    fn publish(&self, topic: &str, data: Vec<u8>);
    /// Whether a message that was heard is fit to go on.
    fn judge(&self, id: Vec<u8>, from: NodeId, is_valid: bool);
    /// Bytes received and sent since the start, of everything.
    fn traffic(&self) -> (u64, u64);
    /// Says how a node stands to this one. An adapter that serves nobody else needs not know.
    fn set_class(&self, _node: NodeId, _class: PeerClass) {}
    /// Closes those direct connections to a node that are older than its newest one: the node has begun anew, so it does not
    /// have them any more. An adapter with one connection for each node needs not know.
    fn drop_old_connections(&self, _node: NodeId) {}
    /// Closes every connection to a node, and lets it in again only after some minutes.
    fn cut_off(&self, node: NodeId) {
        self.hang_up(node);
    }
    /// Bytes beyond the local network since this was last asked, by node.
    fn take_traffic(&self) -> Vec<NodeTraffic> {
        Vec::new()
    }
}
