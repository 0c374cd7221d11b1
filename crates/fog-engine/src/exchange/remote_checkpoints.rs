//! States of tasks at other devices, kept here so that another device can continue.

use fog_grid::{Content, Evidence, LeaseId, Message};
use fog_store::{BlobFile, ContentRow, JobRow, StoreError};
use fog_types::{BlobId, NodeId, TaskId};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::exchange::content;
use crate::exchange::sealed_state::{StateClaim, StateFile, seal_stored};
use crate::exchange::{Exchange, ExchangeEvent, NotReturned, Transfer, content_of};
use crate::message::EngineMessage;

/// States are checked one at a time, because each is wholly in memory meanwhile.
static LOOK: Semaphore = Semaphore::const_new(1);

impl Exchange {
    pub(crate) fn fetch_state(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        task: TaskId,
        node: NodeId,
        units: u64,
        content: Content,
    ) -> Result<(), StoreError> {
        let Some(net) = &ctx.net else { return Ok(()) };
        let job = ctx.store.job(task.job)?;
        // One state is fetched at a time: a slow link that restarted for each new state would never deliver
        // one.
        if Self::must_be_shown(&job) || self.states.contains_key(&task) || ctx.is_rationed(node) {
            return Ok(());
        }
        let most = job.file.limits.state_size().0.min(ctx.settings.storage_cap().0 / 2);
        if content.size > most {
            tracing::debug!(%node, size = content.size, "a state that is larger than it may be is not fetched");
            return Ok(());
        }
        let claim = match self.claim_of(ctx, task, &job, units) {
            Ok(claim) => claim,
            // The job's own files are damaged, which is reported elsewhere.
            Err(error) => {
                tracing::debug!(%task, %error, "a state is not fetched");
                return Ok(());
            }
        };
        let (transport, fetches, folder, to) = (
            net.as_transport(),
            self.fetches(ctx, RoomUse::Owner),
            ctx.store.folder().to_owned(),
            ctx.to_self.clone(),
        );
        let transfer = net.spawn(async move {
            let state = match content::fetch_state(&transport, &fetches, node, &content, &folder).await {
                Ok(file) => look_at(file, claim).await,
                Err(problem) => Err(NotReturned::Unreachable(problem)),
            };
            let _ = to
                .send(EngineMessage::Exchange(Box::new(ExchangeEvent::State { lease, task, node, state })))
                .await;
        });
        // The transfer ends when the task is not wanted any more.
        self.states.insert(task, Transfer::new(transfer));
        Ok(())
    }

    /// Conditions that a state of a task must meet.
    pub(crate) fn claim_of(
        &self,
        ctx: &Context,
        task: TaskId,
        job: &JobRow,
        units: u64,
    ) -> Result<StateClaim, StoreError> {
        let launch = self.launch_elsewhere(ctx, task, job)?;
        Ok(StateClaim {
            task: launch.place.header(&launch.spec).task_identity(),
            units,
            most: job.file.limits.units.0,
        })
    }

    pub(crate) fn state_arrived(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        task: TaskId,
        node: NodeId,
        state: Result<(u64, StateFile), NotReturned>,
    ) -> Result<(), StoreError> {
        self.states.remove(&task);
        let (units, file) = match state {
            Ok(state) => state,
            Err(NotReturned::Wrong(problem)) => {
                // A kept false state would outrank the work of others, and the next worker would begin
                // anew.
                tracing::debug!(%task, %node, problem, "a state is not believed");
                ctx.judge(node, Evidence::saw_invalid);
                self.requester.handle_refused(
                    lease,
                    format!("the state it saved is not believed: {problem}"),
                    ctx.now_ms(),
                );
                ctx.say(
                    node,
                    Message::Release { lease, why: "the state it saved is not believed".to_owned() },
                );
                return self.lend(ctx);
            }
            Err(error) => {
                tracing::debug!(%task, ?error, "a state did not arrive");
                return Ok(());
            }
        };
        if !self.requester.has(task) {
            return Ok(());
        }
        // The state is sealed again with a key of this device, from which the next worker fetches it.
        let (folder, secret, to) = (ctx.store.folder().to_owned(), ctx.secret, ctx.to_self.clone());
        let room = ctx.room_for(RoomUse::Owner);
        if let Some(net) = &ctx.net {
            net.spawn_blocking(move || {
                let sealed = seal_stored(|| file.open(), &folder, &secret, Some(&room));
                let _ =
                    to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::CheckpointSealed {
                        task,
                        node,
                        units,
                        sealed,
                    })));
            });
        }
        Ok(())
    }

    pub(crate) fn state_sealed(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        node: NodeId,
        units: u64,
        sealed: Result<(BlobFile, ContentRow), String>,
    ) -> Result<(), StoreError> {
        let (file, row) = match sealed {
            Ok(sealed) if self.requester.has(task) => sealed,
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::warn!(%task, error, "a state is not kept");
                return Ok(());
            }
        };
        let blob = ctx.store.add_blob(file, ctx.settings.storage_cap(), ctx.clock.unix())?;
        ctx.store.keep_state(task, units, node, blob)?;
        ctx.store.put_content(&row)?;
        self.know_state(task, units, node, &row);
        Ok(())
    }

    /// Handles a damaged state on this device, found when another device fetched it. The state is dropped
    /// and its task begins anew; the attempt that should have continued from it records why it ended.
    pub(crate) fn state_damaged(&mut self, ctx: &mut Context, blob: BlobId) -> Result<(), StoreError> {
        for (task, units) in ctx.store.drop_state(blob)? {
            tracing::warn!(%task, units, "the state of a task that was kept here is damaged; it begins anew");
            let why = format!(
                "its state at {units} work units, which is kept on this device, was damaged on the disk; the task begins anew"
            );
            self.requester.handle_state_lost(task, &why, ctx.now_ms());
            ctx.announce_job(task.job);
        }
        self.lend(ctx)
    }

    /// Adds the key to a row: keys of files sealed on this device are not stored but derived again.
    pub(crate) fn unlocked(&self, ctx: &Context, row: ContentRow) -> ContentRow {
        let key = row.open.map_or(row.key, |open| self.content_key(ctx, open).0);
        ContentRow { key, ..row }
    }

    fn know_state(&mut self, task: TaskId, units: u64, node: NodeId, row: &ContentRow) {
        if let Some(content) = content_of(row) {
            self.requester.record_checkpoint(task, units, node, content);
        }
    }
}

/// Checks a fetched state against its description. Returns its work units and the file.
pub(crate) async fn look_at(file: StateFile, claim: StateClaim) -> Result<(u64, StateFile), NotReturned> {
    let stopped = |error: &dyn std::fmt::Display| NotReturned::Unreachable(error.to_string());
    let turn = LOOK.acquire().await.map_err(|e| stopped(&e))?;
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        file.check(&claim).map(|units| (units, file))
    });
    looked.await.map_err(|e| stopped(&e))?
}
