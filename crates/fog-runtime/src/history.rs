//! History of a run: a folder with a checkpoint and a state hash for each mark, so that any segment of the
//! run can be repeated. `docs/checkpoint.md` describes the folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fog_types::{ByteCount, ErrorKind, HasKind};
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointWriter;
use crate::files::{NewFile, read_regular};
use crate::protocol::Mark;
use crate::run::SLICE_UNITS;

/// Version of the folder's format.
const HISTORY_FORMAT: u32 = 2;
const INDEX: &str = "history.json";
/// Largest index that is read, bytes: ten thousand marks take about 1.5 MB.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Contents of `history.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    format: u32,
    /// BLAKE3 of the module, in hexadecimal.
    pub module: String,
    /// Identity of the task: [`CheckpointHeader::task_identity`](crate::CheckpointHeader::task_identity).
    pub task: String,
    /// Work units between two marks.
    pub segment: u64,
    /// Marks in order.
    pub marks: Vec<HistoryMark>,
    /// End of the run, once it has ended.
    pub end: Option<HistoryEnd>,
}

/// A mark together with the output, which the state does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryMark {
    /// Number, units and state hash.
    #[serde(flatten)]
    pub mark: Mark,
    /// BLAKE3 of standard output so far, in hexadecimal.
    pub stdout: String,
}

impl HistoryMark {
    /// Creates the entry for a mark from the output so far.
    #[must_use]
    pub fn new(mark: Mark, stdout: &[u8]) -> Self {
        Self { mark, stdout: blake3::hash(stdout).to_hex().to_string() }
    }
}

/// End of a run, and so of its last segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEnd {
    /// Work units of the whole run.
    pub units: u64,
    /// Identity of the result; `None` when the run ended without one.
    pub result_hash: Option<String>,
}

/// Error of a history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The index is not valid.
    #[error("{path} is not a history: {problem}")]
    Damaged {
        /// Path of the index.
        path: PathBuf,
        /// Description of the fault.
        problem: String,
    },
    /// The worker sent a mark that cannot come next.
    #[error("mark {number} cannot follow mark {before}")]
    OutOfTurn {
        /// Number of the new mark.
        number: u64,
        /// Number of the last mark.
        before: u64,
    },
}

impl HasKind for HistoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::File { .. } => ErrorKind::Storage,
            Self::Damaged { .. } | Self::OutOfTurn { .. } => ErrorKind::BadInput,
        }
    }
}

impl History {
    /// Creates the history of a run that begins; writes nothing.
    #[must_use]
    pub fn new(module: &str, task: &str, segment: u64) -> Self {
        Self {
            format: HISTORY_FORMAT,
            module: module.to_owned(),
            task: task.to_owned(),
            segment,
            marks: Vec::new(),
            end: None,
        }
    }

    /// Whether a folder holds a history.
    #[must_use]
    pub fn exists(folder: &Path) -> bool {
        folder.join(INDEX).exists()
    }

