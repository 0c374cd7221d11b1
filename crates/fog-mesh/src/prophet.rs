//! PRoPHET version 2 (RFC 6693): delivery likelihoods learned from meetings.

use std::collections::BTreeMap;

/// Parameters of RFC 6693, section 3.3, with its defaults except for the length of a time unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Maximum weight of one meeting (`P_encounter_max`).
    pub encounter_max: f64,
    /// Likelihood after a first meeting (`P_encounter_first`).
    pub encounter_first: f64,
    /// Likelihood below which a meeting counts as a first one again (`P_first_threshold`).
    pub first_threshold: f64,
    /// Weight of the likelihoods that others report (beta).
    pub beta: f64,
    /// Factor by which a likelihood fades in a time unit (gamma).
    pub gamma: f64,
    /// Distance that likelihoods keep from 1 (delta).
    pub delta: f64,
    /// Length of a time unit in milliseconds.
    pub unit: f64,
    /// Usual time between two meetings in milliseconds; sooner meetings count less.
    pub usual_interval: f64,
    /// Likelihood below which an entry is not reported or learned.
    pub floor: f64,
    /// Maximum number of entries; the least likely are dropped.
    pub entries: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            encounter_max: 0.7,
            encounter_first: 0.5,
            first_threshold: 0.1,
            beta: 0.9,
            gamma: 0.999,
            delta: 0.01,
            unit: 30_000.0,
            usual_interval: 1_800_000.0,
            floor: 0.01,
            entries: 1000,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    likely: f64,
    aged: u64,
    met: Option<u64>,
}

/// Likelihoods with which a node delivers to others, directly or through those it meets.
#[derive(Debug, Clone)]
pub struct Table<N> {
    parameters: Parameters,
    entries: BTreeMap<N, Entry>,
}

