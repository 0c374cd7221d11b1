//! The owner comes first: what `fog off` stops, and what a worker takes from others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_tests::{Bench, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Takes some seconds to compile.
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

/// Hundredths of a second of processor time.
fn ticks(pid: u32) -> u32 {
    stat(pid).map_or(0, |fields| fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
}

/// The daemon's worker once it has been at work for a while.
fn busy_worker(bench: &Bench) -> u32 {
    let parent = bench.pid().unwrap().to_string();
    let is_worker = |pid: &u32| stat(*pid).is_some_and(|fields| fields[1] == parent) && ticks(*pid) >= 20;
    let processes = || std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    wait_for("a worker at work", SOON, || processes().find(is_worker)).unwrap()
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
    // The command itself takes a while on a busy machine; the compiler may not take seconds meanwhile.
    let stopped = ticks(worker);
    assert!(stopped - before < 200, "{} ticks", stopped - before);
    assert!(bench.fog(&["on"]).unwrap().status.success());
    wait_for("the compiler to go on", SOON, || (ticks(worker) > stopped || is_gone(worker)).then_some(())).unwrap();
    assert!(bench.fog(&["off"]).unwrap().status.success());
    if !is_gone(worker) {
        assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
        wait_for("the compiler to end", SOON, || is_gone(worker).then_some(())).unwrap();
    }
}

/// `memory = 2 MiB, disk = 4 GiB` is a job of more than 4 GiB.
#[test]
fn a_device_does_not_lend_memory_it_does_not_have_to_files() {
    let bench = Bench::working().unwrap();
    assert!(bench.fog(&["settings", "set", "memory_share=5"]).unwrap().status.success());
    let module = bench.module("m.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap();
    let file = bench.scratch().join("job.toml");
    let text = format!("version = 1\nname = \"m\"\nmodule = {:?}\n[limits]\nmemory = \"2MiB\"\ndisk = \"16GiB\"\n", module.to_string_lossy());
    std::fs::write(&file, text).unwrap();
    bench.json(&["submit", &file.to_string_lossy()]).unwrap();
    let problem = wait_for("the job to fail", SOON, || {
        let job = bench.json(&["job", "show", "1"]).ok()?;
        let text = job.to_string();
        text.contains("this device lends").then_some(text)
    });
    assert!(problem.unwrap().contains("files and checkpoints included"));
}
