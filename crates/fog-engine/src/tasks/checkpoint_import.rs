//! Import of a checkpoint from elsewhere: it becomes a job of this engine and continues.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fog_api::ApiError;
use fog_runtime::{Checkpoint, CheckpointFiles, CheckpointHeader, CheckpointWriter, Key, open_regular};
use fog_store::{BlobFile, BlobWriter, Blobs, StoreError};
use fog_types::job::JobFile;
use fog_types::{ByteCount, ErrorKind, HasKind, on_disk};

use crate::tasks::checkpoints::{self, ARRIVED};
use crate::tasks::errors::TaskError;
use crate::tasks::submit::{CopyPlace, Prepared, unreadable};

/// Reads the checkpoint at `path`, which is not trusted: its program and inputs become blobs, its state a
/// sealed checkpoint.
pub(crate) fn prepare(path: &Path, place: &CopyPlace, key: Option<Key>) -> Result<Prepared, ApiError> {
    let cap = place.cap;
    let Some(key) = key else {
        return Err(TaskError::NoCheckpointKey.into());
    };
    let about = open_regular(path).and_then(|file| file.metadata()).map_err(|e| unreadable(path, &e))?;
    if about.len() > cap.0 / 2 {
        return Err(TaskError::CheckpointTooLarge {
            path: path.to_owned(),
            size: ByteCount(about.len()),
            most: ByteCount(cap.0 / 2),
        }
        .into());
    }
    // A damaged end loses the last generation only, as for every checkpoint.
    let (mut checkpoint, _) = Checkpoint::read(path, None).map_err(|e| ApiError::of(&e))?;
    let files = checkpoint.files.take().ok_or_else(|| TaskError::NoProgram { path: path.to_owned() })?;
    let file = job_of(&checkpoint.header)?;
    if files.module.len() as u64 > file.limits.module.0 {
        return Err(TaskError::ProgramTooLarge.into());
    }
    let no_room =
        |e: StoreError| TaskError::NotStored { path: path.to_owned(), why: e.to_string() }.of_kind(e.kind());
    // The state and the files of the checkpoint take about as much as all of it.
    let room = place.room.ask_blocking(on_disk(about.len())).map_err(no_room)?.lingering();
    let (blobs, copied) = store(&checkpoint.header, files, place)?;
    let sealed = seal_checkpoint(checkpoint, &place.data_folder, key)?;
    drop(room);
    Ok(Prepared {
        file,
        blobs,
        copied,
        placed: None,
        held: Vec::new(),
        checkpoint: Some(sealed),
        owner: None,
        hosted: None,
        grid: None,
    })
}

/// Seals a state that came without program and inputs, piece by piece with this device's key. Whether it is
/// a valid state of the task shows when the task starts.
///
/// # Errors
/// Fails when the data does not begin like a checkpoint, or cannot be written.
pub(crate) fn seal_state(
    state: impl Read,
    data_folder: &Path,
    key: Key,
) -> Result<tempfile::TempPath, ApiError> {
    let sealed = arrived(data_folder)?;
    Checkpoint::seal(state, &sealed, &key).map_err(|e| ApiError::of(&e))?;
    Ok(sealed)
}

fn seal_checkpoint(
    checkpoint: Checkpoint,
    data_folder: &Path,
    key: Key,
) -> Result<tempfile::TempPath, ApiError> {
    let sealed = arrived(data_folder)?;
    let generation = checkpoint.into_generation(None).map_err(|e| ApiError::new(ErrorKind::Bug, e))?;
    CheckpointWriter::new(sealed.to_path_buf(), Some(key))
        .write(&generation, true)
        .map_err(|e| ApiError::of(&e))?;
    Ok(sealed)
}

/// Reserves a free path among the checkpoints. Dropping the result removes a file at that path.
fn arrived(data_folder: &Path) -> Result<tempfile::TempPath, ApiError> {
    let folder = checkpoints::folder(data_folder);
    let at = |e: std::io::Error| ApiError::new(ErrorKind::Storage, format_args!("{}: {e}", folder.display()));
    fog_store::make_private_folder(&folder).map_err(at)?;
    let path = tempfile::Builder::new().prefix(ARRIVED).tempfile_in(&folder).map_err(at)?.into_temp_path();
    // The name is reserved; a file left there would be kept as the previous checkpoint.
    std::fs::remove_file(&path).map_err(at)?;
    Ok(path)
}

/// Builds the job whose single task has this header.
fn job_of(header: &CheckpointHeader) -> Result<JobFile, ApiError> {
    let file = JobFile {
        args: header.args.clone(),
        env: header.env.iter().cloned().collect(),
        inputs: header.inputs.iter().cloned().collect(),
        stdin: header.stdin.clone(),
        limits: header.limits.clone(),
        seed: header.seed,
        ..JobFile::for_module(&header.program, "module.wasm")
    };
    file.check().map_err(|e| ApiError::of(&e))?;
    // A job file expands placeholders such as {index}, sorts environment and inputs, and limits the name.
    let is_sorted = header.inputs.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let is_same = file.name == header.program
        && file.args_of(0) == header.args
        && file.env_of(0) == header.env
        && is_sorted;
    if is_same { Ok(file) } else { Err(TaskError::UnfitCheckpoint.into()) }
}

fn store(
    header: &CheckpointHeader,
    files: CheckpointFiles,
    place: &CopyPlace,
) -> Result<(Blobs, Vec<BlobFile>), ApiError> {
    let mut copied = BTreeMap::new();
    let mut put = |bytes: &[u8]| {
        let mut writer = BlobWriter::create(&place.data_folder, place.cap).map_err(|e| ApiError::of(&e))?;
        writer.write(bytes).map_err(|e| ApiError::of(&e))?;
        let blob = writer.finish().map_err(|e| ApiError::of(&e))?;
        let id = blob.id();
        copied.insert(id, blob);
        Ok::<_, ApiError>(id)
    };
    let module = put(&files.module)?;
    let inputs = header
        .inputs
        .iter()
        .zip(&files.inputs)
        .map(|((name, _), bytes)| Ok((name.clone(), put(bytes)?)))
        .collect::<Result<_, ApiError>>()?;
    let stdin = files.stdin.as_deref().map(put).transpose()?;
    Ok((Blobs { module, stdin, inputs, items: Vec::new() }, copied.into_values().collect()))
}
