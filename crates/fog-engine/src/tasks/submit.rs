//! Preparation of jobs: copies a job file's files to blobs on disk. Runs outside the loop, because copying
//! and hashing may take long.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fog_api::{ApiError, Command, JobCommand};
use fog_runtime::{Checkpoint, open_regular};
use fog_store::{BlobFile, Blobs, Holds, HostedRow, PlacedFiles, StoreError};
use fog_types::job::{self, GridOptions, JobFile, Map};
use fog_types::{BlobId, ByteCount, ErrorKind, HasKind, on_disk};

use crate::context::Context;
use crate::disk_room::{DiskRoom, RoomUse, is_no_room};
use crate::query::to_api;
use crate::tasks::errors::TaskError;

/// A job whose files are copied and hashed, ready to be accepted.
pub(crate) struct Prepared {
    pub(crate) file: JobFile,
    pub(crate) blobs: Blobs,
    pub(crate) copied: Vec<BlobFile>,
    /// Copied files that are already in their final places.
    pub(crate) placed: Option<PlacedFiles>,
    /// Files that were stored already and must not be given up until the job is.
    pub(crate) held: Vec<PlacedFiles>,
    /// Sealed checkpoint from which its one task continues.
    pub(crate) checkpoint: Option<tempfile::TempPath>,
    /// Owner of a job that came from another device.
    pub(crate) owner: Option<String>,
    /// Row of a job that was lent to this device.
    pub(crate) hosted: Option<HostedRow>,
    /// Wish that other devices run the job.
    pub(crate) grid: Option<GridOptions>,
}

/// Place to which the files of a job are copied.
#[derive(Debug, Clone)]
pub(crate) struct CopyPlace {
    pub(crate) data_folder: PathBuf,
    /// The storage setting.
    pub(crate) cap: ByteCount,
    pub(crate) holds: Holds,
    /// Handle for requesting room for the copies.
    pub(crate) room: DiskRoom,
}

impl Context {
    /// Place to which the owner's files are copied.
    pub(crate) fn copy_place(&self) -> CopyPlace {
        CopyPlace {
            data_folder: self.store.folder().to_owned(),
            cap: self.settings.storage_cap(),
            holds: self.store.holds(),
            room: self.room_for(RoomUse::Owner),
        }
    }
}

/// Options of a submission besides its job file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SubmitOptions {
    pub(crate) grid: Option<GridOptions>,
    pub(crate) deadline_seconds: Option<u64>,
}

impl Prepared {
    /// Puts the copied files in their final places. Runs beside the loop, because there may be many.
    pub(crate) fn placed(mut self, data_folder: &Path, holds: &Holds) -> Result<Self, ApiError> {
        self.placed =
            Some(PlacedFiles::place(data_folder, holds, std::mem::take(&mut self.copied)).map_err(to_api)?);
        Ok(self)
    }

    /// Applies the options of the submission.
    pub(crate) fn with(mut self, wish: SubmitOptions) -> Result<Self, ApiError> {
        if let Some(grid) = wish.grid
            && !grid.is_sound()
        {
            return Err(TaskError::BadGridOptions.into());
        }
        self.grid = wish.grid;
        if let Some(seconds) = wish.deadline_seconds {
            self.file.deadline_seconds = seconds;
            self.file.check().map_err(|e| ApiError::of(&e))?;
        }
        Ok(self)
    }
}

