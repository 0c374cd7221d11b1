//! The chat thread: one node of the mesh, its links and its clock.
//!
//! State that must survive a crash is not kept here: the loop stores it, and only then sends
//! [`ServiceCommand::ConfirmStored`].

mod events;
mod links;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fog_bitchat::{Capabilities, Config, Event, Identity, LinkId, Node, PeerId, PeerKeys};
use fog_ble::PhoneRadio;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::chat::clock::{Clock, Look};
use crate::chat::store_and_forward::{BundleRelay, Me};
use crate::chat::{Change, ChatEvent, PinnedContact, SavedState, ServiceCommand};
use crate::clock::TimeSource;
use crate::message;

/// Orders that may wait; further ones are refused.
const ORDERS: usize = 1024;
/// Packets and changes of links that may wait; links are read no faster than these are handled.
const HEARD: usize = 64;
/// Wait before a link that accepts nothing is tried again.
const BLOCKED: Duration = Duration::from_millis(10);
/// Milliseconds that a text waits for its recipient before Fog nodes carry it; `LOOK_EVERY` is the time
/// between two checks.
const WAIT: u64 = 10_000;
const LOOK_EVERY: u64 = 1_000;
/// Time for a goodbye to leave; `RADIO_ENDS` is the time for the radio to end its links.
const GOODBYE: Duration = Duration::from_millis(200);
const RADIO_ENDS: Duration = Duration::from_secs(3);

/// Handle of the running thread, which says goodbye and ends when this is dropped.
pub(crate) struct ChatService {
    orders: mpsc::Sender<ServiceCommand>,
    /// Orders that wait until the changes of the present input are stored.
    waiting: RefCell<Vec<ServiceCommand>>,
    saves_power: Arc<AtomicBool>,
    /// Number of this driver within the engine; late messages of an earlier driver are ignored.
    number: u64,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

/// The radio while it is in use.
struct Radio {
    /// Dropping this sender ends the radio.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ChatService {
    pub(crate) fn start(
        identity: Identity,
        nickname: String,
        before: SavedState,
        phone: Option<Arc<dyn PhoneRadio>>,
        time: Arc<dyn TimeSource>,
        to: mpsc::Sender<message::EngineMessage>,
    ) -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let saves_power = Arc::new(AtomicBool::new(false));
        let (ending, ended) = oneshot::channel::<()>();
        let radio = fog_ble::Config { saves_power: saves_power.clone(), phone, ..fog_ble::Config::default() };
        std::thread::Builder::new().name("chat".to_owned()).spawn(move || {
            use Capabilities as C;
            let capabilities = C::PRIVATE_MEDIA
                .and(C::PREKEYS)
                .and(C::GROUPS)
                .and(C::BOARD)
                .and(C::VOUCH)
                .and(C::MESH_DIAGNOSTICS);
            let me = identity.keys();
            let mut node = Node::new(
                identity,
                Config { nickname: nickname.clone(), capabilities, is_fog_peer: true },
                rand::random(),
            );
            for PinnedContact { keys, is_favourite, is_verified } in before.known {
                node.pin(keys);
                node.set_favourite(keys.peer(), is_favourite);
                node.set_verified(keys, is_verified);
            }
            let mut clock = Clock::new(time, before.moved.gap);
            node.restore_mail(&before.letters);
            node.restore_groups(&before.groups);
            node.restore_board(&before.board);
            let set_by = before.moved.by.saturating_add(before.moved.gap);
            node.move_times(set_by);
            let relay = BundleRelay::restore(
                me.peer(),
                before.key,
                &before.bundles,
                &before.ratchet,
                set_by,
                clock.look().now,
            );
            let to = Listener { number, to };
            runtime.block_on(Running::new(node, (me, nickname), relay, clock, to, radio).run(inbox));
            runtime.shutdown_timeout(Duration::from_secs(1));
            drop(ending);
        })?;
        Ok(Self { orders, waiting: RefCell::default(), saves_power, number, ended })
    }

    /// Lets the thread say goodbye and end. The receiver is ready when it has ended.
    pub(crate) fn stop(self) -> oneshot::Receiver<()> {
        self.ended
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Weak sender for sources of links; it does not keep the thread alive.
    pub(crate) fn orders(&self) -> mpsc::WeakSender<ServiceCommand> {
        self.orders.downgrade()
    }

    /// Sets whether the radio searches less often, to save power.
    pub(crate) fn save_power(&self, is_on: bool) {
        self.saves_power.store(is_on, Ordering::Relaxed);
    }

    /// Queues an order, which the thread gets once the changes of this input are stored. Returns whether
    /// there is room for it.
    pub(crate) fn order(&self, order: ServiceCommand) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let has_room = waiting.len() < self.orders.capacity();
        if has_room {
            waiting.push(order);
        } else {
            tracing::warn!("chat is too busy to do what was asked");
        }
        has_room
    }

