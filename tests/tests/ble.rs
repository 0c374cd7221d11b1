//! The shipped `fog` over the real BlueZ, in a virtual machine with virtual radios: `tests/ble/`.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use fog_tests::{artefacts, fog_binary, is_full};

/// One machine at a time: it computes all that its processors do.
static MACHINE: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ble")
}

/// Runs a scenario of `talk.sh` and shows what it said if it fails.
fn talk(scenario: &[&str], nodes: &str, options: &[&str], seconds: u32) {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let share = tempfile::tempdir().unwrap();
    std::fs::copy(fog_binary(), share.path().join("fog")).unwrap();
    std::fs::copy(folder().join("talk.sh"), share.path().join("talk.sh")).unwrap();
    let logs = artefacts().join(format!("ble-{}{}", scenario[0], options.concat()));
    let mut machine = Command::new(folder().join("vm.sh"));
    machine.args(["-n", nodes, "-t", &seconds.to_string(), "-l"]).arg(&logs).arg("-s").arg(share.path()).args(options);
    machine.args(["--", "sh", "./talk.sh"]).args(scenario);
    let output = machine.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{scenario:?} {options:?}: {}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_nodes_meet_and_talk() {
    talk(&["two"], "2", &[], 420);
}

#[test]
fn three_nodes_in_a_line_pass_on() {
    talk(&["line"], "3", &[], 420);
}

#[test]
fn who_comes_late_catches_up() {
    talk(&["late"], "3", &[], 420);
}

#[test]
fn a_link_is_cut_in_the_middle_of_a_file() {
    talk(&["cut"], "2", &[], 600);
}

/// The other BlueZ, and more than one ATT channel; half an hour. Long form.
#[test]
fn other_bluez_eatt_and_half_an_hour() {
    if !is_full() {
        return;
    }
    talk(&["two"], "2", &["-e", "3"], 420);
    talk(&["line"], "3", &["-e", "3"], 420);
    talk(&["two"], "2", &["-r", "bookworm"], 600);
    talk(&["soak", "1800"], "2", &[], 2400);
}
