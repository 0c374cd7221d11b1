//! The board of a node: notes that the node keeps for others until they expire, also over restarts.

use std::collections::BTreeSet;

use super::{Event, Node};
use crate::board::{Item, MAX_NOTE_LIFE, Note, SLACK, Tombstone};
use crate::bytes::{Reader, WireError};
use crate::frame::{Kind, Raw};
use crate::identity::PeerKeys;
use crate::sync::packet_id;

/// Maximum number of notes of one author that are kept.
pub const MAX_NOTES_OF_ONE: usize = 5;
/// Maximum number of notes of all authors, and of tombstones, that are kept.
const MAX_NOTES: usize = 200;
const MAX_TOMBSTONES: usize = 100;
const MAX_TOMBSTONES_OF_ONE: usize = 5;
/// Maximum payload of a board packet, in bytes.
const MAX_BYTES: usize = 2 << 10;
/// First byte of the stored form.
const FORM: u8 = 2;

/// Reasons why a note is not put on the board or taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The text is empty or longer than 512 bytes.
    #[error("a note has 1 to 512 bytes")]
    Text,
    /// The lifetime is less than a minute or more than seven days.
    #[error("a note stays for up to seven days")]
    Life,
    /// Five notes of this device are on the board.
    #[error("a device has at most 5 notes on the board; take one down first")]
    Full,
    /// The note is not on the board, or is of another author.
    #[error("this device has no such note on the board")]
    Unknown,
}

pub(super) struct Pinned {
    pub(super) raw: Raw,
    pub(super) packet: [u8; 16],
    item: Item,
    /// Whether the packet around the item is signed by its author too; iPhones accept no other.
    is_sure: bool,
    /// Milliseconds by which this clock was ahead of its present value when the item came; its expiry
    /// counts by that.
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

    /// Adjusts for a clock that was set by `by` milliseconds.
    pub(super) fn move_by(&mut self, by: i64) {
        for pinned in &mut self.pinned {
            pinned.clock_offset = pinned.clock_offset.saturating_sub(by);
        }
        self.version += 1;
    }

    fn count(&self, is_note: bool, author: Option<&[u8; 32]>) -> usize {
        let fits = |item: &Item| {
            matches!(item, Item::Note(_)) == is_note && author.is_none_or(|author| item.author() == author)
        };
        self.pinned.iter().filter(|pinned| fits(&pinned.item)).count()
    }

    /// Removes the oldest item of an author, or of all; items of strangers go before those of authors in
    /// `known`.
    fn drop_oldest(&mut self, is_note: bool, author: Option<&[u8; 32]>, known: &BTreeSet<[u8; 32]>) {
        let fits = |item: &Item| {
            matches!(item, Item::Note(_)) == is_note && author.is_none_or(|author| item.author() == author)
        };
        let among = self.pinned.iter().enumerate().filter(|(_, pinned)| fits(&pinned.item));
        if let Some((place, _)) =
            among.min_by_key(|(_, pinned)| (known.contains(pinned.item.author()), pinned.item.life().0))
        {
            self.pinned.remove(place);
        }
    }

    /// Adds an item, removes the note that a tombstone takes down, and returns whether the item is new.
    /// `known` gives the signing keys of known people; it is called only when the board is full.
    fn add(&mut self, new: Pinned, known: impl FnOnce() -> BTreeSet<[u8; 32]>) -> bool {
        let (id, author) = (*new.item.id(), *new.item.author());
        let is_note = matches!(new.item, Item::Note(_));
        let is_same = |pinned: &Pinned| *pinned.item.id() == id && *pinned.item.author() == author;
        // A note that was taken down stays down, in whatever order the packets come.
        if let Some(held) = self
            .pinned
            .iter_mut()
            .find(|pinned| is_same(pinned) && (matches!(pinned.item, Item::Note(_)) == is_note || is_note))
        {
            if new.is_sure && !held.is_sure && held.item == new.item {
                *held = new;
            }
            return false;
        }
        self.pinned.retain(|pinned| !is_same(pinned));
        let (of_one, of_all) =
            if is_note { (MAX_NOTES_OF_ONE, MAX_NOTES) } else { (MAX_TOMBSTONES_OF_ONE, MAX_TOMBSTONES) };
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

/// Decodes the result of [`Node::board_state`]; unreadable parts are left out.
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
            pinned.push(Pinned {
                packet: packet_id(&raw.frame),
                item,
                raw,
                is_sure: *is_sure == 1,
                clock_offset: i64::from_be_bytes(*offset),
            });
        }
    }
    pinned
}

/// Notes in the result of [`Node::board_state`], the newest first. The caller filters out those that have
/// expired.
#[must_use]
pub fn notes_in(state: &[u8]) -> Vec<Note> {
    let notes = read(state)
        .into_iter()
        .filter_map(|pinned| if let Item::Note(note) = pinned.item { Some(note) } else { None });
    let mut notes: Vec<Note> = notes.collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.created));
    notes
}

impl Node {
    /// Puts a note on the board, for everybody who comes by within `life` milliseconds from now. `id` is
    /// random.
    ///
    /// # Errors
    /// [`BoardError`] when the lifetime or text is not allowed or five notes are there; the board is
    /// unchanged.
    pub fn pin_note(
        &mut self,
        id: [u8; 16],
        text: &str,
        is_urgent: bool,
        life: u64,
        now: u64,
    ) -> Result<(), BoardError> {
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

    /// Takes down a note of this node, on every node that it has reached.
    ///
    /// # Errors
    /// [`BoardError::Unknown`] when this node has no such note.
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

    /// Handles a board packet; returns whether it is new and genuine. The signature of the author is
    /// inside, so it is accepted from any sender, even if the author is not known here.
    pub(super) fn posted(&mut self, raw: &Raw, now: u64) -> bool {
        let frame = &raw.frame;
        let Ok(item) = Item::decode(frame.payload()) else { return false };
        let (made, until) = item.life();
        let sender: Option<PeerKeys> = self.keys_of(frame.sender);
        let is_sure = sender.is_some_and(|keys| keys.signing == *item.author() && frame.is_by(&keys));
        let theirs = if is_sure { self.now_of(frame.sender, now) } else { now };
        // Whatever the author's clock shows, a note stays no longer than the maximum.
        let is_in_time =
            made <= now.max(theirs) + SLACK && until > now && until <= now + MAX_NOTE_LIFE + SLACK;
        if !frame.is_broadcast() || frame.payload().len() > MAX_BYTES || !is_in_time {
            return false;
        }
        // A known sender would have signed the packet as well.
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
        let (me, people, pins) =
            (self.identity.keys(), self.people.values().map(|known| known.keys), self.pins.values().copied());
        self.board.add(pinned, || people.chain(pins).chain([me]).map(|keys| keys.signing).collect())
    }

    pub(super) fn tidy_board(&mut self, now: u64) {
        self.board.expire(now);
    }

    /// Counter that rises whenever [`Self::board_state`] changes.
    #[must_use]
    pub fn board_version(&self) -> u64 {
        self.board.version
    }

    /// Contents of the board, to be stored.
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

    /// Restores the stored board; expired items are removed at the next round of housekeeping.
    pub fn restore_board(&mut self, state: &[u8]) {
        self.board.pinned = read(state);
    }
}

#[cfg(test)]
pub(super) fn packets_of(state: &[u8]) -> Vec<Raw> {
    read(state).into_iter().map(|pinned| pinned.raw).collect()
}
