use std::collections::BTreeMap;

use fog_types::job::GridOptions;
use fog_types::{ErrorKind, JobId, JobState};
use serde::{Deserialize, Serialize};

use crate::chat::{ChatMessage, ChatView, GroupChange, PersonChange};
use crate::event::Event;
use crate::network::{CreditView, NetworkView, PeerView, PlacementView, TaskPlace};
use crate::verdict::VerdictView;
use crate::view::{Check, EstimateView, Example, HistoryPoint, HistoryView, JobDetail, JobSummary, Snapshot};

/// Version of the protocol; increased when an older front end could misread an answer.
pub const PROTOCOL_VERSION: u32 = 2;

/// A secret text; the `Debug` output hides it to keep it out of logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A command that a front end can send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Returns everything that the first screen shows → [`Reply::Snapshot`].
    Snapshot,
    /// Switches contributing on or off → [`Reply::Done`].
    SetContributing {
        /// Whether to contribute from now on.
        on: bool,
    },
    /// Pauses work for some minutes; 0 ends a pause → [`Reply::Done`].
    Snooze {
        /// Length of the pause in minutes.
        minutes: u32,
    },
    /// Finishes the running tasks, then switches contributing off → [`Reply::Done`].
    FinishThenStop,
    /// Returns the verdict, for the real readings or with some replaced → [`Reply::Verdict`].
    Why {
        /// Readings to replace, as name and value; the rules in force do not change.
        with: Vec<(String, String)>,
    },
    /// Accepts a job → [`Reply::Submitted`].
    Submit {
        /// Text of the job file.
        job_file: String,
        /// Folder that paths of the job file are relative to.
        folder: String,
        /// How other devices may run the job; `None` keeps it on this device.
        #[serde(default)]
        grid: Option<GridOptions>,
        /// Seconds from submission to the deadline; `None` keeps the value of the job file.
        #[serde(default)]
        deadline_seconds: Option<u64>,
    },
    /// Accepts an exported checkpoint, with its program and inputs, as a job that continues from it →
    /// [`Reply::Submitted`].
    SubmitCheckpoint {
        /// Path of the checkpoint file.
        path: String,
    },
    /// Accepts one of the example jobs → [`Reply::Submitted`].
    SubmitExample {
        /// Name of the example.
        name: String,
        /// How other devices may run the job; `None` keeps it on this device.
        #[serde(default)]
        grid: Option<GridOptions>,
        /// Seconds from submission to the deadline; `None` keeps the value of the job file.
        #[serde(default)]
        deadline_seconds: Option<u64>,
    },
    /// Estimates the cost of a job here by running the beginning of its first task → [`Reply::Estimate`].
    Estimate {
        /// Text of the job file.
        job_file: String,
        /// Folder that paths of the job file are relative to.
        folder: String,
        /// Seconds to run the task for, 1 to 600.
        seconds: u32,
        /// Whether to run even while the device is in use, as [`JobAction::RunNow`] does.
        #[serde(default)]
        now: bool,
    },
    /// Returns the example jobs → [`Reply::Examples`].
    Examples,
    /// Returns a page of jobs, newest first → [`Reply::Jobs`].
    Jobs(JobQuery),
    /// Returns one job with its tasks and journal → [`Reply::Job`].
    Job {
        /// Id of the job.
        id: JobId,
        /// Index of the first task to return.
        tasks_from: u32,
    },
    /// Returns more output files of one task, in path order → [`Reply::Outputs`].
    Outputs {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Path after which the page begins; empty for the first file.
        after: String,
    },
    /// Returns files of one task that were renamed in its result or left out of it → [`Reply::Renamed`].
    Renamed {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Number of the first file to return, from 0.
        from: u32,
    },
    /// Changes one job → [`Reply::Done`].
    ChangeJob {
        /// Id of the job.
        id: JobId,
        /// Change to make.
        action: JobAction,
    },
    /// Returns the standard output or standard error of a task → [`Reply::Text`].
    Log {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Whether to return standard error instead of standard output.
        stderr: bool,
    },
    /// Returns one output file → [`Reply::Bytes`].
    Output {
        /// Id of the job.
        id: JobId,
        /// Index of the task; `None` for the assembled result.
        index: Option<u32>,
        /// Path of the file; ignored for the assembled result.
        path: String,
    },
    /// Returns a piece of a result as bytes; for results of any size → [`Reply::Piece`].
    ReadResult {
        /// Id of the job.
        id: JobId,
        /// Part of the result to read.
        part: ResultPart,
        /// Position at which the piece begins: the start, or `next` of the piece before.
        #[serde(default)]
        from: ResultPosition,
        /// Length of the piece in bytes at most; limited to 8 MiB.
        limit: u32,
    },
    /// Writes every result file of a job into a folder → [`Reply::Exported`].
    Export {
        /// Id of the job.
        id: JobId,
        /// Destination folder; created when missing.
        folder: String,
    },
    /// Takes a checkpoint of every running task of a job now → [`Reply::Checkpoints`].
    Checkpoint {
        /// Id of the job.
        id: JobId,
    },
    /// Writes a checkpoint of a task with its program and inputs to a file → [`Reply::Checkpoints`].
    ExportCheckpoint {
        /// Id of the job.
        id: JobId,
        /// Index of the task; `None` for the first one that has a checkpoint.
        index: Option<u32>,
        /// Destination file; replaced when it exists.
        path: String,
    },
    /// Writes the history of a task with its program and inputs to a folder → [`Reply::TaskHistory`].
    ExportHistory {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Destination folder; created when missing.
        folder: String,
    },
    /// Returns the settings in force → [`Reply::Settings`].
    Settings,
    /// Changes all given settings or none; a null value restores a default → [`Reply::Done`].
    SetSettings {
        /// New values by key.
        changes: BTreeMap<String, serde_json::Value>,
    },
    /// Restores every setting to its default → [`Reply::Done`].
    ResetSettings,
    /// Returns the work history of the device → [`Reply::History`].
    History {
        /// Length of the period up to now, in hours.
        hours: u32,
        /// Number of points at most, 1 to 2000.
        points: u32,
    },
    /// Returns the joined networks and their devices → [`Reply::Network`].
    Network,
    /// Joins a network → [`Reply::Network`].
    JoinNetwork {
        /// `lan`, `open`, or an invitation.
        what: String,
    },
    /// Leaves a network → [`Reply::Network`].
    LeaveNetwork {
        /// Name of the network; `None` leaves all of them.
        name: Option<String>,
    },
    /// Returns an invitation that lets another device into a private group → [`Reply::Invite`].
    Invite {
        /// Name of the group, created when missing; `None` means the first group or a new `home`.
        group: Option<String>,
    },
    /// Returns every known device → [`Reply::Peers`].
    Peers,
    /// Returns the devices that hold tasks of a job → [`Reply::Places`].
    Places {
        /// Id of the job.
        id: JobId,
    },
    /// Plans the placement of a job and its price without submitting it → [`Reply::Placement`].
    Plan {
        /// Text of the job file.
        job_file: String,
        /// Folder that paths of the job file are relative to.
        folder: String,
        /// How other devices may run the job.
        grid: GridOptions,
    },
    /// Plans the placement of the unfinished tasks of a submitted job → [`Reply::Placement`].
    PlanJob {
        /// Id of the job.
        id: JobId,
    },
    /// Returns credits earned, spent and reserved → [`Reply::Credits`].
    Credits,
    /// Returns the state of chat → [`Reply::Chat`].
    Chat,
    /// Returns messages of one thread, newest first → [`Reply::ChatMessages`].
    ChatThread {
        /// Person (id, nickname, or `nickname#` and first digits of the id) or group; empty for the room.
        with: String,
        /// Upper bound (exclusive) of the message numbers; `None` starts with the newest.
        #[serde(default)]
        before: Option<i64>,
        /// Number of messages at most, 1 to 500.
        limit: u32,
        /// Text that the messages must contain; empty for all messages.
        #[serde(default)]
        search: String,
    },
    /// Sends a message, or runs a chat command when the text begins with a slash → [`Reply::ChatSaid`].
    ChatSay {
        /// Recipient: a person or group; empty for the room.
        to: String,
        /// Text to send.
        text: String,
    },
    /// Sends a file of at most 100 KiB to one person or to the room → [`Reply::ChatSaid`].
    ChatGive {
        /// Recipient; empty for the room.
        to: String,
        /// Name of the file.
        name: String,
        /// Content of the file, in base64.
        base64: String,
    },
    /// Returns the content of a file that was sent or received → [`Reply::Bytes`].
    ChatFile {
        /// Number of the message.
        row: i64,
    },
    /// Writes a file that was sent or received into a folder, overwriting nothing → [`Reply::Exported`].
    ChatSave {
        /// Number of the message.
        row: i64,
        /// Destination folder.
        folder: String,
    },
    /// Marks all messages of a thread as read → [`Reply::Done`].
    ChatSeen {
        /// Id or name of the person or group; empty for the room.
        with: String,
    },
    /// Sends a failed message again → [`Reply::Done`].
    ChatAgain {
        /// Number of the message.
        row: i64,
    },
    /// Changes the marks of a person → [`Reply::Done`].
    ChatPerson {
        /// Id or name of the person.
        who: String,
        /// Change to make.
        change: PersonChange,
    },
    /// Creates, changes or leaves a private group → [`Reply::Text`] with the id of the group.
    ChatGroup(GroupChange),
    /// Posts a note on the board → [`Reply::Text`] with the id of the note.
    ChatPost {
        /// Text of the note, 1 to 512 bytes.
        text: String,
        /// Whether the note is urgent.
        is_urgent: bool,
        /// Hours until the note expires, 1 to 168.
        hours: u32,
    },
    /// Takes down a note of this device → [`Reply::Done`].
    ChatTakeDown {
        /// Id of the note, or its first digits.
        id: String,
    },
    /// Saves this device's chat identity, the people it knows and its groups to a new file →
    /// [`Reply::Exported`].
    ChatMoveOut {
        /// Destination file.
        path: String,
        /// Passphrase to seal the file with, at least 10 characters.
        passphrase: Secret,
    },
    /// Replaces the chat identity with a saved one, keeping messages → [`Reply::Text`] with the new id.
    ChatMoveIn {
        /// Path of the file.
        path: String,
        /// Passphrase that the file was sealed with.
        passphrase: Secret,
    },
    /// Returns the text of a QR code, valid for five minutes, that proves this device's keys →
    /// [`Reply::Text`].
    ChatCard,
    /// Asks the owner of a scanned code to prove its keys → [`Reply::Text`] with the owner's id.
    ChatScan {
        /// Text of the scanned code.
        card: String,
    },
    /// Writes a thread to a file → [`Reply::Exported`].
    ChatExport {
        /// Id or name of the person or group; empty for the room.
        with: String,
        /// Destination file: `.json` for complete messages, any other ending for text.
        path: String,
    },
    /// Deletes the messages of a thread on this device → [`Reply::Done`].
    ChatClear {
        /// Id or name of the person or group; empty for the room.
        with: String,
    },
    /// Deletes chat keys first, then messages and people, and starts with a new identity → [`Reply::Done`].
    ChatWipe,
    /// Returns counters in the Prometheus text format → [`Reply::Text`].
    Metrics,
    /// Checks that everything works → [`Reply::Checks`].
    Doctor,
    /// Stops the engine → [`Reply::Done`].
    Shutdown,
}

