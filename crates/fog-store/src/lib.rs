//! Storage of everything that must survive a crash: SQLite rows, and blobs addressed by their BLAKE3 hash.
//!
//! Each data folder has one [`Store`], owned by one thread; a lock keeps other processes out. Every method
//! that changes something is one transaction and is on disk when it returns, unless it says otherwise or
//! [`Store::begin`] has opened a transaction around it. No policy lives here; the engine decides what changes.

mod blobs;
mod chat;
mod claims;
mod contents;
mod credits;
mod disk;
mod error;
mod folder;
mod grid;
mod history;
mod hosted;
mod jobs;
mod journal;
mod migrations;
mod outputs;
mod place;
mod placed;
mod receipts;
mod room;
mod settings;
mod tasks;
mod transaction;

pub use blobs::{BlobFile, BlobIntake, BlobWriter};
pub use chat::{CHAT_ROW_BYTES, ChatCaps, ChatRow, NewChat, WipeStep};
pub use credits::CreditRow;
pub use disk::{DiskUse, OtherFiles};
pub use error::StoreError;
pub use grid::{ContentRow, HostedRow, LeaseRow, NetworkRow, PeerRow};
pub use history::{Kept, Sample};
pub use jobs::{Blobs, JobFilter, JobHead, JobRow, NewJob, Rank};
pub use journal::{JournalKind, JournalRow};
pub use outputs::ROWS_AT_ONCE;
pub use place::path_now;
pub use placed::{Holds, PlacedFiles};
pub use room::{Measured, Reservation};
pub use tasks::{AttemptRow, Claim, FailedAttempt, Failure, Output, RenamedRow, TaskResult, TaskRow};
pub use transaction::Changes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fog_types::{JobId, TaskId};
use rusqlite::{Connection, OpenFlags};

use place::Place;

/// File name of the database in a data folder.
const DATABASE: &str = "fog.sqlite";

/// Database and blobs of one data folder.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    folder: PathBuf,
    /// Files beside the blobs, as measured last.
    other: OtherFiles,
    /// Files that are being placed.
    holds: Holds,
    /// Lock, released by the system however the process ends; `None` in a [`Reader`].
    _lock: Option<File>,
    /// Folder as it was opened; `None` in a [`Reader`].
    place: Option<Arc<Place>>,
    /// Results whose rows of files are being written ahead.
    staged: BTreeMap<TaskId, outputs::Staged>,
    /// Ended jobs whose tasks may not all be cancelled yet.
    ending: BTreeSet<JobId>,
    /// Whether removed or completed jobs may have left something to delete.
    is_sweeping: bool,
    /// Transaction that is open.
    open: Option<transaction::Open>,
    /// Write-ahead log of the database; `None` if there is none.
    wal: Option<File>,
    /// Whether commits fail, in tests.
    fails_commits: bool,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.close();
        }
    }
}

/// Read-only access to what a [`Store`] has written, for another thread.
#[derive(Debug)]
pub struct Reader(Store);

impl Reader {
    /// Opens a reader of a data folder that a [`Store`] of this process has open.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        place::check_path(folder).map_err(|source| StoreError::File { path: folder.to_owned(), source })?;
        let db = Connection::open_with_flags(
            folder.join(DATABASE),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        db.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024; PRAGMA temp_store = FILE; PRAGMA busy_timeout = 2000;")?;
        Ok(Self(Store {
            db,
            folder: folder.to_owned(),
            other: OtherFiles::default(),
            holds: Holds::default(),
            _lock: None,
            place: None,
            staged: BTreeMap::new(),
            ending: BTreeSet::new(),
            is_sweeping: false,
            open: None,
            wal: None,
            fails_commits: false,
        }))
    }
}

