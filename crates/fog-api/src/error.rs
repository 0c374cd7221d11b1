//! Error of a command, with the key of its text in every language.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fog_types::{ByteCount, ErrorKind, HasKind, JobId};
use serde::{Deserialize, Serialize};

/// An error that a command is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Kind of error that a front end acts on.
    pub kind: ErrorKind,
    /// One English sentence that says what happened, what was kept and what to do. It is shown when the
    /// front end has no text for the key.
    pub message: String,
    /// Key of the text in the catalogues of `fog-words`; empty for errors of libraries and of the system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Values that the text names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, TextValue>,
}

/// A value that a text names; each language formats it in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextValue {
    /// A name, a path, or an error of the system.
    Text(String),
    /// A count.
    Number(u64),
    /// A size in bytes.
    Bytes(u64),
}

impl ApiError {
    /// Returns an error without a key, whose text is the same in every language.
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        Self { kind, message: message.to_string(), key: String::new(), values: BTreeMap::new() }
    }

    /// Returns an error of a library as it describes itself.
    pub fn of<E: HasKind + std::fmt::Display>(error: &E) -> Self {
        Self::new(error.kind(), error)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<String> for TextValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for TextValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<PathBuf> for TextValue {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&Path> for TextValue {
    fn from(path: &Path) -> Self {
        Self::Text(path.display().to_string())
    }
}

impl From<JobId> for TextValue {
    fn from(id: JobId) -> Self {
        Self::Text(id.to_string())
    }
}

impl From<u32> for TextValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for TextValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for TextValue {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<ByteCount> for TextValue {
    fn from(bytes: ByteCount) -> Self {
        Self::Bytes(bytes.0)
    }
}
