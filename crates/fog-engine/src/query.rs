//! Commands that only read.

use std::path::{Path, PathBuf};

use fog_api::{ApiError, AttemptView, GridView, JobDetail, JournalLine, OutputView, PromiseView, Reply, TaskView};
use fog_scheduler::{Kept, judge_service};
use fog_store::{JobFilter, JobRow, Store, StoreError};
use fog_types::job::{Assemble, GridWish};
use fog_types::{ErrorKind, HasKind, JobId, JobState, TaskId, TaskState};

use crate::assemble;
use crate::histories;
use crate::views::job_summary;

/// Tasks on one page of a job's detail.
const TASKS_PER_PAGE: u32 = 200;
/// Largest file shown in a window; larger ones are exported.
const MAX_SHOWN_BYTES: u64 = 16 << 20;

pub(crate) fn to_api(error: StoreError) -> ApiError {
    ApiError { kind: error.kind(), message: error.to_string() }
}

fn missing(message: &str) -> ApiError {
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

pub(crate) fn log(store: &Store, id: TaskId, stderr: bool) -> Result<Reply, ApiError> {
    let task = store.task(id).map_err(to_api)?;
    let Some(blob) = (if stderr { task.stderr } else { task.stdout }) else {
        return Err(missing("this task has not ended yet, so there is no output to show"));
    };
    let bytes = store.read_blob(blob, MAX_SHOWN_BYTES).map_err(to_api)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let dropped = if stderr { task.stderr_dropped } else { task.stdout_dropped };
    if dropped > 0 {
        text.push_str(&format!("\n[{dropped} more bytes were dropped at the job's log limit]\n"));
    }
    Ok(Reply::Text(text))
}

/// Bytes of one file, or where to find what must be put together first.
pub(crate) enum Found {
    Bytes(Vec<u8>),
    Tiles { found: Vec<(u32, PathBuf)>, columns: u32, total: u32 },
}

impl Found {
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Tiles { found, columns, total } => {
                assemble::tiles(&found, columns, total).map_err(|e| ApiError { kind: ErrorKind::NotFound, message: format!("{e:#}") })
            }
        }
    }
}

/// One output of a task, or with no index the assembled result so far.
pub(crate) fn output(store: &Store, id: JobId, index: Option<u32>, path: &str) -> Result<Found, ApiError> {
    let Some(index) = index else { return assembled(store, id) };
    let outputs = store.outputs(TaskId { job: id, index }).map_err(to_api)?;
    let Some(output) = outputs.into_iter().find(|output| output.path == path) else {
        return Err(missing("this task left no such file"));
    };
    if output.size > MAX_SHOWN_BYTES {
        return Err(ApiError { kind: ErrorKind::LimitReached, message: "the file is too large to show; save the results to a folder instead".to_owned() });
    }
    store.read_blob(output.blob, MAX_SHOWN_BYTES + 1).map(Found::Bytes).map_err(to_api)
}

fn assembled(store: &Store, id: JobId) -> Result<Found, ApiError> {
    let job = store.job(id).map_err(to_api)?;
    let tasks = store.tasks(id, 0, u32::MAX).map_err(to_api)?;
    let finished = tasks.iter().filter(|task| task.state == TaskState::Finished);
    match job.file.assemble {
        Assemble::Separate => Err(missing("the tasks of this job keep their results apart")),
        Assemble::Concat => {
            let mut all = Vec::new();
            for task in finished {
                if let Some(blob) = task.stdout {
                    all.extend(store.read_blob(blob, MAX_SHOWN_BYTES).map_err(to_api)?);
                }
            }
            Ok(Found::Bytes(all))
        }
        Assemble::Tiles { columns } => {
            let mut found = Vec::new();
            for task in finished {
                let outputs = store.outputs(task.id).map_err(to_api)?;
                if let Some(tile) = outputs.iter().find(|output| output.path.ends_with("tile.png")) {
                    found.push((task.id.index, store.blob(tile.blob).map_err(to_api)?));
                }
            }
            if found.is_empty() {
                return Err(missing("no tile is finished yet"));
            }
            Ok(Found::Tiles { found, columns, total: job.tasks_total })
        }
    }
}

/// A file to be written by an export.
pub(crate) struct ExportItem {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// What an export of a job writes, below a folder: files of a single task directly, those of many
/// in a folder for each task.
pub(crate) fn export_list(store: &Store, id: JobId, folder: &Path) -> Result<Vec<ExportItem>, ApiError> {
    let job = store.job(id).map_err(to_api)?;
    let mut list = Vec::new();
    for task in store.tasks(id, 0, u32::MAX).map_err(to_api)? {
        let place = if job.tasks_total == 1 { folder.to_owned() } else { folder.join(format!("task-{:05}", task.id.index)) };
        let mut add = |blob, name: &str| -> Result<(), ApiError> {
            list.push(ExportItem { from: store.blob(blob).map_err(to_api)?, to: place.join(name) });
            Ok(())
        };
        for (log, name) in [(task.stdout, "stdout.txt"), (task.stderr, "stderr.txt")] {
            if let Some(blob) = log {
                add(blob, name)?;
            }
        }
        for output in store.outputs(task.id).map_err(to_api)? {
            add(output.blob, &output.path)?;
        }
    }
    if list.is_empty() {
        return Err(missing("this job has no results yet; nothing was written"));
    }
    Ok(list)
}

/// Writes an export; returns the paths.
pub(crate) fn export(items: &[ExportItem], whole: Option<(PathBuf, Found)>) -> Result<Reply, ApiError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| ApiError { kind: ErrorKind::Storage, message: format!("{path} cannot be written: {e}. The results stay stored") }
    };
    let mut files = Vec::new();
    for item in items {
        if let Some(folder) = item.to.parent() {
            std::fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        std::fs::copy(&item.from, &item.to).map_err(failed(&item.to))?;
        files.push(item.to.display().to_string());
    }
    if let Some((path, found)) = whole {
        std::fs::write(&path, found.into_bytes()?).map_err(failed(&path))?;
        files.push(path.display().to_string());
    }
    Ok(Reply::Exported { files })
}
