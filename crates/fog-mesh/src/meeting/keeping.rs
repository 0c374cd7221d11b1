//! Storage of a [`Carrier`]: quotas, expiry, and the state that survives a restart.

use super::{
    ARRIVALS, ARRIVALS_OF_NEIGHBOUR, Bundle, COPIES, Carrier, Effect, HOPS, Held, Id, Node, Quotas, Receipt,
};
use crate::wire::Reader;
use crate::{Letter, MAX_BUNDLE};

/// First byte of the state that [`Carrier::state`] encodes.
const STATE: u8 = 1;
/// Maximum number of receipts remembered; the oldest are dropped. A bundle whose receipt was dropped is
/// carried until it expires.
const RECEIPTS: usize = 1000;
/// Maximum number of stored entries of the table, equal to its own maximum.
const ENTRIES: usize = 1000;

impl Carrier {
    /// Keeps a bundle of this node, up to half of the store. Bundles of others make room for it.
    pub(super) fn keep_own(&mut self, bundle: &Bundle) -> bool {
        let bytes = bundle.encode();
        let (own, own_bytes) = self.load_of(None);
        if own >= self.quotas.letters.div_ceil(2)
            || own_bytes + bytes.len() > self.quotas.bytes / 2
            || !self.make_room(bytes.len())
        {
            return false;
        }
        self.hold(letter(bundle, bytes, bundle.expires(), COPIES), None, bundle.lock, false);
        true
    }

    /// Keeps a bundle that `peer` brought, if the quotas of the peer and of the source leave room for it.
    pub(super) fn keep_of(
        &mut self,
        peer: Node,
        copies: u8,
        bundle: &Bundle,
        bytes: &[u8],
        now: u64,
    ) -> bool {
        let (theirs, their_bytes) = self.load_of(Some(peer));
        if theirs >= self.quotas.of_neighbour || their_bytes + bytes.len() > self.quotas.bytes_of_neighbour {
            return false;
        }
        let of_source = || self.carried.letters().filter(|letter| letter.source == bundle.source);
        if of_source().count() >= self.quotas.of_one {
            // Anybody can write the name of a source on a forged bundle. Those that the source brought
            // itself come first.
            let by_others = of_source()
                .filter(|letter| self.held.get(&letter.id).is_some_and(|held| held.neighbour != Some(peer)));
            match by_others
                .min_by_key(|letter| letter.expires)
                .map(|letter| letter.id)
                .filter(|_| bundle.source == peer)
            {
                Some(id) => self.let_go(&id),
                None => return false,
            }
        }
        if !self.make_room(bytes.len()) {
            return false;
        }
        let expires = bundle.expires().min(now.saturating_add(self.quotas.life));
        self.hold(letter(bundle, bytes.to_vec(), expires, copies), Some(peer), bundle.lock, false);
        true
    }

    fn hold(&mut self, letter: Letter<Node>, neighbour: Option<Node>, lock: [u8; 32], was_handed: bool) {
        self.order += 1;
        self.held.insert(letter.id, Held { neighbour, lock, order: self.order, was_handed });
        self.carried.keep(letter);
        self.version += 1;
    }

    fn let_go(&mut self, id: &Id) {
        self.carried.remove(id);
        self.held.remove(id);
        self.version += 1;
    }

    /// Number and bytes of the bundles that a neighbour brought, or of this node's own for `None`.
    pub(super) fn load_of(&self, neighbour: Option<Node>) -> (usize, usize) {
        let theirs = self.held.iter().filter(|(_, held)| held.neighbour == neighbour);
        theirs.fold((0, 0), |(letters, bytes), (id, _)| (letters + 1, bytes + self.length(id)))
    }

    fn length(&self, id: &Id) -> usize {
        self.carried.get(id).map_or(0, |letter| letter.bytes.len())
    }

    /// Makes room for one more bundle: drops those of the heaviest neighbour that expire first, never this
    /// node's own.
    fn make_room(&mut self, length: usize) -> bool {
        let (own, own_bytes) = self.load_of(None);
        if own >= self.quotas.letters || own_bytes + length > self.quotas.bytes {
            return false;
        }
        loop {
            let (bytes, letters) = self.carried.size();
            if letters < self.quotas.letters && bytes + length <= self.quotas.bytes {
                return true;
            }
            let mut loads: std::collections::BTreeMap<Node, usize> = std::collections::BTreeMap::new();
            for (id, held) in &self.held {
                if let Some(neighbour) = held.neighbour {
                    // A letter of no bytes takes room too.
                    *loads.entry(neighbour).or_default() += self.length(id) + 1000;
                }
            }
            let Some(heaviest) = loads.into_iter().max_by_key(|(_, load)| *load).map(|(node, _)| node) else {
                return false;
            };
            let theirs = self.held.iter().filter(|(_, held)| held.neighbour == Some(heaviest));
            let first = theirs
                .filter_map(|(id, _)| self.carried.get(id))
                .min_by_key(|letter| letter.expires)
                .map(|letter| letter.id);
            let Some(first) = first else { return false };
            self.let_go(&first);
        }
    }

    /// Makes room for one more bundle for this node, unless this neighbour brought too many unconfirmed
    /// ones.
    pub(super) fn make_room_for_arrival(&mut self, peer: Node) -> bool {
        if self.arrivals.values().filter(|arrival| arrival.neighbour == peer).count() >= ARRIVALS_OF_NEIGHBOUR
        {
            return false;
        }
        while self.arrivals.len() >= ARRIVALS {
            let Some(oldest) =
                self.arrivals.iter().min_by_key(|(_, arrival)| arrival.order).map(|(key, _)| *key)
            else {
                break;
            };
            self.arrivals.remove(&oldest);
        }
        true
    }

