//! The storage limit, the data folder and pending changes, tested as a user meets them.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_tests::{Bench, wait_for};

/// Returns a program that writes two different files of a number of bytes.
fn two_files(bytes: u32) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "a.binb.bin")
        (func (export "_start")
            (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 100)))
            (drop (call $size (i32.load (i32.const 100)) (i64.const {bytes})))
            (drop (call $open (i32.const 3) (i32.const 0) (i32.const 5) (i32.const 5) (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 100)))
            (drop (call $size (i32.load (i32.const 100)) (i64.const {})))))"#,
        bytes + 1
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_result_near_the_cap_is_whole_and_one_beyond_it_says_so() {
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "storage_cap=0.1"]).unwrap().status.success());
    bench.module("fits.wasm", &two_files(40_000_000)).unwrap();
    bench.module("beyond.wasm", &two_files(60_000_000)).unwrap();
    let ended = |id: &str| {
        wait_for("the end of a job", Duration::from_secs(60), || {
            let job = bench.json(&["job", "show", id]).ok()?;
            let state = job["summary"]["state"].as_str()?.to_owned();
            (state == "finished" || state == "failed" || state == "paused").then_some((state, job))
        })
        .unwrap()
    };
    std::fs::write(
        bench.scratch().join("fits.toml"),
        "version = 1\nmodule = \"fits.wasm\"\nattempts = 1\n[limits]\ndisk = \"200MiB\"\n",
    )
    .unwrap();
    std::fs::write(
        bench.scratch().join("beyond.toml"),
        "version = 1\nmodule = \"beyond.wasm\"\n[limits]\ndisk = \"200MiB\"\n",
    )
    .unwrap();
    bench.json(&["submit", "beyond.toml"]).unwrap();
    let (state, job) = ended("1");
    assert_eq!(
        state, "paused",
        "what cannot be stored is not called finished, and is not computed again and again: {job}"
    );
    let problem = job["summary"]["problem"].as_str().unwrap();
    assert!(
        problem.contains("storing 114.4 MiB")
            && problem.contains("storage limit of 95.4 MiB")
            && problem.contains("resume"),
        "{problem}"
    );
    assert_eq!(job["tasks"][0]["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    bench.json(&["submit", "fits.toml"]).unwrap();
    assert_eq!(ended("2").0, "finished");
    let exported = bench.fog(&["job", "result", "2", "-o", "out"]).unwrap();
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let files = bench.scratch().join("out");
    let sizes: Vec<u64> = ["a.bin", "b.bin"]
        .iter()
        .map(|name| {
            [files.join(name), files.join("task-00000").join(name)]
                .iter()
                .find_map(|path| path.metadata().ok())
                .map_or(0, |about| about.len())
        })
        .collect();
    assert_eq!(sizes, [40_000_000, 40_000_001]);
    // With more room the paused job goes on.
    assert!(bench.fog(&["settings", "set", "storage_cap=0.3"]).unwrap().status.success());
    assert!(bench.fog(&["job", "resume", "1"]).unwrap().status.success());
    let finished =
        || bench.json(&["job", "show", "1"]).ok().filter(|job| job["summary"]["state"] == "finished");
    wait_for("the paused job", Duration::from_secs(60), finished).unwrap();
}

/// Returns a program that fills 45 MiB with numbers that cannot be compressed, and runs until it is ended.
fn large_state() -> &'static str {
    r#"(module (memory (export "memory") 721)
        (func (export "_start") (local $at i32) (local $x i64)
            (local.set $x (i64.const 88172645463325252))
            (loop $fill
                (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
                (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
                (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
                (i64.store (local.get $at) (local.get $x))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $fill (i32.lt_u (local.get $at) (i32.const 47185920))))
            (loop $ever (br $ever))))"#
}

/// A state without room is not written beyond the setting, not even by the last checkpoint, and the owner is
/// told. What a cancelled job saved is gone at once.
#[test]
fn a_state_that_has_no_room_is_said_and_the_setting_is_kept() {
    let bench = Bench::working().unwrap();
    assert!(
        bench.fog(&["settings", "set", "storage_cap=0.1", "checkpoint_every=1"]).unwrap().status.success()
    );
    bench.module("stored.wasm", &two_files(30_000_000)).unwrap();
    bench.module("large.wasm", large_state()).unwrap();
    let lies = |bench: &Bench| -> u64 {
        let folders = ["blobs", "compiled", "checkpoints", "histories", "incoming", "partial", "set-aside"]
            .map(|name| bench.data().join(name));
        let mut stack = folders.to_vec();
        let mut sum = 0;
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(about) if about.is_dir() => stack.push(entry.path()),
                    Ok(about) => sum += fog_types::on_disk(about.len()),
                    Err(_) => {}
                }
            }
        }
        sum
    };
    let told = |bench: &Bench, is_saved: bool| {
        wait_for("a save or a refusal", Duration::from_secs(60), || {
            let task = bench.json(&["status"]).ok()?["active"].get(0)?.clone();
            let found = if is_saved {
                task["saved_ms"].is_i64()
            } else {
                task["save_problem"].as_str()?.contains("storage_cap")
            };
            found.then_some(())
        })
        .unwrap();
    };
    bench.fog(&["submit", "large.wasm"]).unwrap();
    told(&bench, true);
    assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
    wait_for("the states to go", Duration::from_secs(5), || {
        let checks = text(&bench.fog(&["doctor"]).ok()?.stdout);
        (checks.contains(" 0 B in states") && lies(&bench) < 5 << 20).then_some(())
    })
    .unwrap();
    assert!(bench.fog(&["submit", "stored.wasm", "--disk", "100MiB", "--watch"]).unwrap().status.success());
    bench.fog(&["submit", "large.wasm"]).unwrap();
    told(&bench, false);
    assert!(text(&bench.fog(&["status"]).unwrap().stdout).contains("NOT SAVED"));
    let most = 100_000_000;
    assert!(lies(&bench) <= most, "{}", lies(&bench));
    assert!(bench.fog(&["shutdown"]).unwrap().status.success());
    let ended = || bench.fog(&["status"]).ok().filter(|status| !status.status.success());
    wait_for("the end", Duration::from_secs(30), ended).unwrap();
    // The process may write for a moment after it stopped answering.
    std::thread::sleep(Duration::from_secs(3));
    assert!(lies(&bench) <= most, "{} after the last checkpoint", lies(&bench));
}

