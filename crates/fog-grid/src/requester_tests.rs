use fog_types::{BlobId, JobId, WorkUnits};
use proptest::prelude::*;

use super::timeouts::{NO_PROGRESS, STALL_TIMEOUT_MS, UNREACHABLE_TIMEOUT_MS};
use super::*;
use crate::content::{ContentId, ContentKey};
use crate::lease::GivenUp;
use crate::message::{Answer, Decline, TaskResult};
use crate::trust::AcceptanceRule;

fn task(index: u32) -> TaskId {
    TaskId { job: JobId(1), index }
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn lease(n: u8) -> LeaseId {
    LeaseId([n; 16])
}

fn content() -> Content {
    Content { id: ContentId([1; 32]), blob: BlobId([2; 32]), size: 3, key: ContentKey([4; 32]) }
}

fn result(id: LeaseId, by: NodeId) -> TaskResult {
    TaskResult {
        lease: id,
        worker: by,
        offer: [0; 32],
        units: WorkUnits(9),
        active_ms: 1,
        memory: 1,
        hash: "a".repeat(64),
        stdout: (content(), 0),
        stderr: (content(), 0),
        outputs: Vec::new(),
        list: None,
        history: None,
    }
}

const ONE: Replication = Replication { replicas: 1, choice: AcceptanceRule::Quorum(1), hopeless: 1 };

fn effects(requester: &mut Requester) -> Vec<Effect> {
    std::iter::from_fn(|| requester.poll_effect()).collect()
}

#[test]
fn a_task_goes_from_offer_to_acceptance() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    assert_eq!(r.wanting(9, 0), vec![(task(0), 1, BTreeSet::new())]);
    r.offered(lease(1), task(0), node(1), 0);
    assert!(r.wanting(9, 0).is_empty());
    r.handle_answer(lease(1), node(1), Answer::Accepted, 5);
    assert_eq!(r.handle_heartbeat(lease(1), node(1), WorkerState::Running, 5, Some(10), 9), Some(task(0)));
    r.handle_result(node(1), result(lease(1), node(1)), 20);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchResult { .. }]));
    r.handle_checked(lease(1), Ok("a".to_owned()), |_| Evidence::default(), 30);
    assert_eq!(
        effects(&mut r),
        vec![Effect::Accept { task: task(0), leases: vec![lease(1)], wrong: vec![] }]
    );
}

#[test]
fn a_silent_worker_loses_its_lease_and_its_result_is_welcome_still() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Accepted, 0);
    r.handle_saved(lease(1), node(1), 50, content(), 10);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchCheckpoint { units: 50, .. }]));
    r.record_checkpoint(task(0), 50, node(1), content());
    r.handle_reach(node(1), false, 100);
    assert_eq!(r.poll_timeout(), Some(100 + UNREACHABLE_TIMEOUT_MS));
    r.handle_timeout(100 + UNREACHABLE_TIMEOUT_MS);
    assert!(matches!(effects(&mut r)[..], [Effect::LeaseEnded { is_lost: true, .. }]));
    assert_eq!(r.wanting(9, 100 + UNREACHABLE_TIMEOUT_MS), vec![(task(0), 1, BTreeSet::from([node(1)]))]);
    assert_eq!(r.checkpoint(task(0)), Some((50, content())));
    r.offered(lease(2), task(0), node(2), 200 + UNREACHABLE_TIMEOUT_MS);
    r.handle_result(node(1), result(lease(1), node(1)), 300 + UNREACHABLE_TIMEOUT_MS);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchResult { .. }]));
}

#[test]
fn a_task_whose_state_is_lost_begins_anew() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.record_checkpoint(task(0), 50, node(1), content());
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Accepted, 5);
    r.handle_state_lost(task(0), "its state is damaged", 10);
    let said = effects(&mut r);
    assert!(
        matches!(&said[..], [Effect::LeaseEnded { why, is_lost: false, .. }, Effect::Release { .. }] if why == "its state is damaged"),
        "{said:?}"
    );
    assert_eq!(r.checkpoint(task(0)), None);
    assert_eq!(r.wanting(9, 10), vec![(task(0), 1, BTreeSet::new())], "the same device may begin it");
    // A worker that already runs the task goes on; its next checkpoint counts although it holds fewer units
    // than the lost one.
    r.offered(lease(2), task(0), node(1), 11);
    r.handle_answer(lease(2), node(1), Answer::Accepted, 12);
    r.handle_heartbeat(lease(2), node(1), WorkerState::Running, 9, None, 13);
    r.handle_state_lost(task(0), "its state is damaged", 14);
    assert_eq!(effects(&mut r), vec![]);
    r.handle_saved(lease(2), node(1), 9, content(), 15);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchCheckpoint { units: 9, .. }]));
}

