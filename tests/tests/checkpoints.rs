//! Work that is stopped, killed, moved and continued gives the same result for the same units.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(missing_docs, reason = "what a macro adds has none")]

use std::process::{Command, Stdio};
use std::time::Duration;

use fog_tests::jobs::{FLOATS, ended, example, identity};
use fog_tests::{Bench, fog_binary, is_full, wait_for};

/// Starts `fog run … --checkpoint FILE` and interrupts it after three checkpoints; returns false when it
/// ended before.
#[cfg(unix)]
fn interrupted(bench: &Bench, args: &[&str], file: &str) -> bool {
    let child = bench
        .command(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = || std::fs::metadata(file).and_then(|about| about.modified()).ok();
    for _ in 0..3 {
        let before = written();
        // A program that has ended writes no more checkpoints, which is noticed below.
        let _ = wait_for("a checkpoint", Duration::from_secs(5), || (written() != before).then_some(()));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(143) => true,
        Some(0) => false,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Expects a run from the generation before the torn one, with a message to the user.
#[cfg(unix)]
#[test]
fn a_torn_checkpoint_costs_its_last_generation_only() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    let plain = identity(&bench.fog(&["--json", "run", &module, "--", "13", "300"]).unwrap());
    let file = bench.scratch().join("torn.fog").to_string_lossy().into_owned();
    let args = ["run", &module, "--checkpoint", &file, "--every", "0.05", "--", "13", "300"];
    assert!(interrupted(&bench, &args, &file), "it ended before it could be stopped");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let again = bench.fog(&["--json", "run", "--from", &file]).unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("not a whole checkpoint"));
    assert_eq!(identity(&again), plain);
    assert_eq!(bench.fog(&["run", "--from", &module]).unwrap().status.code(), Some(65));
}

/// A program that fills its memory with random bytes for ever, so that each checkpoint is large.
#[cfg(unix)]
const RANDOM: &str = r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1024)
    (func (export "_start") (loop $l (drop (call $random (i32.const 0) (i32.const 60000000))) (br $l))))"#;

