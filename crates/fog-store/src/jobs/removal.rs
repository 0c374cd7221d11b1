//! Removal of jobs: their rows and files are deleted in pieces.

use fog_types::{JobId, UnixMillis};
use rusqlite::{OptionalExtension, params};

use crate::transaction::Savepoint;
use crate::{Store, StoreError, outputs};

/// Maximum number of rows of one table that one transaction deletes for a removed job.
const SWEEP_ROWS: u32 = 2_000;
/// Maximum number of files of a removed job that one step lets go.
const SWEEP_FILES: u32 = 250;

impl Store {
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
