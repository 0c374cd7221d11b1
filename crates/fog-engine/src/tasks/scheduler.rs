//! Scheduling of local tasks: starting them, and ending their workers.

use std::time::Duration;

use fog_api::{ActiveTask, MemoryWait};
use fog_store::{Claim, FailedAttempt, Rank, StoreError};
use fog_types::text::clean_name;
use fog_types::{ByteCount, JobId, Percent, TaskId, UnixMillis, WorkUnits};
use tokio::sync::{mpsc, oneshot, watch};

use crate::ENGINE_NAME;
use crate::context::Context;
use crate::effects::Input;
use crate::message::EngineMessage;
use crate::tasks::launching::files_of;
use crate::tasks::runner::{self, Launch};
use crate::tasks::{Active, Tasks};

/// Owner of jobs of this device's user; other jobs are owned by the name of their device.
pub(crate) const OWN_JOB: &str = fog_api::THIS_DEVICE;

/// Difference of deadlines in milliseconds from which a task displaces another of the same priority.
/// Consecutive jobs with the default deadline stay below it.
const SOONER_MS: i64 = 3_600_000;

/// Most jobs that are passed over for lack of memory in one search for a task.
const MAX_PASSED: usize = 16;
/// Step in bytes to which reported spare memory is rounded, because it changes constantly.
const SPARE_STEP: u64 = 64 << 20;

/// Longest time that an ending worker may take for a last checkpoint.
const LAST_SAVE: Duration = Duration::from_secs(2);
/// Time after which a worker that was ended writes nothing any more.
const LEFT_AFTER: Duration = Duration::from_millis(200);

impl Tasks {
    /// Starts tasks while the verdict, the slots and the memory allow it.
    pub(crate) fn fill(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let duty = ctx.rules.verdict().duty;
        self.memory_waits.clear();
        if duty == Percent::ZERO || ctx.is_stopping {
            return Ok(());
        }
        let now = ctx.clock.unix();
        if ctx.finishing {
            return self.fill_to_finish(ctx, now);
        }
        ctx.store.wake_tasks(now)?;
        let memory_budget = self.memory_budget(ctx);
        let slots = ctx.settings.slots();
        let mut waiting = Vec::new();
        let mut held = 0;
        while let Some(next) = ctx.store.next_task_behind(held + waiting.len() as u32)? {
            if ctx.unstored.holds(next.job) {
                held += 1;
                continue;
            }
            if self.active.len() >= slots {
                if self.make_way(ctx, next)? {
                    continue;
                }
                break;
            }
            let job = ctx.store.job(next.job)?;
            let (used, wanted) = (self.memory_used(ctx), ctx.charge_of(next, &job, self.memory_budget(ctx)));
            let is_too_large = job.file.limits.footprint().0 > ctx.memory_ever();
            if used.saturating_add(wanted) > memory_budget && !is_too_large {
                let fits_alone = wanted <= memory_budget;
                if fits_alone && self.make_way(ctx, next)? {
                    continue;
                }
                let spare = in_steps(memory_budget.saturating_sub(used));
                waiting.push(MemoryWait { job: next.job, name: clean_name(&job.file.name), wanted, spare });
                // A task that would fit alone waits for running tasks to end, and later tasks wait as well.
                // Memory held by the owner's programs may be taken for hours, so smaller tasks go ahead
                // then.
                if fits_alone || waiting.len() >= MAX_PASSED {
                    break;
                }
                continue;
            }
            let claim = ctx.store.claim(next, ENGINE_NAME, now)?;
            self.start_claimed(ctx, claim, &job, now)?;
            ctx.announce_job(claim.task.job);
        }
        self.memory_waits = waiting;
        Ok(())
    }

    /// Continues the tasks that were running when the device should finish and stop, after a restart of the
    /// program.
    fn fill_to_finish(&mut self, ctx: &mut Context, now: UnixMillis) -> Result<(), StoreError> {
        while self.active.len() < ctx.settings.slots().max(1) {
            let Some(task) = self.to_finish.pop() else { break };
            if ctx.store.is_ready(task)? && !ctx.unstored.holds(task.job) {
                let job = ctx.store.job(task.job)?;
                let claim = ctx.store.claim(task, ENGINE_NAME, now)?;
                self.start_claimed(ctx, claim, &job, now)?;
                ctx.announce_job(task.job);
            }
        }
        Ok(())
    }

