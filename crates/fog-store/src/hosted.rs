//! Rows about hosted jobs: jobs of other devices that run here.

use fog_types::{JobId, JobState, UnixMillis};
use rusqlite::{Connection, params};

use crate::grid::{HostedRow, node_from};
use crate::transaction::Savepoint;
use crate::{Store, StoreError, outputs};

/// Number by which the priority of a hosted job is lowered, so that own jobs come first: more than the
/// difference between the highest and the lowest priority.
const BEHIND: i8 = 21;

/// Records that a job is hosted. Its deadline is at most that of its requester, whatever the job file says.
pub(crate) fn host(transaction: &Connection, row: &HostedRow) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO hosted (job_id, lease, requester, offer, deadline_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![row.job.0, row.lease, row.requester.to_string(), row.offer, row.deadline.0],
    )?;
    transaction.execute(
        "UPDATE jobs SET deadline_ms = min(deadline_ms, ?2) WHERE id = ?1",
        params![row.job.0, row.deadline.0],
    )?;
    transaction.execute(
        "UPDATE progress SET deadline_ms = min(deadline_ms, ?2), priority = priority - ?3 WHERE job_id = ?1",
        params![row.job.0, row.deadline.0, BEHIND],
    )?;
    Ok(())
}

/// Methods about hosted jobs. Each returns [`StoreError`] when the database cannot be read or changed.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Returns whether a lease was hosted here before, whatever became of it.
    pub fn has_hosted(&self, lease: &str) -> Result<bool, StoreError> {
        Ok(self
            .db
            .query_row("SELECT EXISTS (SELECT 1 FROM hosted WHERE lease = ?1)", [lease], |row| row.get(0))?)
    }

    /// Records that a job of another device was accepted as a job of this engine.
    pub fn host(&mut self, row: &HostedRow) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        host(&transaction, row)?;
        transaction.commit()?;
        Ok(())
    }

    /// Returns whether a job is of another device, also after that device is done with it.
    pub fn is_hosted(&self, job: JobId) -> Result<bool, StoreError> {
        Ok(self.db.prepare_cached("SELECT 1 FROM hosted WHERE job_id = ?1")?.exists([job.0])?)
    }

    /// Returns all hosted jobs, also those that are over.
    pub fn hosted(&self) -> Result<Vec<HostedRow>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT job_id, lease, requester, offer, deadline_ms, message, receipt IS NOT NULL FROM hosted",
        )?;
        let rows = query.query_map([], |row| {
            Ok((
                JobId(row.get(0)?),
                row.get(1)?,
                row.get::<_, String>(2)?,
                row.get(3)?,
                UnixMillis(row.get(4)?),
                row.get(5)?,
                row.get(6)?,
            ))
        })?;
        rows.map(|row| {
            let (job, lease, requester, offer, deadline, message, has_receipt) = row?;
            Ok(HostedRow {
                job,
                lease,
                requester: node_from(&requester)?,
                offer,
                deadline,
                message,
                has_receipt,
            })
        })
        .collect()
    }

    /// Stores the message about the end of a hosted job, which is sent until it is answered.
    pub fn set_hosted_message(&mut self, job: JobId, message: &[u8]) -> Result<(), StoreError> {
        self.db.execute("UPDATE hosted SET message = ?2 WHERE job_id = ?1", params![job.0, message])?;
        Ok(())
    }

    /// Records the receipt of the requester: shipped states are deleted now, and the files and their names
    /// are let go. For many files the rest follows with [`Store::sweep_removed`].
    pub fn set_hosted_receipt(&mut self, job: JobId, receipt: &[u8]) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute(
            "UPDATE hosted SET receipt = ?2, message = NULL WHERE job_id = ?1",
            params![job.0, receipt],
        )?;
        outputs::let_go_of_files(&transaction, job)?;
        transaction.commit()?;
        self.is_sweeping = true;
        self.sweep_removed()?;
        self.forget_shipped(job, 0)
    }

    /// Returns the bytes on disk of the files that these jobs hold, each file once, and of what the
    /// database keeps of them.
    pub fn bytes_held_by(&self, jobs: impl IntoIterator<Item = JobId>) -> Result<u64, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT blob, size FROM job_blobs JOIN blobs ON blobs.id = blob WHERE job_id = ?1",
        )?;
        // The job file and the names of the files are in the database.
        let mut rows = self.db.prepare_cached(
            "SELECT coalesce((SELECT length(spec) FROM jobs JOIN hosted ON job_id = id WHERE id = ?1 AND receipt IS NULL), 0) + coalesce((SELECT sum(length(path) + 200) FROM outputs WHERE job_id = ?1), 0)",
        )?;
        let (mut sizes, mut named) = (std::collections::BTreeMap::<String, u64>::new(), 0u64);
        for job in jobs {
            named = named.saturating_add(rows.query_row([job.0], |row| row.get(0))?);
            for row in query.query_map([job.0], |row| Ok((row.get(0)?, row.get(1)?)))? {
                let (blob, size) = row?;
                sizes.insert(blob, fog_types::on_disk(size));
            }
        }
        Ok(sizes.into_values().fold(named, u64::saturating_add))
    }

    /// Gives up the result of a hosted job: its files may go when room is needed, its states go now.
    /// `message` is stored in the same transaction, so that no kill leaves a result that is announced but
    /// missing.
    pub fn give_up_hosted(&mut self, job: JobId, message: &[u8]) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute("UPDATE hosted SET message = ?2 WHERE job_id = ?1", params![job.0, message])?;
        outputs::let_go_of_files(&transaction, job)?;
        transaction.commit()?;
        self.is_sweeping = true;
        self.sweep_removed()?;
        self.forget_shipped(job, 0)
    }

    /// Ends a hosted job that nobody wants any more: cancels it if it has not ended, but keeps it as a
    /// hosted one. Its files may go when room is needed. Returns whether it had not ended.
    pub fn end_hosted(&mut self, job: JobId, why: &str, now: UnixMillis) -> Result<bool, StoreError> {
        let was_open = match self.job_state(job) {
            Ok(state) => !state.is_final(),
            Err(StoreError::NoJob(_)) => false,
            Err(error) => return Err(error),
        };
        let transaction = Savepoint::new(&self.db)?;
        if was_open {
            Self::set_state(&transaction, job, JobState::Cancelled, why, now)?;
        }
        transaction.execute(
            "UPDATE hosted SET message = NULL, receipt = coalesce(receipt, x'') WHERE job_id = ?1",
            [job.0],
        )?;
        outputs::let_go_of_files(&transaction, job)?;
        transaction.commit()?;
        self.is_sweeping = true;
        self.sweep_removed()?;
        self.forget_shipped(job, 0)?;
        Ok(was_open)
    }
}
