//! Tasks of this device's jobs that other devices run.

use std::collections::BTreeSet;
use std::time::Duration;

use fog_api::{ApiError, Reply, TaskPlace};
use fog_grid::{
    AcceptanceRule, Answer, Decline, Effect, Evidence, GivenUp, LeaseId, LeaseState, Message, Replication,
    Signed, TaskResult, WorkerState,
};
use fog_store::{FailedAttempt, StoreError};
use fog_types::job::GridOptions;
use fog_types::{BlobId, JobId, JobState, NodeId, TaskId, UnixMillis, WorkUnits};

use crate::context::Context;
use crate::effects::Input;
use crate::exchange::errors::ExchangeError;
use crate::exchange::{Exchange, Lent, lease_from};
use crate::query::to_api;

/// Number of tasks of a job with spot checks that run on at least two devices, to have known results.
const KNOWN_FIRST: u32 = 2;
/// Time after which an effect that failed in the database or on the disk is tried again.
pub(crate) const DEFERRED: Duration = Duration::from_secs(5);
/// Milliseconds for which a task is not offered after it failed again at a device where it had failed
/// before.
const HELD_AFTER_FAILURE_MS: u64 = 10_000;

/// Conditions for accepting a result of a task.
fn need_of(task: TaskId, wish: &GridOptions) -> Replication {
    let is_known_first = wish.spot_checks > 0 && task.index < KNOWN_FIRST;
    let replicas = if is_known_first { wish.devices().max(2) } else { wish.devices() };
    let choice = match wish.trust {
        Some(trust) => AcceptanceRule::Confidence(trust),
        None if wish.adaptive && !is_known_first => AcceptanceRule::Adaptive(rand::random()),
        None => AcceptanceRule::Quorum(replicas / 2 + 1),
    };
    // With spot checks, a single device is not believed either when it says that the task is hopeless.
    let hopeless = if wish.spot_checks > 0 { 2 } else { 1 };
    Replication { replicas, choice, hopeless }
}

impl Exchange {
    /// Restores the leases that were active before a restart.
    pub(crate) fn restore_lent(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        self.sync_requester(ctx)?;
        let now = ctx.now_ms();
        for row in ctx.store.leases()? {
            let (Some(lease), Ok(offer)) = (lease_from(&row.lease), row.offer.parse::<BlobId>()) else {
                continue;
            };
            self.requester.restore(lease, row.claim.task, row.node, now);
            self.lent.insert(lease, Lent { offer_hash: offer.0, signed_result: None });
        }
        Ok(())
    }

    /// Tells the requester all tasks for other devices, as the store has them.
    pub(crate) fn sync_requester(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let jobs = ctx.store.grid_jobs()?;
        jobs.into_iter().try_for_each(|job| self.sync_job(ctx, job))
    }

    /// Tells the requester which tasks of one job others should run, after the job was added, removed,
    /// paused or resumed. No other job is looked at.
    pub(crate) fn sync_job(&mut self, ctx: &mut Context, job: JobId) -> Result<(), StoreError> {
        let Some((wish, tasks)) = ctx.store.grid_tasks(job)? else {
            return self.close_job(ctx, job, "the job was paused or cancelled");
        };
        let wanted: BTreeSet<TaskId> = tasks.into_iter().collect();
        let gone: Vec<TaskId> = self.requester.tasks_of(job).filter(|task| !wanted.contains(task)).collect();
        for task in gone {
            self.not_wanted(ctx, task, "the job was paused or cancelled")?;
        }
        let mut is_new = false;
        for task in wanted {
            if !self.requester.has(task) {
                is_new = true;
                self.requester.add(task, need_of(task, &wish));
            }
        }
        if is_new && !Self::must_be_shown(&ctx.store.job(job)?) {
            for (task, units, node, blob) in ctx.store.kept_states(job)? {
                if let Some(content) = self.own_content(ctx, blob)? {
                    self.requester.record_checkpoint(task, units, node, content);
                }
            }
        }
        Ok(())
    }

    /// Withdraws all tasks of a job from other devices, with one statement to the store since there may be
    /// very many.
    fn close_job(&mut self, ctx: &mut Context, job: JobId, why: &'static str) -> Result<(), StoreError> {
        self.sealed.remove(&job);
        let tasks: Vec<TaskId> = self.requester.tasks_of(job).collect();
        if tasks.is_empty() {
            return Ok(());
        }
        for task in tasks {
            self.forget_task(task, why);
        }
        ctx.store.end_leases_of_job(job, why, ctx.clock.unix())
    }

