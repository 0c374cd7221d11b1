//! The public room: its texts and files, and the packets that others may have missed.

use std::collections::VecDeque;

use super::links::Link;
use super::{Event, LinkId, Node, SayError};
use crate::announce::Capabilities;
use crate::file::FilePacket;
use crate::frame::{Frame, Kind, Raw};
use crate::identity::PeerId;
use crate::sync::{Filter, SyncRequest, packet_id};

/// Maximum number of packets kept for others, by kind.
const MAX_MESSAGES: usize = 500;
const MAX_FILES: usize = 8;
const MAX_GROUP_TEXTS: usize = 200;
const MAX_OFFERS: usize = 200;
/// Milliseconds for which packets are kept, by kind.
const MESSAGE_LIFE: u64 = 6 * 3_600_000;
const FILE_LIFE: u64 = 15 * 60_000;
const ANNOUNCE_LIFE: u64 = 60_000;
const OFFER_LIFE: u64 = 24 * 3_600_000;
/// Milliseconds by which the time of a packet may be ahead of this clock.
const AHEAD: u64 = 600_000;
/// Maximum size of a file that is sent, in bytes: Android accepts 256 fragments.
pub(super) const MAX_FILE: usize = 100 << 10;
/// Maximum size of a text that is accepted, in bytes; five hundred of them are kept.
const MAX_TEXT: usize = 16 << 10;
/// Kinds that are requested: announces, public texts and group texts; and, one time in four, files, notes
/// on the board and one-time keys.
const ASKED_FOR: u64 = 1 | 1 << 1 | 1 << 10;
const FILES: u64 = 1 << 7;
const OFFERS: u64 = 1 << 9;
const NOTES: u64 = 1 << 8;
/// Maximum number of requests of one link that are answered in 30 s.
const ANSWERS: usize = 8;
/// Maximum length of the text of one packet, in bytes; iPhones do not reliably verify longer ones.
const MAX_PIECE: usize = 99;

/// A packet that others may request.
struct KeptPacket {
    raw: Raw,
    id: [u8; 16],
    /// Time at which the packet was made, by this clock.
    made: u64,
}

/// Packets that others may request, the newest first.
#[derive(Default)]
pub(super) struct Kept {
    messages: VecDeque<KeptPacket>,
}

impl Kept {
    /// Keeps a packet that was made at `made` by this clock.
    pub(super) fn add(&mut self, raw: &Raw, made: u64, now: u64) {
        // Of announces and offers, only the last one of each sender is kept.
        let is_before = |kept: &Frame| {
            matches!(raw.frame.kind, Kind::ANNOUNCE | Kind::PREKEYS)
                && kept.kind == raw.frame.kind
                && kept.sender == raw.frame.sender
        };
        self.messages
            .retain(|kept| is_fresh(kept.raw.frame.kind, kept.made, now) && !is_before(&kept.raw.frame));
        let limit = match raw.frame.kind {
            Kind::FILE => MAX_FILES,
            Kind::GROUP_MESSAGE => MAX_GROUP_TEXTS,
            Kind::PREKEYS => MAX_OFFERS,
            _ => MAX_MESSAGES,
        };
        if self.messages.iter().filter(|kept| kept.raw.frame.kind == raw.frame.kind).count() >= limit
            && let Some(oldest) = self.messages.iter().rposition(|kept| kept.raw.frame.kind == raw.frame.kind)
        {
            self.messages.remove(oldest);
        }
        let place = self.messages.partition_point(|kept| kept.made > made);
        self.messages.insert(place, KeptPacket { raw: raw.clone(), id: packet_id(&raw.frame), made });
    }
}

/// Whether a packet made at `made` may still be shown and kept.
fn is_fresh(kind: Kind, made: u64, now: u64) -> bool {
    let life = match kind {
        Kind::ANNOUNCE => ANNOUNCE_LIFE,
        Kind::FILE => FILE_LIFE,
        Kind::PREKEYS => OFFER_LIFE,
        _ => MESSAGE_LIFE,
    };
    now.saturating_sub(made) < life
}

