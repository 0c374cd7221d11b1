//! Commands that only read.

use fog_api::{ApiError, AttemptView, GridView, JobDetail, JournalLine, OutputView, PromiseView, Reply, TaskView};
use fog_scheduler::{Kept, judge_service};
use fog_store::{JobFilter, JobRow, Store, StoreError};
use fog_types::job::GridWish;
use fog_types::{ErrorKind, HasKind, JobId, JobState};

use crate::histories;
use crate::views::job_summary;

/// Tasks on one page of a job's detail.
const TASKS_PER_PAGE: u32 = 200;

pub(crate) fn to_api(error: StoreError) -> ApiError {
    ApiError { kind: error.kind(), message: error.to_string() }
}

pub(crate) fn missing(message: &str) -> ApiError {
    ApiError { kind: ErrorKind::NotFound, message: message.to_owned() }
}

pub(crate) fn jobs(store: &Store, query: &fog_api::JobQuery) -> Result<Reply, ApiError> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(500) };
    let filter = JobFilter { states: query.states.clone(), name: query.name.clone(), before: query.before, limit };
    let rows = store.jobs(&filter).map_err(to_api)?;
    Ok(Reply::Jobs(rows.iter().map(job_summary).collect()))
}

/// `withheld` is why its tasks are not lent.
pub(crate) fn job(store: &Store, id: JobId, tasks_from: u32, withheld: Option<&str>) -> Result<Reply, ApiError> {
    let mut detail = detail(store, id, tasks_from).map_err(to_api)?;
    if let (Some(grid), Some(why), false) = (&mut detail.grid, withheld, detail.summary.state.is_final()) {
        why.clone_into(&mut grid.withheld);
    }
    Ok(Reply::Job(Box::new(detail)))
}

fn detail(store: &Store, id: JobId, tasks_from: u32) -> Result<JobDetail, StoreError> {
    let row = store.job(id)?;
    let mut tasks = Vec::new();
    for task in store.tasks(id, tasks_from, TASKS_PER_PAGE)? {
        let outputs = store.outputs(task.id)?;
        let attempts = store.attempts(task.id)?;
        tasks.push(TaskView {
            index: task.id.index,
            state: task.state,
            permille: task.permille,
            exit_code: task.exit_code,
            units: task.units.0,
            active_ms: task.active_millis,
            memory: task.memory,
            result_hash: task.result_hash,
            problem: task.problem,
            not_before_ms: task.not_before.0,
            outputs: outputs.into_iter().map(|o| OutputView { path: o.path, size: o.size, blob: o.blob.to_string() }).collect(),
            attempts: attempts
                .into_iter()
                .map(|a| AttemptView { started_ms: a.started.0, ended_ms: a.ended.map(|at| at.0), outcome: a.outcome, detail: a.detail })
                .collect(),
            dropped: (task.stdout_dropped, task.stderr_dropped),
            marks: if row.file.segment.is_some() { histories::marks(store.folder(), task.id) } else { 0 },
        });
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
            .map(|line| JournalLine { at_ms: line.at.0, kind: line.kind.as_str().to_owned(), index: line.index, detail: line.detail })
            .collect(),
        grid: row.grid.map(|wish| grid_view(store, &row, wish)).transpose()?,
        summary: job_summary(&row),
    })
}

/// What was asked of other devices for a job, and what became of it.
fn grid_view(store: &Store, row: &JobRow, wish: GridWish) -> Result<GridView, StoreError> {
    let agreed = store.least_agreed(row.id)?;
    let finished = row.finished.filter(|_| row.state == JobState::Finished).map(|at| at.0);
    let kept = judge_service(wish.service, agreed, finished, row.finished.is_some(), row.deadline.0, unix_now());
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
