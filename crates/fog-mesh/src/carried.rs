//! Store of the letters that a node carries for others.

use std::collections::BTreeMap;

use crate::Table;
use crate::meeting::COPIES;

/// A sealed message in transit; carriers cannot read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<N> {
    /// Id of the letter, the same on every node.
    pub id: [u8; 16],
    /// Author of the letter.
    pub source: N,
    /// Recipient of the letter.
    pub destination: N,
    /// Time in milliseconds until which the letter is carried.
    pub expires: u64,
    /// Number of copies that this one may be split into; the last one goes to the recipient alone.
    pub copies: u8,
    /// Sealed contents.
    pub bytes: Vec<u8>,
}

/// Factor on this node's own likelihood at which another node gets a letter that no other node has yet.
const NEARLY: f64 = 0.5;

/// Limits of the store of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Maximum number of letters in total.
    pub letters: usize,
    /// Maximum number of bytes in total.
    pub bytes: usize,
    /// Maximum number of letters of one source.
    pub of_one: usize,
    /// Maximum time for which a letter is carried, in milliseconds.
    pub life: u64,
    /// Maximum number of letters of one neighbour: ids of sources can be invented, those of neighbours
    /// cannot.
    pub of_neighbour: usize,
    /// Maximum number of bytes of one neighbour.
    pub bytes_of_neighbour: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            letters: 1000,
            bytes: 8 << 20,
            of_one: 50,
            life: crate::MAX_LIFE,
            of_neighbour: 200,
            bytes_of_neighbour: 2 << 20,
        }
    }
}

/// Result of adding a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The letter is carried.
    Yes,
    /// The letter is carried already, or is known to have arrived.
    Known,
    /// The letter has expired, would live too long, has no copies, or exceeds the store.
    Expired,
    /// The store has too many letters of its source.
    Full,
}

/// Letters of a node, and ids of letters known to have arrived.
#[derive(Debug, Clone)]
pub struct Carried<N> {
    quotas: Quotas,
    letters: BTreeMap<[u8; 16], Letter<N>>,
    bytes: usize,
    arrived: BTreeMap<[u8; 16], u64>,
}

