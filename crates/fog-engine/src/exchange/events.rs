//! Inputs of the exchange: what its threads, other devices and other subsystems report.

use std::time::{Duration, Instant};

use fog_grid::ContentRequest;
use fog_store::StoreError;
use fog_transport::Link;
use fog_types::{BlobId, NodeId, TaskId};

use crate::context::Context;
use crate::exchange::transfers::Fetches;
use crate::exchange::{Exchange, ExchangeEvent, content_delivery};
use crate::message::Counted;

impl Exchange {
    /// Handles a result of the exchange's threads.
    pub(crate) fn handle_event(&mut self, ctx: &mut Context, event: ExchangeEvent) -> Result<(), StoreError> {
        match event {
            ExchangeEvent::Sealed(job, rows) => self.sealed(ctx, job, rows),
            // A send fails only when the requesting task is gone.
            ExchangeEvent::Noted(rows, noted) => match ctx.store.put_contents(&rows) {
                Ok(()) => ctx.out.noted(noted),
                // The thread may have ended.
                Err(error) => drop(noted.send(Err(error.to_string()))),
            },
            ExchangeEvent::ToTell(job, told) => return self.result_sealed(ctx, job, told),
            ExchangeEvent::OfferInputsFetched(arrival) => return self.arrived(ctx, *arrival),
            ExchangeEvent::Listed(lease, listed) => return self.listed_files(ctx, lease, listed),
            ExchangeEvent::ResultFetched(lease, returned) => return self.returned(ctx, lease, returned),
            ExchangeEvent::Placed { task, winner, placed } => self.result_placed(ctx, task, winner, placed),
            ExchangeEvent::State { lease, task, node, state } => {
                return self.state_arrived(ctx, lease, task, node, state);
            }
            ExchangeEvent::CheckpointSealed { task, node, units, sealed } => {
                return self.state_sealed(ctx, task, node, units, sealed);
            }
            ExchangeEvent::Damaged(blob) => return self.state_damaged(ctx, blob),
            ExchangeEvent::SegmentChosen(lease, drawn) => return self.drawn(ctx, lease, drawn),
            ExchangeEvent::CheckpointFetched(lease, segment, file) => {
                return self.replay(ctx, lease, segment, file);
            }
            ExchangeEvent::SegmentVerified(lease, found) => {
                let proved = self.proved(ctx, lease, found);
                return self.replay_ended(ctx).and(proved);
            }
            ExchangeEvent::NotReplayed(lease, problem) => return self.not_replayed(ctx, lease, &problem),
            ExchangeEvent::CheckpointReady { job, lease, mark, file } => {
                return self.state_to_show(ctx, job, lease, mark, file);
            }
            ExchangeEvent::Shipped { job, units, file } => return self.shipped(ctx, job, units, file),
        }
        Ok(())
    }

    /// Serves content to a node, if this device has it and the data limit allows it.
    pub(crate) fn content_requested(
        &mut self,
        ctx: &mut Context,
        link: Box<Link>,
        request: ContentRequest,
        counted: Counted,
    ) -> Result<(), StoreError> {
        if ctx.is_rationed(link.node) {
            if let Some(net) = &ctx.net {
                net.spawn(async move {
                    content_delivery::turn_away(*link).await;
                    drop(counted);
                });
            }
            return Ok(());
        }
        let row = ctx.store.content(&BlobId(request.id.0).to_string())?.map(|row| self.unlocked(ctx, row));
        if row.is_none() {
            counted.was_in_vain();
        }
        let shipped = row.as_ref().and_then(|row| {
            self.hosted
                .values()
                .find(|hosted| hosted.shipped.as_ref().is_some_and(|(blob, _)| *blob == row.blob))
        });
        let in_use = shipped.and_then(|hosted| hosted.shipped.as_ref()).map(|(_, in_use)| in_use.clone());
        let damage = row
            .as_ref()
            .filter(|row| row.open.is_some())
            .map(|row| content_delivery::DamageReport { blob: row.blob, to: ctx.to_self.clone() });
        let found =
            row.and_then(|row| Some((ctx.store.blob(row.blob).ok()?, row))).map(|(path, row)| (row, path));
        if let Some(net) = &ctx.net {
            net.spawn(async move {
                content_delivery::serve(*link, request, found, damage).await;
                drop((counted, in_use));
            });
        }
        Ok(())
    }

    /// Restores the work of the last run.
    pub(crate) fn restore(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        self.update_availability(ctx)?;
        self.restore_hosted(ctx)?;
        self.restore_receipts(ctx)?;
        self.restore_lent(ctx)
    }

