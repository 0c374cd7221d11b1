use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame that either side accepts: a picture of 16 MiB in base64 fits.
pub const MAX_FRAME_BYTES: usize = 32 << 20;
/// Longest message that is accepted before a connection has proven that it knows the token.
const MAX_GREETING_BYTES: usize = 4 << 10;

/// Reason why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The message is longer than the limit.
    #[error("a message of {length} bytes or more exceeds the limit of {limit}")]
    TooLong {
        /// Length in bytes that the header states, or that was written before the limit was met.
        length: usize,
        /// Bytes that are accepted.
        limit: usize,
    },
    /// The frame holds no message of this protocol.
    #[error("a message cannot be understood: {0}")]
    Malformed(serde_json::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Encodes a message as a frame.
///
/// # Errors
/// [`FrameError::TooLong`] when the message exceeds [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    let mut bounded = Bounded { frame: &mut frame, is_full: false };
    let written = serde_json::to_writer(&mut bounded, message);
    let is_full = bounded.is_full;
    let length = frame.len() - 4;
    if is_full {
        return Err(FrameError::TooLong { length, limit: MAX_FRAME_BYTES });
    }
    written.map_err(FrameError::Malformed)?;
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Writer that stops at the limit, so that a message far beyond it is not built in memory first.
struct Bounded<'a> {
    frame: &'a mut Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.frame.len() - 4 + bytes.len() > MAX_FRAME_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes the first frame of `bytes`. Returns the message and the rest, or `None` when more bytes are
/// needed.
///
/// # Errors
/// [`FrameError`] when no further message can follow on this connection.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, &[u8])>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length, limit: MAX_FRAME_BYTES });
    }
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let message = serde_json::from_slice(body).map_err(FrameError::Malformed)?;
    Ok(Some((message, rest)))
}

/// Reads one message; `None` at the end of the connection.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    read_at_most(from, MAX_FRAME_BYTES).await
}

/// Like [`read`], with the lower limit for a peer that has not proven yet that it knows the token.
pub(crate) async fn read_short<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    read_at_most(from, MAX_GREETING_BYTES).await
}

async fn read_at_most<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Option<T>, FrameError> {
    let length = match from.read_u32_le().await {
        Ok(length) => length as usize,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if length > most {
        return Err(FrameError::TooLong { length, limit: most });
    }
    // Memory grows with the bytes that arrive, not with the length that the header claims.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Ok(None);
    }
    serde_json::from_slice(&body).map(Some).map_err(FrameError::Malformed)
}

pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    write_frame(to, &encode(message)?).await
}

pub(crate) async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    to.write_all(frame).await?;
    to.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fog_api::{Command, DutyCommand, Request};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_round_trips_and_half_of_it_waits() {
        let message = Request::Call { id: 7, command: Command::Duty(DutyCommand::Snooze { minutes: 30 }) };
        let frame = encode(&message).unwrap();
        assert_eq!(decode::<Request>(&frame[..frame.len() - 1]).unwrap(), None);
        assert_eq!(decode::<Request>(&frame).unwrap(), Some((message, &[][..])));
    }

    #[test]
    fn a_claimed_length_past_the_limit_is_refused_at_once() {
        assert!(matches!(decode::<Request>(&[0xff; 8]), Err(FrameError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode::<Request>(&bytes);
        }
    }
}
