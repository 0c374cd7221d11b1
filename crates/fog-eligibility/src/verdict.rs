use fog_types::Percent;

use crate::reading::{Charger, Moment, ThermalPressure};
use crate::rules::Rule;

/// May the device work, how hard, and every reason why not (or not more).
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Share of processor time the tasks may use; 0 means stop.
    pub duty: Percent,
    /// No new task may start, but running ones may finish.
    pub finishing: bool,
    /// Name of the profile of this hour; `None` in an hour that is off.
    pub profile: Option<String>,
    /// Somebody is using the device (or may be: the sensor is missing and the rule says stop).
    pub in_use: bool,
    /// What stops or slows the device, most important first. Empty at full duty.
    pub reasons: Vec<Reason>,
}

/// One rule that stops or slows the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// Which rule.
    pub rule: Rule,
    /// What it does.
    pub effect: Effect,
    /// What the sensor says now.
    pub now: Value,
    /// What the rule compares it with.
    pub limit: Value,
    /// What ends it.
    pub resumes: Resume,
    /// Earliest end, when a minimum hold is running.
    pub held_until: Option<Moment>,
}

/// What a reason does to the duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No work at all.
    Stops,
    /// Work up to this duty.
    Limits(Percent),
}

/// A reading or a limit with its unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The sensor is missing or silent.
    Unknown,
    /// Nothing to show.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// 0 to 100.
    Percent(f32),
    /// Degrees Celsius.
    Celsius(f32),
    /// A span of time.
    Seconds(f32),
    /// A size.
    Bytes(u64),
    /// Revolutions per minute.
    Rpm(u32),
    /// In the unit of the energy source.
    Energy(f32),
    /// The system's judgement of heat.
    Pressure(ThermalPressure),
    /// What external power comes from.
    Charger(Charger),
    /// Names of programs, or of a profile.
    Text(String),
}

/// What ends a reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Resume {
    /// The user has to do something (switch on, plug in).
    UserActs,
    /// The condition goes away by itself (the video ends, the program closes).
    ConditionEnds,
    /// At a known moment.
    At(Moment),
    /// When the reading is at or above.
    Above(Value),
    /// When the reading is at or below.
    Below(Value),
}

impl Verdict {
    /// The first reason that stops the device, if any.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&Reason> {
        self.reasons.iter().find(|reason| reason.effect == Effect::Stops)
    }

    /// The verdict on a job that its owner asked to run at once: without what gives way to that
    /// ([`Rule::yields_to_request`]). Limits of the duty stay.
    #[must_use]
    pub fn for_requested(&self) -> Self {
        let gives_way = |reason: &&Reason| reason.effect == Effect::Stops && reason.rule.yields_to_request();
        let reasons: Vec<Reason> = self.reasons.iter().filter(|reason| !gives_way(reason)).cloned().collect();
        // Without a single reason before the first readings nothing is known, which is not full duty.
        let duty = if self.reasons.is_empty() { self.duty } else { duty_of(&reasons) };
        Self { duty, reasons, ..self.clone() }
    }
}

/// The duty that a list of reasons leaves.
pub(crate) fn duty_of(reasons: &[Reason]) -> Percent {
    let left = |reason: &Reason| match reason.effect {
        Effect::Stops => Percent::ZERO,
        Effect::Limits(duty) => duty,
    };
    reasons.iter().map(left).min().unwrap_or(Percent::FULL)
}
