//! Commands of front ends, by area.

use std::collections::BTreeMap;

use fog_types::job::GridOptions;
use fog_types::{JobId, JobState};
use serde::{Deserialize, Serialize};

use crate::chat::{GroupChange, PersonChange};

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
pub enum Command {
    /// Commands about when this device works.
    Duty(DutyCommand),
    /// Commands about jobs and their results.
    Jobs(JobCommand),
    /// Commands about where tasks run.
    Placement(PlacementCommand),
    /// Commands about settings.
    Settings(SettingsCommand),
    /// Commands about networks and the devices in them.
    Network(NetworkCommand),
    /// Commands about chat.
    Chat(ChatCommand),
    /// Returns everything that the first screen shows → [`Reply::Snapshot`](crate::Reply::Snapshot).
    Snapshot,
    /// Returns the work history of the device → [`Reply::History`](crate::Reply::History).
    History {
        /// Length of the period up to now, in hours.
        hours: u32,
        /// Number of points at most, 1 to 2000.
        points: u32,
    },
    /// Returns credits earned, spent and reserved → [`Reply::Credits`](crate::Reply::Credits).
    Credits,
    /// Returns counters in the Prometheus text format → [`Reply::Text`](crate::Reply::Text).
    Metrics,
    /// Checks that everything works → [`Reply::Checks`](crate::Reply::Checks).
    Doctor,
    /// Stops the engine → [`Reply::Done`](crate::Reply::Done).
    Shutdown,
}

/// Commands about when this device works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DutyCommand {
    /// Switches contributing on or off → [`Reply::Done`](crate::Reply::Done).
    SetContributing {
        /// Whether to contribute from now on.
        on: bool,
    },
    /// Pauses work for some minutes; 0 ends a pause → [`Reply::Done`](crate::Reply::Done).
    Snooze {
        /// Length of the pause in minutes.
        minutes: u32,
    },
    /// Finishes the running tasks, then switches contributing off → [`Reply::Done`](crate::Reply::Done).
    FinishThenStop,
    /// Returns the verdict, for the real readings or with some replaced → [`Reply::Verdict`](crate::Reply::Verdict).
    Why {
        /// Readings to replace, as name and value; the rules in force do not change.
        with: Vec<(String, String)>,
    },
}

/// Commands about jobs and their results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobCommand {
    /// Accepts a job → [`Reply::Submitted`](crate::Reply::Submitted).
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
    /// [`Reply::Submitted`](crate::Reply::Submitted).
    SubmitCheckpoint {
        /// Path of the checkpoint file.
        path: String,
    },
    /// Accepts one of the example jobs → [`Reply::Submitted`](crate::Reply::Submitted).
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
    /// Estimates the cost of a job here by running the beginning of its first task → [`Reply::Estimate`](crate::Reply::Estimate).
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
    /// Returns the example jobs → [`Reply::Examples`](crate::Reply::Examples).
    Examples,
    /// Returns a page of jobs, newest first → [`Reply::Jobs`](crate::Reply::Jobs).
    List(JobQuery),
    /// Returns one job with its tasks and journal → [`Reply::Job`](crate::Reply::Job).
    Show {
        /// Id of the job.
        id: JobId,
        /// Index of the first task to return.
        tasks_from: u32,
    },
    /// Returns more output files of one task, in path order → [`Reply::Outputs`](crate::Reply::Outputs).
    Outputs {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Path after which the page begins; empty for the first file.
        after: String,
    },
    /// Returns files of one task that were renamed in its result or left out of it → [`Reply::Renamed`](crate::Reply::Renamed).
    Renamed {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Number of the first file to return, from 0.
        from: u32,
    },
    /// Changes one job → [`Reply::Done`](crate::Reply::Done).
    Change {
        /// Id of the job.
        id: JobId,
        /// Change to make.
        action: JobAction,
    },
    /// Returns the standard output or standard error of a task → [`Reply::Text`](crate::Reply::Text).
    Log {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Whether to return standard error instead of standard output.
        stderr: bool,
    },
    /// Returns one output file → [`Reply::Bytes`](crate::Reply::Bytes).
    Output {
        /// Id of the job.
        id: JobId,
        /// Index of the task; `None` for the assembled result.
        index: Option<u32>,
        /// Path of the file; ignored for the assembled result.
        path: String,
    },
    /// Returns a piece of a result as bytes; for results of any size → [`Reply::Piece`](crate::Reply::Piece).
    Read {
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
    /// Writes every result file of a job into a folder → [`Reply::Exported`](crate::Reply::Exported).
    Export {
        /// Id of the job.
        id: JobId,
        /// Destination folder; created when missing.
        folder: String,
    },
    /// Takes a checkpoint of every running task of a job now → [`Reply::Checkpoints`](crate::Reply::Checkpoints).
    Checkpoint {
        /// Id of the job.
        id: JobId,
    },
    /// Writes a checkpoint of a task with its program and inputs to a file → [`Reply::Checkpoints`](crate::Reply::Checkpoints).
    ExportCheckpoint {
        /// Id of the job.
        id: JobId,
        /// Index of the task; `None` for the first one that has a checkpoint.
        index: Option<u32>,
        /// Destination file; replaced when it exists.
        path: String,
    },
    /// Writes the history of a task with its program and inputs to a folder → [`Reply::TaskHistory`](crate::Reply::TaskHistory).
    ExportHistory {
        /// Id of the job.
        id: JobId,
        /// Index of the task.
        index: u32,
        /// Destination folder; created when missing.
        folder: String,
    },
}

