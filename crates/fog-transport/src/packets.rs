//! Links that carry whole packets, over a radio or over a stream with framing.

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::sync::mpsc;

use crate::{read_frame, write_frame};

/// Packets that may be pending in either direction; a full queue blocks the sender, which may ask
/// [`mpsc::Sender::capacity`] first.
const QUEUE: usize = 8;

/// One link as the protocol sees it. Closed when either channel is.
#[derive(Debug)]
pub struct PacketLink {
    /// Longest packet in bytes.
    pub limit: usize,
    /// Whether the link is a radio, so that the peer is nearby.
    pub is_radio: bool,
    /// Whether a packet that was sent arrives unless the link ends.
    pub is_sure: bool,
    /// Packets to send.
    pub out: mpsc::Sender<Vec<u8>>,
    /// Packets received; `None` when the link is closed.
    pub inbound: mpsc::Receiver<Vec<u8>>,
}

/// The adapter's end of the two channels, next to the radio or the stream.
#[derive(Debug)]
pub struct PacketEnd {
    /// Packets to send.
    pub out: mpsc::Receiver<Vec<u8>>,
    /// Packets received.
    pub inbound: mpsc::Sender<Vec<u8>>,
}

/// Creates both ends of a link.
#[must_use]
pub fn packet_link(limit: usize, is_radio: bool, is_sure: bool) -> (PacketLink, PacketEnd) {
    let (out, to_send) = mpsc::channel(QUEUE);
    let (heard, inbound) = mpsc::channel(QUEUE);
    (PacketLink { limit, is_radio, is_sure, out, inbound }, PacketEnd { out: to_send, inbound: heard })
}

/// Carries packets of at most `limit` bytes over a stream until either side closes it.
pub async fn packets_over(stream: impl AsyncRead + AsyncWrite, limit: u32, end: PacketEnd) {
    let (mut reader, mut writer) = split(stream);
    let PacketEnd { mut out, inbound } = end;
    let read = async {
        while let Ok(packet) = read_frame(&mut reader, limit).await {
            if inbound.send(packet).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some(packet) = out.recv().await {
            if write_frame(&mut writer, &packet).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_keep_their_bounds_and_a_closed_end_closes_the_other() {
        let (here, there) = tokio::io::duplex(64);
        let ((mut a, end_a), (mut b, end_b)) = (packet_link(100, false, true), packet_link(100, false, true));
        tokio::spawn(packets_over(here, 100, end_a));
        tokio::spawn(packets_over(there, 100, end_b));
        for n in 0..50u8 {
            a.out.send(vec![n; 90]).await.unwrap();
            assert_eq!(b.inbound.recv().await, Some(vec![n; 90]));
        }
        // Longer than the limit: the link ends.
        a.out.send(vec![0; 101]).await.unwrap();
        assert_eq!(b.inbound.recv().await, None);
        assert_eq!(a.inbound.recv().await, None);
    }
}
