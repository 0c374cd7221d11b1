//! Tests of tasks whose stored files were changed on the disk.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::Path;

use fog_runtime::Priority;
use fog_store::{BlobFile, Blobs, HostedRow, NewJob, StoreError};
use fog_transport::{Channel, Link};
use fog_types::job::{GridOptions, JobFile, Map};
use fog_types::{BlobId, ByteCount, JobId, JobState, TaskState, UnixMillis};

use crate::exchange::content_delivery::{DamageReport, serve};
use crate::exchange::sealed_state::seal_stored;
use crate::tasks::runner::{TaskEvent, TaskOutcome};
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node, test_engine};

/// Kinds of damage: a flipped bit, a truncated file and a missing file.
const DAMAGES: [fn(&Path); 3] = [
    |path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(path, bytes).unwrap();
    },
    |path| std::fs::write(path, b"").unwrap(),
    |path| std::fs::remove_file(path).unwrap(),
];

fn blob(device: &mut TestEngine, bytes: &str) -> BlobId {
    let now = device.engine.ctx.clock.unix();
    let file = BlobFile::copy(device.engine.ctx.store.folder(), bytes.as_bytes(), ByteCount::mib(1)).unwrap();
    device.engine.ctx.store.add_blob(file, ByteCount::mib(100), now).unwrap()
}

/// Creates a job with every kind of file; each task has an input of its own.
fn job(device: &mut TestEngine, tasks: usize) -> (JobId, Blobs) {
    let items: Vec<BlobId> = (0..tasks).map(|n| blob(device, &format!("item {n}"))).collect();
    let inputs = [("data.csv".to_owned(), blob(device, "input"))].into();
    let blobs = Blobs { module: blob(device, "module"), stdin: Some(blob(device, "stdin")), inputs, items };
    let map = Map::Inputs((0..tasks).map(|n| format!("item{n}")).collect());
    let file = JobFile { map, ..JobFile::for_module("job", "m.wasm") };
    let new = NewJob {
        file,
        blobs: blobs.clone(),
        owner: "this device".to_owned(),
        grid: None,
        now: device.engine.ctx.clock.unix(),
    };
    (device.engine.ctx.store.insert_job(&new).unwrap(), blobs)
}

/// Runs a task as the loop does, up to the start of its worker.
async fn attempt(device: &mut TestEngine, task: TaskId) -> (fog_store::Claim, TaskOutcome) {
    let now = device.engine.ctx.clock.unix();
    let claim = device.engine.ctx.store.claim(task, "test", now).unwrap();
    let row = device.engine.ctx.store.job(task.job).unwrap();
    let launch = device.engine.ctx.launch(claim, &row, Percent::FULL, Priority::Idle, 1 << 30).unwrap();
    let (_duty, seen) = tokio::sync::watch::channel(fog_types::Percent::FULL);
    let (_wishes, wished) = mpsc::channel(1);
    let (to, mut from) = mpsc::channel(16);
    crate::tasks::runner::run(launch, seen, wished, to).await;
    while let Some(message) = from.recv().await {
        if let EngineMessage::Task(_, TaskEvent::Ended(end)) = message {
            return (claim, *end);
        }
    }
    panic!("it did not end");
}

