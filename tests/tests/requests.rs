//! A job that its owner requests now runs beside busy programs, and waiting commands print their reason.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::process::{Command, Stdio};
use std::time::Duration;

use fog_tests::{Bench, Guarded, wait_for};
use serde_json::Value;

const LOOP: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))";
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))))"#;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts an engine with the settings of `cargo xtask run`, on a machine whose disk and memory do not
/// matter.
fn engine() -> Bench {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let settings = [
        "contributing=on",
        "run_while_in_use=on",
        "unknown_idle=allow",
        "disk_free_min=0.1",
        "ram_available_min=64",
    ];
    assert!(bench.fog(&[&["settings", "set"], settings.as_slice()].concat()).unwrap().status.success());
    bench
}

/// Starts programs that keep every processor busy at low priority.
fn busy_loops() -> Vec<Guarded> {
    let count = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let start = |_| {
        Guarded(
            Command::new("nice")
                .args(["-n", "19", "sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    (0..count).map(start).collect()
}

fn rules(bench: &Bench) -> Vec<String> {
    let why: Value = serde_json::from_slice(&bench.fog(&["--json", "why"]).unwrap().stdout).unwrap();
    why["verdict"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["rule"].as_str().unwrap().to_owned())
        .collect()
}

fn state(bench: &Bench, id: &str) -> Value {
    bench.json(&["job", "show", id]).unwrap()["summary"]["state"].clone()
}

#[test]
fn a_job_that_is_asked_for_runs_beside_busy_programs() {
    let bench = engine();
    let hello = bench.module("hello.wasm", HELLO).unwrap().to_string_lossy().into_owned();
    let endless = bench.module("loop.wasm", LOOP).unwrap().to_string_lossy().into_owned();
    let _busy = busy_loops();
    let is_busy = || rules(&bench).contains(&"other-cpu".to_owned()).then_some(());
    wait_for("the rule about other programs", Duration::from_secs(60), is_busy).unwrap();

    // A waiting command prints the reason and a remedy, also without a terminal; and it ends.
    let waits = bench.fog(&["submit", &hello, "--wait", "--stall-timeout", "3s"]).unwrap();
    let said = text(&waits.stderr);
    assert_eq!(waits.status.code(), Some(75), "{said}");
    assert!(said.contains("Other programs use") && said.contains("`fog job now 1`"), "{said}");
    assert_eq!(state(&bench, "1"), "queued");
    let waits = bench.fog(&["--json", "submit", &hello, "--watch", "--stall-timeout", "3s"]).unwrap();
    let lines: Vec<Value> =
        text(&waits.stderr).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A slow machine also prints a line about storing the file.
    let line = lines.iter().find(|line| line["event"] == "waiting").unwrap();
    assert_eq!(
        (&line["event"], &line["rule"], &line["job"]),
        (&"waiting".into(), &"other-cpu".into(), &2.into()),
        "{line}"
    );

    let after = bench.json(&["job", "now", "1"]).unwrap();
    assert_eq!(after["id"], 1);
    wait_for("its end", Duration::from_secs(60), || (state(&bench, "1") == "finished").then_some(()))
        .unwrap();
    let done = bench.fog(&["submit", &hello, "--watch", "--now"]).unwrap();
    assert_eq!(text(&done.stdout), "hello\n", "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("whatever other programs do"), "it is said: {}", text(&done.stderr));
    assert_eq!(state(&bench, "2"), "queued", "nobody asked for this one");
    is_busy().unwrap();

    // The request is shown during the run and survives a restart, and a pause by hand applies to it.
    bench.json(&["submit", &endless, "--now"]).unwrap();
    let runs = || {
        let status = bench.json(&["status"]).ok()?;
        (status["active"][0]["frozen"] == false && status["active"][0]["units"].as_u64() > Some(0))
            .then_some(status)
    };
    let status = wait_for("work on it", Duration::from_secs(60), runs).unwrap();
    assert_eq!(
        (&status["run_now"], status["active"].as_array().unwrap().len()),
        (&serde_json::json!([4]), 1)
    );
    let shown = text(&bench.fog(&["status"]).unwrap().stdout);
    assert!(
        shown.contains("because you asked for it now") && shown.contains("Other programs use"),
        "{shown}"
    );
    bench.json(&["snooze", "5"]).unwrap();
    wait_for("a pause", Duration::from_secs(10), || {
        bench.json(&["status"]).ok().filter(|status| status["active"][0]["frozen"] == true)
    })
    .unwrap();
    bench.json(&["snooze", "0"]).unwrap();
    wait_for("work on it again", Duration::from_secs(10), runs).unwrap();
    assert!(bench.fog(&["job", "cancel", "4"]).unwrap().status.success());
    wait_for("it to be forgotten", Duration::from_secs(10), || {
        (bench.json(&["status"]).ok()?["run_now"] == serde_json::json!([])).then_some(())
    })
    .unwrap();
    assert_eq!(bench.fog(&["job", "now", "4"]).unwrap().status.code(), Some(75), "it has ended");
}

#[test]
fn who_watches_a_job_is_told_of_its_pause_and_its_end() {
    let bench = engine();
    let endless = bench.module("loop.wasm", LOOP).unwrap().to_string_lossy().into_owned();
    let said = bench.scratch().join("said");
    let file = std::fs::File::create(&said).unwrap();
    let mut watch = Guarded(
        bench
            .command(&["submit", &endless, "--now", "--watch"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap(),
    );
    let has_said = |what: &str| std::fs::read_to_string(&said).unwrap().contains(what).then_some(());
    let works = || (bench.json(&["status"]).ok()?["active"][0]["units"].as_u64() > Some(0)).then_some(());
    wait_for("work", Duration::from_secs(60), works).unwrap();
    assert!(bench.fog(&["job", "pause", "1"]).unwrap().status.success());
    wait_for("the way on", Duration::from_secs(30), || has_said("was paused. Go on: `fog job resume 1`"))
        .unwrap();
    assert!(bench.fog(&["job", "resume", "1"]).unwrap().status.success());
    wait_for("work again", Duration::from_secs(60), works).unwrap();
    assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
    assert_eq!(watch.0.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(said.lines().last(), Some("fog: job 1 cancelled"), "{said}");
}

/// Returns the total memory of this machine in bytes.
fn total_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap() << 10
}

/// Uses a job whose size lies between the share of free memory and that of total memory: it waits, prints
/// so, and lets others pass.
#[test]
fn a_job_that_waits_for_memory_says_so_and_lets_smaller_ones_pass() {
    let total = total_memory();
    // Pages that were written are not free. The engine looks at the memory at once when it starts, and only
    // now and then while nothing runs.
    let held = vec![1_u8; (total / 100 * 8) as usize];
    let bench = engine();
    assert!(
        bench.fog(&["settings", "set", "memory_share=10", "other_cpu_stop=100"]).unwrap().status.success()
    );
    let least =
        fog_types::Limits { memory: fog_types::ByteCount(0), ..fog_types::Limits::default() }.footprint().0;
    let memory = (total / 1000 * 97 - least) >> 20;
    bench.module("hello.wasm", HELLO).unwrap();
    let job = |name: &str, limits: &str| {
        let path = bench.scratch().join(format!("{name}.toml"));
        std::fs::write(
            &path,
            format!("version = 1\nname = \"{name}\"\nmodule = \"hello.wasm\"\n[limits]\n{limits}\n"),
        )
        .unwrap();
        path.to_string_lossy().into_owned()
    };
    let (large, small) = (
        job("large", &format!("memory = \"{memory} MiB\"")),
        job("small", "memory = \"1 MiB\"\ndisk = \"1 MiB\""),
    );
    let waits = bench.fog(&["submit", &large, "--watch", "--stall-timeout", "8s"]).unwrap();
    let said = text(&waits.stderr);
    assert_eq!(waits.status.code(), Some(75), "{said}");
    assert!(said.contains("“large” waits for memory"), "{said}");
    let passes = bench.fog(&["submit", &small, "--watch"]).unwrap();
    assert_eq!(text(&passes.stdout), "hello\n", "{}", text(&passes.stderr));
    let status = bench.json(&["status"]).unwrap();
    assert_eq!(
        (&status["memory_waits"][0]["job"], &state(&bench, "1")),
        (&1.into(), &"queued".into()),
        "{status}"
    );
    assert!(text(&bench.fog(&["status"]).unwrap().stdout).contains("“large” waits for memory"));
    drop(held);
    assert!(bench.fog(&["settings", "set", "memory_share=90"]).unwrap().status.success());
    wait_for("its end", Duration::from_secs(60), || (state(&bench, "1") == "finished").then_some(()))
        .unwrap();
}

/// Expects lines at intervals without a terminal, where nothing can be redrawn.
#[test]
fn progress_is_told_without_a_terminal() {
    let bench = engine();
    assert!(bench.fog(&["settings", "set", "other_cpu_stop=100"]).unwrap().status.success());
    let endless = bench.module("loop.wasm", LOOP).unwrap().to_string_lossy().into_owned();
    for json in [false, true] {
        let log = bench.scratch().join("said.txt");
        let words: &[&str] = if json {
            &["--json", "submit", &endless, "--watch", "--now"]
        } else {
            &["submit", &endless, "--watch", "--now"]
        };
        let mut watching = bench
            .command(words)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let wanted = if json { "\"event\":\"progress\"" } else { "units so far" };
        wait_for("a line", Duration::from_secs(60), || {
            std::fs::read_to_string(&log).unwrap().contains(wanted).then_some(())
        })
        .unwrap();
        let id = if json { "2" } else { "1" };
        assert!(bench.fog(&["job", "cancel", id]).unwrap().status.success());
        assert!(!watching.wait().unwrap().success());
    }
}

#[test]
fn what_a_job_waits_for_is_said_at_each_change() {
    let bench = engine();
    assert!(bench.fog(&["settings", "set", "other_cpu_stop=100"]).unwrap().status.success());
    assert!(bench.fog(&["snooze", "5"]).unwrap().status.success());
    let hello = bench.module("hello.wasm", HELLO).unwrap().to_string_lossy().into_owned();
    let log = bench.scratch().join("said.txt");
    let mut waiting = bench
        .command(&["submit", &hello, "--wait"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_for("the pause", Duration::from_secs(20), || said().contains("`fog snooze 0`").then_some(()))
        .unwrap();
    assert!(bench.fog(&["off"]).unwrap().status.success());
    wait_for("the switch", Duration::from_secs(20), || said().contains("`fog on`").then_some(())).unwrap();
    assert!(bench.fog(&["on"]).unwrap().status.success());
    assert!(waiting.wait().unwrap().success());
    assert!(said().lines().count() <= 4, "a line for each change, not for each event: {}", said());
}

#[test]
fn what_is_of_others_cannot_be_asked_for() {
    let bench = engine();
    let hello = bench.module("hello.wasm", HELLO).unwrap().to_string_lossy().into_owned();
    let refused = bench.fog(&["submit", &hello, "--where", "grid", "--now"]).unwrap();
    assert_eq!(refused.status.code(), Some(65), "{}", text(&refused.stderr));
    assert_eq!(bench.json(&["jobs"]).unwrap(), serde_json::json!([]), "nothing was submitted");
    let alone = bench.fog(&["submit", &hello, "--replicas", "9"]).unwrap();
    assert!(
        alone.status.success() && text(&alone.stderr).contains("fog network join lan"),
        "what is missing is said at once: {}",
        text(&alone.stderr)
    );
    assert_eq!(bench.fog(&["job", "now", "1"]).unwrap().status.code(), Some(75));
}
