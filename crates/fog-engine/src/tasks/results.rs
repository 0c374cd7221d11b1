//! Results of jobs: showing, reading in pieces, assembling and exporting them. Everything except logs runs
//! beside the loop, because a job may have a hundred thousand tasks.

use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use fog_api::{ApiError, Reply, ResultPart, ResultPosition};
use fog_runtime::OutputFolder;
use fog_store::{Output, Store, StoreError, TaskRow};
use fog_types::job::Assemble;
use fog_types::path::ResultNames;
use fog_types::text::counted;
use fog_types::{BlobId, ErrorKind, JobId, TaskId, TaskState};

use crate::query::to_api;
use crate::tasks::assemble;
use crate::tasks::errors::TaskError;
use crate::tasks::stored_files::Stored;

/// Largest file in bytes that is returned whole; larger ones are read in pieces or exported. It is smaller
/// in tests, where such noise would take minutes.
const MAX_WHOLE_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 16 << 20 };
/// Most bytes of a log that are returned as text: six times as many, in JSON, still fit into a reply.
const MAX_LOG_BYTES: u64 = 4 << 20;
/// Most bytes of one piece.
const MAX_PIECE_BYTES: u32 = 8 << 20;
/// Most tasks that are looked through for one piece.
const TASKS_PER_PIECE: u32 = 1_000;

/// Files to concatenate, or pictures to assemble.
pub(crate) enum Found {
    Parts(Vec<Stored>),
    Tiles { found: Vec<(u32, Stored)>, columns: u32, total: u32 },
}

impl Found {
    /// Reads everything into memory if it fits into a reply.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::Parts(parts) => {
                let size = parts.iter().map(Stored::size).sum::<Result<u64, _>>()?;
                if size > MAX_WHOLE_BYTES {
                    return Err(TaskError::TooLargeToShow.into());
                }
                let mut all = Vec::new();
                for part in parts {
                    part.copy_to(&mut all)?;
                }
                Ok(all)
            }
            Self::Tiles { found, columns, total } => {
                let bytes = assemble::tiles(&found, Stored::open, columns, total)?;
                if bytes.len() as u64 > MAX_WHOLE_BYTES {
                    Err(TaskError::TooLargeToShow.into())
                } else {
                    Ok(bytes)
                }
            }
        }
    }

    /// Writes everything to a file, whatever its size.
    fn write_to(self, to: &mut impl Write) -> Result<(), ApiError> {
        match self {
            Self::Parts(parts) => parts.iter().try_for_each(|part| part.copy_to(to)),
            Self::Tiles { found, columns, total } => {
                let picture = assemble::tiles(&found, Stored::open, columns, total)?;
                to.write_all(&picture).map_err(|e| ApiError::new(ErrorKind::Storage, e))
            }
        }
    }
}

fn log_of(task: &TaskRow, stderr: bool) -> Result<(BlobId, u64), ApiError> {
    let (blob, dropped) =
        if stderr { (task.stderr, task.stderr_dropped) } else { (task.stdout, task.stdout_dropped) };
    blob.map(|blob| (blob, dropped)).ok_or_else(|| TaskError::TaskNotEnded.into())
}