/// Starts `fog run` of a module with `--checkpoint x.fog`.
#[cfg(unix)]
fn started(bench: &Bench, module: &str, every: &str) -> std::process::Child {
    let args = ["run", module, "--checkpoint", "x.fog", "--every", every, "--wall", "120s"];
    bench.command(&args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[cfg(unix)]
fn signal(child: &std::process::Child, signal: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Returns the exit code of a run and its standard error.
#[cfg(unix)]
fn said(child: std::process::Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Uses runs that write a checkpoint at nearly every moment.
#[cfg(unix)]
#[test]
fn a_signal_that_comes_while_a_checkpoint_is_written_is_heard() {
    let bench = Bench::new().unwrap();
    let module = bench.module("random.wasm", RANDOM).unwrap().to_string_lossy().into_owned();
    let file = bench.scratch().join("x.fog");
    for (name, code) in [("INT", 130), ("TERM", 143), ("INT", 130), ("TERM", 143)] {
        let _ = std::fs::remove_file(&file);
        let mut child = started(&bench, &module, "0.001");
        wait_for("a checkpoint", Duration::from_secs(60), || file.exists().then_some(())).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, name);
        let ended = wait_for("its end", Duration::from_secs(30), || child.try_wait().ok().flatten());
        let _ = child.kill();
        let (_, text) = said(child);
        assert_eq!(
            ended.unwrap_or_else(|e| panic!("{name} was not heard: {e}")).code(),
            Some(code),
            "{text}"
        );
        assert!(text.contains("continue with: fog run --from x.fog"), "{text}");
    }
}

/// Expects write errors of checkpoints to cost nothing but checkpoints.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_cannot_be_written_does_not_end_the_run() {
    use std::io::Write;
    let bench = Bench::new().unwrap();
    let module = fog_tests::jobs::turning(&bench, 1 << 40);
    let (file, blocked) = (bench.scratch().join("x.fog"), bench.scratch().join("x.fog.partial"));
    let child = started(&bench, &module, "0.1");
    let length = || std::fs::metadata(&file).map_or(0, |about| about.len());
    // With one more byte the file cannot be extended; the folder in its place keeps a new one from being
    // created.
    let break_it = || {
        wait_for("a checkpoint", Duration::from_secs(60), || (length() > 0).then_some(())).unwrap();
        std::fs::create_dir(&blocked).unwrap();
        std::fs::File::options().append(true).open(&file).unwrap().write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(1_500));
    };
    break_it();
    std::fs::remove_dir(&blocked).unwrap();
    let broken = length();
    wait_for("another", Duration::from_secs(30), || (length() != broken).then_some(())).unwrap();
    break_it();
    signal(&child, "TERM");
    let (code, text) = said(child);
    assert_eq!(code, Some(143), "{text}");
    let count = |what: &str| text.matches(what).count();
    assert_eq!(
        (count("The program goes on"), count("are written again"), count("could not be saved")),
        (2, 1, 1),
        "{text}"
    );
    assert!(text.contains("stands; continue with: fog run --from x.fog"), "{text}");
    let seen = bench.fog(&["--json", "checkpoint", "inspect", "x.fog"]).unwrap();
    assert!(String::from_utf8_lossy(&seen.stdout).contains("units"), "{seen:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_that_takes_no_checkpoint_is_refused_before_anything_runs() {
    let bench = Bench::new().unwrap();
    let module = fog_tests::jobs::turning(&bench, 100);
    for option in ["--checkpoint", "--history"] {
        std::fs::create_dir_all(bench.scratch().join("taken/1.fog")).unwrap();
        std::fs::create_dir_all(bench.scratch().join("foreign")).unwrap();
        std::fs::write(bench.scratch().join("foreign/1.fog"), "of somebody").unwrap();
        let places = if option == "--history" {
            ["/proc/new", "long.wasm", "taken", "foreign"]
        } else {
            ["/proc/new.fog", "nowhere/c.fog", "taken/1.fog", "foreign/1.fog"]
        };
        for place in places {
            let refused = bench.fog(&["run", &module, option, place]).unwrap();
            let text = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(
                (refused.status.code(), refused.stdout.len()),
                (Some(65), 0),
                "{option} {place}: {text}"
            );
            assert!(text.contains(place) && text.contains("Nothing was run"), "{option} {place}: {text}");
        }
    }
    assert!(!bench.scratch().join("foreign/history.json").exists());
}

/// Expects straight-line code to be saved at its end, with a message to the user.
#[cfg(unix)]
#[test]
fn a_program_without_safe_points_is_told_of() {
    use std::io::{BufRead, BufReader, Read};
    let bench = Bench::new().unwrap();
    let fills = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000))".repeat(20_000);
    let wat = format!("(module (memory (export \"memory\") 1024) (func (export \"_start\") {fills}))");
    let module = bench.module("straight.wasm", &wat).unwrap().to_string_lossy().into_owned();
    let mut child = started(&bench, &module, "0.5");
    let mut words = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    words.read_line(&mut text).unwrap();
    assert!(text.contains("no safe point for 10 s") && text.contains("Nothing is saved"), "{text}");
    signal(&child, "INT");
    words.read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().code(), text.lines().count()), (Some(130), 2), "{text}");
    assert!(
        text.contains("came to no safe point within 10 s, so it is not saved. Nothing is saved"),
        "{text}"
    );
}

#[test]
fn files_randomness_and_time_go_on_where_they_were() {
    let bench = Bench::new().unwrap();
    // Writes a random number and the time into a file, one per line, with work in between.
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
    let checkpointed =
        run(&[&module, "--seed", "5", "--checkpoint", "state.fog", "--every", "0.05"], "often");
    assert_eq!(checkpointed, (plain.clone(), bytes.clone()), "taking checkpoints changes nothing");
    let seen = bench.json(&["checkpoint", "inspect", "state.fog"]).unwrap();
    assert!(seen["units"].as_u64() > Some(0), "{seen}");
    assert_eq!(run(&["--from", "state.fog"], "continued"), (plain, bytes));
}

