//! Leases as a requester keeps them, and the actions that it requests.

use fog_types::{NodeId, TaskId};

use crate::content::Content;
use crate::message::{LeaseId, TaskResult, WorkerState};
use crate::trust::AcceptanceRule;

/// Requirements of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Number of workers that run the task at once, 1 to 16.
    pub replicas: u32,
    /// Rule by which a result is believed.
    pub choice: AcceptanceRule,
    /// Minimum number of workers that must call the task hopeless before such claims count, whatever
    /// `choice` is. The claims cannot be checked.
    pub hopeless: u32,
}

/// State of a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseState {
    /// The offer was sent and is not answered yet.
    Offered,
    /// The worker accepted the lease; holds the standing that it reported last.
    Held(WorkerState),
    /// The result of the lease is being fetched.
    Fetching,
    /// The result was fetched and checked; holds its hash.
    Done(String),
    /// The worker is silent or unreachable. A result that it hands in later is still taken.
    Lost,
}

/// Attempt of one worker at one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Task of the lease.
    pub task: TaskId,
    /// Worker that holds the lease.
    pub node: NodeId,
    /// State of the lease.
    pub state: LeaseState,
    /// Work units done, as reported by the worker.
    pub units: u64,
    /// Progress reported by the worker, in thousandths; `None` if unknown.
    pub permille: Option<u16>,
    pub(crate) since: u64,
    pub(crate) heard: u64,
    /// Time since which the worker cannot be reached.
    pub(crate) away: Option<u64>,
    /// Whether the task has been paused for so long that another worker is asked too.
    pub(crate) is_stuck: bool,
    /// Times at which the lease began and at which the worker last made progress; another standing moves
    /// neither.
    pub(crate) begun: u64,
    pub(crate) grown: u64,
    /// Whether the worker reported that the task runs; until then `units` are those of the offered
    /// checkpoint.
    pub(crate) has_run: bool,
    /// Time at which the result was first handed in; a repetition does not change it.
    pub(crate) handed: Option<u64>,
    /// Whether the lease takes so long that another worker is asked too, whatever this one reports.
    pub(crate) is_overdue: bool,
}

impl Lease {
    pub(crate) fn new(task: TaskId, node: NodeId, state: LeaseState, now: u64) -> Self {
        let (units, permille, away, is_stuck, has_run, handed, is_overdue) =
            (0, None, None, false, false, None, false);
        Self {
            task,
            node,
            state,
            units,
            permille,
            since: now,
            heard: now,
            away,
            is_stuck,
            begun: now,
            grown: now,
            has_run,
            handed,
            is_overdue,
        }
    }

    /// Returns whether the lease can bring a result without another worker being asked.
    pub(crate) fn is_live(&self) -> bool {
        match self.state {
            LeaseState::Offered | LeaseState::Fetching | LeaseState::Held(_) => {
                !self.is_stuck && !self.is_overdue
            }
            LeaseState::Done(_) | LeaseState::Lost => false,
        }
    }
}

/// Outcome when a worker gives up a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The task failed at this worker; another worker is asked.
    Failed,
    /// The task failed at this worker again; where several workers are needed, a node's failures count
    /// once.
    FailedAgain,
    /// The worker claims that every worker would fail; an [`Effect`] tells whether the claim is believed.
    Hopeless,
}

/// Action that the caller must carry out.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell a worker that its lease is over.
    Release {
        /// Worker to tell.
        node: NodeId,
        /// Lease that is over.
        lease: LeaseId,
        /// Reason that the worker is told.
        why: &'static str,
    },
    /// Fetch the files of a result, check it and report with
    /// [`handle_checked`](crate::Requester::handle_checked).
    FetchResult {
        /// Lease of the result.
        lease: LeaseId,
        /// Worker to fetch from; other nodes that have the files may serve them too.
        node: NodeId,
        /// Result that the worker handed in.
        result: Box<TaskResult>,
    },
    /// Fetch a checkpoint so that it outlives its worker.
    FetchCheckpoint {
        /// Lease of the checkpoint.
        lease: LeaseId,
        /// Task of the checkpoint.
        task: TaskId,
        /// Worker to fetch from.
        node: NodeId,
        /// Number of work units that the checkpoint holds.
        units: u64,
        /// Content of the checkpoint.
        content: Content,
    },
    /// Accept the result of a task: that of the first of `leases`, all of which gave the same.
    Accept {
        /// Task that has its result.
        task: TaskId,
        /// Leases that gave this result.
        leases: Vec<LeaseId>,
        /// Leases that gave another result.
        wrong: Vec<LeaseId>,
    },
    /// Fail a task because workers that are believed report that no worker can do it.
    Fail {
        /// Task that failed.
        task: TaskId,
        /// Problem that a worker reported.
        problem: String,
        /// Leases whose workers reported it.
        leases: Vec<LeaseId>,
        /// Leases that gave a result nonetheless.
        wrong: Vec<LeaseId>,
    },
    /// Take note that a lease ended without a result.
    LeaseEnded {
        /// Lease that ended.
        lease: LeaseId,
        /// Task of the lease.
        task: TaskId,
        /// Worker that held the lease.
        node: NodeId,
        /// Reason, as a text.
        why: String,
        /// Whether the end counts against the worker.
        is_lost: bool,
    },
}
