//! The shipped `fog` with the real BlueZ, in a virtual machine with virtual radios: `tests/ble/`.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use fog_tests::{artefacts, fog_binary, is_full};

/// Allows one machine at a time: it uses all processors.
static MACHINE: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ble")
}

/// Runs a scenario of `talk.sh` and prints its output if it fails.
fn talk(scenario: &[&str], nodes: &str, options: &[&str], seconds: u32) {
    talk_with(scenario, nodes, options, seconds, |_| {});
}

fn talk_with(scenario: &[&str], nodes: &str, options: &[&str], seconds: u32, add: impl Fn(&Path)) {
    /// Exit code of `vm.sh` when the machine did not start, which proves nothing about the programs in it.
    const NO_MACHINE: i32 = 125;
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let share = tempfile::tempdir().unwrap();
    std::fs::copy(fog_binary(), share.path().join("fog")).unwrap();
    std::fs::copy(folder().join("talk.sh"), share.path().join("talk.sh")).unwrap();
    add(share.path());
    let name: String =
        [scenario, options].concat().join("-").chars().filter(|c| c.is_alphanumeric() || *c == '-').collect();
    let run = || {
        let mut machine = Command::new(folder().join("vm.sh"));
        machine
            .args(["-n", nodes, "-t", &seconds.to_string(), "-l"])
            .arg(artefacts().join(format!("ble-{name}")));
        machine
            .arg("-s")
            .arg(share.path())
            .args(options)
            .args(["--", "sh", "./talk.sh"])
            .args(scenario)
            .output()
            .unwrap()
    };
    let mut output = run();
    if output.status.code() == Some(NO_MACHINE) {
        println!("the machine did not come up; once more. {}", String::from_utf8_lossy(&output.stderr));
        output = run();
    }
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{scenario:?} {options:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn two_nodes_meet_and_talk() {
    talk(&["two"], "2", &[], 900);
}

#[test]
fn three_nodes_in_a_line_pass_on() {
    talk(&["line"], "3", &[], 900);
}

/// Runs in the long form only.
#[test]
fn who_comes_late_catches_up() {
    if is_full() {
        talk(&["late"], "3", &[], 900);
    }
}

/// Runs in the long form only.
#[test]
fn a_link_is_cut_in_the_middle_of_a_file() {
    if is_full() {
        talk(&["cut"], "2", &[], 900);
    }
}

#[test]
fn who_is_killed_is_found_and_heard_again() {
    talk(&["killed"], "2", &[], 900);
}

/// Uses another version of BlueZ, also with several ATT channels, which it grants without pairing. Long
/// form only.
#[test]
fn the_other_bluez_and_several_channels() {
    if is_full() {
        for options in [&["-r", "bookworm"][..], &["-r", "bookworm", "-e", "3"]] {
            talk(&["two"], "2", options, 900);
            talk(&["line"], "3", options, 900);
        }
    }
}

/// Sends messages both ways for half an hour. Long form only.
#[test]
fn half_an_hour_loses_nothing_and_leaks_nothing() {
    if is_full() {
        talk(&["soak", "1800"], "2", &[], 2400);
    }
}

/// Uses the speaker of `tests/ble/speaker`, an independent implementation of the protocol, in the role of a
/// phone and in both radio roles. Long form only.
#[test]
fn a_second_reading_of_the_protocol_understands_ours() {
    if !is_full() {
        return;
    }
    let with_python = |share: &Path| {
        let copied = Command::new("cp").arg("-r").arg(folder().join("speaker")).arg(share).status().unwrap();
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--python-version",
            "3.13",
            "--only-binary=:all:",
            "--target",
        ])
        .arg(share.join("wheels"));
        let fetched = pip.args(["bleak==3.1.0", "cryptography"]).status().unwrap();
        assert!(copied.success() && fetched.success(), "the speaker's libraries cannot be had");
    };
    for role in ["central", "peripheral"] {
        talk_with(&["speaker", role], "2", &["-p", "python3"], 700, with_python);
    }
}