/// A part of a job's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultPart {
    /// Standard output of a task.
    Stdout {
        /// Index of the task.
        index: u32,
    },
    /// Standard error of a task.
    Stderr {
        /// Index of the task.
        index: u32,
    },
    /// An output file of a task.
    File {
        /// Index of the task.
        index: u32,
        /// Path of the file.
        path: String,
    },
    /// Standard output of all finished tasks, in task order; only for jobs assembled by `concat`.
    Assembled,
}

/// A position in a part of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPosition {
    /// Index of the task in an assembled result; otherwise 0.
    pub task: u32,
    /// Offset in bytes.
    pub offset: u64,
}

/// A filter for the list of jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobQuery {
    /// States to include; empty for all.
    pub states: Vec<JobState>,
    /// Text that the job name must contain; empty for all.
    pub name: String,
    /// Upper bound (exclusive) of the job ids; `None` starts with the newest.
    pub before: Option<JobId>,
    /// Number of jobs at most, 1 to 500; 0 means 100.
    pub limit: u32,
}

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

/// A change to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Stops the tasks of the job and starts no more.
    Pause,
    /// Continues the job, also after failures in a row.
    Resume,
    /// Ends the job; results that exist are kept.
    Cancel,
    /// Deletes an ended job and its results.
    Remove,
    /// Runs the job to its end even while the device is in use; rules that protect the device still apply.
    RunNow,
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
    /// Answer to [`Command::Why`].
    Verdict(VerdictView),
    /// Answer to the submit commands: the job is stored.
    Submitted {
        /// The accepted job.
        job: JobSummary,
    },
    /// Answer to [`Command::Estimate`].
    Estimate(EstimateView),
    /// Answer to [`Command::Jobs`].
    Jobs(Vec<JobSummary>),
    /// Answer to [`Command::Job`].
    Job(Box<JobDetail>),
    /// Answer to [`Command::Log`] and to other commands that return text.
    Text(String),
    /// Answer to [`Command::Output`] and [`Command::ChatFile`].
    Bytes {
        /// Media type, guessed from the content for an output file.
        mime: String,
        /// Content, in base64.
        base64: String,
    },
    /// Answer to [`Command::ReadResult`].
    Piece {
        /// Bytes of the piece, in base64.
        base64: String,
        /// Position of the next piece; `None` after the last.
        next: Option<ResultPosition>,
        /// Number of bytes that the log limit cut off where a log ends in this piece.
        #[serde(default)]
        dropped: u64,
    },
    /// Answer to [`Command::Outputs`].
    Outputs {
        /// Files of this page.
        outputs: Vec<crate::OutputView>,
        /// Number of files after this page.
        more: u64,
    },
    /// Answer to [`Command::Renamed`].
    Renamed {
        /// Files of this page, in the order in which they were recorded.
        renamed: Vec<crate::RenamedView>,
        /// Number of the first file of the next page; `None` after the last.
        next: Option<u32>,
    },
    /// Answer to [`Command::Export`] and other commands that write files.
    Exported {
        /// Complete paths of the written files, at most 1000.
        files: Vec<String>,
        /// Number of written files.
        count: u64,
    },
    /// Answer to [`Command::Checkpoint`] and [`Command::ExportCheckpoint`].
    Checkpoints(Vec<CheckpointView>),
    /// Answer to [`Command::ExportHistory`].
    TaskHistory(HistoryView),
    /// Answer to [`Command::Settings`]: every key with its value.
    Settings(BTreeMap<String, serde_json::Value>),
    /// Answer to [`Command::History`].
    History(Vec<HistoryPoint>),
    /// Answer to [`Command::Examples`].
    Examples(Vec<Example>),
    /// Answer to [`Command::Network`], [`Command::JoinNetwork`] and [`Command::LeaveNetwork`].
    Network(Box<NetworkView>),
    /// Answer to [`Command::Invite`].
    Invite {
        /// Name of the group.
        group: String,
        /// Invitation, for [`Command::JoinNetwork`] on the other device.
        text: String,
    },
    /// Answer to [`Command::Peers`].
    Peers(Vec<PeerView>),
    /// Answer to [`Command::Places`].
    Places(Vec<TaskPlace>),
    /// Answer to [`Command::Plan`] and [`Command::PlanJob`].
    Placement(Box<PlacementView>),
    /// Answer to [`Command::Credits`].
    Credits(CreditView),
    /// Answer to [`Command::Chat`].
    Chat(Box<ChatView>),
    /// Answer to [`Command::ChatThread`], newest first.
    ChatMessages(Vec<ChatMessage>),
    /// Answer to [`Command::ChatSay`] and [`Command::ChatGive`].
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

/// Reason why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Kind of error that a front end acts on.
    pub kind: ErrorKind,
    /// One sentence that says what happened, what was kept and what to do.
    pub message: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

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
