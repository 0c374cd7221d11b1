//! Hosted jobs: jobs of other devices that run here.

use std::time::Duration;

use fog_grid::{Answer, Decline, Evidence, LeaseId, Message, Receipt, Signed, Terms, WorkerState};
use fog_store::StoreError;
use fog_types::job::Service;
use fog_types::{BlobId, JobId, JobState, NodeId, TaskId};

use crate::cleanup;
use crate::context::Context;
use crate::effects::Input;
use crate::exchange::{Exchange, Hosted, ResultDelivery};
use crate::message::Heard;
use crate::tasks::histories::history_path;

/// Interval of a worker's heartbeats.
const BEAT: Duration = Duration::from_secs(5);
/// Interval at which the end of a task is reported until it is answered; shorter at first.
const AGAIN: Duration = Duration::from_secs(15);

impl Exchange {
    pub(crate) fn restore_hosted(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        for row in ctx.store.hosted()?.into_iter().filter(|row| !row.has_receipt) {
            let (Some(lease), Ok(offer)) =
                (crate::exchange::lease_from(&row.lease), row.offer.parse::<BlobId>())
            else {
                continue;
            };
            let hosted = Hosted {
                lease,
                requester: row.requester,
                offer_hash: offer.0,
                deadline: row.deadline.min(self.latest_deadline(ctx)),
                standing: WorkerState::Waiting,
                units: 0,
                permille: None,
                message: row.message,
                delivery: ResultDelivery::default(),
                last_beat: None,
                said: 0,
                last_ship: None,
                shipped: None,
                is_sealing: false,
                shown: 0,
                untaken: None,
            };
            self.hosted.insert(row.job, hosted);
            self.note_untaken(ctx, row.job)?;
        }
        Ok(())
    }

    /// Handles a message of a control link. Hellos are for the network.
    pub(crate) fn handle_message(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        heard: Heard,
    ) -> Result<(), StoreError> {
        let message = match heard {
            Heard::Offer(offer, hash) => return self.offered(ctx, node, *offer, hash),
            Heard::StrangeOffer(lease) => {
                // One of two devices that have just met may not know the other yet: the offer comes again.
                ctx.say(node, Message::Answer { lease, answer: Answer::Declined(Decline::NotWelcome) });
                return Ok(());
            }
            Heard::Result(result, signed) => return self.handle_result(ctx, node, *result, *signed),
            Heard::Receipt(receipt, signed) => return self.receipted(ctx, node, &receipt, *signed),
            Heard::Plain(message) => message,
        };
        match message {
            Message::Hello(_) => {}
            Message::Release { lease, why } => self.released(ctx, node, lease, &why)?,
            Message::Prove { lease, mark } => self.asked_to_prove(ctx, node, lease, mark),
            Message::Proof { lease, mark, state } => self.shown(ctx, node, lease, mark, state)?,
            // A peer whose hello has not arrived yet may hold a lease from before.
            other => self.handle_worker_message(ctx, node, other)?,
        }
        Ok(())
    }

    pub(crate) fn beat(&mut self, ctx: &mut Context, job: JobId) {
        let Some(hosted) = self.hosted.get_mut(&job) else { return };
        hosted.last_beat = Some(ctx.now());
        let beat = Message::Heartbeat {
            lease: hosted.lease,
            standing: hosted.standing,
            units: hosted.units,
            permille: hosted.permille,
        };
        let to = hosted.requester;
        ctx.say(to, beat);
    }

    /// Handles the start of a hosted task with these units, which may be fewer than another worker reported
    /// before.
    pub(crate) fn host_began(&mut self, ctx: &mut Context, job: JobId, units: u64) {
        if let Some(hosted) = self.hosted.get_mut(&job) {
            hosted.units = units;
        }
        self.host_progress(ctx, job, Some(WorkerState::Running), units, None);
    }

    /// Handles progress of a hosted task.
    /// Reports that a hosted task was stopped or goes on.
    pub(crate) fn host_frozen(&mut self, ctx: &mut Context, job: JobId, frozen: bool) {
        self.host_progress(
            ctx,
            job,
            Some(if frozen { WorkerState::Paused } else { WorkerState::Running }),
            0,
            None,
        );
    }

    /// Reports that a hosted task waits in the queue.
    pub(crate) fn host_waits(&mut self, ctx: &mut Context, job: JobId) {
        self.host_progress(ctx, job, Some(WorkerState::Waiting), 0, None);
    }

    pub(crate) fn host_progress(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        standing: Option<WorkerState>,
        units: u64,
        permille: Option<u16>,
    ) {
        let Some(hosted) = self.hosted.get_mut(&job) else { return };
        hosted.units = hosted.units.max(units);
        hosted.permille = permille.or(hosted.permille);
        let has_changed = standing.is_some_and(|standing| hosted.standing != standing);
        hosted.standing = standing.unwrap_or(hosted.standing);
        if has_changed || hosted.last_beat.is_none_or(|last| ctx.since(last) >= BEAT) {
            self.beat(ctx, job);
        }
    }

