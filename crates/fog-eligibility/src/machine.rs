use std::collections::{BTreeMap, VecDeque};

use fog_types::Percent;

use crate::gate::{Gate, Standing, Stepper};
use crate::policy::{OFF_CELL, Policy, Profile, Unknown};
use crate::reading::{Moment, Readings, ThermalPressure};
use crate::rules::Rule;
use crate::verdict::{Effect, Reason, Resume, Value, Verdict, duty_of};

/// Span over which the load of other programs is averaged, milliseconds.
const LOAD_WINDOW_MILLIS: u64 = 30_000;
/// Shortest history that counts as an average, so that a spike at the start stops nothing.
const LOAD_MIN_MILLIS: u64 = 5_000;
/// Time between two steps back towards full duty, milliseconds.
const STEP_HOLD_MILLIS: u64 = 30_000;
/// Duty at each level of warmth; level 0 is cool.
const WARM_DUTY: [u8; 4] = [100, 75, 50, 25];
/// Degrees below the limit at which levels 1, 2 and 3 begin.
const WARM_BELOW: [f32; 3] = [9.0, 6.0, 3.0];
/// Degrees a reading must fall below a level before the level is left.
const WARM_GAP: f32 = 2.0;

/// The rules with their state: takes readings, gives the verdict.
#[derive(Debug, Clone)]
pub struct Eligibility {
    policy: Policy,
    gates: BTreeMap<Rule, Gate>,
    warmth: Stepper,
    pressure: Stepper,
    load: VecDeque<(Moment, f32)>,
    last: Readings,
    now: Moment,
    verdict: Verdict,
}

