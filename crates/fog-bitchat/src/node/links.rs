//! Links: the queue of frames of each, and the peer at its other end.

use std::collections::VecDeque;

use super::Node;
use crate::fragment::split;
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;

/// Milliseconds between two fragments on a link.
const FRAGMENT_PAUSE: u64 = 20;
/// Maximum number of frames queued for a link; a long file has 256.
const MAX_QUEUE: usize = 1024;
/// Milliseconds for which a link stays bound to a peer before another one may take it over.
const REBIND_AFTER: u64 = 60_000;

/// Id of a link, assigned by the owner of the radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A link to a neighbour.
pub(super) struct Link {
    /// Longest frame that the link takes, in bytes.
    limit: usize,
    /// Whether frames sent on the link arrive unless the link ends.
    is_sure: bool,
    /// Peer at the other end, once it announced itself there, and since when.
    pub(super) peer: Option<(PeerId, u64)>,
    /// Times of the last answers to requests to synchronise.
    pub(super) answered: Vec<u64>,
    pub(super) pongs: Vec<u64>,
    /// Times of the last first handshake messages that came over the link.
    pub(super) beginnings: Vec<u64>,
    queue: VecDeque<(Vec<u8>, bool)>,
    free_at: u64,
}

impl Link {
    pub(super) fn next_at(&self) -> Option<u64> {
        (!self.queue.is_empty()).then_some(self.free_at)
    }

    pub(super) fn handle_clock_set(&mut self, now: u64) {
        self.free_at = self.free_at.min(now);
    }

    pub(super) fn is_bound_to(&self, peer: PeerId) -> bool {
        self.peer.is_some_and(|(bound, _)| bound == peer)
    }

    /// Whether one more action is allowed now, at most `limit` within `span` milliseconds; an allowed one
    /// is recorded.
    pub(super) fn may(done: &mut Vec<u64>, limit: usize, span: u64, now: u64) -> bool {
        done.retain(|at| now.saturating_sub(*at) < span);
        let may = done.len() < limit;
        if may {
            done.push(now);
        }
        may
    }
}

impl Node {
    /// Adds a link that is open in both directions. `limit` is its longest frame in bytes: at most 512 over
    /// Bluetooth, where an attribute holds no more, and 64 KiB elsewhere.
    pub fn handle_link_up(&mut self, link: LinkId, limit: usize, now: u64) {
        let limit = limit.clamp(64, 64 << 10);
        let (answered, pongs, beginnings) = (Vec::new(), Vec::new(), Vec::new());
        self.links.insert(
            link,
            Link {
                limit,
                is_sure: false,
                peer: None,
                answered,
                pongs,
                beginnings,
                queue: VecDeque::new(),
                free_at: now,
            },
        );
        self.next_housekeeping = self.next_housekeeping.min(now + super::HOUSEKEEPING);
        // The announce goes first, because it tells the other side whose link it is.
        let announce = self.make_announce(now);
        self.send_on(link, &announce, now);
        if self.next_announce == 0 {
            self.next_announce = now + super::ANNOUNCE_EVERY.0;
        }
        self.next_sync = self.next_sync.clamp(now + 1_000, now + super::SYNC_EVERY);
    }

