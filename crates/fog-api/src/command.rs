use std::collections::BTreeMap;

use fog_types::job::GridWish;
use fog_types::{ErrorKind, JobId, JobState};
use serde::{Deserialize, Serialize};

use crate::chat::{ChatMessage, ChatView, GroupChange, PersonChange};
use crate::event::Event;
use crate::network::{CreditView, NetworkView, PeerView, PlacementView, TaskPlace};
use crate::verdict::VerdictView;
use crate::view::{Check, EstimateView, Example, HistoryPoint, HistoryView, JobDetail, JobSummary, Snapshot};

/// Raised when an older front end could misread an answer.
pub const PROTOCOL_VERSION: u32 = 2;

/// Something that is not shown, neither in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Everything a front end can ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Everything the first screen shows → [`Reply::Snapshot`].
    Snapshot,
    /// The big switch → [`Reply::Done`].
    SetContributing {
        /// Contribute from now on.
        on: bool,
    },
    /// Pause for some minutes; 0 ends a pause → [`Reply::Done`].
    Snooze {
        /// How long.
        minutes: u32,
    },
    /// Finish the tasks that run, then switch contributing off → [`Reply::Done`].
    FinishThenStop,
    /// The verdict, on the real readings or with some replaced → [`Reply::Verdict`].
    Why {
        /// Readings to replace, by name. Nothing is changed by asking.
        with: Vec<(String, String)>,
    },
    /// Accept a job → [`Reply::Submitted`].
    Submit {
        /// The job file's text.
        job_file: String,
        /// The folder its paths are relative to.
        folder: String,
        /// That other devices may run it; `None` keeps it here.
        #[serde(default)]
        grid: Option<GridWish>,
        /// Seconds after which nobody wants the result, instead of what the job file says.
        #[serde(default)]
        deadline_seconds: Option<u64>,
    },
    /// Accept a checkpoint that travels, with its program and inputs, as a job that goes on from it →
    /// [`Reply::Submitted`].
    SubmitCheckpoint {
        /// The file.
        path: String,
    },
    /// Accept one of the jobs that come with the program → [`Reply::Submitted`].
    SubmitExample {
        /// Its name.
        name: String,
        /// That other devices may run it; `None` keeps it here.
        #[serde(default)]
        grid: Option<GridWish>,
        /// Seconds after which nobody wants the result, instead of what the job file says.
        #[serde(default)]
        deadline_seconds: Option<u64>,
    },
    /// What a job would cost here, from running the beginning of its first task → [`Reply::Estimate`].
    Estimate {
        /// The job file's text.
        job_file: String,
        /// The folder its paths are relative to.
        folder: String,
        /// How long to run it, 1 to 600.
        seconds: u32,
        /// Also while its owner or other programs use the device, as [`JobAction::RunNow`] does.
        #[serde(default)]
        now: bool,
    },
    /// The jobs that come with the program → [`Reply::Examples`].
    Examples,
    /// A page of jobs, newest first → [`Reply::Jobs`].
    Jobs(JobQuery),
    /// One job with its tasks and history → [`Reply::Job`].
    Job {
        /// Which.
        id: JobId,
        /// First task to show.
        tasks_from: u32,
    },
    /// More files of one task, in path order, when a page of its job leaves some out → [`Reply::Outputs`].
    Outputs {
        /// The job.
        id: JobId,
        /// Number of its task.
        index: u32,
        /// Those after this path.
        after: String,
    },
    /// Files of one task whose names were changed or that were left out of its result → [`Reply::Renamed`].
    Renamed {
        /// Which job.
        id: JobId,
        /// Which task.
        index: u32,
        /// Number of the first one to give, from 0.
        from: u32,
    },
    /// Change one job → [`Reply::Done`].
    ChangeJob {
        /// Which.
        id: JobId,
        /// How.
        action: JobAction,
    },
    /// What a task printed → [`Reply::Text`].
    Log {
        /// Which job.
        id: JobId,
        /// Which task.
        index: u32,
        /// Standard error instead of standard output.
        stderr: bool,
    },
    /// One output file → [`Reply::Bytes`].
    Output {
        /// Which job.
        id: JobId,
        /// Which task; `None` for the assembled result.
        index: Option<u32>,
        /// Its path; ignored for the assembled result.
        path: String,
    },
    /// A piece of what a job left, as bytes: how large results are read → [`Reply::Piece`].
    ReadResult {
        /// Which job.
        id: JobId,
        /// What of it.
        part: ResultPart,
        /// Where the piece begins; where the one before says it goes on.
        #[serde(default)]
        from: ResultPosition,
        /// Most bytes of the piece; at most 8 MiB come.
        limit: u32,
    },
    /// Write every result file of a job below a folder → [`Reply::Exported`].
    Export {
        /// Which job.
        id: JobId,
        /// Where to; made when missing.
        folder: String,
    },
    /// Take a checkpoint of every running task of a job now → [`Reply::Checkpoints`].
    Checkpoint {
        /// Which.
        id: JobId,
    },
    /// Write a checkpoint of a task with its program and inputs to a file → [`Reply::Checkpoints`].
    ExportCheckpoint {
        /// Which job.
        id: JobId,
        /// Which task; `None` for the first that has a checkpoint.
        index: Option<u32>,
        /// Where to; an existing file is replaced.
        path: String,
    },
    /// Write the history of a task with its program and inputs to a folder → [`Reply::TaskHistory`].
    ExportHistory {
        /// Which job.
        id: JobId,
        /// Which task.
        index: u32,
        /// Where to; made when missing.
        folder: String,
    },
    /// The settings in force → [`Reply::Settings`].
    Settings,
    /// Change settings, all or none; null returns one to its default → [`Reply::Done`].
    SetSettings {
        /// New values by key.
        changes: BTreeMap<String, serde_json::Value>,
    },
    /// Return every setting to its default → [`Reply::Done`].
    ResetSettings,
    /// What the device did → [`Reply::History`].
    History {
        /// How far back, in hours.
        hours: u32,
        /// At most this many points.
        points: u32,
    },
    /// Which networks this device joined, and who is there → [`Reply::Network`].
    Network,
    /// Join one → [`Reply::Network`].
    JoinNetwork {
        /// `lan`, `open`, or an invitation.
        what: String,
    },
    /// Leave one → [`Reply::Network`].
    LeaveNetwork {
        /// Its name; `None` leaves all of them.
        name: Option<String>,
    },
    /// A text that lets another device into a private group → [`Reply::Invite`].
    Invite {
        /// The group; made when there is none of this name. `None` means the first one, or one called `home`.
        group: Option<String>,
    },
    /// Every device that is known → [`Reply::Peers`].
    Peers,
    /// Where the tasks of a job are → [`Reply::Places`].
    Places {
        /// Which.
        id: JobId,
    },
    /// Where the tasks of a job could go, and at what price; nothing is submitted → [`Reply::Placement`].
    Plan {
        /// The job file's text.
        job_file: String,
        /// The folder its paths are relative to.
        folder: String,
        /// How.
        grid: GridWish,
    },
    /// The same for what is left of a job that was submitted for other devices → [`Reply::Placement`].
    PlanJob {
        /// Its number.
        id: JobId,
    },
    /// What was earned, spent and put aside between devices → [`Reply::Credits`].
    Credits,
    /// Who is near, and what was said → [`Reply::Chat`].
    Chat,
    /// Messages of one thread, the newest first → [`Reply::ChatMessages`].
    ChatThread {
        /// The person: id, nickname, or `nickname#` and the first digits of the id; empty for the room.
        with: String,
        /// Only messages with lower numbers.
        #[serde(default)]
        before: Option<i64>,
        /// At most this many, 1 to 500.
        limit: u32,
        /// Only messages that contain this; empty for all.
        #[serde(default)]
        search: String,
    },
    /// Says something; a line that begins with a slash is a command as in the apps → [`Reply::ChatSaid`].
    ChatSay {
        /// To whom; empty for everybody in the room.
        to: String,
        /// What.
        text: String,
    },
    /// Sends a file to one person, at most 100 KiB → [`Reply::ChatSaid`].
    ChatGive {
        /// To whom.
        to: String,
        /// Its name.
        name: String,
        /// Its bytes.
        base64: String,
    },
    /// The bytes of a file that came or went → [`Reply::Bytes`].
    ChatFile {
        /// The message's number.
        row: i64,
    },
    /// Writes a file that came or went into a folder; nothing is overwritten → [`Reply::Exported`].
    ChatSave {
        /// The message's number.
        row: i64,
        /// The folder.
        folder: String,
    },
    /// What is in a thread was seen → [`Reply::Done`].
    ChatSeen {
        /// The person's id; empty for the room.
        with: String,
    },
    /// Sends a message again that was given up → [`Reply::Done`].
    ChatAgain {
        /// Its number.
        row: i64,
    },
    /// Changes what is remembered of somebody → [`Reply::Done`].
    ChatPerson {
        /// Whom.
        who: String,
        /// How.
        change: PersonChange,
    },
    /// Makes, changes or leaves a private group → [`Reply::Text`], its id.
    ChatGroup(GroupChange),
    /// Puts a note on the board → [`Reply::Text`], its id.
    ChatPost {
        /// 1 to 512 bytes.
        text: String,
        /// It is meant to be noticed.
        is_urgent: bool,
        /// How long it stays: 1 to 168 hours.
        hours: u32,
    },
    /// Takes a note of this device down → [`Reply::Done`].
    ChatTakeDown {
        /// Its id, or the first digits of it.
        id: String,
    },
    /// Saves who this device is in the mesh, whom it knows and its groups to a file that is not there yet
    /// → [`Reply::Exported`].
    ChatMoveOut {
        /// Where to.
        path: String,
        /// Opens the file; at least 10 characters.
        passphrase: Secret,
    },
    /// Becomes who such a file says; who this device was is deleted, its messages stay → [`Reply::Text`], the new id.
    ChatMoveIn {
        /// The file.
        path: String,
        /// What it was sealed with.
        passphrase: Secret,
    },
    /// The text of a QR code that proves this device's keys to who scans it within five minutes → [`Reply::Text`].
    ChatCard,
    /// A code that was scanned: its owner is asked to prove the keys in it → [`Reply::Text`], who that is.
    ChatScan {
        /// What the code says.
        card: String,
    },
    /// Writes a thread to a file → [`Reply::Exported`].
    ChatExport {
        /// The person; empty for the room.
        with: String,
        /// Where to: `.json` for all there is, else text.
        path: String,
    },
    /// Deletes the messages of a thread on this device → [`Reply::Done`].
    ChatClear {
        /// The person; empty for the room.
        with: String,
    },
    /// Deletes keys, messages and everything known of people, keys first; then begins as somebody new → [`Reply::Done`].
    ChatWipe,
    /// Counters in the Prometheus text format → [`Reply::Text`].
    Metrics,
    /// Check that everything works → [`Reply::Checks`].
    Doctor,
    /// Stop the engine → [`Reply::Done`].
    Shutdown,
}

