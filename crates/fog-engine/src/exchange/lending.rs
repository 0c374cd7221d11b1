//! Offers of this device's tasks to devices that have room.

use std::collections::{BTreeMap, BTreeSet};

use fog_grid::{
    Content, ContentKey, LeaseId, LeaseState, MAX_HOLDERS, Message, Signed, TaskOffer, WorkerState,
};
use fog_store::{ContentRow, StoreError};
use fog_types::job::{JobFile, Map};
use fog_types::{BlobId, JobId, NodeId, TaskId, WorkUnits};
use rand::RngExt as _;

use crate::context::Context;
use crate::effects::Input;
use crate::exchange::placement::{USUAL_UNITS, Wanted};
use crate::exchange::requester::DEFERRED;
use crate::exchange::results::terms_of;
use crate::exchange::spot_checks::SpotCheck;
use crate::exchange::{Exchange, ExchangeEvent, Lent, content, content_of};
use crate::message::EngineMessage;

/// Most tasks that are considered in one turn.
const AT_ONCE: usize = 256;

/// An offer that waits until its price is reserved.
pub(crate) struct PendingOffer {
    node: NodeId,
    signed: Signed<TaskOffer>,
    of: Offered,
}

/// Purpose of an offer.
enum Offered {
    Task(TaskId),
    Check(Box<SpotCheck>),
}

impl PendingOffer {
    pub(crate) fn of_check(node: NodeId, signed: Signed<TaskOffer>, check: SpotCheck) -> Self {
        Self { node, signed, of: Offered::Check(Box::new(check)) }
    }
}

impl Exchange {
    pub(crate) fn content_key(&self, ctx: &Context, blob: BlobId) -> ContentKey {
        ContentKey::derive(&ctx.secret, blob)
    }

    /// A stored file as other devices can fetch it; `None` if it is not sealed yet.
    pub(crate) fn own_content(&self, ctx: &Context, blob: BlobId) -> Result<Option<Content>, StoreError> {
        let row = ctx.store.content_of(blob, &self.content_key(ctx, blob).0)?;
        Ok(row.map(|row| self.unlocked(ctx, row)).as_ref().and_then(content_of))
    }

