//! Work that is stopped, killed, moved and continued gives the same result for the same units.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(missing_docs, reason = "what a macro adds has none")]

use std::process::{Command, Stdio};
use std::time::Duration;

use fog_tests::jobs::{FLOATS, example, identity};
use fog_tests::{Bench, fog_binary, is_full, wait_for};
use serde_json::Value;

/// Starts `fog run … --checkpoint`, interrupts it after a while; false when it ended before.
#[cfg(unix)]
fn interrupted(bench: &Bench, args: &[&str], after: Duration) -> bool {
    let child = bench.command(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(after);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(143) => true,
        Some(0) => false,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Torn, the generation before it is continued, and the person is told.
#[cfg(unix)]
#[test]
fn a_torn_checkpoint_costs_its_last_generation_only() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    let plain = identity(&bench.fog(&["--json", "run", &module, "--", "13", "200"]).unwrap());
    let file = bench.scratch().join("torn.fog").to_string_lossy().into_owned();
    let args = ["run", &module, "--checkpoint", &file, "--every", "0.05", "--", "13", "200"];
    assert!(interrupted(&bench, &args, Duration::from_millis(600)), "it ended before it could be stopped");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let again = bench.fog(&["--json", "run", "--from", &file]).unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("not a whole checkpoint"));
    assert_eq!(identity(&again), plain);
    assert_eq!(bench.fog(&["run", "--from", &module]).unwrap().status.code(), Some(65));
}

#[test]
fn files_randomness_and_time_go_on_where_they_were() {
    let bench = Bench::new().unwrap();
    // Writes a random number and the time into a file, a line each, with work in between.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (memory (export "memory") 2) (data (i32.const 0) "log.bin")
        (func $work (param i32) (loop $l (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $l (local.get 0))))
        (func (export "_start") (local $round i32)
            (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 1) (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))
            (i32.store (i32.const 100) (i32.const 1000)) (i32.store (i32.const 104) (i32.const 16))
            (loop $l
                (call $work (i32.const 20000000))
                (drop (call $random (i32.const 1000) (i32.const 8)))
                (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 1008)))
                (drop (call $write (i32.load (i32.const 200)) (i32.const 100) (i32.const 1) (i32.const 108)))
                (drop (call $write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 108)))
                (br_if $l (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 60))))))"#;
    let module = bench.module("state.wasm", wat).unwrap().to_string_lossy().into_owned();
    let run = |args: &[&str], out: &str| {
        let output = bench.fog(&[&["--json", "run"], args, &["--out", out]].concat()).unwrap();
        (identity(&output), std::fs::read(bench.scratch().join(out).join("log.bin")).unwrap())
    };
    let (plain, bytes) = run(&[&module, "--seed", "5"], "plain");
    assert_eq!(bytes.len(), 60 * 16);
    let checkpointed = run(&[&module, "--seed", "5", "--checkpoint", "state.fog", "--every", "0.05"], "often");
    assert_eq!(checkpointed, (plain.clone(), bytes.clone()), "taking checkpoints changes nothing");
    let seen = bench.json(&["checkpoint", "inspect", "state.fog"]).unwrap();
    assert!(seen["units"].as_u64() > Some(0), "{seen}");
    assert_eq!(run(&["--from", "state.fog"], "continued"), (plain, bytes));
}

/// The one job of a data folder, once it has ended.
fn ended(bench: &Bench, id: &str) -> Option<Value> {
    let job = bench.json(&["job", "show", id]).ok()?;
    let is_over = matches!(job["summary"]["state"].as_str(), Some("finished" | "failed"));
    is_over.then_some(job)
}

/// A worker that dies behind a checkpoint costs what came after it: no failure is counted and nothing
/// waits. One that dies before its first is a failed attempt.
#[cfg(unix)]
#[test]
fn a_worker_that_dies_behind_a_checkpoint_is_no_failure() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.work_always().unwrap();
    let module = bench.module("floats.wasm", FLOATS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let active = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone()).filter(|task| task["units"].as_u64() > Some(0));
    let kill = || Command::new("pkill").args(["-9", "-P", &bench.pid().unwrap().to_string()]).status().unwrap();
    let attempts = || bench.json(&["job", "show", "1"]).unwrap()["tasks"][0]["attempts"].clone();
    let outcome = |count: usize| {
        wait_for("another attempt", Duration::from_secs(30), || attempts().as_array().filter(|list| list.len() > count).map(|list| list[count - 1].clone()))
            .unwrap()
    };
    wait_for("work", Duration::from_secs(60), active).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap()[0]["units"].as_u64().unwrap();
    kill();
    let first = wait_for("work from there", Duration::from_secs(30), || active().filter(|task| task["units"].as_u64() >= Some(saved))).unwrap();
    assert_eq!(outcome(1)["outcome"], "interrupted", "{first}");
    kill();
    assert_eq!(outcome(2)["outcome"], "failed");
}

