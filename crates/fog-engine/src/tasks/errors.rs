//! Errors of commands about jobs and tasks.

use std::path::PathBuf;

use fog_api::ApiError;
use fog_types::{ByteCount, ErrorKind, JobId};

use crate::errors::errors;

errors! {
    /// An error of a command about jobs and tasks.
    TaskError, "tasks" {
        EngineStopped => NotRunning,
        NoSuchExample { name: String } => NotFound,
        AlreadyEnded { id: JobId, state: &'static str } => Conflict,
        NotEnded { id: JobId } => Conflict,
        RunsElsewhere { id: JobId } => Conflict,
        OfAnotherDevice { id: JobId } => Conflict,
        TooManyRunNow { most: usize } => Conflict,
        BadGridOptions => BadInput,
        NotAModule { path: PathBuf } => BadInput,
        ModuleTooLarge { path: PathBuf, most: ByteCount } => LimitReached,
        JobFileTooLarge { path: PathBuf } => BadInput,
        NotText { path: PathBuf, why: String } => BadInput,
        PathNotText { path: PathBuf } => BadInput,
        /// Its kind is that of the cause.
        Unreadable { path: PathBuf, why: String } => BadInput,
        /// Its kind is that of the cause.
        NotStored { path: PathBuf, why: String } => Storage,
        NoCheckpointKey => Storage,
        CheckpointTooLarge { path: PathBuf, size: ByteCount, most: ByteCount } => LimitReached,
        NoProgram { path: PathBuf } => BadInput,
        ProgramTooLarge => LimitReached,
        UnfitCheckpoint => BadInput,
        TooMuchMemory { footprint: ByteCount, most: ByteCount } => LimitReached,
        TooManyEstimates { most: usize } => LimitReached,
        /// Its kind is that of the cause.
        EstimateFailed { why: String } => Bug,
        FirstTaskExited { code: u32 } => BadInput,
        FirstTaskFailed { why: String } => BadInput,
        FirstTaskReachedUnits => BadInput,
        FirstTaskReachedTime => BadInput,
        FirstTaskReachedMemory => BadInput,
        FirstTaskOverflowed => BadInput,
        NoneRuns { id: JobId } => Conflict,
        NotSaved { index: u32, why: String } => Conflict,
        NoneSaved { id: JobId } => Conflict,
        NoSuchTask { id: JobId, index: u32, last: u32 } => NotFound,
        NoCheckpoints { id: JobId } => NotFound,
        NoCheckpoint => NotFound,
        UnfitPath { path: PathBuf, why: String } => BadInput,
        NoHistory { index: u32, id: JobId } => NotFound,
        HistoryThere { path: PathBuf } => BadInput,
        TaskNotEnded => NotFound,
        NoSuchFile => NotFound,
        TooLargeToShow => LimitReached,
        ResultsApart { id: JobId } => NotFound,
        PictureNotInPieces => Unsupported,
        NoTileYet => NotFound,
        PictureTooLarge { width: u64, height: u64 } => NotFound,
        TileDiffers { index: u32, w: u32, h: u32, width: u32, height: u32 } => NotFound,
        TileNotPng { why: String } => NotFound,
        TileTooLarge => NotFound,
        TileWithPalette => NotFound,
        NoResultsYet => NotFound,
        UnusableName { index: u32 } => Storage,
        ResultNotWritten { path: PathBuf, why: String } => Storage,
        JobRemoved { id: JobId } => NotFound,
    }
}

impl TaskError {
    /// Returns the error with the kind of its cause.
    pub(crate) fn of_kind(self, kind: ErrorKind) -> ApiError {
        let mut error = ApiError::from(self);
        error.kind = kind;
        error
    }
}
