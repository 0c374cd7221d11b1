//! Tasks that run on this device: from the submission of their job to their results.

pub(crate) mod assemble;
pub(crate) mod checkpoint_import;
pub(crate) mod checkpoints;
pub(crate) mod commands;
#[cfg(test)]
mod damaged_file_tests;
pub(crate) mod errors;
pub(crate) mod estimate;
pub(crate) mod estimates;
#[cfg(test)]
mod estimates_tests;
pub(crate) mod failures;
pub(crate) mod histories;
pub(crate) mod job_changes;
pub(crate) mod launching;
pub(crate) mod memory_budget;
pub(crate) mod no_room;
pub(crate) mod output_collector;
pub(crate) mod recording;
pub(crate) mod results;
pub(crate) mod run_now;
pub(crate) mod runner;
pub(crate) mod save_requests;
pub(crate) mod scheduler;
#[cfg(test)]
mod scheduler_tests;
pub(crate) mod stored_files;
pub(crate) mod submit;
pub(crate) mod task_events;
pub(crate) mod work_history;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fog_api::{ActiveTask, MemoryWait};
use fog_store::{Claim, Rank, StoreError};
use fog_types::{JobId, JobState, NodeId, Percent, TaskId, WorkUnits};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::context::{Context, Load};
use crate::tasks::checkpoints::SaveRequest;
use crate::tasks::estimates::Estimates;
use crate::tasks::recording::Recording;
use crate::tasks::work_history::Span;

/// Tasks that run on this device.
pub(crate) struct Tasks {
    /// Tasks that a restarted run still has to finish and has not started again.
    to_finish: Vec<TaskId>,
    active: BTreeMap<u64, Active>,
    /// Jobs whose estimate is awaited.
    estimates: Estimates,
    /// Duty of an estimate that the owner asked for now.
    requested_duty: watch::Sender<Percent>,
    /// Jobs that run regardless of other programs, until they end.
    run_now: BTreeSet<JobId>,
    /// Jobs that were passed over for lack of memory.
    memory_waits: Vec<MemoryWait>,
    span: Span,
    /// Workers that take a last checkpoint before they end.
    leaving: BTreeMap<TaskId, JoinHandle<Option<WorkUnits>>>,
    /// Work units per second of a task at full duty, as last measured; 0 before.
    speed: u64,
    recording: VecDeque<Recording>,
    /// Devices at which tasks of a job failed since one was last finished.
    failing: BTreeMap<JobId, BTreeSet<NodeId>>,
}

/// Work of this device for the status.
pub(crate) struct WorkView {
    pub(crate) active: Vec<ActiveTask>,
    pub(crate) run_now: Vec<JobId>,
    pub(crate) memory_waits: Vec<MemoryWait>,
    pub(crate) estimate_wait: Option<MemoryWait>,
    /// Milliseconds worked and work units that are not in the stored history yet.
    pub(crate) unstored_ms: u64,
    pub(crate) unstored_units: u64,
}

impl Tasks {
    /// Tasks of an engine that starts: `to_finish` were running when it was to finish and stop.
    pub(crate) fn new(to_finish: Vec<TaskId>, run_now: BTreeSet<JobId>, now: Instant) -> Self {
        Self {
            to_finish,
            active: BTreeMap::new(),
            estimates: Estimates::default(),
            requested_duty: watch::Sender::new(Percent::ZERO),
            run_now,
            memory_waits: Vec::new(),
            span: Span::begin(now),
            leaving: BTreeMap::new(),
            speed: 0,
            recording: VecDeque::new(),
            failing: BTreeMap::new(),
        }
    }

    /// Shows other subsystems what this device works on.
    pub(crate) fn show_load(&self, load: &mut Load) {
        load.own = self.active.values().filter(|active| !active.is_hosted).count();
        load.running.clear();
        load.running.extend(self.active.values().map(|active| active.claim.task));
        load.run = self.active.values().map(Active::charge).fold(self.estimates.memory, u64::saturating_add);
        load.speed = self.speed;
    }

    pub(crate) fn view(&self) -> WorkView {
        WorkView {
            active: self.active.values().map(|active| active.view.clone()).collect(),
            run_now: self.run_now.iter().copied().collect(),
            memory_waits: self.memory_waits.clone(),
            estimate_wait: self.estimates.wait.clone(),
            unstored_ms: self.span.unstored_millis(),
            unstored_units: self.span.units - self.span.stored.units,
        }
    }

