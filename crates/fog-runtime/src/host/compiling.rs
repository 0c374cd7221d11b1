//! Compiling a module in a worker of its own, within limits and at the owner's pace.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fog_types::{ByteCount, Percent};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::supervise::{LOOK_EVERY, Throttle};
use super::{WorkerError, read_frame};
use crate::compile::EngineKind;
use crate::program::{Seat, WorkerProgram};
use crate::protocol::{FromWorker, ToWorker, encode_frame};
use crate::sandbox::Walls;

/// Processor time that compiling a module may take.
const COMPILE_TIME: Duration = Duration::from_secs(300);
/// Memory of a compiler at work on a small module, and what each byte of a module may add.
const COMPILE_MEMORY: u64 = 256 << 20;
const COMPILE_MEMORY_PER_BYTE: u64 = 32;
const MAX_COMPILE_MEMORY: u64 = 3 << 30;
/// A compiler does not pause by itself: it is stopped as soon as it is ahead of its share.
const COMPILE_DEBT: Duration = Duration::from_millis(20);
/// Where the system does not tell processor time, time that passes is taken, and as many times as much of it.
const UNTOLD_SCALE: u32 = 4;

/// What compiling one module may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time.
    pub time: Duration,
    /// Memory of the compiler's process.
    pub memory: ByteCount,
}

impl CompileLimits {
    /// Of a module of this size.
    #[must_use]
    pub fn of(module_bytes: u64) -> Self {
        let memory = COMPILE_MEMORY.saturating_add(module_bytes.saturating_mul(COMPILE_MEMORY_PER_BYTE)).min(MAX_COMPILE_MEMORY);
        Self { time: COMPILE_TIME, memory: ByteCount(memory) }
    }
}

/// Compiles `module` into `artifact` at full speed, within the usual limits. See [`prepare_within`].
///
/// # Errors
/// As [`prepare_within`].
pub async fn prepare(program: &WorkerProgram, module: &Path, artifact: &Path, engine: EngineKind) -> Result<bool, WorkerError> {
    prepare_within(program, module, artifact, engine, None, watch::channel(Percent::FULL).1).await
}

/// Compiles `module` into `artifact` in a worker of its own, unless it is there already.
///
/// The worker gets the share of processor time that `duty` says; at 0 it stands still. Dropping the
/// future ends it. Without `limits`, those for the size of the module hold.
///
/// Returns whether it was there. The artifact appears whole or not at all.
///
/// # Errors
/// Those with [`WorkerError::is_permanent`] when the module is at fault; others may go away on another try.
pub async fn prepare_within(
    program: &WorkerProgram,
    module: &Path,
    artifact: &Path,
    engine: EngineKind,
    limits: Option<CompileLimits>,
    duty: watch::Receiver<Percent>,
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
        // Where no engine ran yet, this makes the data folder.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(folder).await.map_err(at(folder))?;
    }
    let limits = match limits {
        Some(limits) => limits,
        None => CompileLimits::of(tokio::fs::metadata(module).await.map_err(at(module))?.len()),
    };
    let mut partial = artifact.as_os_str().to_owned();
    // Two tasks of one job may compile at once; the later name replaces the earlier, both whole.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    partial.push(format!(".{}-{since}-{}.partial", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    // Whoever drops this future wants no half of a file.
    let partial = Partial(PathBuf::from(partial));
    let message = ToWorker::Compile { module: module.to_owned(), artifact: partial.0.clone(), engine, memory: limits.memory.0 };
    match compile_supervised(program, &message, limits, duty).await? {
        FromWorker::Compiled => {
            tokio::fs::rename(&partial.0, artifact).await.map_err(at(artifact))?;
            Ok(false)
        }
        FromWorker::CannotCompile(message) => Err(WorkerError::Module { message }),
        FromWorker::CannotWrite(message) => Err(WorkerError::File { path: partial.0.clone(), source: std::io::Error::other(message) }),
        _ => Err(WorkerError::Nonsense { message: "not an answer to compiling".to_owned() }),
    }
}

/// A file that is removed unless it got its final name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The compiler's answer. On systems that stop no process, one that should stand still is ended, and begins
/// anew when it may run again.
async fn compile_supervised(
    program: &WorkerProgram,
    message: &ToWorker,
    limits: CompileLimits,
    mut duty: watch::Receiver<Percent>,
) -> Result<FromWorker, WorkerError> {
    loop {
        wait_until_allowed(&mut duty).await;
        let mut seat = program.start()?;
        if let Some(answer) = compile_once(&mut seat, message, limits, &mut duty).await? {
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

/// `None` when it had to be ended because it cannot be stopped.
async fn compile_once(
    seat: &mut Seat,
    message: &ToWorker,
    limits: CompileLimits,
    duty: &mut watch::Receiver<Percent>,
) -> Result<Option<FromWorker>, WorkerError> {
    let mut throttle = Throttle::new(*duty.borrow_and_update(), COMPILE_DEBT);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut is_frozen, mut may_change) = (false, true);
    let (mut last, mut passed) = (Instant::now(), Duration::ZERO);
    // The worker ends when its input does.
    let (_input, mut output) = ask(seat, message).await?;
    let mut answer = std::pin::pin!(read_frame(&mut output));
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
                    // A thread compiles on: it can be neither stopped nor ended.
                    if !seat.hold(is_frozen) && is_frozen && seat.pid().is_some() {
                        return Ok(None);
                    }
                }
            }
            frame = &mut answer => {
                return match frame {
                    Some(answer) => answer.map(Some).map_err(|message| WorkerError::Nonsense { message }),
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

/// Starts a worker, has it put up its walls, and returns which stand on this system.
///
/// # Errors
/// When no worker can be started or it does not answer.
pub async fn check_walls(program: &WorkerProgram) -> Result<Walls, WorkerError> {
    let mut seat = program.start()?;
    let (_input, mut output) = ask(&mut seat, &ToWorker::Walls).await?;
    match read_frame(&mut output).await {
        Some(Ok(FromWorker::Walls(walls))) => Ok(walls),
        Some(Ok(_)) => Err(WorkerError::Nonsense { message: "not an answer about its walls".to_owned() }),
        Some(Err(message)) => Err(WorkerError::Nonsense { message }),
        None => Err(WorkerError::Died { status: seat.exit().await.status }),
    }
}

type Pipes = (Box<dyn tokio::io::AsyncWrite + Send + Sync + Unpin>, Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>);

/// Says one thing to a worker; its answer comes from the pipe that is returned, which ends when it dies.
async fn ask(seat: &mut Seat, message: &ToWorker) -> Result<Pipes, WorkerError> {
    let nonsense = |message: String| WorkerError::Nonsense { message };
    let (Some(mut input), Some(output)) = (seat.input.take(), seat.output.take()) else {
        return Err(nonsense("no pipes".to_owned()));
    };
    let frame = encode_frame(message).map_err(|e| nonsense(e.to_string()))?;
    // One that reads nothing has ended, which its output tells.
    let _ = input.write_all(&frame).await;
    Ok((input, output))
}
