//! `cargo xtask bench`: cost of sharing work: from a submission to the start on another device, a large
//! input compared with plain TCP, and an idle device that has joined.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fog_api::{Command, JobCommand, Reply};
use fog_tests::Bench;
use rand::RngExt as _;

fn line(what: &str, ours: String, target: &str, peer: String) {
    println!("{what:<44} {ours:>22} {target:>14} {peer:>24}");
}

fn status(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        })
        .unwrap_or(0.0)
}

/// Returns the processor time of all threads of a process so far, in seconds.
fn processor(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("schedstat"))
            .ok()?
            .split_whitespace()
            .next()?
            .parse::<f64>()
            .ok()
    };
    tasks.filter_map(of).sum::<f64>() / 1e9
}

fn main() {
    // An argument selects one part by name.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    line("", "Fog Compute".to_owned(), "target", "beside it".to_owned());
    for (name, part) in [("starts", starts as fn()), ("transfer", transfer), ("idle", idle)] {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            part();
        }
    }
}

/// Measures the time from a submission here to the start of the task on another device that knows the
/// module.
fn starts() {
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = r#"(module (memory (export "memory") 1) (func (export "_start") (local $n i64)
        (loop $l (br_if $l (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 300000000))))))"#;
    a.module("short.wasm", module).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut times: Vec<Duration> = runtime.block_on(async {
        let here = fog_ipc::Client::connect(&fog_ipc::endpoint(&a.data())).await.unwrap();
        let there = fog_ipc::Client::connect(&fog_ipc::endpoint(&b.data())).await.unwrap();
        let mut times = Vec::new();
        for round in 0..21 {
            let job_file = "version = 1\nmodule = \"short.wasm\"\n".to_owned();
            let folder = a.scratch().to_string_lossy().into_owned();
            let begun = Instant::now();
            let submit = Command::Jobs(JobCommand::Submit {
                job_file,
                folder,
                grid: Some(fog_types::job::GridOptions::default()),
                deadline_seconds: None,
            });
            let Ok(Reply::Submitted { job }) = here.call(submit).await else { panic!("not submitted") };
            loop {
                let Ok(Reply::Snapshot(view)) = there.call(Command::Snapshot).await else {
                    panic!("no answer")
                };
                if !view.status.active.is_empty() {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(30), "it does not start");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The first round transfers and compiles the module.
            if round > 0 {
                times.push(begun.elapsed());
            }
            loop {
                let Ok(Reply::Job(detail)) =
                    here.call(Command::Jobs(JobCommand::Show { id: job.id, tasks_from: 0 })).await
                else {
                    panic!("no answer")
                };
                let Ok(Reply::Snapshot(view)) = there.call(Command::Snapshot).await else {
                    panic!("no answer")
                };
                if detail.summary.finished_ms.is_some() && view.status.active.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        times
    });
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    line(
        "submitted to started on a peer, p50 / slowest",
        format!("{:.0} / {:.0} ms of {}", ms(times.len() / 2), ms(times.len() - 1), times.len()),
        "200 ms",
        String::new(),
    );
}

/// Measures the transfer of a hundred megabytes to a worker: sealed, sent, checked, stored; and in the same
/// run that of the same bytes over plain TCP into memory.
fn transfer() {
    const SIZE: usize = 100 << 20;
    let mut bytes = vec![0u8; SIZE];
    rand::rng().fill(&mut bytes[..]);
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let module = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;
    a.module("wait.wasm", module).unwrap();
    std::fs::write(a.scratch().join("big.bin"), &bytes).unwrap();
    let job = a.scratch().join("big.toml");
    std::fs::write(&job, "version = 1\nmodule = \"wait.wasm\"\n[inputs]\n\"big.bin\" = \"big.bin\"\n")
        .unwrap();
    let begun = Instant::now();
    a.json(&["submit", job.to_str().unwrap(), "--where", "grid"]).unwrap();
    // Measured from the creation of the file on the worker, checked each millisecond, to the start of the
    // task that reads it.
    let is_begun =
        || std::fs::read_dir(b.data().join("partial")).is_ok_and(|mut files| files.next().is_some());
    while !is_begun() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    let first = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let last = runtime.block_on(async {
        let there = fog_ipc::Client::connect(&fog_ipc::endpoint(&b.data())).await.unwrap();
        loop {
            let Ok(Reply::Snapshot(view)) = there.call(Command::Snapshot).await else { panic!("no answer") };
            if !view.status.active.is_empty() {
                break Instant::now();
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let ours = (last - first).as_secs_f64();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let mut into = Vec::with_capacity(SIZE);
    let plain_begun = Instant::now();
    stream.read_to_end(&mut into).unwrap();
    let plain = plain_begun.elapsed().as_secs_f64();
    sender.join().unwrap();
    let rate = |seconds: f64| SIZE as f64 / 1e6 / seconds;
    line(
        "100 MiB to a worker, verified and stored",
        format!("{:.0} MB/s ({:.2} s)", rate(ours), ours),
        "0.5 of TCP",
        format!("plain TCP {:.0} MB/s", rate(plain)),
    );
    line(
        "the same from submission on, sealing included",
        format!("{:.2} s", (last - begun).as_secs_f64()),
        "",
        format!("{:.3} of plain TCP", plain / ours),
    );
}

/// Measures two devices that have joined a group and are idle.
fn idle() {
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    std::thread::sleep(Duration::from_secs(20));
    let pid = a.pid().unwrap();
    let bytes = || {
        let status = a.json(&["network", "status"]).unwrap();
        status["sent"].as_f64().unwrap() + status["received"].as_f64().unwrap()
    };
    let (used, moved, begun) = (processor(pid), bytes(), Instant::now());
    std::thread::sleep(Duration::from_secs(180));
    let span = begun.elapsed().as_secs_f64();
    let share = (processor(pid) - used) / span;
    line(
        "idle and joined: memory",
        format!("{:.1} MB", status(pid, "VmRSS") * 1024.0 / 1e6),
        "40 MB",
        String::new(),
    );
    line("idle and joined: processor, 180 s", format!("{:.3} %", share * 100.0), "0.2 %", String::new());
    line(
        "idle and joined: bytes an hour, both ways",
        format!("{:.0} kB", (bytes() - moved) / span * 3.6),
        "",
        String::new(),
    );
}
