//! Entry point of the desktop app.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

use std::io::Write;
use std::process::ExitCode;

use fog_types::ErrorKind;

const HELP: &str = "\
The window of Fog Compute: lend your device's idle time, and run jobs on it

Usage: fog-compute [--hidden]

Options:
      --hidden   Start in the tray, without a window
  -h, --help     Print help
  -V, --version  Print version

Exit codes:
  0   done    1 the app cannot start    78 there is no display to open a window on

Without a display `fog daemon` runs the engine; `fog --help` lists its other verbs.

Environment: FOG_DATA_DIR (folder with jobs, results and settings), FOG_EXAMPLES, FOG_LOG (such as info or fog_engine=debug),
FOG_KEYCHAIN (off: the key of the checkpoints goes to a file), LANG.";

/// Returns the text to print for `--help` or `--version`. Other arguments may come from the desktop.
fn asked() -> Option<&'static str> {
    std::env::args_os().skip(1).find_map(|argument| match argument.to_str()? {
        "-h" | "--help" => Some(HELP),
        "-V" | "--version" => Some(concat!("fog-compute ", env!("CARGO_PKG_VERSION"))),
        _ => None,
    })
}

fn main() -> ExitCode {
    // A worker is the same executable; it must not open a window.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == fog_runtime::WORKER_ARGUMENT) {
        return fog_runtime::worker_main();
    }
    if let Some(text) = asked() {
        let written = writeln!(std::io::stdout(), "{text}");
        return if written.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(ErrorKind::Storage.exit_code())
        };
    }
    match fog_compute::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody can be told when standard error is closed or full.
            let _ = writeln!(std::io::stderr(), "fog-compute: {error:#}");
            if error.is::<fog_compute::NoDisplay>() {
                ExitCode::from(ErrorKind::Unsupported.exit_code())
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
