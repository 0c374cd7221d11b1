//! Tests that no honest worker stays unpaid: two engines over a network in memory, of which one is killed, or
//! loses what it says, at each boundary between a transaction and its effects.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::{Duration, Instant};

use fog_grid::LeaseId;
use fog_store::{BlobFile, HostedRow, PlacedFiles, TaskResult};
use fog_transport::memory::MemoryNetwork;
use fog_types::job::GridOptions;
use fog_types::{BlobId, ByteCount, JobState, NodeId, TaskState};

use crate::exchange::Lent;
use crate::network::runtime::Net;
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

/// Work units of the task: five credits at the usual price.
const UNITS: WorkUnits = WorkUnits(5_000_000_000);
const CAP: ByteCount = ByteCount::mib(100);
/// Longest time until everything is settled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Event at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The engine is killed.
    Kill,
    /// Everything that it still had to say is lost, as with a cut link.
    Silence,
}

/// Side of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requester,
    Worker,
}

struct Pair {
    network: MemoryNetwork,
    requester: Option<TestEngine>,
    worker: Option<TestEngine>,
    /// Boundary of this side, counted from its start, at which the fault occurs.
    fault: Option<(Side, Fault, u32)>,
    boundaries: [u32; 2],
}

impl Pair {
    /// A requester that has leased a task to a worker, which has finished it and not said so yet.
    fn new(fault: Option<(Side, Fault, u32)>) -> Self {
        let network = MemoryNetwork::default();
        let (mut requester, mut worker) = (test_engine(), test_engine());
        let (from, to) = (requester.engine.ctx.me().unwrap(), worker.engine.ctx.me().unwrap());
        for side in [&mut requester, &mut worker] {
            side.engine.network.join_network(&mut side.engine.ctx, "lan").unwrap();
        }
        let id = requester.job(1, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |_| {});
        let (task, lease, offer) = (TaskId { job: id, index: 0 }, LeaseId([7; 16]), [9; 32]);
        let engine = &mut requester.engine;
        let now = engine.ctx.clock.unix();
        engine.ctx.store.reserve_credit(&lease.to_string(), to, id, 1_000, now).unwrap();
        engine.ctx.store.begin_lease(task, &lease.to_string(), to, &BlobId(offer).to_string(), now).unwrap();
        engine.exchange.requester.offered(lease, task, to, engine.ctx.now_ms());
        engine.exchange.lent.insert(lease, Lent { offer_hash: offer, signed_result: None });
        Self::finish(&mut worker, from, lease, offer);
        let mut pair =
            Self { network, requester: Some(requester), worker: Some(worker), fault, boundaries: [0; 2] };
        pair.connect(Side::Requester);
        pair.connect(Side::Worker);
        pair
    }

    /// Has the worker run the task of a lease to its end.
    fn finish(worker: &mut TestEngine, from: NodeId, lease: LeaseId, offer: [u8; 32]) {
        let id = worker.job(1, None, |_| {});
        let engine = &mut worker.engine;
        let now = engine.ctx.clock.unix();
        let deadline = UnixMillis(now.0 + 86_400_000);
        let (lease, offer) = (lease.to_string(), BlobId(offer).to_string());
        engine
            .ctx
            .store
            .host(&HostedRow {
                job: id,
                lease,
                requester: from,
                offer,
                deadline,
                message: None,
                has_receipt: false,
            })
            .unwrap();
        let claim = engine.ctx.store.claim_task("test", now).unwrap().unwrap();
        let folder = engine.ctx.store.folder().to_owned();
        let file = |bytes: &[u8]| BlobFile::copy(&folder, bytes, CAP).unwrap();
        let placed =
            PlacedFiles::place(&folder, &engine.ctx.store.holds(), vec![file(b"said"), file(b"")]).unwrap();
        engine.ctx.store.add_placed(&placed, &[], CAP, now).unwrap();
        let [stdout, stderr] = placed.ids() else { panic!("two files were placed") };
        let hash = fog_runtime::result_hash(0, UNITS, b"said", std::iter::empty()).to_hex().to_string();
        let result = TaskResult {
            exit_code: 0,
            units: UNITS,
            active_millis: 5,
            memory: 1,
            result_hash: hash,
            agreed: 1,
            stdout: *stdout,
            stderr: *stderr,
            stdout_dropped: 0,
            stderr_dropped: 0,
            outputs: Vec::new(),
        };
        engine.ctx.store.finish_task(claim, &result, now).unwrap();
        engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
    }

    fn side(&mut self, side: Side) -> &mut TestEngine {
        match side {
            Side::Requester => self.requester.as_mut().unwrap(),
            Side::Worker => self.worker.as_mut().unwrap(),
        }
    }

    fn connect(&mut self, side: Side) {
        let network = self.network.clone();
        let engine = &mut self.side(side).engine;
        let me = engine.ctx.me().unwrap();
        engine.ctx.net = Some(Net::in_memory(&network, me, engine.ctx.to_self.clone()));
    }

