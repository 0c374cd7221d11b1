//! Links for content beside libp2p, between devices of one local network.
//!
//! Content is sealed by its owner and its receiver checks each piece, so a second encryption and a second
//! multiplexer protect nothing and halve the rate. Where two devices reach each other directly on a local
//! network, such a link is a plain TCP connection: agreed on over the encrypted one, opened by the
//! requester to the address that it already talks to, and authenticated by a token that only the two know.
//! Where that fails (a firewall, an older version), a stream of the encrypted connection is used instead.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fog_transport::{Channel, Link, NetEvent};
use futures::StreamExt as _;
use libp2p::{PeerId, StreamProtocol};
use libp2p_stream::IncomingStreams;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::node_of;

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/fog/bulk/1");
/// Longest time for each step of opening a plain connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for which only streams are used after a failure.
const NOT_AGAIN: Duration = Duration::from_secs(600);
/// Greatest number of connections awaited at once.
const WAITING: usize = 16;
const TOKEN: usize = 16;

#[derive(Default)]
pub(crate) struct Bulk {
    /// Whether to listen on loopback only.
    loopback: bool,
    state: Mutex<State>,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Addresses of nodes that are reached directly on this network.
    ways: BTreeMap<PeerId, IpAddr>,
    /// Nodes with which a plain connection failed, and the time of the failure.
    failed: BTreeMap<PeerId, Instant>,
    /// Open connections, to be cut when the node or the network goes.
    open: BTreeMap<u64, (PeerId, std::net::TcpStream)>,
    next: u64,
    /// Whether the network was left; no connection is opened any more.
    is_closed: bool,
}

impl Bulk {
    pub(crate) fn new(loopback: bool) -> Self {
        Self { loopback, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the address at which a node is reached now. Connections over another way are cut: they might
    /// never notice its end.
    pub(crate) fn set_way(&self, peer: PeerId, way: Option<IpAddr>) {
        let way = way.filter(|ip| !is_link_local(*ip));
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        let before = match way {
            Some(ip) => state.ways.insert(peer, ip),
            None => state.ways.remove(&peer),
        };
        if before != way {
            state.failed.remove(&peer);
            state.cut(|of| *of == peer);
        }
    }

    /// Closes all connections when the network is left.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.ways.clear();
        state.cut(|_| true);
    }

    /// Returns the bytes received and sent.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// Returns the address for a plain connection to a node; `None` after a recent failure.
    fn way(&self, peer: &PeerId) -> Option<IpAddr> {
        let mut state = self.state();
        state.failed.retain(|_, since| since.elapsed() < NOT_AGAIN);
        if state.failed.contains_key(peer) { None } else { state.ways.get(peer).copied() }
    }

    /// Opens a plain connection to a node if it is on this network.
    pub(crate) async fn open(
        self: &Arc<Self>,
        peer: PeerId,
        streams: &mut libp2p_stream::Control,
    ) -> Option<Plain> {
        let ip = self.way(&peer)?;
        match self.try_open(peer, ip, streams).await {
            Ok(plain) => Some(plain),
            Err(error) => {
                tracing::debug!(%peer, %error, "no plain connection; a stream takes its place");
                self.state().failed.insert(peer, Instant::now());
                None
            }
        }
    }

    async fn try_open(
        self: &Arc<Self>,
        peer: PeerId,
        ip: IpAddr,
        streams: &mut libp2p_stream::Control,
    ) -> io::Result<Plain> {
        let stream =
            timely(async { streams.open_stream(peer, PROTOCOL).await.map_err(io::Error::other) }).await?;
        let mut stream = stream.compat();
        let (port, token) = timely(async {
            let mut token = [0; TOKEN];
            let port = stream.read_u16().await?;
            stream.read_exact(&mut token).await?;
            Ok((port, token))
        })
        .await?;
        let mut plain = timely(TcpStream::connect(SocketAddr::new(ip, port))).await?;
        plain.write_all(&token).await?;
        self.admit(peer, plain)
    }

    /// Serves a node's request for a plain connection: listens for one and returns it when it comes.
    async fn accept(
        self: &Arc<Self>,
        peer: PeerId,
        mut stream: impl AsyncWrite + Unpin,
    ) -> io::Result<Plain> {
        let from = self.way(&peer).ok_or_else(|| io::Error::other("it is not on this network"))?;
        let on = match from {
            ip if self.loopback && ip.is_ipv4() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let listener = TcpListener::bind((on, 0)).await?;
        let token: [u8; TOKEN] = rand::random();
        timely(async {
            stream.write_u16(listener.local_addr()?.port()).await?;
            stream.write_all(&token).await?;
            stream.flush().await
        })
        .await?;
        // The connection must show its token; any other one is dropped.
        timely(async {
            loop {
                let (mut plain, address) = listener.accept().await?;
                let mut shown = [0; TOKEN];
                if address.ip().to_canonical() == from
                    && plain.read_exact(&mut shown).await.is_ok()
                    && shown == token
                {
                    return self.admit(peer, plain);
                }
            }
        })
        .await
    }

    fn admit(self: &Arc<Self>, peer: PeerId, plain: TcpStream) -> io::Result<Plain> {
        plain.set_nodelay(true)?;
        let plain = plain.into_std()?;
        let copy = plain.try_clone()?;
        let mut state = self.state();
        // The node left while the connection was being opened.
        if !state.ways.contains_key(&peer) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let id = state.next;
        state.next += 1;
        state.open.insert(id, (peer, copy));
        drop(state);
        Ok(Plain { stream: TcpStream::from_std(plain)?, bulk: self.clone(), id })
    }
}

impl State {
    fn cut(&mut self, which: impl Fn(&PeerId) -> bool) {
        self.open.retain(|_, (peer, socket)| {
            let goes = which(peer);
            if goes {
                // The other side may have closed it already.
                let _ = socket.shutdown(Shutdown::Both);
            }
            !goes
        });
    }
}

/// Whether the address is link-local; without its interface it cannot be used.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

async fn timely<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, step).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Delivers the plain connections that nodes request.
pub(crate) async fn accept_all(bulk: Arc<Bulk>, mut asked: IncomingStreams, to: mpsc::Sender<NetEvent>) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    while let Some((peer, stream)) = asked.next().await {
        // A node that is refused uses a stream.
        let (Some(node), Ok(place)) = (node_of(&peer), waiting.clone().try_acquire_owned()) else { continue };
        let (bulk, to) = (bulk.clone(), to.clone());
        tokio::spawn(async move {
            match bulk.accept(peer, stream.compat()).await {
                Ok(plain) => {
                    // Fails when the engine has left.
                    let _ = to
                        .send(NetEvent::Incoming(Link {
                            node,
                            channel: Channel::Content,
                            pipe: Box::new(plain),
                        }))
                        .await;
                }
                Err(error) => tracing::debug!(%peer, %error, "no plain connection came"),
            }
            drop(place);
        });
    }
}

