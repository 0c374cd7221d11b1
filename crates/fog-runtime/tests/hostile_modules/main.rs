//! Hostile modules in a worker process, measured from outside: what the system reports about its memory,
//! processor time and session. Statements of a job or a worker about itself do not count.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod endless;
mod memory;
mod owner;
mod support;
