use std::collections::BTreeMap;

use fog_types::JobId;
use serde::{Deserialize, Serialize};

use crate::chat::{ChatMessage, ChatView, PersonView};
use crate::network::NetworkView;
use crate::view::{ActiveTask, JobSummary, Status};

/// Something that changed, numbered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The state's revision after this event. A gap means events were missed: ask for a snapshot.
    pub revision: u64,
    /// What.
    pub body: EventBody,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventBody {
    /// The verdict, the switch, the counts or the set of active tasks.
    Status(Box<Status>),
    /// An active task moved on.
    Progress(ActiveTask),
    /// A job is new or changed.
    Job(JobSummary),
    /// A job was forgotten.
    JobRemoved(JobId),
    /// A task has its result.
    TaskFinished {
        /// Which job.
        job: JobId,
        /// Which task.
        index: u32,
    },
    /// Settings changed; all of them.
    Settings(BTreeMap<String, serde_json::Value>),
    /// Networks, or who is there.
    Network(Box<NetworkView>),
    /// Chat as a whole: switched on or off, the radio, a wipe, threads seen or cleared.
    Chat(Box<ChatView>),
    /// A message is new, or got further.
    ChatMessage(Box<ChatMessage>),
    /// Somebody came, changed, or went.
    ChatPerson(Box<PersonView>),
    /// The user should know.
    Notice(Notice),
    /// Events were dropped because this listener was slow: ask for a snapshot.
    Missed,
}

/// Something worth a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A job was given up.
    JobFailed {
        /// Which.
        id: JobId,
        /// Its name.
        name: String,
        /// Why.
        problem: String,
    },
    /// A job was paused after failures in a row.
    JobStopped {
        /// Which.
        id: JobId,
        /// Its name.
        name: String,
        /// The last failure.
        problem: String,
    },
    /// Somebody said something to this device alone, or named it in the room.
    ChatMessage {
        /// The thread: the person's or group's id; empty for the room.
        with: String,
        /// What they call themselves.
        name: String,
        /// What they said.
        text: String,
    },
    /// Somebody took this device into a group.
    ChatInvited {
        /// The group's thread.
        with: String,
        /// What it is called.
        group: String,
        /// What they call themselves.
        name: String,
    },
    /// A job is done.
    JobFinished {
        /// Which.
        id: JobId,
        /// Its name.
        name: String,
    },
}
