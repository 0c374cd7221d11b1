//! Radio of a phone: the native code of the phone has both roles, and this module exchanges commands and
//! events with it.
//!
//! The native code finds, connects, serves and answers by itself. It numbers its links; packets pass
//! through this module.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fog_transport::{PacketEnd, packet_link};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{interval, sleep, timeout};

use crate::{Config, News, State};

/// Maximum number of links in both directions together; the native code has the same bound.
const MAX_LINKS: usize = 8;
/// Maximum size of a packet in bytes: that of an attribute.
const MAX_PACKET: usize = 512;
/// Minimum size that every link carries, in bytes: the smallest MTU less three.
const MIN_LIMIT: usize = 20;
/// Capacity of the event queue. The native code does not wait: when the queue is full, it drops its sender
/// and the radio is restarted.
const QUEUE: usize = 128;
/// Maximum time for the native code to start, and to send a packet.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time after which a link is closed if its packets are not taken.
const TAKING: Duration = Duration::from_secs(5);
const LOOK_AT_SETTINGS: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(5);

/// Future answer of the native code.
pub type PhoneAnswer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Event of the native code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhoneNews {
    /// A link to another device is open, and the device is subscribed.
    Link {
        /// Number of the link, never used twice while the app runs.
        id: u64,
        /// Maximum size of a packet on the link, in bytes.
        limit: usize,
        /// Whether the other device connected: it writes and is notified.
        is_incoming: bool,
    },
    /// A packet was received.
    Packet {
        /// Number of the link.
        id: u64,
        /// The packet.
        packet: Vec<u8>,
    },
    /// A link is closed.
    Closed {
        /// Number of the link.
        id: u64,
    },
    /// The state of the radio changed.
    State(PhoneState),
}

/// State of a phone's radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneState {
    /// The radio finds others and is found.
    On,
    /// The radio finds others; this phone cannot advertise.
    CentralOnly,
    /// Bluetooth is switched off.
    Off,
    /// The app is not allowed to use Bluetooth.
    Forbidden,
    /// The phone has no Bluetooth LE, or it does not work.
    Missing,
}

impl PhoneState {
    fn told(self) -> (State, &'static str) {
        match self {
            Self::On => (State::On, ""),
            Self::CentralOnly => (
                State::CentralOnly,
                "this phone cannot be found by others; it finds them while their app is open",
            ),
            Self::Off => (State::Unavailable, "Bluetooth is off; switch it on in the phone's settings"),
            Self::Forbidden => (
                State::Unavailable,
                "this app may not use Bluetooth; allow it in the phone's settings, under the app's permissions",
            ),
            Self::Missing => (State::Unavailable, "this phone has no Bluetooth LE that works"),
        }
    }
}

/// Radio of a phone, implemented by the plugin.
pub trait PhoneRadio: Debug + Send + Sync {
    /// Starts a session and ends the previous one. Events go to `tell` without waiting; when it is full, it
    /// has to be dropped. A radio that is off or forbidden is reported, and starts by itself once that
    /// changes.
    fn start(
        &self,
        session: u64,
        saves_power: bool,
        tell: mpsc::Sender<PhoneNews>,
    ) -> PhoneAnswer<Result<(), String>>;

    /// Sets whether the radio saves power by scanning less often.
    fn save_power(&self, session: u64, saves_power: bool);

    /// Ends this session with all its links; without effect when another one has started.
    fn stop(&self, session: u64);

    /// Sends a packet; returns whether it was sent. Called for one packet at a time on each link.
    fn send(&self, id: u64, packet: Vec<u8>) -> PhoneAnswer<bool>;

    /// Closes a link.
    fn close(&self, id: u64);
}

/// Guard that ends the session when the future that serves it ends in any way.
struct Session {
    radio: Arc<dyn PhoneRadio>,
    number: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.radio.stop(self.number);
    }
}

