//! Effects on a running command when its terminal or the reader of its output goes away.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fog_tests::{Bench, fog_binary, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// A program that works without end.
const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

/// A program that prints a line again and again without end.
const CHATTER: &str = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 64) "a line\n")
    (func (export "_start") (local $n i32)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 7))
        (loop $l
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
            (local.set $n (i32.const 10000000))
            (loop $w (br_if $w (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (br $l))))"#;

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Returns the exit code and standard error of an ended process.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let status = wait_for("the end", SOON, || child.try_wait().unwrap());
    let Ok(status) = status else {
        let _ = child.kill();
        panic!("it goes on");
    };
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).unwrap();
    }
    assert_eq!(status.signal(), None, "it ends by itself: {said}");
    (status.code(), said)
}

/// Starts `fog run spin.wasm --checkpoint spin.fog` through `prefix`, and returns once it runs.
fn spinning(bench: &Bench, prefix: &[&str]) -> Child {
    let file = bench.scratch().join("spin.fog");
    let _ = std::fs::remove_file(&file);
    let module = bench.module("spin.wasm", SPIN).unwrap().to_string_lossy().into_owned();
    let fog = fog_binary().to_string_lossy().into_owned();
    let words = [prefix, &[&fog, "run", &module, "--checkpoint", "spin.fog", "--every", "0.5"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("FOG_DATA_DIR", bench.data()).current_dir(bench.scratch());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a checkpoint", SOON, || file.exists().then_some(())).unwrap();
    child
}

/// Sends the hang-up as shells and the system may both do, which is not a second request.
#[test]
fn a_hang_up_saves_as_any_interruption_does() {
    let bench = Bench::new().unwrap();
    let child = spinning(&bench, &["env"]);
    send(&child, "-HUP");
    send(&child, "-HUP");
    let (code, said) = ended(child);
    assert_eq!(code, Some(129), "{said}");
    assert!(said.contains("continue with: fog run --from"), "{said}");

    let child = spinning(&bench, &["nohup"]);
    send(&child, "-HUP");
    std::thread::sleep(Duration::from_secs(1));
    send(&child, "-TERM");
    assert_eq!(ended(child).0, Some(143), "what nohup starts outlives its terminal");
}

#[test]
fn a_program_whose_output_nobody_reads_any_more_is_saved_before_it_ends() {
    let bench = Bench::new().unwrap();
    let module = bench.module("chatter.wasm", CHATTER).unwrap().to_string_lossy().into_owned();
    let mut command = bench.command(&["run", &module, "--checkpoint", "chatter.fog"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "a line\n");
    let (code, said) = ended(child);
    assert_eq!(code, Some(141), "{said}");
    let seen = bench.json(&["checkpoint", "inspect", "chatter.fog"]).unwrap();
    // Output that could not be passed on is repeated.
    assert!(seen["units"].as_u64() > Some(0) && seen["stdout_bytes"].as_u64() > Some(7), "{seen}");
}

#[test]
fn a_verb_that_waits_ends_with_its_reader_and_the_job_is_kept() {
    let bench = Bench::working().unwrap();
    let module = bench.module("spin.wasm", SPIN).unwrap().to_string_lossy().into_owned();
    let verbs: [&[&str]; 5] = [
        &["submit", &module, "--watch"],
        &["submit", &module, "--wait"],
        &["--json", "submit", &module, "--wait"],
        &["status", "--watch"],
        &["chat", "tail"],
    ];
    for verb in verbs {
        let mut child = bench
            .command(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(ended(child).0, Some(141), "{verb:?}");
    }
    assert_eq!(
        bench.json(&["jobs", "--state", "running"]).unwrap().as_array().unwrap().len() + waiting(&bench),
        3
    );

    // A command that waits only for an exit code needs no reader of its output, and explains its waiting to
    // standard error.
    let mut child = bench
        .command(&["submit", &module, "--wait"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none());
    send(&child, "-INT");
    assert_eq!(ended(child).0, Some(130));
}

fn waiting(bench: &Bench) -> usize {
    bench.json(&["jobs", "--state", "queued"]).unwrap().as_array().unwrap().len()
}

#[test]
fn whoever_stops_waiting_is_told_that_the_job_is_kept() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let module = bench.module("spin.wasm", SPIN).unwrap().to_string_lossy().into_owned();
    for (number, (verb, signal, code)) in
        [("--wait", "-INT", 130), ("--watch", "-HUP", 129), ("--wait", "-TERM", 143)].into_iter().enumerate()
    {
        let job = format!("fog job show {}`", number + 1);
        let mut child = bench
            .command(&["submit", &module, "--now", verb])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let off = lines.by_ref().map(Result::unwrap).find(|line| !line.contains("ubmitted")).unwrap();
        assert!(off.contains("switched off"), "while it is off nothing runs now: {off}");
        send(&child, signal);
        let said: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(ended(child).0, Some(code));
        assert!(said.iter().any(|line| line.contains(&job)), "{said:?}");
    }
}