/// Reads the job file and copies its files to `place`, as long as `is_wanted` returns true.
pub(crate) fn prepare(
    text: &str,
    folder: &Path,
    place: &CopyPlace,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Prepared, ApiError> {
    let file = job::parse(text).map_err(|e| ApiError::of(&e))?;
    let mut copier = Copier {
        folder,
        place,
        is_wanted,
        copied: Vec::new(),
        held: Vec::new(),
        seen: BTreeMap::new(),
        stored: BTreeSet::new(),
    };
    let module_path = copier.resolve(&file.module);
    let mut magic = [0; 4];
    let mut opened = open_regular(&module_path).map_err(|e| unreadable(&module_path, &e))?;
    if opened.read_exact(&mut magic).is_err() || magic != *b"\0asm" {
        return Err(TaskError::NotAModule { path: module_path }.into());
    }
    // The stated length of a file need not be true, so copied bytes are counted.
    let most = file.limits.module.min(place.cap);
    let module = copier.copy_at_most(&file.module, most).map_err(|error| {
        if error.kind != ErrorKind::LimitReached || most < file.limits.module {
            return error;
        }
        TaskError::ModuleTooLarge { path: module_path, most }.into()
    })?;
    let stdin = file.stdin.as_deref().map(|path| copier.copy(path)).transpose()?;
    let inputs = file
        .inputs
        .iter()
        .map(|(name, path)| Ok((name.clone(), copier.copy(path)?)))
        .collect::<Result<_, ApiError>>()?;
    let items = match &file.map {
        Map::Inputs(list) => list.iter().map(|path| copier.copy(path)).collect::<Result<_, _>>()?,
        Map::One | Map::Range { .. } => Vec::new(),
    };
    let blobs = Blobs { module, stdin, inputs, items };
    Ok(Prepared {
        file,
        blobs,
        copied: copier.copied,
        placed: None,
        held: copier.held,
        checkpoint: None,
        owner: None,
        hosted: None,
        grid: None,
    })
}

/// Builds the command that submits the file at `path`: a job file's text with the folder its paths are
/// relative to, a generated job file for a module, or a checkpoint that continues here.
///
/// # Errors
/// Fails when the file is too large for a job file or cannot be read.
pub fn submission(path: &Path) -> Result<Command, ApiError> {
    let job = |job_file, folder| {
        Ok(Command::Jobs(JobCommand::Submit { job_file, folder, grid: None, deadline_seconds: None }))
    };
    let folder = as_text(path.parent().unwrap_or(Path::new("/")))?;
    if path.extension().is_some_and(|extension| extension == "wasm") {
        // A TOML string represents any file name exactly.
        let name = toml::Value::from(as_text(path.file_name().unwrap_or_default().as_ref())?);
        return job(format!("version = 1\nmodule = {name}\n"), folder);
    }
    if Checkpoint::is_at(path) {
        return Ok(Command::Jobs(JobCommand::SubmitCheckpoint { path: as_text(path)? }));
    }
    let mut text = Vec::new();
    let most = job::MAX_FILE_BYTES as u64;
    open_regular(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut text))
        .map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > most {
        return Err(TaskError::JobFileTooLarge { path: path.to_owned() }.into());
    }
    let text =
        fog_types::decode_text(&text).map_err(|why| TaskError::NotText { path: path.to_owned(), why })?;
    job(text, folder)
}

/// Converts a path to text for a job file or a command.
///
/// # Errors
/// Fails when the path is not UTF-8.
pub fn as_text(path: &Path) -> Result<String, ApiError> {
    path.to_str().map(str::to_owned).ok_or_else(|| TaskError::PathNotText { path: path.to_owned() }.into())
}

struct Copier<'a> {
    folder: &'a Path,
    place: &'a CopyPlace,
    is_wanted: &'a dyn Fn() -> bool,
    copied: Vec<BlobFile>,
    held: Vec<PlacedFiles>,
    seen: BTreeMap<PathBuf, BlobId>,
    stored: BTreeSet<BlobId>,
}

