//! Rows of jobs: accepted in one transaction, and read one by one or as a list.

mod removal;
mod states;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use fog_types::job::{Assemble, GridOptions, JobFile};
use fog_types::{BlobId, JobId, JobState, UnixMillis, WorkUnits};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::journal::{JournalKind, note};
use crate::transaction::Savepoint;
use crate::{HostedRow, Store, StoreError, blobs};

/// Stored blobs of a job's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blobs {
    /// The Wasm module.
    pub module: BlobId,
    /// Standard input, if any.
    pub stdin: Option<BlobId>,
    /// Inputs by their name below `/in`.
    pub inputs: BTreeMap<String, BlobId>,
    /// Items of a job that is mapped over files, one for each task.
    pub items: Vec<BlobId>,
}

/// Job to be accepted; its blobs are stored already.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Checked job file.
    pub file: JobFile,
    /// Blobs of the job.
    pub blobs: Blobs,
    /// Name of the user or device that submitted the job.
    pub owner: String,
    /// Wish that other devices run the job; `None` for this device only.
    pub grid: Option<GridOptions>,
    /// Current time.
    pub now: UnixMillis,
}

/// Stored job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Id of the job.
    pub id: JobId,
    /// Name of the user or device that submitted the job.
    pub owner: String,
    /// The job file.
    pub file: JobFile,
    /// Blobs of the job.
    pub blobs: Blobs,
    /// State of the job.
    pub state: JobState,
    /// Time at which the job was accepted.
    pub created: UnixMillis,
    /// Time at which the job is given up.
    pub deadline: UnixMillis,
    /// Time at which the job reached its final state.
    pub finished: Option<UnixMillis>,
    /// Number of tasks.
    pub tasks_total: u32,
    /// Number of tasks with a result.
    pub tasks_finished: u32,
    /// Work units of all finished tasks.
    pub units: WorkUnits,
    /// Number of failed attempts since the last success.
    pub failures_in_row: u32,
    /// Reason for which the job failed or was stopped; empty if it was not.
    pub problem: String,
    /// Wish that other devices run the job, if any.
    pub grid: Option<GridOptions>,
}

/// Summary of a job, as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobHead {
    /// Id of the job.
    pub id: JobId,
    /// Name in the job file.
    pub name: String,
    /// Name of the user or device that submitted the job.
    pub owner: String,
    /// State of the job.
    pub state: JobState,
    /// Priority, from -10 (last) to 10 (first).
    pub priority: i8,
    /// Time at which the job was submitted.
    pub created: UnixMillis,
    /// Time at which the job is given up.
    pub deadline: UnixMillis,
    /// Time at which the job ended.
    pub finished: Option<UnixMillis>,
    /// Number of tasks.
    pub tasks_total: u32,
    /// Number of tasks with a result.
    pub tasks_finished: u32,
    /// Work units of all finished tasks.
    pub units: WorkUnits,
    /// Reason for which the job failed or was stopped; empty if it was not.
    pub problem: String,
    /// Whether other devices may run the job.
    pub is_grid: bool,
    /// Whether the tasks make one picture.
    pub is_picture: bool,
}

impl From<&JobRow> for JobHead {
    fn from(row: &JobRow) -> Self {
        Self {
            id: row.id,
            name: row.file.name.clone(),
            owner: row.owner.clone(),
            state: row.state,
            priority: row.file.priority,
            created: row.created,
            deadline: row.deadline,
            finished: row.finished,
            tasks_total: row.tasks_total,
            tasks_finished: row.tasks_finished,
            units: row.units,
            problem: row.problem.clone(),
            is_grid: row.grid.is_some(),
            is_picture: is_picture(&row.file),
        }
    }
}

fn is_picture(file: &JobFile) -> bool {
    matches!(file.assemble, Assemble::Tiles { .. })
}

