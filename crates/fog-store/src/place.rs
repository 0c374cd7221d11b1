//! Check that a data folder is still the one that was opened. Files are written by path, and if another
//! folder lies at the old path, another engine may be at work there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{DATABASE, Holds, StoreError};

/// Folders that stores of this process have open, the latest last.
static OPEN: Mutex<Vec<Arc<Place>>> = Mutex::new(Vec::new());

/// Number of a file system, and of a file in it.
type FileId = (u64, u64);

/// Data folder as it was opened.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// Open handle: the number of the folder is not reused, and its lock does not depend on files in it.
    handle: Option<File>,
    id: Option<FileId>,
    /// Paths and numbers of the lock and the database.
    files: Vec<(PathBuf, FileId)>,
    holds: Holds,
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no number that is always there")]
fn id_of(about: &std::fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    Some((about.dev(), about.ino()))
}

/// Other systems do not let a folder with open files be moved or deleted.
#[cfg(not(unix))]
fn id_of(_about: &std::fs::Metadata) -> Option<FileId> {
    None
}

/// Returns whether the file at a path is not the one with this number; false if that cannot be determined.
fn is_another(path: &Path, id: FileId) -> bool {
    match std::fs::metadata(path) {
        Ok(about) => id_of(&about).is_some_and(|found| found != id),
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

impl Place {
    /// Records the numbers of the folder and its files, and registers it for checks before files are
    /// written in it.
    pub(crate) fn open(folder: &Path, handle: Option<File>, holds: Holds) -> Arc<Self> {
        let numbered =
            |path: PathBuf| std::fs::metadata(&path).ok().as_ref().and_then(id_of).map(|id| (path, id));
        let place = Arc::new(Self {
            folder: folder.to_owned(),
            id: handle.as_ref().and_then(|handle| handle.metadata().ok()).as_ref().and_then(id_of),
            handle,
            files: [folder.join("lock"), folder.join(DATABASE)].into_iter().filter_map(numbered).collect(),
            holds,
        });
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&place));
        place
    }

    pub(crate) fn close(self: &Arc<Self>) {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| !Arc::ptr_eq(open, self));
    }

    fn has_folder(&self) -> bool {
        self.id.is_none_or(|id| !is_another(&self.folder, id))
    }

    /// Checks that the folder, its lock and its database are those that were opened.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let gone = |path: &Path| Err(StoreError::Gone { path: path.to_owned(), now: self.now() });
        if !self.has_folder() {
            return gone(&self.folder);
        }
        self.files.iter().find(|(path, id)| is_another(path, *id)).map_or(Ok(()), |(path, _)| gone(path))
    }

    /// Returns the current path of the folder, as far as the system tells it.
    fn now(&self) -> Option<PathBuf> {
        if self.has_folder() {
            return Some(self.folder.clone());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use std::os::fd::AsRawFd as _;
            let now =
                std::fs::read_link(format!("/proc/self/fd/{}", self.handle.as_ref()?.as_raw_fd())).ok()?;
            self.id.filter(|id| !is_another(&now, *id)).map(|_| now)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        None
    }
}

fn open_place_of(path: &Path) -> Option<Arc<Place>> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().rev().find(|place| path.starts_with(&place.folder)).cloned()
}

/// Returns the table of held files of the store that has the folder open in this process.
pub(crate) fn holds_of(folder: &Path) -> Option<Holds> {
    open_place_of(folder).map(|place| place.holds.clone())
}

/// Checks that a path in a data folder leads into the folder that was opened; any other path passes.
///
/// # Errors
/// An I/O error if another folder or none is at the path of the data folder.
pub(crate) fn check_path(path: &Path) -> io::Result<()> {
    match open_place_of(path).filter(|place| !place.has_folder()) {
        Some(place) => Err(io::Error::new(
            io::ErrorKind::NotFound,
            StoreError::Gone { path: place.folder.clone(), now: place.now() }.to_string(),
        )),
        None => Ok(()),
    }
}

/// Returns the current path of a file in an open data folder that was moved; otherwise the path itself.
///
/// # Errors
/// An I/O error if the folder is gone or cannot be found.
pub fn path_now(path: &Path) -> io::Result<PathBuf> {
    match open_place_of(path).filter(|place| !place.has_folder()) {
        Some(place) => match (place.now(), path.strip_prefix(&place.folder)) {
            (Some(now), Ok(rest)) => Ok(now.join(rest)),
            _ => check_path(path).map(|()| path.to_owned()),
        },
        None => Ok(path.to_owned()),
    }
}

