use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fog_types::{ErrorKind, HasKind, Percent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::compile::EngineKind;
use crate::program::{Seat, WorkerProgram};
use crate::protocol::{CHUNK_BYTES, FromWorker, MAX_FRAME_BYTES, ToWorker, decode_frame, encode_frame};
use crate::sandbox::Walls;
use crate::task::TaskSpec;

/// A worker that does not freeze by itself within this time is stopped by the system.
const FREEZE_GRACE: Duration = Duration::from_millis(40);
/// Longest a module may take to compile.
const COMPILE_LIMIT: Duration = Duration::from_secs(300);
const EVENT_QUEUE: usize = 32;

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
    /// Compiling took longer than five minutes.
    #[error("compiling the module took longer than {} s", COMPILE_LIMIT.as_secs())]
    CompileTime,
}

impl HasKind for WorkerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Module { .. } => ErrorKind::BadInput,
            Self::File { .. } => ErrorKind::Storage,
            Self::CompileTime => ErrorKind::LimitReached,
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
    wishes: mpsc::Sender<Wish>,
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
        let mut seat = program.start()?;
        let pid = seat.pid();
        let (Some(input), Some(output)) = (seat.input.take(), seat.output.take()) else {
            return Err(WorkerError::Nonsense { message: "no pipes".to_owned() });
        };
        let (wishes, wished) = mpsc::channel(16);
        let (sink, events) = mpsc::channel(EVENT_QUEUE);
        let session = Session { seat, input, sink, wishes: wished, freeze_by: None, is_stopped: false };
        let guard = tokio::spawn(session.serve(spec, state, output)).abort_handle();
        Ok(Self { wishes, events, pid, guard })
    }

    /// Sets the share of processor time; 0 freezes the task within 100 ms, whatever it does.
    pub fn set_duty(&self, duty: Percent) {
        // A full queue holds newer wishes than the worker has read; it drains in microseconds.
        let _ = self.wishes.try_send(Wish::Duty(duty));
    }

    /// Asks for a checkpoint at the next safe point, within milliseconds; its pieces and
    /// [`FromWorker::Saved`] come as events. A task stopped by the system answers once it goes on.
    ///
    /// With `whole` it stands alone; otherwise it may hold only what changed since the last one.
    pub fn save(&self, whole: bool) {
        let _ = self.wishes.try_send(Wish::Save { whole });
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

/// What the holder of a worker wants of it.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Duty(Percent),
    Save { whole: bool },
}

struct Session {
    seat: Seat,
    input: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    sink: mpsc::Sender<WorkerEvent>,
    wishes: mpsc::Receiver<Wish>,
    freeze_by: Option<Instant>,
    is_stopped: bool,
}

impl Session {
    async fn serve(mut self, spec: TaskSpec, state: Option<Vec<u8>>, output: Box<dyn AsyncRead + Send + Sync + Unpin>) {
        let error = match self.converse(spec, state.unwrap_or_default(), output).await {
            Ok(()) => return,
            Err(error) => error,
        };
        self.seat.end();
        let _ = self.sink.send(WorkerEvent::Gone(error)).await;
    }

