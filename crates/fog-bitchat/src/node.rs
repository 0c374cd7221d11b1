//! A node of the mesh: its links, the people it knows, and what it sends and receives.
//!
//! Received bytes and the time come in through `handle_*`; bytes to send and events come out of `poll_*`.
//! Times are milliseconds; those on packets count from 1970.

mod board;
mod clocks;
mod fog_peers;
mod groups;
mod letters;
mod links;
mod people;
mod pings;
mod prekeys;
mod private;
mod receive;
mod room;
mod routes;
mod vouches;

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::announce::Capabilities;
use crate::dedup::Dedup;
use crate::file::FilePacket;
use crate::fragment::Assembler;
use crate::frame::{Frame, Kind};
use crate::identity::{Identity, PeerId, PeerKeys};
use crate::session::Sessions;

pub use board::{BoardError, MAX_NOTES_OF_ONE, notes_in};
pub use groups::{GroupError, MAX_GROUP_TEXT, MAX_GROUPS, MAX_MEMBERS, groups_in};
pub use links::LinkId;
pub use people::Person;
pub use private::SayError;
pub use room::pieces;

use links::Link;
use private::Outgoing;
use receive::{Spool, Waiting};
use room::Kept;

/// Milliseconds between announces while there is a link: drawn at random from this range.
const ANNOUNCE_EVERY: (u64, u64) = (11_000, 19_000);
/// Milliseconds between requests for missing packets.
const SYNC_EVERY: u64 = 15_000;
const HOUSEKEEPING: u64 = 1_000;
/// Milliseconds between rounds of housekeeping while there is no link, so that an idle device can sleep.
const ALONE: u64 = 15_000;

/// Settings of a node.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Nickname of the node; at most 24 bytes of it are sent.
    pub nickname: String,
    /// Capabilities of the node.
    pub capabilities: Capabilities,
    /// Whether the node looks for other Fog nodes and exchanges messages with them.
    pub is_fog_peer: bool,
}

/// Delivery state of a private message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// The message waits for its recipient.
    Queued,
    /// Other nodes carry the message to its recipient.
    Carried,
    /// The message was sent, but not acknowledged.
    Sent,
    /// The message arrived.
    Delivered,
    /// The recipient read the message.
    Read,
    /// The message was given up.
    Failed,
}

/// Event on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A person appeared or changed.
    Person(Person),
    /// A person left or fell silent.
    Gone(PeerId),
    /// A text in the public room.
    Room {
        /// Author of the text; the signature was verified.
        from: PeerId,
        /// The text.
        text: String,
        /// Time at which it was written, in milliseconds since 1970, by the author's clock.
        at: u64,
        /// Id of the text, the same on every node.
        id: [u8; 16],
    },
    /// A private text to this node; [`Node::confirm_stored`] tells its sender that it arrived.
    Private {
        /// Sender, authenticated by the session or, for a letter, by its seal.
        from: PeerId,
        /// Id that the sender gave the text.
        id: String,
        /// The text.
        text: String,
        /// Time at which it was sent, in milliseconds since 1970, by the sender's clock.
        at: u64,
    },
    /// A file.
    File {
        /// Sender of the file.
        from: PeerId,
        /// Id for [`Node::confirm_stored`] if the file came inside a session; `None` for a public file.
        id: Option<String>,
        /// The file.
        file: FilePacket,
        /// Time at which it was sent, in milliseconds since 1970, by the sender's clock.
        at: u64,
    },
    /// A text in a group.
    GroupText {
        /// Id of the group.
        group: [u8; 16],
        /// Author of the text; the signature was verified.
        from: PeerId,
        /// Nickname that the author gives themselves.
        nickname: String,
        /// The text.
        text: String,
        /// Time at which it was written, in milliseconds since 1970, by the author's clock.
        at: u64,
        /// Id of the text, the same on every node.
        id: String,
    },
    /// Another node added this node to a group.
    Invited {
        /// Id of the group.
        group: [u8; 16],
        /// Name of the group.
        name: String,
        /// Creator of the group.
        from: PeerId,
    },
    /// The delivery state of a private message changed.
    Delivery {
        /// Recipient of the message.
        to: PeerId,
        /// Id of the message.
        id: String,
        /// New state of the message.
        state: Delivery,
    },
    /// A Fog node is at the other end of a link and has a session; repeated for each new session.
    FogPeer {
        /// Id of the Fog node.
        peer: PeerId,
        /// Noise key that the session authenticated.
        noise: [u8; 32],
    },
    /// A Fog node lost its last link or its session.
    FogPeerGone(PeerId),
    /// A Fog node sent a message.
    FogPeerMessage(PeerId, Vec<u8>),
    /// A peer answered [`Node::ping`].
    Pong {
        /// Peer that answered.
        from: PeerId,
        /// Number of links between the peer and this node.
        hops: u8,
        /// Round-trip time in milliseconds.
        millis: u64,
        /// Nodes between the two, if all nodes on the way announce their neighbours.
        way: Option<Vec<PeerId>>,
    },
    /// A peer did not answer [`Node::ping`].
    NoPong(PeerId),
    /// A peer proved that it holds the key that was scanned.
    Verified(PeerId),
    /// A new note on the board.
    Note(Box<crate::Note>),
    /// A peer whom the user verified vouches for others.
    Vouched {
        /// Peer that vouches.
        by: PeerId,
        /// Vouches of that peer.
        whom: Vec<crate::Vouch>,
    },
    /// This clock and those of neighbours differ; iPhones ignore packets that are more than two minutes
    /// off.
    ClockOff {
        /// Milliseconds by which the clocks of the neighbours are ahead; 0 when they agree again.
        millis: i64,
        /// Number of neighbours whose clocks agree with each other on this. With two or more, probably this
        /// clock is wrong.
        peers: u32,
    },
}

