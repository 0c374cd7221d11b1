//! From a job file and the files it names to blobs on disk. Runs outside the loop: copying and
//! hashing may take long.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fog_api::{ApiError, Command};
use fog_runtime::{Checkpoint, open_regular};
use fog_store::{BlobFile, Blobs, Holds, HostedRow, PlacedFiles};
use fog_types::job::{self, GridWish, JobFile, Map};
use fog_types::{BlobId, ByteCount, ErrorKind, HasKind};

use crate::query::to_api;

/// A job whose files are copied and hashed, ready to be accepted.
pub(crate) struct Prepared {
    pub(crate) file: JobFile,
    pub(crate) blobs: Blobs,
    pub(crate) copied: Vec<BlobFile>,
    /// Those of them that lie where they stay.
    pub(crate) placed: Option<PlacedFiles>,
    /// A sealed checkpoint that its one task goes on from.
    pub(crate) checkpoint: Option<tempfile::TempPath>,
    /// Whose it is, when it came from another device.
    pub(crate) owner: Option<String>,
    /// What is to be remembered of it, when it was lent to this device.
    pub(crate) hosted: Option<HostedRow>,
    /// That other devices may run it.
    pub(crate) grid: Option<GridWish>,
}

/// What a submission says beside its job file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    pub(crate) grid: Option<GridWish>,
    pub(crate) deadline_seconds: Option<u64>,
}

impl Prepared {
    /// With its files where they stay. Beside the loop, as there may be many.
    pub(crate) fn placed(mut self, data_folder: &Path, holds: &Holds) -> Result<Self, ApiError> {
        self.placed = Some(PlacedFiles::place(data_folder, holds, std::mem::take(&mut self.copied)).map_err(to_api)?);
        Ok(self)
    }

    /// With what the submission says beside its job file.
    pub(crate) fn with(mut self, wish: Wish) -> Result<Self, ApiError> {
        if let Some(grid) = wish.grid
            && !grid.is_sound()
        {
            let message = "replicas must lie between 1 and 16, trust between 2 and 1,000,000, spot checks between 0 and 50 %. Nothing was submitted";
            return Err(refuse(ErrorKind::BadInput, message.to_owned()));
        }
        self.grid = wish.grid;
        if let Some(seconds) = wish.deadline_seconds {
            self.file.deadline_seconds = seconds;
            self.file.check().map_err(|e| refuse(e.kind(), e.to_string()))?;
        }
        Ok(self)
    }
}

/// Reads the job file and copies what it names below `data_folder`.
pub(crate) fn prepare(text: &str, folder: &Path, data_folder: &Path, cap: ByteCount) -> Result<Prepared, ApiError> {
    let file = job::parse(text).map_err(|e| refuse(e.kind(), e.to_string()))?;
    let mut copier = Copier { folder, data_folder, cap, copied: Vec::new(), seen: BTreeMap::new(), stored: BTreeSet::new() };
    let module_path = copier.resolve(&file.module);
    let mut magic = [0; 4];
    let mut opened = open_regular(&module_path).map_err(|e| unreadable(&module_path, &e))?;
    if opened.read_exact(&mut magic).is_err() || magic != *b"\0asm" {
        return Err(refuse(ErrorKind::BadInput, format!("{} is not a WebAssembly module; build the program for wasm32-wasip1", module_path.display())));
    }
    // What a file says about its length need not be true; what is copied is counted.
    let most = file.limits.module.min(cap);
    let module = copier.copy_at_most(&file.module, most).map_err(|error| {
        if error.kind != ErrorKind::LimitReached || most < file.limits.module {
            return error;
        }
        let message = format!("{} is larger than {most}, the job's limit for a module. Nothing was submitted", module_path.display());
        refuse(ErrorKind::LimitReached, message)
    })?;
    let stdin = file.stdin.as_deref().map(|path| copier.copy(path)).transpose()?;
    let inputs = file.inputs.iter().map(|(name, path)| Ok((name.clone(), copier.copy(path)?))).collect::<Result<_, ApiError>>()?;
    let items = match &file.map {
        Map::Inputs(list) => list.iter().map(|path| copier.copy(path)).collect::<Result<_, _>>()?,
        Map::One | Map::Range { .. } => Vec::new(),
    };
    let blobs = Blobs { module, stdin, inputs, items };
    Ok(Prepared { file, blobs, copied: copier.copied, placed: None, checkpoint: None, owner: None, hosted: None, grid: None })
}

/// What submitting the file at `path` means: the text of a job file, made up for a module, with the
/// folder its paths are relative to; or a checkpoint that goes on here.
///
/// # Errors
/// When the file is too large for a job file or cannot be read.
pub fn submission(path: &Path) -> Result<Command, ApiError> {
    let job = |job_file, folder| Ok(Command::Submit { job_file, folder, grid: None, deadline_seconds: None });
    let folder = as_text(path.parent().unwrap_or(Path::new("/")))?;
    if path.extension().is_some_and(|extension| extension == "wasm") {
        // A TOML string, so that any file name is read back as it is.
        let name = toml::Value::from(as_text(path.file_name().unwrap_or_default().as_ref())?);
        return job(format!("version = 1\nmodule = {name}\n"), folder);
    }
    if Checkpoint::is_at(path) {
        return Ok(Command::SubmitCheckpoint { path: as_text(path)? });
    }
    let mut text = Vec::new();
    let most = job::MAX_FILE_BYTES as u64;
    open_regular(path).and_then(|file| file.take(most + 1).read_to_end(&mut text)).map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > most {
        return Err(refuse(ErrorKind::BadInput, format!("{} is too large for a job file. Nothing was submitted", path.display())));
    }
    let text = fog_types::decode_text(&text).map_err(|what| refuse(ErrorKind::BadInput, format!("{}: {what}. Nothing was submitted", path.display())))?;
    job(text, folder)
}

/// A path that goes into a job file or a command, which are text.
///
/// # Errors
/// When it is none.
pub fn as_text(path: &Path) -> Result<String, ApiError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        refuse(ErrorKind::BadInput, format!("the path {} is not text (UTF-8), so it cannot be given to the engine. Nothing was submitted", path.display()))
    })
}

struct Copier<'a> {
    folder: &'a Path,
    data_folder: &'a Path,
    cap: ByteCount,
    copied: Vec<BlobFile>,
    seen: BTreeMap<PathBuf, BlobId>,
    stored: BTreeSet<BlobId>,
}

impl Copier<'_> {
    fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn copy(&mut self, path: &str) -> Result<BlobId, ApiError> {
        self.copy_at_most(path, self.cap)
    }

    fn copy_at_most(&mut self, path: &str, most: ByteCount) -> Result<BlobId, ApiError> {
        let path = self.resolve(path);
        if let Some(id) = self.seen.get(&path) {
            return Ok(*id);
        }
        let file = open_regular(&path).map_err(|e| unreadable(&path, &e))?;
        let blob = BlobFile::copy(self.data_folder, file, most).map_err(|e| refuse(e.kind(), format!("{}: {e}", path.display())))?;
        let id = blob.id();
        self.seen.insert(path, id);
        if self.stored.insert(id) {
            self.copied.push(blob);
        }
        Ok(id)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ApiError {
    refuse(ErrorKind::of_named_file(error.kind()), format!("{} cannot be read: {error}. Nothing was submitted", path.display()))
}

fn refuse(kind: ErrorKind, message: String) -> ApiError {
    ApiError { kind, message }
}