impl<N: Ord + Clone> Carried<N> {
    /// Makes an empty store.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas, letters: BTreeMap::new(), bytes: 0, arrived: BTreeMap::new() }
    }

    /// Adds a letter. When there is no room, the letters that expire first are dropped.
    pub fn add(&mut self, letter: Letter<N>, now: u64) -> Accepted {
        self.expire(now);
        if self.letters.contains_key(&letter.id) || self.arrived.contains_key(&letter.id) {
            return Accepted::Known;
        }
        if letter.expires <= now
            || letter.expires - now > self.quotas.life
            || letter.copies == 0
            || letter.bytes.len() > self.quotas.bytes
        {
            return Accepted::Expired;
        }
        if self.letters.values().filter(|known| known.source == letter.source).count() >= self.quotas.of_one {
            return Accepted::Full;
        }
        while self.letters.len() >= self.quotas.letters || self.bytes + letter.bytes.len() > self.quotas.bytes
        {
            let Some(first) = self.letters.values().min_by_key(|known| known.expires).map(|known| known.id)
            else {
                break;
            };
            self.remove(&first);
        }
        self.keep(letter);
        Accepted::Yes
    }

    /// Adds a letter without checking for room: one of this node, or one from before a restart.
    pub(crate) fn keep(&mut self, letter: Letter<N>) {
        self.remove(&letter.id);
        self.bytes += letter.bytes.len();
        self.letters.insert(letter.id, letter);
    }

    /// Records that a letter arrived, here or elsewhere: it is dropped, and not accepted again.
    pub fn arrived(&mut self, id: [u8; 16], now: u64) {
        self.arrived_until(id, now.saturating_add(self.quotas.life));
    }

    /// As [`Self::arrived`], for a letter with a known expiry.
    pub(crate) fn arrived_until(&mut self, id: [u8; 16], until: u64) {
        self.remove(&id);
        if self.arrived.len() < 10 * self.quotas.letters {
            self.arrived.insert(id, until);
        }
    }

    /// Ids of letters known to have arrived; told to other nodes, so that they stop carrying them.
    pub fn receipts(&self) -> impl Iterator<Item = [u8; 16]> + use<'_, N> {
        self.arrived.keys().copied()
    }

    /// Ids of the letters that are carried; told to other nodes, so that nothing is offered twice.
    pub fn ids(&self) -> impl Iterator<Item = [u8; 16]> + use<'_, N> {
        self.letters.keys().copied()
    }

    /// Letters to give to `peer`, which has those that `has` accepts: every letter for it, and half of the
    /// copies of each letter that it is likelier to deliver (GTMX with binary spraying). [`Self::gave`]
    /// subtracts the copies once they were handed over.
    #[must_use]
    pub fn for_peer(
        &self,
        peer: &N,
        mine: &Table<N>,
        theirs: &BTreeMap<N, f64>,
        has: impl Fn(&[u8; 16]) -> bool,
        now: u64,
    ) -> Vec<Letter<N>> {
        let chosen = self.chosen(peer, None, mine, theirs, has, now).into_iter();
        chosen.filter_map(|(id, copies)| Some(Letter { copies, ..self.letters.get(&id)?.clone() })).collect()
    }

    /// As [`Self::for_peer`], but gives ids and copies only, the most important first. A letter by `me`
    /// that no other node has goes also to a peer that is half as likely, because this device may be
    /// switched off.
    pub(crate) fn chosen(
        &self,
        peer: &N,
        me: Option<&N>,
        mine: &Table<N>,
        theirs: &BTreeMap<N, f64>,
        has: impl Fn(&[u8; 16]) -> bool,
        now: u64,
    ) -> Vec<([u8; 16], u8)> {
        let fresh = self.letters.values().filter(|letter| letter.expires > now && !has(&letter.id));
        let mut chosen: Vec<(f64, [u8; 16], u8)> = fresh
            .filter_map(|letter| {
                if letter.destination == *peer {
                    return Some((2.0, letter.id, letter.copies));
                }
                let likely = theirs.get(&letter.destination).copied().unwrap_or(0.0);
                let enough = mine.likelihood(&letter.destination, now)
                    * if me == Some(&letter.source) && letter.copies == COPIES { NEARLY } else { 1.0 };
                let is_better = likely > enough;
                (is_better && letter.copies > 1).then_some((likely, letter.id, letter.copies / 2))
            })
            .collect();
        chosen.sort_by(|a, b| b.0.total_cmp(&a.0));
        chosen.into_iter().map(|(_, id, copies)| (id, copies)).collect()
    }

    /// Records that copies of a letter were given to a node that is not its recipient.
    pub fn gave(&mut self, id: &[u8; 16], copies: u8) {
        if let Some(letter) = self.letters.get_mut(id) {
            letter.copies = letter.copies.saturating_sub(copies).max(1);
        }
    }

    /// Drops expired letters. No expiry lies further ahead than the quota, whatever was stored.
    pub fn expire(&mut self, now: u64) {
        let last = now.saturating_add(self.quotas.life);
        let ends =
            self.letters.values_mut().map(|letter| &mut letter.expires).chain(self.arrived.values_mut());
        ends.for_each(|end| *end = (*end).min(last));
        let over: Vec<[u8; 16]> =
            self.letters.values().filter(|letter| letter.expires <= now).map(|letter| letter.id).collect();
        for id in over {
            self.remove(&id);
        }
        self.arrived.retain(|_, until| *until > now);
    }

    /// Shifts all times by `by` milliseconds after the clock was set, so that nothing expires sooner or
    /// later.
    pub(crate) fn move_by(&mut self, by: i64) {
        let ends =
            self.letters.values_mut().map(|letter| &mut letter.expires).chain(self.arrived.values_mut());
        ends.for_each(|end| *end = end.saturating_add_signed(by));
    }

    /// Bytes and number of the letters that are carried.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.bytes, self.letters.len())
    }

    /// A carried letter.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Option<&Letter<N>> {
        self.letters.get(id)
    }

    /// All carried letters.
    pub(crate) fn letters(&self) -> impl Iterator<Item = &Letter<N>> {
        self.letters.values()
    }

    /// Letters known to have arrived, and the time until which that is remembered.
    pub(crate) fn arrivals(&self) -> &BTreeMap<[u8; 16], u64> {
        &self.arrived
    }

    /// Drops a letter; it would be accepted again.
    pub(crate) fn remove(&mut self, id: &[u8; 16]) {
        if let Some(letter) = self.letters.remove(id) {
            self.bytes -= letter.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameters;

    fn letter(n: u8, source: u32, destination: u32, expires: u64, copies: u8) -> Letter<u32> {
        Letter { id: [n; 16], source, destination, expires, copies, bytes: vec![n; 100] }
    }

    fn table(meets: &[u32]) -> Table<u32> {
        let mut table = Table::new(Parameters::default());
        meets.iter().for_each(|node| table.meet(node, 0));
        table
    }

    #[test]
    fn a_letter_goes_to_its_recipient_and_to_who_is_likelier_to_meet_them() {
        let mut carried = Carried::new(Quotas::default());
        carried.add(letter(1, 1, 9, 1_000, 4), 0);
        carried.add(letter(2, 1, 5, 1_000, 1), 0);
        let theirs = BTreeMap::from([(9, 0.5)]);
        let given = carried.for_peer(&5, &table(&[]), &theirs, |_| false, 0);
        assert_eq!(
            given.iter().map(|letter| (letter.id[0], letter.copies)).collect::<Vec<_>>(),
            [(2, 1), (1, 2)]
        );
        carried.gave(&[1; 16], 2);
        assert_eq!(carried.for_peer(&6, &table(&[]), &theirs, |_| false, 0)[0].copies, 1);
        // A peer that is less likely, or has the letter, gets nothing.
        assert!(carried.for_peer(&6, &table(&[9]), &theirs, |_| false, 0).is_empty());
        assert!(carried.for_peer(&6, &table(&[]), &theirs, |_| true, 0).is_empty());
        // The last copy is for the recipient alone.
        carried.gave(&[1; 16], 1);
        assert!(carried.for_peer(&6, &table(&[]), &theirs, |_| false, 0).is_empty());
        assert_eq!(carried.for_peer(&9, &table(&[]), &BTreeMap::new(), |_| false, 0).len(), 1);
    }

    #[test]
    fn what_is_over_or_arrived_is_not_carried() {
        let mut carried = Carried::new(Quotas::default());
        assert_eq!(carried.add(letter(1, 1, 9, 1_000, 4), 0), Accepted::Yes);
        assert_eq!(carried.add(letter(1, 1, 9, 1_000, 4), 0), Accepted::Known);
        assert_eq!(carried.add(letter(2, 1, 9, 5, 4), 5), Accepted::Expired);
        assert_eq!(carried.add(letter(2, 1, 9, u64::MAX, 4), 5), Accepted::Expired);
        carried.arrived([1; 16], 10);
        assert_eq!((carried.size(), carried.add(letter(1, 1, 9, 1_000, 4), 11)), ((0, 0), Accepted::Known));
        assert_eq!(carried.receipts().collect::<Vec<_>>(), [[1; 16]]);
        carried.add(letter(3, 1, 9, 1_000, 4), 20);
        carried.expire(1_000);
        assert_eq!(carried.size(), (0, 0));
    }

    #[test]
    fn one_source_cannot_fill_it_and_many_keep_to_its_bounds() {
        let mut carried = Carried::new(Quotas {
            letters: 20,
            bytes: 1_500,
            of_one: 5,
            life: 1_000_000,
            ..Quotas::default()
        });
        let answers: Vec<Accepted> = (0..10).map(|n| carried.add(letter(n, 1, 9, 1_000, 4), 0)).collect();
        assert_eq!(answers.iter().filter(|answer| **answer == Accepted::Yes).count(), 5);
        for n in 10..200 {
            carried.add(letter(n, u32::from(n), 9, 1_000 + u64::from(n), 4), 0);
            let (bytes, letters) = carried.size();
            assert!(bytes <= 1_500 && letters <= 20);
        }
        assert!(carried.ids().all(|id| id[0] >= 180), "those that are over first went");
    }
}
