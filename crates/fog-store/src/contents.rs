//! Rows about contents: stored files as other devices fetch them.

use fog_types::{BlobId, JobId};
use rusqlite::{OptionalExtension, params};

use crate::grid::{ContentRow, blob_from};
use crate::transaction::Savepoint;
use crate::{Store, StoreError};

/// Methods about contents. Each returns [`StoreError`] when the database cannot be read or changed.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Records a state of a hosted task that its requester is told of, and deletes all but the newest
    /// `keep`.
    pub fn ship_state(&mut self, job: JobId, blob: BlobId, keep: u32) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT INTO shipped (job_id, blob) VALUES (?1, ?2)",
            params![job.0, blob.to_string()],
        )?;
        self.forget_shipped(job, keep)
    }

    /// Keeps a file for a job as long as the job needs its files.
    pub fn hold_blob(&mut self, job: JobId, blob: BlobId) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        if !transaction.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?.exists([job.0])? {
            return Err(StoreError::NoJob(job));
        }
        crate::blobs::check_stored(&transaction, blob)?;
        transaction.execute(
            "INSERT OR IGNORE INTO job_blobs (job_id, blob) VALUES (?1, ?2)",
            params![job.0, blob.to_string()],
        )?;
        Ok(transaction.commit()?)
    }

    /// Records a state as [`Store::ship_state`] does, for the requester to inspect; not given up for room
    /// until the job ends.
    pub fn show_state(&mut self, job: JobId, blob: BlobId, keep: u32) -> Result<(), StoreError> {
        self.hold_blob(job, blob)?;
        self.ship_state(job, blob, keep)
    }

    /// Deletes the shipped states of a job but for the newest `keep`.
    pub(crate) fn forget_shipped(&mut self, job: JobId, keep: u32) -> Result<(), StoreError> {
        let old: Vec<String> = {
            let mut query = self.db.prepare_cached(
                "DELETE FROM shipped WHERE job_id = ?1 AND id NOT IN (SELECT id FROM shipped WHERE job_id = ?1 ORDER BY id DESC LIMIT ?2) RETURNING blob",
            )?;
            query.query_map(params![job.0, keep], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for blob in old {
            let is_again: bool = self
                .db
                .prepare_cached("SELECT 1 FROM shipped WHERE job_id = ?1 AND blob = ?2")?
                .exists(params![job.0, blob])?;
            if !is_again {
                // A state that was shown was held.
                self.db
                    .prepare_cached("DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2")?
                    .execute(params![job.0, blob])?;
                self.forget_blob(blob_from(&blob)?)?;
            }
        }
        Ok(())
    }

    /// Lets other devices fetch a stored file.
    pub fn put_content(&mut self, row: &ContentRow) -> Result<(), StoreError> {
        self.put_contents(std::slice::from_ref(row))
    }

    /// Lets other devices fetch several stored files, in one transaction.
    pub fn put_contents(&mut self, rows: &[ContentRow]) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO contents (id, blob, size, key, manifest, open) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for row in rows {
                put.execute(params![
                    row.id,
                    row.blob.to_string(),
                    row.size.cast_signed(),
                    // The key of a sealed file is not stored, so that the file and this database do not
                    // reveal its contents.
                    if row.open.is_some() { [0; 32] } else { row.key },
                    row.manifest,
                    row.open.map(|open| open.to_string())
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Returns a content by its id.
    pub fn content(&self, id: &str) -> Result<Option<ContentRow>, StoreError> {
        self.content_where("id", id, None)
    }

    /// Returns the sealed form of a stored file, if there is one.
    pub fn content_of(&self, blob: BlobId, key: &[u8; 32]) -> Result<Option<ContentRow>, StoreError> {
        self.content_where("blob", &blob.to_string(), Some(key))
    }

    fn content_where(
        &self,
        column: &str,
        value: &str,
        key: Option<&[u8; 32]>,
    ) -> Result<Option<ContentRow>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT id, blob, size, key, manifest, open FROM contents WHERE {column} = ?1 AND (?2 IS NULL OR key = ?2 OR open IS NOT NULL)"
        ))?;
        let found = query
            .query_row(params![value, key], |row| {
                Ok((
                    row.get(0)?,
                    row.get::<_, String>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get::<_, Option<String>>(5)?,
                ))
            })
            .optional()?;
        found
            .map(|(id, blob, size, key, manifest, open)| {
                Ok(ContentRow {
                    id,
                    blob: blob_from(&blob)?,
                    size,
                    key,
                    manifest,
                    open: open.as_deref().map(blob_from).transpose()?,
                })
            })
            .transpose()
    }
}
