mod device;
mod owner;

use std::collections::{BTreeMap, VecDeque};

use fog_types::Percent;

use crate::gate::{Gate, Standing, Stepper};
use crate::policy::{Policy, Unknown};
use crate::reading::{Moment, Readings};
use crate::rules::Rule;
use crate::verdict::{Effect, Reason, Resume, Value, Verdict, duty_of};

/// Span over which the load of other programs is averaged, milliseconds.
const LOAD_WINDOW_MILLIS: u64 = 30_000;

/// The rules with their state: takes readings, gives the verdict.
#[derive(Debug, Clone)]
pub struct Eligibility {
    policy: Policy,
    gates: BTreeMap<Rule, Gate>,
    warmth: Stepper,
    pressure: Stepper,
    load: VecDeque<(Moment, f32)>,
    /// Names of the exclusive programs that ran last.
    exclusive: String,
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
            exclusive: String::new(),
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
