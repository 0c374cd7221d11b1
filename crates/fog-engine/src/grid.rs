//! The device among others: which networks it joined, who is there, what it lends and borrows.
//!
//! The state lives here; what follows from events is in `core/{network,requesting,hosting}.rs`.

pub(crate) mod content;
pub(crate) mod fetches;
pub(crate) mod link;
mod net;
pub(crate) mod reader;
pub(crate) mod state;
mod traffic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use fog_eligibility::Moment;
use fog_grid::{
    Capacity, Content, ContentId, Effect, Evidence, Group, Identity, LeaseId, Message, Pace, Relation, Requester, Signed, Standing, TaskOffer, TaskResult,
};
use fog_runtime::Key;
use fog_store::{BlobFile, ContentRow, PlacedFiles, StoreError};
use fog_transport::{Link, NetEvent, Reach, Route};
use fog_types::{BlobId, JobId, NodeId, TaskId, UnixMillis};

pub(crate) use crate::core::{Answerable, Failures, Far, Proof, SpotCheck, Told};
use crate::proving::Segment;
pub(crate) use net::Net;
pub use net::NetSettings;
use state::StateFile;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
pub(crate) use traffic::Traffic;

/// What the network says to the loop.
#[expect(clippy::large_enum_variant, reason = "it travels in a box")]
pub(crate) enum NetNews {
    /// Something happened in the network of this number.
    Event(u64, NetEvent),
    /// A node said something; who waits for it to be done is told by the last.
    Said(NodeId, Box<reader::Heard>, Option<oneshot::Sender<()>>),
    /// A node opened a link of the mesh.
    ChatLink(Box<Link>),
    /// A node asks for content; the last counts against what it may ask at once.
    Asked(Box<Link>, fog_grid::ContentRequest, reader::Counted),
    /// Stored files of a job of this device were sealed for others.
    Sealed(JobId, Result<Vec<ContentRow>, String>),
    /// Some files of a hosted job's result were sealed; who sealed them waits until that is noted.
    Noted(Vec<ContentRow>, oneshot::Sender<Result<(), String>>),
    /// All of them were, or could not be.
    ToTell(JobId, Result<crate::core::ToTell, String>),
    /// What an offer needs has arrived, or will not.
    Arrived(Box<Arrival>),
    /// The files of a result have arrived, with the identity they make, or will not.
    Returned(LeaseId, Result<Returned, NotReturned>),
    /// The files of a believed result lie where they stay, or cannot.
    Placed { task: TaskId, winner: LeaseId, placed: Result<PlacedFiles, StoreError> },
    /// The list of the files of a result has arrived: the result with them. Or it will not.
    Listed(LeaseId, Result<Box<TaskResult>, NotReturned>),
    /// A state of a task elsewhere has arrived and was looked at: its work units. Or there is none.
    State { lease: LeaseId, task: TaskId, node: NodeId, state: Result<(u64, StateFile), NotReturned> },
    /// A state that arrived was sealed, for the disk and for whoever goes on from it.
    Kept { task: TaskId, node: NodeId, units: u64, sealed: Result<(BlobFile, ContentRow), String> },
    /// The file of a state that others may fetch turned out to be damaged or gone.
    Damaged(fog_types::BlobId),
    /// A segment of a claimed run was drawn.
    Drawn(LeaseId, Result<Segment, String>),
    /// The state it begins with has arrived.
    Shown(LeaseId, Segment, Option<StateFile>),
    /// It was run again.
    Proved(LeaseId, Result<(), String>),
    /// The reason why it could not be run here.
    NotReplayed(LeaseId, String),
    /// A state of a hosted task that its requester wants to see.
    ToShow { job: JobId, lease: LeaseId, mark: u64, file: Result<Option<(BlobFile, ContentRow)>, String> },
    /// A state of a hosted task is ready to be shipped.
    Shipped { job: JobId, units: u64, file: Result<(BlobFile, ContentRow), String> },
}

