//! Files stored under their hashes before the database has their rows, placed outside the database's
//! thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fog_types::{BlobId, UnixMillis, on_disk};
use rusqlite::{Connection, params};

use crate::blobs::{BlobFile, path_of, sync_folder};
use crate::room::Room;
use crate::{Store, StoreError};

/// Number of files above which a set is let go on a thread of its own.
const LET_GO_AT_ONCE: usize = 64;
/// Prefix of the names of lists in `incoming`: files without a row that are in one are nobody's.
const LIST: &str = "nobodys-";
/// Number of files that are let go under one lock.
const LET_GO_LOCKED: usize = 1000;

/// Files that must not be deleted now, shared by a [`Store`] and the threads that place files for it.
#[derive(Debug, Clone, Default)]
pub struct Holds(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
pub(crate) struct Table {
    held: BTreeMap<BlobId, Held>,
    /// Files without a row that are to be deleted, each with whether it is being deleted.
    doomed: BTreeMap<BlobId, bool>,
    pub(crate) room: Room,
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

    /// Returns the bytes on disk of files that are being written, reserved or placed without a row.
    pub(crate) fn incoming_bytes(&self) -> u64 {
        let table = self.table();
        table.room.bytes().saturating_add(table.new_bytes)
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
    /// thousands take seconds. `list` is the list of the doomed ones, written before their rows went.
    pub(crate) fn delete(
        &self,
        folder: &Path,
        ids: Vec<BlobId>,
        others: Vec<PathBuf>,
        list: Option<tempfile::TempPath>,
    ) {
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
        let delete = move || {
            let _list = list;
            delete();
        };
        if count <= LET_GO_AT_ONCE {
            return delete();
        }
        // If no thread can be started, the next start deletes the files.
        let _ = std::thread::Builder::new().name("delete".to_owned()).spawn(delete);
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

    /// Takes the mark off a file whose row was not deleted after all.
    pub(crate) fn spare(&mut self, id: BlobId) {
        if self.doomed.get(&id) == Some(&false) {
            self.doomed.remove(&id);
        }
    }

    fn placed(&mut self, id: BlobId, size: u64, was_there: bool) {
        let Some(held) = self.held.get_mut(&id).filter(|held| !was_there && !held.is_stored && !held.is_new)
        else {
            return;
        };
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
/// those without a row are deleted then. A kill leaves them without rows; the next start deletes many of
/// them, and sets few aside.
#[derive(Debug)]
pub struct PlacedFiles {
    folder: PathBuf,
    holds: Holds,
    ids: Vec<BlobId>,
    sizes: BTreeMap<BlobId, u64>,
    /// List of many files, by which the next start deletes those without a row.
    list: Option<tempfile::TempPath>,
}

/// Writes a list of many files without a row, which goes with the returned path. Without it, as after a
/// power cut, the next start sets the files aside: it cannot know whether their rows were lost.
pub(crate) fn write_list(folder: &Path, ids: &[BlobId]) -> Option<tempfile::TempPath> {
    if ids.len() <= LET_GO_AT_ONCE {
        return None;
    }
    let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let mut file = tempfile::Builder::new().prefix(LIST).tempfile_in(folder.join("incoming")).ok()?;
    file.write_all(text.as_bytes()).ok()?;
    Some(file.into_temp_path())
}

/// Returns the files in the lists that a kill left in the data folder.
pub(crate) fn listed(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.join("incoming")).into_iter().flatten().flatten();
    let lists = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(LIST));
    lists
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

impl PlacedFiles {
    /// Places files under their hashes in the data folder. For many files this takes seconds, so no
    /// database is needed; [`Store::add_placed`] or [`Store::make_room_for`] make room.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses; none of the files stays then.
    pub fn place(folder: &Path, holds: &Holds, files: Vec<BlobFile>) -> Result<Self, StoreError> {
        let ids: Vec<BlobId> = files.iter().map(BlobFile::id).collect();
        let list = write_list(folder, &ids);
        let mut placed =
            Self { folder: folder.to_owned(), holds: holds.clone(), ids, sizes: BTreeMap::new(), list };
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
            let (moved, counted) = file.persist(&path);
            match moved {
                Ok(()) => {}
                Err(_) if was_there => {}
                Err(source) => return Err(at(source)),
            }
            holds.table().placed(id, on_disk(size), was_there);
            // Until here the file counted as incoming.
            drop(counted);
        }
        for folder in folders {
            sync_folder(&folder).map_err(|source| StoreError::File { path: folder.clone(), source })?;
        }
        Ok(placed)
    }

    /// Holds a file of `size` bytes that is stored already; `None` if it is not, or does not have that size.
    #[must_use]
    pub fn hold(folder: &Path, holds: &Holds, id: BlobId, size: u64) -> Option<Self> {
        {
            let mut table = holds.table();
            if table.is_doomed(id) {
                return None;
            }
            table.held.entry(id).or_default().sets += 1;
        }
        // Held files are not deleted, so it stays if it is there now.
        let held = Self {
            folder: folder.to_owned(),
            holds: holds.clone(),
            ids: vec![id],
            sizes: BTreeMap::from([(id, size)]),
            list: None,
        };
        std::fs::metadata(path_of(folder, id))
            .is_ok_and(|about| about.is_file() && about.len() == size)
            .then_some(held)
    }

    /// Returns the ids of the files, in the order in which they were given.
    #[must_use]
    pub fn ids(&self) -> &[BlobId] {
        &self.ids
    }

    /// Returns the files that got no row while held, each once.
    pub(crate) fn without_row(&self) -> Vec<BlobId> {
        let table = self.holds.table();
        self.sizes
            .keys()
            .filter(|id| table.held.get(id).is_none_or(|held| !held.is_stored))
            .copied()
            .collect()
    }

    /// Writes the rows of some of the files.
    pub(crate) fn write_rows(
        &self,
        db: &Connection,
        ids: impl Iterator<Item = BlobId>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
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
        self.sizes
            .iter()
            .filter(|(id, _)| is_new(id))
            .fold(0, |sum, (_, size)| sum.saturating_add(on_disk(*size)))
    }

    /// Records that these files have rows now.
    pub(crate) fn stored(&self, ids: impl IntoIterator<Item = BlobId>) {
        let mut table = self.holds.table();
        ids.into_iter().for_each(|id| table.stored(id));
    }
}

impl Drop for PlacedFiles {
    fn drop(&mut self) {
        let (folder, holds, sizes) =
            (std::mem::take(&mut self.folder), self.holds.clone(), std::mem::take(&mut self.sizes));
        let (count, list) = (sizes.len(), self.list.take());
        let let_go = move || {
            let _list = list;
            let ids: Vec<BlobId> = sizes.into_keys().collect();
            let mut nobodys = Vec::new();
            // The room is free before the first file is deleted, as thousands take seconds.
            for some in ids.chunks(LET_GO_LOCKED) {
                let mut table = holds.table();
                let of_these: Vec<BlobId> = some.iter().copied().filter(|id| table.let_go(*id)).collect();
                table.doom(&of_these);
                nobodys.extend(of_these);
            }
            for id in nobodys {
                holds.delete_doomed(&folder, id);
            }
        };
        if count <= LET_GO_AT_ONCE {
            return let_go();
        }
        // If no thread can be started, the files stay held until this process ends.
        let _ = std::thread::Builder::new().name("let-go".to_owned()).spawn(let_go);
    }
}

impl Store {
    /// Returns the table of held files, for threads that place files for this store.
    #[must_use]
    pub fn holds(&self) -> Holds {
        self.holds.clone()
    }
}
