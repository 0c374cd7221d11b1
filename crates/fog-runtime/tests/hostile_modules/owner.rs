//! Priority of the owner: a worker lowers only its own priority, compiling stops when it should, and
//! results are not lost when a message cannot be sent.

use std::path::Path;
use std::time::{Duration, Instant};

use fog_runtime::{
    CompileLimits, EngineKind, FromWorker, Priority, Worker, WorkerError, WorkerEvent, prepare_within,
};
use fog_types::{ByteCount, Limits, Percent};
use tokio::sync::watch;

use crate::support::{
    compiled, for_ever, marked, module, processor_time, program, stat, state, wait_for, written,
};

fn autogroup(of: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{of}/autogroup")).ok().map(|text| text.trim().to_owned())
}

/// The kernel keeps one priority per session: a worker in the session of a terminal would slow that down.
#[tokio::test]
async fn a_worker_lowers_its_own_priority_and_nobody_elses() {
    let before = autogroup("self");
    let job = compiled(&for_ever("", ""), Limits::default(), 100).await;
    let mut worker = Worker::spawn(&program("session"), job.spec.clone(), None).unwrap();
    let pid = worker.pid().unwrap();
    while !matches!(worker.events.recv().await.unwrap(), WorkerEvent::Message(FromWorker::Started)) {}
    let session = |pid: u32| stat(pid).unwrap()[3].clone();
    assert_eq!(session(pid), pid.to_string(), "a session of its own");
    assert_ne!(session(std::process::id()), pid.to_string());
    let nice = |pid: u32| stat(pid).unwrap()[16].clone();
    assert_eq!(nice(pid), "19");
    assert_ne!(nice(std::process::id()), "19");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "1000");
    assert_eq!(autogroup("self"), before, "the terminal keeps its priority");
    if before.is_some() {
        let of_worker = autogroup(&pid.to_string()).unwrap();
        assert!(of_worker.ends_with("nice 19"), "{of_worker}");
    }
    let data = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let data = data.lines().find(|line| line.starts_with("Max data size")).unwrap().to_owned();
    assert!(!data.contains("unlimited"), "{data}");
    drop(worker);
    wait_for("its end", || state(pid).is_none_or(|state| state == 'Z').then_some(())).await;
}

/// A job that somebody waits for is not starved by other programs, even if the request comes while it runs.
#[tokio::test]
async fn a_worker_that_was_asked_for_is_not_the_last_of_all() {
    let job = compiled(&for_ever("", ""), Limits::default(), 100).await;
    let priorities = |pid: u32| (stat(pid).unwrap()[16].clone(), autogroup(&pid.to_string()));
    let has_groups = autogroup("self").is_some();
    for (mark, priority) in [("asked", Priority::Asked), ("idle", Priority::Idle)] {
        let mut worker = Worker::spawn(
            &program(mark).with_priority(Priority::Asked).with_priority(priority),
            job.spec.clone(),
            None,
        )
        .unwrap();
        let pid = worker.pid().unwrap();
        while !matches!(worker.events.recv().await.unwrap(), WorkerEvent::Message(FromWorker::Started)) {}
        let usual = if priority == Priority::Asked { "5" } else { "19" };
        let (nice, group) = priorities(pid);
        assert_eq!(nice, usual);
        assert!(group.is_none_or(|group| group.ends_with(&format!("nice {usual}"))));
        for (changed, wanted) in
            [(Priority::Asked, "nice 5"), (Priority::Idle, "nice 19"), (Priority::Asked, "nice 5")]
        {
            // Unless root makes them, the kernel accepts one change per 100 ms.
            tokio::time::sleep(Duration::from_millis(150)).await;
            let told = fog_runtime::set_priority(pid, changed);
            assert_eq!(told, has_groups);
            assert!(priorities(pid).1.is_none_or(|group| group.ends_with(wanted)));
        }
    }
    let before = autogroup("self");
    assert!(!fog_runtime::set_priority(std::process::id(), Priority::Idle), "only of a worker");
    assert_eq!(autogroup("self"), before);
}

/// A worker that has ended reads nothing any more; its result is still in the pipe.
#[tokio::test]
async fn a_result_is_read_to_its_end_whatever_is_said_meanwhile() {
    let wat = module(
        "(func (export \"_start\") (local $i i32)
        (loop $more
            (drop (call $close (call $file (local.get $i))))
            (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 800)))))",
    );
    let job = compiled(&wat, Limits::default(), 100).await;
    let mut worker = Worker::spawn(&program("result"), job.spec.clone(), None).unwrap();
    let pid = worker.pid().unwrap();
    wait_for("its end", || state(pid).is_none_or(|state| state == 'Z').then_some(())).await;
    let mut files = 0;
    loop {
        worker.save(false);
        worker.set_duty(Percent::new(50));
        match worker.events.recv().await.unwrap() {
            WorkerEvent::Message(FromWorker::File { .. }) => files += 1,
            WorkerEvent::Message(FromWorker::Done(_)) => break,
            WorkerEvent::Gone(error) => panic!("after {files} files: {error}"),
            WorkerEvent::Message(_) | WorkerEvent::Frozen(_) => {}
        }
    }
    assert_eq!(files, 800);
}

