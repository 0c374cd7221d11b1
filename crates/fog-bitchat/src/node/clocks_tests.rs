use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn clock_off(air: &Air, n: usize) -> Option<(i64, u32)> {
    let mut told = air.events[n].iter().filter_map(|event| {
        if let Event::ClockOff { millis, peers } = event { Some((*millis, *peers)) } else { None }
    });
    told.next_back()
}

/// Two nodes whose clocks differ by `skew` see each other, know the difference, and exchange messages.
fn meet_and_talk(skew: i64) {
    let mut air = Air::new(&["anna", "ben"]);
    air.skew[1] = skew;
    air.wire(0, 1);
    air.run(3_000);
    let person = |n: usize| {
        air.nodes[n]
            .people()
            .into_iter()
            .next()
            .map(|person| (person.nickname, person.is_linked, person.clock_off))
    };
    let near = |off: Option<(String, bool, i64)>, skew: i64| {
        off.is_some_and(|(_, is_linked, off)| is_linked && off.abs_diff(skew) < 5_000)
    };
    assert!(near(person(0), skew) && near(person(1), -skew), "{skew}: {:?}, {:?}", person(0), person(1));
    let told = [clock_off(&air, 0), clock_off(&air, 1)];
    assert!(told[0].is_some_and(|(off, peers)| off.abs_diff(skew) < 5_000 && peers == 1), "{skew}: {told:?}");
    assert!(
        told[1].is_some_and(|(off, peers)| off.abs_diff(-skew) < 5_000 && peers == 1),
        "{skew}: {told:?}"
    );
    let (anna, ben, of_anna, of_ben) = (air.me(0), air.me(1), air.time(0), air.time(1));
    air.nodes[0].say_to_all("hello from anna", of_anna);
    air.nodes[1].say_to_all("hello from ben", of_ben);
    air.nodes[0].tell(ben, "m1".to_owned(), "for you alone".to_owned(), of_anna).unwrap();
    air.nodes[1].tell(anna, "m2".to_owned(), "and for you".to_owned(), of_ben).unwrap();
    air.nodes[0].pin_note([1; 16], "a note of anna", false, 48 * HOUR as u64, of_anna).unwrap();
    air.nodes[1].pin_note([2; 16], "a note of ben", false, 48 * HOUR as u64, of_ben).unwrap();
    air.run(5_000);
    let (mut first, mut second) = (air.texts(0), air.texts(1));
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!(
        (first, second),
        (vec!["and for you", "hello from ben"], vec!["for you alone", "hello from anna"]),
        "{skew}"
    );
    assert_eq!(
        (air.state(0, "m1"), air.state(1, "m2")),
        (Some(Delivery::Delivered), Some(Delivery::Delivered)),
        "{skew}"
    );
    let notes = |n: usize| air.events[n].iter().filter(|event| matches!(event, Event::Note(_))).count();
    // A note that would stay for more than a year is rejected, and so is one that has expired.
    let has_notes = usize::from(skew.abs() <= DAY);
    assert_eq!((notes(0), notes(1)), (has_notes, has_notes), "{skew}");
    // Both stay: later announces carry the same difference.
    air.run(120_000);
    assert!(
        near(
            air.nodes[0].people().into_iter().next().map(|person| (
                person.nickname,
                person.is_linked,
                person.clock_off
            )),
            skew
        ),
        "{skew}"
    );
    assert!(
        !air.events[0].iter().chain(&air.events[1]).any(|event| matches!(event, Event::Gone(_))),
        "{skew}"
    );
}

#[test]
fn two_whose_clocks_are_minutes_hours_and_a_day_apart_meet_and_talk() {
    for skew in [11 * MINUTE, -11 * MINUTE, 2 * HOUR, -2 * HOUR, DAY, -DAY, 400 * DAY] {
        meet_and_talk(skew);
    }
}

#[test]
fn a_clock_that_is_a_little_off_is_told_and_one_that_agrees_is_not() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(20_000);
    assert_eq!(clock_off(&air, 0), None);
    let mut air = Air::new(&["anna", "ben"]);
    air.skew[1] = 3 * MINUTE;
    air.wire(0, 1);
    air.run(500);
    assert!(
        clock_off(&air, 0).is_some_and(|(off, _)| off.abs_diff(3 * MINUTE) < 1_000),
        "{:?}",
        clock_off(&air, 0)
    );
}

