//! `cargo xtask bench`: cost of counting, stopping and host calls in processor time, on third-party
//! programs and on kernels, compared with the same modules in plain wasmtime, in one run.
//!
//! Output must be the same in both and natively; a row with different output is marked and does not count.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

#[cfg(target_os = "linux")]
#[path = "overhead/host.rs"]
mod host;
#[cfg(target_os = "linux")]
#[path = "overhead/measure.rs"]
mod measure;
#[cfg(target_os = "linux")]
#[path = "overhead/work.rs"]
mod work;

#[cfg(target_os = "linux")]
fn main() {
    measure::table();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("overhead: the programs come from Debian's sources");
}