#[test]
fn replicas_go_to_different_nodes_and_a_liar_is_outvoted() {
    let mut r = Requester::default();
    r.add(task(0), Replication { replicas: 2, choice: AcceptanceRule::Quorum(2), hopeless: 1 });
    assert_eq!(r.wanting(9, 0)[0].1, 2);
    r.offered(lease(1), task(0), node(1), 0);
    r.offered(lease(2), task(0), node(2), 0);
    for (n, hash) in [(1, "a"), (2, "b")] {
        r.handle_answer(lease(n), node(n), Answer::Accepted, 0);
        r.handle_result(node(n), result(lease(n), node(n)), 5);
        r.handle_checked(lease(n), Ok(hash.to_owned()), |_| Evidence::default(), 6);
    }
    let wanting = r.wanting(9, 7);
    assert_eq!((wanting[0].1, &wanting[0].2), (1, &BTreeSet::from([node(1), node(2)])));
    r.offered(lease(3), task(0), node(3), 8);
    r.handle_result(node(3), result(lease(3), node(3)), 9);
    effects(&mut r);
    r.handle_checked(lease(3), Ok("a".to_owned()), |_| Evidence::default(), 10);
    assert_eq!(
        effects(&mut r),
        vec![Effect::Accept { task: task(0), leases: vec![lease(1), lease(3)], wrong: vec![lease(2)] }]
    );
    assert_eq!(r.checkpoint(task(0)), None);
}

#[test]
fn somebody_else_cannot_speak_for_a_lease() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(2), Answer::Accepted, 0);
    r.handle_result(node(2), result(lease(1), node(2)), 0);
    assert_eq!(r.handle_failed(lease(1), node(2), "no".to_owned(), true, |_| Evidence::default(), 0), None);
    let said = effects(&mut r);
    assert!(
        said.iter().all(|effect| matches!(effect, Effect::Release { node: n, .. } if *n == node(2))),
        "{said:?}"
    );
}

#[test]
fn a_task_that_failed_waits_and_many_tasks_are_looked_at_in_turn() {
    let mut r = Requester::default();
    for index in 0..10 {
        r.add(task(index), ONE);
    }
    let ids = |wanting: Vec<(TaskId, u32, BTreeSet<NodeId>)>| {
        wanting.into_iter().map(|(id, _, _)| id.index).collect::<Vec<_>>()
    };
    assert_eq!(ids(r.wanting(4, 0)), [0, 1, 2, 3]);
    assert_eq!(ids(r.wanting(4, 0)), [4, 5, 6, 7]);
    assert_eq!(ids(r.wanting(4, 0)), [8, 9, 0, 1]);
    r.offered(lease(1), task(2), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Accepted, 0);
    assert_eq!(
        r.handle_failed(lease(1), node(1), "no".to_owned(), false, |_| Evidence::default(), 5),
        Some(GivenUp::Failed)
    );
    r.hold(task(2), 1000);
    assert!(!ids(r.wanting(20, 999)).contains(&2));
    assert_eq!(ids(r.wanting(20, 1000)).len(), 10);
    // A node that is full is left alone until it says that it has room.
    r.offered(lease(2), task(3), node(1), 1000);
    r.handle_answer(lease(2), node(1), Answer::Declined(Decline::Full), 1000);
    assert!(r.is_resting(node(1), 1001));
    r.handle_room(node(1));
    assert!(!r.is_resting(node(1), 1001));
}

