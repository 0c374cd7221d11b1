use serde::{Deserialize, Serialize};

/// Kind of an error, which decides what a front end offers; front ends never parse the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Invalid input from the user; nothing was changed. Show the message beside the input.
    BadInput,
    /// The named thing does not exist or was deleted. Refresh the list.
    NotFound,
    /// The state of the thing forbids the request. Show the state.
    Conflict,
    /// A limit of this device or of the job was reached. Offer to change the limit.
    LimitReached,
    /// A file, disk or directory could not be used. Show the path and the reason.
    Storage,
    /// The engine cannot be reached. Offer to start it.
    NotRunning,
    /// The other side uses another version. Offer to restart the older one.
    Incompatible,
    /// Not supported on this system. Hide or explain the control.
    Unsupported,
    /// A bug in this program. Show how to report it.
    Bug,
}

impl ErrorKind {
    /// Returns the kind for a failure to read a file that the user named.
    #[must_use]
    pub fn of_named_file(error: std::io::ErrorKind) -> Self {
        if error == std::io::ErrorKind::NotFound { Self::NotFound } else { Self::BadInput }
    }

    /// Returns the exit code of the `fog` command for this kind, following `sysexits.h`.
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

/// An error that can reach a front end.
pub trait HasKind {
    /// Returns the kind that a caller acts on.
    fn kind(&self) -> ErrorKind;
}
