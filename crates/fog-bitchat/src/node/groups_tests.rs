use super::*;
use crate::group::{Group, Member};

const ANNA: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;
const HIKERS: [u8; 16] = [7; 16];

fn member(n: usize, name: &str) -> Member {
    Member::of(&identity(n as u8).keys(), name)
}

/// Anna, linked to Ben and Cleo, makes a group with both.
fn made() -> Air {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(ANNA, BEN);
    air.wire(ANNA, CLEO);
    air.run(2_000);
    let now = air.now;
    air.nodes[ANNA]
        .make_group(HIKERS, "hikers", vec![member(BEN, "ben"), member(CLEO, "cleo")], now)
        .unwrap();
    air.run(3_000);
    air
}

fn said(air: &Air, n: usize) -> Vec<(PeerId, &str, &str)> {
    let texts = air.events[n].iter().filter_map(|event| match event {
        Event::GroupText { group: HIKERS, from, nickname, text, .. } => {
            Some((*from, nickname.as_str(), text.as_str()))
        }
        _ => None,
    });
    texts.collect()
}

fn say(air: &mut Air, n: usize, text: &str) {
    let now = air.now;
    air.nodes[n].say_in_group(HIKERS, format!("{n} {text}"), text, now).unwrap();
    air.run(2_000);
}

#[test]
fn members_talk_and_others_pass_it_on_unread() {
    let mut air = made();
    let (anna, ben) = (air.me(ANNA), air.me(BEN));
    for n in [BEN, CLEO] {
        assert!(air.events[n].contains(&Event::Invited {
            group: HIKERS,
            name: "hikers".to_owned(),
            from: anna
        }));
        assert_eq!(
            air.nodes[n].groups().map(|group| (group.epoch, group.members.len())).collect::<Vec<_>>(),
            [(1, 3)]
        );
    }
    say(&mut air, BEN, "at the hut");
    assert_eq!(
        (said(&air, ANNA), said(&air, CLEO)),
        (vec![(ben, "ben", "at the hut")], vec![(ben, "ben", "at the hut")])
    );
    assert!(said(&air, BEN).is_empty(), "its own words do not come back");
}

#[test]
fn who_is_taken_out_reads_nothing_more_and_who_is_taken_in_nothing_of_before() {
    let mut air = made();
    let (ben, cleo) = (air.me(BEN), air.me(CLEO));
    let now = air.now;
    assert_eq!(air.nodes[BEN].remove_from_group(HIKERS, cleo, now), Err(GroupError::NotMine));
    assert_eq!(air.nodes[ANNA].add_to_group(HIKERS, member(BEN, "ben"), now), Err(GroupError::NoChange));
    assert_eq!(air.nodes[ANNA].add_to_group([0; 16], member(BEN, "ben"), now), Err(GroupError::Unknown));
    air.nodes[ANNA].remove_from_group(HIKERS, ben, now).unwrap();
    air.run(2_000);
    say(&mut air, ANNA, "without ben");
    assert_eq!((said(&air, BEN).len(), said(&air, CLEO).len()), (0, 1));
    // Ben still has the old key: nobody accepts what he says with it.
    say(&mut air, BEN, "still here");
    assert_eq!((said(&air, ANNA).len(), said(&air, CLEO).len()), (0, 1));
    let now = air.now;
    air.nodes[ANNA].add_to_group(HIKERS, member(BEN, "ben"), now).unwrap();
    air.run(2_000);
    say(&mut air, CLEO, "welcome back");
    let words: Vec<&str> = said(&air, BEN).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(words, ["welcome back"], "not what was said in between, though it is kept for who missed it");
    assert_eq!(air.nodes[BEN].groups().next().map(|group| group.epoch), Some(3));
}

#[test]
fn a_member_who_was_away_is_told_and_hears_what_was_said() {
    let mut air = Air::new(&["anna", "ben", "cleo"]);
    air.wire(ANNA, BEN);
    air.run(2_000);
    let now = air.now;
    air.nodes[ANNA]
        .make_group(HIKERS, "hikers", vec![member(BEN, "ben"), member(CLEO, "cleo")], now)
        .unwrap();
    air.run(2_000);
    say(&mut air, BEN, "early");
    // Anna's device restarts with its stored groups.
    let state = air.nodes[ANNA].groups_state();
    let mut again = Node::new(identity(ANNA as u8), air.nodes[ANNA].config.clone(), [77; 32]);
    again.restore_groups(&state);
    air.cut(ANNA, BEN);
    air.nodes[ANNA] = again;
    air.wire(ANNA, BEN);
    air.wire(ANNA, CLEO);
    air.run(60_000);
    assert_eq!(said(&air, CLEO).len(), 1, "the text is kept, and what came before its key too");
    assert_eq!(groups_in(&state).len(), 1);
    for cut in 0..state.len() {
        assert!(groups_in(&state[..cut]).len() <= 1);
    }
}

