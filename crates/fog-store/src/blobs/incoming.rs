//! Blobs on their way into the store: files that are written and hashed without the database.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fog_types::{BlobId, ByteCount, on_disk};

use crate::StoreError;
use crate::room::{Counted, Reservation};

/// Number of bytes after which a growing file is to be synced.
const SYNC_EVERY: u64 = 16 << 20;

/// Bytes on their way into the store: written and hashed, but not placed yet.
///
/// The file is made without the database, so that a slow copy holds nothing up.
#[derive(Debug)]
pub struct BlobFile {
    /// Path of the closed file: a result of many files must not hold a descriptor for each.
    path: tempfile::TempPath,
    id: BlobId,
    size: u64,
    /// Dropped after the file is deleted or moved.
    counted: Counted,
}

impl BlobFile {
    /// Copies `from` into the data folder, up to `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] past the limit, [`StoreError::Unreadable`] when reading fails, [`StoreError::File`] when writing does.
    pub fn copy(folder: &Path, from: impl Read, limit: ByteCount) -> Result<Self, StoreError> {
        BlobWriter::create(folder, limit)?.copy_from(from)
    }

    /// Copies as [`BlobFile::copy`] does, into reserved room.
    ///
    /// # Errors
    /// As [`BlobFile::copy`].
    pub fn copy_into(
        room: Reservation,
        folder: &Path,
        from: impl Read,
        limit: ByteCount,
    ) -> Result<Self, StoreError> {
        BlobWriter::create(folder, limit)?.with_room(room).copy_from(from)
    }

    /// Returns the id that the blob will have.
    #[must_use]
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Returns the path of the file until it is placed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Moves the file to its final path. It counts as incoming until the returned guard is dropped.
    pub(crate) fn persist(self, to: &Path) -> (io::Result<()>, Counted) {
        (self.path.persist(to).map_err(|refused| refused.error), self.counted)
    }
}

/// Blob that arrives over several attempts, in a file that outlives them.
#[derive(Debug)]
pub struct BlobIntake {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    synced: u64,
}

impl BlobIntake {
    /// Begins a file at `path`, or resumes after the whole pieces of `piece` bytes that an earlier attempt
    /// left there, which are read once. `size` is the size of the whole blob.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be used.
    pub fn resume(path: &Path, piece: u64, size: u64) -> Result<Self, StoreError> {
        let at = |source| StoreError::File { path: path.to_owned(), source };
        let mut file = crate::private_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(at)?;
        let found = file.metadata().map_err(at)?.len();
        let kept = if found == size { found } else { found.min(size) / piece * piece };
        file.set_len(kept).map_err(at)?;
        let mut hasher = blake3::Hasher::new();
        // The position in the file is then at its end.
        let size = io::copy(&mut file, &mut hasher).map_err(at)?;
        Ok(Self { path: path.to_owned(), file, hasher, size, synced: size })
    }

