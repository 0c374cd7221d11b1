//! Where compiled modules and checkpoints of tasks lie, and how they get there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fog_api::ApiError;
use fog_runtime::{Checkpoint, CheckpointFiles, CheckpointHeader, CheckpointWriter, EngineKind, Generation, Key, SavedState, TaskSpec, Worker, WorkerError};
use fog_types::{ErrorKind, HasKind, TaskId};
use tokio::sync::oneshot;

/// Where a compiled module is cached: by the hash of the original, the build and the engine.
#[must_use]
pub fn artifact_path(data_folder: &Path, module: &str, engine: EngineKind) -> PathBuf {
    data_folder.join("compiled").join(format!("{module}-{}-{}.cwasm", env!("CARGO_PKG_VERSION"), engine.as_str()))
}

/// Where the checkpoint of a task lies.
pub(crate) fn checkpoint_path(data_folder: &Path, task: TaskId) -> PathBuf {
    data_folder.join("checkpoints").join(format!("{}-{}.fog", task.job.0, task.index))
}

/// Somebody who waits for a checkpoint: its units, or why there is none.
pub(crate) type SaveWish = oneshot::Sender<Result<u64, String>>;

/// Where the checkpoint of one task lies and what it is of.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointPlace {
    pub(crate) path: PathBuf,
    pub(crate) key: Option<Key>,
    /// Hash of the original module.
    pub(crate) module: blake3::Hash,
    /// Inputs with their hashes, in the task's order.
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) stdin: Option<String>,
    pub(crate) every: Duration,
    /// Most bytes a checkpoint may take on disk.
    pub(crate) cap: u64,
}

impl CheckpointPlace {
    /// The checkpoint to continue from, if there is one and it is of this very task.
    pub(crate) async fn load(&self, spec: &TaskSpec) -> Option<Checkpoint> {
        let (path, key) = (self.path.clone(), self.key);
        let read = tokio::task::spawn_blocking(move || if path.exists() { Some(Checkpoint::read(&path, key.as_ref())) } else { None }).await.ok()??;
        let checkpoint = match read {
            Ok((checkpoint, None)) => checkpoint,
            Ok((checkpoint, Some(problem))) => {
                tracing::warn!(%problem, "continuing from the checkpoint before it");
                checkpoint
            }
            Err(error) => {
                tracing::warn!(%error, "the task begins anew");
                return None;
            }
        };
        let header = &checkpoint.header;
        let is_same = header.module == self.module.to_hex().as_str()
            && (&header.inputs, &header.stdin) == (&self.inputs, &self.stdin)
            && (&header.args, &header.env, header.seed, &header.limits) == (&spec.args, &spec.env, spec.seed, &spec.limits);
        is_same.then_some(checkpoint)
    }
}

/// Writes the checkpoints of a running task.
pub(crate) struct Saver<'a> {
    place: &'a CheckpointPlace,
    spec: &'a TaskSpec,
    /// Away while it writes.
    writer: Option<CheckpointWriter>,
    pieces: Vec<u8>,
    pub(crate) waiting: Vec<SaveWish>,
    /// Units of the newest checkpoint.
    pub(crate) units: u64,
    pub(crate) is_frozen: bool,
}

impl<'a> Saver<'a> {
    pub(crate) fn new(place: &'a CheckpointPlace, spec: &'a TaskSpec) -> Self {
        let writer = Some(CheckpointWriter::new(place.path.clone(), place.key));
        Self { place, spec, writer, pieces: Vec::new(), waiting: Vec::new(), units: 0, is_frozen: false }
    }

    pub(crate) fn every(&self) -> Duration {
        self.place.every
    }

    /// Asks the worker for a checkpoint.
    pub(crate) fn ask(&self, worker: &Worker) {
        worker.save(self.writer.as_ref().is_none_or(CheckpointWriter::wants_whole));
    }

