use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame either side accepts: a picture of 16 MiB in base64 fits.
pub const MAX_FRAME_BYTES: usize = 32 << 20;

/// A frame is not what the protocol allows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("a message of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// What its header says.
        length: usize,
    },
    /// Not a message of this protocol.
    #[error("a message cannot be understood: {0}")]
    Malformed(serde_json::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Puts a message into a frame.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Malformed)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length });
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Takes the first frame off `bytes`: the message and what is left, or `None` when more bytes are
/// needed.
///
/// # Errors
/// [`FrameError`] when no message can follow on this connection.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, &[u8])>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length });
    }
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let message = serde_json::from_slice(body).map_err(FrameError::Malformed)?;
    Ok(Some((message, rest)))
}

/// Reads one message; `None` at the end of the connection.
pub(crate) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<T>, FrameError> {
    let length = match from.read_u32_le().await {
        Ok(length) => length as usize,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length });
    }
    // Memory follows the bytes that come, not the length that was claimed.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Ok(None);
    }
    serde_json::from_slice(&body).map(Some).map_err(FrameError::Malformed)
}

pub(crate) async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    to.write_all(&encode(message)?).await?;
    to.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fog_api::{Command, Request};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_round_trips_and_half_of_it_waits() {
        let message = Request::Call { id: 7, command: Command::Snooze { minutes: 30 } };
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
