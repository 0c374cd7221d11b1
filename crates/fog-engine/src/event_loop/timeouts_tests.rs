//! Tests of when work is due, and why.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_api::{ChatCommand, DutyCommand, GroupChange, JobAction, JobCommand};
use fog_grid::{Capacity, Hello, LeaseId, Message, VERSION, WorkerState};
use fog_types::{JobState, NodeId};

use crate::message::Heard;
use crate::network::NetworkEvent;
use crate::scenario::Town;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

const NODE: NodeId = NodeId([5; 32]);

/// An engine whose work of the start is done.
fn settled() -> TestEngine {
    let mut device = test_engine();
    device.engine.follow_up();
    assert_eq!(device.engine.due, None);
    device
}

/// Handles a message like the loop. Returns the reason why work follows.
fn due_after(device: &mut TestEngine, message: EngineMessage) -> Option<&'static str> {
    device.engine.turn(|engine| engine.handle(message));
    let why = device.engine.due;
    device.engine.follow_up();
    why
}

fn said(message: Message) -> EngineMessage {
    EngineMessage::Net(Box::new(NetworkEvent::Said(NODE, Box::new(Heard::Plain(message)), None)))
}

/// Time until something is due, and the reason.
fn waits(device: &TestEngine) -> (Duration, &'static str) {
    let (at, why) = device.engine.poll_timeout();
    (at.saturating_duration_since(device.engine.ctx.now()), why)
}

#[test]
fn a_heartbeat_makes_nothing_due_and_a_hello_does() {
    let mut device = settled();
    device.meets(NODE);
    let (standing, lease) = (WorkerState::Running, LeaseId([1; 16]));
    let beat = || Message::Heartbeat { lease, standing, units: 7, permille: Some(3) };
    for _ in 0..3 {
        assert_eq!(due_after(&mut device, said(beat())), None);
    }
    let hello = Hello {
        version: VERSION,
        name: "anna".to_owned(),
        lan: true,
        open: false,
        groups: Vec::new(),
        capacity: Capacity::default(),
        has_heard: true,
        clock_ms: 0,
    };
    assert!(due_after(&mut device, said(Message::Hello(hello))).is_some());
}

#[test]
fn news_of_the_sandbox_make_nothing_due_and_a_command_does() {
    let mut device = settled();
    assert_eq!(due_after(&mut device, EngineMessage::SandboxStatus(None)), None);
    let (answer, _answered) = oneshot::channel();
    let command = Command::Duty(DutyCommand::SetContributing { on: true });
    assert_eq!(due_after(&mut device, EngineMessage::Call(Box::new(command), answer)), Some("a command"));
}

/// Rows that somebody relies on make work due, whoever changed them.
#[test]
fn changed_rows_make_work_due_and_progress_does_not() {
    let mut device = settled();
    let id = device.job(2, None, |_| {});
    device.engine.turn(|engine| {
        let now = engine.ctx.clock.unix();
        engine.ctx.store.set_job_state(id, JobState::Paused, "", now).unwrap();
    });
    assert_eq!(device.engine.due, Some("rows changed"));
    device.engine.follow_up();
    device.engine.turn(|engine| engine.ctx.store.set_progress(TaskId { job: id, index: 0 }, 10).unwrap());
    assert_eq!(device.engine.due, None);
    device.engine.turn(|_| {});
    assert_eq!(device.engine.due, None, "nothing was changed");
}

#[test]
fn the_earliest_time_is_named_with_its_reason() {
    let mut device = settled();
    assert_eq!(waits(&device), (Duration::from_secs(10), "periodic work"));
    // A pause ends.
    device.engine.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    device.call(Command::Duty(DutyCommand::Snooze { minutes: 1 })).unwrap();
    device.engine.follow_up();
    device.clock.pass(55_000);
    device.engine.turn(|engine| engine.handle_timeout("periodic work"));
    device.engine.follow_up();
    let (wait, why) = waits(&device);
    assert!(wait <= Duration::from_secs(5) && why == "a reason may end", "{wait:?} {why}");
    // A request of the owner that could not be stored is stored soon.
    let id = device.job(1, None, |_| {});
    device.engine.turn(|_| {});
    device.engine.ctx.store.fail_commits(true);
    let (answer, _answered) = oneshot::channel();
    let pause = Command::Jobs(JobCommand::Change { id, action: JobAction::Pause });
    device.engine.turn(|engine| engine.command(pause, answer));
    let (wait, why) = waits(&device);
    assert!(
        wait <= Duration::from_secs(2) && why == "requests of the owner are stored again",
        "{wait:?} {why}"
    );
    device.engine.ctx.store.fail_commits(false);
    device.clock.pass(2_000);
    device.engine.turn(|engine| engine.handle_timeout(why));
    device.engine.follow_up();
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Paused);
}

