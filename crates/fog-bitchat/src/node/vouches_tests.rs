use super::*;

const ANNA: usize = 0;
const BEN: usize = 1;
const CLEO: u8 = 7;

/// Anna and Ben in a session; both understand vouches.
fn met() -> Air {
    let mut air = Air::new(&["anna", "ben"]);
    air.nodes
        .iter_mut()
        .for_each(|node| node.config.capabilities = Capabilities::VOUCH.and(Capabilities::PRIVATE_MEDIA));
    air.wire(ANNA, BEN);
    air.run(1_000);
    let (now, ben) = (air.now, air.me(BEN));
    air.nodes[ANNA].tell(ben, "1".to_owned(), "hello".to_owned(), now).unwrap();
    air.run(2_000);
    assert_eq!(air.state(ANNA, "1"), Some(Delivery::Delivered));
    air
}

fn verify(air: &mut Air, who: usize, whom: u8) {
    air.nodes[who].set_verified(identity(whom).keys(), true);
}

/// Peers that others vouched for, as reported on a node.
fn heard(air: &Air, n: usize) -> Vec<PeerId> {
    let lists = air.events[n]
        .iter()
        .filter_map(|event| if let Event::Vouched { whom, .. } = event { Some(whom) } else { None });
    lists.flatten().map(crate::Vouch::peer).collect()
}

#[test]
fn who_is_verified_by_both_is_told_and_believed() {
    let mut air = met();
    verify(&mut air, ANNA, BEN as u8);
    verify(&mut air, BEN, ANNA as u8);
    air.run(3_000);
    assert!(heard(&air, BEN).is_empty(), "there is nobody else to vouch for");
    verify(&mut air, ANNA, CLEO);
    air.run(3_000);
    assert_eq!(heard(&air, BEN), [identity(CLEO).peer()]);
    let Some(Event::Vouched { by, whom }) =
        air.events[BEN].iter().find(|event| matches!(event, Event::Vouched { .. }))
    else {
        panic!("it is there")
    };
    assert!(
        *by == air.me(ANNA)
            && whom[0].is_for(&identity(CLEO).keys())
            && !whom[0].is_for(&identity(CLEO + 1).keys())
    );
    // Vouches are sent once in a session, and not while nothing changes.
    air.run(120_000);
    assert_eq!(heard(&air, BEN).len(), 1);
    // Of ninety people the newest 64, in lists of 16.
    (10..100).for_each(|n| air.nodes[ANNA].set_verified(identity(n).keys(), true));
    air.events[BEN].clear();
    air.run(3_000);
    assert_eq!((heard(&air, BEN).len(), air.longest <= 512), (64, true));
    assert!(
        heard(&air, BEN).contains(&identity(99).peer()) && !heard(&air, BEN).contains(&identity(20).peer())
    );
}

#[test]
fn nobody_is_told_who_was_not_verified_and_nobody_believes_who_was_not() {
    let mut air = met();
    verify(&mut air, ANNA, CLEO);
    air.run(3_000);
    assert!(heard(&air, BEN).is_empty(), "ben is not verified and learns nothing");
    verify(&mut air, ANNA, BEN as u8);
    air.run(3_000);
    assert!(heard(&air, BEN).is_empty(), "ben does not know that it is anna who says it");
    // Now Ben has verified Anna.
    verify(&mut air, BEN, ANNA as u8);
    air.run(10);
    assert_eq!(heard(&air, BEN), [identity(CLEO).peer()]);
    air.events[BEN].clear();
    let now = air.now;
    let list = vec![crate::Vouch::of(&identity(CLEO).keys(), &identity(CLEO), now)];
    let ben = air.me(BEN);
    air.nodes[ANNA].send_in_session(ben, &crate::Inner::Vouches(list), now);
    air.run(1_000);
    assert!(heard(&air, BEN).is_empty(), "a word that is not hers");
    // In a new session the vouches are sent again.
    air.nodes[ANNA].begin_session(ben, air.now);
    air.run(5_000);
    assert_eq!(heard(&air, BEN), [identity(CLEO).peer()]);
    // A peer that is no longer verified is not vouched for any more.
    air.nodes[ANNA].set_verified(identity(CLEO).keys(), false);
    air.events[BEN].clear();
    air.run(5_000);
    assert!(heard(&air, BEN).is_empty());
}