    /// Hands the queued orders to the thread.
    pub(crate) fn send_orders(&self) {
        for order in self.waiting.take() {
            // Nobody else sends as much as there was room for, but links; their loss is noticed.
            if self.orders.try_send(order).is_err() {
                tracing::warn!("chat is too busy to do what was asked");
            }
        }
    }

    /// Forgets the queued orders.
    pub(crate) fn drop_orders(&self) {
        self.waiting.take();
    }
}

/// Sender to the loop on behalf of one driver.
#[derive(Clone)]
struct Listener {
    number: u64,
    to: mpsc::Sender<message::EngineMessage>,
}

impl Listener {
    async fn say(&self, news: ChatEvent) -> bool {
        self.to.send(message::EngineMessage::Chat(self.number, Box::new(news))).await.is_ok()
    }
}

enum Heard {
    Packet(LinkId, Vec<u8>),
    Closed(LinkId),
    Radio(fog_ble::News),
}

struct Open {
    out: mpsc::Sender<Vec<u8>>,
    is_radio: bool,
}

struct Running {
    node: Node,
    me: (PeerKeys, String),
    relay: BundleRelay,
    next_look: u64,
    to: Listener,
    links: BTreeMap<LinkId, Open>,
    next_link: u64,
    heard: mpsc::Sender<Heard>,
    hears: Option<mpsc::Receiver<Heard>>,
    radio: Option<Radio>,
    radio_view: fog_api::RadioView,
    /// Configuration of the radio except its adapter.
    radio_config: fog_ble::Config,
    clock: Clock,
    /// Version and time of the last report of carried letters.
    mail: Option<(u64, Instant)>,
    /// Version of the last report of groups.
    groups: u64,
    /// Version and time of the last report of the board.
    board: Option<(u64, Instant)>,
    /// Version of the last report of bundles, and the earliest time of the next one.
    bundles: Option<(u64, Instant)>,
    /// Requests for changes that were carried out, or not for a reason, and are to be reported.
    changed: Vec<(u64, Option<String>)>,
}

/// Logs a refusal. The loop checked before it ordered; a change in between is worth no more than a line.
fn told<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "nothing was changed");
    }
}

impl Running {
    fn new(
        node: Node,
        me: (PeerKeys, String),
        relay: BundleRelay,
        clock: Clock,
        to: Listener,
        radio_config: fog_ble::Config,
    ) -> Self {
        let (heard, hears) = mpsc::channel(HEARD);
        Self {
            node,
            me,
            relay,
            next_look: 0,
            to,
            links: BTreeMap::new(),
            next_link: 1,
            heard,
            hears: Some(hears),
            radio: None,
            radio_view: fog_api::RadioView::default(),
            radio_config,
            clock,
            mail: None,
            groups: 0,
            board: None,
            bundles: None,
            changed: Vec::new(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<ServiceCommand>) {
        let Some(mut hears) = self.hears.take() else { return };
        loop {
            let now = self.now();
            // Messages to Fog nodes that arise while telling go out in the next round, which is due at
            // once.
            let is_blocked = self.transmit(now);
            if !self.tell(now).await {
                return;
            }
            let due = self.node.poll_timeout().min(self.relay.poll_timeout().unwrap_or(u64::MAX));
            let due = Duration::from_millis(due.saturating_sub(now));
            let due = if is_blocked { due.max(BLOCKED) } else { due };
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.handle_command(order),
                    None => break,
                },
                Some(heard) = hears.recv() => self.hear(heard),
                () = tokio::time::sleep(due) => {
                    let now = self.now();
                    self.node.handle_timeout(now);
                    self.relay.handle_timeout(now);
                    self.hand_to_carriers(now);
                }
            }
        }
        let now = self.now();
        self.node.leave(now);
        self.transmit(now);
        tokio::time::sleep(GOODBYE).await;
        if let Some(Radio { stop, task }) = self.radio.take() {
            drop(stop);
            // Links that do not end in time are left to the system.
            let _ = tokio::time::timeout(RADIO_ENDS, task).await;
        }
    }

    /// Current time of the mesh. Pending times follow when the calendar was set.
    fn now(&mut self) -> u64 {
        let Look { now, set_by, believed } = self.clock.look();
        if set_by != 0 {
            tracing::warn!(millis = set_by, "the calendar was set; what is kept and carried moves with it");
            self.node.handle_clock_set(now, set_by);
            self.relay.handle_clock_set(set_by);
            self.next_look = now;
        }
        if believed != 0 {
            self.node.move_times(believed);
            self.relay.handle_clock_set(believed);
        }
        now
    }

