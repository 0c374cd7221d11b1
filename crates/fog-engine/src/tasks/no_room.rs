//! Ends of tasks for whose files there is no room.

use fog_api::{EventBody, Notice};
use fog_store::{Claim, FailedAttempt, Failure, StoreError};
use fog_types::{JobState, WorkUnits};

use crate::context::Context;
use crate::tasks::Tasks;
use crate::views;

impl Tasks {
    /// Records that there is no room for what a task left. When room can only come from the owner, an own job
    /// is paused at once, as every attempt would end in the same way, and a hosted one is returned.
    pub(crate) fn no_room(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        error: &StoreError,
        units: WorkUnits,
    ) -> Result<(), StoreError> {
        let job = claim.task.job;
        let failed = FailedAttempt {
            problem: format!("there is no room for what it leaves: {error}"),
            units,
            exit_code: None,
            logs: None,
        };
        let now = ctx.clock.unix();
        if ctx.store.is_hosted(job)? {
            // The task itself has not failed: another device may have room. How full this one is, is nobody's
            // business.
            let problem = "this device has no room for what the task leaves".to_owned();
            ctx.store.fail_task(
                claim,
                &FailedAttempt { problem: problem.clone(), ..failed },
                Failure::Retry(now),
                now,
            )?;
            ctx.store.set_job_state(job, JobState::Failed, &problem, now)?;
            ctx.announce_job(job);
            return Ok(());
        }
        if !self.lacks_room_for_good(ctx, error)? {
            return self.record_failure(ctx, claim, &failed, false);
        }
        ctx.store.fail_task(claim, &failed, Failure::Retry(now), now)?;
        let problem = format!(
            "paused, as {}. When there is room, resume the job: it goes on from its last checkpoint",
            failed.problem
        );
        ctx.store.set_job_state(job, JobState::Paused, &problem, now)?;
        self.drop_tasks_of(ctx, job, "the job was paused");
        let (name, problem) = views::said_of(&ctx.store.job(job)?.file.name, &problem);
        ctx.announce(EventBody::Notice(Notice::JobStopped { id: job, name, problem }));
        ctx.announce_job(job);
        Ok(())
    }

    /// Whether files would not fit even if nothing else were being written.
    fn lacks_room_for_good(&self, ctx: &Context, error: &StoreError) -> Result<bool, StoreError> {
        let StoreError::Full { wanted, cap } = error else {
            return Ok(matches!(error, StoreError::DiskLow { .. }));
        };
        let found = ctx.store.disk_use()?;
        Ok(wanted.0 > cap.0.saturating_sub(found.needed().saturating_sub(found.incoming)))
    }
}
