//! One-time keys: those that this node offers, so that a letter to it stays closed once its key is gone, and those
//! that others offer.

use std::collections::BTreeMap;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Node;
use crate::bytes::Reader;
use crate::courier::{MAX_PREKEYS, Prekeys};
use crate::frame::{Frame, Kind, Raw};
use crate::identity::PeerId;

/// Whose one-time keys are known, and how long they are used, in milliseconds.
const MAX_BUNDLES: usize = 200;
const BUNDLE_LIFE: u64 = 7 * 86_400_000;
/// Milliseconds between two offers.
const OFFER_EVERY: u64 = 3_600_000;
/// The same when keys were used up. Anybody can use them up; they cannot make this node speak, or keep keys, without end.
const OFFER_SOON: u64 = 60_000;
const MAX_OWN: usize = 256;
/// With fewer that nobody has used there are new ones.
const FEW: usize = 3;
/// An offer is made anew after so many milliseconds, that nobody takes it for an old one.
const OFFER_LIFE: u64 = 86_400_000;
/// Milliseconds a key is kept that nobody has used, and one that somebody has: other copies of a letter may be
/// under way.
const UNUSED_LIFE: u64 = 30 * 86_400_000;
const USED_LIFE: u64 = 48 * 3_600_000;

struct OwnKey {
    secret: Zeroizing<[u8; 32]>,
    made: u64,
    used: Option<u64>,
}

#[derive(Default)]
pub(super) struct OneTimeKeys {
    own: BTreeMap<u32, OwnKey>,
    /// What is offered now, and when it is said next.
    offer: Option<Prekeys>,
    next_offer: u64,
    offered: u64,
    bundles: BTreeMap<PeerId, Prekeys>,
}

/// Begin the parts of what is written down.
pub(super) const OWN_KEY: u8 = 2;
pub(super) const BUNDLE: u8 = 3;

impl OneTimeKeys {
    pub(super) fn handle_clock_set(&mut self, now: u64) {
        (self.next_offer, self.offered) = (self.next_offer.min(now), self.offered.min(now));
    }

    pub(super) fn move_by(&mut self, by: i64) {
        for key in self.own.values_mut() {
            key.made = key.made.saturating_add_signed(by);
            key.used = key.used.map(|used| used.saturating_add_signed(by));
        }
    }

    /// What is to be written down, each part with what it is.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u8, Vec<u8>)> {
        let own = self.own.iter().map(|(id, key)| {
            let mut out = id.to_be_bytes().to_vec();
            out.extend(*key.secret);
            out.extend(key.made.to_be_bytes());
            out.extend(key.used.unwrap_or(0).to_be_bytes());
            (OWN_KEY, out)
        });
        own.chain(self.bundles.values().filter_map(|bundle| Some((BUNDLE, bundle.encode().ok()?))))
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<u32> {
        self.own.keys().copied().collect()
    }

    pub(super) fn restore(&mut self, what: u8, part: &[u8]) {
        match what {
            OWN_KEY => {
                let mut reader = Reader(part);
                let (Ok(id), Ok(secret), Ok(made), Ok(used)) = (reader.u32(), reader.array(), reader.u64(), reader.u64()) else { return };
                self.own.insert(id, OwnKey { secret: Zeroizing::new(secret), made, used: (used > 0).then_some(used) });
            }
            BUNDLE => {
                if let Ok(bundle) = Prekeys::decode(part)
                    && self.bundles.len() < MAX_BUNDLES
                {
                    self.bundles.insert(bundle.peer(), bundle);
                }
            }
            _ => {}
        }
    }
}

impl OwnKey {
    fn is_alive(&self, now: u64) -> bool {
        match self.used {
            Some(used) => now.saturating_sub(used) < USED_LIFE,
            None => now.saturating_sub(self.made) < UNUSED_LIFE,
        }
    }
}

