//! Commands that only read from the store.

use fog_api::{
    ApiError, AttemptView, GridView, JobDetail, JobSummary, JournalLine, OutputView, PromiseView,
    RenamedView, Reply, TaskView,
};
use fog_scheduler::{Kept, judge_service};
use fog_store::{JobFilter, JobRow, Output, Store, StoreError, TaskRow};
use fog_types::job::GridOptions;
use fog_types::text::clean;
use fog_types::{JobId, JobState, TaskId, TaskState};

use crate::tasks::histories;
use crate::views::job_summary;

/// Most tasks on one page of a job's detail.
const TASKS_PER_PAGE: u32 = 200;
/// Most files on one page: this many fit into a reply even with the longest paths. A page ends before a
/// task that would exceed it; the remaining files of a single task are requested separately.
const OUTPUTS_PER_PAGE: u32 = 20_000;
/// Most changed names on one page.
const RENAMED_PER_PAGE: u32 = 20_000;
/// Most bytes of changed names on one page: six times as many, in JSON, still fit into a reply.
const RENAMED_BYTES: usize = 4 << 20;
/// Most bytes of tasks on one page, except for its first task.
const PAGE_BYTES: usize = 16 << 20;
/// Longest text about a task in bytes.
const MAX_WORDS: usize = 2_048;

pub(crate) fn to_api(error: StoreError) -> ApiError {
    ApiError::of(&error)
}

pub(crate) fn jobs(store: &Store, query: &fog_api::JobQuery) -> Result<Vec<JobSummary>, ApiError> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(500) };
    let filter =
        JobFilter { states: query.states.clone(), name: query.name.clone(), before: query.before, limit };
    let rows = store.jobs(&filter).map_err(to_api)?;
    Ok(rows.iter().map(job_summary).collect())
}

/// Progress of a running task.
pub(crate) struct LiveTask {
    pub(crate) index: u32,
    pub(crate) permille: Option<u16>,
    pub(crate) units: u64,
    pub(crate) active_ms: u64,
}

/// Detail of a job. `withheld` is the reason why its tasks are not lent, `live` are its tasks that run
/// here, and `wished` is the owner's state for it where that is not stored yet.
pub(crate) fn job(
    store: &Store,
    id: JobId,
    tasks_from: u32,
    withheld: Option<&str>,
    live: &[LiveTask],
    wished: Option<JobState>,
) -> Result<Reply, ApiError> {
    let mut detail = detail(store, id, tasks_from).map_err(to_api)?;
    detail.summary.state = wished.unwrap_or(detail.summary.state);
    for task in detail.tasks.iter_mut().filter(|task| task.state == TaskState::Running) {
        if let Some(live) = live.iter().find(|live| live.index == task.index) {
            task.active_ms = live.active_ms;
            // Until it begins, a task has the units of its checkpoint.
            task.units = if live.units > 0 { live.units } else { task.units };
            task.permille = live.permille.unwrap_or(task.permille);
        }
    }
    // A task that ended meanwhile counts among the finished ones.
    if !detail.summary.state.is_final() {
        let saved = store.saved_units(id).map_err(to_api)?.0;
        detail.summary.units = live
            .iter()
            .map(|live| units_of(store, id, live))
            .fold(detail.summary.units.saturating_add(saved), u64::saturating_add);
    }
    if let (Some(grid), Some(why), false) = (&mut detail.grid, withheld, detail.summary.state.is_final()) {
        why.clone_into(&mut grid.withheld);
    }
    Ok(Reply::Job(Box::new(detail)))
}

/// Work units of a running task; those of its checkpoint until it begins.
fn units_of(store: &Store, job: JobId, live: &LiveTask) -> u64 {
    let saved = || store.task(TaskId { job, index: live.index }).map_or(0, |task| task.units.0);
    if live.units > 0 { live.units } else { saved() }
}

/// Returns further files of a task.
pub(crate) fn outputs(store: &Store, task: TaskId, after: &str) -> Result<Reply, ApiError> {
    let found = store.outputs_after(task, after, OUTPUTS_PER_PAGE + 1).map_err(to_api)?;
    let more = if found.len() > OUTPUTS_PER_PAGE as usize {
        let left = store.count_outputs_after(task, after).map_err(to_api)?;
        left.saturating_sub(u64::from(OUTPUTS_PER_PAGE))
    } else {
        0
    };
    Ok(Reply::Outputs {
        outputs: found.into_iter().take(OUTPUTS_PER_PAGE as usize).map(output_view).collect(),
        more,
    })
}

/// Returns a page of a task's files that were renamed or left out.
pub(crate) fn renamed(store: &Store, task: TaskId, from: u32) -> Result<Reply, ApiError> {
    let found = store.renamed(task, from, RENAMED_PER_PAGE).map_err(to_api)?;
    let (mut bytes, mut page) = (0, Vec::new());
    let count = found.len();
    for row in found {
        bytes += row.name.len() + row.kept.as_ref().map_or(0, String::len);
        if bytes > RENAMED_BYTES && !page.is_empty() {
            break;
        }
        page.push(RenamedView {
            name: row.name,
            kept: row.kept,
            reason: Some(row.reason).filter(|reason| !reason.is_empty()),
        });
    }
    let is_last = page.len() == count && count < RENAMED_PER_PAGE as usize;
    let next = if is_last { None } else { Some(from.saturating_add(page.len() as u32)) };
    Ok(Reply::Renamed { renamed: page, next })
}

