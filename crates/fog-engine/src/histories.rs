//! Histories of tasks whose job asks for segments: at each mark the hash of the state and, as far as
//! there is room, the checkpoint.

use std::path::{Path, PathBuf};

use fog_api::{ApiError, HistoryView};
use fog_runtime::{Checkpoint, CheckpointWriter, History, HistoryEnd, Mark, WorkerError};
use fog_types::job::MAX_MARKS;
use fog_types::{ErrorKind, HasKind, JobId, TaskId};

use crate::checkpoints::{CheckpointPlace, Parts};

/// Where the history of a task lies.
pub(crate) fn history_path(data_folder: &Path, task: TaskId) -> PathBuf {
    all(data_folder).join(format!("{}-{}", task.job.0, task.index))
}

fn all(data_folder: &Path) -> PathBuf {
    data_folder.join("histories")
}

/// Bytes that all histories take.
fn taken(data_folder: &Path) -> u64 {
    let folders = std::fs::read_dir(all(data_folder)).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// Removes the histories of jobs that are gone.
pub(crate) fn sweep(data_folder: &Path, is_known: impl Fn(JobId) -> bool) {
    for folder in std::fs::read_dir(all(data_folder)).into_iter().flatten().flatten() {
        let name = folder.file_name();
        let job = name.to_str().and_then(|name| name.split_once('-')).and_then(|(job, _)| job.parse().ok());
        if job.is_some_and(|job| !is_known(JobId(job)))
            && let Err(error) = std::fs::remove_dir_all(folder.path())
        {
            tracing::warn!(%error, folder = %folder.path().display(), "a history cannot be removed");
        }
    }
}

/// Marks that the history of a task holds; none when there is no history.
pub(crate) fn marks(data_folder: &Path, task: TaskId) -> u32 {
    let folder = history_path(data_folder, task);
    if History::exists(&folder) { History::read(&folder).map_or(0, |history| history.marks.len() as u32) } else { 0 }
}

/// Writes the history of a running task.
pub(crate) struct Historian {
    data_folder: PathBuf,
    folder: PathBuf,
    /// Most bytes that all histories may take.
    cap: u64,
    history: History,
    /// A mark whose checkpoint is on its way.
    pending: Option<Mark>,
}

impl Historian {
    /// Goes on with what is there of this task.
    pub(crate) fn open(data_folder: &Path, task: TaskId, module: &str, segment: u64, cap: u64) -> Result<Self, WorkerError> {
        let folder = history_path(data_folder, task);
        let failed = |error: &dyn std::fmt::Display| WorkerError::Nonsense { message: format!("its history cannot be kept: {error}") };
        std::fs::create_dir_all(&folder).map_err(|e| failed(&e))?;
        let known = History::read(&folder).ok().filter(|history| (history.module.as_str(), history.segment) == (module, segment));
        let history = known.unwrap_or_else(|| History::new(module, segment));
        history.write(&folder).map_err(|e| failed(&e))?;
        Ok(Self { data_folder: data_folder.to_owned(), folder, cap, history, pending: None })
    }

    /// The worker, which may have been taken over, came to a mark; its checkpoint follows.
    pub(crate) fn mark(&mut self, mark: Mark) -> Result<(), WorkerError> {
        let is_hash = mark.state.len() == 64 && mark.state.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash || mark.number == 0 || mark.number > MAX_MARKS {
            return Err(WorkerError::Nonsense { message: "what it sent is no mark".to_owned() });
        }
        self.pending = Some(mark);
        Ok(())
    }

    /// A checkpoint is complete, and on disk if `saved`: the mark that waits for it is added.
    pub(crate) async fn keep(&mut self, checkpoint: &Path, saved: bool) -> Result<(), WorkerError> {
        let Some(mark) = self.pending.take() else { return Ok(()) };
        let number = mark.number;
        let nonsense = |message: String| WorkerError::Nonsense { message };
        if !self.history.add(mark).map_err(|e| nonsense(e.to_string()))? {
            // The same program from the same state came elsewhere: this device cannot be trusted with it.
            return Err(nonsense(format!("at mark {number} its state is not what it was before; the memory of this device may be faulty")));
        }
        let (from, to) = (checkpoint.to_owned(), History::checkpoint(&self.folder, number));
        let (data_folder, folder, cap, history) = (self.data_folder.clone(), self.folder.clone(), self.cap, self.history.clone());
        let written = tokio::task::spawn_blocking(move || {
            let fits = std::fs::metadata(&from).is_ok_and(|file| taken(&data_folder).saturating_add(file.len()) <= cap);
            if saved && fits && !to.exists() {
                let partial = to.with_extension("partial");
                std::fs::copy(&from, &partial).and_then(|_| std::fs::rename(&partial, &to)).map_err(|e| e.to_string())?;
            }
            history.write(&folder).map_err(|e| e.to_string())
        });
        match written.await {
            Ok(Ok(())) => {}
            // The work is worth more than its history.
            Ok(Err(problem)) => tracing::warn!(%problem, "a mark could not be written"),
            Err(error) => tracing::error!(%error, "a mark could not be written"),
        }
        Ok(())
    }

    /// The task has its result.
    pub(crate) fn end(mut self, units: u64, result_hash: &str) {
        self.history.end = Some(HistoryEnd { units, result_hash: Some(result_hash.to_owned()) });
        if let Err(error) = self.history.write(&self.folder) {
            tracing::warn!(%error, "the end of a history could not be written");
        }
    }
}

/// Writes a history to `to` with its program and inputs, unsealed.
pub(crate) fn export(data_folder: &Path, task: TaskId, place: &CheckpointPlace, parts: &Parts, to: &Path) -> Result<HistoryView, ApiError> {
    let api = |kind, message: String| ApiError { kind, message };
    let folder = history_path(data_folder, task);
    if !History::exists(&folder) {
        let message = format!("task {} of job {} keeps no history; set 'segment' in the job file", task.index, task.job);
        return Err(api(ErrorKind::NotFound, message));
    }
    if History::exists(to) {
        return Err(api(ErrorKind::BadInput, format!("{} already holds a history; choose another folder", to.display())));
    }
    let history = History::read(&folder).map_err(|e| api(e.kind(), e.to_string()))?;
    std::fs::create_dir_all(to).map_err(|e| api(ErrorKind::Storage, format!("{}: {e}", to.display())))?;
    let files = parts.read()?;
    let mut checkpoints = 0;
    for mark in &history.marks {
        let from = History::checkpoint(&folder, mark.number);
        if !from.exists() {
            continue;
        }
        let (checkpoint, _) = Checkpoint::read(&from, place.key.as_ref()).map_err(|e| api(e.kind(), e.to_string()))?;
        let generation = checkpoint.into_generation(Some(files.clone())).map_err(|e| api(ErrorKind::Bug, e))?;
        let path = History::checkpoint(to, mark.number);
        CheckpointWriter::new(path, None).write(&generation, true).map_err(|e| api(e.kind(), e.to_string()))?;
        checkpoints += 1;
    }
    history.write(to).map_err(|e| api(e.kind(), e.to_string()))?;
    let ended = history.end.is_some();
    Ok(HistoryView { index: task.index, segment: history.segment, marks: history.marks.len() as u32, checkpoints, ended })
}