/// Creates the folders of a path in an open data folder, but not the data folder itself. Returns false if
/// the path lies in no open data folder.
pub(crate) fn make_below(path: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<bool> {
    let Some(place) = open_place_of(path) else { return Ok(false) };
    check_path(path)?;
    let mut at = place.folder.clone();
    for name in path.strip_prefix(&place.folder).into_iter().flat_map(Path::components) {
        at.push(name);
        match make(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !at.is_dir() => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;
    use crate::{BlobFile, Reader, Store, make_private_folder};
    use fog_types::ByteCount;

    /// Tries every harm that may come to a folder while it is open.
    #[test]
    fn a_folder_that_went_is_noticed_and_not_made_anew() {
        type Harm = fn(&Path, &Path);
        let harms: [(Harm, bool); 5] = [
            (|folder, other| std::fs::rename(folder, other).unwrap(), false),
            (|folder, _| std::fs::remove_dir_all(folder).unwrap(), false),
            (
                |folder, other| {
                    std::fs::rename(folder, other).unwrap();
                    std::fs::create_dir(folder).unwrap();
                },
                false,
            ),
            (|folder, _| std::fs::remove_file(folder.join(DATABASE)).unwrap(), true),
            (|folder, _| std::fs::remove_file(folder.join("lock")).unwrap(), true),
        ];
        for (at, (harm, is_usable)) in harms.into_iter().enumerate() {
            let base = tempfile::tempdir().unwrap();
            let (folder, other) = (base.path().join("data"), base.path().join("moved"));
            let store = Store::open(&folder).unwrap();
            store.check_place().unwrap();
            harm(&folder, &other);
            let error = store.check_place().unwrap_err();
            assert!(matches!(error, StoreError::Gone { .. }), "{at}: {error}");
            let had = folder.exists();
            for path in ["checkpoints", "histories/1-0", "incoming"].map(|name| folder.join(name)) {
                assert_eq!(make_private_folder(&path).is_ok(), is_usable, "{at}");
                assert_eq!(path.exists(), is_usable, "{at}");
            }
            assert_eq!(BlobFile::copy(&folder, &b"a"[..], ByteCount::mib(1)).is_ok(), is_usable, "{at}");
            assert!(is_usable || Reader::open(&folder).is_err(), "{at}");
            assert_eq!(folder.exists(), had, "{at}");
            let now = path_now(&folder.join("checkpoints"));
            if cfg!(target_os = "linux") && other.exists() {
                assert_eq!(now.unwrap(), other.join("checkpoints"), "{at}");
            }
        }
    }

    /// SQLite deletes the journal by its path when it closes a database, unless it finds that the database was moved.
    #[test]
    fn a_store_whose_folder_was_moved_leaves_the_next_one_alone() {
        let base = tempfile::tempdir().unwrap();
        let (folder, moved) = (base.path().join("data"), base.path().join("moved"));
        let setting = |n: i64| [("a".to_owned(), Some(n.into()))];
        let mut first = Store::open(&folder).unwrap();
        first.set_settings(&setting(1)).unwrap();
        std::fs::rename(&folder, &moved).unwrap();
        let mut second = Store::open(&folder).unwrap();
        second.set_settings(&setting(2)).unwrap();
        first.set_settings(&setting(3)).unwrap();
        drop(first);
        assert!(folder.join("fog.sqlite-wal").exists(), "the journal of the second one");
        second.set_settings(&setting(4)).unwrap();
        assert_eq!(Reader::open(&folder).unwrap().settings().unwrap()["a"], 4);
        drop(second);
        assert_eq!(Store::open(&folder).unwrap().settings().unwrap()["a"], 4);
        assert_eq!(
            Store::open(&moved).unwrap().settings().unwrap()["a"],
            3,
            "what was written where it lies now"
        );
    }

    #[test]
    fn without_its_lock_file_a_folder_is_in_use_all_the_same() {
        let base = tempfile::tempdir().unwrap();
        let _store = Store::open(base.path()).unwrap();
        std::fs::remove_file(base.path().join("lock")).unwrap();
        assert!(matches!(Store::open(base.path()), Err(StoreError::InUse { .. })));
    }

    #[test]
    fn a_database_that_was_deleted_is_saved_aside() {
        let base = tempfile::tempdir().unwrap();
        let mut store = Store::open(base.path()).unwrap();
        store.set_settings(&[("a".to_owned(), Some(7.into()))]).unwrap();
        for name in ["fog.sqlite", "fog.sqlite-wal", "fog.sqlite-shm"] {
            std::fs::remove_file(base.path().join(name)).unwrap();
        }
        let copy = store.save_aside().unwrap();
        drop(store);
        std::fs::rename(copy, base.path().join(DATABASE)).unwrap();
        assert_eq!(Store::open(base.path()).unwrap().settings().unwrap()["a"], 7);
    }
}
