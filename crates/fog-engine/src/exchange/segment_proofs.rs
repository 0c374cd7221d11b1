//! Proof of results: the device commits to every state of its run, and a segment drawn at random is run
//! again here before the result is accepted.

use fog_grid::{Content, Evidence, LeaseId, Message, TaskResult};
use fog_runtime::{History, Priority};
use fog_store::{BlobFile, ContentRow, JobRow, JournalKind, StoreError};
use fog_types::{ByteCount, JobId, NodeId, TaskId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::exchange::content;
use crate::exchange::sealed_state::StateFile;
use crate::exchange::segment_replay::{self, Segment};
use crate::exchange::shipped_states::ship;
use crate::exchange::{Exchange, ExchangeEvent, Transfer, WantedProof, content_of};
use crate::message::EngineMessage;
use crate::tasks::histories::history_path;
use crate::tasks::runner::Launch;

/// Largest history in bytes that is read.
const MAX_HISTORY: u64 = 32 << 20;
/// Milliseconds that a device has to show a state.
const PATIENCE: u64 = 600_000;
/// Most states of one hosted run that are prepared: a requester draws one, and another after a restart.
const MAX_SHOWN: u32 = 16;
/// Number of prepared states that are kept: the newest, and the previous one, which may be in transfer.
const SHOWN_KEPT: u32 = 2;

/// A result that is being examined.
pub(crate) struct Proof {
    task: TaskId,
    node: NodeId,
    hash: String,
    /// Drawn segment and its mark, while its first state is being transferred.
    drawn: Option<(Segment, u64)>,
    until: u64,
    /// Transfer of the history or the state; dropped to end it.
    transfer: Transfer,
}

impl Exchange {
    /// Decides whether an arrived result must be proved first, and begins the proof.
    pub(crate) fn must_prove(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        result: &TaskResult,
        hash: &str,
    ) -> Result<bool, StoreError> {
        let Some(task) = self.requester.task_of(lease) else { return Ok(false) };
        let job = ctx.store.job(task.job)?;
        let percent = job.grid.map_or(0, |wish| wish.spot_checks);
        if job.file.segment.is_none()
            || percent == 0
            || ctx.rng().random_range(0..100) >= percent
            || self.proofs.contains_key(&lease)
        {
            return Ok(false);
        }
        let proof = Proof {
            task,
            node,
            hash: hash.to_owned(),
            drawn: None,
            until: ctx.now_ms() + PATIENCE,
            transfer: Transfer::default(),
        };
        self.proofs.insert(lease, proof);
        let Some(history) = result.history.filter(|history| history.size <= MAX_HISTORY) else {
            self.proved(ctx, lease, Err("it shows no history of how it came to its result".to_owned()))?;
            return Ok(true);
        };
        let launch = self.launch_elsewhere(ctx, task, &job)?;
        let (units, hash, mut random) = (result.units.0, hash.to_owned(), StdRng::from_rng(&mut ctx.rng()));
        let transfer = self.fetch_beside(ctx, node, history, move |file| {
            let drawn = std::fs::read(file.path()).map_err(|e| e.to_string()).and_then(|bytes| {
                let history = History::from_bytes(&bytes).map_err(|e| e.to_string())?;
                segment_replay::draw(&mut random, &history, &launch, units, &hash)
            });
            ExchangeEvent::SegmentChosen(lease, drawn)
        });
        if let Some(proof) = self.proofs.get_mut(&lease) {
            proof.transfer = transfer;
        }
        Ok(true)
    }

    /// Launch of the task as its worker runs it: a job of one task, with sorted inputs and environment.
    pub(crate) fn launch_elsewhere(
        &self,
        ctx: &Context,
        task: TaskId,
        job: &JobRow,
    ) -> Result<Launch, StoreError> {
        let mut launch = ctx.launch(
            fog_store::Claim { task, attempt: 0 },
            job,
            ctx.rules.verdict().duty,
            Priority::Idle,
            ctx.lent_budget(),
        )?;
        launch.spec.inputs.sort_by(|a, b| a.name.cmp(&b.name));
        launch.place.inputs.sort();
        launch.spec.env.sort();
        Ok(launch)
    }

    /// Fetches a file from a device and sends the loop what `then` makes of it.
    fn fetch_beside(
        &self,
        ctx: &Context,
        node: NodeId,
        wanted: Content,
        then: impl FnOnce(BlobFile) -> ExchangeEvent + Send + 'static,
    ) -> Transfer {
        let Some(net) = &ctx.net else { return Transfer::default() };
        let (transport, fetches, folder, to) = (
            net.as_transport(),
            self.fetches(ctx, RoomUse::Owner),
            ctx.store.folder().to_owned(),
            ctx.to_self.clone(),
        );
        Transfer::new(net.spawn(async move {
            // A file that does not arrive is given up by the timeout of the proof.
            if let Ok((file, _)) = content::fetch(&transport, &fetches, &[node], &wanted, &folder).await
                && let Ok(news) = tokio::task::spawn_blocking(move || then(file)).await
            {
                let _ = to.send(EngineMessage::Exchange(Box::new(news))).await;
            }
        }))
    }

    /// Handles the drawn segment: asks the device for the state it begins with, unless that is the start of
    /// the task.
    pub(crate) fn drawn(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        drawn: Result<Segment, String>,
    ) -> Result<(), StoreError> {
        let segment = match drawn {
            Ok(segment) => segment,
            Err(problem) => return self.proved(ctx, lease, Err(problem)),
        };
        let Some(proof) = self.proofs.get_mut(&lease) else { return Ok(()) };
        let mark = segment.begins.as_ref().map(|mark| mark.mark.number);
        match mark {
            Some(mark) => {
                proof.drawn = Some((segment, mark));
                let node = proof.node;
                ctx.say(node, Message::Prove { lease, mark });
                Ok(())
            }
            None => self.replay(ctx, lease, segment, None),
        }
    }

    /// Handles the answer with the requested state, or without one if the device has not kept it.
    pub(crate) fn shown(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        lease: LeaseId,
        mark: u64,
        state: Option<Content>,
    ) -> Result<(), StoreError> {
        let Some(proof) = self.proofs.get_mut(&lease).filter(|proof| proof.node == node) else {
            return Ok(());
        };
        let Some((segment, _)) = proof.drawn.take_if(|(_, wanted)| *wanted == mark) else { return Ok(()) };
        let most = ctx.store.job(proof.task.job)?.file.limits.state_size().0;
        let Some(state) = state.filter(|state| state.size <= most) else {
            // Devices keep states as far as they have room, so a missing one proves neither fraud nor
            // honesty.
            let node = proof.node;
            self.unproven(ctx, lease, "it has not kept the state that was asked for")?;
            // The device did not deliver what its requester relied on, whatever the reason.
            ctx.judge(node, Evidence::saw_lost);
            return Ok(());
        };
        let Some(net) = &ctx.net else { return Ok(()) };
        let (transport, fetches, folder, to) = (
            net.as_transport(),
            self.fetches(ctx, RoomUse::Owner),
            ctx.store.folder().to_owned(),
            ctx.to_self.clone(),
        );
        let transfer = net.spawn(async move {
            // A state that does not arrive is given up by the timeout of the proof.
            if let Ok(file) = content::fetch_state(&transport, &fetches, node, &state, &folder).await {
                let _ = to
                    .send(EngineMessage::Exchange(Box::new(ExchangeEvent::CheckpointFetched(
                        lease,
                        segment,
                        Some(file),
                    ))))
                    .await;
            }
        });
        if let Some(proof) = self.proofs.get_mut(&lease) {
            proof.transfer = Transfer::new(transfer);
        }
        Ok(())
    }

    pub(crate) fn replay(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        segment: Segment,
        state: Option<StateFile>,
    ) -> Result<(), StoreError> {
        let Some(proof) = self.proofs.get_mut(&lease) else { return Ok(()) };
        // The device has shown the state; the time of the replay is not its fault.
        proof.until = u64::MAX;
        if self.replaying > 0 {
            self.wanted_replays.push_back((lease, segment, state));
            return Ok(());
        }
        let task = proof.task;
        let job = ctx.store.job(task.job)?;
        let launch = self.launch_elsewhere(ctx, task, &job)?;
        // The state is held here and in transit to the worker, in addition to the worker's own memory.
        let held = state.as_ref().map_or(0, |state| state.content.size.saturating_mul(2));
        self.replaying = ctx.charge(&job, ctx.lent_budget()).saturating_add(held);
        let (to, duty) = (ctx.to_self.clone(), ctx.work_duty.subscribe());
        tokio::spawn(async move {
            let news = match launch.check_files().await {
                Ok(()) => ExchangeEvent::SegmentVerified(
                    lease,
                    segment_replay::replay(launch, segment, state, duty).await,
                ),
                // Damaged files here are no evidence about the worker.
                Err(unusable) => ExchangeEvent::NotReplayed(lease, unusable.problem),
            };
            let _ = to.send(EngineMessage::Exchange(Box::new(news))).await;
        });
        Ok(())
    }

    /// Handles a segment that could not be run again for a reason of this device, such as a damaged file of
    /// the job. No device is blamed.
    pub(crate) fn not_replayed(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        problem: &str,
    ) -> Result<(), StoreError> {
        let unproven = self.unproven(ctx, lease, problem);
        self.replay_ended(ctx).and(unproven)
    }

    /// Handles the end of a replay and begins the next one.
    pub(crate) fn replay_ended(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        self.replaying = 0;
        while self.replaying == 0
            && let Some((lease, segment, state)) = self.wanted_replays.pop_front()
        {
            // A replay that cannot begin must not block the others.
            if let Err(error) = self.replay(ctx, lease, segment, state) {
                self.unproven(ctx, lease, "it cannot be run here")?;
                tracing::warn!(%error, "a segment cannot be run again");
            }
        }
        Ok(())
    }

    pub(crate) fn proved(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        found: Result<(), String>,
    ) -> Result<(), StoreError> {
        let Some(proof) = self.proofs.remove(&lease) else { return Ok(()) };
        let name = ctx.directory.peer_name(proof.node);
        let (now, verdict) = match &found {
            Ok(()) => (ctx.clock.unix(), "right".to_owned()),
            Err(problem) => (ctx.clock.unix(), format!("wrong: {problem}")),
        };
        ctx.store.note(
            now,
            JournalKind::Checked,
            proof.task.job,
            Some(proof.task.index),
            &format!("a segment of {name}'s run, run again: {verdict}"),
        )?;
        if found.is_err() {
            ctx.judge(proof.node, Evidence::saw_invalid);
            self.waiting.remove(&lease);
        }
        if found.is_ok() {
            self.proven.insert(lease);
        }
        self.checked(ctx, lease, found.map(|()| proof.hash));
        Ok(())
    }

    fn unproven(&mut self, ctx: &mut Context, lease: LeaseId, why: &str) -> Result<(), StoreError> {
        let Some(proof) = self.proofs.remove(&lease) else { return Ok(()) };
        let name = ctx.directory.peer_name(proof.node);
        ctx.store.note(
            ctx.clock.unix(),
            JournalKind::Checked,
            proof.task.job,
            Some(proof.task.index),
            &format!(
                "a segment of {name}'s run could not be run again, so another device is asked too: {why}"
            ),
        )?;
        self.requester.handle_unproven(lease, proof.hash, ctx.now_ms());
        Ok(())
    }

    /// Fails proofs whose device has not answered in time.
    pub(crate) fn proof_tick(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.now_ms();
        let over: Vec<LeaseId> =
            self.proofs.iter().filter(|(_, proof)| proof.until <= now).map(|(lease, _)| *lease).collect();
        for lease in over {
            self.proved(ctx, lease, Err("it did not show how it came to its result".to_owned()))?;
        }
        Ok(())
    }

    /// As worker: seals the history of a hosted task for its requester.
    pub(crate) fn history_for(
        &mut self,
        ctx: &mut Context,
        task: TaskId,
    ) -> Result<Option<Content>, StoreError> {
        let folder = history_path(ctx.store.folder(), task);
        let Ok(history) = History::read(&folder) else { return Ok(None) };
        let Ok(bytes) = serde_json::to_vec(&history) else { return Ok(None) };
        let blob = BlobFile::copy(ctx.store.folder(), bytes.as_slice(), ByteCount(MAX_HISTORY))?;
        let (path, id) = (blob.path().to_owned(), blob.id());
        let Ok(row) = content::seal(&path, id, fog_grid::ContentKey::derive(&ctx.secret, id)) else {
            return Ok(None);
        };
        ctx.store.add_blob(blob, ctx.settings.storage_cap(), ctx.clock.unix())?;
        // The result is not accepted without its history, so that must not be evicted.
        ctx.store.hold_blob(task.job, id)?;
        ctx.store.put_content(&row)?;
        Ok(content_of(&row))
    }

    /// As worker: handles a request to show a state. Each state is a copy of a checkpoint, so they are
    /// prepared one at a time, only the latest request per job, and up to [`MAX_SHOWN`].
    pub(crate) fn asked_to_prove(&mut self, ctx: &mut Context, node: NodeId, lease: LeaseId, mark: u64) {
        let Some(job) = self.hosted_by_lease(lease, node) else { return };
        // Only states of finished runs are shown.
        let Some(hosted) = self.hosted.get_mut(&job).filter(|hosted| hosted.message.is_some()) else {
            return;
        };
        if hosted.shown >= MAX_SHOWN {
            return ctx.say(node, Message::Proof { lease, mark, state: None });
        }
        match self.wanted_proofs.iter_mut().find(|wanted| wanted.job == job) {
            Some(wanted) => wanted.mark = mark,
            None => self.wanted_proofs.push_back(WantedProof { job, lease, mark }),
        }
        self.show_next(ctx);
    }

    fn show_next(&mut self, ctx: &mut Context) {
        if self.is_showing {
            return;
        }
        let Some(WantedProof { job, lease, mark }) = self.wanted_proofs.pop_front() else { return };
        let path = History::checkpoint(&history_path(ctx.store.folder(), TaskId { job, index: 0 }), mark);
        let (Some(net), Some(key)) = (&ctx.net, ctx.key) else { return };
        let (folder, secret, to) = (ctx.store.folder().to_owned(), ctx.secret, ctx.to_self.clone());
        let room = ctx.room_for(RoomUse::Work);
        self.is_showing = true;
        if let Some(hosted) = self.hosted.get_mut(&job) {
            hosted.shown += 1;
        }
        net.spawn_blocking(move || {
            let file =
                if path.exists() { ship(&path, &folder, &key, &secret, &room).map(Some) } else { Ok(None) };
            let _ = to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::CheckpointReady {
                job,
                lease,
                mark,
                file,
            })));
        });
    }

    pub(crate) fn state_to_show(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        lease: LeaseId,
        mark: u64,
        file: Result<Option<(BlobFile, ContentRow)>, String>,
    ) -> Result<(), StoreError> {
        self.is_showing = false;
        let state = match file {
            // No state is needed after the receipt.
            Ok(Some((file, row))) if self.hosted.contains_key(&job) => {
                let added = ctx.store.add_blob(file, ctx.settings.storage_cap(), ctx.clock.unix());
                let stored = added
                    .and_then(|blob| ctx.store.show_state(job, blob, SHOWN_KEPT))
                    .and_then(|()| ctx.store.put_content(&row));
                stored
                    .inspect_err(|error| tracing::warn!(%error, "a state cannot be shown"))
                    .ok()
                    .and_then(|()| content_of(&row))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(error, "a state cannot be shown");
                None
            }
        };
        if let Some(hosted) = self.hosted.get(&job) {
            ctx.say(hosted.requester, Message::Proof { lease, mark, state });
        }
        self.show_next(ctx);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use fog_types::WorkUnits;
    use fog_types::job::GridOptions;

    use super::*;
    use crate::event_loop::Engine;
    use crate::test_engine::{TestEngine, node, test_engine};

    /// A device that says it has not kept the requested state is not believed alone: invented states cost
    /// nothing.
    #[test]
    fn a_state_that_was_not_kept_proves_nothing() {
        let mut device = test_engine();
        let wish = GridOptions { replicas: 1, spot_checks: 50, ..GridOptions::default() };
        let id = device.job(5, Some(wish), |file| file.segment = Some(WorkUnits(1_000_000_000)));
        let task = TaskId { job: id, index: 4 };
        let lease = device.lend(1, task, node(1));
        let engine = &mut device.engine;
        engine.exchange.requester.handle_result(
            node(1),
            TestEngine::result(lease, node(1), 1),
            engine.ctx.now_ms(),
        );
        while engine.exchange.requester.poll_effect().is_some() {}
        let drawn = Some((Segment::test(), 3));
        engine.exchange.proofs.insert(
            lease,
            Proof {
                task,
                node: node(1),
                hash: "a".repeat(64),
                drawn,
                until: u64::MAX,
                transfer: Transfer::default(),
            },
        );
        engine.exchange.shown(&mut engine.ctx, node(1), lease, 3, None).unwrap();
        let effects: Vec<_> = std::iter::from_fn(|| engine.exchange.requester.poll_effect()).collect();
        assert!(effects.is_empty(), "it was believed without a proof: {effects:?}");
        let wanted = engine
            .exchange
            .requester
            .wanting(99, engine.ctx.now_ms())
            .into_iter()
            .find(|(wanted, _, _)| *wanted == task)
            .unwrap();
        assert_eq!(
            (wanted.1, wanted.2.into_iter().collect::<Vec<_>>()),
            (1, vec![node(1)]),
            "somebody else is asked"
        );
        assert!(engine.ctx.directory.evidence(node(1)).lost > 0.0);
        // When a second device gives the same result, both are believed.
        let second = device.lend(2, task, node(2));
        let engine = &mut device.engine;
        engine.exchange.requester.handle_result(
            node(2),
            TestEngine::result(second, node(2), 1),
            engine.ctx.now_ms(),
        );
        while engine.exchange.requester.poll_effect().is_some() {}
        engine.exchange.checked(&mut engine.ctx, second, Ok("a".repeat(64)));
        let effects: Vec<_> = std::iter::from_fn(|| engine.exchange.requester.poll_effect()).collect();
        assert!(
            matches!(&effects[..], [fog_grid::Effect::Accept { leases, .. }] if leases.len() == 2),
            "{effects:?}"
        );
    }

    #[tokio::test]
    async fn what_is_to_be_shown_is_not_fetched_any_further_than_its_job_goes() {
        let mut device = test_engine();
        let id = device.job(
            1,
            Some(GridOptions { replicas: 1, spot_checks: 100, ..GridOptions::default() }),
            |file| file.segment = Some(WorkUnits(1_000_000_000)),
        );
        let task = TaskId { job: id, index: 0 };
        let lease = device.lend(1, task, node(1));
        let engine = &mut device.engine;
        let config = fog_libp2p::Config {
            lan: false,
            open: false,
            loopback: true,
            relay: false,
            port: 0,
            known: Vec::new(),
        };
        engine.ctx.net =
            Some(crate::network::runtime::Net::start(&[7; 32], &config, engine.ctx.to_self.clone()).unwrap());
        let transfer = |engine: &Engine| {
            engine.exchange.proofs[&lease].transfer.handle().cloned().expect("nobody can end it")
        };
        let result = TaskResult {
            history: Some(crate::test_engine::content(7, 100)),
            ..TestEngine::result(lease, node(1), 1)
        };
        assert!(engine.exchange.must_prove(&mut engine.ctx, lease, node(1), &result, &result.hash).unwrap());
        let history = transfer(engine);
        // The state is fetched, and its history no longer.
        engine.exchange.proofs.get_mut(&lease).unwrap().drawn = Some((Segment::test(), 3));
        engine
            .exchange
            .shown(&mut engine.ctx, node(1), lease, 3, Some(crate::test_engine::content(8, 100)))
            .unwrap();
        let state = transfer(engine);
        engine.tasks.change_job(&mut engine.ctx, id, fog_api::JobAction::Cancel).unwrap();
        engine.settle();
        assert!(engine.exchange.proofs.is_empty());
        for ended in [history, state] {
            let begun = std::time::Instant::now();
            while !ended.is_finished() {
                assert!(begun.elapsed().as_secs() < 2, "it is fetched on");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }

    /// Showing a state costs a copy of a checkpoint, and requesting it costs nothing.
    #[test]
    fn states_are_shown_one_at_a_time_and_not_without_end() {
        let mut device = test_engine();
        let (asker, other) = (node(2), node(3));
        let deadline = fog_types::UnixMillis(device.engine.ctx.clock.unix().0 + 86_400_000);
        let mut leases = Vec::new();
        for (n, requester) in [(1u8, asker), (2, asker), (3, other)] {
            let job = device.job(1, None, |_| {});
            let lease = LeaseId([n; 16]);
            let offer = fog_types::BlobId([0; 32]).to_string();
            let row = fog_store::HostedRow {
                job,
                lease: lease.to_string(),
                requester,
                offer,
                deadline,
                message: None,
                has_receipt: false,
            };
            device.engine.ctx.store.host(&row).unwrap();
            leases.push((job, lease));
        }
        let engine = &mut device.engine;
        engine.exchange.restore_hosted(&mut engine.ctx).unwrap();
        let ((first, of_first), (second, of_second), (third, of_third)) = (leases[0], leases[1], leases[2]);
        engine.exchange.asked_to_prove(&mut engine.ctx, asker, of_first, 1);
        assert!(engine.exchange.wanted_proofs.is_empty(), "only a run that has ended is shown");
        for (job, _) in &leases {
            engine.exchange.hosted.get_mut(job).unwrap().message = Some(Vec::new());
        }
        // While one state is prepared, further requests wait, and each job keeps only its latest.
        engine.exchange.is_showing = true;
        for mark in 0..1_000 {
            for (from, lease) in [
                (asker, of_first),
                (asker, of_second),
                (other, of_third),
                (other, of_first),
                (asker, of_third),
                (node(9), of_first),
            ] {
                engine.exchange.asked_to_prove(&mut engine.ctx, from, lease, mark);
            }
        }
        let waiting: Vec<_> =
            engine.exchange.wanted_proofs.iter().map(|wanted| (wanted.job, wanted.mark)).collect();
        assert_eq!(waiting, [(first, 999), (second, 999), (third, 999)]);
        assert!(
            engine.exchange.hosted.values().all(|hosted| hosted.shown == 0),
            "no other is made meanwhile"
        );
        // The number of states per run is bounded.
        engine.exchange.wanted_proofs.clear();
        engine.exchange.hosted.get_mut(&first).unwrap().shown = MAX_SHOWN;
        engine.exchange.asked_to_prove(&mut engine.ctx, asker, of_first, 7);
        engine.exchange.asked_to_prove(&mut engine.ctx, asker, of_second, 7);
        assert_eq!(
            engine.exchange.wanted_proofs.iter().map(|wanted| wanted.job).collect::<Vec<_>>(),
            [second]
        );
    }
}
