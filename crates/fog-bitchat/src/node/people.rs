//! Who is there.

use super::{ANNOUNCE_EVERY, Event, LinkId, Node};
use crate::announce::{Announce, Capabilities};
use crate::frame::{Frame, Kind};
use crate::identity::{PeerId, PeerKeys};

/// Milliseconds after which somebody who is not linked and says nothing is gone.
const SILENT: u64 = 60_000;
/// An announce may be so far from this clock, in milliseconds: Android's bound.
const MAX_ANNOUNCE_SKEW: u64 = 600_000;
/// A goodbye may be so far from this clock; Android's bound.
const MAX_GOODBYE_SKEW: u64 = 300_000;
/// From here iPhones begin to ignore this node; they do at two minutes.
const CLOCK_WARN: i64 = 90_000;
/// People who are known at once; the one who was silent longest goes.
const MAX_PEOPLE: usize = 500;
/// Bytes of a nickname that are sent, so that an announce stays below 100.
const MAX_NICKNAME: usize = 24;

/// Somebody, as the mesh knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name in the mesh.
    pub peer: PeerId,
    /// What they call themselves.
    pub nickname: String,
    /// Their keys.
    pub keys: PeerKeys,
    /// There is a link to them.
    pub is_linked: bool,
    /// There is a session with them.
    pub has_session: bool,
    /// What they can do; what they said in a session counts before what they announced.
    pub capabilities: Capabilities,
}

pub(super) struct Known {
    pub(super) keys: PeerKeys,
    nickname: String,
    pub(super) announced: Capabilities,
    /// What they said inside a session: it binds the signing key.
    pub(super) stated: Option<Capabilities>,
    pub(super) heard: u64,
    /// The newest of their announces, by their clock.
    announced_at: u64,
}

/// Compares this clock with those of others.
#[derive(Default)]
pub(super) struct ClockCheck {
    offsets: Vec<(PeerId, i64)>,
    told: Option<i64>,
}

impl ClockCheck {
    /// One offset of each of the last few; the middle one, when it has become worth telling.
    fn add(&mut self, peer: PeerId, offset: i64) -> Option<i64> {
        self.offsets.retain(|(known, _)| *known != peer);
        if self.offsets.len() >= 9 {
            self.offsets.remove(0);
        }
        self.offsets.push((peer, offset));
        let mut sorted: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        sorted.sort_unstable();
        let middle = sorted[sorted.len() / 2];
        let is_off = middle.abs() > CLOCK_WARN;
        match (is_off, self.told) {
            (true, None) => {
                self.told = Some(middle);
                self.told
            }
            (false, Some(_)) => {
                self.told = None;
                Some(0)
            }
            _ => None,
        }
    }
}

impl Node {
    /// Everybody who is there.
    #[must_use]
    pub fn people(&self) -> Vec<Person> {
        self.people.keys().filter_map(|peer| self.person(*peer)).collect()
    }

    /// Somebody who is there.
    #[must_use]
    pub fn person(&self, peer: PeerId) -> Option<Person> {
        let known = self.people.get(&peer)?;
        Some(Person {
            peer,
            nickname: known.nickname.clone(),
            keys: known.keys,
            is_linked: self.link_to(peer).is_some(),
            has_session: self.sessions.has(peer),
            capabilities: known.stated.unwrap_or(known.announced),
        })
    }

    pub(super) fn make_announce(&mut self, now: u64) -> Frame {
        let nickname = &self.config.nickname;
        let nickname = nickname[..nickname.floor_char_boundary(MAX_NICKNAME)].to_owned();
        let announce = Announce { nickname, keys: self.identity.keys(), capabilities: Some(self.config.capabilities), ..Announce::default() };
        // A name of 24 bytes fits.
        let payload = announce.encode().unwrap_or_default();
        self.frame(Kind::ANNOUNCE, payload, now).signed(&self.identity)
    }