#[test]
fn who_left_stays_out_until_asked_again() {
    let mut air = made();
    assert_eq!(air.nodes[BEN].leave_group(HIKERS), Ok(()));
    assert_eq!(air.nodes[BEN].leave_group(HIKERS), Err(GroupError::Unknown));
    // A new session, and a change, tell the members again.
    air.cut(ANNA, BEN);
    air.run(1_000);
    air.wire(ANNA, BEN);
    let (cleo, ben) = (air.me(CLEO), air.me(BEN));
    air.run(30_000);
    let now = air.now;
    air.nodes[ANNA].remove_from_group(HIKERS, cleo, now).unwrap();
    air.run(5_000);
    assert_eq!(air.nodes[BEN].groups().count(), 0);
    // A member who is removed and added again gets an invitation.
    let now = air.now;
    air.nodes[ANNA].remove_from_group(HIKERS, ben, now).unwrap();
    air.nodes[ANNA].add_to_group(HIKERS, member(BEN, "ben"), now).unwrap();
    air.run(5_000);
    assert_eq!(air.nodes[BEN].groups().count(), 1);
}

#[test]
fn of_very_many_left_groups_the_one_left_first_is_forgotten() {
    let mut air = Air::new(&["anna"]);
    let ids: Vec<[u8; 16]> = (0..=200u8).rev().map(|n| [n; 16]).collect();
    for id in &ids {
        air.nodes[ANNA].make_group(*id, "hikers", Vec::new(), 0).unwrap();
        air.nodes[ANNA].leave_group(*id).unwrap();
    }
    let state = air.nodes[ANNA].groups_state();
    let remembers = |id: &[u8; 16]| state.windows(16).any(|window| window == id);
    assert!(!remembers(&ids[0]) && ids[1..].iter().all(remembers));
}

#[test]
fn nobody_takes_over_a_group_of_somebody_else() {
    let mut air = made();
    air.wire(BEN, CLEO);
    air.run(2_000);
    let cleo = air.me(CLEO);
    // Ben makes a group with the same id and tells Cleo.
    let forged = Group::make(
        &identity(BEN as u8),
        HIKERS,
        "hikers",
        [1; 32],
        9,
        vec![member(BEN, "ben"), member(CLEO, "cleo")],
    );
    let now = air.now;
    air.nodes[BEN].begin_session(cleo, now);
    air.run(2_000);
    let now = air.now;
    assert!(air.nodes[BEN].send_in_session(cleo, &crate::Inner::GroupUpdate(forged.encode().unwrap()), now));
    // Ben also forwards Anna's invitation as if it were his.
    let anna_s = air.nodes[BEN].groups().next().unwrap().encode().unwrap();
    assert!(air.nodes[BEN].send_in_session(cleo, &crate::Inner::GroupInvite(anna_s), now));
    air.run(2_000);
    let known: Vec<u32> = air.nodes[CLEO].groups().map(|group| group.epoch).collect();
    assert_eq!(known, [1]);
}

#[test]
fn what_went_into_a_link_that_was_dead_is_said_again_on_the_next() {
    let mut air = made();
    // Cleo's device restarts; Anna does not notice that the link is down, and what she sends is lost.
    let mut again = Node::new(identity(CLEO as u8), air.nodes[CLEO].config.clone(), [77; 32]);
    again.restore_groups(&air.nodes[CLEO].groups_state());
    air.nodes[CLEO] = again;
    let (ben, cleo, now) = (air.me(BEN), air.me(CLEO), air.now);
    air.nodes[ANNA].remove_from_group(HIKERS, ben, now).unwrap();
    air.nodes[ANNA].tell(cleo, "1".to_owned(), "lost".to_owned(), now).unwrap();
    air.run(4_000);
    assert_eq!(
        (air.nodes[CLEO].groups().next().map(|group| group.epoch), air.texts(CLEO).len()),
        (Some(1), 0)
    );
    air.second_wire(ANNA, CLEO);
    air.run(6_000);
    assert_eq!(
        (air.nodes[CLEO].groups().next().map(|group| group.epoch), air.texts(CLEO)),
        (Some(2), vec!["lost"])
    );
}

#[test]
fn a_member_whose_device_starts_anew_hears_of_a_change_at_once() {
    for pause in [0, 50, 200, 500, 1_000, 3_000, 20_000] {
        for is_fog_peer in [false, true] {
            let mut air = made();
            air.cut(ANNA, CLEO);
            air.run(500);
            for n in [ANNA, CLEO] {
                air.nodes[n].config.is_fog_peer = is_fog_peer;
                air.nodes[n].config.capabilities = Capabilities::PREKEYS;
            }
            let mut again = Node::new(identity(CLEO as u8), air.nodes[CLEO].config.clone(), [77; 32]);
            again.restore_groups(&air.nodes[CLEO].groups_state());
            air.nodes[CLEO] = again;
            air.wire(ANNA, CLEO);
            air.run(pause);
            let (ben, now) = (air.me(BEN), air.now);
            air.nodes[ANNA].remove_from_group(HIKERS, ben, now).unwrap();
            air.run(8_000);
            assert_eq!(
                air.nodes[CLEO].groups().next().map(|group| group.epoch),
                Some(2),
                "{pause} {is_fog_peer}"
            );
        }
    }
}
