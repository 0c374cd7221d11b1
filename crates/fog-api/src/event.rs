use std::collections::BTreeMap;

use fog_types::JobId;
use serde::{Deserialize, Serialize};

use crate::chat::{ChatMessage, ChatView, PersonView};
use crate::network::NetworkView;
use crate::view::{ActiveTask, JobSummary, Status};

/// A numbered change of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Revision of the state after this event. A gap means missed events: request a new snapshot.
    pub revision: u64,
    /// Content of the change.
    pub body: EventBody,
}

/// Content of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventBody {
    /// The status changed: verdict, switch, counts or active tasks.
    Status(Box<Status>),
    /// An active task made progress.
    Progress(ActiveTask),
    /// A job is new or changed.
    Job(JobSummary),
    /// A job was deleted.
    JobRemoved(JobId),
    /// A task has a result.
    TaskFinished {
        /// Id of the job.
        job: JobId,
        /// Index of the task.
        index: u32,
    },
    /// Settings changed; carries all values.
    Settings(BTreeMap<String, serde_json::Value>),
    /// Networks or their devices changed.
    Network(Box<NetworkView>),
    /// Chat as a whole changed, such as the radio, groups, a wipe, or threads read or cleared.
    Chat(Box<ChatView>),
    /// A message is new, or its delivery state changed.
    ChatMessage(Box<ChatMessage>),
    /// A person appeared, changed or left.
    ChatPerson(Box<PersonView>),
    /// Notification for the user.
    Notice(Notice),
    /// Events were dropped because this listener was slow: request a new snapshot.
    Missed,
}

/// A notification for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A job was given up.
    JobFailed {
        /// Id of the job.
        id: JobId,
        /// Name of the job.
        name: String,
        /// Reason for giving up.
        problem: String,
    },
    /// A job was paused after failures in a row.
    JobStopped {
        /// Id of the job.
        id: JobId,
        /// Name of the job.
        name: String,
        /// Error of the last failed task.
        problem: String,
    },
    /// A private or group message, a mention in the room, or an urgent note of a known person arrived.
    ChatMessage {
        /// Thread of the message: id of a person or group; empty for the room and the board.
        with: String,
        /// Name of the author.
        name: String,
        /// Text of the message.
        text: String,
    },
    /// Another person added this device to a group.
    ChatInvited {
        /// Thread of the group.
        with: String,
        /// Name of the group.
        group: String,
        /// Name of the person who added this device.
        name: String,
    },
    /// A job finished with all results.
    JobFinished {
        /// Id of the job.
        id: JobId,
        /// Name of the job.
        name: String,
    },
}
