//! Events of workers: how far their tasks are, and how they end.

use std::time::Duration;

use fog_api::EventBody;
use fog_runtime::Priority;
use fog_store::StoreError;
use fog_types::WorkUnits;

use crate::context::Context;
use crate::effects::Input;
use crate::tasks::Tasks;
use crate::tasks::runner::TaskEvent;

impl Tasks {
    pub(crate) fn handle_task_event(
        &mut self,
        ctx: &mut Context,
        attempt: u64,
        news: TaskEvent,
    ) -> Result<(), StoreError> {
        self.report_to_exchange(ctx, attempt, &news);
        let Some(active) = self.active.get_mut(&attempt) else { return Ok(()) };
        match news {
            TaskEvent::Started { pid, units } => {
                active.pid = pid;
                // The job may have been requested while its program was compiled.
                if let Some(pid) = pid.filter(|_| self.run_now.contains(&active.claim.task.job)) {
                    fog_runtime::set_priority(pid, Priority::Asked);
                }
                active.view.units = units;
                active.view.saved_ms = (units > 0).then(|| ctx.clock.unix().0);
                active.running_since = Some(ctx.now());
                let task = active.claim.task;
                ctx.store.set_saved(task, WorkUnits(units))?;
            }
            TaskEvent::Began => active.starting = 0,
            TaskEvent::Frozen(frozen) => {
                active.view.frozen = frozen;
                active.worked += active.running_since.take().map_or(Duration::ZERO, |since| ctx.since(since));
                active.running_since = (!frozen).then(|| ctx.now());
            }
            TaskEvent::Progress { units, permille } => {
                self.span.units += units.saturating_sub(active.view.units);
                active.view.units = units;
                // If the task reports no progress, it is estimated from its finished siblings.
                let estimate = || {
                    active
                        .mean_units
                        .filter(|mean| mean.0 > 0)
                        .map(|mean| (units.saturating_mul(1000) / mean.0).min(990) as u16)
                };
                active.view.permille = permille.or_else(estimate);
                let worked = active.worked(ctx.now());
                active.view.seconds_left = active
                    .view
                    .permille
                    .filter(|p| *p > 0)
                    .map(|p| worked.as_secs() * u64::from(1000 - p.min(1000)) / u64::from(p));
                let (task, view) = (active.claim.task, active.view.clone());
                if let Some(permille) = view.permille {
                    ctx.store.set_progress(task, permille)?;
                }
                ctx.announce(EventBody::Progress(view));
            }
            TaskEvent::Saved { units } => {
                active.view.saved_ms = Some(ctx.clock.unix().0);
                active.view.save_problem.clear();
                active.view.units = active.view.units.max(units);
                active.has_advanced = true;
                let (task, view) = (active.claim.task, active.view.clone());
                ctx.store.set_saved(task, WorkUnits(units))?;
                ctx.announce(EventBody::Progress(view));
            }
            TaskEvent::NotSaved(problem) => {
                active.view.save_problem = problem;
                let view = active.view.clone();
                ctx.announce(EventBody::Progress(view));
            }
            TaskEvent::Done(done) => {
                let Some(active) = self.active.remove(&attempt) else { return Ok(()) };
                self.span.units += done.report.units.0.saturating_sub(active.view.units);
                self.task_done(ctx, active.claim, done)?;
            }
            TaskEvent::Ended(end) => {
                let Some(active) = self.active.remove(&attempt) else { return Ok(()) };
                self.span.units += end.units().0.saturating_sub(active.view.units);
                let job = active.claim.task.job;
                self.task_ended(ctx, active.claim, active.has_advanced, *end)?;
                ctx.out.input(Input::JobEnded(job));
            }
        }
        Ok(())
    }

    /// Reports the progress of a task to the exchange, which tells the requester of a hosted one.
    fn report_to_exchange(&mut self, ctx: &mut Context, attempt: u64, news: &TaskEvent) {
        let Some(active) = self.active.get(&attempt).filter(|active| active.is_hosted) else { return };
        let task = active.claim.task;
        ctx.out.input(match news {
            TaskEvent::Started { units, .. } => Input::TaskStarted { job: task.job, units: *units },
            TaskEvent::Frozen(frozen) => Input::TaskFrozen { job: task.job, frozen: *frozen },
            TaskEvent::Progress { units, permille } => {
                Input::TaskProgress { job: task.job, units: *units, permille: *permille }
            }
            TaskEvent::Saved { units } => Input::TaskSaved { task, units: *units },
            TaskEvent::Began | TaskEvent::NotSaved(_) | TaskEvent::Done(_) | TaskEvent::Ended(_) => return,
        });
    }
}
