//! Tests of which task runs when.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::settings::keys;
use fog_api::{DutyCommand, JobAction, JobCommand};
use fog_eligibility::Readings;
use fog_types::{ByteCount, ErrorKind, JobState};

use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

/// A device that lends this many places and half of 16 GiB.
fn device(cores: u32) -> TestEngine {
    let mut device = test_engine();
    let on = [
        ("contributing", true.into()),
        ("run_while_in_use", true.into()),
        ("run_on_battery", true.into()),
        ("unknown_idle", "allow".into()),
    ];
    device
        .engine
        .set_settings(
            on.into_iter()
                .chain([("cores", cores.into())])
                .map(|(key, value): (&str, Value)| (key.to_owned(), value))
                .collect(),
        )
        .unwrap();
    memory(&mut device, 16 << 30);
    device
}

fn memory(device: &mut TestEngine, available: u64) {
    let now = device.engine.ctx.clock.moment();
    device.engine.ctx.rules.handle_readings(
        Readings { ram_available: Some(available), idle: Some(1e6), ..Readings::default() },
        now,
    );
}

fn fill(device: &mut TestEngine) {
    device.engine.turn(|engine| {
        engine.tasks.set_duties(&engine.ctx);
        engine
            .tasks
            .fill_requested(&mut engine.ctx)
            .and_then(|()| engine.tasks.fill(&mut engine.ctx))
            .unwrap();
    });
}

/// Running tasks, as pairs of job and index.
fn running(device: &TestEngine) -> Vec<(u64, u32)> {
    let mut list: Vec<_> =
        device.engine.tasks.view().active.iter().map(|task| (task.job.0, task.index)).collect();
    list.sort_unstable();
    list
}

fn change(device: &mut TestEngine, id: JobId, action: JobAction) -> Result<Reply, ApiError> {
    let done = device.call(Command::Jobs(JobCommand::Change { id, action }));
    device.engine.settle();
    done
}

fn small(file: &mut fog_types::job::JobFile) {
    (file.limits.memory, file.limits.disk) = (ByteCount::mib(10), ByteCount::mib(1));
}

#[tokio::test]
async fn no_more_tasks_run_than_there_are_places_and_the_most_wanted_come_first() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2) as u32;
    let mut device = device(cores);
    let usual = device.job(5, None, small);
    let urgent = device.job(1, None, |file| {
        small(file);
        file.priority = 5;
    });
    fill(&mut device);
    assert_eq!(running(&device).len(), cores as usize);
    assert!(running(&device).contains(&(urgent.0, 0)), "{:?}", running(&device));
    change(&mut device, urgent, JobAction::Cancel).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), (0..cores).map(|index| (usual.0, index)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_paused_job_makes_way_and_goes_on_where_it_was() {
    let mut device = device(1);
    let (first, second) = (device.job(1, None, small), device.job(1, None, small));
    fill(&mut device);
    assert_eq!(running(&device), [(first.0, 0)]);
    change(&mut device, first, JobAction::Pause).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), [(second.0, 0)]);
    assert_eq!(device.engine.ctx.store.job_state(first).unwrap(), JobState::Paused);
    change(&mut device, first, JobAction::Resume).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), [(second.0, 0)], "it displaces one of its rank");
    change(&mut device, second, JobAction::Pause).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), [(first.0, 0)]);
}

#[tokio::test]
async fn a_task_that_is_wanted_sooner_takes_the_place_of_another() {
    let mut device = device(1);
    let usual = device.job(1, None, small);
    fill(&mut device);
    assert_eq!(running(&device), [(usual.0, 0)]);
    let urgent = device.job(1, None, |file| {
        small(file);
        file.priority = 5;
    });
    fill(&mut device);
    assert_eq!(running(&device), [(urgent.0, 0)]);
    let task = device.engine.ctx.store.task(TaskId { job: usual, index: 0 }).unwrap();
    assert_eq!(
        (task.state, task.attempts),
        (fog_types::TaskState::Queued, 0),
        "making way counts as a failure"
    );
}

