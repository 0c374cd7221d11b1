use serde::{Deserialize, Serialize};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; none of its tasks has started yet.
    Queued,
    /// At least one task has started.
    Running,
    /// The user paused it; `resume` queues it again.
    Paused,
    /// Every task has a result.
    Finished,
    /// Given up; the reason is in its log.
    Failed,
    /// The user cancelled it. Results of finished tasks are kept.
    Cancelled,
}

impl JobState {
    /// Nothing will change it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// The word used in the database, in JSON and as a filter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Paused, Self::Finished, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == word)
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waiting for its turn, or for the end of a back-off.
    Queued,
    /// In a worker now.
    Running,
    /// Has its one result.
    Finished,
    /// Used up its attempts, or failed in a way that another attempt cannot change.
    Failed,
    /// Its job was cancelled first.
    Cancelled,
}

impl TaskState {
    /// The word used in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Finished, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == word)
    }
}
