//! Tests of the room that unfetched results hold, and of tasks that find no room.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_eligibility::Readings;
use fog_grid::{Answer, Capacity, Decline, LeaseId, Message as Said, TaskOffer};
use fog_store::{BlobFile, HostedRow};
use fog_types::job::{GridOptions, MAX_DEADLINE_SECONDS};
use fog_types::{BlobId, ByteCount, JobState, NodeId};

use crate::network::readers::Heard;
use crate::test_engine::prelude::*;
use crate::test_engine::{Turned, node, turned};

const DAY_MS: u64 = 86_400_000;
const MEGABYTE: usize = 1_000_000;

/// Creates a device that lends and may store 100 MB.
pub(crate) fn host() -> Turned {
    let mut host = turned();
    let on = [("contributing", true.into()), ("run_while_in_use", true.into()), ("duty_in_use", 100.into()), ("unknown_idle", "allow".into())];
    host.core.set_settings(on.into_iter().chain([("storage_cap", 0.1.into())]).map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()).unwrap();
    let now = host.core.ctx.clock.moment();
    host.core.ctx.rules.handle_readings(Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() }, now);
    host
}

/// Adds a hosted job that ended, holds this many bytes and is being reported to its requester.
fn done(host: &mut Turned, n: u8, requester: NodeId, bytes: usize) -> JobId {
    let id = host.job(1, None, |_| {});
    let core = &mut host.core;
    let file = BlobFile::copy(core.ctx.store.folder(), vec![n; bytes].as_slice(), ByteCount::mib(100)).unwrap();
    let (cap, now) = (core.ctx.settings.storage_cap(), core.ctx.clock.unix());
    let blob = core.ctx.store.add_blob(file, cap, now).unwrap();
    core.ctx.store.hold_blob(id, blob).unwrap();
    let deadline = UnixMillis(i64::MAX);
    let lease = LeaseId([id.0 as u8; 16]);
    let row = HostedRow { job: id, lease: lease.to_string(), requester, offer: BlobId([0; 32]).to_string(), deadline, message: None, has_receipt: false };
    core.ctx.store.host(&row).unwrap();
    core.ctx.store.set_job_state(id, JobState::Cancelled, "", now).unwrap();
    core.ctx.store.set_hosted_message(id, &Said::Release { lease, why: "as if it were a result".to_owned() }.encode()).unwrap();
    core.exchange.restore_hosted(&mut core.ctx).unwrap();
    id
}

/// Sends an offer of a small job to a host.
pub(crate) fn offer(requester: &mut Turned, host: &mut Turned, left_ms: u64) -> LeaseId {
    offer_of(requester, host, left_ms).lease
}

/// Like [`offer`], and returns the whole offer. A peer that is connected already keeps its relation.
pub(crate) fn offer_of(requester: &mut Turned, host: &mut Turned, left_ms: u64) -> TaskOffer {
    let id = requester.job(1, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |file| file.limits.disk = ByteCount::mib(1));
    let blob = requester.core.ctx.store.job(id).unwrap().blobs.module;
    let row =
        crate::exchange::content::seal(&requester.core.ctx.store.blob(blob).unwrap(), blob, requester.core.exchange.content_key(&requester.core.ctx, blob))
            .unwrap();
    requester.core.ctx.store.put_content(&row).unwrap();
    let (from, to) = (requester.core.ctx.me().unwrap(), host.core.ctx.me().unwrap());
    if !host.core.ctx.directory.peers.contains_key(&from) {
        host.meets(from);
    }
    let job = requester.core.ctx.store.job(id).unwrap();
    let (_, signed) = requester.core.exchange.make_offer(&requester.core.ctx, TaskId { job: id, index: 0 }, &job, to, None).unwrap().unwrap();
    let offer = TaskOffer { left_ms, ..signed.open(from).unwrap() };
    host.core.exchange.handle_message(&mut host.core.ctx, from, Heard::Offer(Box::new(offer.clone()), signed.hash())).unwrap();
    offer
}

