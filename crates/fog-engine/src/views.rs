//! Conversion of domain values to the types of `fog-api`.

use fog_api::{
    EffectView, HistoryPoint, JobCounts, JobSummary, Notice, ReasonView, ResumeView, ValueView, VerdictView,
};
use fog_eligibility::{Effect, Reason, Resume, ThermalPressure, Value, Verdict};
use fog_store::{JobHead, JobRow, Sample};
use fog_types::JobState;
use fog_types::text::{clean_lines, clean_name};

use crate::clock::Clock;

/// Converts a verdict.
#[must_use]
pub fn verdict_view(verdict: &Verdict, clock: &Clock) -> VerdictView {
    VerdictView {
        duty: verdict.duty.get(),
        finishing: verdict.finishing,
        profile: verdict.profile.clone(),
        in_use: verdict.in_use,
        reasons: verdict.reasons.iter().map(|reason| reason_view(reason, clock)).collect(),
    }
}

/// Name of a job and a message about it, cleaned for display since both may come from another device.
pub(crate) fn said_of(name: &str, problem: &str) -> (String, String) {
    (clean_name(name), clean_lines(problem))
}

/// Notice for a job that has finished or failed; `None` for other states.
pub(crate) fn end_notice(row: &JobRow) -> Option<Notice> {
    let (id, (name, problem)) = (row.id, said_of(&row.file.name, &row.problem));
    match row.state {
        JobState::Finished => Some(Notice::JobFinished { id, name }),
        JobState::Failed => Some(Notice::JobFailed { id, name, problem }),
        _ => None,
    }
}

fn reason_view(reason: &Reason, clock: &Clock) -> ReasonView {
    ReasonView {
        rule: reason.rule.word().to_owned(),
        effect: match reason.effect {
            Effect::Stops => EffectView::Stops,
            Effect::Limits(duty) => EffectView::Limits(duty.get()),
        },
        now: value_view(&reason.now),
        limit: value_view(&reason.limit),
        resumes: match &reason.resumes {
            Resume::UserActs => ResumeView::UserActs,
            Resume::ConditionEnds => ResumeView::ConditionEnds,
            Resume::At(moment) => ResumeView::AtMs(clock.to_unix(*moment).0),
            Resume::Above(value) => ResumeView::Above(value_view(value)),
            Resume::Below(value) => ResumeView::Below(value_view(value)),
        },
        held_until_ms: reason.held_until.map(|moment| clock.to_unix(moment).0),
        yields: reason.rule.yields_to_request(),
    }
}

fn value_view(value: &Value) -> ValueView {
    match value {
        Value::Unknown => ValueView::Unknown,
        Value::Nothing => ValueView::Nothing,
        Value::Flag(flag) => ValueView::Flag(*flag),
        Value::Percent(n) => ValueView::Percent(*n),
        Value::Celsius(n) => ValueView::Celsius(*n),
        Value::Seconds(n) => ValueView::Seconds(*n),
        Value::Bytes(n) => ValueView::Bytes(*n),
        Value::Rpm(n) => ValueView::Rpm(*n),
        Value::Energy(n) => ValueView::Energy(*n),
        Value::Pressure(pressure) => ValueView::Pressure(
            match pressure {
                ThermalPressure::Nominal => "nominal",
                ThermalPressure::Fair => "fair",
                ThermalPressure::Serious => "serious",
                ThermalPressure::Critical => "critical",
            }
            .to_owned(),
        ),
        Value::Charger(kind) => ValueView::Charger(kind.word().to_owned()),
        Value::Text(text) => ValueView::Text(text.clone()),
    }
}

pub(crate) fn job_summary(row: &JobHead) -> JobSummary {
    JobSummary {
        id: row.id,
        name: clean_name(&row.name),
        owner: clean_name(&row.owner),
        state: row.state,
        priority: row.priority,
        tasks_total: row.tasks_total,
        tasks_finished: row.tasks_finished,
        units: row.units.0,
        created_ms: row.created.0,
        deadline_ms: row.deadline.0,
        finished_ms: row.finished.map(|at| at.0),
        problem: clean_lines(&row.problem),
        is_grid: row.is_grid,
        is_picture: row.is_picture,
    }
}

pub(crate) fn counts(list: &[(JobState, u64)]) -> JobCounts {
    let of = |state| list.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n);
    JobCounts {
        queued: of(JobState::Queued),
        running: of(JobState::Running),
        paused: of(JobState::Paused),
        finished: of(JobState::Finished),
        failed: of(JobState::Failed),
        cancelled: of(JobState::Cancelled),
    }
}

pub(crate) fn history_point(sample: Sample) -> HistoryPoint {
    HistoryPoint {
        at_ms: sample.at.0,
        span_ms: sample.span_millis,
        duty: sample.duty.get(),
        worked_ms: sample.worked_millis,
        units: sample.units.0,
        cpu_temp: sample.cpu_temp,
        battery: sample.battery,
        other_cpu: sample.other_cpu,
        reason: sample.reason,
    }
}
