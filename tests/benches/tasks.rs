//! A hundred thousand tasks in one job: time to submit them, response of the engine meanwhile, rate of
//! short tasks, and memory of the daemon. Times depend on the load of the machine; what does not is tested
//! in `fog-store` (`an_event_costs_the_same_with_a_hundred_thousand_tasks`).
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::{Duration, Instant};

use fog_tests::Bench;

/// An empty program, so that only the cost around it is measured.
const NOTHING: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
const SPAN: Duration = Duration::from_secs(60);

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0);
    kib / 1024.0
}

fn line(what: &str, ours: String, target: &str) {
    println!("{what:<44} {ours:>18} {target:>12}");
}

fn main() {
    let tasks: u32 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(100_000);
    let bench = Bench::working().unwrap();
    bench.module("nothing.wasm", NOTHING).unwrap();
    std::fs::write(
        bench.scratch().join("job.toml"),
        format!("version = 1\nmodule = \"nothing.wasm\"\n[map]\nrange = [0, {tasks}]\n"),
    )
    .unwrap();
    line("", format!("{tasks} tasks"), "target");
    let begun = Instant::now();
    bench.json(&["submit", "job.toml"]).unwrap();
    line("submitted after", format!("{:.2?}", begun.elapsed()), "30 s");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut took, mut peak) = (Vec::new(), 0.0f64);
    let done = || bench.json(&["job", "show", "1"]).unwrap()["summary"]["tasks_finished"].as_u64().unwrap();
    let before = done();
    let begun = Instant::now();
    runtime.block_on(async {
        let client = fog_ipc::Client::connect(&fog_ipc::endpoint(&bench.data())).await.unwrap();
        while begun.elapsed() < SPAN {
            let asked = Instant::now();
            client.call(fog_api::Command::Snapshot).await.unwrap();
            took.push(asked.elapsed());
            peak = peak.max(resident_mib(bench.pid().unwrap()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    line("tasks in a minute", format!("{:.0}", (done() - before) as f64 / minutes), ">= 900");
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    line("status, median and 99 of 100", format!("{:.1?} / {:.1?}", at(50), at(99)), "50 ms");
    line("daemon, most", format!("{peak:.1} MiB"), "60 MiB");
    let asked = Instant::now();
    assert!(bench.fog(&["off"]).unwrap().status.success());
    line("fog off", format!("{:.1?}", asked.elapsed()), "100 ms");
    for (verb, words) in [("cancel", ["job", "cancel", "1"]), ("remove", ["job", "remove", "1"])] {
        let asked = Instant::now();
        assert!(bench.fog(&words).unwrap().status.success());
        line(verb, format!("{:.1?}", asked.elapsed()), "");
    }
}
