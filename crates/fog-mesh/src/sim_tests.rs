//! Simulated people on the same walks for each way of forwarding: direct delivery, flooding, and this
//! crate.
#![allow(clippy::print_stdout, reason = "the figures are the point")]

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::meeting::COPIES;
use crate::{Carried, Letter, Parameters, Quotas, Table};

pub(crate) const PEOPLE: usize = 60;
const PLACES: usize = 15;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const DAY: u64 = 24 * 60;
const LETTERS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Flooding,
    /// PRoPHET with this number of initial copies of each letter.
    Prophet(u8),
}

#[derive(Debug, Default)]
struct Outcome {
    written: usize,
    delivered: usize,
    transmissions: usize,
    minutes: u64,
}

/// Place of each person in each minute of two days: at home, at work or, sometimes, anywhere.
pub(crate) fn walks() -> Vec<Vec<usize>> {
    let mut random = StdRng::seed_from_u64(1);
    let people: Vec<(usize, usize)> =
        (0..PEOPLE).map(|_| (random.random_range(0..PLACES), random.random_range(0..PLACES))).collect();
    let mut now: Vec<usize> = people.iter().map(|(home, _)| *home).collect();
    let mut minutes = Vec::new();
    for minute in 0..2 * DAY {
        let is_day = (8..18).contains(&(minute / 60 % 24));
        for (place, (home, work)) in now.iter_mut().zip(&people) {
            if random.random_range(0..30) == 0 {
                let usual = if is_day { *work } else { *home };
                *place = if random.random_range(0..5) == 0 { random.random_range(0..PLACES) } else { usual };
            }
        }
        minutes.push(now.clone());
    }
    minutes
}

fn run(way: Way, walks: &[Vec<usize>]) -> Outcome {
    let mut random = StdRng::seed_from_u64(2);
    let mut tables: Vec<Table<usize>> = (0..PEOPLE).map(|_| Table::new(Parameters::default())).collect();
    let quotas = Quotas { letters: 10_000, ..Quotas::default() };
    let mut carried: Vec<Carried<usize>> = (0..PEOPLE).map(|_| Carried::new(quotas)).collect();
    let mut together: BTreeMap<(usize, usize), bool> = BTreeMap::new();
    let mut written = BTreeMap::new();
    let mut outcome = Outcome::default();
    let copies = if let Way::Prophet(copies) = way { copies } else { COPIES };
    for (minute, places) in walks.iter().enumerate() {
        let now = minute as u64 * MINUTE;
        // A day to learn likelihoods; then letters, over four hours.
        if minute as u64 >= DAY && written.len() < LETTERS && minute.is_multiple_of(6) {
            for _ in 0..5 {
                let (source, destination) = (random.random_range(0..PEOPLE), random.random_range(0..PEOPLE));
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(written.len() as u64).to_be_bytes());
                if source != destination {
                    let letter = Letter {
                        id,
                        source,
                        destination,
                        expires: now + 20 * 60 * MINUTE,
                        copies,
                        bytes: vec![0; 100],
                    };
                    carried[source].add(letter, now);
                    written.insert(id, (minute as u64, false));
                }
            }
        }
        for a in 0..PEOPLE {
            for b in a + 1..PEOPLE {
                let are_together = places[a] == places[b];
                let were_together = together.insert((a, b), are_together).unwrap_or(false);
                if !are_together {
                    continue;
                }
                if !were_together {
                    meet(&mut tables, a, b, now);
                }
                // An exchange when they meet, then every ten minutes.
                if were_together && !minute.is_multiple_of(10) {
                    continue;
                }
                for (from, to) in [(a, b), (b, a)] {
                    exchange(way, from, to, &tables, &mut carried, &mut written, &mut outcome, now);
                }
            }
        }
    }
    outcome.written = written.len();
    outcome
}

fn meet(tables: &mut [Table<usize>], a: usize, b: usize, now: u64) {
    let (of_a, of_b) = (tables[a].summary(now), tables[b].summary(now));
    tables[a].meet(&b, now);
    tables[b].meet(&a, now);
    tables[a].learn(&a, &b, &of_b, now);
    tables[b].learn(&b, &a, &of_a, now);
}

#[allow(clippy::too_many_arguments, reason = "one step of a simulation")]
fn exchange(
    way: Way,
    from: usize,
    to: usize,
    tables: &[Table<usize>],
    carried: &mut [Carried<usize>],
    written: &mut BTreeMap<[u8; 16], (u64, bool)>,
    outcome: &mut Outcome,
    now: u64,
) {
    let receipts: Vec<[u8; 16]> = carried[from].receipts().collect();
    receipts.into_iter().for_each(|id| carried[to].arrived(id, now));
    let theirs: BTreeMap<usize, f64> = match way {
        Way::Direct => BTreeMap::new(),
        Way::Flooding => (0..PEOPLE).map(|node| (node, 2.0)).collect(),
        Way::Prophet(_) => tables[to].summary(now).into_iter().collect(),
    };
    let has: std::collections::BTreeSet<[u8; 16]> = carried[to].ids().chain(carried[to].receipts()).collect();
    for mut letter in carried[from].for_peer(&to, &tables[from], &theirs, |id| has.contains(id), now) {
        outcome.transmissions += 1;
        if letter.destination == to {
            carried[to].arrived(letter.id, now);
            carried[from].arrived(letter.id, now);
            if let Some((at, is_there)) = written.get_mut(&letter.id)
                && !std::mem::replace(is_there, true)
            {
                outcome.delivered += 1;
                outcome.minutes += now / MINUTE - *at;
            }
            continue;
        }
        // Flooding never runs out of copies.
        if way == Way::Flooding {
            letter.copies = COPIES;
        } else {
            carried[from].gave(&letter.id, letter.copies);
        }
        carried[to].add(letter, now);
    }
}

#[test]
fn few_copies_in_the_right_hands_arrive_nearly_as_often_as_a_flood() {
    let walks = walks();
    let ways = [
        Way::Direct,
        Way::Flooding,
        Way::Prophet(COPIES),
        Way::Prophet(8),
        Way::Prophet(5),
        Way::Prophet(3),
        Way::Prophet(2),
    ];
    let [direct, flood, prophet, eight, ..] = ways.map(|way| {
        let outcome = run(way, &walks);
        let mean = outcome.minutes as f64 / outcome.delivered.max(1) as f64;
        println!(
            "{way:?}: {} of {} delivered, {} transmissions, {mean:.0} min",
            outcome.delivered, outcome.written, outcome.transmissions
        );
        outcome
    });
    assert!(flood.delivered > direct.delivered, "the walks tell nothing apart");
    assert!(prophet.delivered >= flood.delivered);
    // A tenth of a flood; more copies arrive sooner, but not more often.
    assert!(prophet.transmissions * 10 <= flood.transmissions, "{prophet:?} {flood:?}");
    assert!(eight.delivered <= prophet.delivered && eight.minutes < prophet.minutes);
}
