//! Tests of hosted jobs beside own ones: ownership, end and priority.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_store::{BlobFile, Blobs, HostedRow};
use fog_types::job::JobFile;
use fog_types::{BlobId, ByteCount, JobState, NodeId};

use crate::exchange::unfetched_results_tests::{host, offer};
use crate::tasks::submit::Prepared;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node};

const HOUR_MS: u64 = 3_600_000;

/// Accepts a job of another device that ends after `left_ms`.
fn hosted(
    host: &mut TestEngine,
    n: u8,
    requester: NodeId,
    left_ms: u64,
    change: impl FnOnce(&mut JobFile),
) -> JobId {
    let engine = &mut host.engine;
    let row = HostedRow {
        job: JobId(0),
        lease: fog_grid::LeaseId([n; 16]).to_string(),
        requester,
        offer: BlobId([0; 32]).to_string(),
        deadline: UnixMillis(engine.ctx.clock.unix().0.saturating_add_unsigned(left_ms)),
        message: None,
        has_receipt: false,
    };
    let id = accept(engine, Some(row), change);
    engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
    id
}

/// Accepts an own job, or a hosted one whose owner text is that of own jobs.
fn accept(engine: &mut Engine, hosted: Option<HostedRow>, change: impl FnOnce(&mut JobFile)) -> JobId {
    let module = BlobFile::copy(engine.ctx.store.folder(), &b"module"[..], ByteCount::mib(1)).unwrap();
    let blobs = Blobs { module: module.id(), stdin: None, inputs: Default::default(), items: Vec::new() };
    let mut file = JobFile::for_module("job", "m.wasm");
    change(&mut file);
    let owner = hosted.as_ref().map(|_| crate::tasks::scheduler::OWN_JOB.to_owned());
    let prepared = Prepared {
        file,
        blobs,
        copied: vec![module],
        placed: None,
        held: Vec::new(),
        checkpoint: None,
        owner,
        hosted,
        grid: None,
    };
    match engine.ctx.accept(prepared).unwrap() {
        Reply::Submitted { job } => job.id,
        other => panic!("{other:?}"),
    }
}

fn running(engine: &Engine) -> Vec<JobId> {
    engine.tasks.view().active.iter().map(|active| active.job).collect()
}

/// Asserts that a hosted job is over: it does not run, holds no bytes and does not count as an own job.
fn is_over(engine: &mut Engine, id: JobId) {
    engine.settle();
    assert_eq!(engine.ctx.store.job_state(id).unwrap(), JobState::Cancelled);
    assert!(running(engine).is_empty(), "it runs on");
    assert!(!engine.exchange.hosted.contains_key(&id));
    assert_eq!(engine.ctx.store.bytes_held_by([id]).unwrap(), 0);
    assert!(
        !engine.ctx.is_own(id, crate::tasks::scheduler::OWN_JOB).unwrap(),
        "it counts as one of this device"
    );
}

#[tokio::test]
async fn a_hosted_job_ends_with_the_time_its_requester_gave_it() {
    let mut host = host();
    // The job file allows a week. Either the host's tick or the check of all deadlines may come first.
    for (n, is_chore) in [(1, false), (2, true)] {
        let id = hosted(&mut host, n, node(2), HOUR_MS, |_| {});
        let engine = &mut host.engine;
        engine.tasks.fill(&mut engine.ctx).unwrap();
        assert_eq!(running(engine), [id]);
        assert_eq!(engine.ctx.store.job(id).unwrap().deadline, engine.exchange.hosted[&id].deadline);
        host.clock.pass(HOUR_MS + 1);
        let engine = &mut host.engine;
        if is_chore {
            engine.last_chores = None;
            engine.chores();
        } else {
            engine.exchange.host_tick(&mut engine.ctx);
        }
        is_over(engine, id);
        // The job stays over after a restart, and its lease is not accepted again.
        engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
        engine.tasks.fill(&mut engine.ctx).unwrap();
        is_over(engine, id);
        assert!(engine.ctx.store.has_hosted(&fog_grid::LeaseId([n; 16]).to_string()).unwrap());
    }
}

