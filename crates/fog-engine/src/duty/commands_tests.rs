//! Tests of the owner's requests and settings.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::settings::keys;
use fog_api::{DutyCommand, SettingsCommand};
use fog_eligibility::Readings;
use fog_types::ErrorKind;

use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

fn set(device: &mut TestEngine, changes: &[(&str, Value)]) -> Result<Reply, ApiError> {
    let changes = changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    device.call(Command::Settings(SettingsCommand::Set { changes }))
}

fn duty(device: &mut TestEngine, command: DutyCommand) {
    assert_eq!(device.call(Command::Duty(command)).unwrap(), Reply::Done);
}

fn values(device: &TestEngine) -> std::collections::BTreeMap<String, Value> {
    device.engine.ctx.settings.values().clone()
}

/// A device on which every rule allows work.
fn willing() -> TestEngine {
    let mut device = test_engine();
    let on = [
        ("contributing", true.into()),
        ("run_while_in_use", true.into()),
        ("run_on_battery", true.into()),
        ("unknown_idle", "allow".into()),
    ];
    set(&mut device, &on).unwrap();
    let now = device.engine.ctx.clock.moment();
    device.engine.ctx.rules.handle_readings(
        Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() },
        now,
    );
    assert!(
        device.engine.ctx.rules.verdict().duty > Percent::ZERO,
        "{:?}",
        device.engine.ctx.rules.verdict()
    );
    device
}

#[test]
fn of_several_changes_all_or_none_are_made() {
    let mut device = test_engine();
    let before = values(&device);
    for (key, value) in [
        ("no_such_setting", true.into()),
        ("cores", Value::from(-1)),
        ("theme", "purple".into()),
        ("week", "012".into()),
        ("chat", 7.into()),
    ] {
        let refused = set(&mut device, &[("keep_awake", true.into()), (key, value)]).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::BadInput);
        assert!(refused.message.contains(key), "{}", refused.message);
        assert_eq!(values(&device), before, "{key}");
    }
    // Work would stop at 70 % and go on at 50 %.
    let conflict =
        set(&mut device, &[("battery_stop", 70.into()), ("battery_resume", 50.into())]).unwrap_err();
    assert!(conflict.message.ends_with("Nothing was changed"), "{}", conflict.message);
    assert_eq!(values(&device), before);
    set(&mut device, &[("battery_stop", 30.into()), ("battery_resume", 50.into())]).unwrap();
    set(&mut device, &[("battery_stop", Value::Null)]).unwrap();
    assert_eq!(values(&device)["battery_stop"], before["battery_stop"], "null restores the default");
}

#[test]
fn a_reset_restores_everything_but_the_first_run() {
    let mut device = test_engine();
    set(
        &mut device,
        &[("first_run_done", true.into()), ("cores", 3.into()), ("device_name", "attic".into())],
    )
    .unwrap();
    assert_eq!(device.call(Command::Settings(SettingsCommand::Reset)).unwrap(), Reply::Done);
    let now = values(&device);
    assert_eq!(
        (&now["first_run_done"], &now["cores"], &now["device_name"]),
        (&true.into(), &0.0.into(), &"".into())
    );
    assert_eq!(
        device
            .engine
            .ctx
            .store
            .settings()
            .unwrap()
            .keys()
            .filter(|key| !key.starts_with('_'))
            .collect::<Vec<_>>(),
        ["first_run_done"]
    );
}

#[test]
fn a_pause_ends_by_its_time_or_by_switching_on() {
    let mut device = willing();
    duty(&mut device, DutyCommand::Snooze { minutes: 30 });
    assert_eq!(device.engine.ctx.rules.verdict().duty, Percent::ZERO);
    assert!(device.engine.status().unwrap().snoozed_until_ms.is_some());
    // The calendar is set; the pause is as long as it was.
    device.clock.set(86_400_000);
    device.engine.follow_clock();
    device.clock.pass(29 * 60_000);
    device.engine.last_chores = None;
    device.engine.duty.handle_timeout(&mut device.engine.ctx);
    assert_eq!(device.engine.ctx.rules.verdict().duty, Percent::ZERO, "it ends early");
    device.clock.pass(61_000);
    device.engine.duty.handle_timeout(&mut device.engine.ctx);
    assert!(
        device.engine.ctx.rules.verdict().duty > Percent::ZERO,
        "it does not end: {:?}",
        device.engine.ctx.rules.verdict()
    );
    duty(&mut device, DutyCommand::Snooze { minutes: 30 });
    duty(&mut device, DutyCommand::SetContributing { on: true });
    assert!(
        device.engine.duty.snoozed_until().is_none()
            && device.engine.ctx.rules.verdict().duty > Percent::ZERO
    );
    duty(&mut device, DutyCommand::Snooze { minutes: 30 });
    duty(&mut device, DutyCommand::Snooze { minutes: 0 });
    assert!(device.engine.ctx.rules.verdict().duty > Percent::ZERO);
}

#[test]
fn a_pause_and_finishing_outlive_a_restart() {
    let mut device = willing();
    duty(&mut device, DutyCommand::Snooze { minutes: 30 });
    duty(&mut device, DutyCommand::FinishThenStop);
    let device = device.restarted();
    assert!(
        device.engine.duty.snoozed_until().is_some()
            && device.engine.ctx.finishing
            && device.engine.ctx.settings.flag(keys::CONTRIBUTING)
    );
}

#[tokio::test]
async fn finishing_without_tasks_switches_off_at_once_and_can_be_taken_back() {
    let mut device = willing();
    duty(&mut device, DutyCommand::FinishThenStop);
    duty(&mut device, DutyCommand::SetContributing { on: true });
    assert!(!device.engine.ctx.finishing);
    device.engine.turn(Engine::after_change);
    assert!(device.engine.ctx.settings.flag(keys::CONTRIBUTING));
    duty(&mut device, DutyCommand::FinishThenStop);
    device.engine.turn(Engine::after_change);
    assert!(!device.engine.ctx.settings.flag(keys::CONTRIBUTING) && !device.engine.ctx.finishing);
    // A device that does not contribute has nothing to finish.
    duty(&mut device, DutyCommand::FinishThenStop);
    assert!(!device.engine.ctx.finishing);
}

#[test]
fn asking_why_with_other_readings_changes_nothing() {
    let mut device = willing();
    let before = device.engine.ctx.rules.verdict().duty;
    let why = |device: &mut TestEngine, with: &[(&str, &str)]| {
        let with = with.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        device.call(Command::Duty(DutyCommand::Why { with }))
    };
    let Ok(Reply::Verdict(verdict)) = why(&mut device, &[("cpu_temp", "99")]) else { panic!("no verdict") };
    assert_eq!(verdict.duty, 0, "{verdict:?}");
    assert_eq!(device.engine.ctx.rules.verdict().duty, before);
    let Ok(Reply::Verdict(real)) = why(&mut device, &[]) else { panic!("no verdict") };
    assert_eq!(real.duty, before.get());
    assert_eq!(why(&mut device, &[("no_such_reading", "1")]).unwrap_err().kind, ErrorKind::BadInput);
}
