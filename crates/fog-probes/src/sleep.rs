//! The system going to sleep: held back for the moment that saving takes.

#[cfg(target_os = "linux")]
#[path = "sleep/linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "sleep/macos.rs"]
mod system;
#[cfg(windows)]
#[path = "sleep/windows.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "sleep/fallback.rs"]
mod system;

use std::time::Duration;

/// Called before the system sleeps, with the time it waits at most; whether there is still somebody to
/// call. Linux stops watching when not; the others go on calling for nothing.
pub type BeforeSleep = Box<dyn Fn(Duration) -> bool + Send + Sync>;

/// Watches for sleep. Where the system does not tell, it is
/// never called.
///
/// # Errors
/// When the system refuses to tell, or there is no thread for it.
pub fn watch_sleep(before: BeforeSleep) -> std::io::Result<()> {
    system::watch(before)
}
