//! Stored blobs: their rows and files, from being added to being deleted.

mod incoming;

pub use incoming::{BlobFile, BlobIntake, BlobWriter};

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fog_types::{BlobId, ByteCount, UnixMillis};
use rusqlite::{Connection, params};

use crate::transaction::{Deletion, Savepoint};
use crate::{PlacedFiles, Store, StoreError, disk, placed};

/// Checks that the file that a row is about to name is stored.
pub(crate) fn check_stored(db: &Connection, id: BlobId) -> Result<(), StoreError> {
    let is_stored = db.prepare_cached("SELECT 1 FROM blobs WHERE id = ?1")?.exists([id.to_string()])?;
    if is_stored { Ok(()) } else { Err(StoreError::NoBlob(id)) }
}

impl Store {
    /// Stores a blob as [`Store::add_blobs`] does, with one file.
    ///
    /// # Errors
    /// As [`Store::add_blobs`].
    pub fn add_blob(
        &mut self,
        blob: BlobFile,
        cap: ByteCount,
        now: UnixMillis,
    ) -> Result<BlobId, StoreError> {
        let id = blob.id();
        self.add_blobs(vec![blob], &[], cap, now)?;
        Ok(id)
    }

    /// Stores blobs that belong together, which can be found from then on, and returns their ids in order.
    /// Makes room for all of them at once within `cap` by deleting what no job needs, the longest unused
    /// first, but none of them and none of `needed`. A file replaces a stored one with the same hash.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they do not fit beside what is needed; nothing is deleted then.
    pub fn add_blobs(
        &mut self,
        files: Vec<BlobFile>,
        needed: &[BlobId],
        cap: ByteCount,
        now: UnixMillis,
    ) -> Result<Vec<BlobId>, StoreError> {
        let placed = PlacedFiles::place(&self.folder, &self.holds, files)?;
        self.add_placed(&placed, needed, cap, now)?;
        Ok(placed.ids().to_vec())
    }

    /// Stores placed files as [`Store::add_blobs`] does, in one transaction whatever their number.
    ///
    /// # Errors
    /// As [`Store::add_blobs`].
    pub fn add_placed(
        &mut self,
        placed: &PlacedFiles,
        needed: &[BlobId],
        cap: ByteCount,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.make_room_for(placed, needed, cap, now)?;
        self.add_rest(placed, needed, now)
    }

    /// Makes room for placed files, whose rows are written afterwards; they count as stored once placed.
    ///
    /// # Errors
    /// As [`Store::add_blobs`].
    pub fn make_room_for(
        &mut self,
        placed: &PlacedFiles,
        needed: &[BlobId],
        cap: ByteCount,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        // The files count already.
        self.make_room_beside(0, placed.wanted(), cap, &needed.iter().copied().collect(), now)
    }

