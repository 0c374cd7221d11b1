use std::path::PathBuf;

use fog_types::{Limits, Percent};
use serde::{Deserialize, Serialize};

use crate::compile::EngineKind;
use crate::run::SLICE_UNITS;

/// Description of one execution. The same spec gives the same result on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Path of the compiled module, as [`crate::prepare`] wrote it.
    #[serde(with = "crate::protocol::os_path")]
    pub artifact: PathBuf,
    /// Kind of engine that the artifact was compiled for.
    pub engine: EngineKind,
    /// Name of the program, `argv[0]`.
    pub program: String,
    /// Arguments after the program name.
    pub args: Vec<String>,
    /// Complete environment.
    pub env: Vec<(String, String)>,
    /// File for standard input; `None` for an empty one.
    #[serde(with = "crate::protocol::os_path::option")]
    pub stdin: Option<PathBuf>,
    /// Read-only files below `/in`.
    pub inputs: Vec<Mount>,
    /// Limits of the task.
    pub limits: Limits,
    /// Seed of all randomness in the job.
    pub seed: u64,
    /// Share of processor time at the beginning.
    pub duty: Percent,
    /// Marks to announce while running; none by default.
    pub segments: Option<Segments>,
}

/// Marks of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// Work units between two marks, a multiple of [`SLICE_UNITS`] above 0.
    pub units: u64,
    /// Whether a whole checkpoint goes with each mark. If not, a continued run first announces the mark at
    /// which it begins, with the hash of its real state.
    pub keep: bool,
}

impl Segments {
    /// Creates segments of at least `units`, rounded up to a multiple of a slice.
    #[must_use]
    pub fn of(units: u64, keep: bool) -> Self {
        Self { units: units.div_ceil(SLICE_UNITS).max(1).saturating_mul(SLICE_UNITS), keep }
    }
}

/// One read-only input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Relative path below `/in`, already checked to stay there.
    pub name: String,
    /// Path of the file on this machine.
    #[serde(with = "crate::protocol::os_path")]
    pub path: PathBuf,
}
