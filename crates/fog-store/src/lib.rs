//! What must survive a crash: SQLite rows, and blobs addressed by their BLAKE3 hash.
//!
//! One [`Store`] per data folder, owned by one thread; a lock file keeps a second program out.
//! Every method that changes something is one transaction: when it returns, the change is on disk.
//! No policy lives here; the engine decides what changes.

mod blobs;
mod chat;
mod claims;
mod credits;
mod error;
mod grid;
mod history;
mod jobs;
mod journal;
mod migrations;
mod settings;
mod tasks;

pub use blobs::{BlobFile, BlobIntake, BlobWriter};
pub use chat::{ChatRow, NewChat, WipeStep};
pub use credits::CreditRow;
pub use error::StoreError;
pub use grid::{ContentRow, HostedRow, LeaseRow, NetworkRow, PeerRow};
pub use history::Sample;
pub use jobs::{Blobs, JobFilter, JobRow, NewJob};
pub use journal::{JournalKind, JournalRow};
pub use tasks::{AttemptRow, Claim, FailedAttempt, Failure, Output, TaskResult, TaskRow};

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// The database and blobs of one data folder.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    folder: PathBuf,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

/// Longest wait for a lock that is about to go.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

impl Store {
    /// Opens the data folder, making it when it is new, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; [`StoreError::TooNew`] when a newer
    /// release wrote it; nothing is changed then.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        make_private_folder(folder).map_err(at(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A killed engine may leave a worker between its fork and its exec, which holds the lock for
                // that moment.
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: folder.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
            }
        }
        let mut db = Connection::open(folder.join("fog.sqlite"))?;
        // FULL: a result that was acknowledged survives a power cut, at one fsync a transaction.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -1024; PRAGMA temp_store = FILE; PRAGMA busy_timeout = 2000;",
        )?;
        migrations::run(&mut db)?;
        Ok(Self { db, folder: folder.to_owned(), _lock: lock })
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes a folder that only this user can read.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests;
