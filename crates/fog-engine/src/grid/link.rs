//! Control links to nodes that there is something to say to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fog_grid::Message;
use fog_transport::{Channel, Link, Transport, write_frame};
use fog_types::NodeId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Messages to one node that wait; more are dropped, and the exchange says them again.
const QUEUE: usize = 256;

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
    while let Some(message) = inbox.recv().await {
        let bytes = message.encode();
        // Twice: the link may have died while nobody spoke.
        for _ in 0..2 {
            if link.is_none() {
                link = transport.open(node, Channel::Control).await.inspect_err(|error| tracing::debug!(%node, %error, "not said")).ok();
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
