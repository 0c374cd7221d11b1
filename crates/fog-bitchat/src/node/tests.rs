use super::*;
use crate::identity::Identity;
use crate::{Raw, SayError};

#[path = "board_tests.rs"]
mod board;
#[path = "clocks_tests.rs"]
mod clocks;
#[path = "fog_peers_tests.rs"]
mod fog_peers;
#[path = "groups_tests.rs"]
mod groups;
#[path = "letters_tests.rs"]
mod letters;
#[path = "vouches_tests.rs"]
mod vouches;

const START: u64 = 1_750_000_000_000;

/// Nodes and the links between them; transmission loses nothing and takes 5 ms.
struct Air {
    nodes: Vec<Node>,
    wires: Vec<(usize, usize)>,
    now: u64,
    events: Vec<Vec<Event>>,
    /// Number of frames that were sent, and size of the longest.
    sent: usize,
    longest: usize,
    /// Whether received messages are not stored, and so not acknowledged.
    forgets: bool,
    /// Milliseconds by which the clock of each node is ahead of the true time.
    skew: Vec<i64>,
}

fn identity(n: u8) -> Identity {
    Identity::new([n + 1; 32], [n + 101; 32])
}

impl Air {
    fn new(names: &[&str]) -> Self {
        let node = |(n, name): (usize, &&str)| {
            let capabilities = Capabilities::PRIVATE_MEDIA;
            Node::new(
                identity(n as u8),
                Config { nickname: (*name).to_owned(), capabilities, is_fog_peer: false },
                [n as u8; 32],
            )
        };
        let nodes: Vec<Node> = names.iter().enumerate().map(node).collect();
        let events = nodes.iter().map(|_| Vec::new()).collect();
        Self {
            nodes,
            wires: Vec::new(),
            now: START,
            events,
            sent: 0,
            longest: 0,
            forgets: false,
            skew: vec![0; names.len()],
        }
    }

    /// Time shown by the clock of a node.
    fn time(&self, n: usize) -> u64 {
        self.now.saturating_add_signed(self.skew[n])
    }

    fn wire(&mut self, a: usize, b: usize) {
        self.wires.push((a, b));
        let (of_a, of_b) = (self.time(a), self.time(b));
        self.nodes[a].handle_link_up(LinkId(b as u64), 512, of_a);
        self.nodes[b].handle_link_up(LinkId(a as u64), 512, of_b);
    }

    /// Second link between two nodes, with higher ids.
    fn second_wire(&mut self, a: usize, b: usize) {
        self.nodes[a].handle_link_up(LinkId(b as u64 + 100), 512, self.now);
        self.nodes[b].handle_link_up(LinkId(a as u64 + 100), 512, self.now);
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.wires.retain(|wire| *wire != (a, b));
        let (of_a, of_b) = (self.time(a), self.time(b));
        self.nodes[a].handle_link_down(LinkId(b as u64), of_a);
        self.nodes[b].handle_link_down(LinkId(a as u64), of_b);
    }

    fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.now += 5;
            let times: Vec<u64> = (0..self.nodes.len()).map(|n| self.time(n)).collect();
            for (node, now) in self.nodes.iter_mut().zip(&times) {
                if node.poll_timeout() <= *now {
                    node.handle_timeout(*now);
                }
            }
            let mut air = Vec::new();
            for (n, node) in self.nodes.iter_mut().enumerate() {
                while let Some((link, bytes)) = node.poll_transmit(times[n]) {
                    self.sent += 1;
                    self.longest = self.longest.max(bytes.len());
                    air.push((n, link.0 as usize % 100, link.0 as usize / 100 * 100, bytes));
                }
            }
            for (from, to, wire, bytes) in air {
                self.nodes[to].handle_bytes(LinkId((from + wire) as u64), &bytes, times[to]);
            }
            for (n, (node, events)) in self.nodes.iter_mut().zip(&mut self.events).enumerate() {
                for event in std::iter::from_fn(|| node.poll_event()).collect::<Vec<_>>() {
                    match &event {
                        Event::Private { from, id, .. } | Event::File { from, id: Some(id), .. }
                            if !self.forgets =>
                        {
                            node.confirm_stored(*from, id.clone(), times[n])
                        }
                        _ => {}
                    }
                    events.push(event);
                }
            }
        }
    }

    fn texts(&self, n: usize) -> Vec<&str> {
        let text = |event: &'_ Event| {
            if let Event::Room { .. } | Event::Private { .. } = event { Some(()) } else { None }
        };
        let events = self.events[n].iter().filter(|event| text(event).is_some());
        events
            .map(|event| match event {
                Event::Room { text, .. } | Event::Private { text, .. } => text.as_str(),
                _ => "",
            })
            .collect()
    }

    fn me(&self, n: usize) -> PeerId {
        self.nodes[n].me()
    }

    fn state(&self, n: usize, wanted: &str) -> Option<Delivery> {
        let states = self.events[n].iter().filter_map(|event| {
            if let Event::Delivery { id, state, .. } = event {
                (id == wanted).then_some(*state)
            } else {
                None
            }
        });
        states.max()
    }
}