/// A device that has just come back may not know this node yet: one refusal does not pause it for long.
#[test]
fn one_that_did_not_know_who_asks_is_asked_again_soon() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    let is_asked = |r: &mut Requester, now| {
        r.wanting(20, now).iter().any(|(_, _, avoid)| !avoid.contains(&node(1)))
            && !r.is_resting(node(1), now)
    };
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Declined(Decline::NotWelcome), 10);
    assert!(!is_asked(&mut r, 11));
    assert!(is_asked(&mut r, 3000));
    // The second refusal is taken seriously.
    r.offered(lease(2), task(0), node(1), 3000);
    r.handle_answer(lease(2), node(1), Answer::Declined(Decline::NotWelcome), 3010);
    assert!(!is_asked(&mut r, 60_000));
    assert!(is_asked(&mut r, 63_011));
}

/// A worker that is paused for long is not waited for alone; once it goes on, it is.
#[test]
fn a_worker_that_stands_still_is_not_the_only_one_for_long() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_heartbeat(lease(1), node(1), WorkerState::Paused, 1, None, 10);
    for at in [50_000, 100_000] {
        r.handle_heartbeat(lease(1), node(1), WorkerState::Paused, 1, None, at);
    }
    r.handle_timeout(STALL_TIMEOUT_MS + 9);
    assert_eq!(r.open(), 0);
    assert_eq!(r.poll_timeout(), Some(STALL_TIMEOUT_MS + 10));
    r.handle_timeout(STALL_TIMEOUT_MS + 10);
    assert_eq!(r.open(), 1);
    r.handle_heartbeat(lease(1), node(1), WorkerState::Running, 2, None, STALL_TIMEOUT_MS + 20);
    assert_eq!(r.open(), 0);
}

/// Reports alone hold no task: neither repeated progress nor a standing that changes each time.
#[test]
fn heartbeats_without_progress_keep_a_task_from_nobody() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Accepted, 0);
    for now in (0..NO_PROGRESS).step_by(3000) {
        let standing = if now % 2000 == 0 { WorkerState::Running } else { WorkerState::Paused };
        r.handle_heartbeat(lease(1), node(1), standing, 5, Some(500), now);
        r.handle_timeout(now);
        assert_eq!(r.open(), 0, "{now}");
    }
    assert!(r.poll_timeout().is_some_and(|at| at <= NO_PROGRESS));
    r.handle_timeout(NO_PROGRESS);
    r.handle_heartbeat(lease(1), node(1), WorkerState::Paused, 5, Some(500), NO_PROGRESS);
    assert_eq!(r.wanting(9, NO_PROGRESS), vec![(task(0), 1, BTreeSet::from([node(1)]))]);
    assert!(r.is_second_try(task(0)));
    // The slow worker may still finish; if the other one is first, its lease counts as lost.
    r.offered(lease(2), task(0), node(2), NO_PROGRESS);
    assert_eq!((r.open(), r.held_by(node(1))), (0, 1));
    effects(&mut r);
    r.settle(task(0), &[lease(2)], &[]);
    assert!(effects(&mut r).iter().any(
        |effect| matches!(effect, Effect::LeaseEnded { node: of, is_lost: true, .. } if *of == node(1))
    ));
}

/// Invented progress holds a task no longer than other tasks of the job take.
#[test]
fn a_lease_that_takes_much_longer_than_others_is_not_waited_for_alone() {
    let mut r = Requester::default();
    for n in 0..4 {
        r.add(task(n), ONE);
        r.offered(lease(n as u8), task(n), node(n as u8), 0);
    }
    for n in 1..4u8 {
        r.handle_result(node(n), result(lease(n), node(n)), 30_000);
        r.handle_checked(lease(n), Ok("a".to_owned()), |_| Evidence::default(), 30_000);
        r.settle(task(u32::from(n)), &[lease(n)], &[]);
    }
    for now in (30_000..120_000).step_by(3000) {
        r.handle_heartbeat(lease(0), node(0), WorkerState::Running, now, Some(500), now);
        r.handle_timeout(now);
        assert_eq!(r.open(), 0, "{now}");
    }
    r.handle_timeout(120_000);
    assert_eq!(r.open(), 1);
    r.remove(task(0), "over");
    assert!(r.usual.is_empty());
}

