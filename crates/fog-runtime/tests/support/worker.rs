//! A program that is only a worker, for tests that measure one from outside.

use std::process::ExitCode;

fn main() -> ExitCode {
    fog_runtime::worker_main()
}
