use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::process::{Child, ChildStderr, Command};

use crate::host::WorkerError;
use crate::suspend;
use crate::usage::{self, Usage};
use crate::worker::{ASKED_ARGUMENT, WORKER_ARGUMENT};

/// Largest part of a worker's standard error that is kept, bytes. The job cannot write there; only the Rust
/// runtime does when it aborts.
const MAX_LAST_WORDS: usize = 4 << 10;
/// Time that a worker gets to end after it has closed its pipes.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// Text of the Rust runtime when the system refuses it memory.
const ALLOCATION_FAILED: &str = "memory allocation of";

/// Scheduling priority of a worker compared with other programs (nice and autogroup; a priority class on
/// Windows).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// Below every other program.
    #[default]
    Idle,
    /// Below the programs a person uses, but never starved by them, for a result that somebody waits for.
    Asked,
}

/// Description of how to start a worker.
#[derive(Debug, Clone)]
pub enum WorkerProgram {
    /// A process of its own in a sandbox of the system.
    Process {
        /// Path of the executable.
        path: PathBuf,
        /// Arguments, which include [`WORKER_ARGUMENT`].
        args: Vec<OsString>,
    },
    /// A thread of this process, with Wasm's sandbox only, for phones, whose systems start no second
    /// program. Unix only.
    Thread,
}

impl WorkerProgram {
    /// Workers that are processes of the current program.
    ///
    /// # Errors
    /// The error of the system when it does not give the program's path.
    pub fn this() -> std::io::Result<Self> {
        Ok(Self::Process { path: std::env::current_exe()?, args: vec![WORKER_ARGUMENT.into()] })
    }

    /// Returns the same program with workers of this priority. Threads have a fixed priority.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        if let Self::Process { args, .. } = &mut self {
            args.retain(|arg| arg != ASKED_ARGUMENT);
            if priority == Priority::Asked {
                args.push(ASKED_ARGUMENT.into());
            }
        }
        self
    }

    pub(crate) fn start(&self) -> Result<WorkerProcess, WorkerError> {
        match self {
            Self::Process { path, args } => WorkerProcess::of_process(path, args)
                .map_err(|source| WorkerError::Start { program: path.clone(), source }),
            Self::Thread => WorkerProcess::of_thread()
                .map_err(|source| WorkerError::Start { program: "a thread".into(), source }),
        }
    }
}

/// Connection to a worker: two pipes, and its process if there is one.
///
/// Dropping it kills a process; a thread ends at its next safe point, when its pipes are closed.
pub(crate) struct WorkerProcess {
    pub(crate) input: Option<Box<dyn AsyncWrite + Send + Sync + Unpin>>,
    pub(crate) output: Option<Box<dyn AsyncRead + Send + Sync + Unpin>>,
    child: Option<Child>,
    last_words: Arc<Mutex<Vec<u8>>>,
}

/// End of a worker's process.
pub(crate) struct Exit {
    /// Exit status in words of the system, with the first line of the worker's standard error.
    pub(crate) status: String,
    /// Whether the system refused it memory.
    pub(crate) is_out_of_memory: bool,
}

impl WorkerProcess {
    fn of_process(path: &std::path::Path, args: &[OsString]) -> std::io::Result<Self> {
        let mut command = Command::new(path);
        detach(&mut command);
        let command = command
            .args(args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        child.id().into_iter().for_each(suspend::enter);
        let input = child.stdin.take().map(|pipe| Box::new(pipe) as _);
        let output = child.stdout.take().map(|pipe| Box::new(pipe) as _);
        let last_words = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_last_words(stderr, Arc::clone(&last_words)));
        }
        Ok(Self { input, output, child: Some(child), last_words })
    }

    #[cfg(unix)]
    fn of_thread() -> std::io::Result<Self> {
        // A socket instead of pipes, because writing to a closed one raises no signal on Apple's systems.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (output, input) = tokio::net::UnixStream::from_std(ours)?.into_split();
        let news = theirs.try_clone()?;
        // The compiler recurses deeper than the usual 2 MiB of a thread allow.
        std::thread::Builder::new()
            .name("task".to_owned())
            .stack_size(8 << 20)
            .spawn(move || crate::worker::worker_thread(theirs, news))?;
        Ok(Self {
            input: Some(Box::new(input)),
            output: Some(Box::new(output)),
            child: None,
            last_words: Arc::default(),
        })
    }

    #[cfg(not(unix))]
    fn of_thread() -> std::io::Result<Self> {
        Err(std::io::Error::other("this system runs workers as processes"))
    }

    /// Process id; `None` for a thread.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Ends a process now, or a thread at its next safe point.
    pub(crate) fn end(&mut self) {
        self.input = None;
        self.output = None;
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }

    /// Waits up to two seconds for the process to end and returns how it ended.
    pub(crate) async fn exit(&mut self) -> Exit {
        self.pid().into_iter().for_each(suspend::leave);
        let Some(child) = &mut self.child else {
            return Exit { status: "its thread ended".to_owned(), is_out_of_memory: false };
        };
        let mut status = match tokio::time::timeout(EXIT_GRACE, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "it closed its output".to_owned(),
        };
        // The worker's standard error is closed by now, or held by another process; the text arrives at
        // once.
        for _ in 0..20 {
            if Arc::strong_count(&self.last_words) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if let Some(line) = words.lines().next() {
            status = format!("{status}: {line}");
        }
        Exit { status, is_out_of_memory: words.contains(ALLOCATION_FAILED) }
    }

    /// Usage of the process so far; `None` for a thread or when the system does not report it.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.pid().and_then(usage::of_process)
    }

    /// Stops or continues the process; returns false without a process or where the system cannot.
    pub(crate) fn hold(&self, hold: bool) -> bool {
        self.pid().is_some_and(|pid| suspend::hold(pid, hold))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // The process id may be reused from here on.
        self.pid().into_iter().for_each(suspend::leave);
    }
}

/// Gives the worker a session of its own, because the kernel shares processor time out by session, so that
/// its priority affects the worker alone. Ctrl-C in a terminal does not reach it either; the parent takes a
/// checkpoint first.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only way to call between fork and exec")]
fn detach(command: &mut Command) {
    // SAFETY: one system call that allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            // Without its own session the worker leaves the priority of its group unchanged.
            let _ = rustix::process::setsid();
            Ok(())
        });
    }
}

/// Gives the worker a process group of its own: Ctrl-C in a terminal goes to the parent, which takes a
/// checkpoint first.
#[cfg(all(unix, not(target_os = "linux")))]
fn detach(command: &mut Command) {
    command.process_group(0);
}

#[cfg(not(unix))]
fn detach(_command: &mut Command) {}

async fn keep_last_words(mut stderr: ChildStderr, words: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_LAST_WORDS.saturating_sub(words.len());
        words.extend_from_slice(&piece[..length.min(room)]);
    }
}