    /// Starts a worker for a claimed task, or records why that is impossible.
    pub(crate) fn start_claimed(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        job: &fog_store::JobRow,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let (wanted, most) = (job.file.limits.footprint(), ByteCount(ctx.memory_ever()));
        let failed = |problem| FailedAttempt { problem, units: WorkUnits(0), exit_code: None, logs: None };
        if wanted > most {
            let problem = format!(
                "a task of this job may hold {wanted} of memory, its files and checkpoints included; this device lends {most} at most"
            );
            return self.record_failure(ctx, claim, &failed(problem), true);
        }
        let budget = self.memory_budget(ctx);
        match ctx.launch(claim, job, self.duty_of(ctx, job.id), self.priority_of(job.id), budget) {
            Ok(launch) => self.start_task(ctx, launch, job, now),
            Err(error @ StoreError::NoBlob(id)) => {
                let known = files_of(job, claim.task.index).into_iter().find(|(_, file)| *file == id);
                let what = known.map_or_else(|| "a file of this job".to_owned(), |(what, _)| what);
                self.files_unusable(ctx, claim, runner::unusable(&what, &error), &[id])
            }
            Err(error) => self.record_failure(ctx, claim, &failed(error.to_string()), true),
        }
    }

    /// Puts back the running task with the lowest rank, to make room for a requested job.
    pub(crate) fn make_way_for_requested(&mut self, ctx: &mut Context) -> bool {
        let others = self
            .active
            .iter()
            .filter(|(_, active)| !self.run_now.contains(&active.claim.task.job) && !active.view.frozen);
        let least = others
            .min_by_key(|(_, active)| active.rank)
            .map(|(attempt, active)| (*attempt, active.claim.task.job));
        // Without a key there are no checkpoints, so the work of the task would be lost.
        let Some((attempt, job)) = least.filter(|_| ctx.key.is_some()) else { return false };
        self.drop_attempts(ctx, &[attempt], "a task that was asked for now took its place");
        ctx.out.input(Input::TaskWaits(job));
        ctx.announce_job(job);
        true
    }

    /// Puts back the running task with the lowest rank if `next` ranks higher. Its last checkpoint keeps
    /// its work.
    fn make_way(&mut self, ctx: &mut Context, next: TaskId) -> Result<bool, StoreError> {
        let now = ctx.clock.unix();
        let is_hosted = ctx.store.is_hosted(next.job)?;
        let rank = ctx.store.rank(next.job)?;
        // Hosted tasks do not displace own ones, whatever their priority, and requested jobs stay.
        let candidates = self.active.iter().filter(|(_, active)| {
            (!is_hosted || active.is_hosted) && !self.run_now.contains(&active.claim.task.job)
        });
        let least = candidates
            .min_by_key(|(_, active)| active.rank)
            .map(|(attempt, active)| (*attempt, active.rank, active.claim.task.job));
        let Some((attempt, least, job)) =
            least.filter(|(_, least, _)| ctx.key.is_some() && is_sooner(rank, *least, now))
        else {
            return Ok(false);
        };
        self.drop_attempts(ctx, &[attempt], "a task that is wanted sooner took its place");
        ctx.out.input(Input::TaskWaits(job));
        tracing::debug!(?rank, ?least, "a task makes way");
        ctx.announce_job(job);
        Ok(true)
    }

    pub(crate) fn start_task(
        &mut self,
        ctx: &mut Context,
        launch: Launch,
        job: &fog_store::JobRow,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let claim = launch.claim;
        let view = ActiveTask {
            job: claim.task.job,
            index: claim.task.index,
            name: clean_name(&job.file.name),
            owner: clean_name(&job.owner),
            tasks_total: job.tasks_total,
            permille: None,
            seconds_left: None,
            frozen: false,
            started_ms: now.0,
            units: 0,
            saved_ms: None,
            save_problem: String::new(),
        };
        let mean_units = ctx.store.mean_units(claim.task.job)?;
        let (wishes, wished) = mpsc::channel(4);
        let (duty, duty_seen) = watch::channel(self.duty_of(ctx, claim.task.job));
        let running = runner::run(launch, duty_seen, wished, ctx.to_self.clone());
        // Two workers of one task would write the same files.
        let before = self.leaving.remove(&claim.task);
        self.leaving.retain(|_, leaving| !leaving.is_finished());
        // The worker starts once its claim is stored.
        let (go, claimed) = oneshot::channel();
        ctx.out.signal(go);
        let task = tokio::spawn(async move {
            if claimed.await.is_err() {
                return;
            }
            if let Some(before) = before {
                let _ = before.await;
            }
            running.await;
        });
        let active = Active {
            claim,
            view,
            memory: job.file.limits.footprint().0,
            starting: ctx
                .charge_of(claim.task, job, self.memory_budget(ctx))
                .saturating_sub(job.file.limits.footprint().0),
            is_hosted: ctx.store.is_hosted(job.id)?,
            rank: ctx.store.rank(job.id)?,
            duty,
            pid: None,
            running_since: None,
            worked: Duration::ZERO,
            mean_units,
            has_advanced: false,
            job_task: task.abort_handle(),
            wishes,
        };
        self.active.insert(claim.attempt, active);
        Ok(())
    }

