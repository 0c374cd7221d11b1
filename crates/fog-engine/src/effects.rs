//! Effects of handlers: what they want to happen outside the engine once their changes are stored, and what
//! other subsystems are to hear.

use std::collections::VecDeque;
use std::path::PathBuf;

use fog_api::{ApiError, Event, EventBody, Reply};
use fog_grid::{Capacity, LeaseId, Message};
use fog_store::{Claim, FailedAttempt, Output, PlacedFiles, StoreError};
use fog_types::{JobId, JobState, NodeId, TaskId, UnixMillis};
use tokio::sync::oneshot;

/// Sender of the answer to a command.
pub(crate) type Answer = oneshot::Sender<Result<Reply, ApiError>>;

/// A command that waits for its answer, and the answer that it was to get.
pub(crate) type Waiting = (Answer, Box<Result<Reply, ApiError>>);

/// One effect of a handler.
pub(crate) enum Effect {
    /// An event for all front ends.
    Publish(Event),
    /// The answer to a command.
    Answer(Answer, Box<Result<Reply, ApiError>>),
    /// A message to another node.
    Send(NodeId, Box<Message>),
    /// A signal to a thread or task that waits until the changes are stored. It hears nothing if they are
    /// not.
    Signal(oneshot::Sender<()>),
    /// The answer to a thread that hands rows over.
    Noted(oneshot::Sender<Result<(), String>>),
    /// The deletion of a file that the changes made useless.
    Delete(PathBuf),
}

/// Message of one subsystem to another. The event loop passes it on within the same turn (`event_loop/routes`).
pub(crate) enum Input {
    /// To the exchange: a hosted task runs, from the state at so many units.
    TaskStarted {
        job: JobId,
        units: u64,
    },
    /// To the exchange: a hosted task was stopped or goes on.
    TaskFrozen {
        job: JobId,
        frozen: bool,
    },
    /// To the exchange: a hosted task has advanced.
    TaskProgress {
        job: JobId,
        units: u64,
        permille: Option<u16>,
    },
    /// To the exchange: a checkpoint of a hosted task was stored.
    TaskSaved {
        task: TaskId,
        units: u64,
    },
    /// To the exchange: a task of this job was put back into the queue.
    TaskWaits(JobId),
    /// To the exchange: a job may have ended.
    JobEnded(JobId),
    /// To the exchange: a job was submitted that other devices may run.
    JobSubmitted(JobId),
    /// To the exchange: the owner changed a job.
    JobChanged(JobId),
    /// To the exchange: a task that others run has failed.
    LentFailed {
        task: TaskId,
        is_final: bool,
        not_before: UnixMillis,
    },
    /// To the exchange: the rows of a result's files were written, or could not be.
    LentRecorded {
        task: TaskId,
        winner: LeaseId,
        placed: Result<PlacedFiles, StoreError>,
    },
    /// To the exchange: a result is not wanted any more.
    LentUnwanted(TaskId),
    /// To the tasks: an accepted result with many files is to be recorded.
    RecordLent {
        task: TaskId,
        winner: LeaseId,
        claim: Claim,
        placed: PlacedFiles,
        outputs: Vec<Output>,
    },
    /// To the tasks: a task has failed at these devices.
    FailedElsewhere {
        claim: Claim,
        failed: Box<FailedAttempt>,
        is_hopeless: bool,
        at: Vec<NodeId>,
    },
    /// To the tasks: a result of another device was recorded, which left the job in this state.
    FinishedElsewhere {
        job: JobId,
        state: Option<JobState>,
    },
    /// To the tasks: nobody wants a job any more.
    EndTasks {
        job: JobId,
        why: &'static str,
    },
    /// To the exchange: a node can be reached, or not any more.
    PeerUp(NodeId),
    PeerDown(NodeId),
    /// To the exchange: a node has said what it lends.
    PeerRoom(NodeId),
    /// To exchange and chat: a related node has appeared or restarted.
    PeerReturned {
        node: NodeId,
        is_new_run: bool,
    },
    /// To the exchange: the network was stopped, and these nodes are gone.
    NetworkStopped(Vec<NodeId>),
    /// To the exchange: a node is to hear what this device lends.
    HelloWanted(NodeId),
    /// To the network: a node is to hear that this is lent.
    SendHello {
        node: NodeId,
        capacity: Capacity,
    },
    /// To payments: this price is to be reserved for a lease.
    Reserve {
        lease: LeaseId,
        node: NodeId,
        job: JobId,
        milli: u64,
    },
    /// To the exchange: a price was reserved, or would exceed what this device may owe.
    Reserved {
        lease: LeaseId,
        is_granted: bool,
    },
    /// To payments: the result of a lease was accepted, and its receipt states this price.
    Settle {
        lease: LeaseId,
        node: NodeId,
        job: JobId,
        milli: u64,
    },
    /// To payments: a lease ended without a result.
    Release(LeaseId),
    /// To payments: a receipt for work that was done here states this price.
    Earn {
        lease: LeaseId,
        node: NodeId,
        milli: u64,
    },
    /// To the tasks: the owner wants to finish the running tasks first, or does not want that any more.
    FinishingChanged,
    /// To chat: settings were changed.
    SettingsChanged,
    /// To tasks and exchange: files of jobs that are over may be deleted.
    SweepStates,
    /// To the sensors: what was measured last may not hold any more.
    Sample,
}

