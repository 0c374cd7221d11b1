//! A network inside one process, for tests: the same trait, no sockets, links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fog_types::NodeId;
use tokio::sync::mpsc;

use crate::{Boxed, Channel, Link, LinkError, NetEvent, Route, Transport};

/// Bytes that a link buffers before the writer waits.
const LINK_BUFFER: usize = 64 << 10;
/// Events that a node may have pending.
const EVENTS: usize = 1024;

/// The network on which nodes meet.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    nodes: BTreeMap<NodeId, mpsc::Sender<NetEvent>>,
    connected: BTreeSet<(NodeId, NodeId)>,
    /// Pairs that cannot reach each other.
    cut: BTreeSet<(NodeId, NodeId)>,
    topics: BTreeMap<String, BTreeSet<NodeId>>,
    places: BTreeMap<[u8; 32], BTreeSet<NodeId>>,
    messages: u64,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

fn route() -> Route {
    Route { transport: "memory", is_relayed: false, is_local: true, address: "memory".to_owned() }
}

impl MemoryNetwork {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a node to the network.
    #[must_use]
    pub fn join(&self, node: NodeId) -> (MemoryTransport, mpsc::Receiver<NetEvent>) {
        let (to, events) = mpsc::channel(EVENTS);
        let mut hub = self.hub();
        // A node that restarts takes the place of its earlier run.
        hub.disconnect(node);
        hub.nodes.insert(node, to.clone());
        drop(hub);
        (MemoryTransport { network: self.clone(), node, to, traffic: Arc::default() }, events)
    }

    /// Separates two nodes, or reconnects them. Open links stay as they are.
    pub fn set_cut(&self, a: NodeId, b: NodeId, is_cut: bool) {
        let mut hub = self.hub();
        if !is_cut {
            hub.cut.remove(&pair(a, b));
        } else if hub.cut.insert(pair(a, b)) && hub.connected.remove(&pair(a, b)) {
            for (who, whom) in [(a, b), (b, a)] {
                hub.tell(who, NetEvent::Disconnected { node: whom });
            }
        }
    }
}

impl Hub {
    fn tell(&self, node: NodeId, event: NetEvent) {
        if let Some(to) = self.nodes.get(&node) {
            // A node that is gone or far behind misses the event, as on any network.
            let _ = to.try_send(event);
        }
    }

    /// Ends all connections of a node.
    fn disconnect(&mut self, node: NodeId) {
        let gone: Vec<_> = self.connected.iter().filter(|(a, b)| *a == node || *b == node).copied().collect();
        for (a, b) in gone {
            self.connected.remove(&(a, b));
            self.tell(if a == node { b } else { a }, NetEvent::Disconnected { node });
        }
    }

    fn connect(&mut self, a: NodeId, b: NodeId) -> Result<(), LinkError> {
        if a == b || self.cut.contains(&pair(a, b)) || !self.nodes.contains_key(&b) {
            return Err(LinkError::Unreachable("there is no way to it".to_owned()));
        }
        if self.connected.insert(pair(a, b)) {
            self.tell(a, NetEvent::Connected { node: b, route: route() });
            self.tell(b, NetEvent::Connected { node: a, route: route() });
        }
        Ok(())
    }
}

/// A node's view of a [`MemoryNetwork`].
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: NodeId,
    /// Sender of its own events, which tells it from a later run of the same node.
    to: mpsc::Sender<NetEvent>,
    traffic: Arc<AtomicU64>,
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let mut hub = self.network.hub();
        if hub.nodes.get(&self.node).is_some_and(|to| to.same_channel(&self.to)) {
            hub.nodes.remove(&self.node);
            hub.disconnect(self.node);
        }
    }
}

impl Transport for MemoryTransport {
    fn local(&self) -> NodeId {
        self.node
    }

    fn open(&self, node: NodeId, channel: Channel) -> Boxed<Result<Link, LinkError>> {
        let opened = (|| {
            let mut hub = self.network.hub();
            hub.connect(self.node, node)?;
            let (ours, theirs) = tokio::io::duplex(LINK_BUFFER);
            hub.tell(node, NetEvent::Incoming(Link { node: self.node, channel, pipe: Box::new(theirs) }));
            Ok(Link { node, channel, pipe: Box::new(ours) })
        })();
        Box::pin(std::future::ready(opened))
    }

    fn dial(&self, node: NodeId, _addresses: Vec<String>) {
        // A failed dial is not reported.
        let _ = self.network.hub().connect(self.node, node);
    }

    fn hang_up(&self, node: NodeId) {
        let mut hub = self.network.hub();
        if hub.connected.remove(&pair(self.node, node)) {
            hub.tell(node, NetEvent::Disconnected { node: self.node });
            hub.tell(self.node, NetEvent::Disconnected { node });
        }
    }

    fn meet(&self, place: &[u8; 32]) {
        let mut hub = self.network.hub();
        let met = hub.places.entry(*place).or_default();
        met.insert(self.node);
        for other in met.clone() {
            // Fails for the node itself and for nodes that are cut off.
            let _ = hub.connect(self.node, other);
        }
    }

    fn join_topic(&self, topic: &str) {
        self.network.hub().topics.entry(topic.to_owned()).or_default().insert(self.node);
    }

    fn leave_topic(&self, topic: &str) {
        if let Some(members) = self.network.hub().topics.get_mut(topic) {
            members.remove(&self.node);
        }
    }

    fn publish(&self, topic: &str, data: Vec<u8>) {
        let mut hub = self.network.hub();
        hub.messages += 1;
        self.traffic.fetch_add(data.len() as u64, Ordering::Relaxed);
        let id = hub.messages.to_le_bytes().to_vec();
        let members: Vec<NodeId> =
            hub.topics.get(topic).into_iter().flatten().copied().filter(|to| *to != self.node).collect();
        for to in
            members.into_iter().filter(|to| !hub.cut.contains(&pair(self.node, *to))).collect::<Vec<_>>()
        {
            hub.tell(
                to,
                NetEvent::Gossip {
                    id: id.clone(),
                    from: self.node,
                    author: self.node,
                    topic: topic.to_owned(),
                    data: data.clone(),
                },
            );
        }
    }

    fn judge(&self, _id: Vec<u8>, _from: NodeId, _is_valid: bool) {}

    fn traffic(&self) -> (u64, u64) {
        (0, self.traffic.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_frame, write_frame};

    #[tokio::test]
    async fn a_link_carries_frames_and_a_cut_ends_the_connection() {
        let network = MemoryNetwork::default();
        let (a, mut a_events) = network.join(NodeId([1; 32]));
        let (b, mut b_events) = network.join(NodeId([2; 32]));
        let mut link = a.open(b.local(), Channel::Control).await.unwrap();
        assert!(matches!(b_events.recv().await, Some(NetEvent::Connected { node, .. }) if node == a.local()));
        let Some(NetEvent::Incoming(mut theirs)) = b_events.recv().await else { panic!("no link") };
        write_frame(&mut link.pipe, b"hello").await.unwrap();
        assert_eq!(read_frame(&mut theirs.pipe, 100).await.unwrap(), b"hello");
        network.set_cut(a.local(), b.local(), true);
        assert!(matches!(a_events.recv().await, Some(NetEvent::Connected { .. })));
        assert!(matches!(a_events.recv().await, Some(NetEvent::Disconnected { .. })));
        assert!(a.open(b.local(), Channel::Control).await.is_err());
    }
}
