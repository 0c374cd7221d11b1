use fog_types::{JobId, UnixMillis};
use rusqlite::{Connection, params};

use crate::{Store, StoreError};

/// What happened, once each, in the same transaction as the change itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// A job was stored.
    Accepted,
    /// A task has its result; the detail is its hash. Never twice for one task.
    Result,
    /// A try at a task failed; the detail says why.
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
    /// A device was given a task whose result is known, or had to show how it came to one; the detail says
    /// which device and what came of it.
    Checked,
}

impl JournalKind {
    const ALL: [Self; 9] =
        [Self::Accepted, Self::Result, Self::AttemptFailed, Self::Finished, Self::Failed, Self::Paused, Self::Resumed, Self::Cancelled, Self::Checked];

    /// The word used in the database and in JSON.
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

/// One line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Position; rises without repeats.
    pub seq: u64,
    /// When.
    pub at: UnixMillis,
    /// What.
    pub kind: JournalKind,
    /// Which task of the job, if one.
    pub index: Option<u32>,
    /// More, in words.
    pub detail: String,
}

pub(crate) fn note(db: &Connection, now: UnixMillis, kind: JournalKind, job: Option<JobId>, index: Option<u32>, detail: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO journal (at_ms, kind, job_id, idx, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        now.0,
        kind.as_str(),
        job.map(|id| id.0),
        index,
        detail
    ])?;
    Ok(())
}

impl Store {
    /// Notes what changed nothing else.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn note(&mut self, now: UnixMillis, kind: JournalKind, job: JobId, index: Option<u32>, detail: &str) -> Result<(), StoreError> {
        note(&self.db, now, kind, Some(job), index, detail)
    }

    /// The newest lines about a job, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn journal(&self, job: JobId, limit: u32) -> Result<Vec<JournalRow>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT seq, at_ms, kind, idx, detail FROM journal WHERE job_id = ?1 ORDER BY seq DESC LIMIT ?2")?;
        let rows = query.query_map(params![job.0, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?, row.get(4)?)))?;
        let mut list = Vec::new();
        for row in rows {
            let (seq, at, word, index, detail) = row?;
            let kind = JournalKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| StoreError::Damaged(format!("journal kind '{word}'")))?;
            list.push(JournalRow { seq, at: UnixMillis(at), kind, index, detail });
        }
        list.reverse();
        Ok(list)
    }
}