    /// Returns the number of bytes that have arrived.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the id of the bytes that have arrived.
    #[must_use]
    pub fn id(&self) -> BlobId {
        BlobId(*self.hasher.finalize().as_bytes())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`StoreError::File`] when writing fails; none of the bytes are kept then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(source) = self.file.write_all(bytes) {
            // If this fails too, the hash at the end shows it.
            let _ = self.file.set_len(self.size).and_then(|()| self.file.seek(SeekFrom::Start(self.size)));
            return Err(StoreError::File { path: self.path.clone(), source });
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Returns the file each time many bytes have come; syncing it on another thread leaves less for the
    /// end.
    pub fn to_sync(&mut self) -> Option<File> {
        if self.size - self.synced < SYNC_EVERY {
            return None;
        }
        self.synced = self.size;
        self.file.try_clone().ok()
    }

    /// Checks what has arrived, makes it durable and moves its file to `incoming`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the hash is not `id`; the file is deleted then, so that the next
    /// attempt begins anew. [`StoreError::File`] when the disk refuses.
    pub fn finish(self, folder: &Path, id: BlobId) -> Result<BlobFile, StoreError> {
        let at = |source| StoreError::File { path: self.path.clone(), source };
        if *self.hasher.finalize().as_bytes() != id.0 {
            std::fs::remove_file(&self.path).map_err(at)?;
            return Err(StoreError::Damaged(format!("what was fetched is not {id}")));
        }
        self.file.sync_all().map_err(at)?;
        // The file gets a name of its own, as another transfer may begin under the old one.
        let incoming = folder.join("incoming");
        crate::make_private_folder(&incoming).map_err(at)?;
        let own = tempfile::NamedTempFile::new_in(&incoming).map_err(at)?.into_temp_path();
        std::fs::rename(&self.path, &own).map_err(at)?;
        let mut counted = Counted::begin(folder);
        counted.set(self.size);
        Ok(BlobFile { path: own, id, size: self.size, counted })
    }
}

/// Writer of a blob whose bytes arrive piece by piece.
#[derive(Debug)]
pub struct BlobWriter {
    file: tempfile::NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
    limit: ByteCount,
    counted: Counted,
    /// Room that the file may take, if it was reserved.
    room: Option<Reservation>,
}

/// Number of files that are synced at the same time.
const SYNCS_AT_ONCE: usize = 8;

impl BlobWriter {
    /// Creates an empty blob of at most `limit` bytes in the data folder.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be created.
    pub fn create(folder: &Path, limit: ByteCount) -> Result<Self, StoreError> {
        let incoming = folder.join("incoming");
        let at = |source| StoreError::File { path: incoming.clone(), source };
        crate::make_private_folder(&incoming).map_err(at)?;
        let file = tempfile::NamedTempFile::new_in(&incoming).map_err(at)?;
        Ok(Self {
            file,
            hasher: blake3::Hasher::new(),
            size: 0,
            limit,
            counted: Counted::begin(folder),
            room: None,
        })
    }

    /// Uses up reserved room while the file grows; the rest is free once the file is complete.
    #[must_use]
    pub fn with_room(self, room: Reservation) -> Self {
        Self { room: Some(room), ..self }
    }

    fn copy_from(mut self, mut from: impl Read) -> Result<BlobFile, StoreError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(n) => self.write(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Unreadable { source }),
            }
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] past the limit, [`StoreError::File`] when writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.size + bytes.len() as u64;
        if size > self.limit.0 {
            return Err(StoreError::Full { wanted: ByteCount(size), cap: self.limit });
        }
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|source| StoreError::File { path: self.file.path().to_owned(), source })?;
        let more = on_disk(size) - if self.size == 0 { 0 } else { on_disk(self.size) };
        self.size = size;
        self.counted.set(size);
        if let Some(room) = &mut self.room {
            room.use_up(more);
        }
        Ok(())
    }

    /// Returns the number of bytes that were added.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the bytes durable and returns the blob.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses.
    pub fn finish(self) -> Result<BlobFile, StoreError> {
        self.file
            .as_file()
            .sync_all()
            .map_err(|source| StoreError::File { path: self.file.path().to_owned(), source })?;
        Ok(BlobFile {
            path: self.file.into_temp_path(),
            id: BlobId(*self.hasher.finalize().as_bytes()),
            size: self.size,
            counted: self.counted,
        })
    }

    /// Finishes several writers as [`BlobWriter::finish`] does, and returns the blobs in order. File
    /// systems merge syncs that are requested at the same time, so many small files take a fraction of the
    /// time.
    ///
    /// # Errors
    /// As [`BlobWriter::finish`], for the first writer that fails.
    pub fn finish_all(writers: Vec<Self>) -> Result<Vec<BlobFile>, StoreError> {
        let each = writers.len().div_ceil(SYNCS_AT_ONCE).max(1);
        let mut writers = writers.into_iter();
        let parts: Vec<Vec<Self>> = std::iter::from_fn(|| {
            Some(writers.by_ref().take(each).collect::<Vec<_>>()).filter(|part| !part.is_empty())
        })
        .collect();
        std::thread::scope(|scope| {
            let finish = |part: Vec<Self>| part.into_iter().map(Self::finish).collect::<Result<Vec<_>, _>>();
            let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || finish(part))).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().unwrap_or_else(|_| {
                    Err(StoreError::Damaged("a thread that writes files ended".to_owned()))
                })?);
            }
            Ok(all)
        })
    }
}
