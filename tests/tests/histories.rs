//! Histories of runs can be verified segment by segment, and belong to one run.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use fog_tests::jobs::{ended, example, identity};
use fog_tests::{Bench, wait_for};
use serde_json::Value;

#[test]
fn any_segment_of_a_history_can_be_run_again() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    let whole = identity(
        &bench
            .fog(&[
                "--json",
                "run",
                &module,
                "--history",
                "past",
                "--segment",
                "500000000",
                "--",
                "13",
                "130",
            ])
            .unwrap(),
    );
    let index = bench.scratch().join("past/history.json");
    let history: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let marks = history["marks"].as_array().unwrap().len();
    assert!(marks >= 2, "{history}");
    assert_eq!(
        (history["end"]["result_hash"].as_str(), history["end"]["units"].as_u64()),
        (Some(whole.0.as_str()), Some(whole.1))
    );
    for segment in 0..=marks {
        let engine = if segment == 1 { "interpreted" } else { "compiled" };
        let again = bench
            .fog(&["verify", "segment", "past", "--segment", &segment.to_string(), "--engine", engine])
            .unwrap();
        assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
        let length = if segment < marks { "is right: 500." } else { "is right: " };
        assert!(
            String::from_utf8_lossy(&again.stdout).contains(length),
            "{}",
            String::from_utf8_lossy(&again.stdout)
        );
    }
    // A forged mark.
    let text = std::fs::read_to_string(&index).unwrap();
    let claimed = history["marks"][1]["state"].as_str().unwrap();
    std::fs::write(&index, text.replace(claimed, &claimed.chars().rev().collect::<String>())).unwrap();
    let verify = |segment: &str| {
        let output = bench.fog(&["verify", "segment", "past", "--segment", segment]).unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, wrong) = verify("1");
    assert_eq!((code, wrong.lines().count()), (Some(1), 2), "{wrong}");
    assert!(wrong.contains(&format!("segment 1 of 0 to {marks} is WRONG\n  state: claimed")), "{wrong}");
    let (code, none) = verify("99");
    assert!(code == Some(66) && none.contains(&format!("from 0 to {marks}")), "{none}");
    // Each verification reports the difference.
    let output = history["marks"][1]["stdout"].as_str().unwrap();
    let mut altered = history.clone();
    altered["marks"][1]["stdout"] = "0".repeat(64).into();
    std::fs::write(&index, altered.to_string()).unwrap();
    let (code, wrong) = verify("1");
    assert!(
        code == Some(1)
            && wrong.ends_with(&format!("WRONG\n  output: claimed {}, found {output}\n", "0".repeat(64))),
        "{wrong}"
    );
    std::fs::write(&index, text.replace("\"segment\": 500000000", "\"segment\": 1000000000")).unwrap();
    let (code, other) = verify("1");
    assert!(
        code == Some(65) && other.contains("its mark is 0, claimed is 1") && !other.contains("its state"),
        "{other}"
    );
    let mut without = history.clone();
    without["marks"] = Value::Array(Vec::new());
    std::fs::write(&index, without.to_string()).unwrap();
    let (code, none) = verify("0");
    assert!(code == Some(66) && none.contains("has no marks and an end at"), "{none}");
    // A correct segment with a checkpoint of another mark.
    std::fs::write(&index, text).unwrap();
    std::fs::copy(bench.scratch().join("past/2.fog"), bench.scratch().join("past/1.fog")).unwrap();
    let other = bench.fog(&["verify", "segment", "past", "--segment", "1"]).unwrap();
    assert_eq!(other.status.code(), Some(65));
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("mark 1 is not what the history says"),
        "{}",
        String::from_utf8_lossy(&other.stderr)
    );
}

