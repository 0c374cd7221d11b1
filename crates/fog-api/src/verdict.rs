use serde::{Deserialize, Serialize};

/// May the device work, how hard, and why not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// 0 to 100.
    pub duty: u8,
    /// Running tasks may end, none may start.
    pub finishing: bool,
    /// Name of the profile of this hour.
    pub profile: Option<String>,
    /// Somebody uses the device.
    pub in_use: bool,
    /// Everything that stops or slows it, most important first.
    pub reasons: Vec<ReasonView>,
}

impl VerdictView {
    /// The duty of jobs that their owner asked to run at once, in percent.
    #[must_use]
    pub fn requested_duty(&self) -> u8 {
        let left = |reason: &ReasonView| match reason.effect {
            EffectView::Stops => 0,
            EffectView::Limits(duty) => duty,
        };
        let gives_way = |reason: &&ReasonView| reason.effect == EffectView::Stops && reason.yields;
        // Without a single reason it is that of every job.
        if self.reasons.is_empty() { self.duty } else { self.reasons.iter().filter(|reason| !gives_way(reason)).map(left).min().unwrap_or(100) }
    }
}

/// One rule that stops or slows the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonView {
    /// The rule's word, such as `on-battery`.
    pub rule: String,
    /// What it does.
    pub effect: EffectView,
    /// The reading.
    pub now: ValueView,
    /// What it is compared with.
    pub limit: ValueView,
    /// What ends it.
    pub resumes: ResumeView,
    /// Not before this moment, when a minimum hold runs.
    pub held_until_ms: Option<i64>,
    /// It gives way to a job that its owner asked to run at once.
    #[serde(default)]
    pub yields: bool,
}

/// What a reason does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectView {
    /// No work.
    Stops,
    /// Work up to this duty.
    Limits(u8),
}

/// A reading or limit with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueView {
    /// The sensor is missing or silent.
    Unknown,
    /// Nothing to show.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// 0 to 100.
    Percent(f32),
    /// °C.
    Celsius(f32),
    /// Seconds.
    Seconds(f32),
    /// Bytes.
    Bytes(u64),
    /// Revolutions per minute.
    Rpm(u32),
    /// In the unit of the energy source.
    Energy(f32),
    /// `nominal`, `fair`, `serious`, `critical`.
    Pressure(String),
    /// `mains`, `usb`, `wireless`.
    Charger(String),
    /// Names.
    Text(String),
}

/// What ends a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResumeView {
    /// The user has to do something.
    UserActs,
    /// It goes away by itself.
    ConditionEnds,
    /// At this moment.
    AtMs(i64),
    /// At or above.
    Above(ValueView),
    /// At or below.
    Below(ValueView),
}
