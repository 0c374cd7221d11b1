//! `cargo xtask bench`: what counting, stopping and our host calls cost in processor time, on programs
//! nobody here wrote and on five kernels, beside the same modules in plain wasmtime, in one run.
//!
//! A program's output is the same in both and natively, or its row says so and does not count.
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
