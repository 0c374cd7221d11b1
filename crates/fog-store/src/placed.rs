//! Files stored under their hashes before the database has their rows, placed outside the database's
//! thread.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fog_types::{BlobId, ByteCount, UnixMillis};
use rusqlite::{Connection, params};

use crate::blobs::{BlobFile, path_of, sync_folder};
use crate::disk::on_disk;
use crate::{Store, StoreError};

/// Number of files above which a set is let go on a thread of its own.
const LET_GO_AT_ONCE: usize = 64;

/// Files that must not be deleted now, shared by a [`Store`] and the threads that place files for it.
#[derive(Debug, Clone, Default)]
pub struct Holds(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
pub(crate) struct Table {
    held: BTreeMap<BlobId, Held>,
    /// Files without a row that are to be deleted, each with whether it is being deleted.
    doomed: BTreeMap<BlobId, bool>,
    /// Bytes on disk reserved for results that are being written.
    reserved: u64,
    /// Bytes on disk of held files without a row.
    new_bytes: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// Number of sets that contain the file.
    sets: u32,
    /// Bytes of the file on disk.
    size: u64,
    /// Whether the file was not there before and has no row yet.
    is_new: bool,
    /// Whether the file got a row while it was held.
    is_stored: bool,
}

impl Holds {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        // No operation leaves the table half changed, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes on disk of placed files that have no row yet.
    pub(crate) fn new_bytes(&self) -> u64 {
        self.table().new_bytes
    }

    /// Returns the bytes on disk reserved for results that are being written.
    pub(crate) fn reserved(&self) -> u64 {
        self.table().reserved
    }

    /// Deletes the file of a doomed id. The table is unlocked meanwhile, as the loop would wait for
    /// thousands of files.
    fn delete_doomed(&self, folder: &Path, id: BlobId) {
        match self.table().doomed.get_mut(&id) {
            Some(is_deleting) if !*is_deleting => *is_deleting = true,
            // The file was placed again, or another thread deletes it: then this one must not delete what
            // is placed later.
            _ => return,
        }
        let _ = std::fs::remove_file(path_of(folder, id));
        self.table().doomed.remove(&id);
    }

    /// Saves a file that is placed from deletion and returns whether it was doomed; waits for a deletion
    /// under way.
    fn save_doomed(&self, id: BlobId) -> bool {
        loop {
            let mut table = self.table();
            match table.doomed.get(&id) {
                None => return false,
                Some(false) => return table.doomed.remove(&id).is_some(),
                Some(true) => drop(table),
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }

    /// Deletes the files that are still doomed, and `others`; many of them on a thread of their own, as
    /// thousands take seconds.
    pub(crate) fn delete(&self, folder: &Path, ids: Vec<BlobId>, others: Vec<PathBuf>) {
        let (holds, folder, count) = (self.clone(), folder.to_owned(), ids.len() + others.len());
        let delete = move || {
            for path in others {
                // A file that a worker has open stays on some systems and counts again at the next
                // measurement.
                let _ = std::fs::remove_file(path);
            }
            for id in ids {
                holds.delete_doomed(&folder, id);
            }
        };
        if count <= LET_GO_AT_ONCE {
            return delete();
        }
        // If no thread can be started, the next start sets the files aside.
        let _ = std::thread::Builder::new().name("delete".to_owned()).spawn(delete);
    }
}

/// Reserved room on disk for files that are being written; free again on drop.
#[derive(Debug)]
pub struct Reservation {
    holds: Holds,
    bytes: u64,
}

impl Reservation {
    /// Returns the reserved bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = self.holds.table();
        table.reserved = table.reserved.saturating_sub(self.bytes);
    }
}

impl Table {
    pub(crate) fn is_held(&self, id: BlobId) -> bool {
        self.held.contains_key(&id)
    }

    pub(crate) fn is_doomed(&self, id: BlobId) -> bool {
        self.doomed.contains_key(&id)
    }

    /// Marks files whose rows are deleted for deletion by [`Holds::delete`].
    pub(crate) fn doom(&mut self, ids: &[BlobId]) {
        self.doomed.extend(ids.iter().map(|id| (*id, false)));
    }

    fn placed(&mut self, id: BlobId, size: u64, was_there: bool) {
        let Some(held) = self.held.get_mut(&id).filter(|held| !was_there && !held.is_stored && !held.is_new) else { return };
        (held.is_new, held.size) = (true, size);
        self.new_bytes = self.new_bytes.saturating_add(size);
    }

    fn stored(&mut self, id: BlobId) {
        if let Some(held) = self.held.get_mut(&id) {
            held.is_stored = true;
            if std::mem::take(&mut held.is_new) {
                self.new_bytes = self.new_bytes.saturating_sub(held.size);
            }
        }
    }

    /// Lets go of a file in one set; returns whether no set and no row needs it then.
    fn let_go(&mut self, id: BlobId) -> bool {
        let Some(held) = self.held.get_mut(&id) else { return false };
        held.sets -= 1;
        if held.sets > 0 {
            return false;
        }
        let is_new = held.is_new;
        if is_new {
            self.new_bytes = self.new_bytes.saturating_sub(held.size);
        }
        self.held.remove(&id);
        is_new
    }
}

/// Files that belong together, placed durably under their hashes. The files are held until this is dropped;
/// those without a row are deleted then. A kill leaves them without rows, and the next start sets them
/// aside.
#[derive(Debug)]
pub struct PlacedFiles {
    folder: PathBuf,
    holds: Holds,
    ids: Vec<BlobId>,
    sizes: BTreeMap<BlobId, u64>,
    arrived: u64,
}

impl PlacedFiles {
    /// Places files under their hashes in the data folder. For many files this takes seconds, so no
    /// database is needed; [`Store::add_placed`] or [`Store::make_room_for`] make room.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses; none of the files stays then.
    pub fn place(folder: &Path, holds: &Holds, files: Vec<BlobFile>) -> Result<Self, StoreError> {
        let ids: Vec<BlobId> = files.iter().map(BlobFile::id).collect();
        let arrived = files.iter().fold(0, |sum: u64, file| sum.saturating_add(on_disk(file.size())));
        let mut placed = Self { folder: folder.to_owned(), holds: holds.clone(), ids, sizes: BTreeMap::new(), arrived };
        let mut folders = BTreeSet::new();
        for file in files {
            let (id, size) = (file.id(), file.size());
            if placed.sizes.insert(id, size).is_none() {
                holds.table().held.entry(id).or_default().sets += 1;
            }
            let path = path_of(folder, id);
            let at = |source| StoreError::File { path: path.clone(), source };
            // A doomed file is saved from deletion.
            let was_there = !holds.save_doomed(id) && path.exists();
            if let Some(below) = path.parent().filter(|_| !was_there)
                && folders.insert(below.to_owned())
            {
                crate::make_private_folder(below).map_err(at)?;
            }
            // The stored file may have been changed since, so the new one, which was just hashed, replaces
            // it. On some systems an open file cannot be replaced.
            match file.persist(&path) {
                Ok(()) => {}
                Err(_) if was_there => {}
                Err(source) => return Err(at(source)),
            }
            holds.table().placed(id, on_disk(size), was_there);
        }
        for folder in folders {
            sync_folder(&folder).map_err(|source| StoreError::File { path: folder.clone(), source })?;
        }
        Ok(placed)
    }

    /// Returns the ids of the files, in the order in which they were given.
    #[must_use]
    pub fn ids(&self) -> &[BlobId] {
        &self.ids
    }

    /// Returns the bytes on disk that the files took while they were incoming.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Returns the files that got no row while held, each once.
    pub(crate) fn without_row(&self) -> Vec<BlobId> {
        let table = self.holds.table();
        self.sizes.keys().filter(|id| table.held.get(id).is_none_or(|held| !held.is_stored)).copied().collect()
    }

    /// Writes the rows of some of the files.
    pub(crate) fn write_rows(&self, db: &Connection, ids: impl Iterator<Item = BlobId>, now: UnixMillis) -> Result<(), StoreError> {
        let mut add = db.prepare_cached(
            "INSERT INTO blobs (id, size, used_ms, pins) VALUES (?1, ?2, ?3, (SELECT count(*) FROM job_blobs WHERE blob = ?1))
             ON CONFLICT (id) DO UPDATE SET used_ms = excluded.used_ms",
        )?;
        for id in ids {
            let size = self.sizes.get(&id).ok_or(StoreError::NoBlob(id))?;
            add.execute(params![id.to_string(), size.cast_signed(), now.0])?;
        }
        Ok(())
    }

    /// Returns the bytes on disk of the new files without a row.
    pub(crate) fn wanted(&self) -> u64 {
        let table = self.holds.table();
        let is_new = |id: &BlobId| table.held.get(id).is_some_and(|held| held.is_new);
        self.sizes.iter().filter(|(id, _)| is_new(id)).fold(0, |sum, (_, size)| sum.saturating_add(on_disk(*size)))
    }

    /// Records that these files have rows now.
    pub(crate) fn stored(&self, ids: impl IntoIterator<Item = BlobId>) {
        let mut table = self.holds.table();
        ids.into_iter().for_each(|id| table.stored(id));
    }
}

impl Drop for PlacedFiles {
    fn drop(&mut self) {
        let (folder, holds, sizes) = (std::mem::take(&mut self.folder), self.holds.clone(), std::mem::take(&mut self.sizes));
        let count = sizes.len();
        let let_go = move || {
            for id in sizes.into_keys() {
                let is_nobodys = {
                    let mut table = holds.table();
                    let is_nobodys = table.let_go(id);
                    if is_nobodys {
                        // From now on the file does not count as stored.
                        table.doom(&[id]);
                    }
                    is_nobodys
                };
                if is_nobodys {
                    holds.delete_doomed(&folder, id);
                }
            }
        };
        if count <= LET_GO_AT_ONCE {
            return let_go();
        }
        // If no thread can be started, the files stay held until this process ends, and its next start sets
        // them aside.
        let _ = std::thread::Builder::new().name("let-go".to_owned()).spawn(let_go);
    }
}

impl Store {
    /// Returns the table of held files, for threads that place files for this store.
    #[must_use]
    pub fn holds(&self) -> Holds {
        self.holds.clone()
    }

    /// Reserves `bytes` of room on disk for files that are about to be written.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they do not fit beside what is needed; nothing is deleted then.
    pub fn reserve(&mut self, bytes: u64, cap: ByteCount, now: UnixMillis) -> Result<Reservation, StoreError> {
        self.make_room(bytes, cap, now)?;
        let mut table = self.holds.table();
        table.reserved = table.reserved.saturating_add(bytes);
        Ok(Reservation { holds: self.holds.clone(), bytes })
    }
}
