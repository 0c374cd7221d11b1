//! What the operating system forbids a worker, below Wasm's own walls.

#[cfg(target_os = "linux")]
#[path = "sandbox/linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "sandbox/fallback.rs"]
mod os;

pub(crate) use os::{lower_priority, restrict};
