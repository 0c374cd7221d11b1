use std::path::PathBuf;

use fog_types::{Limits, Percent};
use serde::{Deserialize, Serialize};

/// Everything one execution needs. The same spec gives the same result on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The compiled module on this machine, as [`crate::prepare`] left it.
    pub artifact: PathBuf,
    /// `argv[0]` inside the job.
    pub program: String,
    /// The arguments after it.
    pub args: Vec<String>,
    /// The environment, complete.
    pub env: Vec<(String, String)>,
    /// The file fed to standard input; `None` is an empty one.
    pub stdin: Option<PathBuf>,
    /// Read-only files below `/in`.
    pub inputs: Vec<Mount>,
    /// What the task may use.
    pub limits: Limits,
    /// Seed of everything random inside the job.
    pub seed: u64,
    /// Share of processor time to begin with.
    pub duty: Percent,
}

/// One read-only input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Relative path below `/in`, already checked to stay there.
    pub name: String,
    /// The file on this machine.
    pub path: PathBuf,
}