    /// Marks a link as reliable: of several links to a peer, it is used before the others.
    pub fn prefer(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.is_sure = true;
        }
    }

    /// Removes a link that was closed.
    pub fn handle_link_down(&mut self, link: LinkId, now: u64) {
        let Some(closed) = self.links.remove(&link) else { return };
        if let Some((peer, _)) = closed.peer {
            self.link_changed(peer, now);
        }
    }

    /// Returns the next frame that is due, and its link.
    pub fn poll_transmit(&mut self, now: u64) -> Option<(LinkId, Vec<u8>)> {
        self.poll_transmit_if(now, |_| true)
    }

    /// Returns the next frame that is due on a link that can take one now; frames for the others wait in
    /// order.
    pub fn poll_transmit_if(
        &mut self,
        now: u64,
        can_take: impl Fn(LinkId) -> bool,
    ) -> Option<(LinkId, Vec<u8>)> {
        let (id, link) = self
            .links
            .iter_mut()
            .find(|(id, link)| link.next_at().is_some_and(|at| at <= now) && can_take(**id))?;
        let (bytes, is_fragment) = link.queue.pop_front()?;
        link.free_at = if is_fragment { now + FRAGMENT_PAUSE } else { now };
        Some((*id, bytes))
    }

    /// Binds a link to the peer that announced itself on it.
    pub(super) fn bind(&mut self, link: LinkId, peer: PeerId, now: u64) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let old = known.peer;
        match old {
            Some((bound, _)) if bound == peer => return,
            // Another peer: only after a while, and only one that has no link of its own.
            Some((_, since)) if now.saturating_sub(since) < REBIND_AFTER => return,
            Some(_) if self.links.values().any(|other| other.is_bound_to(peer)) => return,
            _ => {}
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.peer = Some((peer, now));
        }
        if let Some((before, _)) = old {
            self.link_changed(before, now);
        }
        self.link_changed(peer, now);
        self.link_bound(link, now);
    }

    /// A link was bound to a peer. The peer may have restarted, and what went over an earlier link may be
    /// lost without notice.
    fn link_bound(&mut self, link: LinkId, now: u64) {
        if let Some((peer, _)) = self.links.get(&link).and_then(|link| link.peer) {
            self.bring(peer, now);
            self.pass_on_spooled(link, now);
            self.say_again_to(peer, now);
            self.tell_groups_anew(peer);
            self.tell_groups(now);
        }
    }

    /// Best link to a peer, if there is one.
    pub(super) fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        self.links
            .iter()
            .filter(|(_, link)| link.is_bound_to(peer))
            .max_by_key(|(_, link)| link.is_sure)
            .map(|(id, _)| *id)
    }

    /// One link for each neighbour, and those whose neighbour is not known yet. Two devices that found each
    /// other have two links.
    pub(super) fn ways(&self) -> Vec<LinkId> {
        let is_best =
            |id: LinkId, link: &Link| link.peer.is_none_or(|(peer, _)| self.link_to(peer) == Some(id));
        self.links.iter().filter(|(id, link)| is_best(**id, link)).map(|(id, _)| *id).collect()
    }

    /// Whether two links lead to the same neighbour, as far as is known.
    pub(super) fn is_same_neighbour(&self, one: LinkId, other: LinkId) -> bool {
        let peer = |id| self.links.get(&id).and_then(|link: &Link| link.peer).map(|(peer, _)| peer);
        one == other || (peer(one).is_some() && peer(one) == peer(other))
    }

    /// Sends a frame to every neighbour once; an announce goes on every link, because it tells whose link
    /// it is.
    pub(super) fn send_everywhere(&mut self, frame: &Frame, now: u64) {
        let links =
            if frame.kind == Kind::ANNOUNCE { self.links.keys().copied().collect() } else { self.ways() };
        for link in links {
            self.send_on(link, frame, now);
        }
    }

    /// Sends a frame to a peer: on its own link, over a known route, or through every neighbour.
    pub(super) fn send_to(&mut self, peer: PeerId, frame: &Frame, now: u64) {
        if let Some(link) = self.link_to(peer) {
            return self.send_on(link, frame, now);
        }
        let way = self.choose_way(peer, frame, now);
        match way.as_ref().and_then(|way| self.link_to(*way.first()?)) {
            Some(link) => self.send_on(link, &Frame { version: 2, route: way, ..frame.clone() }, now),
            None => self.send_everywhere(frame, now),
        }
    }

    /// Splits a frame to fit the link and queues it. A frame of too many fragments is not sent.
    pub(super) fn send_on(&mut self, link: LinkId, frame: &Frame, now: u64) {
        let id = self.fresh();
        let Some(known) = self.links.get(&link) else { return };
        let Ok(frames) = split(frame, id, known.limit) else { return };
        let is_fragment = frames.len() > 1 || frame.kind == Kind::FRAGMENT;
        for one in frames {
            self.queue(link, one.encode(), is_fragment, now);
        }
    }

    /// Queues bytes unchanged, if they fit.
    pub(super) fn queue(&mut self, link: LinkId, bytes: Vec<u8>, is_fragment: bool, now: u64) {
        let Some(link) = self.links.get_mut(&link) else { return };
        if bytes.len() > link.limit || link.queue.len() >= MAX_QUEUE {
            return;
        }
        if link.queue.is_empty() {
            link.free_at = link.free_at.max(now);
        }
        link.queue.push_back((bytes, is_fragment));
    }

    pub(super) fn limit_of(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, |link| link.limit)
    }
}
