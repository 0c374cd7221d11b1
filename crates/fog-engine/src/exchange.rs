//! Exchange of work between devices: offers and leases of own tasks, and jobs of other devices that run here.

pub(crate) mod accepted_results;
pub(crate) mod backoff;
pub(crate) mod capacity;
pub(crate) mod chunk_writer;
pub(crate) mod content;
pub(crate) mod content_delivery;
pub(crate) mod crowded;
#[cfg(test)]
mod driven_tests;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod incoming_offers;
pub(crate) mod lending;
pub(crate) mod offer_slots;
#[cfg(test)]
mod offer_slots_tests;
#[cfg(test)]
mod payment_tests;
pub(crate) mod placement;
pub(crate) mod receipts;
pub(crate) mod remote_checkpoints;
#[cfg(test)]
mod remote_checkpoints_tests;
pub(crate) mod requester;
pub(crate) mod result_delivery;
pub(crate) mod results;
#[cfg(test)]
mod scenario_tests;
pub(crate) mod sealed_state;
pub(crate) mod segment_proofs;
pub(crate) mod segment_replay;
pub(crate) mod shipped_states;
pub(crate) mod spot_checks;
pub(crate) mod transfers;
pub(crate) mod unfetched_results;
#[cfg(test)]
pub(crate) mod unfetched_results_tests;
pub(crate) mod worker;
#[cfg(test)]
mod worker_tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use fog_eligibility::Moment;
use fog_grid::{
    Capacity, Content, ContentId, Effect, LeaseId, Requester, Signed, TaskOffer, TaskResult, WorkerState,
};
use fog_store::{BlobFile, ContentRow, PlacedFiles, StoreError};
use fog_types::{BlobId, JobId, NodeId, TaskId, UnixMillis};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::exchange::backoff::{Answerable, Failures};
use crate::exchange::lending::PendingOffer;
use crate::exchange::receipts::Outgoing;
use crate::exchange::sealed_state::StateFile;
use crate::exchange::segment_proofs::Proof;
use crate::exchange::segment_replay::Segment;
use crate::exchange::spot_checks::SpotCheck;
use crate::exchange::transfers::Fetches;

/// Results of the exchange's threads, for the event loop.
#[expect(clippy::large_enum_variant, reason = "it travels in a box")]
pub(crate) enum ExchangeEvent {
    /// Stored files of a job of this device were sealed for others, or could not be.
    Sealed(JobId, Result<Vec<ContentRow>, String>),
    /// Some files of a hosted job's result were sealed; the sealing thread waits until the rows are stored.
    Noted(Vec<ContentRow>, oneshot::Sender<Result<(), String>>),
    /// All files of a hosted job's result were sealed, or could not be.
    ToTell(JobId, Result<crate::exchange::result_delivery::ToTell, String>),
    /// The files of an offer have arrived, or will not.
    OfferInputsFetched(Box<Arrival>),
    /// The files of a result have arrived with their common hash, or will not.
    ResultFetched(LeaseId, Result<Returned, NotReturned>),
    /// The files of an accepted result are in their final places, or could not be placed.
    Placed { task: TaskId, winner: LeaseId, placed: Result<PlacedFiles, StoreError> },
    /// The list of a result's files has arrived and completes the result, or will not arrive.
    Listed(LeaseId, Result<Box<TaskResult>, NotReturned>),
    /// A state of a task elsewhere has arrived and was checked, or will not arrive.
    State { lease: LeaseId, task: TaskId, node: NodeId, state: Result<(u64, StateFile), NotReturned> },
    /// A state that arrived was sealed for the disk and for the next worker.
    CheckpointSealed {
        task: TaskId,
        node: NodeId,
        units: u64,
        sealed: Result<(BlobFile, ContentRow), String>,
    },
    /// The file of a state that others may fetch is damaged or missing.
    Damaged(fog_types::BlobId),
    /// A segment of a claimed run was drawn.
    SegmentChosen(LeaseId, Result<Segment, String>),
    /// The state at the beginning of the drawn segment has arrived.
    CheckpointFetched(LeaseId, Segment, Option<StateFile>),
    /// The drawn segment was run again.
    SegmentVerified(LeaseId, Result<(), String>),
    /// The drawn segment could not be run here, for this reason.
    NotReplayed(LeaseId, String),
    /// A state of a hosted task that its requester wants to see was prepared, or could not be.
    CheckpointReady {
        job: JobId,
        lease: LeaseId,
        mark: u64,
        file: Result<Option<(BlobFile, ContentRow)>, String>,
    },
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

/// Reason why there is no result or state of a lease yet.
#[derive(Debug)]
pub(crate) enum NotReturned {
    /// The files cannot be fetched now.
    Unreachable(String),
    /// The files arrive so slowly that another device is asked too.
    TooSlow,
    /// The files differ from their description.
    Wrong(String),
}

/// An accepted offer whose files are arriving.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// Requester of the offer.
    pub(crate) node: NodeId,
    /// Time until which the requester wants the result.
    pub(crate) deadline: UnixMillis,
    /// Time at which the offer is given up if its files have not arrived.
    pub(crate) until: UnixMillis,
    /// Time at which the offer was accepted, or its transfer began.
    pub(crate) began: Moment,
    /// Whether any bytes of its files have arrived.
    pub(crate) has_come: Arc<AtomicBool>,
    /// Number of devices that are asked for the files before the requester.
    pub(crate) holders: u64,
    /// Bytes of its files and of its disk limit.
    pub(crate) room: u64,
    /// Ids of the content that is being fetched.
    pub(crate) fetching: Vec<ContentId>,
    /// The offer itself, while it waits for another offer's transfer of the same files.
    pub(crate) parked: Option<Box<(TaskOffer, [u8; 32])>>,
    /// Transfer of the files, which ends when this is dropped.
    pub(crate) transfer: Transfer,
}

