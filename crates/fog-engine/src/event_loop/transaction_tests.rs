//! Tests of inputs whose changes cannot be stored: nothing follows from them, and work goes on afterwards.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::{DutyCommand, JobAction, JobCommand, SettingsCommand};
use fog_types::JobState;
use tokio::sync::broadcast::error::TryRecvError;

use crate::test_engine::prelude::*;
use crate::test_engine::{Turned, turned};

/// Carries out a command like the event loop. Returns its answer and the events that followed.
fn ask(turned: &mut Turned, command: Command) -> (Result<Reply, ApiError>, usize) {
    let mut events = turned.core.events.subscribe();
    let (answer, mut answered) = oneshot::channel();
    turned.core.turn(|core| core.command(command, answer));
    let mut count = 0;
    while !matches!(events.try_recv(), Err(TryRecvError::Empty)) {
        count += 1;
    }
    (answered.try_recv().expect("it is not answered"), count)
}

#[test]
fn what_cannot_be_stored_is_not_said() {
    let mut turned = turned();
    let id = turned.job(1, None, |_| {});
    turned.core.turn(|_| {});
    let revision = turned.core.ctx.out.revision();
    turned.core.ctx.store.fail_commits(true);
    let (reply, events) = ask(&mut turned, Command::Jobs(JobCommand::Change { id, action: JobAction::Pause }));
    // The owner's request is in effect, and is said to be unstored.
    assert!(matches!(reply, Ok(Reply::NotStored { .. })), "{reply:?}");
    assert_eq!((events, turned.core.ctx.out.revision()), (0, revision), "events of changes that were undone");
    assert_eq!(turned.core.ctx.store.job_state(id).unwrap(), JobState::Queued);
    assert!(turned.core.ctx.unstored.holds(id));
    let (reply, _) = ask(&mut turned, Command::Duty(DutyCommand::SetContributing { on: true }));
    assert!(matches!(reply, Ok(Reply::NotStored { .. })) && turned.core.ctx.settings.flag("contributing"));
    turned.core.ctx.store.fail_commits(false);
    // The next look stores all of it.
    turned.core.turn(|core| {
        core.ctx.store_wishes_now();
    });
    assert_eq!(turned.core.ctx.store.job_state(id).unwrap(), JobState::Paused);
    assert!(turned.core.ctx.store.settings().unwrap().contains_key("contributing"));
    let (reply, events) = ask(&mut turned, Command::Settings(SettingsCommand::Set { changes: [("cores".to_owned(), 2.into())].into() }));
    assert!(matches!(reply, Ok(Reply::Done)) && events > 0, "{reply:?}");
}

/// A task whose claim or end could not be stored would run, or wait, for ever.
#[tokio::test]
async fn tasks_go_on_from_their_rows_once_those_can_be_changed_again() {
    let mut turned = crate::exchange::unfetched_results_tests::host();
    let (first, second) = (turned.job(1, None, |_| {}), turned.job(1, None, |_| {}));
    turned.core.set_settings([("cores".to_owned(), 1.into())].into()).unwrap();
    turned.core.turn(|core| core.tasks.fill(&mut core.ctx).unwrap());
    let running = |turned: &Turned| turned.core.tasks.view().active.iter().map(|task| task.job).collect::<Vec<_>>();
    assert_eq!(running(&turned), [first]);
    // The end of the first and the claim of the second are lost.
    turned.core.ctx.store.fail_commits(true);
    turned.core.turn(|core| core.tasks.drop_tasks_of(&mut core.ctx, first, "test"));
    turned.core.turn(|core| {
        core.ctx.store.set_job_state(first, JobState::Paused, "", core.ctx.clock.unix()).unwrap();
        core.tasks.fill(&mut core.ctx).unwrap();
    });
    assert_eq!(running(&turned), [second]);
    let claims = turned.core.ctx.store.running_here().unwrap();
    assert_eq!(claims.iter().map(|claim| claim.task.job).collect::<Vec<_>>(), [first], "the rows know nothing of it");
    turned.core.ctx.store.fail_commits(false);
    turned.core.turn(|core| core.ctx.remember_clock());
    assert!(running(&turned).is_empty(), "a worker without a claim goes on");
    assert!(turned.core.ctx.store.running_here().unwrap().is_empty(), "a task without a worker waits for ever");
    assert_eq!(turned.core.ctx.store.job_state(first).unwrap(), JobState::Running);
    turned.core.turn(|core| core.tasks.fill(&mut core.ctx).unwrap());
    assert_eq!(running(&turned).len(), 1, "nothing is started any more");
}

#[test]
fn an_event_of_a_change_that_was_undone_has_no_number() {
    let mut turned = turned();
    let mut events = turned.core.events.subscribe();
    for fail in [true, false] {
        turned.core.ctx.store.fail_commits(fail);
        turned.core.turn(|core| {
            core.ctx.remember_clock();
            core.ctx.announce(fog_api::EventBody::JobRemoved(JobId(7)));
        });
    }
    let first = events.try_recv().unwrap();
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)), "an event of the change that was undone");
    assert_eq!(first.revision, turned.core.ctx.out.revision());
}