/// Expects a worker that dies after a checkpoint to cost only the work since then, without a counted
/// failure or a delay; one that dies before its first checkpoint is a failed attempt.
#[cfg(unix)]
#[test]
fn a_worker_that_dies_behind_a_checkpoint_is_no_failure() {
    let bench = Bench::working().unwrap();
    let module = bench.module("floats.wasm", FLOATS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let active = || {
        bench
            .json(&["status"])
            .ok()
            .map(|status| status["active"][0].clone())
            .filter(|task| task["units"].as_u64() > Some(0))
    };
    let kill =
        || Command::new("pkill").args(["-9", "-P", &bench.pid().unwrap().to_string()]).status().unwrap();
    let attempts = || bench.json(&["job", "show", "1"]).unwrap()["tasks"][0]["attempts"].clone();
    let outcome = |count: usize| {
        wait_for("another attempt", Duration::from_secs(30), || {
            attempts().as_array().filter(|list| list.len() > count).map(|list| list[count - 1].clone())
        })
        .unwrap()
    };
    wait_for("work", Duration::from_secs(60), active).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap()[0]["units"].as_u64().unwrap();
    kill();
    let first = wait_for("work from there", Duration::from_secs(30), || {
        active().filter(|task| task["units"].as_u64() >= Some(saved))
    })
    .unwrap();
    assert_eq!(outcome(1)["outcome"], "interrupted", "{first}");
    kill();
    assert_eq!(outcome(2)["outcome"], "failed");
}

#[test]
fn a_job_is_saved_exported_and_continued_elsewhere() {
    let bench = Bench::working().unwrap();
    let module = example("lucas-lehmer");
    std::fs::copy(&module, bench.scratch().join("ll.wasm")).unwrap();
    std::fs::write(
        bench.scratch().join("job.toml"),
        "version = 1\nname = \"primes\"\nmodule = \"ll.wasm\"\nargs = [\"13\", \"400\"]\n",
    )
    .unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let units = || bench.json(&["status"]).ok().and_then(|status| status["active"][0]["units"].as_u64());
    wait_for("work", Duration::from_secs(60), || units().filter(|units| *units > 0)).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap();
    assert!(saved[0]["units"].as_u64() > Some(0), "{saved}");
    assert!(
        bench.json(&["status"]).unwrap()["active"][0]["saved_ms"].is_i64(),
        "the window can tell its age"
    );
    bench.json(&["job", "export-checkpoint", "1", "-o", "half.fog"]).unwrap();
    let exported = bench.json(&["checkpoint", "inspect", "half.fog"]).unwrap();
    assert!(
        exported["units"].as_u64() >= saved[0]["units"].as_u64() && exported["has_files"] == true,
        "{exported}"
    );

    // The engine's own checkpoints are sealed.
    let kept = std::fs::read(bench.data().join("checkpoints/1-0.fog")).unwrap();
    assert!(kept.starts_with(b"FOGSEAL1"));
    assert_eq!(
        bench
            .fog(&["run", "--from", &bench.data().join("checkpoints/1-0.fog").to_string_lossy()])
            .unwrap()
            .status
            .code(),
        Some(65)
    );

    // A pause by hand ends the worker; after the resumption the work goes on.
    bench.json(&["job", "pause", "1"]).unwrap();
    let at_pause = wait_for("the last checkpoint", Duration::from_secs(10), || {
        bench.fog(&["job", "export-checkpoint", "1", "-o", "pause.fog"]).ok()?;
        bench.json(&["checkpoint", "inspect", "pause.fog"]).ok()?["units"].as_u64()
    })
    .unwrap();
    assert!(at_pause >= exported["units"].as_u64().unwrap());
    bench.json(&["job", "resume", "1"]).unwrap();
    let first = wait_for("the work going on", Duration::from_secs(20), || units().filter(|units| *units > 0))
        .unwrap();
    assert!(first >= at_pause, "{first} units after {at_pause}");

    let mut elsewhere = Bench::new().unwrap();
    let half = bench.scratch().join("half.fog").to_string_lossy().into_owned();
    let continued = identity(&elsewhere.fog(&["--json", "run", "--from", &half]).unwrap());
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    assert_eq!(
        (job["tasks"][0]["result_hash"].as_str(), job["tasks"][0]["units"].as_u64()),
        (Some(continued.0.as_str()), Some(continued.1))
    );
    assert!(!bench.data().join("checkpoints/1-0.fog").exists(), "an ended task needs none");

    // Another engine takes the checkpoint as its own job and continues it.
    elsewhere.start().unwrap();
    elsewhere.work_always().unwrap();
    let moved = elsewhere.json(&["submit", &half]).unwrap();
    assert_eq!((moved["name"].as_str(), moved["tasks_total"].as_u64()), (Some("primes"), Some(1)), "{moved}");
    let begun =
        || elsewhere.json(&["status"]).ok()?["active"][0]["units"].as_u64().filter(|units| *units > 0);
    let first = wait_for("the work going on", Duration::from_secs(60), begun).unwrap();
    assert!(first >= exported["units"].as_u64().unwrap(), "{first} units, {exported}");
    let job = wait_for("its end", Duration::from_secs(120), || ended(&elsewhere, "1")).unwrap();
    assert_eq!(
        (job["tasks"][0]["result_hash"].as_str(), job["tasks"][0]["units"].as_u64()),
        (Some(continued.0.as_str()), Some(continued.1))
    );
    let mut bytes = std::fs::read(&half).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(elsewhere.scratch().join("changed.fog"), bytes).unwrap();
    std::fs::write(elsewhere.scratch().join("sealed.fog"), kept).unwrap();
    for (file, why) in [("changed.fog", "not a whole checkpoint"), ("sealed.fog", "export-checkpoint")] {
        let refused = elsewhere.fog(&["submit", file]).unwrap();
        assert_eq!(refused.status.code(), Some(65), "{file}");
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains(why),
            "{}",
            String::from_utf8_lossy(&refused.stderr)
        );
    }
    assert_eq!(elsewhere.json(&["jobs"]).unwrap().as_array().unwrap().len(), 1);
    assert_eq!(
        std::fs::read_dir(elsewhere.data().join("checkpoints")).unwrap().count(),
        0,
        "nothing is left lying about"
    );
}

