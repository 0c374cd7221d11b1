//! Private messages to one person.

use std::collections::VecDeque;

use super::links::Link;
use super::{Delivery, Event, LinkId, Node};
use crate::announce::Capabilities;
use crate::courier::Letter;
use crate::file::FilePacket;
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;
use crate::inner::{Inner, MAX_TEXT, MessageText, PeerState, Verification};
use crate::session::{SessionError, SessionEvent, Sessions};

/// Maximum number of messages that wait for one person; further ones are refused.
const MAX_QUEUED: usize = 100;
/// Milliseconds after which a message that was not acknowledged is given up.
const LIFE: u64 = 24 * 3_600_000;
/// Milliseconds between tries to begin a session with a person for whom messages wait.
const TRY_AFTER: [u64; 4] = [5_000, 15_000, 30_000, 60_000];
/// Milliseconds after which a message that was not acknowledged is sent again in the session.
const SAY_AGAIN: u64 = 30_000;
/// Milliseconds after sending in which an answer may still come, so that a new link does not repeat the
/// message.
const SAID_JUST_NOW: u64 = 3_000;
const MAX_TRIES: u32 = 8;
/// Maximum number of people whose state came before their announce.
const MAX_EARLY: usize = 64;
/// Maximum number of sessions begun in a minute because of packets that this node did not ask for: with one
/// peer, because of one link, and in total.
const UNASKED_OF_ONE: usize = 3;
const UNASKED_OF_LINK: usize = 12;
const UNASKED_OF_ALL: usize = 30;
/// Maximum number of first handshake messages handled in a minute of one link: below the limit of the
/// device, so that one neighbour does not use it up for all.
const BEGINNINGS_OF_LINK: usize = 20;
const MINUTE_MS: u64 = 60_000;

/// A message that is not known to have arrived.
pub(super) struct Outgoing {
    pub(super) id: String,
    pub(super) inner: Inner,
    pub(super) queued: u64,
    sent: Option<u64>,
    tries: u32,
    /// Letter with the message, and the peers that carry it.
    pub(super) letter: Option<Letter>,
    pub(super) couriers: Vec<PeerId>,
    /// Whether Fog nodes carry the message in a form of their own.
    pub(super) is_with_fog_peers: bool,
}

impl Outgoing {
    pub(super) fn move_by(&mut self, by: i64) {
        self.queued = self.queued.saturating_add_signed(by);
        self.sent = self.sent.map(|sent| sent.saturating_add_signed(by));
    }
}

/// A session that was begun because of a packet of somebody.
pub(super) struct Unasked {
    at: u64,
    peer: PeerId,
    link: Option<LinkId>,
}

/// Reasons why a private message or file is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SayError {
    /// The text or its id is longer than 255 bytes.
    #[error("a private message has at most 255 bytes")]
    TooLong,
    /// The file is larger than 100 KiB.
    #[error("a file has at most 100 KiB")]
    FileTooLarge,
    /// A hundred messages wait for this person.
    #[error("too many messages wait for this person")]
    Full,
    /// The app of this person accepts no files inside a session.
    #[error("this person's app takes no private files")]
    NoFiles,
}

impl Node {
    /// Sends a text to one person, now or when they are here. Delivery events carry `id`.
    ///
    /// # Errors
    /// [`SayError`] when the text is too long or too many messages wait.
    pub fn tell(&mut self, to: PeerId, id: String, text: String, now: u64) -> Result<(), SayError> {
        if text.len() > MAX_TEXT || id.len() > MAX_TEXT {
            return Err(SayError::TooLong);
        }
        self.enqueue(to, id.clone(), Inner::Text(MessageText { id, text }), now)
    }

    /// Sends a file to one person, now or when they are here.
    ///
    /// # Errors
    /// [`SayError`] when the person takes no files, the file is too long or too many messages wait.
    pub fn give(&mut self, to: PeerId, id: String, file: FilePacket, now: u64) -> Result<(), SayError> {
        if self.person(to).is_some_and(|person| !person.capabilities.has(Capabilities::PRIVATE_MEDIA)) {
            return Err(SayError::NoFiles);
        }
        if file.content.len() > super::room::MAX_FILE {
            return Err(SayError::FileTooLarge);
        }
        self.enqueue(to, id, Inner::File(file), now)
    }

