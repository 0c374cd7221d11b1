//! Hostile modules in a worker process, measured from outside: what the system says about its memory, its
//! processor time and its session. Nothing a job or a worker says about itself counts here.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod endless;
mod memory;
mod owner;
mod support;