/// A plain connection. Its bytes are counted for the data limit.
pub(crate) struct Plain {
    stream: TcpStream,
    bulk: Arc<Bulk>,
    id: u64,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.bulk.state().open.remove(&self.id);
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.bulk.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.bulk.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_knows_the_token_is_let_in() {
        let (bulk, peer) = (Arc::new(Bulk::new(true)), PeerId::random());
        bulk.set_way(peer, Some(Ipv4Addr::LOCALHOST.into()));
        let (ours, mut theirs) = tokio::io::duplex(64);
        let accepting = tokio::spawn({
            let bulk = bulk.clone();
            async move { bulk.accept(peer, ours).await }
        });
        let port = theirs.read_u16().await.unwrap();
        let mut token = [0; TOKEN];
        theirs.read_exact(&mut token).await.unwrap();
        let knock = async |token: [u8; TOKEN]| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            stream.write_all(&token).await.unwrap();
            stream
        };
        let mut wrong = token;
        wrong[3] ^= 1;
        assert_eq!(knock(wrong).await.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let mut right = knock(token).await;
        let mut plain = accepting.await.unwrap().unwrap();
        plain.write_all(b"content").await.unwrap();
        let mut read = [0; 7];
        right.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, bulk.traffic()), (b"content", (0, 7)));
        // A node that has gone is cut off at both ends.
        bulk.set_way(peer, None);
        assert_eq!(plain.read(&mut read).await.unwrap_or(0), 0);
        assert_eq!(right.read(&mut read).await.unwrap_or(0), 0);
        // Once the network is left, no new connection is made.
        bulk.close();
        bulk.set_way(peer, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(bulk.way(&peer), None);
    }

    #[tokio::test]
    async fn who_is_not_on_this_network_gets_no_port() {
        let bulk = Arc::new(Bulk::new(true));
        let (ours, mut theirs) = tokio::io::duplex(64);
        assert!(bulk.accept(PeerId::random(), ours).await.is_err());
        assert!(theirs.read_u16().await.is_err());
    }
}