impl<N: Ord + Clone> Table<N> {
    /// Creates an empty table.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, entries: BTreeMap::new() }
    }

    /// Likelihood that this node delivers a message to `of`, from 0 to 1.
    #[must_use]
    pub fn likelihood(&self, of: &N, now: u64) -> f64 {
        self.entries.get(of).map_or(0.0, |entry| self.aged(entry, now))
    }

    /// Likelihoods that this node reports to those it meets: of every node at or above the floor.
    #[must_use]
    pub fn summary(&self, now: u64) -> Vec<(N, f64)> {
        let all = self.entries.iter().map(|(node, entry)| (node.clone(), self.aged(entry, now)));
        all.filter(|(_, likely)| *likely >= self.parameters.floor).collect()
    }

    /// Records a meeting with `peer` (equations 1 and 2).
    pub fn meet(&mut self, peer: &N, now: u64) {
        let p = self.parameters;
        let known = self.entries.get(peer).map(|entry| (self.aged(entry, now), entry.met));
        let likely = match known {
            Some((likely, met)) if likely >= p.first_threshold => {
                let weight = match met {
                    Some(met) => {
                        p.encounter_max * (now.saturating_sub(met) as f64 / p.usual_interval).min(1.0)
                    }
                    None => p.encounter_max,
                };
                likely + (1.0 - p.delta - likely).max(0.0) * weight
            }
            known => known.map_or(0.0, |(likely, _)| likely).max(p.encounter_first),
        };
        self.entries.insert(peer.clone(), Entry { likely, aged: now, met: Some(now) });
        self.make_room(now);
    }

    /// Learns from the summary of `peer`, which is met (equation 3). It counts by the likelihood of meeting
    /// `peer`; values outside 0 to 1 are ignored.
    pub fn learn(&mut self, me: &N, peer: &N, summary: &[(N, f64)], now: u64) {
        let through = self.likelihood(peer, now) * self.parameters.beta;
        for (node, likely) in summary.iter().take(self.parameters.entries) {
            if node == me || node == peer || !(0.0..=1.0).contains(likely) {
                continue;
            }
            let transitive = through * likely;
            let own = self.likelihood(node, now);
            if transitive > own && transitive >= self.parameters.floor {
                let met = self.entries.get(node).and_then(|entry| entry.met);
                self.entries.insert(node.clone(), Entry { likely: transitive, aged: now, met });
            }
        }
        self.make_room(now);
    }

    /// Present likelihood of an entry, which fades over time (equation 4).
    fn aged(&self, entry: &Entry, now: u64) -> f64 {
        let units = now.saturating_sub(entry.aged) as f64 / self.parameters.unit;
        entry.likely * self.parameters.gamma.powf(units)
    }

    /// All entries for storage: node, likelihood, the time at which it was valid, and the time of the last
    /// meeting.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&N, f64, u64, Option<u64>)> {
        self.entries.iter().map(|(node, entry)| (node, entry.likely, entry.aged, entry.met))
    }

    /// Restores an entry from [`Self::entries`]; an invalid likelihood is ignored.
    pub(crate) fn restore(&mut self, node: N, likely: f64, aged: u64, met: Option<u64>) {
        if (0.0..1.0).contains(&likely) && self.entries.len() < self.parameters.entries {
            self.entries.insert(node, Entry { likely, aged, met });
        }
    }

    /// Shifts all times by `by` milliseconds after the clock was set.
    pub(crate) fn move_by(&mut self, by: i64) {
        for entry in self.entries.values_mut() {
            entry.aged = entry.aged.saturating_add_signed(by);
            entry.met = entry.met.map(|met| met.saturating_add_signed(by));
        }
    }

    /// Drops entries above the maximum, first those never met: a peer can invent any number of such names.
    fn make_room(&mut self, now: u64) {
        let limit = self.parameters.entries;
        if self.entries.len() <= limit {
            return;
        }
        let all = self
            .entries
            .iter()
            .map(|(node, entry)| (entry.met.is_some(), self.aged(entry, now), node.clone()));
        let mut ranked: Vec<(bool, f64, N)> = all.collect();
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for (_, _, node) in ranked.into_iter().take(self.entries.len() - limit) {
            self.entries.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_HOUR: u64 = 1_800_000;

    fn table() -> Table<u8> {
        Table::new(Parameters::default())
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn meetings_add_up_by_the_equations() {
        let mut a = table();
        a.meet(&1, 0);
        assert!(near(a.likelihood(&1, 0), 0.5));
        // A usual interval later: aged by 60 units, then 0.7 of what is missing to 0.99.
        a.meet(&1, HALF_HOUR);
        let aged = 0.5 * 0.999f64.powi(60);
        let expected = aged + (0.99 - aged) * 0.7;
        assert!(near(a.likelihood(&1, HALF_HOUR), expected));
        // A meeting in the same moment adds nothing.
        a.meet(&1, HALF_HOUR);
        assert!(near(a.likelihood(&1, HALF_HOUR), expected));
    }

    #[test]
    fn what_is_not_met_fades_and_is_a_first_time_again() {
        let mut a = table();
        a.meet(&1, 0);
        let day = 86_400_000;
        assert!(a.likelihood(&1, day) < 0.1);
        assert!(a.summary(2 * day).is_empty());
        a.meet(&1, day);
        assert!(near(a.likelihood(&1, day), 0.5));
    }

    #[test]
    fn others_are_reached_through_who_is_met() {
        let (mut a, mut b) = (table(), table());
        b.meet(&3, 0);
        a.meet(&2, 0);
        a.learn(&1, &2, &b.summary(0), 0);
        assert!(near(a.likelihood(&3, 0), 0.5 * 0.5 * 0.9));
        // A lower likelihood than the known one changes nothing; entries for the node itself and impossible
        // numbers are ignored.
        a.meet(&3, 0);
        let before = a.likelihood(&3, 0);
        a.learn(&1, &2, &[(3, 0.2), (1, 1.0), (4, 7.0), (5, f64::NAN), (6, -1.0)], 0);
        assert!(near(a.likelihood(&3, 0), before));
        assert_eq!([1, 4, 5, 6].map(|node| a.likelihood(&node, 0)), [0.0; 4]);
    }

    #[test]
    fn a_flood_of_names_leaves_the_likely_ones() {
        let mut a = Table::new(Parameters { entries: 100, ..Parameters::default() });
        a.meet(&0u32, 0);
        let names: Vec<(u32, f64)> = (1..5_000).map(|n| (n, 0.4)).collect();
        for part in names.chunks(100) {
            a.learn(&9_999, &0, part, 0);
        }
        assert!(a.entries.len() <= 100 && near(a.likelihood(&0, 0), 0.5));
    }

    #[test]
    fn invented_names_do_not_push_out_who_was_met() {
        let mut a = Table::new(Parameters { entries: 100, ..Parameters::default() });
        (0..50u32).for_each(|node| a.meet(&node, 0));
        // An hour later they are less likely than names that a peer who is met now invents.
        let now = 2 * HALF_HOUR;
        a.meet(&9_999, now);
        let names: Vec<(u32, f64)> = (1_000..2_000).map(|n| (n, 1.0)).collect();
        names.chunks(100).for_each(|part| a.learn(&7_777, &9_999, part, now));
        assert!((0..50).all(|node| a.likelihood(&node, now) > 0.0));
    }

    proptest! {
        #[test]
        fn a_likelihood_is_one_whatever_happens(steps in proptest::collection::vec((0u8..3, 0u8..6, 0u64..10_000_000, 0.0f64..=1.0), 0..200)) {
            let mut a = table();
            let mut now = 0;
            for (what, who, pause, likely) in steps {
                now += pause;
                match what {
                    0 => a.meet(&who, now),
                    _ => a.learn(&9, &who, &[(who.wrapping_add(1), likely)], now),
                }
                for node in 0..8 {
                    let likely = a.likelihood(&node, now);
                    prop_assert!((0.0..1.0).contains(&likely));
                    prop_assert!(a.likelihood(&node, now + 60_000) <= likely);
                }
            }
        }
    }
}
