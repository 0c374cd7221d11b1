//! Messages between Fog nodes beside the protocol of the apps: texts to absent people, sealed with a double
//! ratchet and carried by nodes that are likelier to meet the recipient.
//!
//! This module stores and sends nothing itself; it returns [`BundleEffect`]s. Data sealed by the ratchet leaves
//! only once the ratchet's state is stored.

use std::collections::{BTreeMap, VecDeque};

use fog_bitchat::{PeerId, PeerKeys};
use fog_mesh::{Carrier, Effect, MAX_LIFE, Quotas, Ratchet};
use serde::{Deserialize, Serialize};

/// First byte of a message to a Fog node: a card, or a bundle (`BUNDLE`).
const CARD: u8 = 1;
const BUNDLE: u8 = 2;
/// Opened bundles whose tokens are remembered, in case they arrive again after a restart.
const OPENED: usize = 500;
/// Sealed content is padded to a multiple of this many bytes, to hide the length of the text.
const PADDED: usize = 256;
/// Longest text of a message in bytes; `MAX_NAME` is the bound of its name and id.
const MAX_TEXT: usize = 4096;
const MAX_NAME: usize = 255;
/// Milliseconds for which the ratchet's fallback key is given out.
const ROTATE_EVERY: u64 = 7 * 86_400_000;
/// Milliseconds until a message that found no room is tried again.
const FULL: u64 = 60_000;
/// Milliseconds after which a state whose storage nobody confirmed is handed over again.
const STORE_AGAIN: u64 = 10_000;

/// A message that arrived in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarriedMessage {
    pub(crate) keys: PeerKeys,
    pub(crate) name: String,
    pub(crate) mid: String,
    pub(crate) text: String,
    /// Time at which it was written, by its author's clock.
    pub(crate) at: u64,
    pub(crate) bundle: [u8; 16],
}

/// Action that the caller must carry out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BundleEffect {
    /// Send bytes to a node that is present.
    Say(PeerId, Vec<u8>),
    /// Store the state of the ratchet, then call [`BundleRelay::stored`] with this number.
    Store(u64, Vec<u8>),
    /// Store a message, then call [`BundleRelay::answered`].
    CarriedMessage(Box<CarriedMessage>),
    /// Another node carries the message.
    Carried(PeerId, String),
    /// The message arrived.
    Delivered(PeerId, String),
    /// The message expired.
    Expired(PeerId, String),
}

/// Content that is sealed in a bundle: JSON, padded with spaces.
#[derive(Serialize, Deserialize)]
struct Content {
    token: [u8; 16],
    mid: String,
    at: u64,
    text: String,
    name: String,
    signing: [u8; 32],
}

/// Own messages as stored together with the bundles.
#[derive(Default, Serialize, Deserialize)]
struct Noted {
    sent: Vec<([u8; 16], [u8; 8], String)>,
}

/// Opened bundles and time of rotation as stored together with the ratchet.
#[derive(Default, Serialize, Deserialize)]
struct Beside {
    opened: Vec<([u8; 16], [u8; 16])>,
    rotated: u64,
}

/// Data that waits until the ratchet's state is stored.
enum Held {
    Say(PeerId, Vec<u8>),
    Send { to: PeerId, mid: String, token: [u8; 16], sealed: Vec<u8>, life: u64 },
}

/// Identity of this node as the author of messages.
pub(crate) struct Me<'a> {
    pub(crate) keys: PeerKeys,
    pub(crate) name: &'a str,
}

pub(crate) struct BundleRelay {
    carrier: Carrier,
    ratchet: Ratchet,
    key: [u8; 32],
    here: BTreeMap<PeerId, [u8; 32]>,
    sent: BTreeMap<[u8; 16], (PeerId, String)>,
    opened: VecDeque<([u8; 16], [u8; 16])>,
    rotated: u64,
    held: VecDeque<(u64, Held)>,
    /// Time before which no further message is accepted, because there was no room.
    full_until: u64,
    /// Number of the state that is or will be handed over; `handed` is the ratchet's version then.
    turn: u64,
    handed: u64,
    handed_at: u64,
    is_stored: bool,
    todo: VecDeque<BundleEffect>,
}

impl BundleRelay {
    /// Restores the stored state; parts that cannot be read begin anew. `key` seals the ratchet's state,
    /// and `set_by` is the number of milliseconds by which the clock was set since.
    pub(crate) fn restore(
        me: PeerId,
        key: [u8; 32],
        bundles: &[u8],
        ratchet: &[u8],
        set_by: i64,
        now: u64,
    ) -> Self {
        let (noted, bundles) = split::<Noted>(bundles);
        let (beside, sealed) = split::<Beside>(ratchet);
        let (ratchet, rotated) = match Ratchet::restore(&key, sealed) {
            Ok(ratchet) => (ratchet, beside.rotated),
            Err(error) => {
                if !sealed.is_empty() {
                    tracing::warn!(%error, "keys for messages that others carry begin anew");
                }
                (Ratchet::new(), now)
            }
        };
        let handed = ratchet.version();
        let mut relay = Self {
            carrier: Carrier::restore(me.0, Quotas::default(), bundles),
            ratchet,
            key,
            here: BTreeMap::new(),
            sent: noted.sent.into_iter().map(|(id, to, mid)| (id, (PeerId(to), mid))).collect(),
            opened: beside.opened.into_iter().take(OPENED).collect(),
            rotated,
            held: VecDeque::new(),
            full_until: 0,
            turn: 0,
            handed,
            handed_at: now,
            is_stored: true,
            todo: VecDeque::new(),
        };
        relay.handle_clock_set(set_by);
        relay.handle_timeout(now);
        relay
    }

