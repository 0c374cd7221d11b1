//! Paths of compiled modules and of checkpoints, and the writing of checkpoints.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fog_api::ApiError;
use fog_runtime::{
    Checkpoint, CheckpointFiles, CheckpointHeader, CheckpointWriter, EngineKind, Generation, Key,
    REWRITING_VERSION, SavedState, Snapshot, TaskSpec, Worker, WorkerError,
};
use fog_store::Reservation;
use fog_types::{ErrorKind, TaskId, on_disk};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::disk_room::DiskRoom;
use crate::tasks::errors::TaskError;

/// Prefix of the names of files whose job is not accepted yet.
pub(crate) const ARRIVED: &str = "arrived-";
/// Bytes of a checkpoint for which room is requested at once.
const ROOM_AHEAD: u64 = 4 << 20;
const TOO_LARGE: &str = "it would take more room than the storage setting and disk_free_min leave; raise storage_cap, lower disk_free_min, or remove finished jobs";

/// Path of a cached compiled module: named by the hash of the original, the build and the engine.
#[must_use]
pub fn artifact_path(data_folder: &Path, module: &str, engine: EngineKind) -> PathBuf {
    data_folder.join("compiled").join(format!(
        "{module}-{}-{REWRITING_VERSION}-{}.cwasm",
        env!("CARGO_PKG_VERSION"),
        engine.as_str()
    ))
}

/// Folder of all checkpoints.
pub(crate) fn folder(data_folder: &Path) -> PathBuf {
    data_folder.join("checkpoints")
}

/// Path of the checkpoint of a task.
pub(crate) fn checkpoint_path(data_folder: &Path, task: TaskId) -> PathBuf {
    folder(data_folder).join(format!("{}-{}.fog", task.job.0, task.index))
}

/// A request for a checkpoint. The answer is its units, or the reason why there is none.
pub(crate) type SaveRequest = oneshot::Sender<Result<u64, String>>;

/// Path of one task's checkpoint, and the data that a checkpoint must match.
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
    /// Most bytes that a checkpoint may take on disk.
    pub(crate) cap: u64,
    /// Handle for requesting room for a checkpoint.
    pub(crate) room: DiskRoom,
}

impl CheckpointPlace {
    /// Reads the checkpoint to continue from, if there is one and it is of this very task.
    pub(crate) async fn load(&self, spec: &TaskSpec) -> Option<Checkpoint> {
        let (path, key) = (self.path.clone(), self.key);
        let read = tokio::task::spawn_blocking(move || {
            if path.exists() { Some(Checkpoint::read(&path, key.as_ref())) } else { None }
        })
        .await
        .ok()??;
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
        let is_same = checkpoint.header.task_identity() == self.header(spec).task_identity();
        if !is_same {
            tracing::warn!(path = %self.path.display(), "a checkpoint that is not of this task is left alone; the task begins anew");
        }
        is_same.then_some(checkpoint)
    }

    pub(crate) fn header(&self, spec: &TaskSpec) -> CheckpointHeader {
        CheckpointHeader::new(spec, self.module, self.inputs.clone(), self.stdin.clone())
    }
}

/// Writes the checkpoints of a running task, piece by piece as its worker sends them.
pub(crate) struct Saver<'a> {
    place: &'a CheckpointPlace,
    spec: &'a TaskSpec,
    writing: Writing,
    /// Room of the checkpoint that is being written.
    held: Option<Reservation>,
    /// Reason why the last checkpoint had no room.
    pub(crate) problem: Option<String>,
    /// Whether the last checkpoint was a part that had no room; a whole one may have.
    pub(crate) may_retry: bool,
    pub(crate) waiting: Vec<SaveRequest>,
    /// Units of the newest checkpoint.
    pub(crate) units: u64,
    pub(crate) is_frozen: bool,
}

enum Writing {
    /// No checkpoint is coming in.
    Idle(CheckpointWriter),
    /// A thread writes the pieces that it receives. The file had `before` bytes at the beginning and has
    /// `bytes` with them.
    Busy { to: mpsc::Sender<Piece>, thread: JoinHandle<Written>, before: u64, bytes: u64 },
    /// The incoming checkpoint is discarded for this reason.
    Refused(CheckpointWriter, String),
    /// The writing thread is gone.
    Broken,
}

enum Piece {
    State(Vec<u8>),
    Last(Box<Generation>),
}

type Written = (CheckpointWriter, Result<(), String>);

fn write_pieces(
    mut writer: CheckpointWriter,
    whole: bool,
    mut pieces: mpsc::Receiver<Piece>,
    path: &Path,
) -> Written {
    let mut write = || {
        // Another engine may use the old path of a folder that was moved.
        let now = fog_store::path_now(path).map_err(|e| e.to_string())?;
        if now == path {
            if let Some(folder) = path.parent() {
                fog_store::make_private_folder(folder).map_err(|e| e.to_string())?;
            }
        } else {
            writer.moved_to(now);
        }
        writer.start(whole).map_err(|e| e.to_string())?;
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::State(state) => writer.piece(&state).map_err(|e| e.to_string())?,
                Piece::Last(generation) => return writer.finish(&generation).map_err(|e| e.to_string()),
            }
        }
        Err("the worker did not send all of it".to_owned())
    };
    let result = write();
    writer.abandon();
    (writer, result)
}

