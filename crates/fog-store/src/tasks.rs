//! Rows of tasks: the queue, claims and attempts, and the state of each task.

mod outcomes;

use fog_types::{BlobId, JobId, TaskId, TaskState, UnixMillis, WorkUnits};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::transaction::Savepoint;
use crate::{Store, StoreError};

/// Maximum number of attempts that are kept of one task.
const MAX_ATTEMPTS_KEPT: u32 = 32;
/// Length of a row of `results_by_quarter` in milliseconds.
pub(crate) const QUARTER_MS: i64 = 900_000;

/// Stored task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Id of the task.
    pub id: TaskId,
    /// State of the task.
    pub state: TaskState,
    /// Number of attempts that failed.
    pub attempts: u32,
    /// Time before which the task is not tried again.
    pub not_before: UnixMillis,
    /// Progress in tenths of a percent.
    pub permille: u16,
    /// Exit code of the result.
    pub exit_code: Option<u32>,
    /// Work units of the result, or of the checkpoint while there is no result.
    pub units: WorkUnits,
    /// Running time of the result in milliseconds.
    pub active_millis: u64,
    /// Largest use of memory of the result in bytes.
    pub memory: u64,
    /// Hash that identifies the result.
    pub result_hash: Option<String>,
    /// Number of devices that gave this result.
    pub agreed: u32,
    /// Blob of the standard output.
    pub stdout: Option<BlobId>,
    /// Blob of the standard error.
    pub stderr: Option<BlobId>,
    /// Number of bytes of stdout that were dropped.
    pub stdout_dropped: u64,
    /// Number of bytes of stderr that were dropped.
    pub stderr_dropped: u64,
    /// Number of files of the result that were renamed or left out; [`Store::renamed`] lists them.
    pub renamed: u64,
    /// Problem of the last failed attempt, or a remark about the result.
    pub problem: String,
    /// Time at which the attempt that counts was started.
    pub started: Option<UnixMillis>,
    /// Time at which the task ended.
    pub finished: Option<UnixMillis>,
}

/// File that a task left and that is not in its result under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedRow {
    /// Name that the program gave the file.
    pub name: String,
    /// Name in the result; `None` if the file was left out.
    pub kept: Option<String>,
    /// Reason for which the file was left out; empty if it was not.
    pub reason: String,
}

/// Attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Id of the attempt.
    pub id: u64,
    /// Time at which the attempt began.
    pub started: UnixMillis,
    /// Time at which the attempt ended; `None` while it runs.
    pub ended: Option<UnixMillis>,
    /// Outcome: `running`, `finished`, `failed`, `interrupted` or `cancelled`.
    pub outcome: String,
    /// Reason for the outcome.
    pub detail: String,
    /// Number of work units that the attempt used.
    pub units: WorkUnits,
}

/// Claim of a worker on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Id of the task.
    pub task: TaskId,
    /// Attempt that the claim began; a result is accepted for this attempt only.
    pub attempt: u64,
}

/// File of a result; the blob is stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Path relative to the result.
    pub path: String,
    /// Blob with the bytes of the file.
    pub blob: BlobId,
    /// Number of bytes of the file.
    pub size: u64,
}

/// Result to be recorded.
#[derive(Debug, Clone)]
pub struct TaskResult {
    /// Exit code of the program.
    pub exit_code: u32,
    /// Number of work units.
    pub units: WorkUnits,
    /// Running time in milliseconds.
    pub active_millis: u64,
    /// Largest use of memory in bytes.
    pub memory: u64,
    /// Hash that identifies the result.
    pub result_hash: String,
    /// Number of devices that gave this result; 1 if no comparison was asked for.
    pub agreed: u32,
    /// Blob of the standard output.
    pub stdout: BlobId,
    /// Blob of the standard error.
    pub stderr: BlobId,
    /// Number of bytes of stdout that were dropped.
    pub stdout_dropped: u64,
    /// Number of bytes of stderr that were dropped.
    pub stderr_dropped: u64,
    /// Files of the result.
    pub outputs: Vec<Output>,
}

/// Failed attempt to be recorded.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// Problem, as text.
    pub problem: String,
    /// Number of work units that the attempt used.
    pub units: WorkUnits,
    /// Exit code, if the program ended by itself.
    pub exit_code: Option<u32>,
    /// Standard output and error of the attempt, stored already.
    pub logs: Option<(BlobId, BlobId)>,
}

