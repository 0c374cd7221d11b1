//! Compiles a module in a worker of its own, within limits and at the share of the processor that is set.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fog_types::{ByteCount, Percent};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};

use super::supervise::{LOOK_EVERY, Throttle};
use super::{WorkerError, read_frame, read_frames};
use crate::compile::EngineKind;
use crate::program::{WorkerProcess, WorkerProgram};
use crate::protocol::{FromWorker, ToWorker, encode_frame};
use crate::sandbox::SandboxStatus;

/// Limit of processor time for compiling a module.
const COMPILE_TIME: Duration = Duration::from_secs(300);
/// Memory limit for compiling: a base, an addition for each byte of the module, and a maximum.
const COMPILE_MEMORY: u64 = 256 << 20;
const COMPILE_MEMORY_PER_BYTE: u64 = 32;
const MAX_COMPILE_MEMORY: u64 = 3 << 30;
/// Time that a compiler, which does not pause by itself, may be ahead of its share before it is stopped.
const COMPILE_DEBT: Duration = Duration::from_millis(20);
/// Factor on the time limit where the system gives no processor time and elapsed time is used.
const UNTOLD_SCALE: u32 = 4;

/// Limits for compiling one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Largest processor time.
    pub time: Duration,
    /// Largest memory of the compiler's process.
    pub memory: ByteCount,
}

impl CompileLimits {
    /// Limits for a module of this size.
    #[must_use]
    pub fn of(module_bytes: u64) -> Self {
        let memory = COMPILE_MEMORY
            .saturating_add(module_bytes.saturating_mul(COMPILE_MEMORY_PER_BYTE))
            .min(MAX_COMPILE_MEMORY);
        Self { time: COMPILE_TIME, memory: ByteCount(memory) }
    }
}

/// Room on disk for compiled modules, which is asked for before one is written.
pub trait ArtifactRoom: Sync {
    /// Reserves room for a compiled module of `bytes`.
    ///
    /// # Errors
    /// A message when there is no room; the compilation ends with [`WorkerError::NoRoom`].
    fn reserve(&self, bytes: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// Compiles `module` into `artifact` at full speed, within the default limits. See [`prepare_within`].
///
/// # Errors
/// The same as for [`prepare_within`].
pub async fn prepare(
    program: &WorkerProgram,
    module: &Path,
    artifact: &Path,
    engine: EngineKind,
) -> Result<bool, WorkerError> {
    prepare_within(program, module, artifact, engine, None, watch::channel(Percent::FULL).1, None).await
}

/// Compiles `module` into `artifact` in a worker of its own, unless the artifact exists already.
///
/// The worker gets the share of processor time in `duty`; at 0 it stops. Dropping the future ends the
/// worker. Without `limits`, those for the size of the module apply; without `room`, nothing is asked before
/// the compiled module is written.
///
/// Returns whether the artifact existed. It appears whole or not at all.
///
/// # Errors
/// [`WorkerError`]; with [`WorkerError::is_permanent`] the module is at fault, otherwise another attempt
/// may work.
pub async fn prepare_within(
    program: &WorkerProgram,
    module: &Path,
    artifact: &Path,
    engine: EngineKind,
    limits: Option<CompileLimits>,
    duty: watch::Receiver<Percent>,
    room: Option<&dyn ArtifactRoom>,
) -> Result<bool, WorkerError> {
    if tokio::fs::try_exists(artifact).await.unwrap_or(false) {
        return Ok(true);
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::File { path, source }
    };
    if let Some(folder) = artifact.parent() {
        let mut builder = tokio::fs::DirBuilder::new();
        builder.recursive(true);
        // This makes the data folder where no engine has run yet.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(folder).await.map_err(at(folder))?;
    }
    let limits = match limits {
        Some(limits) => limits,
        None => CompileLimits::of(tokio::fs::metadata(module).await.map_err(at(module))?.len()),
    };
    let mut partial = artifact.as_os_str().to_owned();
    // Two tasks of one job may compile at once; the later artifact replaces the earlier, both whole.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    partial.push(format!(
        ".{}-{since}-{}.partial",
        std::process::id(),
        CALLS.fetch_add(1, Ordering::Relaxed)
    ));
    // Removes the partial file when the future is dropped.
    let partial = Partial(PathBuf::from(partial));
    let message = ToWorker::Compile {
        module: module.to_owned(),
        artifact: partial.0.clone(),
        engine,
        memory: limits.memory.0,
    };
    match compile_supervised(program, &message, limits, duty, room).await? {
        FromWorker::Compiled => {
            tokio::fs::rename(&partial.0, artifact).await.map_err(at(artifact))?;
            Ok(false)
        }
        FromWorker::CannotCompile(message) => Err(WorkerError::Module { message }),
        FromWorker::CannotWrite(message) => {
            Err(WorkerError::File { path: partial.0.clone(), source: std::io::Error::other(message) })
        }
        _ => Err(WorkerError::ProtocolViolation { message: "not an answer to compiling".to_owned() }),
    }
}

/// A file that is removed on drop; after a rename there is nothing to remove.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the compiler's answer. On systems that cannot stop a process, a compiler that should stop is
/// ended, and begins again when it may run.
async fn compile_supervised(
    program: &WorkerProgram,
    message: &ToWorker,
    limits: CompileLimits,
    mut duty: watch::Receiver<Percent>,
    room: Option<&dyn ArtifactRoom>,
) -> Result<FromWorker, WorkerError> {
    loop {
        wait_until_allowed(&mut duty).await;
        let mut seat = program.start()?;
        if let Some(answer) = compile_once(&mut seat, message, limits, &mut duty, room).await? {
            return Ok(answer);
        }
        seat.end();
        if let ToWorker::Compile { artifact, .. } = message {
            let _ = tokio::fs::remove_file(artifact).await;
        }
    }
}

