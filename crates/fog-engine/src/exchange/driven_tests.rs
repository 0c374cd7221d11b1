//! Tests of the exchange with an engine that is driven by hand.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_eligibility::Readings;
use fog_grid::{Answer, Content, LeaseId, Message as Said, TaskOffer, TaskResult, WorkerState};
use fog_store::{HostedRow, NewJob};
use fog_types::job::GridOptions;
use fog_types::{BlobId, JobState, NodeId};

use crate::exchange::{Hosted, ResultDelivery};
use crate::network::readers::Heard;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, content, node, test_engine};

const DAY_MS: i64 = 86_400_000;

impl TestEngine {
    /// Leases a task to a device, which accepts.
    pub(crate) fn lend(&mut self, n: u8, task: TaskId, to: NodeId) -> LeaseId {
        let lease = LeaseId([n; 16]);
        let now = self.engine.ctx.now_ms();
        self.engine
            .ctx
            .store
            .begin_lease(task, &lease.to_string(), to, "offer", self.engine.ctx.clock.unix())
            .unwrap();
        self.engine.exchange.requester.offered(lease, task, to, now);
        self.engine
            .exchange
            .handle_worker_message(&mut self.engine.ctx, to, Said::Answer { lease, answer: Answer::Accepted })
            .unwrap();
        lease
    }

    pub(crate) fn fails(&mut self, lease: LeaseId, at: NodeId, is_hopeless: bool) {
        self.engine
            .exchange
            .handle_worker_message(
                &mut self.engine.ctx,
                at,
                Said::Failed { lease, problem: "no".to_owned(), is_hopeless },
            )
            .unwrap();
        self.engine.settle();
        self.engine.exchange.lend(&mut self.engine.ctx).unwrap();
        self.engine.settle();
    }

    pub(crate) fn result(lease: LeaseId, worker: NodeId, size: u64) -> TaskResult {
        TaskResult {
            lease,
            worker,
            offer: [0; 32],
            units: WorkUnits(9),
            active_ms: 1,
            memory: 1,
            hash: "a".repeat(64),
            stdout: (content(1, 3), 0),
            stderr: (content(2, 0), 0),
            outputs: vec![("a".to_owned(), content(3, size))],
            list: None,
            history: None,
        }
    }
}

const WISH: fn() -> GridOptions = || GridOptions { replicas: 1, ..GridOptions::default() };

/// The program was killed, or the disk was full, between the end of a hosted job and its report.
#[test]
fn the_end_of_a_hosted_job_that_could_not_be_told_is_told_later() {
    let mut device = test_engine();
    let id = device.job(1, None, |_| {});
    let engine = &mut device.engine;
    let (lease, deadline) = (LeaseId([7; 16]), UnixMillis(engine.ctx.clock.unix().0 + DAY_MS));
    let row = HostedRow {
        job: id,
        lease: lease.to_string(),
        requester: node(2),
        offer: BlobId([0; 32]).to_string(),
        deadline,
        message: None,
        has_receipt: false,
    };
    engine.ctx.store.host(&row).unwrap();
    engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
    engine.exchange.host_tick(&mut engine.ctx);
    assert!(engine.exchange.hosted[&id].message.is_none(), "it has not ended");
    engine.ctx.store.set_job_state(id, JobState::Cancelled, "", engine.ctx.clock.unix()).unwrap();
    engine.exchange.host_tick(&mut engine.ctx);
    let said =
        engine.exchange.hosted[&id].message.clone().expect("its requester hears nothing but heartbeats");
    assert!(
        matches!(Said::decode(&said), Ok(Said::Failed { lease: told, is_hopeless: false, .. }) if told == lease)
    );
    // A result waits for a network and is not given up meanwhile.
    let (done, at) = (device.job(1, None, |_| {}), device.engine.ctx.clock.unix());
    let engine = &mut device.engine;
    engine.ctx.store.set_job_state(done, JobState::Finished, "", at).unwrap();
    let hosted = Hosted {
        lease: LeaseId([8; 16]),
        requester: node(2),
        offer_hash: [0; 32],
        deadline,
        standing: WorkerState::Running,
        units: 0,
        permille: None,
        message: None,
        delivery: ResultDelivery::default(),
        last_beat: None,
        said: 0,
        last_ship: None,
        shipped: None,
        is_sealing: false,
        shown: 0,
        untaken: None,
    };
    engine.exchange.hosted.insert(done, hosted);
    for _ in 0..30 {
        engine.exchange.host_tick(&mut engine.ctx);
    }
    let (hosted, now) = (&engine.exchange.hosted[&done], engine.ctx.now());
    assert!(hosted.message.is_none() && hosted.delivery.is_due(now));
    // A result that cannot be prepared for some minutes is given up, and its requester asks another device.
    for _ in 0..11 {
        engine.exchange.hosted.get_mut(&done).unwrap().delivery.not_before = None;
        engine.exchange.result_sealed(&mut engine.ctx, done, Err("the disk refused".to_owned())).unwrap();
    }
    let said = engine.exchange.hosted[&done].message.clone().unwrap();
    assert!(matches!(Said::decode(&said), Ok(Said::Failed { is_hopeless: false, .. })));
}

