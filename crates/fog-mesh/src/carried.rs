//! What a node carries for others.

use std::collections::BTreeMap;

use crate::Table;
use crate::meeting::COPIES;

/// One message that is carried. Sealed: its bytes say nothing to who carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<N> {
    /// The same on every node.
    pub id: [u8; 16],
    /// Who wrote it.
    pub source: N,
    /// For whom.
    pub destination: N,
    /// When it is not carried any more, in milliseconds.
    pub expires: u64,
    /// How many more copies may be made from this one: 1 is given to its recipient alone.
    pub copies: u8,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// The part of this node's likelihood with which another gets what nobody else has. Our own choice.
const NEARLY: f64 = 0.5;

/// What a node carries at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Letters in all.
    pub letters: usize,
    /// Bytes in all.
    pub bytes: usize,
    /// Letters of one source.
    pub of_one: usize,
    /// Milliseconds that anything is carried, whatever it says.
    pub life: u64,
    /// Letters that one neighbour brought: names of sources are free to invent, those of neighbours are not.
    pub of_neighbour: usize,
    /// Bytes that one neighbour brought.
    pub bytes_of_neighbour: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { letters: 1000, bytes: 8 << 20, of_one: 50, life: crate::MAX_LIFE, of_neighbour: 200, bytes_of_neighbour: 2 << 20 }
    }
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is carried.
    Yes,
    /// It was here before, or arrived where it was going.
    Known,
    /// It is over, or would be carried too long.
    Expired,
    /// Its source has too many here.
    Full,
}

/// The letters of a node, and those it knows to have arrived.
#[derive(Debug, Clone)]
pub struct Carried<N> {
    quotas: Quotas,
    letters: BTreeMap<[u8; 16], Letter<N>>,
    bytes: usize,
    arrived: BTreeMap<[u8; 16], u64>,
}

