//! Notice of system sleep, which is delayed while work is saved.

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

/// Callback before the system sleeps, with the time that it may take. Returns whether it still has a
/// receiver; on false Linux stops watching, the other systems ignore it.
pub type BeforeSleep = Box<dyn Fn(Duration) -> bool + Send + Sync>;

/// Watches for system sleep. Where the system gives no notice, `before` is never called.
///
/// # Errors
/// When the system refuses the registration or a thread cannot be started.
pub fn watch_sleep(before: BeforeSleep) -> std::io::Result<()> {
    system::watch(before)
}
