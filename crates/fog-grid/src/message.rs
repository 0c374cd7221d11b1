//! What nodes say to each other, and how much of it is read.

use std::fmt;

use fog_types::job::JobFile;
use fog_types::{Limits, NodeId, WorkUnits};
use serde::{Deserialize, Serialize};

use crate::content::{Content, ContentId, MAX_CONTENT};
use crate::identity::{Purpose, Signed};
use crate::invite::GroupId;

/// Version of this exchange; nodes of another one do not trade.
pub const VERSION: u16 = 1;
/// Most bytes of one message: a job file of full size, and room.
pub const MAX_MESSAGE: u32 = 2 << 20;
/// Most bytes of one message of a node that is not known to share a network: a greeting with 16 groups takes 2 KiB, and
/// what follows a restart is small.
pub const MAX_STRANGER_MESSAGE: u32 = 64 << 10;
const MAX_TEXT: usize = 500;
const MAX_PROOFS: usize = 16;
/// Most files of a result: as many as the runtime lets a task leave.
pub const MAX_OUTPUTS: usize = 50_000;
/// Most of them that a message names: it is said again and again until it is answered.
pub const MAX_NAMED: usize = 1_000;
/// Most bytes of a list of files: their paths, which the runtime bounds at 8 MiB, and some 110 bytes for each.
pub const MAX_LIST: u64 = 16 << 20;
const MAX_INPUTS: usize = 4_097;
const MAX_TAGS: usize = 8;
/// Most nodes that an offer names as holders of its files.
pub const MAX_HOLDERS: usize = 8;
/// Seconds behind the limit of its running time within which a task is surely stopped.
const LATE_SECONDS: u64 = 60;
/// Largest number that a node may state: those of the database are signed.
const MAX_NUMBER: u64 = i64::MAX as u64;
/// Most chunks asked for at once: 64 MiB.
pub(crate) const MAX_RUN: u32 = 256;

/// One try of one worker at one task, drawn by the requester.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub [u8; 16]);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

/// What a node lends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Tasks at once.
    pub slots: u16,
    /// Of these, free now.
    pub free: u16,
    /// Memory for a task that comes now, in bytes.
    pub memory: u64,
    /// Room for its files, in bytes.
    pub disk: u64,
    /// Share of processor time, 0 to 100; 0 while it does not work.
    pub duty: u8,
    /// Work units a second of one task at full duty, measured; 0 when it has not worked yet.
    pub speed: u64,
    /// Its charge in percent when it runs on a battery.
    pub battery: Option<u8>,
    /// How likely it works during the next hours, in thousandths, from its own past; 1000 when unknown.
    pub forecast: u16,
}

/// The first message over a link, and again when something in it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// What the owner calls the device, up to 60 characters.
    pub name: String,
    /// It joined its local network.
    pub lan: bool,
    /// It joined the open network.
    pub open: bool,
    /// For each of its groups, that it is a member.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_PROOFS, _, _>")]
    pub groups: Vec<(GroupId, [u8; 32])>,
    /// What it lends.
    pub capacity: Capacity,
    /// It has heard who the other one is; otherwise it is to be told. One side may have lost a connection
    /// that the other one never noticed to be gone.
    pub has_heard: bool,
    /// Time that its clock shows, in milliseconds since 1970. Only compared, and told to people.
    pub clock_ms: i64,
}

/// A task as the requester signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOffer {
    /// This try.
    pub lease: LeaseId,
    /// Whose job it is; the signature's author.
    pub requester: NodeId,
    /// Whom it is offered to.
    pub worker: NodeId,
    /// A job of one task: arguments, limits, seed, segments.
    pub file: JobFile,
    /// The program.
    pub module: Content,
    /// Standard input.
    pub stdin: Option<Content>,
    /// Input files, in the order of the job file.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_INPUTS, _, _>")]
    pub inputs: Vec<(String, Content)>,
    /// A state to go on from, with the work units it holds.
    pub checkpoint: Option<(u64, Content)>,
    /// Milliseconds from now on after which nobody wants the result. Not a time of day: two devices need not agree on
    /// what time it is.
    pub left_ms: u64,
    /// Words about what it is for.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_TAGS, _, _>")]
    pub tags: Vec<String>,
    /// Other nodes that may have the program and inputs, at most [`MAX_HOLDERS`].
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_HOLDERS, _, _>")]
    pub holders: Vec<NodeId>,
    /// What a work unit is paid, in tenths of the usual price.
    pub price_tenths: u16,
    /// A result that comes early is paid more.
    pub has_bonus: bool,
}