impl<N: Ord + Clone> Carried<N> {
    /// Carries nothing.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas, letters: BTreeMap::new(), bytes: 0, arrived: BTreeMap::new() }
    }

    /// Takes a letter to carry. When there is no room the one that is over first goes.
    pub fn add(&mut self, letter: Letter<N>, now: u64) -> Accepted {
        self.expire(now);
        if self.letters.contains_key(&letter.id) || self.arrived.contains_key(&letter.id) {
            return Accepted::Known;
        }
        if letter.expires <= now || letter.expires - now > self.quotas.life || letter.copies == 0 || letter.bytes.len() > self.quotas.bytes {
            return Accepted::Expired;
        }
        if self.letters.values().filter(|known| known.source == letter.source).count() >= self.quotas.of_one {
            return Accepted::Full;
        }
        while self.letters.len() >= self.quotas.letters || self.bytes + letter.bytes.len() > self.quotas.bytes {
            let Some(first) = self.letters.values().min_by_key(|known| known.expires).map(|known| known.id) else { break };
            self.remove(&first);
        }
        self.keep(letter);
        Accepted::Yes
    }

    /// Takes a letter without asking whether there is room: one's own, and what was carried before a restart.
    pub(crate) fn keep(&mut self, letter: Letter<N>) {
        self.remove(&letter.id);
        self.bytes += letter.bytes.len();
        self.letters.insert(letter.id, letter);
    }

    /// A letter arrived, here or somewhere else: it is carried no more, and not taken again.
    pub fn arrived(&mut self, id: [u8; 16], now: u64) {
        self.arrived_until(id, now.saturating_add(self.quotas.life));
    }

    /// As [`Self::arrived`], for a letter of which it is known until when it lives.
    pub(crate) fn arrived_until(&mut self, id: [u8; 16], until: u64) {
        self.remove(&id);
        if self.arrived.len() < 10 * self.quotas.letters {
            self.arrived.insert(id, until);
        }
    }

    /// Letters that are known to have arrived: told to who is met, so that they stop carrying them.
    pub fn receipts(&self) -> impl Iterator<Item = [u8; 16]> + use<'_, N> {
        self.arrived.keys().copied()
    }

    /// The ids of what is carried: told to who is met, so that nothing is offered twice.
    pub fn ids(&self) -> impl Iterator<Item = [u8; 16]> + use<'_, N> {
        self.letters.keys().copied()
    }

    /// What to give to `peer`, who has `theirs` already: everything for them; and half of the copies of what they
    /// are more likely to bring to its recipient (GTMX with binary spraying). What is given is taken off here by
    /// [`Self::gave`], once it went.
    #[must_use]
    pub fn for_peer(&self, peer: &N, mine: &Table<N>, theirs: &BTreeMap<N, f64>, has: impl Fn(&[u8; 16]) -> bool, now: u64) -> Vec<Letter<N>> {
        let chosen = self.chosen(peer, None, mine, theirs, has, now).into_iter();
        chosen.filter_map(|(id, copies)| Some(Letter { copies, ..self.letters.get(&id)?.clone() })).collect()
    }

    /// As [`Self::for_peer`], without what the letters say: id and copies, those first that matter most. What `me`
    /// wrote and nobody else has goes to who is half as likely too: devices are switched off, and then nobody would
    /// have it.
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
                let enough = mine.likelihood(&letter.destination, now) * if me == Some(&letter.source) && letter.copies == COPIES { NEARLY } else { 1.0 };
                let is_better = likely > enough;
                (is_better && letter.copies > 1).then_some((likely, letter.id, letter.copies / 2))
            })
            .collect();
        chosen.sort_by(|a, b| b.0.total_cmp(&a.0));
        chosen.into_iter().map(|(_, id, copies)| (id, copies)).collect()
    }

    /// A letter was given to somebody who is not its recipient.
    pub fn gave(&mut self, id: &[u8; 16], copies: u8) {
        if let Some(letter) = self.letters.get_mut(id) {
            letter.copies = letter.copies.saturating_sub(copies).max(1);
        }
    }

    /// Forgets what is over. Nothing is carried longer than anything may be, whatever was written down about it.
    pub fn expire(&mut self, now: u64) {
        let last = now.saturating_add(self.quotas.life);
        let ends = self.letters.values_mut().map(|letter| &mut letter.expires).chain(self.arrived.values_mut());
        ends.for_each(|end| *end = (*end).min(last));
        let over: Vec<[u8; 16]> = self.letters.values().filter(|letter| letter.expires <= now).map(|letter| letter.id).collect();
        for id in over {
            self.remove(&id);
        }
        self.arrived.retain(|_, until| *until > now);
    }

    /// The clock was set by so many milliseconds: what is carried is not over sooner or later for that.
    pub(crate) fn move_by(&mut self, by: i64) {
        let ends = self.letters.values_mut().map(|letter| &mut letter.expires).chain(self.arrived.values_mut());
        ends.for_each(|end| *end = end.saturating_add_signed(by));
    }

    /// Bytes and letters that are carried.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.bytes, self.letters.len())
    }

    /// One that is carried.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Option<&Letter<N>> {
        self.letters.get(id)
    }

    /// All that are carried.
    pub(crate) fn letters(&self) -> impl Iterator<Item = &Letter<N>> {
        self.letters.values()
    }

    /// Letters that are known to have arrived, and until when that is remembered.
    pub(crate) fn arrivals(&self) -> &BTreeMap<[u8; 16], u64> {
        &self.arrived
    }

    /// Carries a letter no more, and would take it again.
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
        assert_eq!(given.iter().map(|letter| (letter.id[0], letter.copies)).collect::<Vec<_>>(), [(2, 1), (1, 2)]);
        carried.gave(&[1; 16], 2);
        assert_eq!(carried.for_peer(&6, &table(&[]), &theirs, |_| false, 0)[0].copies, 1);
        // Who is less likely gets nothing, nor who has it.
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
        let mut carried = Carried::new(Quotas { letters: 20, bytes: 1_500, of_one: 5, life: 1_000_000, ..Quotas::default() });
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
