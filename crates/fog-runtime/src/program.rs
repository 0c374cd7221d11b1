use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

use crate::host::WorkerError;
use crate::worker::WORKER_ARGUMENT;

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
}

impl Seat {
    fn of_process(path: &std::path::Path, args: &[OsString]) -> std::io::Result<Self> {
        let mut command = Command::new(path);
        // Ctrl-C in a terminal is for the parent, which wants a checkpoint of its worker first.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let input = child.stdin.take().map(|pipe| Box::new(pipe) as _);
        let output = child.stdout.take().map(|pipe| Box::new(pipe) as _);
        Ok(Self { input, output, child: Some(child) })
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
        Ok(Self { input: Some(Box::new(input)), output: Some(Box::new(output)), child: None })
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

    /// How the process ended, as the system words it; waits two seconds for it.
    pub(crate) async fn status(&mut self) -> String {
        let Some(child) = &mut self.child else { return "its thread ended".to_owned() };
        match tokio::time::timeout(Duration::from_secs(2), child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "it closed its output".to_owned(),
        }
    }

    /// Stops the process or lets it go on; false when there is none or the system has no such thing.
    pub(crate) fn hold(&self, hold: bool) -> bool {
        self.pid().is_some_and(|pid| signal(pid, hold))
    }
}

#[cfg(unix)]
fn signal(pid: u32, stop: bool) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if stop { Signal::STOP } else { Signal::CONT };
    Pid::from_raw(pid.cast_signed()).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Without such signals a task between two safe points runs on for the few milliseconds it needs.
#[cfg(not(unix))]
fn signal(_pid: u32, _stop: bool) -> bool {
    false
}
