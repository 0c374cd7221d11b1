//! Signals that ask a verb in the foreground to stop.

use std::time::Duration;

/// The exit code of a process whose terminal went.
const HUNG_UP: u8 = 129;

/// Whether it is the exit code of a process whose terminal went.
pub fn is_hangup(code: u8) -> bool {
    code == HUNG_UP
}

/// The signals that ask this process to stop. What comes while nobody listens is heard later.
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// None where this process is to outlive its terminal.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    #[cfg(unix)]
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Before anything listens: a listener takes the place of what `nohup` set.
        let hangup = if fog_runtime::is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    #[cfg(windows)]
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// The exit code that shells give such an end: 128 and the signal's number.
    ///
    /// A terminal that goes is told once, since shells and the system may both say it: that is not somebody who asks twice.
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
            // Nothing is to come any more.
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

/// Last words take this long at most where nobody takes them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// From now on a signal that asks this process to stop calls `say`, and ends it with the exit code of that signal.
///
/// A thread of its own waits for it, as this process may be waiting for whoever reads its output.
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
            // Nobody waits any more for words that took too long.
            let _ = told.send(());
        });
        let _ = heard.recv_timeout(LAST_WORDS);
        std::process::exit(i32::from(code));
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
