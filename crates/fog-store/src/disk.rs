//! Accounting of the disk: stored bytes, needed bytes, and bytes that can be given up.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use fog_types::{BlobId, UnixMillis, on_disk};

use crate::{Store, StoreError};

/// Milliseconds after its last use within which a compiled module is not deleted, as a worker may be about
/// to open it, and after its last growth within which a partial file is not, as its transfer may go on.
const COMPILED_IN_USE_MS: u64 = 60_000;
const PARTIAL_IN_USE_MS: u64 = 180_000;

/// Bytes on disk of files beside the blobs, measured by [`crate::Holds::measure`] outside the event loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherFiles {
    /// Bytes of compiled modules.
    pub compiled: u64,
    /// Bytes of checkpoints and histories of tasks.
    pub states: u64,
    /// Bytes of partial files whose transfers run or were abandoned.
    pub partial: u64,
    /// Bytes of files without a row that earlier starts set aside; can be given up.
    pub aside: u64,
}

impl OtherFiles {
    /// Measures the files in a data folder, apart from `others`.
    pub(crate) fn measure_without(folder: &Path, others: &BTreeSet<PathBuf>) -> Self {
        let of = |names: &[&str]| names.iter().map(|name| bytes_below(&folder.join(name), others)).sum();
        Self {
            compiled: of(&["compiled"]),
            states: of(&["checkpoints", "histories"]),
            partial: of(&["partial"]),
            aside: of(&["set-aside"]),
        }
    }
}

/// Bytes on disk by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes of stored files.
    pub blobs: u64,
    /// Bytes of stored files that a job needs.
    pub pinned: u64,
    /// Bytes of chat messages with their files.
    pub chat: u64,
    /// Bytes of files that are being written, or reserved for them, and of files that have no row yet.
    pub incoming: u64,
    /// Bytes of the files beside the blobs.
    pub other: OtherFiles,
}

impl DiskUse {
    /// Returns the bytes that count against the storage cap, including incoming and partial files.
    #[must_use]
    pub fn counted(&self) -> u64 {
        let OtherFiles { compiled, states, partial, aside } = self.other;
        [self.chat, self.incoming, states, compiled, partial, aside]
            .into_iter()
            .fold(self.blobs, u64::saturating_add)
    }

    /// Returns the bytes of these that are never given up for room.
    #[must_use]
    pub fn needed(&self) -> u64 {
        [self.chat, self.other.states, self.incoming].into_iter().fold(self.pinned, u64::saturating_add)
    }

    /// Returns the bytes that fit below `cap` if everything is given up that can be.
    #[must_use]
    pub fn room(&self, cap: u64) -> u64 {
        cap.saturating_sub(self.needed())
    }
}

impl Store {
    /// Returns the bytes on disk, with the other files as measured last.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn disk_use(&self) -> Result<DiskUse, StoreError> {
        let (blobs, pinned) = self.blob_bytes()?;
        Ok(DiskUse {
            blobs: blobs.0,
            pinned: pinned.0,
            chat: self.chat_bytes()?,
            incoming: self.holds.incoming_bytes(),
            other: self.other,
        })
    }

    /// Returns the bytes of all chat messages with their files.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn chat_bytes(&self) -> Result<u64, StoreError> {
        Ok(self
            .db
            .prepare_cached("SELECT bytes FROM chat_sums WHERE thread = '*'")?
            .query_row([], |row| row.get(0))?)
    }
}

/// File beside the blobs that can be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpareFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// Time at which a task last used the file or something was added to it.
    pub(crate) used_ms: i64,
    pub(crate) kind: Spare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    Compiled,
    Partial,
    Aside,
}

impl SpareFile {
    fn is_unused_at(&self, now: UnixMillis) -> bool {
        let in_use_ms = match self.kind {
            Spare::Compiled => COMPILED_IN_USE_MS,
            Spare::Partial => PARTIAL_IN_USE_MS,
            Spare::Aside => return true,
        };
        now.0.abs_diff(self.used_ms) > in_use_ms
    }
}

/// Returns unused compiled modules and partial files, and files set aside, the longest unused first.
pub(crate) fn spare_files(folder: &Path, now: UnixMillis) -> Vec<SpareFile> {
    let entries = |name| std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
    let whole = entries("compiled")
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
        .map(|entry| (entry, Spare::Compiled));
    let aside = entries("set-aside")
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<BlobId>().is_ok()));
    let all = whole
        .chain(entries("partial").map(|entry| (entry, Spare::Partial)))
        .chain(aside.map(|entry| (entry, Spare::Aside)));
    let mut files: Vec<SpareFile> = all
        .filter_map(|(entry, kind)| {
            entry.metadata().ok().map(|about| SpareFile {
                path: entry.path(),
                size: on_disk(about.len()),
                used_ms: used_ms(&about),
                kind,
            })
        })
        .filter(|file| file.is_unused_at(now))
        .collect();
    files.sort_by_key(|file| file.used_ms);
    files
}

fn used_ms(about: &Metadata) -> i64 {
    let since = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the folder in which blobs without a row are kept for a while.
pub(crate) fn aside(folder: &Path) -> PathBuf {
    folder.join("set-aside")
}

/// Returns the bytes on disk of all files below a folder without `others`; 0 if the folder is missing.
fn bytes_below(folder: &Path, others: &BTreeSet<PathBuf>) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path(), others),
        Ok(_) if others.contains(&entry.path()) => 0,
        Ok(about) => on_disk(about.len()),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}
