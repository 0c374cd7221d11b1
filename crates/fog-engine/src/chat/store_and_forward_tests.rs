use fog_bitchat::Identity;

use super::*;

const START: u64 = 1_790_000_000_000;
const NAMES: [&str; 3] = ["anna", "ben", "cleo"];
const ANNA: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;

/// Three devices that store at once whatever they are told to store.
struct Street {
    nodes: Vec<BundleRelay>,
    stored: Vec<(Vec<u8>, Vec<u8>)>,
    near: Vec<(usize, usize)>,
    now: u64,
    /// Whether the devices do not confirm that a state is stored.
    is_slow: bool,
    refuses: bool,
    got: Vec<(usize, CarriedMessage)>,
    states: Vec<BundleEffect>,
}

fn keys(n: usize) -> PeerKeys {
    Identity::new([n as u8 + 1; 32], [n as u8 + 101; 32]).keys()
}

fn who(peer: PeerId) -> usize {
    (0..3).find(|n| keys(*n).peer() == peer).unwrap()
}

impl Street {
    fn new() -> Self {
        let nodes =
            (0..3).map(|n| BundleRelay::restore(keys(n).peer(), [9; 32], &[], &[], 0, START)).collect();
        Self {
            nodes,
            stored: vec![<_>::default(); 3],
            near: Vec::new(),
            now: START,
            is_slow: false,
            refuses: false,
            got: Vec::new(),
            states: Vec::new(),
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        self.near.push((a, b));
        let now = self.now;
        self.nodes[a].met(keys(b).peer(), keys(b).noise, now);
        self.nodes[b].met(keys(a).peer(), keys(a).noise, now);
        self.run();
    }

    fn part(&mut self, a: usize, b: usize) {
        self.near.retain(|pair| *pair != (a, b));
        let now = self.now;
        self.nodes[a].parted(keys(b).peer(), now);
        self.nodes[b].parted(keys(a).peer(), now);
        self.run();
    }

    fn again(&mut self, n: usize) {
        let (bundles, ratchet) = &self.stored[n];
        self.nodes[n] = BundleRelay::restore(keys(n).peer(), [9; 32], bundles, ratchet, 0, self.now);
        self.near.retain(|(a, b)| *a != n && *b != n);
    }

    fn write(&mut self, from: usize, to: usize, mid: &str) -> bool {
        let me = Me { keys: keys(from), name: NAMES[from] };
        let is_sent = self.nodes[from].send(&me, &keys(to), mid, "by hand", self.now, self.now);
        self.run();
        is_sent
    }

    fn run(&mut self) {
        self.now += 60_000;
        loop {
            let mut was_quiet = true;
            for n in 0..3 {
                while let Some(todo) = self.nodes[n].poll() {
                    was_quiet = false;
                    match todo {
                        BundleEffect::Say(to, bytes) => {
                            let to = who(to);
                            if self.near.contains(&(n, to)) || self.near.contains(&(to, n)) {
                                self.nodes[to].heard(keys(n).peer(), &bytes, self.now);
                            }
                        }
                        BundleEffect::Store(..) if self.is_slow => {}
                        BundleEffect::Store(turn, state) => {
                            self.stored[n].1 = state;
                            self.nodes[n].stored(turn, self.now);
                        }
                        BundleEffect::CarriedMessage(carried) => {
                            self.nodes[n].answered(carried.bundle, !self.refuses, self.now);
                            self.got.push((n, *carried));
                        }
                        other => self.states.push(other),
                    }
                }
                self.stored[n].0 = self.nodes[n].bundles();
            }
            if was_quiet {
                return;
            }
        }
    }

    fn texts(&self) -> Vec<(usize, &str, &str)> {
        self.got.iter().map(|(n, carried)| (*n, carried.name.as_str(), carried.text.as_str())).collect()
    }
}

/// Anna and Cleo met once; Ben is with Anna now and carries a text for Cleo.
fn carried() -> Street {
    let mut street = Street::new();
    assert!(!street.write(ANNA, CLEO, "early"), "nobody can write to who was never met");
    street.meet(ANNA, CLEO);
    street.meet(BEN, CLEO);
    street.part(ANNA, CLEO);
    street.part(BEN, CLEO);
    street.meet(ANNA, BEN);
    assert!(street.write(ANNA, CLEO, "1"));
    assert!(street.nodes[ANNA].has(keys(CLEO).peer(), "1"));
    assert_eq!(street.states, [BundleEffect::Carried(keys(CLEO).peer(), "1".to_owned())]);
    assert_eq!((street.nodes[BEN].carried(), street.got.len()), (1, 0));
    street
}

#[test]
fn a_text_is_carried_and_its_author_hears_that_it_arrived() {
    let mut street = carried();
    street.part(ANNA, BEN);
    street.meet(BEN, CLEO);
    assert_eq!(street.texts(), [(CLEO, "anna", "by hand")]);
    assert_eq!(street.got[0].1.keys, keys(ANNA));
    assert_eq!(street.nodes[BEN].carried(), 0);
    street.meet(ANNA, BEN);
    assert_eq!(street.states.pop(), Some(BundleEffect::Delivered(keys(CLEO).peer(), "1".to_owned())));
    assert!(!street.nodes[ANNA].has(keys(CLEO).peer(), "1"));
}

#[test]
fn it_survives_that_every_device_starts_anew() {
    let mut street = carried();
    for n in [ANNA, BEN, CLEO] {
        street.again(n);
    }
    street.meet(BEN, CLEO);
    assert_eq!(street.texts(), [(CLEO, "anna", "by hand")]);
    street.again(BEN);
    street.meet(ANNA, BEN);
    assert_eq!(street.states.pop(), Some(BundleEffect::Delivered(keys(CLEO).peer(), "1".to_owned())));
}

#[test]
fn nothing_leaves_before_the_keys_are_stored() {
    let mut street = carried();
    street.is_slow = true;
    assert!(street.write(ANNA, CLEO, "2"));
    assert_eq!((street.nodes[BEN].carried(), street.nodes[ANNA].has(keys(CLEO).peer(), "2")), (1, true));
    // The loop may have been too busy to answer: the state is handed over again.
    street.is_slow = false;
    let now = street.now;
    street.nodes[ANNA].handle_timeout(now);
    street.run();
    assert_eq!(street.nodes[BEN].carried(), 2);
}

#[test]
fn what_is_not_stored_is_not_confirmed() {
    let mut street = carried();
    street.refuses = true;
    street.part(ANNA, BEN);
    street.meet(BEN, CLEO);
    street.again(CLEO);
    street.refuses = false;
    street.meet(BEN, CLEO);
    street.meet(ANNA, BEN);
    assert_eq!(street.states.len(), 1, "{:?}", street.states);
    // The author hears that the message expired.
    street.now += MAX_LIFE;
    let now = street.now;
    street.nodes[ANNA].handle_timeout(now);
    street.run();
    assert_eq!(street.states.pop(), Some(BundleEffect::Expired(keys(CLEO).peer(), "1".to_owned())));
}

#[test]
fn a_text_that_was_stored_just_before_a_crash_is_confirmed_when_it_comes_again() {
    let mut street = carried();
    street.part(ANNA, BEN);
    // State of Ben's device before it handed the bundle over.
    let ben = street.stored[BEN].clone();
    street.meet(BEN, CLEO);
    street.stored[BEN] = ben;
    // Cleo's device loses its confirmation and keeps its keys.
    street.stored[CLEO].0.clear();
    street.again(BEN);
    street.again(CLEO);
    street.meet(BEN, CLEO);
    assert_eq!(street.got.len(), 1);
    assert_eq!(street.nodes[BEN].carried(), 0, "it is confirmed");
}

#[test]
fn what_finds_no_room_is_not_sealed_again_and_again() {
    let mut street = carried();
    // Up to half of the carried bundles may be this node's own.
    let mut sent = 1;
    while sent < 2_000 && street.nodes[ANNA].full_until == 0 {
        street.write(ANNA, CLEO, &format!("more {sent}"));
        sent += 1;
    }
    assert!(sent < 2_000, "there is no end to it");
    let version = street.nodes[ANNA].ratchet.version();
    let (me, now) = (Me { keys: keys(ANNA), name: NAMES[ANNA] }, street.nodes[ANNA].full_until - 1);
    assert!(!street.nodes[ANNA].send(&me, &keys(CLEO), "late", "text", now, now));
    assert_eq!(street.nodes[ANNA].ratchet.version(), version);
    assert!(street.nodes[ANNA].send(&me, &keys(CLEO), "late", "text", now + 1, now + 1));
}

#[test]
fn nonsense_and_strangers_are_passed_over() {
    let mut street = carried();
    let now = street.now;
    for bytes in [&[][..], &[CARD], &[BUNDLE], &[CARD, 1, 2], &[BUNDLE, 9], &[77; 100]] {
        street.nodes[BEN].heard(keys(ANNA).peer(), bytes, now);
        street.nodes[BEN].heard(keys(CLEO).peer(), bytes, now);
    }
    street.run();
    assert_eq!(street.nodes[BEN].carried(), 1);
    // Empty and damaged states begin anew.
    for state in [&[][..], &[0, 0, 0], &[0, 0, 0, 9, 1], &[255; 40]] {
        let relay = BundleRelay::restore(keys(ANNA).peer(), [9; 32], state, state, 0, now);
        assert_eq!(relay.carried(), 0);
    }
}

#[test]
fn one_copy_goes_to_who_is_less_likely_but_may_be_there_longer() {
    let mut street = Street::new();
    street.meet(BEN, CLEO);
    street.part(BEN, CLEO);
    street.now += 1_800_000;
    street.meet(ANNA, CLEO);
    street.part(ANNA, CLEO);
    street.meet(ANNA, BEN);
    assert!(street.write(ANNA, CLEO, "1"));
    assert_eq!(street.nodes[BEN].carried(), 1);
    street.again(ANNA);
    street.meet(BEN, CLEO);
    assert_eq!(street.texts(), [(CLEO, "anna", "by hand")]);
}