#[test]
fn a_job_is_saved_exported_and_continued_elsewhere() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.work_always().unwrap();
    let module = example("lucas-lehmer");
    std::fs::copy(&module, bench.scratch().join("ll.wasm")).unwrap();
    std::fs::write(bench.scratch().join("job.toml"), "version = 1\nname = \"primes\"\nmodule = \"ll.wasm\"\nargs = [\"13\", \"400\"]\n").unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let units = || bench.json(&["status"]).ok().and_then(|status| status["active"][0]["units"].as_u64());
    wait_for("work", Duration::from_secs(60), || units().filter(|units| *units > 0)).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap();
    assert!(saved[0]["units"].as_u64() > Some(0), "{saved}");
    assert!(bench.json(&["status"]).unwrap()["active"][0]["saved_ms"].is_i64(), "the window can tell its age");
    bench.json(&["job", "export-checkpoint", "1", "-o", "half.fog"]).unwrap();
    let exported = bench.json(&["checkpoint", "inspect", "half.fog"]).unwrap();
    assert!(exported["units"].as_u64() >= saved[0]["units"].as_u64() && exported["has_files"] == true, "{exported}");

    // What the engine keeps for itself is sealed.
    let kept = std::fs::read(bench.data().join("checkpoints/1-0.fog")).unwrap();
    assert!(kept.starts_with(b"FOGSEAL1"));
    assert_eq!(bench.fog(&["run", "--from", &bench.data().join("checkpoints/1-0.fog").to_string_lossy()]).unwrap().status.code(), Some(65));

    // Paused by hand, the worker goes; resumed, the work goes on.
    bench.json(&["job", "pause", "1"]).unwrap();
    let at_pause = wait_for("the last checkpoint", Duration::from_secs(10), || {
        bench.fog(&["job", "export-checkpoint", "1", "-o", "pause.fog"]).ok()?;
        bench.json(&["checkpoint", "inspect", "pause.fog"]).ok()?["units"].as_u64()
    })
    .unwrap();
    assert!(at_pause >= exported["units"].as_u64().unwrap());
    bench.json(&["job", "resume", "1"]).unwrap();
    let first = wait_for("the work going on", Duration::from_secs(20), || units().filter(|units| *units > 0)).unwrap();
    assert!(first >= at_pause, "{first} units after {at_pause}");

    let mut elsewhere = Bench::new().unwrap();
    let half = bench.scratch().join("half.fog").to_string_lossy().into_owned();
    let continued = identity(&elsewhere.fog(&["--json", "run", "--from", &half]).unwrap());
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    assert_eq!((job["tasks"][0]["result_hash"].as_str(), job["tasks"][0]["units"].as_u64()), (Some(continued.0.as_str()), Some(continued.1)));
    assert!(!bench.data().join("checkpoints/1-0.fog").exists(), "an ended task needs none");

    // Another engine takes it as a job of its own, and goes on from there.
    elsewhere.start().unwrap();
    elsewhere.work_always().unwrap();
    let moved = elsewhere.json(&["submit", &half]).unwrap();
    assert_eq!((moved["name"].as_str(), moved["tasks_total"].as_u64()), (Some("primes"), Some(1)), "{moved}");
    let begun = || elsewhere.json(&["status"]).ok()?["active"][0]["units"].as_u64().filter(|units| *units > 0);
    let first = wait_for("the work going on", Duration::from_secs(60), begun).unwrap();
    assert!(first >= exported["units"].as_u64().unwrap(), "{first} units, {exported}");
    let job = wait_for("its end", Duration::from_secs(120), || ended(&elsewhere, "1")).unwrap();
    assert_eq!((job["tasks"][0]["result_hash"].as_str(), job["tasks"][0]["units"].as_u64()), (Some(continued.0.as_str()), Some(continued.1)));
    let mut bytes = std::fs::read(&half).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(elsewhere.scratch().join("changed.fog"), bytes).unwrap();
    std::fs::write(elsewhere.scratch().join("sealed.fog"), kept).unwrap();
    for (file, why) in [("changed.fog", "not a whole checkpoint"), ("sealed.fog", "export-checkpoint")] {
        let refused = elsewhere.fog(&["submit", file]).unwrap();
        assert_eq!(refused.status.code(), Some(65), "{file}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{}", String::from_utf8_lossy(&refused.stderr));
    }
    assert_eq!(elsewhere.json(&["jobs"]).unwrap().as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(elsewhere.data().join("checkpoints")).unwrap().count(), 0, "nothing is left lying about");
}

