//! Offers of other devices: whether they are accepted, their files, and the hosted jobs that they become.

use std::sync::Arc;

use fog_api::settings::keys;
use fog_grid::{Answer, Content, Decline, HostPolicy, Message, TaskOffer, WorkerState};
use fog_store::{BlobFile, ContentRow, HostedRow, StoreError};
use fog_types::{BlobId, JobId, NodeId, on_disk};
use rand::RngExt as _;

use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::exchange::content;
use crate::exchange::worker::shorten;
use crate::exchange::{Arrival, Arriving, Exchange, ExchangeEvent, Files, Hosted, ResultDelivery, Transfer};
use crate::message::EngineMessage;
use crate::tasks::checkpoint_import;
use crate::tasks::submit::Prepared;

impl Exchange {
    fn host_policy(&self, ctx: &Context) -> HostPolicy {
        HostPolicy {
            from_anyone: ctx.settings.flag(keys::JOBS_FROM_ANYONE),
            allow: ctx.settings.list(keys::JOBS_ALLOW),
            deny: ctx.settings.list(keys::JOBS_DENY),
        }
    }

    pub(crate) fn offered(
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
        self.send_hellos(ctx);
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
            delivery: ResultDelivery::default(),
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
}
