//! Bytes by node. What is exchanged with whom decides what counts against the owner's data cap, and a node that shares no
//! network with this one is cut off when it has sent as much as getting to know each other can take.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use fog_transport::{NodeTraffic, PeerClass};
use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Sleep;

use crate::address::{ip_of, is_local};
use crate::node_of;
use crate::raw::CountedYamux;

/// Bytes that a stranger may exchange at once: an address test of AutoNAT takes 100 KB, a look-up 4.
const STRANGER_BYTES: f64 = 128.0 * 1024.0;
/// What is forgiven each second: answers to pings, and look-ups of a meeting place each minute.
const STRANGER_BYTES_PER_SECOND: f64 = 256.0;
/// What comes below the streams too: their frames, and those that carry nothing.
const STRANGER_RAW_BYTES: f64 = 160.0 * 1024.0;
/// What an answer on a stream that the other side opened counts more than what it sends: 64 KiB of answers are all. What this
/// node sends on its own streams is of its own choice.
const ANSWER_WEIGHT: f64 = 2.0;
const SENT_WEIGHT: f64 = 0.5;
/// Price of a stream that a stranger opens, whatever goes over it, on a sum of its own: 256 streams at once and one in two
/// seconds. QUIC opens one with a frame of a few bytes.
const STREAM_COST: f64 = 512.0;
/// Streams that a related node may open at once, and each second from then on; what comes sooner waits for its turn. The
/// parts of libp2p answer each stream with work of their own, of which the engine sees nothing: a push of Identify is a
/// signature to check and addresses to compare.
const RELATED_STREAMS: f64 = 512.0;
const RELATED_STREAMS_PER_SECOND: f64 = 50.0;
/// Frames of Yamux without data that a related node may send at once, and each second from then on; what comes sooner is read later.
/// A transfer of 100 MB a second takes some 800 a second.
const FRAMES: f64 = 40_000.0;
const FRAMES_PER_SECOND: f64 = 4_000.0;
/// Price of a frame that opens a stream among them: Yamux takes streams up and drops them while others wait for their turn.
pub(crate) const OPENING_COST: f64 = 80.0;
/// How much more a stranger may exchange with a relay, which carries what is not its own: 8 MiB at once, 16 KiB a second.
const RELAY_ALLOWANCE: f64 = 64.0;
/// How long a node that was cut off is not let in again.
pub(crate) const CUT_OFF: Duration = Duration::from_secs(600);
/// Nodes that are remembered without a connection.
const MAX_ACCOUNTS: usize = 4096;

/// A sum that is not forgiven yet (a stranger's bytes, a related node's streams or frames), and when that was looked at.
struct Spent(f64, tokio::time::Instant);

impl Spent {
    fn none() -> Mutex<Self> {
        Mutex::new(Self(0.0, tokio::time::Instant::now()))
    }

    /// Adds to a stranger's bytes; a negative number is given back.
    fn add(&mut self, bytes: f64) -> f64 {
        self.add_at(bytes, STRANGER_BYTES_PER_SECOND)
    }

    /// Adds to it, when `per_second` is forgiven.
    fn add_at(&mut self, amount: f64, per_second: f64) -> f64 {
        let forgiven = self.1.elapsed().as_secs_f64() * per_second;
        *self = Self((self.0 - forgiven).max(0.0) + amount, tokio::time::Instant::now());
        self.0
    }
}

/// Direction and kind of counted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Received,
    /// On a stream that this node opened.
    Sent,
    /// On a stream that the other side opened.
    Answered,
}

