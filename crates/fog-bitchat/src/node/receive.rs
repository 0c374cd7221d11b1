//! Handling of received packets, and relaying.

use std::collections::VecDeque;

use super::{Event, LinkId, Node};
use crate::file::FilePacket;
use crate::fragment::Fragment;
use crate::frame::{Frame, Kind, Raw};
use crate::identity::PeerId;
use crate::relay::{Load, Relay, choose_links, decide};
use crate::sync::packet_id;

/// Maximum number of packets that wait to be relayed.
const MAX_WAITING: usize = 512;
/// Maximum number of private packets kept that found no link, and milliseconds for which they are kept.
const MAX_SPOOLED: usize = 64;
const SPOOL_LIFE: u64 = 60_000;

/// A packet that will be relayed.
pub(super) struct Waiting {
    pub(super) at: u64,
    raw: Raw,
    relay: Relay,
    from: Option<LinkId>,
}

/// Private packets that found no link, with the time until which each is kept.
pub(super) type Spool = VecDeque<(u64, Waiting)>;

impl Node {
    /// Handles the bytes of one frame from a link.
    pub fn handle_bytes(&mut self, link: LinkId, bytes: &[u8], now: u64) {
        let Ok(raw) = Raw::decode(bytes) else { return };
        self.received(raw, Some(link), now);
    }

    fn received(&mut self, raw: Raw, link: Option<LinkId>, now: u64) {
        let frame = &raw.frame;
        if frame.sender == self.me || !self.links.keys().any(|known| link.is_none_or(|link| link == *known)) {
            return;
        }
        if frame.kind == Kind::REQUEST_SYNC {
            if let Some(link) = link {
                self.asked_what_is_missing(&raw.frame, link, now);
            }
            return;
        }
        if self.seen.has(frame) {
            self.heard_again(&raw, link, now);
            return;
        }
        // A packet that is not found genuine is not shown, kept, or remembered as seen.
        if !self.take_in(&raw, link, now) {
            return;
        }
        self.seen.add(&raw.frame, now);
        if let Some(known) = self.people.get_mut(&raw.frame.sender) {
            known.heard = now;
            self.routes.heard(&raw.frame, self.me);
        }
        let load = Load { me: self.me, links: self.ways().len() };
        let Some(relay) = decide(&raw.frame, load, |peer| self.link_to(peer).is_some()) else { return };
        if self.waiting.len() < MAX_WAITING {
            let at = now + self.between(relay.delay);
            self.waiting.push(Waiting { at, raw, relay, from: link });
        }
    }

    /// Handles a copy that another node relayed. An announce straight from its author still tells whose
    /// link it is.
    fn heard_again(&mut self, raw: &Raw, link: Option<LinkId>, now: u64) {
        if raw.frame.kind == Kind::ANNOUNCE && raw.frame.ttl == crate::MAX_TTL {
            self.announced(&raw.frame, link, now);
        }
        // A copy from the same neighbour on its other link is no relay.
        let is_other = |from: Option<LinkId>| {
            from.zip(link).is_none_or(|(from, link)| !self.is_same_neighbour(from, link))
        };
        let id = packet_id(&raw.frame);
        let goes = |waiting: &Waiting| {
            waiting.relay.may_cancel && packet_id(&waiting.raw.frame) == id && is_other(waiting.from)
        };
        let cancelled: Vec<usize> =
            (0..self.waiting.len()).filter(|place| goes(&self.waiting[*place])).collect();
        for place in cancelled.into_iter().rev() {
            self.waiting.swap_remove(place);
        }
    }

    /// Whether a packet may be genuine; one for this node is handled.
    fn take_in(&mut self, raw: &Raw, link: Option<LinkId>, now: u64) -> bool {
        let frame = &raw.frame;
        let is_for_me = frame.recipient == Some(self.me);
        match frame.kind {
            Kind::ANNOUNCE => {
                let is_genuine = self.announced(frame, link, now);
                if is_genuine {
                    let made = self.made_in_time(frame, now).unwrap_or(now);
                    self.kept.add(raw, made, now);
                }
                is_genuine
            }
            Kind::LEAVE => self.left(frame, now),
            Kind::MESSAGE => self.said(raw, now),
            Kind::FILE => self.file(raw, is_for_me, now),
            Kind::HANDSHAKE if is_for_me => {
                self.handshake(frame, link, now);
                true
            }
            Kind::ENCRYPTED if is_for_me => {
                self.encrypted(frame, link, now);
                true
            }
            Kind::FRAGMENT => {
                let Ok(fragment) = Fragment::decode(frame.payload()) else { return false };
                if is_for_me || frame.is_broadcast() {
                    self.piece(frame.sender, fragment, link, now);
                }
                true
            }
            Kind::COURIER if is_for_me => self.letter(frame, now),
            Kind::PREKEYS => self.offered_prekeys(raw, now),
            Kind::BOARD_POST => self.posted(raw, now),
            Kind::GROUP_MESSAGE => self.said_in_group(raw, now),
            Kind::PING if is_for_me => {
                self.pinged(frame, link, now);
                true
            }
            Kind::PONG if is_for_me => {
                self.ponged(frame, now);
                true
            }
            _ => true,
        }
    }

