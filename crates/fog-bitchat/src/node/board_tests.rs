use super::*;
use crate::board::{Item, Tombstone};
use crate::node::board::{BoardError, MAX_NOTES_OF_ONE};
use crate::{Note, notes_in};

const HOUR: u64 = 3_600_000;

fn texts(air: &Air, n: usize) -> Vec<String> {
    notes_in(&air.nodes[n].board_state()).into_iter().map(|note| note.text).collect()
}

fn post(air: &mut Air, n: usize, text: &str) -> Result<[u8; 16], BoardError> {
    let (id, now) = (std::array::from_fn(|at| text.as_bytes()[at % text.len()]), air.now);
    air.nodes[n].pin_note(id, text, false, 24 * HOUR, now).map(|()| id)
}

/// A note of somebody who is not here, in a packet of their own.
fn strange(who: u8, text: &str, now: u64) -> Raw {
    let author = identity(who);
    let note = Note {
        id: std::array::from_fn(|n| who ^ text.as_bytes()[n % text.len()]),
        geohash: String::new(),
        text: text.to_owned(),
        author: author.keys().signing,
        nickname: "stranger".to_owned(),
        created: now,
        expires: now + HOUR,
        is_urgent: false,
    };
    let frame =
        Frame::new(Kind::BOARD_POST, author.peer(), now, note.encode(&author).unwrap()).signed(&author);
    Raw::decode(&frame.encode()).unwrap()
}

#[test]
fn a_note_reaches_who_is_there_and_who_comes_later_from_others() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.run(1_000);
    let id = post(&mut air, 0, "soup at the hut").unwrap();
    air.run(2_000);
    assert_eq!(texts(&air, 1), ["soup at the hut"]);
    assert!(
        air.events[1]
            .iter()
            .any(|event| matches!(event, Event::Note(note) if note.id == id && note.nickname == "anna"))
    );
    // Anna goes. Ben restarts and passes the note to Cleo, who never met her.
    air.cut(0, 1);
    let state = air.nodes[1].board_state();
    air.nodes[1] =
        Node::new(identity(1), Config { nickname: "ben".to_owned(), ..Config::default() }, [9; 32]);
    air.nodes[1].restore_board(&state);
    air.now += 7 * HOUR;
    air.wire(1, 2);
    air.run(90_000);
    assert_eq!(texts(&air, 2), ["soup at the hut"], "longer than texts are kept");
    // Every node drops the note when it has expired.
    air.now += 18 * HOUR;
    air.run(20_000);
    assert!((1..3).all(|n| texts(&air, n).is_empty()));
}

#[test]
fn its_author_alone_takes_it_down_and_it_stays_down() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(1_000);
    let id = post(&mut air, 0, "lost a glove").unwrap();
    air.run(2_000);
    let (now, before) = (air.now, air.nodes[2].board_state());
    assert_eq!(texts(&air, 2), ["lost a glove"]);
    assert_eq!(air.nodes[1].take_down(id, now), Err(BoardError::Unknown));
    // Somebody else signs a tombstone for a note that is not theirs.
    let forged = Tombstone { id, author: identity(1).keys().signing, at: now };
    let frame = Frame::new(Kind::BOARD_POST, identity(1).peer(), now, forged.encode(&identity(1)).unwrap())
        .signed(&identity(1));
    air.nodes[2].handle_bytes(LinkId(1), &frame.encode(), now);
    assert_eq!(texts(&air, 2), ["lost a glove"]);
    assert_eq!(air.nodes[0].take_down(id, now), Ok(()));
    air.run(2_000);
    assert!((0..3).all(|n| texts(&air, n).is_empty()));
    // A node that still has the note sends it again after the packet was forgotten: it stays down.
    air.run(400_000);
    let now = air.now;
    let packet = crate::node::board::packets_of(&before).remove(0);
    air.nodes[2].handle_bytes(LinkId(1), &packet.with_ttl(3), now);
    air.run(2_000);
    assert!(texts(&air, 2).is_empty());
    assert_eq!(air.nodes[0].take_down(id, now), Err(BoardError::Unknown));
}

#[test]
fn nobody_fills_the_board() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(1_000);
    for n in 0..MAX_NOTES_OF_ONE {
        post(&mut air, 0, &format!("note {n}")).unwrap();
    }
    assert_eq!(post(&mut air, 0, "one more"), Err(BoardError::Full));
    let now = air.now;
    assert_eq!(air.nodes[1].pin_note([1; 16], "", false, HOUR, now), Err(BoardError::Text));
    assert_eq!(air.nodes[1].pin_note([1; 16], &"x".repeat(513), false, HOUR, now), Err(BoardError::Text));
    assert_eq!(air.nodes[1].pin_note([1; 16], "for ever", false, 8 * 24 * HOUR, now), Err(BoardError::Life));
    air.run(2_000);
    // A hundred strangers with six notes each.
    let now = air.now;
    for n in 0..600_u64 {
        let packet = strange(50 + (n % 100) as u8, &format!("buy {n}"), now + n);
        air.nodes[1].handle_bytes(LinkId(0), &packet.with_ttl(3), now + n);
    }
    let here = texts(&air, 1);
    assert_eq!(here.len(), 200);
    assert!(
        (0..MAX_NOTES_OF_ONE).all(|n| here.contains(&format!("note {n}"))),
        "those of people who are known stay"
    );
    assert!(air.nodes[1].board_state().len() < 200 << 10);
}

#[test]
fn what_is_not_genuine_is_neither_kept_nor_passed_on() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(1_000);
    let now = air.now;
    // Somebody else's note under Anna's name; and a note from the future.
    let note = strange(60, "not hers", now);
    let mut frame = Frame { sender: air.me(0), ..note.frame.clone() };
    frame = frame.signed(&identity(60));
    air.nodes[1].handle_bytes(LinkId(0), &frame.encode(), now);
    air.nodes[1].handle_bytes(LinkId(0), &strange(61, "too early", now + 2 * HOUR).with_ttl(3), now);
    air.run(2_000);
    assert!(texts(&air, 1).is_empty() && texts(&air, 2).is_empty());
    // A packet that was seen before is not spread again, because its note is known.
    air.nodes[1].handle_bytes(LinkId(0), &note.with_ttl(7), now);
    air.run(2_000);
    assert_eq!(texts(&air, 2), ["not hers"]);
    air.run(400_000);
    let sent = air.sent;
    let Ok(Item::Note(_)) = Item::decode(note.frame.payload()) else { panic!("it is one") };
    let now = air.now;
    air.nodes[1].handle_bytes(LinkId(0), &note.with_ttl(7), now);
    assert!(air.nodes[1].waiting.is_empty() && air.sent == sent);
}