impl Node {
    /// Says which one-time keys this node has, each hour and when there are others.
    pub(super) fn offer_prekeys(&mut self, now: u64) {
        if now < self.mail.keys.next_offer {
            return;
        }
        (self.mail.keys.next_offer, self.mail.keys.offered) = (now + OFFER_EVERY, now);
        let before = self.mail.keys.own.len();
        for key in self.mail.keys.own.values_mut() {
            // One that seems to be of later would live longer than the others.
            (key.made, key.used) = (key.made.min(now), key.used.map(|used| used.min(now)));
        }
        self.mail.keys.own.retain(|_, key| key.is_alive(now));
        while self.mail.keys.own.len() > MAX_OWN {
            // Those that were used first.
            let used = self.mail.keys.own.iter().filter_map(|(id, key)| Some((key.used?, *id))).min();
            let Some((_, id)) = used else { break };
            self.mail.keys.own.remove(&id);
        }
        let unused = |node: &Self| node.mail.keys.own.values().filter(|key| key.used.is_none()).count();
        let is_short = unused(self) < FEW;
        while is_short && unused(self) < MAX_PREKEYS {
            let (id, secret) = (u32::from_be_bytes(self.fresh()), self.fresh());
            self.mail.keys.own.entry(id).or_insert(OwnKey { secret: Zeroizing::new(secret), made: now, used: None });
        }
        if is_short || self.mail.keys.own.len() != before {
            self.mail.version += 1;
        }
        if is_short || self.mail.keys.offer.as_ref().is_none_or(|offer| now.abs_diff(offer.made) >= OFFER_LIFE) {
            let unused = self.mail.keys.own.iter().filter(|(_, key)| key.used.is_none());
            let keys = unused.map(|(id, key)| (*id, PublicKey::from(&StaticSecret::from(*key.secret)).to_bytes())).collect();
            self.mail.keys.offer = Some(Prekeys::offer(&self.identity, keys, now));
        }
        let Some(payload) = self.mail.keys.offer.as_ref().and_then(|offer| offer.encode().ok()) else { return };
        let frame = self.frame(Kind::PREKEYS, payload, now).signed(&self.identity);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            self.kept.add(&raw, now, now);
        }
        self.send_everywhere(&frame, now);
    }

    /// The secret that a letter was sealed to. It is used from now on.
    pub(super) fn use_prekey(&mut self, id: u32, now: u64) {
        let Some(key) = self.mail.keys.own.get_mut(&id).filter(|key| key.used.is_none()) else { return };
        key.used = Some(now);
        self.mail.version += 1;
        if self.mail.keys.own.values().filter(|key| key.used.is_none()).count() < FEW {
            self.mail.keys.next_offer = self.mail.keys.next_offer.min(self.mail.keys.offered + OFFER_SOON);
        }
    }

    pub(super) fn prekey_secret(&self, id: u32) -> Option<[u8; 32]> {
        self.mail.keys.own.get(&id).map(|key| *key.secret)
    }

    /// A one-time key of somebody, any of those they offer.
    pub(super) fn prekey_of(&mut self, peer: PeerId, now: u64) -> Option<(u32, [u8; 32])> {
        let keys = self.mail.keys.bundles.get(&peer).filter(|bundle| now.saturating_sub(bundle.made) < BUNDLE_LIFE)?.keys.clone();
        let place = self.between((0, keys.len() as u64));
        keys.get(place as usize).copied()
    }

    /// One-time keys that somebody offers; whether they do.
    pub(super) fn offered_prekeys(&mut self, raw: &Raw, now: u64) -> bool {
        let frame: &Frame = &raw.frame;
        let Ok(bundle) = Prekeys::decode(frame.payload()) else { return false };
        // Of somebody who is away too, if they are known: their neighbours say it again.
        let is_theirs = bundle.peer() == frame.sender && self.keys_of(frame.sender).is_some_and(|known| bundle.is_by(&known.signing) && frame.is_by(&known));
        let Some(made) = self.made_in_time(frame, now) else { return false };
        if !is_theirs || !frame.is_broadcast() || self.now_of(frame.sender, now).abs_diff(bundle.made) > BUNDLE_LIFE {
            return false;
        }
        self.kept.add(raw, made, now);
        let bundles = &mut self.mail.keys.bundles;
        if bundles.get(&frame.sender).is_some_and(|known| known.made >= bundle.made) {
            return true;
        }
        if bundles.len() >= MAX_BUNDLES
            && !bundles.contains_key(&frame.sender)
            // The oldest makes room.
            && let Some(oldest) = bundles.iter().min_by_key(|(_, bundle)| bundle.made).map(|(peer, _)| *peer)
        {
            bundles.remove(&oldest);
        }
        bundles.insert(frame.sender, bundle);
        self.mail.version += 1;
        true
    }
}
