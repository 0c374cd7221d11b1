//! Workers and engines killed at random, also while a checkpoint is written: every job ends with the same
//! result and units as without kills, and no kill costs more than the checkpoint interval and one second.
//!
//! `FOG_TEST_FULL` makes it a thousand kills instead of thirty; `FOG_KILLS` sets any number.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fog_runtime::{Checkpoint, Key};
use fog_tests::{Bench, fog_binary, foreign, is_full, now_ms, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// Checkpoint interval in seconds.
const EVERY: f64 = 1.0;

/// A job file with its undisturbed result: hash and units of each task.
struct Case {
    file: PathBuf,
    expected: Vec<(String, u64)>,
}

/// Writes one job file of each kind, all for some seconds of work.
fn job_files(folder: &Path) -> Vec<PathBuf> {
    let examples = fog_binary().parent().unwrap().join("fog-examples");
    let place = |name: &str| examples.join(name).join(name).with_extension("wasm").display().to_string();
    let words = words(64 << 20);
    // The three C programs need different times for the same text.
    let inputs = [("zlib", words.clone()), ("par", words[..7 << 20].to_vec()), ("ent", words.repeat(2))];
    let many = folder.join("many.fasta");
    std::fs::write(
        &many,
        std::fs::read_to_string(examples.join("protein-search/database.fasta")).unwrap().repeat(1200),
    )
    .unwrap();
    let search = examples.join("protein-search");
    let mut jobs = vec![
        (
            "lucas-lehmer".to_owned(),
            format!("module = \"{}\"\nargs = [\"13\", \"300\"]", place("lucas-lehmer")),
        ),
        (
            "path-tracer".to_owned(),
            format!("module = \"{}\"\nargs = [\"3\", \"2\", \"2\", \"256\", \"96\"]", place("path-tracer")),
        ),
        (
            "protein-search".to_owned(),
            format!(
                "module = \"{}\"\nargs = [\"--query\", \"/in/q\", \"--db\", \"/in/db\", \"--top\", \"3\"]\n[inputs]\nq = \"{}\"\ndb = \"{}\"",
                place("protein-search"),
                search.join("query.fasta").display(),
                many.display()
            ),
        ),
    ];
    for program in foreign::PROGRAMS {
        let input = folder.join(program.package).with_extension("txt");
        std::fs::write(&input, &inputs.iter().find(|(package, _)| *package == program.package).unwrap().1)
            .unwrap();
        let source = foreign::source(program.package, folder).unwrap();
        let (_, wasm) = foreign::compile(&source, program).unwrap();
        let job = format!(
            "module = \"{}\"\nstdin = \"{}\"\nargs = {:?}\n[limits]\nlog = \"32MiB\"",
            wasm.display(),
            input.display(),
            program.args
        );
        jobs.push((program.package.to_owned(), job));
    }
    let write = |(name, text): (String, String)| {
        let path = folder.join(name).with_extension("toml");
        std::fs::write(&path, format!("version = 1\nattempts = 100\n{text}\n")).unwrap();
        path
    };
    jobs.into_iter().map(write).collect()
}

/// Returns lines of made-up words, the same every time.
fn words(bytes: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(1);
    let known: Vec<Vec<u8>> = (0..3000)
        .map(|_| (0..random.random_range(2..11)).map(|_| random.random_range(b'a'..=b'z')).collect())
        .collect();
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.extend_from_slice(&known[random.random_range(0..known.len())]);
        text.push(if random.random_range(0..12) == 0 { b'\n' } else { b' ' });
    }
    text
}

fn submit(bench: &Bench, file: &Path) -> u64 {
    bench.json(&["submit", &file.to_string_lossy()]).unwrap()["id"].as_u64().unwrap()
}

/// Returns the results of a finished job, each with its units.
fn results(bench: &Bench, id: u64) -> Option<Vec<(String, u64)>> {
    let job = bench.json(&["job", "show", &id.to_string()]).ok()?;
    match job["summary"]["state"].as_str()? {
        "finished" => {}
        "failed" | "cancelled" => panic!("{job}"),
        "paused" => {
            // Five failures in a row pause a job, as intended; this resumes it.
            bench.json(&["job", "resume", &id.to_string()]).ok()?;
            return None;
        }
        _ => return None,
    }
    let task =
        |task: &Value| (task["result_hash"].as_str().unwrap().to_owned(), task["units"].as_u64().unwrap());
    Some(job["tasks"].as_array().unwrap().iter().map(task).collect())
}

fn children(pid: u32) -> Vec<u32> {
    let found = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().filter_map(|line| line.parse().ok()).collect()
}

