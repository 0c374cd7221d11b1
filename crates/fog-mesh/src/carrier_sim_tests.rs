//! Whole nodes among simulated people, exchanging encoded messages, compared with direct delivery and a
//! flood on the same walks and meetings.
#![allow(clippy::print_stdout, reason = "the figures are the point")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sim_tests::{DAY, MINUTE, PEOPLE, walks};
use crate::wire::Message;
use crate::{Carrier, Effect, Quotas};

/// A time in 2025, in milliseconds.
const START: u64 = 1_760_000_000_000;
const LIFE: u64 = 20 * 60 * MINUTE;
const LETTERS: usize = 100;
/// Size of a sealed text, in bytes.
const LENGTH: usize = 300;

/// A meeting or parting: minute, whether it is a meeting, and the two people.
type Contact = (u64, bool, usize, usize);
/// Minute, author and recipient of a text.
type Letter = (u64, usize, usize);

#[derive(Debug, Default)]
struct Outcome {
    delivered: usize,
    /// Number of bundles handed over.
    transmissions: usize,
    /// Sum of the delivery times, in minutes.
    minutes: u64,
    /// Number of authors who learned that their text arrived.
    heard: usize,
    /// Size of all messages, in bytes.
    said: usize,
}

impl Outcome {
    fn print(&self, way: &str) {
        let mean = self.minutes / self.delivered.max(1) as u64;
        let (delivered, transmissions, heard, kib) =
            (self.delivered, self.transmissions, self.heard, self.said / 1024);
        println!(
            "{way}: {delivered} of {LETTERS} delivered after {mean} min, {transmissions} transmissions, {heard} receipts, {kib} KiB said"
        );
    }
}

fn id(n: usize) -> [u8; 8] {
    (n as u64).to_be_bytes()
}

fn number(id: [u8; 8]) -> usize {
    u64::from_be_bytes(id) as usize
}

fn contacts(walks: &[Vec<usize>]) -> Vec<Contact> {
    let mut together = BTreeSet::new();
    let mut contacts = Vec::new();
    for (minute, places) in (0u64..).zip(walks) {
        for a in 0..PEOPLE {
            for b in a + 1..PEOPLE {
                let is_near = places[a] == places[b];
                if is_near != together.contains(&(a, b)) {
                    contacts.push((minute, is_near, a, b));
                    if is_near {
                        together.insert((a, b))
                    } else {
                        together.remove(&(a, b))
                    };
                }
            }
        }
    }
    contacts
}

/// Texts of the second day, over some hours; the first day serves to learn likelihoods.
fn letters() -> Vec<Letter> {
    let mut random = StdRng::seed_from_u64(2);
    let mut letters = Vec::new();
    while letters.len() < LETTERS {
        let (source, destination) = (random.random_range(0..PEOPLE), random.random_range(0..PEOPLE));
        if source != destination {
            letters.push((DAY + letters.len() as u64, source, destination));
        }
    }
    letters
}

/// Nodes that keep everything and give it to everybody (`is_flood`), or to its recipient only. They know at
/// no cost what others have; a delivery does not stop the other copies.
fn without_thought(is_flood: bool, contacts: &[Contact], letters: &[Letter], minutes: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut has: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); PEOPLE];
    let mut near: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut events = contacts.iter().peekable();
    for minute in 0..minutes {
        while let Some((_, is_near, a, b)) = events.next_if(|event| event.0 == minute) {
            if *is_near {
                near.insert((*a, *b))
            } else {
                near.remove(&(*a, *b))
            };
        }
        letters.iter().enumerate().filter(|(_, letter)| letter.0 == minute).for_each(|(n, letter)| {
            has[letter.1].insert(n);
        });
        let over: BTreeSet<usize> =
            (0..letters.len()).filter(|n| letters[*n].0 + LIFE / MINUTE <= minute).collect();
        has.iter_mut().for_each(|has| has.retain(|n| !over.contains(n)));
        // People who are near each other pass texts on at once, over any number of hops.
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for (a, b) in near.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
                let new: Vec<usize> =
                    has[a].difference(&has[b]).copied().filter(|n| is_flood || letters[*n].2 == b).collect();
                for n in new {
                    has[b].insert(n);
                    is_quiet = false;
                    outcome.transmissions += 1;
                    if letters[n].2 == b {
                        outcome.delivered += 1;
                        outcome.minutes += minute - letters[n].0;
                    }
                }
            }
        }
    }
    outcome
}

struct World {
    nodes: Vec<Carrier>,
    now: u64,
    pipes: VecDeque<(usize, usize, Vec<u8>)>,
    /// Number of the text, by the id of its bundle.
    sent: BTreeMap<[u8; 16], usize>,
    arrived: BTreeSet<usize>,
    outcome: Outcome,
}

impl World {
    fn new() -> Self {
        let nodes = (0..PEOPLE).map(|n| Carrier::new(id(n), Quotas::default())).collect();
        Self {
            nodes,
            now: START,
            pipes: VecDeque::new(),
            sent: BTreeMap::new(),
            arrived: BTreeSet::new(),
            outcome: Outcome::default(),
        }
    }

