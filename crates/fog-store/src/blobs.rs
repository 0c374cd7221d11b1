use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fog_types::{BlobId, ByteCount, UnixMillis};
use rusqlite::{OptionalExtension, params};

use crate::{Store, StoreError};

/// How much may wait for the disk while more arrives.
const SYNC_EVERY: u64 = 16 << 20;

/// Bytes on their way into the store: written and hashed, not yet named.
///
/// Made without the database, so that a slow copy holds nothing up.
#[derive(Debug)]
pub struct BlobFile {
    /// Closed: a result of many files must not hold a descriptor for each.
    path: tempfile::TempPath,
    id: BlobId,
    size: u64,
}

impl BlobFile {
    /// Copies `from` into the data folder, up to `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] past the limit, [`StoreError::File`] when reading or writing fails.
    pub fn copy(folder: &Path, mut from: impl Read, limit: ByteCount) -> Result<Self, StoreError> {
        let mut writer = BlobWriter::create(folder, limit)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(n) => writer.write(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::File { path: folder.to_owned(), source }),
            }
        }
    }

    /// The id it will have.
    #[must_use]
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Where it lies until it is named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A blob that arrives over several tries, in a file that outlives them.
#[derive(Debug)]
pub struct BlobIntake {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    synced: u64,
}

impl BlobIntake {
    /// Begins at `path`, or goes on with the whole pieces of `piece` bytes that an earlier try left there;
    /// those are read once. `size` is that of the whole blob.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be used.
    pub fn resume(path: &Path, piece: u64, size: u64) -> Result<Self, StoreError> {
        let at = |source| StoreError::File { path: path.to_owned(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(at)?;
        let found = file.metadata().map_err(at)?.len();
        let kept = if found == size { found } else { found.min(size) / piece * piece };
        file.set_len(kept).map_err(at)?;
        let mut hasher = blake3::Hasher::new();
        // The file's place is then at its end.
        let size = io::copy(&mut file, &mut hasher).map_err(at)?;
        Ok(Self { path: path.to_owned(), file, hasher, size, synced: size })
    }

    /// Bytes that are there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::File`] when writing fails; nothing of them is there then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(source) = self.file.write_all(bytes) {
            // Should this fail as well, the hash at the end finds it.
            let _ = self.file.set_len(self.size).and_then(|()| self.file.seek(SeekFrom::Start(self.size)));
            return Err(StoreError::File { path: self.path.clone(), source });
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The file, each time many bytes have come: whoever syncs it beside this leaves less for the end.
    pub fn to_sync(&mut self) -> Option<File> {
        if self.size - self.synced < SYNC_EVERY {
            return None;
        }
        self.synced = self.size;
        self.file.try_clone().ok()
    }

    /// Checks and makes durable what has arrived, and takes its file out of the place it arrived at.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not `id`; it is deleted then, so that the next try begins anew.
    /// [`StoreError::File`] when the disk refuses.
    pub fn finish(self, folder: &Path, id: BlobId) -> Result<BlobFile, StoreError> {
        let at = |source| StoreError::File { path: self.path.clone(), source };
        if *self.hasher.finalize().as_bytes() != id.0 {
            std::fs::remove_file(&self.path).map_err(at)?;
            return Err(StoreError::Damaged(format!("what was fetched is not {id}")));
        }
        self.file.sync_all().map_err(at)?;
        // A name of its own: under the old one another transfer may begin.
        let incoming = folder.join("incoming");
        std::fs::create_dir_all(&incoming).map_err(at)?;
        let own = tempfile::NamedTempFile::new_in(&incoming).map_err(at)?.into_temp_path();
        std::fs::rename(&self.path, &own).map_err(at)?;
        Ok(BlobFile { path: own, id, size: self.size })
    }
}

/// Bytes that arrive piece by piece on their way into the store.
#[derive(Debug)]
pub struct BlobWriter {
    file: tempfile::NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
    limit: ByteCount,
}

impl BlobWriter {
    /// Begins an empty blob of at most `limit` bytes below the data folder.
    ///
    /// # Errors
    /// [`StoreError::File`] when there is no place for it.
    pub fn create(folder: &Path, limit: ByteCount) -> Result<Self, StoreError> {
        let incoming = folder.join("incoming");
        let at = |source| StoreError::File { path: incoming.clone(), source };
        std::fs::create_dir_all(&incoming).map_err(at)?;
        let file = tempfile::NamedTempFile::new_in(&incoming).map_err(at)?;
        Ok(Self { file, hasher: blake3::Hasher::new(), size: 0, limit })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] past the limit, [`StoreError::File`] when writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.size + bytes.len() as u64;
        if size > self.limit.0 {
            return Err(StoreError::Full { wanted: ByteCount(size), cap: self.limit });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| StoreError::File { path: self.file.path().to_owned(), source })?;
        self.size = size;
        Ok(())
    }

    /// Makes the bytes durable.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses.
    pub fn finish(self) -> Result<BlobFile, StoreError> {
        self.file.as_file().sync_all().map_err(|source| StoreError::File { path: self.file.path().to_owned(), source })?;
        Ok(BlobFile { path: self.file.into_temp_path(), id: BlobId(*self.hasher.finalize().as_bytes()), size: self.size })
    }
}

impl Store {
    /// Names a blob; from then on it can be found. Makes room by forgetting unused blobs, the
    /// longest unused first, so that the total stays within `cap`.
    ///
    /// # Errors
    /// [`StoreError::Full`] when everything stored is needed.
    pub fn add_blob(&mut self, blob: BlobFile, cap: ByteCount, now: UnixMillis) -> Result<BlobId, StoreError> {
        let BlobFile { path: file, id, size } = blob;
        if self.touch_blob(id, now)? && self.blob_path(id).exists() {
            return Ok(id);
        }
        self.make_room(size, cap)?;
        let path = self.blob_path(id);
        let at = |source| StoreError::File { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(at)?;
        }
        file.persist(&path).map_err(|e| at(e.error))?;
        sync_folder(&path).map_err(at)?;
        self.db.execute(
            "INSERT INTO blobs (id, size, used_ms) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET used_ms = excluded.used_ms",
            params![id.to_string(), size.cast_signed(), now.0],
        )?;
        Ok(id)
    }

