//! Connections before authentication. Each has a time limit; one whose place others need is closed earlier.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fog_transport::Boxed as Task;
use futures::future::{AbortHandle, Abortable};
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::time::{sleep, timeout};

use libp2p::core::muxing::StreamMuxerBox;

use crate::address::ip_of;

type Output = (PeerId, StreamMuxerBox);

/// Longest time of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest time of a handshake while places are short: some round trips around the world.
const SHORT_HANDSHAKE: Duration = Duration::from_secs(3);
/// Number of half-open connections from which on places count as short.
const MANY: usize = 64;

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, (Multiaddr, AbortHandle)>,
}

/// All half-open connections.
#[derive(Default)]
pub(crate) struct Doors {
    state: Mutex<State>,
}

impl Doors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections from an address.
    pub(crate) fn close(&self, remote: &Multiaddr) {
        for (_, door) in self.state().open.values().filter(|(from, _)| from == remote) {
            door.abort();
        }
    }

    /// Runs a handshake within the time limit.
    fn wait<T: Send + 'static>(
        self: &Arc<Self>,
        remote: Multiaddr,
        upgrade: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> Task<io::Result<T>> {
        let (door, aborted) = AbortHandle::new_pair();
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.open.insert(id, (remote, door));
        drop(state);
        let place = Place { doors: self.clone(), id };
        Box::pin(async move {
            let begun = Instant::now();
            let upgrade = Abortable::new(upgrade, aborted);
            tokio::select! {
                done = upgrade => {
                    drop(place);
                    done.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its place is needed")))
                }
                () = place.too_long(begun) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

/// Place of a half-open connection; freed on drop.
struct Place {
    doors: Arc<Doors>,
    id: u64,
}

impl Place {
    async fn too_long(&self, begun: Instant) {
        loop {
            let passed = begun.elapsed();
            let is_short = passed >= SHORT_HANDSHAKE && self.doors.state().open.len() >= MANY;
            if is_short || passed >= HANDSHAKE {
                return;
            }
            sleep(if passed < SHORT_HANDSHAKE { SHORT_HANDSHAKE - passed } else { Duration::from_secs(1) })
                .await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doors.state().open.remove(&self.id);
    }
}

/// A transport with a time limit for each connection.
pub(crate) struct Timed {
    inner: Boxed<Output>,
    doors: Arc<Doors>,
    loopback: bool,
}

impl Timed {
    /// Wraps a transport. Addresses of this machine are dialled only where `loopback` is set: every node
    /// announces them, and this node itself would answer.
    pub(crate) fn new(inner: Boxed<Output>, doors: Arc<Doors>, loopback: bool) -> Self {
        Self { inner, doors, loopback }
    }
}

impl Transport for Timed {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = Task<io::Result<Output>>;
    type Dial = Task<io::Result<Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        if !self.loopback && ip_of(&address).is_some_and(|ip| ip.to_canonical().is_loopback()) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let dial = self.inner.dial(address, options)?;
        Ok(Box::pin(async move {
            timeout(HANDSHAKE, dial).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = Pin::new(&mut self.inner).poll(cx);
        let doors = &self.doors;
        event.map(|event| match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let upgrade = doors.wait(send_back_addr.clone(), upgrade);
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            other => other.map_upgrade(|upgrade| Box::pin(upgrade) as Task<io::Result<Output>>),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn from(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.7/tcp/{port}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_needed_is_given_up_at_once() {
        let doors = Arc::new(Doors::default());
        let (first, second) =
            (doors.wait(from(1), pending::<io::Result<()>>()), doors.wait(from(2), async { Ok(7) }));
        doors.close(&from(1));
        assert_eq!(first.await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(second.await.unwrap(), 7);
        assert!(doors.state().open.is_empty());
    }

    #[tokio::test]
    async fn silence_is_borne_for_less_time_while_places_are_short() {
        let doors = Arc::new(Doors::default());
        let place = |doors: &Arc<Doors>| Place { doors: doors.clone(), id: u64::MAX };
        let is_over =
            async |begun: Instant| futures::poll!(Box::pin(place(&doors).too_long(begun))).is_ready();
        let (some, all) = (
            Instant::now().checked_sub(SHORT_HANDSHAKE).unwrap(),
            Instant::now().checked_sub(HANDSHAKE).unwrap(),
        );
        assert!(!is_over(some).await && is_over(all).await);
        let _many: Vec<_> =
            (0..MANY as u16).map(|port| doors.wait(from(port), pending::<io::Result<()>>())).collect();
        assert!(is_over(some).await && !is_over(Instant::now()).await);
    }

    #[tokio::test]
    async fn nobody_is_looked_for_on_this_machine() {
        use libp2p::core::transport::PortUse;
        let dials = |loopback: bool, address: &str| {
            let listener = libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::new());
            let reached = listener
                .and_then(|_, _| async { Err::<Output, _>(io::Error::other("not asked who is there")) });
            let mut timed = Timed::new(reached.boxed(), Arc::default(), loopback);
            timed
                .dial(
                    address.parse().unwrap(),
                    DialOpts { role: libp2p::core::Endpoint::Dialer, port_use: PortUse::New },
                )
                .is_ok()
        };
        for address in ["/ip4/127.0.0.1/tcp/4", "/ip6/::1/tcp/4", "/ip6/::ffff:127.0.0.1/tcp/4"] {
            assert_eq!([dials(true, address), dials(false, address)], [true, false], "{address}");
        }
        assert!(dials(false, "/ip4/198.51.100.7/tcp/4"));
    }
}
