//! Tests of the room that unfetched results hold, and of tasks that find no room.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_eligibility::Readings;
use fog_grid::{Answer, Capacity, Decline, LeaseId, Message as Said, TaskOffer};
use fog_store::{BlobFile, HostedRow};
use fog_types::job::{GridOptions, MAX_DEADLINE_SECONDS};
use fog_types::{BlobId, ByteCount, JobState, NodeId};

use crate::network::readers::Heard;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node, test_engine};

const DAY_MS: u64 = 86_400_000;
const MEGABYTE: usize = 1_000_000;

/// Creates a device that lends and may store 100 MB.
pub(crate) fn host() -> TestEngine {
    let mut host = test_engine();
    let on = [
        ("contributing", true.into()),
        ("run_while_in_use", true.into()),
        ("duty_in_use", 100.into()),
        ("unknown_idle", "allow".into()),
    ];
    host.engine
        .set_settings(
            on.into_iter()
                .chain([("storage_cap", 0.1.into())])
                .map(|(key, value): (&str, Value)| (key.to_owned(), value))
                .collect(),
        )
        .unwrap();
    let now = host.engine.ctx.clock.moment();
    host.engine.ctx.rules.handle_readings(
        Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() },
        now,
    );
    host
}

/// Adds a hosted job that ended, holds this many bytes and is being reported to its requester.
fn done(host: &mut TestEngine, n: u8, requester: NodeId, bytes: usize) -> JobId {
    let id = host.job(1, None, |_| {});
    let engine = &mut host.engine;
    let file =
        BlobFile::copy(engine.ctx.store.folder(), vec![n; bytes].as_slice(), ByteCount::mib(100)).unwrap();
    let (cap, now) = (engine.ctx.settings.storage_cap(), engine.ctx.clock.unix());
    let blob = engine.ctx.store.add_blob(file, cap, now).unwrap();
    engine.ctx.store.hold_blob(id, blob).unwrap();
    let deadline = UnixMillis(i64::MAX);
    let lease = LeaseId([id.0 as u8; 16]);
    let row = HostedRow {
        job: id,
        lease: lease.to_string(),
        requester,
        offer: BlobId([0; 32]).to_string(),
        deadline,
        message: None,
        has_receipt: false,
    };
    engine.ctx.store.host(&row).unwrap();
    engine.ctx.store.set_job_state(id, JobState::Cancelled, "", now).unwrap();
    engine
        .ctx
        .store
        .set_hosted_message(id, &Said::Release { lease, why: "as if it were a result".to_owned() }.encode())
        .unwrap();
    engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
    id
}

/// Sends an offer of a small job to a host.
pub(crate) fn offer(requester: &mut TestEngine, host: &mut TestEngine, left_ms: u64) -> LeaseId {
    offer_of(requester, host, left_ms).lease
}

/// Like [`offer`], and returns the whole offer. A peer that is connected already keeps its relation.
pub(crate) fn offer_of(requester: &mut TestEngine, host: &mut TestEngine, left_ms: u64) -> TaskOffer {
    let id = requester.job(1, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |file| {
        file.limits.disk = ByteCount::mib(1)
    });
    let blob = requester.engine.ctx.store.job(id).unwrap().blobs.module;
    let row = crate::exchange::content::seal(
        &requester.engine.ctx.store.blob(blob).unwrap(),
        blob,
        requester.engine.exchange.content_key(&requester.engine.ctx, blob),
    )
    .unwrap();
    requester.engine.ctx.store.put_content(&row).unwrap();
    let (from, to) = (requester.engine.ctx.me().unwrap(), host.engine.ctx.me().unwrap());
    if !host.engine.ctx.directory.peers.contains_key(&from) {
        host.meets(from);
    }
    let job = requester.engine.ctx.store.job(id).unwrap();
    let (_, signed) = requester
        .engine
        .exchange
        .make_offer(&requester.engine.ctx, TaskId { job: id, index: 0 }, &job, to, None)
        .unwrap()
        .unwrap();
    let offer = TaskOffer { left_ms, ..signed.open(from).unwrap() };
    host.engine
        .exchange
        .handle_message(&mut host.engine.ctx, from, Heard::Offer(Box::new(offer.clone()), signed.hash()))
        .unwrap();
    offer
}