    /// Moves all times by the milliseconds by which the clock was set, so that nothing expires for that.
    pub(crate) fn handle_clock_set(&mut self, by: i64) {
        if by == 0 {
            return;
        }
        self.carrier.handle_clock_set(by);
        for time in [&mut self.rotated, &mut self.full_until, &mut self.handed_at] {
            *time = time.saturating_add_signed(by);
        }
    }

    /// Version of [`Self::bundles`]; rises with every change.
    pub(crate) fn version(&self) -> u64 {
        self.carrier.version()
    }

    /// Serialized state of the carried bundles, for storing.
    pub(crate) fn bundles(&self) -> Vec<u8> {
        let sent = self.sent.iter().map(|(id, (to, mid))| (*id, to.0, mid.clone())).collect();
        join(&Noted { sent }, &self.carrier.state())
    }

    /// Number of bundles that are carried for others.
    pub(crate) fn carried(&self) -> usize {
        self.carrier.carried_for_others()
    }

    /// Whether a message of this node is on its way.
    pub(crate) fn has(&self, to: PeerId, mid: &str) -> bool {
        let is_it = |known: PeerId, other: &str| known == to && other == mid;
        self.sent.values().any(|(known, other)| is_it(*known, other))
            || self.held.iter().any(|(_, held)| matches!(held, Held::Send { to, mid, .. } if is_it(*to, mid)))
    }

    /// Handles the arrival of a Fog node whose key the session authenticated.
    pub(crate) fn met(&mut self, peer: PeerId, noise: [u8; 32], now: u64) {
        self.here.insert(peer, noise);
        let card = self.ratchet.card();
        self.hold(Held::Say(peer, [&[CARD], &card[..]].concat()));
        self.carrier.handle_met(peer.0, now);
        self.look(now);
    }

    pub(crate) fn parted(&mut self, peer: PeerId, now: u64) {
        self.here.remove(&peer);
        self.carrier.handle_parted(peer.0, now);
        self.look(now);
    }

    /// Handles bytes from a present node.
    pub(crate) fn heard(&mut self, peer: PeerId, bytes: &[u8], now: u64) {
        match (bytes.split_first(), self.here.get(&peer)) {
            (Some((&CARD, card)), Some(noise)) => {
                self.ratchet.learn(*noise, card);
            }
            (Some((&BUNDLE, message)), Some(_)) => self.carrier.handle_message(peer.0, message, now),
            _ => {}
        }
        self.look(now);
    }

    /// Seals a text and hands it to the carrier; `false` when the recipient's card is not known or there is
    /// no room now.
    pub(crate) fn send(
        &mut self,
        me: &Me<'_>,
        to: &PeerKeys,
        mid: &str,
        text: &str,
        at: u64,
        now: u64,
    ) -> bool {
        if now < self.full_until || !self.ratchet.knows(&to.noise) || text.len() > MAX_TEXT {
            return false;
        }
        let token = rand::random();
        let content = Content {
            token,
            mid: mid.to_owned(),
            at,
            text: text.to_owned(),
            name: me.name.to_owned(),
            signing: me.keys.signing,
        };
        let mut open = serde_json::to_vec(&content).unwrap_or_default();
        open.resize(open.len().next_multiple_of(PADDED), b' ');
        let Some(sealed) = self.ratchet.seal(&to.noise, &open) else { return false };
        let life = MAX_LIFE.saturating_sub(now.saturating_sub(at));
        self.hold(Held::Send { to: to.peer(), mid: mid.to_owned(), token, sealed, life });
        self.look(now);
        true
    }

    fn hold(&mut self, held: Held) {
        // The next state that is handed over includes this entry.
        self.held.push_back((self.turn + 1, held));
    }

    /// Confirms that the state with this number is stored.
    pub(crate) fn stored(&mut self, turn: u64, now: u64) {
        self.is_stored |= turn == self.turn;
        while let Some((_, held)) = self.held.pop_front_if(|(needs, _)| *needs <= turn) {
            match held {
                Held::Say(peer, bytes) => self.todo.push_back(BundleEffect::Say(peer, bytes)),
                Held::Send { to, mid, token, sealed, life } => {
                    match self.carrier.send(to.0, sealed, token, life, now) {
                        Ok(id) => {
                            self.sent.insert(id, (to, mid));
                        }
                        Err(error) => {
                            // Each attempt uses up a key and has to be stored, so the next one waits.
                            tracing::debug!(%error, "not carried");
                            self.full_until = now + FULL;
                        }
                    }
                }
            }
        }
        self.look(now);
    }