/// What is counted of one node.
pub(crate) struct Account {
    class: Mutex<PeerClass>,
    /// Bytes beyond the local network since they were last taken.
    received: AtomicU64,
    sent: AtomicU64,
    spent: Mutex<Spent>,
    /// The same below the streams.
    raw: Mutex<Spent>,
    /// The same for streams that it opened.
    opened: Mutex<Spent>,
    /// Streams that it opened as a related node.
    related_opened: Mutex<Spent>,
    /// Its frames without data.
    frames: Mutex<Spent>,
    /// By how much its bytes weigh less.
    allowance: f64,
    /// Carries connections of others to this node: what it brings is not its own.
    is_carrier: AtomicBool,
    is_cut: AtomicBool,
    cut_until: Mutex<Option<Instant>>,
    connections: AtomicUsize,
}

impl Account {
    fn new(allowance: f64) -> Self {
        Self {
            class: Mutex::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            spent: Spent::none(),
            raw: Spent::none(),
            opened: Spent::none(),
            related_opened: Spent::none(),
            frames: Spent::none(),
            allowance,
            is_carrier: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            cut_until: Mutex::default(),
            connections: AtomicUsize::new(0),
        }
    }

    fn class(&self) -> PeerClass {
        *lock(&self.class)
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        *lock(&self.cut_until) = Some(Instant::now() + CUT_OFF);
    }

    fn is_cut(&self) -> bool {
        if !self.is_cut.load(Ordering::Acquire) {
            return false;
        }
        let is_over = lock(&self.cut_until).is_none_or(|until| until <= Instant::now());
        if is_over {
            self.is_cut.store(false, Ordering::Release);
            self.forgive();
        }
        !is_over
    }

    fn forgive(&self) {
        for spent in [&self.spent, &self.raw, &self.opened] {
            *lock(spent) = Spent(0.0, tokio::time::Instant::now());
        }
    }

    /// Adds to what a stranger has exchanged.
    fn spend(&self, bytes: f64) {
        let spent = lock(&self.spent).add(bytes / self.allowance);
        self.judge(spent > STRANGER_BYTES);
    }

    fn judge(&self, is_too_much: bool) {
        if is_too_much && self.class() != PeerClass::Related {
            self.cut();
        }
    }

    /// Bytes below the streams. An error ends the connection.
    pub(crate) fn count_raw(&self, bytes: usize, is_received: bool) -> io::Result<()> {
        if !self.is_carrier.load(Ordering::Relaxed) {
            let weight = if is_received { 1.0 } else { SENT_WEIGHT };
            let spent = lock(&self.raw).add(bytes as f64 * weight / self.allowance);
            self.judge(spent > STRANGER_RAW_BYTES);
        }
        self.check()
    }

    /// Counts frames without data of a related node, and returns for how long nothing more is to be read. Others are cut off
    /// before.
    pub(crate) fn count_frames(&self, cost: f64) -> Duration {
        if self.class() != PeerClass::Related {
            return Duration::ZERO;
        }
        let early = lock(&self.frames).add_at(cost, FRAMES_PER_SECOND) - FRAMES;
        Duration::from_secs_f64(early.max(0.0) / FRAMES_PER_SECOND)
    }

