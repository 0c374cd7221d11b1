//! Letters that other nodes carry for this node, that this node carries for them, and that arrive.

use std::collections::{BTreeMap, BTreeSet};

use super::prekeys::OneTimeKeys;
use super::{Delivery, Event, Node};
use crate::announce::Capabilities;
use crate::bytes::Reader;
use crate::courier::Letter;
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;
use crate::inner::Inner;

/// Milliseconds for which a text waits for its recipient before other nodes get a letter with it.
const WAIT: u64 = 10_000;
/// Milliseconds before Fog nodes get a letter; mostly they carry the text in a form of their own.
const WAIT_FOR_FOG_PEERS_MS: u64 = 20_000;
/// Maximum number of carriers that get a letter for one text.
const COURIERS: usize = 3;
/// Maximum number of letters carried: in total, for people who are no favourites, and for one favourite or
/// other person.
const MAX_CARRIED: usize = 40;
const MAX_OF_OTHERS: usize = 20;
const MAX_OF_FAVOURITE: usize = 5;
const MAX_OF_ONE: usize = 2;
/// Milliseconds between two tries to send a letter to a recipient who is not linked.
const AGAIN: u64 = 600_000;
/// First byte of the stored form; for each part, its type, its length and its bytes follow.
const FORM: u8 = 3;
const LETTER: u8 = 1;

/// A letter that is carried for somebody.
pub(super) struct Carried {
    pub(super) letter: Letter,
    /// Peer that gave the letter.
    from: PeerId,
    /// Recipient, known once they were here.
    to: Option<PeerId>,
    /// Peers that got a copy from this node, and the one that gave the letter.
    given: BTreeSet<PeerId>,
    /// Time at which the letter was last sent to its recipient.
    tried: Option<u64>,
    /// Milliseconds by which the clock that decides on expiry is ahead of this one: the giver's clock if
    /// the letter is valid by that alone, or this clock before it was set.
    clock_offset: i64,
}

impl Carried {
    /// Whether the letter has expired; its maximum lifetime was checked when it came.
    fn is_over(&self, now: u64) -> bool {
        self.letter.expires <= now.saturating_add_signed(self.clock_offset)
    }
}

#[derive(Default)]
pub(super) struct Mail {
    pub(super) carried: Vec<Carried>,
    pub(super) keys: OneTimeKeys,
    favourites: BTreeSet<PeerId>,
    pub(super) version: u64,
}

impl Mail {
    /// Adjusts for a clock that was set by `by` milliseconds.
    pub(super) fn move_by(&mut self, by: i64) {
        for carried in &mut self.carried {
            carried.clock_offset = carried.clock_offset.saturating_sub(by);
            carried.tried = carried.tried.map(|tried| tried.saturating_add_signed(by));
        }
        self.keys.move_by(by);
        self.version += 1;
    }
}

impl Node {
    /// Sets whether a peer is a favourite, whose letters are carried before those of others.
    pub fn set_favourite(&mut self, peer: PeerId, is_favourite: bool) {
        if is_favourite {
            self.mail.favourites.insert(peer);
        } else {
            self.mail.favourites.remove(&peer);
        }
    }

    /// Number of letters that are carried for others.
    #[must_use]
    pub fn letters(&self) -> usize {
        self.mail.carried.len()
    }

    /// Counter that rises whenever [`Self::mail_state`] changes.
    #[must_use]
    pub fn mail_version(&self) -> u64 {
        self.mail.version
    }

    /// Carried letters and one-time keys, to be stored: at most 40 letters of 16 KiB and 200 offers of 400
    /// bytes. Contains secrets.
    #[must_use]
    pub fn mail_state(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        let letters = self.mail.carried.iter().filter_map(|carried| {
            Some((
                LETTER,
                [
                    carried.from.0.as_slice(),
                    &carried.clock_offset.to_be_bytes(),
                    &carried.letter.encode().ok()?,
                ]
                .concat(),
            ))
        });
        for (what, part) in letters.chain(self.mail.keys.parts()) {
            out.push(what);
            out.extend((part.len() as u32).to_be_bytes());
            out.extend(part);
        }
        out
    }