/// Handle of a transfer, which is aborted when this is dropped.
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

/// A request to see a state of a hosted run.
pub(crate) struct WantedProof {
    pub(crate) job: JobId,
    pub(crate) lease: LeaseId,
    pub(crate) mark: u64,
}

/// A hosted job.
pub(crate) struct Hosted {
    pub(crate) lease: LeaseId,
    pub(crate) requester: NodeId,
    pub(crate) offer_hash: [u8; 32],
    pub(crate) deadline: UnixMillis,
    pub(crate) standing: WorkerState,
    pub(crate) units: u64,
    pub(crate) permille: Option<u16>,
    /// Message about its end, which is repeated until it is answered.
    pub(crate) message: Option<Vec<u8>>,
    /// Progress of preparing that message.
    pub(crate) delivery: ResultDelivery,
    pub(crate) last_beat: Option<Instant>,
    /// Number of times its end was reported.
    pub(crate) said: u32,
    pub(crate) last_ship: Option<Instant>,
    /// State that was shipped last. Transfers of it hold clones of the marker.
    pub(crate) shipped: Option<(BlobId, Arc<()>)>,
    pub(crate) is_sealing: bool,
    /// Number of states that were prepared because the requester wanted to see them.
    pub(crate) shown: u32,
    /// Storage that the job holds from the report of its end until the answer.
    pub(crate) untaken: Option<Untaken>,
}

/// Storage that an ended hosted job holds for its requester.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untaken {
    /// Time at which the job ended.
    pub(crate) since: UnixMillis,
    /// Bytes of its files, including those that other jobs hold too.
    pub(crate) bytes: u64,
}

/// Progress from the end of a hosted job to its message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResultDelivery {
    /// Whether its files are being sealed.
    pub(crate) is_under_way: bool,
    /// Number of failed attempts.
    pub(crate) tries: u32,
    /// Earliest time of the next attempt.
    pub(crate) not_before: Option<Instant>,
}

impl ResultDelivery {
    /// Whether an attempt is due now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && self.not_before.is_none_or(|at| at <= now)
    }

    /// Notes a failed attempt; the next one waits longer.
    pub(crate) fn failed(&mut self, now: Instant) {
        let wait = Duration::from_secs(1 << self.tries.min(6));
        *self = Self { is_under_way: false, tries: self.tries + 1, not_before: Some(now + wait) };
    }
}

/// A result that was fetched and is not accepted yet.
pub(crate) struct Waiting {
    pub(crate) result: TaskResult,
    pub(crate) signed_hash: [u8; 32],
    pub(crate) files: Vec<BlobFile>,
    /// Transfer of the remaining files, which ends when this is dropped.
    pub(crate) transfer: Transfer,
}

/// An accepted result whose files are being placed.
pub(crate) struct Believed {
    pub(crate) right: Vec<LeaseId>,
    pub(crate) wrong: Vec<LeaseId>,
}

/// An accepted result that could not be stored.
pub(crate) struct Unstored {
    /// Reason, and advice to the user.
    pub(crate) problem: String,
    pub(crate) again: Instant,
}

/// Data of a lease beside those of the requester's state machine.
pub(crate) struct Lent {
    pub(crate) offer_hash: [u8; 32],
    pub(crate) signed_result: Option<Signed<TaskResult>>,
}