#[test]
fn two_meet_and_talk_in_the_room_and_alone() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let people = air.nodes[0].people();
    assert_eq!((people.len(), people[0].nickname.as_str(), people[0].is_linked), (1, "ben", true));
    let (now, ben, anna) = (air.now, air.me(1), air.me(0));
    air.nodes[0].say_to_all("hello mesh", now);
    air.nodes[0].tell(ben, "m1".to_owned(), "x".repeat(255), now).unwrap();
    assert_eq!(air.nodes[0].tell(ben, "m2".to_owned(), "x".repeat(256), now), Err(SayError::TooLong));
    air.run(1_000);
    assert_eq!(air.texts(1), ["hello mesh", &"x".repeat(255)]);
    assert_eq!(air.state(0, "m1"), Some(Delivery::Delivered));
    let now = air.now;
    air.nodes[1].confirm_read(anna, "m1".to_owned(), now);
    air.run(200);
    assert_eq!(air.state(0, "m1"), Some(Delivery::Read));
    assert!(air.nodes[0].person(ben).unwrap().has_session);
    let now = air.now;
    air.nodes[1].leave(now);
    air.run(200);
    assert!(air.nodes[0].people().is_empty());
}

#[test]
fn nobody_hears_that_a_message_arrived_before_it_was_stored() {
    let mut air = Air::new(&["anna", "ben"]);
    air.forgets = true;
    air.wire(0, 1);
    air.run(500);
    let (now, ben, anna) = (air.now, air.me(1), air.me(0));
    air.nodes[0].tell(ben, "m1".to_owned(), "hello".to_owned(), now).unwrap();
    air.run(1_000);
    assert_eq!((air.texts(1), air.state(0, "m1")), (vec!["hello"], Some(Delivery::Sent)));
    let now = air.now;
    air.nodes[1].confirm_stored(anna, "m1".to_owned(), now);
    air.run(200);
    assert_eq!(air.state(0, "m1"), Some(Delivery::Delivered));
}

#[test]
fn what_nobody_takes_is_given_up_and_said_to_be() {
    let mut air = Air::new(&["anna", "ben"]);
    air.forgets = true;
    air.wire(0, 1);
    air.run(500);
    let (now, ben) = (air.now, air.me(1));
    air.nodes[0].tell(ben, "m1".to_owned(), "hello".to_owned(), now).unwrap();
    air.run(400_000);
    assert_eq!(air.state(0, "m1"), Some(Delivery::Failed));
    // The text is sent and shown each time: recognising copies needs a store.
    assert!(air.texts(1).len() > 1);
}

#[test]
fn other_keys_under_a_name_that_is_known_are_not_taken() {
    let mut air = Air::new(&["anna", "ben"]);
    let mut other = identity(1).keys();
    other.signing = identity(9).keys().signing;
    air.nodes[0].pin(other);
    air.wire(0, 1);
    air.run(1_000);
    assert!(air.nodes[0].people().is_empty());
    assert_eq!(air.nodes[1].people().len(), 1);
}

#[test]
fn what_is_said_goes_along_a_line_once() {
    let mut air = Air::new(&["anna", "ben", "cleo", "dora"]);
    for n in 0..3 {
        air.wire(n, n + 1);
    }
    air.run(3_000);
    assert_eq!(air.nodes[0].people().len(), 3, "announces go further");
    let (now, dora) = (air.now, air.me(3));
    air.nodes[0].say_to_all("to everybody", now);
    air.nodes[0].tell(dora, "far".to_owned(), "to dora".to_owned(), now).unwrap();
    air.run(3_000);
    assert_eq!(air.texts(3), ["to everybody", "to dora"]);
    assert_eq!((air.texts(1), air.texts(2)), (vec!["to everybody"], vec!["to everybody"]));
    assert_eq!(air.state(0, "far"), Some(Delivery::Delivered));
}