/// Action after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Try the task again, not before this time.
    Retry(UnixMillis),
    /// Fail the task; its job fails once no other task is open.
    Final,
}

const COLUMNS: &str = "job_id, idx, state, attempts, not_before_ms, permille, exit_code, units, active_ms, memory, result_hash, stdout, stderr, stdout_dropped, stderr_dropped, problem, started_ms, finished_ms, agreed, renamed";

/// Condition for tasks of an existing job; those of a removed one stay until [`Store::sweep_removed`]
/// deletes them.
const IS_OF_A_JOB: &str = "EXISTS (SELECT 1 FROM jobs WHERE id = job_id)";

impl Store {
    /// Returns the next ready task: highest priority first, then soonest deadline, oldest job and lowest
    /// index.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn next_task(&self) -> Result<Option<TaskId>, StoreError> {
        self.next_task_behind(0)
    }

    /// Returns the next ready task, skipping the first `jobs` jobs that have ready tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn next_task_behind(&self, jobs: u32) -> Result<Option<TaskId>, StoreError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT tasks.job_id, tasks.idx FROM tasks WHERE state = 'queued' AND not_before_ms = 0
                 AND job_id = (SELECT job_id FROM progress WHERE is_runnable = 1 AND ready > 0 ORDER BY priority DESC, deadline_ms, job_id LIMIT 1 OFFSET ?1)
                 ORDER BY tasks.idx LIMIT 1",
            )?
            .query_row([jobs], |row| Ok(TaskId { job: JobId(row.get(0)?), index: row.get(1)? }))
            .optional()?;
        Ok(found)
    }

    /// Claims a task for a worker.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn claim(&mut self, task: TaskId, engine: &str, now: UnixMillis) -> Result<Claim, StoreError> {
        let TaskId { job: JobId(job), index } = task;
        let transaction = Savepoint::new(&self.db)?;
        transaction
            .prepare_cached("UPDATE tasks SET state = 'running', started_ms = ?3, permille = iif(units > 0, permille, 0) WHERE job_id = ?1 AND idx = ?2")?
            .execute(params![job, index, now.0])?;
        transaction
            .prepare_cached("UPDATE jobs SET state = 'running' WHERE id = ?1 AND state = 'queued'")?
            .execute([job])?;
        let attempt = begin_attempt(&transaction, task, engine, now)?;
        transaction.commit()?;
        Ok(Claim { task, attempt })
    }

    /// Stores the progress of a running task.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn set_progress(&mut self, task: TaskId, permille: u16) -> Result<(), StoreError> {
        self.relaxed(|db| {
            db.prepare_cached(
                "UPDATE tasks SET permille = ?3 WHERE job_id = ?1 AND idx = ?2 AND state = 'running'",
            )?
            .execute(params![task.job.0, task.index, permille])?;
            Ok(())
        })
    }

    /// Stores the units of the checkpoint of a task without a result; 0 if there is none and the task
    /// begins anew.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn set_saved(&mut self, task: TaskId, units: WorkUnits) -> Result<(), StoreError> {
        self.relaxed(|db| {
            db.prepare_cached(
                "UPDATE tasks SET units = ?3, permille = iif(?3 > 0, permille, 0)
                 WHERE job_id = ?1 AND idx = ?2 AND state IN ('queued', 'running') AND units <> ?3",
            )?
            .execute(params![task.job.0, task.index, to_sql(units.0)])?;
            Ok(())
        })
    }

    /// Returns the work units in the checkpoints of all waiting tasks of a job.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn saved_units(&self, job: JobId) -> Result<WorkUnits, StoreError> {
        // A real number cannot overflow; CAST cuts it to the largest integer.
        let query = "SELECT CAST(total(units) AS INTEGER) FROM tasks WHERE job_id = ?1 AND state = 'queued' AND units > 0";
        Ok(WorkUnits(self.db.prepare_cached(query)?.query_row([job.0], |row| row.get(0))?))
    }

    /// Returns a task.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] or [`StoreError::NoTask`] when there is none.
    pub fn task(&self, id: TaskId) -> Result<TaskRow, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tasks WHERE job_id = ?1 AND idx = ?2 AND {IS_OF_A_JOB}"
        ))?;
        let found = query.query_row(params![id.job.0, id.index], |row| Ok(read(row))).optional()?;
        found.unwrap_or_else(|| Err(self.job_state(id.job).err().unwrap_or(StoreError::NoTask(id))))
    }

    /// Returns at most `limit` tasks of a job in order, from index `from`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn tasks(&self, job: JobId, from: u32, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        let mut query =
            self.db.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE job_id = ?1 AND idx >= ?2 AND {IS_OF_A_JOB} ORDER BY idx LIMIT ?3"))?;
        let rows = query.query_map(params![job.0, from, limit], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Returns the mean units of the finished tasks of a job, to estimate progress and cost of the others.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn mean_units(&self, job: JobId) -> Result<Option<WorkUnits>, StoreError> {
        let mut query = self
            .db
            .prepare_cached("SELECT units / finished FROM progress WHERE job_id = ?1 AND finished > 0")?;
        Ok(query.query_row([job.0], |row| row.get(0)).optional()?.map(WorkUnits))
    }

    /// Returns the attempts at a task, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn attempts(&self, task: TaskId) -> Result<Vec<AttemptRow>, StoreError> {
        let mut query = self
            .db
            .prepare_cached("SELECT id, started_ms, ended_ms, outcome, detail, units FROM attempts WHERE job_id = ?1 AND idx = ?2 ORDER BY id DESC LIMIT 50")?;
        let rows = query.query_map(params![task.job.0, task.index], |row| {
            Ok(AttemptRow {
                id: row.get(0)?,
                started: UnixMillis(row.get(1)?),
                ended: row.get::<_, Option<i64>>(2)?.map(UnixMillis),
                outcome: row.get(3)?,
                detail: row.get(4)?,
                units: WorkUnits(row.get(5)?),
            })
        })?;
        let mut list: Vec<AttemptRow> = rows.collect::<Result<_, _>>()?;
        list.reverse();
        Ok(list)
    }
}

