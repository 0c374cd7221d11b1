//! Discovery of nodes on the local network by mDNS. Any device there can announce any number of names with
//! any lifetime, and libp2p keeps all of them in a list that it walks. So the mDNS behaviour runs on its
//! own thread, which ends, with its sockets and lists, when it knows too many names or is busy all the
//! time; a new thread starts after a pause.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use libp2p::core::Endpoint;
use libp2p::core::transport::{ListenerId, PortUse};
use libp2p::mdns::tokio::Behaviour;
use libp2p::mdns::{Config, Event};
use libp2p::swarm::behaviour::{ExpiredListenAddr, FromSwarm, NewListenAddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, interval, sleep_until};

/// Greatest number of known addresses: 64 nodes with sixteen each.
const MAX_NAMES: usize = 1024;
/// Time between two checks of the thread's load, and the share of processor time that is too much.
const LOOK: Duration = Duration::from_secs(1);
const MAX_BUSY: f64 = 0.5;
/// Pause after a flood; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Time without a flood after which pauses are short again.
const QUIET: Duration = Duration::from_secs(3600);

type Addresses = BTreeSet<Multiaddr>;

/// Length of the pauses after floods.
#[derive(Debug, Default)]
struct Pauses {
    last: Option<(Instant, Duration)>,
}

impl Pauses {
    fn next(&mut self, now: Instant) -> Duration {
        let pause = match self.last {
            Some((at, before)) if now.saturating_duration_since(at) < before + QUIET => {
                (before * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
        pause
    }
}

/// This side's ends of the thread's channels.
struct Searching {
    listening: watch::Sender<Addresses>,
    found: mpsc::Receiver<Event>,
}

enum State {
    Searching(Searching),
    Pausing(Pin<Box<Sleep>>),
}

/// Finds nodes on the local network.
pub(crate) struct Neighbours {
    begin: Box<dyn Fn(Addresses) -> io::Result<Searching> + Send>,
    state: State,
    listening: Addresses,
    known: BTreeMap<PeerId, Addresses>,
    pauses: Pauses,
}

impl Neighbours {
    /// Starts the search, as the node `me`.
    pub(crate) fn new(me: PeerId) -> io::Result<Self> {
        Self::with(Box::new(move |listening| begin(me, listening)))
    }

    fn with(begin: Box<dyn Fn(Addresses) -> io::Result<Searching> + Send>) -> io::Result<Self> {
        let state = State::Searching(begin(Addresses::new())?);
        Ok(Self {
            begin,
            state,
            listening: Addresses::new(),
            known: BTreeMap::new(),
            pauses: Pauses::default(),
        })
    }

    fn keep(&mut self, event: &Event) {
        match event {
            Event::Discovered(found) => {
                for (peer, address) in found {
                    self.known.entry(*peer).or_default().insert(address.clone());
                }
            }
            Event::Expired(gone) => {
                for (peer, address) in gone {
                    if let Some(addresses) = self.known.get_mut(peer) {
                        addresses.remove(address);
                        if addresses.is_empty() {
                            self.known.remove(peer);
                        }
                    }
                }
            }
        }
    }

    fn pause(&mut self) {
        self.known.clear();
        let pause = self.pauses.next(Instant::now());
        tracing::debug!(seconds = pause.as_secs(), "nobody is looked for on the local network");
        self.state = State::Pausing(Box::pin(sleep_until((Instant::now() + pause).into())));
    }
}

/// Starts the search thread.
fn begin(me: PeerId, listening: Addresses) -> io::Result<Searching> {
    let (to_thread, told) = watch::channel(listening);
    let (to, found) = mpsc::channel(16);
    std::thread::Builder::new().name("neighbours".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Everything that the thread started ends with its runtime.
        if let Err(error) = runtime.and_then(|runtime| runtime.block_on(search(me, told, to))) {
            tracing::warn!(%error, "new devices on the local network are looked for again later; connections are kept");
        }
    })?;
    Ok(Searching { listening: to_thread, found })
}

/// Runs until nobody listens any more, or until there is too much to do.
async fn search(me: PeerId, mut told: watch::Receiver<Addresses>, to: mpsc::Sender<Event>) -> io::Result<()> {
    // Queried often: multicast packets are easily lost over Wi-Fi, and nothing is probed after the first
    // answer. Each behaviour serves one of the two protocols.
    let config = |enable_ipv6| Config {
        ttl: Duration::from_secs(360),
        query_interval: Duration::from_secs(20),
        enable_ipv6,
    };
    let mut parts = [Behaviour::new(config(false), me)?, Behaviour::new(config(true), me)?];
    let mut listening = Addresses::new();
    told.mark_changed();
    let mut look = interval(LOOK);
    let mut looked = (Instant::now(), Duration::ZERO);
    let counts = tokio::runtime::Handle::current().metrics();
    loop {
        tokio::select! {
            changed = told.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = told.borrow_and_update().clone();
                parts.iter_mut().for_each(|part| tell(part, &listening, &now));
                listening = now;
            }
            event = poll_fn(|cx| poll_parts(&mut parts, cx)) => match event {
                Some(event) => if to.send(event).await.is_err() { return Ok(()) },
                None => return Err(io::Error::other("somebody there names more devices than there can be")),
            },
            _ = look.tick() => {
                let busy = counts.worker_total_busy_duration(0);
                let (spent, passed) = (busy.saturating_sub(looked.1), looked.0.elapsed());
                if passed >= LOOK && spent.as_secs_f64() > passed.as_secs_f64() * MAX_BUSY {
                    return Err(io::Error::other("somebody there talks all the time"));
                }
                looked = (Instant::now(), busy);
            }
        }
    }
}

/// Polls the behaviours; `None` when too many addresses are known.
fn poll_parts(parts: &mut [Behaviour; 2], cx: &mut Context<'_>) -> Poll<Option<Event>> {
    for part in parts.iter_mut() {
        while let Poll::Ready(event) = part.poll(cx) {
            // Other actions only repeat the addresses.
            if let ToSwarm::GenerateEvent(event) = event {
                return Poll::Ready(Some(event));
            }
        }
    }
    if parts.iter().map(|part| part.discovered_nodes().len()).sum::<usize>() > MAX_NAMES {
        Poll::Ready(None)
    } else {
        Poll::Pending
    }
}

/// Tells a behaviour on which addresses this node listens.
fn tell(part: &mut Behaviour, before: &Addresses, now: &Addresses) {
    for addr in now.difference(before) {
        part.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
            listener_id: ListenerId::next(),
            addr,
        }));
    }
    for addr in before.difference(now) {
        part.on_swarm_event(FromSwarm::ExpiredListenAddr(ExpiredListenAddr {
            listener_id: ListenerId::next(),
            addr,
        }));
    }
}