    fn enqueue(&mut self, to: PeerId, id: String, inner: Inner, now: u64) -> Result<(), SayError> {
        let queue = self.outbox.entry(to).or_default();
        if queue.len() >= MAX_QUEUED {
            return Err(SayError::Full);
        }
        queue.push_back(Outgoing {
            id: id.clone(),
            inner,
            queued: now,
            sent: None,
            tries: 0,
            letter: None,
            couriers: Vec::new(),
            is_with_fog_peers: false,
        });
        self.say(Event::Delivery { to, id, state: Delivery::Queued });
        self.try_one(to, now);
        Ok(())
    }

    /// Tells the sender that a private message or file arrived; to be called once it is stored safely.
    pub fn confirm_stored(&mut self, from: PeerId, id: String, now: u64) {
        self.send_in_session(from, &Inner::Delivered(id), now);
    }

    /// Tells the sender that the user read a message.
    pub fn confirm_read(&mut self, from: PeerId, id: String, now: u64) {
        self.send_in_session(from, &Inner::Read(id), now);
    }

    /// Drops the messages that wait for a person, without reporting them as failed.
    pub fn forget_outbox(&mut self, to: PeerId) {
        self.outbox.remove(&to);
    }

    /// Asks a peer to prove a Noise key that was scanned; [`Event::Verified`] follows if it does.
    pub fn verify(&mut self, peer: PeerId, noise: [u8; 32], now: u64) {
        let question = Verification { noise, nonce: self.fresh::<16>().to_vec() };
        self.questions.insert(peer, question.clone());
        if !self.send_in_session(peer, &Inner::Challenge(question), now) {
            self.begin_session(peer, now);
        }
    }

    /// Texts of this node to people who are not here, with the time at which each was queued.
    pub fn waiting(&self) -> impl Iterator<Item = (PeerId, &MessageText, u64)> {
        let away = self.outbox.iter().filter(|(to, _)| !self.people.contains_key(to));
        away.flat_map(|(to, queue)| queue.iter().map(|waiting| (*to, waiting))).filter_map(|(to, waiting)| {
            match &waiting.inner {
                Inner::Text(message) => Some((to, message, waiting.queued)),
                _ => None,
            }
        })
    }

    /// Whether a message waits for its recipient or for its acknowledgement.
    #[must_use]
    pub fn is_waiting(&self, to: PeerId, id: &str) -> bool {
        self.outbox.get(&to).is_some_and(|queue| queue.iter().any(|waiting| waiting.id == id))
    }

    /// Marks a message as carried by Fog nodes in a form of their own; they get no letter with it.
    pub fn mark_carried(&mut self, to: PeerId, id: &str) {
        for waiting in self.outbox.get_mut(&to).into_iter().flatten().filter(|waiting| waiting.id == id) {
            waiting.is_with_fog_peers = true;
        }
    }

    /// Marks a message as delivered, as known from elsewhere.
    pub fn arrived(&mut self, to: PeerId, id: String) {
        self.acknowledged(to, id, Delivery::Delivered);
    }

    fn my_state(&self) -> PeerState {
        let fog_peer = if self.config.is_fog_peer { Capabilities::FOG_PEER } else { Capabilities::default() };
        PeerState {
            capabilities: self.config.capabilities.and(fog_peer),
            signing: self.identity.keys().signing,
        }
    }

    /// Sends a message in a session; returns whether there is one.
    pub(super) fn send_in_session(&mut self, to: PeerId, inner: &Inner, now: u64) -> bool {
        let Ok(open) = inner.encode() else { return false };
        let Ok(sealed) = self.sessions.seal(to, &open, now) else { return false };
        let mut frame = self.frame(Kind::ENCRYPTED, sealed, now).to(to);
        if matches!(inner, Inner::File(_)) {
            frame.version = 2;
        }
        self.send_to(to, &frame, now);
        true
    }

    pub(super) fn begin_session(&mut self, peer: PeerId, now: u64) {
        let ephemeral = self.fresh();
        if let Some(event) = self.sessions.begin(peer, &ephemeral, now) {
            self.session_event(event, now);
        }
    }

