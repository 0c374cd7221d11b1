//! Tests of networks with several engines over a network in memory.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_api::NetworkCommand;
use fog_types::ErrorKind;

use crate::scenario::Town;
use crate::test_engine::prelude::*;

fn invitation(reply: Result<Reply, ApiError>) -> (String, String) {
    let Ok(Reply::Invite { group, text }) = reply else { panic!("{reply:?}") };
    (group, text)
}

#[tokio::test]
async fn devices_of_the_local_network_meet_and_one_that_leaves_is_a_stranger() {
    let mut town = Town::of(3);
    for who in 0..2 {
        town.join(who, "lan").unwrap();
    }
    // The third one joined another network, and can reach them all the same.
    town.join(2, "open").unwrap();
    town.until("two meet", |town| town.shared(0, 1) == "lan" && town.shared(1, 0) == "lan").await;
    town.until("the third is seen", |town| town.view(0).peers.len() == 2).await;
    assert_eq!((town.shared(0, 2), town.shared(2, 0)), (String::new(), String::new()));
    let Ok(Reply::Network(view)) = town.ask(1, Command::Network(NetworkCommand::Leave { name: None })) else {
        panic!("it stays")
    };
    assert!(!view.is_on && view.joined.is_empty() && view.peers.is_empty(), "{view:?}");
    town.until("it is gone", |town| town.shared(0, 1).is_empty()).await;
    let again =
        town.ask(1, Command::Network(NetworkCommand::Leave { name: Some("lan".to_owned()) })).unwrap_err();
    assert_eq!(again.kind, ErrorKind::NotFound);
    town.join(1, "lan").unwrap();
    town.until("they meet again", |town| town.shared(0, 1) == "lan" && town.shared(1, 0) == "lan").await;
}

#[tokio::test]
async fn who_has_an_invitation_is_in_the_group_and_nobody_else() {
    let mut town = Town::of(3);
    // Without an address within three seconds the invitation is given without one.
    let (answer, mut answered) = oneshot::channel();
    town.devices[0].engine.turn(|engine| {
        engine.command(Command::Network(NetworkCommand::Invite { group: Some("family".to_owned()) }), answer)
    });
    let mut invited = None;
    town.until("the invitation", |_| {
        invited = answered.try_recv().ok();
        invited.is_some()
    })
    .await;
    let (group, text) = invitation(invited.unwrap());
    assert_eq!(group, "family");
    let own = town.join(0, &text).unwrap_err();
    assert_eq!(own.kind, ErrorKind::Conflict, "{}", own.message);
    assert_eq!(town.join(2, "fog:nonsense").unwrap_err().kind, ErrorKind::BadInput);
    town.join(1, &text).unwrap();
    town.join(2, "lan").unwrap();
    town.until("the members meet", |town| town.shared(0, 1) == "family" && town.shared(1, 0) == "family")
        .await;
    town.pass(Duration::from_millis(200)).await;
    assert_eq!(
        (town.shared(0, 2), town.shared(2, 0)),
        (String::new(), String::new()),
        "a stranger is taken for a member"
    );
    // A second group of that name, made elsewhere, gets another one here.
    let (answer, mut answered) = oneshot::channel();
    town.devices[2].engine.turn(|engine| {
        engine.command(Command::Network(NetworkCommand::Invite { group: Some("family".to_owned()) }), answer)
    });
    let mut other = None;
    town.until("the second invitation", |_| {
        other = answered.try_recv().ok();
        other.is_some()
    })
    .await;
    let Ok(Reply::Network(view)) = town.join(1, &invitation(other.unwrap()).1) else {
        panic!("it does not join")
    };
    let names: Vec<&str> = view.joined.iter().map(|joined| joined.name.as_str()).collect();
    assert_eq!(names, ["family", "family 2"]);
}

#[tokio::test]
async fn a_group_outlives_a_restart_and_its_secret_is_stored_sealed() {
    let mut town = Town::of(1);
    let (answer, mut answered) = oneshot::channel();
    town.devices[0]
        .engine
        .turn(|engine| engine.command(Command::Network(NetworkCommand::Invite { group: None }), answer));
    let mut made = None;
    town.until("the invitation", |_| {
        made = answered.try_recv().ok();
        made.is_some()
    })
    .await;
    let (group, text) = invitation(made.unwrap());
    assert_eq!(group, "home");
    let invite: fog_grid::Invite = text.parse().unwrap();
    let stored = town.devices[0].engine.ctx.store.networks().unwrap();
    assert!(
        !stored[0].sealed.as_ref().unwrap().windows(32).any(|bytes| bytes == invite.group.secret),
        "anybody who has the file is in the group"
    );
    let device = town.devices.pop().unwrap().restarted();
    assert_eq!(device.engine.network_view().joined[0].name, "home");
}

#[tokio::test]
async fn a_wrong_clock_is_shown_by_those_near() {
    let mut town = Town::of(3);
    for who in 0..3 {
        town.join(who, "lan").unwrap();
    }
    town.devices[0].clock.set(-3_600_000);
    town.until("all meet", |town| {
        (0..3).all(|who| town.view(who).peers.iter().filter(|peer| peer.network == "lan").count() == 2)
    })
    .await;
    town.until("the clock is seen", |town| {
        town.view(0).clock_off_ms.is_some_and(|off| (3_590_000..3_610_000).contains(&off))
    })
    .await;
    assert_eq!((town.view(1).clock_off_ms, town.view(2).clock_off_ms), (None, None), "most clocks agree");
    let off =
        town.view(1).peers.into_iter().filter_map(|peer| peer.clock_off_ms).find(|off| *off != 0).unwrap();
    assert!((-3_610_000..=-3_590_000).contains(&off), "{off}");
}

#[tokio::test]
async fn a_metered_connection_and_a_used_up_limit_end_the_network() {
    let mut town = Town::of(2);
    for who in 0..2 {
        town.join(who, "lan").unwrap();
    }
    town.until("they meet", |town| town.shared(0, 1) == "lan").await;
    let metered = |town: &mut Town, metered| {
        let engine = &mut town.devices[0].engine;
        let readings =
            fog_eligibility::Readings { metered: Some(metered), ..engine.ctx.rules.readings().clone() };
        let now = engine.ctx.clock.moment();
        engine.ctx.rules.handle_readings(readings, now);
    };
    metered(&mut town, true);
    town.until("it is off", |town| !town.view(0).is_on && town.shared(1, 0).is_empty()).await;
    assert!(town.view(0).problem.contains("metered"), "{}", town.view(0).problem);
    metered(&mut town, false);
    town.until("it is on again", |town| {
        town.view(0).is_on && town.shared(1, 0) == "lan" && town.view(0).problem.is_empty()
    })
    .await;
    town.set(0, "data_cap", 0.000_001);
    let of = fog_transport::NodeTraffic { node: town.id(1), received: 600, sent: 600 };
    town.devices[0].engine.ctx.traffic.add(of, &fog_grid::Relation::Open);
    town.until("the limit is used up", |town| !town.view(0).is_on).await;
    assert!(town.view(0).problem.contains("data limit"), "{}", town.view(0).problem);
}
