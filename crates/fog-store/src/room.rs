//! Room on disk for files that are being written: reserved room, and bytes that lie there already.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fog_types::{BlobId, ByteCount, UnixMillis, on_disk};

use crate::disk::Spare;
use crate::transaction::{Deletion, Savepoint};
use crate::{Holds, OtherFiles, Store, StoreError, disk, place, placed};

/// Bytes on disk of files that are being written, in the table of a [`Holds`].
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Bytes of the files in `incoming`, as far as they are written.
    written: u64,
    /// Bytes reserved and not written yet, or written to one of `files`.
    reserved: u64,
    /// Files whose bytes count as reserved; a measurement leaves them out.
    files: BTreeSet<PathBuf>,
    /// Bytes of such files that are complete, each with the time since when a measurement finds it.
    complete: Vec<(Instant, u64)>,
    /// Bytes that are left for last checkpoints when the engine ends, and the cap.
    ending: Option<(u64, ByteCount)>,
}

impl Room {
    /// Returns the bytes that count although no measurement found them.
    pub(crate) fn bytes(&self) -> u64 {
        self.complete
            .iter()
            .fold(self.written.saturating_add(self.reserved), |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Returns whether a measurement would find files that count as being written.
    pub(crate) fn is_stale(&self) -> bool {
        !self.complete.is_empty()
    }
}

/// Sizes of the files beside the blobs, as [`Holds::measure`] found them.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub(crate) other: OtherFiles,
    began: Instant,
}

/// Reserved room on disk for files that are being written; free again on drop.
#[derive(Debug)]
pub struct Reservation {
    holds: Holds,
    bytes: u64,
    file: Option<PathBuf>,
    /// Whether the bytes count after the drop until a measurement finds them.
    lingers: bool,
}

impl Reservation {
    /// Returns the reserved bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the room of another reservation in the same store.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives up reserved bytes, because they are written and count by themselves, or are not needed.
    pub fn use_up(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let mut table = self.holds.table();
        table.room.reserved = table.room.reserved.saturating_sub(bytes);
    }

    /// Makes this the room of the file at `path`, outside `incoming`. The file counts with the reserved
    /// bytes, and after the drop with its own size.
    #[must_use]
    pub fn of_file(mut self, path: PathBuf) -> Self {
        self.holds.table().room.files.insert(path.clone());
        self.file = Some(path);
        self.lingering()
    }

    /// Makes the bytes count after the drop until a measurement finds them: a file outside `incoming` has
    /// grown by them.
    #[must_use]
    pub fn lingering(mut self) -> Self {
        self.lingers = true;
        self
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = self.holds.table();
        let room = &mut table.room;
        room.reserved = room.reserved.saturating_sub(self.bytes);
        if let Some(path) = self.file.take() {
            room.files.remove(&path);
        }
        if self.lingers {
            room.complete.push((Instant::now(), self.bytes));
        }
    }
}

/// Counts a file in `incoming` with its bytes on disk until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Table of the open store; `None` for a folder that no store of this process has open.
    holds: Option<Holds>,
    bytes: u64,
}

impl Counted {
    /// Counts an empty file in the data folder.
    pub(crate) fn begin(folder: &Path) -> Self {
        let mut counted = Self { holds: place::holds_of(folder), bytes: 0 };
        counted.set(0);
        counted
    }

    /// Sets the size of the file.
    pub(crate) fn set(&mut self, size: u64) {
        self.count(on_disk(size));
    }

    fn count(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if let Some(holds) = self.holds.as_ref().filter(|_| before != bytes) {
            let mut table = holds.table();
            table.room.written = table.room.written.saturating_sub(before).saturating_add(bytes);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl Holds {
    /// Reserves room without a check.
    #[must_use]
    pub fn unchecked(&self, bytes: u64) -> Reservation {
        let mut table = self.table();
        table.room.reserved = table.room.reserved.saturating_add(bytes);
        Reservation { holds: self.clone(), bytes, file: None, lingers: false }
    }

    /// Returns the bytes on disk of files in `incoming`, as far as they are written.
    #[must_use]
    pub fn incoming(&self) -> u64 {
        self.table().room.written
    }

    /// Returns the reserved bytes that are not on disk yet. Looks at the files that are being written.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        let (reserved, files) = {
            let table = self.table();
            (table.room.reserved, table.room.files.clone())
        };
        let written =
            files.iter().map(|path| std::fs::metadata(path).map_or(0, |about| on_disk(about.len())));
        reserved.saturating_sub(written.fold(0, u64::saturating_add))
    }

    /// Measures the files in the data folder, apart from those whose bytes count as reserved. Takes a while
    /// for many files.
    #[must_use]
    pub fn measure(&self, folder: &Path) -> Measured {
        let (began, files) = (Instant::now(), self.table().room.files.clone());
        Measured { other: OtherFiles::measure_without(folder, &files), began }
    }

    /// Notes that the engine ends: it answers no more requests for room, and `left` bytes below `cap` are for
    /// last checkpoints.
    pub fn end(&self, left: u64, cap: ByteCount) {
        self.table().room.ending = Some((left, cap));
    }

    /// Returns whether the engine ends.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.table().room.ending.is_some()
    }

