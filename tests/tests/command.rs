//! The `fog` command and its engine, tested as a user runs them.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fog_tests::{Bench, is_full, wait_for};
use serde_json::Value;

const LOOP: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))";
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))) (call $exit (i32.const 7))))"#;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns the children of a process.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let more =
        threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let mut found: Vec<u32> = std::iter::once(list)
        .chain(more)
        .flat_map(|text| text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn run_passes_on_output_and_exit_code() {
    let bench = Bench::new().unwrap();
    let module = path(bench.module("hello.wasm", HELLO).unwrap());
    let output = bench.fog(&["run", &module]).unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(7)));
    assert_eq!(text(&output.stderr), "", "nothing is said when no terminal listens");
    let again = bench.json(&["run", &module]);
    assert!(again.is_err(), "the exit code is passed on with --json as well");
}

#[test]
fn run_tells_limits_and_refusals_apart() {
    let bench = Bench::new().unwrap();
    let endless = path(bench.module("loop.wasm", LOOP).unwrap());
    assert_eq!(bench.fog(&["run", &endless, "--units", "1000000"]).unwrap().status.code(), Some(124));
    assert_eq!(bench.fog(&["run", &endless, "--wall", "1s"]).unwrap().status.code(), Some(124));
    let library = path(bench.module("library.wasm", "(module (func (export \"add\")))").unwrap());
    let refused = bench.fog(&["run", &library]).unwrap();
    assert_eq!(refused.status.code(), Some(126));
    assert!(text(&refused.stderr).contains("_start"));
    std::fs::write(bench.scratch().join("not.wasm"), "hello").unwrap();
    assert_eq!(bench.fog(&["run", "not.wasm"]).unwrap().status.code(), Some(126));
    assert_eq!(bench.fog(&["run", "missing.wasm"]).unwrap().status.code(), Some(66));
}

#[test]
fn verbs_without_an_engine_say_so() {
    let bench = Bench::new().unwrap();
    for verb in [&["status"][..], &["jobs"], &["settings", "list"], &["why"]] {
        let output = bench.fog(verb).unwrap();
        assert_eq!(output.status.code(), Some(69), "{verb:?}");
        assert!(text(&output.stderr).contains("fog daemon"), "{verb:?}");
    }
    let dry = bench.fog(&["why", "--with", "battery=35,charging=false"]).unwrap();
    assert_eq!(dry.status.code(), Some(1));
    assert!(text(&dry.stdout).contains("below your limit of 40 %"), "{}", text(&dry.stdout));
}

#[test]
fn a_trace_is_replayed_through_the_real_rules() {
    let bench = Bench::new().unwrap();
    let mut trace = String::new();
    for second in 0..400u64 {
        let charge = if (100..110).contains(&second) { 0 } else { 80 };
        let charging = !(200..203).contains(&second);
        trace.push_str(&format!(
            "{{\"t_ms\":{},\"readings\":{{\"battery_present\":true,\"battery\":{charge},\"charging\":{charging},\"idle\":600,\"minute_of_week\":10}}}}\n",
            second * 1000
        ));
    }
    std::fs::write(bench.scratch().join("trace.jsonl"), trace).unwrap();
    let changes = bench.json(&["why", "--trace", "trace.jsonl"]).unwrap();
    let seen: Vec<(u64, u64)> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["t_ms"].as_u64().unwrap(), c["duty"].as_u64().unwrap()))
        .collect();
    // The impossible reading of 0 % is ignored; unplugging stops work at once and for a minute.
    assert_eq!(seen, [(0, 100), (200_000, 0), (260_000, 100)]);
}

#[test]
fn a_job_is_accepted_run_and_its_result_exported() {
    let bench = Bench::working().unwrap();
    bench.module("hello.wasm", &HELLO.replace("i32.const 7", "i32.const 0")).unwrap();
    std::fs::write(
        bench.scratch().join("job.toml"),
        "version = 1\nname = \"Three\"\nmodule = \"hello.wasm\"\n[map]\nrange = [0, 3]\n[result]\nassemble = \"concat\"\n",
    )
    .unwrap();
    let output = bench.fog(&["submit", "job.toml", "--watch"]).unwrap();
    assert_eq!(text(&output.stdout), "hello\nhello\nhello\n", "{}", text(&output.stderr));
    let job = bench.json(&["job", "show", "1"]).unwrap();
    assert_eq!(job["summary"]["state"], "finished");
    let hashes: Vec<&Value> =
        job["tasks"].as_array().unwrap().iter().map(|task| &task["result_hash"]).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the same task gives the same result");
    assert!(bench.fog(&["job", "result", "1", "-o", "out"]).unwrap().status.success());
    assert_eq!(
        std::fs::read_to_string(bench.scratch().join("out/task-00002/stdout.txt")).unwrap(),
        "hello\n"
    );
    assert_eq!(
        std::fs::read_to_string(bench.scratch().join("out/result.txt")).unwrap(),
        "hello\nhello\nhello\n"
    );
    assert_eq!(bench.fog(&["job", "cancel", "1"]).unwrap().status.code(), Some(75), "it has ended");
    assert!(bench.fog(&["job", "remove", "1"]).unwrap().status.success());
    assert_eq!(bench.fog(&["job", "show", "1"]).unwrap().status.code(), Some(66));
}

