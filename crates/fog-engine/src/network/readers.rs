//! Readers of the links that nodes open.
//!
//! Readers run on the network's thread, so that nothing a node sends holds up the loop. They check in this
//! order who the node is, how much it sends, the signature, and the content; only a message that passes all
//! checks reaches the loop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fog_grid::{
    ContentRequest, LeaseId, MAX_MESSAGE, MAX_STRANGER_MESSAGE, Message, Purpose, Receipt, Signed, TaskOffer,
    TaskResult,
};
use fog_transport::{FrameError, Link, Transport, read_frame, read_frame_within};
use fog_types::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::message;
use crate::network::NetworkEvent;

/// Links of one node that are read at once.
const MAX_LINKS: usize = 3;
/// Content requests of one node that are answered at once.
const MAX_QUESTIONS: usize = 8;
/// Longest time for a content request to arrive.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages and bytes that a related node may send at once and per second. Beyond that it is read more
/// slowly.
const RELATED: Allowance = Allowance {
    messages: 400.0,
    messages_per_second: 50.0,
    bytes: 16.0 * 1_048_576.0,
    bytes_per_second: 1_048_576.0,
};
/// Messages and bytes that other nodes may send at once and per second. A node beyond that is cut off.
const STRANGER: Allowance =
    Allowance { messages: 40.0, messages_per_second: 1.0, bytes: 100_000.0, bytes_per_second: 256.0 };
/// Hellos of one node that are read at once and per second: capacity is announced twice a second, and more
/// often when tasks are short. A hello costs the loop more than other messages; further ones wait at the
/// sender.
const GREETINGS: Rate = Rate { at_once: 50.0, per_second: 10.0 };
/// Content requests of one node: enough for two thousand files, and a hundred more each second.
const QUESTIONS: Rate = Rate { at_once: 4000.0, per_second: 200.0 };
/// Additional cost of a request for content that is not here, since such content is never offered.
const IN_VAIN: f64 = 9.0;
/// Most nodes whose budgets are remembered before idle ones are forgotten.
const MAX_BUDGETS: usize = 1024;
/// Time without a message after which every budget is full again.
const REFILLED: Duration = Duration::from_secs(400);

struct Rate {
    at_once: f64,
    per_second: f64,
}

/// Sum that decreases over time.
struct Spent {
    sum: f64,
    last: Instant,
}

impl Spent {
    fn none() -> Self {
        Self { sum: 0.0, last: Instant::now() }
    }

    /// Adds an amount. Returns the time to wait until the sum keeps within the rate.
    fn add(&mut self, much: f64, rate: &Rate) -> Duration {
        let passed = self.last.elapsed().as_secs_f64();
        *self = Self { sum: (self.sum - passed * rate.per_second).max(0.0) + much, last: Instant::now() };
        Duration::from_secs_f64(((self.sum - rate.at_once) / rate.per_second).clamp(0.0, 60.0))
    }
}

struct Allowance {
    messages: f64,
    messages_per_second: f64,
    bytes: f64,
    bytes_per_second: f64,
}

/// Nodes that have said hello, with whether they share a network with this one. The loop writes, readers
/// read.
#[derive(Clone, Default)]
pub(crate) struct Relations(Arc<Mutex<BTreeMap<NodeId, bool>>>);

impl Relations {
    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether a node that said hello shares a network.
    pub(crate) fn set(&self, node: NodeId, is_related: bool) {
        self.known().insert(node, is_related);
    }

    /// Removes a node that has disconnected.
    pub(crate) fn forget(&self, node: NodeId) {
        self.known().remove(&node);
    }

    /// Whether a node shares a network; `None` before its hello.
    fn get(&self, node: NodeId) -> Option<bool> {
        self.known().get(&node).copied()
    }
}

/// Numbers of refused messages by reason, and of signed messages that were read.
#[derive(Default)]
pub(crate) struct Counters {
    too_long: AtomicU64,
    unrelated: AtomicU64,
    too_many: AtomicU64,
    unreadable: AtomicU64,
    opened: AtomicU64,
}

