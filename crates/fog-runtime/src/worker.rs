use std::io::{self, Read, Write};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fog_types::{Percent, on_disk};

use crate::compile::{self, EngineKind};
use crate::program::Priority;
use crate::protocol::{CHUNK_BYTES, FrameWriter, FromWorker, Mark, SavedState, ToWorker, read_frame};
use crate::run::{Control, Observer, Order, RunError, run};
use crate::sandbox::{self, SandboxStatus};
use crate::snapshot::{Snapshot, SnapshotError, Taken};
use crate::task::TaskSpec;

/// Argument that makes the program a worker; not for users.
pub const WORKER_ARGUMENT: &str = "__worker";

/// Argument that gives a worker [`Priority::Asked`].
pub(crate) const ASKED_ARGUMENT: &str = "__asked";

/// Shortest time between two progress messages.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Longest single pause of throttling, so that it feels even.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

const CONTROL_STACK_BYTES: usize = 256 << 10;

/// Niceness that is added for a worker thread: below the app's own threads, but not so low that a phone
/// hardly runs it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const THREAD_NICENESS: i32 = 10;

/// Main function of a worker process. The first message gives the task, the rest of standard input controls
/// its speed. When the parent ends, the worker ends too.
#[must_use]
pub fn worker_main() -> ExitCode {
    let is_asked = std::env::args_os().any(|arg| arg == ASKED_ARGUMENT);
    sandbox::lower_priority(if is_asked { Priority::Asked } else { Priority::Idle });
    // The standard input handle reads ahead into a buffer that the control thread shares. The standard
    // output handle would look for line ends.
    #[cfg(unix)]
    let news = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned().map(std::fs::File::from);
    #[cfg(not(unix))]
    let news = io::Result::Ok(io::stdout());
    if let Ok(news) = news {
        work(io::stdin(), news, Place::Process);
    }
    ExitCode::SUCCESS
}

/// Main function of a worker thread in the engine's process.
#[cfg(unix)]
pub(crate) fn worker_thread(orders: UnixStream, news: UnixStream) {
    // Linux and Android keep this number for each thread; new threads inherit it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::process::nice(THREAD_NICENESS);
    work(orders, news, Place::Thread);
}

/// Place of a worker, which decides how it ends and whether it enters a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Process,
    #[cfg_attr(not(unix), expect(dead_code, reason = "other systems run processes only"))]
    Thread,
}

impl Place {
    /// Enters the sandbox, unless other code runs in this process.
    fn restrict(self) -> SandboxStatus {
        if self == Self::Process { sandbox::restrict() } else { SandboxStatus::default() }
    }

    fn leave(self) {
        if self == Self::Process {
            std::process::exit(3);
        }
    }
}

fn work(mut orders: impl Read + Send + 'static, news: impl Write + Send + 'static, place: Place) {
    let mut news = FrameWriter::new(Box::new(news) as Box<dyn Write + Send>);
    match read_frame(&mut orders) {
        Ok(ToWorker::Compile { module, artifact, engine, memory }) => {
            if place == Place::Process {
                sandbox::limit_memory(memory);
            }
            // Some systems do not end a process with its parent.
            let watch =
                std::thread::Builder::new().name("control".to_owned()).stack_size(CONTROL_STACK_BYTES);
            let (may_write, allowed) = sync_channel(1);
            if watch.spawn(move || listen_while_compiling(orders, &may_write, place)).is_err() {
                return;
            }
            let may_write =
                |bytes| news.write(&FromWorker::CompiledTo(bytes)).is_ok() && allowed.recv().is_ok();
            let message = match compile_file(&module, &artifact, engine, place, may_write) {
                Ok(()) => FromWorker::Compiled,
                Err(message) => message,
            };
            // A parent that has ended needs no answer.
            let _ = news.write(&message);
        }
        Ok(ToWorker::Start { spec, state_bytes }) => {
            // A parent that stops sending in between has ended.
            if place == Place::Process {
                sandbox::limit_memory(memory_of(&spec, state_bytes));
            }
            if let Ok(snapshot) = read_snapshot(&mut orders, state_bytes) {
                execute(&spec, snapshot, orders, news, place);
            }
        }
        Ok(ToWorker::SandboxStatus) => {
            let _ = news.write(&FromWorker::SandboxStatus(place.restrict()));
        }
        Ok(ToWorker::Duty(_) | ToWorker::State(_) | ToWorker::Save { .. } | ToWorker::Write) | Err(_) => {}
    }
}