#[test]
fn inputs_that_do_not_fit_together_are_refused_together() {
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "storage_cap=0.1"]).unwrap().status.success());
    bench
        .module("nothing.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))")
        .unwrap();
    for (name, byte) in [("a.bin", 1u8), ("b.bin", 2)] {
        std::fs::write(bench.scratch().join(name), vec![byte; 60_000_000]).unwrap();
    }
    std::fs::write(
        bench.scratch().join("job.toml"),
        "version = 1\nmodule = \"nothing.wasm\"\n[inputs]\n\"a.bin\" = \"a.bin\"\n\"b.bin\" = \"b.bin\"\n",
    )
    .unwrap();
    let refused = bench.fog(&["submit", "job.toml"]).unwrap();
    assert!(!refused.status.success(), "the job file page says that originals may be deleted now");
    assert!(text(&refused.stderr).contains("storage limit"), "{}", text(&refused.stderr));
    assert_eq!(bench.json(&["jobs"]).unwrap().as_array().unwrap().len(), 0);
}

#[test]
fn an_emptied_database_deletes_no_results() {
    let mut bench = Bench::working().unwrap();
    bench
        .module("nothing.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))")
        .unwrap();
    assert!(bench.fog(&["submit", "nothing.wasm", "--watch"]).unwrap().status.success());
    bench.kill();
    let files = |bench: &Bench| -> usize {
        let folders = std::fs::read_dir(bench.data().join("blobs")).unwrap().flatten();
        folders.map(|folder| std::fs::read_dir(folder.path()).unwrap().count()).sum()
    };
    let before = files(&bench);
    assert!(before >= 2);
    let database = bench.data().join("fog.sqlite");
    let kept = std::fs::read(&database).unwrap();
    let wal = std::fs::read(bench.data().join("fog.sqlite-wal")).unwrap_or_default();
    for name in ["fog.sqlite-wal", "fog.sqlite-shm"] {
        let _ = std::fs::remove_file(bench.data().join(name));
    }
    std::fs::write(&database, b"").unwrap();
    let refused = bench.command(&["daemon"]).output().unwrap();
    let said = text(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("is empty") && said.contains("Put the database back"),
        "{said}"
    );
    assert_eq!(files(&bench), before);
    std::fs::write(&database, kept).unwrap();
    std::fs::write(bench.data().join("fog.sqlite-wal"), wal).unwrap();
    bench.start().unwrap();
    assert!(bench.fog(&["job", "result", "1", "-o", "out"]).unwrap().status.success());
    assert_eq!(files(&bench), before);
}

