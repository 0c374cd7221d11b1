//! Spot checks: tasks with a known result that are lent out, to detect devices that invent results without
//! replicating every task. A device cannot tell such a task from another.

use fog_grid::{Answer, Evidence, LeaseId, Message, Receipt, Signed, TaskOffer, TaskResult};
use fog_store::{JobRow, JournalKind, StoreError};
use fog_types::{JobId, NodeId, TaskId};
use rand::RngExt as _;

use crate::context::Context;
use crate::effects::Input;
use crate::exchange::Exchange;
use crate::exchange::lending::PendingOffer;
use crate::exchange::results::terms_of;

/// Number of tasks with a known result from which one is drawn.
const DRAWN_FROM: u32 = 100;
/// Milliseconds that a device has for a spot check.
const PATIENCE: u64 = 3_600_000;
/// Most spot checks that run at once.
const AT_ONCE: usize = 64;

/// A spot check that is under way.
pub(crate) struct SpotCheck {
    task: TaskId,
    /// Job that wants its devices checked.
    by: JobId,
    node: NodeId,
    /// Hash of the right result.
    expected: String,
    offer_hash: [u8; 32],
    until: u64,
}

impl Exchange {
    /// Starts a spot check at random after a result was accepted.
    pub(crate) fn perhaps_spot_check(&mut self, ctx: &mut Context, job: &JobRow) -> Result<(), StoreError> {
        let percent = job.grid.map_or(0, |wish| wish.spot_checks);
        if percent == 0 || self.checks.len() >= AT_ONCE || ctx.rng().random_range(0..100) >= percent {
            return Ok(());
        }
        let known = ctx.store.known_answers(DRAWN_FROM)?;
        if known.is_empty() {
            return Ok(());
        }
        let (task, expected) = known[ctx.rng().random_range(0..known.len())].clone();
        let knows_it = ctx.store.tried_by(task)?;
        let (nodes, machines) = self.machines(ctx);
        let fit: Vec<NodeId> = nodes
            .into_iter()
            .zip(machines)
            .filter(|(node, machine)| machine.slots > 0 && !knows_it.contains(node))
            .map(|(node, _)| node)
            .collect();
        if fit.is_empty() {
            return Ok(());
        }
        let node = fit[ctx.rng().random_range(0..fit.len())];
        // Deadline and grid settings equal those of the job that wants its devices checked.
        let known_job = JobRow { deadline: job.deadline, grid: job.grid, ..ctx.store.job(task.job)? };
        match self.make_offer(ctx, task, &known_job, node, None)? {
            Ok((lease, signed)) => {
                let check = SpotCheck {
                    task,
                    by: job.id,
                    node,
                    expected,
                    offer_hash: signed.hash(),
                    until: ctx.now_ms() + PATIENCE,
                };
                let milli = self.price_of(ctx, job)?;
                self.pending.insert(lease, PendingOffer::of_check(node, signed, check));
                ctx.out.input(Input::Reserve { lease, node, job: job.id, milli });
            }
            Err(problem) => tracing::debug!(%task, problem, "no spot check"),
        }
        Ok(())
    }

    /// Sends the offer of a spot check whose price is reserved.
    pub(crate) fn send_spot_check(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        check: SpotCheck,
        signed: Signed<TaskOffer>,
    ) {
        let node = check.node;
        self.checks.insert(lease, check);
        if let Some(peer) = ctx.directory.peers.get_mut(&node) {
            peer.promised += 1;
        }
        ctx.say(node, Message::Offer(Box::new(signed)));
    }

    /// Handles a message of a device about a spot check. Returns the message when it concerns anything
    /// else.
    pub(crate) fn handle_spot_check_message(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        message: Message,
    ) -> Result<Option<Message>, StoreError> {
        let is_one = |lease: &LeaseId| self.checks.get(lease).is_some_and(|check| check.node == node);
        match message {
            Message::Answer { lease, answer } if is_one(&lease) => {
                if matches!(answer, Answer::Declined(_)) {
                    self.end_spot_check(ctx, lease)?;
                }
            }
            Message::Heartbeat { lease, .. } | Message::Saved { lease, .. } if is_one(&lease) => {}
            Message::Failed { lease, .. } if is_one(&lease) => {
                self.end_spot_check(ctx, lease)?;
                ctx.judge(node, Evidence::saw_lost);
                ctx.say(node, Message::Release { lease, why: "it failed".to_owned() });
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Handles the result of a spot check. Returns the result when it belongs to another task.
    pub(crate) fn spot_check_result(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        signed: &Signed<TaskResult>,
        result: TaskResult,
    ) -> Result<Option<TaskResult>, StoreError> {
        if self.checks.get(&result.lease).is_none_or(|check| check.node != node) {
            return Ok(Some(result));
        }
        self.spot_checked(ctx, node, signed, &result)?;
        Ok(None)
    }

    fn spot_checked(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        signed: &Signed<TaskResult>,
        result: &TaskResult,
    ) -> Result<(), StoreError> {
        let Some(check) = self.end_spot_check(ctx, result.lease)? else { return Ok(()) };
        let now = ctx.clock.unix();
        let is_right =
            result.hash == check.expected && result.offer == check.offer_hash && result.worker == node;
        ctx.judge(node, if is_right { Evidence::saw_valid } else { Evidence::saw_invalid });
        let verdict = if is_right { "right" } else { "wrong" };
        let detail = format!(
            "spot check of {} with task {} of job {}: {verdict}",
            ctx.directory.peer_name(node),
            check.task.index,
            check.task.job
        );
        ctx.store.note(now, JournalKind::Checked, check.by, None, &detail)?;
        let (Some(requester), true) = (ctx.me(), is_right) else {
            ctx.say(
                node,
                Message::Release { lease: result.lease, why: "its result is known to be another".to_owned() },
            );
            return Ok(());
        };
        // The device did the work and is paid as for any other task.
        let job = ctx.store.job(check.by)?;
        // The result's files are not fetched, so the units it states are unchecked; the known ones are
        // paid.
        let units = ctx.store.task(check.task)?.units;
        let credit = terms_of(&job).base(units);
        let receipt = Receipt {
            lease: result.lease,
            requester,
            worker: node,
            result: signed.hash(),
            units,
            credit,
            at_ms: now.0,
        };
        ctx.out.input(Input::Settle { lease: result.lease, node, job: job.id, milli: credit });
        self.give_receipt(ctx, receipt)
    }

    fn end_spot_check(&mut self, ctx: &mut Context, lease: LeaseId) -> Result<Option<SpotCheck>, StoreError> {
        let Some(check) = self.checks.remove(&lease) else { return Ok(None) };
        self.release_slot(ctx, check.node);
        ctx.out.input(Input::Release(lease));
        Ok(Some(check))
    }

    /// Ends spot checks that take too long. They do not count for or against the device.
    pub(crate) fn spot_check_tick(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.now_ms();
        let over: Vec<(LeaseId, NodeId)> = self
            .checks
            .iter()
            .filter(|(_, check)| check.until <= now)
            .map(|(lease, check)| (*lease, check.node))
            .collect();
        for (lease, node) in over {
            self.end_spot_check(ctx, lease)?;
            ctx.say(node, Message::Release { lease, why: "it took too long".to_owned() });
        }
        Ok(())
    }
}
