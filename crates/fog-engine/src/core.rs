//! The event loop: the one place where state changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use base64::Engine as _;
use fog_api::{ActiveTask, ApiError, CheckpointView, Command, Event, EventBody, JobAction, Notice, Reply, Snapshot, Status, Today};
use fog_eligibility::{Eligibility, Filter, Readings};
use fog_probes::SensorConfig;
use fog_runtime::{EngineKind, Key, Walls};
use fog_store::{Claim, FailedAttempt, Failure, JobFilter, Output, Sample, Store, StoreError, TaskResult};
use fog_types::{ErrorKind, JobId, JobState, Percent, TaskId, UnixMillis, WorkUnits};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::checkpoints::{self, CheckpointPlace, Parts, SaveWish, artifact_path, checkpoint_path};
use crate::handle::EngineConfig;
use crate::keychain::checkpoint_key;
use crate::policy::{Settings, policy_from};
use crate::query::{self, to_api};
use crate::sensing::{self, SensorOrder};
use crate::submit::{self, Prepared};
use crate::tasks::{self, Launch, TaskEnd, TaskNews};
use crate::views::{self, Clock};
use crate::{ENGINE_NAME, doctor};

/// Stop a job after this many failures in a row and tell the user (Folding@home `lostWUs`).
const MAX_FAILURES_IN_ROW: u32 = 5;
/// Longest wait before another attempt (Folding@home's upload back-off: 2^n s, cap 512 s).
const MAX_BACK_OFF: Duration = Duration::from_secs(512);
/// Sampling while there is something to run, and otherwise.
const BUSY_PACE: Duration = Duration::from_secs(1);
const QUIET_PACE: Duration = Duration::from_secs(10);
/// Length of one point of history, and how long points are kept.
const HISTORY_SPAN: Duration = Duration::from_secs(60);
const HISTORY_KEPT_MILLIS: i64 = 400 * 86_400_000;
/// Longest somebody who asked for a checkpoint waits.
const SAVE_PATIENCE: Duration = Duration::from_secs(15);
/// Longest a worker that must go may take for a last checkpoint.
const LAST_SAVE: Duration = Duration::from_secs(2);
/// Key of a pause by hand among the stored settings.
const SNOOZE_KEY: &str = "_snoozed_until_ms";

pub(crate) enum Message {
    Call(Box<Command>, oneshot::Sender<Result<Reply, ApiError>>),
    Sample(Box<Readings>),
    Input,
    Task(u64, TaskNews),
    /// The system goes to sleep; it waits for the answer.
    Sleep(SyncSender<()>),
    /// Which walls stand around workers here; `None` when no worker answers.
    Walls(Option<Walls>),
    Prepared(Box<Result<Prepared, ApiError>>, oneshot::Sender<Result<Reply, ApiError>>),
}

pub(crate) struct Core {
    config: EngineConfig,
    store: Store,
    clock: Clock,
    to_self: mpsc::Sender<Message>,
    events: broadcast::Sender<Event>,
    revision: u64,
    settings: Settings,
    snoozed_until: Option<UnixMillis>,
    finishing: bool,
    filter: Filter,
    rules: Eligibility,
    sensors: SyncSender<SensorOrder>,
    active: BTreeMap<u64, Active>,
    duty: watch::Sender<Percent>,
    last_status: Status,
    span: Span,
    last_chores: Option<Instant>,
    told_sensors: (Duration, Vec<u32>),
    /// Workers that take a last checkpoint before they go.
    leaving: JoinSet<()>,
    walls: Option<Walls>,
    key: Option<Key>,
    is_stopping: bool,
}

/// A task in a worker.
struct Active {
    claim: Claim,
    view: ActiveTask,
    memory: u64,
    pid: Option<u32>,
    running_since: Option<Instant>,
    worked: Duration,
    mean_units: Option<WorkUnits>,
    job_task: AbortHandle,
    wishes: mpsc::Sender<SaveWish>,
}

/// The point of history under way.
struct Span {
    begun: Instant,
    last: Instant,
    duty_millis: f64,
    worked: Duration,
    units: u64,
}

