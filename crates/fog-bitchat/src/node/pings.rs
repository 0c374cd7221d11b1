//! Pings: distance to a peer, and the nodes between.

use super::links::Link;
use super::{Event, LinkId, Node};
use crate::frame::{Frame, Kind};
use crate::identity::PeerId;

/// Milliseconds to wait for an answer.
const PATIENCE: u64 = 10_000;
/// Maximum number of pings that wait for an answer at once.
const MAX_ASKED: usize = 16;
/// Maximum number of answers on one link in ten seconds.
const PONGS: usize = 5;

/// A ping that waits for its answer.
pub(super) struct Asked {
    nonce: [u8; 8],
    whom: PeerId,
    at: u64,
}

impl Asked {
    pub(super) fn handle_clock_set(&mut self, now: u64) {
        self.at = self.at.min(now);
    }
}

impl Node {
    /// Sends a ping to a peer: [`Event::Pong`] or [`Event::NoPong`] follows within about ten seconds.
    /// Returns `false` when the peer is not here or too many pings are pending.
    pub fn ping(&mut self, whom: PeerId, now: u64) -> bool {
        if !self.people.contains_key(&whom) || self.asked_how_far.len() >= MAX_ASKED {
            return false;
        }
        let nonce = self.fresh();
        let payload = [nonce.as_slice(), &[crate::MAX_TTL]].concat();
        let frame = self.frame(Kind::PING, payload, now).to(whom);
        self.send_to(whom, &frame, now);
        self.asked_how_far.push(Asked { nonce, whom, at: now });
        self.next_housekeeping = self.next_housekeeping.min(now + super::HOUSEKEEPING);
        true
    }

    pub(super) fn pinged(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) {
        let Some(known) = link.and_then(|link| self.links.get_mut(&link)) else { return };
        if frame.payload().len() != 9 || !Link::may(&mut known.pongs, PONGS, PATIENCE, now) {
            return;
        }
        let mut payload = frame.payload().to_vec();
        payload[8] = crate::MAX_TTL;
        let pong = self.frame(Kind::PONG, payload, now).to(frame.sender);
        self.send_to(frame.sender, &pong, now);
    }

    /// Handles an answer. It states the TTL that it started with, so the TTL left tells the number of hops.
    pub(super) fn ponged(&mut self, frame: &Frame, now: u64) {
        let Some((nonce, [origin])) = frame.payload().split_first_chunk::<8>() else { return };
        let asked =
            self.asked_how_far.iter().position(|asked| asked.nonce == *nonce && asked.whom == frame.sender);
        let Some(asked) = asked.map(|place| self.asked_how_far.swap_remove(place)) else { return };
        let hops = origin.saturating_sub(frame.ttl).saturating_add(1);
        let way = self.way_to(asked.whom);
        self.say(Event::Pong { from: asked.whom, hops, millis: now.saturating_sub(asked.at), way });
    }

    pub(super) fn give_up_pings(&mut self, now: u64) {
        let late = self
            .asked_how_far
            .extract_if(.., |asked| now.saturating_sub(asked.at) >= PATIENCE)
            .map(|asked| asked.whom)
            .collect::<Vec<_>>();
        for whom in late {
            self.say(Event::NoPong(whom));
        }
    }
}