    /// Reserves room for a last checkpoint when the engine ends.
    ///
    /// # Errors
    /// [`StoreError::Full`] when no such room is left.
    pub fn reserve_last(&self, bytes: u64) -> Result<Reservation, StoreError> {
        {
            let mut table = self.table();
            let (left, cap) = table.room.ending.unwrap_or_default();
            let left = left.checked_sub(bytes).ok_or(StoreError::Full { wanted: ByteCount(bytes), cap })?;
            table.room.ending = Some((left, cap));
        }
        Ok(self.unchecked(bytes))
    }

    /// Adds room for last checkpoints, if the engine ends.
    pub fn add_last(&self, bytes: u64) {
        if let Some((left, _)) = &mut self.table().room.ending {
            *left = left.saturating_add(bytes);
        }
    }

    /// Notes that other files were deleted, so that they are measured soon.
    pub fn note_deleted(&self) {
        self.table().room.complete.push((Instant::now(), 0));
    }
}

impl Store {
    /// Reserves `bytes` of room on disk for files that are about to be written.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they do not fit beside what is needed; nothing is deleted then.
    pub fn reserve(
        &mut self,
        bytes: u64,
        cap: ByteCount,
        now: UnixMillis,
    ) -> Result<Reservation, StoreError> {
        self.make_room(bytes, cap, now)?;
        Ok(self.holds.unchecked(bytes))
    }

    /// Deletes what no job needs until `extra` more bytes on disk fit below `cap`.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they cannot fit; nothing is deleted then.
    pub fn make_room(&mut self, extra: u64, cap: ByteCount, now: UnixMillis) -> Result<(), StoreError> {
        self.make_room_beside(extra, extra, cap, &BTreeSet::new(), now)
    }

    /// Makes room, but keeps the blobs of `keep`; `wanted` is the size that an error states.
    pub(crate) fn make_room_beside(
        &mut self,
        extra: u64,
        wanted: u64,
        cap: ByteCount,
        keep: &BTreeSet<BlobId>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let lacks = |store: &Self| -> Result<u64, StoreError> {
            Ok(store.disk_use()?.counted().saturating_add(extra).saturating_sub(cap.0))
        };
        if lacks(self)? == 0 {
            return Ok(());
        }
        // The other files may have changed since they were measured.
        let measured = self.holds.measure(&self.folder);
        self.set_other_files(measured);
        let need = lacks(self)?;
        if need == 0 {
            return Ok(());
        }
        // Held files stay, and the lock lets no file be held anew until the rows below are deleted.
        let holds = self.holds.clone();
        let mut held = holds.table();
        // Blobs and other files go in one order, the longest unused first.
        let mut spare = disk::spare_files(&self.folder, now).into_iter().peekable();
        let (mut gone, mut blobs, mut files) = (0u64, Vec::new(), Vec::new());
        {
            let mut query = self
                .db
                .prepare_cached("SELECT id, size, used_ms FROM blobs WHERE pins = 0 ORDER BY used_ms")?;
            let mut rows = query.query([])?;
            while gone < need {
                let blob: Option<(String, u64, i64)> = match rows.next()? {
                    Some(row) => Some((row.get(0)?, row.get(1)?, row.get(2)?)),
                    None => None,
                };
                let before = blob.as_ref().map_or(i64::MAX, |(_, _, used)| *used);
                while let Some(file) = spare.next_if(|file| gone < need && file.used_ms <= before) {
                    gone = gone.saturating_add(file.size);
                    files.push(file);
                }
                let Some((id, size, _)) = blob else { break };
                if gone < need && !id.parse().is_ok_and(|id| keep.contains(&id) || held.is_held(id)) {
                    gone = gone.saturating_add(on_disk(size));
                    blobs.push(id);
                }
            }
        }
        if gone < need {
            return Err(StoreError::Full { wanted: ByteCount(wanted), cap });
        }
        let ids: Vec<BlobId> = blobs.iter().filter_map(|id| id.parse().ok()).collect();
        let list = placed::write_list(&self.folder, &ids);
        let transaction = Savepoint::new(&self.db)?;
        for id in &blobs {
            transaction.prepare_cached("DELETE FROM blobs WHERE id = ?1")?.execute([id])?;
        }
        // The rows are deleted first: a file without one is set aside at the next start.
        transaction.commit()?;
        held.doom(&ids);
        drop(held);
        for file in &files {
            let sum = match file.kind {
                Spare::Compiled => &mut self.other.compiled,
                Spare::Partial => &mut self.other.partial,
                Spare::Aside => &mut self.other.aside,
            };
            *sum = sum.saturating_sub(file.size);
        }
        self.delete_files(Deletion { ids, others: files.into_iter().map(|file| file.path).collect(), list });
        Ok(())
    }