    /// Restores stored letters and keys. Unreadable parts are left out; expired ones are removed at the
    /// next check, so that a clock that is wrong at the start loses nothing.
    pub fn restore_mail(&mut self, state: &[u8]) {
        let Some((&FORM, rest)) = state.split_first() else { return };
        let mut reader = Reader(rest);
        while let (Ok(what), Ok(length)) = (reader.u8(), reader.u32()) {
            let Ok(part) = reader.take(length as usize) else { break };
            if what == LETTER {
                self.restore_letter(part);
            } else {
                self.mail.keys.restore(what, part);
            }
        }
    }

    fn restore_letter(&mut self, part: &[u8]) {
        let Some((from, rest)) = part.split_first_chunk() else { return };
        let Some((offset, letter)) = rest.split_first_chunk() else { return };
        if let Ok(letter) = Letter::decode(letter)
            && self.mail.carried.len() < MAX_CARRIED
        {
            let clock_offset = i64::from_be_bytes(*offset);
            self.mail.carried.push(Carried {
                letter,
                from: PeerId(*from),
                to: None,
                given: BTreeSet::new(),
                tried: None,
                clock_offset,
            });
        }
    }

    /// Linked peers whose app carries letters.
    fn couriers(&self) -> Vec<PeerId> {
        self.people()
            .into_iter()
            .filter(|person| person.is_linked && person.capabilities.has(Capabilities::PREKEYS))
            .map(|person| person.peer)
            .collect()
    }

    fn post(&mut self, to: PeerId, letter: &Letter, now: u64) -> bool {
        let Ok(payload) = letter.encode() else { return false };
        let frame = self.frame(Kind::COURIER, payload, now).to(to).signed(&self.identity);
        self.send_to(to, &frame, now);
        true
    }

    /// Gives letters to linked peers: texts of this node whose recipients are away, and copies of the
    /// letters that this node carries.
    pub(super) fn hand_out(&mut self, now: u64) {
        let before = self.mail.carried.len();
        self.mail.carried.retain(|carried| !carried.is_over(now));
        if self.mail.carried.len() != before {
            self.mail.version += 1;
        }
        let here: BTreeSet<PeerId> = self.mail.carried.iter().filter_map(|carried| carried.to).collect();
        for peer in here {
            self.bring(peer, now);
        }
        let couriers = self.couriers();
        if couriers.is_empty() {
            return;
        }
        self.entrust(&couriers, now);
        for courier in couriers {
            self.share(courier, now);
        }
    }

    /// Gives texts of this node to carriers, as letters.
    fn entrust(&mut self, couriers: &[PeerId], now: u64) {
        let mut has: BTreeMap<PeerId, usize> = BTreeMap::new();
        for courier in self.outbox.values().flatten().flat_map(|waiting| &waiting.couriers) {
            *has.entry(*courier).or_default() += 1;
        }
        let away: Vec<PeerId> =
            self.outbox.keys().filter(|to| !self.people.contains_key(to)).copied().collect();
        for to in away {
            let Some(noise) = self.pins.get(&to).map(|keys| keys.noise) else { continue };
            let Some(mut queue) = self.outbox.remove(&to) else { continue };
            for waiting in &mut queue {
                let Inner::Text(message) = &waiting.inner else { continue };
                if now.saturating_sub(waiting.queued) < WAIT || waiting.couriers.len() >= COURIERS {
                    continue;
                }
                let is_for_fog_peers =
                    !waiting.is_with_fog_peers && now.saturating_sub(waiting.queued) >= WAIT_FOR_FOG_PEERS_MS;
                let free = couriers.iter().filter(|courier| {
                    !waiting.couriers.contains(courier)
                        && has.get(courier).is_none_or(|has| *has < MAX_OF_ONE)
                });
                let free = free.filter(|courier| is_for_fog_peers || !self.fog_peers.is_here(**courier));
                for courier in free.copied().take(COURIERS - waiting.couriers.len()).collect::<Vec<_>>() {
                    // Other nodes judge the letter by their clocks.
                    let agreed = self.agreed_now(now);
                    if waiting.letter.as_ref().is_none_or(|letter| !letter.is_valid(agreed)) {
                        let (ephemeral, prekey) = (self.fresh(), self.prekey_of(to, now));
                        waiting.letter =
                            Letter::seal(&self.identity, &noise, prekey, message, &ephemeral, agreed);
                    }
                    let Some(letter) = &waiting.letter else { break };
                    if self.post(courier, letter, now) {
                        waiting.couriers.push(courier);
                        *has.entry(courier).or_default() += 1;
                        self.say(Event::Delivery { to, id: waiting.id.clone(), state: Delivery::Carried });
                    }
                }
            }
            self.outbox.insert(to, queue);
        }
    }