/// A node of the mesh.
pub struct Node {
    config: Config,
    identity: Identity,
    me: PeerId,
    random: StdRng,
    sessions: Sessions,
    seen: Dedup,
    assembler: Assembler,
    links: BTreeMap<LinkId, Link>,
    people: BTreeMap<PeerId, people::Known>,
    /// Keys that were known before; an announce of the same id with other keys is rejected.
    pins: BTreeMap<PeerId, PeerKeys>,
    waiting: Vec<Waiting>,
    spool: Spool,
    asked_how_far: Vec<pings::Asked>,
    routes: routes::Routes,
    kept: Kept,
    outbox: BTreeMap<PeerId, VecDeque<Outgoing>>,
    questions: BTreeMap<PeerId, crate::Verification>,
    /// States that peers sent in a session before they announced themselves.
    early_states: BTreeMap<PeerId, crate::PeerState>,
    events: VecDeque<Event>,
    last_timestamp: u64,
    next_announce: u64,
    next_sync: u64,
    /// Number of rounds of requests for missing packets so far.
    asked: u32,
    next_housekeeping: u64,
    clock: clocks::ClockCheck,
    /// Announces whose time is not now by this clock; their authors are asked to prove that they are
    /// present.
    doubted: Vec<clocks::Doubted>,
    /// Sessions begun in the last minute because of packets that this node did not ask for.
    unasked: Vec<private::Unasked>,
    mail: letters::Mail,
    fog_peers: fog_peers::FogPeers,
    groups: groups::Groups,
    vouches: vouches::Vouches,
    board: board::Board,
}

impl Node {
    /// Creates a node without links. `seed` is 32 random bytes that were never used before.
    #[must_use]
    pub fn new(identity: Identity, config: Config, seed: [u8; 32]) -> Self {
        Self {
            me: identity.peer(),
            sessions: Sessions::new(identity.clone()),
            identity,
            config,
            random: StdRng::from_seed(seed),
            seen: Dedup::default(),
            assembler: Assembler::default(),
            links: BTreeMap::new(),
            people: BTreeMap::new(),
            pins: BTreeMap::new(),
            waiting: Vec::new(),
            spool: Spool::default(),
            asked_how_far: Vec::new(),
            routes: routes::Routes::default(),
            kept: Kept::default(),
            outbox: BTreeMap::new(),
            questions: BTreeMap::new(),
            early_states: BTreeMap::new(),
            events: VecDeque::new(),
            last_timestamp: 0,
            next_announce: 0,
            next_sync: 0,
            asked: 0,
            next_housekeeping: 0,
            clock: clocks::ClockCheck::default(),
            doubted: Vec::new(),
            unasked: Vec::new(),
            mail: letters::Mail::default(),
            fog_peers: fog_peers::FogPeers::default(),
            groups: groups::Groups::default(),
            vouches: vouches::Vouches::default(),
            board: board::Board::default(),
        }
    }

    /// Id of this node in the mesh.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// Changes the nickname and announces it.
    pub fn rename(&mut self, nickname: String, now: u64) {
        self.config.nickname = nickname;
        self.announce(now);
    }

    /// Pins the keys of a person known from before: an announce of the same id with other keys is rejected.
    pub fn pin(&mut self, keys: PeerKeys) {
        self.pins.insert(keys.peer(), keys);
    }