impl<'a> Saver<'a> {
    pub(crate) fn new(place: &'a CheckpointPlace, spec: &'a TaskSpec) -> Self {
        let writing = Writing::Idle(CheckpointWriter::new(place.path.clone(), place.key));
        Self {
            place,
            spec,
            writing,
            held: None,
            problem: None,
            may_retry: false,
            waiting: Vec::new(),
            units: 0,
            is_frozen: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    pub(crate) fn every(&self) -> Duration {
        self.place.every
    }

    /// Asks the worker for a checkpoint.
    pub(crate) fn ask(&self, worker: &Worker) {
        let whole = match &self.writing {
            // A part may be as large as all of the state.
            Writing::Idle(writer) => {
                writer.wants_whole() || writer.length().saturating_mul(2) > self.place.cap
            }
            // If the incoming checkpoint fails, only a whole one can follow it.
            _ => true,
        };
        worker.save(whole);
    }

    /// Takes a piece of a checkpoint from a worker, which is not trusted.
    pub(crate) async fn take(&mut self, piece: Vec<u8>) -> Result<(), WorkerError> {
        self.writing = match std::mem::replace(&mut self.writing, Writing::Broken) {
            Writing::Idle(writer) => self.begin(writer, piece).await?,
            Writing::Busy { to, thread, before, bytes } => {
                let bytes = bytes + piece.len() as u64;
                if bytes - before > self.spec.limits.state_size().0 {
                    drop(to);
                    let _ = thread.await;
                    return Err(WorkerError::ProtocolViolation {
                        message: "a checkpoint larger than all it may hold".to_owned(),
                    });
                }
                if bytes > self.place.cap || !self.take_room(bytes - before).await {
                    drop(to);
                    let _ = thread.await;
                    self.may_retry = before > 0;
                    self.writing = self.refused();
                    return Ok(());
                }
                // A stopped thread returns its reason when its result is asked for.
                let _ = to.send(Piece::State(piece)).await;
                Writing::Busy { to, thread, before, bytes }
            }
            other => other,
        };
        Ok(())
    }

    async fn begin(&mut self, writer: CheckpointWriter, piece: Vec<u8>) -> Result<Writing, WorkerError> {
        let Some(whole) = Snapshot::begins_whole(&piece) else {
            return Err(WorkerError::ProtocolViolation {
                message: "what it sent is no checkpoint".to_owned(),
            });
        };
        let before = if whole { 0 } else { writer.length() };
        let bytes = before + piece.len() as u64;
        // A whole checkpoint is written beside the last one; a part makes that one grow.
        let room = self.place.room.none();
        self.held = Some(if whole {
            room.of_file(self.place.path.with_extension("fog.partial"))
        } else {
            room.lingering()
        });
        if bytes > self.place.cap || !self.take_room(piece.len() as u64).await {
            self.may_retry = !whole;
            return Ok(self.refused());
        }
        let (to, pieces) = mpsc::channel(4);
        let path = self.place.path.clone();
        let thread = tokio::task::spawn_blocking(move || write_pieces(writer, whole, pieces, &path));
        let _ = to.send(Piece::State(piece)).await;
        Ok(Writing::Busy { to, thread, before, bytes })
    }

    /// Requests room for `bytes` of the checkpoint that is being written; returns whether there is room.
    async fn take_room(&mut self, bytes: u64) -> bool {
        let Some(held) = &mut self.held else { return false };
        let mut found = self.place.room.extend(held, on_disk(bytes), ROOM_AHEAD).await;
        if found.is_err()
            && let Some(size) = Checkpoint::remove_previous(&self.place.path)
        {
            self.place.room.note_freed(on_disk(size));
            found = self.place.room.extend(held, on_disk(bytes), 0).await;
        }
        if let Err(error) = &found {
            tracing::debug!(%error, "no room for a checkpoint");
        }
        found.is_ok()
    }

    /// Keeps the file as it is. A later part would lack the refused one, so the next checkpoint is whole.
    fn refused(&mut self) -> Writing {
        self.held = None;
        self.problem = Some(TOO_LARGE.to_owned());
        Writing::Refused(CheckpointWriter::new(self.place.path.clone(), self.place.key), TOO_LARGE.to_owned())
    }

    /// Completes a checkpoint. Returns its units once it is on disk.
    pub(crate) async fn keep(
        &mut self,
        saved: Result<SavedState, String>,
        stdout: &[u8],
        stderr: &[u8],
    ) -> Option<u64> {
        let result = self.finish(saved, stdout, stderr).await;
        // The file counts with its own size from the next measurement on.
        self.held = None;
        if let Err(problem) = &result {
            tracing::debug!(%problem, "no checkpoint");
        }
        for wish in self.waiting.drain(..) {
            // The requester may have stopped waiting.
            let _ = wish.send(result.clone());
        }
        self.units = result.ok()?;
        Some(self.units)
    }

    /// Waits for the thread of a checkpoint that will not be completed, so that its clean-up is done before
    /// the next one begins.
    pub(crate) async fn settle(self) {
        if let Writing::Busy { to, thread, .. } = self.writing {
            drop(to);
            let _ = thread.await;
        }
    }

    async fn finish(
        &mut self,
        saved: Result<SavedState, String>,
        stdout: &[u8],
        stderr: &[u8],
    ) -> Result<u64, String> {
        match std::mem::replace(&mut self.writing, Writing::Broken) {
            Writing::Busy { to, thread, .. } => {
                let last = saved
                    .map(|saved| (saved.units, Piece::Last(Box::new(self.rest(&saved, stdout, stderr)))));
                let units = last.as_ref().map(|(units, _)| *units).map_err(Clone::clone);
                if let Ok((_, last)) = last {
                    // A stopped thread returns its reason below.
                    let _ = to.send(last).await;
                }
                drop(to);
                let (writer, result) = thread.await.map_err(|e| e.to_string())?;
                self.writing = Writing::Idle(writer);
                units.and_then(|units| result.map(|()| units))
            }
            Writing::Idle(writer) => {
                self.writing = Writing::Idle(writer);
                Err(saved.err().unwrap_or_else(|| "the worker sent nothing".to_owned()))
            }
            Writing::Refused(writer, why) => {
                self.writing = Writing::Idle(writer);
                Err(why)
            }
            Writing::Broken => Err("the last checkpoint was not written to its end".to_owned()),
        }
    }

    fn rest(&self, saved: &SavedState, stdout: &[u8], stderr: &[u8]) -> Generation {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let header = self.place.header(self.spec).saved(saved, i64::try_from(now).unwrap_or(i64::MAX));
        Generation {
            header,
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
            state: Vec::new(),
            files: None,
        }
    }
}

/// Files that an exported checkpoint includes, by their paths in the blob store.
pub(crate) struct Parts {
    pub(crate) module: PathBuf,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) stdin: Option<PathBuf>,
}

impl Parts {
    pub(crate) fn read(&self) -> Result<CheckpointFiles, ApiError> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|e| ApiError::new(ErrorKind::Storage, format_args!("{}: {e}", path.display())))
        };
        Ok(CheckpointFiles {
            module: read(&self.module)?,
            inputs: self.inputs.iter().map(read).collect::<Result<_, _>>()?,
            stdin: self.stdin.as_ref().map(read).transpose()?,
        })
    }
}