/// A part of what a job left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultPart {
    /// What a task printed on standard output.
    Stdout {
        /// Which task.
        index: u32,
    },
    /// What a task printed on standard error.
    Stderr {
        /// Which task.
        index: u32,
    },
    /// A file that a task left.
    File {
        /// Which task.
        index: u32,
        /// Its path.
        path: String,
    },
    /// Standard output of all finished tasks, in task order, of a job that puts them together so.
    Assembled,
}

/// A place in a part of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPosition {
    /// Which task, in what is put together of many; else 0.
    pub task: u32,
    /// Bytes before it.
    pub offset: u64,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobQuery {
    /// Only these states; empty means all.
    pub states: Vec<JobState>,
    /// Only names containing this.
    pub name: String,
    /// Only numbers below this.
    pub before: Option<JobId>,
    /// At most this many, 1 to 500; 0 means 100.
    pub limit: u32,
}

/// A checkpoint that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// Of which task of the job.
    pub index: u32,
    /// Work units used then.
    pub units: u64,
    /// Milliseconds since 1970.
    pub taken_ms: i64,
}

/// A change to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Stop its tasks and start no more.
    Pause,
    /// Go on, also after failures in a row.
    Resume,
    /// End it; results that exist are kept.
    Cancel,
    /// Forget an ended job and its results.
    Remove,
    /// Run it to its end whatever other programs or the owner do; rules that protect the device hold.
    RunNow,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// Instead of [`Reply::Done`]: it is done and holds while the engine runs, but could not be stored yet.
    NotStored {
        /// One sentence: what holds, why it is not stored, what follows.
        message: String,
    },
    /// To [`Command::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// To [`Command::Why`].
    Verdict(VerdictView),
    /// To [`Command::Submit`]: stored, and safe from here on.
    Submitted {
        /// The new job.
        job: JobSummary,
    },
    /// To [`Command::Estimate`].
    Estimate(EstimateView),
    /// To [`Command::Jobs`].
    Jobs(Vec<JobSummary>),
    /// To [`Command::Job`].
    Job(Box<JobDetail>),
    /// To [`Command::Log`].
    Text(String),
    /// To [`Command::Output`], in base64.
    Bytes {
        /// MIME type guessed from the bytes.
        mime: String,
        /// The content.
        base64: String,
    },
    /// To [`Command::ReadResult`].
    Piece {
        /// The bytes, in base64.
        base64: String,
        /// Where the next piece begins; `None` after the last.
        next: Option<ResultPosition>,
        /// Bytes that a log limit dropped at the end of what this piece is of.
        #[serde(default)]
        dropped: u64,
    },
    /// To [`Command::Outputs`]: the next files, and how many come after them.
    Outputs {
        /// A page of them.
        outputs: Vec<crate::OutputView>,
        /// How many more there are.
        more: u64,
    },
    /// To [`Command::Renamed`]: a page of them.
    Renamed {
        /// In the order in which they were noted.
        renamed: Vec<crate::RenamedView>,
        /// Number of the first one of the next page; `None` after the last.
        next: Option<u32>,
    },
    /// To [`Command::Export`]: what was written.
    Exported {
        /// Complete paths: all, or the first thousand.
        files: Vec<String>,
        /// How many files were written.
        count: u64,
    },
    /// To [`Command::Checkpoint`] and [`Command::ExportCheckpoint`].
    Checkpoints(Vec<CheckpointView>),
    /// To [`Command::ExportHistory`].
    TaskHistory(HistoryView),
    /// To [`Command::Settings`]: every key with its value.
    Settings(BTreeMap<String, serde_json::Value>),
    /// To [`Command::History`].
    History(Vec<HistoryPoint>),
    /// To [`Command::Examples`].
    Examples(Vec<Example>),
    /// To [`Command::Network`], [`Command::JoinNetwork`] and [`Command::LeaveNetwork`].
    Network(Box<NetworkView>),
    /// To [`Command::Invite`].
    Invite {
        /// The group.
        group: String,
        /// For [`Command::JoinNetwork`] on the other device.
        text: String,
    },
    /// To [`Command::Peers`].
    Peers(Vec<PeerView>),
    /// To [`Command::Places`].
    Places(Vec<TaskPlace>),
    /// To [`Command::Plan`].
    Placement(Box<PlacementView>),
    /// Sums of credits.
    Credits(CreditView),
    /// To [`Command::Chat`].
    Chat(Box<ChatView>),
    /// To [`Command::ChatThread`], the newest first.
    ChatMessages(Vec<ChatMessage>),
    /// To [`Command::ChatSay`] and [`Command::ChatGive`].
    ChatSaid {
        /// What was stored and goes out; a long text becomes several.
        messages: Vec<ChatMessage>,
        /// The answer to a command; empty for a text.
        note: String,
    },
    /// To [`Command::Doctor`].
    Checks(Vec<Check>),
}

