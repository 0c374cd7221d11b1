use std::collections::BTreeMap;

use fog_types::{JobId, JobState, TaskState};
use serde::{Deserialize, Serialize};

use crate::verdict::VerdictView;

/// Owner name of jobs that were submitted on this device.
pub const THIS_DEVICE: &str = "this device";

/// State of the first screen at one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number of changes so far; the event with revision `n + 1` follows the snapshot with `n`.
    pub revision: u64,
    /// Release of the engine.
    pub version: String,
    /// Status of the engine.
    pub status: Status,
    /// Newest jobs, newest first, at most 100.
    pub jobs: Vec<JobSummary>,
    /// Value of every setting, by key.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Joined networks and their devices.
    #[serde(default)]
    pub network: crate::NetworkView,
    /// State of chat.
    #[serde(default)]
    pub chat: crate::ChatView,
    /// Path of the data folder.
    pub data_folder: String,
    /// Whether the engine runs in a separate daemon rather than in this window.
    pub attached: bool,
}

/// Estimated cost of a job on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateView {
    /// Number of tasks of the job.
    pub tasks: u32,
    /// Number of tasks that would run at once.
    pub at_once: u32,
    /// Work units of the sample.
    pub sample_units: u64,
    /// Running time of the sample at full speed, in milliseconds.
    pub sample_ms: u64,
    /// Whether the sample is the complete first task.
    pub is_whole: bool,
    /// Work units of the whole job; `None` when the program reports no progress.
    pub units: Option<u64>,
    /// Seconds for the whole job at full duty; `None` when the program reports no progress.
    pub seconds: Option<u64>,
    /// Bytes of memory of a task: measured for a complete sample, otherwise the job's limit.
    pub memory: u64,
}

/// Status of the engine: whether it works, and on which tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the user has switched contributing on.
    pub contributing: bool,
    /// Time until which the user paused work.
    pub snoozed_until_ms: Option<i64>,
    /// Verdict of the rules.
    pub verdict: VerdictView,
    /// Tasks that are in workers now.
    pub active: Vec<ActiveTask>,
    /// Job name and index of the task that runs next.
    pub next: Option<String>,
    /// Number of jobs by state.
    pub counts: JobCounts,
    /// Work done since midnight.
    pub today: Today,
    /// Time of this status.
    pub at_ms: i64,
    /// Jobs that run until they end even while the device is in use.
    #[serde(default)]
    pub run_now: Vec<JobId>,
    /// Jobs that wait because a task does not fit into the memory that is lent; at most 16.
    #[serde(default)]
    pub memory_waits: Vec<MemoryWait>,
    /// A job that waits to be estimated because it does not fit into the memory that is lent; its id is 0.
    #[serde(default)]
    pub estimate_wait: Option<MemoryWait>,
    /// Reason why no checkpoints are taken and tasks start over after a stop; empty when they are taken.
    #[serde(default)]
    pub no_checkpoints: String,
    /// Reason why changes in force are not stored and a restart loses them; empty when all are stored.
    #[serde(default)]
    pub unstored: String,
}

impl Status {
    /// Returns the highest duty at which a task runs now, in percent; 0 when none runs.
    #[must_use]
    pub fn duty(&self) -> u8 {
        let mut running = self.active.iter().filter(|task| !task.frozen).peekable();
        if running.peek().is_none() {
            0
        } else if running.any(|task| self.run_now.contains(&task.job)) {
            self.verdict.requested_duty()
        } else {
            self.verdict.duty
        }
    }

    /// Returns the displayed state of a job: a started job counts as queued while rules stop all work here.
    #[must_use]
    pub fn shown_state(&self, job: &JobSummary) -> JobState {
        let stands_still = self.verdict.duty == 0 && self.duty() == 0;
        if job.state == JobState::Running && !job.is_grid && stands_still {
            JobState::Queued
        } else {
            job.state
        }
    }
}

/// A job whose next task does not fit into memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryWait {
    /// Id of the job.
    pub job: JobId,
    /// Name of the job.
    pub name: String,
    /// Bytes of memory that the task may use, including its files and checkpoints.
    pub wanted: u64,
    /// Bytes that can still be lent beside the running tasks, in steps of 64 MiB.
    pub spare: u64,
}

