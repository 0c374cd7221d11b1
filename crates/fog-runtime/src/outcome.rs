use fog_types::{ByteCount, WorkUnits};
use serde::{Deserialize, Serialize};

use crate::vfs::Content;

/// End of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The program ended by itself with this exit code; 0 means success.
    Exited(u32),
    /// The program trapped; the text is the engine's name for the trap.
    Trapped(String),
    /// A limit ended the program.
    Limit(LimitKind),
    /// The module cannot run here: it is not a command module, or needs imports or memory that it does not
    /// get. Another attempt would end the same way.
    Refused(String),
}

/// Limit that ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    /// All work units are used.
    Units,
    /// The running time is over.
    WallTime,
    /// The stack is full.
    Stack,
    /// The worker process used too much memory. Detected from outside, so the report has the work units of
    /// the last progress message.
    Memory,
}

/// Result and resource use of one execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// End of the task.
    pub outcome: Outcome,
    /// Work units used; the same everywhere for the same spec.
    pub units: WorkUnits,
    /// Largest size of linear memory.
    pub memory: ByteCount,
    /// Largest number of bytes in writable folders.
    pub disk: ByteCount,
    /// Processor time in milliseconds; pauses, throttling and waiting for a busy processor do not count.
    pub active_millis: u64,
    /// Bytes of stdout beyond the log limit, which were dropped.
    pub stdout_dropped: u64,
    /// Bytes of stderr beyond the log limit, which were dropped.
    pub stderr_dropped: u64,
    /// Files that cannot be part of the result; the same in every attempt.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// Largest number of files of a result.
pub const MAX_OUTPUT_FILES: usize = 50_000;

/// Largest total length of all paths of a result, bytes; the receiver holds them in memory at once.
pub const MAX_OUTPUT_PATHS: usize = 8 << 20;

/// Files of a task that are not in its result, although the others are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Number of files left out.
    pub count: u64,
    /// First of these files.
    pub files: Vec<LeftOutFile>,
}

impl LeftOut {
    /// Adds these files to the remarks about a result.
    pub fn remark(&self, remarks: &mut fog_types::path::Remarks) {
        for file in &self.files {
            remarks.left_out(&file.path, file.reason.words());
        }
        remarks.more(self.count.saturating_sub(self.files.len() as u64));
    }
}

impl LeftOutReason {
    /// Returns the reason as the end of a sentence that begins "… is left out, because".
    fn words(self) -> &'static str {
        match self {
            Self::Name => "no system could keep its name",
            Self::Link => "it is a symbolic link",
            Self::TooMany => "the result has as many other files as one can have",
            Self::EmptyFolder => "it is an empty folder, and a result has files only",
            Self::SecondName => "it is a second name of another file, and a copy would exceed the disk limit",
        }
    }
}

/// A file that is not in the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutFile {
    /// Path as the job sees it, from its root. The job chose it, so it must be cleaned before it is shown.
    pub path: String,
    /// Reason why it was left out.
    pub reason: LeftOutReason,
}

/// Reason why a file is not in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftOutReason {
    /// The path cannot be made valid for every system, such as one that is too long once escaped.
    Name,
    /// The file is a symbolic link.
    Link,
    /// The result already has [`MAX_OUTPUT_FILES`] files, or [`MAX_OUTPUT_PATHS`] bytes of paths.
    TooMany,
    /// Another name of the file is in the result, and a copy would exceed the disk limit.
    SecondName,
    /// The folder is empty.
    EmptyFolder,
}

/// One file that a task left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Path relative to the root that the job saw.
    pub path: String,
    /// Content of the file, which all its names share in memory.
    pub(crate) content: Content,
}

impl OutputFile {
    /// Length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.len()
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes from position `at` into `buffer`; returns how many were copied.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        self.content.read(buffer, at)
    }
}

/// Identity of a result: BLAKE3 of exit code, work units, standard output and every file, in order.
///
/// Fields have their length in front, so that no two results share an encoding.
#[must_use]
pub fn result_hash<'a>(
    exit_code: u32,
    units: WorkUnits,
    stdout: &[u8],
    files: impl Iterator<Item = (&'a str, blake3::Hash)>,
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("fog-compute result v1");
    hasher.update(&exit_code.to_le_bytes());
    hasher.update(&units.0.to_le_bytes());
    hasher.update(&(stdout.len() as u64).to_le_bytes());
    hasher.update(stdout);
    for (path, content) in files {
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path.as_bytes());
        hasher.update(content.as_bytes());
    }
    hasher.finalize()
}
