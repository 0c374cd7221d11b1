//! Messages that enter the event loop.

use std::sync::mpsc::SyncSender;

use fog_api::{ApiError, Command, Reply};
use fog_runtime::SandboxStatus;
use fog_store::Measured;
use fog_types::{TaskId, WorkUnits};
use tokio::sync::oneshot;

use crate::chat::{ChatEvent, IdentityBackup};
use crate::disk_room::RoomRequest;
use crate::duty::sensors::Sample;
use crate::exchange::ExchangeEvent;
use crate::network::NetworkEvent;
pub(crate) use crate::network::readers::{Counted, Heard};
use crate::tasks::estimates::EstimateEvent;
use crate::tasks::runner::TaskEvent;
use crate::tasks::submit::Prepared;

/// One input of the event loop.
pub(crate) enum EngineMessage {
    Call(Box<Command>, oneshot::Sender<Result<Reply, ApiError>>),
    Sample(Box<Sample>),
    Input,
    Task(u64, TaskEvent),
    /// The task of a leaving worker was saved at so many units.
    Saved(TaskId, WorkUnits),
    /// The worker of a task whose job is over has left.
    WorkerLeft,
    /// The system is about to sleep and waits for the answer.
    Sleep(SyncSender<()>),
    /// Isolation that is available to workers here; `None` when no worker answers.
    SandboxStatus(Option<SandboxStatus>),
    /// Result of measuring the files beside the stored ones.
    Measured(Measured),
    Room(RoomRequest),
    /// A message of the network's threads.
    Net(Box<NetworkEvent>),
    /// A result of the exchange's threads.
    Exchange(Box<ExchangeEvent>),
    /// News from the chat thread with this number.
    Chat(u64, Box<ChatEvent>),
    /// News of an estimate.
    Estimate(Box<EstimateEvent>),
    Prepared(Box<Result<Prepared, ApiError>>, oneshot::Sender<Result<Reply, ApiError>>),
    /// Identity that was read from a file.
    MovedIn(Box<Result<IdentityBackup, ApiError>>, oneshot::Sender<Result<Reply, ApiError>>),
}
