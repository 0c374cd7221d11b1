//! Messages that a [`Carrier`] exchanges with a peer: summaries, receipts, and bundles with their answers.

use std::collections::BTreeSet;

use super::{
    ANSWER, Arrival, Bundle, COPIES, Carrier, Effect, HAS, HOPS, Id, Node, SKEW, SUMMARY_GAP, lock_of,
};
use crate::wire::{Answer, MAX_IDS, MAX_LIKELIHOODS, MAX_MESSAGE, MAX_RECEIPTS, Message};

impl Carrier {
    fn say(&mut self, peer: Node, message: &Message) {
        let bytes = message.encode();
        debug_assert!(bytes.len() <= MAX_MESSAGE);
        self.effects.push_back(Effect::Say { peer, bytes });
    }

    pub(super) fn say_summary(&mut self, peer: Node, now: u64) {
        let mut likelihoods = self.table.summary(now);
        likelihoods.sort_by(|a, b| b.1.total_cmp(&a.1));
        likelihoods.truncate(MAX_LIKELIHOODS);
        let here = self.held.iter().map(|(id, held)| (held.order, *id));
        let mut ids: Vec<(u64, Id)> =
            here.chain(self.arrivals.iter().map(|((id, _), arrival)| (arrival.order, *id))).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let ids = ids.into_iter().take(MAX_IDS).map(|(_, id)| id).collect();
        let mut receipts: Vec<(u64, Id, [u8; 16])> =
            self.receipts.iter().map(|(id, receipt)| (receipt.order, *id, receipt.token)).collect();
        receipts.sort_unstable_by(|a, b| b.cmp(a));
        let receipts = receipts.into_iter().take(MAX_RECEIPTS).map(|(_, id, token)| (id, token)).collect();
        if let Some(meeting) = self.met.get_mut(&peer) {
            (meeting.said, meeting.is_stale) = (now, false);
        }
        self.say(peer, &Message::Summary { likelihoods, ids, receipts });
    }

    pub(super) fn hear_summary(
        &mut self,
        peer: Node,
        likelihoods: &[(Node, f64)],
        ids: BTreeSet<Id>,
        receipts: Vec<(Id, [u8; 16])>,
        now: u64,
    ) {
        let Some(meeting) = self.met.get_mut(&peer) else { return };
        if meeting.heard.is_some_and(|heard| now < heard.saturating_add(SUMMARY_GAP)) {
            return;
        }
        meeting.heard = Some(now);
        // Answers of the peer in this meeting still count, as long as the bundle is here.
        meeting.has.retain(|id| self.held.contains_key(id));
        meeting.has.extend(ids);
        meeting.has.extend(receipts.iter().map(|(id, _)| *id));
        self.table.learn(&self.me, &peer, likelihoods, now);
        self.version += 1;
        meeting.theirs = Some(likelihoods.iter().copied().collect());
        self.hear_receipts(peer, receipts, now);
        self.offer(peer, now);
    }

    /// Handles receipts. One whose token opens the lock of a bundle that is carried here proves its
    /// delivery; others are ignored.
    pub(super) fn hear_receipts(&mut self, peer: Node, receipts: Vec<(Id, [u8; 16])>, now: u64) {
        for (id, token) in receipts {
            let Some(held) = self.held.get(&id) else { continue };
            if held.lock != lock_of(&token) {
                continue;
            }
            let is_own = held.neighbour.is_none();
            let until = self.carried.get(&id).map_or(now, |letter| letter.expires);
            self.remember_receipt(id, token, until);
            if is_own {
                self.effects.push_back(Effect::Delivered { id });
            }
            self.spread_receipt(id, token, Some(peer));
        }
    }

    pub(super) fn spread_receipt(&mut self, id: Id, token: [u8; 16], except: Option<Node>) {
        let peers: Vec<Node> = self.met.keys().copied().filter(|peer| Some(*peer) != except).collect();
        for peer in peers {
            self.say(peer, &Message::Receipts(vec![(id, token)]));
        }
    }

