//! Priority of the owner: the effect of `fog off`, and of workers on other programs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::BufRead;
use std::process::Stdio;
use std::time::Duration;

use fog_tests::{Bench, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Returns a module that takes some seconds to compile.
fn large_module() -> String {
    let line = "(local.set 0 (i64.add (i64.mul (local.get 0) (i64.const 31)) (i64.load (i32.wrap_i64 (local.get 0)))))";
    let function = format!("(func (param i64) (result i64) {} (local.get 0))", line.repeat(60));
    format!("(module (memory (export \"memory\") 1) {} (func (export \"_start\")))", function.repeat(6_000))
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// Returns the processor time of a process in hundredths of a second.
fn ticks(pid: u32) -> u32 {
    stat(pid).map_or(0, |fields| fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
}

/// Whether a process uses no processor time for a second: a task that sleeps at a safe point is not stopped
/// by a signal.
fn stands_still(pid: u32) -> bool {
    let before = ticks(pid);
    std::thread::sleep(Duration::from_secs(1));
    ticks(pid) == before && !is_gone(pid)
}

/// Returns the daemon's workers.
fn workers(bench: &Bench) -> impl Iterator<Item = u32> {
    let parent = bench.pid().unwrap().to_string();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(move |pid| stat(*pid).is_some_and(|fields| fields[1] == parent && fields[0] != "Z"))
}

/// Returns a worker once it has worked for a while.
fn busy_worker(bench: &Bench) -> u32 {
    wait_for("a worker at work", SOON, || workers(bench).find(|pid| ticks(*pid) >= 20)).unwrap()
}

#[test]
fn compiling_stops_with_off_and_ends_with_cancel() {
    let bench = Bench::working().unwrap();
    let module = bench.module("large.wasm", &large_module()).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let worker = busy_worker(&bench);
    let before = ticks(worker);
    assert!(bench.fog(&["off"]).unwrap().status.success());
    wait_for("the compiler to stop", SOON, || (stat(worker)?[0] == "T").then_some(())).unwrap();
    // The command itself takes time on a busy machine; the compiler must not use seconds meanwhile.
    let stopped = ticks(worker);
    assert!(stopped - before < 200, "{} ticks", stopped - before);
    assert!(bench.fog(&["on"]).unwrap().status.success());
    wait_for("the compiler to go on", SOON, || (ticks(worker) > stopped || is_gone(worker)).then_some(()))
        .unwrap();
    assert!(bench.fog(&["off"]).unwrap().status.success());
    if !is_gone(worker) {
        assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
        wait_for("the compiler to end", SOON, || is_gone(worker).then_some(())).unwrap();
    }
}

/// Returns the lines that a program prints on a stream.
fn lines_of(stream: impl std::io::Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (to, lines) = std::sync::mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        std::io::BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
    });
    lines
}

#[test]
fn an_estimate_stops_with_off_says_why_and_can_be_interrupted() {
    let bench = Bench::working().unwrap();
    let module = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    let mut command =
        bench.command(&["submit", &module.to_string_lossy(), "--estimate", "--sample", "600", "--json"]);
    let mut asked =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = lines_of(asked.stderr.take().unwrap());
    let hears = |what: &str| {
        wait_for(what, SOON, || said.try_iter().any(|line| line.contains(what)).then_some(())).unwrap()
    };
    let worker = busy_worker(&bench);
    assert!(bench.fog(&["off"]).unwrap().status.success());
    wait_for("the sample to stop", SOON, || stands_still(worker).then_some(())).unwrap();
    hears("\"rule\":\"off\"");
    let stopped = ticks(worker);
    assert!(bench.fog(&["on"]).unwrap().status.success());
    wait_for("the sample to go on", SOON, || (ticks(worker) > stopped).then_some(())).unwrap();
    hears("\"event\":\"working\"");
    // Interrupted while it stands still.
    assert!(bench.fog(&["off"]).unwrap().status.success());
    wait_for("the sample to stop", SOON, || stands_still(worker).then_some(())).unwrap();
    // Not SIGINT, which may be ignored when the test runs in the background.
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &asked.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert!(!asked.wait().unwrap().success());
    wait_for("the sample to end", SOON, || is_gone(worker).then_some(())).unwrap();
    // An estimate requested while the device is off starts nothing.
    let mut asked = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = lines_of(asked.stderr.take().unwrap());
    wait_for("the reason", SOON, || {
        said.try_iter().any(|line| line.contains("\"rule\":\"off\"")).then_some(())
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(workers(&bench).count(), 0, "it runs although the device is off");
    asked.kill().unwrap();
    asked.wait().unwrap();
}

/// Expects `memory = 2 MiB, disk = 4 GiB` to count as more than 4 GiB.
#[test]
fn a_device_does_not_lend_memory_it_does_not_have_to_files() {
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "memory_share=5"]).unwrap().status.success());
    let module =
        bench.module("m.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap();
    let file = bench.scratch().join("job.toml");
    let text = format!(
        "version = 1\nname = \"m\"\nmodule = {:?}\n[limits]\nmemory = \"2MiB\"\ndisk = \"16GiB\"\n",
        module.to_string_lossy()
    );
    std::fs::write(&file, text).unwrap();
    // An estimate does not try it either.
    let refused = bench.fog(&["submit", &file.to_string_lossy(), "--estimate"]).unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success()
            && told.contains("this device lends")
            && told.contains("Nothing was submitted"),
        "{told}"
    );
    bench.json(&["submit", &file.to_string_lossy()]).unwrap();
    let problem = wait_for("the job to fail", SOON, || {
        let job = bench.json(&["job", "show", "1"]).ok()?;
        let text = job.to_string();
        text.contains("this device lends").then_some(text)
    });
    assert!(problem.unwrap().contains("files and checkpoints included"));
}

