use std::path::PathBuf;

use fog_types::{Limits, Percent};
use serde::{Deserialize, Serialize};

use crate::compile::EngineKind;
use crate::run::SLICE_UNITS;

/// Everything one execution needs. The same spec gives the same result on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The compiled module on this machine, as [`crate::prepare`] left it.
    #[serde(with = "crate::protocol::os_path")]
    pub artifact: PathBuf,
    /// What runs it; the artifact was made for it.
    pub engine: EngineKind,
    /// `argv[0]` inside the job.
    pub program: String,
    /// The arguments after it.
    pub args: Vec<String>,
    /// The environment, complete.
    pub env: Vec<(String, String)>,
    /// The file fed to standard input; `None` is an empty one.
    #[serde(with = "crate::protocol::os_path::option")]
    pub stdin: Option<PathBuf>,
    /// Read-only files below `/in`.
    pub inputs: Vec<Mount>,
    /// What the task may use.
    pub limits: Limits,
    /// Seed of everything random inside the job.
    pub seed: u64,
    /// Share of processor time to begin with.
    pub duty: Percent,
    /// Marks to announce on the way; none by default.
    pub segments: Option<Segments>,
}

/// The marks of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// Work units between two marks: a multiple of [`SLICE_UNITS`], above 0.
    pub units: u64,
    /// A whole checkpoint goes with each mark. Without, a run that is continued first announces the mark
    /// it begins at, with what its state really is.
    pub keep: bool,
}

impl Segments {
    /// Of about this many units: the next multiple of a slice.
    #[must_use]
    pub fn of(units: u64, keep: bool) -> Self {
        Self { units: units.div_ceil(SLICE_UNITS).max(1).saturating_mul(SLICE_UNITS), keep }
    }
}

/// One read-only input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Relative path below `/in`, already checked to stay there.
    pub name: String,
    /// The file on this machine.
    #[serde(with = "crate::protocol::os_path")]
    pub path: PathBuf,
}