impl Purpose for TaskOffer {
    const PURPOSE: &'static str = "task offer";
}

impl Signed<TaskOffer> {
    /// The lease that an offer claims to be of, without reading the rest of it or believing anything: enough to decline
    /// it. `None` when it is too short to be an offer.
    #[must_use]
    pub fn claimed_lease(&self) -> Option<LeaseId> {
        self.unchecked_bytes().first_chunk().copied().map(LeaseId)
    }
}

/// Why an offer was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decline {
    /// No slot, memory or disk is free.
    Full,
    /// It does not work now.
    Resting,
    /// Its owner does not take jobs from this requester, or of this kind.
    NotWelcome,
    /// It cannot be read, is not signed right or breaks a limit.
    Malformed,
}

/// The answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The worker begins to fetch.
    Accepted,
    /// It does not.
    Declined(Decline),
}

/// How a leased task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Its module and inputs are on their way.
    Fetching,
    /// It waits for a slot.
    Waiting,
    /// It runs.
    Running,
    /// It stands still: the device is in use, on battery, too warm.
    Paused,
}

/// What a worker hands in, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// This try.
    pub lease: LeaseId,
    /// Who ran it; the signature's author.
    pub worker: NodeId,
    /// Hash of the signed offer: the job, its module, inputs, limits and seed.
    pub offer: [u8; 32],
    /// Work units it took.
    pub units: WorkUnits,
    /// Running time in milliseconds.
    pub active_ms: u64,
    /// Largest memory in bytes.
    pub memory: u64,
    /// The result's identity (see `docs/checkpoint.md`).
    pub hash: String,
    /// Standard output, and bytes of it that were dropped.
    pub stdout: (Content, u64),
    /// Standard error, and bytes of it that were dropped.
    pub stderr: (Content, u64),
    /// Files by path. Where there are more than a message names, these are in [`list`](Self::list).
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_NAMED, _, _>")]
    pub outputs: Vec<(String, Content)>,
    /// The files by path, as [`list_to_bytes`] writes them, when this names none.
    pub list: Option<Content>,
    /// Every state it came through, when its job has segments: named before any of them is asked for.
    pub history: Option<Content>,
}

impl Purpose for TaskResult {
    const PURPOSE: &'static str = "task result";
}

#[derive(Serialize, Deserialize)]
struct OutputList {
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_OUTPUTS, _, _>")]
    outputs: Vec<(String, Content)>,
}

/// The files of a result as a content of their own.
#[must_use]
pub fn list_to_bytes(outputs: Vec<(String, Content)>) -> Vec<u8> {
    // Values of ours always encode.
    postcard::to_stdvec(&OutputList { outputs }).unwrap_or_default()
}

/// A requester's acceptance: what payment will rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// This try.
    pub lease: LeaseId,
    /// Whose job it was; the signature's author.
    pub requester: NodeId,
    /// Who ran it.
    pub worker: NodeId,
    /// Hash of the signed result.
    pub result: [u8; 32],
    /// Work units that count.
    pub units: WorkUnits,
    /// What they are worth, in thousandths of a credit.
    pub credit: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

impl Purpose for Receipt {
    const PURPOSE: &'static str = "receipt";
}