/// Returns a log as text for a window; missing parts are noted at its end.
pub(crate) fn log(store: &Store, id: TaskId, stderr: bool) -> Result<Reply, ApiError> {
    let (blob, dropped) = log_of(&store.task(id).map_err(to_api)?, stderr)?;
    let stored = Stored::find(store, blob)?;
    let size = stored.size()?;
    let mut bytes = Vec::new();
    stored.piece(0, size.min(MAX_LOG_BYTES), &mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if size > bytes.len() as u64 {
        let more = counted(size - bytes.len() as u64, "more byte is", "more bytes are");
        text.push_str(&format!("\n[{more} not shown; save the results to a folder to see all]\n"));
    }
    if dropped > 0 {
        let bytes = counted(dropped, "more byte was", "more bytes were");
        text.push_str(&format!("\n[{bytes} dropped at the job's log limit]\n"));
    }
    Ok(Reply::Text(text))
}

fn file_of(store: &Store, id: TaskId, path: &str) -> Result<Output, ApiError> {
    store.output(id, path).map_err(to_api)?.ok_or_else(|| TaskError::NoSuchFile.into())
}

/// Finds one output of a task or, without an index, the assembled result so far.
pub(crate) fn output(store: &Store, id: JobId, index: Option<u32>, path: &str) -> Result<Found, ApiError> {
    match index {
        Some(index) => Ok(Found::Parts(vec![Stored::find(
            store,
            file_of(store, TaskId { job: id, index }, path)?.blob,
        )?])),
        None => assembled(store, id),
    }
}

fn assembled(store: &Store, id: JobId) -> Result<Found, ApiError> {
    let job = store.job(id).map_err(to_api)?;
    let tasks = store.tasks(id, 0, u32::MAX).map_err(to_api)?;
    let finished = tasks.iter().filter(|task| task.state == TaskState::Finished);
    match job.file.assemble {
        Assemble::Separate => Err(TaskError::ResultsApart { id }.into()),
        Assemble::Concat => Ok(Found::Parts(
            finished
                .filter_map(|task| task.stdout)
                .map(|blob| Stored::find(store, blob))
                .collect::<Result<_, _>>()?,
        )),
        Assemble::Tiles { columns } => {
            let mut found = Vec::new();
            for task in finished {
                let outputs = store.outputs(task.id).map_err(to_api)?;
                if let Some(tile) = outputs.iter().find(|output| output.path.ends_with("tile.png")) {
                    found.push((task.id.index, Stored::find(store, tile.blob)?));
                }
            }
            if found.is_empty() {
                return Err(TaskError::NoTileYet.into());
            }
            Ok(Found::Tiles { found, columns, total: job.tasks_total })
        }
    }
}

/// Files and ranges from which a piece of a result is read.
pub(crate) struct Piece {
    reads: Vec<(Stored, u64, u64)>,
    next: Option<ResultPosition>,
    dropped: u64,
}

/// Looks up a piece of a result.
pub(crate) fn piece(
    store: &Store,
    id: JobId,
    part: &ResultPart,
    from: ResultPosition,
    limit: u32,
) -> Result<Piece, ApiError> {
    let limit = u64::from(limit.clamp(1, MAX_PIECE_BYTES));
    let task = |index: &u32| TaskId { job: id, index: *index };
    let log = |index, stderr| log_of(&store.task(task(index)).map_err(to_api)?, stderr);
    let (blob, dropped) = match part {
        ResultPart::Stdout { index } => log(index, false)?,
        ResultPart::Stderr { index } => log(index, true)?,
        ResultPart::File { index, path } => (file_of(store, task(index), path)?.blob, 0),
        ResultPart::Assembled => return assembled_piece(store, id, from, limit),
    };
    let stored = Stored::find(store, blob)?;
    let size = stored.size()?;
    let length = size.saturating_sub(from.offset).min(limit);
    let end = from.offset.saturating_add(length);
    let next = (end < size).then_some(ResultPosition { task: 0, offset: end });
    Ok(Piece {
        reads: vec![(stored, from.offset, length)],
        dropped: if next.is_none() { dropped } else { 0 },
        next,
    })
}

fn assembled_piece(store: &Store, id: JobId, from: ResultPosition, limit: u64) -> Result<Piece, ApiError> {
    match store.job(id).map_err(to_api)?.file.assemble {
        Assemble::Concat => {}
        Assemble::Separate => return Err(TaskError::ResultsApart { id }.into()),
        Assemble::Tiles { .. } => return Err(TaskError::PictureNotInPieces.into()),
    }
    let (mut reads, mut left, mut dropped, mut offset) = (Vec::new(), limit, 0, from.offset);
    let tasks = store.tasks(id, from.task, TASKS_PER_PIECE).map_err(to_api)?;
    for task in &tasks {
        let at = std::mem::take(&mut offset);
        let (TaskState::Finished, Some(blob)) = (task.state, task.stdout) else { continue };
        let stored = Stored::find(store, blob)?;
        let size = stored.size()?;
        let length = size.saturating_sub(at).min(left);
        left -= length;
        let end = at.saturating_add(length);
        // A file is included even without remaining bytes, since it may have been longer.
        if length > 0 || end >= size {
            reads.push((stored, at, length));
        }
        if end < size {
            return Ok(Piece {
                reads,
                next: Some(ResultPosition { task: task.id.index, offset: end }),
                dropped,
            });
        }
        dropped += task.stdout_dropped;
    }
    let last = tasks.last().filter(|_| tasks.len() as u32 == TASKS_PER_PIECE);
    Ok(Piece { reads, next: last.map(|task| ResultPosition { task: task.id.index + 1, offset: 0 }), dropped })
}

impl Piece {
    /// Reads the bytes of the piece.
    pub(crate) fn read(self) -> Result<Reply, ApiError> {
        let mut bytes = Vec::new();
        for (stored, offset, length) in self.reads {
            stored.piece(offset, length, &mut bytes)?;
        }
        Ok(Reply::Piece {
            base64: base64::engine::general_purpose::STANDARD.encode(bytes),
            next: self.next,
            dropped: self.dropped,
        })
    }
}

/// A file that an export writes.
struct ExportItem {
    from: Found,
    /// Path relative to the folder.
    to: String,
}

/// Files that an export of a job writes.
pub(crate) struct Export {
    folder: PathBuf,
    items: Vec<ExportItem>,
}

/// Looks up the files that an export of a job writes below a folder: those of a single task directly, those
/// of several in a folder per task. Logs and the assembled result get names that none of the files has.
pub(crate) fn export(store: &Store, id: JobId, folder: PathBuf) -> Result<Export, ApiError> {
    let job = store.job(id).map_err(to_api)?;
    let mut items = Vec::new();
    let mut root = ResultNames::default();
    for task in store.tasks(id, 0, u32::MAX).map_err(to_api)? {
        let (mut own, place) = (ResultNames::default(), format!("task-{:05}/", task.id.index));
        let (names, place) = if job.tasks_total == 1 { (&mut root, "") } else { (&mut own, place.as_str()) };
        let files =
            store.outputs(task.id).map_err(to_api)?.into_iter().map(|output| (output.blob, output.path));
        let logs = [(task.stdout, "stdout.txt"), (task.stderr, "stderr.txt")]
            .into_iter()
            .filter_map(|(log, name)| Some((log?, name.to_owned())));
        for (blob, path) in files.chain(logs) {
            let name = names.add(&path).ok_or(TaskError::UnusableName { index: task.id.index })?;
            items.push(ExportItem {
                from: Found::Parts(vec![Stored::find(store, blob)?]),
                to: format!("{place}{name}"),
            });
        }
    }
    if items.is_empty() {
        return Err(TaskError::NoResultsYet.into());
    }
    if let Ok(whole) = assembled(store, id) {
        let name = if matches!(whole, Found::Tiles { .. }) { "result.png" } else { "result.txt" };
        if let Some(name) = root.add(name) {
            items.push(ExportItem { from: whole, to: name });
        }
    }
    Ok(Export { folder, items })
}

/// Reads something of a job. An error says that the job was removed meanwhile if that is the cause: its
/// files are being deleted then.
pub(crate) fn of_job(
    store: &Store,
    id: JobId,
    read: impl FnOnce(&Store) -> Result<Reply, ApiError>,
) -> Result<Reply, ApiError> {
    let was_there = store.job_state(id).is_ok();
    read(store).map_err(|error| match store.job_state(id) {
        Err(StoreError::NoJob(_)) if was_there => TaskError::JobRemoved { id }.into(),
        _ => error,
    })
}

impl Export {
    /// Writes the files and returns their paths.
    pub(crate) fn write(self) -> Result<Reply, ApiError> {
        let mut folder = OutputFolder::new(self.folder.clone());
        let mut files = Vec::new();
        for ExportItem { from, to } in self.items {
            let path = self.folder.join(&to);
            let failed = |e: &dyn std::fmt::Display| TaskError::ResultNotWritten {
                path: path.clone(),
                why: e.to_string(),
            };
            let mut file = folder.create(&to).map_err(|e| failed(&e))?;
            from.write_to(&mut file).map_err(|e| failed(&e))?;
            files.push(folder.finish(file).map_err(|e| failed(&e))?.display().to_string());
        }
        Ok(Reply::exported(files))
    }
}

#[cfg(test)]
#[path = "results_tests.rs"]
pub(crate) mod tests;
