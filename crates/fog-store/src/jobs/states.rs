//! States of jobs: wishes of the user, deadlines, and the end of the tasks of an ended job.

use fog_types::{JobId, JobState, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use crate::journal::{JournalKind, note};
use crate::transaction::Savepoint;
use crate::{Store, StoreError};

/// Maximum number of tasks of an ended job that one transaction cancels.
const CANCELLED_AT_ONCE: u32 = 250;

impl Store {
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

    /// Returns the earliest deadline of an open job.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn next_deadline(&self) -> Result<Option<UnixMillis>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT deadline_ms FROM jobs INDEXED BY jobs_by_deadline
             WHERE state IN ('queued', 'running', 'paused') ORDER BY deadline_ms LIMIT 1",
        )?;
        Ok(query.query_row([], |row| row.get(0)).optional()?.map(UnixMillis))
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
