use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long the other side may take to send the rest of a frame it began, or to take one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory for a frame of which only the length is here: a piece of content fits.
const AT_ONCE: usize = 320 << 10;

/// Why a frame did not come or go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream ended between two frames.
    #[error("the link was closed")]
    Closed,
    /// The stream broke.
    #[error("the link broke: {0}")]
    Broken(#[from] io::Error),
    /// Longer than this place takes.
    #[error("a message of {length} bytes, at most {limit} are taken")]
    TooLong {
        /// Bytes announced.
        length: u32,
        /// Most that are taken.
        limit: u32,
    },
    /// The other side stopped in the middle.
    #[error("the other side is too slow")]
    Slow,
}

/// Reads one frame: a length of four bytes, little-endian, and as many bytes. Waits for its beginning
/// without a limit, for the rest of it 30 s.
///
/// # Errors
/// [`FrameError`].
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin), limit: u32) -> Result<Vec<u8>, FrameError> {
    read_frame_within(from, || limit).await
}

/// As [`read_frame`], with a limit that is asked for when a frame has begun: while it was waited for, more may have become
/// known about who sends it.
///
/// # Errors
/// [`FrameError`].
pub async fn read_frame_within(from: &mut (impl AsyncRead + Unpin), limit: impl FnOnce() -> u32) -> Result<Vec<u8>, FrameError> {
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
        // Grown as it comes: an announced length alone takes no memory.
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
/// [`FrameError`]; the stream is of no use after one.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), FrameError> {
    let length = u32::try_from(bytes.len()).map_err(|_| FrameError::TooLong { length: u32::MAX, limit: u32::MAX })?;
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
        assert!(matches!(read_frame(&mut b, 10).await, Err(FrameError::TooLong { length: u32::MAX, limit: 10 })));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_in_the_middle_is_not_waited_for() {
        let (mut a, mut b) = tokio::io::duplex(64);
        a.write_all(&[5, 0, 0, 0, 1]).await.unwrap();
        assert!(matches!(read_frame(&mut b, 10).await, Err(FrameError::Slow)));
        drop(a);
    }
}