    /// A piece of a checkpoint from a worker that may have been taken over.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), WorkerError> {
        let limits = &self.spec.limits;
        // Compressed memory and files, with room for frames and what does not compress.
        let most = (limits.memory.0 + limits.disk.0).saturating_mul(2).saturating_add(128 << 20);
        if (self.pieces.len() + piece.len()) as u64 > most {
            return Err(WorkerError::Nonsense { message: "a checkpoint larger than all it may hold".to_owned() });
        }
        self.pieces.extend_from_slice(piece);
        Ok(())
    }

    /// A checkpoint is complete; its units once it is on disk.
    pub(crate) async fn keep(&mut self, saved: Result<SavedState, String>, stdout: &[u8], stderr: &[u8]) -> Option<u64> {
        let state = std::mem::take(&mut self.pieces);
        let result = match saved {
            Ok(saved) => self.write(saved, state, stdout.to_vec(), stderr.to_vec()).await,
            Err(reason) => Err(reason),
        };
        if let Err(problem) = &result {
            tracing::debug!(%problem, "no checkpoint");
        }
        for wish in self.waiting.drain(..) {
            // Who asked may have stopped waiting.
            let _ = wish.send(result.clone());
        }
        self.units = result.ok()?;
        Some(self.units)
    }

    async fn write(&mut self, saved: SavedState, state: Vec<u8>, stdout: Vec<u8>, stderr: Vec<u8>) -> Result<u64, String> {
        let Some(mut writer) = self.writer.take() else { return Err("the last checkpoint was not written to its end".to_owned()) };
        let before = if saved.whole { 0 } else { writer.length() };
        if before + state.len() as u64 > self.place.cap {
            // What is there stays; the next one begins a file of its own.
            self.writer = Some(CheckpointWriter::new(self.place.path.clone(), self.place.key));
            return Err("it would take more room than the storage setting allows".to_owned());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let place = self.place.clone();
        let header = CheckpointHeader::new(self.spec, place.module, place.inputs, place.stdin, &saved, i64::try_from(now).unwrap_or(i64::MAX));
        let generation = Generation { header, stdout, stderr, state, files: None };
        let write = move || {
            let result = match place.path.parent().map(std::fs::create_dir_all) {
                Some(Err(error)) => Err(error.to_string()),
                _ => writer.write(&generation, saved.whole).map_err(|e| e.to_string()),
            };
            (writer, result)
        };
        let (writer, result) = tokio::task::spawn_blocking(write).await.map_err(|e| e.to_string())?;
        self.writer = Some(writer);
        result.map(|()| saved.units)
    }
}

/// What an exported checkpoint takes along, by paths in the blob store.
pub(crate) struct Parts {
    pub(crate) module: PathBuf,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) stdin: Option<PathBuf>,
}

/// Writes the checkpoint at `place` with its program and inputs, unsealed, to `path`.
pub(crate) fn export(place: &CheckpointPlace, parts: &Parts, path: &Path) -> Result<(u64, i64), ApiError> {
    let api = |kind, message: String| ApiError { kind, message };
    if !place.path.exists() {
        return Err(api(ErrorKind::NotFound, "the task has no checkpoint yet".to_owned()));
    }
    let (checkpoint, _) = Checkpoint::read(&place.path, place.key.as_ref()).map_err(|e| api(e.kind(), e.to_string()))?;
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| api(ErrorKind::Storage, format!("{}: {e}", path.display())));
    let files = CheckpointFiles {
        module: read(&parts.module)?,
        inputs: parts.inputs.iter().map(read).collect::<Result<_, _>>()?,
        stdin: parts.stdin.as_ref().map(read).transpose()?,
    };
    let generation = checkpoint.into_generation(Some(files)).map_err(|e| api(ErrorKind::Bug, e))?;
    CheckpointWriter::new(path.to_owned(), None).write(&generation, true).map_err(|e| api(e.kind(), e.to_string()))?;
    Ok((generation.header.units, generation.header.taken_ms))
}