/// Commands about where the tasks of a job run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementCommand {
    /// Returns the devices that hold tasks of a job → [`Reply::Places`](crate::Reply::Places).
    Places {
        /// Id of the job.
        id: JobId,
    },
    /// Plans the placement of a job and its price without submitting it → [`Reply::Placement`](crate::Reply::Placement).
    Plan {
        /// Text of the job file.
        job_file: String,
        /// Folder that paths of the job file are relative to.
        folder: String,
        /// How other devices may run the job.
        grid: GridOptions,
    },
    /// Plans the placement of the unfinished tasks of a submitted job → [`Reply::Placement`](crate::Reply::Placement).
    PlanJob {
        /// Id of the job.
        id: JobId,
    },
}

/// Commands about settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingsCommand {
    /// Returns the settings in force → [`Reply::Settings`](crate::Reply::Settings).
    Get,
    /// Changes all given settings or none; a null value restores a default → [`Reply::Done`](crate::Reply::Done).
    Set {
        /// New values by key.
        changes: BTreeMap<String, serde_json::Value>,
    },
    /// Restores every setting to its default → [`Reply::Done`](crate::Reply::Done).
    Reset,
}

/// Commands about networks and the devices in them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkCommand {
    /// Returns the joined networks and their devices → [`Reply::Network`](crate::Reply::Network).
    Show,
    /// Joins a network → [`Reply::Network`](crate::Reply::Network).
    Join {
        /// `lan`, `open`, or an invitation.
        what: String,
    },
    /// Leaves a network → [`Reply::Network`](crate::Reply::Network).
    Leave {
        /// Name of the network; `None` leaves all of them.
        name: Option<String>,
    },
    /// Returns an invitation that lets another device into a private group → [`Reply::Invite`](crate::Reply::Invite).
    Invite {
        /// Name of the group, created when missing; `None` means the first group or a new `home`.
        group: Option<String>,
    },
    /// Returns every known device → [`Reply::Peers`](crate::Reply::Peers).
    Peers,
}

/// Commands about chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatCommand {
    /// Returns the state of chat → [`Reply::Chat`](crate::Reply::Chat).
    Show,
    /// Returns messages of one thread, newest first → [`Reply::ChatMessages`](crate::Reply::ChatMessages).
    Thread {
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
    /// Sends a message, or runs a chat command when the text begins with a slash → [`Reply::ChatSaid`](crate::Reply::ChatSaid).
    Say {
        /// Recipient: a person or group; empty for the room.
        to: String,
        /// Text to send.
        text: String,
    },
    /// Sends a file of at most 100 KiB to one person or to the room → [`Reply::ChatSaid`](crate::Reply::ChatSaid).
    Give {
        /// Recipient; empty for the room.
        to: String,
        /// Name of the file.
        name: String,
        /// Content of the file, in base64.
        base64: String,
    },
    /// Returns the content of a file that was sent or received → [`Reply::Bytes`](crate::Reply::Bytes).
    File {
        /// Number of the message.
        row: i64,
    },
    /// Writes a file that was sent or received into a folder, overwriting nothing → [`Reply::Exported`](crate::Reply::Exported).
    Save {
        /// Number of the message.
        row: i64,
        /// Destination folder.
        folder: String,
    },
    /// Marks all messages of a thread as read → [`Reply::Done`](crate::Reply::Done).
    Seen {
        /// Id or name of the person or group; empty for the room.
        with: String,
    },
    /// Sends a failed message again → [`Reply::Done`](crate::Reply::Done).
    Again {
        /// Number of the message.
        row: i64,
    },
    /// Changes the marks of a person → [`Reply::Done`](crate::Reply::Done).
    Person {
        /// Id or name of the person.
        who: String,
        /// Change to make.
        change: PersonChange,
    },
    /// Creates, changes or leaves a private group → [`Reply::Text`](crate::Reply::Text) with the id of the group.
    Group(GroupChange),
    /// Posts a note on the board → [`Reply::Text`](crate::Reply::Text) with the id of the note.
    Post {
        /// Text of the note, 1 to 512 bytes.
        text: String,
        /// Whether the note is urgent.
        is_urgent: bool,
        /// Hours until the note expires, 1 to 168.
        hours: u32,
    },
    /// Takes down a note of this device → [`Reply::Done`](crate::Reply::Done).
    TakeDown {
        /// Id of the note, or its first digits.
        id: String,
    },
    /// Saves this device's chat identity, the people it knows and its groups to a new file →
    /// [`Reply::Exported`](crate::Reply::Exported).
    MoveOut {
        /// Destination file.
        path: String,
        /// Passphrase to seal the file with, at least 10 characters.
        passphrase: Secret,
    },
    /// Replaces the chat identity with a saved one, keeping messages → [`Reply::Text`](crate::Reply::Text) with the new id.
    MoveIn {
        /// Path of the file.
        path: String,
        /// Passphrase that the file was sealed with.
        passphrase: Secret,
    },
    /// Returns the text of a QR code, valid for five minutes, that proves this device's keys →
    /// [`Reply::Text`](crate::Reply::Text).
    Card,
    /// Asks the owner of a scanned code to prove its keys → [`Reply::Text`](crate::Reply::Text) with the owner's id.
    Scan {
        /// Text of the scanned code.
        card: String,
    },
    /// Writes a thread to a file → [`Reply::Exported`](crate::Reply::Exported).
    Export {
        /// Id or name of the person or group; empty for the room.
        with: String,
        /// Destination file: `.json` for complete messages, any other ending for text.
        path: String,
    },
    /// Deletes the messages of a thread on this device → [`Reply::Done`](crate::Reply::Done).
    Clear {
        /// Id or name of the person or group; empty for the room.
        with: String,
    },
    /// Deletes chat keys first, then messages and people, and starts with a new identity → [`Reply::Done`](crate::Reply::Done).
    Wipe,
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