/// Compares files with their hashes in the checkpoint that will include them.
pub(crate) fn check(
    header: &CheckpointHeader,
    files: &CheckpointFiles,
    parts: &Parts,
) -> Result<(), ApiError> {
    let module = (&header.module, &files.module, &parts.module);
    let inputs = header
        .inputs
        .iter()
        .map(|(_, hash)| hash)
        .zip(&files.inputs)
        .zip(&parts.inputs)
        .map(|((hash, bytes), path)| (hash, bytes, path));
    let stdin = header
        .stdin
        .iter()
        .zip(&files.stdin)
        .zip(&parts.stdin)
        .map(|((hash, bytes), path)| (hash, bytes, path));
    for (hash, bytes, path) in std::iter::once(module).chain(inputs).chain(stdin) {
        if blake3::hash(bytes).to_hex().as_str() != hash {
            return Err(crate::query::to_api(fog_store::StoreError::Changed { path: path.clone() }));
        }
    }
    Ok(())
}

/// Writes the checkpoint at `place` with its program and inputs, unsealed, to `path`. Returns its units and
/// the time it was taken.
pub(crate) fn export(place: &CheckpointPlace, parts: &Parts, path: &Path) -> Result<(u64, i64), ApiError> {
    if !place.path.exists() {
        return Err(TaskError::NoCheckpoint.into());
    }
    let (checkpoint, _) = Checkpoint::read(&place.path, place.key.as_ref()).map_err(|e| ApiError::of(&e))?;
    let files = parts.read()?;
    check(&checkpoint.header, &files, parts)?;
    let generation = checkpoint.into_generation(Some(files)).map_err(|e| ApiError::new(ErrorKind::Bug, e))?;
    let to = fog_runtime::replaceable(path)
        .map_err(|e| TaskError::UnfitPath { path: path.to_owned(), why: e.to_string() })?;
    CheckpointWriter::new(to, None).write(&generation, true).map_err(|e| ApiError::of(&e))?;
    Ok((generation.header.units, generation.header.taken_ms))
}