/// Effects in the order in which they were requested.
#[derive(Default)]
pub(crate) struct Effects {
    queue: VecDeque<Effect>,
    inputs: VecDeque<Input>,
    /// Files that were made beside the changes, and are useless without them.
    made: Vec<PathBuf>,
    /// Number of the last event whose changes are stored.
    stored_revision: u64,
    /// Number of the last event.
    revision: u64,
}

impl Effects {
    /// Requests an event for all front ends.
    pub(crate) fn publish(&mut self, body: EventBody) {
        self.revision += 1;
        self.queue.push_back(Effect::Publish(Event { revision: self.revision, body }));
    }

    /// Requests that a command is answered.
    pub(crate) fn answer(&mut self, to: Answer, reply: Result<Reply, ApiError>) {
        self.queue.push_back(Effect::Answer(to, Box::new(reply)));
    }

    /// Requests that a message is sent to a node.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.queue.push_back(Effect::Send(to, Box::new(message)));
    }

    /// Requests that a waiting thread goes on.
    pub(crate) fn signal(&mut self, to: oneshot::Sender<()>) {
        self.queue.push_back(Effect::Signal(to));
    }

    /// Requests that another subsystem hears something.
    pub(crate) fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// Takes the next input for a subsystem.
    pub(crate) fn pop_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Requests that a file is deleted.
    pub(crate) fn delete(&mut self, path: PathBuf) {
        self.queue.push_back(Effect::Delete(path));
    }

    /// Requests that a thread hears that its rows are stored.
    pub(crate) fn noted(&mut self, to: oneshot::Sender<Result<(), String>>) {
        self.queue.push_back(Effect::Noted(to));
    }

    /// Notes a file that is to be deleted if the changes are not stored.
    pub(crate) fn made(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    /// Keeps the effects, as the changes are stored.
    pub(crate) fn committed(&mut self) {
        self.made.clear();
        self.stored_revision = self.revision;
    }

    /// Drops all effects, as the changes could not be stored. Returns the commands that wait for an answer
    /// and the files that were made.
    pub(crate) fn rolled_back(&mut self) -> (Vec<Waiting>, Vec<PathBuf>) {
        self.revision = self.stored_revision;
        self.inputs.clear();
        let answers = self.queue.drain(..).filter_map(|effect| {
            if let Effect::Answer(to, reply) = effect { Some((to, reply)) } else { None }
        });
        (answers.collect(), std::mem::take(&mut self.made))
    }

    /// Number of the last event, which a snapshot includes.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the next effect.
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }
}