/// Work that this device lends to others and borrows from them.
pub(crate) struct Exchange {
    requester: Requester,
    lent: BTreeMap<LeaseId, Lent>,
    waiting: BTreeMap<LeaseId, Waiting>,
    placing: BTreeMap<TaskId, Believed>,
    checks: BTreeMap<LeaseId, SpotCheck>,
    proofs: BTreeMap<LeaseId, Proof>,
    /// Segments that wait to be run again, one at a time; `replaying` is the memory in bytes of the running
    /// one, or 0.
    wanted_replays: VecDeque<(LeaseId, Segment, Option<StateFile>)>,
    replaying: u64,
    /// Leases whose result was confirmed by running a segment again.
    proven: BTreeSet<LeaseId>,
    hosted: BTreeMap<JobId, Hosted>,
    /// Accepted offers whose files are arriving.
    arriving: BTreeMap<LeaseId, Arriving>,
    /// Failures of requesters to deliver the files of their offers.
    failures: BTreeMap<Answerable, Failures>,
    /// Requesters whose files have arrived before.
    brought: BTreeSet<NodeId>,
    /// Jobs whose tasks cannot be lent, with the reason.
    withheld: BTreeMap<JobId, String>,
    /// Jobs whose tasks cannot be placed on as many devices as they need, with the reason.
    short: BTreeMap<JobId, String>,
    /// Devices that declined a job's last offer: `true` if at rest, `false` if full.
    declined: BTreeMap<JobId, BTreeMap<NodeId, bool>>,
    /// Jobs for which no nearby device has room, with the reason.
    crowded: BTreeMap<JobId, String>,
    /// Time of the last check for results that nobody fetches.
    last_untaken: Option<Instant>,
    /// Tasks whose accepted result could not be stored.
    unstored: BTreeMap<TaskId, Unstored>,
    /// Effects that the database refused, with the time of the next attempt.
    deferred: Vec<(Instant, Effect)>,
    /// Transfers of states of tasks elsewhere.
    states: BTreeMap<TaskId, Transfer>,
    /// States that requesters want to see, in order; `is_showing` tells whether one is being prepared.
    wanted_proofs: VecDeque<WantedProof>,
    is_showing: bool,
    sealing: BTreeSet<JobId>,
    /// Jobs whose files could not be sealed, with the time of the next attempt.
    unsealed: BTreeMap<JobId, Instant>,
    /// Jobs of this device whose files others can fetch.
    sealed: BTreeSet<JobId>,
    /// Nodes that were told that there is no room, and get a hello when there is.
    turned_away: BTreeSet<NodeId>,
    last_hello: Option<(Instant, Capacity)>,
    /// Whether a hello may be due that was held back.
    hello_waits: bool,
    /// Transfers that are under way, which end with the network.
    fetching: Fetches,
    /// Offers that wait until their price is reserved.
    pending: BTreeMap<LeaseId, PendingOffer>,
    /// Receipts that are on their way.
    receipts: BTreeMap<LeaseId, Outgoing>,
    /// Time at which old receipts were last looked for.
    expired_at: Option<Instant>,
    /// Hours of the week in which this device worked.
    availability: fog_scheduler::Availability,
    /// Hour in which the availability was last updated.
    looked_back: Option<i64>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
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
            states: BTreeMap::new(),
            wanted_proofs: VecDeque::new(),
            is_showing: false,
            sealing: BTreeSet::new(),
            unsealed: BTreeMap::new(),
            sealed: BTreeSet::new(),
            turned_away: BTreeSet::new(),
            last_hello: None,
            hello_waits: false,
            fetching: Fetches::default(),
            pending: BTreeMap::new(),
            receipts: BTreeMap::new(),
            expired_at: None,
            availability: fog_scheduler::Availability::default(),
            looked_back: None,
        }
    }

    /// Reason why lent tasks of a job wait, if there is one.
    pub(crate) fn why_waiting(&self, job: JobId) -> Option<&str> {
        let unstored = || {
            self.unstored
                .iter()
                .find(|(task, _)| task.job == job)
                .map(|(_, unstored)| unstored.problem.as_str())
        };
        unstored().or_else(|| {
            self.withheld
                .get(&job)
                .or_else(|| self.short.get(&job))
                .or_else(|| self.crowded.get(&job))
                .map(String::as_str)
        })
    }

    pub(crate) fn hosted_by_lease(&self, lease: LeaseId, requester: NodeId) -> Option<JobId> {
        self.hosted
            .iter()
            .find(|(_, hosted)| hosted.lease == lease && hosted.requester == requester)
            .map(|(job, _)| *job)
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.hosted.is_empty() || !self.arriving.is_empty() || self.requester.tasks().next().is_some()
    }
}

#[cfg(test)]
impl Exchange {
    pub(crate) fn requester(&mut self) -> &mut Requester {
        &mut self.requester
    }

    pub(crate) fn hosted(&mut self) -> &mut BTreeMap<JobId, Hosted> {
        &mut self.hosted
    }
}

/// Content that a row describes; `None` if its id is invalid.
pub(crate) fn content_of(row: &ContentRow) -> Option<Content> {
    let id: BlobId = row.id.parse().ok()?;
    Some(Content {
        id: fog_grid::ContentId(id.0),
        blob: row.open.unwrap_or(row.blob),
        size: row.size,
        key: fog_grid::ContentKey(row.key),
    })
}

pub(crate) fn lease_from(text: &str) -> Option<LeaseId> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(LeaseId(bytes))
}