impl Counters {
    /// Numbers of refused messages by reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 4] {
        [
            ("too_long", &self.too_long),
            ("unrelated", &self.unrelated),
            ("too_many", &self.too_many),
            ("unreadable", &self.unreadable),
        ]
        .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Number of signed messages whose signature was checked and whose content was read.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

/// A message that was read and whose signature, if any, was checked.
pub(crate) enum Heard {
    /// A message of a kind that needs no signature.
    Plain(Message),
    /// An offer signed by its sender, with the hash of the signed bytes.
    Offer(Box<TaskOffer>, [u8; 32]),
    /// Lease of an offer by a node that is not known to share a network; the offer was not read.
    StrangeOffer(LeaseId),
    /// A result signed by its sender.
    Result(Box<TaskResult>, Box<Signed<TaskResult>>),
    /// A receipt signed by its sender.
    Receipt(Box<Receipt>, Box<Signed<Receipt>>),
}

/// Open links and budgets of each node, so that none takes everything.
#[derive(Clone)]
pub(crate) struct Readers {
    budgets: Arc<Mutex<BTreeMap<NodeId, Budget>>>,
    relations: Relations,
    counters: Arc<Counters>,
    transport: Arc<dyn Transport>,
    to: mpsc::Sender<message::EngineMessage>,
}

struct Budget {
    links: usize,
    questions: usize,
    /// Messages that the node has sent beyond its allowance, decreasing over time; `bytes` likewise.
    messages: f64,
    bytes: f64,
    last: Instant,
    greeted: Spent,
    asked: Spent,
    /// Signalled when the node's last connection ended.
    has_gone: Arc<Notify>,
}

/// An open link or request of a node, which counts until it is dropped.
pub(crate) struct Counted {
    readers: Readers,
    node: NodeId,
    is_question: bool,
}

impl Counted {
    /// Notes that the request was for content that is not here.
    pub(crate) fn was_in_vain(&self) {
        if let Some(budget) = self.readers.budgets().get_mut(&self.node) {
            budget.asked.add(IN_VAIN, &QUESTIONS);
        }
    }

    /// Future that resolves when the node has gone.
    fn gone(&self) -> Option<OwnedNotified> {
        self.readers.budgets().get(&self.node).map(|budget| budget.has_gone.clone().notified_owned())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(budget) = self.readers.budgets().get_mut(&self.node) {
            let open = if self.is_question { &mut budget.questions } else { &mut budget.links };
            *open = open.saturating_sub(1);
        }
    }
}

impl Readers {
    pub(crate) fn new(
        relations: Relations,
        counters: Arc<Counters>,
        transport: Arc<dyn Transport>,
        to: mpsc::Sender<message::EngineMessage>,
    ) -> Self {
        Self { budgets: Arc::default(), relations, counters, transport, to }
    }

    fn budgets(&self) -> MutexGuard<'_, BTreeMap<NodeId, Budget>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, node: NodeId, is_question: bool) -> Option<Counted> {
        let mut budgets = self.budgets();
        if budgets.len() >= MAX_BUDGETS {
            budgets
                .retain(|_, budget| budget.links + budget.questions > 0 || budget.last.elapsed() < REFILLED);
        }
        let new = || Budget {
            links: 0,
            questions: 0,
            messages: 0.0,
            bytes: 0.0,
            last: Instant::now(),
            greeted: Spent::none(),
            asked: Spent::none(),
            has_gone: Arc::default(),
        };
        let budget = budgets.entry(node).or_insert_with(new);
        let (open, limit) =
            if is_question { (&mut budget.questions, MAX_QUESTIONS) } else { (&mut budget.links, MAX_LINKS) };
        if *open >= limit {
            return None;
        }
        *open += 1;
        drop(budgets);
        Some(Counted { readers: self.clone(), node, is_question })
    }

