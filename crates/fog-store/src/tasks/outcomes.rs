//! Outcomes of claims: results with their remarks, failed attempts, and the end of a job with its last task.

use fog_types::{JobId, JobState, TaskId, TaskState, UnixMillis};
use rusqlite::{Connection, named_params, params};

use super::{Claim, FailedAttempt, Failure, RenamedRow, TaskResult, end_attempt, to_sql};
use crate::history::{history_shift, quarter_of};
use crate::journal::{JournalKind, note};
use crate::transaction::Savepoint;
use crate::{Store, StoreError, blobs, outputs};

impl Store {
    /// Records the one result of a task and returns the new state of its job. Returns `None` if the claim
    /// was released, cancelled or answered before, or the task has a result.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when one of its files is not stored; [`StoreError`] when the database cannot be
    /// changed. Nothing is recorded then.
    pub fn finish_task(
        &mut self,
        claim: Claim,
        result: &TaskResult,
        now: UnixMillis,
    ) -> Result<Option<JobState>, StoreError> {
        let staged = self.staged.remove(&claim.task);
        let transaction = Savepoint::new(&self.db)?;
        if !end_attempt(&transaction, claim, "finished", "", result.units, now)? {
            return Ok(None);
        }
        let TaskId { job, index } = claim.task;
        // Two attempts may have run at once; the first result counts.
        let is_finished = transaction
            .prepare_cached("SELECT 1 FROM tasks WHERE job_id = ?1 AND idx = ?2 AND state = 'finished'")?
            .exists(params![job.0, index])?;
        if is_finished {
            transaction.commit()?;
            return Ok(None);
        }
        outputs::write(&transaction, claim, staged, &result.outputs)?;
        for log in [result.stdout, result.stderr] {
            blobs::check_stored(&transaction, log)?;
            outputs::hold(&transaction, claim.task, log)?;
        }
        transaction.execute(
            "UPDATE tasks SET state = 'finished', permille = 1000, exit_code = :exit, units = :units, active_ms = :active, memory = :memory,
             result_hash = :hash, stdout = :stdout, stderr = :stderr, stdout_dropped = :out_dropped, stderr_dropped = :err_dropped,
             finished_ms = :now, agreed = :agreed WHERE job_id = :job AND idx = :idx",
            named_params! {
                ":exit": result.exit_code, ":units": to_sql(result.units.0), ":active": to_sql(result.active_millis), ":memory": to_sql(result.memory),
                ":hash": result.result_hash, ":stdout": result.stdout.to_string(), ":stderr": result.stderr.to_string(),
                ":out_dropped": to_sql(result.stdout_dropped), ":err_dropped": to_sql(result.stderr_dropped), ":now": now.0, ":job": job.0, ":idx": index,
                ":agreed": result.agreed,
            },
        )?;
        // A sum beyond the largest integer becomes a real number, which CAST cuts to that integer.
        transaction
            .prepare_cached("UPDATE progress SET units = CAST(units + ?2 AS INTEGER), failures_in_row = 0 WHERE job_id = ?1")?
            .execute(params![job.0, to_sql(result.units.0)])?;
        let quarter = quarter_of(now, history_shift(&transaction)?);
        transaction
            .prepare_cached("INSERT INTO results_by_quarter VALUES (?1, 1) ON CONFLICT (quarter) DO UPDATE SET results = results + 1")?
            .execute([quarter])?;
        note(&transaction, now, JournalKind::Result, Some(job), Some(index), &result.result_hash)?;
        settle(&transaction, job, now)?;
        let state: String =
            transaction.query_row("SELECT state FROM jobs WHERE id = ?1", [job.0], |row| row.get(0))?;
        transaction.commit()?;
        crate::jobs::state_from(&state).map(Some)
    }

