//! Tests with an engine that has no threads and no network and is driven by hand.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Arc;

use fog_eligibility::Readings;
use fog_grid::{Answer, Content, ContentId, ContentKey, LeaseId, Message as Said, Relation, TaskOffer, TaskResult, WorkerState};
use fog_runtime::WorkerProgram;
use fog_store::{BlobFile, Blobs, HostedRow, NewJob};
use fog_types::job::{GridOptions, JobFile, Map};
use fog_types::{BlobId, ByteCount, JobState, NodeId};

use self::prelude::*;
use crate::clock::tests::Fake;
use crate::directory::Peer;
use crate::event_loop::*;
use crate::grid::{Hosted, Telling};
use crate::network::readers::Heard;

const DAY_MS: i64 = 86_400_000;

pub(crate) struct Turned {
    pub(crate) core: Engine,
    pub(crate) clock: Arc<Fake>,
    _folder: tempfile::TempDir,
    _inbox: mpsc::Receiver<EngineMessage>,
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub(crate) fn content(n: u8, size: u64) -> Content {
    Content { id: ContentId([n; 32]), blob: BlobId([n; 32]), size, key: ContentKey([n; 32]) }
}

pub(crate) fn turned() -> Turned {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    // The key file keeps the keychain from being used.
    std::fs::write(folder.path().join("checkpoint.key"), rand::random::<[u8; 32]>()).unwrap();
    let config = EngineConfig {
        data_folder: folder.path().to_owned(),
        worker: WorkerProgram::Process { path: "false".into(), args: Vec::new() },
        examples: None,
        device: None,
        network: Default::default(),
        chat: Default::default(),
    };
    let (to_self, inbox) = mpsc::channel(64);
    let (events, _) = broadcast::channel(64);
    let clock = Fake::new();
    let mut core = Engine::new(config, store, Clock::with(clock.clone()), to_self, events).unwrap();
    // The disk of the machine that runs the tests may be nearly full.
    core.set_settings([("disk_free_min".to_owned(), 0.1.into())].into()).unwrap();
    Turned { core, clock, _folder: folder, _inbox: inbox }
}

impl Engine {
    pub(crate) fn set_settings(&mut self, changes: std::collections::BTreeMap<String, Value>) -> Result<Reply, ApiError> {
        let done = self.duty.set_settings(&mut self.ctx, changes);
        self.settle();
        done
    }

    /// Carries out a command that is answered at once.
    pub(crate) fn call(&mut self, command: Command) -> Result<Reply, ApiError> {
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        self.command(command, answer);
        self.settle();
        self.drain();
        answered.try_recv().expect("this command is answered later")
    }
}

impl Turned {
    pub(crate) fn call(&mut self, command: Command) -> Result<Reply, ApiError> {
        self.core.call(command)
    }

    /// Creates a job with this number of tasks; a job for other devices has a wish.
    pub(crate) fn job(&mut self, tasks: i64, grid: Option<GridOptions>, change: impl FnOnce(&mut JobFile)) -> JobId {
        let module = BlobFile::copy(self.core.ctx.store.folder(), &b"module"[..], ByteCount::mib(1)).unwrap();
        let module = self.core.ctx.store.add_blob(module, ByteCount::mib(100), self.core.ctx.clock.unix()).unwrap();
        let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
        let map = if tasks == 1 { Map::One } else { Map::Range { from: 0, to: tasks } };
        let mut file = JobFile { map, ..JobFile::for_module("job", "m.wasm") };
        change(&mut file);
        let new = NewJob { file, blobs, owner: "me".to_owned(), grid, now: self.core.ctx.clock.unix() };
        let id = self.core.ctx.store.insert_job(&new).unwrap();
        if grid.is_some() {
            self.core.sync_requester().unwrap();
        }
        id
    }

    /// Leases a task to a device, which accepts.
    pub(crate) fn lend(&mut self, n: u8, task: TaskId, to: NodeId) -> LeaseId {
        let lease = LeaseId([n; 16]);
        let now = self.core.ctx.now_ms();
        self.core.ctx.store.begin_lease(task, &lease.to_string(), to, "offer", self.core.ctx.clock.unix()).unwrap();
        self.core.grid.requester.offered(lease, task, to, now);
        self.core.worker_said(to, Said::Answer { lease, answer: Answer::Accepted }).unwrap();
        lease
    }

