//! The history of a run: a folder with a checkpoint and the identity of the state at each mark, so that
//! anybody can run one segment of it again. `docs/checkpoint.md` describes the folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fog_types::{ByteCount, ErrorKind, HasKind};
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointWriter;
use crate::files::{NewFile, read_regular};
use crate::protocol::Mark;
use crate::run::SLICE_UNITS;

/// Version of the folder.
const HISTORY_FORMAT: u32 = 2;
const INDEX: &str = "history.json";
/// Longest index that is read: ten thousand marks take about 1.5 MB.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// What is written about a run, in `history.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    format: u32,
    /// BLAKE3 of the module, in hexadecimal.
    pub module: String,
    /// What was run with what: [`CheckpointHeader::task_identity`](crate::CheckpointHeader::task_identity).
    pub task: String,
    /// Units between two marks.
    pub segment: u64,
    /// In order.
    pub marks: Vec<HistoryMark>,
    /// How it ended, once it has.
    pub end: Option<HistoryEnd>,
}

/// A mark, with what no state holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryMark {
    /// The mark.
    #[serde(flatten)]
    pub mark: Mark,
    /// BLAKE3 of standard output so far, in hexadecimal: part of the result, and beside the state.
    pub stdout: String,
}

impl HistoryMark {
    /// As a run comes to it that has written this so far.
    #[must_use]
    pub fn new(mark: Mark, stdout: &[u8]) -> Self {
        Self { mark, stdout: blake3::hash(stdout).to_hex().to_string() }
    }
}

/// The last segment ends here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEnd {
    /// Work units of the whole run.
    pub units: u64,
    /// Identity of its result; `None` when it ended without one.
    pub result_hash: Option<String>,
}

/// A history cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not an index, or one that makes no sense.
    #[error("{path} is not a history: {problem}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The worker sent a mark that cannot come next.
    #[error("mark {number} cannot follow mark {before}")]
    OutOfTurn {
        /// Its number.
        number: u64,
        /// The last one.
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
    /// Of a run that begins; nothing is written yet.
    #[must_use]
    pub fn new(module: &str, task: &str, segment: u64) -> Self {
        Self { format: HISTORY_FORMAT, module: module.to_owned(), task: task.to_owned(), segment, marks: Vec::new(), end: None }
    }

    /// Whether a folder holds one.
    #[must_use]
    pub fn exists(folder: &Path) -> bool {
        folder.join(INDEX).exists()
    }

    /// Looks whether a new history may be written to a folder: whether what has the name of a checkpoint there, or of a file
    /// beside one, is one.
    ///
    /// # Errors
    /// [`HistoryError::File`] when the folder cannot be read, or holds something else that would be replaced.
    pub fn check(folder: &Path) -> Result<(), HistoryError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::File { path, source }
        };
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let name = entry.map_err(at(folder))?.file_name();
            let number = name.to_str().and_then(|name| name.split_once(".fog")).and_then(|(number, _)| number.parse::<u64>().ok());
            if let Some(number) = number {
                let path = Self::checkpoint(folder, number);
                CheckpointWriter::new(path.clone(), None).check_beside().map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Reads the index of a folder, which may come from anywhere.
    ///
    /// # Errors
    /// [`HistoryError`] when there is none, or it is damaged.
    pub fn read(folder: &Path) -> Result<Self, HistoryError> {
        let path = folder.join(INDEX);
        let damaged = |problem: String| HistoryError::Damaged { path: path.clone(), problem };
        match read_regular(&path, ByteCount(MAX_INDEX_BYTES)) {
            Ok(bytes) => Self::parse(&bytes).map_err(damaged),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(damaged(error.to_string())),
            Err(source) => Err(HistoryError::File { path: path.clone(), source }),
        }
    }

    /// From the bytes of an index, which may come from anywhere.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HistoryError> {
        Self::parse(bytes).map_err(|problem| HistoryError::Damaged { path: PathBuf::from("what was sent"), problem })
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

    /// Writes the index, for this user's eyes as its checkpoints are; a kill or a power cut leaves the old one or the new one.
    ///
    /// # Errors
    /// [`HistoryError::File`].
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

    /// Adds the next mark. One that is there already, because the run went on from before it, must be
    /// the same; whether it is.
    ///
    /// # Errors
    /// [`HistoryError::OutOfTurn`] when it lies before the last one and is none of them.
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

    /// Segments so far: one to each mark, and the last to the end.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.marks.len() + usize::from(self.end.is_some())
    }

    /// Where the checkpoint of a mark lies.
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
