//! `cargo xtask bench`: effects that a user notices, compared with BOINC's client where it is available, in
//! one run.
//!
//! Every line is a measurement of this run on this machine.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fog_tests::{Bench, Guarded, app_binary, fog_binary, wait_for};

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0);
    kib / 1024.0
}

/// Returns the processor time of a process so far, in seconds.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    stat.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
        + std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|task| task.file_name().to_string_lossy() != pid.to_string())
            .filter_map(|task| {
                std::fs::read_to_string(task.path().join("schedstat"))
                    .ok()?
                    .split_whitespace()
                    .next()?
                    .parse::<f64>()
                    .ok()
            })
            .sum::<f64>()
            / 1e9
}

fn line(what: &str, ours: String, target: &str, peer: String) {
    println!("{what:<44} {ours:>18} {target:>12} {peer:>18}");
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn main() {
    // `cargo bench -- pauses` runs this part alone.
    if std::env::args().any(|arg| arg == "pauses") {
        return pauses();
    }
    let span = Duration::from_secs(60);
    line("", "Fog Compute".to_owned(), "target", "BOINC client".to_owned());
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.kill();
    let starts: Vec<Duration> = (0..5)
        .map(|_| {
            let took = bench.start().unwrap();
            bench.kill();
            took
        })
        .collect();
    bench.start().unwrap();
    let boinc = Boinc::start();
    std::thread::sleep(Duration::from_secs(5));
    let pid = bench.pid().unwrap();
    let (before, boinc_before) = (processor_seconds(pid), boinc.as_ref().map(|b| processor_seconds(b.pid)));
    std::thread::sleep(span);
    let share = |used: f64| format!("{:.3} %", 100.0 * used / span.as_secs_f64());
    let none = || "not installed".to_owned();
    line(
        "idle memory of the daemon",
        format!("{:.1} MiB", resident_mib(pid)),
        "15 MB",
        boinc.as_ref().map_or_else(none, |b| format!("{:.1} MiB", resident_mib(b.pid))),
    );
    line(
        "idle processor use, 60 s",
        share(processor_seconds(pid) - before),
        "0.05 %",
        boinc.as_ref().map_or_else(none, |b| share(processor_seconds(b.pid) - boinc_before.unwrap_or(0.0))),
    );
    let best = starts.iter().min().copied().unwrap_or_default();
    line(
        "start to first answer, best of 5",
        format!("{:.0} ms", best.as_secs_f64() * 1e3),
        "300 ms",
        boinc.as_ref().map_or_else(none, |b| format!("{:.0} ms", b.started.as_secs_f64() * 1e3)),
    );
    drop(boinc);
    bench.kill();
    pauses();
    cached_start();
    first_paint();
    for (name, path) in [("size of fog", fog_binary()), ("size of the app", app_binary())] {
        let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
        line(name, format!("{:.1} MiB", bytes as f64 / 1_048_576.0), "", String::new());
    }
}

struct Boinc {
    _process: Guarded,
    _folder: tempfile::TempDir,
    pid: u32,
    started: Duration,
}

impl Boinc {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let begun = Instant::now();
        let process = Command::new("boinc")
            .arg("--dir")
            .arg(folder.path())
            .args(["--gui_rpc_port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let pid = process.id();
        let process = Guarded(process);
        wait_for("BOINC's answer", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .ok()?;
        Some(Self { _process: process, _folder: folder, pid, started: begun.elapsed() })
    }
}

/// Measures the time from a real key press (XTEST) to the stop of the worker.
fn pauses() {
    let display = ":88";
    let Ok(server) = Command::new("Xvfb")
        .args([display, "-screen", "0", "640x480x24", "-nolisten", "tcp"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return line("pause after input", "no Xvfb".to_owned(), "100 ms", String::new());
    };
    let _server = Guarded(server);
    std::thread::sleep(Duration::from_secs(1));
    let bench = Bench::new().unwrap();
    let mut daemon = bench.command(&["daemon"]);
    daemon.env("DISPLAY", display).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Guarded(daemon.spawn().unwrap());
    wait_for("the daemon", Duration::from_secs(20), || bench.json(&["status"]).ok()).unwrap();
    bench
        .fog(&[
            "settings",
            "set",
            "idle_after=2",
            "other_cpu_stop=100",
            "cpu_temp_stop=105",
            "disk_free_min=0.1",
            "contributing=on",
        ])
        .unwrap();
    let module = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    // The first child compiles; the one that runs exists once units are counted.
    wait_for("counted work", Duration::from_secs(60), || {
        bench.json(&["status"]).ok().filter(|s| s["active"][0]["units"].as_u64().unwrap_or(0) > 0)
    })
    .unwrap();
    let worker = wait_for("a worker", Duration::from_secs(30), || {
        let list = std::fs::read_dir(format!("/proc/{}/task", daemon.0.id())).ok()?;
        list.flatten()
            .filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok())
            .find_map(|c| c.split_whitespace().next()?.parse::<u32>().ok())
    })
    .unwrap();
    // The job has its own thread in the worker.
    let is_running = || {
        let threads = std::fs::read_dir(format!("/proc/{worker}/task")).into_iter().flatten().flatten();
        let state = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).ok();
        threads
            .filter_map(state)
            .any(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('R')))
    };
    let mut samples = Vec::new();
    for _ in 0..20 {
        if wait_for("work", Duration::from_secs(20), || is_running().then_some(())).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1200));
        let mut key = Command::new("xdotool").args(["key", "shift"]).env("DISPLAY", display).spawn().unwrap();
        let begun = Instant::now();
        // Idle in ten checks in a row, a millisecond apart: asleep, not between two slices.
        let mut still = 0;
        while still < 10 && begun.elapsed() < Duration::from_secs(2) {
            still = if is_running() { 0 } else { still + 1 };
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = key.wait();
        samples.push(begun.elapsed().saturating_sub(Duration::from_millis(10)));
    }
    samples.sort();
    if samples.is_empty() {
        return line("pause after input", "no samples".to_owned(), "100 ms", String::new());
    }
    let both = format!(
        "{:.0} / {:.0} ms",
        percentile(&samples, 50).as_secs_f64() * 1e3,
        percentile(&samples, 99).as_secs_f64() * 1e3
    );
    line(
        &format!("pause after input, p50 / p99 of {} (with xdotool's start)", samples.len()),
        both,
        "100 ms",
        String::new(),
    );
}

