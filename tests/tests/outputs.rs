//! Stored results and files written for a user are complete and correct, or absent.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fog_tests::{Bench, Guarded, foreign::must, wait_for};

/// Builds a C program for WASI.
fn c(bench: &Bench, name: &str, source: &str) -> String {
    let (from, to) =
        (bench.scratch().join(format!("{name}.c")), bench.scratch().join(format!("{name}.wasm")));
    std::fs::write(&from, source).unwrap();
    must(
        Command::new("clang")
            .args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-w"])
            .arg(&from)
            .arg("-o")
            .arg(&to),
    )
    .unwrap();
    to.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Runs `fog …` with a limit on file sizes in KiB, which acts like a full disk.
fn short_of_room(bench: &Bench, kib: u32, args: &[&str]) -> Output {
    let fog = bench.command(args);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"])
        .arg(fog.get_program())
        .args(fog.get_args())
        .current_dir(bench.scratch());
    for (key, value) in fog.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell.stdin(Stdio::null()).output().unwrap()
}

/// A program that writes a file of 1 MiB and prints two lines.
const LEAVES: &str = r#"
#include <stdio.h>
int main(void) {
    FILE *f = fopen("big", "w");
    for (int i = 0; i < 1 << 20; i++) putc('b', f);
    fclose(f);
    puts("the first line"); puts("the second line");
    return 0;
}"#;

/// A program that runs for hours.
const LONG: &str = "int main(void) { for (volatile long long i = 0;; i++); }";

#[test]
fn a_stored_file_that_was_changed_is_not_given() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "leaves", LEAVES);
    let done = bench.fog(&["submit", &module, "--wait"]).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let printed = b"the first line\nthe second line\n";
    let hash = blake3::hash(printed).to_hex().to_string();
    let blob = bench.data().join("blobs").join(&hash[..2]).join(&hash);
    assert_eq!(std::fs::read(&blob).unwrap(), printed);
    assert_eq!(bench.fog(&["job", "result", "1"]).unwrap().stdout, printed);
    let mut flipped = printed.to_vec();
    flipped[20] ^= 1;
    std::fs::create_dir(bench.scratch().join("out")).unwrap();
    std::fs::write(bench.scratch().join("out/stdout.txt"), "of before").unwrap();
    for damaged in [flipped, printed[..10].to_vec(), Vec::new()] {
        std::fs::write(&blob, &damaged).unwrap();
        for args in [
            &["job", "logs", "1"][..],
            &["job", "result", "1"],
            &["--json", "job", "logs", "1"],
            &["job", "result", "1", "-o", "out"],
        ] {
            let given = bench.fog(args).unwrap();
            let said = text(&given.stderr);
            assert_eq!(
                (given.status.code(), text(&given.stdout)),
                (Some(74), String::new()),
                "{args:?} of {} bytes: {said}",
                damaged.len()
            );
            assert!(
                said.contains(&hash) && said.contains("was changed") && said.contains("run its job again"),
                "{said}"
            );
        }
    }
    assert_eq!(std::fs::read(bench.scratch().join("out/stdout.txt")).unwrap(), b"of before");
    assert_eq!(names(&bench.scratch().join("out")), ["big", "stdout.txt"]);
    std::fs::write(&blob, printed).unwrap();
    assert_eq!(bench.fog(&["job", "logs", "1"]).unwrap().stdout, printed, "put back, it is given again");
}

#[test]
fn a_full_disk_costs_no_file_that_was_there() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "leaves", LEAVES);
    assert!(bench.fog(&["submit", &module, "--wait"]).unwrap().status.success());
    // The module is compiled by now, for any kind of run.
    assert!(bench.fog(&["run", &module]).unwrap().status.success());
    let out = bench.scratch().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("big"), "of before").unwrap();
    let full = short_of_room(&bench, 64, &["run", &module, "--out", "out"]);
    assert_eq!(full.status.code(), Some(74), "{}", text(&full.stderr));
    assert_eq!(
        (names(&out), std::fs::read(out.join("big")).unwrap()),
        (vec!["big".to_owned()], b"of before".to_vec())
    );
    let long = c(&bench, "long", LONG);
    assert_eq!(
        bench.fog(&["run", &long, "--units", "1"]).unwrap().status.code(),
        Some(124),
        "it is compiled"
    );
    let checkpoint =
        short_of_room(&bench, 0, &["run", &long, "--checkpoint", "x.fog", "--every", "0.2", "--wall", "2s"]);
    assert_eq!(checkpoint.status.code(), Some(124), "it goes on: {}", text(&checkpoint.stderr));
    assert_eq!(
        text(&checkpoint.stderr).matches("no checkpoint could be written").count(),
        1,
        "{}",
        text(&checkpoint.stderr)
    );
    let left: Vec<String> =
        names(bench.scratch()).into_iter().filter(|name| name.starts_with("x.fog")).collect();
    assert_eq!(left, [""; 0]);
    assert!(bench.fog(&["run", &module, "--out", "out"]).unwrap().status.success());
    assert_eq!(
        (names(&out), std::fs::metadata(out.join("big")).unwrap().len()),
        (vec!["big".to_owned()], 1 << 20)
    );
}

