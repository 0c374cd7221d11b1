//! What the operating system forbids a worker, below Wasm's own walls.

#[cfg(target_os = "linux")]
#[path = "sandbox/linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "sandbox/fallback.rs"]
mod os;

use serde::{Deserialize, Serialize};

pub(crate) use os::{lower_priority, restrict};

/// Which walls of the system stand around a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// It can open no file and no connection (Linux: Landlock).
    pub files: bool,
    /// It can make no system call but the few it needs (Linux: seccomp).
    pub calls: bool,
}