#[test]
fn two_links_between_two_devices_count_once() {
    // As between two devices that found each other: each is central and peripheral to the other.
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    for (a, b) in [(0, 1), (1, 2)] {
        air.wire(a, b);
        air.second_wire(a, b);
    }
    air.run(3_000);
    assert_eq!(air.nodes[1].ways().len(), 2);
    let (now, cleo) = (air.now, air.me(2));
    let before = air.sent;
    air.nodes[0].say_to_all("to everybody", now);
    air.run(1_000);
    assert_eq!(air.texts(2), ["to everybody"]);
    assert!(air.sent - before < 12, "{} packets for one text", air.sent - before);
    let now = air.now;
    air.nodes[0].tell(cleo, "m1".to_owned(), "to cleo".to_owned(), now).unwrap();
    air.run(2_000);
    assert_eq!(air.state(0, "m1"), Some(Delivery::Delivered));
}

#[test]
fn a_copy_on_a_neighbours_other_link_is_nobody_passing_it_on() {
    let mut air = Air::new(&["anna", "ben", "cleo", "dora", "emma"]);
    for other in [0, 2, 3, 4] {
        air.wire(other, 1);
    }
    air.second_wire(0, 1);
    air.run(3_000);
    let frame = |at| Frame::new(Kind(0x53), air.nodes[0].me(), at, vec![7; 20]).encode();
    let (one, other, now) = (frame(air.now), frame(air.now + 1), air.now);
    let passed = |air: &mut Air, from: [u64; 2], bytes: &[u8]| {
        for link in from {
            air.nodes[1].handle_bytes(LinkId(link), bytes, now);
        }
        air.nodes[1].handle_timeout(now + 500);
        let out: Vec<_> = std::iter::from_fn(|| air.nodes[1].poll_transmit(now + 500)).collect();
        out.iter().filter(|(_, packet)| packet.get(1) == Some(&0x53)).count()
    };
    assert!(passed(&mut air, [0, 100], &one) >= 2);
    assert_eq!(passed(&mut air, [0, 3], &other), 0, "dora has passed it on");
}

#[test]
fn who_comes_late_hears_what_was_said() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.run(1_000);
    for n in 0..20 {
        let now = air.now;
        air.nodes[0].say_to_all(&format!("message {n}"), now);
        air.run(100);
    }
    air.cut(0, 1);
    air.run(2_000);
    air.wire(1, 2);
    air.run(3_000);
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    assert_eq!(air.texts(2), expected);
    // Nothing comes twice, whoever is asked again.
    air.run(60_000);
    assert_eq!(air.texts(2).len(), 20);
}

#[test]
fn a_message_waits_for_its_recipient() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(1_000);
    air.cut(0, 1);
    let (now, ben) = (air.now, air.me(1));
    air.nodes[0].tell(ben, "later".to_owned(), "when you are back".to_owned(), now).unwrap();
    air.run(120_000);
    assert!(air.nodes[0].people().is_empty());
    assert_eq!(air.state(0, "later"), Some(Delivery::Queued));
    air.wire(0, 1);
    air.run(5_000);
    assert_eq!((air.texts(1), air.state(0, "later")), (vec!["when you are back"], Some(Delivery::Delivered)));
}

#[test]
fn a_message_is_said_again_to_somebody_who_lost_the_session() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let (now, ben) = (air.now, air.me(1));
    air.nodes[0].tell(ben, "one".to_owned(), "one".to_owned(), now).unwrap();
    air.run(1_000);
    // Ben's device restarts with the same keys.
    air.cut(0, 1);
    air.nodes[1] =
        Node::new(identity(1), Config { nickname: "ben".to_owned(), ..Config::default() }, [99; 32]);
    air.wire(0, 1);
    air.run(1_000);
    let now = air.now;
    air.nodes[0].tell(ben, "two".to_owned(), "two".to_owned(), now).unwrap();
    air.run(40_000);
    assert_eq!((air.texts(1), air.state(0, "two")), (vec!["one", "two"], Some(Delivery::Delivered)));
}