#[test]
fn bad_jobs_are_refused_and_nothing_is_stored() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    std::fs::write(bench.scratch().join("fake.wasm"), "hello").unwrap();
    for (name, content, word) in [
        ("a.toml", "version = 1\nmodule = \"missing.wasm\"\n", "missing.wasm"),
        ("b.toml", "version = 1\nmodule = \"fake.wasm\"\n", "not a WebAssembly"),
        ("c.toml", "version = 3\nmodule = \"fake.wasm\"\n", "version 3"),
        ("d.toml", "version = 1\nmodul = \"fake.wasm\"\n", "modul"),
    ] {
        std::fs::write(bench.scratch().join(name), content).unwrap();
        let output = bench.fog(&["submit", name]).unwrap();
        assert!(
            !output.status.success() && text(&output.stderr).contains(word),
            "{name}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(bench.json(&["jobs"]).unwrap(), Value::Array(Vec::new()));
}

#[test]
fn a_failing_program_fails_its_job_with_its_words_kept() {
    let bench = Bench::working().unwrap();
    let module = path(bench.module("fail.wasm", HELLO).unwrap());
    let output = bench.fog(&["submit", &module, "--wait"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("code 7"));
    assert_eq!(text(&bench.fog(&["job", "logs", "1"]).unwrap().stdout), "hello\n");
}

#[test]
fn a_killed_worker_costs_its_task_one_attempt() {
    let bench = Bench::working().unwrap();
    let module = path(bench.module("loop.wasm", LOOP).unwrap());
    bench.json(&["submit", &module]).unwrap();
    let pid = bench.pid().unwrap();
    let running =
        || bench.json(&["status"]).ok().filter(|s| s["active"][0]["units"].as_u64().unwrap_or(0) > 0);
    wait_for("a running task", Duration::from_secs(30), running).unwrap();
    let worker = children(pid)[0];
    std::process::Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap();
    let retried = wait_for("a record of the attempt", Duration::from_secs(10), || {
        let job = bench.json(&["job", "show", "1"]).ok()?;
        let attempts = job["tasks"][0]["attempts"].as_array()?.clone();
        (attempts[0]["outcome"] == "failed").then_some(attempts)
    });
    assert!(retried.unwrap()[0]["detail"].as_str().unwrap().contains("ended unexpectedly"));
    assert!(bench.json(&["status"]).is_ok(), "the engine is unharmed");
    assert!(bench.fog(&["job", "cancel", "1"]).unwrap().status.success());
    wait_for("the end of every worker", Duration::from_secs(5), || children(pid).is_empty().then_some(()))
        .unwrap();
}

#[test]
fn a_paused_machine_freezes_a_looping_job_and_uses_no_processor() {
    let bench = Bench::working().unwrap();
    let module = path(bench.module("loop.wasm", LOOP).unwrap());
    bench.json(&["submit", &module]).unwrap();
    wait_for("a running task", Duration::from_secs(30), || {
        bench.json(&["status"]).ok().filter(|s| s["active"][0]["units"].as_u64().unwrap_or(0) > 0)
    })
    .unwrap();
    bench.json(&["snooze", "5"]).unwrap();
    wait_for("frozen", Duration::from_secs(5), || {
        bench.json(&["status"]).ok().filter(|s| s["active"][0]["frozen"] == true)
    })
    .unwrap();
    let worker = children(bench.pid().unwrap())[0];
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse().unwrap())
            .collect();
        fields[0] + fields[1]
    };
    // On a busy machine, the checkpoint before the freeze may end a moment later.
    let idle = wait_for("a second in which a frozen task does nothing", Duration::from_secs(5), || {
        let before = ticks();
        std::thread::sleep(Duration::from_secs(1));
        (ticks() == before).then_some(before)
    });
    let before = idle.unwrap();
    bench.json(&["snooze", "0"]).unwrap();
    wait_for("thawed", Duration::from_secs(5), || (ticks() > before + 5).then_some(())).unwrap();
    assert_eq!(children(bench.pid().unwrap()), [worker], "the same worker goes on: nothing was lost");
}

