use fog_types::Percent;

use crate::reading::{Charger, Moment, ThermalPressure};
use crate::rules::Rule;

/// Decision whether the device may work, at which duty, and every reason against (more) work.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Share of processor time that tasks may use; 0 means stop.
    pub duty: Percent,
    /// Whether running tasks may finish but no new one may start.
    pub finishing: bool,
    /// Name of the profile of this hour; `None` in an hour that is off.
    pub profile: Option<String>,
    /// Whether somebody uses the device, or may do so: the sensor is missing and the rule says stop.
    pub in_use: bool,
    /// Reasons that stop or slow the device, most important first; empty at full duty.
    pub reasons: Vec<Reason>,
}

/// One rule that stops or slows the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// Rule that gave the reason.
    pub rule: Rule,
    /// Effect on the duty.
    pub effect: Effect,
    /// Current reading of the sensor.
    pub now: Value,
    /// Limit that the reading is compared with.
    pub limit: Value,
    /// Condition that ends the reason.
    pub resumes: Resume,
    /// Earliest end, while a minimum hold is running.
    pub held_until: Option<Moment>,
}

/// Effect of a reason on the duty.
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
    /// No value to show.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// Percentage, 0 to 100.
    Percent(f32),
    /// Degrees Celsius.
    Celsius(f32),
    /// Span of time in seconds.
    Seconds(f32),
    /// Size in bytes.
    Bytes(u64),
    /// Revolutions per minute.
    Rpm(u32),
    /// Energy value in the unit of its source.
    Energy(f32),
    /// Heat level that the operating system reports.
    Pressure(ThermalPressure),
    /// Kind of external power.
    Charger(Charger),
    /// Names of programs or of a profile.
    Text(String),
}

/// Condition that ends a reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Resume {
    /// An action of the user (switch on, plug in).
    UserActs,
    /// The condition goes away by itself (the video ends, the program closes).
    ConditionEnds,
    /// A known time.
    At(Moment),
    /// A reading at or above this value.
    Above(Value),
    /// A reading at or below this value.
    Below(Value),
}

impl Verdict {
    /// First reason that stops the device, if any.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&Reason> {
        self.reasons.iter().find(|reason| reason.effect == Effect::Stops)
    }

    /// Returns the verdict on a job that its owner asked to run at once: without the reasons that stop but
    /// yield to such a request ([`Rule::yields_to_request`]). Limits of the duty stay.
    #[must_use]
    pub fn for_requested(&self) -> Self {
        let gives_way = |reason: &&Reason| reason.effect == Effect::Stops && reason.rule.yields_to_request();
        let reasons: Vec<Reason> = self.reasons.iter().filter(|reason| !gives_way(reason)).cloned().collect();
        // Before the first readings there are no reasons, but the duty is zero.
        let duty = if self.reasons.is_empty() { self.duty } else { duty_of(&reasons) };
        Self { duty, reasons, ..self.clone() }
    }
}

/// Returns the duty that remains under a list of reasons.
pub(crate) fn duty_of(reasons: &[Reason]) -> Percent {
    let left = |reason: &Reason| match reason.effect {
        Effect::Stops => Percent::ZERO,
        Effect::Limits(duty) => duty,
    };
    reasons.iter().map(left).min().unwrap_or(Percent::FULL)
}
