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
use crate::test_engine::{Turned, turned};

/// Work units of the task: five credits at the usual price.
const UNITS: WorkUnits = WorkUnits(5_000_000_000);
const CAP: ByteCount = ByteCount::mib(100);
/// Longest time until everything is settled.
const PATIENCE: Duration = Duration::from_secs(20);

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
    requester: Option<Turned>,
    worker: Option<Turned>,
    /// Boundary of this side, counted from its start, at which the fault occurs.
    fault: Option<(Side, Fault, u32)>,
    boundaries: [u32; 2],
}

impl Pair {
    /// A requester that has leased a task to a worker, which has finished it and not said so yet.
    fn new(fault: Option<(Side, Fault, u32)>) -> Self {
        let network = MemoryNetwork::default();
        let (mut requester, mut worker) = (turned(), turned());
        let (from, to) = (requester.core.ctx.me().unwrap(), worker.core.ctx.me().unwrap());
        for side in [&mut requester, &mut worker] {
            side.core.network.join_network(&mut side.core.ctx, "lan").unwrap();
        }
        let id = requester.job(1, Some(GridOptions { replicas: 1, ..GridOptions::default() }), |_| {});
        let (task, lease, offer) = (TaskId { job: id, index: 0 }, LeaseId([7; 16]), [9; 32]);
        let core = &mut requester.core;
        let (row, now) = (core.ctx.store.job(id).unwrap(), core.ctx.clock.unix());
        assert!(core.exchange.reserve(&mut core.ctx, lease, to, &row).unwrap());
        core.ctx.store.begin_lease(task, &lease.to_string(), to, &BlobId(offer).to_string(), now).unwrap();
        core.exchange.requester.offered(lease, task, to, core.ctx.now_ms());
        core.exchange.lent.insert(lease, Lent { offer_hash: offer, signed_result: None });
        Self::finish(&mut worker, from, lease, offer);
        let mut pair = Self { network, requester: Some(requester), worker: Some(worker), fault, boundaries: [0; 2] };
        pair.connect(Side::Requester);
        pair.connect(Side::Worker);
        pair
    }

    /// Has the worker run the task of a lease to its end.
    fn finish(worker: &mut Turned, from: NodeId, lease: LeaseId, offer: [u8; 32]) {
        let id = worker.job(1, None, |_| {});
        let core = &mut worker.core;
        let now = core.ctx.clock.unix();
        let deadline = UnixMillis(now.0 + 86_400_000);
        let (lease, offer) = (lease.to_string(), BlobId(offer).to_string());
        core.ctx.store.host(&HostedRow { job: id, lease, requester: from, offer, deadline, message: None, has_receipt: false }).unwrap();
        let claim = core.ctx.store.claim_task("test", now).unwrap().unwrap();
        let folder = core.ctx.store.folder().to_owned();
        let file = |bytes: &[u8]| BlobFile::copy(&folder, bytes, CAP).unwrap();
        let placed = PlacedFiles::place(&folder, &core.ctx.store.holds(), vec![file(b"said"), file(b"")]).unwrap();
        core.ctx.store.add_placed(&placed, &[], CAP, now).unwrap();
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
        core.ctx.store.finish_task(claim, &result, now).unwrap();
        core.exchange.restore_hosted(&mut core.ctx).unwrap();
    }

    fn side(&mut self, side: Side) -> &mut Turned {
        match side {
            Side::Requester => self.requester.as_mut().unwrap(),
            Side::Worker => self.worker.as_mut().unwrap(),
        }
    }

    fn connect(&mut self, side: Side) {
        let network = self.network.clone();
        let core = &mut self.side(side).core;
        let me = core.ctx.me().unwrap();
        core.ctx.net = Some(Net::in_memory(&network, me, core.ctx.to_self.clone()));
    }

