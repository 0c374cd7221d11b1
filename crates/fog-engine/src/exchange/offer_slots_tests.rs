//! Tests of requesters whose files never arrive, beside those whose files do.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_grid::{Evidence, Relation, TaskOffer};
use fog_types::NodeId;

use crate::directory::Peer;
use crate::exchange::Arrival;
use crate::exchange::unfetched_results_tests::{host, offer, offer_of};
use crate::test_engine::{TestEngine, test_engine};

const HOUR_MS: u64 = 3_600_000;
/// Milliseconds that a transfer waits for its first byte.
const SILENT_MS: u64 = 20_000;

/// Creates a host with this many places.
fn host_of(cores: i64) -> TestEngine {
    let mut host = host();
    host.engine.set_settings([("cores".to_owned(), cores.into())].into()).unwrap();
    host
}

/// Connects a device from this address.
fn comes(host: &mut TestEngine, device: &TestEngine, relation: Relation, address: &str) -> NodeId {
    let node = device.engine.ctx.me().unwrap();
    let route = fog_transport::Route {
        transport: "memory",
        is_relayed: false,
        is_local: true,
        address: address.to_owned(),
    };
    host.engine
        .ctx
        .directory
        .peers
        .insert(node, Peer { relation: Some(relation), route: Some(route), ..Peer::default() });
    node
}

fn member(host: &mut TestEngine, device: &TestEngine) -> NodeId {
    comes(host, device, Relation::Group("home".to_owned()), "/ip4/10.0.0.7/tcp/4")
}

fn is_taken(host: &TestEngine, offer: &TaskOffer) -> bool {
    host.engine.exchange.arriving.contains_key(&offer.lease)
}

/// Reports that no file of the offer arrived.
fn fails(host: &mut TestEngine, offer: TaskOffer) {
    let files = Err("a file could not be fetched: the other side is silent".to_owned());
    host.engine
        .exchange
        .arrived(&mut host.engine.ctx, Arrival { offer, offer_hash: [0; 32], files })
        .unwrap();
}

#[tokio::test]
async fn a_member_whose_files_never_come_rests_longer_and_longer() {
    let (mut hog, mut host) = (test_engine(), host_of(2));
    let node = member(&mut host, &hog);
    // A single broken link has no consequence.
    let first = offer_of(&mut hog, &mut host, HOUR_MS);
    host.clock.pass(SILENT_MS);
    fails(&mut host, first);
    let mut taken = 0;
    for _ in 0..HOUR_MS / SILENT_MS {
        let next = offer_of(&mut hog, &mut host, 9 * HOUR_MS);
        host.clock.pass(SILENT_MS);
        if is_taken(&host, &next) {
            taken += 1;
            fails(&mut host, next);
        } else {
            assert!(taken > 0, "one that broke counts for nothing");
            assert!(
                host.engine.exchange.turned_away.contains(&node),
                "it is not told when it may come again"
            );
        }
    }
    assert!(taken < 10, "it held a place {taken} times in an hour");
    // A day later the requester is treated as any other.
    host.clock.pass(24 * HOUR_MS);
    let next = offer(&mut hog, &mut host, HOUR_MS);
    assert!(host.engine.exchange.arriving.contains_key(&next));
}

#[tokio::test]
async fn one_broken_link_counts_once_however_much_was_on_its_way() {
    let (mut honest, mut host) = (test_engine(), host_of(2));
    member(&mut host, &honest);
    // Each offer takes all the places it may have, so both are inserted by hand.
    let first = offer_of(&mut honest, &mut host, HOUR_MS);
    let arriving = host.engine.exchange.arriving.remove(&first.lease).unwrap();
    let second = offer_of(&mut honest, &mut host, HOUR_MS);
    host.engine.exchange.arriving.insert(first.lease, arriving);
    host.clock.pass(SILENT_MS);
    for offer in [first, second] {
        assert!(is_taken(&host, &offer));
        fails(&mut host, offer);
    }
    let again = offer_of(&mut honest, &mut host, HOUR_MS);
    assert!(is_taken(&host, &again));
}

#[tokio::test]
async fn devices_without_a_secret_rest_by_their_address() {
    let mut host = host_of(2);
    let mut taken = 0;
    for _ in 0..6 {
        let mut name = test_engine();
        comes(&mut host, &name, Relation::Lan, "/ip4/10.0.0.9/tcp/4");
        let next = offer_of(&mut name, &mut host, HOUR_MS);
        host.clock.pass(1000);
        if is_taken(&host, &next) {
            taken += 1;
            fails(&mut host, next);
        }
    }
    assert_eq!(taken, 2, "each new name has all places again");
    // Another device, and a member at the same address, are not affected.
    let (mut other, mut friend) = (test_engine(), test_engine());
    comes(&mut host, &other, Relation::Lan, "/ip4/10.0.0.10/tcp/4");
    let others = offer_of(&mut other, &mut host, HOUR_MS);
    assert!(is_taken(&host, &others));
    fails(&mut host, others);
    comes(&mut host, &friend, Relation::Group("home".to_owned()), "/ip4/10.0.0.9/tcp/4");
    let friends = offer_of(&mut friend, &mut host, HOUR_MS);
    assert!(is_taken(&host, &friends));
}

#[tokio::test]
async fn a_place_is_left_for_those_whose_files_came() {
    let mut host = host_of(2);
    if host.engine.exchange.capacity(&host.engine.ctx).slots < 2 {
        return;
    }
    let (mut one, mut two, mut honest) = (test_engine(), test_engine(), test_engine());
    let node = member(&mut host, &honest);
    host.engine.ctx.judge(node, Evidence::saw_receipt);
    member(&mut host, &one);
    member(&mut host, &two);
    let first = offer_of(&mut one, &mut host, HOUR_MS);
    assert!(is_taken(&host, &first));
    let second = offer_of(&mut two, &mut host, HOUR_MS);
    assert!(!is_taken(&host, &second), "names that were made for nothing have all places");
    let own = offer_of(&mut honest, &mut host, HOUR_MS);
    assert!(is_taken(&host, &own));
    // No reliable requester is connected.
    host.engine.exchange.arriving.clear();
    host.engine.ctx.directory.peers.remove(&node);
    let (first, second) = (offer_of(&mut one, &mut host, HOUR_MS), offer_of(&mut two, &mut host, HOUR_MS));
    assert!(is_taken(&host, &first) && is_taken(&host, &second));
}

#[tokio::test]
async fn while_others_wait_an_offer_of_which_nothing_comes_ends_soon() {
    let (mut hog, mut honest, mut host) = (test_engine(), test_engine(), host_of(1));
    member(&mut host, &hog);
    member(&mut host, &honest);
    let silent = offer_of(&mut hog, &mut host, HOUR_MS);
    host.clock.pass(6000);
    host.engine.exchange.host_tick(&mut host.engine.ctx);
    assert!(is_taken(&host, &silent), "nobody waits");
    let other = offer_of(&mut honest, &mut host, HOUR_MS);
    assert!(!is_taken(&host, &other));
    host.engine.exchange.host_tick(&mut host.engine.ctx);
    assert!(!is_taken(&host, &silent), "it holds the only place, and others wait");
    let other = offer_of(&mut honest, &mut host, HOUR_MS);
    assert!(is_taken(&host, &other));
}