    /// Begins a session because of a packet that anybody may have sent; limited per peer, per link and in
    /// total.
    pub(super) fn begin_unasked(&mut self, peer: PeerId, link: Option<LinkId>, now: u64) {
        self.unasked.retain(|begun| now.saturating_sub(begun.at) < MINUTE_MS);
        let of_one = self.unasked.iter().filter(|begun| begun.peer == peer).count();
        let of_link = self.unasked.iter().filter(|begun| begun.link == link).count();
        if of_one >= UNASKED_OF_ONE
            || of_link >= UNASKED_OF_LINK
            || self.unasked.len() >= UNASKED_OF_ALL
            || self.sessions.is_beginning(peer)
        {
            return;
        }
        self.unasked.push(Unasked { at: now, peer, link });
        self.begin_session(peer, now);
    }

    pub(super) fn handshake(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) {
        if Sessions::is_first(frame.payload())
            && let Some(link) = link.and_then(|link| self.links.get_mut(&link))
            && !Link::may(&mut link.beginnings, BEGINNINGS_OF_LINK, MINUTE_MS, now)
        {
            return;
        }
        let ephemeral = self.fresh();
        for event in self.sessions.handle(frame.sender, frame.payload(), &ephemeral, now).unwrap_or_default()
        {
            self.session_event(event, now);
        }
    }

    pub(super) fn session_event(&mut self, event: SessionEvent, now: u64) {
        match event {
            SessionEvent::Send(peer, message) => {
                let frame = self.frame(Kind::HANDSHAKE, message, now).to(peer);
                self.send_to(peer, &frame, now);
            }
            SessionEvent::Established { peer, early, .. } => {
                self.proved_present(peer, now);
                self.send_in_session(peer, &Inner::State(self.my_state()), now);
                self.begin_anew_with(peer);
                self.tell_groups_anew(peer);
                self.tell_vouches_anew(peer);
                self.person_changed(peer);
                for sealed in early {
                    self.open(peer, &sealed, self.now_of(peer, now), None, now);
                }
                if let Some(question) = self.questions.get(&peer).cloned() {
                    self.send_in_session(peer, &Inner::Challenge(question), now);
                }
                // The other side may have lost the previous session with all that was said in it.
                for waiting in self.outbox.get_mut(&peer).into_iter().flatten() {
                    (waiting.sent, waiting.tries) = (None, 0);
                }
                self.try_one(peer, now);
                self.tell_groups(now);
            }
            SessionEvent::TimedOut(_) => {}
        }
    }

    pub(super) fn encrypted(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) {
        self.open(frame.sender, frame.payload(), frame.timestamp, link, now);
    }

    fn open(&mut self, peer: PeerId, sealed: &[u8], at: u64, link: Option<LinkId>, now: u64) {
        match self.sessions.open(peer, sealed, now) {
            Ok(open) => {
                // Messages that cannot be decoded are ignored.
                if let Ok(inner) = Inner::decode(&open) {
                    self.told(peer, inner, at, now);
                }
            }
            // The peer has a session that this side has lost. Anybody can forge that: only a peer that is
            // here is answered. A ciphertext that an existing session cannot open proves nothing.
            Err(SessionError::None) if self.people.contains_key(&peer) => self.begin_unasked(peer, link, now),
            Err(_) => {}
        }
    }

    fn told(&mut self, peer: PeerId, inner: Inner, at: u64, now: u64) {
        match inner {
            Inner::Text(MessageText { id, text }) => {
                self.say(Event::Private { from: peer, id, text, at });
            }
            Inner::Delivered(id) => self.acknowledged(peer, id, Delivery::Delivered),
            Inner::Read(id) => self.acknowledged(peer, id, Delivery::Read),
            Inner::File(file) if file.is_what_it_says() => {
                let id = file.media_id(peer, self.me);
                self.say(Event::File { from: peer, id: Some(id), file, at });
            }
            Inner::State(state) => self.stated(peer, state, now),
            Inner::GroupInvite(body) => self.group_came(peer, &body, true, now),
            Inner::GroupUpdate(body) => self.group_came(peer, &body, false, now),
            Inner::Vouches(whom) => self.vouched(peer, whom, now),
            Inner::FogPeer(bytes) => self.handle_fog_peer_message(peer, bytes),
            Inner::Challenge(question) => {
                if let Some(answer) = question.answer(&self.identity) {
                    self.send_in_session(peer, &answer, now);
                }
            }
            Inner::Response(answer, signature) => {
                let is_proof = self.questions.get(&peer).is_some_and(|question| {
                    let is_theirs = self.sessions.noise_key(peer) == Some(question.noise);
                    is_theirs
                        && self.people.get(&peer).is_some_and(|known| {
                            question.is_answered_by(&answer, &signature, &known.keys.signing)
                        })
                });
                if is_proof {
                    self.questions.remove(&peer);
                    self.say(Event::Verified(peer));
                }
            }
            _ => {}
        }
    }