    /// Passes a boundary. Returns whether the engine was killed there.
    fn pass(&mut self, side: Side) -> bool {
        let count = &mut self.boundaries[side as usize];
        *count += 1;
        let Some((_, fault, _)) = self.fault.filter(|(whose, _, at)| (*whose, *at) == (side, *count)) else {
            return false;
        };
        match fault {
            Fault::Silence => {
                self.side(side).engine.ctx.out.rolled_back();
                false
            }
            Fault::Kill => {
                let place = if side == Side::Requester { &mut self.requester } else { &mut self.worker };
                *place = place.take().map(TestEngine::restarted);
                self.connect(side);
                true
            }
        }
    }

    /// Handles one input like the event loop, with a boundary before the commit, after it, and after each
    /// effect.
    fn turn(&mut self, side: Side, work: impl FnOnce(&mut Engine)) {
        let engine = &mut self.side(side).engine;
        engine.ctx.store.begin().unwrap();
        work(engine);
        engine.settle();
        if self.pass(side) {
            return;
        }
        let engine = &mut self.side(side).engine;
        engine.ctx.store.commit().unwrap();
        engine.ctx.out.committed();
        while !self.pass(side) {
            if !self.side(side).engine.carry_out_next() {
                return;
            }
        }
    }

    fn settled(&mut self) -> bool {
        let waits = self.side(Side::Worker).engine.exchange.hosted_jobs() > 0;
        let engine = &self.side(Side::Requester).engine;
        !waits
            && engine.ctx.store.receipts().unwrap().is_empty()
            && engine.ctx.store.leases().unwrap().is_empty()
    }

    /// Runs both engines until everything is settled.
    fn run(&mut self) {
        let begun = Instant::now();
        let (from, to) = (
            self.side(Side::Requester).engine.ctx.me().unwrap(),
            self.side(Side::Worker).engine.ctx.me().unwrap(),
        );
        while !self.settled() {
            assert!(begun.elapsed() < PATIENCE, "{:?}: it is not settled", self.fault);
            for (side, other) in [(Side::Requester, to), (Side::Worker, from)] {
                while let Ok(message) = self.side(side).inbox.try_recv() {
                    self.turn(side, |engine| engine.handle(message));
                }
                self.turn(side, |engine| {
                    let is_there = engine.ctx.directory.peers.contains_key(&other);
                    if let Some(net) = engine.ctx.net.as_ref().filter(|_| !is_there) {
                        net.transport.dial(other, Vec::new());
                    }
                    if is_there {
                        engine.exchange.tick(&mut engine.ctx);
                        // What waits for an answer is repeated as if its time had come.
                        engine.exchange.greet(&mut engine.ctx, other);
                    }
                    engine.exchange.lend(&mut engine.ctx).unwrap();
                });
            }
            for side in [Side::Requester, Side::Worker] {
                self.side(side).clock.pass(20);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Checks that the work was accepted, paid and recorded once.
    fn check(&mut self) {
        let fault = self.fault;
        let (from, to) = (
            self.side(Side::Requester).engine.ctx.me().unwrap(),
            self.side(Side::Worker).engine.ctx.me().unwrap(),
        );
        let engine = &self.side(Side::Requester).engine;
        let job = engine.ctx.store.grid_jobs().unwrap();
        assert!(job.is_empty(), "{fault:?}: the job has not ended");
        let task = engine.ctx.store.task(TaskId { job: JobId(1), index: 0 }).unwrap();
        assert_eq!((task.state, task.units), (TaskState::Finished, UNITS), "{fault:?}");
        let finished = engine
            .ctx
            .store
            .attempts(task.id)
            .unwrap()
            .into_iter()
            .filter(|attempt| attempt.outcome == "finished")
            .count();
        assert_eq!(finished, 1, "{fault:?}: its result was recorded more than once");
        let spent = engine.ctx.store.credits().unwrap();
        let seen = engine.ctx.directory.evidence(to);
        assert_eq!((spent.spent, spent.reserved), (5_000, 0), "{fault:?}");
        assert_eq!((seen.invalid, seen.lost), (0.0, 0.0), "{fault:?}: it is blamed");
        let engine = &self.side(Side::Worker).engine;
        assert_eq!(engine.ctx.store.credits().unwrap().earned, 5_000, "{fault:?}: the worker is not paid");
        let seen = engine.ctx.directory.evidence(from);
        assert_eq!((seen.unpaid, seen.receipted.round()), (0.0, 1.0), "{fault:?}");
        assert_eq!(engine.ctx.store.job_state(JobId(1)).unwrap(), JobState::Finished);
    }
}

/// Number of boundaries of each side when nothing goes wrong, as far as the first ones go.
fn undisturbed() -> [u32; 2] {
    let mut pair = Pair::new(None);
    pair.run();
    pair.check();
    pair.boundaries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_paid_once_whatever_ends_between_its_result_and_its_receipt() {
    let is_full = std::env::var_os("FOG_TEST_FULL").is_some();
    let boundaries = undisturbed();
    println!("{boundaries:?} boundaries of requester and worker");
    for side in [Side::Requester, Side::Worker] {
        let count = boundaries[side as usize];
        for at in (1..=count).step_by(if is_full { 1 } else { (count as usize / 12).max(1) }) {
            for fault in [Fault::Kill, Fault::Silence] {
                let mut pair = Pair::new(Some((side, fault, at)));
                pair.run();
                pair.check();
            }
        }
    }
}
