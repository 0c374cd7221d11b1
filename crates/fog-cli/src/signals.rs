//! Signals that ask a verb in the foreground to stop.

use std::time::Duration;

/// Exit code of a process whose terminal was closed.
const HUNG_UP: u8 = 129;

/// Whether the exit code is that of a process whose terminal was closed.
pub fn is_hangup(code: u8) -> bool {
    code == HUNG_UP
}

/// Signals that ask this process to stop. A signal that arrives while nobody listens is delivered later.
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// `None` where this process is to outlive its terminal.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    #[cfg(unix)]
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Checked before the listener replaces the disposition that `nohup` set.
        let hangup =
            if fog_runtime::is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    #[cfg(windows)]
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// Returns the exit code that shells use for such an end: 128 plus the number of the signal.
    ///
    /// A hang-up is reported once: shells and the system may both send it, which is not a second request.
    #[cfg(unix)]
    pub async fn next(&mut self) -> u8 {
        let hangup = &mut self.hangup;
        let hung_up = async {
            match hangup {
                Some(signal) => signal.recv().await,
                None => None,
            }
        };
        let code = tokio::select! {
            Some(()) = self.terminate.recv() => 143,
            Some(()) = self.interrupt.recv() => 130,
            Some(()) = hung_up => HUNG_UP,
            // No listener can deliver a signal any more.
            else => std::future::pending().await,
        };
        if code == HUNG_UP {
            self.hangup = None;
        }
        code
    }

    #[cfg(windows)]
    pub async fn next(&mut self) -> u8 {
        match self.interrupt.recv().await {
            Some(()) => 130,
            None => std::future::pending().await,
        }
    }
}

/// Longest time for the last message when nobody reads it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Makes a signal that asks this process to stop call `say` and end the process with the exit code of that
/// signal.
///
/// The signal is awaited on a separate thread, since this process may be blocked on its output.
pub fn end_with(say: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let wait = move || {
        let code = runtime.block_on(signals.next());
        let (told, heard) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            say();
            // The receiver is gone when the message took too long.
            let _ = told.send(());
        });
        let _ = heard.recv_timeout(LAST_WORDS);
        std::process::exit(i32::from(code));
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