    fn receipted(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        receipt: &Receipt,
        signed: Signed<Receipt>,
    ) -> Result<(), StoreError> {
        if Some(receipt.worker) != ctx.me() || receipt.requester != node {
            return Ok(());
        }
        let stored = Message::Release { lease: receipt.lease, why: "the receipt is stored".to_owned() };
        let Some(job) = self.hosted_by_lease(receipt.lease, node) else {
            // It was stored before, and the requester has not heard so.
            ctx.say(node, stored);
            return Ok(());
        };
        // Receipts are capped at the highest price, doubled for the largest bonus.
        let dearest = Terms { price_tenths: Service::Gold.price_tenths(), has_bonus: false };
        let most = dearest.base(ctx.store.task(TaskId { job, index: 0 })?.units).saturating_mul(2);
        // The job needs no more work, whether it was done or not.
        if ctx.store.set_job_state(
            job,
            JobState::Cancelled,
            "its requester has said that it is done",
            ctx.clock.unix(),
        )? {
            ctx.out.input(Input::EndTasks { job, why: "its requester has said that it is done" });
            ctx.announce_job(job);
        }
        ctx.out.input(Input::Earn { lease: receipt.lease, node, milli: receipt.credit.min(most) });
        ctx.store.set_hosted_receipt(job, &Message::Receipt(Box::new(signed)).encode())?;
        self.hosted.remove(&job);
        ctx.judge(node, Evidence::saw_receipt);
        self.forget_history(ctx, job);
        ctx.say(node, stored);
        Ok(())
    }

    fn released(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        lease: LeaseId,
        why: &str,
    ) -> Result<(), StoreError> {
        if self.arriving.get(&lease).is_some_and(|arriving| arriving.node == node) {
            // Transfers for the released offer end.
            if let Some(arriving) = self.arriving.remove(&lease) {
                self.took_back(ctx, &arriving);
            }
            self.fetch_parked(ctx);
        }
        let Some(job) = self.hosted_by_lease(lease, node) else {
            return self.receipt_stored(ctx, node, lease);
        };
        let is_told = self.hosted.get(&job).is_some_and(|hosted| hosted.message.is_some());
        if is_told && ctx.store.job_state(job)? == JobState::Finished {
            // The work was done, and the requester does not take it.
            ctx.judge(node, Evidence::saw_unpaid);
        }
        self.end_hosted(ctx, job, why)
    }

    /// Ends a hosted job that is not wanted any more, and gives up all that it holds.
    pub(crate) fn end_hosted(&mut self, ctx: &mut Context, job: JobId, why: &str) -> Result<(), StoreError> {
        let was_open = ctx.store.end_hosted(job, why, ctx.clock.unix())?;
        self.hosted.remove(&job);
        ctx.out.input(Input::EndTasks { job, why: "its requester does not need it any more" });
        if was_open {
            ctx.announce_job(job);
        }
        self.forget_history(ctx, job);
        Ok(())
    }

    /// Removes the history of a hosted job, which is needed until its result is accepted or not wanted any
    /// more. A worker that is ending may still write to it; later chores remove that.
    pub(crate) fn forget_history(&self, ctx: &Context, job: JobId) {
        let folder = history_path(ctx.store.folder(), TaskId { job, index: 0 });
        tokio::task::spawn_blocking(move || {
            if folder.exists() {
                cleanup::remove(&folder);
            }
        });
    }

    /// Whether the history of a job is needed by its owner here or by its requester.
    pub(crate) fn needs_history(&self, ctx: &Context, id: JobId) -> bool {
        match ctx.store.job(id) {
            Ok(job) => {
                ctx.is_own(id, &job.owner).unwrap_or(true)
                    || !job.state.is_final()
                    || self.hosted.contains_key(&id)
            }
            // The files of a job whose state cannot be read stay.
            Err(error) => !matches!(error, StoreError::NoJob(_)),
        }
    }

    /// Repeats pending messages at once to a related device that has appeared.
    pub(crate) fn greet(&mut self, ctx: &mut Context, node: NodeId) {
        let jobs: Vec<JobId> =
            self.hosted.iter().filter(|(_, hosted)| hosted.requester == node).map(|(job, _)| *job).collect();
        for job in jobs {
            self.resend_result(ctx, job);
        }
        if let Err(error) = self.send_receipts(ctx, Some(node)) {
            tracing::warn!(%error, "receipts are not sent yet");
        }
    }

    fn resend_result(&mut self, ctx: &mut Context, job: JobId) {
        let Some(hosted) = self.hosted.get_mut(&job) else { return };
        match hosted.message.as_deref().map(Message::decode) {
            Some(Ok(message)) => {
                hosted.last_beat = Some(ctx.now());
                hosted.said += 1;
                let to = hosted.requester;
                ctx.say(to, message);
            }
            _ => self.beat(ctx, job),
        }
    }

    pub(crate) fn host_tick(&mut self, ctx: &mut Context) {
        let now = ctx.clock.lived();
        let over: Vec<JobId> =
            self.hosted.iter().filter(|(_, hosted)| hosted.deadline <= now).map(|(job, _)| *job).collect();
        for job in over {
            if let Err(error) = self.end_hosted(ctx, job, "the deadline passed") {
                tracing::warn!(%error, "a hosted job is not given up yet");
            }
        }
        if let Err(error) = self.arrival_tick(ctx) {
            tracing::warn!(%error, "offers whose files do not come are not given up yet");
        }
        self.tell_ends(ctx);
        self.look_at_untaken(ctx);
        let due = |hosted: &Hosted| {
            let pace = if hosted.message.is_some() {
                AGAIN.min(Duration::from_secs(1 << hosted.said.min(6)))
            } else {
                BEAT
            };
            hosted.last_beat.is_none_or(|last| ctx.since(last) >= pace)
        };
        let jobs: Vec<JobId> =
            self.hosted.iter().filter(|(_, hosted)| due(hosted)).map(|(job, _)| *job).collect();
        for job in jobs
            .into_iter()
            .filter(|job| {
                self.hosted.get(job).is_some_and(|hosted| ctx.directory.peers.contains_key(&hosted.requester))
            })
            .collect::<Vec<_>>()
        {
            self.resend_result(ctx, job);
        }
    }
}

/// Shortens a text to the 200 characters that a message takes.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