    /// Withdraws a task from other devices.
    fn not_wanted(&mut self, ctx: &mut Context, task: TaskId, why: &'static str) -> Result<(), StoreError> {
        self.forget_task(task, why);
        ctx.store.end_leases_of(task, why, ctx.clock.unix())
    }

    fn forget_task(&mut self, task: TaskId, why: &'static str) {
        // Transfers for the task end.
        let leases: Vec<LeaseId> = self.requester.leases_of(task).map(|(lease, _)| lease).collect();
        for lease in leases {
            self.waiting.remove(&lease);
            self.proofs.remove(&lease);
        }
        self.states.remove(&task);
        self.placing.remove(&task);
        self.unstored.remove(&task);
        self.requester.remove(task, why);
    }

    /// Handles the failure of a task that others run. It looks only at the task, and at its job if that has
    /// ended, because a member that fails at everything causes this often.
    pub(crate) fn sync_failed(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        is_final: bool,
        not_before: UnixMillis,
    ) -> Result<(), StoreError> {
        if !matches!(ctx.store.job_state(task.job)?, JobState::Queued | JobState::Running) {
            return self.close_job(ctx, task.job, "the job was paused or has ended");
        }
        if is_final {
            return self.not_wanted(ctx, task, "the task was given up");
        }
        // The task waits as after a local failure: longer each time, with jitter.
        let wait = not_before.0.saturating_sub(ctx.clock.unix().0);
        self.requester.hold(task, ctx.now_ms().saturating_add(u64::try_from(wait).unwrap_or(0)));
        Ok(())
    }

    /// Withdraws tasks of unwanted jobs from other devices, even if the database has an older state.
    pub(crate) fn withdraw_held(&mut self, ctx: &mut Context) {
        if !ctx.unstored.holds_any() {
            return;
        }
        let held: Vec<TaskId> = self.requester.tasks().filter(|task| ctx.unstored.holds(task.job)).collect();
        for task in held {
            let leases: Vec<_> = self.requester.leases_of(task).map(|(lease, _)| lease).collect();
            for lease in leases {
                self.waiting.remove(&lease);
                self.proofs.remove(&lease);
            }
            self.states.remove(&task);
            self.requester.remove(task, "the job was paused or cancelled");
        }
    }

    /// Follows a change of a job that its owner asked for. The new state holds even if that fails.
    pub(crate) fn job_changed(&mut self, ctx: &mut Context, id: JobId) -> Result<(), StoreError> {
        let told = self.sync_job(ctx, id).and_then(|()| self.host_ended(ctx, id));
        self.withdraw_held(ctx);
        told
    }

    /// Handles a worker's message about a lease.
    pub(crate) fn handle_worker_message(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        message: Message,
    ) -> Result<(), StoreError> {
        let now = ctx.now_ms();
        let Some(message) = self.handle_spot_check_message(ctx, node, message)? else { return Ok(()) };
        match message {
            Message::Answer { lease, answer } => {
                if let (Answer::Declined(Decline::Full | Decline::Resting), Some(peer)) =
                    (answer, ctx.directory.peers.get_mut(&node))
                {
                    // The peer counts as full until its next hello.
                    peer.capacity.free = 0;
                }
                self.note_answer(node, lease, answer);
                if answer == Answer::Declined(Decline::NotWelcome) {
                    // A device that has just restarted does not know this one yet.
                    self.send_hello_to(ctx, node);
                }
                self.requester.handle_answer(lease, node, answer, now);
            }
            Message::Heartbeat { lease, standing, units, permille } => {
                // Numbers beyond the job's limit are not believed, nor sums of them.
                let most = self.units_of(ctx, lease);
                let permille = permille.map(|permille| permille.min(1000));
                if let Some(task) =
                    self.requester.handle_heartbeat(lease, node, standing, units.min(most), permille, now)
                    && let Some(permille) = permille
                {
                    ctx.store.set_progress(task, permille)?;
                }
            }
            Message::Saved { lease, units, content } => {
                if units <= self.units_of(ctx, lease) {
                    self.requester.handle_saved(lease, node, units, content, now);
                }
            }
            Message::Failed { lease, problem, is_hopeless } => {
                self.given_up(ctx, node, lease, problem, is_hopeless)?
            }
            // These messages are handled elsewhere or are addressed to workers.
            Message::Hello(_)
            | Message::Offer(_)
            | Message::Result(_)
            | Message::Receipt(_)
            | Message::Release { .. }
            | Message::Prove { .. }
            | Message::Proof { .. } => {}
        }
        Ok(())
    }

