//! Byte counts by node. They decide which traffic counts against the owner's data limit, and a node that
//! shares no network with this one is cut off when it has sent more than an introduction can need.

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

/// Bytes that a stranger may exchange at once: an AutoNAT address test takes 100 KB, a look-up 4 KB.
const STRANGER_BYTES: f64 = 128.0 * 1024.0;
/// Allowance per second, enough for answers to pings and for the look-ups of a meeting place each minute.
const STRANGER_BYTES_PER_SECOND: f64 = 256.0;
/// Allowance for bytes below the streams, which include their frames and frames without data.
const STRANGER_RAW_BYTES: f64 = 160.0 * 1024.0;
/// Weight of an answer on a stream that the other side opened: 64 KiB of answers use up the allowance.
/// Bytes on streams that this node opened weigh less, since it chose to send them.
const ANSWER_WEIGHT: f64 = 2.0;
const SENT_WEIGHT: f64 = 0.5;
/// Cost of a stream that a stranger opens, counted separately, whatever is sent on it: 256 streams at once
/// and one every two seconds. QUIC opens a stream with a frame of a few bytes.
const STREAM_COST: f64 = 512.0;
/// Streams that a related node may open at once, and per second afterwards; further ones are delayed. The
/// libp2p behaviours answer each stream with work that the engine does not see: for an Identify push, a
/// signature check and a comparison of addresses.
const RELATED_STREAMS: f64 = 512.0;
const RELATED_STREAMS_PER_SECOND: f64 = 50.0;
/// Yamux frames without data that a related node may send at once, and per second afterwards; further ones
/// are read later. A transfer of 100 MB a second takes some 800 a second.
const FRAMES: f64 = 40_000.0;
const FRAMES_PER_SECOND: f64 = 4_000.0;
/// Cost of a frame that opens a stream, in such frames: Yamux accepts and drops streams while others are
/// delayed.
pub(crate) const OPENING_COST: f64 = 80.0;
/// Factor by which a stranger may exchange more with a relay, which carries the traffic of others: 8 MiB at
/// once, 16 KiB a second.
const RELAY_ALLOWANCE: f64 = 64.0;
/// Time for which a node that was cut off is refused.
pub(crate) const CUT_OFF: Duration = Duration::from_secs(600);
/// Greatest number of accounts of nodes without a connection.
const MAX_ACCOUNTS: usize = 4096;

/// A sum that decays with time (a stranger's bytes, a related node's streams or frames), and the time of
/// its last update.
struct Spent(f64, tokio::time::Instant);

impl Spent {
    fn none() -> Mutex<Self> {
        Mutex::new(Self(0.0, tokio::time::Instant::now()))
    }

    /// Adds to a stranger's bytes; a negative number is a refund.
    fn add(&mut self, bytes: f64) -> f64 {
        self.add_at(bytes, STRANGER_BYTES_PER_SECOND)
    }

    /// Adds to the sum, which decays by `per_second`.
    fn add_at(&mut self, amount: f64, per_second: f64) -> f64 {
        let forgiven = self.1.elapsed().as_secs_f64() * per_second;
        *self = Self((self.0 - forgiven).max(0.0) + amount, tokio::time::Instant::now());
        self.0
    }
}

/// Direction and kind of the counted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Received,
    /// Sent on a stream that this node opened.
    Sent,
    /// Sent on a stream that the other side opened.
    Answered,
}

/// Account of one node.
pub(crate) struct Account {
    class: Mutex<PeerClass>,
    /// Bytes exchanged beyond the local network since they were last taken.
    received: AtomicU64,
    sent: AtomicU64,
    spent: Mutex<Spent>,
    /// Bytes of a stranger below the streams.
    raw: Mutex<Spent>,
    /// Cost of the streams that the node opened as a stranger.
    opened: Mutex<Spent>,
    /// Number of streams that the node opened as a related one.
    related_opened: Mutex<Spent>,
    /// Frames without data from a related node.
    frames: Mutex<Spent>,
    /// Factor by which the limits of the node are higher.
    allowance: f64,
    /// Whether the node relays connections of others to this one, so that its bytes are not its own.
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

    /// Adds to the bytes that a stranger has exchanged.
    fn spend(&self, bytes: f64) {
        let spent = lock(&self.spent).add(bytes / self.allowance);
        self.judge(spent > STRANGER_BYTES);
    }

    fn judge(&self, is_too_much: bool) {
        if is_too_much && self.class() != PeerClass::Related {
            self.cut();
        }
    }

