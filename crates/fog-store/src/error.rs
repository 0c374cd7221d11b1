use std::path::{Path, PathBuf};

use fog_types::{BlobId, ErrorKind, HasKind, JobId, TaskId};
use rusqlite::ErrorCode;

/// Error of the store; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process uses this folder.
    #[error("another Fog Compute already uses {folder}; close it or choose another --data-dir")]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// The folder is no longer the one that was opened.
    #[error(
        "{path} is no longer what this engine opened: it was moved, deleted or replaced. The engine stops and writes nothing there any more; what it had \
         stored is {now}. Put it back, or name where it is with --data-dir, and start the engine again", now = whereabouts(.now.as_deref())
    )]
    Gone {
        /// The data folder, its lock or its database.
        path: PathBuf,
        /// Path of the data folder now, if known.
        now: Option<PathBuf>,
    },
    /// Nothing can be stored in this folder.
    #[error(
        "the data folder {folder} cannot be used: {problem}; {remedy}, or choose another with --data-dir or FOG_DATA_DIR"
    )]
    Unusable {
        /// The data folder.
        folder: PathBuf,
        /// Reason for which the folder cannot be used.
        problem: String,
        /// Step that makes the folder usable.
        remedy: String,
    },
    /// The data was written by a newer release.
    #[error(
        "the data was written by a newer release (schema {found}, this one reads up to {supported}); install that release again"
    )]
    TooNew {
        /// Schema version in the file.
        found: u32,
        /// Newest version this build reads.
        supported: u32,
    },
    /// The database is missing or empty, but stored files lie beside it.
    #[error(
        "the database {database} is {problem}, but stored files lie beside it in {blobs}; nothing was changed. Put the database back from a \
         copy, or move that folder elsewhere to begin anew"
    )]
    EmptyDatabase {
        /// The database file.
        database: PathBuf,
        /// The folder with the files.
        blobs: PathBuf,
        /// State of the database: `missing` or `empty`.
        problem: &'static str,
    },
    /// The database file belongs to another program.
    #[error(
        "{database} is no database of Fog Compute; nothing was changed. Put the right one back, or choose another --data-dir"
    )]
    ForeignDatabase {
        /// The database file.
        database: PathBuf,
    },
    /// No job has this id.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// The job exists, but has no such task.
    #[error("job {} has no task {}", .0.job, .0.index)]
    NoTask(TaskId),
    /// The blob was cleaned up or never stored.
    #[error("the stored file {0} is missing")]
    NoBlob(BlobId),
    /// A stored file was changed on disk since it was stored.
    #[error(
        "the stored file {path} was changed since it was stored, so nothing of it is given; put it back from a copy, or run its job again"
    )]
    Changed {
        /// Path of the file; its name is the hash of what was stored.
        path: PathBuf,
    },
    /// The store is full and everything in it is needed.
    #[error("{}; raise the limit or remove finished jobs", full(*wanted, *cap))]
    Full {
        /// Number of bytes to be stored.
        wanted: fog_types::ByteCount,
        /// Storage limit.
        cap: fog_types::ByteCount,
    },
    /// The files would leave less of the disk free than the settings say.
    #[error(
        "storing {wanted} would leave less than {kept} of the disk free, as the settings say; {free} are free now. Free some room on the disk, or lower disk_free_min"
    )]
    DiskLow {
        /// Number of bytes to be stored.
        wanted: fog_types::ByteCount,
        /// Number of bytes that are free.
        free: fog_types::ByteCount,
        /// Number of bytes that stay free.
        kept: fog_types::ByteCount,
    },
    /// A file could not be used.
    #[error("{}", of_file(path, source))]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file to be stored cannot be read.
    #[error("it cannot be read: {source}")]
    Unreadable {
        /// Error of the system.
        source: std::io::Error,
    },
    /// The changes of a transaction could not be stored.
    #[error("it could not be stored; is the disk full?")]
    NotCommitted,
    /// A row holds an unexpected value, because of damage or a bug.
    #[error("the database holds something unexpected: {0}")]
    Damaged(String),
    /// SQLite reports that its file is damaged.
    #[error(
        "the database {database} is damaged ({problem}); nothing was changed. Stop the engine and put it back from a copy. To begin anew, move it with its \
         -wal and -shm and the folder blobs beside it elsewhere: the stored results are the files in there"
    )]
    DamagedDatabase {
        /// The database file.
        database: PathBuf,
        /// Error message of SQLite.
        problem: String,
    },
    /// The number is larger than any that a row can have: SQLite counts to 2^63 - 1.
    #[error("there is none with this number: it is larger than any that is given")]
    NoNumber,
    /// SQLite reported an error.
    #[error("the database{} cannot be used: {error}{}", in_folder(.database.as_deref()), advice(.error))]
    Sqlite {
        /// Path of the database file, if known.
        database: Option<PathBuf>,
        /// Error of SQLite.
        error: rusqlite::Error,
    },
}

