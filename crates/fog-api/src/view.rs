use std::collections::BTreeMap;

use fog_types::{JobId, JobState, TaskState};
use serde::{Deserialize, Serialize};

use crate::verdict::VerdictView;

/// The owner of the jobs that were submitted here.
pub const THIS_DEVICE: &str = "this device";

/// Everything the first screen shows, at one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts changes; an event with revision `n + 1` follows a snapshot with `n`.
    pub revision: u64,
    /// Release of the engine.
    pub version: String,
    /// Working or not.
    pub status: Status,
    /// The newest jobs, newest first, at most 100.
    pub jobs: Vec<JobSummary>,
    /// Every setting.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Networks, and who is there.
    #[serde(default)]
    pub network: crate::NetworkView,
    /// Chat.
    #[serde(default)]
    pub chat: crate::ChatView,
    /// The data folder.
    pub data_folder: String,
    /// The engine runs in a daemon of its own rather than in this window.
    pub attached: bool,
}

/// What a job would cost on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateView {
    /// Tasks it has.
    pub tasks: u32,
    /// Tasks that would run at once.
    pub at_once: u32,
    /// Work units of the sample.
    pub sample_units: u64,
    /// Running time of the sample.
    pub sample_ms: u64,
    /// The sample is the whole first task.
    pub is_whole: bool,
    /// Work units of the whole job; `None` when the program does not tell how far it is.
    pub units: Option<u64>,
    /// Seconds of the whole job at full duty; `None` as for the units.
    pub seconds: Option<u64>,
    /// Bytes of memory a task takes: as seen, or the job's limit when the sample was not whole.
    pub memory: u64,
}

/// Working or not, and on what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The big switch.
    pub contributing: bool,
    /// Paused by hand until then.
    pub snoozed_until_ms: Option<i64>,
    /// What the rules say.
    pub verdict: VerdictView,
    /// Tasks in workers now.
    pub active: Vec<ActiveTask>,
    /// What comes next, in words: job name and task.
    pub next: Option<String>,
    /// Jobs by state.
    pub counts: JobCounts,
    /// Since midnight.
    pub today: Today,
    /// When this was true.
    pub at_ms: i64,
    /// Jobs that run whatever other programs do, until they end.
    #[serde(default)]
    pub run_now: Vec<JobId>,
    /// Jobs that would run if a task of theirs fitted into the memory that is lent; at most 16.
    #[serde(default)]
    pub memory_waits: Vec<MemoryWait>,
    /// A job that is to be estimated and does not fit into the memory that is lent; its number is 0.
    #[serde(default)]
    pub estimate_wait: Option<MemoryWait>,
    /// Why no checkpoints are taken, so that tasks begin anew after a stop; empty when they are.
    #[serde(default)]
    pub no_checkpoints: String,
    /// Why changes that are in force are not stored yet, so that a restart would forget them; empty when all are.
    #[serde(default)]
    pub unstored: String,
}

impl Status {
    /// The highest duty at which a task runs now, in percent; 0 while none does.
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

    /// The state of a job as people see it: what has begun does not run while rules let nothing run here.
    #[must_use]
    pub fn shown_state(&self, job: &JobSummary) -> JobState {
        let stands_still = self.verdict.duty == 0 && self.duty() == 0;
        if job.state == JobState::Running && !job.is_grid && stands_still { JobState::Queued } else { job.state }
    }
}

/// A job whose next task does not fit into memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryWait {
    /// Its number.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Bytes that a task of it may hold, its files and checkpoints included.
    pub wanted: u64,
    /// Bytes that can be lent now beside the tasks that run, in steps of 64 MiB.
    pub spare: u64,
}

/// A task in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveTask {
    /// Its job.
    pub job: JobId,
    /// Its place in the job.
    pub index: u32,
    /// The job's name.
    pub name: String,
    /// Who submitted the job.
    pub owner: String,
    /// Tasks of the job.
    pub tasks_total: u32,
    /// 0 to 1000; `None` when it cannot be told.
    pub permille: Option<u16>,
    /// Seconds left, when it can be told.
    pub seconds_left: Option<u64>,
    /// Kept where it is, waiting to go on.
    pub frozen: bool,
    /// Start of this attempt.
    pub started_ms: i64,
    /// Work units so far.
    pub units: u64,
    /// When its newest checkpoint was taken; `None` while there is none.
    #[serde(default)]
    pub saved_ms: Option<i64>,
}

/// Jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobCounts {
    /// Waiting.
    pub queued: u64,
    /// Started.
    pub running: u64,
    /// Paused.
    pub paused: u64,
    /// Done.
    pub finished: u64,
    /// Given up.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// What was done since midnight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Today {
    /// Milliseconds in which at least one task ran.
    pub worked_ms: u64,
    /// Work units.
    pub units: u64,
    /// Results.
    pub results: u64,
}