/// An offer with its files.
pub(crate) struct Arrival {
    pub(crate) offer: TaskOffer,
    pub(crate) offer_hash: [u8; 32],
    pub(crate) files: Result<Files, String>,
}

/// Files that were fetched for an offer.
pub(crate) struct Files {
    pub(crate) copied: Vec<(BlobFile, ContentRow)>,
    pub(crate) checkpoint: Option<tempfile::TempPath>,
}

/// Files that were fetched for a result.
pub(crate) struct Returned {
    pub(crate) files: Vec<BlobFile>,
    pub(crate) hash: String,
}

/// Why there is no result of a lease yet, or no state.
#[derive(Debug)]
pub(crate) enum NotReturned {
    /// The files could not be fetched now.
    Unreachable(String),
    /// They come so slowly that somebody else is asked too.
    TooSlow,
    /// They are not what they are said to be.
    Wrong(String),
}

/// Another device, while it can be reached.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) route: Option<Route>,
    pub(crate) round_trip: Option<u32>,
    pub(crate) relation: Option<Relation>,
    pub(crate) capacity: Capacity,
    pub(crate) addresses: Vec<String>,
    /// Tasks offered less tasks handed in since it last said what is free.
    pub(crate) promised: i32,
    /// How often hello was said again because it did not answer.
    pub(crate) asked: u8,
    /// When it last said that it has begun anew.
    pub(crate) began_anew: Option<Instant>,
    /// How often it made this device write or call because it changed.
    pub(crate) writes: Writes,
}

/// Writes that a node causes: so many at once, and one more in [`Writes::EACH`].
#[derive(Default)]
pub(crate) struct Writes {
    count: u32,
    last: Option<Instant>,
}

impl Writes {
    const AT_ONCE: u32 = 8;
    const EACH: Duration = Duration::from_secs(5);

    /// Whether there may be one more now.
    pub(crate) fn take(&mut self) -> bool {
        let forgiven = self.last.map_or(0, |last| (last.elapsed().as_millis() / Self::EACH.as_millis()) as u32);
        if forgiven > 0 || self.last.is_none() {
            self.count = self.count.saturating_sub(forgiven);
            self.last = Some(Instant::now());
        }
        let may = self.count < Self::AT_ONCE;
        self.count += u32::from(may);
        may
    }
}

impl Peer {
    /// Tasks it could take now, as far as this device can tell.
    pub(crate) fn free(&self) -> u32 {
        (i32::from(self.capacity.free) - self.promised).clamp(0, i32::from(self.capacity.slots)) as u32
    }
}

/// An offer whose files are on their way.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// Whose it is.
    pub(crate) node: NodeId,
    /// Nobody wants its result after this.
    pub(crate) deadline: UnixMillis,
    /// The moment at which the offer is given up when its files have not come.
    pub(crate) until: UnixMillis,
    /// When it was taken, or its files began to be fetched.
    pub(crate) began: Moment,
    /// Whether anything has come of its files.
    pub(crate) has_come: Arc<AtomicBool>,
    /// Devices that are asked for them before its requester.
    pub(crate) holders: u64,
    /// Bytes of its files and of what it may write.
    pub(crate) room: u64,
    /// What is fetched for it.
    pub(crate) fetching: Vec<ContentId>,
    /// It waits, because another offer fetches what it needs too.
    pub(crate) parked: Option<Box<(TaskOffer, [u8; 32])>>,
    /// Ends the transfer.
    pub(crate) transfer: Transfer,
}

/// A transfer that ends when nobody wants it any more.
#[derive(Debug, Default)]
pub(crate) struct Transfer(Option<AbortHandle>);

impl Transfer {
    pub(crate) fn new(handle: Option<AbortHandle>) -> Self {
        Self(handle)
    }

