//! People who are present in the mesh.

use super::clocks::{CLOCK_WARN_MS, MAX_ANNOUNCE_SKEW_MS};
use super::{ANNOUNCE_EVERY, Event, LinkId, Node};
use crate::announce::{Announce, Capabilities};
use crate::frame::{Frame, Kind};
use crate::identity::{PeerId, PeerKeys};
use crate::text::cut;

/// Milliseconds of silence after which a person who is not linked is gone.
const SILENT: u64 = 60_000;
/// Milliseconds by which the time of a goodbye may differ from this clock; Android's bound.
const MAX_GOODBYE_SKEW: u64 = 300_000;
/// Maximum number of people known at once; the one who was silent longest is dropped.
const MAX_PEOPLE: usize = 500;
/// Bytes of a nickname that are sent, so that an announce stays below 100 bytes.
const MAX_NICKNAME: usize = 24;
/// Change of a person's clock difference, in milliseconds, after which it is reported again.
const CLOCK_CHANGED_MS: u64 = 30_000;

/// A person, as the mesh knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id of the person in the mesh.
    pub peer: PeerId,
    /// Nickname that the person gives themselves.
    pub nickname: String,
    /// Keys of the person.
    pub keys: PeerKeys,
    /// Whether there is a link to the person.
    pub is_linked: bool,
    /// Whether there is a session with the person.
    pub has_session: bool,
    /// Capabilities of the person: as stated in a session, else as announced.
    pub capabilities: Capabilities,
    /// Milliseconds by which the person's clock is ahead of this one; 0 when the two agree.
    pub clock_off: i64,
}

pub(super) struct Known {
    pub(super) keys: PeerKeys,
    nickname: String,
    pub(super) announced: Capabilities,
    /// Capabilities stated inside a session, which binds the signing key.
    pub(super) stated: Option<Capabilities>,
    pub(super) heard: u64,
    /// Time of the newest announce, by the person's clock.
    pub(super) announced_at: u64,
    /// Milliseconds by which the person's clock is ahead of this one, and the difference that was reported.
    pub(super) clock_offset: i64,
    told_offset: i64,
    /// Time at which an announce was last believed, by this clock.
    pub(super) believed: u64,
}

impl Known {
    /// Difference of the person's clock if it is large enough to report, else 0.
    fn clock_off(&self) -> i64 {
        if self.clock_offset.unsigned_abs() > CLOCK_WARN_MS { self.clock_offset } else { 0 }
    }
}

impl Node {
    /// All people who are present.
    #[must_use]
    pub fn people(&self) -> Vec<Person> {
        self.people.keys().filter_map(|peer| self.person(*peer)).collect()
    }

    /// A person who is present.
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
            clock_off: known.clock_off(),
        })
    }

    pub(super) fn make_announce(&mut self, now: u64) -> Frame {
        let nickname = cut(&self.config.nickname, MAX_NICKNAME).to_owned();
        let announce = Announce {
            nickname,
            keys: self.identity.keys(),
            capabilities: Some(self.config.capabilities),
            ..Announce::default()
        };
        // A nickname of 24 bytes fits.
        let payload = announce.encode().unwrap_or_default();
        self.frame(Kind::ANNOUNCE, payload, now).signed(&self.identity)
    }

    pub(super) fn announce(&mut self, now: u64) {
        self.next_announce = now + self.between(ANNOUNCE_EVERY);
        let frame = self.make_announce(now);
        self.send_everywhere(&frame, now);
    }

    /// Handles an announce; returns whether it is genuine and of now, and then takes over its
    /// contents. One of another time is believed once its author has proved to be present.
    pub(super) fn announced(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) -> bool {
        let Ok(announce) = Announce::decode(frame.payload()) else { return false };
        if announce.keys.peer() != frame.sender || !frame.is_by(&announce.keys) {
            return false;
        }
        // The first signing key counts, or the one that a session bound before.
        if self.keys_of(frame.sender).is_some_and(|keys| keys != announce.keys) {
            return false;
        }
        if !self.learn_clock(frame, link, now) {
            return false;
        }
        self.believe(frame, announce, link, now);
        true
    }

    /// Takes over the contents of a genuine announce.
    pub(super) fn believe(&mut self, frame: &Frame, announce: Announce, link: Option<LinkId>, now: u64) {
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
            clock_offset: 0,
            told_offset: 0,
            believed: now,
        });
        let offset = frame.timestamp.cast_signed().wrapping_sub(now.cast_signed());
        let is_put_right = known.clock_offset.unsigned_abs() > MAX_ANNOUNCE_SKEW_MS
            && offset.unsigned_abs() <= MAX_ANNOUNCE_SKEW_MS;
        // An older announce may be a recording.
        if frame.timestamp >= known.announced_at || is_put_right {
            (known.clock_offset, known.announced_at) = (offset, frame.timestamp);
        }
        known.believed = now;
        let is_clock_other = known.clock_off().abs_diff(known.told_offset) > CLOCK_CHANGED_MS;
        if is_clock_other {
            known.told_offset = known.clock_off();
        }
        let is_other = is_new
            || is_clock_other
            || known.nickname != announce.nickname
            || known.announced != capabilities;
        known.nickname = announce.nickname;
        known.announced = capabilities;
        known.heard = now;
        if frame.ttl == crate::MAX_TTL
            && let Some(link) = link
        {
            self.bind(link, frame.sender, now);
        }
        if is_other {
            self.person_changed(frame.sender);
        }
        if is_new {
            if let Some(state) =
                self.early_states.remove(&frame.sender).filter(|_| self.sessions.has(frame.sender))
            {
                self.stated(frame.sender, state, now);
            }
            self.bring(frame.sender, now);
            // The new person may not have heard this node yet.
            self.next_announce = self.next_announce.min(now + 500);
        }
    }

    pub(super) fn left(&mut self, frame: &Frame, now: u64) -> bool {
        // An old goodbye that is replayed does not count.
        let is_of = |now: u64| frame.timestamp.abs_diff(now) <= MAX_GOODBYE_SKEW;
        let is_new = is_of(now) || is_of(self.now_of(frame.sender, now));
        let is_theirs = is_new
            && self
                .people
                .get(&frame.sender)
                .is_some_and(|known| frame.timestamp > known.announced_at && frame.is_by(&known.keys));
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
        let silent = self.people.iter().filter(|(peer, known)| {
            now.saturating_sub(known.heard) > SILENT && self.link_to(**peer).is_none()
        });
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
        let silent = self
            .people
            .iter()
            .filter(|(peer, _)| self.link_to(**peer).is_none() && !self.sessions.has(**peer));
        if let Some(peer) = silent.min_by_key(|(_, known)| known.heard).map(|(peer, _)| *peer) {
            self.people.remove(&peer);
            self.routes.forget(peer);
            self.say(Event::Gone(peer));
        }
    }
}
