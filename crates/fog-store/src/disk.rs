//! Accounting of the disk: stored bytes, needed bytes, and bytes that can be given up.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use fog_types::{BlobId, UnixMillis};

use crate::{Store, StoreError};

/// Milliseconds after its last use within which a compiled module is not deleted, as a worker may be about
/// to open it, and after its last growth within which a partial file is not, as its transfer may go on.
const COMPILED_IN_USE_MS: u64 = 60_000;
const PARTIAL_IN_USE_MS: u64 = 180_000;
/// Default block size of ext4, APFS and NTFS; the triggers of `blob_sums` use the same.
const BLOCK: u64 = 4096;

/// Returns the bytes that a file of `size` bytes takes on disk: whole blocks of 4096, at least one.
/// Everything that counts against the storage cap is counted so.
#[must_use]
pub fn on_disk(size: u64) -> u64 {
    size.max(1).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// Bytes on disk of files beside the blobs, measured by [`OtherFiles::measure`] outside the event loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherFiles {
    /// Bytes of compiled modules.
    pub compiled: u64,
    /// Bytes of checkpoints and histories of tasks.
    pub states: u64,
    /// Bytes of incoming files: copies, and complete files without a row.
    pub incoming: u64,
    /// Bytes of partial files whose transfers run or were abandoned.
    pub partial: u64,
    /// Bytes of files without a row that earlier starts set aside; can be given up.
    pub aside: u64,
}

impl OtherFiles {
    /// Measures the files in a data folder.
    #[must_use]
    pub fn measure(folder: &Path) -> Self {
        let of = |names: &[&str]| names.iter().map(|name| bytes_below(&folder.join(name))).sum();
        Self { compiled: of(&["compiled"]), states: of(&["checkpoints", "histories"]), aside: of(&["set-aside"]), ..Self::measure_passing(folder) }
    }
}

impl OtherFiles {
    /// Measures incoming and partial files only, which change soonest.
    pub(crate) fn measure_passing(folder: &Path) -> Self {
        Self { incoming: bytes_below(&folder.join("incoming")), partial: bytes_below(&folder.join("partial")), ..Self::default() }
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
    /// Bytes of the files beside the blobs.
    pub other: OtherFiles,
}

impl DiskUse {
    /// Returns the bytes that count against the storage cap, including incoming and partial files.
    #[must_use]
    pub fn counted(&self) -> u64 {
        let OtherFiles { compiled, states, incoming, partial, aside } = self.other;
        [self.chat, states, compiled, incoming, partial, aside].into_iter().fold(self.blobs, u64::saturating_add)
    }

    /// Returns the bytes of these that are never given up for room.
    #[must_use]
    pub fn needed(&self) -> u64 {
        [self.chat, self.other.states, self.other.incoming].into_iter().fold(self.pinned, u64::saturating_add)
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
        // Files that are being written are measured only now and then, so their reservations count.
        let incoming = self.other.incoming.max(self.holds.reserved()).saturating_add(self.holds.new_bytes());
        Ok(DiskUse { blobs: blobs.0, pinned: pinned.0, chat: self.chat_bytes()?, other: OtherFiles { incoming, ..self.other } })
    }

    /// Returns the bytes of all chat messages with their files.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn chat_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.db.prepare_cached("SELECT bytes FROM chat_sums WHERE thread = '*'")?.query_row([], |row| row.get(0))?)
    }

    /// Sets the measured sizes of the other files.
    pub fn set_other_files(&mut self, other: OtherFiles) {
        self.other = other;
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
    let whole =
        entries("compiled").filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm")).map(|entry| (entry, Spare::Compiled));
    let aside = entries("set-aside").filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<BlobId>().is_ok()));
    let all = whole.chain(entries("partial").map(|entry| (entry, Spare::Partial))).chain(aside.map(|entry| (entry, Spare::Aside)));
    let mut files: Vec<SpareFile> = all
        .filter_map(|(entry, kind)| {
            entry.metadata().ok().map(|about| SpareFile { path: entry.path(), size: on_disk(about.len()), used_ms: used_ms(&about), kind })
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

/// Returns the bytes on disk of all files below a folder; 0 if the folder is missing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => on_disk(about.len()),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}