    /// Most work units that the job of a lease allows.
    fn units_of(&self, ctx: &Context, lease: LeaseId) -> u64 {
        let task = self.requester.task_of(lease);
        let limit =
            task.and_then(|task| ctx.store.job(task.job).ok()).map_or(0, |job| job.file.limits.units.0);
        limit.min(i64::MAX as u64)
    }

    /// Handles a worker's message that it gave up a task.
    fn given_up(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        lease: LeaseId,
        problem: String,
        is_hopeless: bool,
    ) -> Result<(), StoreError> {
        let now = ctx.now_ms();
        let units = self.requester.lease(lease, node).map_or(0, |known| known.units);
        let problem = format!("{}: {problem}", ctx.directory.peer_name(node));
        let evidence = |node| ctx.directory.evidence(node);
        let given_up = self.requester.handle_failed(lease, node, problem.clone(), is_hopeless, evidence, now);
        // The worker accepted the task and returned nothing, whatever the reason.
        if given_up.is_some() {
            ctx.judge(node, Evidence::saw_lost);
        }
        // The release is sent in any case, so that the worker does not wait.
        ctx.say(node, Message::Release { lease, why: "it failed".to_owned() });
        let Some(given_up) = given_up else { return Ok(()) };
        let Some(row) = ctx.store.lease(&lease.to_string())? else { return Ok(()) };
        match given_up {
            // The claim is weighed with those of others; if it is not believed, it does not count as an
            // attempt.
            GivenUp::Hopeless => self.release_slot(ctx, node),
            GivenUp::FailedAgain => {
                self.requester.hold(row.claim.task, now + HELD_AFTER_FAILURE_MS);
            }
            GivenUp::Failed => {
                let failed = FailedAttempt { problem, units: WorkUnits(units), exit_code: None, logs: None };
                ctx.out.input(Input::FailedElsewhere {
                    claim: row.claim,
                    failed: Box::new(failed),
                    is_hopeless: false,
                    at: vec![node],
                });
            }
        }
        ctx.announce_job(row.claim.task.job);
        Ok(())
    }

    pub(crate) fn handle_result(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        result: TaskResult,
        signed: Signed<TaskResult>,
    ) -> Result<(), StoreError> {
        let Some(result) = self.spot_check_result(ctx, node, &signed, result)? else { return Ok(()) };
        let lease = result.lease;
        if result.worker != node {
            tracing::debug!(%node, "a result in somebody else's name");
            return Ok(());
        }
        let is_lent = self.requester.lease(lease, node).is_some()
            && self.lent.get(&lease).is_some_and(|lent| lent.offer_hash == result.offer);
        if !is_lent {
            // The result may have been accepted, and its receipt lost.
            if !self.repeat_receipt(ctx, node, lease)? {
                ctx.say(node, Message::Release { lease, why: "there is no such lease".to_owned() });
            }
            return Ok(());
        }
        if let Err(problem) = self.check_result(ctx, &result) {
            // A refused result must end its lease, which would stay for ever otherwise.
            tracing::debug!(%node, problem, "a result is not fetched");
            ctx.judge(node, Evidence::saw_invalid);
            self.requester.handle_refused(
                lease,
                format!("its result is not believed: {problem}"),
                ctx.now_ms(),
            );
            ctx.say(node, Message::Release { lease, why: problem });
            return Ok(());
        }
        if let Some(task) = self.requester.task_of(lease)
            && self.unstored.get(&task).is_some_and(|unstored| unstored.again > ctx.now())
        {
            // There was no room for the result a moment ago; it stays on the other device.
            self.requester.handle_heartbeat(
                lease,
                node,
                WorkerState::Waiting,
                result.units.0,
                None,
                ctx.now_ms(),
            );
            return Ok(());
        }
        if let Some(lent) = self.lent.get_mut(&lease) {
            lent.signed_result = Some(signed);
        }
        self.requester.handle_result(node, result, ctx.now_ms());
        Ok(())
    }

    /// Checks a result's description against its job, so that an impossible result is not fetched.
    fn check_result(&self, ctx: &Context, result: &TaskResult) -> Result<(), String> {
        result.check()?;
        let task = self.requester.task_of(result.lease).ok_or("there is no such lease")?;
        let job = ctx.store.job(task.job).map_err(|_| "the job is gone".to_owned())?;
        Ok(result.check_against(&job.file.limits)?)
    }

