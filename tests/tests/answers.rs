//! Errors, hints and headlines of `fog` are clear and true.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::process::{Output, Stdio};
use std::time::Duration;

use fog_tests::{Bench, wait_for};
use serde_json::Value;

const ENDLESS: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))";
const NOTHING: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    text(&output.stderr)
}

/// Waits until a task runs and counts units; returns the status.
fn runs(bench: &Bench) -> Value {
    let counts = || {
        bench.json(&["status"]).ok().filter(|status| {
            status["active"][0]["units"].as_u64() > Some(0) && status["active"][0]["frozen"] == false
        })
    };
    wait_for("work", Duration::from_secs(60), counts).unwrap()
}

#[test]
fn inputs_that_are_one_file_on_some_systems_are_refused_everywhere() {
    let bench = Bench::working().unwrap();
    bench.module("nothing.wasm", NOTHING).unwrap();
    std::fs::write(bench.scratch().join("file"), "x").unwrap();
    for (one, other) in [("a", "A"), ("ß", "ẞ"), ("caf\u{e9}", "cafe\u{301}")] {
        for verb in ["run", "submit"] {
            let refused = bench
                .fog(&[
                    verb,
                    "nothing.wasm",
                    "--input",
                    &format!("{one}=file"),
                    "--input",
                    &format!("{other}=file"),
                ])
                .unwrap();
            assert_eq!(refused.status.code(), Some(65), "{verb} {one} {other}: {}", said(&refused));
        }
        let job = format!(
            "version = 1\nmodule = \"nothing.wasm\"\n[inputs]\n\"{one}\" = \"file\"\n\"{other}\" = \"file\"\n"
        );
        std::fs::write(bench.scratch().join("job.toml"), job).unwrap();
        assert_eq!(bench.fog(&["submit", "job.toml"]).unwrap().status.code(), Some(65), "{one} {other}");
    }
    assert_eq!(bench.json(&["jobs"]).unwrap(), Value::Array(Vec::new()));
}

#[test]
fn a_wish_to_run_now_lasts_over_a_pause_and_is_not_claimed_when_all_is_off() {
    let bench = Bench::working().unwrap();
    bench.module("endless.wasm", ENDLESS).unwrap();
    bench.json(&["submit", "endless.wasm", "--now"]).unwrap();
    runs(&bench);
    let shown = bench.json(&["job", "show", "1"]).unwrap();
    let (task, summary) = (&shown["tasks"][0], &shown["summary"]);
    assert!(
        task["units"].as_u64() > Some(0) && summary["units"].as_u64() > Some(0),
        "a task that runs has done something: {shown}"
    );
    assert!(task["active_ms"].as_u64() > Some(0), "{task}");
    assert!(bench.fog(&["job", "pause", "1"]).unwrap().status.success());
    wait_for("its workers to go", Duration::from_secs(10), || {
        (bench.json(&["status"]).ok()?["active"] == serde_json::json!([])).then_some(())
    })
    .unwrap();
    assert_eq!(bench.json(&["status"]).unwrap()["run_now"], serde_json::json!([1]));
    assert!(bench.fog(&["job", "resume", "1"]).unwrap().status.success());
    assert_eq!(runs(&bench)["run_now"], serde_json::json!([1]));

    let off = bench.fog(&["off"]).unwrap();
    let first = text(&off.stdout).lines().next().unwrap_or_default().to_owned();
    assert!(first.contains("switched off") && !first.contains("you asked"), "{first}");
}

#[test]
fn a_damaged_key_is_told_where_people_look() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let good = bench.json(&["doctor"]).unwrap_or_default();
    assert_ne!(good["checkpoints"], "bad");
    assert!(!text(&bench.fog(&["status"]).unwrap().stdout).contains("No checkpoints"));
    bench.kill();
    std::fs::write(bench.data().join("checkpoint.key"), "short").unwrap();
    bench.start().unwrap();
    let status = text(&bench.fog(&["status"]).unwrap().stdout);
    assert!(status.contains("No checkpoints are taken") && status.contains("checkpoint.key"), "{status}");
    let doctor = bench.fog(&["--json", "doctor"]).unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let checks: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let check = checks.as_array().unwrap().iter().find(|check| check["name"] == "checkpoints").unwrap();
    assert!(check["state"] == "bad" && check["detail"].as_str().unwrap().contains("from a copy"), "{check}");
}