impl NetworkBehaviour for Neighbours {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _id: ConnectionId,
        peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.and_then(|peer| self.known.get(&peer)).into_iter().flatten().cloned().collect())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::NewListenAddr(NewListenAddr { addr, .. }) => drop(self.listening.insert(addr.clone())),
            FromSwarm::ExpiredListenAddr(ExpiredListenAddr { addr, .. }) => drop(self.listening.remove(addr)),
            _ => return,
        }
        if let State::Searching(searching) = &self.state {
            // A thread that has ended is noticed at the next poll.
            let _ = searching.listening.send(self.listening.clone());
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            match &mut self.state {
                State::Searching(searching) => match searching.found.poll_recv(cx) {
                    Poll::Ready(Some(event)) => {
                        self.keep(&event);
                        return Poll::Ready(ToSwarm::GenerateEvent(event));
                    }
                    Poll::Ready(None) => self.pause(),
                    Poll::Pending => return Poll::Pending,
                },
                State::Pausing(until) => {
                    if until.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    match (self.begin)(self.listening.clone()) {
                        Ok(searching) => {
                            tracing::info!("devices on the local network are looked for again");
                            self.state = State::Searching(searching);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "devices on the local network cannot be looked for");
                            self.pause();
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn pauses_grow_and_are_short_again_after_a_quiet_hour() {
        let (mut pauses, begun) = (Pauses::default(), Instant::now());
        let mut now = begun;
        let mut seen = Vec::new();
        for _ in 0..8 {
            let pause = pauses.next(now);
            seen.push(pause.as_secs());
            now += pause + LOOK;
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(pauses.next(now + LONGEST_PAUSE + QUIET), FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_flood_it_is_looked_anew_with_an_empty_list() {
        type Begun = Arc<Mutex<Vec<(mpsc::Sender<Event>, watch::Receiver<Addresses>)>>>;
        let begun: Begun = Arc::default();
        let copy = begun.clone();
        let mut this = Neighbours::with(Box::new(move |listening| {
            let ((to_thread, told), (to, found)) = (watch::channel(listening), mpsc::channel(16));
            copy.lock().unwrap().push((to, told));
            Ok(Searching { listening: to_thread, found })
        }))
        .unwrap();
        let address: Multiaddr = "/ip4/192.0.2.7/tcp/4".parse().unwrap();
        this.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
            listener_id: ListenerId::next(),
            addr: &address,
        }));
        let peer = PeerId::random();
        let (to, _) = begun.lock().unwrap().pop().unwrap();
        to.send(Event::Discovered(vec![(peer, address.clone())])).await.unwrap();
        let event = poll_fn(|cx| this.poll(cx)).await;
        assert!(matches!(event, ToSwarm::GenerateEvent(Event::Discovered(_))));
        let ask = |this: &mut Neighbours| {
            this.handle_pending_outbound_connection(
                ConnectionId::new_unchecked(1),
                Some(peer),
                &[],
                Endpoint::Dialer,
            )
            .unwrap()
        };
        assert_eq!(ask(&mut this), vec![address.clone()]);
        // The thread ends: its names are forgotten, and no thread runs during the pause.
        drop(to);
        assert!(futures::poll!(poll_fn(|cx| this.poll(cx))).is_pending());
        assert!(ask(&mut this).is_empty() && begun.lock().unwrap().is_empty());
        tokio::time::sleep(FIRST_PAUSE + LOOK).await;
        assert!(futures::poll!(poll_fn(|cx| this.poll(cx))).is_pending());
        // The next thread is told where this node listens.
        let next = begun.lock().unwrap().pop().unwrap();
        assert!(next.1.borrow().contains(&address));
    }
}