/// Everything that goes over a control link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Who this is and what it lends.
    Hello(Hello),
    /// To a worker: a task.
    Offer(Box<Signed<TaskOffer>>),
    /// To a requester: whether.
    Answer {
        /// Which offer.
        lease: LeaseId,
        /// Whether.
        answer: Answer,
    },
    /// To a requester: still at it.
    Heartbeat {
        /// Which.
        lease: LeaseId,
        /// How.
        standing: Standing,
        /// Work units so far.
        units: u64,
        /// Of the whole, in thousandths, as far as it is known.
        permille: Option<u16>,
    },
    /// To a requester: a state somebody else could go on from.
    Saved {
        /// Which.
        lease: LeaseId,
        /// Work units it holds.
        units: u64,
        /// The state.
        content: Content,
    },
    /// To a requester: done.
    Result(Box<Signed<TaskResult>>),
    /// To a requester: it will not be done here.
    Failed {
        /// Which.
        lease: LeaseId,
        /// Why, in a sentence.
        problem: String,
        /// Another device would fail the same way.
        is_hopeless: bool,
    },
    /// To a worker: accepted.
    Receipt(Box<Signed<Receipt>>),
    /// To a worker: not needed any more, or not accepted. Nothing is owed.
    Release {
        /// Which.
        lease: LeaseId,
        /// Why, in a sentence.
        why: String,
    },
    /// To a worker that handed in a result: show the state at a mark of its history.
    Prove {
        /// Which.
        lease: LeaseId,
        /// The number of the mark.
        mark: u64,
    },
    /// To a requester: that state.
    Proof {
        /// Which.
        lease: LeaseId,
        /// The number of the mark.
        mark: u64,
        /// `None` when it was not kept.
        state: Option<Content>,
    },
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// They cannot be decoded.
    #[error("the message cannot be read")]
    Malformed,
    /// A part of it is larger than anybody needs.
    #[error("the message has {what} beyond all bounds")]
    Bounds {
        /// Which part.
        what: &'static str,
    },
}

impl Message {
    /// The bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Messages of ours always encode.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the bytes of a frame, within bounds.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE as usize {
            return Err(MessageError::Bounds { what: "a length" });
        }
        let (message, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| MessageError::Malformed)?;
        if !rest.is_empty() {
            return Err(MessageError::Malformed);
        }
        let text = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        let bounds = |what| Err(MessageError::Bounds { what });
        match &message {
            Self::Hello(hello) if hello.name.chars().count() > 60 || !text(&hello.name) => bounds("a name"),
            Self::Failed { problem: words, .. } | Self::Release { why: words, .. } if !text(words) => bounds("a text"),
            _ => Ok(message),
        }
    }
}

impl TaskOffer {
    /// What can be checked without the files; a worker declines the rest.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.file.check().map_err(|e| e.to_string())?;
        if self.file.task_count() != 1 || self.file.stdin.is_some() != self.stdin.is_some() || self.inputs.len() > MAX_INPUTS {
            return Err("it is not one task with its inputs".to_owned());
        }
        let names = self.inputs.iter().map(|(name, _)| name);
        if !names.eq(self.file.inputs.keys()) {
            return Err("its inputs are not those of its job".to_owned());
        }
        if self.holders.len() > MAX_HOLDERS {
            return Err("it names too many holders".to_owned());
        }
        if self.tags.len() > MAX_TAGS || self.tags.iter().any(|tag| tag.len() > 40) {
            return Err("it has too many tags".to_owned());
        }
        if self.module.size > self.file.limits.module.0 {
            return Err("its program is larger than its own limit for one".to_owned());
        }
        if self.contents().any(|content| content.size > MAX_CONTENT) {
            return Err("a file of it is larger than any that is carried".to_owned());
        }
        if self.checkpoint.as_ref().is_some_and(|(_, state)| state.size > self.file.limits.state_size().0) {
            return Err("the state it brings is larger than one of its task can be".to_owned());
        }
        if self.checkpoint.as_ref().is_some_and(|(units, _)| *units > self.file.limits.units.0) {
            return Err("the state it brings holds more work than its limit allows".to_owned());
        }
        Ok(())
    }

    /// Everything a worker fetches for it.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        std::iter::once(&self.module).chain(&self.stdin).chain(self.inputs.iter().map(|(_, content)| content)).chain(self.checkpoint.iter().map(|(_, c)| c))
    }
}

