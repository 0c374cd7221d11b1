//! Tests of the time for which the loop is blocked, relative to other work of the same run, since a busy
//! machine slows both down.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::{Duration, Instant};

use fog_api::{DutyCommand, JobAction};
use fog_store::{BlobFile, Output, PlacedFiles};
use fog_types::job::GridOptions;
use fog_types::{ByteCount, JobState};

use crate::event_loop::*;
use crate::tasks::runner::TaskDone;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node, test_engine};

const WISH: fn() -> GridOptions = || GridOptions { replicas: 1, ..GridOptions::default() };
const MANY: i64 = 4_000;

fn duration_of(device: &mut TestEngine, id: JobId, action: JobAction) -> Duration {
    let begun = Instant::now();
    device.engine.tasks.change_job(&mut device.engine.ctx, id, action).unwrap();
    device.engine.settle();
    begun.elapsed()
}

/// A change of a job for others must not take a transaction for each of its tasks.
#[test]
fn a_job_of_many_tasks_for_others_is_changed_like_one_of_this_device() {
    let mut device = test_engine();
    for action in [JobAction::Pause, JobAction::Resume, JobAction::Cancel] {
        let mut least = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            let (own, lent) = (device.job(MANY, None, |_| {}), device.job(MANY, Some(WISH()), |_| {}));
            if action == JobAction::Resume {
                duration_of(&mut device, own, JobAction::Pause);
                duration_of(&mut device, lent, JobAction::Pause);
            } else {
                device.lend(1, TaskId { job: lent, index: 7 }, node(1));
            }
            least = (
                least.0.min(duration_of(&mut device, own, action)),
                least.1.min(duration_of(&mut device, lent, action)),
            );
            assert_eq!(
                device.engine.exchange.requester().tasks_of(lent).count(),
                if action == JobAction::Resume { MANY as usize } else { 0 }
            );
            assert!(device.engine.ctx.store.leases().unwrap().is_empty());
            duration_of(
                &mut device,
                lent,
                if action == JobAction::Cancel { JobAction::Remove } else { JobAction::Cancel },
            );
        }
        println!("{action:?} of {MANY} tasks: {:?} of this device, {:?} for others", least.0, least.1);
        // The state in memory still takes some work per task.
        assert!(least.1 < least.0 * 10 + Duration::from_millis(100), "{action:?}: {least:?}");
    }
}

/// A change of one small job for others must not look at all tasks for others.
#[test]
fn a_change_of_a_small_job_does_not_look_at_a_large_one() {
    let mut device = test_engine();
    let small = |device: &mut TestEngine| {
        let id = device.job(2, Some(WISH()), |_| {});
        (0..3)
            .map(|_| duration_of(device, id, JobAction::Pause) + duration_of(device, id, JobAction::Resume))
            .min()
            .unwrap()
    };
    let alone = small(&mut device);
    device.job(40_000, Some(WISH()), |_| {});
    let beside = small(&mut device);
    println!("pause and resume: {alone:?} alone, {beside:?} beside 40,000 tasks");
    assert!(beside < alone * 4 + Duration::from_millis(20), "{alone:?} {beside:?}");
}

/// For a result of very many files the loop writes only the rows, in steps, and the files are held all the
/// time.
#[test]
fn of_a_result_of_twelve_thousand_files_the_loop_writes_the_rows_a_stretch_at_a_time() {
    let mut device = test_engine();
    let id = device.job(1, None, |_| {});
    let engine = &mut device.engine;
    let claim = engine.ctx.store.claim_task("test", engine.ctx.clock.unix()).unwrap().unwrap();
    let folder = engine.ctx.store.folder().to_owned();
    let file = |text: &str| BlobFile::copy(&folder, text.as_bytes(), ByteCount::mib(1)).unwrap();
    let files: Vec<(String, BlobFile)> =
        (0..12_000).map(|n| (format!("f{n:05}"), file(&format!("the file {n}")))).collect();
    let outputs: Vec<Output> = files
        .iter()
        .map(|(path, file)| Output { path: path.clone(), blob: file.id(), size: file.size() })
        .collect();
    let (stdout, stderr) = (file("out"), file("err"));
    let (out, err) = (stdout.id(), stderr.id());
    let holds = engine.ctx.store.holds();
    let begun = Instant::now();
    let all = files.into_iter().map(|(_, file)| file).chain([stdout, stderr]).collect();
    // A separate thread places the files, as for a task.
    let placed =
        std::thread::spawn(move || PlacedFiles::place(&folder, &holds, all).unwrap()).join().unwrap();
    let beside = begun.elapsed();
    let report = fog_runtime::Report {
        outcome: fog_runtime::Outcome::Exited(0),
        units: WorkUnits(5),
        active_millis: 1,
        memory: ByteCount(1),
        disk: ByteCount(1),
        stdout_dropped: 0,
        stderr_dropped: 0,
        left_out: Default::default(),
    };
    let done = TaskDone {
        report,
        stdout: out,
        stderr: err,
        outputs: outputs.clone(),
        placed,
        hash: "h".to_owned(),
        remarks: Default::default(),
    };
    let (mut whole, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut step = |engine: &mut Engine, step: &mut dyn FnMut(&mut Engine)| {
        let begun = Instant::now();
        step(engine);
        let took = begun.elapsed();
        (whole, longest) = (whole + took, longest.max(took));
    };
    let mut done = Some(Box::new(done));
    step(engine, &mut |engine| engine.tasks.task_done(&mut engine.ctx, claim, done.take().unwrap()).unwrap());
    let mut steps = 1;
    while engine.tasks.is_recording() {
        // No part of the result is visible yet.
        assert_eq!(engine.ctx.store.outputs(claim.task).unwrap(), []);
        step(engine, &mut |engine: &mut Engine| engine.tasks.record_some(&mut engine.ctx));
        steps += 1;
    }
    println!(
        "12,000 files: {beside:?} beside the loop, {whole:?} in it, in {steps} steps of at most {longest:?}"
    );
    // A single step would take the whole time.
    assert!(longest < whole / 4, "{longest:?} of {whole:?}");
    assert_eq!(engine.ctx.store.job_state(id).unwrap(), JobState::Finished);
    assert_eq!(engine.ctx.store.outputs(claim.task).unwrap(), outputs);
    assert!(outputs.iter().all(|output| engine.ctx.store.blob(output.blob).is_ok()));
    assert_eq!(engine.ctx.store.disk_use().unwrap().incoming, 0);
    // A command of the owner that follows the result.
    let begun = Instant::now();
    engine.call(Command::Duty(DutyCommand::SetContributing { on: false })).unwrap();
    println!("off: {:?}", begun.elapsed());
}
