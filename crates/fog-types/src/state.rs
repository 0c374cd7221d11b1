use serde::{Deserialize, Serialize};

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; none of its tasks has started yet.
    Queued,
    /// At least one task has started.
    Running,
    /// Paused by the user or after failures in a row; `resume` queues it again.
    Paused,
    /// Every task has a result.
    Finished,
    /// Given up; the reason is in the journal of the job.
    Failed,
    /// Cancelled by the user; results of finished tasks are kept.
    Cancelled,
}

impl JobState {
    /// Whether the state can never change again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// Returns the word used in the database, in JSON and as a filter.
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

    /// Returns the state for a word of [`as_str`](Self::as_str).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Paused, Self::Finished, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// State of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waiting for a worker or for the end of a back-off.
    Queued,
    /// Running in a worker now.
    Running,
    /// Finished with its only result.
    Finished,
    /// Failed on all attempts, or in a way that another attempt cannot change.
    Failed,
    /// Cancelled with its job.
    Cancelled,
}

impl TaskState {
    /// Returns the word used in the database and in JSON.
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

    /// Returns the state for a word of [`as_str`](Self::as_str).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Finished, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Delivery state of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Received from another person.
    #[default]
    Received,
    /// Waiting until the recipient is reachable.
    Queued,
    /// Carried by another device to the recipient.
    Carried,
    /// Sent, without a confirmation yet.
    Sent,
    /// Delivered to the recipient.
    Delivered,
    /// Read by the recipient.
    Read,
    /// Given up; the user can have it sent again.
    Failed,
}

impl MessageState {
    /// Returns the word used in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::Carried => "carried",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    /// Returns the state for a word of [`as_str`](Self::as_str).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Received, Self::Queued, Self::Carried, Self::Sent, Self::Delivered, Self::Read, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}