/// Waits for a moment at which a checkpoint is being written, if one comes soon.
fn wait_for_writing(folder: &Path) {
    let state = || -> BTreeMap<PathBuf, u64> {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).collect()
    };
    let (before, limit) = (state(), Instant::now() + Duration::from_millis(1500));
    while Instant::now() < limit && state() == before {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Removes the jobs that have ended, whose results must be correct.
fn settle(bench: &Bench, cases: &[Case], open: &mut Vec<(usize, u64)>, done: &mut BTreeMap<usize, usize>) {
    open.retain(|(case, id)| {
        let Some(found) = results(bench, *id) else { return true };
        assert_eq!(found, cases[*case].expected, "{}", cases[*case].file.display());
        *done.entry(*case).or_default() += 1;
        false
    });
}

#[test]
fn kills_at_random_change_no_result_and_no_bill() {
    let mut bench = Bench::working().unwrap();
    assert!(
        bench
            .fog(&["settings", "set", &format!("checkpoint_every={EVERY}"), "cores=2"])
            .unwrap()
            .status
            .success()
    );
    let mut cases = Vec::new();
    for file in job_files(bench.scratch()) {
        let id = submit(&bench, &file);
        let expected =
            wait_for("an undisturbed run", Duration::from_secs(300), || results(&bench, id)).unwrap();
        let took = bench.json(&["job", "show", &id.to_string()]).unwrap()["tasks"][0]["active_ms"].clone();
        println!("{}: {took} ms undisturbed", file.file_stem().unwrap().display());
        cases.push(Case { file, expected });
    }

    let key: [u8; 32] = std::fs::read(bench.data().join("checkpoint.key")).unwrap().try_into().unwrap();
    let key = Key::from(key);
    let checkpoints = bench.data().join("checkpoints");
    let mut random = StdRng::seed_from_u64(7);
    let asked = std::env::var("FOG_KILLS").ok().and_then(|text| text.parse().ok());
    let wanted = asked.unwrap_or(if is_full() { 1000 } else { 30 });
    let (mut kinds, mut done, mut lost) =
        (BTreeMap::<String, usize>::new(), BTreeMap::<usize, usize>::new(), Vec::new());
    let mut next = 0;
    let mut open: Vec<(usize, u64)> = Vec::new();
    let mut kills = 0;
    let begun = Instant::now();
    while kills < wanted {
        while open.len() < 2 {
            open.push((next % cases.len(), submit(&bench, &cases[next % cases.len()].file)));
            next += 1;
        }
        let in_the_middle = random.random_bool(0.3);
        if in_the_middle {
            wait_for_writing(&checkpoints);
        } else {
            std::thread::sleep(Duration::from_millis(random.random_range(50..2400)));
        }
        let pid = bench.pid().unwrap();
        let active = bench.json(&["status"]).unwrap()["active"].as_array().cloned().unwrap();
        let running: Vec<Value> = active
            .into_iter()
            .filter(|task| task["frozen"] == false && task["units"].as_u64() > Some(0))
            .collect();
        let workers = children(pid);
        if running.is_empty() || workers.is_empty() {
            // A kill without running work proves nothing: a task may be waiting for its next attempt.
            settle(&bench, &cases, &mut open, &mut done);
            continue;
        }
        let kind = match random.random_range(0..3) {
            0 => {
                let worker = workers[random.random_range(0..workers.len())];
                let _ = Command::new("kill").args(["-9", &worker.to_string()]).status();
                "worker"
            }
            1 => {
                bench.kill();
                "engine"
            }
            _ => {
                let all: Vec<String> = workers.iter().chain([&pid]).map(u32::to_string).collect();
                let _ = Command::new("kill").arg("-9").args(all).status();
                bench.kill();
                "both"
            }
        };
        kills += 1;
        let kind = format!("{kind}{}", if in_the_middle { " while saving" } else { "" });
        *kinds.entry(kind).or_default() += 1;
        // Work continues from the state on disk now. A task that ended meanwhile has none.
        let killed_at = now_ms();
        for task in &running {
            let path = checkpoints.join(format!("{}-{}.fog", task["job"], task["index"]));
            let since = match Checkpoint::read(&path, Some(&key)) {
                Ok((checkpoint, _)) => checkpoint.header.taken_ms,
                Err(_) if path.exists() => panic!("{}: nothing in it can be used", path.display()),
                Err(_) => task["started_ms"].as_i64().unwrap(),
            };
            lost.push(killed_at - since.max(task["started_ms"].as_i64().unwrap()));
        }
        if bench.pid().is_none() {
            bench.start().unwrap();
        }
        settle(&bench, &cases, &mut open, &mut done);
        assert!(
            begun.elapsed() < Duration::from_secs(900 + 10 * wanted),
            "it does not get on: {}",
            bench.log()
        );
    }
    for (case, id) in open {
        let found = wait_for("the last jobs", Duration::from_secs(300), || results(&bench, id)).unwrap();
        assert_eq!(found, cases[case].expected, "{}", cases[case].file.display());
        *done.entry(case).or_default() += 1;
    }
    lost.sort_unstable();
    let at = |percent: usize| lost[(lost.len() * percent / 100).min(lost.len() - 1)];
    let done: Vec<String> = done
        .iter()
        .map(|(case, count)| format!("{} {count}", cases[*case].file.file_stem().unwrap().display()))
        .collect();
    println!(
        "{kills} kills in {:.0} s ({kinds:?}); jobs ended right: {}",
        begun.elapsed().as_secs_f64(),
        done.join(", ")
    );
    println!(
        "work lost by a kill, ms: median {}, 99 % {}, most {} of {}",
        at(50),
        at(99),
        at(100),
        lost.len()
    );
    // Two seconds on an idle machine; a busy one saves late.
    let limit = (EVERY * 1000.0 + 1000.0) * if is_full() { 1.0 } else { 3.0 };
    assert!(at(100) as f64 <= limit, "{} ms", at(100));
}
