//! Claims: of tasks of one job, regardless of the order of the queue, and of those that run here.

use fog_types::{JobId, TaskId, UnixMillis, WorkUnits};
use rusqlite::{OptionalExtension, params};

use crate::tasks::end_attempt;
use crate::transaction::Savepoint;
use crate::{Claim, Store, StoreError};

impl Store {
    /// Puts every task that was running here back in the queue, as its worker died with the last engine.
    /// Returns the number of tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn recover(&mut self, now: UnixMillis) -> Result<usize, StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute(
            "UPDATE attempts SET outcome = 'interrupted', detail = 'the engine stopped', ended_ms = ?1 WHERE outcome = 'running'
             AND id NOT IN (SELECT attempt FROM leases)",
            [now.0],
        )?;
        // Tasks that are leased to another device go on there.
        let count = transaction.execute(
            "UPDATE tasks SET state = 'queued', permille = iif(units > 0, permille, 0) WHERE state = 'running'
             AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.job_id = tasks.job_id AND leases.idx = tasks.idx)",
            [],
        )?;
        transaction.commit()?;
        self.find_ending()?;
        Ok(count)
    }

    /// Returns the claims of all tasks that run on this device.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn running_here(&self) -> Result<Vec<Claim>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT id, job_id, idx FROM attempts WHERE outcome = 'running' AND id NOT IN (SELECT attempt FROM leases) ORDER BY id")?;
        let rows = query.query_map([], |row| {
            Ok(Claim { attempt: row.get(0)?, task: TaskId { job: JobId(row.get(1)?), index: row.get(2)? } })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes tasks ready whose back-off is over. Returns the number of tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn wake_tasks(&mut self, now: UnixMillis) -> Result<usize, StoreError> {
        let is_due = "state = 'queued' AND not_before_ms > 0 AND not_before_ms <= ?1";
        // This is called at every event, and looking costs no transaction.
        let some = self
            .db
            .prepare_cached(&format!("SELECT 1 FROM tasks WHERE {is_due} LIMIT 1"))?
            .exists([now.0])?;
        if !some {
            return Ok(0);
        }
        Ok(self.db.execute(&format!("UPDATE tasks SET not_before_ms = 0 WHERE {is_due}"), [now.0])?)
    }

    /// Puts a claimed task back in the queue without counting a failure; the progress of its checkpoint
    /// stays. With `has_advanced`, the failures of the task and those in a row of its job are reset.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn release_task(
        &mut self,
        claim: Claim,
        why: &str,
        has_advanced: bool,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        if end_attempt(&transaction, claim, "interrupted", why, WorkUnits(0), now)? {
            transaction.execute(
                "UPDATE tasks SET state = 'queued', permille = iif(units > 0, permille, 0) WHERE job_id = ?1 AND idx = ?2 AND state = 'running'",
                params![claim.task.job.0, claim.task.index],
            )?;
            if has_advanced {
                let TaskId { job, index } = claim.task;
                transaction.execute(
                    "UPDATE tasks SET attempts = 0, problem = '' WHERE job_id = ?1 AND idx = ?2",
                    params![job.0, index],
                )?;
                transaction.execute("UPDATE progress SET failures_in_row = 0 WHERE job_id = ?1", [job.0])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Claims the next ready task for a worker.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn claim_task(&mut self, engine: &str, now: UnixMillis) -> Result<Option<Claim>, StoreError> {
        self.wake_tasks(now)?;
        let Some(task) = self.next_task()? else { return Ok(None) };
        self.claim(task, engine, now).map(Some)
    }

    /// Claims the next ready task of one job for a worker, whatever is ahead of it in the queue.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn claim_task_of(
        &mut self,
        job: JobId,
        engine: &str,
        now: UnixMillis,
    ) -> Result<Option<Claim>, StoreError> {
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