/// A worker that does not read, such as a starved one, cannot delay its own freezing.
#[tokio::test]
async fn a_pause_reaches_a_worker_that_is_still_being_sent_its_state() {
    let job = compiled(&for_ever("", ""), Limits::default(), 100).await;
    let mut worker = Worker::spawn(&program("state"), job.spec.clone(), Some(vec![0; 64 << 20])).unwrap();
    let pid = worker.pid().unwrap();
    // The stopped worker reads nothing more.
    assert!(std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Many messages, of which only the last counts.
    for duty in (0..100).rev() {
        worker.set_duty(Percent::new(duty));
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let frozen = async { while !matches!(worker.events.recv().await.unwrap(), WorkerEvent::Frozen(true)) {} };
    tokio::time::timeout(Duration::from_secs(20), frozen).await.expect("it is told that it stands still");
    println!("stood still after {:?}", begun.elapsed());
    assert_eq!(state(pid), Some('T'));
}

/// The reader of a worker's events may wait for the disk.
#[tokio::test]
async fn a_pause_reaches_a_worker_whose_events_nobody_takes() {
    let wat = for_ever(
        "(i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (i32.const 100000))",
        "(drop (call $write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 408)))",
    );
    let limits = Limits { log: ByteCount::mib(64), ..Limits::default() };
    let job = compiled(&wat, limits, 100).await;
    let worker = Worker::spawn(&program("untaken"), job.spec.clone(), None).unwrap();
    let pid = worker.pid().unwrap();
    wait_for("all queues are full", || state(pid).filter(|state| *state == 'S')).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    worker.set_duty(Percent::ZERO);
    let begun = Instant::now();
    while state(pid) != Some('T') {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not stopped");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Module of many functions: 600 take some tenths of a second of processor time to compile, 4,000 some
/// seconds.
fn large_module(functions: usize) -> String {
    let line = "(local.set 0 (i64.add (i64.mul (local.get 0) (i64.const 31)) (i64.load (i32.wrap_i64 (local.get 0)))))";
    let function = format!("(func (param i64) (result i64) {} (local.get 0))", line.repeat(60));
    format!(
        "(module (memory (export \"memory\") 1) {} (func (export \"_start\")))",
        function.repeat(functions)
    )
}

struct Compiling {
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<Result<bool, WorkerError>>,
    duty: watch::Sender<Percent>,
    begun: Instant,
}

impl Compiling {
    fn start(mark: &str, functions: usize, duty: u8, limits: Option<CompileLimits>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = written(folder.path(), &large_module(functions));
        let (artifact, program) = (folder.path().join("m.cwasm"), program(mark));
        let (duty, receiver) = watch::channel(Percent::new(duty));
        let begun = Instant::now();
        let task = tokio::spawn(async move {
            prepare_within(&program, &module, &artifact, EngineKind::Compiled, limits, receiver, None).await
        });
        Self { folder, task, duty, begun }
    }

    fn names(&self) -> Vec<String> {
        let names = |folder: &Path| {
            std::fs::read_dir(folder)
                .unwrap()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        names(self.folder.path())
    }
}

/// Id of the worker with this mark, once it has worked for a while.
async fn at_work(mark: &str) -> u32 {
    let is_busy = |pid: &u32| processor_time(*pid).is_some_and(|used| used >= Duration::from_millis(100));
    wait_for("a compiler at work", || marked(mark).into_iter().find(is_busy)).await
}

#[tokio::test]
async fn compiling_stops_when_the_owner_needs_the_device_and_goes_on_later() {
    let compiling = Compiling::start("stops", 600, 100, None);
    let pid = at_work("stops").await;
    let before = processor_time(pid).unwrap();
    compiling.duty.send(Percent::ZERO).unwrap();
    wait_for("the compiler to stop", || (state(pid) == Some('T')).then_some(())).await;
    let stopped_after = processor_time(pid).unwrap() - before;
    assert!(stopped_after <= Duration::from_millis(100), "{stopped_after:?}");
    assert!(!compiling.task.is_finished());
    compiling.duty.send(Percent::FULL).unwrap();
    assert!(!compiling.task.await.unwrap().unwrap(), "it was not there before");
}

#[tokio::test]
async fn compiling_ends_with_who_wanted_it() {
    let compiling = Compiling::start("ends", 4_000, 100, None);
    let pid = at_work("ends").await;
    assert!(fog_runtime::worker_pids().contains(&pid), "its load is taken for that of other programs");
    compiling.task.abort();
    wait_for("the compiler's end", || state(pid).is_none_or(|state| state == 'Z').then_some(())).await;
    assert!(!fog_runtime::worker_pids().contains(&pid));
    wait_for("the half of a file to go", || (compiling.names() == ["m.wasm"]).then_some(())).await;
}

#[tokio::test]
async fn compiling_keeps_its_share() {
    let compiling = Compiling::start(
        "share",
        4_000,
        30,
        Some(CompileLimits { time: Duration::from_secs(1), memory: ByteCount(2 << 30) }),
    );
    at_work("share").await;
    let error = compiling.task.await.unwrap().unwrap_err();
    assert!(matches!(error, WorkerError::CompileTime { seconds: 1 }) && error.is_permanent(), "{error}");
    // One second of processor time at a share of 30 %; on a busy machine longer.
    assert!(compiling.begun.elapsed() >= Duration::from_millis(2_500), "{:?}", compiling.begun.elapsed());
}

#[tokio::test]
async fn a_compiler_that_wants_too_much_memory_ends_and_says_so() {
    let limits = CompileLimits { memory: ByteCount::mib(24), ..CompileLimits::of(0) };
    let error = Compiling::start("memory", 4_000, 100, Some(limits)).task.await.unwrap().unwrap_err();
    assert!(matches!(error, WorkerError::CompileMemory { .. }) && error.is_permanent(), "{error}");
    assert!(error.to_string().contains("memory"), "{error}");
}