#[test]
fn names_that_nobody_typed_and_links_in_the_folder_are_left_alone() {
    let bench = Bench::new().unwrap();
    let module = c(&bench, "leaves", LEAVES);
    let long = c(&bench, "long", LONG);
    let at = |name: &str| bench.scratch().join(name);
    for beside in ["notes.txt.previous", "notes.txt.partial", "notes.txt", "linked.txt"] {
        std::fs::write(at(beside), "of somebody").unwrap();
        if beside == "linked.txt" {
            std::os::unix::fs::symlink(beside, at("notes.txt")).unwrap();
        }
        let refused = bench
            .fog(&["run", &long, "--checkpoint", "notes.txt", "--every", "0.2", "--wall", "3s"])
            .unwrap();
        assert_eq!(refused.status.code(), Some(65), "{}", text(&refused.stderr));
        assert!(
            text(&refused.stderr).contains(beside) && text(&refused.stderr).contains("no checkpoint"),
            "{}",
            text(&refused.stderr)
        );
        assert_eq!(std::fs::read(at(beside)).unwrap(), b"of somebody");
        std::fs::remove_file(at(beside)).unwrap();
    }
    std::fs::remove_file(at("notes.txt")).unwrap();
    let itself = bench.fog(&["run", &long, "--checkpoint", &long, "--every", "0.2", "--wall", "3s"]).unwrap();
    assert_eq!(itself.status.code(), Some(65), "{}", text(&itself.stderr));
    let run =
        || bench.fog(&["run", &long, "--checkpoint", "notes.txt", "--every", "0.2", "--wall", "2s"]).unwrap();
    for _ in 0..3 {
        assert_eq!(run().status.code(), Some(124), "those of before are ours");
    }
    assert!(at("notes.txt.previous").is_file());

    // Reported before anything runs, with the place that is wrong.
    for (taken, why) in [
        ("notes.txt", "not a folder"),
        ("/dev/null", "not a folder"),
        ("notes.txt/below", "not a folder"),
        ("/proc/new", ""),
        ("/proc/new/deep", ""),
    ] {
        let refused = bench.fog(&["run", &module, "--out", taken]).unwrap();
        assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(65), String::new()));
        let said = text(&refused.stderr);
        assert!(said.contains(taken) && said.contains(why) && said.contains("Nothing was run"), "{said}");
    }
    // The folder is created where possible, and not before there is a result.
    let refused = bench.fog(&["run", "nowhere.wasm", "--out", "made/deep"]).unwrap();
    assert!(!refused.status.success() && !at("made").exists(), "{}", text(&refused.stderr));
    let done = bench.fog(&["run", &module, "--out", "made/deep"]).unwrap();
    assert!(done.status.success() && at("made/deep/big").is_file(), "{}", text(&done.stderr));
    std::fs::create_dir(at("out")).unwrap();
    std::os::unix::fs::symlink("../outside", at("out/big")).unwrap();
    let done = bench.fog(&["run", &module, "--out", "out"]).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!at("outside").exists() && std::fs::symlink_metadata(at("out/big")).unwrap().is_file());
}

/// A program that writes ten thousand files.
const MANY: &str = r#"
#include <stdio.h>
int main(void) {
    char name[32];
    for (int i = 0; i < 10000; i++) { snprintf(name, sizeof name, "%05d", i); FILE *f = fopen(name, "w"); fputs(name, f); fclose(f); }
    return 0;
}"#;

#[test]
fn a_kill_leaves_no_half_file_among_the_results() {
    let bench = Bench::new().unwrap();
    let module = c(&bench, "many", MANY);
    let out = bench.scratch().join("out");
    let is_half = |name: &String| name.starts_with(".fog-");
    for run in 0..3 {
        // The second time there are files to replace.
        let written = out.join(if run == 0 { "00100" } else { "00005" });
        if run > 0 {
            std::fs::write(&written, "").unwrap();
        }
        let mut fog =
            Guarded(bench.command(&["run", &module, "--out", "out"]).stdin(Stdio::null()).spawn().unwrap());
        let is_there = || std::fs::read(&written).is_ok_and(|found| !found.is_empty()).then_some(());
        wait_for("a result", Duration::from_secs(120), is_there).unwrap();
        fog.0.kill().unwrap();
        fog.0.wait().unwrap();
        if run == 0 {
            assert_eq!(names(&out).into_iter().filter(is_half).collect::<Vec<_>>(), [""; 0]);
        }
    }
    // A leftover of an earlier release, or of a file system without unnamed files.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    std::fs::write(out.join(format!(".fog-{}-7.partial", ended.id())), "half").unwrap();
    let done = bench.fog(&["run", &module, "--out", "out"]).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!((names(&out).len(), names(&out).into_iter().find(is_half)), (10_000, None));
}