    /// Passes a boundary. Returns whether the engine was killed there.
    fn pass(&mut self, side: Side) -> bool {
        let count = &mut self.boundaries[side as usize];
        *count += 1;
        let Some((_, fault, _)) = self.fault.filter(|(whose, _, at)| (*whose, *at) == (side, *count)) else { return false };
        match fault {
            Fault::Silence => {
                self.side(side).core.ctx.out.rolled_back();
                false
            }
            Fault::Kill => {
                let place = if side == Side::Requester { &mut self.requester } else { &mut self.worker };
                *place = place.take().map(Turned::restarted);
                self.connect(side);
                true
            }
        }
    }

    /// Handles one input like the event loop, with a boundary before the commit, after it, and after each
    /// effect.
    fn turn(&mut self, side: Side, work: impl FnOnce(&mut Engine)) {
        let core = &mut self.side(side).core;
        core.ctx.store.begin().unwrap();
        work(core);
        core.settle();
        if self.pass(side) {
            return;
        }
        let core = &mut self.side(side).core;
        core.ctx.store.commit().unwrap();
        core.ctx.out.committed();
        while !self.pass(side) {
            if !self.side(side).core.carry_out_next() {
                return;
            }
        }
    }

    fn settled(&mut self) -> bool {
        let waits = self.side(Side::Worker).core.exchange.hosted_jobs() > 0;
        let core = &self.side(Side::Requester).core;
        !waits && core.ctx.store.receipts().unwrap().is_empty() && core.ctx.store.leases().unwrap().is_empty()
    }

    /// Runs both engines until everything is settled.
    fn run(&mut self) {
        let begun = Instant::now();
        let (from, to) = (self.side(Side::Requester).core.ctx.me().unwrap(), self.side(Side::Worker).core.ctx.me().unwrap());
        while !self.settled() {
            assert!(begun.elapsed() < PATIENCE, "{:?}: it is not settled", self.fault);
            for (side, other) in [(Side::Requester, to), (Side::Worker, from)] {
                while let Ok(message) = self.side(side).inbox.try_recv() {
                    self.turn(side, |core| core.handle(message));
                }
                self.turn(side, |core| {
                    let is_there = core.ctx.directory.peers.contains_key(&other);
                    if let Some(net) = core.ctx.net.as_ref().filter(|_| !is_there) {
                        net.transport.dial(other, Vec::new());
                    }
                    if is_there {
                        core.exchange.tick(&mut core.ctx);
                        // What waits for an answer is repeated as if its time had come.
                        core.exchange.greet(&mut core.ctx, other);
                    }
                    core.exchange.lend(&mut core.ctx).unwrap();
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Checks that the work was accepted, paid and recorded once.
    fn check(&mut self) {
        let fault = self.fault;
        let (from, to) = (self.side(Side::Requester).core.ctx.me().unwrap(), self.side(Side::Worker).core.ctx.me().unwrap());
        let core = &self.side(Side::Requester).core;
        let job = core.ctx.store.grid_jobs().unwrap();
        assert!(job.is_empty(), "{fault:?}: the job has not ended");
        let task = core.ctx.store.task(TaskId { job: JobId(1), index: 0 }).unwrap();
        assert_eq!((task.state, task.units), (TaskState::Finished, UNITS), "{fault:?}");
        let finished = core.ctx.store.attempts(task.id).unwrap().into_iter().filter(|attempt| attempt.outcome == "finished").count();
        assert_eq!(finished, 1, "{fault:?}: its result was recorded more than once");
        let spent = core.ctx.store.credits().unwrap();
        let seen = core.ctx.directory.evidence(to);
        assert_eq!((spent.spent, spent.reserved), (5_000, 0), "{fault:?}");
        assert_eq!((seen.invalid, seen.lost), (0.0, 0.0), "{fault:?}: it is blamed");
        let core = &self.side(Side::Worker).core;
        assert_eq!(core.ctx.store.credits().unwrap().earned, 5_000, "{fault:?}: the worker is not paid");
        let seen = core.ctx.directory.evidence(from);
        assert_eq!((seen.unpaid, seen.receipted.round()), (0.0, 1.0), "{fault:?}");
        assert_eq!(core.ctx.store.job_state(JobId(1)).unwrap(), JobState::Finished);
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