impl Eligibility {
    /// Creates a machine without readings; its verdict is "stop" until the first ones.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let verdict = Verdict {
            duty: Percent::ZERO,
            finishing: false,
            profile: None,
            in_use: true,
            reasons: Vec::new(),
        };
        Self {
            policy,
            gates: BTreeMap::new(),
            warmth: Stepper::default(),
            pressure: Stepper::default(),
            load: VecDeque::new(),
            last: Readings::default(),
            now: Moment::default(),
            verdict,
        }
    }

    /// Returns the verdict on `readings` without any history, as `fog why --with` shows it.
    #[must_use]
    pub fn dry_run(policy: Policy, readings: &Readings, now: Moment) -> Verdict {
        let mut machine = Self::new(policy);
        machine
            .load
            .push_back((Moment(now.0.saturating_sub(LOAD_WINDOW_MILLIS)), readings.other_cpu.unwrap_or(0.0)));
        machine.handle_readings(readings.clone(), now);
        machine.verdict
    }

    /// Takes filtered readings and decides again. Time must not go backwards.
    pub fn handle_readings(&mut self, readings: Readings, now: Moment) {
        if let Some(load) = readings.other_cpu {
            self.load.push_back((now, load));
        }
        while self.load.len() > 2
            && self.load.get(1).is_some_and(|(at, _)| now.since(*at) >= LOAD_WINDOW_MILLIS)
        {
            self.load.pop_front();
        }
        if self.load.len() > 4096 {
            self.load.pop_front();
        }
        self.last = readings;
        self.decide(now);
    }

    /// Takes input that was seen at `now`, without waiting for the next sample.
    pub fn handle_input(&mut self, now: Moment) {
        self.last.idle = Some(0.0);
        self.decide(now);
    }

    /// Takes new settings, which apply at once. Unless only switches changed, all rules decide afresh.
    pub fn handle_policy(&mut self, policy: Policy, now: Moment) {
        if policy != self.policy {
            let switch_only = Policy {
                contributing: self.policy.contributing,
                snoozed_until: self.policy.snoozed_until,
                finishing: self.policy.finishing,
                ..policy.clone()
            } == self.policy;
            self.policy = policy;
            if !switch_only {
                self.gates.values_mut().for_each(Gate::reset);
            }
        }
        self.decide(now);
    }

    /// Decides again because time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.decide(now);
    }

    /// Earliest time at which [`handle_timeout`](Self::handle_timeout) could change the verdict, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        self.verdict
            .reasons
            .iter()
            .flat_map(|reason| {
                let at = if let Resume::At(moment) = reason.resumes { Some(moment) } else { None };
                [at, reason.held_until].into_iter().flatten()
            })
            .filter(|at| *at > self.now)
            .min()
            .map(|at| (at, "a reason may end"))
    }

    /// The verdict on the newest readings.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The newest readings.
    #[must_use]
    pub fn readings(&self) -> &Readings {
        &self.last
    }

    /// The settings in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn decide(&mut self, now: Moment) {
        self.now = now;
        let mut reasons = Vec::new();
        self.by_hand(now, &mut reasons);
        self.power(now, &mut reasons);
        self.heat(now, &mut reasons);
        let in_use = self.people(now, &mut reasons);
        self.machine_load(now, &mut reasons);
        let profile = self.schedule(now, in_use, &mut reasons);
        reasons.sort_by_key(|reason| (reason.effect != Effect::Stops, reason.rule));
        let duty = duty_of(&reasons);
        self.verdict = Verdict { duty, finishing: self.policy.finishing, profile, in_use, reasons };
    }

    fn by_hand(&mut self, now: Moment, out: &mut Vec<Reason>) {
        if !self.policy.contributing {
            out.push(stop(Rule::Off, Value::Nothing, Value::Nothing, Resume::UserActs));
        }
        if let Some(until) = self.policy.snoozed_until.filter(|until| *until > now) {
            out.push(stop(Rule::Snoozed, Value::Nothing, Value::Nothing, Resume::At(until)));
        }
    }

    fn power(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let p = &self.policy;
        if self.last.battery_present == Some(false) {
            return;
        }
        // Policy for an unknown battery; only `battery_present == Some(false)` says that there is none.
        let missing = p.unknown_battery;
        let (charging, charge, warmth) = (self.last.charging, self.last.battery, self.last.battery_temp);
        let (low, high, hot) = (p.battery_stop, p.battery_resume.max(p.battery_stop), p.battery_temp_stop);
        let (charger, weakest) = (self.last.charger.filter(|_| charging == Some(true)), p.weakest_charger);
        if !p.run_on_battery {
            let standing = flag(charging.map(|c| !c), missing);
            self.gate(
                Rule::OnBattery,
                standing,
                now,
                out,
                Value::Flag(charging == Some(false)),
                Value::Flag(false),
                Resume::UserActs,
            );
        }
        let standing = flag(charger.map(|kind| kind > weakest), Unknown::Allow);
        self.gate(
            Rule::Charger,
            standing,
            now,
            out,
            charger.map_or(Value::Unknown, Value::Charger),
            Value::Charger(weakest),
            Resume::UserActs,
        );
        let standing = range(charge, missing, |c| c < low, |c| c >= high);
        self.gate(
            Rule::BatteryLevel,
            standing,
            now,
            out,
            charge.map_or(Value::Unknown, Value::Percent),
            Value::Percent(low),
            Resume::Above(Value::Percent(high)),
        );
        // Few systems report it, so a missing battery temperature never stops anything.
        let standing = range(warmth, Unknown::Allow, |t| t > hot, |t| t <= hot - 3.0);
        self.gate(
            Rule::BatteryTemp,
            standing,
            now,
            out,
            celsius(warmth),
            Value::Celsius(hot),
            Resume::Below(Value::Celsius(hot - 3.0)),
        );
    }

    fn heat(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let limit = self.policy.cpu_temp_stop;
        let temp = self.last.cpu_temp;
        let standing = range(temp, self.policy.unknown_cpu_temp, |t| t >= limit, |t| t <= limit - 10.0);
        let open = self.gate(
            Rule::CpuTemp,
            standing,
            now,
            out,
            celsius(temp),
            Value::Celsius(limit),
            Resume::Below(Value::Celsius(limit - 10.0)),
        );
        let level =
            |t: Option<f32>| t.map_or(0, |t| WARM_BELOW.iter().filter(|below| t >= limit - **below).count());
        let step = self.warmth.update(level(temp), level(temp.map(|t| t + WARM_GAP)), now, STEP_HOLD_MILLIS);
        if open && step > 0 {
            out.push(limit_to(
                Rule::CpuTemp,
                WARM_DUTY[step],
                celsius(temp),
                Value::Celsius(limit),
                Resume::Below(Value::Celsius(limit - WARM_BELOW[0] - WARM_GAP)),
            ));
        }

        let pressure = self.last.thermal.unwrap_or(ThermalPressure::Nominal);
        let step = self.pressure.update(pressure as usize, pressure as usize, now, STEP_HOLD_MILLIS);
        let (now_value, goal) = (Value::Pressure(pressure), Value::Pressure(ThermalPressure::Nominal));
        match step {
            0 => {}
            1 => out.push(limit_to(Rule::Thermal, 50, now_value, goal.clone(), Resume::Below(goal))),
            2 => out.push(limit_to(Rule::Thermal, 10, now_value, goal.clone(), Resume::Below(goal))),
            _ => out.push(stop(Rule::Thermal, now_value, goal.clone(), Resume::Below(goal))),
        }
    }

    /// Returns whether somebody is using the device.
    fn people(&mut self, now: Moment, out: &mut Vec<Reason>) -> bool {
        let (idle, after) = (self.last.idle, self.policy.idle_after_seconds);
        let standing = range(idle, self.policy.unknown_idle, |i| i < after, |i| i >= after);
        let hold = Rule::InUse.hold_closed(self.policy.hold).min((after * 1000.0) as u64);
        let allowed = self.policy.run_while_in_use;
        let gate = self.gates.entry(Rule::InUse).or_default();
        // Without any idle reading so far nobody has been seen, so no hold begins.
        let free = if idle.is_none() && gate.is_new() {
            standing != Standing::Stop
        } else {
            gate.update(standing, now, hold, Rule::InUse.hold_open(self.policy.hold))
        };
        let held_until = gate.held_until(hold);
        if !free && !allowed {
            // Estimate of the end, assuming that no further input comes.
            let left = idle.map_or(after, |idle| (after - idle).max(0.0));
            let quiet_at = now.plus((left * 1000.0) as u64);
            let resumes = if idle.is_some() {
                Resume::At(held_until.map_or(quiet_at, |held| held.max(quiet_at)))
            } else {
                Resume::UserActs
            };
            out.push(Reason {
                held_until,
                ..stop(
                    Rule::InUse,
                    idle.map_or(Value::Unknown, Value::Seconds),
                    Value::Seconds(after),
                    resumes,
                )
            });
        }
        if self.policy.respect_media {
            let (inhibited, fullscreen) = (self.last.inhibited, self.last.fullscreen);
            for (rule, reading) in [(Rule::Inhibited, inhibited), (Rule::Fullscreen, fullscreen)] {
                self.gate(
                    rule,
                    flag(reading, Unknown::Allow),
                    now,
                    out,
                    Value::Flag(true),
                    Value::Flag(false),
                    Resume::ConditionEnds,
                );
            }
        }
        let running = self.last.exclusive.clone();
        let standing = flag(running.as_ref().map(|list| !list.is_empty()), Unknown::Allow);
        let names = running.unwrap_or_default().join(", ");
        self.gate(
            Rule::Exclusive,
            standing,
            now,
            out,
            Value::Text(names),
            Value::Nothing,
            Resume::ConditionEnds,
        );
        !free
    }

    fn machine_load(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let p = self.policy.clone();
        let load = self.average_load(now);
        let (stop_at, low) = (p.other_cpu_stop, (p.other_cpu_stop - 5.0).max(0.0));
        let standing = range(load, Unknown::Allow, |l| l > stop_at, |l| l <= low);
        self.gate(
            Rule::OtherCpu,
            standing,
            now,
            out,
            load.map_or(Value::Unknown, Value::Percent),
            Value::Percent(stop_at),
            Resume::Below(Value::Percent(low)),
        );
        if p.stop_when_metered {
            let standing = flag(self.last.metered, Unknown::Allow);
            self.gate(
                Rule::Metered,
                standing,
                now,
                out,
                Value::Flag(true),
                Value::Flag(false),
                Resume::ConditionEnds,
            );
        }
        for (rule, free, min, back) in [
            (Rule::DiskFree, self.last.disk_free, p.disk_free_min, p.disk_free_min / 10 * 11),
            (Rule::RamAvailable, self.last.ram_available, p.ram_available_min, p.ram_available_min / 2 * 3),
        ] {
            let standing = range(free, Unknown::Allow, |f| f < min, |f| f >= back);
            self.gate(
                rule,
                standing,
                now,
                out,
                free.map_or(Value::Unknown, Value::Bytes),
                Value::Bytes(min),
                Resume::Above(Value::Bytes(back)),
            );
        }
        if let Some(max) = p.energy_max {
            let energy = self.last.energy;
            let back = max - max.abs() * 0.05;
            let standing = range(energy, p.unknown_energy, |e| e > max, |e| e <= back);
            self.gate(
                Rule::Energy,
                standing,
                now,
                out,
                energy.map_or(Value::Unknown, Value::Energy),
                Value::Energy(max),
                Resume::Below(Value::Energy(back)),
            );
        }
    }

    /// Returns the name of the profile in force.
    fn schedule(&mut self, now: Moment, in_use: bool, out: &mut Vec<Reason>) -> Option<String> {
        let minute = self.last.minute_of_week;
        let hour = minute.map_or(0, |m| usize::from(m) / 60 % self.policy.week.len());
        let cell = self.policy.week[hour];
        let switch =
            minute.and_then(|minute| self.policy.minutes_until_switch(minute, self.last.zone_change));
        let next_change = switch.map(|minutes| now.plus(u64::from(minutes) * 60_000));
        let resumes = next_change.map_or(Resume::UserActs, Resume::At);
        let off = minute.map(|_| cell == OFF_CELL);
        self.gate(
            Rule::Schedule,
            flag(off, Unknown::Allow),
            now,
            out,
            Value::Nothing,
            Value::Nothing,
            resumes.clone(),
        );
        if cell == OFF_CELL {
            return None;
        }
        let profile: Profile =
            self.policy.profiles.get(usize::from(cell)).or(self.policy.profiles.first())?.clone();
        let cap =
            if in_use && self.policy.run_while_in_use { profile.duty_in_use } else { profile.duty_idle };
        if cap < Percent::FULL {
            out.push(limit_to(
                Rule::Schedule,
                cap.get(),
                Value::Text(profile.name.clone()),
                Value::Percent(f32::from(cap.get())),
                Resume::UserActs,
            ));
        }
        if let Some(max) = profile.fan_rpm_max {
            let rpm = self.last.fan_rpm;
            let standing = range(rpm, Unknown::Allow, |r| r > max, |r| r <= max / 10 * 9);
            self.gate(
                Rule::Fan,
                standing,
                now,
                out,
                rpm.map_or(Value::Unknown, Value::Rpm),
                Value::Rpm(max),
                Resume::Below(Value::Rpm(max / 10 * 9)),
            );
        }
        Some(profile.name)
    }

    fn average_load(&self, now: Moment) -> Option<f32> {
        let (first, _) = self.load.front()?;
        if now.since(*first) < LOAD_MIN_MILLIS {
            return None;
        }
        // Each sample covers the time since the one before it.
        let start = Moment(now.0.saturating_sub(LOAD_WINDOW_MILLIS));
        let (mut sum, mut weight, mut before) = (0.0_f64, 0.0_f64, *first);
        for (at, value) in self.load.iter().skip(1) {
            let span = at.since(before.max(start)) as f64;
            sum += f64::from(*value) * span;
            weight += span;
            before = *at;
        }
        (weight > 0.0).then(|| (sum / weight) as f32)
    }

    /// Runs the gate of one rule, adds a reason when it is closed, and returns whether it is open.
    #[expect(clippy::too_many_arguments, reason = "one flat call per rule reads better than a builder")]
    fn gate(
        &mut self,
        rule: Rule,
        standing: Standing,
        now: Moment,
        out: &mut Vec<Reason>,
        value: Value,
        limit: Value,
        resumes: Resume,
    ) -> bool {
        let (closed, opened) = (rule.hold_closed(self.policy.hold), rule.hold_open(self.policy.hold));
        let gate = self.gates.entry(rule).or_default();
        let open = gate.update(standing, now, closed, opened);
        if !open {
            let held_until = gate.held_until(closed).filter(|until| *until > now);
            out.push(Reason { held_until, ..stop(rule, value, limit, resumes) });
        }
        open
    }
}

fn stop(rule: Rule, now: Value, limit: Value, resumes: Resume) -> Reason {
    Reason { rule, effect: Effect::Stops, now, limit, resumes, held_until: None }
}

fn limit_to(rule: Rule, duty: u8, now: Value, limit: Value, resumes: Resume) -> Reason {
    Reason { effect: Effect::Limits(Percent::new(duty)), ..stop(rule, now, limit, resumes) }
}

fn celsius(value: Option<f32>) -> Value {
    value.map_or(Value::Unknown, Value::Celsius)
}

fn range<T: Copy>(
    value: Option<T>,
    unknown: Unknown,
    stops: impl Fn(T) -> bool,
    resumes: impl Fn(T) -> bool,
) -> Standing {
    match (value, unknown) {
        (None, Unknown::Stop) => Standing::Stop,
        (None, Unknown::Allow) => Standing::Resume,
        (Some(value), _) if stops(value) => Standing::Stop,
        (Some(value), _) if resumes(value) => Standing::Resume,
        _ => Standing::Gap,
    }
}

fn flag(bad: Option<bool>, unknown: Unknown) -> Standing {
    range(bad, unknown, |bad| bad, |bad| !bad)
}

#[cfg(test)]
mod tests;