    async fn converse(&mut self, spec: TaskSpec, state: Vec<u8>, output: Box<dyn AsyncRead + Send + Sync + Unpin>) -> Result<(), WorkerError> {
        self.say(&ToWorker::Start { spec: Box::new(spec), state_bytes: state.len() as u64 }).await?;
        for piece in state.chunks(CHUNK_BYTES) {
            self.say(&ToWorker::State(piece.to_vec())).await?;
        }
        drop(state);
        // Frames are read by a task of their own: reading half a frame must not be cancelled.
        let (frames_in, mut frames) = mpsc::channel(EVENT_QUEUE);
        let reader = tokio::spawn(read_frames(output, frames_in));
        let _stop_reading = AbortOnDrop(reader.abort_handle());
        loop {
            let freeze_by = self.freeze_by;
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(Ok(message)) => {
                        if self.hear(message).await? {
                            return Ok(());
                        }
                    }
                    Some(Err(message)) => return Err(WorkerError::Nonsense { message }),
                    None => return Err(self.died().await),
                },
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Duty(duty)) => self.change_duty(duty).await?,
                    Some(Wish::Save { whole }) => self.say(&ToWorker::Save { whole }).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(freeze_by.unwrap_or_else(Instant::now)), if freeze_by.is_some() => {
                    self.freeze_by = None;
                    self.is_stopped = self.seat.hold(true);
                    if self.is_stopped {
                        self.tell(WorkerEvent::Frozen(true)).await;
                    }
                }
            }
        }
    }

    /// Returns true when the task is done.
    async fn hear(&mut self, message: FromWorker) -> Result<bool, WorkerError> {
        let is_last = matches!(message, FromWorker::Done(_) | FromWorker::Failed { .. });
        match message {
            FromWorker::Frozen => {
                self.freeze_by = None;
                self.tell(WorkerEvent::Frozen(true)).await;
            }
            FromWorker::Thawed => self.tell(WorkerEvent::Frozen(false)).await,
            FromWorker::Compiled | FromWorker::CannotCompile(_) | FromWorker::CannotWrite(_) | FromWorker::Walls(_) => {
                return Err(WorkerError::Nonsense { message: "an answer to a question not asked".to_owned() });
            }
            other => self.tell(WorkerEvent::Message(other)).await,
        }
        Ok(is_last)
    }

    async fn tell(&self, event: WorkerEvent) {
        // Nobody listening means the worker is being dropped.
        let _ = self.sink.send(event).await;
    }

    async fn change_duty(&mut self, duty: Percent) -> Result<(), WorkerError> {
        self.freeze_by = (duty == Percent::ZERO && !self.is_stopped).then(|| Instant::now() + FREEZE_GRACE);
        if duty > Percent::ZERO && self.is_stopped {
            self.is_stopped = false;
            self.seat.hold(false);
            self.tell(WorkerEvent::Frozen(false)).await;
        }
        if self.is_stopped { Ok(()) } else { self.say(&ToWorker::Duty(duty)).await }
    }

    async fn say(&mut self, message: &ToWorker) -> Result<(), WorkerError> {
        let sent = match encode_frame(message) {
            Ok(frame) => self.input.write_all(&frame).await,
            Err(error) => return Err(WorkerError::Nonsense { message: error.to_string() }),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(self.died().await),
        }
    }

    async fn died(&mut self) -> WorkerError {
        WorkerError::Died { status: self.seat.status().await }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
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

/// Compiles `module` into `artifact` in a worker of its own, unless it is there already.
///
/// Returns whether it was there. The artifact appears whole or not at all.
///
/// # Errors
/// [`WorkerError::Module`] when the module is at fault; others may go away on another try.
pub async fn prepare(program: &WorkerProgram, module: &Path, artifact: &Path, engine: EngineKind) -> Result<bool, WorkerError> {
    if tokio::fs::try_exists(artifact).await.unwrap_or(false) {
        return Ok(true);
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::File { path, source }
    };
    if let Some(folder) = artifact.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(at(folder))?;
    }
    let mut partial = artifact.as_os_str().to_owned();
    // Two tasks of one job may compile at once; the later name replaces the earlier, both whole.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    partial.push(format!(".{}-{since}-{}.partial", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    let partial = PathBuf::from(partial);
    let mut seat = program.start()?;
    let message = ToWorker::Compile { module: module.to_owned(), artifact: partial.clone(), engine };
    let result = tokio::time::timeout(COMPILE_LIMIT, ask(&mut seat, &message)).await;
    seat.end();
    let answer = match result {
        Ok(Ok(Some(answer))) => answer,
        Ok(Ok(None)) => {
            let status = seat.status().await;
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(WorkerError::Died { status });
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(WorkerError::CompileTime);
        }
    };
    match answer {
        FromWorker::Compiled => {
            tokio::fs::rename(&partial, artifact).await.map_err(at(artifact))?;
            Ok(false)
        }
        FromWorker::CannotCompile(message) => {
            let _ = tokio::fs::remove_file(&partial).await;
            Err(WorkerError::Module { message })
        }
        FromWorker::CannotWrite(message) => {
            let _ = tokio::fs::remove_file(&partial).await;
            Err(WorkerError::File { path: partial, source: std::io::Error::other(message) })
        }
        _ => Err(WorkerError::Nonsense { message: "not an answer to compiling".to_owned() }),
    }
}

/// Starts a worker, has it put up its walls, and returns which stand on this system.
///
/// # Errors
/// When no worker can be started or it does not answer.
pub async fn check_walls(program: &WorkerProgram) -> Result<Walls, WorkerError> {
    let mut seat = program.start()?;
    match ask(&mut seat, &ToWorker::Walls).await? {
        Some(FromWorker::Walls(walls)) => Ok(walls),
        Some(_) => Err(WorkerError::Nonsense { message: "not an answer about its walls".to_owned() }),
        None => Err(WorkerError::Died { status: seat.status().await }),
    }
}

/// One question to a worker, and its answer; `None` when it died over it.
async fn ask(seat: &mut Seat, message: &ToWorker) -> Result<Option<FromWorker>, WorkerError> {
    let nonsense = |message: String| WorkerError::Nonsense { message };
    let (Some(mut input), Some(mut output)) = (seat.input.take(), seat.output.take()) else {
        return Err(nonsense("no pipes".to_owned()));
    };
    let frame = encode_frame(message).map_err(|e| nonsense(e.to_string()))?;
    if input.write_all(&frame).await.is_err() {
        return Ok(None);
    }
    read_frame(&mut output).await.transpose().map_err(nonsense)
}
