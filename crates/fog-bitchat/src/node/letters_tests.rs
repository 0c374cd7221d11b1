use proptest::prelude::*;

use super::*;
use crate::PeerKeys;

const ANNA: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;

fn pinned(air: &mut Air, who: usize, whom: usize) {
    let keys: PeerKeys = identity(whom as u8).keys();
    air.nodes[who].pin(keys);
}

/// Three nodes that carry letters; Anna and Cleo know each other's keys and have not met here.
fn three() -> Air {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    for node in &mut air.nodes {
        node.config.capabilities = Capabilities::PRIVATE_MEDIA.and(Capabilities::PREKEYS);
    }
    pinned(&mut air, ANNA, CLEO);
    pinned(&mut air, CLEO, ANNA);
    air
}

#[test]
fn somebody_who_passes_by_brings_what_was_written_to_who_is_away() {
    let mut air = three();
    air.wire(ANNA, BEN);
    let cleo = air.me(CLEO);
    air.run(2_000);
    air.nodes[ANNA].tell(cleo, "1".to_owned(), "by hand".to_owned(), air.now).unwrap();
    air.run(5_000);
    assert_eq!(
        (air.state(ANNA, "1"), air.nodes[BEN].letters()),
        (Some(Delivery::Queued), 0),
        "she may come yet"
    );
    air.run(10_000);
    assert_eq!((air.state(ANNA, "1"), air.nodes[BEN].letters()), (Some(Delivery::Carried), 1));
    // Ben leaves Anna, restarts, and meets Cleo.
    air.cut(ANNA, BEN);
    let state = air.nodes[BEN].mail_state();
    let mut again = Node::new(identity(BEN as u8), air.nodes[BEN].config.clone(), [77; 32]);
    again.restore_mail(&state);
    air.nodes[BEN] = again;
    assert_eq!(air.nodes[BEN].letters(), 1);
    air.wire(BEN, CLEO);
    air.run(10_000);
    assert_eq!(air.texts(CLEO), ["by hand"]);
    let from = air.events[CLEO]
        .iter()
        .find_map(|event| if let Event::Private { from, .. } = event { Some(*from) } else { None });
    assert_eq!((from, air.nodes[BEN].letters()), (Some(air.me(ANNA)), 0));
    // When the two meet, the text is sent again, and Anna learns that it arrived.
    air.wire(ANNA, CLEO);
    air.run(30_000);
    assert_eq!(air.state(ANNA, "1"), Some(Delivery::Delivered));
}

fn again(air: &mut Air, who: usize) {
    let state = air.nodes[who].mail_state();
    let mut node = Node::new(identity(who as u8), air.nodes[who].config.clone(), [99; 32]);
    node.restore_mail(&state);
    air.nodes[who] = node;
    for whom in 0..air.nodes.len() {
        pinned(air, who, whom);
    }
}

#[test]
fn a_letter_is_sealed_to_a_one_time_key_that_was_heard_of_from_others_and_that_key_goes() {
    let mut air = three();
    air.wire(BEN, CLEO);
    air.run(5_000);
    air.cut(BEN, CLEO);
    air.wire(ANNA, BEN);
    air.run(70_000);
    again(&mut air, ANNA);
    air.wire(ANNA, BEN);
    let cleo = air.me(CLEO);
    air.nodes[ANNA].tell(cleo, "1".to_owned(), "by hand".to_owned(), air.now).unwrap();
    air.run(15_000);
    let key = air.nodes[BEN].mail.carried[0].letter.prekey.expect("sealed to a key that is never given up");
    air.cut(ANNA, BEN);
    again(&mut air, CLEO);
    air.wire(BEN, CLEO);
    air.run(10_000);
    assert_eq!(air.texts(CLEO), ["by hand"]);
    // Other copies may still be on the way; two days later the letter cannot be opened any more.
    let later = air.now + 49 * 3_600_000;
    assert!(air.nodes[CLEO].prekey_secret(key).is_some());
    again(&mut air, CLEO);
    air.nodes[CLEO].offer_prekeys(later);
    assert!(air.nodes[CLEO].prekey_secret(key).is_none());
}

