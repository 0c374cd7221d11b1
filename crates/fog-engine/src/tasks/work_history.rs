//! Work history: the points of time worked that front ends show.

use std::time::{Duration, Instant};

use fog_store::Sample;
use fog_types::{JobId, Percent, UnixMillis, WorkUnits};

use crate::context::Context;
use crate::query::LiveTask;
use crate::tasks::{Active, Tasks};

/// Length of one point of history.
const HISTORY_SPAN: Duration = Duration::from_secs(60);
/// Interval at which the current point is stored; a kill loses at most this much of it.
const HISTORY_PACE: Duration = Duration::from_secs(10);

/// Current point of the history.
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) last: Instant,
    pub(crate) duty_millis: f64,
    pub(crate) worked: Duration,
    pub(crate) units: u64,
    pub(crate) stored: StoredSpan,
}

/// Stored part of the current point.
pub(crate) struct StoredSpan {
    /// Time that names the row of the point.
    pub(crate) at: Option<UnixMillis>,
    /// Time at which that row was begun or last checked.
    pub(crate) since: Instant,
    pub(crate) worked: Duration,
    pub(crate) units: u64,
}

impl Span {
    pub(crate) fn begin(now: Instant) -> Self {
        let stored = StoredSpan { at: None, since: now, worked: Duration::ZERO, units: 0 };
        Self { begun: now, last: now, duty_millis: 0.0, worked: Duration::ZERO, units: 0, stored }
    }
}

impl Span {
    /// Milliseconds worked that are not in the stored row.
    pub(crate) fn unstored_millis(&self) -> u64 {
        (self.worked.as_millis() - self.stored.worked.as_millis()) as u64
    }
}

impl Tasks {
    /// Adds the time since the last call to the current point of history.
    pub(crate) fn account(&mut self, ctx: &mut Context) {
        let elapsed = ctx.since(self.span.last);
        self.span.last = ctx.now();
        let runs = self.active.values().any(|active| !active.view.frozen);
        if runs {
            self.span.worked += elapsed;
            self.span.duty_millis += elapsed.as_secs_f64() * 1000.0 * f64::from(self.highest_duty().get());
        }
        if ctx.since(self.span.begun) >= HISTORY_SPAN {
            self.close_span(ctx);
        } else if ctx.since(self.span.stored.since) >= HISTORY_PACE {
            self.keep_span(ctx);
        }
    }

    /// Stores the current point of history if it has grown.
    fn keep_span(&mut self, ctx: &mut Context) {
        self.span.stored.since = ctx.now();
        if self.span.unstored_millis() == 0 && self.span.units == self.span.stored.units {
            return;
        }
        let sample = self.sample(ctx);
        match ctx.store.keep_sample(&sample, self.span.stored.at) {
            Ok(()) => {
                let Span { worked, units, .. } = self.span;
                self.span.stored =
                    StoredSpan { at: Some(sample.at), since: self.span.stored.since, worked, units };
            }
            Err(error) => tracing::error!(%error, "history cannot be written"),
        }
    }

    pub(crate) fn close_span(&mut self, ctx: &mut Context) {
        let sample = self.sample(ctx);
        let stored = self.span.stored.at;
        self.span = Span::begin(ctx.now());
        if let Err(error) = ctx.store.add_sample(&sample, stored) {
            tracing::error!(%error, "history cannot be written");
        }
        ctx.remember_clock();
    }

    /// Builds the current point of history as if it ended now.
    fn sample(&self, ctx: &Context) -> Sample {
        let span = &self.span;
        let millis = ctx.since(span.begun).as_millis().max(1) as u64;
        let readings = ctx.rules.readings();
        let reason = match ctx.rules.verdict().stopped_by() {
            Some(reason) => reason.rule.word(),
            None if span.worked.is_zero() => "idle",
            None => "",
        };
        Sample {
            at: ctx.clock.unix(),
            span_millis: millis,
            duty: Percent::new((span.duty_millis / millis as f64) as u8),
            worked_millis: span.worked.as_millis() as u64,
            units: WorkUnits(span.units),
            cpu_temp: readings.cpu_temp.map(f64::from),
            battery: readings.battery.map(f64::from),
            other_cpu: readings.other_cpu.map(f64::from),
            reason: reason.to_owned(),
        }
    }

    /// Progress of the tasks of a job that run here.
    pub(crate) fn live_of(&self, ctx: &Context, job: JobId) -> Vec<LiveTask> {
        let now = ctx.now();
        let ours = self.active.values().filter(|active| active.claim.task.job == job);
        let live = |active: &Active| LiveTask {
            index: active.claim.task.index,
            permille: active.view.permille,
            units: active.view.units,
            active_ms: active.worked(now).as_millis() as u64,
        };
        ours.map(live).collect()
    }
}
