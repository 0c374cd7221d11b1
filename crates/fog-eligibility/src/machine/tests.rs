use proptest::prelude::*;

use super::device::STEP_HOLD_MILLIS;
use super::*;
use crate::HOURS_IN_WEEK;
use crate::policy::OFF_CELL;
use crate::reading::{Charger, ThermalPressure};

fn on() -> Policy {
    Policy { contributing: true, has_exclusive_programs: true, ..Policy::default() }
}

fn quiet_desktop() -> Readings {
    Readings {
        battery_present: Some(false),
        cpu_temp: Some(45.0),
        idle: Some(1_000.0),
        inhibited: Some(false),
        fullscreen: Some(false),
        other_cpu: Some(2.0),
        metered: Some(false),
        disk_free: Some(100 << 30),
        ram_available: Some(8 << 30),
        minute_of_week: Some(600),
        ..Readings::default()
    }
}

fn rules(verdict: &Verdict) -> Vec<Rule> {
    verdict.reasons.iter().map(|reason| reason.rule).collect()
}

#[test]
fn an_idle_desktop_works_at_full_duty() {
    let verdict = Eligibility::dry_run(on(), &quiet_desktop(), Moment(100_000));
    assert_eq!(verdict.duty, Percent::FULL);
    assert_eq!(verdict.reasons, []);
    assert_eq!(verdict.profile.as_deref(), Some("Full"));
}

#[test]
fn every_failing_rule_is_named_with_value_limit_and_end() {
    let mut readings = quiet_desktop();
    for (key, value) in [
        ("battery", "35"),
        ("charging", "false"),
        ("charger", "usb"),
        ("battery_temp", "44"),
        ("cpu_temp", "91"),
        ("thermal", "critical"),
        ("idle", "10"),
        ("inhibited", "true"),
        ("fullscreen", "true"),
        ("exclusive", "game"),
        ("other_cpu", "80"),
        ("metered", "true"),
        ("disk_free", "1GB"),
        ("ram_available", "100MiB"),
        ("energy", "55"),
        ("fan_rpm", "4000"),
    ] {
        readings.set(key, value).unwrap();
    }
    let mut policy = Policy {
        stop_when_metered: true,
        energy_max: Some(20.0),
        snoozed_until: Some(Moment(500_000)),
        ..Policy::default()
    };
    policy.profiles[0].fan_rpm_max = Some(2_000);
    let verdict = Eligibility::dry_run(policy.clone(), &readings, Moment(100_000));
    assert_eq!(verdict.duty, Percent::ZERO);
    let mut seen = rules(&verdict);
    seen.extend([Rule::Charger, Rule::Schedule]);
    seen.sort_unstable();
    assert_eq!(
        seen,
        Rule::ALL,
        "every rule but the schedule and the charger, which cannot fail together with the fan and the battery"
    );
    policy.week = [OFF_CELL; 168];
    let verdict = Eligibility::dry_run(policy, &readings, Moment(100_000));
    assert!(rules(&verdict).contains(&Rule::Schedule));
    let level = verdict.reasons.iter().find(|reason| reason.rule == Rule::BatteryLevel).unwrap();
    assert_eq!((&level.now, &level.limit), (&Value::Percent(35.0), &Value::Percent(40.0)));
    assert_eq!(level.resumes, Resume::Above(Value::Percent(60.0)));
}

#[test]
fn the_charge_must_reach_the_upper_threshold_before_work_resumes() {
    let mut machine = Eligibility::new(on());
    let at = |percent: f32| Readings {
        battery_present: Some(true),
        charging: Some(true),
        battery: Some(percent),
        ..quiet_desktop()
    };
    machine.handle_readings(at(39.0), Moment(0));
    assert_eq!(machine.verdict().duty, Percent::ZERO);
    machine.handle_readings(at(59.0), Moment(400_000));
    assert_eq!(machine.verdict().duty, Percent::ZERO);
    machine.handle_readings(at(60.0), Moment(401_000));
    assert_eq!(machine.verdict().duty, Percent::FULL);
}

#[test]
fn heat_slows_in_steps_before_it_stops_and_recovers_in_steps() {
    let mut machine = Eligibility::new(on());
    let mut duty_at = |celsius: f32, millis: u64| {
        machine.handle_readings(Readings { cpu_temp: Some(celsius), ..quiet_desktop() }, Moment(millis));
        machine.verdict().duty.get()
    };
    assert_eq!(duty_at(70.0, 0), 100);
    assert_eq!(duty_at(76.0, 1_000), 75);
    assert_eq!(duty_at(79.5, 2_000), 50);
    assert_eq!(duty_at(83.0, 3_000), 25);
    assert_eq!(duty_at(85.0, 4_000), 0);
    assert_eq!(duty_at(70.0, 40_000), 0, "the hold of 60 s still runs");
    assert_eq!(duty_at(70.0, 64_000), 50, "one step back while it was stopped");
    assert_eq!(duty_at(70.0, 70_000), 75);
    assert_eq!(duty_at(70.0, 99_999), 75);
    assert_eq!(duty_at(70.0, 100_000), 100);
}

