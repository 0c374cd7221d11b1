//! The parent's half of a worker: starting it, following it, and holding it to its limits from outside.

mod compiling;
mod outgoing;
mod session;
mod supervise;

use std::path::PathBuf;

use fog_types::{ByteCount, ErrorKind, HasKind, Percent};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

pub use self::compiling::{CompileLimits, check_walls, prepare, prepare_within};
use self::session::{Session, State, Wishes};
use crate::program::WorkerProgram;
use crate::protocol::{FromWorker, MAX_FRAME_BYTES, decode_frame};
use crate::snapshot::Snapshot;
use crate::task::TaskSpec;

const EVENT_QUEUE: usize = 32;
/// Wishes for checkpoints that wait; more of them are the same.
const SAVE_QUEUE: usize = 16;

/// A worker could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The process did not start.
    #[error("{program} cannot be started as a worker: {source}")]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The process ended without a word: a crash, or somebody killed it.
    #[error("the worker process ended unexpectedly ({status})")]
    Died {
        /// Exit status as the system words it.
        status: String,
    },
    /// The process said something it must not say.
    #[error("the worker process sent nonsense: {message}")]
    Nonsense {
        /// What was wrong.
        message: String,
    },
    /// The module cannot be compiled. Trying again would not help.
    #[error("the module cannot run: {message}")]
    Module {
        /// The compiler's words.
        message: String,
    },
    /// A file of ours cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What the worker sent cannot be kept on this device. The job is not at fault.
    #[error("what the task sent cannot be stored: {message}")]
    Storage {
        /// Full, or damaged, or not permitted.
        kind: ErrorKind,
        /// The store's words.
        message: String,
    },
    /// Compiling took more processor time than a module may. Trying again would not help.
    #[error("compiling the module took more than {seconds} s of processor time; a module must compile within that")]
    CompileTime {
        /// The limit.
        seconds: u64,
    },
    /// Compiling took more memory than a module of this size may. Trying again would not help.
    #[error("compiling the module took more than {limit} of memory; a module of its size must compile within that")]
    CompileMemory {
        /// The limit.
        limit: ByteCount,
    },
}

impl WorkerError {
    /// Whether the module is the cause, so that another attempt would end the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Module { .. } | Self::CompileTime { .. } | Self::CompileMemory { .. } => true,
            Self::Start { .. } | Self::Died { .. } | Self::Nonsense { .. } | Self::File { .. } | Self::Storage { .. } => false,
        }
    }
}

impl HasKind for WorkerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Module { .. } => ErrorKind::BadInput,
            Self::File { .. } => ErrorKind::Storage,
            Self::Storage { kind, .. } => *kind,
            Self::CompileTime { .. } | Self::CompileMemory { .. } => ErrorKind::LimitReached,
            Self::Start { .. } | Self::Died { .. } | Self::Nonsense { .. } => ErrorKind::Bug,
        }
    }
}

/// What a running worker tells its parent.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Something from the protocol.
    Message(FromWorker),
    /// The task is frozen (true) or runs again (false), by its own doing or the system's.
    Frozen(bool),
    /// The process is gone. The last event.
    Gone(WorkerError),
}

/// One running task in its own process, or thread. Dropping it ends the task.
#[derive(Debug)]
pub struct Worker {
    duty: watch::Sender<Percent>,
    saves: mpsc::Sender<bool>,
    /// Events in order. Slow readers slow the worker; nothing is dropped.
    pub events: mpsc::Receiver<WorkerEvent>,
    pid: Option<u32>,
    guard: tokio::task::AbortHandle,
}

impl Worker {
    /// Starts a worker on a task, from its beginning or from the state of a checkpoint.
    ///
    /// # Errors
    /// [`WorkerError::Start`] when there is no process.
    pub fn spawn(program: &WorkerProgram, spec: TaskSpec, state: Option<Vec<u8>>) -> Result<Self, WorkerError> {
        Self::begin(program, spec, state.map_or(State::None, State::Bytes))
    }

    /// The same from a snapshot, which is encoded while it is sent and is gone then.
    ///
    /// # Errors
    /// As [`Worker::spawn`].
    pub fn resume(program: &WorkerProgram, spec: TaskSpec, snapshot: Snapshot) -> Result<Self, WorkerError> {
        Self::begin(program, spec, State::Snapshot(Box::new(snapshot)))
    }

    fn begin(program: &WorkerProgram, spec: TaskSpec, state: State) -> Result<Self, WorkerError> {
        let mut seat = program.start()?;
        let pid = seat.pid();
        let (Some(input), Some(output)) = (seat.input.take(), seat.output.take()) else {
            return Err(WorkerError::Nonsense { message: "no pipes".to_owned() });
        };
        let (duty, duty_seen) = watch::channel(spec.duty);
        let (saves, wanted) = mpsc::channel(SAVE_QUEUE);
        let (sink, events) = mpsc::channel(EVENT_QUEUE);
        let session = Session::begin(seat, input, sink, Wishes { duty: duty_seen, saves: wanted }, spec, state)?;
        let guard = tokio::spawn(session.serve(output)).abort_handle();
        Ok(Self { duty, saves, events, pid, guard })
    }

    /// Sets the share of processor time; 0 freezes the task within 100 ms, whatever it does and whether or not anybody
    /// takes its events.
    pub fn set_duty(&self, duty: Percent) {
        self.duty.send_replace(duty);
    }

    /// The share of processor time, to be set while the worker itself is followed elsewhere.
    #[must_use]
    pub fn duty(&self) -> watch::Sender<Percent> {
        self.duty.clone()
    }

    /// Asks for a checkpoint at the next safe point, within milliseconds; its pieces and
    /// [`FromWorker::Saved`] come as events. A task stopped by the system answers once it goes on.
    ///
    /// With `whole` it stands alone; otherwise it may hold only what changed since the last one.
    pub fn save(&self, whole: bool) {
        let _ = self.saves.try_send(whole);
    }

    /// The process id, for measuring its load; none when it is a thread of this process.
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

async fn read_frames(mut from: Box<dyn AsyncRead + Send + Sync + Unpin>, to: mpsc::Sender<Result<FromWorker, String>>) {
    loop {
        let frame = read_frame(&mut from).await;
        let Some(frame) = frame else { return };
        let is_bad = frame.is_err();
        if to.send(frame).await.is_err() || is_bad {
            return;
        }
    }
}

/// `None` at the end of the stream.
async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Result<FromWorker, String>> {
    let length = from.read_u32_le().await.ok()? as usize;
    if length > MAX_FRAME_BYTES {
        return Some(Err(format!("a frame of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    Some(decode_frame(&body).map_err(|e| e.to_string()))
}
