use proptest::prelude::*;

use super::*;
use crate::MAX_BUNDLE;
use crate::wire::{Answer, MAX_MESSAGE};

/// A time in 2025, in milliseconds.
const START: u64 = 1_760_000_000_000;
const HOUR: u64 = 3_600_000;
const TOKEN: [u8; 16] = [7; 16];

fn node(n: u8) -> Node {
    [n; 8]
}

/// Nodes by number, and the effects that they reported.
struct World {
    nodes: Vec<Carrier>,
    now: u64,
    reports: Vec<(u8, Effect)>,
    given: usize,
    loses_answers: bool,
    opens: bool,
}

impl World {
    fn new(count: u8) -> Self {
        let nodes = (0..count).map(|n| Carrier::new(node(n), Quotas::default())).collect();
        Self { nodes, now: START, reports: Vec::new(), given: 0, loses_answers: false, opens: true }
    }

    fn at(&mut self, n: u8) -> &mut Carrier {
        &mut self.nodes[usize::from(n)]
    }

    /// Sends a text; the payload begins with its token.
    fn send(&mut self, from: u8, to: u8, text: &[u8]) -> Id {
        let now = self.now;
        let id = self.at(from).send(node(to), [&TOKEN, text].concat(), TOKEN, 24 * HOUR, now).unwrap();
        self.pump();
        id
    }

    fn meet(&mut self, a: u8, b: u8) {
        let now = self.now;
        self.at(a).handle_met(node(b), now);
        self.at(b).handle_met(node(a), now);
        self.pump();
    }

    fn part(&mut self, a: u8, b: u8) {
        let now = self.now;
        self.at(a).handle_parted(node(b), now);
        self.at(b).handle_parted(node(a), now);
        self.pump();
    }

    fn encounter(&mut self, a: u8, b: u8) {
        self.now += HOUR;
        self.meet(a, b);
        self.part(a, b);
    }