#[cfg(unix)]
#[test]
fn nothing_in_a_folder_that_was_open_can_be_read_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::new().unwrap();
    std::fs::create_dir(bench.data()).unwrap();
    std::fs::set_permissions(bench.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.start().unwrap();
    bench.json(&["on"]).unwrap();
    let entries = std::fs::read_dir(bench.data())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    for path in entries.chain([bench.data()]) {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

/// Returns everything below a folder, and the folder.
#[cfg(unix)]
fn all_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(all_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

#[cfg(unix)]
#[test]
fn nothing_that_a_job_leaves_in_the_data_folder_can_be_read_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let open: fn(std::path::PathBuf) -> Vec<String> = |folder| {
        let mode =
            |path: &std::path::PathBuf| path.symlink_metadata().map_or(0, |about| about.permissions().mode());
        let open = all_below(&folder).into_iter().filter(|path| mode(path) & 0o077 != 0);
        open.map(|path| format!("{} is {:o}", path.display(), mode(&path))).collect()
    };
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "checkpoint_every=1"]).unwrap().status.success());
    bench.module("files.wasm", &two_files(1000)).unwrap();
    assert!(bench.fog(&["submit", "files.wasm", "--wait"]).unwrap().status.success());
    let _ = fog_tests::jobs::turning(&bench, 1_000_000_000_000);
    std::fs::write(
        bench.scratch().join("long.toml"),
        "version = 1\nmodule = \"long.wasm\"\nsegment = 50000000\n[limits]\nunits = 400000000000\n",
    )
    .unwrap();
    bench.json(&["submit", "long.toml"]).unwrap();
    let holds_a_file = |name: &str| all_below(&bench.data().join(name)).iter().any(|path| path.is_file());
    wait_for("a checkpoint and a history", Duration::from_secs(120), || {
        (holds_a_file("checkpoints") && holds_a_file("histories")).then_some(())
    })
    .unwrap();
    assert_eq!(open(bench.data()), [""; 0]);
    assert!(["blobs", "compiled"].into_iter().all(holds_a_file));

    // A folder in which no engine has run yet.
    let fresh = bench.scratch().join("fresh/data");
    let ran = bench.command(&["run", "files.wasm"]).env("FOG_DATA_DIR", &fresh).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(all_below(&fresh).len() > 2);
    assert_eq!(open(fresh), [""; 0]);
}

#[test]
fn work_is_remembered_though_the_engine_is_killed() {
    let mut bench = Bench::working().unwrap();
    let _ = fog_tests::jobs::turning(&bench, 1_000_000_000_000);
    bench.json(&["submit", "long.wasm", "--now"]).unwrap();
    let worked = |bench: &Bench| bench.json(&["status"]).unwrap()["today"]["worked_ms"].as_u64().unwrap();
    wait_for("some work", Duration::from_secs(240), || (worked(&bench) > 25_000).then_some(())).unwrap();
    bench.kill();
    bench.start().unwrap();
    let points = bench.json(&["history"]).unwrap();
    let sum =
        |key: &str| points.as_array().unwrap().iter().filter_map(|point| point[key].as_u64()).sum::<u64>();
    assert!(sum("worked_ms") > 0 && sum("units") > 0, "{points}");
}

#[test]
fn a_wish_to_finish_first_and_a_pause_survive_a_restart() {
    let mut bench = Bench::working().unwrap();
    let endless = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    let endless = endless.to_string_lossy().into_owned();
    let status = |bench: &Bench| bench.json(&["status"]).ok();
    let running = |bench: &Bench| -> Option<Vec<u64>> {
        status(bench)?["active"].as_array()?.iter().map(|task| task["job"].as_u64()).collect()
    };
    assert!(bench.fog(&["settings", "set", "cores=1"]).unwrap().status.success());
    bench.json(&["submit", &endless]).unwrap();
    bench.json(&["submit", &endless]).unwrap();
    wait_for("a task to run", Duration::from_secs(30), || running(&bench).filter(|jobs| jobs == &[1]))
        .unwrap();
    assert!(bench.fog(&["off", "--finish"]).unwrap().status.success());
    bench.kill();
    bench.start().unwrap();
    // The running task goes on to its end, and no other starts.
    wait_for("the task to go on", Duration::from_secs(30), || running(&bench).filter(|jobs| jobs == &[1]))
        .unwrap();
    assert_eq!(status(&bench).unwrap()["contributing"], true);
    assert_eq!(status(&bench).unwrap()["verdict"]["finishing"], true);
    assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
    wait_for("contributing to end", Duration::from_secs(30), || {
        (status(&bench)?["contributing"] == false).then_some(())
    })
    .unwrap();
    assert_eq!(bench.json(&["job", "show", "2"]).unwrap()["summary"]["state"], "queued");
    assert!(bench.fog(&["job", "cancel", "2"]).unwrap().status.success());
    bench.json(&["on"]).unwrap();
    bench.json(&["snooze", "30"]).unwrap();
    let until = status(&bench).unwrap()["snoozed_until_ms"].clone();
    assert!(until.is_number());
    bench.kill();
    bench.start().unwrap();
    assert_eq!(status(&bench).unwrap()["snoozed_until_ms"], until);
}