/// Rank of a job in the queue; the larger one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Priority of the job.
    pub priority: i8,
    /// Time at which the job is given up.
    pub deadline: UnixMillis,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority.cmp(&other.priority).then(other.deadline.cmp(&self.deadline))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Filter and page of a list of jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// States to list; empty for all.
    pub states: Vec<JobState>,
    /// Text that the name must contain, ignoring case.
    pub name: String,
    /// Id below which jobs are listed: the last one of the page before.
    pub before: Option<JobId>,
    /// Maximum number of jobs, newest first.
    pub limit: u32,
}

const COLUMNS: &str = "id, owner, spec, blobs, state, created_ms, jobs.deadline_ms, finished_ms, tasks_total, progress.finished, progress.units,
 progress.failures_in_row, problem, grid";
const HEAD_COLUMNS: &str = "id, name, owner, state, jobs.priority, created_ms, jobs.deadline_ms, finished_ms, tasks_total, progress.finished,
 progress.units, problem, grid IS NOT NULL, is_picture";

impl Store {
    /// Accepts a job in one transaction: its row, its tasks and its claim on its blobs.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when one of its files is not stored; [`StoreError`] when the database cannot
    /// be changed. No job is stored then.
    pub fn insert_job(&mut self, job: &NewJob) -> Result<JobId, StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        let id = Self::insert(&transaction, job)?;
        transaction.commit()?;
        Ok(id)
    }

    /// Accepts a job of another device together with its hosted row, so that the job is never here without
    /// its requester. The job id in `row` is ignored.
    ///
    /// # Errors
    /// As [`Store::insert_job`], and when its lease was hosted before. No job is stored then.
    pub fn insert_hosted_job(&mut self, job: &NewJob, row: HostedRow) -> Result<JobId, StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        let id = Self::insert(&transaction, job)?;
        crate::hosted::host(&transaction, &HostedRow { job: id, ..row })?;
        transaction.commit()?;
        Ok(id)
    }

    fn insert(transaction: &Connection, job: &NewJob) -> Result<JobId, StoreError> {
        let deadline = job.now.0.saturating_add(
            i64::try_from(job.file.deadline_seconds.saturating_mul(1000)).unwrap_or(i64::MAX),
        );
        transaction.execute(
            "INSERT INTO jobs (name, owner, spec, blobs, state, priority, created_ms, deadline_ms, tasks_total, grid, is_picture)
             VALUES (:name, :owner, :spec, :blobs, 'queued', :priority, :created, :deadline, :total, :grid, :is_picture)",
            named_params! {
                ":name": job.file.name, ":owner": job.owner, ":spec": to_json(&job.file)?, ":blobs": to_json(&job.blobs)?,
                ":priority": job.file.priority, ":created": job.now.0, ":deadline": deadline, ":total": job.file.task_count(),
                ":grid": job.grid.as_ref().map(to_json).transpose()?, ":is_picture": is_picture(&job.file),
            },
        )?;
        let id = JobId(transaction.last_insert_rowid().unsigned_abs());
        transaction.execute(
            "INSERT INTO progress (job_id, priority, is_runnable, ready, deadline_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id.0, job.file.priority, job.grid.is_none(), job.file.task_count(), deadline],
        )?;
        {
            let mut insert =
                transaction.prepare("INSERT INTO tasks (job_id, idx, state) VALUES (?1, ?2, 'queued')")?;
            for index in 0..job.file.task_count() {
                insert.execute(params![id.0, index])?;
            }
            let mut claim =
                transaction.prepare("INSERT OR IGNORE INTO job_blobs (job_id, blob) VALUES (?1, ?2)")?;
            let Blobs { module, stdin, inputs, items } = &job.blobs;
            for blob in std::iter::once(module).chain(stdin).chain(inputs.values()).chain(items) {
                if claim.execute(params![id.0, blob.to_string()])? > 0 {
                    blobs::check_stored(transaction, *blob)?;
                }
            }
        }
        note(transaction, job.now, JournalKind::Accepted, Some(id), None, &job.file.name)?;
        Ok(id)
    }

    /// Returns a job.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] when there is none with this number.
    pub fn job(&self, id: JobId) -> Result<JobRow, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM jobs JOIN progress ON job_id = id WHERE id = ?1"
        ))?;
        query.query_row([id.0], |row| Ok(read(row))).optional()?.ok_or(StoreError::NoJob(id))?
    }

    /// Returns jobs, newest first, without their job files: reading a hundred long ones takes a second.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobHead>, StoreError> {
        let states: Vec<String> = filter.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
        let states =
            if states.is_empty() { "1".to_owned() } else { format!("state IN ({})", states.join(",")) };
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {HEAD_COLUMNS} FROM jobs JOIN progress ON job_id = id WHERE {states} AND id < ?1 AND (?2 = '' OR instr(lower(name), lower(?2)) > 0) ORDER BY id DESC LIMIT ?3"
        ))?;
        let before = filter.before.map_or(i64::MAX, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
        let rows = query.query_map(params![before, filter.name, filter.limit], |row| Ok(read_head(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Returns the number of jobs in each state.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn job_counts(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT state, number FROM job_sums WHERE number > 0")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?;
        rows.map(|row| {
            let (word, count) = row?;
            Ok((state_from(&word)?, count))
        })
        .collect()
    }

    /// Returns the rank of a job; a hosted job ranks below all own ones.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] when there is none with this number.
    pub fn rank(&self, id: JobId) -> Result<Rank, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT priority, deadline_ms FROM progress WHERE job_id = ?1")?;
        let found = query
            .query_row([id.0], |row| Ok(Rank { priority: row.get(0)?, deadline: UnixMillis(row.get(1)?) }))
            .optional()?;
        found.ok_or(StoreError::NoJob(id))
    }

    /// Returns the state of a job, without reading the rest of it.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] when there is none with this number.
    pub fn job_state(&self, id: JobId) -> Result<JobState, StoreError> {
        let word: Option<String> = self
            .db
            .prepare_cached("SELECT state FROM jobs WHERE id = ?1")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        state_from(&word.ok_or(StoreError::NoJob(id))?)
    }
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Damaged(e.to_string()))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Damaged(e.to_string()))
}