    /// Charges a message to a node's budget. Returns the time to wait before the next one is read; `None`
    /// if no more may be read.
    fn charge(&self, node: NodeId, bytes: usize) -> Option<Duration> {
        let is_related = self.relations.get(node) == Some(true);
        let allowance = if is_related { RELATED } else { STRANGER };
        let mut budgets = self.budgets();
        let budget = budgets.get_mut(&node)?;
        let passed = budget.last.elapsed().as_secs_f64();
        budget.last = Instant::now();
        budget.messages = (budget.messages - passed * allowance.messages_per_second).max(0.0) + 1.0;
        budget.bytes = (budget.bytes - passed * allowance.bytes_per_second).max(0.0) + bytes as f64;
        let too_many = (budget.messages - allowance.messages) / allowance.messages_per_second;
        let too_large = (budget.bytes - allowance.bytes) / allowance.bytes_per_second;
        let wait = too_many.max(too_large);
        if wait <= 0.0 {
            return Some(Duration::ZERO);
        }
        is_related.then(|| Duration::from_secs_f64(wait.min(60.0)))
    }

    fn limit(&self, node: NodeId) -> u32 {
        if self.relations.get(node) == Some(true) { MAX_MESSAGE } else { MAX_STRANGER_MESSAGE }
    }

    /// Cuts off an unrelated node that exceeds its bounds.
    fn cut_off(&self, node: NodeId) {
        if self.relations.get(node) != Some(true) {
            self.transport.cut_off(node);
        }
    }

    /// Ends the readers of a node that has gone. Unread messages are dropped; important ones are repeated.
    pub(crate) fn end(&self, node: NodeId) {
        if let Some(budget) = self.budgets().get(&node) {
            budget.has_gone.notify_waiters();
        }
    }