    #[cfg(test)]
    pub(crate) fn handle(&self) -> Option<&AbortHandle> {
        self.0.as_ref()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// What a requester wants to see of a hosted run.
pub(crate) struct WantedProof {
    pub(crate) job: JobId,
    pub(crate) lease: LeaseId,
    pub(crate) mark: u64,
}

/// A job of another device that is here or on its way.
pub(crate) struct Hosted {
    pub(crate) lease: LeaseId,
    pub(crate) requester: NodeId,
    pub(crate) offer_hash: [u8; 32],
    pub(crate) deadline: UnixMillis,
    pub(crate) standing: Standing,
    pub(crate) units: u64,
    pub(crate) permille: Option<u16>,
    /// What is said about its end until it is answered.
    pub(crate) message: Option<Vec<u8>>,
    /// How far its end is from being said.
    pub(crate) telling: Telling,
    pub(crate) last_beat: Option<Instant>,
    /// How often its end was said.
    pub(crate) said: u32,
    pub(crate) last_ship: Option<Instant>,
    /// The state that was shipped last; its mark is shared with those who are being sent it.
    pub(crate) shipped: Option<(BlobId, Arc<()>)>,
    pub(crate) is_sealing: bool,
    /// States that were made ready because its requester wanted to see them.
    pub(crate) shown: u32,
    /// Set once its end is said, until that is answered.
    pub(crate) untaken: Option<Untaken>,
}

/// Storage that a hosted job which has ended holds for its requester.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untaken {
    /// When it ended.
    pub(crate) since: UnixMillis,
    /// Bytes of its files, with those that other jobs hold too.
    pub(crate) bytes: u64,
}

/// Steps from the end of a hosted job to its message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Telling {
    /// Its files are being sealed.
    pub(crate) is_under_way: bool,
    /// How often that came to nothing.
    pub(crate) tries: u32,
    /// Not tried again before this.
    pub(crate) not_before: Option<Instant>,
}

impl Telling {
    /// Whether it is to be tried now.
    pub(crate) fn is_due(&self) -> bool {
        !self.is_under_way && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    /// It came to nothing; the next try waits longer.
    pub(crate) fn failed(&mut self) {
        let wait = Duration::from_secs(1 << self.tries.min(6));
        *self = Self { is_under_way: false, tries: self.tries + 1, not_before: Some(Instant::now() + wait) };
    }
}

/// A result that was fetched and waits to be believed.
pub(crate) struct Waiting {
    pub(crate) result: TaskResult,
    pub(crate) signed_hash: [u8; 32],
    pub(crate) files: Vec<BlobFile>,
    /// Ends the transfer of what has not come.
    pub(crate) transfer: Transfer,
}

/// A result that is believed, while its files are put where they stay.
pub(crate) struct Believed {
    pub(crate) right: Vec<LeaseId>,
    pub(crate) wrong: Vec<LeaseId>,
}

/// A result that was believed and could not be stored.
pub(crate) struct Unstored {
    /// Why, and what to do.
    pub(crate) problem: String,
    pub(crate) again: Instant,
}

/// What is known of a lease beside the requester's machine.
pub(crate) struct Lent {
    pub(crate) offer_hash: [u8; 32],
    pub(crate) signed_result: Option<Signed<TaskResult>>,
}

/// A device of before that may not be there yet.
pub(crate) struct Known {
    pub(crate) addresses: Vec<String>,
    pub(crate) next: Instant,
    pub(crate) tries: u32,
}

impl Known {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self { addresses, next: Instant::now(), tries: 0 }
    }
}