struct Link {
    heard: mpsc::Sender<Vec<u8>>,
    sending: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

/// Uses the phone's radio until `news` is closed or the future is dropped.
pub(crate) async fn run(radio: Arc<dyn PhoneRadio>, config: Config, news: mpsc::Sender<News>) {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    loop {
        let session = Session { radio: radio.clone(), number: COUNT.fetch_add(1, Ordering::Relaxed) };
        if let Err(problem) = serve(&session, &config, &news).await {
            tracing::info!(problem, "no Bluetooth");
            let state = News::State { state: State::Unavailable, adapter: String::new(), problem };
            if news.send(state).await.is_err() {
                return;
            }
        }
        drop(session);
        if news.is_closed() {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// # Errors
/// A message that tells why the radio did not start.
async fn serve(session: &Session, config: &Config, news: &mpsc::Sender<News>) -> Result<(), String> {
    let (tell, mut told) = mpsc::channel(QUEUE);
    let mut saves_power = config.saves_power.load(Ordering::Relaxed);
    let begun = timeout(PATIENCE, session.radio.start(session.number, saves_power, tell)).await;
    begun
        .map_err(|_| "Bluetooth does not answer".to_owned())?
        .map_err(|error| format!("Bluetooth does not begin: {error}"))?;
    let mut links: HashMap<u64, Link> = HashMap::new();
    let mut sending: JoinSet<u64> = JoinSet::new();
    let mut tick = interval(LOOK_AT_SETTINGS);
    loop {
        tokio::select! {
            next = told.recv() => match next {
                Some(PhoneNews::Link { id, limit, is_incoming }) => {
                    if links.len() >= MAX_LINKS || links.contains_key(&id) {
                        session.radio.close(id);
                        continue;
                    }
                    // Acknowledged writes arrive; notifications are not acknowledged.
                    let (packets, end) = packet_link(limit.clamp(MIN_LIMIT, MAX_PACKET), true, !is_incoming);
                    tracing::debug!(id, limit = packets.limit, is_incoming, "linked");
                    let heard = end.inbound.clone();
                    links.insert(id, Link { heard, sending: sending.spawn(send_each(session.radio.clone(), id, end)) });
                    if news.send(News::Link(packets)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(PhoneNews::Packet { id, packet }) => {
                    let Some(link) = links.get(&id) else { continue };
                    if packet.is_empty() || packet.len() > MAX_PACKET {
                        tracing::debug!(id, length = packet.len(), "not a packet");
                    } else if !matches!(timeout(TAKING, link.heard.send(packet)).await, Ok(Ok(()))) {
                        links.remove(&id);
                        session.radio.close(id);
                    }
                }
                Some(PhoneNews::Closed { id }) => {
                    links.remove(&id);
                }
                Some(PhoneNews::State(state)) => {
                    let (state, problem) = state.told();
                    if news.send(News::State { state, adapter: String::new(), problem: problem.to_owned() }).await.is_err() {
                        return Ok(());
                    }
                }
                None => {
                    tracing::debug!("the phone told more than was dealt with; its radio is begun anew");
                    return Ok(());
                }
            },
            // A task that was aborted belongs to a link that is gone already.
            Some(ended) = sending.join_next(), if !sending.is_empty() => if let Ok(id) = ended
                && links.remove(&id).is_some()
            {
                session.radio.close(id);
            },
            _ = tick.tick() => {
                if news.is_closed() {
                    return Ok(());
                }
                let wish = config.saves_power.load(Ordering::Relaxed);
                if wish != saves_power {
                    saves_power = wish;
                    session.radio.save_power(session.number, wish);
                }
            }
        }
    }
}

/// Sends packets until the link is closed here or a packet is not sent; returns the number of the link.
async fn send_each(radio: Arc<dyn PhoneRadio>, id: u64, end: PacketEnd) -> u64 {
    let PacketEnd { mut out, inbound } = end;
    loop {
        tokio::select! {
            packet = out.recv() => match packet {
                // Each packet is sent before the next, so packets are not reordered.
                Some(packet) => if !timeout(PATIENCE, radio.send(id, packet)).await.unwrap_or(false) {
                    tracing::debug!(id, "a packet was not taken");
                    return id;
                },
                None => return id,
            },
            // When the other channel of the link closes, this one ends too.
            () = inbound.closed() => return id,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use fog_transport::PacketLink;

    use super::*;

    /// Calls that the phone received.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Asked {
        Start(bool),
        SavePower(bool),
        Stop,
        Send(u64, Vec<u8>),
        Close(u64),
    }

    #[derive(Debug, Default)]
    struct Fake {
        asked: Mutex<Vec<Asked>>,
        tell: Mutex<Option<mpsc::Sender<PhoneNews>>>,
        refuses: bool,
    }

    impl Fake {
        fn ask(&self, what: Asked) {
            self.asked.lock().unwrap().push(what);
        }

        fn was_asked(&self, what: &Asked) -> usize {
            self.asked.lock().unwrap().iter().filter(|asked| *asked == what).count()
        }
    }

    impl PhoneRadio for Fake {
        fn start(
            &self,
            _session: u64,
            saves_power: bool,
            tell: mpsc::Sender<PhoneNews>,
        ) -> PhoneAnswer<Result<(), String>> {
            self.ask(Asked::Start(saves_power));
            *self.tell.lock().unwrap() = Some(tell);
            let answer = if self.refuses { Err("no".to_owned()) } else { Ok(()) };
            Box::pin(async move { answer })
        }

        fn save_power(&self, _session: u64, saves_power: bool) {
            self.ask(Asked::SavePower(saves_power));
        }

        fn stop(&self, _session: u64) {
            self.ask(Asked::Stop);
        }

        fn send(&self, id: u64, packet: Vec<u8>) -> PhoneAnswer<bool> {
            let goes_out = packet != b"lost";
            self.ask(Asked::Send(id, packet));
            Box::pin(async move { goes_out })
        }

        fn close(&self, id: u64) {
            self.ask(Asked::Close(id));
        }
    }

    struct World {
        phone: Arc<Fake>,
        config: Config,
        news: mpsc::Receiver<News>,
        running: tokio::task::JoinHandle<()>,
    }

    impl World {
        fn new(refuses: bool) -> Self {
            let phone = Arc::new(Fake { refuses, ..Fake::default() });
            let config = Config { phone: Some(phone.clone()), ..Config::default() };
            let (to, news) = mpsc::channel(16);
            let running = tokio::spawn(crate::run(config.clone(), to));
            Self { phone, config, news, running }
        }

        async fn tell(&self, news: PhoneNews) {
            // The radio starts as soon as the other task runs.
            tokio::task::yield_now().await;
            let tell = self.phone.tell.lock().unwrap().clone().unwrap();
            tell.send(news).await.unwrap();
        }

        async fn link(&mut self, id: u64, is_incoming: bool) -> PacketLink {
            self.tell(PhoneNews::Link { id, limit: 509, is_incoming }).await;
            let Some(News::Link(link)) = self.news.recv().await else { panic!("no link") };
            link
        }

        async fn state(&mut self) -> (State, String) {
            let Some(News::State { state, problem, .. }) = self.news.recv().await else { panic!("no state") };
            (state, problem)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn packets_go_both_ways_and_either_side_closes() {
        let mut world = World::new(false);
        let (mut called, calls) = (world.link(1, true).await, world.link(2, false).await);
        assert_eq!((called.limit, called.is_radio, called.is_sure, calls.is_sure), (509, true, false, true));
        world.tell(PhoneNews::Packet { id: 1, packet: b"hello".to_vec() }).await;
        assert_eq!(called.inbound.recv().await, Some(b"hello".to_vec()));
        for wrong in [
            PhoneNews::Packet { id: 7, packet: vec![1] },
            PhoneNews::Packet { id: 1, packet: vec![] },
            PhoneNews::Packet { id: 1, packet: vec![1; 513] },
        ] {
            world.tell(wrong).await;
        }
        called.out.send(b"answer".to_vec()).await.unwrap();
        world.tell(PhoneNews::Closed { id: 1 }).await;
        assert_eq!(
            called.inbound.recv().await,
            None,
            "what is no packet is not passed on, and the link is gone"
        );
        assert_eq!(world.phone.was_asked(&Asked::Send(1, b"answer".to_vec())), 1);
        drop(calls);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            (world.phone.was_asked(&Asked::Close(1)), world.phone.was_asked(&Asked::Close(2))),
            (0, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_packet_that_does_not_go_out_and_a_link_nobody_reads_end_it() {
        let mut world = World::new(false);
        let (mut lossy, mut unread) = (world.link(1, false).await, world.link(2, true).await);
        lossy.out.send(b"lost".to_vec()).await.unwrap();
        assert_eq!(lossy.inbound.recv().await, None);
        for n in 0..20 {
            world.tell(PhoneNews::Packet { id: 2, packet: vec![n] }).await;
        }
        sleep(TAKING * 2).await;
        assert_eq!(
            (world.phone.was_asked(&Asked::Close(1)), world.phone.was_asked(&Asked::Close(2))),
            (1, 1)
        );
        let mut waited = 0;
        while unread.inbound.recv().await.is_some() {
            waited += 1;
        }
        assert!((1..20).contains(&waited), "{waited} packets wait at most");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_eight_links_and_no_more() {
        let mut world = World::new(false);
        let mut links = Vec::new();
        for id in 0..MAX_LINKS as u64 {
            links.push(world.link(id, true).await);
        }
        world.tell(PhoneNews::Link { id: 50, limit: 100, is_incoming: true }).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.phone.was_asked(&Asked::Close(50)), 1);
        world.tell(PhoneNews::Closed { id: 3 }).await;
        assert_eq!(world.link(51, true).await.limit, 509);
    }

    #[tokio::test(start_paused = true)]
    async fn states_are_sentences_and_the_pace_follows_the_setting() {
        let mut world = World::new(false);
        for (told, state) in [
            (PhoneState::Forbidden, State::Unavailable),
            (PhoneState::Off, State::Unavailable),
            (PhoneState::Missing, State::Unavailable),
            (PhoneState::CentralOnly, State::CentralOnly),
        ] {
            world.tell(PhoneNews::State(told)).await;
            let (seen, problem) = world.state().await;
            assert!(seen == state && !problem.is_empty(), "{told:?}");
        }
        world.tell(PhoneNews::State(PhoneState::On)).await;
        assert_eq!(world.state().await, (State::On, String::new()));
        world.config.saves_power.store(true, Ordering::Relaxed);
        sleep(LOOK_AT_SETTINGS * 3).await;
        assert_eq!(
            (world.phone.was_asked(&Asked::Start(false)), world.phone.was_asked(&Asked::SavePower(true))),
            (1, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_begun_anew_when_telling_ends_and_stopped_when_it_is_not_wanted() {
        let mut world = World::new(false);
        let mut link = world.link(1, true).await;
        world.phone.tell.lock().unwrap().take();
        assert_eq!(link.inbound.recv().await, None);
        sleep(AGAIN * 2).await;
        assert_eq!(
            (world.phone.was_asked(&Asked::Start(false)), world.phone.was_asked(&Asked::Stop)),
            (2, 1)
        );
        // The chat switches its radio off in this way.
        world.running.abort();
        assert!(world.running.await.unwrap_err().is_cancelled());
        assert_eq!(world.phone.was_asked(&Asked::Stop), 2);

        let mut world = World::new(true);
        assert_eq!(world.state().await, (State::Unavailable, "Bluetooth does not begin: no".to_owned()));
        drop(world.news);
        sleep(AGAIN * 2).await;
        assert!(world.running.is_finished());
    }
}
