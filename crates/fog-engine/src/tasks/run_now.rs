//! Jobs that their owner wants to run now, regardless of other programs; they have a duty of their own.

use std::collections::{BTreeMap, BTreeSet};

use fog_api::{ApiError, Reply};
use fog_runtime::Priority;
use fog_store::StoreError;
use fog_types::{JobId, JobState, Percent};
use serde_json::Value;

use crate::ENGINE_NAME;
use crate::context::Context;
use crate::effects::Input;
use crate::query::to_api;
use crate::tasks::errors::TaskError;
use crate::tasks::{Active, Tasks};

/// Key of the jobs to run now among the stored settings.
const RUN_NOW_KEY: &str = "_run_now";
/// Most jobs that can be requested to run now at once.
const MAX_RUN_NOW: usize = 100;

/// Reads the jobs that were requested before the last stop.
pub(crate) fn stored(settings: &BTreeMap<String, Value>) -> BTreeSet<JobId> {
    let list = settings.get(RUN_NOW_KEY).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_u64).take(MAX_RUN_NOW).map(JobId).collect()
}

impl Tasks {
    /// Runs a job of this device to its end, even while the owner or other programs use the machine.
    pub(crate) fn run_now(&mut self, ctx: &mut Context, id: JobId) -> Result<Reply, ApiError> {
        let job = ctx.store.job(id).map_err(to_api)?;
        let state = self.job_state(ctx, id).map_err(to_api)?;
        if state.is_final() {
            return Err(TaskError::AlreadyEnded { id, state: state.as_str() }.into());
        }
        if job.grid.is_some() {
            return Err(TaskError::RunsElsewhere { id }.into());
        }
        if ctx.store.is_hosted(id).map_err(to_api)? {
            return Err(TaskError::OfAnotherDevice { id }.into());
        }
        if self.run_now.len() >= MAX_RUN_NOW && !self.run_now.contains(&id) {
            return Err(TaskError::TooManyRunNow { most: MAX_RUN_NOW }.into());
        }
        if state == JobState::Paused {
            ctx.wish_job(id, JobState::Queued).map_err(to_api)?;
            ctx.announce_job(id);
        }
        self.run_now.insert(id);
        self.store_run_now(ctx);
        for pid in
            self.active.values().filter(|active| active.claim.task.job == id).filter_map(|active| active.pid)
        {
            fog_runtime::set_priority(pid, Priority::Asked);
        }
        ctx.out.input(Input::Sample);
        Ok(ctx.done())
    }

    fn store_run_now(&mut self, ctx: &mut Context) {
        let list: Vec<Value> = self.run_now.iter().map(|id| id.0.into()).collect();
        ctx.keep_settings(&[(RUN_NOW_KEY.to_owned(), (!list.is_empty()).then(|| list.into()))]);
    }

    /// Scheduling priority of a job's workers relative to other programs.
    pub(crate) fn priority_of(&self, job: JobId) -> Priority {
        if self.run_now.contains(&job) { Priority::Asked } else { Priority::Idle }
    }

    /// Duty at which tasks of a job run.
    pub(crate) fn duty_of(&self, ctx: &Context, job: JobId) -> Percent {
        let verdict = ctx.rules.verdict();
        if self.run_now.contains(&job) { verdict.for_requested().duty } else { verdict.duty }
    }

    /// Highest duty of the tasks that run now.
    pub(crate) fn highest_duty(&self) -> Percent {
        self.active
            .values()
            .filter(|active| !active.view.frozen)
            .map(|active| *active.duty.borrow())
            .max()
            .unwrap_or(Percent::ZERO)
    }

    /// Sends every worker the duty of its job.
    pub(crate) fn set_duties(&self, ctx: &Context) {
        let verdict = ctx.rules.verdict();
        for (to, duty) in
            [(&ctx.work_duty, verdict.duty), (&self.requested_duty, verdict.for_requested().duty)]
        {
            to.send_if_modified(|known| std::mem::replace(known, duty) != duty);
        }
        for active in self.active.values() {
            let duty = self.duty_of(ctx, active.claim.task.job);
            active.duty.send_if_modified(|known| std::mem::replace(known, duty) != duty);
        }
    }

    /// Starts tasks of the requested jobs, ahead of the queue and in addition to frozen tasks.
    pub(crate) fn fill_requested(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        if self.run_now.is_empty() {
            return Ok(());
        }
        let store = &ctx.store;
        // A paused job keeps the request until it is resumed.
        let has_ended = |id: &JobId| match store.job_state(*id) {
            Ok(state) => state.is_final(),
            Err(error) => matches!(error, StoreError::NoJob(_)),
        };
        let ended: Vec<JobId> = self.run_now.iter().copied().filter(has_ended).collect();
        if !ended.is_empty() {
            self.run_now.retain(|id| !ended.contains(id));
            self.store_run_now(ctx);
        }
        if ctx.finishing || ctx.is_stopping || ctx.rules.verdict().for_requested().duty == Percent::ZERO {
            return Ok(());
        }
        let now = ctx.clock.unix();
        for id in self.run_now.clone().into_iter().filter(|id| !ctx.unstored.holds(*id)).collect::<Vec<_>>() {
            let job = ctx.store.job(id)?;
            loop {
                let counts =
                    |active: &&Active| !active.view.frozen || self.run_now.contains(&active.claim.task.job);
                let (mut busy, mut used) = (0, self.memory_beside(ctx));
                for active in self.active.values().filter(counts) {
                    busy += 1;
                    used = used.saturating_add(active.charge());
                }
                let next = ctx.store.next_task_of(id, now)?;
                let wanted = next.map_or_else(
                    || ctx.charge(&job, self.memory_budget(ctx)),
                    |task| ctx.charge_of(task, &job, self.memory_budget(ctx)),
                );
                let fits = used.saturating_add(wanted) <= self.memory_budget(ctx);
                if busy >= ctx.settings.slots() || (busy > 0 && !fits) {
                    // Other tasks save and are put back: the owner's request does not wait for them.
                    if next.is_some() && self.make_way_for_requested(ctx) {
                        continue;
                    }
                    break;
                }
                let Some(claim) = ctx.store.claim_task_of(id, ENGINE_NAME, now)? else { break };
                self.start_claimed(ctx, claim, &job, now)?;
                ctx.announce_job(id);
            }
        }
        Ok(())
    }
}