#[test]
fn any_segment_of_a_history_can_be_run_again() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    let whole = identity(&bench.fog(&["--json", "run", &module, "--history", "past", "--segment", "500000000", "--", "13", "130"]).unwrap());
    let index = bench.scratch().join("past/history.json");
    let history: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let marks = history["marks"].as_array().unwrap().len();
    assert!(marks >= 2, "{history}");
    assert_eq!((history["end"]["result_hash"].as_str(), history["end"]["units"].as_u64()), (Some(whole.0.as_str()), Some(whole.1)));
    for segment in 0..=marks {
        let engine = if segment == 1 { "interpreted" } else { "compiled" };
        let again = bench.fog(&["verify", "segment", "past", "--segment", &segment.to_string(), "--engine", engine]).unwrap();
        assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    }
    // A mark somebody made up.
    let text = std::fs::read_to_string(&index).unwrap();
    let claimed = history["marks"][1]["state"].as_str().unwrap();
    std::fs::write(&index, text.replace(claimed, &claimed.chars().rev().collect::<String>())).unwrap();
    assert_eq!(bench.fog(&["verify", "segment", "past", "--segment", "1"]).unwrap().status.code(), Some(1));
    assert_eq!(bench.fog(&["verify", "segment", "past", "--segment", "99"]).unwrap().status.code(), Some(66));
    // A right segment from a checkpoint that is not the one of its mark.
    std::fs::write(&index, text).unwrap();
    std::fs::copy(bench.scratch().join("past/2.fog"), bench.scratch().join("past/1.fog")).unwrap();
    let other = bench.fog(&["verify", "segment", "past", "--segment", "1"]).unwrap();
    assert_eq!(other.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&other.stderr).contains("mark 1 is not what the history says"), "{}", String::from_utf8_lossy(&other.stderr));
}

/// Segments that are each right, of two runs, make no run.
#[test]
fn a_history_is_of_one_run() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    for (folder, last) in [("one", "130"), ("two", "131")] {
        let ran = bench.fog(&["--json", "run", &module, "--history", folder, "--segment", "500000000", "--", "13", last]).unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let verify = || bench.fog(&["verify", "segment", "one", "--segment", "2"]).unwrap();
    assert_eq!(verify().status.code(), Some(0));
    let (place, own) = (bench.scratch().join("one/2.fog"), bench.scratch().join("own.fog"));
    std::fs::rename(&place, &own).unwrap();
    std::fs::copy(bench.scratch().join("two/2.fog"), &place).unwrap();
    let other = verify();
    assert_eq!(other.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another run"), "{}", String::from_utf8_lossy(&other.stderr));
    // The same run, with something put into what it has written so far.
    let (checkpoint, _) = fog_runtime::Checkpoint::read(&own, None).unwrap();
    let files = checkpoint.files.clone();
    let mut generation = checkpoint.into_generation(files).unwrap();
    generation.stdout.extend_from_slice(b"M127 is prime\n");
    fog_runtime::CheckpointWriter::new(place, None).write(&generation, true).unwrap();
    let altered = verify();
    assert_eq!(altered.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&altered.stderr).contains("other output"), "{}", String::from_utf8_lossy(&altered.stderr));
}

