//! Control links to nodes with pending messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fog_grid::Message;
use fog_transport::{Channel, Link, Transport, write_frame};
use fog_types::NodeId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Messages to one node that may wait; further ones are dropped, and the protocol repeats them.
const QUEUE: usize = 256;

/// Time without messages after which the queue of an unreachable node is removed. No event reports a node
/// that left before the last message to it.
const GONE: Duration = Duration::from_secs(60);

pub(crate) struct Links {
    transport: Arc<dyn Transport>,
    runtime: Handle,
    out: Mutex<BTreeMap<NodeId, mpsc::Sender<Message>>>,
}

impl Links {
    pub(crate) fn new(transport: Arc<dyn Transport>, runtime: Handle) -> Self {
        Self { transport, runtime, out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, BTreeMap<NodeId, mpsc::Sender<Message>>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, node: NodeId, message: Message) {
        let mut out = self.out();
        if out.get(&node).is_none_or(|to| to.is_closed()) {
            out.retain(|_, to| !to.is_closed());
        }
        let to = out.entry(node).or_insert_with(|| {
            let (to, inbox) = mpsc::channel(QUEUE);
            self.runtime.spawn(speak(self.transport.clone(), node, inbox));
            to
        });
        if to.try_send(message).is_err() {
            tracing::debug!(%node, "a message was dropped: the link is slow");
        }
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.out().remove(&node);
    }

    pub(crate) fn close(&self) {
        self.out().clear();
    }
}

async fn speak(transport: Arc<dyn Transport>, node: NodeId, mut inbox: mpsc::Receiver<Message>) {
    let mut link: Option<Link> = None;
    loop {
        let message = match timeout(GONE, inbox.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(_) => {
                if link.is_none() {
                    // Messages that are queued already are still sent.
                    inbox.close();
                }
                continue;
            }
        };
        let bytes = message.encode();
        // A second attempt follows, because an idle link may have died.
        for _ in 0..2 {
            if link.is_none() {
                link = transport
                    .open(node, Channel::Control)
                    .await
                    .inspect_err(|error| tracing::debug!(%node, %error, "not said"))
                    .ok();
            }
            let Some(open) = &mut link else { break };
            match write_frame(&mut open.pipe, &bytes).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%node, %error, "the link broke");
                    link = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fog_grid::LeaseId;
    use fog_transport::memory::MemoryNetwork;

    #[tokio::test(start_paused = true)]
    async fn who_had_gone_before_the_last_word_is_forgotten() {
        let network = MemoryNetwork::default();
        let (transport, _events) = network.join(NodeId([1; 32]));
        let links = Links::new(Arc::new(transport), Handle::current());
        let word = || Message::Release { lease: LeaseId([7; 16]), why: String::new() };
        for round in 0..3u8 {
            for n in 0..100 {
                links.say(NodeId([2 + n; 32]), word());
            }
            assert_eq!(links.out().len(), 100, "round {round}");
            tokio::time::sleep(GONE * 3).await;
        }
        links.say(NodeId([250; 32]), word());
        assert_eq!(links.out().len(), 1);
    }
}