pub(crate) struct Grid {
    pub(crate) identity: Option<Identity>,
    /// What keys of content are made of.
    pub(crate) secret: [u8; 32],
    pub(crate) groups: Vec<Group>,
    pub(crate) lan: bool,
    pub(crate) open: bool,
    pub(crate) joined: Vec<fog_api::JoinedNetwork>,
    pub(crate) net: Option<Net>,
    pub(crate) net_began: Option<Instant>,
    pub(crate) problem: String,
    pub(crate) reach: Reach,
    pub(crate) listening: Vec<String>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// Evidence by node, as stored.
    pub(crate) evidence: BTreeMap<NodeId, Evidence>,
    pub(crate) requester: Requester,
    pub(crate) lent: BTreeMap<LeaseId, Lent>,
    pub(crate) waiting: BTreeMap<LeaseId, Waiting>,
    pub(crate) placing: BTreeMap<TaskId, Believed>,
    pub(crate) checks: BTreeMap<LeaseId, SpotCheck>,
    pub(crate) proofs: BTreeMap<LeaseId, Proof>,
    /// Segments that wait to be run again, one after the other, and the memory of the one that is.
    pub(crate) wanted_replays: VecDeque<(LeaseId, Segment, Option<StateFile>)>,
    pub(crate) replaying: u64,
    /// Results of which a part was run again and was right.
    pub(crate) proven: BTreeSet<LeaseId>,
    pub(crate) hosted: BTreeMap<JobId, Hosted>,
    /// Offers whose files are on their way.
    pub(crate) arriving: BTreeMap<LeaseId, Arriving>,
    /// Failures of requesters to bring the files of their offers.
    pub(crate) failures: BTreeMap<Answerable, Failures>,
    /// Requesters whose files came.
    pub(crate) brought: BTreeSet<NodeId>,
    /// Jobs whose tasks cannot be lent, and why.
    pub(crate) withheld: BTreeMap<JobId, String>,
    /// Jobs whose tasks cannot all be placed on as many devices as they need, and why.
    pub(crate) short: BTreeMap<JobId, String>,
    /// Devices that were last asked about a job and declined because they were full, or at rest (true).
    pub(crate) declined: BTreeMap<JobId, BTreeMap<NodeId, bool>>,
    /// Jobs that no device near has room for, and why.
    pub(crate) crowded: BTreeMap<JobId, String>,
    /// When results that nobody fetches were looked at last.
    pub(crate) last_untaken: Option<Instant>,
    /// Tasks whose result could not be stored.
    pub(crate) unstored: BTreeMap<TaskId, Unstored>,
    /// What could not be done yet, because the database refused.
    pub(crate) deferred: Vec<(Instant, Effect)>,
    /// Devices at which tasks of a job failed since one was last finished.
    pub(crate) failing: BTreeMap<JobId, BTreeSet<NodeId>>,
    /// States of tasks elsewhere that are on their way.
    pub(crate) states: BTreeMap<TaskId, Transfer>,
    /// States that requesters want to see, in turn, and whether one is being made ready.
    pub(crate) wanted_proofs: VecDeque<WantedProof>,
    pub(crate) is_showing: bool,
    pub(crate) sealing: BTreeSet<JobId>,
    /// Jobs whose files could not be made ready, and when that is tried again.
    pub(crate) unsealed: BTreeMap<JobId, Instant>,
    /// Jobs of this device whose files others can fetch.
    pub(crate) sealed: BTreeSet<JobId>,
    /// When the bytes of the period were stored.
    pub(crate) last_stored: Option<Instant>,
    pub(crate) began: Instant,
    pub(crate) last_tick: Option<Instant>,
    /// It was busy at the last tick: its end is shown without delay.
    pub(crate) was_busy: bool,
    /// Who was told that there is no room; they hear when there is.
    pub(crate) turned_away: BTreeSet<NodeId>,
    /// Devices of before that are called until they answer.
    pub(crate) known: BTreeMap<NodeId, Known>,
    /// Devices that are known from what they say to everybody.
    pub(crate) far: BTreeMap<NodeId, Far>,
    /// Addresses that were called on the word of others, since when and how often.
    pub(crate) called: BTreeMap<String, (Instant, u32)>,
    /// How far ahead of this device's time without a calendar others' clocks were, in milliseconds.
    pub(crate) clocks: BTreeMap<NodeId, i64>,
    pub(crate) pace: Pace,
    pub(crate) advertised: Option<Told>,
    /// Adverts of others that were heard and passed on.
    pub(crate) adverts: u64,
    pub(crate) last_call: Option<Instant>,
    pub(crate) last_hello: Option<(Instant, Capacity)>,
    pub(crate) traffic: Traffic,
    pub(crate) told: fog_api::NetworkView,
}