/// Expects segments that are each correct but from two runs to be refused.
#[test]
fn a_history_is_of_one_run() {
    let bench = Bench::new().unwrap();
    let module = example("lucas-lehmer");
    for (folder, last) in [("one", "130"), ("two", "131")] {
        let ran = bench
            .fog(&["--json", "run", &module, "--history", folder, "--segment", "500000000", "--", "13", last])
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let verify = || bench.fog(&["verify", "segment", "one", "--segment", "2"]).unwrap();
    assert_eq!(verify().status.code(), Some(0));
    let (place, own) = (bench.scratch().join("one/2.fog"), bench.scratch().join("own.fog"));
    std::fs::rename(&place, &own).unwrap();
    std::fs::copy(bench.scratch().join("two/2.fog"), &place).unwrap();
    let other = verify();
    assert_eq!(other.status.code(), Some(65));
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("another run"),
        "{}",
        String::from_utf8_lossy(&other.stderr)
    );
    // A checkpoint of the same run, with altered output.
    let (checkpoint, _) = fog_runtime::Checkpoint::read(&own, None).unwrap();
    let files = checkpoint.files.clone();
    let mut generation = checkpoint.into_generation(files).unwrap();
    generation.stdout.extend_from_slice(b"M127 is prime\n");
    fog_runtime::CheckpointWriter::new(place, None).write(&generation, true).unwrap();
    let altered = verify();
    assert_eq!(altered.status.code(), Some(65));
    assert!(
        String::from_utf8_lossy(&altered.stderr).contains("other output"),
        "{}",
        String::from_utf8_lossy(&altered.stderr)
    );
}