    /// Stores a remark about the result of a finished task in place of its problem, and the files that were
    /// renamed or left out; `count` is the number of all such files.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn note_result(
        &mut self,
        task: TaskId,
        note: &str,
        renamed: &[RenamedRow],
        count: u64,
    ) -> Result<(), StoreError> {
        let (job, index) = (task.job.0, task.index);
        let transaction = Savepoint::new(&self.db)?;
        let noted = transaction.execute(
            "UPDATE tasks SET problem = ?3, renamed = ?4 WHERE job_id = ?1 AND idx = ?2 AND state = 'finished'",
            params![job, index, note, to_sql(count)],
        )?;
        if noted > 0 {
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO renamed (job_id, idx, seq, name, kept, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (number, row) in renamed.iter().enumerate() {
                insert.execute(params![
                    job,
                    index,
                    number,
                    row.name,
                    row.kept.as_deref().unwrap_or_default(),
                    row.reason
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Returns at most `limit` files that were renamed or left out, from the `from`-th on, in the order in
    /// which they were noted.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn renamed(&self, task: TaskId, from: u32, limit: u32) -> Result<Vec<RenamedRow>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT name, nullif(kept, ''), reason FROM renamed WHERE job_id = ?1 AND idx = ?2 AND seq >= ?3 ORDER BY seq LIMIT ?4")?;
        let rows = query.query_map(params![task.job.0, task.index, from, limit], |row| {
            Ok(RenamedRow { name: row.get(0)?, kept: row.get(1)?, reason: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records a failed attempt and what follows. Returns the failures in a row of its job, or `None` if
    /// the claim no longer counts.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn fail_task(
        &mut self,
        claim: Claim,
        failed: &FailedAttempt,
        then: Failure,
        now: UnixMillis,
    ) -> Result<Option<u32>, StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        if !end_attempt(&transaction, claim, "failed", &failed.problem, failed.units, now)? {
            return Ok(None);
        }
        let TaskId { job, index } = claim.task;
        let (state, not_before, ended) = match then {
            // Zero would mean that the task is ready.
            Failure::Retry(at) => (TaskState::Queued, at.0.max(1), None),
            Failure::Final => (TaskState::Failed, 0, Some(now.0)),
        };
        let (stdout, stderr) = (failed.logs.map(|l| l.0.to_string()), failed.logs.map(|l| l.1.to_string()));
        transaction.execute(
            "UPDATE tasks SET state = ?3, attempts = attempts + 1, not_before_ms = ?4, problem = ?5, permille = 0, exit_code = ?6,
             units = iif(?3 = 'queued', units, 0), stdout = ?7, stderr = ?8, finished_ms = ?9 WHERE job_id = ?1 AND idx = ?2",
            params![job.0, index, state.as_str(), not_before, failed.problem, failed.exit_code, stdout, stderr, ended],
        )?;
        for log in [stdout, stderr].into_iter().flatten() {
            transaction.execute(
                "INSERT OR IGNORE INTO job_blobs (job_id, blob) VALUES (?1, ?2)",
                params![job.0, log],
            )?;
        }
        transaction.execute(
            "UPDATE progress SET failures_in_row = failures_in_row + 1 WHERE job_id = ?1",
            [job.0],
        )?;
        note(&transaction, now, JournalKind::AttemptFailed, Some(job), Some(index), &failed.problem)?;
        settle(&transaction, job, now)?;
        let row = transaction.query_row(
            "SELECT failures_in_row FROM progress WHERE job_id = ?1",
            [job.0],
            |row| row.get(0),
        )?;
        transaction.commit()?;
        Ok(Some(row))
    }
}

/// Ends a job whose tasks are all done: finished when each has a result, else failed.
fn settle(transaction: &Connection, job: JobId, now: UnixMillis) -> Result<(), StoreError> {
    let (open, failed): (u64, u64) = transaction
        .prepare_cached("SELECT ready + waiting + running, failed FROM progress WHERE job_id = ?1")?
        .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if open > 0 {
        return Ok(());
    }
    let (state, kind, problem) = if failed == 0 {
        (JobState::Finished, JournalKind::Finished, String::new())
    } else {
        let last: String =
            transaction
                .query_row("SELECT problem FROM tasks WHERE job_id = ?1 AND state = 'failed' ORDER BY finished_ms DESC LIMIT 1", [job.0], |row| row.get(0))?;
        (
            JobState::Failed,
            JournalKind::Failed,
            if failed == 1 { last } else { format!("{failed} tasks failed; the last: {last}") },
        )
    };
    let changed = transaction.execute(
        "UPDATE jobs SET state = ?2, finished_ms = ?3, problem = ?4 WHERE id = ?1 AND state IN ('queued', 'running', 'paused')",
        params![job.0, state.as_str(), now.0, problem],
    )?;
    if changed > 0 {
        note(transaction, now, kind, Some(job), None, &problem)?;
    }
    Ok(())
}