impl TaskResult {
    /// What can be checked without the files and without the job.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let is_hash = self.hash.len() == 64 && self.hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_hash || self.contents().chain(&self.history).any(|content| content.size > MAX_CONTENT) {
            return Err("the result is beyond all bounds".to_owned());
        }
        if self.outputs.len() > MAX_OUTPUTS || self.list.is_some_and(|list| list.size > MAX_LIST) {
            return Err(format!("it has more files than the {MAX_OUTPUTS} that a result may have, or names of more than {} MiB", MAX_LIST >> 20));
        }
        if self.list.is_some() && !self.outputs.is_empty() {
            return Err("it names its files twice".to_owned());
        }
        fog_types::job::check_result_paths(self.outputs.iter().map(|(path, _)| path.as_str())).map_err(|e| e.to_string())
    }

    /// Whether what it says of itself is possible within the limits of its job. A number beyond them is a lie, and what
    /// is added up from such numbers would be of no use.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn check_against(&self, limits: &Limits) -> Result<(), &'static str> {
        let files = self.outputs.iter().fold(0u64, |sum, (_, content)| sum.saturating_add(content.size));
        if files > limits.disk.0 || self.stdout.0.size.max(self.stderr.0.size) > limits.log.0 {
            return Err("its files are larger than the job lets them be");
        }
        if self.units > limits.units || self.units.0 > MAX_NUMBER {
            return Err("it claims more work than the job lets it do");
        }
        if self.memory > limits.memory.0.saturating_add(limits.disk.0) {
            return Err("it claims more memory than the job lets it have");
        }
        // It is stopped a moment behind its limit, and rounds.
        if self.active_ms / 1000 > limits.wall_seconds.saturating_add(LATE_SECONDS) {
            return Err("it claims more running time than the job lets it have");
        }
        if self.active_ms > MAX_NUMBER || self.stdout.1 > MAX_NUMBER || self.stderr.1 > MAX_NUMBER {
            return Err("the result is beyond all bounds");
        }
        Ok(())
    }

    /// With the files of its list, which was fetched.
    ///
    /// # Errors
    /// A sentence about what is wrong with the list.
    pub fn with_list(self, bytes: &[u8]) -> Result<Self, String> {
        let (OutputList { outputs }, rest) = postcard::take_from_bytes(bytes).map_err(|_| "the list of its files cannot be read".to_owned())?;
        if !rest.is_empty() {
            return Err("the list of its files cannot be read".to_owned());
        }
        let whole = Self { outputs, list: None, ..self };
        whole.check().map(|()| whole)
    }

    /// Everything the requester fetches for it, beside its list.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        [&self.stdout.0, &self.stderr.0].into_iter().chain(self.outputs.iter().map(|(_, content)| content))
    }
}

/// The one question on a content link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRequest {
    /// Which content.
    pub id: ContentId,
    /// First chunk; `None` asks for the manifest alone.
    pub from: Option<u32>,
    /// Chunks, at most 256.
    pub count: u32,
}

/// The answer to it; the manifest or the chunks follow, a frame each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentReply {
    /// It is here.
    Here {
        /// Open bytes.
        size: u64,
    },
    /// It is not.
    Unknown,
    /// Ask again in some seconds.
    Busy,
}

impl ContentRequest {
    /// From the bytes of a frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request: Self = postcard::from_bytes(bytes).map_err(|_| MessageError::Malformed)?;
        if request.count > MAX_RUN { Err(MessageError::Bounds { what: "a number of pieces" }) } else { Ok(request) }
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

impl ContentReply {
    /// From the bytes of a frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        postcard::from_bytes(bytes).map_err(|_| MessageError::Malformed)
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ContentKey;
    use crate::identity::Identity;
    use fog_types::{BlobId, ByteCount};
    use proptest::prelude::*;

    fn content() -> Content {
        Content { id: ContentId([1; 32]), blob: BlobId([2; 32]), size: 3, key: ContentKey([4; 32]) }
    }