    /// Gives half of the copies of each carried letter to another carrier.
    fn share(&mut self, courier: PeerId, now: u64) {
        let mut gives = Vec::new();
        for carried in &mut self.mail.carried {
            if carried.letter.copies > 1
                && courier != carried.from
                && carried.given.insert(courier)
                && let Some(half) = carried.letter.halve()
            {
                gives.push(half);
            }
        }
        if !gives.is_empty() {
            self.mail.version += 1;
        }
        for letter in gives {
            self.post(courier, &letter, now);
        }
    }

    /// Handles a letter, for this node or to be carried; returns whether it may be genuine.
    pub(super) fn letter(&mut self, frame: &Frame, now: u64) -> bool {
        let is_theirs = self.people.get(&frame.sender).is_some_and(|known| frame.is_by(&known.keys));
        let Ok(letter) = Letter::decode(frame.payload()) else { return false };
        let theirs = self.now_of(frame.sender, now);
        let clock_offset = if letter.is_valid(now) { 0 } else { self.offset_of(frame.sender) };
        if !is_theirs || !(letter.is_valid(now) || letter.is_valid(theirs)) {
            return false;
        }
        let me = self.identity.keys().noise;
        if letter.is_for(&me, now) || letter.is_for(&me, theirs) {
            self.delivered(&letter, now);
            return true;
        }
        let from = frame.sender;
        let is_favourite = self.mail.favourites.contains(&from);
        let of_them = self.mail.carried.iter().filter(|carried| carried.from == from).count();
        let of_others =
            self.mail.carried.iter().filter(|carried| !self.mail.favourites.contains(&carried.from)).count();
        let has_room = self.mail.carried.len() < MAX_CARRIED
            && of_them < if is_favourite { MAX_OF_FAVOURITE } else { MAX_OF_ONE }
            && (is_favourite || of_others < MAX_OF_OTHERS);
        let is_known = self.mail.carried.iter().any(|carried| carried.letter.ciphertext == letter.ciphertext);
        if has_room && !is_known {
            let to = self
                .people
                .iter()
                .find(|(_, known)| letter.is_for(&known.keys.noise, theirs))
                .map(|(peer, _)| *peer);
            self.mail.carried.push(Carried {
                letter,
                from,
                to,
                given: BTreeSet::from([from]),
                tried: None,
                clock_offset,
            });
            self.mail.version += 1;
            if let Some(to) = to {
                self.bring(to, now);
            }
        }
        true
    }

    fn delivered(&mut self, letter: &Letter, now: u64) {
        let Some(opened) = letter.open(&self.identity, |id| self.prekey_secret(id)) else { return };
        if let Some(id) = letter.prekey {
            self.use_prekey(id, now);
        }
        let from = PeerId::of(&opened.from);
        // The expiry tells when the letter was written: a day before.
        let at = letter.expires.saturating_sub(crate::courier::LIFE).min(now);
        self.say(Event::Private { from, id: opened.message.id, text: opened.message.text, at });
    }

    /// Sends a peer that is here the letters for it. Over its own link they arrive; through others they may
    /// not, and are kept.
    pub(super) fn bring(&mut self, peer: PeerId, now: u64) {
        let Some(noise) = self.people.get(&peer).map(|known| known.keys.noise) else { return };
        let is_linked = self.link_to(peer).is_some();
        let is_due =
            |carried: &Carried| is_linked || carried.tried.is_none_or(|at| now.saturating_sub(at) >= AGAIN);
        let mut due = Vec::new();
        for carried in &mut self.mail.carried {
            if is_due(carried)
                && (carried.to == Some(peer)
                    || carried.letter.is_for(&noise, now.saturating_add_signed(carried.clock_offset)))
            {
                (carried.to, carried.tried) = (Some(peer), Some(now));
                due.push(carried.letter.clone());
            }
        }
        for letter in due {
            if self.post(peer, &Letter { copies: 1, ..letter.clone() }, now) && is_linked {
                self.mail.carried.retain(|carried| carried.letter.ciphertext != letter.ciphertext);
                self.mail.version += 1;
            }
        }
    }
}
