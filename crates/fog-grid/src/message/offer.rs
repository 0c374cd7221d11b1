//! Offers of tasks, and the answers of workers.

use fog_types::NodeId;
use fog_types::job::JobFile;
use serde::{Deserialize, Serialize};

use super::LeaseId;
use crate::content::{Content, MAX_CONTENT};
use crate::identity::{Purpose, Signed};

const MAX_INPUTS: usize = 4_097;
const MAX_TAGS: usize = 8;
/// Maximum number of nodes that an offer names as holders of its files.
pub const MAX_HOLDERS: usize = 8;

/// Offer of a task, signed by the requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOffer {
    /// Lease that is offered.
    pub lease: LeaseId,
    /// Node whose job it is; author of the signature.
    pub requester: NodeId,
    /// Worker that the task is offered to.
    pub worker: NodeId,
    /// Job file of a single task: arguments, limits, seed and segments.
    pub file: JobFile,
    /// Program of the task.
    pub module: Content,
    /// Standard input, if any.
    pub stdin: Option<Content>,
    /// Input files, in the order of the job file.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_INPUTS, _, _>")]
    pub inputs: Vec<(String, Content)>,
    /// Checkpoint to resume from, with the number of work units that it holds.
    pub checkpoint: Option<(u64, Content)>,
    /// Milliseconds from now until the deadline of the result. The time is relative, as the clocks of two
    /// devices need not agree.
    pub left_ms: u64,
    /// Tags that describe the purpose of the job, at most 8.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_TAGS, _, _>")]
    pub tags: Vec<String>,
    /// Other nodes that may have the program and inputs, at most [`MAX_HOLDERS`].
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_HOLDERS, _, _>")]
    pub holders: Vec<NodeId>,
    /// Price of a work unit, in tenths of the usual price.
    pub price_tenths: u16,
    /// Whether an early result is paid a bonus.
    pub has_bonus: bool,
}

impl Purpose for TaskOffer {
    const PURPOSE: &'static str = "task offer";
}

impl Signed<TaskOffer> {
    /// Returns the lease that an offer claims, without any check and without decoding the rest; enough to
    /// decline the offer. `None` if the bytes are too few for an offer.
    #[must_use]
    pub fn claimed_lease(&self) -> Option<LeaseId> {
        self.unchecked_bytes().first_chunk().copied().map(LeaseId)
    }
}

impl TaskOffer {
    /// Checks the offer as far as possible without its files; a worker declines an offer that fails.
    ///
    /// # Errors
    /// A sentence that tells what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.file.check().map_err(|e| e.to_string())?;
        if self.file.task_count() != 1
            || self.file.stdin.is_some() != self.stdin.is_some()
            || self.inputs.len() > MAX_INPUTS
        {
            return Err("it is not one task with its inputs".to_owned());
        }
        let names = self.inputs.iter().map(|(name, _)| name);
        if !names.eq(self.file.inputs.keys()) {
            return Err("its inputs are not those of its job".to_owned());
        }
        if self.holders.len() > MAX_HOLDERS {
            return Err("it names too many holders".to_owned());
        }
        if self.tags.len() > MAX_TAGS || self.tags.iter().any(|tag| tag.len() > 40) {
            return Err("it has too many tags".to_owned());
        }
        if self.module.size > self.file.limits.module.0 {
            return Err("its program is larger than its own limit for one".to_owned());
        }
        if self.contents().any(|content| content.size > MAX_CONTENT) {
            return Err("a file of it is larger than any that is carried".to_owned());
        }
        if self.checkpoint.as_ref().is_some_and(|(_, state)| state.size > self.file.limits.state_size().0) {
            return Err("the state it brings is larger than one of its task can be".to_owned());
        }
        if self.checkpoint.as_ref().is_some_and(|(units, _)| *units > self.file.limits.units.0) {
            return Err("the state it brings holds more work than its limit allows".to_owned());
        }
        Ok(())
    }

    /// Returns every content that a worker fetches for the task.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        std::iter::once(&self.module)
            .chain(&self.stdin)
            .chain(self.inputs.iter().map(|(_, content)| content))
            .chain(self.checkpoint.iter().map(|(_, c)| c))
    }
}

/// Reason for which a worker declines an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decline {
    /// No slot, memory or disk is free.
    Full,
    /// The worker does not work now.
    Resting,
    /// The owner of the worker does not take jobs from this requester or of this kind.
    NotWelcome,
    /// The offer cannot be decoded, has a wrong signature or breaks a limit.
    Malformed,
}

/// Answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The worker accepts and begins to fetch.
    Accepted,
    /// The worker declines for this reason.
    Declined(Decline),
}
