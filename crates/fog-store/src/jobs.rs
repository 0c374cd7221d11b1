use std::cmp::Ordering;
use std::collections::BTreeMap;

use fog_types::job::{Assemble, GridOptions, JobFile};
use fog_types::{BlobId, JobId, JobState, UnixMillis, WorkUnits};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::journal::{JournalKind, note};
use crate::transaction::Savepoint;
use crate::{HostedRow, Store, StoreError, blobs, outputs};

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
/// Maximum number of rows of one table that one transaction deletes for a removed job.
const SWEEP_ROWS: u32 = 2_000;
/// Maximum number of files of a removed job that one step lets go.
const SWEEP_FILES: u32 = 250;
/// Maximum number of tasks of an ended job that one transaction cancels.
const CANCELLED_AT_ONCE: u32 = 250;

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

    /// Moves a job to a state that the user asked for; a final state is never left.
    ///
    /// Cancelling also cancels every task without a result: some at once, the others by
    /// [`Store::sweep_ending`]. Returns whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] when there is none with this number.
    pub fn set_job_state(
        &mut self,
        id: JobId,
        to: JobState,
        problem: &str,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let from = self.job_state(id)?;
        if from == to || from.is_final() {
            return Ok(false);
        }
        let transaction = Savepoint::new(&self.db)?;
        Self::set_state(&transaction, id, to, problem, now)?;
        transaction.commit()?;
        if to.is_final() {
            self.ending.insert(id);
        }
        Ok(true)
    }

    /// Returns whether ended jobs may have tasks that are not cancelled yet.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Cancels the next tasks of an ended job. No worker gets one meanwhile, as the job is not open.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed; the next start goes on.
    pub fn sweep_ending(&mut self) -> Result<(), StoreError> {
        let Some(id) = self.ending.pop_first() else { return Ok(()) };
        let ended: Option<i64> = self
            .db
            .prepare_cached("SELECT finished_ms FROM jobs WHERE id = ?1")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        if let Some(at) = ended
            && self.relaxed(|db| cancel_queued(db, id, UnixMillis(at)))? > 0
        {
            self.ending.insert(id);
        }
        Ok(())
    }

    /// Finds the jobs of earlier runs that ended while some of their tasks were still to be cancelled.
    pub(crate) fn find_ending(&mut self) -> Result<(), StoreError> {
        let mut query =
            self.db.prepare("SELECT id FROM jobs JOIN progress ON job_id = id WHERE state IN ('finished', 'failed', 'cancelled') AND ready + waiting > 0")?;
        self.ending = query.query_map([], |row| Ok(JobId(row.get(0)?)))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Moves a job that has not ended to another state.
    pub(crate) fn set_state(
        transaction: &Connection,
        id: JobId,
        to: JobState,
        problem: &str,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let finished = to.is_final().then_some(now.0);
        transaction.execute(
            "UPDATE jobs SET state = ?2, problem = ?3, finished_ms = ?4 WHERE id = ?1",
            params![id.0, to.as_str(), problem, finished],
        )?;
        if to == JobState::Queued {
            transaction.execute("UPDATE progress SET failures_in_row = 0 WHERE job_id = ?1", [id.0])?;
        }
        if to.is_final() {
            transaction.execute("UPDATE tasks SET state = 'cancelled', finished_ms = ?2 WHERE job_id = ?1 AND state = 'running'", params![id.0, now.0])?;
            cancel_queued(transaction, id, now)?;
            transaction.execute("UPDATE attempts SET outcome = 'cancelled', ended_ms = ?2 WHERE job_id = ?1 AND outcome = 'running'", params![id.0, now.0])?;
        }
        let kind = match to {
            JobState::Paused => JournalKind::Paused,
            JobState::Queued | JobState::Running => JournalKind::Resumed,
            JobState::Cancelled => JournalKind::Cancelled,
            JobState::Failed => JournalKind::Failed,
            JobState::Finished => JournalKind::Finished,
        };
        note(transaction, now, kind, Some(id), None, problem)
    }

    /// Ends every job past its deadline and returns them: own jobs fail, hosted ones count as cancelled.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn expire_jobs(&mut self, now: UnixMillis) -> Result<Vec<JobId>, StoreError> {
        let late: Vec<u64> = {
            // Without the hint SQLite would look at every open job by its state.
            let mut query = self
                .db
                .prepare_cached("SELECT id FROM jobs INDEXED BY jobs_by_deadline WHERE state IN ('queued', 'running', 'paused') AND deadline_ms <= ?1")?;
            query.query_map([now.0], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for id in &late {
            let to = if self.is_hosted(JobId(*id))? { JobState::Cancelled } else { JobState::Failed };
            self.set_job_state(JobId(*id), to, "the deadline passed", now)?;
        }
        Ok(late.into_iter().map(JobId).collect())
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

    /// Deletes jobs that ended before `before`, or only the job `only` of them, and returns their number.
    /// Their rows and files are deleted in pieces: a first one now, the rest by [`Store::sweep_removed`].
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn remove_jobs(&mut self, before: UnixMillis, only: Option<JobId>) -> Result<usize, StoreError> {
        let is_final = "state IN ('finished', 'failed', 'cancelled')";
        let ids: Vec<u64> = match only {
            Some(id) => {
                let mut query = self.db.prepare_cached(&format!(
                    "SELECT id FROM jobs WHERE id = ?1 AND {is_final} AND finished_ms < ?2"
                ))?;
                query.query_map(params![id.0, before.0], |row| row.get(0))?.collect::<Result<_, _>>()?
            }
            None => {
                let mut query = self.db.prepare_cached(&format!(
                    "SELECT id FROM jobs WHERE {is_final} AND finished_ms < ?1 LIMIT 100"
                ))?;
                query.query_map([before.0], |row| row.get(0))?.collect::<Result<_, _>>()?
            }
        };
        self.remove_final(&ids)?;
        Ok(ids.len())
    }

    fn remove_final(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        // A cascade over 100,000 tasks would block everything. The pragma has an effect only outside a
        // transaction.
        self.db.pragma_update(None, "foreign_keys", false)?;
        let removed = self.remove_rows(ids);
        self.db.pragma_update(None, "foreign_keys", true)?;
        removed?;
        self.is_sweeping = true;
        self.sweep_removed()?;
        Ok(())
    }

    /// Returns whether [`Store::sweep_removed`] may have something to do.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.is_sweeping
    }

    fn remove_rows(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        for id in ids {
            transaction.execute("INSERT INTO removed_jobs VALUES (?1)", [id])?;
            for table in ["progress", "hosted", "shipped", "kept", "leases"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE job_id = ?1"), [id])?;
            }
            transaction.execute("DELETE FROM jobs WHERE id = ?1", [id])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Deletes the oldest completed hosted jobs beyond `keep`, so that no requester makes the list long.
    /// Returns their number.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn remove_hosted_over(&mut self, keep: u32) -> Result<usize, StoreError> {
        let ids: Vec<u64> = {
            let mut query = self.db.prepare_cached(
                "SELECT job_id FROM hosted WHERE receipt IS NOT NULL AND job_id <= (SELECT job_id FROM hosted ORDER BY job_id DESC LIMIT 1 OFFSET ?1)
                 AND EXISTS (SELECT 1 FROM jobs WHERE id = job_id AND finished_ms IS NOT NULL) ORDER BY job_id LIMIT 100",
            )?;
            query.query_map([keep], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        self.remove_final(&ids)?;
        Ok(ids.len())
    }

    /// Deletes a piece of what removed jobs left, or of the files of completed hosted jobs. Returns whether
    /// more is left.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn sweep_removed(&mut self) -> Result<bool, StoreError> {
        let swept = self.sweep_next();
        // After an error, as on a full disk, the sweep is not repeated at once.
        self.is_sweeping = *swept.as_ref().unwrap_or(&false);
        swept
    }

    fn sweep_next(&mut self) -> Result<bool, StoreError> {
        let found: Option<u64> = self
            .db
            .prepare_cached("SELECT job_id FROM removed_jobs LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(id) = found else {
            let found: Option<u64> = self
                .db
                .prepare_cached("SELECT job_id FROM let_go LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            let Some(id) = found else { return Ok(false) };
            return self.let_go_after(|db| outputs::let_go_on(db, id)).map(|()| true);
        };
        self.let_go_after(|db| {
            // Files go first, as a user who removes a job wants its room.
            let mut let_go = db
                .prepare_cached("DELETE FROM job_blobs WHERE job_id = ?1 AND blob IN (SELECT blob FROM job_blobs WHERE job_id = ?1 LIMIT ?2) RETURNING blob")?;
            let files: Vec<String> = let_go.query_map(params![id, SWEEP_FILES], |row| row.get(0))?.collect::<Result<_, _>>()?;
            if files.len() == SWEEP_FILES as usize {
                return Ok(files);
            }
            let mut gone = outputs::delete_names(db, id, SWEEP_ROWS)?.len();
            for (table, key) in [("renamed", "(idx, seq)"), ("attempts", "id"), ("journal", "seq"), ("tasks", "idx")] {
                let columns = key.trim_matches(['(', ')']);
                let sql = format!("DELETE FROM {table} WHERE job_id = ?1 AND {key} IN (SELECT {columns} FROM {table} WHERE job_id = ?1 LIMIT ?2)");
                gone += db.prepare_cached(&sql)?.execute(params![id, SWEEP_ROWS])?;
            }
            if gone == 0 && files.is_empty() {
                db.execute("DELETE FROM removed_jobs WHERE job_id = ?1", [id])?;
            }
            Ok(files)
        })
        .map(|()| true)
    }
}

/// Cancels some waiting tasks and returns their number.
fn cancel_queued(db: &Connection, job: JobId, now: UnixMillis) -> Result<usize, StoreError> {
    for which in ["not_before_ms = 0", "not_before_ms > 0"] {
        let sql = format!(
            "UPDATE tasks SET state = 'cancelled', finished_ms = ?2
             WHERE job_id = ?1 AND idx IN (SELECT idx FROM tasks WHERE job_id = ?1 AND state = 'queued' AND {which} LIMIT ?3)"
        );
        let count = db.prepare_cached(&sql)?.execute(params![job.0, now.0, CANCELLED_AT_ONCE])?;
        if count > 0 {
            return Ok(count);
        }
    }
    Ok(0)
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
