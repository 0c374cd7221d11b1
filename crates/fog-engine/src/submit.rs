//! From a job file and the files it names to blobs on disk. Runs outside the loop: copying and
//! hashing may take long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use fog_api::{ApiError, Command};
use fog_runtime::Checkpoint;
use fog_store::{BlobFile, Blobs};
use fog_types::job::{self, GridWish, JobFile, Map};
use fog_types::{BlobId, ByteCount, ErrorKind, HasKind};

/// A job whose files are copied and hashed, ready to be accepted.
pub(crate) struct Prepared {
    pub(crate) file: JobFile,
    pub(crate) blobs: Blobs,
    pub(crate) copied: Vec<BlobFile>,
    /// A sealed checkpoint that its one task goes on from.
    pub(crate) checkpoint: Option<tempfile::TempPath>,
    /// Whose it is, when it came from another device.
    pub(crate) owner: Option<String>,
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
    let module_size = std::fs::metadata(&module_path).map_err(|e| unreadable(&module_path, &e))?.len();
    if module_size > file.limits.module.0 {
        let message = format!("{} is {}; the job's limit for a module is {}", module_path.display(), ByteCount(module_size), file.limits.module);
        return Err(refuse(ErrorKind::LimitReached, message));
    }
    let mut magic = [0; 4];
    let has_magic = File::open(&module_path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut magic)).is_ok() && magic == *b"\0asm";
    if !has_magic {
        return Err(refuse(ErrorKind::BadInput, format!("{} is not a WebAssembly module; build the program for wasm32-wasip1", module_path.display())));
    }
    let module = copier.copy(&file.module)?;
    let stdin = file.stdin.as_deref().map(|path| copier.copy(path)).transpose()?;
    let inputs = file.inputs.iter().map(|(name, path)| Ok((name.clone(), copier.copy(path)?))).collect::<Result<_, ApiError>>()?;
    let items = match &file.map {
        Map::Inputs(list) => list.iter().map(|path| copier.copy(path)).collect::<Result<_, _>>()?,
        Map::One | Map::Range { .. } => Vec::new(),
    };
    let blobs = Blobs { module, stdin, inputs, items };
    Ok(Prepared { file, blobs, copied: copier.copied, checkpoint: None, owner: None, grid: None })
}

/// What submitting the file at `path` means: the text of a job file, made up for a module, with the
/// folder its paths are relative to; or a checkpoint that goes on here.
///
/// # Errors
/// When the file is too large for a job file or cannot be read.
pub fn submission(path: &Path) -> Result<Command, ApiError> {
    let job = |job_file, folder| Ok(Command::Submit { job_file, folder, grid: None, deadline_seconds: None });
    let folder = path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    if path.extension().is_some_and(|extension| extension == "wasm") {
        // A TOML string, so that any file name is read back as it is.
        let name = toml::Value::from(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        return job(format!("version = 1\nmodule = {name}\n"), folder);
    }
    if Checkpoint::is_at(path) {
        return Ok(Command::SubmitCheckpoint { path: path.to_string_lossy().into_owned() });
    }
    let size = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
    if size > job::MAX_FILE_BYTES as u64 {
        return Err(refuse(ErrorKind::BadInput, format!("{} is too large for a job file. Nothing was submitted", path.display())));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    let text = fog_types::decode_text(&bytes).map_err(|what| refuse(ErrorKind::BadInput, format!("{}: {what}. Nothing was submitted", path.display())))?;
    job(text, folder)
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
        let path = self.resolve(path);
        if let Some(id) = self.seen.get(&path) {
            return Ok(*id);
        }
        let file = File::open(&path).map_err(|e| unreadable(&path, &e))?;
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            return Err(refuse(ErrorKind::BadInput, format!("{} is not a file", path.display())));
        }
        let blob = BlobFile::copy(self.data_folder, file, self.cap).map_err(|e| refuse(e.kind(), format!("{}: {e}", path.display())))?;
        let id = blob.id();
        self.seen.insert(path, id);
        if self.stored.insert(id) {
            self.copied.push(blob);
        }
        Ok(id)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ApiError {
    refuse(ErrorKind::BadInput, format!("{} cannot be read: {error}. Nothing was submitted", path.display()))
}

fn refuse(kind: ErrorKind, message: String) -> ApiError {
    ApiError { kind, message }
}