    /// Hands packets to the links that accept some. Returns whether a link was full.
    fn transmit(&mut self, now: u64) -> bool {
        let links = &self.links;
        let can_take = |id: LinkId| links.get(&id).is_some_and(|link| link.out.capacity() > 0);
        while let Some((id, packet)) = self.node.poll_transmit_if(now, can_take) {
            // There was room, or the link is closing and reports that itself.
            let _ = links.get(&id).map(|link| link.out.try_send(packet));
        }
        self.links.values().any(|link| link.out.capacity() == 0)
    }

    /// Hands texts whose recipients stay away to Fog nodes that carry them.
    fn hand_to_carriers(&mut self, now: u64) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let is_due = |(_, _, queued): &(PeerId, &_, u64)| now.saturating_sub(*queued) >= WAIT;
        let waiting: Vec<_> = self
            .node
            .waiting()
            .filter(is_due)
            .map(|(to, message, queued)| (to, message.clone(), queued))
            .collect();
        for (to, message, queued) in waiting {
            let Some(keys) = self.node.keys_of(to) else { continue };
            let me = Me { keys: self.me.0, name: &self.me.1 };
            if !self.relay.has(to, &message.id) {
                self.relay.send(&me, &keys, &message.id, &message.text, queued, now);
            }
        }
    }

    fn handle_command(&mut self, order: ServiceCommand) {
        let now = self.now();
        let (refused, to, mid) = match order {
            ServiceCommand::SendToAll(text) => return drop(self.node.say_to_all(&text, now)),
            ServiceCommand::SendText { to, mid, text } => {
                (self.node.tell(to, mid.clone(), text, now), to, mid)
            }
            ServiceCommand::SendFile { to: Some(to), mid, file } => {
                (self.node.give(to, mid.clone(), file, now), to, mid)
            }
            ServiceCommand::SendFile { to: None, file, .. } => {
                if let Err(error) = self.node.give_to_all(&file, now) {
                    tracing::warn!(%error, "a file was not given");
                }
                return;
            }
            ServiceCommand::Ping(whom) => {
                if !self.node.ping(whom, now) {
                    let listener = self.to.clone();
                    tokio::spawn(async move { listener.say(ChatEvent::Event(Event::NoPong(whom))).await });
                }
                return;
            }
            ServiceCommand::ConfirmStored { from, mid } => return self.node.confirm_stored(from, mid, now),
            ServiceCommand::ConfirmRead { from, mid } => return self.node.confirm_read(from, mid, now),
            ServiceCommand::DropOutbox(peer) => return self.node.forget_outbox(peer),
            ServiceCommand::Verify { peer, noise } => return self.node.verify(peer, noise, now),
            ServiceCommand::Pin(keys) => return self.node.pin(keys),
            ServiceCommand::SetFavourite(peer, is_favourite) => {
                return self.node.set_favourite(peer, is_favourite);
            }
            ServiceCommand::SetVerified(keys, is_verified) => {
                return self.node.set_verified(keys, is_verified);
            }
            ServiceCommand::Change(request, change) => {
                let problem = self.change(change, now).err();
                return self.changed.push((request, problem));
            }
            ServiceCommand::Rename(name) => {
                self.me.1.clone_from(&name);
                return self.node.rename(name, now);
            }
            ServiceCommand::SendToGroup { group, mid, text } => {
                return told(self.node.say_in_group(group, mid, &text, now));
            }
            ServiceCommand::RatchetStored(turn) => return self.relay.stored(turn, now),
            ServiceCommand::CarriedAnswered { bundle, is_stored } => {
                return self.relay.answered(bundle, is_stored, now);
            }
            ServiceCommand::Link(link) => return self.open(link),
            ServiceCommand::Radio(wish) => return self.switch_radio(wish),
        };
        if let Err(why) = refused {
            // A full queue of the loop must not hold up the mesh.
            let listener = self.to.clone();
            tokio::spawn(async move { listener.say(ChatEvent::Refused { to, mid, why }).await });
        }
    }

    /// Changes groups or the board. The error says why not.
    fn change(&mut self, change: Change, now: u64) -> Result<(), String> {
        match change {
            Change::Post { id, text, is_urgent, life } => {
                self.node.pin_note(id, &text, is_urgent, life, now).map_err(|e| e.to_string())
            }
            Change::TakeDown(id) => self.node.take_down(id, now).map_err(|e| e.to_string()),
            Change::MakeGroup { id, name, others } => {
                self.node.make_group(id, &name, others, now).map_err(|e| e.to_string())
            }
            Change::AddToGroup { group, member } => {
                self.node.add_to_group(group, member, now).map_err(|e| e.to_string())
            }
            Change::RemoveFromGroup { group, peer } => {
                self.node.remove_from_group(group, peer, now).map_err(|e| e.to_string())
            }
            Change::LeaveGroup(group) => self.node.leave_group(group).map_err(|e| e.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