impl Copier<'_> {
    fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn copy(&mut self, path: &str) -> Result<BlobId, ApiError> {
        self.copy_at_most(path, self.place.cap)
    }

    fn copy_at_most(&mut self, path: &str, most: ByteCount) -> Result<BlobId, ApiError> {
        let path = self.resolve(path);
        if let Some(id) = self.seen.get(&path) {
            return Ok(*id);
        }
        let mut file = open_regular(&path).map_err(|e| unreadable(&path, &e))?;
        let size = file.metadata().map_err(|e| unreadable(&path, &e))?.len();
        let refused = |error: StoreError| {
            TaskError::NotStored { path: path.clone(), why: error.to_string() }.of_kind(error.kind())
        };
        if size > most.0 {
            return Err(refused(StoreError::Full { wanted: ByteCount(size), cap: most }));
        }
        let together = self.copied.iter().map(BlobFile::size).fold(size, u64::saturating_add);
        let room = if together > self.place.cap.0 {
            Err(StoreError::Full { wanted: ByteCount(together), cap: self.place.cap })
        } else {
            self.place.room.ask_blocking(on_disk(size))
        };
        let room = match room {
            Ok(room) => room,
            Err(error) if is_no_room(&error) => {
                let id = self.find_stored(&path, &file, size)?.ok_or_else(|| refused(error))?;
                self.seen.insert(path, id);
                return Ok(id);
            }
            Err(error) => return Err(refused(error)),
        };
        let from = WhileWanted { from: &mut file, is_wanted: self.is_wanted };
        let blob = BlobFile::copy_into(room, &self.place.data_folder, from, most).map_err(refused)?;
        let id = blob.id();
        self.seen.insert(path, id);
        if self.stored.insert(id) {
            self.copied.push(blob);
        }
        Ok(id)
    }

    /// Returns the id of a file that was copied or stored already, and takes no more room.
    fn find_stored(
        &mut self,
        path: &Path,
        file: &std::fs::File,
        size: u64,
    ) -> Result<Option<BlobId>, ApiError> {
        let mut hasher = blake3::Hasher::new();
        let mut from = WhileWanted { from: file, is_wanted: self.is_wanted };
        std::io::copy(&mut from, &mut hasher).map_err(|e| unreadable(path, &e))?;
        let id = BlobId(*hasher.finalize().as_bytes());
        if self.stored.contains(&id) {
            return Ok(Some(id));
        }
        match PlacedFiles::hold(&self.place.data_folder, &self.place.holds, id, size) {
            Some(held) => {
                self.held.push(held);
                self.stored.insert(id);
                Ok(Some(id))
            }
            None => Ok(None),
        }
    }
}

