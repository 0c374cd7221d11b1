//! What must survive a crash: SQLite rows, and blobs addressed by their BLAKE3 hash.
//!
//! One [`Store`] per data folder, owned by one thread; a lock file keeps a second program out.
//! Every method that changes something is one transaction: when it returns, the change is on disk.
//! No policy lives here; the engine decides what changes.

mod blobs;
mod chat;
mod claims;
mod credits;
mod disk;
mod error;
mod folder;
mod grid;
mod history;
mod jobs;
mod journal;
mod migrations;
mod outputs;
mod place;
mod placed;
mod settings;
mod tasks;

pub use blobs::{BlobFile, BlobIntake, BlobWriter};
pub use chat::{CHAT_ROW_BYTES, ChatCaps, ChatRow, NewChat, WipeStep};
pub use credits::CreditRow;
pub use disk::{DiskUse, OtherFiles, on_disk};
pub use error::StoreError;
pub use grid::{ContentRow, HostedRow, LeaseRow, NetworkRow, PeerRow};
pub use history::{Kept, Sample};
pub use jobs::{Blobs, JobFilter, JobHead, JobRow, NewJob, Rank};
pub use journal::{JournalKind, JournalRow};
pub use outputs::ROWS_AT_ONCE;
pub use place::path_now;
pub use placed::{Holds, PlacedFiles, Reservation};
pub use tasks::{AttemptRow, Claim, FailedAttempt, Failure, Output, RenamedRow, TaskResult, TaskRow};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fog_types::{JobId, TaskId};
use rusqlite::{Connection, OpenFlags};

use place::Place;

/// The database in a data folder.
const DATABASE: &str = "fog.sqlite";

/// The database and blobs of one data folder.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    folder: PathBuf,
    /// Files beside the blobs, as measured last.
    other: OtherFiles,
    /// Files that are being named.
    holds: Holds,
    /// Released by the system when the process ends, however it ends. A [`Reader`] has none.
    _lock: Option<File>,
    /// The folder as it was opened. A [`Reader`] has none.
    place: Option<Arc<Place>>,
    /// Results whose files are being written.
    staged: BTreeMap<TaskId, outputs::Staged>,
    /// Jobs that have ended whose tasks may not all be cancelled.
    ending: BTreeSet<JobId>,
    /// Something may hang on jobs that were removed or are done with.
    is_sweeping: bool,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.close();
        }
    }
}

/// Reads what a [`Store`] has written, beside it and on another thread.
#[derive(Debug)]
pub struct Reader(Store);

impl Reader {
    /// A reader of a data folder that a [`Store`] of this process has open.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        place::check_path(folder).map_err(|source| StoreError::File { path: folder.to_owned(), source })?;
        let db = Connection::open_with_flags(folder.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
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
        }))
    }
}

impl std::ops::Deref for Reader {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

/// Longest wait for a lock that is about to go.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

impl Store {
    /// Opens the data folder, making it when it is new, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when nothing can be kept there; [`StoreError::InUse`] when another process has it; [`StoreError::TooNew`] when a newer release wrote it;
    /// [`StoreError::EmptyDatabase`] and [`StoreError::ForeignDatabase`] when its database is not the one of the files
    /// beside it. Nothing is changed then.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        folder::prepare(folder)?;
        make_private(folder);
        let lock_path = folder.join("lock");
        let lock = private_file().create(true).truncate(false).write(true).open(&lock_path).map_err(|e| folder::unusable(folder, &lock_path, &e))?;
        take_lock(&lock, folder)?.map_err(at(&lock_path))?;
        // The file may be deleted while it is locked. Not every system opens and locks a folder.
        let handle = File::open(folder).ok();
        if let Some(handle) = &handle {
            let _ = take_lock(handle, folder)?;
        }
        let database = folder.join(DATABASE);
        migrations::check_own(folder, &database).map_err(|error| error.at(&database))?;
        // The journals beside it get the mode of the database.
        private_file().create(true).truncate(false).write(true).open(&database).map_err(|e| folder::unusable(folder, &database, &e))?;
        let db = Self::open_database(&database).map_err(|error| error.at(&database))?;
        let place = Some(Place::open(folder, handle));
        Ok(Self {
            db,
            folder: folder.to_owned(),
            other: OtherFiles::default(),
            holds: Holds::default(),
            _lock: Some(lock),
            place,
            staged: BTreeMap::new(),
            ending: BTreeSet::new(),
            // Of before.
            is_sweeping: true,
        })
    }