#[test]
fn whose_clock_is_wrong_shows_when_there_are_several_and_ends_when_it_is_put_right() {
    let mut air = Air::new(&["anna", "ben", "cleo", "dora"]);
    air.skew[0] = 2 * HOUR;
    for other in 1..4 {
        air.wire(0, other);
    }
    air.wire(1, 2);
    air.wire(2, 3);
    air.run(40_000);
    // Three neighbours agree that Anna's clock is off; each of them knows that the error is hers.
    assert!(
        clock_off(&air, 0).is_some_and(|(off, peers)| off.abs_diff(-2 * HOUR) < 5_000 && peers == 3),
        "{:?}",
        clock_off(&air, 0)
    );
    for other in 1..4 {
        assert!(
            clock_off(&air, other).is_none_or(|(off, _)| off == 0),
            "{other}: {:?}",
            clock_off(&air, other)
        );
        let anna = air.nodes[other].person(air.me(0)).map(|person| person.clock_off);
        assert!(anna.is_some_and(|off| off.abs_diff(2 * HOUR) < 5_000), "{other}: {anna:?}");
    }
    air.skew[0] = 0;
    let now = air.now;
    air.nodes[0].handle_clock_set(now, -2 * HOUR);
    air.run(40_000);
    assert_eq!(clock_off(&air, 0), Some((0, 0)));
    let anna = air.nodes[1].person(air.me(0)).map(|person| person.clock_off);
    assert_eq!(anna, Some(0));
}

#[test]
fn somebody_whose_clock_is_off_is_heard_and_answered_through_others() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.skew[0] = -DAY;
    air.wire(0, 1);
    air.wire(1, 2);
    air.run(60_000);
    let (anna, cleo, of_anna, of_cleo) = (air.me(0), air.me(2), air.time(0), air.time(2));
    air.nodes[0].say_to_all("from yesterday", of_anna);
    air.nodes[0].tell(cleo, "m1".to_owned(), "alone".to_owned(), of_anna).unwrap();
    air.nodes[2].tell(anna, "m2".to_owned(), "back".to_owned(), of_cleo).unwrap();
    air.run(40_000);
    assert!(
        air.texts(2).contains(&"from yesterday") && air.texts(2).contains(&"alone"),
        "{:?}",
        air.texts(2)
    );
    assert_eq!(
        (air.state(0, "m1"), air.state(2, "m2")),
        (Some(Delivery::Delivered), Some(Delivery::Delivered))
    );
}

#[test]
fn who_comes_late_hears_what_was_said_by_somebody_whose_clock_is_off() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.skew[0] = -DAY;
    air.wire(0, 1);
    air.run(3_000);
    let of_anna = air.time(0);
    air.nodes[0].say_to_all("before you came", of_anna);
    air.run(3_000);
    air.wire(1, 2);
    air.run(90_000);
    assert!(air.texts(2).contains(&"before you came"), "{:?}", air.texts(2));
}

#[test]
fn a_recording_of_yesterday_makes_nobody_present() {
    let mut air = Air::new(&["anna", "ben"]);
    air.wire(0, 1);
    air.run(500);
    let absent = identity(60);
    let announce =
        crate::Announce { nickname: "cleo".to_owned(), keys: absent.keys(), ..crate::Announce::default() };
    let recording =
        Frame::new(Kind::ANNOUNCE, absent.peer(), air.now - DAY as u64, announce.encode().unwrap())
            .signed(&absent);
    for _ in 0..50 {
        air.nodes[0].handle_bytes(LinkId(1), &recording.encode(), air.now);
        air.run(500);
    }
    assert!(air.nodes[0].person(absent.peer()).is_none());
    assert!(
        clock_off(&air, 0).is_none_or(|(off, _)| off == 0),
        "nor is this clock believed to be wrong: {:?}",
        clock_off(&air, 0)
    );
    assert!(air.nodes[0].doubted.len() <= 1 && air.nodes[0].unasked.len() <= 3);
    // A recording of somebody who is present does not change the time of what they say.
    let ben = identity(1);
    let announce =
        crate::Announce { nickname: "ben".to_owned(), keys: ben.keys(), ..crate::Announce::default() };
    let recording =
        Frame::new(Kind::ANNOUNCE, ben.peer(), air.now - DAY as u64, announce.encode().unwrap()).signed(&ben);
    air.nodes[0].handle_bytes(LinkId(1), &recording.encode(), air.now);
    let of_ben = air.time(1);
    air.nodes[1].say_to_all("I am here", of_ben);
    air.run(3_000);
    assert_eq!(air.texts(0), ["I am here"]);
}
