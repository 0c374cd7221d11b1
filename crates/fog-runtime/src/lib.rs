//! Runs one task: an unmodified WASI preview 1 command module, in a worker process of its own,
//! deterministically and within limits.
//!
//! `fog-engine` decides which task runs when; `fog-store` stores modules and results. The parent side is
//! [`Worker`]; the child side is [`worker_main`], which a program must call first when started as a worker.

mod checkpoint;
mod compile;
mod files;
mod history;
mod host;
mod outcome;
mod program;
mod protocol;
mod run;
mod sandbox;
mod seal;
mod snapshot;
mod suspend;
mod task;
mod usage;
mod vfs;
mod wasi;
mod worker;

pub use checkpoint::{
    CHECKPOINT_FORMAT, Checkpoint, CheckpointBytes, CheckpointError, CheckpointFiles, CheckpointHeader,
    CheckpointSurvey, CheckpointWriter, Generation,
};
pub use compile::{CompileError, EngineKind, compile, validate};
pub use files::{
    NewFile, OutputFolder, kind_of, open_regular, read_regular, replace_file, replaceable, write_file,
};
pub use fog_instrument::{REWRITING_VERSION, accepted};
pub use history::{History, HistoryEnd, HistoryError, HistoryMark};
pub use host::{
    ArtifactRoom, CompileLimits, Worker, WorkerError, WorkerEvent, check_sandbox, prepare, prepare_within,
};
pub use outcome::{
    LeftOut, LeftOutFile, LeftOutReason, LimitKind, MAX_OUTPUT_FILES, MAX_OUTPUT_PATHS, Outcome, OutputFile,
    Report, result_hash,
};
pub use program::{Priority, WorkerProgram};
pub use protocol::{FromWorker, MAX_FRAME_BYTES, Mark, ProtocolError, SavedState, ToWorker, decode_frame};
pub use run::{Control, Observer, Order, RunError, SLICE_UNITS, run};
pub use sandbox::{SandboxStatus, set_priority};
pub use seal::{Key, new_key};
pub use snapshot::{SNAPSHOT_VERSION, Snapshot, SnapshotError, Taken};
#[cfg(unix)]
pub use suspend::is_hangup_ignored;
pub use suspend::{suspend_with_workers, worker_pids};
pub use task::{Mount, Segments, TaskSpec};
pub use worker::{WORKER_ARGUMENT, worker_main};