    fn offer() -> TaskOffer {
        let mut file = JobFile::for_module("primes", "module.wasm");
        file.inputs.insert("a.txt".to_owned(), "a.txt".to_owned());
        TaskOffer {
            lease: LeaseId([9; 16]),
            requester: Identity::new(&[1; 32]).node(),
            worker: NodeId([2; 32]),
            file,
            module: content(),
            stdin: None,
            inputs: vec![("a.txt".to_owned(), content())],
            checkpoint: Some((5, content())),
            left_ms: 7,
            tags: vec!["maths".to_owned()],
            holders: vec![NodeId([3; 32])],
            price_tenths: 10,
            has_bonus: false,
        }
    }

    #[test]
    fn an_offer_comes_back_from_the_wire() {
        let me = Identity::new(&[1; 32]);
        let message = Message::Offer(Box::new(me.sign(&offer())));
        let Ok(Message::Offer(signed)) = Message::decode(&message.encode()) else { panic!() };
        assert_eq!(signed.open(me.node()), Ok(offer()));
        assert_eq!(offer().check(), Ok(()));
        assert_eq!(offer().contents().count(), 3);
    }

    #[test]
    fn an_offer_that_is_not_one_task_is_refused() {
        let mut many = offer();
        many.file.map = fog_types::job::Map::Range { from: 0, to: 2 };
        let mut other = offer();
        other.inputs[0].0 = "b.txt".to_owned();
        let mut stdin = offer();
        stdin.stdin = Some(content());
        for bad in [many, other, stdin] {
            assert!(bad.check().is_err());
        }
    }

    #[test]
    fn an_offer_whose_numbers_are_beyond_all_bounds_is_refused() {
        let mut huge = offer();
        huge.inputs[0].1.size = u64::MAX;
        let mut ahead = offer();
        ahead.checkpoint = Some((ahead.file.limits.units.0 + 1, content()));
        for bad in [huge, ahead] {
            assert!(bad.check().is_err());
        }
    }

    #[test]
    fn a_state_that_its_task_cannot_have_is_refused() {
        let mut small = offer();
        (small.file.limits.memory, small.file.limits.disk) = (ByteCount::mib(2), ByteCount(0));
        let with = |size| TaskOffer { checkpoint: Some((5, Content { size, ..content() })), ..small.clone() };
        let most = small.file.limits.state_size().0;
        assert!(most < 200 << 20, "{most}");
        assert_eq!(with(most).check(), Ok(()));
        for size in [most + 1, 9_000_000_000] {
            assert_eq!(with(size).check(), Err("the state it brings is larger than one of its task can be".to_owned()));
        }
    }

    #[test]
    fn lists_are_bounded_before_they_are_read() {
        let me = Identity::new(&[1; 32]);
        let mut map = offer();
        map.file.map = fog_types::job::Map::Inputs(vec![String::new(); 2_000_000]);
        let mut args = offer();
        args.file.args = vec![String::new(); 2_000_000];
        let mut tags = offer();
        tags.tags = vec![String::new(); 9];
        for bad in [map, args, tags] {
            assert_eq!(me.sign(&bad).open(me.node()), Err(crate::identity::SignedError::Malformed));
        }
        // Enough to decline it is known without that.
        let mut other = offer();
        other.lease = LeaseId([5; 16]);
        assert_eq!(me.sign(&other).claimed_lease(), Some(LeaseId([5; 16])));
    }

    fn result() -> TaskResult {
        TaskResult {
            lease: LeaseId([9; 16]),
            worker: NodeId([2; 32]),
            offer: [0; 32],
            units: WorkUnits(5),
            active_ms: 1,
            memory: 1,
            hash: "a".repeat(64),
            stdout: (content(), 0),
            stderr: (content(), 0),
            outputs: vec![("a".to_owned(), content()), ("b/c".to_owned(), content())],
            list: None,
            history: None,
        }
    }