    pub(super) fn hear_bundle(&mut self, peer: Node, copies: u8, bytes: &[u8], now: u64) {
        let Ok(bundle) = Bundle::decode(bytes) else { return };
        let id = bundle.id();
        let answer = self.take(peer, copies, bundle, bytes, now);
        if answer != Answer::Refused
            && let Some(meeting) = self.met.get_mut(&peer)
        {
            meeting.has.insert(id);
            // A peer can bring bundles without end; for those that are not here, it matters little whether
            // it has them.
            if meeting.has.len() > HAS {
                meeting.has.retain(|has| self.held.contains_key(has));
            }
        }
        self.say(peer, &Message::Answer { id, answer });
        if let Some(token) = self.receipts.get(&id).map(|receipt| receipt.token) {
            self.say(peer, &Message::Receipts(vec![(id, token)]));
        }
        if answer == Answer::Taken {
            self.offer_all(now);
        }
    }

    fn take(&mut self, peer: Node, copies: u8, bundle: Bundle, bytes: &[u8], now: u64) -> Answer {
        let (id, expires) = (bundle.id(), bundle.expires());
        if bundle.previous != Some(peer) || expires <= now || bundle.created > now.saturating_add(SKEW) {
            return Answer::Refused;
        }
        if bundle.source == self.me
            || self.held.contains_key(&id)
            || self.carried.arrivals().contains_key(&id)
        {
            return Answer::Known;
        }
        if bundle.destination != self.me {
            return if bundle.hops < bundle.hop_limit.min(HOPS)
                && self.keep_of(peer, copies.clamp(1, COPIES), &bundle, bytes, now)
            {
                Answer::Taken
            } else {
                Answer::Refused
            };
        }
        if self.arrivals.contains_key(&(id, bundle.lock)) {
            return Answer::Known;
        }
        if !self.make_room_for_arrival(peer) {
            return Answer::Refused;
        }
        self.order += 1;
        self.arrivals.insert((id, bundle.lock), Arrival { neighbour: peer, expires, order: self.order });
        self.effects.push_back(Effect::Arrived { id, source: bundle.source, payload: bundle.payload });
        Answer::Taken
    }

    pub(super) fn hear_answer(&mut self, peer: Node, id: Id, answer: Answer, now: u64) {
        let Some(meeting) = self.met.get_mut(&peer) else { return };
        let Some((_, copies, _)) = meeting.giving.take_if(|(given, _, _)| *given == id) else { return };
        meeting.has.insert(id);
        let is_recipient = self.carried.get(&id).is_some_and(|letter| letter.destination == peer);
        if answer == Answer::Taken && !is_recipient {
            self.carried.gave(&id, copies);
            self.version += 1;
            if let Some(held) =
                self.held.get_mut(&id).filter(|held| held.neighbour.is_none() && !held.was_handed)
            {
                held.was_handed = true;
                self.effects.push_back(Effect::Handed { id });
            }
        }
        self.offer_all(now);
    }

    pub(super) fn offer_all(&mut self, now: u64) {
        let peers: Vec<Node> = self.met.keys().copied().collect();
        for peer in peers {
            self.offer(peer, now);
        }
    }

    /// Gives a peer the next bundle, if it has sent a summary and answered the bundle before.
    fn offer(&mut self, peer: Node, now: u64) {
        let Some(meeting) = self.met.get(&peer).filter(|meeting| meeting.giving.is_none()) else { return };
        let Some(theirs) = &meeting.theirs else { return };
        // Copies that are just being given to one peer are not given to another one.
        let busy: BTreeSet<Id> =
            self.met.values().filter_map(|meeting| meeting.giving.map(|(id, _, _)| id)).collect();
        let is_for_them = |id: &Id| self.carried.get(id).is_some_and(|letter| letter.destination == peer);
        let is_out = |id: &Id| meeting.has.contains(id) || busy.contains(id) && !is_for_them(id);
        let Some((id, copies)) =
            self.carried.chosen(&peer, Some(&self.me), &self.table, theirs, is_out, now).into_iter().next()
        else {
            return;
        };
        let stored = self.carried.get(&id).and_then(|letter| Bundle::decode(&letter.bytes).ok());
        // A stored bundle was decoded before and may be forwarded at least once more.
        let Some(bundle) = stored.and_then(|bundle| bundle.forwarded(self.me)) else { return };
        if let Some(meeting) = self.met.get_mut(&peer) {
            meeting.giving = Some((id, copies, now.saturating_add(ANSWER)));
        }
        self.say(peer, &Message::Give { copies, bundle: bundle.encode() });
    }
}