/// The engine keeps the history of a job that asks for one, through the death of a worker.
#[cfg(unix)]
#[test]
fn a_job_of_the_engine_keeps_its_history() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.work_always().unwrap();
    let text = format!(
        "version = 1\nname = \"primes\"\nmodule = \"{}\"\nargs = [\"13\", \"300\"]\nsegment = 500_000_000\n[limits]\nunits = 1_000_000_000_000\n",
        example("lucas-lehmer")
    );
    let file = bench.scratch().join("job.toml");
    std::fs::write(&file, &text).unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let marks = || bench.json(&["job", "show", "1"]).ok()?["tasks"][0]["marks"].as_u64();
    wait_for("two marks", Duration::from_secs(60), || marks().filter(|marks| *marks >= 2)).unwrap();
    assert!(Command::new("pkill").args(["-9", "-P", &bench.pid().unwrap().to_string()]).status().unwrap().success());
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    assert!(job["tasks"][0]["attempts"].as_array().unwrap().len() >= 2, "{job}");
    let written = bench.json(&["job", "export-history", "1", "-o", "past"]).unwrap();
    let count = written["marks"].as_u64().unwrap();
    assert!(count >= 4 && written["checkpoints"] == count && written["ended"] == true, "{written}");
    for segment in 0..=count {
        let engine = if segment == 2 { "interpreted" } else { "compiled" };
        let again = bench.fog(&["verify", "segment", "past", "--segment", &segment.to_string(), "--engine", engine]).unwrap();
        assert_eq!(again.status.code(), Some(0), "{segment}: {} {}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    }
    assert_eq!(bench.fog(&["job", "export-history", "1", "-o", "past"]).unwrap().status.code(), Some(65), "nothing is written over");
    assert_eq!(bench.fog(&["job", "export-history", "1", "--task", "7", "-o", "other"]).unwrap().status.code(), Some(66));
    std::fs::write(bench.scratch().join("short.toml"), text.replace("500_000_000", "5")).unwrap();
    let refused = bench.fog(&["submit", "short.toml"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("at least 100000000"), "{}", String::from_utf8_lossy(&refused.stderr));
    // A job that is cancelled leaves no checkpoint behind.
    bench.json(&["submit", "job.toml"]).unwrap();
    wait_for("its checkpoint", Duration::from_secs(60), || bench.data().join("checkpoints/2-0.fog").exists().then_some(())).unwrap();
    assert!(bench.fog(&["job", "cancel", "2"]).unwrap().status.success());
    wait_for("it to go", Duration::from_secs(40), || (!bench.data().join("checkpoints/2-0.fog").exists()).then_some(())).unwrap();
    // Gone with the job.
    assert!(bench.data().join("histories/1-0").is_dir());
    assert!(bench.fog(&["job", "remove", "1"]).unwrap().status.success());
    wait_for("the history to go", Duration::from_secs(30), || (!bench.data().join("histories/1-0").exists()).then_some(())).unwrap();
}

/// A mark that comes out otherwise than before: nothing is built on either, and the end is right.
#[cfg(unix)]
#[test]
fn a_state_that_is_not_what_it_was_is_not_built_on() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.work_always().unwrap();
    let module = example("lucas-lehmer");
    let plain = identity(&bench.fog(&["--json", "run", &module, "--", "13", "300"]).unwrap());
    let text = format!("version = 1\nname = \"lucas-lehmer.wasm\"\nmodule = \"{module}\"\nargs = [\"13\", \"300\"]\nsegment = 1_000_000_000\n");
    std::fs::write(bench.scratch().join("job.toml"), text).unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let marks = || bench.json(&["job", "show", "1"]).ok()?["tasks"][0]["marks"].as_u64();
    wait_for("a mark", Duration::from_secs(60), || marks().filter(|marks| *marks >= 1)).unwrap();
    bench.json(&["job", "pause", "1"]).unwrap();
    let index = bench.data().join("histories/1-0/history.json");
    let is_still = || bench.json(&["status"]).ok()?["active"].as_array()?.is_empty().then_some(());
    wait_for("the pause", Duration::from_secs(20), is_still).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let mut history: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let mut made_up = history["marks"].as_array().unwrap().last().unwrap().clone();
    made_up["number"] = (made_up["number"].as_u64().unwrap() + 1).into();
    made_up["units"] = (made_up["units"].as_u64().unwrap() + 1_000_000_000).into();
    made_up["state"] = "ab".repeat(32).into();
    history["marks"].as_array_mut().unwrap().push(made_up);
    std::fs::write(&index, serde_json::to_vec(&history).unwrap()).unwrap();
    bench.json(&["job", "resume", "1"]).unwrap();
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    let task = &job["tasks"][0];
    assert!(task["attempts"].to_string().contains("not what it was before"), "{task}");
    assert_eq!((task["result_hash"].as_str(), task["units"].as_u64()), (Some(plain.0.as_str()), Some(plain.1)), "{task}");
    let written = bench.json(&["job", "export-history", "1", "-o", "past"]).unwrap();
    let checked = written["checked"].as_u64().unwrap().to_string();
    assert!(bench.fog(&["verify", "segment", "past", "--segment", &checked]).unwrap().status.success());
}

/// A real Secret Service on a bus of its own.
#[cfg(target_os = "linux")]
#[test]
fn the_key_lies_in_the_keychain_and_is_found_again() {
    let there = ["gnome-keyring-daemon", "dbus-run-session"].iter().all(|program| Command::new(program).arg("--version").output().is_ok());
    if !there {
        assert!(!is_full(), "gnome-keyring and dbus are not installed");
        println!("skipped: no keychain here");
        return;
    }
    let bench = Bench::new().unwrap();
    let home = bench.scratch().join("home");
    std::fs::create_dir_all(home.join("run")).unwrap();
    let start = || {
        let script = format!("printf secret | gnome-keyring-daemon --unlock --components=secrets >/dev/null; exec '{}' daemon", fog_binary().display());
        let mut session = Command::new("dbus-run-session");
        session.args(["--", "sh", "-c", &script]).env("FOG_DATA_DIR", bench.data()).env("HOME", &home).env("XDG_RUNTIME_DIR", home.join("run"));
        session.env_remove("FOG_KEYCHAIN").env_remove("XDG_DATA_HOME").env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        let session = session.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the daemon", Duration::from_secs(30), || bench.json(&["status"]).ok()).unwrap();
        session
    };
    let stop = |mut session: std::process::Child| {
        assert!(bench.fog(&["shutdown"]).unwrap().status.success());
        session.wait().unwrap();
    };
    let session = start();
    let key = std::fs::read(bench.data().join("checkpoint.key")).unwrap();
    assert_eq!(String::from_utf8_lossy(&key), "in the keychain of this system\n");
    bench.work_always().unwrap();
    let module = bench.module("floats.wasm", FLOATS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let units = || bench.json(&["status"]).ok().and_then(|status| status["active"][0]["units"].as_u64()).filter(|units| *units > 0);
    wait_for("work", Duration::from_secs(60), units).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap()[0]["units"].as_u64().unwrap();
    let file = bench.data().join("checkpoints/1-0.fog").to_string_lossy().into_owned();
    assert_eq!(bench.fog(&["checkpoint", "inspect", &file]).unwrap().status.code(), Some(65), "nobody reads it without the keychain");
    stop(session);
    let session = start();
    let first = wait_for("the work going on", Duration::from_secs(60), units).unwrap();
    assert!(first >= saved, "{first} units after {saved}");
    stop(session);
}

#[cfg(target_os = "linux")]
#[test]
fn sleep_waits_until_the_work_is_saved() {
    use std::io::Read;
    let managers = fog_tests::bus::Managers::start().unwrap();
    let bench = Bench::new().unwrap();
    let mut daemon = bench.command(&["daemon"]);
    daemon.env("DBUS_SYSTEM_BUS_ADDRESS", &managers.bus.address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = daemon.spawn().unwrap();
    let held = || managers.take_hold("sleep", "delay");
    let mut first = wait_for("a hold on sleep", Duration::from_secs(30), held).unwrap();
    bench.work_always().unwrap();
    let module = bench.module("floats.wasm", FLOATS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let active = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone());
    wait_for("work", Duration::from_secs(60), || active().filter(|task| task["units"].as_u64() > Some(0))).unwrap();
    assert!(active().unwrap()["saved_ms"].is_null(), "nothing is due before a minute");
    managers.sleep(true).unwrap();
    // The hold is let go, and what was asked for has happened by then.
    first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    assert!(bench.data().join("checkpoints/1-0.fog").is_file() && active().unwrap()["saved_ms"].is_i64());
    managers.sleep(false).unwrap();
    wait_for("a new hold after sleep", Duration::from_secs(10), held).unwrap();
    assert!(bench.fog(&["shutdown"]).unwrap().status.success());
    daemon.wait().unwrap();
}