#[test]
fn a_damaged_database_stops_the_start_with_its_path_and_what_to_do() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    assert!(bench.fog(&["shutdown"]).unwrap().status.success());
    wait_for("the end", Duration::from_secs(20), || {
        (bench.fog(&["status"]).ok()?.status.code() == Some(69)).then_some(())
    })
    .unwrap();
    bench.kill();
    let database = bench.data().join("fog.sqlite");
    // The journal of a killed engine would repair the file.
    for journal in ["fog.sqlite-wal", "fog.sqlite-shm"] {
        let _ = std::fs::remove_file(bench.data().join(journal));
    }
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[100..].fill(0xff);
    std::fs::write(&database, &bytes).unwrap();
    let refused = bench.fog(&["daemon"]).unwrap();
    assert_eq!(refused.status.code(), Some(74));
    let words = said(&refused);
    assert!(
        words.contains(&database.display().to_string())
            && words.contains("from a copy")
            && words.contains("nothing was changed"),
        "{words}"
    );
    assert_eq!(std::fs::read(&database).unwrap(), bytes, "and that is true");
}

#[test]
fn a_number_that_no_job_can_have_is_not_found_by_any_command() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    for id in ["9223372036854775808", "18446744073709551615", "7"] {
        for verb in [
            &["show", id][..],
            &["logs", id],
            &["places", id],
            &["pause", id],
            &["now", id],
            &["resume", id],
            &["cancel", id],
            &["remove", id],
            &["checkpoint", id],
            &["export-checkpoint", id, "-o", "x.fog"],
            &["export-history", id, "-o", "x"],
            &["result", id],
            &["result", id, "-o", "x"],
        ] {
            let missing = bench.fog(&[&["job"], verb].concat()).unwrap();
            assert_eq!(missing.status.code(), Some(66), "{verb:?}: {}", said(&missing));
        }
    }
    assert!(bench.fog(&["jobs", "--before", "18446744073709551615"]).unwrap().status.success());
}

#[test]
fn a_file_that_is_missing_is_not_found_by_any_command() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.module("nothing.wasm", NOTHING).unwrap();
    std::fs::write(bench.scratch().join("job.toml"), "version = 1\nmodule = \"gone.wasm\"\n").unwrap();
    std::fs::write(
        bench.scratch().join("input.toml"),
        "version = 1\nmodule = \"nothing.wasm\"\n[inputs]\na = \"gone\"\n",
    )
    .unwrap();
    for verb in [
        &["run", "gone.wasm"][..],
        &["run", "--from", "gone.fog"],
        &["run", "nothing.wasm", "--input", "a=gone"],
        &["run", "nothing.wasm", "--stdin", "gone"],
        &["submit", "gone.wasm"],
        &["submit", "gone.toml"],
        &["submit", "gone.fog"],
        &["submit", "job.toml"],
        &["submit", "input.toml"],
        &["submit", "nothing.wasm", "--input", "a=gone"],
        &["submit", "job.toml", "--estimate"],
        &["job", "map", "gone.toml"],
        &["checkpoint", "inspect", "gone.fog"],
        &["verify", "segment", "gone", "--segment", "0"],
        &["settings", "import", "gone.json"],
        &["why", "--trace", "gone.jsonl"],
        &["chat", "send", "--to", "anna", "--file", "gone.png"],
    ] {
        let missing = bench.fog(verb).unwrap();
        assert_eq!(missing.status.code(), Some(66), "{verb:?}: {}", said(&missing));
        assert!(said(&missing).contains("gone"), "{verb:?}: {}", said(&missing));
    }
    assert!(text(&bench.fog(&["--help"]).unwrap().stdout).contains("66 not found"));
}