#[test]
fn used_keys_are_replaced_before_there_are_none() {
    let mut air = three();
    air.wire(ANNA, BEN);
    air.run(2_000);
    let offered = |air: &mut Air| {
        let now = air.now;
        let keys: std::collections::BTreeSet<u32> = (0..200)
            .filter_map(|_| air.nodes[ANNA].prekey_of(identity(BEN as u8).peer(), now))
            .map(|(id, _)| id)
            .collect();
        keys
    };
    let first = offered(&mut air);
    assert_eq!(first.len(), 8);
    for id in first.iter().take(5) {
        let now = air.now;
        air.nodes[BEN].use_prekey(*id, now);
    }
    air.run(2_000);
    assert_eq!(offered(&mut air), first, "three are enough");
    let sixth = *first.iter().nth(5).unwrap();
    let now = air.now;
    air.nodes[BEN].use_prekey(sixth, now);
    air.run(2_000);
    assert_eq!(offered(&mut air), first, "not more often than each minute");
    air.run(60_000);
    let second = offered(&mut air);
    assert_eq!((second.len(), second.intersection(&first).count()), (8, 2));
    // Nobody can offer keys under the id of another.
    let stranger = identity(9);
    let forged = crate::Prekeys::offer(&stranger, vec![(1, [7; 32])], air.now + 1_000);
    let frame = Frame::new(Kind::PREKEYS, air.me(BEN), air.now, forged.encode().unwrap()).signed(&stranger);
    air.nodes[ANNA].handle_bytes(LinkId(BEN as u64), &frame.encode(), air.now);
    assert_eq!(offered(&mut air), second);
    // A peer that uses the keys up without end does not fill the store.
    for minute in 0..100 {
        let now = air.now + minute * 60_000;
        air.nodes[BEN].offer_prekeys(now);
        for id in air.nodes[BEN].mail.keys.ids() {
            air.nodes[BEN].use_prekey(id, now);
        }
    }
    assert!(air.nodes[BEN].mail.keys.ids().len() <= 256 + 8);
}

#[test]
fn who_carries_gives_half_to_others_who_do_and_takes_little_from_one() {
    let mut air = Air::new(&["anna", "ben", "cleo", "dora"]);
    for node in &mut air.nodes {
        node.config.capabilities = Capabilities::PREKEYS;
    }
    pinned(&mut air, ANNA, 9);
    let away = identity(9).peer();
    air.wire(ANNA, BEN);
    air.run(1_000);
    for n in 0..4 {
        air.nodes[ANNA].tell(away, n.to_string(), "text".to_owned(), air.now).unwrap();
    }
    air.run(15_000);
    assert_eq!(air.nodes[BEN].letters(), 2, "two of one who is no favourite");
    assert_eq!(air.nodes[ANNA].letters(), 0);
    air.cut(ANNA, BEN);
    air.wire(BEN, CLEO);
    air.run(5_000);
    air.cut(BEN, CLEO);
    air.wire(CLEO, 3);
    air.run(5_000);
    let copies =
        |n: usize| air.nodes[n].mail.carried.iter().map(|carried| carried.letter.copies).collect::<Vec<_>>();
    assert_eq!([BEN, CLEO, 3].map(copies), [[2, 2], [1, 1], [1, 1]]);
    // A day later nobody carries anything.
    for n in [BEN, CLEO, 3] {
        let later = air.now + 26 * 3_600_000;
        air.nodes[n].hand_out(later);
        assert_eq!(air.nodes[n].letters(), 0);
    }
}

