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

/// How much of a worker's standard error is kept. The job cannot write there: it is what the language's
/// runtime says when it gives up.
const MAX_LAST_WORDS: usize = 4 << 10;
/// Time for a worker that has closed its pipes to end.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// How the runtime begins what it says when the system has no more memory for it.
const ALLOCATION_FAILED: &str = "memory allocation of";

/// Scheduling priority of a worker beside the other programs of its device (nice, autogroup; a priority class on
/// Windows).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// Behind every other program.
    #[default]
    Idle,
    /// Behind the programs a person uses, but never starved by them: somebody waits for the result.
    Asked,
}

/// How to start a worker.
#[derive(Debug, Clone)]
pub enum WorkerProgram {
    /// A process of its own, below a sandbox of the system: this program, or another of ours.
    Process {
        /// The executable.
        path: PathBuf,
        /// Its arguments; [`WORKER_ARGUMENT`] among them.
        args: Vec<OsString>,
    },
    /// A thread of this process, with Wasm's own sandbox only. For phones, whose systems start no
    /// second program. Unix only.
    Thread,
}

impl WorkerProgram {
    /// The program that is running now.
    ///
    /// # Errors
    /// When the system does not tell where it is.
    pub fn this() -> std::io::Result<Self> {
        Ok(Self::Process { path: std::env::current_exe()?, args: vec![WORKER_ARGUMENT.into()] })
    }

    /// The same program, whose workers have this priority. Threads have one of their own.
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

    pub(crate) fn start(&self) -> Result<Seat, WorkerError> {
        match self {
            Self::Process { path, args } => Seat::of_process(path, args).map_err(|source| WorkerError::Start { program: path.clone(), source }),
            Self::Thread => Seat::of_thread().map_err(|source| WorkerError::Start { program: "a thread".into(), source }),
        }
    }
}

/// Where a worker sits: two pipes, and the process behind them if there is one.
///
/// Dropping it kills the process; a thread ends at its next safe point, when its pipes are gone.
pub(crate) struct Seat {
    pub(crate) input: Option<Box<dyn AsyncWrite + Send + Sync + Unpin>>,
    pub(crate) output: Option<Box<dyn AsyncRead + Send + Sync + Unpin>>,
    child: Option<Child>,
    last_words: Arc<Mutex<Vec<u8>>>,
}

/// How a worker's process ended.
pub(crate) struct Exit {
    /// As the system words it, with what the process said last.
    pub(crate) status: String,
    /// The system refused it memory.
    pub(crate) is_out_of_memory: bool,
}

impl Seat {
    fn of_process(path: &std::path::Path, args: &[OsString]) -> std::io::Result<Self> {
        let mut command = Command::new(path);
        detach(&mut command);
        let command = command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
        // A socket rather than pipes: writing to one whose reader has gone raises no signal on Apple's systems.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (output, input) = tokio::net::UnixStream::from_std(ours)?.into_split();
        let news = theirs.try_clone()?;
        // The compiler recurses deeper than a thread's usual 2 MiB allow.
        std::thread::Builder::new().name("task".to_owned()).stack_size(8 << 20).spawn(move || crate::worker::worker_thread(theirs, news))?;
        Ok(Self { input: Some(Box::new(input)), output: Some(Box::new(output)), child: None, last_words: Arc::default() })
    }

    #[cfg(not(unix))]
    fn of_thread() -> std::io::Result<Self> {
        Err(std::io::Error::other("this system runs workers as processes"))
    }

    /// The process id; none for a thread.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Ends the process now; a thread at its next safe point.
    pub(crate) fn end(&mut self) {
        self.input = None;
        self.output = None;
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }

    /// How the process ended; waits two seconds for it.
    pub(crate) async fn exit(&mut self) -> Exit {
        self.pid().into_iter().for_each(suspend::leave);
        let Some(child) = &mut self.child else { return Exit { status: "its thread ended".to_owned(), is_out_of_memory: false } };
        let mut status = match tokio::time::timeout(EXIT_GRACE, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "it closed its output".to_owned(),
        };
        // Its pipe is closed by now, or something else holds it: the words are there within moments.
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

    /// What the process has used; none for a thread, or when the system does not tell.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.pid().and_then(usage::of_process)
    }

    /// Stops the process or lets it go on; false when there is none or the system has no such thing.
    pub(crate) fn hold(&self, hold: bool) -> bool {
        self.pid().is_some_and(|pid| suspend::hold(pid, hold))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Its number may be another's from here on.
        self.pid().into_iter().for_each(suspend::leave);
    }
}

/// A session of its own, so that what the worker says about its priority is about itself alone: the kernel
/// groups processes by session when it shares out time. Ctrl-C in a terminal does not reach it either; the
/// parent wants a checkpoint first.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only way to call between fork and exec")]
fn detach(command: &mut Command) {
    // SAFETY: one system call that allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            // Without one the worker leaves its group's priority alone.
            let _ = rustix::process::setsid();
            Ok(())
        });
    }
}

/// A process group of its own: Ctrl-C in a terminal is for the parent, which wants a checkpoint first.
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