/// Reader that fails once the submission is not wanted any more.
struct WhileWanted<'a, R> {
    from: R,
    is_wanted: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for WhileWanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_wanted)() {
            self.from.read(buffer)
        } else {
            Err(io::Error::other("whoever submitted it is gone"))
        }
    }
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> ApiError {
    TaskError::Unreadable { path: path.to_owned(), why: error.to_string() }
        .of_kind(ErrorKind::of_named_file(error.kind()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use std::cell::Cell;
    use std::fs::File;
    use std::sync::{Arc, Mutex};

    use fog_store::Store;
    use fog_types::UnixMillis;

    use super::*;

    const CAP: ByteCount = ByteCount::mib(4);

    struct Place {
        folder: tempfile::TempDir,
        data: tempfile::TempDir,
        store: Arc<Mutex<Store>>,
        room: DiskRoom,
    }

    impl Place {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            let store = Arc::new(Mutex::new(Store::open(data.path()).unwrap()));
            let (room, mut asked) = DiskRoom::answered_by_test(store.lock().unwrap().holds());
            let here = Arc::clone(&store);
            std::thread::spawn(move || {
                while let Some(request) = asked.blocking_recv() {
                    request.answer(|bytes| here.lock().unwrap().reserve(bytes, CAP, UnixMillis(1)));
                }
            });
            let place = Self { folder: tempfile::tempdir().unwrap(), data, store, room };
            std::fs::write(place.folder.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
            place
        }

        fn prepare(&self, inputs: &[&str], is_wanted: &dyn Fn() -> bool) -> Result<Prepared, ApiError> {
            let inputs: String = inputs.iter().map(|name| format!("{name:?} = {name:?}\n")).collect();
            let text = format!("version = 1\nmodule = \"m.wasm\"\n[inputs]\n{inputs}");
            let holds = self.store.lock().unwrap().holds();
            let place = CopyPlace {
                data_folder: self.data.path().to_owned(),
                cap: CAP,
                holds,
                room: self.room.clone(),
            };
            prepare(&text, self.folder.path(), &place, is_wanted)
        }

        /// Number of bytes that are copied so far.
        fn copied(&self) -> u64 {
            let incoming =
                std::fs::read_dir(self.data.path().join("incoming")).into_iter().flatten().flatten();
            incoming.map(|entry| entry.metadata().unwrap().len()).sum()
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_copied() {
        let place = Place::new();
        let sized = |name: &str, mib: u64| {
            File::create(place.folder.path().join(name)).unwrap().set_len(mib << 20).unwrap()
        };
        sized("huge", 50 << 10);
        let reads = Cell::new(0u32);
        let count = || {
            reads.set(reads.get() + 1);
            true
        };
        let error = place.prepare(&["huge"], &count).err().unwrap();
        assert!(
            error.kind == ErrorKind::LimitReached
                && error.message.contains("50.0 GiB")
                && error.message.contains("4.0 MiB"),
            "{}",
            error.message
        );
        assert!(reads.get() < 10, "{}", reads.get());
        // The two files are too large together.
        std::fs::write(place.folder.path().join("a"), vec![1; 3 << 20]).unwrap();
        std::fs::write(place.folder.path().join("b"), vec![2; 2 << 20]).unwrap();
        let error = place.prepare(&["a", "b"], &|| true).err().unwrap();
        assert!(
            error.kind == ErrorKind::LimitReached && error.message.contains("5.0 MiB"),
            "{}",
            error.message
        );
        // The same file under two names is stored once.
        std::fs::write(place.folder.path().join("c"), vec![1; 3 << 20]).unwrap();
        assert_eq!(place.prepare(&["a", "c"], &|| true).unwrap().copied.len(), 2);
        assert_eq!(place.copied(), 0, "nothing is left");
    }

    /// A file that lies in the store already needs no room, however full it is.
    #[test]
    fn a_stored_file_is_not_copied_into_a_full_store() {
        let place = Place::new();
        std::fs::write(place.folder.path().join("a"), vec![1; 3 << 20]).unwrap();
        let held = {
            let mut store = place.store.lock().unwrap();
            let file = BlobFile::copy(place.data.path(), vec![1; 3 << 20].as_slice(), CAP).unwrap();
            store.add_blob(file, CAP, UnixMillis(1)).unwrap();
            PlacedFiles::hold(
                place.data.path(),
                &store.holds(),
                BlobId(*blake3::hash(&vec![1; 3 << 20]).as_bytes()),
                3 << 20,
            )
            .unwrap()
        };
        let prepared = place.prepare(&["a"], &|| true).unwrap();
        assert_eq!((prepared.copied.len(), prepared.held.len()), (1, 1), "the module only");
        std::fs::write(place.folder.path().join("b"), vec![2; 2 << 20]).unwrap();
        let error = place.prepare(&["b"], &|| true).err().unwrap();
        assert!(
            error.kind == ErrorKind::LimitReached && error.message.contains("2.0 MiB"),
            "{}",
            error.message
        );
        assert_eq!(place.copied(), 8, "the module of the first");
        drop((held, prepared));
        assert_eq!(place.copied(), 0);
    }

    #[test]
    fn copying_ends_when_nobody_waits_for_it() {
        let place = Place::new();
        std::fs::write(place.folder.path().join("a"), vec![1; 3 << 20]).unwrap();
        let reads = Cell::new(0);
        let is_wanted = || {
            reads.set(reads.get() + 1);
            reads.get() < 10
        };
        assert!(place.prepare(&["a"], &is_wanted).is_err());
        assert_eq!((reads.get(), place.copied()), (10, 0));
    }

    /// Files in the data folder are not blamed.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_read_is_named_and_no_other() {
        let place = Place::new();
        std::os::unix::fs::symlink("/proc/self/mem", place.folder.path().join("in")).unwrap();
        let error = place.prepare(&["in"], &|| true).err().unwrap();
        assert_eq!(error.kind, ErrorKind::BadInput);
        assert!(
            error.message.contains("in: it cannot be read")
                && !error.message.contains(place.data.path().to_str().unwrap()),
            "{}",
            error.message
        );
    }
}
