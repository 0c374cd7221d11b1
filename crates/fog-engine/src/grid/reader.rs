//! Readers of the links that nodes open.
//!
//! Everything here runs on the network's thread, so that nothing a node sends holds up the loop: who it is is looked at
//! before how much it sends, that before whether it is signed, and that before what it says. Only what passed all of
//! these reaches the loop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fog_grid::{ContentRequest, LeaseId, MAX_MESSAGE, MAX_STRANGER_MESSAGE, Message, Purpose, Receipt, Signed, TaskOffer, TaskResult};
use fog_transport::{FrameError, Link, Transport, read_frame, read_frame_within};
use fog_types::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::NetNews;
use crate::core;

/// Links of one node that are read at once.
const MAX_LINKS: usize = 3;
/// Questions of one node that are answered at once.
const MAX_QUESTIONS: usize = 8;
/// How long a question may take to arrive.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages and bytes that a related node may send at once, and for each second. Who sends more is read more slowly.
const RELATED: Allowance = Allowance { messages: 400.0, messages_per_second: 50.0, bytes: 16.0 * 1_048_576.0, bytes_per_second: 1_048_576.0 };
/// The same for all others. Who sends more is cut off.
const STRANGER: Allowance = Allowance { messages: 40.0, messages_per_second: 1.0, bytes: 100_000.0, bytes_per_second: 256.0 };
/// Nodes whose budgets are remembered, before those that are idle are forgotten.
const MAX_BUDGETS: usize = 1024;
/// After this time without a message every budget is full again.
const REFILLED: Duration = Duration::from_secs(400);

struct Allowance {
    messages: f64,
    messages_per_second: f64,
    bytes: f64,
    bytes_per_second: f64,
}

/// Which nodes share a network with this one, as far as they have said hello. The loop writes it, readers look.
#[derive(Clone, Default)]
pub(crate) struct Relations(Arc<Mutex<BTreeMap<NodeId, bool>>>);

impl Relations {
    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node said hello, and shares a network or not.
    pub(crate) fn set(&self, node: NodeId, is_related: bool) {
        self.known().insert(node, is_related);
    }

    /// A node is gone.
    pub(crate) fn forget(&self, node: NodeId) {
        self.known().remove(&node);
    }

    /// `None` before it has said hello.
    fn get(&self, node: NodeId) -> Option<bool> {
        self.known().get(&node).copied()
    }
}

/// Messages that were refused, by reason, and signed ones that were read to their end.
#[derive(Default)]
pub(crate) struct Counters {
    too_long: AtomicU64,
    unrelated: AtomicU64,
    too_many: AtomicU64,
    unreadable: AtomicU64,
    opened: AtomicU64,
}

