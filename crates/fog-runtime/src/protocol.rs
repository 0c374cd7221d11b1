//! What parent and worker say to each other: postcard frames behind a length of four bytes,
//! little-endian. The parent treats the worker as hostile: a job may have taken it over.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use fog_types::Percent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compile::EngineKind;
use crate::outcome::Report;
use crate::sandbox::Walls;
use crate::task::TaskSpec;

/// Longest frame either side accepts.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Files and checkpoints travel in pieces of this size. Above 128 KiB an allocator asks the system for
/// each anew, which took most of the time of a checkpoint; much below, waking the reader does.
pub(crate) const CHUNK_BYTES: usize = 96 << 10;

/// Parent to worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// Compile `module` and write the result to `artifact`. The only message then.
    Compile {
        /// The Wasm file.
        #[serde(with = "os_path")]
        module: PathBuf,
        /// Where the compiled form goes; must not exist.
        #[serde(with = "os_path")]
        artifact: PathBuf,
        /// What will run it.
        engine: EngineKind,
        /// Most bytes of memory the compiler may hold.
        memory: u64,
    },
    /// Run a task. The first message of a running worker.
    Start {
        /// Which.
        spec: Box<TaskSpec>,
        /// Bytes of the checkpoint to continue from, which follow in pieces; 0 to begin.
        state_bytes: u64,
    },
    /// Use this share of processor time from now on; 0 freezes the task where it is.
    Duty(Percent),
    /// The next piece of the checkpoint to continue from.
    State(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Take a checkpoint at the next safe point and send it; frozen or not.
    Save {
        /// A whole one, not what changed since the last.
        whole: bool,
    },
    /// Put up the walls and say which stand. The only message then.
    Walls,
}

/// Worker to parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The module is compiled.
    Compiled,
    /// The module cannot be compiled; the text says why.
    CannotCompile(String),
    /// A file of ours stood in the way; the module is not at fault.
    CannotWrite(String),
    /// The program's first instruction is about to run.
    Started,
    /// Bytes of standard output.
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes of standard error.
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Work units so far and the job's own progress, if it tells.
    Progress {
        /// Work units so far.
        units: u64,
        /// What the job wrote to `/dev/progress`, in tenths of a percent.
        permille: Option<u16>,
    },
    /// Frozen as asked.
    Frozen,
    /// Running again.
    Thawed,
    /// A piece of an output file. Files come one after the other, pieces in order.
    File {
        /// Relative path.
        path: String,
        /// The next bytes of it.
        #[serde(with = "serde_bytes")]
        chunk: Vec<u8>,
    },
    /// The task ended; nothing follows.
    Done(Report),
    /// The worker could not begin: an input or the compiled module cannot be used.
    Failed {
        /// The compiled module is the cause: compile again.
        stale: bool,
        /// What happened.
        message: String,
    },
    /// Which walls of the system stand around it.
    Walls(Walls),
    /// The next piece of a checkpoint. Pieces come in order.
    State(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The checkpoint is complete, or there is none and why.
    Saved(Result<SavedState, String>),
    /// The task stands still at a safe point, where a checkpoint or a mark is worked out.
    AtSafePoint,
    /// The task came to a mark; its pieces and [`FromWorker::Saved`] follow where they are kept.
    Mark(Mark),
}

/// A path as the system has it, which need not be text.
pub(crate) mod os_path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[cfg(unix)]
    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        serde_bytes::Bytes::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).serialize(to)
    }

    #[cfg(not(unix))]
    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.serialize(to)
    }

    #[cfg(unix)]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(from)?;
        let path: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes.into_vec());
        Ok(path.into())
    }

    #[cfg(not(unix))]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        PathBuf::deserialize(from)
    }

    /// The same where there may be none.
    pub(crate) mod option {
        use std::path::PathBuf;

        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        #[derive(Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "super")] PathBuf);

        pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
            path.clone().map(Wrapped).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(from)?.map(|Wrapped(path)| path))
        }
    }
}

/// What a worker says of a checkpoint it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// Its size.
    pub bytes: u64,
    /// Work units used when it was taken.
    pub units: u64,
    /// Bytes of linear memory.
    pub memory: u64,
    /// It can be continued without the one before it.
    pub whole: bool,
}

/// A place every honest run of a task comes to with the same state: the first safe point behind a
/// multiple of the segment's length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Segments so far.
    pub number: u64,
    /// Work units used.
    pub units: u64,
    /// BLAKE3 of the state, in hexadecimal.
    pub state: String,
}

/// A frame is not what the protocol allows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// What its header said.
        length: usize,
    },
    /// Not a message.
    #[error("a frame does not hold a message: {0}")]
    Malformed(postcard::Error),
}

/// Decodes one frame's body.
///
/// # Errors
/// [`ProtocolError`] when it is too long or not exactly one message.
pub fn decode_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProtocolError> {
    if body.len() > MAX_FRAME_BYTES {
        return Err(ProtocolError::TooLong { length: body.len() });
    }
    let (message, rest) = postcard::take_from_bytes(body).map_err(ProtocolError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(ProtocolError::Malformed(postcard::Error::DeserializeBadEncoding)) }
}

pub(crate) fn encode_frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    encode_into(message, Vec::new())
}

/// Encodes into a buffer that is used again: large pieces would cost a page fault for every 4 KiB.
fn encode_into<T: Serialize>(message: &T, mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    frame.clear();
    frame.extend_from_slice(&[0; 4]);
    let mut frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Writes frames, through one buffer.
pub(crate) struct FrameWriter<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, buffer: Vec::new() }
    }

    pub(crate) fn write<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.buffer = encode_into(message, std::mem::take(&mut self.buffer))?;
        self.to.write_all(&self.buffer)?;
        self.to.flush()
    }
}

pub(crate) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::other(ProtocolError::TooLong { length }));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    decode_frame(&body).map_err(io::Error::other)
}