#[test]
fn wrong_arguments_are_answered_in_the_form_that_was_asked_for() {
    let bench = Bench::new().unwrap();
    for args in
        [&["--json", "nonsense"][..], &["jobs", "--limit", "0", "--json"], &["--json"], &["submit", "--json"]]
    {
        let refused = bench.fog(args).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        let answer: Value = serde_json::from_slice(&refused.stderr)
            .unwrap_or_else(|_| panic!("{args:?}: {}", said(&refused)));
        assert!(
            answer["error"]["kind"] == "bad_input"
                && answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{answer}"
        );
    }
    let plain = bench.fog(&["run", "x.wasm", "--nonsense", "--", "--json"]).unwrap();
    assert!(plain.status.code() == Some(2) && said(&plain).starts_with("error: "), "{}", said(&plain));
    for args in [
        &["submit", "x.wasm", "--stall-timeout", "3s"][..],
        &["submit", "job.toml", "--stall-timeout", "3s", "--now"],
    ] {
        let refused = bench.fog(args).unwrap();
        assert!(refused.status.code() == Some(2) && said(&refused).contains("--wait"), "{}", said(&refused));
    }
    for waits in [&["--wait"][..], &["--watch"], &["--wait", "--watch"], &["--out", "x"]] {
        let taken = bench.fog(&[&["submit", "x.wasm", "--stall-timeout", "3s"], waits].concat()).unwrap();
        assert_eq!(taken.status.code(), Some(69), "{}", said(&taken));
    }
    let wall = bench.fog(&["run", "x.wasm", "--wall", "0"]).unwrap();
    assert!(said(&wall).contains("'wall'") && !said(&wall).contains("wall_seconds"), "{}", said(&wall));
}

#[test]
fn errors_of_the_engine_are_in_the_language_of_people_and_have_a_key_for_programs() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let leave = |json: &[&str]| {
        let mut command = bench.command(&[json, &["network", "leave", "attic"]].concat());
        command.env("LC_ALL", "de_DE.UTF-8").stdin(Stdio::null()).output().unwrap()
    };
    let (people, programs) = (leave(&[]), leave(&["--json"]));
    assert_eq!((people.status.code(), programs.status.code()), (Some(66), Some(66)));
    assert!(said(&people).contains("in keinem Netz namens „attic“"), "{}", said(&people));
    let answer: Value = serde_json::from_slice(&programs.stderr).unwrap();
    assert_eq!(answer["error"]["key"], "error-network-not-joined");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|text| text.contains("no network called 'attic'")),
        "{answer}"
    );
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    let bench = Bench::new().unwrap();
    for args in [&["--help"][..], &["--version"], &["submit", "--help"], &["help"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bench
            .command(args)
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(output.status.code(), Some(74), "{args:?}");
        assert!(
            said(&output).contains("standard output cannot be written to"),
            "{args:?}: {}",
            said(&output)
        );
    }
    assert!(text(&bench.fog(&["--version"]).unwrap().stdout).starts_with("fog "));
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    assert!(bench.log().contains("the engine serves") && !bench.log().contains('\u{1b}'), "{}", bench.log());
}

/// Returns the commands in a document or in hints that change nothing but settings of this device.
fn harmless_commands(text: &str) -> Vec<Vec<String>> {
    const HARMLESS: [&str; 12] = [
        "on", "off", "status", "why", "jobs", "peers", "credits", "doctor", "history", "snooze", "settings",
        "network",
    ];
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let pieces = lines
        .flat_map(|line| line.split([';', '`', '|', '>']))
        .filter_map(|piece| piece.trim().strip_prefix("fog "));
    let commands =
        pieces.filter(|command| !command.contains(['{', '…', '\'']) && !command.ends_with("--with"));
    let words = commands.map(|command| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    // Network commands are tested by other suites.
    words
        .filter(|words| {
            HARMLESS.contains(&words[0].as_str()) && (words[0] != "network" || words[1..] == ["status"])
        })
        .collect()
}

#[test]
fn what_documents_and_hints_suggest_works() {
    let bench = Bench::working().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let hints = read("crates/fog-words/words/en.ftl");
    let hints = hints.lines().filter(|line| line.starts_with("hint-")).collect::<Vec<_>>().join("\n");
    let tried: std::collections::BTreeSet<Vec<String>> =
        harmless_commands(&hints).into_iter().chain(harmless_commands(&read("README.md"))).collect();
    assert!(tried.len() >= 12, "only {tried:?} were found");
    for command in tried {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let done = bench.fog(&words).unwrap();
        // `fog why` may answer that the device would not work.
        let is_answer = words[0] == "why" && done.stderr.is_empty();
        assert!(done.status.success() || is_answer, "fog {}: {}", command.join(" "), said(&done));
    }
}