/// Uses a real Secret Service on a separate bus.
#[cfg(target_os = "linux")]
#[test]
fn the_key_lies_in_the_keychain_and_is_found_again() {
    let there = ["gnome-keyring-daemon", "dbus-run-session"]
        .iter()
        .all(|program| Command::new(program).arg("--version").output().is_ok());
    if !there {
        assert!(!is_full(), "gnome-keyring and dbus are not installed");
        println!("skipped: no keychain here");
        return;
    }
    let bench = Bench::new().unwrap();
    let home = bench.scratch().join("home");
    std::fs::create_dir_all(home.join("run")).unwrap();
    let start = || {
        let script = format!(
            "printf secret | gnome-keyring-daemon --unlock --components=secrets >/dev/null; exec '{}' daemon",
            fog_binary().display()
        );
        let mut session = Command::new("dbus-run-session");
        session
            .args(["--", "sh", "-c", &script])
            .env("FOG_DATA_DIR", bench.data())
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", home.join("run"));
        session
            .env_remove("FOG_KEYCHAIN")
            .env_remove("XDG_DATA_HOME")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        let session =
            session.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
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
    let units = || {
        bench
            .json(&["status"])
            .ok()
            .and_then(|status| status["active"][0]["units"].as_u64())
            .filter(|units| *units > 0)
    };
    wait_for("work", Duration::from_secs(60), units).unwrap();
    let saved = bench.json(&["job", "checkpoint", "1"]).unwrap()[0]["units"].as_u64().unwrap();
    let file = bench.data().join("checkpoints/1-0.fog").to_string_lossy().into_owned();
    assert_eq!(
        bench.fog(&["checkpoint", "inspect", &file]).unwrap().status.code(),
        Some(65),
        "nobody reads it without the keychain"
    );
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
    daemon
        .env("DBUS_SYSTEM_BUS_ADDRESS", &managers.bus.address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut daemon = daemon.spawn().unwrap();
    let held = || managers.take_hold("sleep", "delay");
    let mut first = wait_for("a hold on sleep", Duration::from_secs(30), held).unwrap();
    bench.work_always().unwrap();
    let module = bench.module("floats.wasm", FLOATS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let active = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone());
    wait_for("work", Duration::from_secs(60), || active().filter(|task| task["units"].as_u64() > Some(0)))
        .unwrap();
    assert!(active().unwrap()["saved_ms"].is_null(), "nothing is due before a minute");
    managers.sleep(true).unwrap();
    // The inhibitor is released after the checkpoint was written.
    first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    assert!(bench.data().join("checkpoints/1-0.fog").is_file() && active().unwrap()["saved_ms"].is_i64());
    managers.sleep(false).unwrap();
    wait_for("a new hold after sleep", Duration::from_secs(10), held).unwrap();
    assert!(bench.fog(&["shutdown"]).unwrap().status.success());
    daemon.wait().unwrap();
}