    /// Seals stored files of a job on another thread. Returns false when there is no network.
    fn seal_beside(&self, ctx: &Context, job: JobId, blobs: Vec<BlobId>) -> Result<bool, StoreError> {
        let Some(net) = &ctx.net else { return Ok(false) };
        let mut work = Vec::new();
        for blob in blobs {
            work.push((ctx.store.blob(blob)?, blob, self.content_key(ctx, blob)));
        }
        let to = ctx.to_self.clone();
        net.spawn_blocking(move || {
            let rows = work.into_iter().map(|(path, blob, key)| content::seal(&path, blob, key)).collect();
            // A send fails only when the engine has stopped.
            let _ = to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::Sealed(job, rows))));
        });
        Ok(true)
    }

    pub(crate) fn sealed(&mut self, ctx: &mut Context, job: JobId, rows: Result<Vec<ContentRow>, String>) {
        self.sealing.remove(&job);
        if let Err(error) =
            rows.and_then(|rows| ctx.store.put_contents(&rows).map_err(|error| error.to_string()))
        {
            tracing::error!(error, "files could not be made ready for others");
            // Missing files are sealed again later, whatever the error was.
            self.unsealed.insert(job, ctx.now() + DEFERRED);
        }
    }

    /// Carries out pending effects and offers waiting tasks to devices that have room.
    pub(crate) fn lend(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        self.do_effects(ctx)?;
        if ctx.net.is_none() || ctx.is_stopping {
            return Ok(());
        }
        let wanting = self.requester.wanting(AT_ONCE, ctx.now_ms());
        let mut jobs: BTreeMap<JobId, Option<fog_store::JobRow>> = BTreeMap::new();
        let mut wanted = Vec::new();
        for (task, wants, avoid) in wanting {
            if let std::collections::btree_map::Entry::Vacant(new) = jobs.entry(task.job) {
                let row = ctx.store.job(task.job)?;
                // A job whose files cannot be read does not keep other jobs from being lent.
                let is_ready = match self.ensure_sealed(ctx, &row) {
                    Ok(is_ready) => is_ready,
                    Err(error) => {
                        self.withhold(
                            ctx,
                            task.job,
                            format!("its files cannot be made ready for other devices: {error}"),
                        );
                        false
                    }
                };
                new.insert(is_ready.then_some(row));
            }
            if jobs.get(&task.job).is_some_and(Option::is_some) {
                wanted.push(Wanted { task, wants, avoid });
            }
        }
        // Tasks with the earliest deadline come first, and second copies of slow tasks last.
        let deadline =
            |one: &Wanted| jobs.get(&one.task.job).and_then(Option::as_ref).map(|job| job.deadline);
        wanted.sort_by_key(|one| (self.requester.is_second_try(one.task), deadline(one), one.task));
        self.withheld.retain(|job, _| jobs.contains_key(job));
        self.look_for_shortage(ctx, &wanted);
        self.look_for_room(ctx, &jobs);
        for (task, node) in self.place(ctx, &wanted, &jobs)? {
            let Some(Some(job)) = jobs.get(&task.job) else { continue };
            match self.offer(ctx, task, job, node)? {
                Ok(()) => {}
                Err(problem) => {
                    tracing::debug!(%task, problem, "a task cannot be offered");
                    self.withhold(ctx, task.job, problem);
                }
            }
        }
        self.do_effects(ctx)
    }

    fn withhold(&mut self, ctx: &mut Context, job: JobId, problem: String) {
        if self.withheld.insert(job, problem.clone()) != Some(problem) {
            ctx.announce_job(job);
        }
    }

    /// Finds the jobs that cannot get a result because fewer devices are available than must run each task.
    fn look_for_shortage(&mut self, ctx: &mut Context, wanted: &[Wanted]) {
        let here: BTreeSet<NodeId> = self.lenders(ctx).collect();
        let mut short: BTreeMap<JobId, String> = BTreeMap::new();
        for one in wanted {
            if short.contains_key(&one.task.job) {
                continue;
            }
            let needed = self.requester.replicas_of(one.task) as usize;
            let devices: BTreeSet<NodeId> =
                self.requester.nodes_of(one.task).chain(here.iter().copied()).collect();
            if devices.len() < needed {
                let there = devices.len();
                short.insert(one.task.job, format!("each task is to be run by {needed} devices, and {there} of them can be reached or have its result"));
            }
        }
        let changed: BTreeSet<JobId> = short
            .iter()
            .filter(|(job, why)| self.short.get(job) != Some(*why))
            .map(|(job, _)| *job)
            .collect();
        self.short = short;
        for job in changed {
            ctx.announce_job(job);
        }
    }

    /// Whether results of a job must be proved. Each run then begins at the start, since no device can
    /// vouch for a state that another device made.
    pub(crate) fn must_be_shown(job: &fog_store::JobRow) -> bool {
        job.file.segment.is_some() && job.grid.is_some_and(|wish| wish.spot_checks > 0)
    }

    /// Other connected devices with leases of the job, which may have its files.
    fn holders_of(&self, ctx: &Context, job: JobId, except: NodeId) -> Vec<NodeId> {
        let held = self.requester.leases().filter(|lease| lease.task.job == job && lease.node != except);
        let held = held.filter(|lease| {
            !matches!(
                lease.state,
                LeaseState::Offered | LeaseState::Lost | LeaseState::Held(WorkerState::Fetching)
            )
        });
        let nodes: BTreeSet<NodeId> =
            held.map(|lease| lease.node).filter(|node| ctx.directory.peers.contains_key(node)).collect();
        nodes.into_iter().take(MAX_HOLDERS).collect()
    }

    /// Begins to seal the files of a job for others. Returns whether all of them are sealed.
    fn ensure_sealed(&mut self, ctx: &mut Context, job: &fog_store::JobRow) -> Result<bool, StoreError> {
        if self.sealed.contains(&job.id) {
            return Ok(true);
        }
        self.unsealed.retain(|_, again| *again > ctx.now());
        if self.sealing.contains(&job.id) || self.unsealed.contains_key(&job.id) {
            return Ok(false);
        }
        let fog_store::Blobs { module, stdin, inputs, items } = &job.blobs;
        let mut missing = Vec::new();
        for blob in std::iter::once(module).chain(stdin).chain(inputs.values()).chain(items) {
            if self.own_content(ctx, *blob)?.is_none() {
                missing.push(*blob);
            }
        }
        if missing.is_empty() {
            self.sealed.insert(job.id);
            return Ok(true);
        }
        missing.sort_unstable();
        missing.dedup();
        if self.seal_beside(ctx, job.id, missing)? {
            self.sealing.insert(job.id);
        }
        Ok(false)
    }

    /// Job file of a single task, as the other device receives it.
    fn file_of(job: &fog_store::JobRow, index: u32) -> Result<JobFile, String> {
        let mut file = job.file.clone();
        file.args = job.file.args_of(index);
        file.env = job.file.env_of(index).into_iter().collect();
        file.seed = job.file.seed.wrapping_add(u64::from(index));
        if matches!(file.map, Map::Inputs(_)) {
            file.inputs.insert("item".to_owned(), "item".to_owned());
        }
        file.map = Map::One;
        file.assemble = fog_types::job::Assemble::Separate;
        let is_same = file.args_of(0) == file.args && file.env_of(0) == job.file.env_of(index);
        if is_same {
            Ok(file)
        } else {
            Err("an argument has braces that mean something else at another device".to_owned())
        }
    }

    /// Builds the signed offer of one task to one device.
    pub(crate) fn make_offer(
        &self,
        ctx: &Context,
        task: TaskId,
        job: &fog_store::JobRow,
        node: NodeId,
        checkpoint: Option<(u64, Content)>,
    ) -> Result<Result<(LeaseId, Signed<TaskOffer>), String>, StoreError> {
        let Some(identity) = &ctx.identity else { return Ok(Err("this device has no key".to_owned())) };
        let file = match Self::file_of(job, task.index) {
            Ok(file) => file,
            Err(problem) => return Ok(Err(problem)),
        };
        let content = |blob: BlobId| -> Result<Content, StoreError> {
            self.own_content(ctx, blob)?.ok_or(StoreError::NoBlob(blob))
        };
        let mut inputs: BTreeMap<String, Content> = BTreeMap::new();
        for (name, blob) in &job.blobs.inputs {
            inputs.insert(name.clone(), content(*blob)?);
        }
        if let (Map::Inputs(_), Some(blob)) = (&job.file.map, job.blobs.items.get(task.index as usize)) {
            inputs.insert("item".to_owned(), content(*blob)?);
        }
        let Ok(left_ms @ 1..) = u64::try_from(job.deadline.0.saturating_sub(ctx.clock.lived().0)) else {
            return Ok(Err("its deadline has passed".to_owned()));
        };
        let holders = self.holders_of(ctx, job.id, node);
        let terms = terms_of(job);
        let lease = LeaseId(ctx.rng().random());
        let offer = TaskOffer {
            lease,
            requester: identity.node(),
            worker: node,
            file,
            module: content(job.blobs.module)?,
            stdin: job.blobs.stdin.map(content).transpose()?,
            inputs: inputs.into_iter().collect(),
            checkpoint,
            left_ms,
            tags: Vec::new(),
            holders,
            price_tenths: terms.price_tenths,
            has_bonus: terms.has_bonus,
        };
        Ok(Ok((lease, identity.sign(&offer))))
    }

    /// Offers a task to a device. The inner error is a sentence that says why the task cannot be offered.
    fn offer(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        job: &fog_store::JobRow,
        node: NodeId,
    ) -> Result<Result<(), String>, StoreError> {
        let checkpoint = self.requester.checkpoint(task);
        let (lease, signed) = match self.make_offer(ctx, task, job, node, checkpoint)? {
            Ok(made) => made,
            Err(problem) => return Ok(Err(problem)),
        };
        let milli = self.price_of(ctx, job)?;
        self.pending.insert(lease, PendingOffer { node, signed, of: Offered::Task(task) });
        ctx.out.input(Input::Reserve { lease, node, job: job.id, milli });
        Ok(Ok(()))
    }

    /// Price of a task in thousandths of a credit, before its result is there.
    pub(crate) fn price_of(&self, ctx: &Context, job: &fog_store::JobRow) -> Result<u64, StoreError> {
        let units = ctx.store.mean_units(job.id)?.unwrap_or(WorkUnits(USUAL_UNITS as u64));
        Ok(terms_of(job).base(units))
    }

    /// Handles the answer to a reservation: sends the offer, or says why the task is not offered.
    pub(crate) fn reserved(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        is_granted: bool,
    ) -> Result<(), StoreError> {
        let Some(PendingOffer { node, signed, of }) = self.pending.remove(&lease) else { return Ok(()) };
        match of {
            Offered::Task(task) if is_granted => self.send_offer(ctx, lease, task, node, signed),
            Offered::Task(task) => {
                self.withhold(
                    ctx,
                    task.job,
                    "it would cost more credits than this device may owe; see the setting credit_limit"
                        .to_owned(),
                );
                Ok(())
            }
            Offered::Check(check) => {
                if is_granted {
                    self.send_spot_check(ctx, lease, *check, signed);
                }
                Ok(())
            }
        }
    }

    fn send_offer(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        task: TaskId,
        node: NodeId,
        signed: Signed<TaskOffer>,
    ) -> Result<(), StoreError> {
        self.withheld.remove(&task.job);
        let hash = signed.hash();
        ctx.store.begin_lease(task, &lease.to_string(), node, &BlobId(hash).to_string(), ctx.clock.unix())?;
        self.lent.insert(lease, Lent { offer_hash: hash, signed_result: None });
        self.requester.offered(lease, task, node, ctx.now_ms());
        if let Some(peer) = ctx.directory.peers.get_mut(&node) {
            peer.promised += 1;
        }
        ctx.say(node, Message::Offer(Box::new(signed)));
        ctx.announce_job(task.job);
        Ok(())
    }
}