/// Measures the time from the start of the app to the first content in its window, which shows the engine's
/// state.
fn first_paint() {
    #[cfg(target_os = "linux")]
    {
        let desk = match fog_tests::window::Desk::set_up() {
            Ok(desk) => desk,
            Err(error) => {
                return line(
                    "window start to first paint",
                    "not measured".to_owned(),
                    "1,000 ms",
                    error.to_string(),
                );
            }
        };
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
                    * 1e3;
            let window = desk.open().unwrap();
            let painted = wait_for("paint", Duration::from_secs(30), || {
                let code = "const paint = performance.getEntriesByName('first-contentful-paint')[0]; return paint ? performance.timeOrigin + paint.startTime : null;";
                window.script(code).ok()?.as_f64()
            });
            times.push(Duration::from_secs_f64((painted.unwrap() - begun).max(0.0) / 1e3));
            window.close();
            std::thread::sleep(Duration::from_secs(1));
        }
        times.sort();
        let text = format!(
            "{:.0} ms (slowest {:.0})",
            percentile(&times, 50).as_secs_f64() * 1e3,
            times.last().map_or(0.0, |t| t.as_secs_f64() * 1e3)
        );
        line("window start to first paint, median of 5", text, "1,000 ms", String::new());
    }
}

/// Measures the whole command on a compiled module of a megabyte: process, worker, load, run, end.
fn cached_start() {
    let bench = Bench::new().unwrap();
    let mut wat = String::from("(module (memory (export \"memory\") 1) (func (export \"_start\"))");
    for n in 0..9_000 {
        wat.push_str(&format!("(func (param i32 i32) (result i32) (local i32) (local.set 2 (i32.mul (local.get 0) (i32.const {n}))) (local.set 2 (i32.xor (local.get 2) (i32.rotl (local.get 0) (i32.const {}))))", n % 31));
        // Enough straight-line code to make each function about a hundred bytes long.
        wat.push_str(
            &"(local.set 2 (i32.add (local.get 2) (i32.mul (local.get 0) (local.get 1))))".repeat(9),
        );
        wat.push_str("(local.get 2))");
    }
    wat.push_str(&format!("(data (i32.const 0) \"{}\"))", "x".repeat(60_000)));
    let module = bench.module("large.wasm", &wat).unwrap();
    let size = std::fs::metadata(&module).map_or(0, |m| m.len());
    let run = || {
        let begun = Instant::now();
        assert!(bench.fog(&["run", &module.to_string_lossy()]).unwrap().status.success());
        begun.elapsed()
    };
    let first = run();
    let mut again: Vec<Duration> = (0..20).map(|_| run()).collect();
    again.sort();
    line(
        &format!("cached start to end, {:.1} MiB module, p50", size as f64 / 1_048_576.0),
        format!(
            "{:.0} ms (first {:.0})",
            percentile(&again, 50).as_secs_f64() * 1e3,
            first.as_secs_f64() * 1e3
        ),
        "20 ms",
        String::new(),
    );
}
