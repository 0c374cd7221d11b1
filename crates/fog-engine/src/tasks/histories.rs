//! Histories of tasks whose job asks for segments: for each mark the hash of the state and, as far as there
//! is room, the checkpoint.

use std::path::{Path, PathBuf};

use fog_api::{ApiError, HistoryView};
use fog_runtime::{Checkpoint, CheckpointHeader, CheckpointWriter, History, HistoryEnd, HistoryMark, Mark};
use fog_types::job::MAX_MARKS;
use fog_types::{ErrorKind, TaskId, on_disk};

use crate::cleanup;
use crate::disk_room::DiskRoom;
use crate::tasks::checkpoints::{self, CheckpointPlace, Parts};
use crate::tasks::errors::TaskError;

/// Folder of the history of a task.
pub(crate) fn history_path(data_folder: &Path, task: TaskId) -> PathBuf {
    folder(data_folder).join(format!("{}-{}", task.job.0, task.index))
}

/// Folder of all histories.
pub(crate) fn folder(data_folder: &Path) -> PathBuf {
    data_folder.join("histories")
}

/// Bytes that all histories take.
fn taken(data_folder: &Path) -> u64 {
    let folders = std::fs::read_dir(folder(data_folder)).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// Number of marks in the history of a task; 0 when there is no history.
pub(crate) fn marks(data_folder: &Path, task: TaskId) -> u32 {
    let folder = history_path(data_folder, task);
    if History::exists(&folder) {
        History::read(&folder).map_or(0, |history| history.marks.len() as u32)
    } else {
        0
    }
}

/// Writes the history of a running task.
pub(crate) struct Historian {
    data_folder: PathBuf,
    folder: PathBuf,
    room: DiskRoom,
    /// Most bytes that all histories may take.
    cap: u64,
    history: History,
    /// Mark whose checkpoint is still to come.
    pending: Option<u64>,
}

impl Historian {
    /// Opens or creates the history of this task. `None` when it is damaged: it is left as it is, and the
    /// task runs without one.
    pub(crate) async fn open(
        data_folder: PathBuf,
        room: DiskRoom,
        task: TaskId,
        header: CheckpointHeader,
        segment: u64,
        cap: u64,
    ) -> Option<Self> {
        let folder = history_path(&data_folder, task);
        let at = folder.clone();
        let opened = tokio::task::spawn_blocking(move || -> Result<History, String> {
            fog_store::make_private_folder(&at).map_err(|e| e.to_string())?;
            if !History::exists(&at) {
                let history = History::new(&header.module, &header.task_identity(), segment);
                return history.write(&at).map(|()| history).map_err(|e| e.to_string());
            }
            let history = History::read(&at).map_err(|e| e.to_string())?;
            let is_same = history.task == header.task_identity() && history.segment == segment;
            if is_same { Ok(history) } else { Err("it is of another task".to_owned()) }
        });
        match opened.await.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(history) => Some(Self { data_folder, folder, room, cap, history, pending: None }),
            Err(problem) => {
                tracing::warn!(%problem, folder = %folder.display(), "the history of a task is not kept");
                None
            }
        }
    }

    /// Writes the index, on a thread that may wait for the disk.
    async fn write(&self) {
        let (history, folder) = (self.history.clone(), self.folder.clone());
        let written = tokio::task::spawn_blocking(move || {
            // The folder exists, unless the data folder was replaced by another one.
            fog_store::make_private_folder(&folder).map_err(|e| e.to_string())?;
            history.write(&folder).map_err(|e| e.to_string())
        });
        if let Err(problem) = written.await.unwrap_or_else(|e| Err(e.to_string())) {
            tracing::warn!(%problem, "a history could not be written");
        }
    }

    /// Handles a mark of the worker, which is not trusted; its checkpoint follows. The mark is written
    /// first, so that every checkpoint on disk has its mark.
    pub(crate) async fn mark(&mut self, mark: Mark, stdout: &[u8]) -> Result<(), HistoryProblem> {
        let is_hash = mark.state.len() == 64 && mark.state.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash || mark.number == 0 || mark.number > MAX_MARKS {
            return Err(HistoryProblem::ProtocolViolation("what it sent is no mark".to_owned()));
        }
        let number = mark.number;
        let known = self.history.marks.len();
        let is_as_before = self
            .history
            .add(HistoryMark::new(mark, stdout))
            .map_err(|e| HistoryProblem::ProtocolViolation(e.to_string()))?;
        if !is_as_before {
            return Err(HistoryProblem::Differs(number));
        }
        if self.history.marks.len() > known {
            self.write().await;
        }
        self.pending = Some(number);
        Ok(())
    }

    /// Handles a checkpoint that was written or failed. The checkpoint of a mark is kept while there is
    /// room.
    pub(crate) async fn keep(&mut self, checkpoint: Option<&Path>) {
        // After a failure, the next checkpoint is of a later state.
        let (Some(number), Some(checkpoint)) = (self.pending.take(), checkpoint) else { return };
        let (from, to) = (checkpoint.to_owned(), History::checkpoint(&self.folder, number));
        let (data_folder, cap) = (self.data_folder.clone(), self.cap);
        let partial = to.with_extension("partial");
        let length = tokio::fs::metadata(&from).await.map_or(0, |file| file.len());
        let Ok(room) = self.room.ask(on_disk(length)).await.map(|room| room.of_file(partial.clone())) else {
            return;
        };
        let copied = tokio::task::spawn_blocking(move || {
            let is_ours = to.parent().is_some_and(|folder| fog_store::make_private_folder(folder).is_ok());
            let fits = is_ours
                && std::fs::metadata(&from)
                    .is_ok_and(|file| taken(&data_folder).saturating_add(file.len()) <= cap);
            if !fits || to.exists() {
                return Ok(());
            }
            std::fs::copy(&from, &partial).and_then(|_| std::fs::rename(&partial, &to))
        });
        let copied = copied.await;
        drop(room);
        match copied {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the checkpoint of a mark could not be kept"),
            Err(error) => tracing::error!(%error, "the checkpoint of a mark could not be kept"),
        }
    }

    /// Removes the history, which cannot be trusted.
    pub(crate) fn forget(&self) {
        cleanup::remove(&self.folder);
    }

    /// Notes the result of the task as the end of the history.
    pub(crate) async fn end(mut self, units: u64, result_hash: &str) {
        self.history.end = Some(HistoryEnd { units, result_hash: Some(result_hash.to_owned()) });
        self.write().await;
    }
}