    pub(crate) fn peer_up(&mut self, ctx: &mut Context, node: NodeId) {
        self.requester.handle_reach(node, true, ctx.now_ms());
    }

    pub(crate) fn peer_down(&mut self, ctx: &mut Context, node: NodeId) {
        self.requester.handle_reach(node, false, ctx.now_ms());
    }

    /// Handles a hello with the capacity of a node: offers that it has not answered count against it.
    pub(crate) fn peer_room(&mut self, ctx: &mut Context, node: NodeId) {
        let unanswered = self.requester.handle_room(node);
        if let Some(peer) = ctx.directory.peers.get_mut(&node) {
            peer.promised = unanswered as i32;
        }
    }

    /// Handles the end of the network: transfers ended with it, and their tasks begin them anew when it is
    /// back.
    pub(crate) fn network_stopped(&mut self, ctx: &mut Context, gone: Vec<NodeId>) {
        let now = ctx.now_ms();
        for node in gone {
            self.requester.handle_reach(node, false, now);
        }
        self.last_hello = None;
        self.fetching = Fetches::default();
        self.arriving.clear();
        self.states.clear();
        self.sealing.clear();
        self.wanted_proofs.clear();
        self.wanted_replays.clear();
        self.is_showing = false;
        for hosted in self.hosted.values_mut() {
            hosted.is_sealing = false;
            // Sealing may have ended with the network's threads.
            hosted.delivery.is_under_way = false;
        }
        let unfinished: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.files.is_empty())
            .map(|(lease, _)| *lease)
            .collect();
        for lease in unfinished.into_iter().chain(std::mem::take(&mut self.proofs).into_keys()) {
            self.waiting.remove(&lease);
            self.requester.handle_not_fetched(lease, now);
        }
    }

    /// Returns when a lease or a receipt is due, and why.
    pub(crate) fn poll_timeout(&self, ctx: &Context) -> Option<(Instant, &'static str)> {
        let lease =
            self.requester.poll_timeout().map(|ms| (ctx.began + Duration::from_millis(ms), "a lease is due"));
        let receipt = self.receipt_due(ctx).map(|at| (at, "a receipt is sent again"));
        let effects = self.requester.has_effects().then(|| (ctx.now(), "a lease changed"));
        lease.into_iter().chain(receipt).chain(self.hello_due()).chain(effects).min()
    }

    /// Handles the leases and receipts that are due.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context) {
        self.requester.handle_timeout(ctx.now_ms());
        if let Err(error) = self.send_receipts(ctx, None) {
            tracing::warn!(%error, "receipts are not sent yet");
        }
    }

    /// Does the periodic work of the exchange.
    pub(crate) fn tick(&mut self, ctx: &mut Context) {
        self.handle_timeout(ctx);
        self.host_tick(ctx);
        if let Err(error) = self.spot_check_tick(ctx).and_then(|()| self.proof_tick(ctx)) {
            tracing::warn!(%error, "a check of a device is not decided yet");
        }
    }

    /// Moves what ends at a time by the milliseconds by which the calendar was set.
    pub(crate) fn clock_was_set(&mut self, by: i64) {
        for untaken in self.hosted.values_mut().filter_map(|hosted| hosted.untaken.as_mut()) {
            untaken.since.0 = untaken.since.0.saturating_add(by);
        }
        let hosted = self.hosted.values_mut().map(|hosted| &mut hosted.deadline);
        let arriving =
            self.arriving.values_mut().flat_map(|arriving| [&mut arriving.deadline, &mut arriving.until]);
        for deadline in hosted.chain(arriving) {
            deadline.0 = deadline.0.saturating_add(by);
        }
    }

    /// Forgets a result that is not wanted any more.
    pub(crate) fn lent_unwanted(&mut self, task: TaskId) {
        self.placing.remove(&task);
    }

    /// Memory in bytes of the segment that is run again.
    pub(crate) fn replay_memory(&self) -> u64 {
        self.replaying
    }

    /// Number of tasks that a node has of this device, and of its jobs that are here.
    pub(crate) fn counts_of(&self, node: NodeId) -> (u32, u32) {
        (self.lent_to(node), self.hosted_for(node))
    }

    /// Number of jobs of other devices that are here.
    pub(crate) fn hosted_jobs(&self) -> usize {
        self.hosted.len()
    }

    /// Number of leases of this device's tasks.
    pub(crate) fn leases(&self) -> usize {
        self.requester.leases().count()
    }
}