    /// Records that a bundle arrived at its recipient: it is dropped, and its token is passed on until it
    /// expires.
    pub(super) fn remember_receipt(&mut self, id: Id, token: [u8; 16], until: u64) {
        self.let_go(&id);
        self.carried.arrived_until(id, until);
        while self.receipts.len() >= RECEIPTS {
            let Some(oldest) =
                self.receipts.iter().min_by_key(|(_, receipt)| receipt.order).map(|(id, _)| *id)
            else {
                break;
            };
            self.receipts.remove(&oldest);
        }
        self.order += 1;
        self.receipts.insert(id, Receipt { token, until, order: self.order });
    }

    /// Drops bundles, arrivals and receipts that have expired.
    pub(super) fn expire(&mut self, now: u64) {
        let over: Vec<Id> =
            self.carried.letters().filter(|letter| letter.expires <= now).map(|letter| letter.id).collect();
        for id in over {
            if self.held.get(&id).is_some_and(|held| held.neighbour.is_none()) {
                self.effects.push_back(Effect::Expired { id });
            }
            self.let_go(&id);
        }
        self.carried.expire(now);
        self.arrivals.retain(|_, arrival| arrival.expires > now);
        let before = self.receipts.len();
        self.receipts.retain(|_, receipt| receipt.until > now);
        self.version += u64::from(self.receipts.len() < before);
    }

    /// State to keep over a restart: delivery likelihoods, carried bundles and receipts. Does not contain
    /// meetings and unconfirmed bundles.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let mut bytes = vec![STATE];
        bytes.extend_from_slice(&self.me);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        put_list(&mut bytes, self.table.entries(), |bytes, (node, likely, aged, met)| {
            bytes.extend_from_slice(node);
            // Zero stands for never: nobody was met in 1970.
            for number in [likely.to_bits(), aged, met.unwrap_or(0)] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        });
        let mut held: Vec<(&Id, &Held)> = self.held.iter().collect();
        held.sort_by_key(|(_, held)| held.order);
        let held = held.into_iter().filter_map(|(id, held)| Some((held, self.carried.get(id)?)));
        put_list(&mut bytes, held, |bytes, (held, letter)| {
            bytes.extend_from_slice(&[letter.copies, u8::from(held.was_handed)]);
            bytes.extend_from_slice(&letter.expires.to_be_bytes());
            bytes.extend_from_slice(&u32::try_from(letter.bytes.len()).unwrap_or(0).to_be_bytes());
            bytes.extend_from_slice(&letter.bytes);
        });
        let mut receipts: Vec<(&Id, &Receipt)> = self.receipts.iter().collect();
        receipts.sort_by_key(|(_, receipt)| receipt.order);
        put_list(&mut bytes, receipts.into_iter(), |bytes, (id, receipt)| {
            bytes.extend_from_slice(&[*id, receipt.token].concat());
            bytes.extend_from_slice(&receipt.until.to_be_bytes());
        });
        bytes
    }

    /// Restores the result of [`Self::state`]. Parts that are unreadable, or a state of another node, are
    /// left out.
    #[must_use]
    pub fn restore(me: [u8; 8], quotas: Quotas, state: &[u8]) -> Self {
        let mut carrier = Self::new(me, quotas);
        let _ = carrier.read(&mut Reader(state));
        carrier
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        if reader.byte()? != STATE || reader.array()? != self.me {
            return None;
        }
        self.sequence = reader.number()?;
        reader.list(ENTRIES, |reader| {
            let (node, likely, aged) = (reader.array()?, f64::from_bits(reader.number()?), reader.number()?);
            let met = reader.number()?;
            self.table.restore(node, likely, aged, (met != 0).then_some(met));
            Some(())
        })?;
        reader.list(self.quotas.letters.min(usize::from(u16::MAX)), |reader| {
            let ([copies, was_handed], expires) = (reader.array()?, reader.number()?);
            let length = u32::from_be_bytes(reader.array()?);
            let bytes = reader.take(usize::try_from(length).ok().filter(|length| *length <= MAX_BUNDLE)?)?;
            // A damaged bundle is left out; the next ones can still be read.
            if let Ok(bundle) = Bundle::decode(bytes)
                && (bundle.source == self.me) == bundle.previous.is_none()
                && bundle.hops < bundle.hop_limit.min(HOPS)
                && self.carried.size().0 + bytes.len() <= self.quotas.bytes
            {
                let letter = letter(&bundle, bytes.to_vec(), expires, copies.clamp(1, COPIES));
                self.hold(letter, bundle.previous, bundle.lock, was_handed == 1);
            }
            Some(())
        })?;
        reader.list(RECEIPTS, |reader| {
            let (id, token, until) = (reader.array()?, reader.array()?, reader.number()?);
            self.remember_receipt(id, token, until);
            Some(())
        })?;
        Some(())
    }
}

fn letter(bundle: &Bundle, bytes: Vec<u8>, expires: u64, copies: u8) -> Letter<Node> {
    Letter { id: bundle.id(), source: bundle.source, destination: bundle.destination, expires, copies, bytes }
}

fn put_list<T>(bytes: &mut Vec<u8>, items: impl Iterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 2]);
    let mut count = 0u16;
    // The count has 16 bits; the quotas stay far below.
    for item in items.take(usize::from(u16::MAX)) {
        put(bytes, item);
        count += 1;
    }
    if let Some(place) = bytes.get_mut(start..start + 2) {
        place.copy_from_slice(&count.to_be_bytes());
    }
}
