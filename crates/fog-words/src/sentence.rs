use fog_api::{ActiveTask, EffectView, MemoryWait, ReasonView, ResumeView, Status, ValueView, VerdictView};

use fog_types::JobId;

use crate::Words;

/// Returns tasks that run because their owner asked for them now; none while a rule stops these too.
fn requested(status: &Status) -> impl Iterator<Item = &ActiveTask> {
    let is_held =
        status.verdict.reasons.iter().any(|reason| reason.effect == EffectView::Stops && !reason.yields);
    status.active.iter().filter(move |task| !is_held && !task.frozen && status.run_now.contains(&task.job))
}

/// Returns the task that waits for memory while nothing runs.
fn short_of(status: &Status) -> Option<&MemoryWait> {
    status.memory_waits.first().or(status.estimate_wait.as_ref()).filter(|_| status.active.is_empty())
}

/// Whether the only jobs are paused ones.
fn is_only_paused(status: &Status) -> bool {
    status.active.is_empty() && status.next.is_none() && status.counts.paused > 0 && !status.verdict.finishing
}

/// Whether a reason stops the device until a person acts.
fn waits_for_somebody(reason: &ReasonView) -> bool {
    reason.effect == EffectView::Stops && reason.resumes == ResumeView::UserActs
}

/// A rule whose limit can be lowered so that work goes on, with the steps of its setting: tenths or whole
/// units.
struct Steps {
    rule: &'static str,
    setting: &'static str,
    /// Unit of the setting, in units of the reading.
    unit: f64,
    /// Number of steps in one unit.
    parts: f64,
}

const STEPS: [Steps; 3] = [
    Steps { rule: "battery-level", setting: "battery_stop", unit: 1.0, parts: 1.0 },
    Steps { rule: "disk-free", setting: "disk_free_min", unit: 1e9, parts: 10.0 },
    Steps { rule: "ram-available", setting: "ram_available_min", unit: 1_048_576.0, parts: 1.0 },
];

impl Steps {
    /// Returns a typed value of the setting with which the rule would not stop work now; `None` when there
    /// is none.
    ///
    /// The value is 10 % below the reading, since readings vary.
    fn below(&self, reason: &ReasonView) -> Option<String> {
        let number = |value: &ValueView| match value {
            ValueView::Bytes(bytes) => Some(*bytes as f64),
            ValueView::Percent(percent) => Some(f64::from(*percent)),
            _ => None,
        };
        let (now, limit) = (number(&reason.now)? / self.unit, number(&reason.limit)? / self.unit);
        let lower = (now * 0.9 * self.parts).floor() / self.parts;
        let setting = fog_api::settings::find(self.setting)?;
        (lower < limit && setting.check(&lower.into()).is_ok()).then(|| lower.to_string())
    }
}

/// Verdicts as sentences.
impl Words {
    /// Returns one sentence that says whether the device works, and if not, why.
    #[must_use]
    pub fn headline(&self, verdict: &VerdictView, has_work: bool, now_ms: i64) -> String {
        if let Some(at) = verdict.reasons.iter().position(|reason| reason.effect == EffectView::Stops) {
            return self.reasons(verdict, now_ms).swap_remove(at);
        }
        let duty = ("duty", f64::from(verdict.duty).into());
        if verdict.finishing {
            return self.t("headline-finishing");
        }
        if !has_work {
            return self.t("headline-nothing-to-do");
        }
        let key = match (verdict.duty, verdict.in_use) {
            (100, false) => "headline-working-full",
            (_, false) => "headline-working",
            (_, true) => "headline-working-in-use",
        };
        self.with(key, &[duty])
    }

    /// Returns the headline of a status: that of the verdict, unless work goes on against it at the owner's
    /// request.
    #[must_use]
    pub fn status_headline(&self, status: &Status, now_ms: i64) -> String {
        let stop = status.verdict.reasons.iter().find(|reason| reason.effect == EffectView::Stops);
        match (stop, requested(status).next()) {
            (Some(reason), Some(task)) => {
                let why = self.reason(reason, now_ms);
                self.with("headline-requested", &[("name", task.name.as_str().into()), ("why", why.into())])
            }
            (Some(_), None) => self.headline(&status.verdict, true, now_ms),
            (None, _) => match short_of(status) {
                Some(wait) => self.memory_wait(wait),
                None if is_only_paused(status) => {
                    self.with("headline-only-paused", &[("n", (status.counts.paused as f64).into())])
                }
                None => {
                    self.headline(&status.verdict, !status.active.is_empty() || status.next.is_some(), now_ms)
                }
            },
        }
    }