/// Begins an attempt, and deletes the oldest ones of a task that was tried very often.
pub(crate) fn begin_attempt(
    db: &Connection,
    task: TaskId,
    engine: &str,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let (job, index) = (task.job.0, task.index);
    db.prepare_cached("INSERT INTO attempts (job_id, idx, started_ms, engine) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![job, index, now.0, engine])?;
    let attempt = db.last_insert_rowid().unsigned_abs();
    db.prepare_cached(
        "DELETE FROM attempts WHERE job_id = ?1 AND idx = ?2 AND outcome <> 'running'
         AND id <= (SELECT id FROM attempts WHERE job_id = ?1 AND idx = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
    )?
    .execute(params![job, index, MAX_ATTEMPTS_KEPT])?;
    Ok(attempt)
}

/// Converts a number for SQLite, which has signed ones only; larger numbers are cut.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Ends the attempt of a claim if it still runs; returns false if it was ended before.
pub(crate) fn end_attempt(
    transaction: &Connection,
    claim: Claim,
    outcome: &str,
    detail: &str,
    units: WorkUnits,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let changed = transaction.execute(
        "UPDATE attempts SET outcome = ?2, detail = ?3, units = ?4, ended_ms = ?5 WHERE id = ?1 AND outcome = 'running'",
        params![claim.attempt, outcome, detail, to_sql(units.0), now.0],
    )?;
    Ok(changed == 1)
}

pub(crate) fn blob_from(text: &str) -> Result<BlobId, StoreError> {
    text.parse().map_err(|e: fog_types::ParseIdError| StoreError::Damaged(e.to_string()))
}

fn read(row: &Row<'_>) -> Result<TaskRow, StoreError> {
    let state: String = row.get(2)?;
    let blob = |index| {
        row.get::<_, Option<String>>(index).map_err(StoreError::from)?.as_deref().map(blob_from).transpose()
    };
    Ok(TaskRow {
        id: TaskId { job: JobId(row.get(0)?), index: row.get(1)? },
        state: TaskState::from_word(&state)
            .ok_or_else(|| StoreError::Damaged(format!("task state '{state}'")))?,
        attempts: row.get(3)?,
        not_before: UnixMillis(row.get(4)?),
        permille: row.get(5)?,
        exit_code: row.get(6)?,
        units: WorkUnits(row.get(7)?),
        active_millis: row.get(8)?,
        memory: row.get(9)?,
        result_hash: row.get(10)?,
        stdout: blob(11)?,
        stderr: blob(12)?,
        stdout_dropped: row.get(13)?,
        stderr_dropped: row.get(14)?,
        problem: row.get(15)?,
        started: row.get::<_, Option<i64>>(16)?.map(UnixMillis),
        finished: row.get::<_, Option<i64>>(17)?.map(UnixMillis),
        agreed: row.get(18)?,
        renamed: row.get(19)?,
    })
}
