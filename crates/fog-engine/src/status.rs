//! Events, status, points of history and chores.

use std::time::Duration;

use fog_api::settings::keys;
use fog_api::{ApiError, EventBody, JobCounts, Snapshot, Status, Today};
use fog_store::{JobFilter, StoreError};
use fog_types::UnixMillis;
use fog_types::text::clean_name;

use crate::event_loop::Engine;
use crate::query::to_api;
use crate::views;

/// Shortest interval between two status events.
const STATUS_PACE: Duration = Duration::from_millis(250);

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
            jobs: rows
                .iter()
                .map(views::job_summary)
                .filter_map(|mut job| self.ctx.unstored.apply(&mut job).then_some(job))
                .collect(),
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
        is_wanted.then(|| {
            self.last_status_at.map_or(Duration::ZERO, |at| STATUS_PACE.saturating_sub(self.ctx.since(at)))
        })
    }

    /// Sends the status if anything in it except times has changed.
    pub(crate) fn announce_status(&mut self) {
        self.is_status_due = false;
        self.last_status_at = Some(self.ctx.now());
        if self.chat.take_view_due() {
            let view = self.chat.chat_view(&self.ctx);
            self.ctx.announce(EventBody::Chat(Box::new(view)));
        }
        match self.status() {
            Ok(status) => {
                // The time worked changes constantly; it is sent along with other changes.
                let today = Today { results: status.today.results, ..self.last_status.today };
                let same =
                    Status { at_ms: self.last_status.at_ms, today, ..status.clone() } == self.last_status;
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
        let (worked, units, results) =
            self.ctx.store.totals_since(midnight(now, &jiff::tz::TimeZone::system()), now)?;
        let next = match self.ctx.store.next_task()? {
            Some(task) => {
                let job = self.ctx.store.job(task.job)?;
                let name = clean_name(&job.file.name);
                Some(if job.tasks_total == 1 {
                    name
                } else {
                    format!("{name} {} (0–{})", task.index, job.tasks_total - 1)
                })
            }
            None => None,
        };
        let work = self.tasks.view();
        Ok(Status {
            contributing: self.ctx.settings.flag(keys::CONTRIBUTING),
            snoozed_until_ms: self.duty.snoozed_until().filter(|until| *until > now).map(|until| until.0),
            verdict: views::verdict_view(self.ctx.rules.verdict(), &self.ctx.clock),
            active: work.active,
            next,
            counts: views::counts(&self.ctx.store.job_counts()?),
            today: Today {
                worked_ms: worked + work.unstored_ms,
                units: units.0 + work.unstored_units,
                results,
            },
            at_ms: now.0,
            run_now: work.run_now,
            memory_waits: work.memory_waits,
            estimate_wait: work.estimate_wait,
            no_checkpoints: self.ctx.key_problem.clone(),
            unstored: self.ctx.unstored.problem(),
        })
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
        assert_eq!(
            (midnight(hours(0), &utc), midnight(hours(23), &utc), midnight(hours(24), &utc)),
            (hours(0), hours(0), hours(24))
        );
        let east = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!((midnight(hours(1), &east), midnight(hours(23), &east)), (hours(-2), hours(22)));
        assert_eq!(midnight(UnixMillis(i64::MAX), &utc), UnixMillis(i64::MAX));
    }
}
