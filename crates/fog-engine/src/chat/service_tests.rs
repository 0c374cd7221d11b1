#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_bitchat::Delivery;

use super::*;
use crate::chat::store_and_forward::BundleEffect;
use crate::clock::tests::Fake;

const DAY_MS: i64 = 86_400_000;

fn running(source: Arc<Fake>, gap: i64) -> Running {
    let identity = Identity::new([1; 32], [2; 32]);
    let me = identity.keys();
    let (to, _) = mpsc::channel(8);
    let mut clock = Clock::new(source, gap);
    let node = Node::new(identity, Config { nickname: "anna".to_owned(), ..Config::default() }, [3; 32]);
    let relay = BundleRelay::restore(me.peer(), [4; 32], &[], &[], 0, clock.look().now);
    Running::new(
        node,
        (me, "anna".to_owned()),
        relay,
        clock,
        Listener { number: 1, to },
        fog_ble::Config::default(),
    )
}

/// Runs one round of the thread. Returns whether a message was given up, whether the keys for bundles
/// changed, and the number of notes on the board.
fn turn(running: &mut Running) -> (bool, bool, usize) {
    let now = running.now();
    running.node.handle_timeout(now);
    running.relay.handle_timeout(now);
    running.hand_to_carriers(now);
    let events: Vec<Event> = std::iter::from_fn(|| running.node.poll_event()).collect();
    let is_given_up =
        events.iter().any(|event| matches!(event, Event::Delivery { state: Delivery::Failed, .. }));
    let is_rotated =
        std::iter::from_fn(|| running.relay.poll()).any(|todo| matches!(todo, BundleEffect::Store(..)));
    (is_given_up, is_rotated, fog_bitchat::notes_in(&running.node.board_state()).len())
}

#[test]
fn a_calendar_that_is_wrong_for_a_while_gives_nothing_up() {
    let fake = Fake::new();
    let mut running = running(fake.clone(), 0);
    let (now, ben) = (running.now(), Identity::new([5; 32], [6; 32]).keys().peer());
    running.node.tell(ben, "m1".to_owned(), "hello".to_owned(), now).unwrap();
    running.node.pin_note([7; 16], "soup", false, DAY_MS.unsigned_abs(), now).unwrap();
    assert_eq!(turn(&mut running), (false, false, 1));
    for by in [40 * DAY_MS, -40 * DAY_MS, -40 * DAY_MS, 40 * DAY_MS] {
        fake.set(by);
        assert_eq!(turn(&mut running), (false, false, 1), "set by {} days", by / DAY_MS);
        fake.pass(30_000);
        assert_eq!(turn(&mut running), (false, false, 1));
        assert!(running.next_look <= running.now() + LOOK_EVERY, "it does not wait for days");
    }
    fake.pass(40 * DAY_MS.unsigned_abs());
    assert_eq!(turn(&mut running), (true, true, 0), "forty days later all of it is over");
}

#[test]
fn a_time_off_is_believed_after_an_hour_and_not_when_it_is_set_back() {
    for is_real in [false, true] {
        let fake = Fake::new();
        let mut running = running(fake.clone(), 40 * DAY_MS);
        let now = running.now();
        // The note was stored forty days ago by this calendar; the times move as at a start.
        running
            .node
            .pin_note([7; 16], "soup", false, DAY_MS.unsigned_abs(), now - 40 * DAY_MS.unsigned_abs())
            .unwrap();
        running.node.move_times(40 * DAY_MS);
        assert_eq!(turn(&mut running).2, 1, "not at once");
        if !is_real {
            fake.set(-40 * DAY_MS);
        }
        fake.pass(3_600_001);
        // A gap that is believed in one reading takes effect in the next turn.
        turn(&mut running);
        fake.pass(20_000);
        assert_eq!(turn(&mut running).2, usize::from(!is_real));
    }
}