#[test]
fn duty_lowers_processor_use() {
    let bench = Bench::new().unwrap();
    let module = path(bench.module("loop.wasm", LOOP).unwrap());
    // The duration of 1.5 G units depends on the machine; the share of processor time is compared.
    let share = |duty: &str| {
        let begun = Instant::now();
        let output = bench.fog(&["--json", "run", &module, "--units", "1500000000", "--duty", duty]).unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["active_ms"].as_f64().unwrap() / begun.elapsed().as_millis() as f64
    };
    share("100");
    let (full, quarter) = (share("100"), share("25"));
    assert!(quarter < 0.4, "full {full:.2}, quarter {quarter:.2}");
    // A busy machine gives a low-priority process less than its share.
    let load = std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .unwrap_or(0.0);
    let is_quiet = load < std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    assert!(full > 0.6 || !is_quiet, "full {full:.2}, quarter {quarter:.2}, load {load}");
}

#[test]
fn settings_round_trip_through_a_file_and_bad_ones_change_nothing() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    assert!(
        bench
            .fog(&["settings", "set", "battery_stop=55", "exclusive_programs=game,call"])
            .unwrap()
            .status
            .success()
    );
    assert!(bench.fog(&["settings", "export", "-o", "s.json"]).unwrap().status.success());
    assert!(bench.fog(&["settings", "reset"]).unwrap().status.success());
    assert_eq!(bench.json(&["settings", "get", "battery_stop"]).unwrap(), 40.0);
    assert!(bench.fog(&["settings", "import", "s.json"]).unwrap().status.success());
    assert_eq!(bench.json(&["settings", "get", "battery_stop"]).unwrap(), 55.0);
    assert_eq!(text(&bench.fog(&["settings", "get", "exclusive_programs"]).unwrap().stdout), "game,call\n");
    let before = bench.json(&["settings", "list"]).unwrap();
    assert_eq!(
        bench.fog(&["settings", "set", "idle_after=10", "battery_stop=900"]).unwrap().status.code(),
        Some(65)
    );
    assert_eq!(bench.json(&["settings", "list"]).unwrap(), before, "all or none");
}

#[test]
fn a_second_engine_is_kept_out() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let second = bench.fog(&["daemon"]).unwrap();
    assert_eq!(second.status.code(), Some(75));
    assert!(text(&second.stderr).contains("already uses"));
}

#[test]
fn nonsense_on_the_socket_harms_nobody() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let endpoint = fog_ipc::endpoint(&bench.data()).address;
    for bytes in
        [&[0xff; 64][..], b"GET / HTTP/1.1\r\n\r\n", &[4, 0, 0, 0, b'n', b'u', b'l', b'l'], &[0, 0, 0, 1]]
    {
        let mut socket = std::os::unix::net::UnixStream::connect(&endpoint).unwrap();
        // The engine may close the connection before everything is written.
        let _ = socket.write_all(bytes);
    }
    assert!(bench.json(&["status"]).is_ok());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&endpoint).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Expects no answer for a client that cannot read the token, and no trust in a server without it.