/// Passes the permission to write on, and leaves with the parent.
fn listen_while_compiling(mut orders: impl Read, may_write: &SyncSender<()>, place: Place) {
    while let Ok(order) = read_frame(&mut orders) {
        if matches!(order, ToWorker::Write) {
            // The compiler may have failed meanwhile.
            let _ = may_write.try_send(());
        }
    }
    place.leave();
}

/// Memory limit of the process in bytes, touched or not. A continued task begins with its state in memory,
/// and as much again if that consists of many small stretches; room for frames is reserved in advance.
fn memory_of(spec: &TaskSpec, state_bytes: u64) -> u64 {
    let artifact = std::fs::metadata(&spec.artifact).map_or(0, |artifact| artifact.len());
    [artifact, state_bytes.saturating_mul(2), fog_instrument::frame_bytes(spec.limits.stack.0)]
        .into_iter()
        .fold(spec.limits.footprint().0, u64::saturating_add)
}

/// Reads the snapshot to continue from; `None` when there are no bytes of it. The inner error is the
/// snapshot's, the outer one that of a parent that has ended.
fn read_snapshot(orders: &mut impl Read, bytes: u64) -> io::Result<Result<Option<Snapshot>, SnapshotError>> {
    if bytes == 0 {
        return Ok(Ok(None));
    }
    let mut pieces = StatePieces { orders, bytes, piece: io::Cursor::new(Vec::new()), problem: None };
    let snapshot = Snapshot::decode_from(&mut pieces);
    // The parent sends all of it before it sends or handles anything else.
    let rest = io::copy(&mut pieces, &mut io::sink());
    match pieces.problem {
        Some(problem) => Err(problem),
        None => rest.map(|_| snapshot.map(Some)),
    }
}

/// Reader of the bytes of a snapshot from the parent, with one piece in memory.
struct StatePieces<'a, R> {
    orders: &'a mut R,
    /// Number of bytes that are still to come.
    bytes: u64,
    piece: io::Cursor<Vec<u8>>,
    /// Error that ended the input.
    problem: Option<io::Error>,
}

impl<R: Read> Read for StatePieces<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            if self.bytes == 0 || self.problem.is_some() {
                return Ok(0);
            }
            match read_frame(self.orders) {
                Ok(ToWorker::State(piece)) if !piece.is_empty() => {
                    self.bytes = self.bytes.saturating_sub(piece.len() as u64);
                    self.piece = io::Cursor::new(piece);
                }
                other => {
                    self.problem = Some(other.err().unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
                    return Ok(0);
                }
            }
        }
        self.piece.read(buffer)
    }
}

/// Compiles a module and writes it once `may_write` returns true for its size.
fn compile_file(
    module: &Path,
    artifact: &Path,
    engine: EngineKind,
    place: Place,
    may_write: impl FnOnce(u64) -> bool,
) -> Result<(), FromWorker> {
    let file = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| FromWorker::CannotWrite(format!("the {what}: {e}"))
    };
    let bytes = std::fs::read(module).map_err(file("module"))?;
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(artifact).map_err(file("compiled module"))?;
    // From here on untrusted code is processed; the compiler needs only memory.
    place.restrict();
    let compiled = compile::compile(&bytes, engine).map_err(|e| FromWorker::CannotCompile(e.to_string()))?;
    if !may_write(compiled.len() as u64) {
        return Err(FromWorker::CannotWrite("nobody waits for the compiled module".to_owned()));
    }
    out.write_all(&compiled).map_err(file("compiled module"))
}

