//! Accepted results: placing and recording them, and paying the devices that gave them.

use std::collections::BTreeMap;
use std::time::Duration;

use fog_api::EventBody;
use fog_grid::{Content, Evidence, LeaseId, Message, Receipt, Signed};
use fog_store::{Claim, JobRow, Output, PlacedFiles, StoreError};
use fog_types::{BlobId, JobState, NodeId, TaskId, UnixMillis, WorkUnits};

use crate::context::Context;
use crate::effects::Input;
use crate::exchange::results::terms_of;
use crate::exchange::{Believed, Exchange, ExchangeEvent, Unstored};
use crate::message::EngineMessage;

/// Wait before a result that could not be stored is fetched again.
const STORED_AGAIN: Duration = Duration::from_secs(60);

/// Number of files up to which a result is placed in the store by the loop itself; a thread places more.
const PLACED_AT_ONCE: usize = 16;

/// A result that was recorded.
struct Stored {
    job: JobRow,
    winner: LeaseId,
    claim: Claim,
    state: Option<JobState>,
    units: WorkUnits,
    signed_hash: [u8; 32],
    /// Times at which the attempts of its task began, by attempt.
    began: BTreeMap<u64, UnixMillis>,
}

impl Exchange {
    /// Accepts a result. One that cannot be stored stays with the devices that have it, and is fetched
    /// again later.
    pub(crate) fn accept_result(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        right: &[LeaseId],
        wrong: &[LeaseId],
    ) {
        if let Some(believed) = self.placing.get_mut(&task) {
            // A further device gave the same result meanwhile.
            (believed.right, believed.wrong) = (right.to_vec(), wrong.to_vec());
            return;
        }
        // No lease of the result is known any more, or the result was recorded before.
        let known = right.iter().find(|lease| self.waiting.contains_key(lease)).copied();
        let Some((winner, waiting)) = known.and_then(|lease| Some((lease, self.waiting.get_mut(&lease)?)))
        else {
            return self.settle_result(ctx, task, right, wrong, None);
        };
        let (files, folder, holds) =
            (std::mem::take(&mut waiting.files), ctx.store.folder().to_owned(), ctx.store.holds());
        if files.len() <= PLACED_AT_ONCE {
            let placed =
                PlacedFiles::place(&folder, &holds, files).and_then(|placed| self.made_room(ctx, placed));
            return self.store_placed(ctx, task, right, wrong, winner, placed);
        }
        self.placing.insert(task, Believed { right: right.to_vec(), wrong: wrong.to_vec() });
        let to = ctx.to_self.clone();
        tokio::task::spawn_blocking(move || {
            let placed = PlacedFiles::place(&folder, &holds, files);
            // A send fails only when the engine has stopped; the worker repeats its message.
            let _ = to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::Placed {
                task,
                winner,
                placed,
            })));
        });
    }

    /// Handles the placed files of an accepted result, or the failure to place them.
    pub(crate) fn result_placed(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        winner: LeaseId,
        placed: Result<PlacedFiles, StoreError>,
    ) {
        if !self.placing.contains_key(&task) {
            return;
        }
        let with_rows = |placed: PlacedFiles| {
            let placed = self.made_room(ctx, placed)?;
            Ok(self.rows_of(ctx, task, winner, &placed)?.map(|(claim, outputs)| (placed, claim, outputs)))
        };
        match placed.and_then(with_rows) {
            Ok(Some((placed, claim, outputs))) => {
                ctx.out.input(Input::RecordLent { task, winner, claim, placed, outputs })
            }
            // The result is not wanted any more, or its task was withdrawn and lent again.
            Ok(None) => drop(self.placing.remove(&task)),
            Err(error) => self.lent_recorded(ctx, task, winner, Err(error)),
        }
    }

    /// Handles the rows of an accepted result's files, or the failure to write them.
    pub(crate) fn lent_recorded(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        winner: LeaseId,
        placed: Result<PlacedFiles, StoreError>,
    ) {
        let Some(Believed { right, wrong }) = self.placing.remove(&task) else { return };
        if self.waiting.contains_key(&winner) {
            self.store_placed(ctx, task, &right, &wrong, winner, placed);
        }
    }

    /// Makes room for all files at once: one by one, each could evict the one before.
    fn made_room(&mut self, ctx: &mut Context, placed: PlacedFiles) -> Result<PlacedFiles, StoreError> {
        ctx.store.make_room_for(&placed, &[], ctx.settings.storage_cap(), ctx.clock.unix())?;
        Ok(placed)
    }

    fn store_placed(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        right: &[LeaseId],
        wrong: &[LeaseId],
        winner: LeaseId,
        placed: Result<PlacedFiles, StoreError>,
    ) {
        match placed.and_then(|placed| self.store_result(ctx, task, winner, right.len(), &placed)) {
            Ok(stored) => {
                self.unstored.remove(&task);
                self.settle_result(ctx, task, right, wrong, stored);
            }
            Err(error) => {
                tracing::warn!(%task, %error, "a result could not be stored; it stays with the device that has it");
                self.not_stored_yet(ctx, task, &error);
                for lease in right.iter().chain(wrong) {
                    self.waiting.remove(lease);
                }
                self.requester.handle_not_stored(task, ctx.now_ms());
            }
        }
    }

    /// Notes that a result could not be stored. It stays with the device that made it and is not requested
    /// again for a while.
    pub(crate) fn not_stored_yet(&mut self, ctx: &mut Context, task: TaskId, error: &StoreError) {
        let problem = format!(
            "the result of task {} is there and could not be stored: {error}. It is kept by the device that made it, and this device looks each minute whether \
             there is room",
            task.index
        );
        self.unstored.insert(task, Unstored { problem, again: ctx.now() + STORED_AGAIN });
        ctx.announce_job(task.job);
    }

    /// Records a result that `agreed` devices gave; from then on it is kept whatever else fails. `None`
    /// when its lease is not known any more.
    fn store_result(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        winner: LeaseId,
        agreed: usize,
        placed: &PlacedFiles,
    ) -> Result<Option<Stored>, StoreError> {
        let now = ctx.clock.unix();
        let Some((claim, outputs)) = self.rows_of(ctx, task, winner, placed)? else { return Ok(None) };
        let Some(waiting) = self.waiting.remove(&winner) else { return Ok(None) };
        let (job, result, blobs) = (ctx.store.job(task.job)?, waiting.result, placed.ids());
        ctx.store.add_rest(placed, &[], now)?;
        let stored = fog_store::TaskResult {
            exit_code: 0,
            units: result.units,
            active_millis: result.active_ms,
            memory: result.memory,
            result_hash: result.hash.clone(),
            agreed: agreed as u32,
            stdout: blobs.first().copied().unwrap_or(result.stdout.0.blob),
            stderr: blobs.get(1).copied().unwrap_or(result.stderr.0.blob),
            stdout_dropped: result.stdout.1,
            stderr_dropped: result.stderr.1,
            outputs,
        };
        let began: BTreeMap<u64, UnixMillis> =
            ctx.store.attempts(task)?.into_iter().map(|attempt| (attempt.id, attempt.started)).collect();
        let state = ctx.store.finish_task(claim, &stored, now)?;
        Ok(Some(Stored {
            job,
            winner,
            claim,
            state,
            units: result.units,
            signed_hash: waiting.signed_hash,
            began,
        }))
    }

    /// Returns the attempt and the files of a waiting result; `None` when its lease is not known any more.
    fn rows_of(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        winner: LeaseId,
        placed: &PlacedFiles,
    ) -> Result<Option<(Claim, Vec<Output>)>, StoreError> {
        let (Some(waiting), Some(node)) = (self.waiting.get(&winner), self.requester.node_of(winner)) else {
            return Ok(None);
        };
        let claim = match ctx.store.lease(&winner.to_string())? {
            Some(row) => row.claim,
            // The lease was given up as lost and came back.
            None => ctx.store.begin_lease(
                task,
                &winner.to_string(),
                node,
                &BlobId(waiting.result.offer).to_string(),
                ctx.clock.unix(),
            )?,
        };
        let output = |((path, content), blob): (&(String, Content), &BlobId)| Output {
            path: path.clone(),
            blob: *blob,
            size: content.size,
        };
        Ok(Some((
            claim,
            waiting.result.outputs.iter().zip(placed.ids().iter().skip(2)).map(output).collect(),
        )))
    }

    /// Notifies and pays the devices that gave a stored result. Database errors are only logged here,
    /// because the stored result must not be lost for them.
    fn settle_result(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        right: &[LeaseId],
        wrong: &[LeaseId],
        stored: Option<Stored>,
    ) {
        let now = ctx.clock.unix();
        let nodes: Vec<(LeaseId, NodeId)> =
            self.requester.leases_of(task).map(|(id, lease)| (id, lease.node)).collect();
        let node_of = |lease: &LeaseId| nodes.iter().find(|(id, _)| id == lease).map(|(_, node)| *node);
        let complain = |what: &str, error: &StoreError| tracing::error!(%task, %error, "{what}");
        if let Some(stored) = &stored {
            for lease in right {
                let hash = self
                    .lent
                    .get(lease)
                    .and_then(|lent| lent.signed_result.as_ref())
                    .map_or(stored.signed_hash, Signed::hash);
                let (Some(requester), Some(worker)) = (ctx.me(), node_of(lease)) else { continue };
                let row = || ctx.store.lease(&lease.to_string()).ok().flatten();
                let attempt = if *lease == stored.winner {
                    Some(stored.claim.attempt)
                } else {
                    row().map(|row| row.claim.attempt)
                };
                let took = attempt
                    .and_then(|attempt| stored.began.get(&attempt))
                    .map_or(0, |began| now.0.saturating_sub(began.0));
                let credit = terms_of(&stored.job).worth(
                    stored.units,
                    took,
                    stored.job.deadline.0.saturating_sub(now.0),
                );
                let receipt = Receipt {
                    lease: *lease,
                    requester,
                    worker,
                    result: hash,
                    units: stored.units,
                    credit,
                    at_ms: now.0,
                };
                ctx.out.input(Input::Settle { lease: *lease, node: worker, job: task.job, milli: credit });
                if let Err(error) = self.give_receipt(ctx, receipt) {
                    complain("a receipt could not be stored", &error);
                }
                let is_checked = right.len() > 1 || self.proven.remove(lease);
                ctx.judge(worker, if is_checked { Evidence::saw_valid } else { Evidence::saw_unchecked });
            }
            for lease in wrong {
                if let Some(worker) = node_of(lease) {
                    ctx.judge(worker, Evidence::saw_invalid);
                    ctx.say(
                        worker,
                        Message::Release {
                            lease: *lease,
                            why: "other devices came to another result".to_owned(),
                        },
                    );
                }
            }
        }
        for (lease, _) in &nodes {
            self.lent.remove(lease);
            self.waiting.remove(lease);
        }
        if let Err(error) = ctx.store.end_leases_of(task, "another device was first", now) {
            complain("leases of a finished task could not be ended", &error);
        }
        self.requester.settle(task, right, wrong);
        let Some(stored) = stored else { return };
        if stored.state.is_some() {
            ctx.announce(EventBody::TaskFinished { job: task.job, index: task.index });
        }
        ctx.announce_job(task.job);
        ctx.out.input(Input::FinishedElsewhere {
            job: task.job,
            state: stored.state.filter(|state| *state != JobState::Running),
        });
        if let Err(error) = self.perhaps_spot_check(ctx, &stored.job) {
            complain("what follows from a result could not be looked at", &error);
        }
    }
}