#[tokio::test]
async fn a_requester_that_takes_no_results_gets_nothing_more_done_and_others_do() {
    let (mut greedy, mut honest, mut host) = (test_engine(), test_engine(), host());
    let from = greedy.engine.ctx.me().unwrap();
    done(&mut host, 1, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(host.engine.exchange.arriving.remove(&lease).is_some(), "an eighth of the room is fine");
    // The same file again takes no further room.
    done(&mut host, 1, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(
        host.engine.exchange.arriving.remove(&lease).is_some(),
        "what its jobs have in common counts once"
    );
    let last = done(&mut host, 2, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(!host.engine.exchange.arriving.contains_key(&lease), "it fills the device and takes nothing");
    assert!(host.engine.exchange.turned_away.contains(&from));
    let lease = offer(&mut honest, &mut host, 1000);
    assert!(host.engine.exchange.arriving.remove(&lease).is_some(), "another one has to do with it");
    // The requester fetches one result.
    host.engine.exchange.hosted.remove(&last);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(host.engine.exchange.arriving.contains_key(&lease));
}

#[tokio::test]
async fn results_that_nobody_has_taken_for_a_day_hold_half_of_the_room_at_most() {
    let mut host = host();
    let jobs: Vec<JobId> = (1..=7)
        .map(|n| {
            let job = done(&mut host, n, node(n), 13 * MEGABYTE);
            host.clock.pass(1000);
            job
        })
        .collect();
    let held = |host: &TestEngine| {
        host.engine.ctx.store.bytes_held_by(jobs.iter().copied()).unwrap() / MEGABYTE as u64
    };
    host.engine.exchange.make_untaken_give_way(&mut host.engine.ctx).unwrap();
    assert_eq!(held(&host), 91, "they are new");
    host.clock.pass(DAY_MS);
    host.engine.exchange.make_untaken_give_way(&mut host.engine.ctx).unwrap();
    assert_eq!(held(&host), 39);
    for (n, job) in jobs.iter().enumerate() {
        let said = Said::decode(host.engine.exchange.hosted[job].message.as_ref().unwrap()).unwrap();
        // The oldest results were evicted first, and their requesters are told when they connect.
        assert_eq!(matches!(said, Said::Failed { is_hopeless: false, .. }), n < 4, "{n}: {said:?}");
    }
    assert!(host.engine.exchange.capacity(&host.engine.ctx).disk > 50 * MEGABYTE as u64);
    // A restart changes nothing.
    host.engine.exchange.hosted.clear();
    host.engine.exchange.restore_hosted(&mut host.engine.ctx).unwrap();
    host.engine.exchange.make_untaken_give_way(&mut host.engine.ctx).unwrap();
    assert_eq!((held(&host), host.engine.exchange.hosted.len()), (39, 7));
}

#[test]
fn nobody_waits_for_a_result_longer_than_a_job_may_take() {
    let (mut requester, mut host) = (test_engine(), host());
    let latest = host.engine.ctx.clock.unix().0.saturating_add_unsigned(MAX_DEADLINE_SECONDS * 1000);
    let lease = offer(&mut requester, &mut host, u64::MAX);
    assert_eq!(host.engine.exchange.arriving[&lease].deadline.0, latest);
    // A restored job is bounded as well.
    let job = done(&mut host, 1, node(1), 1);
    assert_eq!(host.engine.exchange.hosted[&job].deadline.0, latest);
}

#[test]
fn the_owner_of_a_job_hears_that_the_devices_near_are_full_or_at_rest() {
    let mut device = test_engine();
    let id = device.job(2, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |_| {});
    device.engine.exchange.sealed.insert(id);
    let wanted = || [(id, ())];
    let why = |device: &mut TestEngine| {
        let jobs = wanted()
            .into_iter()
            .map(|(id, ())| (id, Some(device.engine.ctx.store.job(id).unwrap())))
            .collect();
        device.engine.exchange.look_for_room(&mut device.engine.ctx, &jobs);
        device.engine.exchange.why_waiting(id).map(str::to_owned)
    };
    assert_eq!(why(&mut device), None, "nobody is near, which is told elsewhere");
    let has_room =
        Capacity { slots: 2, free: 2, memory: 1 << 40, disk: 1 << 40, duty: 100, ..Capacity::default() };
    for n in 1..=3 {
        device.meets(node(n));
        let peer = device.engine.ctx.directory.peers.get_mut(&node(n)).unwrap();
        (peer.capacity, peer.route) = (
            has_room,
            Some(fog_transport::Route {
                transport: "memory",
                is_relayed: false,
                is_local: true,
                address: String::new(),
            }),
        );
    }
    assert_eq!(why(&mut device), None);
    // A job that is larger than what each lends would wait for ever without a word.
    for n in 1..=3 {
        device.engine.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity.disk = u64::from(n) << 20;
    }
    let told = why(&mut device).expect("it waits, and nobody knows why");
    assert!(told.contains("of disk, and the devices near lend 1.0 TiB and 3.0 MiB at most"), "{told}");
    for n in 1..=3 {
        device.engine.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity = has_room;
    }
    assert_eq!(why(&mut device), None);
    for (n, answer) in [(1, Decline::Full), (2, Decline::Full), (3, Decline::Resting)] {
        assert_eq!(why(&mut device), None, "one of them may take it");
        let (lease, task, now) = (LeaseId([n; 16]), TaskId { job: id, index: 0 }, device.engine.ctx.now_ms());
        device.engine.exchange.requester.offered(lease, task, node(n), now);
        device
            .engine
            .exchange
            .handle_worker_message(
                &mut device.engine.ctx,
                node(n),
                Said::Answer { lease, answer: Answer::Declined(answer) },
            )
            .unwrap();
        // The device claims again that it has room.
        device.engine.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity = has_room;
    }
    let told = why(&mut device).expect("it waits, and nobody knows why");
    assert!(told.starts_with("of 3 devices near 2 are full and 1 rests"), "{told}");
    // The reason stays while the task is offered again, until a device accepts it.
    device.engine.exchange.look_for_room(&mut device.engine.ctx, &Default::default());
    assert_eq!(device.engine.exchange.why_waiting(id), Some(told.as_str()));
    device.lend(9, TaskId { job: id, index: 0 }, node(1));
    assert_eq!(why(&mut device), None);
}
