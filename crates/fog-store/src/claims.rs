//! Claims of tasks of one job, regardless of the order of the queue.

use fog_types::{JobId, TaskId, UnixMillis};
use rusqlite::{OptionalExtension, params};

use crate::{Claim, Store, StoreError};

impl Store {
    /// Claims the next ready task of one job for a worker, whatever is ahead of it in the queue.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn claim_task_of(&mut self, job: JobId, engine: &str, now: UnixMillis) -> Result<Option<Claim>, StoreError> {
        let Some(task) = self.next_task_of(job, now)? else { return Ok(None) };
        self.claim(task, engine, now).map(Some)
    }

    /// Returns the next task of one job that is ready to run on this device.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn next_task_of(&self, job: JobId, now: UnixMillis) -> Result<Option<TaskId>, StoreError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT tasks.idx FROM tasks JOIN jobs ON jobs.id = tasks.job_id
                 WHERE tasks.job_id = ?1 AND tasks.state = 'queued' AND tasks.not_before_ms <= ?2
                   AND jobs.state IN ('queued', 'running') AND jobs.grid IS NULL
                 ORDER BY tasks.idx LIMIT 1",
            )?
            .query_row(params![job.0, now.0], |row| row.get(0))
            .optional()?;
        Ok(found.map(|index| TaskId { job, index }))
    }

    /// Returns whether a task could be claimed now.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn is_ready(&self, task: TaskId) -> Result<bool, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT 1 FROM tasks JOIN jobs ON jobs.id = tasks.job_id
             WHERE tasks.job_id = ?1 AND tasks.idx = ?2 AND tasks.state = 'queued' AND tasks.not_before_ms = 0
               AND jobs.state IN ('queued', 'running') AND jobs.grid IS NULL",
        )?;
        Ok(query.exists(params![task.job.0, task.index])?)
    }
}