    fn fails(&mut self, lease: LeaseId, at: NodeId, is_hopeless: bool) {
        self.core.worker_said(at, Said::Failed { lease, problem: "no".to_owned(), is_hopeless }).unwrap();
        self.core.settle();
        self.core.lend().unwrap();
        self.core.settle();
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

    /// Adds a peer that shares a network with this device.
    pub(crate) fn meets(&mut self, node: NodeId) {
        self.core.ctx.directory.peers.insert(node, Peer { relation: Some(Relation::Lan), ..Peer::default() });
    }
}

const WISH: fn() -> GridOptions = || GridOptions { replicas: 1, ..GridOptions::default() };

/// The program was killed, or the disk was full, between the end of a hosted job and its report.
#[test]
fn the_end_of_a_hosted_job_that_could_not_be_told_is_told_later() {
    let mut turned = turned();
    let id = turned.job(1, None, |_| {});
    let core = &mut turned.core;
    let (lease, deadline) = (LeaseId([7; 16]), UnixMillis(core.ctx.clock.unix().0 + DAY_MS));
    let row =
        HostedRow { job: id, lease: lease.to_string(), requester: node(2), offer: BlobId([0; 32]).to_string(), deadline, message: None, has_receipt: false };
    core.ctx.store.host(&row).unwrap();
    core.restore_hosted().unwrap();
    core.host_tick();
    assert!(core.grid.hosted[&id].message.is_none(), "it has not ended");
    core.ctx.store.set_job_state(id, JobState::Cancelled, "", core.ctx.clock.unix()).unwrap();
    core.host_tick();
    let said = core.grid.hosted[&id].message.clone().expect("its requester hears nothing but heartbeats");
    assert!(matches!(Said::decode(&said), Ok(Said::Failed { lease: told, is_hopeless: false, .. }) if told == lease));
    // A result waits for a network and is not given up meanwhile.
    let (done, at) = (turned.job(1, None, |_| {}), turned.core.ctx.clock.unix());
    let core = &mut turned.core;
    core.ctx.store.set_job_state(done, JobState::Finished, "", at).unwrap();
    let hosted = Hosted {
        lease: LeaseId([8; 16]),
        requester: node(2),
        offer_hash: [0; 32],
        deadline,
        standing: WorkerState::Running,
        units: 0,
        permille: None,
        message: None,
        telling: Telling::default(),
        last_beat: None,
        said: 0,
        last_ship: None,
        shipped: None,
        is_sealing: false,
        shown: 0,
        untaken: None,
    };
    core.grid.hosted.insert(done, hosted);
    for _ in 0..30 {
        core.host_tick();
    }
    let hosted = &core.grid.hosted[&done];
    assert!(hosted.message.is_none() && hosted.telling.is_due());
    // A result that cannot be prepared for some minutes is given up, and its requester asks another device.
    for _ in 0..11 {
        core.grid.hosted.get_mut(&done).unwrap().telling.not_before = None;
        core.result_sealed(done, Err("the disk refused".to_owned())).unwrap();
    }
    let said = core.grid.hosted[&done].message.clone().unwrap();
    assert!(matches!(Said::decode(&said), Ok(Said::Failed { is_hopeless: false, .. })));
}

#[test]
fn a_failure_of_a_lent_task_looks_at_that_task_alone() {
    let mut turned = turned();
    let id = turned.job(50, Some(WISH()), |file| file.attempts = 2);
    // A job that is in the database only must not be read, nor any other row.
    let module = turned.core.ctx.store.job(id).unwrap();
    let new = NewJob { file: module.file, blobs: module.blobs, owner: "me".to_owned(), grid: Some(WISH()), now: turned.core.ctx.clock.unix() };
    let other = turned.core.ctx.store.insert_job(&new).unwrap();
    let task = TaskId { job: id, index: 3 };
    let lease = turned.lend(1, task, node(1));
    turned.fails(lease, node(1), false);
    assert_eq!(turned.core.ctx.store.task(task).unwrap().attempts, 1);
    assert!(turned.core.grid.requester.has(task), "it is tried again");
    let lease = turned.lend(2, task, node(2));
    turned.fails(lease, node(2), false);
    assert!(!turned.core.grid.requester.has(task), "it has failed");
    assert_eq!(turned.core.grid.requester.tasks_of(id).count(), 49);
    assert_eq!(turned.core.grid.requester.tasks_of(other).count(), 0, "all tasks of all jobs were read because one of them failed");
    // The job has ended; the next failure removes the rest of it.
    turned.core.ctx.store.set_job_state(id, JobState::Cancelled, "", turned.core.ctx.clock.unix()).unwrap();
    let lease = turned.lend(3, TaskId { job: id, index: 4 }, node(2));
    turned.fails(lease, node(2), false);
    assert_eq!(turned.core.grid.requester.tasks_of(id).count(), 0);
}

#[test]
fn one_device_that_gives_up_everything_stops_no_job() {
    let mut turned = turned();
    let id = turned.job(20, Some(WISH()), |_| {});
    for n in 0..7 {
        let lease = turned.lend(n, TaskId { job: id, index: u32::from(n) }, node(1));
        turned.fails(lease, node(1), true);
    }
    assert_eq!(turned.core.ctx.store.job_state(id).unwrap(), JobState::Running, "{}", turned.core.ctx.store.job(id).unwrap().problem);
    // With spot checks no task fails on the word of one device.
    let id = turned.job(2, Some(GridOptions { spot_checks: 1, ..WISH() }), |_| {});
    let task = TaskId { job: id, index: 1 };
    turned.core.grid.requester.remove(task, "");
    let need = fog_grid::Replication { replicas: 1, choice: fog_grid::AcceptanceRule::Quorum(1), hopeless: 2 };
    turned.core.grid.requester.add(task, need);
    let lease = turned.lend(30, task, node(1));
    turned.fails(lease, node(1), true);
    assert_ne!(turned.core.ctx.store.task(task).unwrap().state, fog_types::TaskState::Failed);
    let lease = turned.lend(31, task, node(2));
    turned.fails(lease, node(2), true);
    assert_eq!(turned.core.ctx.store.task(task).unwrap().state, fog_types::TaskState::Failed);
}

#[test]
fn a_result_that_finds_no_room_is_not_fetched() {
    let mut turned = turned();
    let id = turned.job(1, Some(WISH()), |_| {});
    let task = TaskId { job: id, index: 0 };
    let lease = turned.lend(1, task, node(1));
    let cap = turned.core.ctx.settings.storage_cap().0;
    turned.core.grid.requester.handle_result(node(1), Turned::result(lease, node(1), cap), turned.core.ctx.now_ms());
    turned.core.lend().unwrap();
    let told = turned.core.grid.why_waiting(id).expect("it is fetched although there is no room").to_owned();
    assert!(told.contains("could not be stored"), "{told}");
    assert!(turned.core.grid.waiting.is_empty());
    // The worker keeps the result and the lease.
    let state = turned.core.grid.requester.lease(lease, node(1)).unwrap().state.clone();
    assert_eq!(state, fog_grid::LeaseState::Held(WorkerState::Waiting));
    // A result that fits is fetched, and so is one whose files are stored already.
    assert!(turned.core.has_room_for(&Turned::result(lease, node(1), cap / 20)).is_ok());
    let mut stored = Turned::result(lease, node(1), 1);
    let module = turned.core.ctx.store.job(id).unwrap().blobs.module;
    stored.outputs.push(("b".to_owned(), Content { blob: module, ..content(9, cap) }));
    assert!(turned.core.has_room_for(&stored).is_ok());
}

#[test]
fn a_deadline_is_a_span_of_time_between_devices_whose_clocks_differ() {
    let mut requester = turned();
    let id = requester.job(1, Some(WISH()), |file| file.deadline_seconds = 1800);
    let blob = requester.core.ctx.store.job(id).unwrap().blobs.module;
    let row = crate::exchange::content::seal(&requester.core.ctx.store.blob(blob).unwrap(), blob, requester.core.content_key(blob)).unwrap();
    requester.core.ctx.store.put_content(&row).unwrap();
    for ahead in [3_600_000, -3_600_000, 40 * DAY_MS] {
        let mut host = turned();
        host.clock.set(ahead);
        host.core.look_at_clock();
        let (from, to) = (requester.core.ctx.me().unwrap(), host.core.ctx.me().unwrap());
        host.meets(from);
        let on = [("contributing", true.into()), ("run_while_in_use", true.into()), ("duty_in_use", 100.into()), ("unknown_idle", "allow".into())];
        host.core.set_settings(on.map(|(key, value): (&str, Value)| (key.to_owned(), value)).into()).unwrap();
        let now = host.core.ctx.clock.moment();
        host.core.ctx.rules.handle_readings(Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() }, now);
        assert!(host.core.capacity().duty > 0, "{:?}", host.core.ctx.rules.verdict());
        let job = requester.core.ctx.store.job(id).unwrap();
        let (lease, signed) = requester.core.make_offer(TaskId { job: id, index: 0 }, &job, to, None).unwrap().unwrap();
        let offer: TaskOffer = signed.open(from).unwrap();
        host.core.said(from, Heard::Offer(Box::new(offer), signed.hash())).unwrap();
        let taken = host.core.grid.arriving.get(&lease).unwrap_or_else(|| panic!("declined by a device whose clock is {ahead} ms ahead"));
        assert_eq!(taken.deadline.0 - host.core.ctx.clock.unix().0, 1_800_000);
    }
    // A task whose deadline has passed is not offered.
    requester.clock.pass(1_800_001);
    let job = requester.core.ctx.store.job(id).unwrap();
    assert!(requester.core.make_offer(TaskId { job: id, index: 0 }, &job, node(5), None).unwrap().is_err());
}

/// The evidence about a device is unchanged after it was updated while the calendar was forty days ahead.
#[test]
fn what_is_known_of_a_device_does_not_fade_with_a_wrong_calendar() {
    let mut turned = turned();
    let known = node(3);
    for _ in 0..20 {
        turned.core.judge(known, fog_grid::Evidence::saw_valid);
    }
    for by in [40 * DAY_MS, -40 * DAY_MS, -DAY_MS] {
        turned.clock.set(by);
        turned.core.look_at_clock();
        turned.core.judge(known, fog_grid::Evidence::saw_receipt);
        turned.clock.pass(1000);
    }
    let valid = turned.core.ctx.directory.evidence(known).valid;
    assert!(valid > 19.9, "{valid} of 20 results are left");
    // The stored evidence moves with the calendar too.
    turned.clock.set(40 * DAY_MS);
    turned.core.look_at_clock();
    let row = turned.core.ctx.store.peers(10).unwrap().remove(0);
    let stored: fog_grid::Evidence = serde_json::from_str(&row.evidence).unwrap();
    assert_eq!(stored.at_ms, turned.core.ctx.directory.evidence(known).at_ms);
    // A week of real time fades the evidence.
    turned.clock.pass((7 * DAY_MS).unsigned_abs());
    turned.core.judge(known, fog_grid::Evidence::saw_lost);
    let valid = turned.core.ctx.directory.evidence(known).valid;
    assert!((9.9..10.1).contains(&valid), "{valid}");
}

#[test]
fn files_that_cannot_be_made_ready_are_tried_again_after_a_while() {
    let mut turned = turned();
    let id = turned.job(1, Some(WISH()), |_| {});
    turned.core.grid.sealing.insert(id);
    turned.core.sealed(id, Err("the disk refused".to_owned()));
    assert!(!turned.core.grid.sealing.contains(&id), "it is never tried again");
    assert!(turned.core.grid.unsealed.contains_key(&id), "it is tried again at every event");
}

/// Types that tests of the engine use.
pub(crate) mod prelude {
    pub(crate) use crate::clock::Clock;
    pub(crate) use crate::duty::SNOOZE_KEY;
    pub(crate) use crate::event_loop::Engine;
    pub(crate) use crate::handle::EngineConfig;
    pub(crate) use fog_api::{ApiError, Command, Reply};
    pub(crate) use fog_store::Store;
    pub(crate) use fog_types::{JobId, Percent, TaskId, UnixMillis, WorkUnits};
    pub(crate) use serde_json::Value;
    pub(crate) use tokio::sync::{mpsc, oneshot};

    pub(crate) use crate::message::EngineMessage;
    pub(crate) use crate::tasks::estimates::EstimateNews;
}