impl Core {
    pub(crate) fn new(
        config: EngineConfig,
        mut store: Store,
        clock: Clock,
        to_self: mpsc::Sender<Message>,
        events: broadcast::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let now = clock.unix();
        let recovered = store.recover(now)?;
        store.sweep_blobs()?;
        if recovered > 0 {
            tracing::info!(recovered, "tasks of the last run go back to the queue");
        }
        let stored = store.settings()?;
        let settings = Settings::new(&stored);
        let snoozed_until = stored.get(SNOOZE_KEY).and_then(Value::as_i64).map(UnixMillis).filter(|until| *until > now);
        let sensors = sensing::start(sensor_config(&settings, &config), config.device.clone(), to_self.clone())?;
        let policy = policy_from(settings.values(), snoozed_until.map(|until| clock.to_moment(until)), false);
        let (duty, _) = watch::channel(Percent::ZERO);
        // Without a key checkpoints would lie open; then there are none, and the log says so.
        let key = checkpoint_key(store.folder(), true).inspect_err(|error| tracing::error!(%error, "no checkpoints: their key cannot be had")).ok().flatten();
        Ok(Self {
            config,
            store,
            clock,
            to_self,
            events,
            revision: 0,
            settings,
            snoozed_until,
            finishing: false,
            filter: Filter::default(),
            rules: Eligibility::new(policy),
            sensors,
            active: BTreeMap::new(),
            duty,
            last_status: Status::default(),
            span: Span { begun: Instant::now(), last: Instant::now(), duty_millis: 0.0, worked: Duration::ZERO, units: 0 },
            last_chores: None,
            told_sensors: (Duration::ZERO, Vec::new()),
            leaving: JoinSet::new(),
            walls: None,
            key,
            is_stopping: false,
        })
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let (program, to) = (self.config.worker.clone(), self.to_self.clone());
        tokio::spawn(async move {
            let walls = fog_runtime::check_walls(&program).await.inspect_err(|error| tracing::warn!(%error, "no worker answers"));
            // The loop being gone needs no answer.
            let _ = to.send(Message::Walls(walls.ok())).await;
        });
        if let Err(error) = crate::sleep::watch(self.to_self.clone()) {
            tracing::warn!(%error, "nothing is saved when the system goes to sleep");
        }
        while !self.is_stopping {
            let timeout = self.next_timeout();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                () = tokio::time::sleep(timeout) => {
                    self.rules.handle_timeout(self.clock.moment());
                    // What was waited for is seen by looking, not by the passing of time.
                    let _ = self.sensors.try_send(SensorOrder::Now);
                }
            }
            self.after_change();
        }
        self.shutdown();
        while self.leaving.join_next().await.is_some() {}
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Walls(walls) => self.walls = walls,
            Message::Sleep(done) => self.save_all(done),
            Message::Input => self.rules.handle_input(self.clock.moment()),
            Message::Sample(raw) => {
                let now = self.clock.moment();
                let readings = self.filter.accept(*raw, now);
                self.rules.handle_readings(readings, now);
                self.chores();
            }
            Message::Task(attempt, news) => {
                if let Err(error) = self.task_news(attempt, news) {
                    tracing::error!(%error, "a task's news could not be stored");
                }
            }
            Message::Call(command, answer) => self.command(*command, answer),
            Message::Prepared(prepared, answer) => {
                let reply = prepared.and_then(|prepared| self.accept(prepared));
                let _ = answer.send(reply);
            }
        }
    }

    fn next_timeout(&self) -> Duration {
        let rules = self.rules.poll_timeout().map(|(at, _)| Duration::from_millis(at.since(self.clock.moment())));
        rules.unwrap_or(QUIET_PACE).clamp(Duration::from_millis(5), QUIET_PACE)
    }

    /// What follows from any change: the duty of the workers, new tasks, one event.
    fn after_change(&mut self) {
        self.account();
        let duty = self.rules.verdict().duty;
        self.duty.send_if_modified(|known| std::mem::replace(known, duty) != duty);
        if self.finishing && self.active.is_empty() {
            self.finishing = false;
            let _ = self.change_settings(&[("contributing".to_owned(), Some(false.into()))]);
        }
        if let Err(error) = self.fill() {
            tracing::error!(%error, "no task could be started");
        }
        let has_work = !self.active.is_empty() || self.last_status.counts.queued + self.last_status.counts.running > 0;
        let pace = if self.settings.flag("contributing") && has_work { BUSY_PACE } else { QUIET_PACE };
        let pids: Vec<u32> = self.active.values().filter_map(|active| active.pid).collect();
        let order = (pace, pids);
        // The sensors' queue is only full while they are sampling; the next change tries again.
        if order != self.told_sensors && self.sensors.try_send(SensorOrder::Pace(order.0, order.1.clone())).is_ok() {
            self.told_sensors = order;
        }
        self.announce_status();
    }

    /// Starts tasks while the verdict, the slots and the memory allow it.
    fn fill(&mut self) -> Result<(), StoreError> {
        let duty = self.rules.verdict().duty;
        if duty == Percent::ZERO || self.finishing || self.is_stopping {
            return Ok(());
        }
        let now = self.clock.unix();
        let memory_budget = self.memory_budget();
        while self.active.len() < self.settings.slots() {
            let Some(next) = self.store.next_task(now)? else { return Ok(()) };
            let job = self.store.job(next.job)?;
            let used: u64 = self.active.values().map(|active| active.memory).sum();
            let wanted = job.file.limits.memory.0;
            if used.saturating_add(wanted) > memory_budget && !self.active.is_empty() {
                return Ok(());
            }
            let Some(claim) = self.store.claim_task(ENGINE_NAME, now)? else { return Ok(()) };
            if wanted > memory_budget {
                let problem = format!("the job may use {}, this device lends {}", job.file.limits.memory, fog_types::ByteCount(memory_budget));
                self.record_failure(claim, &FailedAttempt { problem, units: WorkUnits(0), exit_code: None, logs: None }, true)?;
                continue;
            }
            match self.launch(claim, &job) {
                Ok(launch) => self.start_task(launch, &job, now)?,
                Err(error) => {
                    self.record_failure(claim, &FailedAttempt { problem: error.to_string(), units: WorkUnits(0), exit_code: None, logs: None }, true)?;
                }
            }
            self.announce_job(claim.task.job);
        }
        Ok(())
    }

    fn memory_budget(&self) -> u64 {
        // Until the first sample the share is of a small machine.
        let available = self.rules.readings().ram_available.unwrap_or(2 << 30);
        let lent: u64 = self.active.values().map(|active| active.memory).sum();
        ((available.saturating_add(lent / 4)) as f64 * self.settings.number("memory_share") / 100.0) as u64
    }

    fn launch(&self, claim: Claim, job: &fog_store::JobRow) -> Result<Launch, StoreError> {
        let artifact = artifact_path(self.store.folder(), &job.blobs.module.to_string(), EngineKind::Compiled);
        let spec = tasks::spec_of(job, claim.task.index, |id| self.store.blob(id), artifact.clone(), self.rules.verdict().duty)?;
        let place = self.place_of(job, claim.task);
        Ok(Launch {
            place,
            claim,
            program: self.config.worker.clone(),
            data_folder: self.store.folder().to_owned(),
            module: self.store.blob(job.blobs.module)?,
            artifact,
            spec,
        })
    }

    fn place_of(&self, job: &fog_store::JobRow, task: TaskId) -> CheckpointPlace {
        let mut inputs: Vec<(String, String)> = job.blobs.inputs.iter().map(|(name, id)| (name.clone(), id.to_string())).collect();
        if let (fog_types::job::Map::Inputs(_), Some(id)) = (&job.file.map, job.blobs.items.get(task.index as usize)) {
            inputs.push(("item".to_owned(), id.to_string()));
        }
        CheckpointPlace {
            path: checkpoint_path(self.store.folder(), task),
            key: self.key,
            module: blake3::Hash::from_bytes(job.blobs.module.0),
            inputs,
            stdin: job.blobs.stdin.map(|id| id.to_string()),
            every: Duration::from_secs_f64(self.settings.number("checkpoint_every").max(1.0)),
            cap: if self.key.is_some() { self.settings.storage_cap().0 / 2 } else { 0 },
        }
    }

    fn start_task(&mut self, launch: Launch, job: &fog_store::JobRow, now: UnixMillis) -> Result<(), StoreError> {
        let claim = launch.claim;
        let view = ActiveTask {
            job: claim.task.job,
            index: claim.task.index,
            name: job.file.name.clone(),
            owner: job.owner.clone(),
            tasks_total: job.tasks_total,
            permille: None,
            seconds_left: None,
            frozen: false,
            started_ms: now.0,
            units: 0,
            saved_ms: None,
        };
        let mean_units = self.store.mean_units(claim.task.job)?;
        let (wishes, wished) = mpsc::channel(4);
        let task = tokio::spawn(tasks::run(launch, self.duty.subscribe(), wished, self.to_self.clone()));
        let active = Active {
            claim,
            view,
            memory: job.file.limits.memory.0,
            pid: None,
            running_since: None,
            worked: Duration::ZERO,
            mean_units,
            job_task: task.abort_handle(),
            wishes,
        };
        self.active.insert(claim.attempt, active);
        Ok(())
    }

    fn task_news(&mut self, attempt: u64, news: TaskNews) -> Result<(), StoreError> {
        let Some(active) = self.active.get_mut(&attempt) else { return Ok(()) };
        match news {
            TaskNews::Started { pid } => {
                active.pid = pid;
                active.running_since = Some(Instant::now());
            }
            TaskNews::Frozen(frozen) => {
                active.view.frozen = frozen;
                active.worked += active.running_since.take().map_or(Duration::ZERO, |since| since.elapsed());
                active.running_since = (!frozen).then(Instant::now);
            }
            TaskNews::Progress { units, permille } => {
                self.span.units += units.saturating_sub(active.view.units);
                active.view.units = units;
                // Without a word from the job, its finished siblings tell how far it is.
                let estimate = || active.mean_units.filter(|mean| mean.0 > 0).map(|mean| (units.saturating_mul(1000) / mean.0).min(990) as u16);
                active.view.permille = permille.or_else(estimate);
                let worked = active.worked + active.running_since.map_or(Duration::ZERO, |since| since.elapsed());
                active.view.seconds_left = active.view.permille.filter(|p| *p > 0).map(|p| worked.as_secs() * u64::from(1000 - p.min(1000)) / u64::from(p));
                let (task, view) = (active.claim.task, active.view.clone());
                if let Some(permille) = view.permille {
                    self.store.set_progress(task, permille)?;
                }
                self.announce(EventBody::Progress(view));
            }
            TaskNews::Saved { units } => {
                active.view.saved_ms = Some(self.clock.unix().0);
                active.view.units = active.view.units.max(units);
                let view = active.view.clone();
                self.announce(EventBody::Progress(view));
            }
            TaskNews::Ended(end) => {
                let Some(active) = self.active.remove(&attempt) else { return Ok(()) };
                self.span.units += end.units().0.saturating_sub(active.view.units);
                self.task_ended(active.claim, *end)?;
            }
        }
        Ok(())
    }

    fn task_ended(&mut self, claim: Claim, end: TaskEnd) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let cap = self.settings.storage_cap();
        // A limit of time is part of the checkpoint; continuing from it would reach the limit again.
        let is_over = match &end {
            TaskEnd::Result { .. } | TaskEnd::Hopeless { .. } => true,
            TaskEnd::Unlucky { report, .. } => report.is_some(),
        };
        if is_over {
            fog_runtime::Checkpoint::remove(&checkpoint_path(self.store.folder(), claim.task));
        }
        match end {
            TaskEnd::Result { report, stdout, stderr, files, hash } => {
                let mut outputs = Vec::new();
                let store_all = || -> Result<_, StoreError> {
                    for (path, file) in files {
                        let size = file.size();
                        outputs.push(Output { path, blob: self.store.add_blob(file, cap, now)?, size });
                    }
                    Ok((self.store.add_blob(stdout, cap, now)?, self.store.add_blob(stderr, cap, now)?))
                };
                let (stdout, stderr) = match store_all() {
                    Ok(logs) => logs,
                    Err(error) => {
                        let failed =
                            FailedAttempt { problem: format!("its result could not be stored: {error}"), units: report.units, exit_code: None, logs: None };
                        return self.record_failure(claim, &failed, false);
                    }
                };
                let result = TaskResult {
                    exit_code: 0,
                    units: report.units,
                    active_millis: report.active_millis,
                    memory: report.memory.0,
                    result_hash: hash,
                    stdout,
                    stderr,
                    stdout_dropped: report.stdout_dropped,
                    stderr_dropped: report.stderr_dropped,
                    outputs,
                };
                let state = self.store.finish_task(claim, &result, now)?;
                if state.is_some() {
                    self.announce(EventBody::TaskFinished { job: claim.task.job, index: claim.task.index });
                    self.announce_job(claim.task.job);
                }
                self.announce_end(claim.task.job, state)
            }
            TaskEnd::Hopeless { problem, report, logs } => {
                let failed = self.failed_attempt(problem, report, logs);
                self.record_failure(claim, &failed, true)
            }
            TaskEnd::Unlucky { problem, report, logs } => {
                let failed = self.failed_attempt(problem, report, logs);
                self.record_failure(claim, &failed, false)
            }
        }
    }

    fn failed_attempt(
        &mut self,
        problem: String,
        report: Option<fog_runtime::Report>,
        logs: Option<(fog_store::BlobFile, fog_store::BlobFile)>,
    ) -> FailedAttempt {
        let (cap, now) = (self.settings.storage_cap(), self.clock.unix());
        let logs = logs.and_then(|(out, err)| Some((self.store.add_blob(out, cap, now).ok()?, self.store.add_blob(err, cap, now).ok()?)));
        let exit_code = match report.as_ref().map(|report| &report.outcome) {
            Some(fog_runtime::Outcome::Exited(code)) => Some(*code),
            _ => None,
        };
        FailedAttempt { problem, units: report.map_or(WorkUnits(0), |report| report.units), exit_code, logs }
    }

    fn record_failure(&mut self, claim: Claim, failed: &FailedAttempt, is_hopeless: bool) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let job = self.store.job(claim.task.job)?;
        let tried = self.store.task(claim.task)?.attempts + 1;
        let then = if is_hopeless || tried >= job.file.attempts { Failure::Final } else { Failure::Retry(UnixMillis(now.0 + back_off(tried))) };
        let Some(in_row) = self.store.fail_task(claim, failed, then, now)? else { return Ok(()) };
        let state = self.store.job(claim.task.job)?.state;
        if !state.is_final() && in_row >= MAX_FAILURES_IN_ROW {
            let problem = format!("paused after {in_row} failures in a row; the last: {}", failed.problem);
            self.store.set_job_state(claim.task.job, JobState::Paused, &problem, now)?;
            self.drop_tasks_of(claim.task.job, "the job was paused");
            self.announce(EventBody::Notice(Notice::JobStopped { id: claim.task.job, name: job.file.name, problem: failed.problem.clone() }));
        }
        self.announce_job(claim.task.job);
        self.announce_end(claim.task.job, Some(state))
    }

    fn announce_end(&mut self, id: JobId, state: Option<JobState>) -> Result<(), StoreError> {
        let row = self.store.job(id)?;
        match state {
            Some(JobState::Finished) => self.announce(EventBody::Notice(Notice::JobFinished { id, name: row.file.name })),
            Some(JobState::Failed) => self.announce(EventBody::Notice(Notice::JobFailed { id, name: row.file.name, problem: row.problem })),
            _ => {}
        }
        Ok(())
    }

    /// Ends the workers of a job and puts their tasks back.
    fn drop_tasks_of(&mut self, job: JobId, why: &str) {
        let now = self.clock.unix();
        let ended: Vec<u64> = self.active.iter().filter(|(_, active)| active.claim.task.job == job).map(|(attempt, _)| *attempt).collect();
        for active in ended.iter().filter_map(|attempt| self.active.remove(attempt)) {
            // One last checkpoint, if it comes soon; then the worker goes.
            let (wish, saved) = oneshot::channel();
            let Active { job_task, wishes, .. } = active;
            let asked = wishes.try_send(wish).is_ok();
            self.leaving.spawn(async move {
                if asked {
                    let _ = tokio::time::timeout(LAST_SAVE, saved).await;
                }
                job_task.abort();
            });
            if let Err(error) = self.store.release_task(active.claim, why, now) {
                tracing::error!(%error, "a task could not be put back; it is at the next start");
            }
        }
    }

    fn command(&mut self, command: Command, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let reply = match command {
            Command::Submit { job_file, folder } => return self.submit(job_file, folder.into(), answer),
            Command::SubmitExample { name } => {
                let found = self.config.examples.as_ref().map(|folder| folder.join(&name)).filter(|_| !name.contains(['/', '\\', '.']));
                match found.and_then(|folder| Some((std::fs::read_to_string(folder.join("job.toml")).ok()?, folder))) {
                    Some((text, folder)) => return self.submit(text, folder, answer),
                    None => Err(ApiError {
                        kind: ErrorKind::NotFound,
                        message: format!("there is no example named '{name}'; `fog submit --list-examples` shows them"),
                    }),
                }
            }
            Command::Output { id, index, path } => match query::output(&self.store, id, index, &path) {
                Ok(found) => {
                    tokio::task::spawn_blocking(move || {
                        let reply = found.into_bytes().map(|bytes| Reply::Bytes {
                            mime: crate::assemble::mime_of(&bytes).to_owned(),
                            base64: base64::engine::general_purpose::STANDARD.encode(bytes),
                        });
                        let _ = answer.send(reply);
                    });
                    return;
                }
                Err(error) => Err(error),
            },
            Command::Checkpoint { id } => return self.checkpoint(id, answer),
            Command::ExportCheckpoint { id, index, path } => return self.export_checkpoint(id, index, path.into(), answer),
            Command::Export { id, folder } => {
                let folder = PathBuf::from(folder);
                match query::export_list(&self.store, id, &folder) {
                    Ok(items) => {
                        let whole = query::output(&self.store, id, None, "").ok();
                        let whole =
                            whole.map(|found| (folder.join(if matches!(found, query::Found::Tiles { .. }) { "result.png" } else { "result.txt" }), found));
                        tokio::task::spawn_blocking(move || {
                            let _ = answer.send(query::export(&items, whole));
                        });
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            other => self.answer(other),
        };
        // Nobody waiting means the front end went away; the command was carried out.
        let _ = answer.send(reply);
    }

    fn answer(&mut self, command: Command) -> Result<Reply, ApiError> {
        match command {
            Command::Snapshot => self.snapshot().map(|snapshot| Reply::Snapshot(Box::new(snapshot))),
            Command::SetContributing { on } => {
                self.finishing = false;
                if on {
                    self.set_snooze(None)?;
                }
                self.change_settings(&[("contributing".to_owned(), Some(on.into()))])
            }
            Command::Snooze { minutes } => {
                let until = (minutes > 0).then(|| UnixMillis(self.clock.unix().0 + i64::from(minutes) * 60_000));
                self.set_snooze(until)?;
                Ok(Reply::Done)
            }
            Command::FinishThenStop => {
                self.finishing = self.settings.flag("contributing");
                self.apply_policy();
                Ok(Reply::Done)
            }
            Command::Why { with } => self.why(&with),
            Command::Examples => Ok(Reply::Examples(self.config.examples.as_deref().map(crate::list_examples).unwrap_or_default())),
            Command::Jobs(query) => query::jobs(&self.store, &query),
            Command::Job { id, tasks_from } => query::job(&self.store, id, tasks_from),
            Command::ChangeJob { id, action } => self.change_job(id, action),
            Command::Log { id, index, stderr } => query::log(&self.store, TaskId { job: id, index }, stderr),
            Command::Settings => Ok(Reply::Settings(self.settings.values().clone())),
            Command::SetSettings { changes } => self.set_settings(changes),
            Command::ResetSettings => {
                let all: Vec<_> = fog_api::settings::ALL.iter().filter(|s| s.key != "first_run_done").map(|s| (s.key.to_owned(), None)).collect();
                self.change_settings(&all)
            }
            Command::History { hours, points } => {
                let now = self.clock.unix();
                let since = UnixMillis(now.0 - i64::from(hours.min(24 * 400)) * 3_600_000);
                let samples = self.store.samples(since, now, points.clamp(1, 2000)).map_err(to_api)?;
                Ok(Reply::History(samples.into_iter().map(views::history_point).collect()))
            }
            Command::Doctor => Ok(Reply::Checks(doctor::checks(
                self.rules.readings(),
                self.store.folder(),
                self.config.examples.is_some(),
                self.filter.rejected(),
                self.walls,
            ))),
            Command::Shutdown => {
                self.is_stopping = true;
                Ok(Reply::Done)
            }
            _ => Err(ApiError { kind: ErrorKind::Unsupported, message: "this engine does not know that command".to_owned() }),
        }
    }

    fn submit(&self, text: String, folder: PathBuf, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let (data_folder, cap, to) = (self.store.folder().to_owned(), self.settings.storage_cap(), self.to_self.clone());
        tokio::task::spawn_blocking(move || {
            let prepared = submit::prepare(&text, &folder, &data_folder, cap);
            let _ = to.blocking_send(Message::Prepared(Box::new(prepared), answer));
        });
    }

    /// Names the copied blobs and accepts the job: from here on it is safe.
    fn accept(&mut self, prepared: Prepared) -> Result<Reply, ApiError> {
        let (now, cap) = (self.clock.unix(), self.settings.storage_cap());
        for blob in prepared.copied {
            self.store.add_blob(blob, cap, now).map_err(to_api)?;
        }
        let new = fog_store::NewJob { file: prepared.file, blobs: prepared.blobs, owner: "this device".to_owned(), now };
        let id = self.store.insert_job(&new).map_err(to_api)?;
        let job = views::job_summary(&self.store.job(id).map_err(to_api)?);
        self.announce(EventBody::Job(job.clone()));
        let _ = self.sensors.try_send(SensorOrder::Now);
        Ok(Reply::Submitted { job })
    }

    fn change_job(&mut self, id: JobId, action: JobAction) -> Result<Reply, ApiError> {
        let now = self.clock.unix();
        if action == JobAction::Remove {
            if !self.store.job(id).map_err(to_api)?.state.is_final() {
                return Err(ApiError { kind: ErrorKind::Conflict, message: format!("job {id} has not ended; cancel it first") });
            }
            self.store.remove_jobs(UnixMillis(i64::MAX), Some(id)).map_err(to_api)?;
            self.announce(EventBody::JobRemoved(id));
            return Ok(Reply::Done);
        }
        let to = match action {
            JobAction::Pause => JobState::Paused,
            JobAction::Resume => JobState::Queued,
            JobAction::Cancel | JobAction::Remove => JobState::Cancelled,
        };
        let before = self.store.job(id).map_err(to_api)?.state;
        if before == JobState::Running && to == JobState::Queued {
            return Ok(Reply::Done);
        }
        if !self.store.set_job_state(id, to, "", now).map_err(to_api)? && before.is_final() {
            return Err(ApiError { kind: ErrorKind::Conflict, message: format!("job {id} has already ended ({})", before.as_str()) });
        }
        if to != JobState::Queued {
            self.drop_tasks_of(id, "the job was paused or cancelled");
        }
        self.announce_job(id);
        Ok(Reply::Done)
    }

    /// Saves every running task, then says so.
    fn save_all(&self, done: SyncSender<()>) {
        let asked: Vec<_> = self
            .active
            .values()
            .filter_map(|active| {
                let (wish, saved) = oneshot::channel();
                active.wishes.try_send(wish).ok().map(|()| saved)
            })
            .collect();
        tokio::spawn(async move {
            for saved in asked {
                let _ = tokio::time::timeout(SAVE_PATIENCE, saved).await;
            }
            // Who waits may have given up.
            let _ = done.try_send(());
        });
    }

    /// Asks the running tasks of a job for a checkpoint: what each answers.
    fn ask_to_save(&self, id: JobId, index: Option<u32>) -> Vec<(u32, oneshot::Receiver<Result<u64, String>>)> {
        let of_job = self.active.values().filter(|active| active.claim.task.job == id && index.is_none_or(|index| active.claim.task.index == index));
        of_job
            .filter_map(|active| {
                let (wish, saved) = oneshot::channel();
                active.wishes.try_send(wish).ok().map(|()| (active.claim.task.index, saved))
            })
            .collect()
    }

    fn checkpoint(&self, id: JobId, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let asked = match self.store.job(id) {
            Ok(_) => self.ask_to_save(id, None),
            Err(error) => return drop(answer.send(Err(to_api(error)))),
        };
        if asked.is_empty() {
            let message = format!("no task of job {id} runs now; what was saved when it stopped is kept");
            return drop(answer.send(Err(ApiError { kind: ErrorKind::Conflict, message })));
        }
        let taken_ms = self.clock.unix().0;
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for (index, saved) in asked {
                match tokio::time::timeout(SAVE_PATIENCE, saved).await {
                    Ok(Ok(Ok(units))) => taken.push(CheckpointView { index, units, taken_ms }),
                    Ok(Ok(Err(problem))) => {
                        let message = format!("no checkpoint of task {index}: {problem}");
                        return drop(answer.send(Err(ApiError { kind: ErrorKind::Conflict, message })));
                    }
                    // The task ended meanwhile, or meets no safe point.
                    _ => {}
                }
            }
            let none = || ApiError { kind: ErrorKind::Conflict, message: format!("no task of job {id} could be saved; try again") };
            let _ = answer.send(if taken.is_empty() { Err(none()) } else { Ok(Reply::Checkpoints(taken)) });
        });
    }

    fn export_checkpoint(&self, id: JobId, index: Option<u32>, path: PathBuf, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let prepared = || -> Result<_, ApiError> {
            let job = self.store.job(id).map_err(to_api)?;
            let running = self.active.values().find(|active| active.claim.task.job == id).map(|active| active.claim.task.index);
            let kept = || (0..job.tasks_total).find(|index| checkpoint_path(self.store.folder(), TaskId { job: id, index: *index }).exists());
            let none = || ApiError { kind: ErrorKind::NotFound, message: format!("no task of job {id} has a checkpoint; it has not begun, or has ended") };
            let index = index.or(running).or_else(kept).ok_or_else(none)?;
            let task = TaskId { job: id, index };
            let place = self.place_of(&job, task);
            let spec = tasks::spec_of(&job, index, |id| self.store.blob(id), PathBuf::new(), Percent::FULL).map_err(to_api)?;
            let parts = Parts {
                module: self.store.blob(job.blobs.module).map_err(to_api)?,
                inputs: spec.inputs.into_iter().map(|mount| mount.path).collect(),
                stdin: spec.stdin,
            };
            Ok((index, place, parts, self.ask_to_save(id, Some(index))))
        };
        let (index, place, parts, asked) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return drop(answer.send(Err(error))),
        };
        tokio::spawn(async move {
            for (_, saved) in asked {
                // Without a new one the one on disk is exported.
                let _ = tokio::time::timeout(SAVE_PATIENCE, saved).await;
            }
            let exported = tokio::task::spawn_blocking(move || checkpoints::export(&place, &parts, &path)).await;
            let exported = exported.unwrap_or_else(|e| Err(ApiError { kind: ErrorKind::Bug, message: e.to_string() }));
            let _ = answer.send(exported.map(|(units, taken_ms)| Reply::Checkpoints(vec![CheckpointView { index, units, taken_ms }])));
        });
    }

    fn why(&self, with: &[(String, String)]) -> Result<Reply, ApiError> {
        if with.is_empty() {
            return Ok(Reply::Verdict(views::verdict_view(self.rules.verdict(), &self.clock)));
        }
        let mut readings = self.rules.readings().clone();
        for (key, value) in with {
            readings.set(key, value).map_err(|e| ApiError { kind: ErrorKind::BadInput, message: e.to_string() })?;
        }
        let verdict = Eligibility::dry_run(self.rules.policy().clone(), &readings, self.clock.moment());
        Ok(Reply::Verdict(views::verdict_view(&verdict, &self.clock)))
    }

    fn set_settings(&mut self, changes: BTreeMap<String, Value>) -> Result<Reply, ApiError> {
        let bad = |message: String| ApiError { kind: ErrorKind::BadInput, message };
        let mut checked = Vec::new();
        for (key, value) in changes {
            let setting = fog_api::settings::find(&key).ok_or_else(|| bad(format!("there is no setting '{key}'; `fog settings list` shows them all")))?;
            let value = if value.is_null() { None } else { Some(setting.check(&value).map_err(bad)?) };
            checked.push((key, value));
        }
        self.change_settings(&checked)
    }

    fn change_settings(&mut self, changes: &[(String, Option<Value>)]) -> Result<Reply, ApiError> {
        self.store.set_settings(changes).map_err(to_api)?;
        self.settings = Settings::new(&self.store.settings().map_err(to_api)?);
        self.apply_policy();
        let _ = self.sensors.try_send(SensorOrder::Configure(sensor_config(&self.settings, &self.config)));
        self.announce(EventBody::Settings(self.settings.values().clone()));
        Ok(Reply::Done)
    }

    fn set_snooze(&mut self, until: Option<UnixMillis>) -> Result<(), ApiError> {
        self.store.set_settings(&[(SNOOZE_KEY.to_owned(), until.map(|until| until.0.into()))]).map_err(to_api)?;
        self.snoozed_until = until;
        self.apply_policy();
        Ok(())
    }

    fn apply_policy(&mut self) {
        let until = self.snoozed_until.map(|until| self.clock.to_moment(until));
        self.rules.handle_policy(policy_from(self.settings.values(), until, self.finishing), self.clock.moment());
    }

    fn snapshot(&mut self) -> Result<Snapshot, ApiError> {
        self.announce_status();
        let rows = self.store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).map_err(to_api)?;
        Ok(Snapshot {
            revision: self.revision,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            status: self.last_status.clone(),
            jobs: rows.iter().map(views::job_summary).collect(),
            settings: self.settings.values().clone(),
            data_folder: self.store.folder().display().to_string(),
            attached: false,
        })
    }

    fn announce(&mut self, body: EventBody) {
        self.revision += 1;
        // No listener is fine: the next one asks for a snapshot.
        let _ = self.events.send(Event { revision: self.revision, body });
    }

    fn announce_job(&mut self, id: JobId) {
        if let Ok(row) = self.store.job(id) {
            self.announce(EventBody::Job(views::job_summary(&row)));
        }
    }

    /// Sends the status when anything in it but the time has changed.
    fn announce_status(&mut self) {
        match self.status() {
            Ok(status) => {
                // The time worked moves all the time; it is sent with whatever else changes.
                let today = Today { results: status.today.results, ..self.last_status.today };
                let same = Status { at_ms: self.last_status.at_ms, today, ..status.clone() } == self.last_status;
                if !same {
                    self.last_status = status.clone();
                    self.announce(EventBody::Status(Box::new(status)));
                }
            }
            Err(error) => tracing::error!(%error, "the status cannot be read"),
        }
    }

    fn status(&self) -> Result<Status, StoreError> {
        let now = self.clock.unix();
        let midnight = jiff::Zoned::now().start_of_day().map_or(now.0, |day| day.timestamp().as_millisecond());
        let (worked, units, results) = self.store.totals_since(UnixMillis(midnight))?;
        let next = match self.store.next_task(now)? {
            Some(task) => {
                let job = self.store.job(task.job)?;
                Some(if job.tasks_total == 1 { job.file.name } else { format!("{} {}/{}", job.file.name, task.index + 1, job.tasks_total) })
            }
            None => None,
        };
        Ok(Status {
            contributing: self.settings.flag("contributing"),
            snoozed_until_ms: self.snoozed_until.filter(|until| *until > now).map(|until| until.0),
            verdict: views::verdict_view(self.rules.verdict(), &self.clock),
            active: self.active.values().map(|active| active.view.clone()).collect(),
            next,
            counts: views::counts(&self.store.job_counts()?),
            today: Today { worked_ms: worked + self.span.worked.as_millis() as u64, units: units.0 + self.span.units, results },
            at_ms: now.0,
        })
    }

    /// Adds the time since the last change to the point of history under way.
    fn account(&mut self) {
        let elapsed = self.span.last.elapsed();
        self.span.last = Instant::now();
        let runs = self.active.values().any(|active| !active.view.frozen);
        if runs {
            self.span.worked += elapsed;
            self.span.duty_millis += elapsed.as_secs_f64() * 1000.0 * f64::from(self.duty.borrow().get());
        }
        if self.span.begun.elapsed() >= HISTORY_SPAN {
            self.close_span();
        }
    }

    fn close_span(&mut self) {
        let span = std::mem::replace(&mut self.span, Span { begun: Instant::now(), last: Instant::now(), duty_millis: 0.0, worked: Duration::ZERO, units: 0 });
        let millis = span.begun.elapsed().as_millis().max(1) as u64;
        let readings = self.rules.readings();
        let reason = match self.rules.verdict().stopped_by() {
            Some(reason) => reason.rule.word(),
            None if span.worked.is_zero() => "idle",
            None => "",
        };
        let now = self.clock.unix();
        let sample = Sample {
            at: now,
            span_millis: millis,
            duty: Percent::new((span.duty_millis / millis as f64) as u8),
            worked_millis: span.worked.as_millis() as u64,
            units: WorkUnits(span.units),
            cpu_temp: readings.cpu_temp.map(f64::from),
            battery: readings.battery.map(f64::from),
            other_cpu: readings.other_cpu.map(f64::from),
            reason: reason.to_owned(),
        };
        if let Err(error) = self.store.add_sample(&sample, UnixMillis(now.0 - HISTORY_KEPT_MILLIS)) {
            tracing::error!(%error, "history cannot be written");
        }
    }

    /// Deadlines and old jobs, once in ten seconds at most.
    fn chores(&mut self) {
        if self.last_chores.is_some_and(|at| at.elapsed() < QUIET_PACE) {
            return;
        }
        self.last_chores = Some(Instant::now());
        let now = self.clock.unix();
        match self.store.expire_jobs(now) {
            Ok(late) => {
                for id in late {
                    self.drop_tasks_of(id, "the deadline passed");
                    self.announce_job(id);
                    let _ = self.announce_end(id, Some(JobState::Failed));
                }
            }
            Err(error) => tracing::error!(%error, "deadlines cannot be checked"),
        }
        let keep_from = UnixMillis(now.0 - (self.settings.number("keep_finished_days") * 86_400_000.0) as i64);
        if let Err(error) = self.store.remove_jobs(keep_from, None) {
            tracing::error!(%error, "old jobs cannot be removed");
        }
        if self.snoozed_until.is_some_and(|until| until <= now) {
            let _ = self.set_snooze(None);
        }
    }

    /// Refuses new work, ends the workers, puts their tasks back, closes the books.
    fn shutdown(&mut self) {
        let jobs: Vec<JobId> = self.active.values().map(|active| active.claim.task.job).collect();
        for job in jobs {
            self.drop_tasks_of(job, "the engine stopped");
        }
        if self.span.begun.elapsed() > Duration::from_secs(5) {
            self.close_span();
        }
        tracing::info!("the engine has stopped; unfinished tasks wait for the next start");
    }
}

fn sensor_config(settings: &Settings, config: &EngineConfig) -> SensorConfig {
    SensorConfig {
        exclusive_programs: settings.list("exclusive_programs"),
        energy_source: settings.text("energy_source").to_owned(),
        data_folder: config.data_folder.clone(),
    }
}

/// 2^n seconds up to the cap, a quarter more or less so that tasks do not return together.
fn back_off(tried: u32) -> i64 {
    let seconds = 2f64.powi(tried.min(16) as i32).min(MAX_BACK_OFF.as_secs_f64());
    let jitter = 0.75 + f64::from(rand::random::<u16>()) / f64::from(u16::MAX) * 0.5;
    (seconds * jitter * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_with_jitter_up_to_its_cap() {
        for (tried, seconds) in [(1, 2.0), (3, 8.0), (9, 512.0), (40, 512.0)] {
            let millis = back_off(tried) as f64;
            assert!((seconds * 740.0..=seconds * 1260.0).contains(&millis), "{tried}: {millis}");
        }
    }
}
