use serde::{Deserialize, Serialize};

/// Verdict of the rules: whether the device may work, how hard, and what stops it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// Share of processor time that tasks may use, 0 to 100 percent; 0 means stop.
    pub duty: u8,
    /// Running tasks may finish, but no new task may start.
    pub finishing: bool,
    /// Name of the profile of this hour; `None` when the hour is off.
    pub profile: Option<String>,
    /// Whether somebody uses the device.
    pub in_use: bool,
    /// Rules that stop or slow the device, most important first.
    pub reasons: Vec<ReasonView>,
}

impl VerdictView {
    /// Returns the duty of jobs that their owner asked to run at once, in percent.
    #[must_use]
    pub fn requested_duty(&self) -> u8 {
        let left = |reason: &ReasonView| match reason.effect {
            EffectView::Stops => 0,
            EffectView::Limits(duty) => duty,
        };
        let gives_way = |reason: &&ReasonView| reason.effect == EffectView::Stops && reason.yields;
        // Without reasons, requested jobs get the same duty as all others.
        if self.reasons.is_empty() {
            self.duty
        } else {
            self.reasons.iter().filter(|reason| !gives_way(reason)).map(left).min().unwrap_or(100)
        }
    }
}

/// One rule that stops or slows the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonView {
    /// Word of the rule, such as `on-battery`.
    pub rule: String,
    /// Effect of the rule on the duty.
    pub effect: EffectView,
    /// Current reading of the sensor.
    pub now: ValueView,
    /// Limit that the reading is compared with.
    pub limit: ValueView,
    /// Condition that ends the reason.
    pub resumes: ResumeView,
    /// Earliest end of the reason, while a minimum hold runs.
    pub held_until_ms: Option<i64>,
    /// Whether the rule does not apply to a job that its owner asked to run at once.
    #[serde(default)]
    pub yields: bool,
}

/// Effect of a reason on the duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectView {
    /// Stops all work.
    Stops,
    /// Limits the duty to this percentage.
    Limits(u8),
}

/// A reading or limit with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueView {
    /// The sensor is missing or silent.
    Unknown,
    /// No value to show.
    Nothing,
    /// A yes-or-no value.
    Flag(bool),
    /// Percentage, 0 to 100.
    Percent(f32),
    /// Temperature in °C.
    Celsius(f32),
    /// Duration in seconds.
    Seconds(f32),
    /// Size in bytes.
    Bytes(u64),
    /// Revolutions per minute.
    Rpm(u32),
    /// Price or other value in the unit of the energy source.
    Energy(f32),
    /// Thermal pressure: `nominal`, `fair`, `serious` or `critical`.
    Pressure(String),
    /// Kind of charger: `mains`, `usb` or `wireless`.
    Charger(String),
    /// Text, such as names of programs.
    Text(String),
}

/// Condition that ends a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResumeView {
    /// The user has to do something.
    UserActs,
    /// The condition ends without the user.
    ConditionEnds,
    /// A point in time, in milliseconds since 1970.
    AtMs(i64),
    /// The reading is at or above this value.
    Above(ValueView),
    /// The reading is at or below this value.
    Below(ValueView),
}