/// Splits a text into pieces of at most `limit` bytes: at spaces where possible, and never inside a
/// grapheme cluster that fits.
#[must_use]
pub fn pieces(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while rest.len() > limit {
        let end = crate::text::cut(rest, limit).len();
        let cut = rest[..end].rfind(char::is_whitespace).filter(|cut| *cut > limit / 2).unwrap_or(end);
        pieces.push(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

impl Node {
    /// Sends a text to everybody and returns the ids of its packets. Long texts become several packets of
    /// less than 100 bytes, because iPhones do not reliably verify longer ones.
    pub fn say_to_all(&mut self, text: &str, now: u64) -> Vec<[u8; 16]> {
        let pieces: Vec<String> = pieces(text, MAX_PIECE).into_iter().map(str::to_owned).collect();
        let mut ids = Vec::new();
        for piece in pieces {
            let frame = self.frame(Kind::MESSAGE, piece.into_bytes(), now).signed(&self.identity);
            ids.push(packet_id(&frame));
            if let Ok(raw) = Raw::decode(&frame.encode()) {
                self.kept.add(&raw, now, now);
            }
            self.send_everywhere(&frame, now);
        }
        ids
    }

    /// Sends a file to everybody; it is kept for a quarter of an hour for latecomers.
    ///
    /// # Errors
    /// [`SayError::FileTooLarge`] when the file has more than 100 KiB.
    pub fn give_to_all(&mut self, file: &FilePacket, now: u64) -> Result<[u8; 16], SayError> {
        let payload =
            file.encode().ok().filter(|_| file.content.len() <= MAX_FILE).ok_or(SayError::FileTooLarge)?;
        let mut frame = self.frame(Kind::FILE, payload, now);
        frame.version = 2;
        let frame = frame.signed(&self.identity);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            self.kept.add(&raw, now, now);
        }
        self.send_everywhere(&frame, now);
        Ok(packet_id(&frame))
    }

    /// Time at which a packet was made, by this clock; `None` when it may not be shown or kept. Its
    /// timestamp is corrected by the known offset of its author's clock if that gives an allowed time, else
    /// taken as it is.
    pub(super) fn made_in_time(&self, frame: &Frame, now: u64) -> Option<u64> {
        let corrected = frame.timestamp.saturating_add_signed(self.offset_of(frame.sender).saturating_neg());
        let is_in_time = |made: &u64| is_fresh(frame.kind, *made, now) && *made < now.saturating_add(AHEAD);
        [corrected, frame.timestamp].into_iter().find(is_in_time)
    }

    /// Handles a public text; returns whether it is genuine.
    pub(super) fn said(&mut self, raw: &Raw, now: u64) -> bool {
        let frame = &raw.frame;
        let is_theirs = self.people.get(&frame.sender).is_some_and(|known| frame.is_by(&known.keys));
        let (Ok(text), Some(made)) = (std::str::from_utf8(frame.payload()), self.made_in_time(frame, now))
        else {
            return false;
        };
        if !is_theirs || !frame.is_broadcast() || text.len() > MAX_TEXT {
            return false;
        }
        self.kept.add(raw, made, now);
        self.say(Event::Room {
            from: frame.sender,
            text: text.to_owned(),
            at: frame.timestamp,
            id: packet_id(frame),
        });
        true
    }

    /// Packets that neighbours may request now, with their ids. The board removes expired items itself.
    fn kept_for_others(&self, now: u64) -> impl Iterator<Item = (&Raw, &[u8; 16])> {
        let fresh =
            self.kept.messages.iter().filter(move |kept| is_fresh(kept.raw.frame.kind, kept.made, now));
        fresh.map(|kept| (&kept.raw, &kept.id)).chain(self.board.packets())
    }

    /// Asks each neighbour for the packets that this node has not received.
    pub(super) fn ask_what_is_missing(&mut self, now: u64) {
        self.ask_for(ASKED_FOR, now);
        self.asked = self.asked.wrapping_add(1);
        if self.asked % 4 == 1 {
            let offers = if self.config.capabilities.has(Capabilities::PREKEYS) { OFFERS } else { 0 };
            self.ask_for(FILES | offers, now);
            // Notes are requested separately, because one filter has no room for all ids.
            self.ask_for(NOTES, now);
        }
    }

    fn ask_for(&mut self, kinds: u64, now: u64) {
        let mut request =
            SyncRequest { filter: Filter::of(&[]), kinds: Some(kinds), since: None, fragments: Vec::new() };
        let here = self.kept_for_others(now).filter(|(raw, _)| request.wants(raw.frame.kind));
        request.filter = Filter::of(&here.map(|(_, id)| *id).collect::<Vec<_>>());
        let Ok(payload) = request.encode() else { return };
        let neighbours: Vec<(LinkId, PeerId)> =
            self.links.iter().filter_map(|(id, link)| Some((*id, link.peer?.0))).collect();
        let mut asked = Vec::new();
        for (link, peer) in neighbours {
            if asked.contains(&peer) {
                continue;
            }
            asked.push(peer);
            let mut frame = self.frame(Kind::REQUEST_SYNC, payload.clone(), now).to(peer);
            frame.ttl = 0;
            let frame = frame.signed(&self.identity);
            self.send_on(link, &frame, now);
        }
    }

    /// Answers a neighbour's request with the packets that it is missing. Relayed requests are not
    /// answered.
    pub(super) fn asked_what_is_missing(&mut self, frame: &Frame, link: LinkId, now: u64) {
        let is_for_me = frame.is_broadcast() || frame.recipient == Some(self.me);
        let Some(known) = self.links.get_mut(&link) else { return };
        if frame.ttl != 0
            || !is_for_me
            || !known.is_bound_to(frame.sender)
            || !Link::may(&mut known.answered, ANSWERS, 30_000, now)
        {
            return;
        }
        let Ok(request) = SyncRequest::decode(frame.payload()) else { return };
        let has = request.filter.lookup();
        let is_missing = |raw: &Raw, id: &[u8; 16]| {
            let is_old = request.since.is_some_and(|since| raw.frame.timestamp < since);
            request.wants(raw.frame.kind) && raw.frame.sender != frame.sender && !is_old && !has(id)
        };
        // Announces go first: without them the other packets cannot be verified.
        let missing =
            self.kept_for_others(now).filter(|(raw, id)| is_missing(raw, id)).map(|(raw, _)| raw.clone());
        let (announces, others): (Vec<Raw>, Vec<Raw>) =
            missing.partition(|raw| raw.frame.kind == Kind::ANNOUNCE);
        let limit = self.limit_of(link);
        for raw in announces.into_iter().chain(others.into_iter().rev()) {
            let bytes = raw.as_answer();
            if bytes.len() <= limit {
                self.queue(link, bytes, false, now);
            } else {
                let mut answer = raw.frame;
                (answer.ttl, answer.is_requested) = (0, true);
                self.send_on(link, &answer, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_where_people_would() {
        let words = "several words that together are a good deal longer than what fits into one packet of this protocol, as it happens, twice";
        let cut = pieces(words, MAX_PIECE);
        assert!(cut.len() == 2 && cut.iter().all(|piece| piece.len() <= MAX_PIECE), "{cut:?}");
        assert_eq!(cut.join(" "), words);
        let one = "ö".repeat(120);
        let cut = pieces(&one, MAX_PIECE);
        assert!(cut.iter().all(|piece| piece.len() <= MAX_PIECE));
        assert_eq!(cut.concat(), one);
        assert!(pieces("  ", MAX_PIECE).is_empty());
    }
}