#[test]
fn a_program_runs_without_a_place_for_what_is_compiled() {
    let bench = Bench::new().unwrap();
    let module = c(&bench, "leaves", LEAVES);
    std::fs::write(bench.scratch().join("file"), "").unwrap();
    for nowhere in ["/dev/null", "file"] {
        let done = bench
            .command(&["run", &module])
            .env("FOG_DATA_DIR", nowhere)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(
            (done.status.code(), text(&done.stdout)),
            (Some(0), "the first line\nthe second line\n".to_owned()),
            "{nowhere}: {}",
            text(&done.stderr)
        );
    }
    // Nothing can be written anywhere.
    let full = short_of_room(&bench, 0, &["run", &module]);
    assert_eq!(full.status.code(), Some(74));
    assert!(
        text(&full.stderr).contains("TMPDIR") && text(&full.stderr).contains("compiled"),
        "{}",
        text(&full.stderr)
    );
}

/// Returns the letter of a process's state in `/proc/PID/stat`.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the processor time of a process in ticks.
fn ticks_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_program_that_is_stopped_in_a_terminal_computes_nothing() {
    let bench = Bench::new().unwrap();
    let long = c(&bench, "long", LONG);
    for duty in ["100", "50"] {
        let fog = Guarded(
            bench
                .command(&["run", &long, "--duty", duty])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let pid = fog.0.id();
        let children =
            || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let is_busy =
            |worker: &u32| ticks_of(*worker) > 10 && std::fs::read(format!("/proc/{worker}/cmdline")).is_ok();
        let find = || children().split_whitespace().filter_map(|child| child.parse().ok()).find(is_busy);
        let worker: u32 = wait_for("a busy worker", Duration::from_secs(20), find).unwrap();
        let kill = |signal: &str| {
            assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success())
        };
        for _ in 0..3 {
            kill("-TSTP");
            wait_for("standing still", Duration::from_secs(10), || {
                (state_of(pid) == Some('T') && state_of(worker) == Some('T')).then_some(())
            })
            .unwrap();
            let before = ticks_of(worker);
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!((ticks_of(worker), state_of(worker)), (before, Some('T')), "at {duty} %");
            kill("-CONT");
            wait_for("going on", Duration::from_secs(10), || (ticks_of(worker) > before + 5).then_some(()))
                .unwrap();
        }
    }
}

#[test]
fn every_changed_name_is_told_to_programs() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #include <stdio.h>
        #include <string.h>
        int main(void) {
            char name[256];
            for (int i = 0; i < 300; i++) { sprintf(name, "a:%03d", i); fclose(fopen(name, "w")); }
            memset(name, 'x', 200); strcpy(name + 200, "."); fclose(fopen(name, "w"));
            return 0;
        }"#;
    let module = c(&bench, "names", source);
    let told = bench.json(&["run", &module]).unwrap();
    let renamed = told["renamed"].as_array().unwrap();
    assert_eq!((renamed.len(), &told["renamed_count"]), (301, &serde_json::json!(301)));
    assert_eq!(renamed[299], serde_json::json!({ "name": "a:299", "kept": "a%3A299" }));
    assert!(told["note"].as_str().unwrap().ends_with("and 281 more"));
}

#[test]
fn every_changed_name_of_a_job_is_told_to_programs() {
    let bench = Bench::working().unwrap();
    let source = r#"
        #include <stdio.h>
        int main(void) {
            char name[256];
            for (int i = 0; i < 300; i++) { sprintf(name, "a:%03d", i); fclose(fopen(name, "w")); }
            puts("done");
            return 0;
        }"#;
    let module = c(&bench, "names", source);
    std::fs::write(
        bench.scratch().join("two.toml"),
        format!("version = 1\nmodule = {module:?}\n[map]\nrange = [0, 2]\n[result]\nassemble = \"concat\"\n"),
    )
    .unwrap();
    assert!(bench.fog(&["submit", "two.toml", "--watch"]).unwrap().status.success());
    let saved = bench.json(&["job", "result", "1", "-o", "out"]).unwrap();
    let printed = bench.json(&["job", "result", "1"]).unwrap();
    assert_eq!(
        (printed["result"].as_str(), &printed["result_base64"]),
        (Some("done\ndone\n"), &serde_json::Value::Null)
    );
    for told in [saved, printed] {
        let renamed = told["renamed"].as_array().unwrap();
        assert_eq!((renamed.len(), &told["renamed_count"]), (600, &serde_json::json!(600)));
        assert_eq!(renamed[599], serde_json::json!({ "task": 1, "name": "a:299", "kept": "a%3A299" }));
    }
}
