//! One-time keys: those that this node offers, so that letters to it cannot be opened once their key is
//! deleted, and those that other peers offer.

use std::collections::BTreeMap;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Node;
use crate::bytes::Reader;
use crate::courier::{MAX_PREKEYS, Prekeys};
use crate::frame::{Frame, Kind, Raw};
use crate::identity::PeerId;

/// Maximum number of peers whose one-time keys are known, and milliseconds for which a bundle is used.
const MAX_BUNDLES: usize = 200;
const BUNDLE_LIFE: u64 = 7 * 86_400_000;
/// Milliseconds between two offers.
const OFFER_EVERY: u64 = 3_600_000;
/// Milliseconds until the next offer when keys were used up: anybody can use them up, so offers and keys
/// stay bounded.
const OFFER_SOON: u64 = 60_000;
const MAX_OWN: usize = 256;
/// Number of unused keys below which new ones are made.
const FEW: usize = 3;
/// Milliseconds after which an offer is signed anew, so that nobody takes it for an old one.
const OFFER_LIFE: u64 = 86_400_000;
/// Milliseconds for which a key is kept: an unused one, and a used one, as other copies of a letter may be
/// on the way.
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
    /// Present offer, and the time at which it is sent next.
    offer: Option<Prekeys>,
    next_offer: u64,
    offered: u64,
    bundles: BTreeMap<PeerId, Prekeys>,
}

/// Type bytes of the parts of the stored form.
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

    /// Parts to be stored, each with its type.
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
                let (Ok(id), Ok(secret), Ok(made), Ok(used)) =
                    (reader.u32(), reader.array(), reader.u64(), reader.u64())
                else {
                    return;
                };
                self.own.insert(
                    id,
                    OwnKey { secret: Zeroizing::new(secret), made, used: (used > 0).then_some(used) },
                );
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
    /// Offers the one-time keys of this node, each hour and after a change.
    pub(super) fn offer_prekeys(&mut self, now: u64) {
        if now < self.mail.keys.next_offer {
            return;
        }
        (self.mail.keys.next_offer, self.mail.keys.offered) = (now + OFFER_EVERY, now);
        let before = self.mail.keys.own.len();
        for key in self.mail.keys.own.values_mut() {
            // A key with a time in the future would live longer than the others.
            (key.made, key.used) = (key.made.min(now), key.used.map(|used| used.min(now)));
        }
        self.mail.keys.own.retain(|_, key| key.is_alive(now));
        while self.mail.keys.own.len() > MAX_OWN {
            // The keys that were used first are dropped.
            let used = self.mail.keys.own.iter().filter_map(|(id, key)| Some((key.used?, *id))).min();
            let Some((_, id)) = used else { break };
            self.mail.keys.own.remove(&id);
        }
        let unused = |node: &Self| node.mail.keys.own.values().filter(|key| key.used.is_none()).count();
        let is_short = unused(self) < FEW;
        while is_short && unused(self) < MAX_PREKEYS {
            let (id, secret) = (u32::from_be_bytes(self.fresh()), self.fresh());
            self.mail.keys.own.entry(id).or_insert(OwnKey {
                secret: Zeroizing::new(secret),
                made: now,
                used: None,
            });
        }
        if is_short || self.mail.keys.own.len() != before {
            self.mail.version += 1;
        }
        if is_short
            || self.mail.keys.offer.as_ref().is_none_or(|offer| now.abs_diff(offer.made) >= OFFER_LIFE)
        {
            let unused = self.mail.keys.own.iter().filter(|(_, key)| key.used.is_none());
            let keys = unused
                .map(|(id, key)| (*id, PublicKey::from(&StaticSecret::from(*key.secret)).to_bytes()))
                .collect();
            self.mail.keys.offer = Some(Prekeys::offer(&self.identity, keys, now));
        }
        let Some(payload) = self.mail.keys.offer.as_ref().and_then(|offer| offer.encode().ok()) else {
            return;
        };
        let frame = self.frame(Kind::PREKEYS, payload, now).signed(&self.identity);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            self.kept.add(&raw, now, now);
        }
        self.send_everywhere(&frame, now);
    }

    /// Marks the one-time key that a letter was sealed to as used.
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

    /// Any of the one-time keys that a peer offers.
    pub(super) fn prekey_of(&mut self, peer: PeerId, now: u64) -> Option<(u32, [u8; 32])> {
        let keys = self
            .mail
            .keys
            .bundles
            .get(&peer)
            .filter(|bundle| now.saturating_sub(bundle.made) < BUNDLE_LIFE)?
            .keys
            .clone();
        let place = self.between((0, keys.len() as u64));
        keys.get(place as usize).copied()
    }

    /// Handles an offer of one-time keys; returns whether it is genuine and in time.
    pub(super) fn offered_prekeys(&mut self, raw: &Raw, now: u64) -> bool {
        let frame: &Frame = &raw.frame;
        let Ok(bundle) = Prekeys::decode(frame.payload()) else { return false };
        // Offers of known people who are away count too: their neighbours send them again.
        let is_theirs = bundle.peer() == frame.sender
            && self
                .keys_of(frame.sender)
                .is_some_and(|known| bundle.is_by(&known.signing) && frame.is_by(&known));
        let Some(made) = self.made_in_time(frame, now) else { return false };
        if !is_theirs
            || !frame.is_broadcast()
            || self.now_of(frame.sender, now).abs_diff(bundle.made) > BUNDLE_LIFE
        {
            return false;
        }
        self.kept.add(raw, made, now);
        let bundles = &mut self.mail.keys.bundles;
        if bundles.get(&frame.sender).is_some_and(|known| known.made >= bundle.made) {
            return true;
        }
        if bundles.len() >= MAX_BUNDLES
            && !bundles.contains_key(&frame.sender)
            // The oldest bundle makes room.
            && let Some(oldest) = bundles.iter().min_by_key(|(_, bundle)| bundle.made).map(|(peer, _)| *peer)
        {
            bundles.remove(&oldest);
        }
        bundles.insert(frame.sender, bundle);
        self.mail.version += 1;
        true
    }
}