/// A task that is in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveTask {
    /// Id of the job.
    pub job: JobId,
    /// Index of the task.
    pub index: u32,
    /// Name of the job.
    pub name: String,
    /// Name of the owner of the job.
    pub owner: String,
    /// Number of tasks of the job.
    pub tasks_total: u32,
    /// Progress in thousandths; `None` when it is unknown.
    pub permille: Option<u16>,
    /// Estimated seconds left; `None` when they are unknown.
    pub seconds_left: Option<u64>,
    /// The task is suspended in its worker and waits to continue.
    pub frozen: bool,
    /// Time at which this attempt started.
    pub started_ms: i64,
    /// Work units used so far.
    pub units: u64,
    /// Time of the newest checkpoint; `None` when there is none.
    #[serde(default)]
    pub saved_ms: Option<i64>,
    /// Reason why the newest state could not be saved; empty if it was.
    #[serde(default)]
    pub save_problem: String,
}

/// Number of jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobCounts {
    /// Accepted jobs without a started task.
    pub queued: u64,
    /// Jobs with at least one started task.
    pub running: u64,
    /// Jobs that are paused.
    pub paused: u64,
    /// Jobs with all results.
    pub finished: u64,
    /// Jobs that were given up.
    pub failed: u64,
    /// Jobs that the user cancelled.
    pub cancelled: u64,
}

/// Work done since midnight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Today {
    /// Milliseconds during which at least one task ran.
    pub worked_ms: u64,
    /// Work units done.
    pub units: u64,
    /// Number of results.
    pub results: u64,
}

/// One row of the list of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Id of the job.
    pub id: JobId,
    /// Name of the job.
    pub name: String,
    /// Name of the owner.
    pub owner: String,
    /// State of the job.
    pub state: JobState,
    /// Priority, -10 (last) to 10 (first).
    pub priority: i8,
    /// Number of all tasks.
    pub tasks_total: u32,
    /// Number of tasks with a result.
    pub tasks_finished: u32,
    /// Work units of finished tasks; a [`JobDetail`] adds those of unfinished tasks so far.
    pub units: u64,
    /// Time at which the job was accepted.
    pub created_ms: i64,
    /// Time at which the job is given up.
    pub deadline_ms: i64,
    /// Time at which the job ended.
    pub finished_ms: Option<i64>,
    /// Reason why the job failed or was paused; empty otherwise.
    pub problem: String,
    /// Whether the result is one picture, which can be shown before all tasks are done.
    pub is_picture: bool,
    /// Whether other devices may run the job.
    #[serde(default)]
    pub is_grid: bool,
}

/// One job with all details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// Row of the job in the list.
    pub summary: JobSummary,
    /// BLAKE3 id of the Wasm module.
    pub module: String,
    /// The job file as JSON.
    pub spec: serde_json::Value,
    /// Page of tasks.
    pub tasks: Vec<TaskView>,
    /// Journal of the job, oldest entry first.
    pub journal: Vec<JournalLine>,
    /// Estimated work units of the unfinished tasks, from the mean of the finished ones.
    pub units_left: Option<u64>,
    /// Service and cost on other devices; `None` for a job that runs only here.
    #[serde(default)]
    pub grid: Option<crate::GridView>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Index of the task.
    pub index: u32,
    /// State of the task.
    pub state: TaskState,
    /// Progress in thousandths.
    pub permille: u16,
    /// Exit code of the program; `None` without a result.
    pub exit_code: Option<u32>,
    /// Work units of the result, or so far while the task runs here.
    pub units: u64,
    /// Running time of the result in milliseconds, or so far while the task runs here.
    pub active_ms: u64,
    /// Peak memory in bytes.
    pub memory: u64,
    /// Hash that identifies the result.
    pub result_hash: Option<String>,
    /// Error of the last failed attempt; for a finished task, remarks about its result.
    pub problem: String,
    /// Time before which the task is not tried again.
    pub not_before_ms: i64,
    /// Output files, up to the limit of a page.
    pub outputs: Vec<OutputView>,
    /// Number of output files not listed here; [`JobCommand::Outputs`](crate::JobCommand::Outputs) lists them.
    #[serde(default)]
    pub outputs_left_out: u64,
    /// Number of files renamed or left out; [`JobCommand::Renamed`](crate::JobCommand::Renamed) lists them.
    #[serde(default)]
    pub renamed: u64,
    /// Attempts at the task.
    pub attempts: Vec<AttemptView>,
    /// Number of marks in the task's history.
    #[serde(default)]
    pub marks: u32,
    /// Bytes of standard output and of standard error that the job's log limit cut off.
    #[serde(default)]
    pub dropped: (u64, u64),
}