#[test]
fn a_picture_arrives_whole_through_a_relay_in_frames_that_fit() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(2_000);
    let mut content = b"\x89PNG\r\n\x1a\n".to_vec();
    content.extend((0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    let file = FilePacket { name: "img.png".to_owned(), mime: "image/png".to_owned(), content };
    let (now, cleo) = (air.now, air.me(2));
    air.nodes[0].tell(cleo, "hi".to_owned(), "a picture".to_owned(), now).unwrap();
    air.run(2_000);
    let now = air.now;
    air.nodes[0].give(cleo, "file".to_owned(), file.clone(), now).unwrap();
    air.run(10_000);
    let got = air.events[2]
        .iter()
        .find_map(|event| if let Event::File { file, id: Some(_), .. } = event { Some(file) } else { None });
    assert_eq!(got, Some(&file));
    assert_eq!(air.state(0, "file"), Some(Delivery::Delivered));
    assert!(air.longest <= 512);
}

#[test]
fn somebody_proves_the_key_that_was_scanned() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let (now, ben) = (air.now, air.me(1));
    air.nodes[0].verify(ben, identity(1).keys().noise, now);
    air.run(1_000);
    assert!(air.events[0].contains(&Event::Verified(ben)));
    let now = air.now;
    air.nodes[0].verify(ben, [7; 32], now);
    air.run(1_000);
    assert_eq!(air.events[0].iter().filter(|event| matches!(event, Event::Verified(_))).count(), 1);
}

#[test]
fn forged_and_foreign_packets_change_nothing() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let (now, anna) = (air.now, air.me(0));
    let before = air.nodes[1].people();
    let mallory = identity(50);
    // A text of Anna with Mallory's signature; Anna's key in Mallory's announce; a goodbye in Anna's name.
    let text = Frame::new(Kind::MESSAGE, anna, now, b"give me money".to_vec()).signed(&mallory);
    let announce = crate::Announce {
        nickname: "anna".to_owned(),
        keys: crate::PeerKeys { noise: identity(0).keys().noise, signing: mallory.keys().signing },
        ..crate::Announce::default()
    };
    let announce = Frame::new(Kind::ANNOUNCE, anna, now + 1, announce.encode().unwrap()).signed(&mallory);
    let goodbye = Frame::new(Kind::LEAVE, anna, now + 2, Vec::new()).signed(&mallory);
    let unsigned = Frame::new(Kind::MESSAGE, anna, now + 3, b"unsigned".to_vec());
    for frame in [text, announce, goodbye, unsigned] {
        air.nodes[1].handle_bytes(LinkId(0), &frame.encode(), now);
    }
    air.run(200);
    assert_eq!(air.nodes[1].people(), before);
    assert!(air.texts(1).is_empty());
    // The forged text does not make the genuine one with the same time look old.
    let genuine = Frame::new(Kind::MESSAGE, anna, now, b"give me money".to_vec()).signed(&identity(0));
    air.nodes[1].handle_bytes(LinkId(0), &genuine.encode(), air.now);
    air.run(100);
    assert_eq!(air.texts(1), ["give me money"]);
}

#[test]
fn a_flood_of_strangers_keeps_to_its_bounds() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    for n in 0..3_000u32 {
        let mut secret = [5; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let stranger = Identity::new(secret, secret);
        let announce = crate::Announce {
            nickname: format!("stranger {n}"),
            keys: stranger.keys(),
            ..crate::Announce::default()
        };
        let frame = Frame::new(Kind::ANNOUNCE, stranger.peer(), air.now, announce.encode().unwrap())
            .signed(&stranger);
        let mut bytes = frame.encode();
        bytes[2] = 5;
        air.nodes[0].handle_bytes(LinkId(1), &bytes, air.now);
    }
    let node = &air.nodes[0];
    assert!(
        node.people.len() <= 500 && node.waiting.len() <= 512,
        "{} people, {} waiting",
        node.people.len(),
        node.waiting.len()
    );
    assert!(node.people.contains_key(&air.nodes[1].me()), "who is linked stays");
}

#[test]
fn a_session_is_asked_for_by_who_cannot_read() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let (now, anna, ben) = (air.now, air.me(0), air.me(1));
    let garbage = Frame::new(Kind::ENCRYPTED, ben, now, vec![9; 60]).to(anna);
    air.nodes[0].handle_bytes(LinkId(1), &garbage.encode(), now);
    air.run(1_000);
    assert!(air.nodes[0].person(ben).unwrap().has_session);
}