    /// Sets the measured sizes of the other files.
    pub fn set_other_files(&mut self, measured: Measured) {
        self.other = measured.other;
        // A file that was completed during the measurement may be missing in it.
        self.holds.table().room.complete.retain(|(at, _)| *at >= measured.began);
    }

    /// Returns whether a new measurement of the other files is due, because files were completed.
    #[must_use]
    pub fn is_measure_due(&self) -> bool {
        self.holds.table().room.is_stale()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlobWriter;
    use crate::tests::{CAP, store};

    /// A checkpoint, a compiled module or an arriving file counts with its room while it is written, and
    /// with its size afterwards, never with less than lies there.
    #[test]
    fn a_file_with_reserved_room_counts_once() {
        let (folder, mut store) = store();
        let path = folder.path().join("checkpoints/1-0.fog.partial");
        std::fs::create_dir_all(folder.path().join("checkpoints")).unwrap();
        let measure = |store: &mut Store| {
            let found = store.holds().measure(folder.path());
            store.set_other_files(found);
        };
        let counted = |store: &Store| store.disk_use().unwrap().counted();
        let mut room = store.reserve(100_000, CAP, UnixMillis(1)).unwrap().of_file(path.clone());
        std::fs::write(&path, vec![1; 60_000]).unwrap();
        measure(&mut store);
        assert_eq!((counted(&store), store.is_measure_due()), (100_000, false));
        assert_eq!(store.holds().unwritten(), 100_000 - on_disk(60_000));
        room.use_up(100_000 - on_disk(60_000));
        assert_eq!(counted(&store), on_disk(60_000));
        let before = store.holds().measure(folder.path());
        drop(room);
        assert_eq!((counted(&store), store.is_measure_due()), (on_disk(60_000), true));
        store.set_other_files(before);
        assert_eq!(counted(&store), on_disk(60_000), "that measurement left the file out");
        measure(&mut store);
        assert_eq!(
            (counted(&store), store.disk_use().unwrap().incoming, store.is_measure_due()),
            (on_disk(60_000), 0, false)
        );
        // A file that grew counts with its growth until it is measured.
        drop(store.reserve(8_192, CAP, UnixMillis(1)).unwrap().lingering());
        assert_eq!((counted(&store), store.is_measure_due()), (on_disk(60_000) + 8_192, true));
        measure(&mut store);
        // One that came to nothing counts no longer than to the next measurement.
        let room =
            store.reserve(50_000, CAP, UnixMillis(1)).unwrap().of_file(folder.path().join("compiled/none"));
        drop(room);
        measure(&mut store);
        assert_eq!(counted(&store), on_disk(60_000));
    }

    /// Room that is given back, or whose file is deleted, is free at once, without a measurement.
    #[test]
    fn what_is_not_written_any_more_does_not_count() {
        let (_folder, mut store) = store();
        let incoming = |store: &Store| store.disk_use().unwrap().incoming;
        let mut room = store.reserve(40_960, CAP, UnixMillis(1)).unwrap();
        room.absorb(store.reserve(4096, CAP, UnixMillis(1)).unwrap());
        assert_eq!((room.bytes(), incoming(&store)), (45_056, 45_056));
        let writers: Vec<BlobWriter> =
            (0..5).map(|_| BlobWriter::create(store.folder(), CAP).unwrap()).collect();
        room.use_up(5 * 4096);
        assert_eq!(
            (incoming(&store), store.holds().incoming(), store.holds().unwritten()),
            (45_056, 5 * 4096, 6 * 4096)
        );
        let files = BlobWriter::finish_all(writers).unwrap();
        drop(room);
        assert_eq!(incoming(&store), 5 * 4096);
        drop(files);
        assert_eq!(incoming(&store), 0);
        assert!(!store.holds().is_ending());
        store.holds().end(10_000, CAP);
        assert!(store.holds().is_ending());
        let last = store.holds().reserve_last(8_192).unwrap();
        assert!(matches!(store.holds().reserve_last(4096), Err(StoreError::Full { .. })));
        store.holds().add_last(4096);
        assert!(store.holds().reserve_last(4096).is_ok());
        drop(last);
    }
}