    #[test]
    fn a_result_has_plain_paths_each_once_and_no_number_beyond_its_job() {
        assert_eq!(result().check(), Ok(()));
        assert_eq!(result().check_against(&Limits::default()), Ok(()));
        for paths in [["a", "a"], ["a", "a/b"], ["a", "../b"], ["a", "/b"]] {
            let outputs = paths.iter().map(|path| ((*path).to_owned(), content())).collect();
            assert!(TaskResult { outputs, ..result() }.check().is_err(), "{paths:?}");
        }
        let limits = Limits { units: WorkUnits(u64::MAX), ..Limits::default() };
        for (bad, limits) in [
            (TaskResult { units: WorkUnits(limits.units.0), ..result() }, limits.clone()),
            (TaskResult { units: WorkUnits(Limits::default().units.0 + 1), ..result() }, Limits::default()),
            (TaskResult { memory: u64::MAX, ..result() }, limits.clone()),
            (TaskResult { active_ms: u64::MAX, ..result() }, limits.clone()),
            (TaskResult { active_ms: (limits.wall_seconds + 2 * LATE_SECONDS) * 1000, ..result() }, limits.clone()),
            (TaskResult { stdout: (content(), u64::MAX), ..result() }, limits.clone()),
            (TaskResult { outputs: vec![("a".to_owned(), Content { size: u64::MAX, ..content() }); 2], ..result() }, limits),
        ] {
            assert!(bad.check_against(&limits).is_err(), "{bad:?}");
        }
        assert!(TaskResult { hash: "\u{e9}".repeat(32), ..result() }.check().is_err());
    }

    #[test]
    fn a_result_with_very_many_files_has_a_list_of_them() {
        let files = |count: usize, long: usize| -> Vec<(String, Content)> { (0..count).map(|n| (format!("{n:0long$}"), content())).collect() };
        let short = TaskResult { outputs: Vec::new(), list: Some(content()), ..result() };
        assert_eq!(short.check(), Ok(()));
        // As many as the runtime lets a task leave, with paths of 8 MiB in all.
        for (count, long) in [(12_000, 6), (MAX_OUTPUTS, 160)] {
            let bytes = list_to_bytes(files(count, long));
            assert!(bytes.len() as u64 <= MAX_LIST, "{}", bytes.len());
            let whole = short.clone().with_list(&bytes).unwrap();
            assert_eq!((whole.outputs.len(), whole.list), (count, None));
        }
        // More, others, damaged, twice.
        assert!(short.clone().with_list(&list_to_bytes(files(MAX_OUTPUTS + 1, 6))).is_err());
        assert!(short.clone().with_list(&list_to_bytes(vec![("../a".to_owned(), content())])).is_err());
        assert!(short.clone().with_list(&[list_to_bytes(files(2, 3)), vec![0]].concat()).is_err());
        assert!(short.clone().with_list(&[255; 9]).is_err());
        assert!(TaskResult { list: Some(content()), ..result() }.check().is_err());
        assert!(TaskResult { list: Some(Content { size: MAX_LIST + 1, ..content() }), ..short.clone() }.check().is_err());
        // A message names few, so that it stays short.
        let me = Identity::new(&[1; 32]);
        let open = |count| me.sign(&TaskResult { outputs: files(count, 6), ..result() }).open(me.node()).is_ok();
        assert!(open(MAX_NAMED) && !open(MAX_NAMED + 1));
    }

    #[test]
    fn texts_have_bounds() {
        let long = Message::Failed { lease: LeaseId([0; 16]), problem: "x".repeat(501), is_hopeless: false };
        assert!(Message::decode(&long.encode()).is_err());
        let bell = Message::Release { lease: LeaseId([0; 16]), why: "\u{7}".to_owned() };
        assert!(Message::decode(&bell.encode()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Message::decode(&bytes);
            let _ = ContentRequest::decode(&bytes);
            let _ = ContentReply::decode(&bytes);
        }

        #[test]
        fn a_damaged_offer_is_read_or_refused(at in 0usize..400, bit in 0u8..8) {
            let mut bytes = Message::Offer(Box::new(Identity::new(&[1; 32]).sign(&offer()))).encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(Message::Offer(signed)) = Message::decode(&bytes) {
                prop_assert!(signed.open(offer().requester).is_err());
            }
        }
    }
}