#[test]
fn a_failure_of_a_lent_task_looks_at_that_task_alone() {
    let mut device = test_engine();
    let id = device.job(50, Some(WISH()), |file| file.attempts = 2);
    // A job that is in the database only must not be read, nor any other row.
    let module = device.engine.ctx.store.job(id).unwrap();
    let new = NewJob {
        file: module.file,
        blobs: module.blobs,
        owner: "me".to_owned(),
        grid: Some(WISH()),
        now: device.engine.ctx.clock.unix(),
    };
    let other = device.engine.ctx.store.insert_job(&new).unwrap();
    let task = TaskId { job: id, index: 3 };
    let lease = device.lend(1, task, node(1));
    device.fails(lease, node(1), false);
    assert_eq!(device.engine.ctx.store.task(task).unwrap().attempts, 1);
    assert!(device.engine.exchange.requester.has(task), "it is tried again");
    let lease = device.lend(2, task, node(2));
    device.fails(lease, node(2), false);
    assert!(!device.engine.exchange.requester.has(task), "it has failed");
    assert_eq!(device.engine.exchange.requester.tasks_of(id).count(), 49);
    assert_eq!(
        device.engine.exchange.requester.tasks_of(other).count(),
        0,
        "all tasks of all jobs were read because one of them failed"
    );
    // The job has ended; the next failure removes the rest of it.
    device
        .engine
        .ctx
        .store
        .set_job_state(id, JobState::Cancelled, "", device.engine.ctx.clock.unix())
        .unwrap();
    let lease = device.lend(3, TaskId { job: id, index: 4 }, node(2));
    device.fails(lease, node(2), false);
    assert_eq!(device.engine.exchange.requester.tasks_of(id).count(), 0);
}

#[test]
fn one_device_that_gives_up_everything_stops_no_job() {
    let mut device = test_engine();
    let id = device.job(20, Some(WISH()), |_| {});
    for n in 0..7 {
        let lease = device.lend(n, TaskId { job: id, index: u32::from(n) }, node(1));
        device.fails(lease, node(1), true);
    }
    assert_eq!(
        device.engine.ctx.store.job_state(id).unwrap(),
        JobState::Running,
        "{}",
        device.engine.ctx.store.job(id).unwrap().problem
    );
    // With spot checks no task fails on the word of one device.
    let id = device.job(2, Some(GridOptions { spot_checks: 1, ..WISH() }), |_| {});
    let task = TaskId { job: id, index: 1 };
    device.engine.exchange.requester.remove(task, "");
    let need =
        fog_grid::Replication { replicas: 1, choice: fog_grid::AcceptanceRule::Quorum(1), hopeless: 2 };
    device.engine.exchange.requester.add(task, need);
    let lease = device.lend(30, task, node(1));
    device.fails(lease, node(1), true);
    assert_ne!(device.engine.ctx.store.task(task).unwrap().state, fog_types::TaskState::Failed);
    let lease = device.lend(31, task, node(2));
    device.fails(lease, node(2), true);
    assert_eq!(device.engine.ctx.store.task(task).unwrap().state, fog_types::TaskState::Failed);
}

#[test]
fn a_result_that_finds_no_room_is_not_fetched() {
    let mut device = test_engine();
    let id = device.job(1, Some(WISH()), |_| {});
    let task = TaskId { job: id, index: 0 };
    let lease = device.lend(1, task, node(1));
    let cap = device.engine.ctx.settings.storage_cap().0;
    device.engine.exchange.requester.handle_result(
        node(1),
        TestEngine::result(lease, node(1), cap),
        device.engine.ctx.now_ms(),
    );
    device.engine.exchange.lend(&mut device.engine.ctx).unwrap();
    let told =
        device.engine.exchange.why_waiting(id).expect("it is fetched although there is no room").to_owned();
    assert!(told.contains("could not be stored"), "{told}");
    assert!(device.engine.exchange.waiting.is_empty());
    // The worker keeps the result and the lease.
    let state = device.engine.exchange.requester.lease(lease, node(1)).unwrap().state.clone();
    assert_eq!(state, fog_grid::LeaseState::Held(WorkerState::Waiting));
    // A result that fits is fetched, and so is one whose files are stored already.
    assert!(
        device
            .engine
            .exchange
            .has_room_for(&device.engine.ctx, &TestEngine::result(lease, node(1), cap / 20))
            .is_ok()
    );
    let mut stored = TestEngine::result(lease, node(1), 1);
    let module = device.engine.ctx.store.job(id).unwrap().blobs.module;
    stored.outputs.push(("b".to_owned(), Content { blob: module, ..content(9, cap) }));
    assert!(device.engine.exchange.has_room_for(&device.engine.ctx, &stored).is_ok());
}