impl std::ops::Deref for Reader {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

/// Longest wait for a lock that is about to be released.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

impl Store {
    /// Opens the data folder, creates it if it is new, and migrates an older schema.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if nothing can be stored there, [`StoreError::InUse`] if another process
    /// has it, [`StoreError::TooNew`] if a newer release wrote it, [`StoreError::EmptyDatabase`] and
    /// [`StoreError::ForeignDatabase`] if the database does not belong to the files beside it. Nothing is
    /// changed then.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        folder::prepare(folder)?;
        make_private(folder);
        let lock_path = folder.join("lock");
        let lock = private_file()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| folder::unusable(folder, &lock_path, &e))?;
        take_lock(&lock, folder)?.map_err(at(&lock_path))?;
        // The lock file may be deleted while it is locked, so the folder is locked too if the system can do
        // that.
        let handle = File::open(folder).ok();
        if let Some(handle) = &handle {
            let _ = take_lock(handle, folder)?;
        }
        let database = folder.join(DATABASE);
        migrations::check_own(folder, &database).map_err(|error| error.at(&database))?;
        // SQLite gives the journals the mode of the database.
        private_file()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&database)
            .map_err(|e| folder::unusable(folder, &database, &e))?;
        let db = Self::open_database(&database).map_err(|error| error.at(&database))?;
        let wal = transaction::open_wal(&db, &database);
        let holds = Holds::default();
        let place = Some(Place::open(folder, handle, holds.clone()));
        Ok(Self {
            db,
            folder: folder.to_owned(),
            other: OtherFiles::default(),
            holds,
            _lock: Some(lock),
            place,
            staged: BTreeMap::new(),
            ending: BTreeSet::new(),
            // Jobs that an earlier run removed may have left something to delete.
            is_sweeping: true,
            open: None,
            wal,
            fails_commits: false,
        })
    }

    fn open_database(database: &Path) -> Result<Connection, StoreError> {
        let mut db = Connection::open(database)?;
        // FULL: an acknowledged result survives a power cut, at one fsync per transaction.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -1024; PRAGMA temp_store = FILE; PRAGMA busy_timeout = 2000;",
        )?;
        migrations::run(&mut db)?;
        Ok(db)
    }

    /// Returns the data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Checks that the data folder, its lock and its database are still those that were opened; never fails
    /// on Windows.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if one of them was moved, deleted or replaced. From then on nothing may be
    /// written by a path in the folder; the database can still be changed where it is now.
    pub fn check_place(&self) -> Result<(), StoreError> {
        self.place.as_ref().map_or(Ok(()), |place| place.check())
    }

    /// Copies a database that was deleted while it was open into `set-aside` and returns the path of the
    /// copy.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or the copy cannot be written.
    pub fn save_aside(&self) -> Result<PathBuf, StoreError> {
        let aside = disk::aside(&self.folder);
        make_private_folder(&aside).map_err(|source| StoreError::File { path: aside.clone(), source })?;
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let copy = aside.join(format!("fog-{stamp}.sqlite"));
        // SQLite takes the name as text.
        let not_text = || StoreError::File {
            path: copy.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidFilename, "its name is not UTF-8"),
        };
        self.db.execute("VACUUM INTO ?1", [copy.to_str().ok_or_else(not_text)?])?;
        Ok(copy)
    }

    /// Makes every change fail as on a full disk, or lets changes through again; for tests.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    #[doc(hidden)]
    pub fn refuse_changes(&self, refuse: bool) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "query_only", refuse)?)
    }
}

/// Locks a file of the folder, or the folder itself.
fn take_lock(lock: &File, folder: &Path) -> Result<std::io::Result<()>, StoreError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Ok(())),
            // A killed engine may leave a worker between its fork and its exec, which holds the lock for
            // that moment.
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10))
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Ok(Err(source)),
        }
    }
}

/// Sets the time at which a file was last changed, also of a file that is only read.
///
/// # Errors
/// An I/O error if the file cannot be opened or the time cannot be set.
pub fn set_modified(path: &Path, at: SystemTime) -> std::io::Result<()> {
    let mut options = File::options();
    options.read(true);
    #[cfg(windows)]
    {
        // Windows needs the right to write attributes; the second flag opens folders.
        const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        use std::os::windows::fs::OpenOptionsExt;
        options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    }
    options.open(path)?.set_modified(at)
}

/// Names of the folders and of the files that a store makes in its data folder.
const OWN_FOLDERS: [&str; 7] =
    ["blobs", "compiled", "checkpoints", "histories", "incoming", "partial", "set-aside"];
const OWN_FILES: [&str; 7] =
    ["fog.sqlite", "fog.sqlite-wal", "fog.sqlite-shm", "lock", "checkpoint.key", "fog.token", "fog.sock"];

/// Creates a folder in the data folder, with its missing parents, that only this user can read. An existing
/// folder stays as it is, and an open data folder itself is not created again.
///
/// # Errors
/// An I/O error if the folder cannot be created or the data folder is no longer the one that was opened.
pub fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let builder = private_builder();
    if place::make_below(folder, |path| builder.create(path))? { Ok(()) } else { make_folder(folder) }
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    private_builder().recursive(true).create(folder)
}

fn private_builder() -> std::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Returns options for files that only this user can read.
#[must_use]
pub fn private_file() -> std::fs::OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes an existing data folder private, such as one made by hand or by an older release. A folder that
/// holds other things too is left as it is; only the store's own files in it are made private.
fn make_private(folder: &Path) {
    let is_ours = |name: &std::ffi::OsStr| OWN_FOLDERS.iter().chain(&OWN_FILES).any(|own| name == *own);
    let mut others = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !is_ours(&entry.file_name()));
    let is_shared = others.next().is_some() && !folder.join(DATABASE).exists();
    let whole = [(folder.to_owned(), true)].into_iter().filter(|_| !is_shared);
    let folders = OWN_FOLDERS.iter().map(|name| (folder.join(name), true));
    let files = OWN_FILES.iter().map(|name| (folder.join(name), false));
    for (path, is_folder) in whole.chain(folders).chain(files) {
        let made = if is_folder { make_folder(&path) } else { Ok(()) };
        if let Err(error) = made.and_then(|()| set_private(&path, is_folder)) {
            tracing::warn!(%error, path = %path.display(), "it cannot be made private; other users may read what is in it");
        }
    }
}

#[cfg(unix)]
fn set_private(path: &Path, is_folder: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = match std::fs::symlink_metadata(path) {
        // The target of a symbolic link belongs to somebody else.
        Ok(about) if !about.is_symlink() => about.permissions().mode(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A folder with the sticky bit is shared by all users.
    if mode & 0o077 == 0 || mode & 0o1000 != 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(if is_folder { 0o700 } else { 0o600 }))
}

#[cfg(not(unix))]
fn set_private(_path: &Path, _is_folder: bool) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod soak_tests;
#[cfg(test)]
mod tests;
