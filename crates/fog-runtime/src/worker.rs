use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog_types::Percent;

use crate::compile;
use crate::protocol::{CHUNK_BYTES, FromWorker, ToWorker, read_frame, write_frame};
use crate::run::{Control, Observer, RunError, run};
use crate::sandbox;
use crate::task::TaskSpec;

/// The argument that makes a program of ours a worker. Not for people.
pub const WORKER_ARGUMENT: &str = "__worker";

/// Least time between two progress messages.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Throttling works in periods of at most this; short enough to feel even.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// The whole life of a worker process: one message says what to do, the rest of standard input
/// controls how fast. When the parent goes away, so does the worker.
#[must_use]
pub fn worker_main() -> ExitCode {
    sandbox::lower_priority();
    let mut stdin = io::stdin().lock();
    match read_frame(&mut stdin) {
        Ok(ToWorker::Compile { module, artifact }) => {
            drop(stdin);
            let message = match compile_file(&module, &artifact) {
                Ok(()) => FromWorker::Compiled,
                Err(message) => message,
            };
            exit_with(&message)
        }
        Ok(ToWorker::Start(spec)) => {
            drop(stdin);
            execute(&spec)
        }
        Ok(ToWorker::Duty(_)) | Err(_) => ExitCode::from(2),
    }
}

fn exit_with(message: &FromWorker) -> ExitCode {
    match write_frame(&mut io::stdout().lock(), message) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

fn compile_file(module: &std::path::Path, artifact: &std::path::Path) -> Result<(), FromWorker> {
    let file = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| FromWorker::CannotWrite(format!("the {what}: {e}"))
    };
    let bytes = std::fs::read(module).map_err(file("module"))?;
    let mut out = std::fs::File::create_new(artifact).map_err(file("compiled module"))?;
    // The module is foreign from here on; the compiler needs nothing but memory.
    sandbox::restrict();
    let compiled = compile::compile(&bytes).map_err(|e| FromWorker::CannotCompile(e.to_string()))?;
    out.write_all(&compiled).map_err(file("compiled module"))
}

fn execute(spec: &TaskSpec) -> ExitCode {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { duty: spec.duty, permille: None }),
        changed: Condvar::new(),
        out: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())),
    });
    let listener = Arc::clone(&shared);
    let listening = std::thread::Builder::new().name("control".to_owned()).stack_size(256 << 10).spawn(move || listener.listen());
    if listening.is_err() {
        return ExitCode::from(2);
    }
    let observer = Box::new(Announcer { shared: Arc::clone(&shared) });
    let mut control = Throttle { shared: Arc::clone(&shared), debt: Duration::ZERO, last_progress: Instant::now() };
    let message = match run(spec, observer, &mut control, sandbox::restrict) {
        Ok((report, files)) => {
            for file in files {
                let mut chunks = file.data.chunks(CHUNK_BYTES);
                // An empty file still has to be announced.
                let first = chunks.next().unwrap_or_default();
                for chunk in std::iter::once(first).chain(chunks) {
                    shared.send(&FromWorker::File { path: file.path.clone(), chunk: chunk.to_vec() });
                }
            }
            FromWorker::Done(report)
        }
        Err(error) => FromWorker::Failed { stale: matches!(error, RunError::Stale(_)), message: error.to_string() },
    };
    shared.send(&message);
    ExitCode::SUCCESS
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    out: Mutex<BufWriter<io::Stdout>>,
}

struct State {
    duty: Percent,
    permille: Option<u16>,
}

impl Shared {
    fn send(&self, message: &FromWorker) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if write_frame(&mut *out, message).is_err() {
            // Nobody listens any more.
            std::process::exit(3);
        }
    }

    fn listen(&self) {
        let mut stdin = io::stdin().lock();
        loop {
            match read_frame(&mut stdin) {
                Ok(ToWorker::Duty(duty)) => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).duty = duty;
                    self.changed.notify_all();
                }
                Ok(ToWorker::Start(_) | ToWorker::Compile { .. }) => {}
                Err(_) => std::process::exit(3),
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
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).permille = Some(permille);
    }

    fn started(&mut self) {
        self.shared.send(&FromWorker::Started);
    }
}

/// Sleeps in proportion to the time worked, and freezes at duty 0.
struct Throttle {
    shared: Arc<Shared>,
    debt: Duration,
    last_progress: Instant,
}

impl Control for Throttle {
    fn safe_point(&mut self, worked: Duration, units: u64) {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.last_progress.elapsed() >= PROGRESS_EVERY {
            self.last_progress = Instant::now();
            self.shared.send(&FromWorker::Progress { units, permille: state.permille });
        }
        if state.duty == Percent::ZERO {
            self.shared.send(&FromWorker::Frozen);
            drop(self.shared.changed.wait_while(state, |state| state.duty == Percent::ZERO).unwrap_or_else(PoisonError::into_inner));
            self.shared.send(&FromWorker::Thawed);
            self.debt = Duration::ZERO;
            return;
        }
        let duty = u32::from(state.duty.get());
        self.debt += worked * (100 - duty) / duty;
        if self.debt >= Duration::from_millis(2) {
            let begun = Instant::now();
            let duty_now = state.duty;
            let sleep = self.debt.min(LONGEST_SLEEP);
            let _ = self.shared.changed.wait_timeout_while(state, sleep, |state| state.duty == duty_now);
            self.debt = self.debt.saturating_sub(begun.elapsed());
        }
    }
}
