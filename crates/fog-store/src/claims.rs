//! Claims of one job's tasks, out of the usual order.

use fog_types::{JobId, TaskId, UnixMillis};
use rusqlite::{OptionalExtension, params};

use crate::{Claim, Store, StoreError};

impl Store {
    /// Hands the next task of one job to a worker, whatever is ahead of it in the queue.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn claim_task_of(&mut self, JobId(job): JobId, engine: &str, now: UnixMillis) -> Result<Option<Claim>, StoreError> {
        let transaction = self.db.transaction()?;
        let found: Option<u32> = transaction
            .query_row(
                "SELECT tasks.idx FROM tasks JOIN jobs ON jobs.id = tasks.job_id
                 WHERE tasks.job_id = ?1 AND tasks.state = 'queued' AND tasks.not_before_ms <= ?2
                   AND jobs.state IN ('queued', 'running') AND jobs.grid IS NULL
                 ORDER BY tasks.idx LIMIT 1",
                params![job, now.0],
                |row| row.get(0),
            )
            .optional()?;
        let Some(index) = found else { return Ok(None) };
        transaction.execute("UPDATE tasks SET state = 'running', started_ms = ?3, permille = 0 WHERE job_id = ?1 AND idx = ?2", params![job, index, now.0])?;
        transaction.execute("UPDATE jobs SET state = 'running' WHERE id = ?1 AND state = 'queued'", [job])?;
        transaction.execute("INSERT INTO attempts (job_id, idx, started_ms, engine) VALUES (?1, ?2, ?3, ?4)", params![job, index, now.0, engine])?;
        let attempt = transaction.last_insert_rowid().unsigned_abs();
        transaction.commit()?;
        Ok(Some(Claim { task: TaskId { job: JobId(job), index }, attempt }))
    }
}