/// Expects a mark without its checkpoint to cost only the segment that begins there.
#[test]
fn a_history_that_cannot_be_written_does_not_end_the_run() {
    let bench = Bench::new().unwrap();
    let short = fog_tests::jobs::turning(&bench, 1_000);
    let ran = bench.fog(&["run", &short, "--history", "short"]).unwrap();
    assert!(
        ran.status.success() && String::from_utf8_lossy(&ran.stderr).contains("before the first mark"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let module = example("lucas-lehmer");
    let args = ["--json", "run", &module, "--history", "past", "--segment", "500000000", "--", "13", "200"];
    let child = bench
        .command(&args)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let at = |name: &str| bench.scratch().join("past").join(name);
    wait_for("a mark", Duration::from_secs(60), || at("history.json").exists().then_some(())).unwrap();
    std::fs::create_dir(at("3.fog.partial")).unwrap();
    let ran = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(74), "{words}");
    let count = |what: &str| words.matches(what).count();
    assert_eq!(
        (count("could not be written at mark 3"), count("written again, from mark 4"), count("is not whole")),
        (1, 1, 1),
        "{words}"
    );
    let result: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(result["exit_code"], 0, "the result is there: {result}");
    for (segment, code) in [("0", 0), ("2", 0), ("3", 66), ("4", 0)] {
        let again = bench.fog(&["verify", "segment", "past", "--segment", segment]).unwrap();
        assert_eq!(again.status.code(), Some(code), "{segment}: {}", String::from_utf8_lossy(&again.stderr));
    }
}

/// Expects the engine to keep a history that a job requests, even when a worker dies.
#[test]
fn a_job_of_the_engine_keeps_its_history() {
    let bench = Bench::working().unwrap();
    let text = format!(
        "version = 1\nname = \"primes\"\nmodule = \"{}\"\nargs = [\"13\", \"300\"]\nsegment = 500_000_000\n[limits]\nunits = 1_000_000_000_000\n",
        example("lucas-lehmer")
    );
    let file = bench.scratch().join("job.toml");
    std::fs::write(&file, &text).unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let marks = || bench.json(&["job", "show", "1"]).ok()?["tasks"][0]["marks"].as_u64();
    wait_for("two marks", Duration::from_secs(60), || marks().filter(|marks| *marks >= 2)).unwrap();
    assert!(
        Command::new("pkill")
            .args(["-9", "-P", &bench.pid().unwrap().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    assert!(job["tasks"][0]["attempts"].as_array().unwrap().len() >= 2, "{job}");
    let written = bench.json(&["job", "export-history", "1", "-o", "past"]).unwrap();
    let count = written["marks"].as_u64().unwrap();
    assert!(count >= 4 && written["checkpoints"] == count && written["ended"] == true, "{written}");
    for segment in 0..=count {
        let engine = if segment == 2 { "interpreted" } else { "compiled" };
        let again = bench
            .fog(&["verify", "segment", "past", "--segment", &segment.to_string(), "--engine", engine])
            .unwrap();
        assert_eq!(
            again.status.code(),
            Some(0),
            "{segment}: {} {}",
            String::from_utf8_lossy(&again.stdout),
            String::from_utf8_lossy(&again.stderr)
        );
    }
    assert_eq!(
        bench.fog(&["job", "export-history", "1", "-o", "past"]).unwrap().status.code(),
        Some(65),
        "nothing is written over"
    );
    assert_eq!(
        bench.fog(&["job", "export-history", "1", "--task", "7", "-o", "other"]).unwrap().status.code(),
        Some(66)
    );
    std::fs::write(bench.scratch().join("short.toml"), text.replace("500_000_000", "5")).unwrap();
    let refused = bench.fog(&["submit", "short.toml"]).unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("at least 100000000"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    // A cancelled job leaves no checkpoint behind.
    bench.json(&["submit", "job.toml"]).unwrap();
    wait_for("its checkpoint", Duration::from_secs(60), || {
        bench.data().join("checkpoints/2-0.fog").exists().then_some(())
    })
    .unwrap();
    assert!(bench.fog(&["job", "cancel", "2"]).unwrap().status.success());
    wait_for("it to go", Duration::from_secs(40), || {
        (!bench.data().join("checkpoints/2-0.fog").exists()).then_some(())
    })
    .unwrap();
    // The history is removed with the job.
    assert!(bench.data().join("histories/1-0").is_dir());
    assert!(bench.fog(&["job", "remove", "1"]).unwrap().status.success());
    wait_for("the history to go", Duration::from_secs(30), || {
        (!bench.data().join("histories/1-0").exists()).then_some(())
    })
    .unwrap();
}

/// Expects a mark that differs from the earlier one not to be used, and the result to be correct.
#[test]
fn a_state_that_is_not_what_it_was_is_not_built_on() {
    let bench = Bench::working().unwrap();
    let module = example("lucas-lehmer");
    let plain = identity(&bench.fog(&["--json", "run", &module, "--", "13", "300"]).unwrap());
    let text = format!(
        "version = 1\nname = \"lucas-lehmer\"\nmodule = \"{module}\"\nargs = [\"13\", \"300\"]\nsegment = 1_000_000_000\n"
    );
    std::fs::write(bench.scratch().join("job.toml"), text).unwrap();
    bench.json(&["submit", "job.toml"]).unwrap();
    let marks = || bench.json(&["job", "show", "1"]).ok()?["tasks"][0]["marks"].as_u64();
    wait_for("a mark", Duration::from_secs(60), || marks().filter(|marks| *marks >= 1)).unwrap();
    bench.json(&["job", "pause", "1"]).unwrap();
    let index = bench.data().join("histories/1-0/history.json");
    let is_still = || bench.json(&["status"]).ok()?["active"].as_array()?.is_empty().then_some(());
    wait_for("the pause", Duration::from_secs(20), is_still).unwrap();
    let is_gone = || {
        Command::new("pgrep")
            .args(["-P", &bench.pid().unwrap().to_string()])
            .output()
            .ok()
            .filter(|found| found.stdout.is_empty())
    };
    wait_for("its worker to go", Duration::from_secs(20), is_gone).unwrap();
    let mut history: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let mut made_up = history["marks"].as_array().unwrap().last().unwrap().clone();
    made_up["number"] = (made_up["number"].as_u64().unwrap() + 1).into();
    made_up["units"] = (made_up["units"].as_u64().unwrap() + 1_000_000_000).into();
    made_up["state"] = "ab".repeat(32).into();
    history["marks"].as_array_mut().unwrap().push(made_up);
    std::fs::write(&index, serde_json::to_vec(&history).unwrap()).unwrap();
    bench.json(&["job", "resume", "1"]).unwrap();
    let job = wait_for("the end", Duration::from_secs(120), || ended(&bench, "1")).unwrap();
    let task = &job["tasks"][0];
    assert!(task["attempts"].to_string().contains("not what it was before"), "{task}");
    assert_eq!(
        (task["result_hash"].as_str(), task["units"].as_u64()),
        (Some(plain.0.as_str()), Some(plain.1)),
        "{task}"
    );
    let written = bench.json(&["job", "export-history", "1", "-o", "past"]).unwrap();
    let checked = written["checked"].as_u64().unwrap().to_string();
    assert!(bench.fog(&["verify", "segment", "past", "--segment", &checked]).unwrap().status.success());
}
