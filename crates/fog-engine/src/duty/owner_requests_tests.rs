//! Tests of the owner's wishes when nothing can be stored, and of an engine whose folder is gone.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::{DutyCommand, JobAction, JobCommand, JobQuery, SettingsCommand};
use fog_types::job::GridOptions;
use fog_types::{ErrorKind, JobState};

use crate::test_engine::prelude::*;
use crate::test_engine::{Turned, node, turned};

fn set(turned: &mut Turned, key: &str, value: Value) -> Reply {
    turned.call(Command::Settings(SettingsCommand::Set { changes: [(key.to_owned(), value)].into() })).unwrap()
}

fn change(turned: &mut Turned, id: JobId, action: JobAction) -> Result<Reply, ApiError> {
    turned.call(Command::Jobs(JobCommand::Change { id, action }))
}

fn state(turned: &mut Turned, id: JobId) -> Option<JobState> {
    let Reply::Jobs(jobs) = turned.call(Command::Jobs(JobCommand::List(JobQuery::default()))).unwrap() else { panic!("no jobs") };
    jobs.iter().find(|job| job.id == id).map(|job| job.state)
}

#[tokio::test]
async fn what_is_asked_for_holds_at_once_and_is_stored_when_that_works() {
    let mut turned = turned();
    let jobs: Vec<JobId> = (0..4).map(|_| turned.job(1, None, |_| {})).collect();
    change(&mut turned, jobs[2], JobAction::Cancel).unwrap();
    change(&mut turned, jobs[3], JobAction::Pause).unwrap();
    assert_eq!(set(&mut turned, "contributing", true.into()), Reply::Done);
    turned.core.ctx.store.refuse_changes(true).unwrap();
    let folder = turned.core.ctx.store.folder().display().to_string();
    let not_stored = |reply: Reply| {
        let Reply::NotStored { message } = reply else { panic!("{reply:?}") };
        assert!(message.contains("as soon as that works") && message.contains(&folder), "{message}");
    };
    not_stored(turned.call(Command::Duty(DutyCommand::SetContributing { on: false })).unwrap());
    not_stored(turned.call(Command::Duty(DutyCommand::Snooze { minutes: 5 })).unwrap());
    not_stored(change(&mut turned, jobs[0], JobAction::Pause).unwrap());
    not_stored(change(&mut turned, jobs[1], JobAction::Cancel).unwrap());
    not_stored(change(&mut turned, jobs[2], JobAction::Remove).unwrap());
    not_stored(change(&mut turned, jobs[3], JobAction::Resume).unwrap());
    // Neither later wishes nor chores undo it.
    not_stored(set(&mut turned, "keep_awake", true.into()));
    turned.core.ctx.store_wishes();
    turned.core.chores();
    let states = |turned: &mut Turned| jobs.iter().map(|id| state(turned, *id)).collect::<Vec<_>>();
    let wanted = [Some(JobState::Paused), Some(JobState::Cancelled), None, Some(JobState::Queued)];
    assert_eq!(states(&mut turned), wanted);
    assert!(!turned.core.ctx.settings.flag("contributing") && turned.core.ctx.settings.flag("keep_awake") && turned.core.duty.snoozed_until().is_some());
    assert!(!turned.core.status().unwrap().unstored.is_empty());
    assert_eq!(change(&mut turned, jobs[1], JobAction::Resume).unwrap_err().kind, ErrorKind::Conflict, "it was cancelled");
    assert_eq!(change(&mut turned, jobs[2], JobAction::Pause).unwrap_err().kind, ErrorKind::NotFound, "it was removed");
    turned.core.ctx.store.refuse_changes(false).unwrap();
    turned.core.ctx.store_wishes_now();
    assert_eq!((states(&mut turned).as_slice(), turned.core.status().unwrap().unstored.as_str()), (wanted.as_slice(), ""));
    let stored = turned.core.ctx.store.settings().unwrap();
    assert_eq!((&stored["contributing"], &stored["keep_awake"]), (&Value::from(false), &Value::from(true)));
    assert!(stored.contains_key(SNOOZE_KEY));
    let in_store = |id: JobId| turned.core.ctx.store.job_state(id).ok();
    assert_eq!(jobs.iter().map(|id| in_store(*id)).collect::<Vec<_>>(), wanted);
    assert_eq!(set(&mut turned, "keep_awake", false.into()), Reply::Done);
}

/// A pause that cannot be stored ends work here and elsewhere, and the task of the ending worker returns to
/// the queue.
#[tokio::test]
async fn a_held_job_is_neither_run_nor_lent() {
    let mut turned = turned();
    let wish = GridOptions { replicas: 1, ..GridOptions::default() };
    let (own, lent) = (turned.job(1, None, |_| {}), turned.job(1, Some(wish), |_| {}));
    let (task, elsewhere) = (TaskId { job: own, index: 0 }, TaskId { job: lent, index: 0 });
    turned.lend(1, elsewhere, node(1));
    let now = turned.core.ctx.clock.unix();
    let claim = turned.core.ctx.store.claim(task, "test", now).unwrap();
    turned.core.ctx.store.refuse_changes(true).unwrap();
    for id in [own, lent] {
        assert!(matches!(change(&mut turned, id, JobAction::Pause), Ok(Reply::NotStored { .. })));
    }
    turned.core.ctx.put_back(claim, "the job was paused", false);
    assert!(!turned.core.exchange.requester().has(elsewhere), "its worker is told to stop");
    turned.core.exchange.sync_requester(&mut turned.core.ctx).unwrap_or(());
    turned.core.exchange.withdraw_held(&mut turned.core.ctx);
    assert!(!turned.core.exchange.requester().has(elsewhere));
    turned.core.ctx.store.refuse_changes(false).unwrap();
    turned.core.ctx.store_wishes_now();
    assert_eq!(turned.core.ctx.store.job_state(own).unwrap(), JobState::Paused);
    change(&mut turned, own, JobAction::Resume).unwrap();
    assert!(turned.core.ctx.store.is_ready(task).unwrap(), "it would stand as running for ever");
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
        let mut turned = turned();
        let id = turned.job(1, None, |_| {});
        let folder = turned.core.ctx.store.folder().to_owned();
        assert!(turned.core.check_folder());
        harm(&folder);
        let (answer, answered) = oneshot::channel();
        turned.core.handle(EngineMessage::Call(Box::new(Command::Jobs(JobCommand::Change { id, action: JobAction::Cancel })), answer));
        let error = answered.await.unwrap().unwrap_err();
        assert!(error.kind == ErrorKind::Storage && error.message.contains("no longer what this engine opened"), "{error}");
        assert!(turned.core.ctx.is_stopping && turned.core.why_gone().borrow().is_some());
        let had = folder.exists();
        turned.core.shutdown();
        turned.core.save_what_went();
        assert_eq!(folder.exists(), had, "nothing makes it anew");
        let copies = std::fs::read_dir(folder.join("set-aside")).into_iter().flatten().count();
        assert_eq!(copies, usize::from(had), "a database that can be opened by nobody else");
        let _ = std::fs::remove_dir_all(folder.with_extension("moved"));
    }
}