#[test]
fn the_systems_judgement_of_heat_slows_in_its_steps() {
    let mut machine = Eligibility::new(on());
    let mut duty_at = |thermal: ThermalPressure, millis: u64| {
        machine.handle_readings(Readings { thermal: Some(thermal), ..quiet_desktop() }, Moment(millis));
        machine.verdict().duty.get()
    };
    use ThermalPressure::{Critical, Fair, Nominal, Serious};
    assert_eq!(
        [Nominal, Fair, Serious, Critical].map(|pressure| duty_at(pressure, pressure as u64)),
        [100, 50, 10, 0]
    );
    assert_eq!(duty_at(Nominal, 30_002), 0, "30 s in each step on the way back");
    assert_eq!([30_003, 60_003, 90_002, 90_003].map(|millis| duty_at(Nominal, millis)), [10, 50, 50, 100]);
}

#[test]
fn a_charger_of_another_kind_is_as_none_and_the_hold_is_the_users() {
    let policy = Policy { weakest_charger: Charger::Usb, hold: 5_000, ..on() };
    let on_charger = |charger| Readings {
        battery_present: Some(true),
        charging: Some(true),
        battery: Some(90.0),
        charger,
        ..quiet_desktop()
    };
    let mut machine = Eligibility::new(policy);
    machine.handle_readings(on_charger(Some(Charger::Usb)), Moment(0));
    assert_eq!(machine.verdict().duty, Percent::FULL);
    machine.handle_readings(on_charger(Some(Charger::Wireless)), Moment(1));
    assert_eq!(rules(machine.verdict()), [Rule::Charger]);
    machine.handle_readings(on_charger(Some(Charger::Mains)), Moment(5_000));
    assert_eq!(machine.verdict().duty, Percent::ZERO);
    machine.handle_readings(on_charger(None), Moment(5_001));
    assert_eq!(machine.verdict().duty, Percent::FULL, "a kind that cannot be told is not held against it");
}

#[test]
fn input_stops_at_once_and_its_end_resumes() {
    let mut machine = Eligibility::new(on());
    machine.handle_readings(quiet_desktop(), Moment(0));
    assert_eq!(machine.verdict().duty, Percent::FULL);
    machine.handle_input(Moment(10));
    assert_eq!(machine.verdict().stopped_by().unwrap().rule, Rule::InUse);
    assert_eq!(machine.poll_timeout().unwrap().0, Moment(60_010));
    machine.handle_readings(Readings { idle: Some(180.0), ..quiet_desktop() }, Moment(180_010));
    assert_eq!(machine.verdict().duty, Percent::FULL);
}

#[test]
fn a_device_whose_input_cannot_be_seen_counts_as_in_use() {
    let blind = Readings { idle: None, ..quiet_desktop() };
    let verdict = Eligibility::dry_run(on(), &blind, Moment(0));
    assert_eq!(verdict.stopped_by().unwrap().now, Value::Unknown);
    let trusting = Policy { unknown_idle: Unknown::Allow, ..on() };
    assert_eq!(Eligibility::dry_run(trusting, &blind, Moment(0)).duty, Percent::FULL);
}

#[test]
fn a_missing_sensor_never_blocks_unless_told_to() {
    let bare = Readings { idle: Some(1_000.0), ..Readings::default() };
    assert_eq!(Eligibility::dry_run(on(), &bare, Moment(0)).duty, Percent::FULL);
    let strict = Policy { unknown_cpu_temp: Unknown::Stop, ..on() };
    assert_eq!(Eligibility::dry_run(strict, &bare, Moment(0)).stopped_by().unwrap().rule, Rule::CpuTemp);
}

#[test]
fn a_battery_that_nobody_answers_for_stops_work_when_it_shall() {
    let silent = Readings { battery_present: None, charging: None, battery: None, ..quiet_desktop() };
    for (unknown, is_working) in [(Unknown::Allow, true), (Unknown::Stop, false)] {
        let mut machine = Eligibility::new(Policy { unknown_battery: unknown, ..on() });
        machine.handle_readings(silent.clone(), Moment(0));
        machine.handle_readings(silent.clone(), Moment(3_600_000));
        assert_eq!(machine.verdict().duty.get() > 0, is_working, "{unknown:?}");
    }
}