    /// Carries out the requester's effects. One that the database refuses is deferred and does not stop the
    /// others.
    pub(crate) fn do_effects(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.now();
        let (due, later) = std::mem::take(&mut self.deferred).into_iter().partition(|(at, _)| *at <= now);
        self.deferred = later;
        for (_, effect) in due {
            self.requester.put_back(effect);
        }
        let mut refused = None;
        while let Some(effect) = self.requester.poll_effect() {
            match self.do_effect(ctx, effect.clone()) {
                Ok(()) => {}
                // The job was removed meanwhile.
                Err(StoreError::NoJob(_)) => {}
                Err(error) => {
                    self.deferred.push((now + DEFERRED, effect));
                    refused = Some(error);
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn do_effect(&mut self, ctx: &mut Context, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Release { node, lease, why } => {
                ctx.say(node, Message::Release { lease, why: why.to_owned() })
            }
            Effect::FetchResult { lease, node, result } => {
                self.release_slot(ctx, node);
                self.fetch_result(ctx, lease, node, *result);
            }
            Effect::FetchCheckpoint { lease, task, node, units, content } => {
                self.fetch_state(ctx, lease, task, node, units, content)?
            }
            Effect::Accept { task, leases, wrong } => self.accept_result(ctx, task, &leases, &wrong),
            Effect::Fail { task, problem, leases, wrong } => {
                self.fail_everywhere(ctx, task, &problem, &leases, &wrong)?
            }
            Effect::LeaseEnded { lease, task, node, why, is_lost } => {
                ctx.store.end_lease(&lease.to_string(), &why, ctx.clock.unix())?;
                self.release_slot(ctx, node);
                if is_lost {
                    ctx.judge(node, Evidence::saw_lost);
                }
                ctx.announce_job(task.job);
            }
        }
        Ok(())
    }

    /// Records a task as failed because believed devices say that it is hopeless.
    fn fail_everywhere(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
        problem: &str,
        leases: &[LeaseId],
        wrong: &[LeaseId],
    ) -> Result<(), StoreError> {
        tracing::debug!(%task, problem, "a task was given up by those who had it");
        let others: Vec<(LeaseId, NodeId)> =
            wrong.iter().filter_map(|lease| Some((*lease, self.requester.node_of(*lease)?))).collect();
        let sayers: Vec<NodeId> = leases.iter().filter_map(|lease| self.requester.node_of(*lease)).collect();
        let mut claim = None;
        for lease in leases {
            claim = claim.or(ctx.store.lease(&lease.to_string())?.map(|row| row.claim));
        }
        if let Some(claim) = claim {
            let failed = FailedAttempt {
                problem: problem.to_owned(),
                units: WorkUnits(0),
                exit_code: None,
                logs: None,
            };
            ctx.out.input(Input::FailedElsewhere {
                claim,
                failed: Box::new(failed),
                is_hopeless: true,
                at: sayers,
            });
        }
        for (lease, node) in others {
            ctx.judge(node, Evidence::saw_invalid);
            ctx.say(
                node,
                Message::Release { lease, why: "other devices say that it cannot be done".to_owned() },
            );
            self.waiting.remove(&lease);
        }
        self.requester.remove(task, "the task was given up");
        Ok(())
    }

    pub(crate) fn release_slot(&mut self, ctx: &mut Context, node: NodeId) {
        if let Some(peer) = ctx.directory.peers.get_mut(&node) {
            peer.promised -= 1;
        }
    }

    /// Returns the devices that have the tasks of a job.
    pub(crate) fn places(&self, ctx: &Context, id: JobId) -> Result<Reply, ApiError> {
        let job = ctx.store.job(id).map_err(to_api)?;
        if job.grid.is_none() {
            return Err(ExchangeError::OnlyHere { job: id }.into());
        }
        let state = |state: &LeaseState| match state {
            LeaseState::Offered => "offered",
            LeaseState::Held(WorkerState::Fetching) => "fetching",
            LeaseState::Held(WorkerState::Waiting) => "waiting",
            LeaseState::Held(WorkerState::Running) => "running",
            LeaseState::Held(WorkerState::Paused) => "paused",
            LeaseState::Fetching => "checking",
            LeaseState::Done(_) => "done",
            LeaseState::Lost => "lost",
        };
        let tasks = self.requester.tasks().filter(|task| task.job == id);
        let places = tasks.flat_map(|task| {
            self.requester.leases_of(task).map(move |(_, lease)| TaskPlace {
                index: task.index,
                node: lease.node.to_string(),
                name: ctx.directory.peer_name(lease.node),
                state: state(&lease.state).to_owned(),
                units: lease.units,
                permille: lease.permille,
            })
        });
        Ok(Reply::Places(places.collect()))
    }
}