    /// Returns the number of a task in a job with several tasks, counted from 0.
    #[must_use]
    pub fn task_of(&self, index: u32, total: u32) -> Option<String> {
        let last = total.saturating_sub(1);
        (last > 0).then(|| {
            self.with("task-of", &[("task", index.to_string().into()), ("last", last.to_string().into())])
        })
    }

    /// Returns a note that no checkpoints are taken, if so.
    #[must_use]
    pub fn no_checkpoints(&self, status: &Status) -> Option<String> {
        let why = status.no_checkpoints.as_str();
        (!why.is_empty()).then(|| self.with("no-checkpoints", &[("why", why.into())]))
    }

    /// Returns a note about changes in force that a restart would lose, if there are any.
    #[must_use]
    pub fn unstored(&self, status: &Status) -> Option<String> {
        let why = status.unstored.as_str();
        (!why.is_empty()).then(|| self.with("unstored", &[("why", why.into())]))
    }

    /// Returns the reason why a job waits for memory.
    #[must_use]
    pub fn memory_wait(&self, wait: &MemoryWait) -> String {
        let values = [
            ("name", wait.name.as_str().into()),
            ("wanted", self.bytes(wait.wanted).into()),
            ("spare", self.bytes(wait.spare).into()),
        ];
        self.with("waits-for-memory", &values)
    }

    /// Returns advice about a reason, for a job of one's own; `None` when nothing can be done but wait.
    #[must_use]
    pub fn way_on(&self, reason: &ReasonView, job: JobId) -> Option<String> {
        let key = format!("hint-{}", reason.rule);
        let job = ("job", job.to_string().into());
        let Some(steps) = STEPS.iter().find(|steps| steps.rule == reason.rule) else {
            return self.has(&key).then(|| self.with(&key, &[job]));
        };
        match steps.below(reason) {
            Some(lower) => Some(self.with(&key, &[job, ("lower", lower.into())])),
            None => Some(self.t(&format!("{key}-lowest"))),
        }
    }

    /// Returns a status of about three words, for the pill on every page.
    #[must_use]
    pub fn pill(&self, status: &Status) -> String {
        if !status.contributing {
            return self.t("pill-off");
        }
        if let Some(until) = status.snoozed_until_ms {
            let seconds = u64::try_from((until - status.at_ms) / 1000).unwrap_or(0);
            return self.with("pill-paused", &[("span", self.span(seconds).into())]);
        }
        let working = requested(status).count();
        match status.verdict.reasons.iter().find(|reason| reason.effect == EffectView::Stops) {
            Some(_) if working > 0 => self.with("pill-working", &[("n", (working as f64).into())]),
            Some(reason) => {
                self.with("pill-waiting", &[("why", self.t(&format!("short-{}", reason.rule)).into())])
            }
            None if short_of(status).is_some() => {
                self.with("pill-waiting", &[("why", self.t("short-memory").into())])
            }
            None if is_only_paused(status) => {
                self.with("pill-only-paused", &[("n", (status.counts.paused as f64).into())])
            }
            None if status.active.is_empty() => self.t("pill-ready"),
            None => self.with("pill-working", &[("n", (status.active.len() as f64).into())]),
        }
    }

    /// Returns the sentences of all reasons of a verdict in order. While one waits for a person, the others
    /// do not say when work would go on.
    #[must_use]
    pub fn reasons(&self, verdict: &VerdictView, now_ms: i64) -> Vec<String> {
        let is_held = verdict.reasons.iter().any(waits_for_somebody);
        let sentence = |reason| {
            if is_held && !waits_for_somebody(reason) {
                self.what(reason)
            } else {
                self.reason(reason, now_ms)
            }
        };
        verdict.reasons.iter().map(sentence).collect()
    }