#[cfg(unix)]
#[test]
fn both_ends_of_the_socket_prove_themselves() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let endpoint = fog_ipc::endpoint(&bench.data());
    let token = std::fs::read(&endpoint.token).unwrap();
    for wrong in [&[7; 32][..], b"short"] {
        std::fs::write(&endpoint.token, wrong).unwrap();
        let refused = bench.fog(&["status"]).unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{}", text(&refused.stdout));
    }
    std::fs::remove_file(&endpoint.token).unwrap();
    let refused = bench.fog(&["status"]).unwrap();
    assert!(text(&refused.stderr).contains("fog.token"), "{}", text(&refused.stderr));
    std::fs::write(&endpoint.token, &token).unwrap();
    assert!(bench.json(&["status"]).is_ok());
    // A command before the proof, as protocol version 1 sent it.
    let mut socket = std::os::unix::net::UnixStream::connect(&endpoint.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
        .write_all(
            &fog_ipc::encode(&fog_api::Request::Call { id: 1, command: fog_api::Command::Shutdown }).unwrap(),
        )
        .unwrap();
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut said);
    let (hello, rest) = fog_ipc::decode::<fog_api::ServerMessage>(&said).unwrap().unwrap();
    assert!(
        matches!(hello, fog_api::ServerMessage::Hello { .. }) && rest.is_empty(),
        "nothing but its greeting"
    );
    assert!(bench.json(&["status"]).is_ok(), "and it was not shut down");

    bench.kill();
    std::fs::remove_file(&endpoint.address).unwrap();
    let impostor = std::os::unix::net::UnixListener::bind(&endpoint.address).unwrap();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = impostor.accept().unwrap();
        let hello = fog_api::ServerMessage::Hello {
            protocol: fog_api::PROTOCOL_VERSION,
            version: "1".to_owned(),
            nonce: "00".repeat(32),
        };
        let welcome = fog_api::ServerMessage::Welcome { proof: "00".repeat(32) };
        for message in [hello, welcome] {
            stream.write_all(&fog_ipc::encode(&message).unwrap()).unwrap();
        }
        let mut heard = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut heard);
        heard
    });
    let deceived = bench.fog(&["settings", "set", "contributing=on"]).unwrap();
    assert_eq!(deceived.status.code(), Some(76), "{}", text(&deceived.stderr));
    let heard = answers.join().unwrap();
    let (only, rest) = fog_ipc::decode::<fog_api::Request>(&heard).unwrap().unwrap();
    assert!(matches!(only, fog_api::Request::Prove { .. }) && rest.is_empty(), "no command reaches it");
    assert!(!heard.windows(32).any(|window| window == token), "nor the token");
}