impl Grid {
    pub(crate) fn new(key: Option<&Key>) -> Self {
        let derive = |purpose| key.map(|key| blake3::derive_key(purpose, key.as_slice()));
        Self {
            identity: derive("fog-compute 2026-11 identity of this device").map(|secret| Identity::new(&secret)),
            secret: derive("fog-compute 2026-11 content of this device").unwrap_or_default(),
            groups: Vec::new(),
            lan: false,
            open: false,
            joined: Vec::new(),
            net: None,
            net_began: None,
            problem: String::new(),
            reach: Reach::Unknown,
            listening: Vec::new(),
            peers: BTreeMap::new(),
            evidence: BTreeMap::new(),
            requester: Requester::default(),
            lent: BTreeMap::new(),
            waiting: BTreeMap::new(),
            placing: BTreeMap::new(),
            checks: BTreeMap::new(),
            proofs: BTreeMap::new(),
            wanted_replays: VecDeque::new(),
            replaying: 0,
            proven: BTreeSet::new(),
            hosted: BTreeMap::new(),
            arriving: BTreeMap::new(),
            failures: BTreeMap::new(),
            brought: BTreeSet::new(),
            withheld: BTreeMap::new(),
            short: BTreeMap::new(),
            declined: BTreeMap::new(),
            crowded: BTreeMap::new(),
            last_untaken: None,
            unstored: BTreeMap::new(),
            deferred: Vec::new(),
            failing: BTreeMap::new(),
            states: BTreeMap::new(),
            wanted_proofs: VecDeque::new(),
            is_showing: false,
            sealing: BTreeSet::new(),
            unsealed: BTreeMap::new(),
            sealed: BTreeSet::new(),
            last_stored: None,
            began: Instant::now(),
            last_tick: None,
            was_busy: false,
            turned_away: BTreeSet::new(),
            known: BTreeMap::new(),
            far: BTreeMap::new(),
            called: BTreeMap::new(),
            clocks: BTreeMap::new(),
            pace: Pace::default(),
            advertised: None,
            adverts: 0,
            last_call: None,
            last_hello: None,
            traffic: Traffic::default(),
            told: fog_api::NetworkView::default(),
        }
    }

    /// Milliseconds of a clock that only goes forward.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub(crate) fn me(&self) -> Option<NodeId> {
        self.identity.as_ref().map(Identity::node)
    }

    pub(crate) fn evidence(&self, node: NodeId) -> Evidence {
        self.evidence.get(&node).copied().unwrap_or_default()
    }

    pub(crate) fn say(&self, node: NodeId, message: Message) {
        if let Some(net) = &self.net {
            net.say(node, message);
        }
    }

    /// Why tasks of a job wait that others shall run, if there is a reason.
    pub(crate) fn why_waiting(&self, job: JobId) -> Option<&str> {
        let unstored = || self.unstored.iter().find(|(task, _)| task.job == job).map(|(_, unstored)| unstored.problem.as_str());
        unstored().or_else(|| self.withheld.get(&job).or_else(|| self.short.get(&job)).or_else(|| self.crowded.get(&job)).map(String::as_str))
    }

    pub(crate) fn hosted_by_lease(&self, lease: LeaseId, requester: NodeId) -> Option<JobId> {
        self.hosted.iter().find(|(_, hosted)| hosted.lease == lease && hosted.requester == requester).map(|(job, _)| *job)
    }

    /// Something is under way that has to be looked at every second.
    pub(crate) fn is_busy(&self) -> bool {
        self.net.is_some() && (self.was_busy || self.has_work())
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.hosted.is_empty() || !self.arriving.is_empty() || self.requester.tasks().next().is_some()
    }
}

/// The row under which others find content.
pub(crate) fn content_of(row: &ContentRow) -> Option<Content> {
    let id: BlobId = row.id.parse().ok()?;
    Some(Content { id: fog_grid::ContentId(id.0), blob: row.open.unwrap_or(row.blob), size: row.size, key: fog_grid::ContentKey(row.key) })
}

pub(crate) fn lease_from(text: &str) -> Option<LeaseId> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(LeaseId(bytes))
}