fn execute(
    spec: &TaskSpec,
    snapshot: Result<Option<Snapshot>, SnapshotError>,
    orders: impl Read + Send + 'static,
    news: FrameWriter<Box<dyn Write + Send>>,
    place: Place,
) {
    let shared = Arc::new(Shared {
        place,
        state: Mutex::new(State { duty: spec.duty, permille: None, is_abandoned: false, wants_save: None }),
        changed: Condvar::new(),
        out: Mutex::new(news),
    });
    let listener = Arc::clone(&shared);
    if std::thread::Builder::new()
        .name("control".to_owned())
        .stack_size(CONTROL_STACK_BYTES)
        .spawn(move || listener.listen(orders))
        .is_err()
    {
        return;
    }
    let observer = Box::new(Announcer { shared: Arc::clone(&shared) });
    let control = Box::new(Throttle {
        shared: Arc::clone(&shared),
        duty: spec.duty,
        debt: Duration::ZERO,
        last_progress: Instant::now(),
        is_frozen: false,
    });
    let result = snapshot
        .map_err(|e| RunError::Checkpoint(e.to_string()))
        .and_then(|snapshot| run(spec, snapshot, observer, control, || _ = place.restrict()));
    let message = match result {
        Ok((report, files)) => {
            if !files.is_empty() {
                let on_disk = files.iter().fold(0, |sum: u64, file| sum.saturating_add(on_disk(file.len())));
                shared.send(&FromWorker::Files { on_disk });
            }
            for file in files {
                let mut at = 0;
                // An empty file still has to be announced.
                while at == 0 || at < file.len() {
                    let mut chunk = vec![0; CHUNK_BYTES];
                    let read = file.read(&mut chunk, at);
                    chunk.truncate(read);
                    at += CHUNK_BYTES as u64;
                    shared.send(&FromWorker::File { path: file.path.clone(), chunk });
                }
            }
            FromWorker::Done(report)
        }
        Err(RunError::Abandoned) => return,
        Err(error) => {
            FromWorker::Failed { stale: matches!(error, RunError::Stale(_)), message: error.to_string() }
        }
    };
    shared.send(&message);
}

struct Shared {
    place: Place,
    state: Mutex<State>,
    changed: Condvar,
    out: Mutex<FrameWriter<Box<dyn Write + Send>>>,
}

struct State {
    duty: Percent,
    permille: Option<u16>,
    is_abandoned: bool,
    /// Requested checkpoint; true for a whole one.
    wants_save: Option<bool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &FromWorker) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.write(message).is_err() {
            drop(out);
            self.abandon();
        }
    }

    /// Ends the task, because the parent no longer listens: a process at once, a thread at its next safe
    /// point.
    fn abandon(&self) {
        self.place.leave();
        self.state().is_abandoned = true;
        self.changed.notify_all();
    }

    fn listen(&self, mut orders: impl Read) {
        loop {
            match read_frame(&mut orders) {
                Ok(ToWorker::Duty(duty)) => {
                    self.state().duty = duty;
                    self.changed.notify_all();
                }
                Ok(ToWorker::Save { whole }) => {
                    let mut state = self.state();
                    state.wants_save = Some(whole || state.wants_save == Some(true));
                    drop(state);
                    self.changed.notify_all();
                }
                Ok(
                    ToWorker::Start { .. }
                    | ToWorker::Compile { .. }
                    | ToWorker::State(_)
                    | ToWorker::SandboxStatus
                    | ToWorker::Write,
                ) => {}
                Err(_) => return self.abandon(),
            }
        }
    }
}

struct Announcer {
    shared: Arc<Shared>,
}

impl Observer for Announcer {
    fn output(&mut self, stderr: bool, bytes: &[u8]) {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let chunk = chunk.to_vec();
            self.shared.send(&if stderr { FromWorker::Stderr(chunk) } else { FromWorker::Stdout(chunk) });
        }
    }

    fn progress(&mut self, permille: u16) {
        self.shared.state().permille = Some(permille);
    }

    fn started(&mut self) {
        self.shared.send(&FromWorker::Started);
    }
}