    /// Handles the state of a peer: what it says of itself in a session binds its signing key.
    pub(super) fn stated(&mut self, peer: PeerId, state: PeerState, now: u64) {
        let Some(known) = self.people.get_mut(&peer) else {
            // The announce of the peer has not come yet.
            if self.early_states.len() < MAX_EARLY || self.early_states.contains_key(&peer) {
                self.early_states.insert(peer, state);
            }
            return;
        };
        let is_first = known.stated.is_none();
        known.keys.signing = state.signing;
        let keys = known.keys;
        known.stated = Some(state.capabilities);
        if let Some(pinned) = self.pins.get_mut(&peer) {
            // Somebody else may have announced first under this id.
            *pinned = keys;
        }
        if is_first {
            self.send_in_session(peer, &Inner::State(self.my_state()), now);
        }
        self.person_changed(peer);
        self.try_one(peer, now);
    }

    fn acknowledged(&mut self, peer: PeerId, id: String, state: Delivery) {
        let me = self.me;
        let Some(queue) = self.outbox.get_mut(&peer) else {
            return self.say(Event::Delivery { to: peer, id, state });
        };
        // A file is acknowledged by another id than the one that it was given here.
        let is_it = |waiting: &Outgoing| match &waiting.inner {
            Inner::File(file) => file.media_id(me, peer) == id || waiting.id == id,
            _ => waiting.id == id,
        };
        let found = queue.iter().position(is_it).and_then(|place| queue.remove(place));
        if queue.is_empty() {
            self.outbox.remove(&peer);
        }
        self.say(Event::Delivery { to: peer, id: found.map_or(id, |found| found.id), state });
    }

    pub(super) fn try_outbox(&mut self, now: u64) {
        let mut given_up = Vec::new();
        for (to, queue) in &mut self.outbox {
            queue.retain(|waiting| {
                let is_hopeful = now.saturating_sub(waiting.queued) < LIFE && waiting.tries <= MAX_TRIES;
                if !is_hopeful {
                    given_up.push((*to, waiting.id.clone()));
                }
                is_hopeful
            });
        }
        for (to, id) in given_up {
            self.say(Event::Delivery { to, id, state: Delivery::Failed });
        }
        self.outbox.retain(|_, queue| !queue.is_empty());
        for peer in self.outbox.keys().copied().collect::<Vec<_>>() {
            self.try_one(peer, now);
        }
    }

    /// Sends unacknowledged messages to a peer again, except those that were sent just now.
    pub(super) fn say_again_to(&mut self, peer: PeerId, now: u64) {
        for waiting in self.outbox.get_mut(&peer).into_iter().flatten() {
            if waiting.sent.is_some_and(|at| now.saturating_sub(at) >= SAID_JUST_NOW) {
                waiting.sent = None;
            }
        }
        self.try_one(peer, now);
    }

    /// Sends the messages that wait for a peer, in order, or begins a session with it.
    fn try_one(&mut self, peer: PeerId, now: u64) {
        if !self.people.contains_key(&peer) {
            return;
        }
        if !self.sessions.has(peer) {
            let Some(first) = self.outbox.get_mut(&peer).and_then(VecDeque::front_mut) else { return };
            let pause = TRY_AFTER[(first.tries as usize).min(TRY_AFTER.len() - 1)];
            if first.sent.is_none_or(|at| now.saturating_sub(at) >= pause) {
                first.tries = (first.tries + 1).min(MAX_TRIES);
                first.sent = Some(now);
                self.begin_session(peer, now);
            }
            return;
        }
        let mut said = Vec::new();
        for waiting in self.outbox.get_mut(&peer).into_iter().flatten() {
            if waiting.sent.is_none_or(|at| now.saturating_sub(at) >= SAY_AGAIN) {
                waiting.sent = Some(now);
                waiting.tries += 1;
                said.push((waiting.id.clone(), waiting.inner.clone()));
            }
        }
        for (id, inner) in said {
            if self.send_in_session(peer, &inner, now) {
                self.say(Event::Delivery { to: peer, id, state: Delivery::Sent });
            }
        }
    }
}
