//! `cargo xtask bench`: cost of a checkpoint for a task of 64 MiB: whole, with one percent changed, and
//! continued; through a real worker process and its file.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::path::Path;
use std::time::{Duration, Instant};

use fog_runtime::{
    Checkpoint, CheckpointHeader, CheckpointWriter, EngineKind, FromWorker, Generation, Key, SavedState,
    Snapshot, TaskSpec, Worker, WorkerEvent, WorkerProgram, prepare,
};
use fog_tests::fog_binary;
use fog_types::{ByteCount, Limits, Percent, WorkUnits};

/// Fills 64 MiB with numbers that LZ4 cannot compress, the worst case, then keeps writing to one page in a
/// hundred.
const PROGRAM: &str = r#"(module (memory (export "memory") 1024)
    (func (export "_start") (local $at i32) (local $x i32)
        (loop $fill
            (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store16 (local.get $at) (local.get $x))
            (br_if $fill (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 67108864))))
        (loop $for_ever
            (local.set $at (i32.const 0))
            (loop $change
                (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))
                (br_if $change (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 409600))) (i32.const 67108864))))
            (br $for_ever))))"#;

fn spec(artifact: &Path) -> TaskSpec {
    TaskSpec {
        artifact: artifact.to_owned(),
        engine: EngineKind::Compiled,
        program: "pages".to_owned(),
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        limits: Limits {
            memory: ByteCount(128 << 20),
            units: WorkUnits(1 << 60),
            wall_seconds: 600,
            ..Limits::default()
        },
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    }
}

/// Takes one checkpoint as the engine does: a thread seals and writes while the worker sends. Returns the
/// time for which the task stood still and the time until the checkpoint was on disk.
async fn save(
    worker: &mut Worker,
    mut writer: CheckpointWriter,
    whole: bool,
) -> (Duration, Duration, u64, CheckpointWriter) {
    let begun = Instant::now();
    worker.save(whole);
    let (pieces, received) = std::sync::mpsc::sync_channel::<Vec<u8>>(4);
    let mut thread = None;
    let mut received = Some(received);
    let saved: SavedState = loop {
        match worker.events.recv().await.unwrap() {
            WorkerEvent::Message(FromWorker::State(piece)) => {
                if let Some(received) = received.take() {
                    assert_eq!(Snapshot::begins_whole(&piece), Some(whole));
                    let mut writer =
                        std::mem::replace(&mut writer, CheckpointWriter::new(Default::default(), None));
                    thread = Some(std::thread::spawn(move || {
                        writer.start(whole).unwrap();
                        received.iter().for_each(|piece| writer.piece(&piece).unwrap());
                        writer
                    }));
                }
                pieces.send(piece).unwrap();
            }
            WorkerEvent::Message(FromWorker::Saved(saved)) => break saved.unwrap(),
            WorkerEvent::Gone(error) => panic!("{error}"),
            _ => {}
        }
    };
    let worked = begun.elapsed();
    drop(pieces);
    let mut writer = thread.unwrap().join().unwrap();
    assert_eq!((saved.memory, saved.whole), (64 << 20, whole));
    let header =
        CheckpointHeader::new(&spec(Path::new("")), blake3::hash(b""), vec![], None).saved(&saved, 0);
    writer
        .finish(&Generation { header, stdout: vec![], stderr: vec![], state: vec![], files: None })
        .unwrap();
    (worked, begun.elapsed(), saved.bytes, writer)
}

fn line(what: &str, mut times: Vec<Duration>, target: &str, more: &str) {
    times.sort();
    println!("{what:<52} {:>8.0} ms {target:>12} {more}", times[times.len() / 2].as_secs_f64() * 1e3);
}

async fn wait_until_frozen(worker: &mut Worker, wanted: bool) {
    loop {
        match worker.events.recv().await.unwrap() {
            WorkerEvent::Frozen(frozen) if frozen == wanted => return,
            WorkerEvent::Gone(error) => panic!("{error}"),
            _ => {}
        }
    }
}

fn most(times: &[Duration]) -> String {
    let most = times.iter().max().copied().unwrap_or_default();
    format!("slowest of {}: {:.0} ms", times.len(), most.as_secs_f64() * 1e3)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (module, artifact, file) = (
        folder.path().join("pages.wasm"),
        folder.path().join("pages.cwasm"),
        folder.path().join("pages.fog"),
    );
    std::fs::write(&module, wat::parse_str(PROGRAM).unwrap()).unwrap();
    let program =
        WorkerProgram::Process { path: fog_binary(), args: vec![fog_runtime::WORKER_ARGUMENT.into()] };
    prepare(&program, &module, &artifact, EngineKind::Compiled).await.unwrap();
    let key = Key::from([7; 32]);
    let mut writer = CheckpointWriter::new(file.clone(), Some(key));
    let mut worker = Worker::spawn(&program, spec(&artifact), None).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "\nA checkpoint of 64 MiB, median of 5: until the task goes on, and until it is sealed and synced."
    );
    let (mut worked, mut written, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let (a, b, n, back) = save(&mut worker, writer, true).await;
        (bytes, writer) = (n, back);
        worked.push(a);
        written.push(b);
    }
    let size = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    line("whole, until the task goes on", worked, "", &size(bytes));
    line("whole, until it is on disk", written, "150 ms", "");
    let (mut worked, mut written) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (a, b, n, back) = save(&mut worker, writer, false).await;
        (bytes, writer) = (n, back);
        worked.push(a);
        written.push(b);
    }
    line("a hundredth changed, until the task goes on", worked, "", &size(bytes));
    line("a hundredth changed, until it is on disk", written, "20 ms", "");
    // As in the engine: the task stands still first, for the user; then its state is saved.
    let (mut stood, mut saved) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        worker.set_duty(Percent::new(0));
        wait_until_frozen(&mut worker, true).await;
        stood.push(begun.elapsed());
        writer = save(&mut worker, writer, false).await.3;
        saved.push(begun.elapsed());
        worker.set_duty(Percent::FULL);
        wait_until_frozen(&mut worker, false).await;
    }
    line("paused, until it stands still", stood.clone(), "100 ms", &most(&stood));
    line("paused, until it is saved as well", saved.clone(), "1000 ms", &most(&saved));
    drop(worker);
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let (checkpoint, problem) = Checkpoint::read(&file, Some(&key)).unwrap();
        assert!(problem.is_none() && checkpoint.added == 25);
        let state = checkpoint.snapshot.encode().unwrap();
        let mut worker = Worker::spawn(&program, spec(&artifact), Some(state)).unwrap();
        loop {
            match worker.events.recv().await.unwrap() {
                WorkerEvent::Message(FromWorker::Started) => break,
                WorkerEvent::Gone(error) => panic!("{error}"),
                _ => {}
            }
        }
        times.push(begun.elapsed());
    }
    line("continued: file to the first instruction", times, "", "");
}