    fn piece(&mut self, sender: PeerId, fragment: Fragment, link: Option<LinkId>, now: u64) {
        let keys = self.people.get(&sender).map(|known| known.keys);
        let is_private = |frame: &Frame| frame.signature.is_none();
        let whole = self.assembler.handle(sender, fragment, now, |frame| {
            is_private(frame) || keys.is_some_and(|keys| frame.is_by(&keys))
        });
        if let Some(raw) = whole {
            self.received(raw, link, now);
        }
    }

    fn file(&mut self, raw: &Raw, is_for_me: bool, now: u64) -> bool {
        let frame = &raw.frame;
        let Some(made) = self.made_in_time(frame, now) else { return false };
        if !self.people.get(&frame.sender).is_some_and(|known| frame.is_by(&known.keys)) {
            return false;
        }
        let Ok(file) = FilePacket::decode(frame.payload()) else { return false };
        if (is_for_me || frame.is_broadcast()) && file.is_what_it_says() {
            self.say(Event::File { from: frame.sender, id: None, file, at: frame.timestamp });
        }
        if frame.is_broadcast() {
            self.kept.add(raw, made, now);
        }
        true
    }

    /// Relays the packets that are due.
    pub(super) fn pass_on(&mut self, now: u64) {
        let (due, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.at <= now);
        self.waiting = waiting;
        let due: Vec<Waiting> = due;
        self.spool.retain(|(until, _)| *until > now);
        for waiting in due {
            let Waiting { raw, relay, from, .. } = &waiting;
            let author = raw.frame.sender;
            let is_back = |id: LinkId| {
                from.is_some_and(|from| self.is_same_neighbour(from, id))
                    || self.links.get(&id).is_some_and(|link| link.is_bound_to(author))
            };
            let others: Vec<LinkId> = self.ways().into_iter().filter(|id| !is_back(*id)).collect();
            let chosen = match relay.next.and_then(|next| self.link_to(next)) {
                Some(link) => vec![link],
                None if relay.to_some => {
                    let named = others.into_iter().map(Named::from).collect();
                    choose_links(&packet_id(&raw.frame), named).into_iter().map(|named| named.link).collect()
                }
                None => others,
            };
            for link in &chosen {
                self.pass_to(*link, raw, relay.ttl, now);
            }
            if chosen.is_empty()
                && matches!(raw.frame.kind, Kind::HANDSHAKE | Kind::ENCRYPTED)
                && self.spool.len() < MAX_SPOOLED
            {
                self.spool.push_back((now + SPOOL_LIFE, waiting));
            }
        }
    }

    fn pass_to(&mut self, link: LinkId, raw: &Raw, ttl: u8, now: u64) {
        let bytes = raw.with_ttl(ttl);
        if bytes.len() <= self.limit_of(link) {
            self.queue(link, bytes, raw.frame.kind == Kind::FRAGMENT, now);
        } else {
            let frame = Frame { ttl, ..raw.frame.clone() };
            self.send_on(link, &frame, now);
        }
    }

    /// The peer of a link is known: spooled packets go there, except back to where they came from.
    pub(super) fn pass_on_spooled(&mut self, link: LinkId, now: u64) {
        let Some((peer, _)) = self.links.get(&link).and_then(|link| link.peer) else { return };
        let (kept, goes): (Spool, Spool) =
            std::mem::take(&mut self.spool).into_iter().partition(|(until, waiting)| {
                let is_back = waiting.raw.frame.sender == peer
                    || waiting.from.is_some_and(|from| self.is_same_neighbour(from, link));
                *until <= now || is_back
            });
        self.spool = kept;
        for (_, waiting) in goes {
            self.pass_to(link, &waiting.raw, waiting.relay.ttl, now);
        }
    }
}

struct Named {
    link: LinkId,
    name: String,
}

impl From<LinkId> for Named {
    fn from(link: LinkId) -> Self {
        Self { link, name: link.0.to_string() }
    }
}

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        &self.name
    }
}