    /// Checks whether a new history may be written to a folder: whether all files with names of checkpoints
    /// are checkpoints.
    ///
    /// # Errors
    /// [`HistoryError::File`] when the folder cannot be read or holds a foreign file that would be
    /// replaced.
    pub fn check(folder: &Path) -> Result<(), HistoryError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::File { path, source }
        };
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let name = entry.map_err(at(folder))?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.split_once(".fog"))
                .and_then(|(number, _)| number.parse::<u64>().ok());
            if let Some(number) = number {
                let path = Self::checkpoint(folder, number);
                CheckpointWriter::new(path.clone(), None).check_beside().map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Reads the untrusted index of a folder.
    ///
    /// # Errors
    /// [`HistoryError`] when there is no index or it is damaged.
    pub fn read(folder: &Path) -> Result<Self, HistoryError> {
        let path = folder.join(INDEX);
        let damaged = |problem: String| HistoryError::Damaged { path: path.clone(), problem };
        match read_regular(&path, ByteCount(MAX_INDEX_BYTES)) {
            Ok(bytes) => Self::parse(&bytes).map_err(damaged),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(damaged(error.to_string())),
            Err(source) => Err(HistoryError::File { path: path.clone(), source }),
        }
    }

    /// Reads an index from untrusted bytes.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] when they are not a valid index.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HistoryError> {
        Self::parse(bytes)
            .map_err(|problem| HistoryError::Damaged { path: PathBuf::from("what was sent"), problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let history: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if history.format != HISTORY_FORMAT {
            return Err(format!("it has format {}, this program reads {HISTORY_FORMAT}", history.format));
        }
        let rises = history.marks.windows(2).all(|pair| follows(&pair[0].mark, &pair[1].mark));
        if !rises || history.segment == 0 || !history.segment.is_multiple_of(SLICE_UNITS) {
            return Err("its marks make no sense".to_owned());
        }
        Ok(history)
    }

    /// Writes the index, readable by this user only; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// [`HistoryError::File`] when it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), HistoryError> {
        let path = folder.join(INDEX);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        let write = |text: Vec<u8>| {
            let mut file = NewFile::begin_private(path.clone())?;
            file.write_all(&text)?;
            file.sync()?;
            file.finish()
        };
        let written = text.and_then(write);
        written.map(drop).map_err(|source| HistoryError::File { path, source })
    }

    /// Adds the next mark. Returns false when a mark of that number exists, because the run was continued
    /// from before it, and differs.
    ///
    /// # Errors
    /// [`HistoryError::OutOfTurn`] when the mark is new but does not follow the last one.
    pub fn add(&mut self, new: HistoryMark) -> Result<bool, HistoryError> {
        if let Some(known) = self.marks.iter().find(|known| known.mark.number == new.mark.number) {
            return Ok(*known == new);
        }
        if let Some(last) = self.marks.last()
            && !follows(&last.mark, &new.mark)
        {
            return Err(HistoryError::OutOfTurn { number: new.mark.number, before: last.mark.number });
        }
        self.marks.push(new);
        Ok(true)
    }

    /// Number of segments so far: one to each mark, and one to the end.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.marks.len() + usize::from(self.end.is_some())
    }

    /// Path of the checkpoint of a mark.
    #[must_use]
    pub fn checkpoint(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number}.fog"))
    }
}

fn follows(before: &Mark, next: &Mark) -> bool {
    before.number < next.number && before.units < next.units
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    fn mark(number: u64, state: &str) -> HistoryMark {
        HistoryMark::new(Mark { number, units: number * 1000, state: state.to_owned() }, b"so far")
    }

    #[test]
    fn marks_come_in_order_and_again_as_they_were() {
        let mut history = History::new("aa", "bb", SLICE_UNITS);
        assert!(history.add(mark(1, "x")).unwrap() && history.add(mark(3, "y")).unwrap());
        assert!(history.add(mark(1, "x")).unwrap(), "the run went on from before it");
        assert!(!history.add(mark(3, "z")).unwrap(), "another state at the same mark");
        assert!(matches!(history.add(mark(2, "x")), Err(HistoryError::OutOfTurn { number: 2, before: 3 })));
        let folder = tempfile::tempdir().unwrap();
        assert!(!History::exists(folder.path()));
        history.write(folder.path()).unwrap();
        assert_eq!((History::read(folder.path()).unwrap(), history.segments()), (history, 2));
    }

    #[test]
    #[cfg(unix)]
    fn an_index_that_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(INDEX)).unwrap();
        assert!(History::read(folder.path()).unwrap_err().to_string().contains("a device"));
        std::fs::remove_file(folder.path().join(INDEX)).unwrap();
        std::fs::write(folder.path().join(INDEX), vec![b' '; MAX_INDEX_BYTES as usize + 1]).unwrap();
        assert!(matches!(History::read(folder.path()), Err(HistoryError::Damaged { .. })));
    }

    #[test]
    fn an_index_from_anywhere_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::new("aa", "bb", SLICE_UNITS);
        history.marks = vec![mark(2, "x"), mark(1, "x")];
        history.write(folder.path()).unwrap();
        assert!(matches!(History::read(folder.path()), Err(HistoryError::Damaged { .. })));
        for text in ["", "{}", "[1]"] {
            std::fs::write(folder.path().join(INDEX), text).unwrap();
            assert!(matches!(History::read(folder.path()), Err(HistoryError::Damaged { .. })), "{text}");
        }
    }
}
