use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest time for the rest of a frame that has begun, or for sending one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory reserved for a frame of which only the length has arrived; large enough for a piece of content.
const AT_ONCE: usize = 320 << 10;

/// Reason why a frame was not received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream ended between two frames.
    #[error("the link was closed")]
    Closed,
    /// The stream broke.
    #[error("the link broke: {0}")]
    Broken(#[from] io::Error),
    /// The frame is longer than the limit.
    #[error("a message of {length} bytes, at most {limit} are taken")]
    TooLong {
        /// Announced length in bytes.
        length: u32,
        /// Limit in bytes.
        limit: u32,
    },
    /// The other side stopped within a frame.
    #[error("the other side is too slow")]
    Slow,
}

/// Reads one frame: a length of four bytes, little-endian, and that number of bytes. Waits for the first
/// byte without a limit, and 30 s for the rest.
///
/// # Errors
/// The stream is closed, broken or too slow, or the frame is longer than `limit`.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin), limit: u32) -> Result<Vec<u8>, FrameError> {
    read_frame_within(from, || limit).await
}

/// Reads like [`read_frame`], with a limit that is queried once a frame has begun: by then more may be
/// known about the sender.
///
/// # Errors
/// Same as [`read_frame`].
pub async fn read_frame_within(
    from: &mut (impl AsyncRead + Unpin),
    limit: impl FnOnce() -> u32,
) -> Result<Vec<u8>, FrameError> {
    let mut head = [0; 4];
    if from.read(&mut head[..1]).await? == 0 {
        return Err(FrameError::Closed);
    }
    let rest = async {
        from.read_exact(&mut head[1..]).await?;
        let (length, limit) = (u32::from_le_bytes(head), limit());
        if length > limit {
            return Err(FrameError::TooLong { length, limit });
        }
        // The buffer grows with the data: an announced length alone takes no memory.
        let mut bytes = Vec::with_capacity((length as usize).min(AT_ONCE));
        from.take(u64::from(length)).read_to_end(&mut bytes).await?;
        if bytes.len() < length as usize {
            return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    };
    timeout(PATIENCE, rest).await.map_err(|_| FrameError::Slow)?
}

/// Writes one frame and flushes it.
///
/// # Errors
/// The stream is broken or too slow; it cannot be used afterwards.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), FrameError> {
    let length =
        u32::try_from(bytes.len()).map_err(|_| FrameError::TooLong { length: u32::MAX, limit: u32::MAX })?;
    let write = async {
        to.write_all(&length.to_le_bytes()).await?;
        to.write_all(bytes).await?;
        to.flush().await?;
        Ok(())
    };
    timeout(PATIENCE, write).await.map_err(|_| FrameError::Slow)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let (mut a, mut b) = tokio::io::duplex(64);
        let sent: Vec<Vec<u8>> = [0usize, 1, 63, 1000].iter().map(|n| vec![7; *n]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for frame in &sent {
                write_frame(&mut a, frame).await.unwrap();
            }
        });
        for frame in expected {
            assert_eq!(read_frame(&mut b, 1000).await.unwrap(), frame);
        }
        writer.await.unwrap();
        assert!(matches!(read_frame(&mut b, 1000).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let (mut a, mut b) = tokio::io::duplex(64);
        a.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(matches!(
            read_frame(&mut b, 10).await,
            Err(FrameError::TooLong { length: u32::MAX, limit: 10 })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_in_the_middle_is_not_waited_for() {
        let (mut a, mut b) = tokio::io::duplex(64);
        a.write_all(&[5, 0, 0, 0, 1]).await.unwrap();
        assert!(matches!(read_frame(&mut b, 10).await, Err(FrameError::Slow)));
        drop(a);
    }
}