impl Reply {
    /// To [`Command::Export`]: as many paths as a reply may hold, and how many there are.
    #[must_use]
    pub fn exported(mut files: Vec<String>) -> Self {
        let count = files.len() as u64;
        files.truncate(MAX_EXPORTED);
        Self::Exported { files, count }
    }
}

/// Paths that are listed after an export.
const MAX_EXPORTED: usize = 1_000;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What a front end acts on.
    pub kind: ErrorKind,
    /// One sentence: what happened, what was kept, what to do.
    pub message: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// One command on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A command whose answer repeats the id.
    Call {
        /// Chosen by the client.
        id: u64,
        /// What to do.
        command: Command,
    },
    /// Send events from now on.
    Subscribe,
    /// The first request of every connection: knows the token of the data folder.
    Prove {
        /// Over the server's nonce.
        proof: String,
        /// Drawn for this connection, in hexadecimal; the server proves itself over it.
        nonce: String,
    },
}

/// An answer on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Of the request.
    pub id: u64,
    /// The outcome.
    pub result: Result<Reply, ApiError>,
}

/// Everything a server may say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message on every connection.
    Hello {
        /// [`PROTOCOL_VERSION`] of the server.
        protocol: u32,
        /// Its release.
        version: String,
        /// Drawn for this connection, in hexadecimal; the client proves itself over it. Empty in protocol 1.
        #[serde(default)]
        nonce: String,
    },
    /// The client is who it should be; so is the server.
    Welcome {
        /// Over the client's nonce.
        proof: String,
    },
    /// An answer.
    Response(Box<Response>),
    /// Something happened.
    Event(Box<Event>),
}