    fn pump(&mut self, letters: &[Letter], touched: impl IntoIterator<Item = usize>) {
        touched.into_iter().for_each(|n| self.drain(n, letters));
        while let Some((from, to, bytes)) = self.pipes.pop_front() {
            self.outcome.said += bytes.len();
            self.outcome.transmissions +=
                usize::from(matches!(Message::decode(&bytes), Some(Message::Give { .. })));
            self.nodes[to].handle_message(id(from), &bytes, self.now);
            self.drain(to, letters);
        }
    }

    fn drain(&mut self, n: usize, letters: &[Letter]) {
        while let Some(effect) = self.nodes[n].poll_effect() {
            match effect {
                Effect::Say { peer, bytes } => self.pipes.push_back((n, number(peer), bytes)),
                Effect::Arrived { id, source, payload } => {
                    let letter = self.sent[&id];
                    let (written, from, to) = letters[letter];
                    assert_eq!((number(source), n, payload.len()), (from, to, LENGTH));
                    assert!(self.arrived.insert(letter), "each arrives once");
                    self.outcome.delivered += 1;
                    self.outcome.minutes += (self.now - START) / MINUTE - written;
                    let token = payload[..16].try_into().unwrap();
                    assert!(self.nodes[n].confirm(id, token));
                }
                Effect::Delivered { id } => {
                    assert!(
                        self.arrived.contains(&self.sent[&id]),
                        "nobody says that it arrived before it did"
                    );
                    self.outcome.heard += 1;
                }
                Effect::Handed { .. } | Effect::Expired { .. } => {}
            }
        }
    }
}

/// Forwarding by this crate. Every half an hour a node restarts with its stored state, so that the result
/// does not depend on state in memory only.
fn carried(contacts: &[Contact], letters: &[Letter], minutes: u64) -> Outcome {
    let mut world = World::new();
    let mut near: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut events = contacts.iter().peekable();
    for minute in 0..minutes {
        world.now = START + minute * MINUTE;
        while let Some((_, is_near, a, b)) = events.next_if(|event| event.0 == minute) {
            for (one, other) in [(*a, *b), (*b, *a)] {
                if *is_near {
                    world.nodes[one].handle_met(id(other), world.now);
                } else {
                    world.nodes[one].handle_parted(id(other), world.now);
                }
            }
            if *is_near {
                near.insert((*a, *b))
            } else {
                near.remove(&(*a, *b))
            };
            world.pump(letters, [*a, *b]);
        }
        for (n, (_, source, destination)) in
            letters.iter().enumerate().filter(|(_, letter)| letter.0 == minute)
        {
            let token = (n as u128).to_be_bytes();
            let mut payload = token.to_vec();
            payload.resize(LENGTH, 0);
            let sent = world.nodes[*source].send(id(*destination), payload, token, LIFE, world.now).unwrap();
            world.sent.insert(sent, n);
            world.pump(letters, [*source]);
        }
        for n in 0..PEOPLE {
            if world.nodes[n].poll_timeout().is_some_and(|at| at <= world.now) {
                world.nodes[n].handle_timeout(world.now);
                world.pump(letters, [n]);
            }
        }
        if minute % 30 == 29 {
            let n = (minute / 30) as usize % PEOPLE;
            world.nodes[n] = Carrier::restore(id(n), Quotas::default(), &world.nodes[n].state());
            let others: Vec<usize> = near
                .iter()
                .filter_map(|(a, b)| (*a == n).then_some(*b).or((*b == n).then_some(*a)))
                .collect();
            for other in others {
                world.nodes[other].handle_parted(id(n), world.now);
                world.nodes[other].handle_met(id(n), world.now);
                world.nodes[n].handle_met(id(other), world.now);
                world.pump(letters, [n, other]);
            }
        }
    }
    world.outcome
}

#[test]
fn whole_nodes_deliver_nearly_as_much_as_a_flood_with_few_transmissions() {
    let walks = walks();
    let (minutes, contacts, letters) = (walks.len() as u64, contacts(&walks), letters());
    let direct = without_thought(false, &contacts, &letters, minutes);
    let flood = without_thought(true, &contacts, &letters, minutes);
    let carried = carried(&contacts, &letters, minutes);
    direct.print("direct");
    flood.print("flood");
    carried.print("carried");
    assert!(flood.delivered > direct.delivered, "the walks tell nothing apart");
    // Measured: 100 of 100 delivered, flood 100, direct 74; 434 transmissions, 5,900 and 74. With 8 initial
    // copies, 930 transmissions and 144 minutes instead of 250; with 5 copies, 519 and 216.
    assert!(carried.delivered >= flood.delivered && carried.delivered > direct.delivered);
    assert!(carried.transmissions * 10 <= flood.transmissions);
    assert!(carried.heard * 2 >= carried.delivered);
}