    /// Returns whom a job is for.
    #[must_use]
    pub fn for_owner(&self, owner: &str) -> String {
        let owner = if owner == fog_api::THIS_DEVICE { self.t("this-device") } else { owner.to_owned() };
        self.with("for-owner", &[("owner", owner.into())])
    }

    /// Returns the sentence of one reason: cause, value, limit and end.
    #[must_use]
    pub fn reason(&self, reason: &ReasonView, now_ms: i64) -> String {
        let what = self.what(reason);
        match self.resumes(reason, now_ms) {
            Some(end) => format!("{what} {end}"),
            None => what,
        }
    }

    fn what(&self, reason: &ReasonView) -> String {
        let is_unknown = reason.now == ValueView::Unknown;
        let limits = matches!(reason.effect, EffectView::Limits(_));
        let base = format!("why-{}", reason.rule);
        let key = [(is_unknown, "unknown"), (limits, "limits")]
            .into_iter()
            .filter(|(applies, _)| *applies)
            .map(|(_, suffix)| format!("{base}-{suffix}"))
            .find(|key| self.has(key))
            .unwrap_or(base);
        let duty = if let EffectView::Limits(duty) = reason.effect { f64::from(duty) } else { 0.0 };
        self.with(
            &key,
            &[
                ("now", self.value(&reason.now).into()),
                ("limit", self.value(&reason.limit).into()),
                ("duty", duty.into()),
            ],
        )
    }

    /// Returns the end of a reason as a separate sentence.
    #[must_use]
    pub fn resumes(&self, reason: &ReasonView, now_ms: i64) -> Option<String> {
        let from_now = |at: i64| self.span(u64::try_from((at - now_ms + 999) / 1000).unwrap_or(0));
        let limits = matches!(reason.effect, EffectView::Limits(_));
        let held = reason.held_until_ms.filter(|at| *at > now_ms);
        let end = match (&reason.resumes, held) {
            _ if limits => return None,
            (ResumeView::AtMs(at), held) => {
                self.with("resumes-in", &[("span", from_now(held.map_or(*at, |held| held.max(*at))).into())])
            }
            (ResumeView::Above(value), None) => {
                self.with("resumes-above", &[("value", self.value(value).into())])
            }
            (ResumeView::Below(value), None) => {
                self.with("resumes-below", &[("value", self.value(value).into())])
            }
            (ResumeView::Above(value), Some(at)) => self.with(
                "resumes-above-held",
                &[("value", self.value(value).into()), ("span", from_now(at).into())],
            ),
            (ResumeView::Below(value), Some(at)) => self.with(
                "resumes-below-held",
                &[("value", self.value(value).into()), ("span", from_now(at).into())],
            ),
            (ResumeView::ConditionEnds | ResumeView::UserActs, Some(at)) => {
                self.with("resumes-not-before", &[("span", from_now(at).into())])
            }
            _ => return None,
        };
        Some(end)
    }

    /// Formats a reading with its unit.
    #[must_use]
    pub fn value(&self, value: &ValueView) -> String {
        match value {
            ValueView::Unknown => self.t("value-unknown"),
            ValueView::Flag(on) => self.t(if *on { "value-yes" } else { "value-no" }),
            ValueView::Percent(n) => format!("{n:.0} %"),
            ValueView::Celsius(n) => format!("{n:.0} °C"),
            ValueView::Seconds(n) => self.span(n.max(0.0) as u64),
            ValueView::Bytes(n) => self.bytes(*n),
            ValueView::Rpm(n) => format!("{n} rpm"),
            ValueView::Energy(n) => self.decimal(&format!("{n}")),
            ValueView::Pressure(word) => self.t(&format!("pressure-{word}")),
            ValueView::Charger(word) => self.t(&format!("charger-{word}")),
            ValueView::Text(text) if self.has(&format!("profile-{text}")) => {
                self.t(&format!("profile-{text}"))
            }
            ValueView::Text(text) => text.clone(),
            _ => String::new(),
        }
    }
}