    /// Notes the last checkpoint of a task whose worker ends.
    pub(crate) fn saved_last(&mut self, ctx: &mut Context, task: TaskId, units: WorkUnits) {
        if let Err(error) = ctx.store.set_saved(task, units) {
            tracing::error!(%error, "how far a task is could not be kept; it goes on from there anyway");
        }
        ctx.announce_job(task.job);
    }

    /// Ends the workers of a job and puts their tasks back.
    pub(crate) fn drop_tasks_of(&mut self, ctx: &mut Context, job: JobId, why: &str) {
        let ended: Vec<u64> = self
            .active
            .iter()
            .filter(|(_, active)| active.claim.task.job == job)
            .map(|(attempt, _)| *attempt)
            .collect();
        self.drop_attempts(ctx, &ended, why);
    }

    /// Ends workers and puts their tasks back.
    pub(crate) fn drop_attempts(&mut self, ctx: &mut Context, ended: &[u64], why: &str) {
        for attempt in ended {
            let Some(active) = self.active.remove(attempt) else { continue };
            // The worker makes a last checkpoint if it can do so soon, then ends.
            let (wish, saved) = oneshot::channel();
            let Active { job_task, wishes, duty, .. } = active;
            // A job that is over needs no checkpoint.
            let is_over = ctx.is_over(active.claim.task.job);
            let asked = !is_over && wishes.try_send(wish).is_ok();
            let (task, to_self) = (active.claim.task, ctx.to_self.clone());
            let leaving = tokio::spawn(async move {
                let saved = if asked { tokio::time::timeout(LAST_SAVE, saved).await.ok() } else { None };
                job_task.abort();
                // A worker whose duty channel is closed saves nothing.
                drop(duty);
                if is_over {
                    // What a killed worker was saving is given up soon.
                    tokio::time::sleep(LEFT_AFTER).await;
                    let _ = to_self.try_send(EngineMessage::WorkerLeft);
                }
                let units = saved.and_then(Result::ok).and_then(Result::ok).map(WorkUnits);
                if let Some(units) = units {
                    // At a shutdown the loop no longer receives; the return value reaches it instead.
                    let _ = to_self.try_send(EngineMessage::Saved(task, units));
                }
                units
            });
            self.leaving.insert(active.claim.task, leaving);
            ctx.put_back(active.claim, why, active.has_advanced);
        }
    }
}

/// Spare memory rounded for display.
pub(crate) fn in_steps(spare: u64) -> u64 {
    spare / SPARE_STEP * SPARE_STEP
}

/// Whether work ranks so much higher that it displaces other work: by priority, by an hour, or by less than
/// half the remaining time.
fn is_sooner(work: Rank, than: Rank, now: UnixMillis) -> bool {
    let left = |rank: Rank| rank.deadline.0.saturating_sub(now.0).max(0);
    let (work_left, than_left) = (left(work), left(than));
    work.priority > than.priority
        || (work.priority == than.priority
            && (work_left.saturating_add(SOONER_MS) < than_left || work_left.saturating_mul(2) < than_left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_sooner_takes_a_place() {
        let rank = |priority, minutes: i64| Rank { priority, deadline: UnixMillis(minutes * 60_000) };
        let usual = rank(0, 7 * 1440);
        let is_sooner = |work, than| is_sooner(work, than, UnixMillis(0));
        assert!(
            is_sooner(rank(10, 7 * 1440), usual)
                && is_sooner(rank(0, 1), usual)
                && is_sooner(usual, rank(-10, 1))
        );
        assert!(
            !is_sooner(usual, usual)
                && !is_sooner(rank(0, 7 * 1440 - 30), usual)
                && !is_sooner(rank(-1, 1), usual)
        );
        // A task with one minute left does not wait for one with fifty.
        assert!(
            is_sooner(rank(0, 1), rank(0, 50))
                && !is_sooner(rank(0, 30), rank(0, 50))
                && !is_sooner(rank(0, 50), rank(0, 1))
        );
        // Both tasks are late, so displacing gains nothing.
        assert!(!is_sooner(rank(0, -9), rank(0, -1)));
        // The task with the lowest rank is displaced.
        assert!(rank(-10, 1) < usual && usual < rank(0, 1));
    }
}