#[test]
fn frames_of_made_up_senders_cost_little() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(0, 2);
    air.run(500);
    let (anna, before) = (air.me(0), air.sent);
    // Anybody may write any sender into a frame: unreadable ciphertexts, and first handshake messages.
    for n in 0..20_000_u64 {
        let sender = PeerId(n.to_be_bytes());
        let kind = if n % 2 == 0 { Kind::ENCRYPTED } else { Kind::HANDSHAKE };
        let frame = Frame::new(kind, sender, air.now, vec![9; if n % 2 == 0 { 60 } else { 32 }]).to(anna);
        air.nodes[0].handle_bytes(LinkId(1), &frame.encode(), air.now);
    }
    assert!(
        air.nodes[0].unasked.is_empty() && air.nodes[0].sessions.peers() <= 20,
        "{} peers",
        air.nodes[0].sessions.peers()
    );
    air.run(2_000);
    assert!(air.sent - before < 100, "{} frames", air.sent - before);
    // Ids that were announced cost little either: they are answered seldom.
    let before = air.sent;
    for n in 0..400_u32 {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let stranger = Identity::new(secret, secret);
        let announce = crate::Announce {
            nickname: format!("stranger {n}"),
            keys: stranger.keys(),
            ..crate::Announce::default()
        };
        let announce = Frame::new(Kind::ANNOUNCE, stranger.peer(), air.now, announce.encode().unwrap())
            .signed(&stranger);
        let mut bytes = announce.encode();
        bytes[2] = 5;
        air.nodes[0].handle_bytes(LinkId(1), &bytes, air.now);
        for k in 0..10 {
            let garbage = Frame::new(Kind::ENCRYPTED, stranger.peer(), air.now + k, vec![9; 60]).to(anna);
            air.nodes[0].handle_bytes(LinkId(1), &garbage.encode(), air.now);
        }
    }
    assert!(air.nodes[0].unasked.len() <= 12, "{} sessions begun", air.nodes[0].unasked.len());
    // Cleo, on another link, is served all the same.
    let (cleo, now) = (air.me(2), air.now);
    air.nodes[2].tell(anna, "m1".to_owned(), "still here?".to_owned(), now).unwrap();
    air.run(2_000);
    assert!(air.texts(0).contains(&"still here?"), "{:?} of {cleo}", air.texts(0));
    assert!(air.sent - before < 6_000, "{} frames", air.sent - before);
}

#[test]
fn what_is_passed_on_keeps_its_bytes() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(2_000);
    let now = air.now;
    // Compressed by another encoder than ours, of an unknown kind.
    let frame =
        Frame::new(Kind(0x53), PeerId([9; 8]), now, b"again and again and again and again ".repeat(6))
            .compressed();
    let raw = Raw::decode(&frame.encode()).unwrap();
    air.nodes[1].handle_bytes(LinkId(0), raw.bytes(), now);
    let mut passed = Vec::new();
    for step in 0..40 {
        air.nodes[1].handle_timeout(now + step * 5);
        while let Some((link, bytes)) = air.nodes[1].poll_transmit(now + step * 5) {
            if Raw::decode(&bytes).is_ok_and(|raw| raw.frame.kind == Kind(0x53)) {
                passed.push((link, bytes));
            }
        }
    }
    assert_eq!(passed.len(), 1);
    assert_eq!((passed[0].0, passed[0].1[2]), (LinkId(2), 6));
    assert_eq!(passed[0].1[3..], raw.bytes()[3..]);
}

#[test]
fn what_finds_no_link_waits_a_minute_for_one() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(3_000);
    let cleo = air.me(2);
    air.nodes[0].tell(cleo, "1".to_owned(), "before".to_owned(), air.now).unwrap();
    air.run(3_000);
    air.cut(1, 2);
    air.nodes[0].tell(cleo, "2".to_owned(), "while she walked".to_owned(), air.now).unwrap();
    air.run(15_000);
    assert_eq!(air.texts(2), ["before"]);
    // Long before its author sends it again.
    air.wire(1, 2);
    air.run(2_000);
    assert_eq!(air.texts(2), ["before", "while she walked"]);
}