    /// Counts one more stream that it opened, and returns how long that one has to wait. An error ends the connection.
    fn count_stream(&self) -> io::Result<Duration> {
        if self.class() == PeerClass::Related {
            let early = lock(&self.related_opened).add_at(1.0, RELATED_STREAMS_PER_SECOND) - RELATED_STREAMS;
            self.check()?;
            return Ok(Duration::from_secs_f64(early.max(0.0) / RELATED_STREAMS_PER_SECOND));
        }
        let spent = lock(&self.opened).add(STREAM_COST);
        self.judge(spent > STRANGER_BYTES);
        self.check()?;
        Ok(Duration::ZERO)
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut() { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this device shares no network with it")) } else { Ok(()) }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The accounts of all nodes.
pub(crate) struct Meter {
    /// Of each account.
    allowance: f64,
    accounts: Mutex<BTreeMap<PeerId, Arc<Account>>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Meter {
    pub(crate) fn new(is_relay: bool) -> Self {
        Self { allowance: if is_relay { RELAY_ALLOWANCE } else { 1.0 }, accounts: Mutex::default() }
    }

    fn account(&self, peer: PeerId) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(&peer) {
            accounts.retain(|_, account| account.connections.load(Ordering::Relaxed) > 0);
        }
        accounts.entry(peer).or_insert_with(|| Arc::new(Account::new(self.allowance))).clone()
    }

    /// What counts the bytes below the streams of a connection.
    pub(crate) fn yamux(&self, peer: PeerId) -> CountedYamux {
        CountedYamux { account: self.account(peer) }
    }

    /// How a node stands to this one.
    pub(crate) fn class(&self, peer: &PeerId) -> PeerClass {
        lock(&self.accounts).get(peer).map_or_else(PeerClass::default, |account| account.class())
    }

    pub(crate) fn set_class(&self, peer: PeerId, class: PeerClass) {
        let account = self.account(peer);
        *lock(&account.class) = class;
        if class == PeerClass::Related {
            account.forgive();
        }
    }

    /// A node is not to be listened to for a while.
    pub(crate) fn cut_off(&self, peer: PeerId) {
        self.account(peer).cut();
    }

    pub(crate) fn is_cut(&self, peer: &PeerId) -> bool {
        lock(&self.accounts).get(peer).is_some_and(|account| account.is_cut())
    }

    /// Bytes beyond the local network since this was last asked, by node.
    pub(crate) fn take(&self) -> Vec<NodeTraffic> {
        let mut accounts = lock(&self.accounts);
        let mut taken = Vec::new();
        for (peer, account) in accounts.iter() {
            let (received, sent) = (account.received.swap(0, Ordering::Relaxed), account.sent.swap(0, Ordering::Relaxed));
            if let (Some(node), true) = (node_of(peer), received + sent > 0) {
                taken.push(NodeTraffic { node, received, sent });
            }
        }
        accounts.retain(|_, account| account.connections.load(Ordering::Relaxed) > 0 || account.is_cut() || account.class() == PeerClass::Known);
        taken
    }

    /// Counts what goes over a connection from now on.
    pub(crate) fn connection(&self, peer: PeerId, muxer: StreamMuxerBox, endpoint: &ConnectedPoint) -> Metered {
        let (remote, local) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (address, None),
            ConnectedPoint::Listener { send_back_addr, local_addr } => (send_back_addr, Some(local_addr)),
        };
        let relay = relay_of(remote).or_else(|| local.and_then(relay_of));
        let relay = relay.map(|relay| self.account(relay));
        if let Some(relay) = &relay {
            relay.is_carrier.store(true, Ordering::Relaxed);
        }
        let account = self.account(peer);
        account.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted {
            account,
            // What a relay carries for others is on its own connection too.
            relay,
            is_local: !endpoint.is_relayed() && ip_of(remote).is_some_and(is_local),
            waker: Arc::default(),
        };
        Metered { inner: muxer, counted, is_open: true, waiting: None }
    }
}

/// The relay of a relayed address.
fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    parts.windows(2).find_map(|pair| match pair {
        [Protocol::P2p(relay), Protocol::P2pCircuit] => Some(*relay),
        _ => None,
    })
}

#[derive(Clone)]
struct Counted {
    account: Arc<Account>,
    relay: Option<Arc<Account>>,
    is_local: bool,
    /// Wakes the connection, so that it ends when its node is cut off.
    waker: Arc<AtomicWaker>,
}

impl Counted {
    fn count(&self, bytes: usize, way: Way) -> io::Result<()> {
        if !self.is_local {
            let sum = if way == Way::Received { &self.account.received } else { &self.account.sent };
            sum.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let weight = match way {
            Way::Received => 1.0,
            Way::Sent => SENT_WEIGHT,
            Way::Answered => ANSWER_WEIGHT,
        };
        self.account.spend(bytes as f64 * weight);
        if let Some(relay) = &self.relay {
            // With what is around it on the relay's own connection, where either side may have opened the stream.
            let most = if way == Way::Received { 1.0 } else { ANSWER_WEIGHT };
            relay.spend(bytes as f64 * most * -1.2);
        }
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        let checked = self.account.check();
        if checked.is_err() {
            self.waker.wake();
        }
        checked
    }
}

/// A connection whose bytes are counted.
pub(crate) struct Metered {
    inner: StreamMuxerBox,
    counted: Counted,
    is_open: bool,
    /// A stream that came too soon, and when its turn is. What comes behind it waits in the multiplexer, which has bounds.
    waiting: Option<(Pin<Box<Sleep>>, SubstreamBox)>,
}

impl Drop for Metered {
    fn drop(&mut self) {
        if self.is_open {
            self.counted.account.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Metered {
    fn opened_there(&self, inner: SubstreamBox) -> MeteredStream {
        MeteredStream { inner, counted: self.counted.clone(), out: Way::Answered }
    }
}

impl StreamMuxer for Metered {
    type Substream = MeteredStream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MeteredStream>> {
        loop {
            if let Some((turn, _)) = &mut self.waiting {
                ready!(turn.as_mut().poll(cx));
            }
            if let Some((_, inner)) = self.waiting.take() {
                return Poll::Ready(Ok(self.opened_there(inner)));
            }
            let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
            match self.counted.account.count_stream() {
                Ok(Duration::ZERO) => return Poll::Ready(Ok(self.opened_there(inner))),
                Ok(wait) => self.waiting = Some((Box::pin(tokio::time::sleep(wait)), inner)),
                Err(error) => {
                    self.counted.waker.wake();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MeteredStream>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(MeteredStream { inner, counted: self.counted.clone(), out: Way::Sent }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.counted.waker.register(cx.waker());
        if let Err(error) = self.counted.check() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// A stream whose bytes are counted.
pub(crate) struct MeteredStream {
    inner: SubstreamBox,
    counted: Counted,
    out: Way,
}

impl AsyncRead for MeteredStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.counted.count(count, Way::Received)?;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.counted.count(count, self.out)?;
        Poll::Ready(Ok(count))
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

    fn counted(meter: &Meter, peer: PeerId, is_local: bool) -> Counted {
        Counted { account: meter.account(peer), relay: None, is_local, waker: Arc::default() }
    }

    #[test]
    fn a_stranger_is_cut_off_and_a_related_node_is_not() {
        let (meter, stranger, friend) = (Meter::default(), PeerId::random(), PeerId::random());
        meter.set_class(friend, PeerClass::Related);
        for is_local in [true, false] {
            let (theirs, ours) = (counted(&meter, stranger, is_local), counted(&meter, friend, is_local));
            let mut taken = 0;
            while theirs.count(1000, Way::Received).is_ok() {
                taken += 1000;
                assert!(taken < 200_000, "a stranger is not cut off");
            }
            assert!(meter.is_cut(&stranger));
            (0..1000).for_each(|_| ours.count(1000, Way::Received).unwrap());
            assert!(!meter.is_cut(&friend));
        }
    }

    #[test]
    fn answers_to_a_stranger_are_bounded_more_closely_than_what_it_says() {
        let (meter, stranger) = (Meter::default(), PeerId::random());
        let theirs = counted(&meter, stranger, true);
        let given = (0..1000).take_while(|_| theirs.count(1000, Way::Answered).is_ok()).count();
        assert!((60..70).contains(&given), "{given} KB were answered");
    }

    #[test]
    fn a_stranger_that_opens_stream_after_stream_is_cut_off() {
        let (meter, stranger, friend) = (Meter::default(), PeerId::random(), PeerId::random());
        meter.set_class(friend, PeerClass::Related);
        // One that relays for this node has no reason to either.
        meter.account(stranger).is_carrier.store(true, Ordering::Relaxed);
        let opened = |peer| (0..10_000).take_while(|_| meter.account(peer).count_stream().is_ok()).count();
        assert!((250..300).contains(&opened(stranger)));
        assert!(meter.is_cut(&stranger));
        assert_eq!(opened(friend), 10_000);
        let wait = meter.account(friend).count_stream().unwrap();
        assert!((180..=190).contains(&wait.as_secs()), "{wait:?} for 9,489 streams too many at 50 a second");
        assert_eq!(meter.account(PeerId::random()).count_stream().unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_relay_carries_some_megabytes_for_a_stranger_and_all_for_a_friend() {
        let (meter, stranger, friend) = (Meter::new(true), PeerId::random(), PeerId::random());
        meter.set_class(friend, PeerClass::Related);
        let carried = |peer, way| {
            let counted = counted(&meter, peer, false);
            (0..1000).take_while(|_| counted.count(100_000, way).is_ok()).count()
        };
        assert!((80..90).contains(&carried(stranger, Way::Received)), "some 8 MiB");
        assert!(meter.is_cut(&stranger));
        assert_eq!((carried(friend, Way::Received), carried(friend, Way::Answered)), (1000, 1000));
        let (raw, other) = (meter.account(PeerId::random()), meter.account(friend));
        assert!((100..110).contains(&(0..1000).take_while(|_| raw.count_raw(100_000, true).is_ok()).count()), "some 10 MiB");
        assert!((0..1000).all(|_| other.count_raw(100_000, true).is_ok()));
    }

    #[test]
    fn frames_without_data_cut_a_stranger_off_and_neither_a_friend_nor_a_relay() {
        let (meter, stranger, friend, relay) = (Meter::default(), PeerId::random(), PeerId::random(), PeerId::random());
        meter.set_class(friend, PeerClass::Related);
        meter.account(relay).is_carrier.store(true, Ordering::Relaxed);
        let taken = |peer| {
            let account = meter.account(peer);
            (0..100_000).take_while(|_| account.count_raw(12, true).is_ok()).count()
        };
        assert!((13_000..15_000).contains(&taken(stranger)));
        assert!(meter.is_cut(&stranger));
        assert_eq!((taken(friend), taken(relay)), (100_000, 100_000));
    }

    #[test]
    fn what_stays_on_the_local_network_is_not_taken_for_the_cap() {
        let (meter, peer) = (Meter::default(), PeerId::random());
        let node = fog_types::NodeId([7; 32]);
        let peer = crate::peer_of(node).unwrap_or(peer);
        meter.set_class(peer, PeerClass::Related);
        counted(&meter, peer, true).count(500, Way::Received).unwrap();
        assert_eq!(meter.take(), vec![]);
        meter.set_class(peer, PeerClass::Related);
        let far = counted(&meter, peer, false);
        far.count(500, Way::Received).unwrap();
        far.count(70, Way::Sent).unwrap();
        assert_eq!(meter.take(), vec![NodeTraffic { node, received: 500, sent: 70 }]);
        assert_eq!(meter.take(), vec![]);
    }

    #[test]
    fn what_a_relay_carries_is_not_held_against_it() {
        let (meter, relay, friend) = (Meter::default(), PeerId::random(), PeerId::random());
        meter.set_class(friend, PeerClass::Related);
        let outer = counted(&meter, relay, false);
        let inner = Counted { relay: Some(meter.account(relay)), ..counted(&meter, friend, false) };
        for _ in 0..1000 {
            inner.count(1000, Way::Received).unwrap();
            outer.count(1050, Way::Received).unwrap();
        }
        assert!(!meter.is_cut(&relay));
    }

    #[test]
    fn the_relay_of_an_address_is_named_before_the_circuit() {
        let relay = PeerId::random();
        let address: Multiaddr = format!("/ip4/198.51.100.7/tcp/4/p2p/{relay}/p2p-circuit/p2p/{}", PeerId::random()).parse().unwrap();
        assert_eq!(relay_of(&address), Some(relay));
        assert_eq!(relay_of(&"/ip4/198.51.100.7/tcp/4".parse().unwrap()), None);
    }
}