/// An output file that was renamed in the result or left out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenamedView {
    /// Name that the program gave the file.
    pub name: String,
    /// Name of the file in the result; `None` when it was left out.
    pub kept: Option<String>,
    /// Reason why the file was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Summary of an exported task history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Index of the task.
    pub index: u32,
    /// Work units between two marks.
    pub segment: u64,
    /// Number of marks.
    pub marks: u32,
    /// Number of exported checkpoints.
    pub checkpoints: u32,
    /// Whether the task has ended, so that the last segment is included.
    pub ended: bool,
    /// Number of a segment that the exported checkpoints allow to check; `None` when there is none.
    pub checked: Option<u32>,
}

/// One file of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// Path of the file, relative to the result.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 id of the content.
    pub blob: String,
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Time at which the attempt started.
    pub started_ms: i64,
    /// Time at which the attempt ended; `None` while it runs.
    pub ended_ms: Option<i64>,
    /// `running`, `finished`, `failed`, `interrupted` or `cancelled`.
    pub outcome: String,
    /// Explanation of the outcome.
    pub detail: String,
}

/// One entry of a job's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Time of the entry.
    pub at_ms: i64,
    /// Kind of the entry, one word.
    pub kind: String,
    /// Index of the task; `None` when the entry is about the whole job.
    pub index: Option<u32>,
    /// Details in words.
    pub detail: String,
}

/// One period in the work history of the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Time at which the period ended.
    pub at_ms: i64,
    /// Length of the period in milliseconds.
    pub span_ms: u64,
    /// Mean duty in percent, 0 to 100.
    pub duty: u8,
    /// Milliseconds during which at least one task ran.
    pub worked_ms: u64,
    /// Work units done.
    pub units: u64,
    /// Processor temperature in °C.
    pub cpu_temp: Option<f64>,
    /// Battery charge in percent.
    pub battery: Option<f64>,
    /// Processor use of other programs in percent.
    pub other_cpu: Option<f64>,
    /// Word of the first rule that stopped work; empty when the device worked, `idle` when no task waited.
    pub reason: String,
}

/// An example job that comes with the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Name of the example, for [`SubmitExample`](crate::JobCommand::SubmitExample).
    pub name: String,
    /// Title for people: the name in the job file.
    pub title: String,
}

/// One check of `fog doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the check.
    pub name: String,
    /// Outcome of the check.
    pub state: CheckState,
    /// Finding, with advice when something is wrong.
    pub detail: String,
}

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Works as it should.
    Good,
    /// Missing, but the program works without it.
    Missing,
    /// Does not work although it should.
    Bad,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EffectView, ReasonView, ResumeView, ValueView};

    fn reason(effect: EffectView, yields: bool) -> ReasonView {
        let (now, limit) = (ValueView::Nothing, ValueView::Nothing);
        ReasonView {
            rule: "rule".to_owned(),
            effect,
            now,
            limit,
            resumes: ResumeView::ConditionEnds,
            held_until_ms: None,
            yields,
        }
    }

    #[test]
    fn the_duty_is_of_what_runs() {
        let task = |job| ActiveTask {
            job: JobId(job),
            index: 0,
            name: String::new(),
            owner: String::new(),
            tasks_total: 1,
            permille: None,
            seconds_left: None,
            frozen: false,
            started_ms: 0,
            units: 0,
            saved_ms: None,
            save_problem: String::new(),
        };
        let status = |duty, active: Vec<ActiveTask>, reasons| Status {
            verdict: VerdictView { duty, reasons, ..VerdictView::default() },
            active,
            run_now: vec![JobId(7)],
            ..Status::default()
        };
        let (stops, limits) = (reason(EffectView::Stops, true), reason(EffectView::Limits(40), false));
        assert_eq!(status(50, vec![], vec![]).duty(), 0);
        assert_eq!(status(50, vec![ActiveTask { frozen: true, ..task(1) }], vec![]).duty(), 0);
        assert_eq!(status(50, vec![task(1)], vec![]).duty(), 50);
        assert_eq!(status(0, vec![task(7)], vec![stops.clone()]).duty(), 100, "asked for now");
        assert_eq!(status(0, vec![task(7)], vec![stops, limits]).duty(), 40);
    }
}
