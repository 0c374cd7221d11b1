//! What goes over a connection below its streams. Frames that open a stream, end one or ask whether anybody is there carry
//! no data, so that they are seen nowhere else; they cost time all the same.

use std::future::Ready;
use std::io;
use std::iter::Once;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;

use crate::meter::Account;

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
        let upgraded = yamux::Config::default().upgrade_inbound(Raw { inner, account: self.account }, info);
        std::future::ready(upgraded.into_inner())
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for CountedYamux {
    type Output = yamux::Muxer<Raw<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, inner: C, info: Self::Info) -> Self::Future {
        let upgraded = yamux::Config::default().upgrade_outbound(Raw { inner, account: self.account }, info);
        std::future::ready(upgraded.into_inner())
    }
}

/// The bytes below the streams.
pub(crate) struct Raw<C> {
    inner: C,
    account: Arc<Account>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Raw<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        Poll::Ready(self.account.count_raw(count, true).map(|()| count))
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
        // Its answers are taken, so that it goes on.
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        let mut muxer = meter.yamux(stranger).upgrade_inbound(ours.compat(), "/yamux/1.0.0").await.unwrap();
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            for stream in (1..200_001u32).step_by(2) {
                // A window of none that opens a stream, and one that ends it.
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
}