    fn open_database(database: &Path) -> Result<Connection, StoreError> {
        let mut db = Connection::open(database)?;
        // FULL: a result that was acknowledged survives a power cut, at one fsync a transaction.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -1024; PRAGMA temp_store = FILE; PRAGMA busy_timeout = 2000;",
        )?;
        migrations::run(&mut db)?;
        Ok(db)
    }

    /// One transaction that is not synced by itself: at a power cut it may be lost, with what came after it, but
    /// nothing is damaged. For what is not acknowledged to anybody.
    fn relaxed<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.db.execute_batch("PRAGMA synchronous = NORMAL")?;
        let done = self.db.transaction().map_err(StoreError::from).and_then(|transaction| {
            let found = work(&transaction)?;
            transaction.commit()?;
            Ok(found)
        });
        self.db.execute_batch("PRAGMA synchronous = FULL")?;
        done
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks whether the data folder, its lock and its database are still those that were opened. On Windows they always are.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when they were moved, deleted or replaced. From then on nothing may be written by a path in the
    /// folder; the database can still be changed where it is now.
    pub fn check_place(&self) -> Result<(), StoreError> {
        self.place.as_ref().map_or(Ok(()), |place| place.check())
    }

    /// Writes a copy of a database that was deleted while it was open among the files that are set aside; returns its path.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read or written.
    pub fn save_aside(&self) -> Result<PathBuf, StoreError> {
        let aside = disk::aside(&self.folder);
        make_private_folder(&aside).map_err(|source| StoreError::File { path: aside.clone(), source })?;
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let copy = aside.join(format!("fog-{stamp}.sqlite"));
        self.db.execute("VACUUM INTO ?1", [copy.display().to_string()])?;
        Ok(copy)
    }

    /// Makes every change fail, as a full disk does, or lets changes through again. For tests.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    #[doc(hidden)]
    pub fn refuse_changes(&self, refuse: bool) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "query_only", refuse)?)
    }
}

/// Locks a file of the folder, or the folder.
fn take_lock(lock: &File, folder: &Path) -> Result<std::io::Result<()>, StoreError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Ok(())),
            // A killed engine may leave a worker between its fork and its exec, which holds the lock for
            // that moment.
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Ok(Err(source)),
        }
    }
}

/// Sets when a file was last changed; that of a file that is only read, too.
///
/// # Errors
/// As opening the file.
pub fn set_modified(path: &Path, at: SystemTime) -> std::io::Result<()> {
    let mut options = File::options();
    options.read(true);
    #[cfg(windows)]
    {
        // Reading is not enough there; folders are opened by the second.
        const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        use std::os::windows::fs::OpenOptionsExt;
        options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    }
    options.open(path)?.set_modified(at)
}

/// Folders that lie in a data folder, and files.
const OWN_FOLDERS: [&str; 7] = ["blobs", "compiled", "checkpoints", "histories", "incoming", "partial", "set-aside"];
const OWN_FILES: [&str; 7] = ["fog.sqlite", "fog.sqlite-wal", "fog.sqlite-shm", "lock", "checkpoint.key", "fog.token", "fog.sock"];

/// Makes a folder in the data folder, which only this user can read, with all above it that are missing. One that is there
/// stays as it is. A data folder that is open is not made anew.
///
/// # Errors
/// As making a folder; also when the data folder is no longer the one that was opened.
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

/// Options for files that only this user can read.
#[must_use]
pub fn private_file() -> std::fs::OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a data folder private that was there before: made by hand, or by a release that did not. One in which other
/// things lie as well is left as it is; what is ours in it is made private.
fn make_private(folder: &Path) {
    let is_ours = |name: &std::ffi::OsStr| OWN_FOLDERS.iter().chain(&OWN_FILES).any(|own| name == *own);
    let mut others = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| !is_ours(&entry.file_name()));
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
        // What a link leads to is somebody else's.
        Ok(about) if !about.is_symlink() => about.permissions().mode(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A folder with the sticky bit is everybody's.
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