/// A receipt ends the job even if it arrives too early.
#[tokio::test]
async fn a_receipt_for_what_runs_ends_it() {
    let (requester, mut host) = (crate::test_engine::test_engine(), host());
    let (from, me) = (requester.engine.ctx.me().unwrap(), host.engine.ctx.me().unwrap());
    let id = hosted(&mut host, 1, from, HOUR_MS, |_| {});
    host.engine.tasks.fill(&mut host.engine.ctx).unwrap();
    assert_eq!(running(&host.engine), [id]);
    let receipt = fog_grid::Receipt {
        lease: fog_grid::LeaseId([1; 16]),
        requester: from,
        worker: me,
        result: [0; 32],
        units: WorkUnits(0),
        credit: 0,
        at_ms: 0,
    };
    let signed = requester.engine.ctx.identity.as_ref().unwrap().sign(&receipt);
    host.engine
        .exchange
        .handle_message(
            &mut host.engine.ctx,
            from,
            crate::network::readers::Heard::Receipt(Box::new(receipt), Box::new(signed)),
        )
        .unwrap();
    is_over(&mut host.engine, id);
}

#[tokio::test]
async fn the_owners_jobs_come_before_those_of_others_whatever_these_say() {
    let mut host = host();
    host.engine.set_settings([("cores".to_owned(), 1.into())].into()).unwrap();
    let urgent = hosted(&mut host, 1, node(2), HOUR_MS, |file| file.priority = 10);
    let also = hosted(&mut host, 2, node(2), HOUR_MS, |file| file.priority = 10);
    let engine = &mut host.engine;
    engine.tasks.fill(&mut engine.ctx).unwrap();
    assert_eq!(running(engine), [urgent]);
    // An own job that can wait displaces the urgent job of another device.
    let own = accept(engine, None, |file| file.priority = -10);
    engine.tasks.fill(&mut engine.ctx).unwrap();
    assert_eq!(running(engine), [own], "{urgent} and {also} are of others");
    // Jobs of others neither displace an own job nor keep another own job from doing so.
    let sooner = accept(engine, None, |file| file.priority = 3);
    engine.tasks.fill(&mut engine.ctx).unwrap();
    assert_eq!(running(engine), [sooner]);
    engine.ctx.store.set_job_state(sooner, JobState::Cancelled, "", UnixMillis(0)).unwrap();
    engine.tasks.drop_tasks_of(&mut engine.ctx, sooner, "");
    engine.tasks.fill(&mut engine.ctx).unwrap();
    assert_eq!(running(engine), [own], "{own} waited longer than {also}");
}

