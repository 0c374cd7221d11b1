//! Reading of stored files: every file is compared with its hash before any of it is passed on, also to a
//! task.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fog_api::ApiError;
use fog_store::{Store, StoreError};
use fog_types::{BlobId, ErrorKind};

use crate::query::to_api;

const COPY_BUFFER_BYTES: usize = 256 << 10;
/// Most files whose check is remembered while they are read in pieces.
const MAX_REMEMBERED: usize = 64;
/// Size in bytes from which a file is not checked again for each of many consecutive tasks.
const LARGE_BYTES: u64 = 16 << 20;
/// Time for which the check of a large file holds for starting tasks while the file looks the same.
const CHECK_HOLDS: Duration = Duration::from_secs(600);

/// Files that were checked lately, the latest last. A file that was changed since has a different look.
static CHECKED: Mutex<VecDeque<(PathBuf, Look, Instant)>> = Mutex::new(VecDeque::new());

/// Size, times and inode of a file, which differ after it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    size: u64,
    modified: Option<SystemTime>,
    /// Inode number and time of the last status change, which programs cannot set back.
    #[cfg(unix)]
    identity: (u64, i64, i64),
}

impl Look {
    fn of(about: &Metadata) -> Self {
        Self {
            size: about.len(),
            modified: about.modified().ok(),
            #[cfg(unix)]
            identity: {
                use std::os::unix::fs::MetadataExt;
                (about.ino(), about.ctime(), about.ctime_nsec())
            },
        }
    }
}

/// Handle of a stored file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    id: BlobId,
    path: PathBuf,
}

impl Stored {
    pub(crate) fn find(store: &Store, id: BlobId) -> Result<Self, ApiError> {
        #[cfg(test)]
        crate::tasks::results::tests::LOOKED_UP.with(|count| count.set(count.get() + 1));
        Ok(Self { id, path: store.blob(id).map_err(to_api)? })
    }

    /// Finds a file that a task reads.
    pub(crate) fn of_task(store: &Store, id: BlobId) -> Result<Self, StoreError> {
        Ok(Self { id, path: store.blob(id)? })
    }

    pub(crate) fn size(&self) -> Result<u64, ApiError> {
        Ok(std::fs::metadata(&self.path).map_err(|e| self.unusable(&e))?.len())
    }

    fn unusable(&self, error: &io::Error) -> ApiError {
        ApiError::new(ErrorKind::Storage, format_args!("{}: {error}", self.path.display()))
    }

    fn changed(&self) -> ApiError {
        to_api(StoreError::Changed { path: self.path.clone() })
    }

    /// Reads a file to its end, passes the bytes on and compares their hash.
    fn hash(
        &self,
        from: &mut File,
        mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    take(&buffer[..n])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unusable(&error)),
            }
        }
        if *hasher.finalize().as_bytes() == self.id.0 { Ok(()) } else { Err(self.changed()) }
    }

    /// Copies the whole file. After an error the copied bytes must not be kept.
    pub(crate) fn copy_to(&self, to: &mut impl Write) -> Result<(), ApiError> {
        let mut from = File::open(&self.path).map_err(|e| self.unusable(&e))?;
        self.hash(&mut from, |bytes| to.write_all(bytes).map_err(|e| ApiError::new(ErrorKind::Storage, e)))
    }

    /// Opens the file after comparing all of it with its hash.
    pub(crate) fn open(&self) -> Result<File, ApiError> {
        let mut file = File::open(&self.path).map_err(|e| self.unusable(&e))?;
        self.hash(&mut file, |_| Ok(()))?;
        file.rewind().map_err(|e| self.unusable(&e))?;
        Ok(file)
    }

    pub(crate) fn id(&self) -> BlobId {
        self.id
    }

    /// Compares the whole file with its hash before a task reads it. A large file that was checked lately
    /// and looks the same is not read again.
    ///
    /// # Errors
    /// [`StoreError::Changed`] or [`StoreError::NoBlob`] when the file is changed or missing,
    /// [`StoreError::File`] when it cannot be read now.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NoBlob(self.id),
            _ => StoreError::File { path: self.path.clone(), source },
        };
        let file = File::open(&self.path).map_err(failed)?;
        let look = Look::of(&file.metadata().map_err(failed)?);
        let is_large = look.size >= LARGE_BYTES;
        if is_large && checked_at(&self.path, look).is_some_and(|at| at.elapsed() < CHECK_HOLDS) {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        if *hasher.update_reader(file).map_err(failed)?.finalize().as_bytes() != self.id.0 {
            return Err(StoreError::Changed { path: self.path.clone() });
        }
        if is_large {
            remember(self.path.clone(), look);
        }
        Ok(())
    }

    /// Appends `length` bytes from `offset`. The whole file is compared with its hash before its first
    /// piece; later pieces are of the same file.
    pub(crate) fn piece(&self, offset: u64, length: u64, bytes: &mut Vec<u8>) -> Result<(), ApiError> {
        let failed = |e: io::Error| self.unusable(&e);
        let mut file = File::open(&self.path).map_err(failed)?;
        // The look is taken before the check, so that the next piece notices a change in between.
        let look = Look::of(&file.metadata().map_err(failed)?);
        let before = bytes.len();
        let is_all = offset == 0 && length == look.size;
        if !is_all && (offset == 0 || !is_known(&self.path, look)) {
            self.hash(&mut file, |_| Ok(()))?;
            remember(self.path.clone(), look);
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let read = file.take(length).read_to_end(bytes).map_err(failed)?;
        let is_same = !is_all || *blake3::hash(&bytes[before..]).as_bytes() == self.id.0;
        if read as u64 == length && is_same { Ok(()) } else { Err(self.changed()) }
    }
}