#[test]
fn a_way_is_chosen_over_those_who_say_that_they_are_linked_and_flooded_when_nobody_answers() {
    let mut air = Air::new(&["anna"]);
    let (near, far, other) = (identity(50), identity(51), identity(52));
    let me = air.me(0);
    let announce = |air: &mut Air, who: &Identity, link: u64, ttl: u8, neighbours: Vec<PeerId>| {
        air.now += 1;
        let announce = crate::Announce {
            nickname: "x".to_owned(),
            keys: who.keys(),
            neighbours,
            ..crate::Announce::default()
        };
        let frame = Frame {
            version: 2,
            ttl,
            ..Frame::new(Kind::ANNOUNCE, who.peer(), air.now, announce.encode().unwrap())
        };
        air.nodes[0].handle_bytes(LinkId(link), &frame.signed(who).encode(), air.now);
    };
    for link in [50, 52] {
        air.nodes[0].handle_link_up(LinkId(link), 512, air.now);
    }
    let everybody = |air: &mut Air| {
        announce(air, &near, 50, crate::MAX_TTL, vec![me, far.peer()]);
        announce(air, &other, 52, crate::MAX_TTL, vec![me]);
        announce(air, &far, 50, crate::MAX_TTL - 1, vec![near.peer()]);
    };
    everybody(&mut air);
    let sent = |air: &mut Air| {
        let mut sent = Vec::new();
        while let Some((link, bytes)) = air.nodes[0].poll_transmit(air.now) {
            let frame = Raw::decode(&bytes).unwrap().frame;
            if frame.kind == Kind::HANDSHAKE {
                sent.push((link.0, frame.version, frame.route));
            }
        }
        sent
    };
    sent(&mut air);
    air.nodes[0].tell(far.peer(), "1".to_owned(), "hello".to_owned(), air.now).unwrap();
    assert_eq!(sent(&mut air), [(50, 2, Some(vec![near.peer()]))]);
    // Nobody answers: the next try goes to everybody.
    let mut seen = Vec::new();
    for _ in 0..40 {
        air.now += 1_000;
        everybody(&mut air);
        let now = air.now;
        air.nodes[0].handle_timeout(now);
        seen.extend(sent(&mut air));
    }
    assert!(
        seen.iter().any(|(link, version, route)| (*link, *version, route.is_none()) == (52, 1, true)),
        "{seen:?}"
    );
}

#[test]
fn how_far_somebody_is_and_that_they_do_not_answer() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(3_000);
    let (ben, cleo) = (air.me(1), air.me(2));
    for whom in [ben, cleo] {
        let now = air.now;
        assert!(air.nodes[0].ping(whom, now));
    }
    air.run(1_000);
    let far = |air: &Air, whom| {
        air.events[0].iter().find_map(|event| match event {
            Event::Pong { from, hops, way, millis } if *from == whom && *millis < 1_000 => {
                Some((*hops, way.clone()))
            }
            _ => None,
        })
    };
    // Fog nodes do not announce their neighbours: the nodes between are not known.
    assert_eq!((far(&air, ben), far(&air, cleo)), (Some((1, Some(Vec::new()))), Some((2, None))));
    air.cut(1, 2);
    let now = air.now;
    assert!(air.nodes[0].ping(cleo, now) && !air.nodes[0].ping(PeerId([9; 8]), now));
    air.run(12_000);
    assert!(air.events[0].contains(&Event::NoPong(cleo)));
}

#[test]
fn a_file_for_everybody_reaches_everybody() {
    let mut air = Air::new(&["anna", "ben", "cleo", "dora"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(3_000);
    let content = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 20_000]].concat();
    let file = FilePacket { name: "map.png".to_owned(), mime: "image/png".to_owned(), content };
    let now = air.now;
    air.nodes[0].give_to_all(&file, now).unwrap();
    air.run(10_000);
    // A node that comes a minute later gets the file from a neighbour.
    air.run(50_000);
    air.wire(2, 3);
    air.run(70_000);
    for n in [1, 2, 3] {
        let got = air.events[n]
            .iter()
            .filter(|event| matches!(event, Event::File { id: None, file: got, .. } if *got == file))
            .count();
        assert_eq!(got, 1, "{n}");
    }
    let large = FilePacket { content: vec![0; (100 << 10) + 1], ..file };
    assert_eq!(air.nodes[0].give_to_all(&large, now), Err(SayError::FileTooLarge));
}