#[test]
fn a_favourite_may_leave_more_and_nobody_may_fill_it() {
    let mut air = Air::new(&["ben"]);
    let deposit = |air: &mut Air, from: u8, count: u8| {
        let sender = identity(from);
        let announce = crate::Announce {
            nickname: "x".to_owned(),
            keys: sender.keys(),
            capabilities: Some(Capabilities::PREKEYS),
            ..crate::Announce::default()
        };
        air.nodes[0].handle_link_up(LinkId(u64::from(from)), 512, air.now);
        let frame =
            Frame::new(Kind::ANNOUNCE, sender.peer(), air.now, announce.encode().unwrap()).signed(&sender);
        air.nodes[0].handle_bytes(LinkId(u64::from(from)), &frame.encode(), air.now);
        for n in 0..count {
            let message = crate::MessageText { id: n.to_string(), text: "t".to_owned() };
            let letter = crate::Letter::seal(
                &sender,
                &identity(140).keys().noise,
                None,
                &message,
                &[n + 1; 32],
                air.now,
            )
            .unwrap();
            let frame = Frame::new(
                Kind::COURIER,
                sender.peer(),
                air.now + 1 + u64::from(n),
                letter.encode().unwrap(),
            )
            .to(air.nodes[0].me())
            .signed(&sender);
            air.nodes[0].handle_bytes(LinkId(u64::from(from)), &frame.encode(), air.now);
        }
    };
    air.nodes[0].set_favourite(identity(50).peer(), true);
    deposit(&mut air, 50, 9);
    assert_eq!(air.nodes[0].letters(), 5);
    for from in 60..90 {
        deposit(&mut air, from, 3);
    }
    assert_eq!(air.nodes[0].letters(), 25, "twenty of people who are no favourites");
}

#[test]
fn a_letter_in_somebody_elses_name_is_not_carried() {
    let mut air = three();
    air.wire(ANNA, BEN);
    air.run(1_000);
    let message = crate::MessageText { id: "1".to_owned(), text: "t".to_owned() };
    let letter =
        crate::Letter::seal(&identity(0), &identity(9).keys().noise, None, &message, &[5; 32], air.now)
            .unwrap();
    let unsigned = Frame::new(Kind::COURIER, air.me(ANNA), air.now, letter.encode().unwrap()).to(air.me(BEN));
    let forged = unsigned.clone().signed(&identity(7));
    for frame in [unsigned, forged] {
        air.nodes[BEN].handle_bytes(LinkId(ANNA as u64), &frame.encode(), air.now);
        assert_eq!(air.nodes[BEN].letters(), 0);
    }
}

/// A text of Anna waits for Cleo, and Ben carries it; both have a note on the board and one-time keys.
/// Their clocks are wrong for half a minute, by forty days either way.
#[test]
fn a_clock_that_was_wrong_for_a_while_ends_nothing_and_days_that_passed_do() {
    const DAY: i64 = 86_400_000;
    let mut air = three();
    air.wire(ANNA, BEN);
    let cleo = air.me(CLEO);
    air.run(2_000);
    air.nodes[ANNA].tell(cleo, "1".to_owned(), "by hand".to_owned(), air.now).unwrap();
    air.nodes[ANNA].pin_note([3; 16], "soup at the hut", false, 24 * 3_600_000, air.now).unwrap();
    air.run(25_000);
    let kept = |air: &Air| {
        let notes = crate::notes_in(&air.nodes[BEN].board_state()).len();
        (air.state(ANNA, "1"), air.nodes[BEN].letters(), notes, air.nodes[BEN].mail.keys.ids())
    };
    let before = kept(&air);
    assert_eq!((before.0, before.1, before.2, before.3.is_empty()), (Some(Delivery::Carried), 1, 1, false));
    for by in [40 * DAY, -40 * DAY, -40 * DAY, 40 * DAY] {
        for n in [ANNA, BEN] {
            air.skew[n] += by;
            let now = air.time(n);
            air.nodes[n].handle_clock_set(now, by);
        }
        air.run(15_000);
        // A restart meanwhile loses nothing either.
        let (mail, board) = (air.nodes[BEN].mail_state(), air.nodes[BEN].board_state());
        air.nodes[BEN].mail.carried.clear();
        air.nodes[BEN].restore_mail(&mail);
        air.nodes[BEN].restore_board(&board);
        air.run(15_000);
        assert_eq!(kept(&air), before, "set by {} days", by / DAY);
    }
    air.now += 40 * DAY.unsigned_abs();
    air.run(20_000);
    let after = kept(&air);
    assert_eq!((after.0, after.1, after.2), (Some(Delivery::Failed), 0, 0));
    assert!(!after.3.iter().any(|id| before.3.contains(id)), "forty days later there are other keys");
}

proptest! {
    #[test]
    fn what_was_written_down_is_read_whatever_it_is(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut air = three();
        air.nodes[BEN].restore_mail(&bytes);
        air.nodes[BEN].restore_mail(&[&[1], bytes.as_slice()].concat());
        prop_assert!(air.nodes[BEN].letters() <= 40);
    }
}