async fn wait_until_allowed(duty: &mut watch::Receiver<Percent>) {
    while *duty.borrow_and_update() == Percent::ZERO {
        if duty.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Compiles once; `None` when the worker had to be ended because it cannot be stopped.
async fn compile_once(
    seat: &mut WorkerProcess,
    message: &ToWorker,
    limits: CompileLimits,
    duty: &mut watch::Receiver<Percent>,
    room: Option<&dyn ArtifactRoom>,
) -> Result<Option<FromWorker>, WorkerError> {
    let mut throttle = Throttle::new(*duty.borrow_and_update(), COMPILE_DEBT);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut is_frozen, mut may_change) = (false, true);
    let (mut last, mut passed) = (Instant::now(), Duration::ZERO);
    // The worker ends when its input is closed.
    let (mut input, output) = ask(seat, message).await?;
    // A frame that is read here would be lost when another branch comes first.
    let (to, mut frames) = mpsc::channel(1);
    tokio::spawn(read_frames(output, to));
    loop {
        tokio::select! {
            biased;
            changed = duty.changed(), if may_change => {
                may_change = changed.is_ok();
                let now = *duty.borrow_and_update();
                if throttle.is_held && !is_frozen {
                    seat.hold(false);
                }
                throttle.set_duty(now);
                let should_freeze = now == Percent::ZERO;
                if should_freeze != is_frozen {
                    is_frozen = should_freeze;
                    // A thread continues to compile: it can be neither stopped nor ended.
                    if !seat.hold(is_frozen) && is_frozen && seat.pid().is_some() {
                        return Ok(None);
                    }
                }
            }
            frame = frames.recv() => {
                return match frame {
                    Some(Ok(FromWorker::CompiledTo(bytes))) => {
                        if let Some(room) = room {
                            room.reserve(bytes).await.map_err(|message| WorkerError::NoRoom { message })?;
                        }
                        send(&mut input, &ToWorker::Write).await?;
                        continue;
                    }
                    Some(answer) => answer.map(Some).map_err(|message| WorkerError::ProtocolViolation { message }),
                    None => {
                        let exit = seat.exit().await;
                        Err(if exit.is_out_of_memory { WorkerError::CompileMemory { limit: limits.memory } } else { WorkerError::Died { status: exit.status } })
                    }
                };
            }
            _ = looks.tick(), if !is_frozen => {
                let usage = seat.usage();
                let elapsed = last.elapsed();
                (last, passed) = (Instant::now(), if throttle.is_held { passed } else { passed + elapsed.min(LOOK_EVERY * 2) });
                let (used, most) = usage.map_or((passed, limits.time * UNTOLD_SCALE), |usage| (usage.processor, limits.time));
                if used > most {
                    return Err(WorkerError::CompileTime { seconds: limits.time.as_secs() });
                }
                if usage.and_then(|usage| usage.resident).is_some_and(|resident| resident > limits.memory.0) {
                    return Err(WorkerError::CompileMemory { limit: limits.memory });
                }
                if let Some(usage) = usage {
                    let was_held = throttle.is_held;
                    let should_hold = throttle.look(Instant::now(), usage.processor, false);
                    if should_hold != was_held {
                        throttle.is_held = seat.hold(should_hold) && should_hold;
                    }
                }
            }
        }
    }
}

/// Starts a worker, lets it enter its sandbox, and returns the walls that this system supports.
///
/// # Errors
/// [`WorkerError`] when no worker can be started or it does not answer.
pub async fn check_sandbox(program: &WorkerProgram) -> Result<SandboxStatus, WorkerError> {
    let mut seat = program.start()?;
    let (_input, mut output) = ask(&mut seat, &ToWorker::SandboxStatus).await?;
    match read_frame(&mut output).await {
        Some(Ok(FromWorker::SandboxStatus(walls))) => Ok(walls),
        Some(Ok(_)) => {
            Err(WorkerError::ProtocolViolation { message: "not an answer about its walls".to_owned() })
        }
        Some(Err(message)) => Err(WorkerError::ProtocolViolation { message }),
        None => Err(WorkerError::Died { status: seat.exit().await.status }),
    }
}

type Pipes = (
    Box<dyn tokio::io::AsyncWrite + Send + Sync + Unpin>,
    Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>,
);

/// Sends one message to a worker and returns its pipes; the output ends when the worker dies.
async fn ask(seat: &mut WorkerProcess, message: &ToWorker) -> Result<Pipes, WorkerError> {
    let (Some(mut input), Some(output)) = (seat.input.take(), seat.output.take()) else {
        return Err(WorkerError::ProtocolViolation { message: "no pipes".to_owned() });
    };
    send(&mut input, message).await?;
    Ok((input, output))
}

async fn send(
    input: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &ToWorker,
) -> Result<(), WorkerError> {
    let frame =
        encode_frame(message).map_err(|e| WorkerError::ProtocolViolation { message: e.to_string() })?;
    // A worker that reads nothing has ended, which its output shows.
    let _ = input.write_all(&frame).await;
    Ok(())
}