/// Reason why a mark is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryProblem {
    /// The worker sent data that an honest one would not send.
    #[error("{0}")]
    ProtocolViolation(String),
    /// The same program reached another state from the same beginning, so the saved data cannot be trusted.
    #[error("at mark {0} its state is not what it was before; the memory of this device may be faulty")]
    Differs(u64),
}

/// Writes a history with program and inputs, unsealed, to the folder `to`.
pub(crate) fn export(
    data_folder: &Path,
    task: TaskId,
    place: &CheckpointPlace,
    parts: &Parts,
    to: &Path,
) -> Result<HistoryView, ApiError> {
    let folder = history_path(data_folder, task);
    if !History::exists(&folder) {
        return Err(TaskError::NoHistory { index: task.index, id: task.job }.into());
    }
    if History::exists(to) {
        return Err(TaskError::HistoryThere { path: to.to_owned() }.into());
    }
    let history = History::read(&folder).map_err(|e| ApiError::of(&e))?;
    std::fs::create_dir_all(to)
        .map_err(|e| ApiError::new(ErrorKind::Storage, format_args!("{}: {e}", to.display())))?;
    let files = parts.read()?;
    let mut checkpoints = 0;
    let mut checked = None;
    for (segment, HistoryMark { mark, .. }) in history.marks.iter().enumerate() {
        let from = History::checkpoint(&folder, mark.number);
        if !from.exists() {
            continue;
        }
        let (checkpoint, _) = Checkpoint::read(&from, place.key.as_ref()).map_err(|e| ApiError::of(&e))?;
        if checkpoints == 0 {
            checkpoints::check(&checkpoint.header, &files, parts)?;
        }
        let generation =
            checkpoint.into_generation(Some(files.clone())).map_err(|e| ApiError::new(ErrorKind::Bug, e))?;
        let path = History::checkpoint(to, mark.number);
        CheckpointWriter::new(path, None).write(&generation, true).map_err(|e| ApiError::of(&e))?;
        checkpoints += 1;
        // The segment after a mark begins with the mark's checkpoint.
        checked = (segment + 1 < history.segments()).then_some(segment as u32 + 1).or(checked);
    }
    history.write(to).map_err(|e| ApiError::of(&e))?;
    let ended = history.end.is_some();
    Ok(HistoryView {
        index: task.index,
        segment: history.segment,
        marks: history.marks.len() as u32,
        checkpoints,
        ended,
        checked,
    })
}