/// Writer that sends a checkpoint to the parent in pieces while it is made.
struct Pieces<'a> {
    shared: &'a Shared,
    piece: Vec<u8>,
    bytes: u64,
}

impl Pieces<'_> {
    fn send(&mut self) {
        self.bytes += self.piece.len() as u64;
        if !self.piece.is_empty() {
            let message = FromWorker::State(std::mem::take(&mut self.piece));
            self.shared.send(&message);
            if let FromWorker::State(piece) = message {
                self.piece = piece;
                self.piece.clear();
            }
        }
    }
}

impl std::io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == CHUNK_BYTES {
            self.send();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.send();
        Ok(())
    }
}

/// Control that sleeps in proportion to the time worked, and freezes at duty 0.
struct Throttle {
    shared: Arc<Shared>,
    /// Share to which the debt belongs.
    duty: Percent,
    debt: Duration,
    last_progress: Instant,
    /// Whether the parent was told that the task is frozen.
    is_frozen: bool,
}

impl Control for Throttle {
    fn safe_point(&mut self, worked: Duration, units: u64) -> Order {
        let permille = self.shared.state().permille;
        if self.last_progress.elapsed() >= PROGRESS_EVERY {
            self.last_progress = Instant::now();
            self.shared.send(&FromWorker::Progress { units, permille });
        }
        let mut state = self.shared.state();
        if state.duty == Percent::ZERO && !state.is_abandoned {
            if !std::mem::replace(&mut self.is_frozen, true) {
                drop(state);
                self.shared.send(&FromWorker::Frozen);
                state = self.shared.state();
            }
            let is_held = |state: &mut State| {
                state.duty == Percent::ZERO && !state.is_abandoned && state.wants_save.is_none()
            };
            state = self.shared.changed.wait_while(state, is_held).unwrap_or_else(PoisonError::into_inner);
            // A checkpoint taken while frozen leaves no debt.
            self.debt = Duration::ZERO;
        }
        if state.is_abandoned {
            return Order::Abandon;
        }
        if state.duty != self.duty {
            (self.duty, self.debt) = (state.duty, Duration::ZERO);
        }
        let duty = u32::from(state.duty.get());
        self.debt += if duty > 0 { worked * (100 - duty) / duty } else { Duration::ZERO };
        if let Some(whole) = state.wants_save.take() {
            return Order::Save { whole };
        }
        if std::mem::take(&mut self.is_frozen) {
            drop(state);
            self.shared.send(&FromWorker::Thawed);
            return Order::Go;
        }
        if self.debt >= Duration::from_millis(2) {
            let begun = Instant::now();
            let duty_now = state.duty;
            let sleep = self.debt.min(LONGEST_SLEEP);
            let is_same = |state: &mut State| {
                state.duty == duty_now && !state.is_abandoned && state.wants_save.is_none()
            };
            let _ = self.shared.changed.wait_timeout_while(state, sleep, is_same);
            self.debt = self.debt.saturating_sub(begun.elapsed());
        }
        Order::Go
    }

    fn at_safe_point(&mut self) {
        self.shared.send(&FromWorker::AtSafePoint);
    }

    fn save(&mut self, taken: Result<Taken<'_>, String>) {
        let saved = taken.and_then(|taken| {
            let mut pieces =
                Pieces { shared: &self.shared, piece: Vec::with_capacity(CHUNK_BYTES), bytes: 0 };
            taken.write(&mut pieces).map_err(|e| e.to_string())?;
            pieces.send();
            Ok(SavedState {
                bytes: pieces.bytes,
                units: taken.units().0,
                memory: taken.memory_bytes(),
                whole: taken.is_whole(),
            })
        });
        self.shared.send(&FromWorker::Saved(saved));
    }

    fn mark(&mut self, mark: Mark) {
        self.shared.send(&FromWorker::Mark(mark));
    }
}