    /// Reports whether the message of a bundle is stored.
    pub(crate) fn answered(&mut self, bundle: [u8; 16], is_stored: bool, now: u64) {
        let Some(place) = self.opened.iter().position(|(id, _)| *id == bundle) else { return };
        if is_stored {
            self.carrier.confirm(bundle, self.opened[place].1);
        } else {
            // After a restart, too, the bundle must not count as stored.
            self.opened.remove(place);
            (self.is_stored, self.handed_at) = (false, 0);
        }
        self.look(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let again = (!self.is_stored).then_some(self.handed_at + STORE_AGAIN);
        self.carrier.poll_timeout().into_iter().chain(again).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: u64) {
        if now.saturating_sub(self.rotated) >= ROTATE_EVERY {
            self.rotated = now;
            self.ratchet.rotate();
        }
        self.carrier.handle_timeout(now);
        self.look(now);
    }

    pub(crate) fn poll(&mut self) -> Option<BundleEffect> {
        self.todo.pop_front()
    }

    /// Noise key of the peer with this id from a bundle.
    fn key_of(&self, source: [u8; 8]) -> Option<[u8; 32]> {
        self.ratchet.peers().find(|noise| PeerId::of(noise).0 == source).copied()
    }

    fn look(&mut self, now: u64) {
        while let Some(effect) = self.carrier.poll_effect() {
            match effect {
                Effect::Say { peer, bytes } => {
                    self.todo.push_back(BundleEffect::Say(PeerId(peer), [&[BUNDLE], &bytes[..]].concat()))
                }
                Effect::Arrived { id, source, payload } => self.arrived(id, source, &payload, now),
                Effect::Handed { id } => self
                    .todo
                    .extend(self.sent.get(&id).cloned().map(|(to, mid)| BundleEffect::Carried(to, mid))),
                Effect::Delivered { id } => {
                    self.todo.extend(self.sent.remove(&id).map(|(to, mid)| BundleEffect::Delivered(to, mid)))
                }
                Effect::Expired { id } => {
                    self.todo.extend(self.sent.remove(&id).map(|(to, mid)| BundleEffect::Expired(to, mid)))
                }
                _ => {}
            }
        }
        let is_due = self.is_stored || now.saturating_sub(self.handed_at) >= STORE_AGAIN;
        if is_due && (self.ratchet.version() != self.handed || !self.is_stored) {
            self.turn += 1;
            (self.handed, self.handed_at, self.is_stored) = (self.ratchet.version(), now, false);
            let beside = Beside { opened: self.opened.iter().copied().collect(), rotated: self.rotated };
            self.todo
                .push_back(BundleEffect::Store(self.turn, join(&beside, &self.ratchet.state(&self.key))));
        }
    }

    fn arrived(&mut self, id: [u8; 16], source: [u8; 8], payload: &[u8], now: u64) {
        if let Some((_, token)) = self.opened.iter().find(|(known, _)| *known == id) {
            // The bundle was opened before a restart of this device.
            self.carrier.confirm(id, *token);
            return;
        }
        let Some(noise) = self.key_of(source) else { return };
        let open = match self.ratchet.open(&noise, payload) {
            Ok(open) => open,
            Err(error) => return tracing::debug!(%error, "a carried message is not opened"),
        };
        let Ok(content) = serde_json::from_slice::<Content>(&open) else { return };
        if content.text.len() > MAX_TEXT
            || content.name.len() > MAX_NAME
            || content.mid.is_empty()
            || content.mid.len() > MAX_NAME
        {
            return;
        }
        if self.opened.len() >= OPENED {
            self.opened.pop_front();
        }
        self.opened.push_back((id, content.token));
        let keys = PeerKeys { noise, signing: content.signing };
        let carried = CarriedMessage {
            keys,
            name: content.name,
            mid: content.mid,
            text: content.text,
            at: content.at.min(now),
            bundle: id,
        };
        self.todo.push_back(BundleEffect::CarriedMessage(Box::new(carried)));
    }
}

/// Joins the two parts of a state: length of the first, the first as JSON, then the second.
fn join(first: &impl Serialize, second: &[u8]) -> Vec<u8> {
    let first = serde_json::to_vec(first).unwrap_or_default();
    [&(first.len() as u32).to_be_bytes()[..], &first, second].concat()
}

fn split<T: Default + for<'a> Deserialize<'a>>(state: &[u8]) -> (T, &[u8]) {
    let parts = state
        .split_first_chunk()
        .and_then(|(length, rest)| rest.split_at_checked(u32::from_be_bytes(*length) as usize));
    let Some((first, second)) = parts else { return (T::default(), &[]) };
    (serde_json::from_slice(first).unwrap_or_default(), second)
}

#[cfg(test)]
#[path = "store_and_forward_tests.rs"]
mod tests;
