//! Tests of the owner's wishes when nothing can be stored, and of an engine whose folder is gone.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::settings::keys;
use fog_api::{DutyCommand, JobAction, JobCommand, JobQuery, SettingsCommand};
use fog_types::job::GridOptions;
use fog_types::{ErrorKind, JobState};

use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node, test_engine};

fn set(device: &mut TestEngine, key: &str, value: Value) -> Reply {
    device
        .call(Command::Settings(SettingsCommand::Set { changes: [(key.to_owned(), value)].into() }))
        .unwrap()
}

fn change(device: &mut TestEngine, id: JobId, action: JobAction) -> Result<Reply, ApiError> {
    device.call(Command::Jobs(JobCommand::Change { id, action }))
}

fn state(device: &mut TestEngine, id: JobId) -> Option<JobState> {
    let Reply::Jobs(jobs) = device.call(Command::Jobs(JobCommand::List(JobQuery::default()))).unwrap() else {
        panic!("no jobs")
    };
    jobs.iter().find(|job| job.id == id).map(|job| job.state)
}

#[tokio::test]
async fn what_is_asked_for_holds_at_once_and_is_stored_when_that_works() {
    let mut device = test_engine();
    let jobs: Vec<JobId> = (0..4).map(|_| device.job(1, None, |_| {})).collect();
    change(&mut device, jobs[2], JobAction::Cancel).unwrap();
    change(&mut device, jobs[3], JobAction::Pause).unwrap();
    assert_eq!(set(&mut device, "contributing", true.into()), Reply::Done);
    device.engine.ctx.store.refuse_changes(true).unwrap();
    let folder = device.engine.ctx.store.folder().display().to_string();
    let not_stored = |reply: Reply| {
        let Reply::NotStored { message } = reply else { panic!("{reply:?}") };
        assert!(message.contains("as soon as that works") && message.contains(&folder), "{message}");
    };
    not_stored(device.call(Command::Duty(DutyCommand::SetContributing { on: false })).unwrap());
    not_stored(device.call(Command::Duty(DutyCommand::Snooze { minutes: 5 })).unwrap());
    not_stored(change(&mut device, jobs[0], JobAction::Pause).unwrap());
    not_stored(change(&mut device, jobs[1], JobAction::Cancel).unwrap());
    not_stored(change(&mut device, jobs[2], JobAction::Remove).unwrap());
    not_stored(change(&mut device, jobs[3], JobAction::Resume).unwrap());
    // Neither later wishes nor chores undo it.
    not_stored(set(&mut device, "keep_awake", true.into()));
    device.engine.ctx.store_wishes();
    device.engine.chores();
    let states = |device: &mut TestEngine| jobs.iter().map(|id| state(device, *id)).collect::<Vec<_>>();
    let wanted = [Some(JobState::Paused), Some(JobState::Cancelled), None, Some(JobState::Queued)];
    assert_eq!(states(&mut device), wanted);
    assert!(
        !device.engine.ctx.settings.flag(keys::CONTRIBUTING)
            && device.engine.ctx.settings.flag(keys::KEEP_AWAKE)
            && device.engine.duty.snoozed_until().is_some()
    );
    assert!(!device.engine.status().unwrap().unstored.is_empty());
    assert_eq!(
        change(&mut device, jobs[1], JobAction::Resume).unwrap_err().kind,
        ErrorKind::Conflict,
        "it was cancelled"
    );
    assert_eq!(
        change(&mut device, jobs[2], JobAction::Pause).unwrap_err().kind,
        ErrorKind::NotFound,
        "it was removed"
    );
    device.engine.ctx.store.refuse_changes(false).unwrap();
    device.engine.ctx.store_wishes_now();
    assert_eq!(
        (states(&mut device).as_slice(), device.engine.status().unwrap().unstored.as_str()),
        (wanted.as_slice(), "")
    );
    let stored = device.engine.ctx.store.settings().unwrap();
    assert_eq!((&stored["contributing"], &stored["keep_awake"]), (&Value::from(false), &Value::from(true)));
    assert!(stored.contains_key(SNOOZE_KEY));
    let in_store = |id: JobId| device.engine.ctx.store.job_state(id).ok();
    assert_eq!(jobs.iter().map(|id| in_store(*id)).collect::<Vec<_>>(), wanted);
    assert_eq!(set(&mut device, "keep_awake", false.into()), Reply::Done);
}

/// A pause that cannot be stored ends work here and elsewhere, and the task of the ending worker returns to
/// the queue.
#[tokio::test]
async fn a_held_job_is_neither_run_nor_lent() {
    let mut device = test_engine();
    let wish = GridOptions { replicas: 1, ..GridOptions::default() };
    let (own, lent) = (device.job(1, None, |_| {}), device.job(1, Some(wish), |_| {}));
    let (task, elsewhere) = (TaskId { job: own, index: 0 }, TaskId { job: lent, index: 0 });
    device.lend(1, elsewhere, node(1));
    let now = device.engine.ctx.clock.unix();
    let claim = device.engine.ctx.store.claim(task, "test", now).unwrap();
    device.engine.ctx.store.refuse_changes(true).unwrap();
    for id in [own, lent] {
        assert!(matches!(change(&mut device, id, JobAction::Pause), Ok(Reply::NotStored { .. })));
    }
    device.engine.ctx.put_back(claim, "the job was paused", false);
    assert!(!device.engine.exchange.requester().has(elsewhere), "its worker is told to stop");
    device.engine.exchange.sync_requester(&mut device.engine.ctx).unwrap_or(());
    device.engine.exchange.withdraw_held(&mut device.engine.ctx);
    assert!(!device.engine.exchange.requester().has(elsewhere));
    device.engine.ctx.store.refuse_changes(false).unwrap();
    device.engine.ctx.store_wishes_now();
    assert_eq!(device.engine.ctx.store.job_state(own).unwrap(), JobState::Paused);
    change(&mut device, own, JobAction::Resume).unwrap();
    assert!(device.engine.ctx.store.is_ready(task).unwrap(), "it would stand as running for ever");
}

#[cfg(unix)]
#[tokio::test]
async fn an_engine_whose_folder_went_ends_and_says_so() {
    let harms: [fn(&std::path::Path); 3] = [
        |folder| std::fs::rename(folder, folder.with_extension("moved")).unwrap(),
        |folder| std::fs::remove_dir_all(folder).unwrap(),
        |folder| std::fs::remove_file(folder.join("fog.sqlite")).unwrap(),
    ];
    for harm in harms {
        let mut device = test_engine();
        let id = device.job(1, None, |_| {});
        let folder = device.engine.ctx.store.folder().to_owned();
        assert!(device.engine.check_folder());
        harm(&folder);
        let (answer, answered) = oneshot::channel();
        device.engine.handle(EngineMessage::Call(
            Box::new(Command::Jobs(JobCommand::Change { id, action: JobAction::Cancel })),
            answer,
        ));
        let error = answered.await.unwrap().unwrap_err();
        assert!(
            error.kind == ErrorKind::Storage && error.message.contains("no longer what this engine opened"),
            "{error}"
        );
        assert!(device.engine.ctx.is_stopping && device.engine.why_gone().borrow().is_some());
        let had = folder.exists();
        device.engine.shutdown();
        device.engine.save_what_went();
        assert_eq!(folder.exists(), had, "nothing makes it anew");
        let copies = std::fs::read_dir(folder.join("set-aside")).into_iter().flatten().count();
        assert_eq!(copies, usize::from(had), "a database that can be opened by nobody else");
        let _ = std::fs::remove_dir_all(folder.with_extension("moved"));
    }
}
