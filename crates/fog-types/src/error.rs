use serde::{Deserialize, Serialize};

/// What a caller can do about an error. Front ends branch on this, never on text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// What the user gave is not valid; nothing was changed. Show the message beside the input.
    BadInput,
    /// The thing named does not exist (any more). Refresh the list.
    NotFound,
    /// The thing is in a state that forbids the request. Show the state.
    Conflict,
    /// A limit of this device or of the job was reached. Offer to change the limit.
    LimitReached,
    /// A file, disk or directory could not be used. Show the path and the reason.
    Storage,
    /// The engine cannot be reached. Offer to start it.
    NotRunning,
    /// The other side speaks another version. Offer to restart the older one.
    Incompatible,
    /// Not supported on this system. Hide or explain the control.
    Unsupported,
    /// A bug in this program. Show how to report it.
    Bug,
}

impl ErrorKind {
    /// The kind of an error with a file that the user named, to be read.
    #[must_use]
    pub fn of_named_file(error: std::io::ErrorKind) -> Self {
        if error == std::io::ErrorKind::NotFound { Self::NotFound } else { Self::BadInput }
    }

    /// The exit code the `fog` command ends with for this kind, after `sysexits.h`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::BadInput => 65,
            Self::NotFound => 66,
            Self::NotRunning => 69,
            Self::Bug => 70,
            Self::Storage => 74,
            Self::Conflict | Self::LimitReached => 75,
            Self::Incompatible => 76,
            Self::Unsupported => 78,
        }
    }
}

/// Errors that can reach a front end.
pub trait HasKind {
    /// The kind a caller acts on.
    fn kind(&self) -> ErrorKind;
}
