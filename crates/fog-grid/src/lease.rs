//! What a requester keeps of each try, and what it wants done.

use fog_types::{NodeId, TaskId};

use crate::content::Content;
use crate::message::{LeaseId, Standing, TaskResult};
use crate::trust::Choice;

/// What a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Workers at once, 1 to 16.
    pub replicas: u32,
    /// When a result is believed.
    pub choice: Choice,
    /// So many must say that nobody can do it, whatever makes a result believed. What they say cannot be checked.
    pub hopeless: u32,
}

/// Where a lease is.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseState {
    /// Offered, not answered.
    Offered,
    /// The worker has it.
    Held(Standing),
    /// Its result is being fetched.
    Fetching,
    /// Its result is here and was checked.
    Done(String),
    /// The worker is silent or gone. What it may still hand in is welcome.
    Lost,
}

/// One try of one worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Of which task.
    pub task: TaskId,
    /// Who.
    pub node: NodeId,
    /// Where it is.
    pub state: LeaseState,
    /// Work units, as the worker says.
    pub units: u64,
    /// Of the whole, in thousandths.
    pub permille: Option<u16>,
    pub(crate) since: u64,
    pub(crate) heard: u64,
    /// Since when its worker cannot be reached.
    pub(crate) away: Option<u64>,
    /// It has stood still for so long that somebody else is asked too.
    pub(crate) is_stuck: bool,
    /// When it was given, and when its units grew last. What a worker says of its state moves neither.
    pub(crate) begun: u64,
    pub(crate) grown: u64,
    /// Its worker has said that it runs: `units` are its own from then on, and until then those of the state it was given.
    pub(crate) has_run: bool,
    /// When its result was handed in first. Handing it in again does not move it.
    pub(crate) handed: Option<u64>,
    /// It has taken so long that somebody else is asked too, whatever its worker goes on saying.
    pub(crate) is_overdue: bool,
}

impl Lease {
    pub(crate) fn new(task: TaskId, node: NodeId, state: LeaseState, now: u64) -> Self {
        let (units, permille, away, is_stuck, has_run, handed, is_overdue) = (0, None, None, false, false, None, false);
        Self { task, node, state, units, permille, since: now, heard: now, away, is_stuck, begun: now, grown: now, has_run, handed, is_overdue }
    }

    /// It may bring a result without anything more being done.
    pub(crate) fn is_live(&self) -> bool {
        match self.state {
            LeaseState::Offered | LeaseState::Fetching | LeaseState::Held(_) => !self.is_stuck && !self.is_overdue,
            LeaseState::Done(_) | LeaseState::Lost => false,
        }
    }
}

/// What became of a task that a worker gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// It failed there; somebody else is asked.
    Failed,
    /// It failed there once more: one node's word counts once where several are needed.
    FailedAgain,
    /// The worker says that everybody would fail; whether that is believed is an [`Effect`].
    Hopeless,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell a worker that its lease is over.
    Release {
        /// Whom.
        node: NodeId,
        /// Which.
        lease: LeaseId,
        /// Why.
        why: &'static str,
    },
    /// Fetch the files of a result, check it, and say so with [`handle_checked`](crate::Requester::handle_checked).
    Check {
        /// Which.
        lease: LeaseId,
        /// From whom, and from whoever else has it.
        node: NodeId,
        /// What was handed in.
        result: Box<TaskResult>,
    },
    /// Fetch a checkpoint, so that it outlives its worker.
    Keep {
        /// Which.
        lease: LeaseId,
        /// Of which task.
        task: TaskId,
        /// From whom.
        node: NodeId,
        /// Units it holds.
        units: u64,
        /// What.
        content: Content,
    },
    /// A task has its result: that of the first of these leases; all of them gave it.
    Accept {
        /// Which task.
        task: TaskId,
        /// Who gave it.
        leases: Vec<LeaseId>,
        /// Who gave another one.
        wrong: Vec<LeaseId>,
    },
    /// No worker can do it, as those say who are believed.
    Fail {
        /// Which task.
        task: TaskId,
        /// Why.
        problem: String,
        /// Who said so.
        leases: Vec<LeaseId>,
        /// Who gave a result nonetheless.
        wrong: Vec<LeaseId>,
    },
    /// A lease is over without a result; the task waits for another one.
    Over {
        /// Which.
        lease: LeaseId,
        /// Of which task.
        task: TaskId,
        /// Whose.
        node: NodeId,
        /// Why, in words.
        why: String,
        /// The worker did not keep its word.
        is_lost: bool,
    },
}
