use fog_types::{JobId, UnixMillis};
use rusqlite::{Connection, params};

use crate::{Store, StoreError};

/// Kind of a journal entry, which is written once, in the transaction of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// A job was stored.
    Accepted,
    /// A task has its result, never twice; the detail is the hash of the result.
    Result,
    /// An attempt at a task failed; the detail is the reason.
    AttemptFailed,
    /// Every task of a job has its result.
    Finished,
    /// A job was given up.
    Failed,
    /// The user paused a job, or it stopped after failures in a row.
    Paused,
    /// A paused job goes on.
    Resumed,
    /// The user cancelled a job.
    Cancelled,
    /// A device was given a task whose result is known, or had to prove a result; the detail names the
    /// device and the outcome.
    Checked,
}

impl JournalKind {
    const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Result,
        Self::AttemptFailed,
        Self::Finished,
        Self::Failed,
        Self::Paused,
        Self::Resumed,
        Self::Cancelled,
        Self::Checked,
    ];

    /// Returns the word used in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Result => "result",
            Self::AttemptFailed => "attempt_failed",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Cancelled => "cancelled",
            Self::Checked => "checked",
        }
    }
}

/// Entry of a job's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Sequence number; rises without repeats.
    pub seq: u64,
    /// Time of the entry.
    pub at: UnixMillis,
    /// Kind of the entry.
    pub kind: JournalKind,
    /// Index of the task, if the entry is about one.
    pub index: Option<u32>,
    /// Details, as text.
    pub detail: String,
}

pub(crate) fn note(
    db: &Connection,
    now: UnixMillis,
    kind: JournalKind,
    job: Option<JobId>,
    index: Option<u32>,
    detail: &str,
) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO journal (at_ms, kind, job_id, idx, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![now.0, kind.as_str(), job.map(|id| id.0), index, detail])?;
    Ok(())
}

impl Store {
    /// Writes an entry that accompanies no other change.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn note(
        &mut self,
        now: UnixMillis,
        kind: JournalKind,
        job: JobId,
        index: Option<u32>,
        detail: &str,
    ) -> Result<(), StoreError> {
        note(&self.db, now, kind, Some(job), index, detail)
    }

    /// Returns the newest `limit` entries about a job, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn journal(&self, job: JobId, limit: u32) -> Result<Vec<JournalRow>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT seq, at_ms, kind, idx, detail FROM journal WHERE job_id = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![job.0, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?, row.get(4)?))
        })?;
        let mut list = Vec::new();
        for row in rows {
            let (seq, at, word, index, detail) = row?;
            let kind = JournalKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == word)
                .ok_or_else(|| StoreError::Damaged(format!("journal kind '{word}'")))?;
            list.push(JournalRow { seq, at: UnixMillis(at), kind, index, detail });
        }
        list.reverse();
        Ok(list)
    }
}