#[test]
fn a_job_ends_when_its_deadline_passes_and_not_at_the_next_look() {
    let mut device = settled();
    let id = device.job(1, None, |file| file.deadline_seconds = 4);
    device.engine.set_due("test");
    device.engine.follow_up();
    let (wait, why) = waits(&device);
    assert!(wait <= Duration::from_secs(4) && why == "a deadline passes", "{wait:?} {why}");
    device.clock.pass(3_900);
    device.do_what_is_due();
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Queued);
    device.clock.pass(100);
    device.do_what_is_due();
    assert_eq!(device.engine.ctx.store.job_state(id).unwrap(), JobState::Failed);
}

/// On a full disk a job cannot be ended: its deadline stays due.
#[test]
fn what_stays_due_is_tried_less_and_less() {
    let mut device = settled();
    device.job(1, None, |file| file.deadline_seconds = 4);
    device.engine.set_due("test");
    device.engine.follow_up();
    device.engine.ctx.store.fail_commits(true);
    device.clock.pass(4_000);
    let mut tries = 0;
    for _ in 0..10_000 {
        device.clock.pass(1);
        let (wait, why) = device.engine.next_timeout();
        if wait.is_zero() {
            device.engine.time_out(why);
            tries += 1;
        }
    }
    assert!((8..=20).contains(&tries), "{tries} tries in 10 s");
    device.engine.ctx.store.fail_commits(false);
    device.clock.pass(1_300);
    let (wait, why) = device.engine.next_timeout();
    assert!(wait.is_zero(), "{wait:?}");
    device.engine.time_out(why);
    assert_eq!(device.engine.ctx.store.job_state(JobId(1)).unwrap(), JobState::Failed);
    let (wait, _) = device.engine.next_timeout();
    assert!(wait >= Duration::from_millis(5) && device.engine.overdue == 0, "{wait:?}");
}

#[test]
fn the_reasons_are_counted_in_the_metrics() {
    let mut device = settled();
    device.engine.turn(|engine| engine.handle_timeout("periodic work"));
    device.engine.follow_up();
    let Ok(Reply::Text(text)) = device.call(Command::Metrics) else { panic!("no metrics") };
    assert!(text.contains("fog_turns{reason=\"the start\"} 1\n"), "{text}");
    assert!(text.contains("fog_turns{reason=\"periodic work\"} 1\n"), "{text}");
}

/// An engine whose chat thread has a state that cannot be stored is not kept busy by that.
#[tokio::test]
async fn a_state_of_chat_that_cannot_be_stored_is_tried_every_two_seconds() {
    let mut town = Town::of(1);
    town.join(0, "lan").unwrap();
    town.devices[0].engine.ctx.store.fail_commits(true);
    let create = GroupChange::Create { name: "plans".to_owned(), members: Vec::new() };
    town.ask_and_wait(0, Command::Chat(ChatCommand::Group(create))).await.unwrap_err();
    let tries = |town: &Town| {
        town.devices[0].engine.turns.get("the state of chat is stored again").copied().unwrap_or(0)
    };
    let begun = tries(&town);
    let from = town.devices[0].engine.ctx.now();
    while town.devices[0].engine.ctx.since(from) < Duration::from_secs(20) {
        town.pass(Duration::from_millis(5)).await;
    }
    let tried = tries(&town) - begun;
    assert!((8..=11).contains(&tried), "{tried} tries in 20 s");
}
