//! Failures of tasks: another attempt after a while, a pause of the job, or its end.

use std::time::Duration;

use fog_api::{EventBody, Notice};
use fog_store::{Claim, FailedAttempt, Failure, StoreError};
use fog_types::text::clean_lines;
use fog_types::{BlobId, JobId, JobState, NodeId, UnixMillis, WorkUnits};
use rand::RngExt as _;

use crate::context::Context;
use crate::effects::Input;
use crate::tasks::Tasks;
use crate::tasks::checkpoints::checkpoint_path;
use crate::tasks::runner::TaskOutcome;
use crate::views;

/// Number of failures in a row after which a job is paused and the user told (Folding@home `lostWUs`).
const MAX_FAILURES_IN_ROW: u32 = 5;

/// Longest wait before another attempt (Folding@home's upload back-off: 2^n s, cap 512 s).
const MAX_BACK_OFF: Duration = Duration::from_secs(512);

impl Tasks {
    /// Records that stored files of a task are changed or missing. An own job fails, because its owner has
    /// the originals. A hosted job is returned so that it can run elsewhere, or here after its files were
    /// fetched again; its requester is not told where files lie on this device.
    pub(crate) fn files_unusable(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        problem: String,
        blobs: &[BlobId],
    ) -> Result<(), StoreError> {
        let job = claim.task.job;
        tracing::warn!(%job, problem, "stored files of a task cannot be used");
        let failed = |problem| FailedAttempt { problem, units: WorkUnits(0), exit_code: None, logs: None };
        if !ctx.store.is_hosted(job)? {
            return self.record_failure(ctx, claim, &failed(problem), true);
        }
        for blob in blobs {
            ctx.store.remove_damaged(*blob)?;
        }
        let now = ctx.clock.unix();
        let problem =
            "a file of it was damaged on the disk here; it is fetched anew the next time".to_owned();
        ctx.store.fail_task(claim, &failed(problem.clone()), Failure::Retry(now), now)?;
        ctx.store.set_job_state(job, JobState::Failed, &problem, now)?;
        ctx.announce_job(job);
        ctx.out.input(Input::JobEnded(job));
        Ok(())
    }

    pub(crate) fn task_ended(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        has_advanced: bool,
        end: TaskOutcome,
    ) -> Result<(), StoreError> {
        let now = ctx.clock.unix();
        // A time limit is part of the checkpoint; continuing from it would reach the limit again.
        let is_over = match &end {
            TaskOutcome::PermanentFailure { .. } => true,
            TaskOutcome::TransientFailure { report, .. } => report.is_some(),
            TaskOutcome::Damaged { .. } | TaskOutcome::NoRoom(_) => false,
        };
        if is_over {
            ctx.out.delete(checkpoint_path(ctx.store.folder(), claim.task));
        }
        match end {
            // A task that was killed or crashed after a new checkpoint continues from there without a wait.
            // A crash that recurs at the same place saves nothing new and counts below.
            TaskOutcome::TransientFailure { problem, report: None, .. } if has_advanced => {
                ctx.store.release_task(claim, &problem, true, now)?;
                ctx.announce_job(claim.task.job);
                Ok(())
            }
            TaskOutcome::Damaged { problem, blobs } => self.files_unusable(ctx, claim, problem, &blobs),
            TaskOutcome::NoRoom(error) => self.no_room(ctx, claim, &error, WorkUnits(0)),
            TaskOutcome::PermanentFailure { problem, report, logs } => {
                let failed = self.failed_attempt(ctx, problem, report, logs);
                self.record_failure(ctx, claim, &failed, true)
            }
            TaskOutcome::TransientFailure { problem, report, logs } => {
                let failed = self.failed_attempt(ctx, problem, report, logs);
                self.record_failure(ctx, claim, &failed, false)
            }
        }
    }

    pub(crate) fn failed_attempt(
        &mut self,
        ctx: &mut Context,
        problem: String,
        report: Option<fog_runtime::Report>,
        logs: Option<(fog_store::BlobFile, fog_store::BlobFile)>,
    ) -> FailedAttempt {
        let (cap, now) = (ctx.settings.storage_cap(), ctx.clock.unix());
        let logs = logs.and_then(|(out, err)| {
            let ids = (out.id(), err.id());
            ctx.store.add_blobs(vec![out, err], &[], cap, now).ok().map(|_| ids)
        });
        let exit_code = match report.as_ref().map(|report| &report.outcome) {
            Some(fog_runtime::Outcome::Exited(code)) => Some(*code),
            _ => None,
        };
        FailedAttempt { problem, units: report.map_or(WorkUnits(0), |report| report.units), exit_code, logs }
    }