fn output_view(output: Output) -> OutputView {
    OutputView { path: output.path, size: output.size, blob: output.blob.to_string() }
}

/// Text of a job or another device on one line, shortened to [`MAX_WORDS`].
fn words(text: &str) -> String {
    let mut shown = clean(text);
    if shown.len() > MAX_WORDS {
        shown.truncate(shown.floor_char_boundary(MAX_WORDS));
        shown.push('…');
    }
    shown
}

/// Length in bytes of a view as JSON.
fn length(view: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Every view can be written as JSON.
    let _ = serde_json::to_writer(&mut count, view);
    count.0
}

fn task_view(
    store: &Store,
    row: &JobRow,
    task: TaskRow,
    outputs: Vec<Output>,
    outputs_left_out: u64,
) -> Result<TaskView, StoreError> {
    let attempts = store.attempts(task.id)?.into_iter();
    Ok(TaskView {
        index: task.id.index,
        // Tasks of an ended job are cancelled in steps, so queued ones count as cancelled.
        state: if row.state.is_final() && task.state == TaskState::Queued {
            TaskState::Cancelled
        } else {
            task.state
        },
        permille: task.permille,
        exit_code: task.exit_code,
        units: task.units.0,
        active_ms: task.active_millis,
        memory: task.memory,
        result_hash: task.result_hash,
        problem: words(&task.problem),
        not_before_ms: task.not_before.0,
        outputs: outputs.into_iter().map(output_view).collect(),
        outputs_left_out,
        renamed: task.renamed,
        attempts: attempts
            .map(|a| AttemptView {
                started_ms: a.started.0,
                ended_ms: a.ended.map(|at| at.0),
                outcome: a.outcome,
                detail: words(&a.detail),
            })
            .collect(),
        dropped: (task.stdout_dropped, task.stderr_dropped),
        marks: if row.file.segment.is_some() { histories::marks(store.folder(), task.id) } else { 0 },
    })
}

fn detail(store: &Store, id: JobId, tasks_from: u32) -> Result<JobDetail, StoreError> {
    let row = store.job(id)?;
    let (mut tasks, mut files, mut bytes) = (Vec::new(), 0, 0);
    for task in store.tasks(id, tasks_from, TASKS_PER_PAGE)? {
        let mut outputs = store.outputs_after(task.id, "", OUTPUTS_PER_PAGE + 1)?;
        files += outputs.len();
        // A reader continues with the first missing task, so the first task of a page is always included.
        if files > OUTPUTS_PER_PAGE as usize && !tasks.is_empty() {
            break;
        }
        let mut left_out = 0;
        if outputs.len() > OUTPUTS_PER_PAGE as usize {
            outputs.truncate(OUTPUTS_PER_PAGE as usize);
            left_out = store.count_outputs_after(task.id, "")?.saturating_sub(u64::from(OUTPUTS_PER_PAGE));
        }
        let view = task_view(store, &row, task, outputs, left_out)?;
        bytes += length(&view);
        if bytes > PAGE_BYTES && !tasks.is_empty() {
            break;
        }
        tasks.push(view);
    }
    let journal = store.journal(id, 200)?;
    let left = u64::from(row.tasks_total - row.tasks_finished);
    Ok(JobDetail {
        module: row.blobs.module.to_string(),
        spec: serde_json::to_value(&row.file).map_err(|e| StoreError::Damaged(e.to_string()))?,
        units_left: store.mean_units(id)?.map(|mean| mean.0.saturating_mul(left)),
        tasks,
        journal: journal
            .into_iter()
            .map(|line| JournalLine {
                at_ms: line.at.0,
                kind: line.kind.as_str().to_owned(),
                index: line.index,
                detail: words(&line.detail),
            })
            .collect(),
        grid: row.grid.map(|wish| grid_view(store, &row, wish)).transpose()?,
        summary: job_summary(&(&row).into()),
    })
}

/// Grid part of a job's detail: wishes, promise, credits and checks.
fn grid_view(store: &Store, row: &JobRow, wish: GridOptions) -> Result<GridView, StoreError> {
    let agreed = store.least_agreed(row.id)?;
    let finished = row.finished.filter(|_| row.state == JobState::Finished).map(|at| at.0);
    let kept =
        judge_service(wish.service, agreed, finished, row.finished.is_some(), row.deadline.0, unix_now());
    let (promise, why) = match kept {
        Kept::Open => (PromiseView::Open, String::new()),
        Kept::Kept => (PromiseView::Kept, String::new()),
        Kept::Broken(why) => (PromiseView::Broken, why),
    };
    let credits = store.credits_of(row.id)?;
    let checks = store.checks_of(row.id)?;
    Ok(GridView {
        service: wish.service,
        promise,
        why,
        withheld: String::new(),
        devices: wish.devices(),
        agreed,
        spent: credits.spent,
        reserved: credits.reserved,
        checks,
    })
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "query_tests.rs"]
pub(crate) mod tests;