fn is_known(path: &Path, look: Look) -> bool {
    checked_at(path, look).is_some()
}

/// Time at which a file with this look was compared with its hash.
fn checked_at(path: &Path, look: Look) -> Option<Instant> {
    let checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    checked.iter().find(|(known, before, _)| known == path && *before == look).map(|(_, _, at)| *at)
}

fn remember(path: PathBuf, look: Look) {
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    checked.retain(|(known, _, _)| *known != path);
    if checked.len() >= MAX_REMEMBERED {
        checked.pop_front();
    }
    checked.push_back((path, look, Instant::now()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    impl Stored {
        /// Creates an entry for the file at `path` as it is now.
        pub(crate) fn at(path: PathBuf) -> Self {
            Self { id: BlobId(*blake3::hash(&std::fs::read(&path).unwrap()).as_bytes()), path }
        }
    }

    /// A changed file yields an error for every range and by every method.
    #[test]
    fn nothing_is_given_of_a_file_that_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored");
        let whole = vec![7; 3 * COPY_BUFFER_BYTES];
        let mut flipped = whole.clone();
        flipped[2 * COPY_BUFFER_BYTES] ^= 1;
        for damage in [flipped, whole[..10].to_vec(), Vec::new(), [whole.clone(), vec![1]].concat()] {
            std::fs::write(&path, &whole).unwrap();
            let stored = Stored::at(path.clone());
            let mut bytes = Vec::new();
            stored.piece(0, 100, &mut bytes).unwrap();
            stored.piece(100, whole.len() as u64 - 100, &mut bytes).unwrap();
            assert_eq!(bytes, whole);
            // The wait separates the times of the two writes.
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::write(&path, &damage).unwrap();
            let size = damage.len() as u64;
            for (offset, length) in
                [(0, size), (0, size.min(5)), (size.min(100), 0), (5, 3), (size.saturating_sub(1), 1)]
            {
                let error = stored.piece(offset, length, &mut Vec::new()).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Storage, "{offset} {length}: {error:?}");
                assert!(
                    error.message.contains(path.to_str().unwrap()) && error.message.contains("was changed"),
                    "{}",
                    error.message
                );
            }
            assert_eq!(stored.copy_to(&mut Vec::new()).unwrap_err().kind, ErrorKind::Storage);
            assert_eq!(stored.open().unwrap_err().kind, ErrorKind::Storage);
        }
    }

    #[test]
    fn a_task_gets_no_file_that_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored");
        for size in [0, 5, LARGE_BYTES as usize] {
            let whole = vec![7; size];
            let mut flipped = whole.clone();
            flipped.last_mut().into_iter().for_each(|byte| *byte ^= 1);
            let longer = [whole.clone(), vec![1]].concat();
            for damage in
                [flipped, whole[..size / 2].to_vec(), longer].into_iter().filter(|damage| *damage != whole)
            {
                std::fs::write(&path, &whole).unwrap();
                let stored = Stored::at(path.clone());
                stored.check().unwrap();
                stored.check().unwrap();
                // The wait separates the times of the two writes.
                std::thread::sleep(Duration::from_millis(20));
                std::fs::write(&path, &damage).unwrap();
                assert!(matches!(stored.check(), Err(StoreError::Changed { .. })), "{size}");
            }
        }
        let stored = Stored::at(path.clone());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(stored.check(), Err(StoreError::NoBlob(_))));
    }

    #[test]
    fn a_large_file_is_read_once_for_tasks_that_start_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored");
        std::fs::write(&path, vec![3; LARGE_BYTES as usize]).unwrap();
        let stored = Stored::at(path.clone());
        let look = Look::of(&path.metadata().unwrap());
        stored.check().unwrap();
        let at = checked_at(&path, look).unwrap();
        stored.check().unwrap();
        assert_eq!(checked_at(&path, look), Some(at));
    }

    #[test]
    fn a_file_is_read_whole_once_for_all_of_its_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored");
        std::fs::write(&path, [3; 1000]).unwrap();
        let stored = Stored::at(path.clone());
        let look = Look::of(&path.metadata().unwrap());
        assert!(!is_known(&path, look));
        stored.piece(0, 100, &mut Vec::new()).unwrap();
        assert!(is_known(&path, look));
        for other in 0..MAX_REMEMBERED {
            remember(folder.path().join(other.to_string()), look);
        }
        assert!(!is_known(&path, look), "no more than so many are remembered");
    }
}