/// A result whose files come slowly holds its task no longer than an unfinished task.
#[test]
fn a_result_whose_files_trickle_is_not_waited_for_alone() {
    for knows_the_usual in [true, false] {
        let mut r = Requester::default();
        for n in 0..4 {
            r.add(task(n), ONE);
            r.offered(lease(n as u8), task(n), node(n as u8), 0);
        }
        for n in 1..4u8 {
            r.handle_result(node(n), result(lease(n), node(n)), 30_000);
            if knows_the_usual {
                r.handle_checked(lease(n), Ok("a".to_owned()), |_| Evidence::default(), 30_000);
            }
            r.settle(task(u32::from(n)), &[lease(n)], &[]);
        }
        r.handle_result(node(0), result(lease(0), node(0)), 1000);
        let due = 1000 + if knows_the_usual { 120_000 } else { NO_PROGRESS };
        for now in (31_000..due).step_by(3000) {
            // The transfer stops and the result is handed in again, which does not restart the waiting
            // time.
            r.handle_not_fetched(lease(0), now);
            r.handle_result(node(0), result(lease(0), node(0)), now);
            r.handle_timeout(now);
            assert_eq!(r.open(), 0, "{now}");
        }
        assert!(r.poll_timeout().is_some_and(|at| at <= due));
        r.handle_timeout(due);
        assert_eq!(r.wanting(9, due), vec![(task(0), 1, BTreeSet::from([node(0)]))]);
        assert!(r.is_second_try(task(0)));
    }
}

/// A worker that resumes from a checkpoint with fewer units than claimed is measured by its own progress.
#[test]
fn a_claimed_state_makes_no_honest_successor_overdue() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.record_checkpoint(task(0), 1_000_000_000, node(1), content());
    r.offered(lease(2), task(0), node(2), 0);
    r.handle_answer(lease(2), node(2), Answer::Accepted, 0);
    r.handle_heartbeat(lease(2), node(2), WorkerState::Waiting, 1_000_000_000, None, 10);
    for now in (3000..3 * NO_PROGRESS).step_by(3000) {
        r.handle_heartbeat(lease(2), node(2), WorkerState::Running, now, None, now);
        r.handle_timeout(now);
        assert_eq!(r.open(), 0, "{now}");
    }
    // A report that the task begins anew counts once.
    let last = 3 * NO_PROGRESS;
    for now in (last..last + NO_PROGRESS).step_by(3000) {
        r.handle_heartbeat(
            lease(2),
            node(2),
            if now % 2000 == 0 { WorkerState::Running } else { WorkerState::Paused },
            5,
            None,
            now,
        );
        r.handle_timeout(now);
    }
    assert_eq!(r.open(), 1);
}

#[test]
fn a_node_that_declines_again_and_again_is_asked_ever_more_rarely() {
    for why in [Decline::Malformed, Decline::NotWelcome, Decline::Full] {
        let mut r = Requester::default();
        let (mut now, mut asked) = (0, 0u32);
        let decline = |r: &mut Requester, now| {
            // Two declines at one moment count once.
            for n in 0..2u8 {
                r.add(task(asked_task(now, n)), ONE);
                r.offered(lease(n), task(asked_task(now, n)), node(1), now);
            }
            (0..2).for_each(|n| r.handle_answer(lease(n), node(1), Answer::Declined(why), now));
            (0..2).for_each(|n| r.remove(task(asked_task(now, n)), "over"));
        };
        while now < 24 * 3_600_000 {
            r.handle_timeout(now);
            // The report of free room is ignored after many declines.
            r.handle_room(node(1));
            if !r.is_resting(node(1), now) {
                decline(&mut r, now);
                asked += 1;
            }
            now += 500;
        }
        assert!(asked < 200, "{why:?}: {asked} times a day");
        // The pauses are short again after the node accepts a task.
        while r.is_resting(node(1), now) {
            now += 500;
        }
        r.add(task(0), ONE);
        r.offered(lease(9), task(0), node(1), now);
        r.handle_answer(lease(9), node(1), Answer::Accepted, now);
        decline(&mut r, now);
        assert!(r.is_resting(node(1), now) && !r.is_resting(node(1), now + BUSY_BACKOFF_MS));
    }
}