#[test]
fn a_load_spike_does_not_stop_but_a_load_does() {
    let mut machine = Eligibility::new(on());
    let mut at = |load: f32, second: u64| {
        machine
            .handle_readings(Readings { other_cpu: Some(load), ..quiet_desktop() }, Moment(second * 1_000));
        machine.verdict().duty.get()
    };
    for second in 0..60 {
        assert_eq!(at(2.0, second), 100);
    }
    assert_eq!(at(100.0, 60), 100, "a spike of one second");
    for second in 61..90 {
        at(2.0, second);
    }
    let stopped = (90..120).find(|second| at(90.0, *second) == 0);
    assert!(stopped.is_some_and(|second| (97..106).contains(&second)), "stopped at {stopped:?}");
}

#[test]
fn the_grid_names_profiles_and_says_when_it_opens() {
    let mut policy = on();
    policy.week[10] = 1;
    let verdict = Eligibility::dry_run(policy.clone(), &quiet_desktop(), Moment(0));
    assert_eq!((verdict.duty.get(), verdict.profile.as_deref()), (40, Some("Quiet")));
    policy.week[10] = OFF_CELL;
    let verdict = Eligibility::dry_run(policy, &quiet_desktop(), Moment(0));
    assert_eq!(verdict.reasons[0].resumes, Resume::At(Moment(3_600_000)));
}

#[test]
fn settings_take_effect_at_once() {
    let mut machine = Eligibility::new(on());
    machine.handle_readings(Readings { cpu_temp: Some(70.0), ..quiet_desktop() }, Moment(0));
    machine.handle_policy(Policy { cpu_temp_stop: 60.0, ..on() }, Moment(1));
    assert_eq!(machine.verdict().stopped_by().unwrap().rule, Rule::CpuTemp);
    machine.handle_policy(on(), Moment(2));
    assert_eq!(machine.verdict().stopped_by(), None);
}

fn any_readings() -> impl Strategy<Value = Readings> {
    let sensors = (
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        proptest::option::of(0.0f32..100.0),
        proptest::option::of(20.0f32..60.0),
        proptest::option::of(40.0f32..100.0),
        proptest::option::of(0.0f32..400.0),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
    );
    let rest = (
        proptest::option::of(0.0f32..100.0),
        any::<Option<bool>>(),
        proptest::option::of(0u64..8_000_000_000),
        proptest::option::of(0u32..5_000),
        proptest::option::of(0u16..10_080),
        0usize..5,
    );
    (sensors, rest).prop_map(|(a, b)| Readings {
        battery_present: a.0,
        charging: a.1,
        battery: a.2,
        battery_temp: a.3,
        cpu_temp: a.4,
        idle: a.5,
        inhibited: a.6,
        fullscreen: a.7,
        other_cpu: b.0,
        exclusive: b.1.map(|on| if on { vec!["game".to_owned()] } else { Vec::new() }),
        disk_free: b.2,
        fan_rpm: b.3,
        minute_of_week: b.4,
        thermal: [
            None,
            Some(ThermalPressure::Nominal),
            Some(ThermalPressure::Fair),
            Some(ThermalPressure::Serious),
            Some(ThermalPressure::Critical),
        ][b.5],
        ..Readings::default()
    })
}