fn in_folder(database: Option<&Path>) -> String {
    database.map_or_else(String::new, |path| format!(" {}", path.display()))
}

/// Returns advice on an error of the database.
fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            "; what was stored before is kept. Free some room on the disk of the data folder, and try again"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; what was stored before is kept. See that the data folder is there and can be written to, and try again"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another program holds it. Close that one, and try again"
        }
        _ => "",
    }
}

fn whereabouts(now: Option<&Path>) -> String {
    now.map_or_else(|| "wherever the folder is now".to_owned(), |now| format!("in {}", now.display()))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::ToSqlConversionFailure(_) => Self::NoNumber,
            error
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                ) =>
            {
                Self::DamagedDatabase { database: crate::DATABASE.into(), problem: error.to_string() }
            }
            error => Self::Sqlite { database: None, error },
        }
    }
}

impl StoreError {
    /// Adds the full path of the database to the error.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::DamagedDatabase { problem, .. } => {
                Self::DamagedDatabase { database: path.to_owned(), problem }
            }
            Self::Sqlite { error, .. } => Self::Sqlite { database: Some(path.to_owned()), error },
            other => other,
        }
    }
}

/// Returns the sentence about a file that cannot be used. A full disk is no fault of the file, and some
/// libraries name the path again.
fn of_file(path: &Path, source: &std::io::Error) -> String {
    if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return "the disk of the data folder is full; what was stored before is kept. Free some room there, and try again".to_owned();
    }
    let inner = source.get_ref().and_then(std::error::Error::source);
    inner.map_or_else(
        || format!("{}: {source}", path.display()),
        |inner| format!("{}: {inner}", path.display()),
    )
}

fn full(wanted: fog_types::ByteCount, cap: fog_types::ByteCount) -> String {
    match wanted.0 {
        0 => format!("the storage limit of {cap} is reached by what jobs need and what is being written"),
        _ => format!("storing {wanted} would exceed the storage limit of {cap}"),
    }
}

impl HasKind for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::TooNew { .. } => ErrorKind::Incompatible,
            Self::Unusable { .. }
            | Self::ForeignDatabase { .. }
            | Self::EmptyDatabase { .. }
            | Self::DamagedDatabase { .. }
            | Self::Changed { .. } => ErrorKind::Storage,
            Self::Unreadable { .. } => ErrorKind::BadInput,
            Self::NoJob(_) | Self::NoTask(_) | Self::NoBlob(_) | Self::NoNumber => ErrorKind::NotFound,
            Self::Full { .. } | Self::DiskLow { .. } => ErrorKind::LimitReached,
            Self::Gone { .. } | Self::File { .. } | Self::Sqlite { .. } | Self::NotCommitted => {
                ErrorKind::Storage
            }
            Self::Damaged(_) => ErrorKind::Bug,
        }
    }
}