#[test]
fn work_that_is_wanted_sooner_takes_the_last_core() {
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "cores=1"]).unwrap().status.success());
    let busy = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))";
    bench.module("loop.wasm", busy).unwrap();
    bench
        .module("nothing.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))")
        .unwrap();
    std::fs::write(
        bench.scratch().join("later.toml"),
        "version = 1\nname = \"later\"\nmodule = \"loop.wasm\"\npriority = -10\ndeadline = \"50min\"\n",
    )
    .unwrap();
    std::fs::write(
        bench.scratch().join("sooner.toml"),
        "version = 1\nname = \"sooner\"\nmodule = \"nothing.wasm\"\npriority = 10\n",
    )
    .unwrap();
    let runs = || {
        let status = bench.json(&["status"]).ok()?;
        Some(
            status["active"]
                .as_array()?
                .iter()
                .filter_map(|task| task["name"].as_str().map(str::to_owned))
                .collect::<Vec<_>>(),
        )
    };
    bench.json(&["submit", "later.toml"]).unwrap();
    wait_for("the first job", Duration::from_secs(30), || runs().filter(|names| names == &["later"]))
        .unwrap();
    bench.json(&["submit", "sooner.toml"]).unwrap();
    wait_for("the job that is wanted sooner", Duration::from_secs(30), || {
        (bench.json(&["job", "show", "2"]).ok()?["summary"]["state"] == "finished").then_some(())
    })
    .unwrap();
    wait_for("the first job again", Duration::from_secs(30), || runs().filter(|names| names == &["later"]))
        .unwrap();
    let task = bench.json(&["job", "show", "1"]).unwrap();
    assert_eq!(task["summary"]["state"], "running");
    assert_eq!(task["summary"]["problem"], "", "making way is no failure");

    // A job with a near deadline comes before one without, and a job requested now before any other.
    let ends = |id: &str| {
        wait_for("its end", Duration::from_secs(30), || {
            let state = bench.json(&["job", "show", id]).ok()?["summary"]["state"].as_str()?.to_owned();
            (!matches!(state.as_str(), "queued" | "running")).then_some(state)
        })
    };
    std::fs::write(
        bench.scratch().join("soon.toml"),
        "version = 1\nmodule = \"nothing.wasm\"\npriority = -10\ndeadline = \"2min\"\n",
    )
    .unwrap();
    std::fs::write(
        bench.scratch().join("now.toml"),
        "version = 1\nmodule = \"nothing.wasm\"\npriority = -10\n",
    )
    .unwrap();
    bench.json(&["submit", "soon.toml"]).unwrap();
    assert_eq!(ends("3").unwrap(), "finished");
    bench.json(&["submit", "now.toml", "--now"]).unwrap();
    assert_eq!(ends("4").unwrap(), "finished");
    wait_for("the first job once more", Duration::from_secs(30), || {
        runs().filter(|names| names == &["later"])
    })
    .unwrap();
}

/// Changes input and program of a waiting job on disk; another job of the same program goes on.
#[test]
fn a_job_does_not_run_on_files_that_were_changed_and_says_which() {
    let bench = Bench::working().unwrap();
    bench
        .module("nothing.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))")
        .unwrap();
    for index in 0..3 {
        std::fs::write(bench.scratch().join(format!("{index}.csv")), format!("input {index}\n")).unwrap();
    }
    std::fs::write(
        bench.scratch().join("job.toml"),
        "version = 1\nmodule = \"nothing.wasm\"\n[map]\ninputs = [\"0.csv\", \"1.csv\", \"2.csv\"]\n",
    )
    .unwrap();
    assert!(bench.fog(&["off"]).unwrap().status.success());
    bench.json(&["submit", "job.toml"]).unwrap();
    let hash = blake3::hash(b"input 1\n").to_hex().to_string();
    let stored = bench.data().join("blobs").join(&hash[..2]).join(&hash);
    let mut bytes = std::fs::read(&stored).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&stored, &bytes).unwrap();
    assert!(bench.fog(&["on"]).unwrap().status.success());
    let ended = |id: &str| {
        wait_for("the end of a job", Duration::from_secs(60), || {
            let job = bench.json(&["job", "show", id]).ok()?;
            let state = job["summary"]["state"].as_str()?.to_owned();
            (state == "finished" || state == "failed").then_some((state, job))
        })
        .unwrap()
    };
    let (state, job) = ended("1");
    assert_eq!(state, "failed", "it ran on something else than was stored: {job}");
    let states: Vec<&str> =
        job["tasks"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["finished", "failed", "finished"], "the others go on");
    let problem = job["tasks"][1]["problem"].as_str().unwrap();
    assert!(
        problem.contains("the input of task 1")
            && problem.contains(&stored.display().to_string())
            && problem.contains("Submit the job again"),
        "{problem}"
    );
    // The advice of the message helps.
    bench.json(&["submit", "job.toml"]).unwrap();
    assert_eq!(ended("2").0, "finished");
    assert_eq!(std::fs::read(&stored).unwrap(), b"input 1\n");
}
