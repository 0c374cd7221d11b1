//! Sandbox of the operating system around a worker, in addition to Wasm's own.

#[cfg(target_os = "linux")]
#[path = "sandbox/linux.rs"]
mod os;
#[cfg(target_os = "macos")]
#[path = "sandbox/macos.rs"]
mod os;
#[cfg(windows)]
#[path = "sandbox/windows.rs"]
mod os;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "sandbox/fallback.rs"]
mod os;

use serde::{Deserialize, Serialize};

pub use os::set_priority;
pub(crate) use os::{limit_memory, lower_priority, restrict};

/// Walls of the operating system around a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// Whether opening files and connections is forbidden (Linux: Landlock; macOS: sandbox profile).
    pub files: bool,
    /// Whether all system calls but the few needed ones are forbidden (Linux: seccomp).
    pub calls: bool,
    /// Whether starting programs is forbidden (Linux: seccomp; macOS: sandbox profile; Windows: job
    /// object).
    pub programs: bool,
    /// Whether changing anything that is not open already is forbidden (all of the above; Windows: lowest
    /// integrity).
    pub changes: bool,
}
