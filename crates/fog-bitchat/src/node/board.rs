//! The board of this node: notes that it keeps for others until they expire, also over restarts.

use std::collections::BTreeSet;

use super::{Event, Node};
use crate::board::{Item, MAX_NOTE_LIFE, Note, SLACK, Tombstone};
use crate::bytes::{Reader, WireError};
use crate::frame::{Kind, Raw};
use crate::identity::PeerKeys;
use crate::sync::packet_id;

/// Notes of one author that are kept.
pub const MAX_NOTES_OF_ONE: usize = 5;
/// Of all; and the same of what took notes down.
const MAX_NOTES: usize = 200;
const MAX_TOMBSTONES: usize = 100;
const MAX_TOMBSTONES_OF_ONE: usize = 5;
/// Largest packet of a note: its parts at their longest, and its frame.
const MAX_BYTES: usize = 2 << 10;
/// Begins what is written down.
const FORM: u8 = 2;

/// Why something is not put on the board, or taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// Empty, or more than 512 bytes.
    #[error("a note has 1 to 512 bytes")]
    Text,
    /// Not a minute, or more than seven days.
    #[error("a note stays for up to seven days")]
    Life,
    /// Five of this device are there.
    #[error("a device has at most 5 notes on the board; take one down first")]
    Full,
    /// It is not there, or somebody else's.
    #[error("this device has no such note on the board")]
    Unknown,
}

pub(super) struct Pinned {
    pub(super) raw: Raw,
    pub(super) packet: [u8; 16],
    item: Item,
    /// The packet around it is its author's too: iPhones take no other.
    is_sure: bool,
    /// How far this device's clock was ahead of what it shows now when this came: it goes by that.
    clock_offset: i64,
}

#[derive(Default)]
pub(super) struct Board {
    pinned: Vec<Pinned>,
    version: u64,
}

impl Board {
    pub(super) fn packets(&self) -> impl Iterator<Item = (&Raw, &[u8; 16])> {
        self.pinned.iter().map(|pinned| (&pinned.raw, &pinned.packet))
    }

    fn expire(&mut self, now: u64) {
        let before = self.pinned.len();
        self.pinned.retain(|pinned| pinned.item.life().1 > now.saturating_add_signed(pinned.clock_offset));
        self.version += u64::from(self.pinned.len() != before);
    }

    /// The clock was set by so many milliseconds.
    pub(super) fn move_by(&mut self, by: i64) {
        for pinned in &mut self.pinned {
            pinned.clock_offset = pinned.clock_offset.saturating_sub(by);
        }
        self.version += 1;
    }

    fn count(&self, is_note: bool, author: Option<&[u8; 32]>) -> usize {
        let fits = |item: &Item| matches!(item, Item::Note(_)) == is_note && author.is_none_or(|author| item.author() == author);
        self.pinned.iter().filter(|pinned| fits(&pinned.item)).count()
    }

    /// Takes away the oldest of an author, or of all; those of strangers before those of people who are `known`.
    fn drop_oldest(&mut self, is_note: bool, author: Option<&[u8; 32]>, known: &BTreeSet<[u8; 32]>) {
        let fits = |item: &Item| matches!(item, Item::Note(_)) == is_note && author.is_none_or(|author| item.author() == author);
        let among = self.pinned.iter().enumerate().filter(|(_, pinned)| fits(&pinned.item));
        if let Some((place, _)) = among.min_by_key(|(_, pinned)| (known.contains(pinned.item.author()), pinned.item.life().0)) {
            self.pinned.remove(place);
        }
    }

    /// Whether it is new; then it is kept and what it takes down is gone. `known` gives the keys of people who are
    /// known, and is asked only when the board is full.
    fn add(&mut self, new: Pinned, known: impl FnOnce() -> BTreeSet<[u8; 32]>) -> bool {
        let (id, author) = (*new.item.id(), *new.item.author());
        let is_note = matches!(new.item, Item::Note(_));
        let is_same = |pinned: &Pinned| *pinned.item.id() == id && *pinned.item.author() == author;
        // Taken down stays down, whatever comes later and in which order.
        if let Some(held) = self.pinned.iter_mut().find(|pinned| is_same(pinned) && (matches!(pinned.item, Item::Note(_)) == is_note || is_note)) {
            if new.is_sure && !held.is_sure && held.item == new.item {
                *held = new;
            }
            return false;
        }
        self.pinned.retain(|pinned| !is_same(pinned));
        let (of_one, of_all) = if is_note { (MAX_NOTES_OF_ONE, MAX_NOTES) } else { (MAX_TOMBSTONES_OF_ONE, MAX_TOMBSTONES) };
        if self.count(is_note, Some(&author)) >= of_one {
            self.drop_oldest(is_note, Some(&author), &BTreeSet::new());
        }
        if self.count(is_note, None) >= of_all {
            self.drop_oldest(is_note, None, &known());
        }
        self.pinned.push(new);
        self.version += 1;
        true
    }
}

/// Reads what [`Node::board_state`] gave; what cannot be read of it is left out.
fn read(state: &[u8]) -> Vec<Pinned> {
    let Some((&FORM, rest)) = state.split_first() else { return Vec::new() };
    let mut reader = Reader(rest);
    let mut pinned = Vec::new();
    while let Ok(length) = reader.u16()
        && let Ok(bytes) = reader.take(usize::from(length))
        && let Some((is_sure, bytes)) = bytes.split_first()
        && let Some((offset, bytes)) = bytes.split_first_chunk()
    {
        if let Ok(raw) = Raw::decode(bytes)
            && let Ok(item) = Item::decode_own(raw.frame.payload())
        {
            pinned.push(Pinned { packet: packet_id(&raw.frame), item, raw, is_sure: *is_sure == 1, clock_offset: i64::from_be_bytes(*offset) });
        }
    }
    pinned
}

