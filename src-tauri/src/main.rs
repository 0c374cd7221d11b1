//! The desktop app's entry.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A worker is this same program; it must not open a window.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == fog_runtime::WORKER_ARGUMENT) {
        return fog_runtime::worker_main();
    }
    match fog_compute::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed or full, nobody can be told.
            let _ = writeln!(std::io::stderr(), "fog-compute: {error:#}");
            ExitCode::FAILURE
        }
    }
}
