//! PRoPHET version 2 (RFC 6693): from meetings, how likely it is that somebody will meet somebody.

use std::collections::BTreeMap;

/// The parameters of RFC 6693, section 3.3, with its defaults but for the length of a time unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Most that one meeting adds.
    pub encounter_max: f64,
    /// What a first meeting gives.
    pub encounter_first: f64,
    /// Below this a meeting is a first one again.
    pub first_threshold: f64,
    /// Weight of what others know.
    pub beta: f64,
    /// What is left after a time unit.
    pub gamma: f64,
    /// Keeps predictabilities below 1.
    pub delta: f64,
    /// Milliseconds of a time unit.
    pub unit: f64,
    /// Usual milliseconds between two meetings: sooner ones count less.
    pub usual_interval: f64,
    /// Entries below are forgotten.
    pub floor: f64,
    /// Most entries; the least likely go.
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

/// What one node knows of its chances to meet others, directly or through those it meets.
#[derive(Debug, Clone)]
pub struct Table<N> {
    parameters: Parameters,
    entries: BTreeMap<N, Entry>,
}

impl<N: Ord + Clone> Table<N> {
    /// Knows nobody.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, entries: BTreeMap::new() }
    }

    /// How likely a message gets to somebody through this node, from 0 to 1.
    #[must_use]
    pub fn likelihood(&self, of: &N, now: u64) -> f64 {
        self.entries.get(of).map_or(0.0, |entry| self.aged(entry, now))
    }

    /// What this node tells those it meets: everybody it may reach.
    #[must_use]
    pub fn summary(&self, now: u64) -> Vec<(N, f64)> {
        let all = self.entries.iter().map(|(node, entry)| (node.clone(), self.aged(entry, now)));
        all.filter(|(_, likely)| *likely >= self.parameters.floor).collect()
    }

    /// This node meets `peer` (equation 1 and 2).
    pub fn meet(&mut self, peer: &N, now: u64) {
        let p = self.parameters;
        let known = self.entries.get(peer).map(|entry| (self.aged(entry, now), entry.met));
        let likely = match known {
            Some((likely, met)) if likely >= p.first_threshold => {
                let weight = match met {
                    Some(met) => p.encounter_max * (now.saturating_sub(met) as f64 / p.usual_interval).min(1.0),
                    None => p.encounter_max,
                };
                likely + (1.0 - p.delta - likely).max(0.0) * weight
            }
            known => known.map_or(0.0, |(likely, _)| likely).max(p.encounter_first),
        };
        self.entries.insert(peer.clone(), Entry { likely, aged: now, met: Some(now) });
        self.make_room(now);
    }

    /// What `peer`, who is met, knows of others (equation 3). What they say is believed as far as they are likely
    /// to be met themselves; numbers that are none are not.
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

    /// Equation 4: it fades while nobody meets.
    fn aged(&self, entry: &Entry, now: u64) -> f64 {
        let units = now.saturating_sub(entry.aged) as f64 / self.parameters.unit;
        entry.likely * self.parameters.gamma.powf(units)
    }

    /// Every entry as it is stored: node, likelihood, when that was so, and when they were last met.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&N, f64, u64, Option<u64>)> {
        self.entries.iter().map(|(node, entry)| (node, entry.likely, entry.aged, entry.met))
    }

    /// Puts back what [`Self::entries`] gave; what is no likelihood is left out.
    pub(crate) fn restore(&mut self, node: N, likely: f64, aged: u64, met: Option<u64>) {
        if (0.0..1.0).contains(&likely) && self.entries.len() < self.parameters.entries {
            self.entries.insert(node, Entry { likely, aged, met });
        }
    }

    /// The clock was set by so many milliseconds: nobody was met longer ago for that.
    pub(crate) fn move_by(&mut self, by: i64) {
        for entry in self.entries.values_mut() {
            entry.aged = entry.aged.saturating_add_signed(by);
            entry.met = entry.met.map(|met| met.saturating_add_signed(by));
        }
    }

    /// Those go first who were never met: such names can be invented by whoever is met, as many as they like.
    fn make_room(&mut self, now: u64) {
        let limit = self.parameters.entries;
        if self.entries.len() <= limit {
            return;
        }
        let all = self.entries.iter().map(|(node, entry)| (entry.met.is_some(), self.aged(entry, now), node.clone()));
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
        // A usual interval later: aged by 60 units, then 0.7 of what is missing.
        a.meet(&1, HALF_HOUR);
        let aged = 0.5 * 0.999f64.powi(60);
        let expected = aged + (0.99 - aged) * 0.7;
        assert!(near(a.likelihood(&1, HALF_HOUR), expected));
        // At once again: nothing is added by seeing each other twice in a moment.
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
        // Less than is known already changes nothing; of oneself and with impossible numbers nothing is learnt.
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
        // An hour later they are less likely than what somebody makes up who is met now.
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