    /// Counts bytes below the streams. An error ends the connection.
    pub(crate) fn count_raw(&self, bytes: usize, is_received: bool) -> io::Result<()> {
        if !self.is_carrier.load(Ordering::Relaxed) {
            let weight = if is_received { 1.0 } else { SENT_WEIGHT };
            let spent = lock(&self.raw).add(bytes as f64 * weight / self.allowance);
            self.judge(spent > STRANGER_RAW_BYTES);
        }
        self.check()
    }

    /// Counts frames without data of a related node, and returns the time for which reading must pause.
    /// Other nodes are cut off instead, by their bytes.
    pub(crate) fn count_frames(&self, cost: f64) -> Duration {
        if self.class() != PeerClass::Related {
            return Duration::ZERO;
        }
        let early = lock(&self.frames).add_at(cost, FRAMES_PER_SECOND) - FRAMES;
        Duration::from_secs_f64(early.max(0.0) / FRAMES_PER_SECOND)
    }

    /// Counts a stream that the node opened, and returns the time for which that stream must wait. An error
    /// ends the connection.
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
        if self.is_cut() {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this device shares no network with it"))
        } else {
            Ok(())
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accounts of all nodes.
pub(crate) struct Meter {
    /// Factor for the limits of each account.
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

    /// Returns the Yamux configuration that counts the bytes below the streams of a connection.
    pub(crate) fn yamux(&self, peer: PeerId) -> CountedYamux {
        CountedYamux { account: self.account(peer) }
    }

    /// Returns the class of a node.
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

    /// Cuts a node off for a while.
    pub(crate) fn cut_off(&self, peer: PeerId) {
        self.account(peer).cut();
    }

    pub(crate) fn is_cut(&self, peer: &PeerId) -> bool {
        lock(&self.accounts).get(peer).is_some_and(|account| account.is_cut())
    }

    /// Returns the bytes exchanged beyond the local network since the last call, by node.
    pub(crate) fn take(&self) -> Vec<NodeTraffic> {
        let mut accounts = lock(&self.accounts);
        let mut taken = Vec::new();
        for (peer, account) in accounts.iter() {
            let (received, sent) =
                (account.received.swap(0, Ordering::Relaxed), account.sent.swap(0, Ordering::Relaxed));
            if let (Some(node), true) = (node_of(peer), received + sent > 0) {
                taken.push(NodeTraffic { node, received, sent });
            }
        }
        accounts.retain(|_, account| {
            account.connections.load(Ordering::Relaxed) > 0
                || account.is_cut()
                || account.class() == PeerClass::Known
        });
        taken
    }

    /// Wraps a connection so that its bytes are counted.
    pub(crate) fn connection(
        &self,
        peer: PeerId,
        muxer: StreamMuxerBox,
        endpoint: &ConnectedPoint,
    ) -> Metered {
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
            // Bytes that a relay carries for others also pass over its own connection.
            relay,
            is_local: !endpoint.is_relayed() && ip_of(remote).is_some_and(is_local),
            waker: Arc::default(),
        };
        Metered { inner: muxer, counted, is_open: true, waiting: None }
    }
}

/// Returns the relay in a relayed address.
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
    /// Wakes the connection so that it ends when its node is cut off.
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
            // Refunded with the overhead on the relay's own connection, where either side may have opened
            // the stream.
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
    /// A stream that came too soon, with its delay. Later streams wait in the multiplexer, which has
    /// bounds.
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
        // A relay of this node has no reason to open many streams either.
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
        assert!(
            (100..110).contains(&(0..1000).take_while(|_| raw.count_raw(100_000, true).is_ok()).count()),
            "some 10 MiB"
        );
        assert!((0..1000).all(|_| other.count_raw(100_000, true).is_ok()));
    }

    #[test]
    fn frames_without_data_cut_a_stranger_off_and_neither_a_friend_nor_a_relay() {
        let (meter, stranger, friend, relay) =
            (Meter::default(), PeerId::random(), PeerId::random(), PeerId::random());
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
        let address: Multiaddr =
            format!("/ip4/198.51.100.7/tcp/4/p2p/{relay}/p2p-circuit/p2p/{}", PeerId::random())
                .parse()
                .unwrap();
        assert_eq!(relay_of(&address), Some(relay));
        assert_eq!(relay_of(&"/ip4/198.51.100.7/tcp/4".parse().unwrap()), None);
    }
}