fn asked_task(now: u64, n: u8) -> u32 {
    1 + (now % 1_000_000) as u32 * 2 + u32::from(n)
}

#[test]
fn a_lease_of_before_a_restart_goes_on() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.restore(lease(1), task(0), node(1), 0);
    assert!(r.wanting(9, 1).is_empty());
    r.handle_result(node(1), result(lease(1), node(1)), 5);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchResult { .. }]));
}

#[derive(Debug, Clone)]
enum Step {
    Place,
    Answer(u8, bool),
    Beat(u8, bool),
    Result(u8),
    Checked(u8, bool),
    Failed(u8, bool),
    NotStored(u32),
    Reach(u8, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Place),
        2 => (0u8..20, any::<bool>()).prop_map(|(n, yes)| Step::Answer(n, yes)),
        2 => (0u8..20, any::<bool>()).prop_map(|(n, yes)| Step::Beat(n, yes)),
        2 => (0u8..20).prop_map(Step::Result),
        2 => (0u8..20, any::<bool>()).prop_map(|(n, yes)| Step::Checked(n, yes)),
        1 => (0u8..20, any::<bool>()).prop_map(|(n, is_hopeless)| Step::Failed(n, is_hopeless)),
        1 => (0u32..3).prop_map(Step::NotStored),
        1 => (0u8..6, any::<bool>()).prop_map(|(n, yes)| Step::Reach(n, yes)),
        1 => (1u64..90_000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// For any order of messages: no task is accepted twice, no task has two leases of one node, and a task
    /// that is not accepted is wanted, leased or being checked.
    #[test]
    fn no_order_of_messages_breaks_it(steps in prop::collection::vec(step(), 0..150), replicas in 1u32..4) {
        let mut r = Requester::default();
        let choice = AcceptanceRule::Quorum(replicas);
        for index in 0..3 {
            r.add(task(index), Replication { replicas, choice, hopeless: 1 });
        }
        let (mut now, mut next, mut accepted) = (0, 0u8, BTreeSet::new());
        let owner = |n: u8| node(n % 6);
        for step in steps {
            match step {
                Step::Place => {
                    for (task, wants, avoid) in r.wanting(9, now) {
                        let free = (0..6).map(node).filter(|n| !avoid.contains(n)).take(wants as usize).collect::<Vec<_>>();
                        for worker in free {
                            // The number of the lease tells its owner.
                            while owner(next) != worker { next = next.wrapping_add(1); }
                            if r.leases.contains_key(&lease(next)) { break; }
                            r.offered(lease(next), task, worker, now);
                            next = next.wrapping_add(1);
                        }
                    }
                }
                Step::Answer(n, yes) => r.handle_answer(lease(n), owner(n), if yes { Answer::Accepted } else { Answer::Declined(crate::Decline::Full) }, now),
                Step::Beat(n, runs) => { r.handle_heartbeat(lease(n), owner(n), if runs { WorkerState::Running } else { WorkerState::Paused }, 1, None, now); }
                Step::Result(n) => r.handle_result(owner(n), result(lease(n), owner(n)), now),
                Step::Checked(n, fine) => {
                    if r.leases.get(&lease(n)).is_some_and(|l| l.state == LeaseState::Fetching) {
                        r.handle_checked(lease(n), if fine { Ok("a".to_owned()) } else { Err("bad".to_owned()) }, |_| Evidence::default(), now);
                    }
                }
                Step::Failed(n, is_hopeless) => { r.handle_failed(lease(n), owner(n), "x".to_owned(), is_hopeless, |_| Evidence::default(), now); }
                Step::NotStored(index) => r.handle_not_stored(task(index), now),
                Step::Reach(n, there) => r.handle_reach(node(n), there, now),
                Step::Pass(millis) => { now += millis; r.handle_timeout(now); }
            }
            while let Some(effect) = r.poll_effect() {
                if let Effect::Accept { task, leases, .. } | Effect::Fail { task, leases, .. } = effect {
                    prop_assert!(leases.len() as u32 >= replicas);
                    prop_assert!(accepted.insert(task), "accepted twice");
                    r.remove(task, "done");
                }
            }
            for (id, known) in &r.tasks {
                let nodes: Vec<NodeId> = known.leases.iter().filter_map(|l| r.leases.get(l)).filter(|l| l.state != LeaseState::Lost).map(|l| l.node).collect();
                let distinct: BTreeSet<NodeId> = nodes.iter().copied().collect();
                prop_assert_eq!(nodes.len(), distinct.len(), "two leases of one node for {}", id);
            }
            prop_assert!(r.leases.values().all(|l| r.tasks.contains_key(&l.task)));
        }
    }
}

#[test]
fn that_nobody_could_do_it_is_believed_like_a_result() {
    let none = |_| Evidence::default();
    let asked = |need: Replication, nodes: u8| {
        let mut r = Requester::default();
        r.add(task(0), need);
        for n in 1..=nodes {
            r.offered(lease(n), task(0), node(n), 0);
            r.handle_answer(lease(n), node(n), Answer::Accepted, 0);
        }
        r
    };
    let fails =
        |r: &mut Requester| effects(r).into_iter().any(|effect| matches!(effect, Effect::Fail { .. }));
    // One worker alone is not believed under a high trust, while a known device is checked, or where two
    // must agree.
    for choice in [AcceptanceRule::Confidence(1000), AcceptanceRule::Adaptive(7), AcceptanceRule::Quorum(2)] {
        let mut r = asked(Replication { replicas: 1, choice, hopeless: 1 }, 1);
        assert_eq!(
            r.handle_failed(lease(1), node(1), "no".to_owned(), true, none, 1),
            Some(GivenUp::Hopeless)
        );
        assert!(!fails(&mut r), "{choice:?}");
        assert_eq!(r.wanting(9, 2)[0].2, BTreeSet::from([node(1)]), "{choice:?}");
        // A second report is ignored.
        assert_eq!(r.handle_failed(lease(1), node(1), "no".to_owned(), true, none, 3), None);
    }
    // Two workers agree.
    let mut r = asked(Replication { replicas: 3, choice: AcceptanceRule::Quorum(2), hopeless: 1 }, 3);
    r.handle_failed(lease(1), node(1), "no".to_owned(), true, none, 1);
    r.handle_failed(lease(2), node(2), "it traps".to_owned(), true, none, 2);
    assert_eq!(
        effects(&mut r),
        [Effect::Fail {
            task: task(0),
            problem: "it traps".to_owned(),
            leases: vec![lease(1), lease(2)],
            wrong: vec![]
        }]
    );
    // Two other workers have a result, so the worker that gave up was wrong.
    let mut r = asked(Replication { replicas: 3, choice: AcceptanceRule::Quorum(2), hopeless: 1 }, 3);
    r.handle_failed(lease(1), node(1), "no".to_owned(), true, none, 1);
    for n in [2, 3] {
        r.handle_result(node(n), result(lease(n), node(n)), 5);
        r.handle_checked(lease(n), Ok("a".to_owned()), none, 6);
    }
    assert!(effects(&mut r).contains(&Effect::Accept {
        task: task(0),
        leases: vec![lease(2), lease(3)],
        wrong: vec![lease(1)]
    }));
    // Where several workers are needed, failures that say nothing about other nodes count once per node.
    let mut r = asked(Replication { replicas: 2, choice: AcceptanceRule::Quorum(2), hopeless: 1 }, 2);
    assert_eq!(r.handle_failed(lease(1), node(1), "no".to_owned(), false, none, 1), Some(GivenUp::Failed));
    r.offered(lease(9), task(0), node(1), 70_000);
    assert_eq!(
        r.handle_failed(lease(9), node(1), "no".to_owned(), false, none, 70_001),
        Some(GivenUp::FailedAgain)
    );
}

#[test]
fn a_result_that_could_not_be_stored_is_asked_for_again() {
    let none = |_| Evidence::default();
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_answer(lease(1), node(1), Answer::Accepted, 0);
    for now in [10, 20] {
        r.handle_result(node(1), result(lease(1), node(1)), now);
        r.handle_checked(lease(1), Ok("a".to_owned()), none, now + 1);
        let said = effects(&mut r);
        assert!(matches!(&said[..], [Effect::FetchResult { .. }, Effect::Accept { .. }]), "{said:?}");
        r.handle_not_stored(task(0), now + 2);
        // The worker still has the result, so no other node is asked.
        assert!(r.wanting(9, now + 3).is_empty());
    }
}

#[test]
fn too_few_who_say_that_nobody_can_do_it_are_as_if_they_had_said_nothing() {
    let careful = Replication { hopeless: 2, ..ONE };
    let none = |_| Evidence::default();
    let give_up = |r: &mut Requester, n: u8, now| {
        r.offered(lease(n), task(0), node(n), now);
        assert_eq!(
            r.handle_failed(lease(n), node(n), "no".to_owned(), true, none, now),
            Some(GivenUp::Hopeless)
        );
    };
    let mut r = Requester::default();
    r.add(task(0), careful);
    assert_eq!(r.replicas_of(task(0)), 1);
    give_up(&mut r, 1, 0);
    assert_eq!(effects(&mut r), []);
    assert_eq!(r.replicas_of(task(0)), 2, "so many devices must be here");
    assert_eq!(r.wanting(9, 1), [(task(0), 1, BTreeSet::from([node(1)]))]);
    // One result is enough, as without the claims.
    r.offered(lease(2), task(0), node(2), 2);
    r.handle_result(node(2), result(lease(2), node(2)), 3);
    effects(&mut r);
    r.handle_checked(lease(2), Ok("a".to_owned()), none, 4);
    assert_eq!(
        effects(&mut r),
        [Effect::Accept { task: task(0), leases: vec![lease(2)], wrong: vec![lease(1)] }]
    );
    // Claims are believed once there are as many as needed.
    let mut r = Requester::default();
    r.add(task(0), careful);
    give_up(&mut r, 1, 0);
    give_up(&mut r, 2, 1);
    assert_eq!(
        effects(&mut r),
        [Effect::Fail {
            task: task(0),
            problem: "no".to_owned(),
            leases: vec![lease(1), lease(2)],
            wrong: vec![]
        }]
    );
}

#[test]
fn a_result_without_proof_is_believed_when_somebody_else_has_it_too() {
    for choice in [AcceptanceRule::Quorum(1), AcceptanceRule::Confidence(2), AcceptanceRule::Adaptive(7)] {
        let mut r = Requester::default();
        r.add(task(0), Replication { choice, ..ONE });
        let trusted = |_| Evidence { valid: 1000.0, in_row: 1000, ..Evidence::default() };
        for n in [1, 2, 3] {
            r.offered(lease(n), task(0), node(n), 0);
            r.handle_result(node(n), result(lease(n), node(n)), 1);
            effects(&mut r);
            match n {
                1 => r.handle_unproven(lease(1), "a".to_owned(), 2),
                2 => r.handle_checked(lease(2), Ok("b".to_owned()), trusted, 2),
                _ => r.handle_checked(lease(3), Ok("b".to_owned()), trusted, 2),
            }
            let found = effects(&mut r);
            let end =
                Effect::Accept { task: task(0), leases: vec![lease(2), lease(3)], wrong: vec![lease(1)] };
            assert_eq!(found, if n == 3 { vec![end] } else { vec![] }, "{choice:?} {n}");
        }
    }
}

#[test]
fn a_result_that_comes_too_slowly_is_asked_of_others_and_welcome_still() {
    let mut r = Requester::default();
    r.add(task(0), ONE);
    r.offered(lease(1), task(0), node(1), 0);
    r.handle_result(node(1), result(lease(1), node(1)), 1);
    effects(&mut r);
    assert!(r.wanting(9, 2).is_empty());
    r.handle_too_slow(lease(1), 500_000);
    assert!(matches!(effects(&mut r)[..], [Effect::LeaseEnded { is_lost: true, .. }]));
    assert_eq!(r.wanting(9, 500_001), [(task(0), 1, BTreeSet::from([node(1)]))]);
    r.handle_result(node(1), result(lease(1), node(1)), 500_002);
    assert!(matches!(effects(&mut r)[..], [Effect::FetchResult { .. }]));
}
