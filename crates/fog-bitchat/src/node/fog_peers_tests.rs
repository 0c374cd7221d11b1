use super::*;

const ANNA: usize = 0;
const BEN: usize = 1;

/// Two nodes that carry letters; `is_fog_peer` tells which of them are Fog nodes.
fn two(is_fog_peer: [bool; 2]) -> Air {
    let mut air = Air::new(&["anna", "ben"]);
    for (node, is_fog_peer) in air.nodes.iter_mut().zip(is_fog_peer) {
        node.config.capabilities = Capabilities::PREKEYS;
        node.config.is_fog_peer = is_fog_peer;
    }
    air
}

fn met(air: &Air, n: usize) -> usize {
    air.events[n].iter().filter(|event| matches!(event, Event::FogPeer { .. })).count()
}

#[test]
fn fog_nodes_find_each_other_and_talk() {
    let mut air = two([true, true]);
    air.wire(ANNA, BEN);
    air.run(5_000);
    let (anna, ben) = (air.me(ANNA), air.me(BEN));
    let noise = identity(BEN as u8).keys().noise;
    assert!(air.events[ANNA].contains(&Event::FogPeer { peer: ben, noise }));
    assert_eq!((met(&air, ANNA), met(&air, BEN)), (1, 1));
    let long = vec![7; 48 << 10];
    assert!(air.nodes[ANNA].send_to_fog_peer(ben, long.clone(), air.now));
    assert!(!air.nodes[ANNA].send_to_fog_peer(ben, vec![7; (48 << 10) + 1], air.now));
    air.run(10_000);
    assert!(air.events[BEN].contains(&Event::FogPeerMessage(anna, long)));
    air.cut(ANNA, BEN);
    air.run(100);
    assert!(air.events[ANNA].contains(&Event::FogPeerGone(ben)));
    assert!(!air.nodes[ANNA].send_to_fog_peer(ben, vec![1], air.now));
    air.wire(ANNA, BEN);
    air.run(5_000);
    assert_eq!((met(&air, ANNA), met(&air, BEN)), (2, 2));
}

#[test]
fn whoever_is_none_hears_nothing_of_it() {
    let mut air = two([true, false]);
    air.wire(ANNA, BEN);
    air.run(5_000);
    let (anna, ben) = (air.me(ANNA), air.me(BEN));
    assert_eq!((met(&air, ANNA), met(&air, BEN)), (0, 0));
    assert!(!air.nodes[ANNA].send_to_fog_peer(ben, vec![1], air.now));
    // Messages for Fog nodes from a peer that is none are ignored.
    let now = air.now;
    air.nodes[BEN].begin_session(anna, now);
    air.run(1_000);
    let now = air.now;
    assert!(air.nodes[BEN].send_in_session(anna, &crate::Inner::FogPeer(vec![1]), now));
    air.run(1_000);
    assert!(!air.events[ANNA].iter().any(|event| matches!(event, Event::FogPeerMessage(..))));
}

#[test]
fn a_session_that_is_lost_begins_their_talk_anew() {
    let mut air = two([true, true]);
    air.wire(ANNA, BEN);
    air.run(5_000);
    // Ben's device restarts, and nobody notices that the link was down.
    let config = air.nodes[BEN].config.clone();
    let mut again = Node::new(identity(BEN as u8), config, [77; 32]);
    again.handle_link_up(LinkId(ANNA as u64), 512, air.now);
    air.nodes[BEN] = again;
    let (ben, now) = (air.me(BEN), air.now);
    air.nodes[ANNA].send_to_fog_peer(ben, vec![1], now);
    air.run(60_000);
    assert_eq!((met(&air, ANNA), met(&air, BEN)), (2, 2));
}

#[test]
fn a_text_that_fog_nodes_carry_is_no_letter_too() {
    let mut air = two([true, true]);
    let cleo = identity(2).keys();
    air.nodes[ANNA].pin(cleo);
    air.wire(ANNA, BEN);
    air.run(5_000);
    for id in ["1", "2"] {
        air.nodes[ANNA].tell(cleo.peer(), id.to_owned(), id.to_owned(), air.now).unwrap();
    }
    assert_eq!(
        air.nodes[ANNA].waiting().map(|(to, message, _)| (to, message.text.as_str())).collect::<Vec<_>>(),
        [(cleo.peer(), "1"), (cleo.peer(), "2")]
    );
    air.nodes[ANNA].mark_carried(cleo.peer(), "1");
    air.run(18_000);
    assert_eq!(air.nodes[BEN].letters(), 0);
    air.run(5_000);
    assert_eq!(
        (air.nodes[BEN].letters(), air.state(ANNA, "1"), air.state(ANNA, "2")),
        (1, Some(Delivery::Queued), Some(Delivery::Carried))
    );
    air.nodes[ANNA].arrived(cleo.peer(), "1".to_owned());
    air.run(100);
    assert_eq!(
        (air.state(ANNA, "1"), air.nodes[ANNA].is_waiting(cleo.peer(), "1")),
        (Some(Delivery::Delivered), false)
    );
    assert!(air.nodes[ANNA].is_waiting(cleo.peer(), "2"));
}
