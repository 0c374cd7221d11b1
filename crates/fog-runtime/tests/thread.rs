//! A worker that is a thread, as on phones: the same protocol, results and limits as a process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_runtime::{
    EngineKind, FromWorker, Outcome, Report, TaskSpec, Worker, WorkerEvent, WorkerProgram, prepare,
};
use fog_types::{Limits, Percent};

async fn spec(folder: &tempfile::TempDir, wat: &str) -> TaskSpec {
    let (module, artifact) = (folder.path().join("m.wasm"), folder.path().join("m.cwasm"));
    std::fs::write(&module, wat::parse_str(wat).unwrap()).unwrap();
    assert!(!prepare(&WorkerProgram::Thread, &module, &artifact, EngineKind::Compiled).await.unwrap());
    assert!(prepare(&WorkerProgram::Thread, &module, &artifact, EngineKind::Compiled).await.unwrap());
    let limits = Limits::default();
    TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: "m".to_owned(),
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        limits,
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    }
}

/// Collects the worker's output until its report.
async fn finish(worker: &mut Worker) -> (Vec<u8>, Report) {
    let mut stdout = Vec::new();
    loop {
        match worker.events.recv().await.unwrap() {
            WorkerEvent::Message(FromWorker::Stdout(bytes)) => stdout.extend(bytes),
            WorkerEvent::Message(FromWorker::Done(report)) => return (stdout, report),
            WorkerEvent::Gone(error) => panic!("{error}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_thread_gives_what_a_process_gives() {
    let folder = tempfile::tempdir().unwrap();
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "hello\n")
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let spec = spec(&folder, wat).await;
    let mut worker = Worker::spawn(&WorkerProgram::Thread, spec, None).unwrap();
    assert_eq!(worker.pid(), None);
    let (stdout, report) = finish(&mut worker).await;
    assert_eq!((stdout.as_slice(), report.outcome), (b"hello\n".as_slice(), Outcome::Exited(0)));
}

fn worker_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flatten()
        .filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "task")
        })
        .count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thread_freezes_goes_on_and_ends_with_its_worker() {
    let folder = tempfile::tempdir().unwrap();
    let spec =
        spec(&folder, r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#)
            .await;
    let mut worker = Worker::spawn(&WorkerProgram::Thread, spec, None).unwrap();
    let frozen = async |worker: &mut Worker, wanted: bool| {
        let wait = async {
            loop {
                if matches!(worker.events.recv().await.unwrap(), WorkerEvent::Frozen(state) if state == wanted)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    };
    worker.set_duty(Percent::ZERO);
    frozen(&mut worker, true).await;
    worker.set_duty(Percent::FULL);
    frozen(&mut worker, false).await;
    let before = worker_threads();
    drop(worker);
    for _ in 0..100 {
        if worker_threads() < before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the thread goes on without its worker");
}