    fn pump(&mut self) {
        loop {
            let mut is_quiet = true;
            for n in 0..self.nodes.len() as u8 {
                while let Some(effect) = self.at(n).poll_effect() {
                    is_quiet = false;
                    match effect {
                        Effect::Say { peer, bytes } => self.deliver(n, peer[0], &bytes),
                        Effect::Arrived { id, ref payload, .. } => {
                            if self.opens {
                                let token = payload[..16].try_into().unwrap();
                                self.at(n).confirm(id, token);
                            }
                            self.reports.push((n, effect));
                        }
                        other => self.reports.push((n, other)),
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn deliver(&mut self, from: u8, to: u8, bytes: &[u8]) {
        assert!(bytes.len() <= MAX_MESSAGE);
        let message = Message::decode(bytes).unwrap();
        self.given += usize::from(matches!(message, Message::Give { .. }));
        if self.loses_answers && matches!(message, Message::Answer { .. }) {
            return;
        }
        let now = self.now;
        self.at(to).handle_message(node(from), bytes, now);
    }

    fn copies(&self, n: u8, id: &Id) -> u8 {
        self.nodes[usize::from(n)].carried.get(id).map_or(0, |letter| letter.copies)
    }

    /// Names of the effects that a node reported, in order.
    fn said(&self, n: u8) -> Vec<&'static str> {
        let named = |effect: &Effect| match effect {
            Effect::Arrived { .. } => "arrived",
            Effect::Handed { .. } => "handed",
            Effect::Delivered { .. } => "delivered",
            Effect::Expired { .. } => "expired",
            Effect::Say { .. } => "say",
        };
        self.reports.iter().filter(|(of, _)| *of == n).map(|(_, effect)| named(effect)).collect()
    }
}

fn bundle(source: u8, destination: u8, sequence: u64, previous: u8) -> Bundle {
    Bundle {
        source: node(source),
        destination: node(destination),
        created: START,
        sequence,
        life: 24 * HOUR,
        previous: Some(node(previous)),
        hop_limit: HOPS,
        hops: 1,
        lock: lock_of(&TOKEN),
        payload: TOKEN.to_vec(),
    }
}

/// Gives a bundle to a node and returns its answer.
fn give(to: &mut Carrier, from: u8, bundle: &Bundle) -> Answer {
    while to.poll_effect().is_some() {}
    to.handle_message(node(from), &Message::Give { copies: COPIES, bundle: bundle.encode() }.encode(), START);
    while let Some(effect) = to.poll_effect() {
        if let Effect::Say { bytes, .. } = effect
            && let Some(Message::Answer { answer, .. }) = Message::decode(&bytes)
        {
            return answer;
        }
    }
    panic!("no answer")
}

#[test]
fn a_clock_that_was_wrong_for_a_while_ends_nothing_that_is_carried() {
    const DAYS: u64 = 40 * 24 * HOUR;
    let mut world = World::new(3);
    world.encounter(1, 2);
    world.send(0, 2, b"by hand");
    world.meet(0, 1);
    world.part(0, 1);
    let (likely, now) = (world.nodes[1].table.likelihood(&node(2), world.now), world.now);
    for by in [DAYS.cast_signed(), -DAYS.cast_signed(), -DAYS.cast_signed(), DAYS.cast_signed()] {
        world.now = world.now.saturating_add_signed(by);
        for n in 0..3 {
            let now = world.now;
            world.at(n).handle_clock_set(by);
            world.at(n).handle_timeout(now);
            // A node that restarts meanwhile loses nothing either.
            let again = Carrier::restore(node(n), Quotas::default(), &world.at(n).state());
            *world.at(n) = again;
            world.at(n).handle_timeout(now);
        }
        world.pump();
        assert_eq!((world.nodes[0].carried.size().1, world.nodes[1].carried_for_others()), (1, 1));
        assert!((world.nodes[1].table.likelihood(&node(2), world.now) - likely).abs() < 1e-9);
    }
    assert!(!world.reports.iter().any(|(_, effect)| matches!(effect, Effect::Expired { .. })));
    assert_eq!(world.now, now);
    world.now += DAYS;
    for n in 0..3 {
        let now = world.now;
        world.at(n).handle_timeout(now);
    }
    world.pump();
    assert!(
        world.reports.iter().any(|(n, effect)| *n == 0 && matches!(effect, Effect::Expired { .. })),
        "forty days later it is over"
    );
    assert_eq!(world.nodes[1].carried_for_others(), 0);
}

#[test]
fn who_is_met_gets_what_is_for_them_and_says_so() {
    let mut world = World::new(2);
    let id = world.send(0, 1, b"hello");
    world.meet(0, 1);
    let expected = Effect::Arrived { id, source: node(0), payload: [&TOKEN, &b"hello"[..]].concat() };
    assert_eq!(world.reports, [(1, expected), (0, Effect::Delivered { id })]);
    assert!(world.nodes.iter().all(|node| node.held.is_empty()));
    // While they are together, the next bundle goes at once.
    world.send(0, 1, b"again");
    assert_eq!((world.said(1), world.given), (vec!["arrived", "arrived"], 2));
}

#[test]
fn a_carrier_brings_it_and_the_receipt_comes_back() {
    let mut world = World::new(3);
    world.encounter(1, 2);
    let id = world.send(0, 2, b"by way of another");
    world.encounter(0, 1);
    assert_eq!(
        (world.said(0), world.at(1).carried_for_others(), world.at(0).carried_for_others()),
        (vec!["handed"], 1, 0)
    );
    assert_eq!((world.copies(0, &id), world.copies(1, &id)), (COPIES / 2, COPIES / 2));
    world.encounter(1, 2);
    assert_eq!((world.said(2), world.at(1).carried_for_others()), (vec!["arrived"], 0));
    world.encounter(1, 0);
    assert_eq!(world.said(0), ["handed", "delivered"]);
    // The bundle does not come again by any route.
    world.encounter(0, 2);
    world.encounter(1, 2);
    assert_eq!((world.said(2), world.given), (vec!["arrived"], 2));
}

#[test]
fn copies_count_when_they_were_taken() {
    let mut world = World::new(3);
    world.encounter(1, 2);
    let id = world.send(0, 2, b"hello");
    world.loses_answers = true;
    world.encounter(0, 1);
    assert_eq!((world.copies(0, &id), world.said(0).len()), (COPIES, 0));
    world.loses_answers = false;
    world.encounter(0, 1);
    assert_eq!((world.copies(0, &id), world.given), (COPIES, 1), "they have it; nothing is given twice");
}

#[test]
fn what_is_not_answered_is_left_for_the_next_meeting() {
    let mut world = World::new(3);
    world.encounter(1, 2);
    world.send(0, 2, b"hello");
    world.send(0, 2, b"second");
    world.loses_answers = true;
    world.meet(0, 1);
    assert_eq!(world.given, 1);
    world.now += ANSWER;
    assert_eq!(world.at(0).poll_timeout(), Some(world.now));
    let now = world.now;
    world.at(0).handle_timeout(now);
    world.pump();
    assert_eq!(world.given, 2);
}

#[test]
fn what_is_refused_keeps_its_copies() {
    for answer in [Answer::Refused, Answer::Known] {
        let mut world = World::new(3);
        world.encounter(1, 2);
        let id = world.send(0, 2, b"hello");
        let now = world.now;
        world.at(0).handle_met(node(1), now);
        let summary = Message::Summary {
            likelihoods: vec![(node(2), 1.0)],
            ids: BTreeSet::new(),
            receipts: Vec::new(),
        };
        for message in
            [summary, Message::Answer { id: [9; 16], answer: Answer::Taken }, Message::Answer { id, answer }]
        {
            world.at(0).handle_message(node(1), &message.encode(), now);
        }
        // An answer about a bundle that was not given does not count either.
        world.at(0).handle_message(node(1), &Message::Answer { id, answer: Answer::Taken }.encode(), now);
        assert_eq!((world.copies(0, &id), world.said(0).len()), (COPIES, 0));
    }
}

#[test]
fn the_same_copies_are_not_given_to_two_at_once() {
    let mut world = World::new(4);
    world.encounter(1, 3);
    world.encounter(2, 3);
    world.meet(0, 1);
    world.meet(0, 2);
    let id = world.send(0, 3, b"hello");
    let sum: u8 = (0..3).map(|n| world.copies(n, &id)).sum();
    assert_eq!((sum, world.given), (COPIES, 2));
}

#[test]
fn only_who_opened_it_can_say_that_it_arrived() {
    let mut world = World::new(3);
    world.encounter(1, 2);
    let id = world.send(0, 2, b"hello");
    world.encounter(0, 1);
    world.meet(0, 1);
    let forged = Message::Receipts(vec![(id, [8; 16]), ([9; 16], TOKEN)]).encode();
    let now = world.now;
    world.at(0).handle_message(node(1), &forged, now);
    world.at(1).handle_message(node(0), &forged, now);
    world.pump();
    assert_eq!((world.said(0), world.at(0).held.len(), world.at(1).held.len()), (vec!["handed"], 1, 1));
    assert!(
        world.nodes.iter().all(|node| node.receipts.is_empty()),
        "what cannot be checked is not passed on"
    );
    assert!(!world.at(1).confirm(id, TOKEN), "a carrier confirms nothing");
    let true_one = Message::Receipts(vec![(id, TOKEN)]).encode();
    world.at(1).handle_met(node(2), now);
    world.at(1).handle_message(node(2), &true_one, now);
    world.pump();
    assert_eq!((world.at(0).held.len(), world.at(1).held.len()), (0, 0), "checked, and passed on");
}

#[test]
fn what_somebody_made_up_does_not_keep_away_the_true_one() {
    let mut carrier = Carrier::new(node(2), Quotas::default());
    carrier.handle_met(node(1), START);
    let made_up = Bundle { lock: [1; 32], payload: b"junk".to_vec(), ..bundle(0, 2, 1, 1) };
    assert_eq!(give(&mut carrier, 1, &made_up), Answer::Taken);
    assert_eq!(give(&mut carrier, 1, &bundle(0, 2, 1, 1)), Answer::Taken);
    assert_eq!(give(&mut carrier, 1, &bundle(0, 2, 1, 1)), Answer::Known);
    assert!(!carrier.confirm(made_up.id(), [1; 16]));
    assert!(carrier.confirm(made_up.id(), TOKEN) && carrier.arrivals.is_empty());
    assert_eq!(give(&mut carrier, 1, &bundle(0, 2, 1, 1)), Answer::Known);
    // One neighbour does not fill the arrivals with bundles that cannot be opened.
    let taken = (2..500).filter(|n| give(&mut carrier, 1, &bundle(0, 2, *n, 1)) == Answer::Taken).count();
    assert_eq!(taken, ARRIVALS_OF_NEIGHBOUR);
}

#[test]
fn a_bundle_has_to_be_as_it_should_be() {
    let mut carrier = Carrier::new(node(2), Quotas::default());
    carrier.handle_met(node(1), START);
    let fine = bundle(0, 5, 1, 1);
    let wrong = [
        Bundle { previous: Some(node(3)), ..fine.clone() },
        Bundle { previous: None, ..fine.clone() },
        Bundle { created: START - 24 * HOUR, ..fine.clone() },
        Bundle { created: START + SKEW + 1, ..fine.clone() },
        Bundle { hops: HOPS, ..fine.clone() },
        Bundle { hop_limit: 255, hops: HOPS, ..fine.clone() },
    ];
    for bundle in wrong {
        assert_eq!(give(&mut carrier, 1, &bundle), Answer::Refused);
    }
    assert_eq!(
        give(&mut carrier, 1, &bundle(2, 5, 1, 1)),
        Answer::Known,
        "its own, which it does not carry for others"
    );
    assert_eq!(give(&mut carrier, 1, &fine), Answer::Taken);
    carrier.handle_message(
        node(9),
        &Message::Give { copies: 1, bundle: bundle(0, 5, 2, 9).encode() }.encode(),
        START,
    );
    assert_eq!(carrier.carried_for_others(), 1, "who is not met says nothing");
}

#[test]
fn nobody_fills_the_store() {
    let quotas = Quotas {
        letters: 40,
        bytes: 20_000,
        of_one: 10,
        of_neighbour: 15,
        bytes_of_neighbour: 8_000,
        ..Quotas::default()
    };
    let mut carrier = Carrier::new(node(0), quotas);
    let own = carrier.send(node(99), vec![0; 100], TOKEN, HOUR, START).unwrap();
    for peer in 1..20 {
        carrier.handle_met(node(peer), START);
        for n in 0..100 {
            give(&mut carrier, peer, &bundle(100 + n % 50, 99, u64::from(n) + 1000 * u64::from(peer), peer));
            assert!(carrier.load_of(Some(node(peer))).0 <= 15);
        }
        assert!(carrier.load_of(Some(node(peer))).0 >= 2, "a newcomer finds room");
        let (bytes, letters) = carrier.carried.size();
        assert!(bytes <= 20_000 && letters <= 40 && carrier.held.len() == letters);
    }
    assert!(carrier.held.contains_key(&own), "the first to be over, and its own");
    // One source, by many neighbours; and the source itself, whose quota others used up.
    let mut carrier = Carrier::new(node(0), quotas);
    (1..4).for_each(|peer| carrier.handle_met(node(peer), START));
    let taken = (0..30)
        .filter(|n| {
            give(&mut carrier, 1 + (n % 2) as u8, &bundle(3, 99, *n, 1 + (n % 2) as u8)) == Answer::Taken
        })
        .count();
    assert_eq!(
        (taken, give(&mut carrier, 3, &Bundle { hops: 1, ..bundle(3, 99, 50, 3) })),
        (10, Answer::Taken)
    );
    // The node's own bundles are bounded too, and a huge one displaces nothing.
    let sent = (0..50).filter(|_| carrier.send(node(98), Vec::new(), TOKEN, HOUR, START).is_ok()).count();
    assert_eq!(
        (sent, carrier.send(node(98), vec![0; MAX_PAYLOAD + 1], TOKEN, HOUR, START)),
        (20, Err(SendError::TooLong { length: MAX_PAYLOAD + 1 }))
    );
    let before = carrier.held.len();
    assert_eq!(
        give(&mut carrier, 1, &Bundle { payload: vec![0; 30_000], ..bundle(8, 99, 99, 1) }),
        Answer::Refused
    );
    assert_eq!(carrier.held.len(), before);
}

#[test]
fn what_is_over_is_told_and_forgotten() {
    let mut world = World::new(2);
    let id = world.send(0, 9, b"hello");
    assert_eq!(world.at(0).poll_timeout(), Some(START + 24 * HOUR));
    world.at(0).handle_timeout(START + 24 * HOUR);
    world.pump();
    assert_eq!(
        (world.reports.clone(), world.at(0).poll_timeout()),
        (vec![(0, Effect::Expired { id })], None)
    );
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut world = World::new(4);
    world.encounter(1, 2);
    let id = world.send(0, 2, b"hello");
    world.send(0, 3, b"arrives");
    world.encounter(0, 3);
    world.encounter(0, 1);
    for n in 0..4 {
        let state = world.at(n).state();
        let version = world.at(n).version();
        *world.at(n) = Carrier::restore(node(n), Quotas::default(), &state);
        assert_eq!(world.at(n).state(), state);
        let now = world.now;
        world.at(n).handle_timeout(now);
        assert!(version > 0 && world.at(n).state() == state);
    }
    assert_eq!(
        (world.copies(0, &id), world.at(1).carried_for_others(), world.at(0).receipts.len()),
        (COPIES / 2, 1, 1)
    );
    world.encounter(1, 2);
    world.encounter(1, 0);
    assert_eq!(world.said(0), ["delivered", "handed", "delivered"]);
    assert!(
        Carrier::restore(node(9), Quotas::default(), &world.at(0).state()).receipts.is_empty(),
        "another node's"
    );
}

#[test]
fn what_was_not_confirmed_comes_again_after_a_restart() {
    let mut world = World::new(2);
    world.opens = false;
    let id = world.send(0, 1, b"hello");
    world.encounter(0, 1);
    world.encounter(0, 1);
    assert_eq!(world.said(1), ["arrived"]);
    let state = world.at(1).state();
    *world.at(1) = Carrier::restore(node(1), Quotas::default(), &state);
    world.opens = true;
    world.encounter(0, 1);
    assert_eq!((world.said(1), world.said(0)), (vec!["arrived", "arrived"], vec!["delivered"]));
    assert!(!world.at(1).confirm(id, TOKEN), "once is enough");
}

#[test]
fn every_change_raises_the_version() {
    let mut world = World::new(3);
    let mut last: Vec<(u64, Vec<u8>)> =
        world.nodes.iter().map(|node| (node.version(), node.state())).collect();
    let mut check = |world: &World| {
        for (node, last) in world.nodes.iter().zip(&mut last) {
            let now = (node.version(), node.state());
            assert!(now.1 == last.1 || now.0 > last.0);
            *last = now;
        }
    };
    world.encounter(1, 2);
    check(&world);
    world.send(0, 2, b"hello");
    check(&world);
    for (a, b) in [(0, 1), (1, 2), (0, 1)] {
        world.encounter(a, b);
        check(&world);
    }
    world.now += 48 * HOUR;
    for n in 0..3 {
        let now = world.now;
        world.at(n).handle_timeout(now);
        check(&world);
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let pairs = || {
        proptest::collection::vec((0u8..20, 0u8..9), 0..5)
            .prop_map(|pairs| pairs.into_iter().map(|(id, token)| ([id; 16], [token; 16])).collect())
    };
    let bundles = (0u8..5, 0u8..5, 0u64..30, 0u8..5, 0usize..3_000).prop_map(
        |(source, destination, sequence, previous, length)| {
            Bundle { payload: vec![7; length], ..bundle(source, destination, sequence, previous) }.encode()
        },
    );
    prop_oneof![
        (proptest::collection::vec((0u8..99, 0.0f64..2.0), 0..50), pairs()).prop_map(
            |(likelihoods, receipts)| Message::Summary {
                likelihoods: likelihoods.into_iter().map(|(of, likely)| (node(of), likely)).collect(),
                ids: BTreeSet::new(),
                receipts,
            }
        ),
        (any::<u8>(), bundles).prop_map(|(copies, bundle)| Message::Give { copies, bundle }),
        (0u8..20).prop_map(|id| Message::Answer { id: [id; 16], answer: Answer::Taken }),
        pairs().prop_map(Message::Receipts),
    ]
}

#[test]
fn who_meets_somebody_tells_those_who_were_there_before() {
    let mut world = World::new(3);
    world.meet(0, 1);
    let quiet = world.at(0).poll_timeout();
    assert_eq!(quiet, Some(START + REFRESH));
    world.now += 1_000;
    world.meet(1, 2);
    world.part(1, 2);
    world.send(0, 2, b"text");
    assert!(world.said(0).is_empty(), "who is there does not know yet what the other one may reach");
    world.now = START + REFRESH_SOON;
    let now = world.now;
    world.at(1).handle_timeout(now);
    world.pump();
    assert_eq!(world.said(0), ["handed"]);
    assert_eq!(world.at(1).poll_timeout().map(|at| at > now + REFRESH_SOON), Some(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_said_it_keeps_to_its_bounds(steps in proptest::collection::vec((0u8..4, 1u8..5, any_message(), 0u64..HOUR, any::<prop::sample::Index>()), 0..60)) {
        let quotas = Quotas { letters: 10, bytes: 10_000, of_one: 5, of_neighbour: 6, bytes_of_neighbour: 8_000, ..Quotas::default() };
        let mut carrier = Carrier::new(node(0), quotas);
        let mut now = START;
        for (what, peer, message, pause, cut) in steps {
            now += pause;
            let mut bytes = message.encode();
            match what {
                0 => carrier.handle_met(node(peer), now),
                1 => {
                    let at = cut.index(bytes.len());
                    bytes[at] ^= 0x55;
                    carrier.handle_message(node(peer), &bytes, now);
                }
                _ => carrier.handle_message(node(peer), &bytes, now),
            }
            while let Some(effect) = carrier.poll_effect() {
                if let Effect::Say { bytes, .. } = effect {
                    prop_assert!(bytes.len() <= MAX_MESSAGE);
                }
            }
            let (bytes, letters) = carrier.carried.size();
            prop_assert!(bytes <= 10_000 && letters <= 10 && letters == carrier.held.len());
            carrier.handle_timeout(now);
            while carrier.poll_effect().is_some() {}
            prop_assert!(carrier.poll_timeout().is_none_or(|at| at > now));
            prop_assert_eq!(Carrier::restore(node(0), quotas, &carrier.state()).state(), carrier.state());
        }
    }

    #[test]
    fn damaged_state_is_read_without_panic(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let mut world = World::new(3);
        world.encounter(1, 2);
        world.send(0, 2, b"hello");
        world.encounter(0, 1);
        let mut state = world.at(1).state();
        for (at, byte) in damage {
            let at = at.index(state.len());
            state[at] = byte;
        }
        for state in [&state[..], &state[..cut.index(state.len())]] {
            let mut carrier = Carrier::restore(node(1), Quotas::default(), state);
            carrier.handle_met(node(2), START);
            prop_assert!(carrier.held.len() <= 1 && carrier.state().len() < MAX_BUNDLE);
        }
    }

    #[test]
    fn any_state_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Carrier::restore(node(1), Quotas::default(), &bytes);
        let _ = Carrier::restore(node(1), Quotas::default(), &[&[1], &node(1)[..], &bytes].concat());
    }
}
