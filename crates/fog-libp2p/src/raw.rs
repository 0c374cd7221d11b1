//! Counting of bytes below the streams of a connection. Frames that open a stream, end one or ping carry no
//! data and are counted nowhere else, although they cost time.

use std::future::Ready;
use std::io;
use std::iter::Once;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;
use tokio::time::Sleep;

use crate::meter::{Account, OPENING_COST};

/// Yamux over a connection whose bytes are counted.
#[derive(Clone)]
pub(crate) struct CountedYamux {
    pub(crate) account: Arc<Account>,
}

impl UpgradeInfo for CountedYamux {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        yamux::Config::default().protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for CountedYamux {
    type Output = yamux::Muxer<Raw<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_inbound(self, inner: C, info: Self::Info) -> Self::Future {
        let upgraded = yamux::Config::default().upgrade_inbound(Raw::new(inner, self.account), info);
        std::future::ready(upgraded.into_inner())
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for CountedYamux {
    type Output = yamux::Muxer<Raw<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, inner: C, info: Self::Info) -> Self::Future {
        let upgraded = yamux::Config::default().upgrade_outbound(Raw::new(inner, self.account), info);
        std::future::ready(upgraded.into_inner())
    }
}

/// A byte stream that is counted below the multiplexer.
pub(crate) struct Raw<C> {
    inner: C,
    account: Arc<Account>,
    frames: Frames,
    /// Pause in which nothing is read, after too many frames.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<C> Raw<C> {
    fn new(inner: C, account: Arc<Account>) -> Self {
        Self { inner, account, frames: Frames::default(), pause: None }
    }
}

/// Cost of a ping, whose answer needs a write of its own: 4,000 a second took a quarter of a core.
const PING_COST: f64 = 4.0;
/// Bytes of data that make up for the cost of their frame.
const WORTH: f64 = 1024.0;

/// Parser of frame boundaries: a header of 12 bytes (version, kind, flags, stream, length), followed by
/// `length` bytes in a data frame. Format: Yamux specification of HashiCorp, version 0.
#[derive(Default)]
struct Frames {
    header: [u8; Self::HEADER],
    /// Bytes of the header received so far.
    have: usize,
    /// Bytes of data still to skip.
    skip: usize,
}

impl Frames {
    const HEADER: usize = 12;
    const DATA: u8 = 0;
    const PING: u8 = 2;
    /// Flag of a frame that opens its stream, or of a ping that asks for an answer.
    const OPENS: u8 = 1;

