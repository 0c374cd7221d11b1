//! Control links: one to each node that there is something to say to, and readers for those that speak.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fog_grid::{ContentRequest, MAX_MESSAGE, Message};
use fog_transport::{Channel, Link, Transport, read_frame, write_frame};
use fog_types::NodeId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::NetNews;
use crate::core;

/// Messages to one node that wait; more are dropped, and the exchange says them again.
const QUEUE: usize = 256;
/// Links of one node that are read at once.
const READERS: usize = 3;
/// Questions of one node that are answered at once.
const QUESTIONS: usize = 8;
/// Messages a node may send at once, and for each second.
const BURST: f64 = 400.0;
const PER_SECOND: f64 = 50.0;
/// How long a question may take to arrive.
const QUESTION: Duration = Duration::from_secs(10);

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

/// Counts what each node has open, so that none takes everything.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<BTreeMap<(NodeId, bool), usize>>>);

/// One thing that a node has open.
pub(crate) struct Counted(Readers, (NodeId, bool));

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

impl Readers {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<(NodeId, bool), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, node: NodeId, is_question: bool, limit: usize) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry((node, is_question)).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted(self.clone(), (node, is_question)))
    }

    /// Reads a control link to its end.
    pub(crate) fn read(&self, mut link: Link, to: mpsc::Sender<core::Message>) {
        let Some(counted) = self.count(link.node, false, READERS) else {
            tracing::debug!(node = %link.node, "one link too many");
            return;
        };
        tokio::spawn(async move {
            let _counted = counted;
            let (mut credit, mut last) = (BURST, Instant::now());
            loop {
                let message = match read_frame(&mut link.pipe, MAX_MESSAGE).await.map(|bytes| Message::decode(&bytes)) {
                    Ok(Ok(message)) => message,
                    Ok(Err(error)) => return tracing::debug!(node = %link.node, %error, "a link was closed"),
                    Err(error) => return tracing::debug!(node = %link.node, %error, "a link ended"),
                };
                credit = (credit + last.elapsed().as_secs_f64() * PER_SECOND).min(BURST) - 1.0;
                last = Instant::now();
                if credit < 0.0 {
                    // Who says more than that is read more slowly; the bytes wait at their side.
                    sleep(Duration::from_secs_f64(1.0 / PER_SECOND)).await;
                }
                if to.send(core::Message::Net(Box::new(NetNews::Said(link.node, Box::new(message))))).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Reads the one question of a content link; the link counts until it is answered.
    pub(crate) fn question(&self, mut link: Link, to: mpsc::Sender<core::Message>) {
        let Some(counted) = self.count(link.node, true, QUESTIONS) else { return };
        tokio::spawn(async move {
            let asked = timeout(QUESTION, read_frame(&mut link.pipe, 256)).await;
            let Ok(Ok(Ok(request))) = asked.map(|read| read.map(|bytes| ContentRequest::decode(&bytes))) else { return };
            // The loop being gone means the engine stopped.
            let _ = to.send(core::Message::Net(Box::new(NetNews::Asked(Box::new(link), request, counted)))).await;
        });
    }
}
