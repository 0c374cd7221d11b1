//! Scheduling of local tasks: starting them, handling news of their workers, and recording their ends.

use std::time::Duration;

use fog_api::{ActiveTask, EventBody, MemoryWait, Notice};
use fog_runtime::Priority;
use fog_store::{Claim, FailedAttempt, Failure, Rank, StoreError};
use fog_types::text::{clean_lines, clean_name};
use fog_types::{BlobId, ByteCount, JobId, JobState, NodeId, Percent, TaskId, UnixMillis, WorkUnits};
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot, watch};

use crate::context::Context;
use crate::effects::Input;
use crate::message::EngineMessage;
use crate::tasks::checkpoints::checkpoint_path;
use crate::tasks::launching::files_of;
use crate::tasks::runner::{self, Launch, TaskEvent, TaskOutcome};
use crate::tasks::{Active, Tasks};
use crate::{ENGINE_NAME, views};

/// Owner of jobs of this device's user; other jobs are owned by the name of their device.
pub(crate) const OWN_JOB: &str = fog_api::THIS_DEVICE;
/// Number of failures in a row after which a job is paused and the user told (Folding@home `lostWUs`).
const MAX_FAILURES_IN_ROW: u32 = 5;

/// Longest wait before another attempt (Folding@home's upload back-off: 2^n s, cap 512 s).
const MAX_BACK_OFF: Duration = Duration::from_secs(512);

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

    /// Records that stored files of a task are changed or missing. An own job fails, because its owner has
    /// the originals. A hosted job is returned so that it can run elsewhere, or here after its files were
    /// fetched again; its requester is not told where files lie on this device.
    fn files_unusable(
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

    pub(crate) fn task_news(
        &mut self,
        ctx: &mut Context,
        attempt: u64,
        news: TaskEvent,
    ) -> Result<(), StoreError> {
        self.tell_exchange(ctx, attempt, &news);
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
    fn tell_exchange(&mut self, ctx: &mut Context, attempt: u64, news: &TaskEvent) {
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

    #[test]
    fn back_off_doubles_with_jitter_up_to_its_cap() {
        for (tried, seconds) in [(1, 2.0), (3, 8.0), (9, 512.0), (40, 512.0)] {
            let millis = back_off(rand::random(), tried) as f64;
            assert!((seconds * 740.0..=seconds * 1260.0).contains(&millis), "{tried}: {millis}");
        }
    }
}
