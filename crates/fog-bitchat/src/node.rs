//! One node of the mesh: what it hears on its links, what it says, whom it knows.
//!
//! Bytes and time come in through `handle_*`, what is to be sent and what happened come out of `poll_*`. Times
//! are milliseconds; those on packets count from 1970.

mod board;
mod clocks;
mod fellows;
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

/// Milliseconds between announces while somebody is linked, and how much they vary.
const ANNOUNCE_EVERY: (u64, u64) = (11_000, 19_000);
/// Milliseconds between questions what is missing.
const SYNC_EVERY: u64 = 15_000;
const HOUSEKEEPING: u64 = 1_000;
/// The same while nobody is linked: a device that is idle sleeps.
const ALONE: u64 = 15_000;

/// What the node says of itself.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// At most 24 bytes of it are sent.
    pub nickname: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// It looks for other Fog nodes and talks to them.
    pub is_fellow: bool,
}

/// How far a private message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// It waits for its recipient.
    Queued,
    /// Others carry it to its recipient.
    Carried,
    /// It is on the air.
    Sent,
    /// It arrived.
    Delivered,
    /// It was seen.
    Read,
    /// It was given up.
    Failed,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody was seen, changed, or lost.
    Person(Person),
    /// Somebody is gone.
    Gone(PeerId),
    /// A text in the room of everybody.
    Room {
        /// Who says it; the signature is theirs.
        from: PeerId,
        /// What.
        text: String,
        /// When, by their clock.
        at: u64,
        /// The same on every node.
        id: [u8; 16],
    },
    /// A text to this node alone; [`Node::took`] tells its sender that it arrived.
    Private {
        /// Who says it; the session is theirs.
        from: PeerId,
        /// Their id of it.
        id: String,
        /// What.
        text: String,
        /// When, by their clock.
        at: u64,
    },
    /// A file.
    File {
        /// Who sends it.
        from: PeerId,
        /// For [`Node::took`], when it came inside a session; `None` for one in public.
        id: Option<String>,
        /// What.
        file: FilePacket,
        /// When, by their clock.
        at: u64,
    },
    /// A text in a group.
    GroupText {
        /// Which.
        group: [u8; 16],
        /// Who says it; the signature is theirs.
        from: PeerId,
        /// As they call themselves.
        nickname: String,
        /// What.
        text: String,
        /// When, by their clock.
        at: u64,
        /// The same on every node.
        id: String,
    },
    /// Somebody took this node into a group.
    Invited {
        /// Which.
        group: [u8; 16],
        /// Its name.
        name: String,
        /// Who made it.
        from: PeerId,
    },
    /// A private message got further.
    Delivery {
        /// Whom it is for.
        to: PeerId,
        /// Which.
        id: String,
        /// How far.
        state: Delivery,
    },
    /// A Fog node is at the other end of a link, in a session; anew when the session is.
    Fellow {
        /// Who.
        peer: PeerId,
        /// The key that the session authenticated.
        noise: [u8; 32],
    },
    /// It is not any more.
    FellowGone(PeerId),
    /// It said something that Fog nodes understand.
    FellowSaid(PeerId, Vec<u8>),
    /// Somebody answered [`Node::ping`].
    Pong {
        /// Who.
        from: PeerId,
        /// Links between them and this node.
        hops: u8,
        /// How long it took there and back.
        millis: u64,
        /// Who is between, if everybody on the way says so.
        way: Option<Vec<PeerId>>,
    },
    /// Somebody did not.
    NoPong(PeerId),
    /// Somebody proved the key that was scanned.
    Verified(PeerId),
    /// A new note on the board.
    Note(Box<crate::Note>),
    /// Somebody whom the user verified says whom they verified.
    Vouched {
        /// Who.
        by: PeerId,
        /// For whose keys.
        whom: Vec<crate::Vouch>,
    },
    /// This clock and those of neighbours differ: iPhones ignore what is more than two minutes off.
    ClockOff {
        /// Milliseconds by which theirs are ahead; 0 when they agree again.
        millis: i64,
        /// Number of neighbours whose clocks agree with each other in this. With two or more it is probably this clock
        /// that is wrong.
        peers: u32,
    },
}

/// One node.
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
    /// Keys that were known before: no others are taken under their names.
    pins: BTreeMap<PeerId, PeerKeys>,
    waiting: Vec<Waiting>,
    spool: Spool,
    asked_how_far: Vec<pings::Asked>,
    routes: routes::Routes,
    kept: Kept,
    outbox: BTreeMap<PeerId, VecDeque<Outgoing>>,
    questions: BTreeMap<PeerId, crate::Verification>,
    /// What somebody said of themselves in a session before they announced themselves.
    early_states: BTreeMap<PeerId, crate::PeerState>,
    events: VecDeque<Event>,
    last_timestamp: u64,
    next_announce: u64,
    next_sync: u64,
    /// Questions what is missing so far.
    asked: u32,
    next_housekeeping: u64,
    clock: clocks::ClockCheck,
    /// Whose announces are of another time and who are asked to prove that they are there.
    doubted: Vec<clocks::Doubted>,
    /// Sessions that were begun lately because of what others sent.
    unasked: Vec<private::Unasked>,
    mail: letters::Mail,
    fellows: fellows::Fellows,
    groups: groups::Groups,
    vouches: vouches::Vouches,
    board: board::Board,
}

impl Node {
    /// A node without links. `seed` is 32 random bytes, not used before.
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
            fellows: fellows::Fellows::default(),
            groups: groups::Groups::default(),
            vouches: vouches::Vouches::default(),
            board: board::Board::default(),
        }
    }

    /// Its name in the mesh.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// Another name from now on.
    pub fn rename(&mut self, nickname: String, now: u64) {
        self.config.nickname = nickname;
        self.announce(now);
    }

    /// Keys of somebody from before: an announce of theirs with others is not believed.
    pub fn pin(&mut self, keys: PeerKeys) {
        self.pins.insert(keys.peer(), keys);
    }

    /// Keys of somebody who is here or is known from before.
    #[must_use]
    pub fn keys_of(&self, peer: PeerId) -> Option<PeerKeys> {
        self.people.get(&peer).map(|known| known.keys).or_else(|| self.pins.get(&peer).copied())
    }

    /// The links at whose other end somebody is.
    pub fn links_of(&self, peer: PeerId) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(move |(_, link)| link.is_bound_to(peer)).map(|(id, _)| *id)
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let relays = self.waiting.iter().map(|waiting| waiting.at);
        let links = self.links.values().filter_map(Link::next_at);
        relays.chain(links).chain([self.next_housekeeping]).min().unwrap_or(self.next_housekeeping)
    }

    /// Does what is due.
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
        self.look_for_fellows(now);
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

    /// This device's clock was set by so many milliseconds to `now`: what was to happen later might wait for it to get
    /// there again, and what was known of other clocks is void. No time was lived through for that, so nothing that
    /// waits, is carried or is kept is over.
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

    /// Moves by so many milliseconds everything whose end cannot be taken back: messages that wait, letters that are
    /// carried, one-time keys and notes on the board.
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

    /// A packet of this node; no two have the same time.
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
        // Whoever reads them is slower than the air: the oldest go.
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
            self.look_at_fellow(peer);
        }
    }
}

#[cfg(test)]
#[path = "node/tests.rs"]
mod tests;
