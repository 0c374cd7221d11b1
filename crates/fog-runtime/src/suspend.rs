//! Suspends workers together with this process: Ctrl-Z in a terminal reaches only this process, because its
//! workers are in sessions of their own.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Processes of workers.
#[derive(Debug)]
struct Workers {
    /// Worker processes by id, and whether each is held for a reason of its own.
    held: BTreeMap<u32, bool>,
    /// Whether all of them are suspended.
    is_suspended: bool,
}

static WORKERS: Mutex<Workers> = Mutex::new(Workers { held: BTreeMap::new(), is_suspended: false });

fn workers() -> MutexGuard<'static, Workers> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a worker process.
pub(crate) fn enter(pid: u32) {
    workers().held.insert(pid, false);
}

/// Removes a worker process that ends, so that its id gets no more signals.
pub(crate) fn leave(pid: u32) {
    workers().held.remove(&pid);
}

/// Ids of all worker processes of this process: of tasks, compilers and samples.
#[must_use]
pub fn worker_pids() -> Vec<u32> {
    workers().held.keys().copied().collect()
}

/// Stops or continues a process; returns false when the system cannot.
pub(crate) fn hold(pid: u32, hold: bool) -> bool {
    let mut workers = workers();
    let Some(is_held) = workers.held.get_mut(&pid) else { return signal(pid, hold) };
    *is_held = hold;
    workers.is_suspended || signal(pid, hold)
}

#[cfg(unix)]
fn suspend() {
    let mut workers = workers();
    workers.is_suspended = true;
    for pid in workers.held.keys() {
        signal(*pid, true);
    }
}

#[cfg(unix)]
fn resume() {
    let mut workers = workers();
    workers.is_suspended = false;
    for (pid, _) in workers.held.iter().filter(|(_, is_held)| !**is_held) {
        signal(*pid, false);
    }
}

/// From now on SIGTSTP, which Ctrl-Z sends, stops the workers and then this process; they continue with it.
///
/// A separate thread waits for the signal, because this process may be blocked on its output. Does nothing
/// where the signal is ignored.
///
/// # Errors
/// The error of the system when the signal handler or the thread cannot be started.
#[cfg(unix)]
pub fn suspend_with_workers() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    if is_ignored(libc::SIGTSTP) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut asked = {
        let _inside = runtime.enter();
        signal(SignalKind::from_raw(libc::SIGTSTP))?
    };
    let wait = async move {
        while asked.recv().await.is_some() {
            suspend();
            stop_this_process();
            resume();
        }
    };
    std::thread::Builder::new().name("suspend".to_owned()).spawn(move || runtime.block_on(wait)).map(drop)
}

/// Does nothing: this system has no such signal.
///
/// # Errors
/// Never fails.
#[cfg(not(unix))]
pub fn suspend_with_workers() -> std::io::Result<()> {
    Ok(())
}

/// Stops this process; returns when it is continued.
#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "a signal to the whole process may reach it after this thread went on; only this one is for the thread itself"
)]
fn stop_this_process() {
    // SAFETY: sends a signal that no handler can take.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Whether this process was started to outlive its terminal, as by `nohup`.
///
/// The result is only valid until the process handles that signal.
#[cfg(unix)]
#[must_use]
pub fn is_hangup_ignored() -> bool {
    is_ignored(libc::SIGHUP)
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "no safe call asks for it")]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes to `now`, which zeroes initialise.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(unix)]
fn signal(pid: u32, stop: bool) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if stop { Signal::STOP } else { Signal::CONT };
    Pid::from_raw(pid.cast_signed()).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Does nothing: without such signals a task runs on for the few milliseconds to its next safe point.
#[cfg(not(unix))]
fn signal(_pid: u32, _stop: bool) -> bool {
    false
}