/// A line in a list of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its number.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub owner: String,
    /// Where it is.
    pub state: JobState,
    /// -10 to 10.
    pub priority: i8,
    /// Tasks in all.
    pub tasks_total: u32,
    /// Tasks with a result.
    pub tasks_finished: u32,
    /// Units of finished tasks; in a [`JobDetail`] also of those that run here or have a checkpoint, so far.
    pub units: u64,
    /// Accepted.
    pub created_ms: i64,
    /// Given up then.
    pub deadline_ms: i64,
    /// Ended.
    pub finished_ms: Option<i64>,
    /// Why it failed or stopped; empty if it did not.
    pub problem: String,
    /// The result is one picture that can be shown as it grows.
    pub is_picture: bool,
    /// Other devices may run it.
    #[serde(default)]
    pub is_grid: bool,
}

/// One job, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// Its line.
    pub summary: JobSummary,
    /// BLAKE3 id of its module.
    pub module: String,
    /// The job file as JSON.
    pub spec: serde_json::Value,
    /// A page of its tasks.
    pub tasks: Vec<TaskView>,
    /// What happened, oldest first.
    pub journal: Vec<JournalLine>,
    /// Units its unfinished tasks will take, from the finished ones.
    pub units_left: Option<u64>,
    /// Of a job for other devices: what was asked, and what became of it.
    #[serde(default)]
    pub grid: Option<crate::GridView>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its place in the job.
    pub index: u32,
    /// Where it is.
    pub state: TaskState,
    /// 0 to 1000.
    pub permille: u16,
    /// Exit code of its result.
    pub exit_code: Option<u32>,
    /// Work units of its result; so far while it runs here.
    pub units: u64,
    /// Running time of its result; so far while it runs here.
    pub active_ms: u64,
    /// Largest memory, bytes.
    pub memory: u64,
    /// Identity of its result.
    pub result_hash: Option<String>,
    /// What the last failed attempt said; of a finished task, what is to be said about its result.
    pub problem: String,
    /// Waits for a back-off until then.
    pub not_before_ms: i64,
    /// Its files.
    pub outputs: Vec<OutputView>,
    /// Files of it that are not listed here; [`Command::Outputs`](crate::Command::Outputs) lists them.
    #[serde(default)]
    pub outputs_left_out: u64,
    /// Files whose names were changed or that are not in its result; [`Command::Renamed`](crate::Command::Renamed) names them.
    #[serde(default)]
    pub renamed: u64,
    /// Its tries.
    pub attempts: Vec<AttemptView>,
    /// Marks its history holds.
    #[serde(default)]
    pub marks: u32,
    /// Bytes of standard output and of standard error that the job's log limit dropped.
    #[serde(default)]
    pub dropped: (u64, u64),
}

/// A file that a task left and that is not in its result under its own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenamedView {
    /// As its program called it.
    pub name: String,
    /// Its name in the result; none when it was left out.
    pub kept: Option<String>,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The history of a task, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Which task.
    pub index: u32,
    /// Units between two marks.
    pub segment: u64,
    /// Marks so far.
    pub marks: u32,
    /// Checkpoints that go with them.
    pub checkpoints: u32,
    /// The last segment is there too.
    pub ended: bool,
    /// A segment that can be checked with what was written; `None` when there is none.
    pub checked: Option<u32>,
}

/// One file of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// Relative path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 id.
    pub blob: String,
}

/// One try at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Start.
    pub started_ms: i64,
    /// End.
    pub ended_ms: Option<i64>,
    /// `running`, `finished`, `failed`, `interrupted` or `cancelled`.
    pub outcome: String,
    /// Why.
    pub detail: String,
}

/// One line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// When.
    pub at_ms: i64,
    /// What, one word.
    pub kind: String,
    /// Which task.
    pub index: Option<u32>,
    /// More.
    pub detail: String,
}

/// A stretch of the device's past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Its end.
    pub at_ms: i64,
    /// Its length.
    pub span_ms: u64,
    /// Mean duty, 0 to 100.
    pub duty: u8,
    /// Time worked.
    pub worked_ms: u64,
    /// Units done.
    pub units: u64,
    /// °C.
    pub cpu_temp: Option<f64>,
    /// Percent.
    pub battery: Option<f64>,
    /// Percent.
    pub other_cpu: Option<f64>,
    /// The first reason, as its rule's word; empty when it worked, `idle` when nothing waited.
    pub reason: String,
}

/// A job that comes with the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// For [`SubmitExample`](crate::Command::SubmitExample).
    pub name: String,
    /// What people see.
    pub title: String,
}

/// One line of `fog doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What was found, and what to do.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Works.
    Good,
    /// Missing, and the program works without it.
    Missing,
    /// Does not work and should.
    Bad,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EffectView, ReasonView, ResumeView, ValueView};

    fn reason(effect: EffectView, yields: bool) -> ReasonView {
        let (now, limit) = (ValueView::Nothing, ValueView::Nothing);
        ReasonView { rule: "rule".to_owned(), effect, now, limit, resumes: ResumeView::ConditionEnds, held_until_ms: None, yields }
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