    /// Returns the cost of these bytes besides their number: 1 for each frame without data, less for one
    /// with some, and more for one that opens a stream or asks for an answer.
    fn cost(&mut self, mut bytes: &[u8]) -> f64 {
        let mut cost = 0.0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(Self::HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == Self::HEADER {
                self.have = 0;
                let [_, kind, _, flags, .., a, b, c, d] = self.header;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                self.skip = if kind == Self::DATA { length } else { 0 };
                let is_opening = flags & Self::OPENS != 0;
                cost += match kind {
                    Self::PING if is_opening => PING_COST,
                    Self::PING => 1.0,
                    _ if is_opening => OPENING_COST,
                    Self::DATA => (1.0 - length as f64 / WORTH).max(0.0),
                    _ => 1.0,
                };
            }
        }
        cost
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Raw<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let count = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.account.count_raw(count, true)?;
        let cost = self.frames.cost(&buf[..count]);
        let early = self.account.count_frames(cost);
        self.pause = (!early.is_zero()).then(|| Box::pin(tokio::time::sleep(early)));
        Poll::Ready(Ok(count))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Raw<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        Poll::Ready(self.account.count_raw(count, false).map(|()| count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use futures::future::poll_fn;
    use libp2p::PeerId;
    use libp2p::core::muxing::StreamMuxer as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio_util::compat::TokioAsyncReadCompatExt as _;

    #[tokio::test]
    async fn a_stranger_that_only_opens_and_ends_streams_is_cut_off() {
        let (meter, stranger) = (Meter::default(), PeerId::random());
        let (ours, theirs) = tokio::io::duplex(4096);
        let (mut answers, mut theirs) = tokio::io::split(theirs);
        // The answers are read, so that the multiplexer goes on.
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        let mut muxer = meter.yamux(stranger).upgrade_inbound(ours.compat(), "/yamux/1.0.0").await.unwrap();
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            for stream in (1..200_001u32).step_by(2) {
                // An empty window update that opens a stream, and one that ends it.
                for flag in [1, 8] {
                    let frame = [&[0, 1, 0, flag][..], &stream.to_be_bytes(), &[0; 4]].concat();
                    if theirs.write_all(&frame).await.is_err() {
                        return sent;
                    }
                    sent += frame.len();
                }
            }
            sent
        });
        let ended = async {
            loop {
                match poll_fn(|cx| Pin::new(&mut muxer).poll_inbound(cx)).await {
                    Ok(stream) => drop(stream),
                    Err(error) => return error,
                }
            }
        };
        let error = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.unwrap();
        drop(muxer);
        assert!(meter.is_cut(&stranger), "{error}");
        assert!(flood.await.unwrap() < 200_000);
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let frame = |kind: u8, flags: u8, length: u32| {
            [&[0, kind, 0, flags, 0, 0, 0, 5][..], &length.to_be_bytes()].concat()
        };
        // A frame that opens a stream with data; data that look like frames; a ping, a window update, a
        // ping answer, an end.
        let data = [frame(0, 0, 12), frame(1, 1, 9)].concat();
        let bytes = [
            frame(0, 1, 30),
            vec![1; 30],
            data,
            frame(2, 1, 7),
            frame(1, 0, 300_000),
            frame(2, 2, 9),
            frame(0, 4, 0),
        ]
        .concat();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let cost: f64 = bytes.chunks(size).map(|part| frames.cost(part)).sum();
            let little = 1.0 - 12.0 / WORTH;
            assert_eq!(
                (cost, frames.have, frames.skip),
                (OPENING_COST + little + PING_COST + 3.0, 0, 0),
                "in pieces of {size}"
            );
        }
    }

    /// Expects delays, since a related node is not cut off.
    #[tokio::test(start_paused = true)]
    async fn frames_of_a_related_node_without_data_wait_for_their_turn() {
        // Pings, and data frames of one byte for an unknown stream.
        for (frame, seconds) in [
            (&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..], 48.0..60.0),
            (&[0, 0, 0, 0, 0, 1, 0x86, 0x9f, 0, 0, 0, 1, 7], 4.0..20.0),
        ] {
            let took = time_to_read(frame).await;
            assert!(
                seconds.contains(&took),
                "{took} s: what costs 40,000 is read at once, and 4,000 a second"
            );
        }
        // Frames with enough data.
        let frame = [&[0, 0, 0, 0, 0, 1, 0x86, 0x9f, 0, 0, 4, 0][..], &[7; 1024]].concat();
        assert!(time_to_read(&frame).await < 1.0);
    }

    /// Returns the seconds until 60,000 frames of a related node are read.
    async fn time_to_read(frame: &[u8]) -> f64 {
        let (meter, friend) = (Meter::default(), PeerId::random());
        meter.set_class(friend, fog_transport::PeerClass::Related);
        let flood = frame.repeat(60_000);
        let (ours, mut theirs) = tokio::io::duplex(flood.len());
        let mut ours = Raw::new(ours.compat(), meter.yamux(friend).account);
        let mut read = vec![0; flood.len()];
        theirs.write_all(&flood).await.unwrap();
        let begun = tokio::time::Instant::now();
        for piece in read.chunks_mut(8 << 10) {
            futures::AsyncReadExt::read_exact(&mut ours, piece).await.unwrap();
        }
        assert!(!meter.is_cut(&friend));
        begun.elapsed().as_secs_f64()
    }
}