    /// Keys of a peer that is here or was pinned.
    #[must_use]
    pub fn keys_of(&self, peer: PeerId) -> Option<PeerKeys> {
        self.people.get(&peer).map(|known| known.keys).or_else(|| self.pins.get(&peer).copied())
    }

    /// Links to a peer.
    pub fn links_of(&self, peer: PeerId) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(move |(_, link)| link.is_bound_to(peer)).map(|(id, _)| *id)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Time at which [`Self::handle_timeout`] is due, in milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let relays = self.waiting.iter().map(|waiting| waiting.at);
        let links = self.links.values().filter_map(Link::next_at);
        relays.chain(links).chain([self.next_housekeeping]).min().unwrap_or(self.next_housekeeping)
    }

    /// Does the work that is due: relays, timeouts, announces, requests and renewals.
    pub fn handle_timeout(&mut self, now: u64) {
        self.pass_on(now);
        if now < self.next_housekeeping {
            return;
        }
        self.next_housekeeping = now + if self.links.is_empty() { ALONE } else { HOUSEKEEPING };
        self.assembler.handle_timeout(now);
        for event in self.sessions.handle_timeout(now) {
            self.session_event(event, now);
        }
        self.forget_the_silent(now);
        self.tidy_clocks(now);
        self.routes.handle_timeout(now);
        self.give_up_pings(now);
        self.tidy_board(now);
        self.try_outbox(now);
        if self.links.is_empty() {
            return;
        }
        self.hand_out(now);
        self.find_fog_peers(now);
        self.tell_groups(now);
        self.tell_vouches(now);
        if now >= self.next_announce {
            self.announce(now);
        }
        if self.config.capabilities.has(Capabilities::PREKEYS) {
            self.offer_prekeys(now);
        }
        if now >= self.next_sync {
            self.next_sync = now + SYNC_EVERY;
            self.ask_what_is_missing(now);
        }
        for peer in self.sessions.to_renew(now) {
            self.begin_session(peer, now);
        }
    }

    /// Handles that this device's clock was set by `by` milliseconds to `now`. Deadlines in the future are
    /// moved to now, because they might wait until the clock reaches them again, and offsets to other
    /// clocks are discarded. As no time has passed, stored messages, letters and notes do not expire by the
    /// change.
    pub fn handle_clock_set(&mut self, now: u64, by: i64) {
        self.move_times(by);
        self.forget_clocks();
        self.unasked.clear();
        self.last_timestamp = self.last_timestamp.min(now);
        self.next_announce = self.next_announce.min(now);
        self.next_sync = self.next_sync.min(now);
        self.mail.keys.handle_clock_set(now);
        self.asked_how_far.iter_mut().for_each(|asked| asked.handle_clock_set(now));
        self.next_housekeeping = now;
        self.links.values_mut().for_each(|link| link.handle_clock_set(now));
        for waiting in &mut self.waiting {
            waiting.at = waiting.at.min(now);
        }
    }

    /// Shifts by `by` milliseconds the times of everything that would be lost if it expired wrongly:
    /// waiting messages, carried letters, one-time keys and notes on the board.
    pub fn move_times(&mut self, by: i64) {
        self.outbox.values_mut().flatten().for_each(|waiting| waiting.move_by(by));
        self.mail.move_by(by);
        self.board.move_by(by);
    }

    /// Says goodbye on every link.
    pub fn leave(&mut self, now: u64) {
        let frame = self.frame(Kind::LEAVE, Vec::new(), now).signed(&self.identity);
        self.send_everywhere(&frame, now);
    }

    /// Builds a packet of this node; no two have the same timestamp.
    fn frame(&mut self, kind: Kind, payload: Vec<u8>, now: u64) -> Frame {
        self.last_timestamp = now.max(self.last_timestamp + 1);
        Frame::new(kind, self.me, self.last_timestamp, payload)
    }

    fn fresh<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        self.random.random_range(from..to.max(from + 1))
    }

    fn say(&mut self, event: Event) {
        // A reader may be slower than the events: the oldest are dropped.
        if self.events.len() >= 10_000 {
            self.events.pop_front();
        }
        let about = match &event {
            Event::Person(person) => Some(person.peer),
            Event::Gone(peer) => Some(*peer),
            _ => None,
        };
        self.events.push_back(event);
        if let Some(peer) = about {
            self.update_fog_peer(peer);
        }
    }
}

#[cfg(test)]
#[path = "node/tests.rs"]
mod tests;
