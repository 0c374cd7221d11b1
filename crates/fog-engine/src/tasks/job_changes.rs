//! Changes of jobs that their owner asks for.

use fog_api::{ApiError, EventBody, JobAction, Reply};
use fog_store::StoreError;
use fog_types::{ErrorKind, HasKind as _, JobId, JobState};

use crate::context::Context;
use crate::effects::Input;
use crate::query::to_api;
use crate::tasks::Tasks;
use crate::tasks::errors::TaskError;

impl Tasks {
    /// State of a job as its owner wants it.
    pub(crate) fn job_state(&self, ctx: &Context, id: JobId) -> Result<JobState, StoreError> {
        ctx.unstored.state(id).unwrap_or_else(|| match ctx.store.job_state(id) {
            // A running job exists even if the database cannot be read.
            Err(error)
                if error.kind() == ErrorKind::Storage
                    && self.active.values().any(|active| active.claim.task.job == id) =>
            {
                Ok(JobState::Running)
            }
            other => other,
        })
    }

    pub(crate) fn change_job(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        action: JobAction,
    ) -> Result<Reply, ApiError> {
        if action == JobAction::RunNow {
            return self.run_now(ctx, id);
        }
        let before = self.job_state(ctx, id).map_err(to_api)?;
        if action == JobAction::Remove {
            if !before.is_final() {
                return Err(TaskError::NotEnded { id }.into());
            }
            ctx.remove_job(id).map_err(to_api)?;
            ctx.out.input(Input::SweepStates);
            ctx.announce(EventBody::JobRemoved(id));
            return Ok(ctx.done());
        }
        let to = match action {
            JobAction::Pause => JobState::Paused,
            JobAction::Resume | JobAction::RunNow => JobState::Queued,
            JobAction::Cancel | JobAction::Remove => JobState::Cancelled,
        };
        if before == JobState::Running && to == JobState::Queued {
            return Ok(ctx.done());
        }
        let has_ended = before.is_final() && before != to;
        if has_ended || !ctx.wish_job(id, to).map_err(to_api)? && before.is_final() {
            return Err(TaskError::AlreadyEnded { id, state: before.as_str() }.into());
        }
        if to != JobState::Queued {
            self.drop_tasks_of(ctx, id, "the job was paused or cancelled");
        }
        ctx.out.input(Input::JobChanged(id));
        ctx.announce_job(id);
        Ok(ctx.done())
    }
}