impl Counters {
    /// Refused messages by reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 4] {
        [("too_long", &self.too_long), ("unrelated", &self.unrelated), ("too_many", &self.too_many), ("unreadable", &self.unreadable)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Signed messages whose signature was checked and whose content was read.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

/// A message that was read and, where it is signed, checked.
pub(crate) enum Heard {
    /// One that needs no signature. Never one of the signed ones.
    Plain(Message),
    /// A task, signed by who sent it, and the hash of what was signed.
    Offer(Box<TaskOffer>, [u8; 32]),
    /// An offer of a node that is not known to share a network; it was not read.
    StrangeOffer(LeaseId),
    /// A result, signed by who sent it.
    Result(Box<TaskResult>, Box<Signed<TaskResult>>),
    /// An acceptance, signed by who sent it.
    Receipt(Box<Receipt>, Box<Signed<Receipt>>),
}

/// What each node has open and may still send, so that none takes everything.
#[derive(Clone)]
pub(crate) struct Readers {
    budgets: Arc<Mutex<BTreeMap<NodeId, Budget>>>,
    relations: Relations,
    counters: Arc<Counters>,
    transport: Arc<dyn Transport>,
    to: mpsc::Sender<core::Message>,
}

struct Budget {
    links: usize,
    questions: usize,
    /// Messages and bytes it has sent beyond what has been forgiven since.
    messages: f64,
    bytes: f64,
    last: Instant,
}

/// One thing that a node has open.
pub(crate) struct Counted {
    readers: Readers,
    node: NodeId,
    is_question: bool,
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
    pub(crate) fn new(relations: Relations, counters: Arc<Counters>, transport: Arc<dyn Transport>, to: mpsc::Sender<core::Message>) -> Self {
        Self { budgets: Arc::default(), relations, counters, transport, to }
    }

    fn budgets(&self) -> MutexGuard<'_, BTreeMap<NodeId, Budget>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, node: NodeId, is_question: bool) -> Option<Counted> {
        let mut budgets = self.budgets();
        if budgets.len() >= MAX_BUDGETS {
            budgets.retain(|_, budget| budget.links + budget.questions > 0 || budget.last.elapsed() < REFILLED);
        }
        let new = Budget { links: 0, questions: 0, messages: 0.0, bytes: 0.0, last: Instant::now() };
        let budget = budgets.entry(node).or_insert(new);
        let (open, limit) = if is_question { (&mut budget.questions, MAX_QUESTIONS) } else { (&mut budget.links, MAX_LINKS) };
        if *open >= limit {
            return None;
        }
        *open += 1;
        drop(budgets);
        Some(Counted { readers: self.clone(), node, is_question })
    }

    /// Takes a message off a node's budget. How long to wait before the next one is read; `None` when it is not to be
    /// read at all.
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

    /// Who is not related and does not keep within bounds is not listened to for a while.
    fn cut_off(&self, node: NodeId) {
        if self.relations.get(node) != Some(true) {
            self.transport.cut_off(node);
        }
    }

    /// Reads a control link to its end.
    pub(crate) fn read(&self, mut link: Link) {
        let Some(counted) = self.count(link.node, false) else {
            tracing::debug!(node = %link.node, "one link too many");
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(problem) = this.read_on(&mut link).await {
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
                // The bytes wait at their side.
                sleep(wait).await;
            }
            let Ok(message) = Message::decode(&bytes) else {
                self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                return Err("a message cannot be read");
            };
            drop(bytes);
            let Some(heard) = self.open(node, message) else { continue };
            // What follows a greeting is read when it is known from whom.
            let (done, is_done) = oneshot::channel();
            let is_hello = matches!(heard, Heard::Plain(Message::Hello(_)));
            let news = NetNews::Said(node, Box::new(heard), is_hello.then_some(done));
            if self.to.send(core::Message::Net(Box::new(news))).await.is_err() {
                return Err("the engine stopped");
            }
            if is_hello {
                // Dropped when the engine stops.
                let _ = is_done.await;
            }
        }
    }

    /// What reaches the loop of a message: nothing of those that are not for it to decide.
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
            Message::Offer(signed) => self.opened(node, &signed).map(|offer| Heard::Offer(Box::new(offer), signed.hash())),
            Message::Result(signed) => self.opened(node, &signed).map(|result| Heard::Result(Box::new(result), signed)),
            Message::Receipt(signed) => self.opened(node, &signed).map(|receipt| Heard::Receipt(Box::new(receipt), signed)),
            plain @ (Message::Answer { .. }
            | Message::Heartbeat { .. }
            | Message::Saved { .. }
            | Message::Failed { .. }
            | Message::Release { .. }
            | Message::Prove { .. }
            | Message::Proof { .. }) => Some(Heard::Plain(plain)),
        }
    }

    fn opened<T: Purpose + Serialize + DeserializeOwned>(&self, node: NodeId, signed: &Signed<T>) -> Option<T> {
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

    /// Reads the one question of a content link; the link counts until it is answered.
    pub(crate) fn question(&self, mut link: Link) {
        // Content is for those who were offered it, and they share a network.
        if self.relations.get(link.node) != Some(true) {
            self.counters.unrelated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(counted) = self.count(link.node, true) else { return };
        let to = self.to.clone();
        tokio::spawn(async move {
            let asked = timeout(QUESTION_TIMEOUT, read_frame(&mut link.pipe, 256)).await;
            let Ok(Ok(Ok(request))) = asked.map(|read| read.map(|bytes| ContentRequest::decode(&bytes))) else { return };
            // The loop being gone means the engine stopped.
            let _ = to.send(core::Message::Net(Box::new(NetNews::Asked(Box::new(link), request, counted)))).await;
        });
    }
}