/// The notes in what [`Node::board_state`] gave, the newest first. Who reads them leaves out what has expired.
#[must_use]
pub fn notes_in(state: &[u8]) -> Vec<Note> {
    let notes = read(state).into_iter().filter_map(|pinned| if let Item::Note(note) = pinned.item { Some(note) } else { None });
    let mut notes: Vec<Note> = notes.collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.created));
    notes
}

impl Node {
    /// Puts a note on the board, for everybody who comes by until it expires, `life` milliseconds from now. `id` is
    /// random.
    ///
    /// # Errors
    /// [`BoardError`]; nothing is put there.
    pub fn pin_note(&mut self, id: [u8; 16], text: &str, is_urgent: bool, life: u64, now: u64) -> Result<(), BoardError> {
        self.board.expire(now);
        let author = self.identity.keys().signing;
        if !(60_000..=MAX_NOTE_LIFE).contains(&life) {
            return Err(BoardError::Life);
        }
        if self.board.count(true, Some(&author)) >= MAX_NOTES_OF_ONE {
            return Err(BoardError::Full);
        }
        let nickname = crate::text::cut(&self.config.nickname, 64).to_owned();
        let (geohash, text) = (String::new(), text.trim().to_owned());
        let note = Note { id, geohash, text, author, nickname, created: now, expires: now + life, is_urgent };
        let payload = note.encode(&self.identity).map_err(|_| BoardError::Text)?;
        self.put_up(payload, Item::Note(note), now);
        Ok(())
    }

    /// Takes a note of this node down, wherever it is by now.
    ///
    /// # Errors
    /// [`BoardError::Unknown`].
    pub fn take_down(&mut self, id: [u8; 16], now: u64) -> Result<(), BoardError> {
        let author = self.identity.keys().signing;
        let is_it = |pinned: &Pinned| matches!(&pinned.item, Item::Note(note) if note.id == id && note.author == author);
        if !self.board.pinned.iter().any(is_it) {
            return Err(BoardError::Unknown);
        }
        let tombstone = Tombstone { id, author, at: now };
        let payload = tombstone.encode(&self.identity).map_err(|_: WireError| BoardError::Unknown)?;
        self.put_up(payload, Item::Tombstone(tombstone), now);
        Ok(())
    }

    fn put_up(&mut self, payload: Vec<u8>, item: Item, now: u64) {
        let frame = self.frame(Kind::BOARD_POST, payload, now).signed(&self.identity);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            let packet = packet_id(&frame);
            self.add_to_board(Pinned { raw, packet, item, is_sure: true, clock_offset: 0 });
        }
        self.send_everywhere(&frame, now);
    }

    /// A packet of the board; whether it is new and genuine. Its author's signature is inside, so it is taken from
    /// whoever brings it, also when the author is not known here.
    pub(super) fn posted(&mut self, raw: &Raw, now: u64) -> bool {
        let frame = &raw.frame;
        let Ok(item) = Item::decode(frame.payload()) else { return false };
        let (made, until) = item.life();
        let sender: Option<PeerKeys> = self.keys_of(frame.sender);
        let is_sure = sender.is_some_and(|keys| keys.signing == *item.author() && frame.is_by(&keys));
        let theirs = if is_sure { self.now_of(frame.sender, now) } else { now };
        // Whatever their clock shows, it stays no longer than a note may.
        let is_in_time = made <= now.max(theirs) + SLACK && until > now && until <= now + MAX_NOTE_LIFE + SLACK;
        if !frame.is_broadcast() || frame.payload().len() > MAX_BYTES || !is_in_time {
            return false;
        }
        // Somebody who is known would have signed the packet as well.
        if sender.is_some() && !is_sure {
            return false;
        }
        let me = self.identity.keys().signing;
        let note = if let Item::Note(note) = &item { Some(note.clone()) } else { None };
        let pinned = Pinned { raw: raw.clone(), packet: packet_id(frame), item, is_sure, clock_offset: 0 };
        let is_new = self.add_to_board(pinned);
        if let Some(note) = note.filter(|note| is_new && note.author != me) {
            self.say(Event::Note(Box::new(note)));
        }
        is_new
    }

    fn add_to_board(&mut self, pinned: Pinned) -> bool {
        let (me, people, pins) = (self.identity.keys(), self.people.values().map(|known| known.keys), self.pins.values().copied());
        self.board.add(pinned, || people.chain(pins).chain([me]).map(|keys| keys.signing).collect())
    }

    pub(super) fn tidy_board(&mut self, now: u64) {
        self.board.expire(now);
    }

    /// Rises whenever [`Self::board_state`] has changed.
    #[must_use]
    pub fn board_version(&self) -> u64 {
        self.board.version
    }

    /// What is on the board, to be written down.
    #[must_use]
    pub fn board_state(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        for pinned in &self.board.pinned {
            let bytes = pinned.raw.with_ttl(0);
            out.extend((bytes.len() as u16 + 9).to_be_bytes());
            out.push(u8::from(pinned.is_sure));
            out.extend(pinned.clock_offset.to_be_bytes());
            out.extend(bytes);
        }
        out
    }

    /// Goes on with what was written down; what is over goes when its time comes to be looked at.
    pub fn restore_board(&mut self, state: &[u8]) {
        self.board.pinned = read(state);
    }
}

#[cfg(test)]
pub(super) fn packets_of(state: &[u8]) -> Vec<Raw> {
    read(state).into_iter().map(|pinned| pinned.raw).collect()
}
