//! Hosted jobs: jobs of other devices that run here.

use fog_api::settings::keys;
use std::sync::Arc;
use std::time::Duration;

use fog_grid::{
    Answer, Content, Decline, Evidence, HostPolicy, LeaseId, Message, Receipt, Signed, TaskOffer, Terms,
    WorkerState,
};
use fog_store::{BlobFile, ContentRow, HostedRow, StoreError};
use fog_types::job::Service;
use fog_types::{BlobId, JobId, JobState, NodeId, TaskId, on_disk};
use rand::RngExt as _;

use crate::cleanup;
use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::effects::Input;
use crate::exchange::content;
use crate::exchange::{Arrival, Arriving, Exchange, ExchangeEvent, Files, Hosted, Telling, Transfer};
use crate::message::EngineMessage;
use crate::message::Heard;
use crate::tasks::checkpoint_import;
use crate::tasks::histories::history_path;
use crate::tasks::submit::Prepared;

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
                telling: Telling::default(),
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

    fn host_policy(&self, ctx: &Context) -> HostPolicy {
        HostPolicy {
            from_anyone: ctx.settings.flag(keys::JOBS_FROM_ANYONE),
            allow: ctx.settings.list(keys::JOBS_ALLOW),
            deny: ctx.settings.list(keys::JOBS_DENY),
        }
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
            Heard::Result(result, signed) => return self.result_said(ctx, node, *result, *signed),
            Heard::Receipt(receipt, signed) => return self.receipted(ctx, node, &receipt, *signed),
            Heard::Plain(message) => message,
        };
        match message {
            Message::Hello(_) => {}
            Message::Release { lease, why } => self.released(ctx, node, lease, &why)?,
            Message::Prove { lease, mark } => self.asked_to_prove(ctx, node, lease, mark),
            Message::Proof { lease, mark, state } => self.shown(ctx, node, lease, mark, state)?,
            // A peer whose hello has not arrived yet may hold a lease from before.
            other => self.worker_said(ctx, node, other)?,
        }
        Ok(())
    }

    fn offered(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        offer: TaskOffer,
        offer_hash: [u8; 32],
    ) -> Result<(), StoreError> {
        let Some(me) = ctx.me() else { return Ok(()) };
        let lease = offer.lease;
        let answer = |answer| Message::Answer { lease, answer };
        let is_here = self.hosted_by_lease(lease, node).is_some()
            || self.arriving.get(&lease).is_some_and(|known| known.node == node);
        if is_here && offer.requester == node {
            ctx.say(node, answer(Answer::Accepted));
            return Ok(());
        }
        // A lease is accepted once: neither a receipted one comes again, nor one of another device.
        let is_used = self.arriving.contains_key(&lease) || ctx.store.has_hosted(&lease.to_string())?;
        if offer.requester != node || is_used {
            ctx.say(node, answer(Answer::Declined(Decline::Malformed)));
            return Ok(());
        }
        let relation = ctx.directory.related(node);
        if ctx.is_rationed(node) || self.is_resting(ctx, node) {
            if self.is_resting(ctx, node) {
                self.turned_away.insert(node);
            }
            ctx.say(node, answer(Answer::Declined(Decline::Resting)));
            return Ok(());
        }
        let lends = self.capacity_for(ctx, node);
        let is_fitting = || {
            ctx.charge_for(&offer.file.limits, offer.module.blob, offer.module.size, ctx.lent_budget())
                <= lends.memory
        };
        let considered = self.host_policy(ctx).consider(&offer, &relation, me, &lends);
        if let Err(why) = considered.and_then(|()| if is_fitting() { Ok(()) } else { Err(Decline::Full) }) {
            if matches!(why, Decline::Full | Decline::Resting) {
                self.turned_away.insert(node);
            }
            ctx.say(node, answer(Answer::Declined(why)));
            return Ok(());
        }
        if self.holds_too_much(ctx, node)? {
            self.turned_away.insert(node);
            ctx.say(node, answer(Answer::Declined(Decline::Full)));
            return Ok(());
        }
        // The deadline is by this device's clock, counted from now.
        let deadline = fog_types::UnixMillis(ctx.clock.unix().0.saturating_add_unsigned(offer.left_ms))
            .min(self.latest_deadline(ctx));
        let files = offer.contents().fold(0, |sum: u64, content| sum.saturating_add(on_disk(content.size)));
        let room = files.saturating_add(offer.file.limits.disk.0);
        let until = self.arrives_until(ctx, deadline);
        let arriving = Arriving {
            node,
            room,
            deadline,
            until,
            began: ctx.clock.moment(),
            has_come: Arc::default(),
            holders: 0,
            fetching: Vec::new(),
            parked: None,
            transfer: Transfer::default(),
        };
        self.arriving.insert(lease, arriving);
        ctx.say(node, answer(Answer::Accepted));
        self.fetch_offer(ctx, offer, offer_hash);
        self.say_hello(ctx);
        Ok(())
    }

    fn fetch_offer(&mut self, ctx: &mut Context, offer: TaskOffer, offer_hash: [u8; 32]) {
        let Some(net) = &ctx.net else { return };
        let (transport, folder, to, key) =
            (net.as_transport(), ctx.store.folder().to_owned(), ctx.to_self.clone(), ctx.key);
        // Files that are stored already for another job are not fetched again.
        let mut missing: Vec<Content> = Vec::new();
        for content in std::iter::once(&offer.module)
            .chain(&offer.stdin)
            .chain(offer.inputs.iter().map(|(_, content)| content))
        {
            if ctx.store.blob(content.blob).is_err()
                && !missing.iter().any(|known| known.blob == content.blob)
            {
                missing.push(*content);
            }
        }
        // Two tasks of one job need the same files: the second waits for the first's transfer.
        let is_coming =
            |content: &Content| self.arriving.values().any(|other| other.fetching.contains(&content.id));
        if missing.iter().any(is_coming) {
            if let Some(arriving) = self.arriving.get_mut(&offer.lease) {
                arriving.parked = Some(Box::new((offer, offer_hash)));
            }
            return;
        }
        if let Some(arriving) = self.arriving.get_mut(&offer.lease) {
            arriving.fetching = missing.iter().map(|content| content.id).collect();
        }
        // Devices with leases of the same job have its files too. The requester is sure to have them, and
        // only it has the state.
        let is_here = |node: &NodeId| *node != offer.requester && ctx.directory.peers.contains_key(node);
        let mut holders: Vec<NodeId> = offer.holders.iter().copied().filter(is_here).collect();
        let from = ctx.rng().random_range(0..holders.len().max(1));
        if !holders.is_empty() {
            holders.rotate_left(from);
        }
        holders.push(offer.requester);
        let (lease, began) = (offer.lease, ctx.clock.moment());
        let mut fetches = self.fetches(ctx, RoomUse::Work);
        if let Some(arriving) = self.arriving.get_mut(&lease) {
            (arriving.began, arriving.holders) = (began, holders.len() as u64 - 1);
            fetches = fetches.noting(arriving.has_come.clone());
        }
        let room = ctx.room_for(RoomUse::Work);
        let wanted: Vec<Content> =
            missing.iter().copied().chain(offer.checkpoint.map(|(_, content)| content)).collect();
        let transfer = net.spawn(async move {
            let fetch_all = async {
                let mut copied = Vec::new();
                for content in &missing {
                    copied.push(content::fetch(&transport, &fetches, &holders, content, &folder).await?);
                }
                let mut checkpoint = None;
                if let (Some((_, content)), Some(key)) = (&offer.checkpoint, key) {
                    let state =
                        content::fetch_state(&transport, &fetches, offer.requester, content, &folder).await?;
                    let (folder, size) = (folder.clone(), content.size);
                    let sealed = tokio::task::spawn_blocking(move || {
                        // The state counts by itself from the next measurement on.
                        let _room = room.ask_blocking(on_disk(size)).map_err(|e| e.to_string())?.lingering();
                        checkpoint_import::seal_state(state.open()?, &folder, key).map_err(|e| e.message)
                    });
                    match sealed.await.map_err(|e| e.to_string())? {
                        Ok(path) => checkpoint = Some(path),
                        // The job is valid without the state and begins anew.
                        Err(error) => {
                            tracing::debug!(%error, "the state that came with a job cannot be used")
                        }
                    }
                }
                Ok(Files { copied, checkpoint })
            };
            let files = content::in_time(&wanted, fetch_all)
                .await
                .unwrap_or_else(|content::TooSlow| Err("its files come too slowly".to_owned()));
            let _ = to
                .send(EngineMessage::Exchange(Box::new(ExchangeEvent::OfferInputsFetched(Box::new(
                    Arrival { offer, offer_hash, files },
                )))))
                .await;
        });
        if let Some(arriving) = self.arriving.get_mut(&lease) {
            arriving.transfer = Transfer::new(transfer);
        }
    }

    pub(crate) fn arrived(&mut self, ctx: &mut Context, arrival: Arrival) -> Result<(), StoreError> {
        let arrived = self.take_in(ctx, arrival);
        self.fetch_parked(ctx);
        arrived
    }

    /// Resumes offers that waited for the transfer of another one: they have their files now, or fetch
    /// them.
    pub(crate) fn fetch_parked(&mut self, ctx: &mut Context) {
        let parked: Vec<_> =
            self.arriving.values_mut().filter_map(|arriving| arriving.parked.take()).collect();
        for parked in parked {
            let (offer, offer_hash) = *parked;
            self.fetch_offer(ctx, offer, offer_hash);
        }
    }

    fn take_in(&mut self, ctx: &mut Context, arrival: Arrival) -> Result<(), StoreError> {
        let Arrival { offer, offer_hash, files } = arrival;
        let arriving = self.arriving.remove(&offer.lease);
        let Some(Arriving { node, deadline, began, .. }) = arriving else { return Ok(()) };
        let now = ctx.clock.lived();
        let fail = |problem: String| Message::Failed {
            lease: offer.lease,
            problem: shorten(&problem),
            is_hopeless: false,
        };
        let files = match files {
            Ok(_) if deadline <= now => return Ok(()),
            Ok(files) => files,
            Err(problem) => {
                self.brought_nothing(ctx, node, began, 0);
                ctx.say(node, fail(problem));
                return Ok(());
            }
        };
        let has_state = files.checkpoint.is_some();
        let (blobs, rows): (Vec<BlobFile>, Vec<ContentRow>) = files.copied.into_iter().unzip();
        let prepared = Prepared {
            blobs: fog_store::Blobs {
                module: offer.module.blob,
                stdin: offer.stdin.map(|content| content.blob),
                inputs: offer.inputs.iter().map(|(name, content)| (name.clone(), content.blob)).collect(),
                items: Vec::new(),
            },
            file: offer.file,
            copied: blobs,
            placed: None,
            held: Vec::new(),
            checkpoint: files.checkpoint,
            owner: Some(ctx.directory.peer_name(node)),
            hosted: Some(HostedRow {
                job: JobId(0),
                lease: offer.lease.to_string(),
                requester: node,
                offer: BlobId(offer_hash).to_string(),
                deadline,
                message: None,
                has_receipt: false,
            }),
            grid: None,
        };
        let accepted = match ctx.accept(prepared) {
            Ok(fog_api::Reply::Submitted { job }) => Ok(job.id),
            Ok(_) => Err("the job was not stored".to_owned()),
            Err(error) => Err(error.message),
        };
        let job = match accepted {
            Ok(job) => job,
            Err(problem) => {
                ctx.say(
                    node,
                    Message::Failed { lease: offer.lease, problem: shorten(&problem), is_hopeless: false },
                );
                return Ok(());
            }
        };
        let hosted = Hosted {
            lease: offer.lease,
            requester: node,
            offer_hash,
            deadline,
            standing: WorkerState::Waiting,
            units: if has_state { offer.checkpoint.map_or(0, |(units, _)| units) } else { 0 },
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
        self.hosted.insert(job, hosted);
        self.brought_files(ctx, node);
        self.beat(ctx, job);
        for row in rows {
            ctx.store.put_content(&row)?;
        }
        Ok(())
    }

    fn beat(&mut self, ctx: &mut Context, job: JobId) {
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
            self.say_again(ctx, job);
        }
        if let Err(error) = self.send_receipts(ctx, Some(node)) {
            tracing::warn!(%error, "receipts are not sent yet");
        }
    }

    fn say_again(&mut self, ctx: &mut Context, job: JobId) {
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
            self.say_again(ctx, job);
        }
    }
}

/// Shortens a text to the 200 characters that a message takes.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