proptest! {
    /// A rule that stopped the device keeps it stopped for its hold, and a rule with an open hold lets it
    /// work for that long, for any trace of readings.
    #[test]
    fn no_rule_flaps_faster_than_its_hold(trace in proptest::collection::vec((any_readings(), 1u64..20_000), 1..200)) {
        let mut machine = Eligibility::new(Policy { week: std::array::from_fn(|i| if i % 3 == 0 { OFF_CELL } else { (i % 2) as u8 }), ..on() });
        let mut now = Moment(0);
        let mut changed: BTreeMap<Rule, (bool, Moment)> = BTreeMap::new();
        let mut has_seen_idle = false;
        for (readings, wait) in trace {
            now = now.plus(wait);
            has_seen_idle |= readings.idle.is_some();
            machine.handle_readings(readings, now);
            let stopped: Vec<Rule> = machine.verdict().reasons.iter().filter(|r| r.effect == Effect::Stops).map(|r| r.rule).collect();
            prop_assert_eq!(stopped.is_empty(), machine.verdict().duty > Percent::ZERO);
            for rule in Rule::ALL {
                let closed = stopped.contains(&rule);
                // The fan rule belongs to a profile and the thermal rule has steps; both are checked below.
                if matches!(rule, Rule::Thermal | Rule::Fan | Rule::BatteryLevel | Rule::BatteryTemp | Rule::OnBattery) {
                    continue;
                }
                // No hold begins before the first idle reading.
                if rule == Rule::InUse && !has_seen_idle {
                    continue;
                }
                match changed.get(&rule).copied() {
                    None => { changed.insert(rule, (closed, now)); }
                    Some((before, since)) if before != closed => {
                        let hold = if before { rule.hold_closed(60_000) } else { rule.hold_open(60_000) };
                        prop_assert!(now.since(since) >= hold, "{:?} changed after {} ms", rule, now.since(since));
                        changed.insert(rule, (closed, now));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    #[test]
    fn battery_rules_hold_while_the_battery_is_there(trace in proptest::collection::vec((any_readings(), 1u64..60_000), 1..200)) {
        let mut machine = Eligibility::new(on());
        let mut now = Moment(0);
        let mut closed_since: BTreeMap<Rule, Moment> = BTreeMap::new();
        for (readings, wait) in trace {
            now = now.plus(wait);
            machine.handle_readings(Readings { battery_present: Some(true), ..readings }, now);
            for rule in [Rule::OnBattery, Rule::BatteryLevel, Rule::BatteryTemp] {
                let closed = machine.verdict().reasons.iter().any(|r| r.rule == rule);
                match (closed, closed_since.get(&rule).copied()) {
                    (true, None) => { closed_since.insert(rule, now); }
                    (false, Some(since)) => {
                        prop_assert!(now.since(since) >= rule.hold_closed(60_000));
                        closed_since.remove(&rule);
                    }
                    _ => {}
                }
            }
        }
    }
}

proptest! {
    /// Heat slows the device at once and the steps fall one at a time, each after its hold; a fan that was
    /// too fast keeps the quiet profile stopped for its hold.
    #[test]
    fn steps_and_fans_hold_whatever_the_trace(trace in proptest::collection::vec((any_readings(), 1u64..60_000), 1..200)) {
        let mut machine = Eligibility::new(Policy { week: [1; HOURS_IN_WEEK], ..on() });
        let (mut now, mut step, mut stepped) = (Moment(0), 0, Moment(0));
        let mut loud_since: Option<Moment> = None;
        for (readings, wait) in trace {
            now = now.plus(wait);
            machine.handle_readings(readings, now);
            let reasons = &machine.verdict().reasons;
            let seen = reasons.iter().find(|r| r.rule == Rule::Thermal).map_or(0, |reason| match reason.effect {
                Effect::Limits(duty) if duty.get() == 50 => 1,
                Effect::Limits(_) => 2,
                _ => 3,
            });
            if seen < step {
                prop_assert!(seen == step - 1 && now.since(stepped) >= STEP_HOLD_MILLIS, "{step} to {seen} after {} ms", now.since(stepped));
            }
            if seen != step {
                (step, stepped) = (seen, now);
            }
            match (reasons.iter().any(|r| r.rule == Rule::Fan), loud_since) {
                (true, None) => loud_since = Some(now),
                (false, Some(since)) => {
                    prop_assert!(now.since(since) >= Rule::Fan.hold_closed(60_000));
                    loud_since = None;
                }
                _ => {}
            }
        }
    }
}

/// The wait for the first input reading ends with that reading, without a hold.
#[test]
fn a_start_holds_nobody_up() {
    let mut machine = Eligibility::new(Policy { unknown_idle: Unknown::Stop, ..on() });
    machine.handle_readings(Readings { idle: None, ..Readings::default() }, Moment(1));
    assert_eq!(machine.verdict().duty, Percent::ZERO);
    machine.handle_readings(Readings { idle: Some(1e6), ..Readings::default() }, Moment(1000));
    assert_eq!(machine.verdict().duty, Percent::FULL);
}

/// A rule that the owner has taken away does not hold on.
#[test]
fn work_goes_on_at_once_when_no_program_is_exclusive_any_more() {
    let mut machine = Eligibility::new(Policy { has_exclusive_programs: true, ..on() });
    let playing = Readings { exclusive: Some(vec!["game".to_owned()]), ..quiet_desktop() };
    machine.handle_readings(playing, Moment(1_000_000));
    let reason = |machine: &Eligibility| {
        machine.verdict().stopped_by().map(|reason| (reason.rule, reason.now.clone()))
    };
    assert_eq!(reason(&machine), Some((Rule::Exclusive, Value::Text("game".to_owned()))));
    // It has ended, and the rule holds for its time: the program is still named.
    machine.handle_readings(Readings { exclusive: Some(Vec::new()), ..quiet_desktop() }, Moment(1_001_000));
    assert_eq!(reason(&machine), Some((Rule::Exclusive, Value::Text("game".to_owned()))));
    machine.handle_policy(Policy { has_exclusive_programs: false, ..on() }, Moment(1_001_100));
    assert_eq!(reason(&machine), None);
}
