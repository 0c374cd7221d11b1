use fog_types::{ByteCount, WorkUnits};
use serde::{Deserialize, Serialize};

use crate::vfs::Content;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The program ended by itself. 0 means success.
    Exited(u32),
    /// The program did something Wasm forbids. The text is the engine's name for it.
    Trapped(String),
    /// A limit ended the program.
    Limit(LimitKind),
    /// The module cannot run here at all: not a command module, or it asks for imports or memory
    /// that are not given. Another attempt would end the same way.
    Refused(String),
}

/// Which limit ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    /// Work units.
    Units,
    /// Running time.
    WallTime,
    /// Stack.
    Stack,
    /// Memory of the worker as a whole. Seen from outside: the work units of such a report are those of the
    /// last word before.
    Memory,
}

/// What one execution did and used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Work units used; the same for the same spec everywhere.
    pub units: WorkUnits,
    /// Largest linear memory.
    pub memory: ByteCount,
    /// Most bytes held in writable folders.
    pub disk: ByteCount,
    /// Milliseconds of processor time: pauses, throttling and waiting for a busy processor are not counted.
    pub active_millis: u64,
    /// Bytes of stdout dropped past the log limit.
    pub stdout_dropped: u64,
    /// Bytes of stderr dropped past the log limit.
    pub stderr_dropped: u64,
    /// Files that cannot be part of the result; the same ones in every attempt.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// Most files of a result.
pub const MAX_OUTPUT_FILES: usize = 50_000;

/// Most bytes of all paths of a result: who keeps it holds them at once.
pub const MAX_OUTPUT_PATHS: usize = 8 << 20;

/// Files a task left that are not in its result. The rest is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Number of files left out.
    pub count: u64,
    /// The first of them.
    pub files: Vec<LeftOutFile>,
}

impl LeftOut {
    /// Adds these files to what is said about a result.
    pub fn remark(&self, remarks: &mut fog_types::path::Remarks) {
        for file in &self.files {
            remarks.left_out(&file.path, file.reason.words());
        }
        remarks.more(self.count.saturating_sub(self.files.len() as u64));
    }
}

impl LeftOutReason {
    /// Returns the end of a sentence that begins "… is left out, because".
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
    /// Path as the job sees it, from its root. A job chose it: clean it before it is shown.
    pub path: String,
    /// Why it was left out.
    pub reason: LeftOutReason,
}

/// Why a file is not in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftOutReason {
    /// Its name means something else on some systems, such as one with a backslash.
    Name,
    /// It is a symbolic link.
    Link,
    /// The result has [`MAX_OUTPUT_FILES`] others, or [`MAX_OUTPUT_PATHS`] bytes of paths.
    TooMany,
    /// It is another name of a file in the result, and a copy would exceed the disk limit.
    SecondName,
    /// It is a folder without anything in it.
    EmptyFolder,
}

/// One file a task left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Relative path from the root the job saw.
    pub path: String,
    /// Its bytes, as they were in the job's tree: one memory for all names of a file.
    pub(crate) content: Content,
}

impl OutputFile {
    /// Number of its bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies its bytes from `at` on into `buffer`; returns how many there were.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        self.content.read(buffer, at)
    }
}

/// The identity of a result: exit code, work units, standard output and every file, in order.
///
/// BLAKE3 over length-prefixed fields, so no two different results share an encoding.
#[must_use]
pub fn result_hash<'a>(exit_code: u32, units: WorkUnits, stdout: &[u8], files: impl Iterator<Item = (&'a str, blake3::Hash)>) -> blake3::Hash {
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