    pub(crate) fn record_failure(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        failed: &FailedAttempt,
        is_hopeless: bool,
    ) -> Result<(), StoreError> {
        self.record_failure_at(ctx, claim, failed, is_hopeless, &[])
    }

    /// Records the failure of a task at the devices `at`, or at this one when `at` is empty.
    pub(crate) fn record_failure_at(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        failed: &FailedAttempt,
        is_hopeless: bool,
        at: &[NodeId],
    ) -> Result<(), StoreError> {
        let now = ctx.clock.unix();
        let job = ctx.store.job(claim.task.job)?;
        let tried = ctx.store.task(claim.task)?.attempts + 1;
        let is_final = is_hopeless || tried >= job.file.attempts;
        let then = if is_final {
            Failure::Final
        } else {
            Failure::Retry(UnixMillis(now.0 + back_off(ctx.rng().random(), tried)))
        };
        let Some(in_row) = ctx.store.fail_task(claim, failed, then, now)? else { return Ok(()) };
        let state = ctx.store.job_state(claim.task.job)?;
        // A single other device that fails at everything says nothing about the job.
        let devices = self.failing.entry(claim.task.job).or_default();
        devices.extend(at);
        if at.is_empty() {
            devices.extend(ctx.me());
        }
        let is_one_word = !at.is_empty() && devices.len() < 2;
        if !state.is_final() && in_row >= MAX_FAILURES_IN_ROW && !is_one_word {
            let problem = format!(
                "paused after {in_row} failures in a row; the last: {}",
                clean_lines(&failed.problem)
            );
            // A hosted job has no user here who would resume it, and its requester would wait for ever.
            let to = if ctx.store.is_hosted(claim.task.job)? { JobState::Failed } else { JobState::Paused };
            ctx.store.set_job_state(claim.task.job, to, &problem, now)?;
            self.drop_tasks_of(ctx, claim.task.job, "the job was paused");
            if ctx.is_own(claim.task.job, &job.owner)? {
                let (name, problem) = views::said_of(&job.file.name, &failed.problem);
                ctx.announce(EventBody::Notice(Notice::JobStopped { id: claim.task.job, name, problem }));
            }
        }
        if job.grid.is_some() {
            let not_before = if let Failure::Retry(at) = then { at } else { now };
            ctx.out.input(Input::LentFailed { task: claim.task, is_final, not_before });
        }
        ctx.announce_job(claim.task.job);
        self.announce_end(ctx, claim.task.job, Some(state))
    }

    pub(crate) fn announce_end(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        state: Option<JobState>,
    ) -> Result<(), StoreError> {
        if !state.is_some_and(JobState::is_final) {
            return Ok(());
        }
        self.failing.remove(&id);
        let row = ctx.store.job(id)?;
        // Ends of hosted jobs are not announced: other devices choose their names and number.
        if !ctx.is_own(id, &row.owner)? {
            return Ok(());
        }
        if let Some(notice) = views::end_notice(&row) {
            ctx.announce(EventBody::Notice(notice));
        }
        Ok(())
    }
}

/// Back-off of 2^n seconds up to the cap, with a jitter of a quarter so that tasks do not return together.
fn back_off(random: u16, tried: u32) -> i64 {
    let seconds = 2f64.powi(tried.min(16) as i32).min(MAX_BACK_OFF.as_secs_f64());
    let jitter = 0.75 + f64::from(random) / f64::from(u16::MAX) * 0.5;
    (seconds * jitter * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_with_jitter_up_to_its_cap() {
        for (tried, seconds) in [(1, 2.0), (3, 8.0), (9, 512.0), (40, 512.0)] {
            let millis = back_off(rand::random(), tried) as f64;
            assert!((seconds * 740.0..=seconds * 1260.0).contains(&millis), "{tried}: {millis}");
        }
    }
}
