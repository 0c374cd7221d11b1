//! Answers to commands, and the messages that carry both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chat::{ChatMessage, ChatView};
use crate::command::{Command, ResultPosition};
use crate::error::ApiError;
use crate::event::Event;
use crate::network::{CreditView, NetworkView, PeerView, PlacementView, TaskPlace};
use crate::verdict::VerdictView;
use crate::view::{Check, EstimateView, Example, HistoryPoint, HistoryView, JobDetail, JobSummary, Snapshot};

/// Version of the protocol; increased when an older front end could misread an answer, or the engine an
/// older command.
pub const PROTOCOL_VERSION: u32 = 3;

/// A checkpoint that was taken or exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// Index of the task.
    pub index: u32,
    /// Work units used at the checkpoint.
    pub units: u64,
    /// Time of the checkpoint in milliseconds since 1970.
    pub taken_ms: i64,
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// The command was carried out.
    Done,
    /// The change is in force while the engine runs, but could not be stored yet; replaces [`Reply::Done`].
    NotStored {
        /// One sentence that says what is in force, why it is not stored and what follows.
        message: String,
    },
    /// Answer to [`Command::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// Answer to [`DutyCommand::Why`](crate::DutyCommand::Why).
    Verdict(VerdictView),
    /// Answer to the submit commands: the job is stored.
    Submitted {
        /// The accepted job.
        job: JobSummary,
    },
    /// Answer to [`JobCommand::Estimate`](crate::JobCommand::Estimate).
    Estimate(EstimateView),
    /// Answer to [`JobCommand::List`](crate::JobCommand::List).
    Jobs(Vec<JobSummary>),
    /// Answer to [`JobCommand::Show`](crate::JobCommand::Show).
    Job(Box<JobDetail>),
    /// Answer to [`JobCommand::Log`](crate::JobCommand::Log) and to other commands that return text.
    Text(String),
    /// Answer to [`JobCommand::Output`](crate::JobCommand::Output) and [`ChatCommand::File`](crate::ChatCommand::File).
    Bytes {
        /// Media type, guessed from the content for an output file.
        mime: String,
        /// Content, in base64.
        base64: String,
    },
    /// Answer to [`JobCommand::Read`](crate::JobCommand::Read).
    Piece {
        /// Bytes of the piece, in base64.
        base64: String,
        /// Position of the next piece; `None` after the last.
        next: Option<ResultPosition>,
        /// Number of bytes that the log limit cut off where a log ends in this piece.
        #[serde(default)]
        dropped: u64,
    },
    /// Answer to [`JobCommand::Outputs`](crate::JobCommand::Outputs).
    Outputs {
        /// Files of this page.
        outputs: Vec<crate::OutputView>,
        /// Number of files after this page.
        more: u64,
    },
    /// Answer to [`JobCommand::Renamed`](crate::JobCommand::Renamed).
    Renamed {
        /// Files of this page, in the order in which they were recorded.
        renamed: Vec<crate::RenamedView>,
        /// Number of the first file of the next page; `None` after the last.
        next: Option<u32>,
    },
    /// Answer to [`JobCommand::Export`](crate::JobCommand::Export) and other commands that write files.
    Exported {
        /// Complete paths of the written files, at most 1000.
        files: Vec<String>,
        /// Number of written files.
        count: u64,
    },
    /// Answer to [`JobCommand::Checkpoint`](crate::JobCommand::Checkpoint) and [`JobCommand::ExportCheckpoint`](crate::JobCommand::ExportCheckpoint).
    Checkpoints(Vec<CheckpointView>),
    /// Answer to [`JobCommand::ExportHistory`](crate::JobCommand::ExportHistory).
    TaskHistory(HistoryView),
    /// Answer to [`SettingsCommand::Get`](crate::SettingsCommand::Get): every key with its value.
    Settings(BTreeMap<String, serde_json::Value>),
    /// Answer to [`Command::History`].
    History(Vec<HistoryPoint>),
    /// Answer to [`JobCommand::Examples`](crate::JobCommand::Examples).
    Examples(Vec<Example>),
    /// Answer to [`NetworkCommand::Show`](crate::NetworkCommand::Show), [`NetworkCommand::Join`](crate::NetworkCommand::Join) and [`NetworkCommand::Leave`](crate::NetworkCommand::Leave).
    Network(Box<NetworkView>),
    /// Answer to [`NetworkCommand::Invite`](crate::NetworkCommand::Invite).
    Invite {
        /// Name of the group.
        group: String,
        /// Invitation, for [`NetworkCommand::Join`](crate::NetworkCommand::Join) on the other device.
        text: String,
    },
    /// Answer to [`NetworkCommand::Peers`](crate::NetworkCommand::Peers).
    Peers(Vec<PeerView>),
    /// Answer to [`PlacementCommand::Places`](crate::PlacementCommand::Places).
    Places(Vec<TaskPlace>),
    /// Answer to [`PlacementCommand::Plan`](crate::PlacementCommand::Plan) and [`PlacementCommand::PlanJob`](crate::PlacementCommand::PlanJob).
    Placement(Box<PlacementView>),
    /// Answer to [`Command::Credits`].
    Credits(CreditView),
    /// Answer to [`ChatCommand::Show`](crate::ChatCommand::Show).
    Chat(Box<ChatView>),
    /// Answer to [`ChatCommand::Thread`](crate::ChatCommand::Thread), newest first.
    ChatMessages(Vec<ChatMessage>),
    /// Answer to [`ChatCommand::Say`](crate::ChatCommand::Say) and [`ChatCommand::Give`](crate::ChatCommand::Give).
    ChatSaid {
        /// Messages that were stored for sending; a long text becomes several.
        messages: Vec<ChatMessage>,
        /// Output of a chat command; empty for a message.
        note: String,
    },
    /// Answer to [`Command::Doctor`].
    Checks(Vec<Check>),
}

impl Reply {
    /// Builds [`Reply::Exported`] with the first 1000 paths and the number of all files.
    #[must_use]
    pub fn exported(mut files: Vec<String>) -> Self {
        let count = files.len() as u64;
        files.truncate(MAX_EXPORTED);
        Self::Exported { files, count }
    }
}

/// Number of paths listed after an export, at most.
const MAX_EXPORTED: usize = 1_000;

/// A request on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Carries a command; the answer repeats the id.
    Call {
        /// Id of the request, chosen by the client.
        id: u64,
        /// Command to carry out.
        command: Command,
    },
    /// Subscribes to all further events.
    Subscribe,
    /// First request of every connection; proves that the client knows the token of the data folder.
    Prove {
        /// Proof over the server's nonce.
        proof: String,
        /// Random nonce of the client, in hexadecimal, for the server's proof.
        nonce: String,
    },
}

/// The answer to one request on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Id of the request.
    pub id: u64,
    /// Outcome of the command.
    pub result: Result<Reply, ApiError>,
}

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerMessage {
    /// First message on every connection.
    Hello {
        /// [`PROTOCOL_VERSION`] of the server.
        protocol: u32,
        /// Release of the server.
        version: String,
        /// Random nonce of the server, in hexadecimal, for the client's proof; empty in protocol 1.
        #[serde(default)]
        nonce: String,
    },
    /// The server accepts the client and proves itself.
    Welcome {
        /// Proof over the client's nonce.
        proof: String,
    },
    /// Answer to a request.
    Response(Box<Response>),
    /// Event after a subscription.
    Event(Box<Event>),
}
