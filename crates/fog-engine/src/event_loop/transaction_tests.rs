//! Tests of inputs whose changes cannot be stored: nothing follows from them, and work goes on afterwards.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::settings::keys;
use fog_api::{DutyCommand, JobAction, JobCommand, NetworkCommand, SettingsCommand};
use fog_types::JobState;
use tokio::sync::broadcast::error::TryRecvError;

use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

/// Carries out a command like the event loop. Returns its answer and the events that followed.
fn ask(device: &mut TestEngine, command: Command) -> (Result<Reply, ApiError>, usize) {
    let mut events = device.engine.events.subscribe();
    let (answer, mut answered) = oneshot::channel();
    device.engine.turn(|engine| engine.command(command, answer));
    let mut count = 0;
    while !matches!(events.try_recv(), Err(TryRecvError::Empty)) {
        count += 1;
    }
    (answered.try_recv().expect("it is not answered"), count)
}

#[test]
fn what_cannot_be_stored_is_not_said() {
    let mut device = test_engine();
    let id = device.job(1, None, |_| {});
    device.engine.turn(|_| {});
    let revision = device.engine.ctx.out.revision();
    device.engine.ctx.store.fail_commits(true);
    let (reply, events) =
        ask(&mut device, Command::Jobs(JobCommand::Change { id, action: JobAction::Pause }));
    // The owner's request is in effect, and is said to be unstored.
    assert!(matches!(reply, Ok(Reply::NotStored { .. })), "{reply:?}");
    assert_eq!(
        (events, device.engine.ctx.out.revision()),
        (0, revision),
        "events of changes that were undone"
    );
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Queued);
    assert!(device.engine.ctx.unstored.holds(id));
    let (reply, _) = ask(&mut device, Command::Duty(DutyCommand::SetContributing { on: true }));
    assert!(
        matches!(reply, Ok(Reply::NotStored { .. })) && device.engine.ctx.settings.flag(keys::CONTRIBUTING)
    );
    device.engine.ctx.store.fail_commits(false);
    // The next look stores all of it.
    device.engine.turn(|engine| {
        engine.ctx.store_wishes_now();
    });
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Paused);
    assert!(device.engine.ctx.store.settings().unwrap().contains_key("contributing"));
    let (reply, events) = ask(
        &mut device,
        Command::Settings(SettingsCommand::Set { changes: [("cores".to_owned(), 2.into())].into() }),
    );
    assert!(matches!(reply, Ok(Reply::Done)) && events > 0, "{reply:?}");
}

/// A network that could not be stored would be forgotten at the next start, after others were invited.
#[tokio::test]
async fn a_network_that_cannot_be_stored_is_not_joined() {
    let mut device = test_engine();
    device.engine.ctx.in_memory = Some(fog_transport::memory::MemoryNetwork::default());
    let network = |device: &mut TestEngine, command| ask(device, Command::Network(command)).0;
    network(&mut device, NetworkCommand::Join { what: "lan".to_owned() }).unwrap();
    device.engine.ctx.store.fail_commits(true);
    assert!(network(&mut device, NetworkCommand::Join { what: "open".to_owned() }).is_err());
    let (answer, mut invited) = oneshot::channel();
    device.engine.turn(|engine| {
        engine.command(Command::Network(NetworkCommand::Invite { group: Some("family".to_owned()) }), answer)
    });
    assert!(invited.try_recv().unwrap().is_err(), "people are invited into a group that is forgotten");
    let joined = |device: &TestEngine| {
        device.engine.network_view().joined.into_iter().map(|joined| joined.name).collect::<Vec<_>>()
    };
    assert_eq!(joined(&device), ["lan"]);
    // Leaving holds.
    assert!(network(&mut device, NetworkCommand::Leave { name: None }).is_ok());
    assert!(joined(&device).is_empty());
    device.engine.ctx.store.fail_commits(false);
    device.engine.turn(|engine| engine.ctx.store_wishes_now());
    assert!(device.engine.ctx.store.networks().unwrap().is_empty());
}

/// A task whose claim or end could not be stored would run, or wait, for ever.
#[tokio::test]
async fn tasks_go_on_from_their_rows_once_those_can_be_changed_again() {
    let mut device = crate::exchange::unfetched_results_tests::host();
    let (first, second) = (device.job(1, None, |_| {}), device.job(1, None, |_| {}));
    device.engine.set_settings([("cores".to_owned(), 1.into())].into()).unwrap();
    device.engine.turn(|engine| engine.tasks.fill(&mut engine.ctx).unwrap());
    let running = |device: &TestEngine| {
        device.engine.tasks.view().active.iter().map(|task| task.job).collect::<Vec<_>>()
    };
    assert_eq!(running(&device), [first]);
    // The end of the first and the claim of the second are lost.
    device.engine.ctx.store.fail_commits(true);
    device.engine.turn(|engine| engine.tasks.drop_tasks_of(&mut engine.ctx, first, "test"));
    device.engine.turn(|engine| {
        engine.ctx.store.set_job_state(first, JobState::Paused, "", engine.ctx.clock.unix()).unwrap();
        engine.tasks.fill(&mut engine.ctx).unwrap();
    });
    assert_eq!(running(&device), [second]);
    let claims = device.engine.ctx.store.running_here().unwrap();
    assert_eq!(
        claims.iter().map(|claim| claim.task.job).collect::<Vec<_>>(),
        [first],
        "the rows know nothing of it"
    );
    device.engine.ctx.store.fail_commits(false);
    device.engine.turn(|engine| engine.ctx.remember_clock());
    assert!(running(&device).is_empty(), "a worker without a claim goes on");
    assert!(
        device.engine.ctx.store.running_here().unwrap().is_empty(),
        "a task without a worker waits for ever"
    );
    assert_eq!(device.engine.ctx.store.job_state(first).unwrap(), JobState::Running);
    device.engine.turn(|engine| engine.tasks.fill(&mut engine.ctx).unwrap());
    assert_eq!(running(&device).len(), 1, "nothing is started any more");
}

#[test]
fn an_event_of_a_change_that_was_undone_has_no_number() {
    let mut device = test_engine();
    let mut events = device.engine.events.subscribe();
    for fail in [true, false] {
        device.engine.ctx.store.fail_commits(fail);
        device.engine.turn(|engine| {
            engine.ctx.remember_clock();
            engine.ctx.announce(fog_api::EventBody::JobRemoved(JobId(7)));
        });
    }
    let first = events.try_recv().unwrap();
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)), "an event of the change that was undone");
    assert_eq!(first.revision, device.engine.ctx.out.revision());
}
