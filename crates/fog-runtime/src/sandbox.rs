//! What the operating system forbids a worker, below Wasm's own walls.

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

/// Which walls of the system stand around a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// It can open no file and no connection (Linux: Landlock; macOS: sandbox profile).
    pub files: bool,
    /// It can make no system call but the few it needs (Linux: seccomp).
    pub calls: bool,
    /// It can start no program (Linux: seccomp; macOS: sandbox profile; Windows: job object).
    pub programs: bool,
    /// It can change nothing that is not open already (all of the above; Windows: lowest integrity).
    pub changes: bool,
}
