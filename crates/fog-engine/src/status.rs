//! Events, status, points of history and chores.

use std::time::{Duration, Instant};

use fog_api::{ApiError, EventBody, JobCounts, Snapshot, Status, Today};
use fog_store::{JobFilter, Kept, Measured, Sample, StoreError};
use fog_types::text::clean_name;
use fog_types::{JobId, JobState, Percent, UnixMillis, WorkUnits};

use crate::event_loop::{Active, Engine, QUIET_PACE, Span, StoredSpan};
use crate::exchange::transfers;
use crate::message::EngineMessage;
use crate::query::{LiveTask, to_api};
use crate::tasks::{checkpoints, cleanup, histories};
use crate::views;

/// Length of one point of history.
const HISTORY_SPAN: Duration = Duration::from_secs(60);
/// Interval at which the current point is stored; a kill loses at most this much of it.
const HISTORY_PACE: Duration = Duration::from_secs(10);
/// Shortest interval between two status events.
const STATUS_PACE: Duration = Duration::from_millis(250);
/// Longest time for which deleting rows of removed jobs may block the loop at once.
const SWEEP_PATIENCE: Duration = Duration::from_millis(20);
/// Interval at which growing tables are trimmed; `MEASURE_PACE` is that of measuring the disk.
const TRIM_PACE: Duration = Duration::from_secs(3600);
const MEASURE_PACE: Duration = Duration::from_secs(30);
/// Number of finished jobs of other devices that stay in the list.
const HOSTED_KEPT: u32 = 1_000;
/// Time for which files are kept whose rows were lost.
const ASIDE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Time for which the beginning of a file is kept when its transfer is not continued.
const TRANSFER_KEPT: Duration = Duration::from_secs(7 * 86_400);

impl Span {
    /// Milliseconds worked that are not in the stored row.
    fn unstored_millis(&self) -> u64 {
        (self.worked.as_millis() - self.stored.worked.as_millis()) as u64
    }
}

/// Last midnight in a time zone, by the engine's clock.
fn midnight(now: UnixMillis, zone: &jiff::tz::TimeZone) -> UnixMillis {
    let at = jiff::Timestamp::from_millisecond(now.0).and_then(|at| at.to_zoned(zone.clone()).start_of_day());
    at.map_or(now, |day| UnixMillis(day.timestamp().as_millisecond()))
}

impl Engine {
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, ApiError> {
        self.announce_status();
        let rows = self.ctx.store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).map_err(to_api)?;
        Ok(Snapshot {
            revision: self.ctx.out.revision(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // The status has not changed since, but times relative to now have.
            status: Status { at_ms: self.ctx.clock.unix().0, ..self.last_status.clone() },
            jobs: rows.iter().map(views::job_summary).filter_map(|mut job| self.ctx.unstored.apply(&mut job).then_some(job)).collect(),
            settings: self.ctx.settings.values().clone(),
            network: self.network_view(),
            chat: self.chat.chat_view(&self.ctx),
            data_folder: self.ctx.store.folder().display().to_string(),
            attached: false,
        })
    }

    /// Sends the status after a change if there are listeners, at most once per [`STATUS_PACE`] and always
    /// with the last change.
    pub(crate) fn status_changed(&mut self) {
        self.is_status_due = true;
        if self.status_due_in().is_some_and(|wait| wait.is_zero()) {
            self.announce_status();
        }
    }

    /// Time until the status is to be sent; `None` when no change is pending or nobody listens.
    pub(crate) fn status_due_in(&self) -> Option<Duration> {
        let is_wanted = self.is_status_due && self.events.receiver_count() > 0;
        is_wanted.then(|| self.last_status_at.map_or(Duration::ZERO, |at| STATUS_PACE.saturating_sub(at.elapsed())))
    }

    /// Sends the status if anything in it except times has changed.
    pub(crate) fn announce_status(&mut self) {
        self.is_status_due = false;
        self.last_status_at = Some(Instant::now());
        if self.chat.take_view_due() {
            let view = self.chat.chat_view(&self.ctx);
            self.ctx.announce(EventBody::Chat(Box::new(view)));
        }
        match self.status() {
            Ok(status) => {
                // The time worked changes constantly; it is sent along with other changes.
                let today = Today { results: status.today.results, ..self.last_status.today };
                let same = Status { at_ms: self.last_status.at_ms, today, ..status.clone() } == self.last_status;
                if !same {
                    self.last_status = status.clone();
                    self.ctx.announce(EventBody::Status(Box::new(status)));
                }
            }
            Err(error) => tracing::error!(%error, "the status cannot be read"),
        }
    }