    /// Where the bytes of a stored blob are.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when they are not there.
    pub fn blob(&self, id: BlobId) -> Result<PathBuf, StoreError> {
        let path = self.blob_path(id);
        if path.is_file() { Ok(path) } else { Err(StoreError::NoBlob(id)) }
    }

    /// The bytes of a stored blob, at most `limit` of them, checked against their hash when whole.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when missing, [`StoreError::Damaged`] when changed on disk.
    pub fn read_blob(&self, id: BlobId, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(id)?;
        let at = |source| StoreError::File { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(at)?.take(limit).read_to_end(&mut bytes).map_err(at)?;
        if (bytes.len() as u64) < limit && *blake3::hash(&bytes).as_bytes() != id.0 {
            return Err(StoreError::Damaged(format!("the stored file {id} was changed")));
        }
        Ok(bytes)
    }

    /// Bytes in all blobs.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn blob_bytes(&self) -> Result<ByteCount, StoreError> {
        Ok(ByteCount(self.db.query_row("SELECT coalesce(sum(size), 0) FROM blobs", [], |row| row.get(0))?))
    }

    /// Forgets unused blobs until `extra` more bytes fit below `cap`.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they do not.
    pub fn make_room(&mut self, extra: u64, cap: ByteCount) -> Result<(), StoreError> {
        let mut total = self.blob_bytes()?.0;
        while total.saturating_add(extra) > cap.0 {
            let oldest: Option<(String, u64)> = self
                .db
                .prepare_cached("SELECT id, size FROM blobs WHERE NOT EXISTS (SELECT 1 FROM job_blobs WHERE blob = blobs.id) ORDER BY used_ms LIMIT 1")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, size)) = oldest else {
                return Err(StoreError::Full { wanted: ByteCount(extra), cap });
            };
            // The row goes first: a blob without a row is found and removed by the sweep at start.
            self.db.execute("DELETE FROM blobs WHERE id = ?1", [&id])?;
            if let Ok(id) = id.parse() {
                let _ = std::fs::remove_file(self.blob_path(id));
            }
            total -= size.min(total);
        }
        Ok(())
    }

    /// Removes what a crash may have left: half-copied and half-compiled files, blobs without a row.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn sweep_blobs(&mut self) -> Result<(), StoreError> {
        let _ = std::fs::remove_dir_all(self.folder.join("incoming"));
        let compiled = std::fs::read_dir(self.folder.join("compiled")).into_iter().flatten().flatten();
        for half in compiled.filter(|entry| entry.path().extension().is_some_and(|e| e == "partial")) {
            let _ = std::fs::remove_file(half.path());
        }
        let folders = std::fs::read_dir(self.folder.join("blobs")).into_iter().flatten().flatten();
        for entry in folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten()) {
            let name = entry.file_name();
            let known = name.to_str().map(|id| self.db.query_row("SELECT 1 FROM blobs WHERE id = ?1", [id], |_| Ok(())).optional());
            if matches!(known, None | Some(Ok(None))) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn touch_blob(&self, id: BlobId, now: UnixMillis) -> Result<bool, StoreError> {
        Ok(self.db.execute("UPDATE blobs SET used_ms = ?2 WHERE id = ?1", params![id.to_string(), now.0])? == 1)
    }

    fn blob_path(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.folder.join("blobs").join(&name[..2]).join(&name)
    }
}

/// Makes the new name itself durable.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
