//! Types shared by all other crates: ids, units as newtypes, limits, the job file, error kinds.
//!
//! No I/O and no clock; builds for wasm32. The crate only parses and checks its own values; the contract
//! with front ends is in `fog-api`.

pub mod bounded;
mod encoding;
mod error;
mod id;
pub mod job;
mod limits;
mod node;
pub mod path;
mod state;
pub mod text;
mod unit;

pub use encoding::{decode_text, without_mark};
pub use error::{ErrorKind, HasKind};
pub use id::{BlobId, JobId, ParseIdError, TaskId};
pub use limits::Limits;
pub use node::NodeId;
pub use state::{JobState, MessageState, TaskState};

pub use unit::{ByteCount, Percent, UnixMillis, WorkUnits, on_disk};