    /// Number of jobs by state; zeros when the database cannot be read.
    pub(crate) fn counts(&self) -> JobCounts {
        self.ctx.store.job_counts().map(|counts| views::counts(&counts)).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Result<Status, StoreError> {
        let now = self.ctx.clock.unix();
        let (worked, units, results) = self.ctx.store.totals_since(midnight(now, &jiff::tz::TimeZone::system()), now)?;
        let next = match self.ctx.store.next_task()? {
            Some(task) => {
                let job = self.ctx.store.job(task.job)?;
                let name = clean_name(&job.file.name);
                Some(if job.tasks_total == 1 { name } else { format!("{name} {} (0–{})", task.index, job.tasks_total - 1) })
            }
            None => None,
        };
        Ok(Status {
            contributing: self.ctx.settings.flag("contributing"),
            snoozed_until_ms: self.snoozed_until.filter(|until| *until > now).map(|until| until.0),
            verdict: views::verdict_view(self.ctx.rules.verdict(), &self.ctx.clock),
            active: self.active.values().map(|active| active.view.clone()).collect(),
            next,
            counts: views::counts(&self.ctx.store.job_counts()?),
            today: Today { worked_ms: worked + self.span.unstored_millis(), units: units.0 + (self.span.units - self.span.stored.units), results },
            at_ms: now.0,
            run_now: self.run_now.iter().copied().collect(),
            memory_waits: self.memory_waits.clone(),
            estimate_wait: self.estimates.wait.clone(),
            no_checkpoints: self.ctx.key_problem.clone(),
            unstored: self.ctx.unstored.problem(),
        })
    }

    /// Progress of the tasks of a job that run here.
    pub(crate) fn live_of(&self, job: JobId) -> Vec<LiveTask> {
        let ours = self.active.values().filter(|active| active.claim.task.job == job);
        let live = |active: &Active| LiveTask {
            index: active.claim.task.index,
            permille: active.view.permille,
            units: active.view.units,
            active_ms: active.worked().as_millis() as u64,
        };
        ours.map(live).collect()
    }

    /// Adds the time since the last call to the current point of history.
    pub(crate) fn account(&mut self) {
        let elapsed = self.span.last.elapsed();
        self.span.last = Instant::now();
        let runs = self.active.values().any(|active| !active.view.frozen);
        if runs {
            self.span.worked += elapsed;
            self.span.duty_millis += elapsed.as_secs_f64() * 1000.0 * f64::from(self.highest_duty().get());
        }
        if self.span.begun.elapsed() >= HISTORY_SPAN {
            self.close_span();
        } else if self.span.stored.since.elapsed() >= HISTORY_PACE {
            self.keep_span();
        }
    }

    /// Stores the current point of history if it has grown.
    fn keep_span(&mut self) {
        self.span.stored.since = Instant::now();
        if self.span.unstored_millis() == 0 && self.span.units == self.span.stored.units {
            return;
        }
        let sample = self.sample();
        match self.ctx.store.keep_sample(&sample, self.span.stored.at) {
            Ok(()) => {
                let Span { worked, units, .. } = self.span;
                self.span.stored = StoredSpan { at: Some(sample.at), since: self.span.stored.since, worked, units };
            }
            Err(error) => tracing::error!(%error, "history cannot be written"),
        }
    }

    pub(crate) fn close_span(&mut self) {
        let sample = self.sample();
        let stored = self.span.stored.at;
        self.span = Span::begin();
        if let Err(error) = self.ctx.store.add_sample(&sample, stored) {
            tracing::error!(%error, "history cannot be written");
        }
        self.remember_clock();
    }

    /// Builds the current point of history as if it ended now.
    fn sample(&self) -> Sample {
        let span = &self.span;
        let millis = span.begun.elapsed().as_millis().max(1) as u64;
        let readings = self.ctx.rules.readings();
        let reason = match self.ctx.rules.verdict().stopped_by() {
            Some(reason) => reason.rule.word(),
            None if span.worked.is_zero() => "idle",
            None => "",
        };
        Sample {
            at: self.ctx.clock.unix(),
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

    /// Deletes rows of removed jobs, for a short while.
    fn sweep_removed(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < SWEEP_PATIENCE {
            match self.ctx.store.sweep_removed() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::error!(%error, "the rows of removed jobs cannot be deleted"),
            }
        }
    }

    /// Measures the files beside the stored ones, on another thread.
    fn measure_disk(&mut self) {
        let is_due = self.ctx.store.is_measure_due() || self.last_measured.is_none_or(|at| at.elapsed() >= MEASURE_PACE);
        if !is_due {
            return;
        }
        self.last_measured = Some(Instant::now());
        let (holds, folder, to) = (self.ctx.store.holds(), self.ctx.store.folder().to_owned(), self.ctx.to_self.clone());
        tokio::task::spawn_blocking(move || {
            // A send fails only when the engine has stopped.
            let _ = to.blocking_send(EngineMessage::Measured(holds.measure(&folder)));
        });
    }

    /// Takes the size of the files beside the stored ones, and evicts files that are not needed if it has
    /// grown.
    pub(crate) fn measured(&mut self, found: Measured) {
        self.ctx.store.set_other_files(found);
        match self.ctx.store.make_room(0, self.ctx.settings.storage_cap(), self.ctx.clock.unix()) {
            // The storage is full of needed files, which is reported when something requests more.
            Ok(()) | Err(StoreError::Full { .. }) => {}
            Err(error) => tracing::error!(%error, "no room can be made"),
        }
    }

    /// Whether a job has ended or is gone. One whose state cannot be read is not over.
    pub(crate) fn is_over(&self, id: JobId) -> bool {
        match self.ctx.store.job_state(id) {
            Ok(state) => state.is_final(),
            Err(error) => matches!(error, StoreError::NoJob(_)),
        }
    }

    /// Deletes checkpoints and histories of jobs that are over.
    pub(crate) fn sweep_states(&mut self) {
        let folder = self.ctx.store.folder();
        let checkpoints = cleanup::sweep(&checkpoints::folder(folder), |id| !self.is_over(id));
        let histories = cleanup::sweep(&histories::folder(folder), |id| self.needs_history(id));
        if checkpoints + histories > 0 {
            self.ctx.store.holds().note_deleted();
            self.measure_disk();
        }
    }

    /// Checks deadlines and removes old jobs, at most once in ten seconds.
    pub(crate) fn chores(&mut self) {
        self.sweep_removed();
        self.measure_disk();
        if self.last_chores.is_some_and(|at| at.elapsed() < QUIET_PACE) {
            return;
        }
        self.last_chores = Some(Instant::now());
        let now = self.ctx.clock.unix();
        let lived = self.ctx.clock.lived();
        match self.ctx.store.expire_jobs(lived) {
            Ok(late) => {
                for id in &late {
                    self.drop_tasks_of(*id, "the deadline passed");
                    self.ctx.announce_job(*id);
                    let ended = self.announce_end(*id, Some(JobState::Failed));
                    // Requesters want their jobs no longer than to the deadline.
                    let given_up = ended.and_then(|()| if self.ctx.store.is_hosted(*id)? { self.end_hosted(*id, "the deadline passed") } else { Ok(()) });
                    if let Err(error) = given_up {
                        tracing::warn!(%error, "a job whose deadline passed still holds its files");
                    }
                }
                for id in late {
                    let synced = self.sync_job(id);
                    if let Err(error) = synced.and(self.host_ended(id)) {
                        tracing::error!(%error, "other devices were not told that a deadline passed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "deadlines cannot be checked"),
        }
        let keep_from = UnixMillis(lived.0 - (self.ctx.settings.number("keep_finished_days") * 86_400_000.0) as i64);
        if let Err(error) = self.ctx.store.remove_jobs(keep_from, None) {
            tracing::error!(%error, "old jobs cannot be removed");
        }
        if let Err(error) = self.ctx.store.remove_hosted_over(HOSTED_KEPT) {
            tracing::error!(%error, "old jobs of other devices cannot be removed");
        }
        if self.last_trim.is_none_or(|at| at.elapsed() > TRIM_PACE) {
            self.last_trim = Some(Instant::now());
            if let Err(error) = self.ctx.store.trim(Kept::default()) {
                tracing::error!(%error, "old history cannot be removed");
            }
        }
        self.sweep_states();
        cleanup::sweep_old(&transfers::folder(self.ctx.store.folder()), lived, TRANSFER_KEPT);
        cleanup::sweep_old(&self.ctx.store.folder().join("set-aside"), lived, ASIDE_KEPT);
        if let Err(error) = self.look_back() {
            tracing::error!(%error, "history cannot be read");
        }
        if self.snoozed_until.is_some_and(|until| until <= now) {
            self.set_snooze(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_by_the_clock_of_the_engine() {
        const DAY: i64 = 86_400_000;
        let hours = |hours: i64| UnixMillis(20_000 * DAY + hours * 3_600_000);
        let utc = jiff::tz::TimeZone::UTC;
        assert_eq!((midnight(hours(0), &utc), midnight(hours(23), &utc), midnight(hours(24), &utc)), (hours(0), hours(0), hours(24)));
        let east = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!((midnight(hours(1), &east), midnight(hours(23), &east)), (hours(-2), hours(22)));
        assert_eq!(midnight(UnixMillis(i64::MAX), &utc), UnixMillis(i64::MAX));
    }
}
