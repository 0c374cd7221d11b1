//! Several real devices on one machine over real sockets: jobs are distributed and results come back.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::process::Stdio;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use fog_tests::jobs::{turning, working_for};
use fog_tests::{Bench, is_full, wait_for};
use serde_json::Value;

/// Locked for writing by a test that needs all processors, so that time limits of other tests stay
/// meaningful.
static MACHINE: RwLock<()> = RwLock::new(());

/// Shares the machine with other tests until the guard is dropped.
fn shared() -> impl Drop {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Reserves the machine in the long form until the guards are dropped.
fn alone() -> (Option<impl Drop>, Option<impl Drop>) {
    let is_alone = is_full();
    let all = is_alone.then(|| MACHINE.write().unwrap_or_else(PoisonError::into_inner));
    (all, (!is_alone).then(shared))
}

fn submit(bench: &Bench, args: &[&str]) -> String {
    bench.json(&[&["submit"], args].concat()).unwrap()["id"].to_string()
}

fn state(bench: &Bench, id: &str) -> String {
    bench.json(&["job", "show", id]).unwrap()["summary"]["state"].as_str().unwrap_or_default().to_owned()
}

fn finished(bench: &Bench, id: &str, seconds: u64) -> Value {
    let done = wait_for("the end of the job", Duration::from_secs(seconds), || {
        (state(bench, id) == "finished").then_some(())
    });
    if let Err(error) = done {
        let mut job = bench.json(&["job", "show", id]).unwrap();
        let waiting: Vec<Value> = job["tasks"]
            .take()
            .as_array()
            .into_iter()
            .flatten()
            .filter(|task| task["state"] != "finished")
            .cloned()
            .collect();
        let (places, peers) = (bench.json(&["job", "places", id]).unwrap(), bench.json(&["peers"]).unwrap());
        panic!("{error}: {waiting:#?} {places:#} {peers:#} {}", job["grid"]);
    }
    bench.json(&["job", "show", id]).unwrap()
}

fn jobs(bench: &Bench) -> Vec<Value> {
    bench.json(&["jobs"]).unwrap().as_array().unwrap().clone()
}

#[test]
fn a_job_goes_to_another_device_and_comes_back_verified() {
    let _machine = shared();
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    // Joining a group again disconnects nobody.
    let again = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().to_owned();
    b.json(&["network", "join", &again]).unwrap();
    assert_eq!(b.friends(), 1);
    let peer = &a.json(&["peers"]).unwrap()[0];
    assert_eq!((peer["name"].as_str(), peer["path"].as_str()), (Some("ben"), Some("direct")), "{peer}");
    // Both are dialled at once, and on a busy machine either may be first.
    assert!(["quic", "tcp"].map(Some).contains(&peer["transport"].as_str()), "{peer}");
    let id = submit(&a, &["--example", "lucas-lehmer", "--where", "grid"]);
    let there = finished(&a, &id, 60);
    assert!(jobs(&b).iter().all(|job| job["owner"] == "anna" && job["state"] == "finished"));
    assert_eq!(jobs(&b).len() as u64, there["summary"]["tasks_total"].as_u64().unwrap());
    // The same job on this device alone gives the same identities and units.
    let here = finished(&a, &submit(&a, &["--example", "lucas-lehmer"]), 60);
    let identity = |job: &Value| {
        job["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| (t["result_hash"].to_string(), t["units"].to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(identity(&there), identity(&here));
    let result = |id: &str| a.fog(&["job", "result", id]).unwrap().stdout;
    assert_eq!(result(&id), result(&here["summary"]["id"].to_string()));
    // Every result has a receipt, and the reliability follows from twelve results that were not compared.
    wait_for("receipts", Duration::from_secs(10), || {
        (b.json(&["peers"]).ok()?[0]["hosted"] == 0).then_some(())
    })
    .unwrap();
    assert!(a.json(&["peers"]).unwrap()[0]["reliability"].as_u64().unwrap() > 700);
}

/// Returns files that begin like an unsealed checkpoint, those in transfer included.
fn open_states(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    use std::io::Read as _;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let mut begin = [0; 8];
        if path.is_dir() {
            found.extend(open_states(&path));
        } else if std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut begin)).is_ok()
            && begin == *b"FOGCKPT1"
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_task_goes_on_from_its_checkpoint_when_its_device_is_gone() {
    let _machine = shared();
    let (a, mut b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b]).unwrap();
    // The task must not end before it is moved.
    let module = working_for(&a, 20.0);
    let alone = a.fog(&["run", &module]).unwrap().stdout;
    let id = submit(&a, &[&module, "--where", "grid"]);
    // The task is far enough, and its state has arrived.
    let units = wait_for("a state", Duration::from_secs(60), || {
        let places = a.json(&["job", "places", &id]).ok()?;
        let kept = std::fs::read_dir(a.data().join("blobs")).ok()?.count();
        (kept >= 2 && places[0]["units"].as_u64()? > 0).then(|| places[0]["units"].as_u64()).flatten()
    })
    .unwrap();
    // No disk contains a readable state of the task, neither there nor here.
    for device in [&a, &b] {
        assert_eq!(open_states(&device.data()), Vec::<std::path::PathBuf>::new());
    }
    b.kill();
    a.invite(&[&c]).unwrap();
    // Units of the state in the offer, which depend on the speed of this machine.
    let given = wait_for("an offer to cleo", Duration::from_secs(60), || {
        let places = a.json(&["job", "places", &id]).ok()?;
        places.as_array()?.iter().find(|place| place["name"] == "cleo")?["units"].as_u64()
    })
    .unwrap_or_else(|error| {
        panic!("{error}: {:#} {:#}", a.json(&["job", "show", &id]).unwrap(), a.json(&["peers"]).unwrap())
    });
    let begun = wait_for("cleo at work", Duration::from_secs(60), || {
        let status = c.json(&["status"]).ok()?;
        status["active"][0]["units"].as_u64().filter(|units| *units > 0)
    })
    .unwrap();
    assert!(given > 0 && begun >= given, "cleo was given {given} of {units} units and began at {begun}");
    let job = finished(&a, &id, 120);
    let saved = a.scratch().join("saved");
    a.json(&["job", "result", &id, "-o", saved.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read(saved.join("stdout.txt")).unwrap(), alone);
    assert_eq!(job["tasks"][0]["attempts"].as_array().unwrap().len(), 2, "{job:#}");
}

#[test]
fn a_requester_that_was_away_finds_its_result() {
    let _machine = shared();
    let (mut a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = working_for(&a, 12.0);
    let id = submit(&a, &[&module, "--where", "grid"]);
    wait_for("ben at work", Duration::from_secs(30), || (jobs(&b).len() == 1).then_some(())).unwrap();
    a.kill();
    wait_for("ben's end", Duration::from_secs(60), || (jobs(&b)[0]["state"] == "finished").then_some(()))
        .unwrap();
    a.start().unwrap();
    finished(&a, &id, 60);
    assert_eq!(jobs(&b).len(), 1, "it was not done again");
}

/// Lets a task end while its device has left the network, perhaps with a kill; the result is delivered
/// afterwards.
fn ends_without_a_network(is_killed: bool) {
    let (a, mut b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = working_for(&a, 6.0);
    let id = submit(&a, &[&module, "--where", "grid"]);
    wait_for("ben at work", Duration::from_secs(30), || {
        (b.json(&["status"]).ok()?["active"].as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    b.json(&["network", "leave"]).unwrap();
    wait_for("ben's end", Duration::from_secs(60), || (jobs(&b)[0]["state"] == "finished").then_some(()))
        .unwrap();
    if is_killed {
        b.kill();
        b.start().unwrap();
    }
    a.invite(&[&b]).unwrap();
    finished(&a, &id, 40);
    assert_eq!(jobs(&b).len(), 1, "it was not done again");
}

#[test]
fn a_result_that_came_while_the_network_was_left_is_told_later() {
    let _machine = shared();
    ends_without_a_network(false);
}

#[test]
fn a_result_that_was_not_told_before_a_kill_is_told_later() {
    let _machine = shared();
    ends_without_a_network(true);
}

/// A program that creates a number of files, each with its name as content.
const FILES: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "f00000") (data (i32.const 100) "\00\00\00\00\06\00\00\00")
    (func $digit (param $at i32) (param $n i32) (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))
    (func (export "_start") (local $n i32)
        (loop $l
            (call $digit (i32.const 5) (local.get $n))
            (call $digit (i32.const 4) (i32.div_u (local.get $n) (i32.const 10)))
            (call $digit (i32.const 3) (i32.div_u (local.get $n) (i32.const 100)))
            (call $digit (i32.const 2) (i32.div_u (local.get $n) (i32.const 1000)))
            (call $digit (i32.const 1) (i32.div_u (local.get $n) (i32.const 10000)))
            (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 1) (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 200))
                (then (unreachable)))
            (drop (call $write (i32.load (i32.const 200)) (i32.const 100) (i32.const 1) (i32.const 204)))
            (drop (call $close (i32.load (i32.const 200))))
            (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const COUNT))))))"#;

/// Uses more files than fit in one message; in the long form more than in any message.
#[test]
fn very_many_files_come_back_from_another_device() {
    let _machine = alone();
    let count = if is_full() { 12_000 } else { 1_200 };
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = a.module("files.wasm", &FILES.replace("COUNT", &count.to_string())).unwrap();
    let id = submit(&a, &[module.to_str().unwrap(), "--where", "grid"]);
    finished(&a, &id, 300);
    assert_eq!(jobs(&b).len(), 1, "it was done once");
    let saved = a.scratch().join("saved");
    a.json(&["job", "result", &id, "-o", saved.to_str().unwrap()]).unwrap();
    let last = format!("f{:05}", count - 1);
    assert_eq!(std::fs::read(saved.join(&last)).unwrap(), last.as_bytes());
    let files =
        std::fs::read_dir(&saved).unwrap().flatten().filter(|file| file.file_name().len() == 6).count();
    assert_eq!(files, count);
}

#[test]
fn replicas_run_on_different_devices_and_agree() {
    let _machine = shared();
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let id = submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--replicas", "2"]);
    let job = finished(&a, &id, 60);
    let tasks = job["tasks"].as_array().unwrap();
    assert!(tasks.iter().all(|task| task["attempts"].as_array().unwrap().len() >= 2), "{job:#}");
    assert_eq!((jobs(&b).len(), jobs(&c).len()), (12, 12));
}

#[test]
fn a_class_of_service_is_kept_paid_and_told() {
    let _machine = shared();
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let id = submit(&a, &["--example", "lucas-lehmer", "--service", "silver"]);
    let job = finished(&a, &id, 60);
    let grid = &job["grid"];
    assert_eq!(
        (grid["service"].as_str(), grid["promise"].as_str(), grid["agreed"].as_u64()),
        (Some("silver"), Some("kept"), Some(2)),
        "{grid:#}"
    );
    // Two devices did the work at two and a half times the price each; the sum spent equals the sum earned.
    let units = job["summary"]["units"].as_u64().unwrap();
    let credits = |bench: &Bench| bench.json(&["credits"]).unwrap();
    let spent = credits(&a)["spent"].as_u64().unwrap();
    let expected = units as f64 * 2.5 * 2.0 / 1e6;
    assert!((spent as f64 - expected).abs() < expected * 0.01 + 24.0, "spent {spent}, expected {expected}");
    assert_eq!((credits(&a)["reserved"].as_u64(), grid["spent"].as_u64()), (Some(0), Some(spent)));
    wait_for("receipts", Duration::from_secs(20), || {
        let earned = [&b, &c].map(|device| credits(device)["earned"].as_u64().unwrap());
        (earned.iter().sum::<u64>() == spent).then_some(())
    })
    .unwrap();
    // Credits beyond the limit are not lent.
    assert!(a.fog(&["settings", "set", "credit_limit=0.001"]).unwrap().status.success());
    let id = submit(&a, &["--example", "lucas-lehmer", "--where", "grid"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(state(&a, &id), "queued");
    let told = a.json(&["job", "show", &id]).unwrap();
    assert!(
        told["grid"]["withheld"].as_str().is_some_and(|why| why.contains("credit_limit")),
        "{}",
        told["grid"]
    );
    assert!(a.fog(&["settings", "set", "credit_limit=0"]).unwrap().status.success());
    finished(&a, &id, 60);
    // A missed deadline breaks the promise, and the reason is reported.
    let module = turning(&a, 400_000_000_000);
    let id = submit(&a, &[&module, "--service", "gold", "--deadline", "2s"]);
    let broken = wait_for("the deadline", Duration::from_secs(60), || {
        let job = a.json(&["job", "show", &id]).ok()?;
        (job["grid"]["promise"] == "broken").then_some(job)
    });
    assert!(broken.unwrap()["grid"]["why"].as_str().is_some_and(|why| !why.is_empty()));
}

/// Expects comparison for unknown devices, trust for known ones, and spot checks among the other tasks.
#[test]
fn devices_that_are_known_are_compared_less_and_checked_now_and_then() {
    let _machine = shared();
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    // No device is known yet: everything is compared.
    let tries = |job: &Value| {
        job["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["attempts"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let first =
        finished(&a, &submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--adaptive"]), 60);
    assert!(first["grid"]["agreed"].as_u64() >= Some(1));
    let before = tries(&first);
    assert!(before >= 20, "{before} tries of 12 tasks by devices that are not known");
    let second =
        finished(&a, &submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--adaptive"]), 60);
    let after = tries(&second);
    assert!(
        after < before && after <= 18,
        "{after} tries of 12 tasks by devices with ten right results in a row"
    );
    // Spot checks are recorded in the job's history, and none fails here. A third device exists so that one
    // does not know the answer.
    let d = Bench::device("dora").unwrap();
    a.invite(&[&b, &c, &d]).ok();
    wait_for("dora", Duration::from_secs(20), || (a.friends() == 3).then_some(())).unwrap();
    let mut checks = 0;
    for _ in 0..6 {
        let id = submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--spot-checks", "50"]);
        finished(&a, &id, 60);
        std::thread::sleep(Duration::from_secs(2));
        let grid = a.json(&["job", "show", &id]).unwrap()["grid"].clone();
        checks += grid["checks"][0].as_u64().unwrap();
        assert_eq!(grid["checks"][1].as_u64(), Some(0), "{grid:#}");
        if checks > 0 {
            break;
        }
    }
    assert!(checks > 0, "no spot check in all that");
}

#[test]
fn a_requester_says_how_sure_it_wants_to_be() {
    let _machine = shared();
    let devices: Vec<Bench> = ["ben", "cleo", "dora"].map(|name| Bench::device(name).unwrap()).into();
    let a = Bench::device("anna").unwrap();
    a.invite(&devices.iter().collect::<Vec<_>>()).unwrap();
    // Three equal results make odds of 8 to 1, enough for 1 in 8.
    let job =
        finished(&a, &submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--trust", "8"]), 60);
    // Correct results of the first tasks count for the last ones, where two may suffice.
    let most =
        job["tasks"].as_array().unwrap().iter().map(|task| task["attempts"].as_array().unwrap().len()).max();
    assert!(most >= Some(3) && job["grid"]["agreed"].as_u64() >= Some(2), "{most:?} {:#}", job["grid"]);
    // The devices advertise themselves to the whole group.
    wait_for("adverts", Duration::from_secs(60), || {
        a.json(&["network", "status"]).ok()?["adverts"].as_u64().filter(|heard| *heard > 0)
    })
    .unwrap();
}

/// Expects a file to come from devices that already have it, not only from the requester.
#[test]
fn inputs_come_from_whoever_has_them() {
    let _machine = shared();
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    drop(working_for(&a, 8.0));
    std::fs::write(a.scratch().join("big.bin"), vec![5u8; 12 << 20]).unwrap();
    let job = a.scratch().join("shared.toml");
    std::fs::write(
        &job,
        "version = 1\nmodule = \"long.wasm\"\n[inputs]\n\"big.bin\" = \"big.bin\"\n[map]\nrange = [0, 12]\n",
    )
    .unwrap();
    let id = submit(&a, &[job.to_str().unwrap(), "--where", "grid"]);
    // A late device, when the others have the file.
    wait_for("both at work", Duration::from_secs(120), || {
        [&b, &c]
            .iter()
            .all(|device| {
                !device.json(&["status"]).unwrap_or_default()["active"].as_array().is_none_or(Vec::is_empty)
            })
            .then_some(())
    })
    .unwrap();
    // The data limit does not count the local network; the transport's counters count everything.
    let sent = |bench: &Bench| bench.counter("fog_network_bytes{direction=\"sent\"}").unwrap();
    let d = Bench::device("dora").unwrap();
    d.json(&["off"]).unwrap();
    a.invite(&[&b, &c, &d]).ok();
    wait_for("all of them", Duration::from_secs(90), || (d.friends() == 3).then_some(())).unwrap();
    let before = sent(&b) + sent(&c);
    d.work_always().unwrap();
    wait_for("dora at work", Duration::from_secs(60), || {
        (!d.json(&["status"]).ok()?["active"].as_array()?.is_empty()).then_some(())
    })
    .unwrap();
    // The counters are updated every second while there is work.
    wait_for("bytes", Duration::from_secs(30), || (sent(&b) + sent(&c) > before + (8 << 20)).then_some(()))
        .unwrap();
    a.json(&["job", "cancel", &id]).unwrap();
}

/// Expects a device that lists every state of its run to be asked for one of them, and that segment to be
/// run again.
#[test]
fn a_part_of_a_run_is_run_again_before_it_is_believed() {
    let _machine = shared();
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    drop(turning(&a, 900_000_000));
    let job = a.scratch().join("shown.toml");
    std::fs::write(
        &job,
        "version = 1\nmodule = \"long.wasm\"\nsegment = 1000000000\n[map]\nrange = [0, 8]\n",
    )
    .unwrap();
    let id = submit(&a, &[job.to_str().unwrap(), "--where", "grid", "--spot-checks", "50"]);
    let done = finished(&a, &id, 120);
    let lines = done["journal"].as_array().unwrap().iter().filter(|line| line["kind"] == "checked");
    let said: Vec<&str> = lines.filter_map(|line| line["detail"].as_str()).collect();
    assert!(said.iter().any(|line| line.contains("run again: right")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("wrong")), "{said:?}");
    // After the receipt the histories are deleted, long before the job is.
    for device in [&b, &c] {
        let left = || std::fs::read_dir(device.data().join("histories")).map_or(0, Iterator::count);
        wait_for("the histories to go", Duration::from_secs(30), || (left() == 0).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {} are left", left()));
        assert!(!jobs(device).is_empty());
    }
}

/// Kills and restarts devices all the time, and expects every task to be accepted once with the correct
/// result.
#[test]
fn devices_that_come_and_go_lose_no_task_and_do_none_twice() {
    let _machine = alone();
    let (count, tasks, kills) = if is_full() { (20, 500, 60) } else { (4, 24, 6) };
    let a = Bench::device("anna").unwrap();
    let mut others: Vec<Bench> = (0..count).map(|n| Bench::device(&format!("node-{n}")).unwrap()).collect();
    a.invite(&others.iter().collect::<Vec<_>>()).unwrap();
    let module = turning(&a, 600_000_000);
    let alone = a.fog(&["run", &module]).unwrap().stdout;
    let job = a.scratch().join("many.toml");
    std::fs::write(&job, format!("version = 1\nmodule = \"long.wasm\"\n[map]\nrange = [0, {tasks}]\n"))
        .unwrap();
    let id = submit(&a, &[job.to_str().unwrap(), "--where", "grid"]);
    let mut lost = Duration::ZERO;
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(1500));
        // Half of the devices are killed at some time; each comes back after a while.
        let victim = kill % (count / 2);
        // Work since the last saved state is repeated.
        let active = others[victim].json(&["status"]).unwrap()["active"].clone();
        for task in active.as_array().unwrap() {
            let begun = task["started_ms"].as_i64().unwrap();
            let since = begun.max(task["saved_ms"].as_i64().unwrap_or(0));
            lost += Duration::from_millis(fog_tests::now_ms().saturating_sub(since).max(0).cast_unsigned());
        }
        others[victim].kill();
        std::thread::sleep(Duration::from_millis(500));
        others[victim].start().unwrap();
    }
    let show = finished(&a, &id, 60 + tasks * 5);
    assert_eq!(show["summary"]["tasks_finished"].as_u64(), Some(tasks));
    let saved = a.scratch().join("many");
    a.json(&["job", "result", &id, "-o", saved.to_str().unwrap()]).unwrap();
    let mut tries = 0;
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for index in 0..tasks {
        assert_eq!(
            std::fs::read(saved.join(format!("task-{index:05}/stdout.txt"))).unwrap(),
            alone,
            "task {index}"
        );
    }
    let journal = show["journal"].as_array().unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < tasks {
        let page = a.json(&["job", "show", &id, "--from", &all.len().to_string()]).unwrap()["tasks"]
            .as_array()
            .unwrap()
            .clone();
        assert!(!page.is_empty(), "only {} tasks are listed", all.len());
        all.extend(page);
    }
    let mut worked = Duration::ZERO;
    for task in &all {
        let attempts = task["attempts"].as_array().unwrap();
        tries += attempts.len();
        // Wall-clock time, like the lost work: four devices share the processors of one machine here.
        let done = attempts.iter().find(|attempt| attempt["outcome"] == "finished").unwrap();
        let took = done["ended_ms"].as_i64().unwrap() - done["started_ms"].as_i64().unwrap();
        worked += Duration::from_millis(took.max(0).cast_unsigned());
        let of_one = attempts.iter().filter(|attempt| attempt["outcome"] != "finished");
        // Outcomes of the unsuccessful attempts.
        for other in of_one.filter(|attempt| attempt["ended_ms"].is_i64()) {
            *ends.entry(format!("{}: {}", other["outcome"], other["detail"])).or_default() += 1;
        }
        assert_eq!(attempts.iter().filter(|attempt| attempt["outcome"] == "finished").count(), 1, "{task:#}");
        let results =
            journal.iter().filter(|line| line["kind"] == "result" && line["index"] == task["index"]).count();
        assert!(results <= 1, "{task:#}");
    }
    let share = lost.as_secs_f64() / (lost + worked).as_secs_f64();
    eprintln!("{tasks} tasks, {kills} kills: {tries} tries; other ends {ends:#?}");
    eprintln!(
        "lost with a device and done again: {lost:.1?}, beside {worked:.1?} of work: {:.1} %",
        share * 100.0
    );
    assert!(share <= 0.15, "{share}");
}

#[test]
fn cancelled_here_is_cancelled_there() {
    let _machine = shared();
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = turning(&a, 400_000_000_000);
    let id = submit(&a, &[&module, "--where", "grid"]);
    wait_for("ben at work", Duration::from_secs(30), || {
        (b.json(&["status"]).ok()?["active"].as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    a.json(&["job", "cancel", &id]).unwrap();
    wait_for("ben's release", Duration::from_secs(10), || {
        (jobs(&b)[0]["state"] == "cancelled").then_some(())
    })
    .unwrap();
    assert_eq!(b.json(&["status"]).unwrap()["active"].as_array().unwrap().len(), 0);
}

#[test]
fn strangers_share_nothing_and_a_wrong_invitation_joins_nothing() {
    let _machine = shared();
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    // No socket is open before a network was joined.
    let sockets = |bench: &Bench| {
        std::fs::read_dir(format!("/proc/{}/fd", bench.pid().unwrap()))
            .unwrap()
            .flatten()
            .filter(|fd| is_inet(bench, &fd.path()))
            .count()
    };
    assert_eq!(sockets(&a), 0);
    a.json(&["network", "invite"]).unwrap();
    wait_for("sockets", Duration::from_secs(10), || (sockets(&a) > 0).then_some(())).unwrap();
    let invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().to_owned();
    for (what, code) in [("hello", 65), ("FOG1ABCDEFG", 65), (&invite[..invite.len() - 3], 65)] {
        let refused = b.fog(&["network", "join", what]).unwrap();
        assert_eq!(refused.status.code(), Some(code), "{}", String::from_utf8_lossy(&refused.stderr));
    }
    assert_eq!(a.fog(&["network", "join", &invite]).unwrap().status.code(), Some(75), "its own invitation");
    assert!(b.json(&["network", "status"]).unwrap()["joined"].as_array().unwrap().is_empty());
    // Another group of the same name has another secret.
    b.json(&["network", "invite"]).unwrap();
    let id = submit(&b, &["--example", "lucas-lehmer", "--where", "grid"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(state(&b, &id), "queued");
    assert!(jobs(&a).is_empty());
    assert_eq!(b.fog(&["network", "leave", "nowhere"]).unwrap().status.code(), Some(66));
    b.json(&["network", "leave"]).unwrap();
    wait_for("silence", Duration::from_secs(10), || (sockets(&b) == 0).then_some(())).unwrap();
}

/// Whether a file descriptor is an internet socket listed in the tables of the process.
fn is_inet(bench: &Bench, fd: &std::path::Path) -> bool {
    let Ok(target) = std::fs::read_link(fd) else { return false };
    let Some(inode) = target
        .to_string_lossy()
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'))
        .map(str::to_owned)
    else {
        return false;
    };
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|table| {
        std::fs::read_to_string(format!("/proc/{}/net/{table}", bench.pid().unwrap())).unwrap_or_default()
    });
    tables.iter().flat_map(|table| table.lines()).any(|line| line.split_whitespace().nth(9) == Some(&inode))
}

#[test]
fn too_few_devices_are_told_at_once() {
    let _machine = shared();
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let id = submit(&a, &["--example", "lucas-lehmer", "--where", "grid", "--replicas", "9"]);
    let why = || Some(a.json(&["job", "show", &id]).ok()?["grid"]["withheld"].as_str()?.to_owned());
    wait_for("the reason", Duration::from_secs(20), || why().filter(|why| why.contains("9 devices")))
        .unwrap_or_else(|error| panic!("{error}: {:?}", why()));
}

#[test]
fn a_lent_job_that_its_device_has_paused_is_said_to_stand_still() {
    let _machine = shared();
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = a
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    let mut watch = a.command(&[
        "submit",
        &module.to_string_lossy(),
        "--where",
        "grid",
        "--watch",
        "--stall-timeout",
        "20s",
    ]);
    let mut watched =
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let state = || Some(a.json(&["job", "places", "1"]).ok()?[0]["state"].as_str()?.to_owned());
    wait_for("the task", Duration::from_secs(60), || (state()? == "running").then_some(())).unwrap();
    b.json(&["off"]).unwrap();
    let ended = wait_for("the end of the waiting", Duration::from_secs(90), || watched.try_wait().unwrap());
    if ended.is_err() {
        watched.kill().unwrap();
    }
    let told = String::from_utf8(watched.wait_with_output().unwrap().stderr).unwrap();
    assert!(
        ended.is_ok_and(|status| !status.success())
            && told.contains("It stands still on ben")
            && told.contains("Stopped waiting"),
        "{told}"
    );
}