/// Kills the engine at random moments, and expects no accepted job to be lost and no result to be reported
/// twice.
#[test]
fn a_killed_engine_loses_nothing_and_reports_nothing_twice() {
    let rounds = if is_full() { 200 } else { 15 };
    let mut bench = Bench::working().unwrap();
    bench.module("ok.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\") (local $i i64) (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1))) (br_if $l (i64.lt_u (local.get $i) (i64.const 20000000))))))").unwrap();
    std::fs::write(
        bench.scratch().join("job.toml"),
        "version = 1\nmodule = \"ok.wasm\"\n[map]\nrange = [0, 3]\n",
    )
    .unwrap();
    let mut seed = 0x1234_5678_u64;
    let mut accepted: Vec<u64> = Vec::new();
    for _ in 0..rounds {
        let submit = bench
            .command(&["--json", "submit", "job.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis((seed >> 33) % 250));
        bench.kill();
        let answer = submit.wait_with_output().unwrap();
        if let Ok(job) = serde_json::from_slice::<Value>(&answer.stdout) {
            accepted.push(job["id"].as_u64().unwrap());
        }
        bench.start().unwrap();
    }
    assert!(
        accepted.len() > rounds / 4,
        "the test must accept jobs to be worth anything: {}",
        accepted.len()
    );
    wait_for("the end of every job", Duration::from_secs(300), || {
        let open = bench.json(&["jobs", "--state", "queued", "--state", "running", "--limit", "500"]).ok()?;
        open.as_array()?.is_empty().then_some(())
    })
    .unwrap();
    let stored: Vec<Value> = bench.json(&["jobs", "--limit", "500"]).unwrap().as_array().unwrap().clone();
    for id in &accepted {
        let job = stored
            .iter()
            .find(|job| job["id"].as_u64() == Some(*id))
            .unwrap_or_else(|| panic!("accepted job {id} is gone"));
        assert_eq!(job["state"], "finished", "job {id}: {}", job["problem"]);
    }
    for job in &stored {
        let detail = bench.json(&["job", "show", &job["id"].to_string()]).unwrap();
        for task in 0..3 {
            let results = detail["journal"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|line| line["kind"] == "result" && line["index"] == task)
                .count();
            assert_eq!(results, 1, "job {} task {task}", job["id"]);
        }
    }
}

#[test]
fn ten_thousand_stored_jobs_do_not_slow_the_start_to_a_crawl() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.kill();
    {
        let mut store = fog_store::Store::open(&bench.data()).unwrap();
        let blob =
            fog_store::BlobFile::copy(&bench.data(), &b"\0asm\x01\0\0\0"[..], fog_types::ByteCount::mib(1))
                .unwrap();
        let module = store.add_blob(blob, fog_types::ByteCount::mib(100), fog_types::UnixMillis(0)).unwrap();
        let count = if is_full() { 10_000 } else { 500 };
        for n in 0..count {
            let file = fog_types::job::JobFile::for_module(&format!("job {n}"), "m.wasm");
            let blobs =
                fog_store::Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
            store
                .insert_job(&fog_store::NewJob {
                    file,
                    blobs,
                    owner: "me".to_owned(),
                    grid: None,
                    now: fog_types::UnixMillis(i64::MAX / 4),
                })
                .unwrap();
        }
    }
    let took = bench.start().unwrap();
    println!("restart to first answer: {took:?}");
    assert_eq!(bench.json(&["jobs", "--limit", "10"]).unwrap().as_array().unwrap().len(), 10);
}

/// Expects no events from queries: a front end that queries at every event would never stop.
#[test]
fn asking_makes_no_events() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    bench.json(&["on"]).unwrap();
    bench.json(&["snooze", "30"]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = runtime.block_on(async {
        let client = fog_ipc::Client::connect(&fog_ipc::endpoint(&bench.data())).await.unwrap();
        let mut events = client.subscribe().await;
        for _ in 0..500 {
            client.call(fog_api::Command::Settings(fog_api::SettingsCommand::Get)).await.unwrap();
        }
        let mut heard = 0;
        while tokio::time::timeout(Duration::from_millis(200), events.next()).await.is_ok() {
            heard += 1;
        }
        heard
    });
    // A sample of the sensors may fall into this time.
    assert!(heard <= 5, "{heard} events");
}

/// Expects the socket to answer only its owner, even when the folder is accessible to others.
#[cfg(unix)]
#[test]
fn another_user_is_not_answered() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let endpoint = fog_ipc::endpoint(&bench.data()).address;
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let socket = std::path::PathBuf::from(&endpoint);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    if !is_root {
        assert!(!fog_tests::is_full(), "not root: nobody else can be asked to try");
        println!("skipped: not root, so nobody else can be asked to try");
        return;
    }
    for path in [bench.scratch(), &bench.data(), socket.parent().unwrap(), &socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let binary = bench.scratch().join("fog");
    std::fs::copy(fog_tests::fog_binary(), &binary).unwrap();
    let ask = |user: u32| {
        let mut command = std::process::Command::new(&binary);
        command
            .args(["status", "--json"])
            .env_clear()
            .env("FOG_DATA_DIR", bench.data())
            .uid(user)
            .gid(user)
            .current_dir("/");
        command.output().unwrap()
    };
    assert!(ask(0).status.success());
    let refused = ask(65_534);
    assert!(
        refused.status.code() == Some(74) && refused.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&refused.stdout)
    );
    assert!(text(&refused.stderr).contains("belongs to another user"), "{}", text(&refused.stderr));
    // The usual permissions: the folder itself cannot be entered.
    std::fs::set_permissions(bench.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let refused = ask(65_534);
    assert!(text(&refused.stderr).contains("belongs to another user"), "{}", text(&refused.stderr));
    assert!(bench.json(&["status"]).is_ok(), "and the owner is answered after that");
}

/// Expects an estimate before the submission that comes true.
#[test]
fn an_estimate_comes_true_and_submits_nothing() {
    let bench = Bench::working().unwrap();
    let job = fog_tests::fog_binary().parent().unwrap().join("fog-examples/protein-search/job.toml");
    let job = job.to_string_lossy();
    let estimate = bench.json(&["submit", &job, "--estimate"]).unwrap();
    assert_eq!(
        (&estimate["tasks"], &estimate["is_whole"], &estimate["at_once"]),
        (&8.into(), &true.into(), &2.into()),
        "{estimate}"
    );
    assert_eq!(bench.json(&["jobs"]).unwrap().as_array().unwrap().len(), 0);
    let done = bench.json(&["submit", &job, "--wait"]).unwrap();
    let (expected, units) = (estimate["units"].as_f64().unwrap(), done["units"].as_f64().unwrap());
    assert!((0.7..1.4).contains(&(units / expected)), "{expected} units foreseen, {units} used");

    let endless = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    let estimate =
        bench.json(&["submit", &endless.to_string_lossy(), "--estimate", "--sample", "2"]).unwrap();
    assert!(
        estimate["units"].is_null()
            && estimate["sample_units"].as_u64() > Some(0)
            && estimate["is_whole"] == false,
        "{estimate}"
    );
    let broken = bench
        .module(
            "broken.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))",
        )
        .unwrap();
    let refused = bench.fog(&["submit", &broken.to_string_lossy(), "--estimate"]).unwrap();
    assert!(
        !refused.status.success()
            && String::from_utf8_lossy(&refused.stderr).contains("Nothing was submitted")
    );
}