    /// Whether a task runs and is not frozen.
    pub(crate) fn is_working(&self) -> bool {
        self.active.values().any(|active| !active.view.frozen)
    }

    /// Whether a task runs, or an estimate runs or waits.
    pub(crate) fn is_busy(&self) -> bool {
        !self.active.is_empty() || self.estimates.is_busy()
    }

    /// Whether all tasks have ended that were to be finished.
    pub(crate) fn has_finished(&self) -> bool {
        self.active.is_empty() && self.to_finish.is_empty()
    }

    /// Forgets which tasks of the last run were to be finished.
    pub(crate) fn forget_to_finish(&mut self) {
        self.to_finish.clear();
    }

    /// Memory in bytes that the states of all running tasks may take.
    pub(crate) fn states_at_most(&self) -> u64 {
        self.active.values().map(|active| active.memory).fold(0, u64::saturating_add)
    }

    /// Moves what ends at a time by the milliseconds by which the calendar was set.
    pub(crate) fn clock_was_set(&mut self, by: i64) {
        if let Some(at) = &mut self.span.stored.at {
            at.0 = at.0.saturating_add(by);
        }
        for active in self.active.values_mut() {
            active.rank.deadline.0 = active.rank.deadline.0.saturating_add(by);
        }
    }

    /// Ends the workers, puts their tasks back and closes the current point of the history.
    pub(crate) fn shutdown(&mut self, ctx: &mut Context) {
        let jobs: BTreeSet<JobId> = self.active.values().map(|active| active.claim.task.job).collect();
        for job in jobs {
            self.drop_tasks_of(ctx, job, "the engine stopped");
        }
        if ctx.since(self.span.begun) > Duration::from_secs(5) {
            self.close_span(ctx);
        }
    }

    /// Compares the running tasks with the rows, after some changes could not be stored: tasks whose end was
    /// lost go on from their checkpoints, and workers whose claim was lost end.
    pub(crate) fn catch_up(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let claims = ctx.store.running_here()?;
        let now = ctx.clock.unix();
        for claim in &claims {
            let is_recorded = self.recording.iter().any(|recording| recording.claim() == *claim);
            if !self.active.contains_key(&claim.attempt) && !is_recorded {
                ctx.store.release_task(*claim, "its end could not be stored", true, now)?;
            }
        }
        let strays: Vec<u64> = self
            .active
            .keys()
            .copied()
            .filter(|attempt| !claims.iter().any(|claim| claim.attempt == *attempt))
            .collect();
        self.drop_attempts(ctx, &strays, "its beginning could not be stored");
        Ok(())
    }

    /// Takes the workers that make a last checkpoint before they end.
    pub(crate) fn take_leaving(&mut self) -> BTreeMap<TaskId, JoinHandle<Option<WorkUnits>>> {
        std::mem::take(&mut self.leaving)
    }

    /// Handles a recorded result of another device, which left its job in this state.
    pub(crate) fn finished_elsewhere(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        state: Option<JobState>,
    ) -> Result<(), StoreError> {
        self.failing.remove(&job);
        self.announce_end(ctx, job, state)
    }
}

/// A task that runs in a worker.
pub(crate) struct Active {
    claim: Claim,
    pub(crate) view: ActiveTask,
    pub(crate) memory: u64,
    /// Additional memory until the task runs: a compiler may take more, and a restored state comes on top.
    pub(crate) starting: u64,
    /// Whether the job belongs to another device.
    pub(crate) is_hosted: bool,
    /// Priority of the job.
    pub(crate) rank: Rank,
    pub(crate) duty: watch::Sender<Percent>,
    pub(crate) pid: Option<u32>,
    pub(crate) running_since: Option<Instant>,
    pub(crate) worked: Duration,
    pub(crate) mean_units: Option<WorkUnits>,
    /// Whether a checkpoint was taken since the task started.
    pub(crate) has_advanced: bool,
    pub(crate) job_task: AbortHandle,
    pub(crate) wishes: mpsc::Sender<SaveRequest>,
}

impl Active {
    /// Memory in bytes that the task takes from the lent memory.
    pub(crate) fn charge(&self) -> u64 {
        self.memory.saturating_add(self.starting)
    }

    /// Time for which the task has run in this attempt.
    pub(crate) fn worked(&self, now: Instant) -> Duration {
        self.worked + self.running_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
