//! Messages between parent and worker: postcard frames after a length of four bytes, little-endian. The
//! parent treats the worker as hostile: a job may have taken it over.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use fog_types::Percent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compile::EngineKind;
use crate::outcome::Report;
use crate::sandbox::SandboxStatus;
use crate::task::TaskSpec;

/// Largest frame that either side accepts, bytes.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Size of the pieces of files and checkpoints, bytes. Above 128 KiB an allocator gets each buffer from the
/// system, which dominated the time of a checkpoint; much below, waking the reader dominates.
pub(crate) const CHUNK_BYTES: usize = 96 << 10;

/// Message from the parent to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// Compile `module` and write the result to `artifact`; the only message in that case.
    Compile {
        /// Path of the Wasm file.
        #[serde(with = "os_path")]
        module: PathBuf,
        /// Path of the compiled module; the file must not exist.
        #[serde(with = "os_path")]
        artifact: PathBuf,
        /// Kind of engine to compile for.
        engine: EngineKind,
        /// Memory limit of the compiler, bytes.
        memory: u64,
    },
    /// Run a task; the first message to a running worker.
    Start {
        /// Description of the task.
        spec: Box<TaskSpec>,
        /// Length of the snapshot to continue from, which follows in pieces; 0 to start from the beginning.
        state_bytes: u64,
    },
    /// Use this share of processor time from now on; 0 freezes the task.
    Duty(Percent),
    /// Next piece of the snapshot to continue from.
    State(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Take a checkpoint at the next safe point and send it, frozen or not.
    Save {
        /// Whether it must be a whole one rather than the changes since the last.
        whole: bool,
    },
    /// Enter the sandbox and report its walls; the only message in that case.
    SandboxStatus,
    /// Write the compiled module: there is room for it.
    Write,
}

/// Message from a worker to its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The module is compiled to this many bytes; the worker waits for [`ToWorker::Write`].
    CompiledTo(u64),
    /// The compiled module is written.
    Compiled,
    /// The module cannot be compiled, with the reason.
    CannotCompile(String),
    /// A file cannot be read or written, through no fault of the module.
    CannotWrite(String),
    /// The program's first instruction is about to run.
    Started,
    /// Bytes of standard output.
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes of standard error.
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Work units so far and the job's own progress, if it reports any.
    Progress {
        /// Work units so far.
        units: u64,
        /// Last progress that the job wrote to `/dev/progress`, in tenths of a percent.
        permille: Option<u16>,
    },
    /// The task is frozen.
    Frozen,
    /// The task runs again.
    Thawed,
    /// The program has ended and leaves files, which follow.
    Files {
        /// Number of bytes that they take on disk.
        on_disk: u64,
    },
    /// Piece of an output file. Files come one after the other, pieces in order.
    File {
        /// Relative path.
        path: String,
        /// Next bytes of the file.
        #[serde(with = "serde_bytes")]
        chunk: Vec<u8>,
    },
    /// The task ended; no message follows.
    Done(Report),
    /// The task could not begin: an input, the compiled module or the checkpoint cannot be used.
    Failed {
        /// Whether the compiled module is the cause and must be compiled again.
        stale: bool,
        /// Reason of the failure.
        message: String,
    },
    /// Walls of the sandbox around the worker.
    SandboxStatus(SandboxStatus),
    /// Next piece of a checkpoint; pieces come in order.
    State(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Description of the checkpoint that was sent, or the reason why there is none.
    Saved(Result<SavedState, String>),
    /// The task is stopped at a safe point, where a checkpoint or a mark is made.
    AtSafePoint,
    /// The task came to a mark. If checkpoints go with marks, its pieces and [`FromWorker::Saved`] follow.
    Mark(Mark),
}

/// Serialization of paths, which need not be UTF-8.
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

    /// Serialization of optional paths.
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

/// Description of a checkpoint that a worker has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// Size of the checkpoint in bytes.
    pub bytes: u64,
    /// Work units used when it was taken.
    pub units: u64,
    /// Bytes of linear memory.
    pub memory: u64,
    /// Whether it can be continued without an earlier one.
    pub whole: bool,
}

/// Point that every honest run of a task reaches with the same state: the first safe point after a multiple
/// of the segment's length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of segments so far.
    pub number: u64,
    /// Work units used.
    pub units: u64,
    /// BLAKE3 of the state, in hexadecimal.
    pub state: String,
}

/// Error in a frame of the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The frame is longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// Length in the frame's header.
        length: usize,
    },
    /// The frame does not hold exactly one message.
    #[error("a frame does not hold a message: {0}")]
    Malformed(postcard::Error),
}

/// Decodes the body of one frame.
///
/// # Errors
/// [`ProtocolError`] when it is too long or not exactly one message.
pub fn decode_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProtocolError> {
    if body.len() > MAX_FRAME_BYTES {
        return Err(ProtocolError::TooLong { length: body.len() });
    }
    let (message, rest) = postcard::take_from_bytes(body).map_err(ProtocolError::Malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(ProtocolError::Malformed(postcard::Error::DeserializeBadEncoding))
    }
}

pub(crate) fn encode_frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    encode_into(message, Vec::new())
}

/// Encodes into a reused buffer: new large buffers would cost a page fault for every 4 KiB.
fn encode_into<T: Serialize>(message: &T, mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    frame.clear();
    frame.extend_from_slice(&[0; 4]);
    let mut frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Writer of frames that reuses one buffer.
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
