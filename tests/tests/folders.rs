//! Data folders: long paths, no home, different environments; and files written by other programs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fog_tests::{Bench, Guarded, fog_binary, wait_for};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `fog` in a folder with only the given environment.
fn bare(bench: &Bench, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(fog_binary());
    command
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(bench.scratch())
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn without_a_home_it_is_said_and_no_folder_appears() {
    let bench = Bench::new().unwrap();
    for verb in [&["status"][..], &["daemon"], &["settings", "list"]] {
        for environment in [&[][..], &[("HOME", "")], &[("HOME", "relative")], &[("FOG_DATA_DIR", "")]] {
            let refused = bare(&bench, verb, environment);
            assert_eq!(
                refused.status.code(),
                Some(74),
                "{verb:?} {environment:?}: {}",
                text(&refused.stderr)
            );
            assert!(text(&refused.stderr).contains("--data-dir"), "{}", text(&refused.stderr));
        }
    }
    assert!(
        bare(&bench, &["completions", "bash"], &[]).status.success(),
        "what needs no folder asks for none"
    );
    let left: Vec<PathBuf> =
        std::fs::read_dir(bench.scratch()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "the working folder stays as it was");
    let missing = bare(&bench, &["--data-dir", "/nowhere/at/all", "status"], &[]);
    assert_eq!(missing.status.code(), Some(69));
    assert!(
        text(&missing.stderr).contains("/nowhere/at/all, which does not exist"),
        "{}",
        text(&missing.stderr)
    );
}

/// Uses procfs, which accepts no files from anybody.
#[cfg(target_os = "linux")]
#[test]
fn of_a_folder_that_cannot_be_written_one_thing_is_said() {
    let bench = Bench::new().unwrap();
    let refused = bare(&bench, &["--data-dir", "/proc/self", "daemon"], &[("FOG_KEYCHAIN", "off")]);
    assert_eq!(refused.status.code(), Some(74));
    let said = text(&refused.stderr);
    assert!(said.lines().count() == 1 && said.contains("/proc/self"), "{said}");
}

#[test]
fn the_address_depends_on_the_folder_alone() {
    let bench = Bench::new().unwrap();
    let folder = bench.scratch().join("a".repeat(90)).join("b".repeat(90));
    let folder = folder.to_string_lossy().into_owned();
    let mut daemon = Command::new(fog_binary());
    daemon
        .args(["--data-dir", &folder, "daemon"])
        .env_clear()
        .env("FOG_KEYCHAIN", "off")
        .env("XDG_RUNTIME_DIR", "/nowhere/at/all");
    let log = std::fs::File::create(bench.scratch().join("log")).unwrap();
    let mut daemon = Guarded(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let temporary = bench.scratch().to_string_lossy().into_owned();
    let asks = |environment: &[(&str, &str)]| {
        bare(&bench, &["--data-dir", &folder, "--json", "status"], environment)
    };
    wait_for("the daemon", Duration::from_secs(20), || asks(&[]).status.success().then_some(())).unwrap();
    for environment in [
        &[("XDG_RUNTIME_DIR", "/run/user/1000")][..],
        &[("XDG_RUNTIME_DIR", temporary.as_str())],
        &[("TMPDIR", temporary.as_str())],
    ] {
        let answer = asks(environment);
        assert!(answer.status.success(), "{environment:?}: {}", text(&answer.stderr));
    }
    let place = std::fs::read_link(format!("{folder}/fog.sock")).unwrap();
    // A second daemon reports the running one, not a missing folder.
    let second = bare(&bench, &["--data-dir", &folder, "daemon"], &[("FOG_KEYCHAIN", "off")]);
    assert!(text(&second.stderr).contains("already uses"), "{}", text(&second.stderr));
    assert!(bare(&bench, &["--data-dir", &folder, "shutdown"], &[]).status.success());
    assert!(daemon.0.wait().unwrap().success());
    assert!(!place.exists() && !place.parent().unwrap().exists(), "nothing of it is left");
}

#[test]
fn files_of_other_editors_and_shells_are_read() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let wide = |text: &str| {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    let settings = "{\"fog_settings\": 1, \"settings\": {\"battery_stop\": 33}}";
    for (at, bytes) in [format!("\u{feff}{settings}").into_bytes(), wide(&settings.replace("33", "34"))]
        .into_iter()
        .enumerate()
    {
        std::fs::write(bench.scratch().join("s.json"), bytes).unwrap();
        let read = bench.fog(&["settings", "import", "s.json"]).unwrap();
        assert!(read.status.success(), "{}", text(&read.stderr));
        assert_eq!(
            text(&bench.fog(&["settings", "get", "battery_stop"]).unwrap().stdout),
            format!("{}\n", 33 + at)
        );
    }
    let trace = "\u{feff}{\"t_ms\":0,\"readings\":{\"idle\":600}}\n";
    std::fs::write(bench.scratch().join("t.jsonl"), trace).unwrap();
    assert_eq!(bench.json(&["why", "--trace", "t.jsonl"]).unwrap().as_array().map(Vec::len), Some(1));
    let module = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
    bench.module("m.wasm", module).unwrap();
    for (name, bytes) in [
        ("b.toml", "\u{feff}version = 1\nmodule = \"m.wasm\"\n".as_bytes().to_vec()),
        ("w.toml", wide("version = 1\nmodule = \"m.wasm\"\n")),
    ] {
        std::fs::write(bench.scratch().join(name), bytes).unwrap();
        let job = bench.json(&["submit", name]).unwrap();
        assert_eq!(job["name"], "m", "{name}");
    }
    // A valid file name need not be a valid job name.
    for (name, job) in [("a\nb.wasm", "a b"), (&format!("{}.wasm", "n".repeat(200)), &"n".repeat(120))] {
        std::fs::copy(bench.scratch().join("m.wasm"), bench.scratch().join(name)).unwrap();
        let stored = bench.json(&["submit", &format!("./{name}")]);
        assert_eq!(stored.unwrap()["name"], job, "{name:?}");
    }
    let one = bench.fog(&["submit", "m.wasm"]).unwrap();
    assert!(text(&one.stdout).contains("(1 task)"), "{}", text(&one.stdout));
}

#[test]
fn settings_that_contradict_each_other_are_told_and_readings_that_cannot_be_refused() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let before = bench.json(&["settings", "list"]).unwrap();
    for changes in [
        &["battery_stop=90", "battery_resume=20"][..],
        &["battery_stop=61"],
        &["jobs_allow=anna", "jobs_deny=anna"],
    ] {
        let refused = bench.fog(&[&["settings", "set"], changes].concat()).unwrap();
        assert_eq!(refused.status.code(), Some(65), "{changes:?}");
        assert!(text(&refused.stderr).contains("Nothing was changed"), "{}", text(&refused.stderr));
    }
    assert_eq!(bench.json(&["settings", "list"]).unwrap(), before);
    let told = bench.fog(&["settings", "set", "energy_max=30"]).unwrap();
    assert!(
        told.status.success() && text(&told.stderr).contains("no effect until energy_source"),
        "{}",
        text(&told.stderr)
    );
    let other = bench.fog(&["settings", "set", "battery_stop=50"]).unwrap();
    assert_eq!(
        (other.status.code(), text(&other.stderr).as_str()),
        (Some(0), ""),
        "what was not changed is not told again"
    );
    let table = text(&bench.fog(&["settings", "list"]).unwrap().stdout);
    assert!(table.contains("2500  ") && !table.contains(".0 "), "{table}");

    // The result is the same with and without an engine.
    for round in 0..2 {
        for reading in [
            "battery=NaN",
            "battery=250",
            "cpu_temp=-300",
            "cpu_temp=127.5",
            "fan_rpm=65535",
            "idle=-1",
            "other_cpu=NaN",
        ] {
            let refused = bench.fog(&["why", "--with", reading]).unwrap();
            assert_eq!(refused.status.code(), Some(65), "{reading}: {}", text(&refused.stdout));
            assert!(text(&refused.stderr).contains("expected"), "{}", text(&refused.stderr));
        }
        let fine: Value = serde_json::from_slice(
            &bench.fog(&["--json", "why", "--with", "battery=35,charging=false"]).unwrap().stdout,
        )
        .unwrap();
        assert!(fine["verdict"]["duty"] == 0, "{fine}");
        if round == 0 {
            bench.kill();
        }
    }
}