#[tokio::test]
async fn offers_that_trickle_leave_places_to_others_and_end() {
    let (mut greedy, mut honest, mut host) =
        (crate::test_engine::test_engine(), crate::test_engine::test_engine(), host());
    host.engine.set_settings([("cores".to_owned(), 2.into())].into()).unwrap();
    let from = greedy.engine.ctx.me().unwrap();
    let first = offer(&mut greedy, &mut host, 30 * 24 * HOUR_MS);
    assert!(host.engine.exchange.arriving.contains_key(&first));
    let second = offer(&mut greedy, &mut host, 30 * 24 * HOUR_MS);
    assert!(!host.engine.exchange.arriving.contains_key(&second), "it takes all places");
    assert!(
        host.engine.exchange.capacity_for(&host.engine.ctx, from).free == 0
            && host.engine.exchange.turned_away.contains(&from)
    );
    if host.engine.exchange.capacity(&host.engine.ctx).slots > 1 {
        let other = offer(&mut honest, &mut host, HOUR_MS);
        assert!(host.engine.exchange.arriving.contains_key(&other), "nobody else finds a place");
        // The offer has expired.
        host.clock.pass(HOUR_MS + 1);
        host.engine.exchange.host_tick(&mut host.engine.ctx);
        assert!(
            !host.engine.exchange.arriving.contains_key(&other)
                && host.engine.exchange.arriving.contains_key(&first)
        );
        let other = offer(&mut honest, &mut host, HOUR_MS);
        assert!(
            host.engine.exchange.arriving.remove(&other).is_some(),
            "its time was short, and no fault of its"
        );
    }
    host.clock.pass(6 * HOUR_MS);
    host.engine.exchange.host_tick(&mut host.engine.ctx);
    assert!(host.engine.exchange.arriving.is_empty(), "it holds its place for days");
    let again = offer(&mut greedy, &mut host, HOUR_MS);
    assert!(!host.engine.exchange.arriving.contains_key(&again), "others come first");
    host.clock.pass(HOUR_MS + 1);
    let again = offer(&mut greedy, &mut host, HOUR_MS);
    assert!(host.engine.exchange.arriving.contains_key(&again));
}

fn hello() -> fog_grid::Hello {
    let (name, capacity) = ("anna".to_owned(), fog_grid::Capacity::default());
    fog_grid::Hello {
        version: fog_grid::VERSION,
        name,
        lan: false,
        open: true,
        groups: Vec::new(),
        capacity,
        has_heard: false,
        clock_ms: 0,
    }
}

#[tokio::test]
async fn nobody_who_is_gone_comes_back_by_what_is_read_late() {
    let mut device = crate::test_engine::test_engine();
    let engine = &mut device.engine;
    engine.network.join_open();
    engine.network.handle_hello(&mut engine.ctx, node(5), &hello());
    assert!(engine.ctx.directory.peers.is_empty(), "it has gone, and counts as there");
    let route = fog_transport::Route {
        transport: "memory",
        is_relayed: false,
        is_local: true,
        address: String::new(),
    };
    engine
        .network_event(crate::network::NetworkEvent::Event(
            7,
            fog_transport::NetEvent::Connected { node: node(6), route },
        ))
        .unwrap();
    assert!(engine.ctx.directory.peers.is_empty(), "the network was left in which it is");
}

#[tokio::test]
async fn a_device_that_begins_anew_all_the_time_is_not_followed_each_time() {
    let mut device = crate::test_engine::test_engine();
    device.meets(node(5));
    device.engine.network.join_open();
    let seen = |device: &TestEngine| device.engine.ctx.store.peers(9).unwrap()[0].seen;
    // The first hello is from a new device, the second may be from one that restarted: both are stored.
    for _ in 0..2 {
        device.clock.pass(1000);
        device.engine.network.handle_hello(&mut device.engine.ctx, node(5), &hello());
        assert_eq!(seen(&device), device.engine.ctx.clock.unix());
    }
    let last = seen(&device);
    for _ in 0..50 {
        device.clock.pass(20);
        device.engine.network.handle_hello(&mut device.engine.ctx, node(5), &hello());
    }
    assert_eq!(seen(&device), last, "each one is written to the disk");
}

#[tokio::test]
async fn a_device_that_is_another_one_all_the_time_is_not_followed_each_time() {
    let mut device = crate::test_engine::test_engine();
    device.meets(node(5));
    device.engine.network.join_open();
    let mut followed = 0;
    for n in 0..100 {
        device.clock.pass(50);
        device.engine.network.handle_hello(
            &mut device.engine.ctx,
            node(5),
            &fog_grid::Hello { open: n % 2 == 0, has_heard: true, ..hello() },
        );
        followed +=
            usize::from(device.engine.ctx.store.peers(9).unwrap()[0].seen == device.engine.ctx.clock.unix());
    }
    assert!((2..=10).contains(&followed), "{followed} of its changes were written to the disk");
}