#[tokio::test]
async fn a_requester_that_takes_no_results_gets_nothing_more_done_and_others_do() {
    let (mut greedy, mut honest, mut host) = (turned(), turned(), host());
    let from = greedy.core.ctx.me().unwrap();
    done(&mut host, 1, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(host.core.exchange.arriving.remove(&lease).is_some(), "an eighth of the room is fine");
    // The same file again takes no further room.
    done(&mut host, 1, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(host.core.exchange.arriving.remove(&lease).is_some(), "what its jobs have in common counts once");
    let last = done(&mut host, 2, from, 13 * MEGABYTE);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(!host.core.exchange.arriving.contains_key(&lease), "it fills the device and takes nothing");
    assert!(host.core.exchange.turned_away.contains(&from));
    let lease = offer(&mut honest, &mut host, 1000);
    assert!(host.core.exchange.arriving.remove(&lease).is_some(), "another one has to do with it");
    // The requester fetches one result.
    host.core.exchange.hosted.remove(&last);
    let lease = offer(&mut greedy, &mut host, 1000);
    assert!(host.core.exchange.arriving.contains_key(&lease));
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
    let held = |host: &Turned| host.core.ctx.store.bytes_held_by(jobs.iter().copied()).unwrap() / MEGABYTE as u64;
    host.core.exchange.make_untaken_give_way(&mut host.core.ctx).unwrap();
    assert_eq!(held(&host), 91, "they are new");
    host.clock.pass(DAY_MS);
    host.core.exchange.make_untaken_give_way(&mut host.core.ctx).unwrap();
    assert_eq!(held(&host), 39);
    for (n, job) in jobs.iter().enumerate() {
        let said = Said::decode(host.core.exchange.hosted[job].message.as_ref().unwrap()).unwrap();
        // The oldest results were evicted first, and their requesters are told when they connect.
        assert_eq!(matches!(said, Said::Failed { is_hopeless: false, .. }), n < 4, "{n}: {said:?}");
    }
    assert!(host.core.exchange.capacity(&host.core.ctx).disk > 50 * MEGABYTE as u64);
    // A restart changes nothing.
    host.core.exchange.hosted.clear();
    host.core.exchange.restore_hosted(&mut host.core.ctx).unwrap();
    host.core.exchange.make_untaken_give_way(&mut host.core.ctx).unwrap();
    assert_eq!((held(&host), host.core.exchange.hosted.len()), (39, 7));
}

#[test]
fn nobody_waits_for_a_result_longer_than_a_job_may_take() {
    let (mut requester, mut host) = (turned(), host());
    let latest = host.core.ctx.clock.unix().0.saturating_add_unsigned(MAX_DEADLINE_SECONDS * 1000);
    let lease = offer(&mut requester, &mut host, u64::MAX);
    assert_eq!(host.core.exchange.arriving[&lease].deadline.0, latest);
    // A restored job is bounded as well.
    let job = done(&mut host, 1, node(1), 1);
    assert_eq!(host.core.exchange.hosted[&job].deadline.0, latest);
}

#[test]
fn the_owner_of_a_job_hears_that_the_devices_near_are_full_or_at_rest() {
    let mut turned = turned();
    let id = turned.job(2, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |_| {});
    turned.core.exchange.sealed.insert(id);
    let wanted = || [(id, ())];
    let why = |turned: &mut Turned| {
        let jobs = wanted().into_iter().map(|(id, ())| (id, Some(turned.core.ctx.store.job(id).unwrap()))).collect();
        turned.core.exchange.look_for_room(&mut turned.core.ctx, &jobs);
        turned.core.exchange.why_waiting(id).map(str::to_owned)
    };
    assert_eq!(why(&mut turned), None, "nobody is near, which is told elsewhere");
    let has_room = Capacity { slots: 2, free: 2, memory: 1 << 40, disk: 1 << 40, duty: 100, ..Capacity::default() };
    for n in 1..=3 {
        turned.meets(node(n));
        let peer = turned.core.ctx.directory.peers.get_mut(&node(n)).unwrap();
        (peer.capacity, peer.route) = (has_room, Some(fog_transport::Route { transport: "memory", is_relayed: false, is_local: true, address: String::new() }));
    }
    assert_eq!(why(&mut turned), None);
    // A job that is larger than what each lends would wait for ever without a word.
    for n in 1..=3 {
        turned.core.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity.disk = u64::from(n) << 20;
    }
    let told = why(&mut turned).expect("it waits, and nobody knows why");
    assert!(told.contains("of disk, and the devices near lend 1.0 TiB and 3.0 MiB at most"), "{told}");
    for n in 1..=3 {
        turned.core.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity = has_room;
    }
    assert_eq!(why(&mut turned), None);
    for (n, answer) in [(1, Decline::Full), (2, Decline::Full), (3, Decline::Resting)] {
        assert_eq!(why(&mut turned), None, "one of them may take it");
        let (lease, task, now) = (LeaseId([n; 16]), TaskId { job: id, index: 0 }, turned.core.ctx.now_ms());
        turned.core.exchange.requester.offered(lease, task, node(n), now);
        turned.core.exchange.worker_said(&mut turned.core.ctx, node(n), Said::Answer { lease, answer: Answer::Declined(answer) }).unwrap();
        // The device claims again that it has room.
        turned.core.ctx.directory.peers.get_mut(&node(n)).unwrap().capacity = has_room;
    }
    let told = why(&mut turned).expect("it waits, and nobody knows why");
    assert!(told.starts_with("of 3 devices near 2 are full and 1 rests"), "{told}");
    // The reason stays while the task is offered again, until a device accepts it.
    turned.core.exchange.look_for_room(&mut turned.core.ctx, &Default::default());
    assert_eq!(turned.core.exchange.why_waiting(id), Some(told.as_str()));
    turned.lend(9, TaskId { job: id, index: 0 }, node(1));
    assert_eq!(why(&mut turned), None);
}