    pub(super) fn announce(&mut self, now: u64) {
        self.next_announce = now + self.between(ANNOUNCE_EVERY);
        let frame = self.make_announce(now);
        self.send_everywhere(&frame, now);
    }

    /// Whether an announce is genuine; then what it says is known.
    pub(super) fn announced(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) -> bool {
        let Ok(announce) = Announce::decode(frame.payload()) else { return false };
        if announce.keys.peer() != frame.sender || frame.timestamp.abs_diff(now) > MAX_ANNOUNCE_SKEW || !frame.is_by(&announce.keys) {
            return false;
        }
        // The first signing key counts, and the one a session bound before it.
        if self.keys_of(frame.sender).is_some_and(|keys| keys != announce.keys) {
            return false;
        }
        let is_new = !self.people.contains_key(&frame.sender);
        if is_new {
            self.make_room_for_one();
        }
        let capabilities = announce.capabilities.unwrap_or_default();
        self.routes.claimed(frame.sender, announce.neighbours, now);
        let known = self.people.entry(frame.sender).or_insert_with(|| Known {
            keys: announce.keys,
            nickname: String::new(),
            announced: capabilities,
            stated: None,
            heard: now,
            announced_at: 0,
        });
        let is_other = is_new || known.nickname != announce.nickname || known.announced != capabilities;
        known.nickname = announce.nickname;
        known.announced = capabilities;
        known.heard = now;
        known.announced_at = known.announced_at.max(frame.timestamp);
        if frame.ttl == crate::MAX_TTL {
            if let Some(offset) = self.clock.add(frame.sender, frame.timestamp.cast_signed() - now.cast_signed()) {
                self.say(Event::ClockOff(offset));
            }
            if let Some(link) = link {
                self.bind(link, frame.sender, now);
            }
        }
        if is_other {
            self.person_changed(frame.sender);
        }
        if is_new {
            if let Some(state) = self.early_states.remove(&frame.sender).filter(|_| self.sessions.has(frame.sender)) {
                self.stated(frame.sender, state, now);
            }
            self.bring(frame.sender, now);
            // They may not have heard this node yet.
            self.next_announce = self.next_announce.min(now + 500);
        }
        true
    }

    pub(super) fn left(&mut self, frame: &Frame, now: u64) -> bool {
        // A goodbye of before that somebody says again is none.
        let is_new = frame.timestamp.abs_diff(now) <= MAX_GOODBYE_SKEW;
        let is_theirs = is_new && self.people.get(&frame.sender).is_some_and(|known| frame.timestamp > known.announced_at && frame.is_by(&known.keys));
        if is_theirs && frame.payload().is_empty() {
            self.people.remove(&frame.sender);
            self.routes.forget(frame.sender);
            self.sessions.forget(frame.sender);
            self.say(Event::Gone(frame.sender));
        }
        is_theirs
    }

    pub(super) fn link_changed(&mut self, peer: PeerId, now: u64) {
        if let Some(known) = self.people.get_mut(&peer) {
            known.heard = known.heard.max(now);
            self.person_changed(peer);
        }
    }

    pub(super) fn person_changed(&mut self, peer: PeerId) {
        if let Some(person) = self.person(peer) {
            self.say(Event::Person(person));
        }
    }

    pub(super) fn forget_the_silent(&mut self, now: u64) {
        let silent = self.people.iter().filter(|(peer, known)| now.saturating_sub(known.heard) > SILENT && self.link_to(**peer).is_none());
        for peer in silent.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.people.remove(&peer);
            self.routes.forget(peer);
            self.say(Event::Gone(peer));
        }
    }

    fn make_room_for_one(&mut self) {
        if self.people.len() < MAX_PEOPLE {
            return;
        }
        let silent = self.people.iter().filter(|(peer, _)| self.link_to(**peer).is_none() && !self.sessions.has(**peer));
        if let Some(peer) = silent.min_by_key(|(_, known)| known.heard).map(|(peer, _)| *peer) {
            self.people.remove(&peer);
            self.routes.forget(peer);
            self.say(Event::Gone(peer));
        }
    }
}