#[tokio::test]
async fn a_task_that_can_never_fit_fails_and_says_so() {
    let mut device = device(1);
    let id = device.job(1, None, |file| file.limits.memory = ByteCount(1 << 60));
    fill(&mut device);
    assert!(running(&device).is_empty());
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Failed);
    assert!(
        device
            .engine
            .ctx
            .store
            .task(TaskId { job: id, index: 0 })
            .unwrap()
            .problem
            .contains("this device lends")
    );
}

#[tokio::test]
async fn a_task_waits_for_memory_and_a_smaller_one_goes_ahead() {
    let mut device = device(2);
    memory(&mut device, 1 << 30);
    let large = device.job(1, None, |file| {
        (file.limits.memory, file.limits.disk) = (ByteCount::mib(600), ByteCount::mib(1))
    });
    let other = device.job(1, None, small);
    fill(&mut device);
    let waits = device.engine.tasks.view().memory_waits;
    let total = fog_probes::ram_total().unwrap_or(u64::MAX);
    if total / 2 > 700 << 20 {
        assert_eq!((running(&device), waits.len(), waits[0].job), (vec![(other.0, 0)], 1, large));
        assert!(waits[0].wanted > 600 << 20 && waits[0].spare < 600 << 20, "{waits:?}");
    }
    memory(&mut device, 16 << 30);
    fill(&mut device);
    assert!(device.engine.tasks.view().memory_waits.is_empty());
}

#[tokio::test]
async fn while_finishing_nothing_new_starts_and_a_restart_goes_on_with_what_ran() {
    let mut device = device(1);
    let (first, second) = (device.job(2, None, small), device.job(1, None, small));
    fill(&mut device);
    assert_eq!(running(&device), [(first.0, 0)]);
    device.call(Command::Duty(DutyCommand::FinishThenStop)).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), [(first.0, 0)]);
    let mut device = device.restarted();
    memory(&mut device, 16 << 30);
    fill(&mut device);
    assert_eq!(running(&device), [(first.0, 0)], "it starts what did not run");
    change(&mut device, first, JobAction::Cancel).unwrap();
    device.engine.turn(Engine::after_change);
    assert!(!device.engine.ctx.settings.flag(keys::CONTRIBUTING), "it does not end");
    assert_eq!(device.engine.ctx.store.job_state(second).unwrap(), JobState::Queued);
}

#[tokio::test]
async fn a_job_that_is_asked_for_now_runs_while_the_device_is_in_use() {
    let mut device = device(1);
    device.engine.set_settings([("run_while_in_use".to_owned(), false.into())].into()).unwrap();
    let now = device.engine.ctx.clock.moment();
    device.engine.ctx.rules.handle_readings(
        Readings { ram_available: Some(16 << 30), idle: Some(0.0), ..Readings::default() },
        now,
    );
    let (usual, wanted) = (device.job(1, None, small), device.job(1, None, small));
    fill(&mut device);
    assert!(running(&device).is_empty());
    change(&mut device, wanted, JobAction::RunNow).unwrap();
    fill(&mut device);
    assert_eq!(running(&device), [(wanted.0, 0)]);
    assert!(device.engine.tasks.highest_duty() > Percent::ZERO);
    change(&mut device, wanted, JobAction::Cancel).unwrap();
    assert_eq!(change(&mut device, wanted, JobAction::RunNow).unwrap_err().kind, ErrorKind::Conflict);
    fill(&mut device);
    assert!(running(&device).is_empty() && device.engine.tasks.view().run_now.is_empty());
    assert_eq!(device.engine.ctx.store.job_state(usual).unwrap(), JobState::Queued);
}

#[tokio::test]
async fn a_switched_off_device_starts_nothing() {
    let mut device = device(1);
    device.call(Command::Duty(DutyCommand::SetContributing { on: false })).unwrap();
    let id = device.job(1, None, small);
    fill(&mut device);
    assert!(running(&device).is_empty());
    assert_eq!(
        change(&mut device, id, JobAction::Remove).unwrap_err().kind,
        ErrorKind::Conflict,
        "it has not ended"
    );
    change(&mut device, id, JobAction::Cancel).unwrap();
    change(&mut device, id, JobAction::Remove).unwrap();
    assert!(device.engine.ctx.store.job(id).is_err());
    assert_eq!(change(&mut device, id, JobAction::Cancel).unwrap_err().kind, ErrorKind::NotFound);
}
