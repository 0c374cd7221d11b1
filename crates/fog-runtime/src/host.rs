//! Parent side of a worker: starts it, follows it, and enforces its limits from outside.

mod compiling;
mod outgoing;
mod session;
mod supervise;

use std::path::PathBuf;

use fog_types::{ByteCount, ErrorKind, HasKind, Percent};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

pub use self::compiling::{ArtifactRoom, CompileLimits, check_sandbox, prepare, prepare_within};
use self::session::{Session, State, Wishes};
use crate::program::WorkerProgram;
use crate::protocol::{FromWorker, MAX_FRAME_BYTES, decode_frame};
use crate::snapshot::Snapshot;
use crate::task::TaskSpec;

const EVENT_QUEUE: usize = 32;
/// Largest number of waiting requests for checkpoints; more have no effect.
const SAVE_QUEUE: usize = 16;

/// Error of a worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The process could not be started.
    #[error("{program} cannot be started as a worker: {source}")]
    Start {
        /// Program that was to be started.
        program: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The process ended without a final message: it crashed or was killed.
    #[error("the worker process ended unexpectedly ({status})")]
    Died {
        /// Exit status in words of the system.
        status: String,
    },
    /// The process broke the protocol.
    #[error("the worker process sent nonsense: {message}")]
    ProtocolViolation {
        /// Description of the fault.
        message: String,
    },
    /// The module cannot be compiled; another attempt would fail too.
    #[error("the module cannot run: {message}")]
    Module {
        /// Message of the compiler.
        message: String,
    },
    /// A local file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The compiled module has no room on this device.
    #[error("the compiled program cannot be stored: {message}")]
    NoRoom {
        /// Message of [`ArtifactRoom::reserve`].
        message: String,
    },
    /// Compiling took more processor time than allowed; another attempt would fail too.
    #[error(
        "compiling the module took more than {seconds} s of processor time; a module must compile within that"
    )]
    CompileTime {
        /// Limit in seconds.
        seconds: u64,
    },
    /// Compiling took more memory than allowed for a module of this size; another attempt would fail too.
    #[error(
        "compiling the module took more than {limit} of memory; a module of its size must compile within that"
    )]
    CompileMemory {
        /// Limit in bytes.
        limit: ByteCount,
    },
}

impl WorkerError {
    /// Whether the module is the cause, so that another attempt would fail too.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Module { .. } | Self::CompileTime { .. } | Self::CompileMemory { .. } => true,
            Self::Start { .. }
            | Self::Died { .. }
            | Self::ProtocolViolation { .. }
            | Self::File { .. }
            | Self::NoRoom { .. } => false,
        }
    }
}

impl HasKind for WorkerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Module { .. } => ErrorKind::BadInput,
            Self::File { .. } => ErrorKind::Storage,
            Self::NoRoom { .. } | Self::CompileTime { .. } | Self::CompileMemory { .. } => {
                ErrorKind::LimitReached
            }
            Self::Start { .. } | Self::Died { .. } | Self::ProtocolViolation { .. } => ErrorKind::Bug,
        }
    }
}

/// Event of a running worker.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Message of the protocol.
    Message(FromWorker),
    /// The task is frozen (true) or runs again (false), by itself or stopped by the system.
    Frozen(bool),
    /// The process has ended; this is the last event.
    Gone(WorkerError),
}

/// One running task in a process or thread of its own. Dropping it ends the task.
#[derive(Debug)]
pub struct Worker {
    duty: watch::Sender<Percent>,
    saves: mpsc::Sender<bool>,
    /// Events in order. Slow readers slow the worker; no event is dropped.
    pub events: mpsc::Receiver<WorkerEvent>,
    pid: Option<u32>,
    guard: tokio::task::AbortHandle,
}

impl Worker {
    /// Starts a worker on a task, from its beginning or from the state of a checkpoint.
    ///
    /// # Errors
    /// [`WorkerError::Start`] when the process cannot be started.
    pub fn spawn(
        program: &WorkerProgram,
        spec: TaskSpec,
        state: Option<Vec<u8>>,
    ) -> Result<Self, WorkerError> {
        Self::begin(program, spec, state.map_or(State::None, State::Bytes))
    }

    /// Starts a worker like [`Worker::spawn`] from a snapshot, which is encoded while it is sent.
    ///
    /// # Errors
    /// The same as for [`Worker::spawn`].
    pub fn resume(program: &WorkerProgram, spec: TaskSpec, snapshot: Snapshot) -> Result<Self, WorkerError> {
        Self::begin(program, spec, State::Snapshot(Box::new(snapshot)))
    }

    fn begin(program: &WorkerProgram, spec: TaskSpec, state: State) -> Result<Self, WorkerError> {
        let mut seat = program.start()?;
        let pid = seat.pid();
        let (Some(input), Some(output)) = (seat.input.take(), seat.output.take()) else {
            return Err(WorkerError::ProtocolViolation { message: "no pipes".to_owned() });
        };
        let (duty, duty_seen) = watch::channel(spec.duty);
        let (saves, wanted) = mpsc::channel(SAVE_QUEUE);
        let (sink, events) = mpsc::channel(EVENT_QUEUE);
        let session =
            Session::begin(seat, input, sink, Wishes { duty: duty_seen, saves: wanted }, spec, state)?;
        let guard = tokio::spawn(session.serve(output)).abort_handle();
        Ok(Self { duty, saves, events, pid, guard })
    }

    /// Sets the share of processor time. 0 freezes the task within 100 ms, whatever it does and even if no
    /// one reads its events.
    pub fn set_duty(&self, duty: Percent) {
        self.duty.send_replace(duty);
    }

    /// Sender for the share of processor time, for use while another task follows the worker.
    #[must_use]
    pub fn duty(&self) -> watch::Sender<Percent> {
        self.duty.clone()
    }

    /// Requests a checkpoint at the next safe point, within milliseconds; its pieces and
    /// [`FromWorker::Saved`] come as events. A task that the system has stopped answers once it runs again.
    ///
    /// With `whole` the checkpoint is complete; otherwise it may hold only the changes since the last one.
    pub fn save(&self, whole: bool) {
        let _ = self.saves.try_send(whole);
    }

    /// Process id, for measuring its load; `None` for a thread of this process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.guard.abort();
    }
}

async fn read_frames(
    mut from: Box<dyn AsyncRead + Send + Sync + Unpin>,
    to: mpsc::Sender<Result<FromWorker, String>>,
) {
    loop {
        let frame = read_frame(&mut from).await;
        let Some(frame) = frame else { return };
        let is_bad = frame.is_err();
        if to.send(frame).await.is_err() || is_bad {
            return;
        }
    }
}

/// Reads one frame; `None` at the end of the stream.
async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Result<FromWorker, String>> {
    let length = from.read_u32_le().await.ok()? as usize;
    if length > MAX_FRAME_BYTES {
        return Some(Err(format!("a frame of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    Some(decode_frame(&body).map_err(|e| e.to_string()))
}