    /// Reads a control link until it or the node's connection ends.
    pub(crate) fn read(&self, mut link: Link) {
        let Some(counted) = self.count(link.node, false) else {
            tracing::debug!(node = %link.node, "one link too many");
            return;
        };
        let Some(gone) = counted.gone() else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let _counted = counted;
            let read = tokio::select! {
                read = this.read_on(&mut link) => read,
                () = gone => Err("its node has gone"),
            };
            if let Err(problem) = read {
                tracing::debug!(node = %link.node, problem, "a link was closed");
            }
        });
    }

    async fn read_on(&self, link: &mut Link) -> Result<(), &'static str> {
        let node = link.node;
        loop {
            let bytes = match read_frame_within(&mut link.pipe, || self.limit(node)).await {
                Ok(bytes) => bytes,
                Err(FrameError::TooLong { .. }) => {
                    self.counters.too_long.fetch_add(1, Ordering::Relaxed);
                    self.cut_off(node);
                    return Err("a message is too long");
                }
                Err(_) => return Err("it ended"),
            };
            let Some(wait) = self.charge(node, bytes.len()) else {
                self.counters.too_many.fetch_add(1, Ordering::Relaxed);
                self.cut_off(node);
                return Err("there are more messages than a stranger may send");
            };
            if !wait.is_zero() {
                // Further bytes wait at the sender.
                sleep(wait).await;
            }
            let Ok(message) = Message::decode(&bytes) else {
                self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                return Err("a message cannot be read");
            };
            drop(bytes);
            if matches!(message, Message::Hello(_)) {
                let wait = self.budgets().get_mut(&node).map(|budget| budget.greeted.add(1.0, &GREETINGS));
                sleep(wait.unwrap_or_default()).await;
            }
            let Some(heard) = self.open(node, message) else { continue };
            // Messages after a hello are read once the hello was handled.
            let (done, is_done) = oneshot::channel();
            let is_hello = matches!(heard, Heard::Plain(Message::Hello(_)));
            let news = NetworkEvent::Said(node, Box::new(heard), is_hello.then_some(done));
            if self.to.send(message::EngineMessage::Net(Box::new(news))).await.is_err() {
                return Err("the engine stopped");
            }
            if is_hello {
                // The sender is dropped when the engine stops.
                let _ = is_done.await;
            }
        }
    }

    /// Selects and opens the messages that reach the loop; `None` for those that it need not see.
    fn open(&self, node: NodeId, message: Message) -> Option<Heard> {
        let relation = self.relations.get(node);
        match message {
            Message::Hello(hello) => Some(Heard::Plain(Message::Hello(hello))),
            Message::Offer(signed) if relation != Some(true) => {
                self.counters.unrelated.fetch_add(1, Ordering::Relaxed);
                signed.claimed_lease().map(Heard::StrangeOffer)
            }
            _ if relation == Some(false) => {
                self.counters.unrelated.fetch_add(1, Ordering::Relaxed);
                None
            }
            Message::Offer(signed) => {
                self.opened(node, &signed).map(|offer| Heard::Offer(Box::new(offer), signed.hash()))
            }
            Message::Result(signed) => {
                self.opened(node, &signed).map(|result| Heard::Result(Box::new(result), signed))
            }
            Message::Receipt(signed) => {
                self.opened(node, &signed).map(|receipt| Heard::Receipt(Box::new(receipt), signed))
            }
            plain @ (Message::Answer { .. }
            | Message::Heartbeat { .. }
            | Message::Saved { .. }
            | Message::Failed { .. }
            | Message::Release { .. }
            | Message::Prove { .. }
            | Message::Proof { .. }) => Some(Heard::Plain(plain)),
        }
    }

    fn opened<T: Purpose + Serialize + DeserializeOwned>(
        &self,
        node: NodeId,
        signed: &Signed<T>,
    ) -> Option<T> {
        match signed.open(node) {
            Ok(value) => {
                self.counters.opened.fetch_add(1, Ordering::Relaxed);
                Some(value)
            }
            Err(error) => {
                self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%node, %error, what = T::PURPOSE, "not believed");
                None
            }
        }
    }

    /// Reads the only request of a content link; the link counts until it is answered.
    pub(crate) fn question(&self, mut link: Link) {
        // Content is served only to nodes that share a network, since only those get offers.
        if self.relations.get(link.node) != Some(true) {
            self.counters.unrelated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(counted) = self.count(link.node, true) else { return };
        let to = self.to.clone();
        tokio::spawn(async move {
            let asked = timeout(QUESTION_TIMEOUT, read_frame(&mut link.pipe, 256)).await;
            let Ok(Ok(Ok(request))) = asked.map(|read| read.map(|bytes| ContentRequest::decode(&bytes)))
            else {
                return;
            };
            let Some(wait) = counted
                .readers
                .budgets()
                .get_mut(&counted.node)
                .map(|budget| budget.asked.add(1.0, &QUESTIONS))
            else {
                return;
            };
            sleep(wait).await;
            // A send fails only when the engine has stopped.
            let _ = to
                .send(message::EngineMessage::Net(Box::new(NetworkEvent::ContentRequested(
                    Box::new(link),
                    request,
                    counted,
                ))))
                .await;
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use fog_grid::{Capacity, ContentId, Hello, VERSION};
    use fog_transport::{Channel, write_frame};
    use tokio::io::DuplexStream;

    use super::*;

    struct Nobody;

    impl Transport for Nobody {
        fn local(&self) -> NodeId {
            NodeId([1; 32])
        }
        fn open(
            &self,
            _: NodeId,
            _: Channel,
        ) -> fog_transport::Boxed<Result<Link, fog_transport::LinkError>> {
            Box::pin(std::future::pending())
        }
        fn dial(&self, _: NodeId, _: Vec<String>) {}
        fn hang_up(&self, _: NodeId) {}
        fn meet(&self, _: &[u8; 32]) {}
        fn join_topic(&self, _: &str) {}
        fn leave_topic(&self, _: &str) {}
        fn publish(&self, _: &str, _: Vec<u8>) {}
        fn judge(&self, _: Vec<u8>, _: NodeId, _: bool) {}
        fn traffic(&self) -> (u64, u64) {
            (0, 0)
        }
    }

    const NODE: NodeId = NodeId([5; 32]);

    /// Creates readers that know one node, and the receiver of the loop's messages.
    fn readers() -> (Readers, mpsc::Receiver<message::EngineMessage>) {
        let (to, heard) = mpsc::channel(64);
        let relations = Relations::default();
        relations.set(NODE, true);
        (Readers::new(relations, Arc::default(), Arc::new(Nobody), to), heard)
    }

    fn link(channel: Channel) -> (DuplexStream, Link) {
        let (theirs, ours) = tokio::io::duplex(1 << 20);
        (theirs, Link { node: NODE, channel, pipe: Box::new(ours) })
    }

    fn hello() -> Vec<u8> {
        let (name, capacity) = ("anna".to_owned(), Capacity::default());
        let hello = Hello {
            version: VERSION,
            name,
            lan: true,
            open: false,
            groups: Vec::new(),
            capacity,
            has_heard: false,
            clock_ms: 0,
        };
        Message::Hello(hello).encode()
    }

    /// Number of messages received in this time; each is handled at once.
    async fn heard_in(seconds: u64, heard: &mut mpsc::Receiver<message::EngineMessage>) -> usize {
        let (until, mut count) = (Instant::now() + Duration::from_secs(seconds), 0);
        while let Ok(Some(message)) = tokio::time::timeout_at(until, heard.recv()).await {
            if let message::EngineMessage::Net(news) = message
                && let NetworkEvent::Said(_, _, Some(done)) = *news
            {
                let _ = done.send(());
            }
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn greetings_are_read_as_often_as_they_can_be_meant() {
        let (readers, mut heard) = readers();
        let (mut theirs, ours) = link(Channel::Control);
        readers.read(ours);
        for _ in 0..400 {
            write_frame(&mut theirs, &hello()).await.unwrap();
        }
        let count = heard_in(10, &mut heard).await;
        assert!((130..=152).contains(&count), "{count} were read in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_left_behind_is_not_read() {
        let (readers, mut heard) = readers();
        let (mut theirs, ours) = link(Channel::Control);
        readers.read(ours);
        for _ in 0..400 {
            write_frame(&mut theirs, &hello()).await.unwrap();
        }
        drop(theirs);
        assert!(heard_in(1, &mut heard).await > 0);
        readers.end(NODE);
        tokio::task::yield_now().await;
        while heard.try_recv().is_ok() {}
        let late = heard_in(600, &mut heard).await;
        assert_eq!((late, readers.budgets()[&NODE].links), (0, 0), "it is read on");
        // The node connects again and is read.
        let (mut theirs, ours) = link(Channel::Control);
        readers.read(ours);
        write_frame(&mut theirs, &hello()).await.unwrap();
        assert_eq!(heard_in(1, &mut heard).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_of_one_node_have_a_rate() {
        let (readers, mut heard) = readers();
        let mut ask = async |is_in_vain: bool| {
            let (begun, mut count) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_secs(10) && count < 20_000 {
                let (mut theirs, ours) = link(Channel::Content);
                readers.question(ours);
                write_frame(
                    &mut theirs,
                    &ContentRequest { id: ContentId([7; 32]), from: None, count: 0 }.encode(),
                )
                .await
                .unwrap();
                let Some(message::EngineMessage::Net(news)) = heard.recv().await else { return count };
                if let NetworkEvent::ContentRequested(_, _, counted) = *news
                    && is_in_vain
                {
                    counted.was_in_vain();
                }
                count += 1;
            }
            count
        };
        let known = ask(false).await;
        assert!((5000..=7000).contains(&known), "{known} were answered in ten seconds");
        let unknown = ask(true).await;
        assert!((150..=250).contains(&unknown), "{unknown} for nothing");
    }
}