#[tokio::test]
async fn a_task_of_a_changed_file_fails_and_says_which_and_the_others_go_on() {
    for damage in &DAMAGES[..2] {
        for kind in ["its program", "its input data.csv", "the input of task 1", "its standard input"] {
            let mut device = test_engine();
            let (id, blobs) = job(&mut device, 3);
            let wrong = match kind {
                "its program" => blobs.module,
                "its input data.csv" => blobs.inputs["data.csv"],
                "its standard input" => blobs.stdin.unwrap(),
                _ => blobs.items[1],
            };
            let path = device.engine.ctx.store.blob(wrong).unwrap();
            damage(&path);
            let task = TaskId { job: id, index: 1 };
            let (claim, end) = attempt(&mut device, task).await;
            assert!(matches!(end, TaskOutcome::Damaged { .. }), "{kind}: {end:?}");
            device.engine.tasks.task_ended(&mut device.engine.ctx, claim, false, end).unwrap();
            let row = device.engine.ctx.store.task(task).unwrap();
            let names_it = row.problem.starts_with(kind)
                && row.problem.contains(path.to_str().unwrap())
                && row.problem.contains("Submit the job again");
            assert!(row.state == TaskState::Failed && names_it, "{kind}: {:?} {}", row.state, row.problem);
            assert!(path.exists(), "the owner may look at it");
            assert_eq!(
                device.engine.ctx.store.job_state(id).unwrap(),
                JobState::Running,
                "the other tasks go on"
            );
            if wrong == blobs.items[1] {
                let (_, end) = attempt(&mut device, TaskId { job: id, index: 2 }).await;
                assert!(
                    !matches!(end, TaskOutcome::Damaged { .. }),
                    "another task's file is as it was: {end:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_module_that_was_compiled_already_is_not_read() {
    let mut device = test_engine();
    let (id, blobs) = job(&mut device, 1);
    let row = device.engine.ctx.store.job(id).unwrap();
    let launch = device
        .engine
        .ctx
        .launch(
            fog_store::Claim { task: TaskId { job: id, index: 0 }, attempt: 0 },
            &row,
            Percent::FULL,
            Priority::Idle,
            1 << 30,
        )
        .unwrap();
    std::fs::create_dir_all(launch.artifact.parent().unwrap()).unwrap();
    std::fs::write(&launch.artifact, b"compiled").unwrap();
    DAMAGES[0](&device.engine.ctx.store.blob(blobs.module).unwrap());
    launch.check_files().await.unwrap();
    std::fs::remove_file(&launch.artifact).unwrap();
    assert_eq!(launch.check_files().await.unwrap_err().damaged, [blobs.module]);
}

/// The requester asks another device, or this one again, which then fetches the lost file.
#[tokio::test]
async fn a_hosted_task_of_a_changed_file_is_given_back_and_the_file_fetched_anew() {
    for damage in DAMAGES {
        let mut device = test_engine();
        let (id, blobs) = job(&mut device, 1);
        let deadline = UnixMillis(device.engine.ctx.clock.unix().0 + 86_400_000);
        let (lease, offer) = ("07".repeat(16), BlobId([0; 32]).to_string());
        device
            .engine
            .ctx
            .store
            .host(&HostedRow {
                job: id,
                lease,
                requester: node(2),
                offer,
                deadline,
                message: None,
                has_receipt: false,
            })
            .unwrap();
        device.engine.exchange.restore_hosted(&mut device.engine.ctx).unwrap();
        let wrong = blobs.inputs["data.csv"];
        let path = device.engine.ctx.store.blob(wrong).unwrap();
        damage(&path);
        let task = TaskId { job: id, index: 0 };
        if path.exists() {
            let (claim, end) = attempt(&mut device, task).await;
            device.engine.tasks.task_ended(&mut device.engine.ctx, claim, false, end).unwrap();
        } else {
            let now = device.engine.ctx.clock.unix();
            let claim = device.engine.ctx.store.claim(task, "test", now).unwrap();
            let row = device.engine.ctx.store.job(id).unwrap();
            device.engine.tasks.start_claimed(&mut device.engine.ctx, claim, &row, now).unwrap();
        }
        device.engine.settle();
        let said = device.engine.exchange.hosted()[&id].message.clone().expect("its requester is told");
        let Ok(fog_grid::Message::Failed { problem, is_hopeless, .. }) = fog_grid::Message::decode(&said)
        else {
            panic!("it is not told as a failure")
        };
        assert!(!is_hopeless, "no other device would be asked");
        assert!(problem.contains("damaged") && !problem.contains('/'), "{problem}");
        assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Failed);
        assert!(
            matches!(device.engine.ctx.store.blob(wrong), Err(StoreError::NoBlob(_))),
            "it would be taken for the file the next time"
        );
        assert!(device.engine.ctx.store.blob(blobs.module).is_ok());
    }
}

/// A device whose storage is full says nothing about the task: one word would fail it everywhere.
#[tokio::test]
async fn a_hosted_task_without_room_for_its_result_is_given_back() {
    let mut device = test_engine();
    let (id, _) = job(&mut device, 1);
    let now = device.engine.ctx.clock.unix();
    let (lease, offer) = ("07".repeat(16), BlobId([0; 32]).to_string());
    let deadline = UnixMillis(now.0 + 86_400_000);
    device
        .engine
        .ctx
        .store
        .host(&HostedRow {
            job: id,
            lease,
            requester: node(2),
            offer,
            deadline,
            message: None,
            has_receipt: false,
        })
        .unwrap();
    device.engine.exchange.restore_hosted(&mut device.engine.ctx).unwrap();
    let task = TaskId { job: id, index: 0 };
    let claim = device.engine.ctx.store.claim(task, "test", now).unwrap();
    let full = StoreError::Full { wanted: ByteCount::mib(1), cap: ByteCount::mib(1) };
    device.engine.tasks.task_ended(&mut device.engine.ctx, claim, false, TaskOutcome::NoRoom(full)).unwrap();
    device.engine.exchange.host_ended(&mut device.engine.ctx, id).unwrap();
    let said = device.engine.exchange.hosted()[&id].message.clone().expect("its requester is told");
    let Ok(fog_grid::Message::Failed { problem, is_hopeless, .. }) = fog_grid::Message::decode(&said) else {
        panic!("it is not told as a failure")
    };
    assert!(!is_hopeless && problem.contains("no room") && !problem.contains("MiB"), "{problem}");
}

/// A damaged state is dropped: no device could fetch it, so the task would fail on one device after the
/// other.
#[tokio::test]
async fn a_damaged_state_is_as_none_and_the_attempt_says_so() {
    for damage in DAMAGES {
        let mut device = test_engine();
        let wish = GridOptions {
            replicas: 1,
            adaptive: false,
            spot_checks: 0,
            trust: None,
            ..GridOptions::default()
        };
        let id = device.job(2, Some(wish), |_| {});
        let task = TaskId { job: id, index: 1 };
        let folder = device.engine.ctx.store.folder().to_owned();
        let sealed =
            seal_stored(|| Ok(&[7u8; 100_000][..]), &folder, &device.engine.ctx.secret, None).unwrap();
        let row = sealed.1.clone();
        device.engine.exchange.state_sealed(&mut device.engine.ctx, task, node(1), 50, Ok(sealed)).unwrap();
        let (units, content) = device.engine.exchange.requester().checkpoint(task).unwrap();
        assert_eq!(units, 50);
        let lease = device.lend(1, task, node(1));
        let path = device.engine.ctx.store.blob(row.blob).unwrap();
        damage(&path);
        // The device requests the state.
        let (theirs, ours) = tokio::io::duplex(1 << 20);
        let link = Link { node: node(1), channel: Channel::Content, pipe: Box::new(ours) };
        let found = path
            .exists()
            .then(|| (device.engine.exchange.unlocked(&device.engine.ctx, row.clone()), path.clone()));
        let (to, mut from) = mpsc::channel(4);
        let request = fog_grid::ContentRequest { id: content.id, from: Some(0), count: 9 };
        serve(link, request, found, Some(DamageReport { blob: row.blob, to })).await;
        drop(theirs);
        let Some(EngineMessage::Exchange(news)) = from.recv().await else {
            panic!("it is known to the log alone")
        };
        device.engine.exchange.handle_event(&mut device.engine.ctx, *news).unwrap();
        device.engine.settle();
        assert_eq!(device.engine.exchange.requester().checkpoint(task), None);
        assert!(
            device.engine.ctx.store.kept_states(id).unwrap().is_empty()
                && device.engine.ctx.store.blob(row.blob).is_err()
        );
        assert!(
            device.engine.ctx.store.content(&row.id).unwrap().is_none(),
            "it is offered to nobody any more"
        );
        let attempts = device.engine.ctx.store.attempts(task).unwrap();
        assert_eq!(attempts.len(), 1);
        assert!(
            attempts[0].outcome == "interrupted" && attempts[0].detail.contains("damaged"),
            "{:?}",
            attempts[0]
        );
        assert_eq!(device.engine.ctx.store.task(task).unwrap().attempts, 0, "it costs the task no try");
        assert!(device.engine.exchange.requester().lease(lease, node(1)).is_none());
        let now = device.engine.ctx.now_ms();
        let wanted = device
            .engine
            .exchange
            .requester()
            .wanting(9, now)
            .into_iter()
            .find(|(wanted, _, _)| *wanted == task)
            .unwrap();
        assert!(wanted.2.is_empty(), "the same device may begin it");
        // No other trace of the state is kept: the next state counts.
        let next = seal_stored(|| Ok(&[8u8; 100][..]), &folder, &device.engine.ctx.secret, None).unwrap();
        device.engine.exchange.state_sealed(&mut device.engine.ctx, task, node(1), 9, Ok(next)).unwrap();
        assert_eq!(device.engine.exchange.requester().checkpoint(task).map(|(units, _)| units), Some(9));
    }
}

/// An undamaged state reports no damage.
#[tokio::test]
async fn a_whole_state_is_served_and_stays() {
    let device = test_engine();
    let folder = device.engine.ctx.store.folder().to_owned();
    let (file, row) =
        seal_stored(|| Ok(&[7u8; 100_000][..]), &folder, &device.engine.ctx.secret, None).unwrap();
    let (theirs, ours) = tokio::io::duplex(1 << 20);
    let link = Link { node: node(1), channel: Channel::Content, pipe: Box::new(ours) };
    let (to, mut from) = mpsc::channel(4);
    let request = fog_grid::ContentRequest {
        id: crate::exchange::content_of(&row).unwrap().id,
        from: Some(0),
        count: 9,
    };
    serve(
        link,
        request,
        Some((row.clone(), file.path().to_owned())),
        Some(DamageReport { blob: row.blob, to }),
    )
    .await;
    drop(theirs);
    assert!(from.recv().await.is_none());
}