#[test]
fn a_deadline_is_a_span_of_time_between_devices_whose_clocks_differ() {
    let mut requester = test_engine();
    let id = requester.job(1, Some(WISH()), |file| file.deadline_seconds = 1800);
    let blob = requester.engine.ctx.store.job(id).unwrap().blobs.module;
    let row = crate::exchange::content::seal(
        &requester.engine.ctx.store.blob(blob).unwrap(),
        blob,
        requester.engine.exchange.content_key(&requester.engine.ctx, blob),
    )
    .unwrap();
    requester.engine.ctx.store.put_content(&row).unwrap();
    for ahead in [3_600_000, -3_600_000, 40 * DAY_MS] {
        let mut host = test_engine();
        host.clock.set(ahead);
        host.engine.follow_clock();
        let (from, to) = (requester.engine.ctx.me().unwrap(), host.engine.ctx.me().unwrap());
        host.meets(from);
        let on = [
            ("contributing", true.into()),
            ("run_while_in_use", true.into()),
            ("duty_in_use", 100.into()),
            ("unknown_idle", "allow".into()),
        ];
        host.engine
            .set_settings(on.map(|(key, value): (&str, Value)| (key.to_owned(), value)).into())
            .unwrap();
        let now = host.engine.ctx.clock.moment();
        host.engine.ctx.rules.handle_readings(
            Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() },
            now,
        );
        assert!(
            host.engine.exchange.capacity(&host.engine.ctx).duty > 0,
            "{:?}",
            host.engine.ctx.rules.verdict()
        );
        let job = requester.engine.ctx.store.job(id).unwrap();
        let (lease, signed) = requester
            .engine
            .exchange
            .make_offer(&requester.engine.ctx, TaskId { job: id, index: 0 }, &job, to, None)
            .unwrap()
            .unwrap();
        let offer: TaskOffer = signed.open(from).unwrap();
        host.engine
            .exchange
            .handle_message(&mut host.engine.ctx, from, Heard::Offer(Box::new(offer), signed.hash()))
            .unwrap();
        let taken = host
            .engine
            .exchange
            .arriving
            .get(&lease)
            .unwrap_or_else(|| panic!("declined by a device whose clock is {ahead} ms ahead"));
        assert_eq!(taken.deadline.0 - host.engine.ctx.clock.unix().0, 1_800_000);
    }
    // A task whose deadline has passed is not offered.
    requester.clock.pass(1_800_001);
    let job = requester.engine.ctx.store.job(id).unwrap();
    assert!(
        requester
            .engine
            .exchange
            .make_offer(&requester.engine.ctx, TaskId { job: id, index: 0 }, &job, node(5), None)
            .unwrap()
            .is_err()
    );
}

/// The evidence about a device is unchanged after it was updated while the calendar was forty days ahead.
#[test]
fn what_is_known_of_a_device_does_not_fade_with_a_wrong_calendar() {
    let mut device = test_engine();
    let known = node(3);
    for _ in 0..20 {
        device.engine.ctx.judge(known, fog_grid::Evidence::saw_valid);
    }
    for by in [40 * DAY_MS, -40 * DAY_MS, -DAY_MS] {
        device.clock.set(by);
        device.engine.follow_clock();
        device.engine.ctx.judge(known, fog_grid::Evidence::saw_receipt);
        device.clock.pass(1000);
    }
    let valid = device.engine.ctx.directory.evidence(known).valid;
    assert!(valid > 19.9, "{valid} of 20 results are left");
    // The stored evidence moves with the calendar too.
    device.clock.set(40 * DAY_MS);
    device.engine.follow_clock();
    let row = device.engine.ctx.store.peers(10).unwrap().remove(0);
    let stored: fog_grid::Evidence = serde_json::from_str(&row.evidence).unwrap();
    assert_eq!(stored.at_ms, device.engine.ctx.directory.evidence(known).at_ms);
    // A week of real time fades the evidence.
    device.clock.pass((7 * DAY_MS).unsigned_abs());
    device.engine.ctx.judge(known, fog_grid::Evidence::saw_lost);
    let valid = device.engine.ctx.directory.evidence(known).valid;
    assert!((9.9..10.1).contains(&valid), "{valid}");
}

#[test]
fn files_that_cannot_be_made_ready_are_tried_again_after_a_while() {
    let mut device = test_engine();
    let id = device.job(1, Some(WISH()), |_| {});
    device.engine.exchange.sealing.insert(id);
    device.engine.exchange.sealed(&mut device.engine.ctx, id, Err("the disk refused".to_owned()));
    assert!(!device.engine.exchange.sealing.contains(&id), "it is never tried again");
    assert!(device.engine.exchange.unsealed.contains_key(&id), "it is tried again at every event");
}