#[test]
fn a_paused_job_shows_what_is_done_of_it_and_nothing_runs_that_may_not() {
    let mut bench = Bench::working().unwrap();
    let module = bench
        .module(
            "spin.wasm",
            r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#,
        )
        .unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let units = |bench: &Bench| {
        let detail = bench.json(&["job", "show", "1"]).ok()?;
        let (of_task, of_job) = (detail["tasks"][0]["units"].as_u64()?, detail["summary"]["units"].as_u64()?);
        (of_task > 0 && of_job >= of_task).then_some(of_task)
    };
    let before = wait_for("some work", SOON, || units(&bench)).unwrap();
    bench.json(&["job", "pause", "1"]).unwrap();
    let paused = wait_for("a checkpoint", SOON, || units(&bench).filter(|units| *units >= before)).unwrap();
    let why = String::from_utf8(bench.fog(&["why"]).unwrap().stdout).unwrap();
    let status = String::from_utf8(bench.fog(&["status"]).unwrap().stdout).unwrap();
    assert!(why.contains("A job is paused") && status.starts_with(why.trim_end()), "{why}{status}");
    assert!(bench.fog(&["shutdown"]).unwrap().status.success());
    wait_for("the end", SOON, || (bench.fog(&["status"]).ok()?.status.code() == Some(69)).then_some(()))
        .unwrap();
    bench.start().unwrap();
    assert_eq!(units(&bench), Some(paused), "after a restart too");

    let state = |bench: &Bench| String::from_utf8(bench.fog(&["jobs"]).unwrap().stdout).unwrap();
    bench.json(&["job", "resume", "1"]).unwrap();
    wait_for("work", SOON, || units(&bench).filter(|units| *units > paused)).unwrap();
    assert!(state(&bench).contains("running"));
    assert!(bench.fog(&["off"]).unwrap().status.success());
    wait_for("rest", SOON, || state(&bench).contains("queued").then_some(())).unwrap();
    let why = String::from_utf8(bench.fog(&["why"]).unwrap().stdout).unwrap();
    assert!(why.contains("switched off") && !why.contains("Resumes"), "{why}");
}