    /// Writes the rows that placed files do not have yet, and marks `needed` as used now.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn add_rest(
        &mut self,
        placed: &PlacedFiles,
        needed: &[BlobId],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let rest = placed.without_row();
        let transaction = Savepoint::new(&self.db)?;
        {
            // A crash before this leaves files without rows, which the next start sets aside.
            placed.write_rows(&transaction, rest.iter().copied(), now)?;
            let mut touch = transaction.prepare_cached("UPDATE blobs SET used_ms = ?2 WHERE id = ?1")?;
            for id in needed {
                touch.execute(params![id.to_string(), now.0])?;
            }
        }
        transaction.commit()?;
        placed.stored(rest);
        Ok(())
    }

    /// Returns the path of a stored blob.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when the file is not there.
    pub fn blob(&self, id: BlobId) -> Result<PathBuf, StoreError> {
        let path = self.blob_path(id);
        if path.is_file() && !self.holds.table().is_doomed(id) {
            Ok(path)
        } else {
            Err(StoreError::NoBlob(id))
        }
    }

    /// Returns at most `limit` bytes of a stored blob; the hash is checked if that is all of it.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when missing, [`StoreError::Changed`] when changed on disk.
    pub fn read_blob(&self, id: BlobId, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(id)?;
        let at = |source| StoreError::File { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(at)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(at)?;
        if bytes.len() as u64 > limit {
            bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        } else if *blake3::hash(&bytes).as_bytes() != id.0 {
            return Err(StoreError::Changed { path });
        }
        Ok(bytes)
    }

    /// Returns the bytes on disk of all blobs, and of those that a job needs.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn blob_bytes(&self) -> Result<(ByteCount, ByteCount), StoreError> {
        let mut query = self.db.prepare_cached("SELECT bytes, pinned FROM blob_sums WHERE one = 1")?;
        Ok(query.query_row([], |row| Ok((ByteCount(row.get(0)?), ByteCount(row.get(1)?))))?)
    }

    /// Runs `work`, which changes rows that name files and returns those files, in a transaction that a
    /// crash may undo. Deletes the files that nothing needs then.
    pub(crate) fn let_go_after(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<Vec<String>, StoreError>,
    ) -> Result<(), StoreError> {
        // Held files stay.
        let (holds, folder) = (self.holds.clone(), self.folder.clone());
        let mut held = holds.table();
        let (gone, list) = self.relaxed(|db| {
            let mut delete = db.prepare_cached("DELETE FROM blobs WHERE id = ?1 AND pins = 0")?;
            let mut gone = Vec::new();
            for text in work(db)? {
                if let Some(id) = text.parse().ok().filter(|id| !held.is_held(*id))
                    && delete.execute([&text])? > 0
                {
                    gone.push(id);
                }
            }
            // Written before the rows are gone, so that a kill at any time leaves it.
            let list = placed::write_list(&folder, &gone);
            Ok((gone, list))
        })?;
        held.doom(&gone);
        drop(held);
        self.delete_files(Deletion { ids: gone, others: Vec::new(), list });
        Ok(())
    }

    /// Deletes a blob that no job needs and that is not held.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn forget_blob(&mut self, id: BlobId) -> Result<(), StoreError> {
        let holds = self.holds.clone();
        let mut held = holds.table();
        if held.is_held(id) {
            return Ok(());
        }
        if self
            .db
            .prepare_cached("DELETE FROM blobs WHERE id = ?1 AND pins = 0")?
            .execute([id.to_string()])?
            > 0
        {
            held.doom(&[id]);
            drop(held);
            self.delete_files(Deletion { ids: vec![id], others: Vec::new(), list: None });
        }
        Ok(())
    }

    /// Deletes the file of a blob whose bytes are damaged; its row and the jobs that need it stay. The blob
    /// is missing until it is added again.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be removed.
    pub fn remove_damaged(&mut self, id: BlobId) -> Result<(), StoreError> {
        let held = self.holds.table();
        // A held file was just placed and has the right bytes.
        if held.is_held(id) {
            return Ok(());
        }
        let path = self.blob_path(id);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::File { path, source }),
            _ => Ok(()),
        }
    }

    /// Deletes what a crash may have left: half-copied and half-compiled files. Blobs without a row are
    /// deleted if they were about to be, and otherwise moved to `set-aside`, as the row may be what was lost.
    /// Returns the number of moved blobs.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn sweep_blobs(&mut self) -> Result<usize, StoreError> {
        let nobodys = placed::listed(&self.folder);
        let compiled = std::fs::read_dir(self.folder.join("compiled")).into_iter().flatten().flatten();
        for half in compiled.filter(|entry| entry.path().extension().is_some_and(|e| e == "partial")) {
            let _ = std::fs::remove_file(half.path());
        }
        let aside = disk::aside(&self.folder);
        let mut moved = 0;
        let folders = std::fs::read_dir(self.folder.join("blobs")).into_iter().flatten().flatten();
        for entry in
            folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten())
        {
            let name = entry.file_name();
            let is_known = match name.to_str() {
                Some(id) => self.db.prepare_cached("SELECT 1 FROM blobs WHERE id = ?1")?.exists([id])?,
                None => false,
            };
            if !is_known && name.to_str().is_some_and(|id| nobodys.contains(id)) {
                let _ = std::fs::remove_file(entry.path());
            } else if !is_known {
                moved += usize::from(set_aside(&entry.path(), &aside, crate::set_modified).is_ok());
            }
        }
        // The lists go last: another kill may come before.
        for half in std::fs::read_dir(self.folder.join("incoming")).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(half.path());
        }
        Ok(moved)
    }

    fn blob_path(&self, id: BlobId) -> PathBuf {
        path_of(&self.folder, id)
    }
}

/// Returns the path of a blob.
pub(crate) fn path_of(folder: &Path, id: BlobId) -> PathBuf {
    let name = id.to_string();
    folder.join("blobs").join(&name[..2]).join(&name)
}

/// Moves a file into a folder where it is kept for a while from now on, however old it is. A file whose
/// time cannot be set stays where it is, as it would count as old there and be deleted.
fn set_aside(
    file: &Path,
    aside: &Path,
    set_modified: impl Fn(&Path, SystemTime) -> io::Result<()>,
) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    crate::make_private_folder(aside)?;
    set_modified(file, SystemTime::now())?;
    std::fs::rename(file, aside.join(name))
}

/// Makes new names in a folder durable.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    #[test]
    fn a_file_whose_age_cannot_be_said_is_not_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (file, aside) = (folder.path().join("ab"), folder.path().join("set-aside"));
        std::fs::write(&file, b"x").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        crate::set_modified(&file, long_ago).unwrap();
        assert!(set_aside(&file, &aside, |_, _| Err(io::ErrorKind::PermissionDenied.into())).is_err());
        assert_eq!((file.exists(), aside.join("ab").exists()), (true, false));
        set_aside(&file, &aside, crate::set_modified).unwrap();
        let kept = aside.join("ab").metadata().unwrap().modified().unwrap();
        assert!(kept.duration_since(long_ago).unwrap().as_secs() > 1_000_000, "it is kept from now on");
    }
}