pub(crate) fn state_from(word: &str) -> Result<JobState, StoreError> {
    JobState::from_word(word).ok_or_else(|| StoreError::Damaged(format!("job state '{word}'")))
}

fn read_head(row: &Row<'_>) -> Result<JobHead, StoreError> {
    Ok(JobHead {
        id: JobId(row.get(0)?),
        name: row.get(1)?,
        owner: row.get(2)?,
        state: state_from(&row.get::<_, String>(3)?)?,
        priority: row.get(4)?,
        created: UnixMillis(row.get(5)?),
        deadline: UnixMillis(row.get(6)?),
        finished: row.get::<_, Option<i64>>(7)?.map(UnixMillis),
        tasks_total: row.get(8)?,
        tasks_finished: row.get(9)?,
        units: WorkUnits(row.get(10)?),
        problem: row.get(11)?,
        is_grid: row.get(12)?,
        is_picture: row.get(13)?,
    })
}

fn read(row: &Row<'_>) -> Result<JobRow, StoreError> {
    Ok(JobRow {
        id: JobId(row.get(0)?),
        owner: row.get(1)?,
        file: from_json(&row.get::<_, String>(2)?)?,
        blobs: from_json(&row.get::<_, String>(3)?)?,
        state: state_from(&row.get::<_, String>(4)?)?,
        created: UnixMillis(row.get(5)?),
        deadline: UnixMillis(row.get(6)?),
        finished: row.get::<_, Option<i64>>(7)?.map(UnixMillis),
        tasks_total: row.get(8)?,
        tasks_finished: row.get(9)?,
        units: WorkUnits(row.get(10)?),
        failures_in_row: row.get(11)?,
        problem: row.get(12)?,
        grid: row.get::<_, Option<String>>(13)?.as_deref().map(from_json).transpose()?,
    })
}
