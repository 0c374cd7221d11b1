//! Results of tasks, and the receipts for them.

use fog_types::{Limits, NodeId, WorkUnits};
use serde::{Deserialize, Serialize};

use super::{LeaseId, whole};
use crate::content::{Content, MAX_CONTENT};
use crate::identity::Purpose;

/// Maximum number of files of a result; the same as the limit of the runtime for a task.
pub const MAX_OUTPUTS: usize = 50_000;
/// Maximum number of files that a result message names itself, as it is repeated until it is answered.
pub const MAX_NAMED: usize = 1_000;
/// Maximum number of bytes of a list of files: paths of at most 8 MiB, as bounded by the runtime, and some
/// 110 bytes for each file.
pub const MAX_LIST: u64 = 16 << 20;
/// Seconds after the limit of its running time within which a task is surely stopped.
pub(super) const LATE_SECONDS: u64 = 60;
/// Largest number that a node may state; integers in the database are signed.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// Result of a task, signed by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Lease of the result.
    pub lease: LeaseId,
    /// Worker that ran the task; author of the signature.
    pub worker: NodeId,
    /// Hash of the signed offer, which covers the job, module, inputs, limits and seed.
    pub offer: [u8; 32],
    /// Number of work units that the task took.
    pub units: WorkUnits,
    /// Running time in milliseconds.
    pub active_ms: u64,
    /// Largest use of memory in bytes.
    pub memory: u64,
    /// Hash that identifies the result (see `docs/checkpoint.md`).
    pub hash: String,
    /// Standard output, and the number of its bytes that were dropped.
    pub stdout: (Content, u64),
    /// Standard error, and the number of its bytes that were dropped.
    pub stderr: (Content, u64),
    /// Files by path; empty if they are more than a message names, and then in [`list`](Self::list).
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_NAMED, _, _>")]
    pub outputs: Vec<(String, Content)>,
    /// Files by path as [`list_to_bytes`] encodes them, if `outputs` names none.
    pub list: Option<Content>,
    /// Every state that the task came through, if its job has segments; fixed before the requester asks for
    /// one.
    pub history: Option<Content>,
}

impl Purpose for TaskResult {
    const PURPOSE: &'static str = "task result";
}

#[derive(Serialize, Deserialize)]
struct OutputList {
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_OUTPUTS, _, _>")]
    outputs: Vec<(String, Content)>,
}

/// Encodes the files of a result as content of its own.
#[must_use]
pub fn list_to_bytes(outputs: Vec<(String, Content)>) -> Vec<u8> {
    // The types of this crate always encode.
    postcard::to_stdvec(&OutputList { outputs }).unwrap_or_default()
}

impl TaskResult {
    /// Checks the result as far as possible without its files and its job.
    ///
    /// # Errors
    /// A sentence that tells what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let is_hash = self.hash.len() == 64
            && self.hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_hash || self.contents().chain(&self.history).any(|content| content.size > MAX_CONTENT) {
            return Err("the result is beyond all bounds".to_owned());
        }
        if self.outputs.len() > MAX_OUTPUTS || self.list.is_some_and(|list| list.size > MAX_LIST) {
            return Err(format!(
                "it has more files than the {MAX_OUTPUTS} that a result may have, or names of more than {} MiB",
                MAX_LIST >> 20
            ));
        }
        if self.list.is_some() && !self.outputs.is_empty() {
            return Err("it names its files twice".to_owned());
        }
        fog_types::job::check_result_paths(self.outputs.iter().map(|(path, _)| path.as_str()))
            .map_err(|e| e.to_string())
    }

    /// Checks that the numbers of the result are possible within the limits of its job. Larger numbers are
    /// lies, and sums of them would be of no use.
    ///
    /// # Errors
    /// A sentence that tells what is wrong.
    pub fn check_against(&self, limits: &Limits) -> Result<(), &'static str> {
        let files = self.outputs.iter().fold(0u64, |sum, (_, content)| sum.saturating_add(content.size));
        if files > limits.disk.0 || self.stdout.0.size.max(self.stderr.0.size) > limits.log.0 {
            return Err("its files are larger than the job lets them be");
        }
        if self.units > limits.units || self.units.0 > MAX_NUMBER {
            return Err("it claims more work than the job lets it do");
        }
        if self.memory > limits.memory.0.saturating_add(limits.disk.0) {
            return Err("it claims more memory than the job lets it have");
        }
        // A task is stopped a moment after its limit, and the running time is rounded.
        if self.active_ms / 1000 > limits.wall_seconds.saturating_add(LATE_SECONDS) {
            return Err("it claims more running time than the job lets it have");
        }
        if self.active_ms > MAX_NUMBER || self.stdout.1 > MAX_NUMBER || self.stderr.1 > MAX_NUMBER {
            return Err("the result is beyond all bounds");
        }
        Ok(())
    }

    /// Returns the result with the files of its list, whose bytes were fetched.
    ///
    /// # Errors
    /// A sentence that tells what is wrong with the list.
    pub fn with_list(self, bytes: &[u8]) -> Result<Self, String> {
        let OutputList { outputs } =
            whole(bytes).map_err(|_| "the list of its files cannot be read".to_owned())?;
        let whole = Self { outputs, list: None, ..self };
        whole.check().map(|()| whole)
    }

    /// Returns every content that the requester fetches for the result, except its list and history.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        [&self.stdout.0, &self.stderr.0].into_iter().chain(self.outputs.iter().map(|(_, content)| content))
    }
}

/// Receipt with which a requester accepts a result; payment rests on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Lease of the result.
    pub lease: LeaseId,
    /// Node whose job it was; author of the signature.
    pub requester: NodeId,
    /// Worker that ran the task.
    pub worker: NodeId,
    /// Hash of the signed result.
    pub result: [u8; 32],
    /// Number of work units that count.
    pub units: WorkUnits,
    /// Payment in thousandths of a credit.
    pub credit: u64,
    /// Time of the receipt in milliseconds since 1970.
    pub at_ms: i64,
}

impl Purpose for Receipt {
    const PURPOSE: &'static str = "receipt";
}
