//! Routes: which subsystem hears what. Subsystems never call each other.

use fog_store::StoreError;

use crate::effects::Input;
use crate::event_loop::Engine;

impl Engine {
    /// Passes on what the subsystems tell each other, until none has anything more to say.
    pub(crate) fn settle(&mut self) {
        loop {
            self.tasks.show_load(&mut self.ctx.load);
            self.ctx.load.replay = self.grid.replaying;
            let Some(input) = self.ctx.out.pop_input() else { return };
            if let Err(error) = self.route(input) {
                tracing::error!(%error, "what follows from a change could not be stored");
            }
        }
    }

    fn route(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            // Tasks → exchange.
            Input::TaskStarted { job, units } => self.host_began(job, units),
            Input::TaskFrozen { job, frozen } => self.host_frozen(job, frozen),
            Input::TaskProgress { job, units, permille } => self.host_progress(job, None, units, permille),
            Input::TaskSaved { task, units } => self.host_saved(task, units),
            Input::TaskWaits(job) => self.host_waits(job),
            Input::JobEnded(job) => return self.host_ended(job),
            Input::JobSubmitted(job) => return self.sync_job(job),
            Input::JobChanged(job) => return self.job_changed(job),
            Input::LentFailed { task, is_final, not_before } => return self.sync_failed(task, is_final, not_before),
            Input::LentRecorded { task, winner, placed } => self.lent_recorded(task, winner, placed),
            Input::LentUnwanted(task) => drop(self.grid.placing.remove(&task)),
            // Exchange → tasks.
            Input::RecordLent { task, winner, claim, placed, outputs } => self.tasks.record_lent(task, winner, claim, placed, outputs),
            Input::FailedElsewhere { claim, failed, is_hopeless, at } => {
                return self.tasks.record_failure_at(&mut self.ctx, claim, &failed, is_hopeless, &at);
            }
            Input::FinishedElsewhere { job, state } => return self.tasks.finished_elsewhere(&mut self.ctx, job, state),
            Input::EndTasks { job, why } => self.tasks.drop_tasks_of(&mut self.ctx, job, why),
            // Duty → tasks, chat.
            Input::FinishingChanged => self.tasks.forget_to_finish(),
            Input::SettingsChanged => return self.chat.look_at_chat(&mut self.ctx),
            // To several.
            Input::SweepStates => self.sweep_states(),
            Input::Sample => self.duty.sample_now(),
        }
        Ok(())
    }
}
