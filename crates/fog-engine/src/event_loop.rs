//! Event loop: the one place where state changes.

#[cfg(test)]
mod blocking_tests;
#[cfg(test)]
pub(crate) mod driven_tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use fog_api::{ActiveTask, ApiError, Event, MemoryWait, Status};
use fog_eligibility::{Eligibility, Filter};
use fog_grid::Identity;
use fog_probes::{SensorConfig, SensorFault};
use fog_runtime::SandboxStatus;
use fog_store::{Claim, Rank, Store};
use fog_types::{JobId, Percent, TaskId, UnixMillis, WorkUnits};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::chat::Chat;
use crate::clock::Clock;
use crate::context::Context;
use crate::directory::Directory;
use crate::duty::keep_awake::KeepAwake;
use crate::duty::owner_requests::Unstored;
use crate::duty::policy::{Settings, policy_from};
use crate::duty::sensors::{self, Sample, SensorOrder};
use crate::effects::{Effect, Effects};
use crate::grid::Grid;
use crate::handle::EngineConfig;
use crate::keychain::checkpoint_key;
use crate::message::EngineMessage;
use crate::tasks::checkpoints::SaveRequest;
use crate::tasks::cleanup;
use crate::tasks::estimates::Estimates;

/// Interval of sampling while there is something to run; `QUIET_PACE` applies otherwise.
pub(crate) const BUSY_PACE: Duration = Duration::from_secs(1);
pub(crate) const QUIET_PACE: Duration = Duration::from_secs(10);
/// Time for chat to say goodbye and to end its links when the engine stops.
pub(crate) const CHAT_ENDS: Duration = Duration::from_secs(4);
/// Key of the end of a pause by hand among the stored settings.
pub(crate) const SNOOZE_KEY: &str = "_snoozed_until_ms";
/// Key of the state of both clocks at the last run.
pub(crate) const CLOCK_KEY: &str = "_clock";
/// Key that exists while no new tasks are started and contributing ends with the running ones. Its value
/// lists these tasks as pairs of job and index.
pub(crate) const FINISHING_KEY: &str = "_finishing";

/// Reads the tasks from the value of [`FINISHING_KEY`].
pub(crate) fn tasks_in(value: &Value) -> Vec<TaskId> {
    let task = |pair: &Value| Some(TaskId { job: JobId(pair.get(0)?.as_u64()?), index: u32::try_from(pair.get(1)?.as_u64()?).ok()? });
    value.as_array().into_iter().flatten().filter_map(task).collect()
}

pub(crate) struct Engine {
    pub(crate) ctx: Context,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) snoozed_until: Option<UnixMillis>,
    pub(crate) finishing: bool,
    /// Tasks that a restarted run still has to finish and has not started again.
    pub(crate) to_finish: Vec<TaskId>,
    pub(crate) filter: Filter,
    /// Sensors that are missing in the newest sample.
    pub(crate) sensor_faults: Vec<SensorFault>,
    pub(crate) sensors: SyncSender<SensorOrder>,
    pub(crate) awake: KeepAwake,
    pub(crate) active: BTreeMap<u64, Active>,
    /// Jobs whose estimate is awaited.
    pub(crate) estimates: Estimates,
    /// Duty of work outside the queue of tasks: estimates and replayed segments.
    pub(crate) duty: watch::Sender<Percent>,
    /// Duty of an estimate that the owner asked for now.
    pub(crate) requested_duty: watch::Sender<Percent>,
    /// Jobs that run regardless of other programs, until they end.
    pub(crate) run_now: BTreeSet<JobId>,
    /// Jobs that were passed over for lack of memory.
    pub(crate) memory_waits: Vec<MemoryWait>,
    pub(crate) last_status: Status,
    pub(crate) last_status_at: Option<Instant>,
    /// Whether something has changed since the last status.
    pub(crate) is_status_due: bool,
    pub(crate) span: Span,
    pub(crate) last_chores: Option<Instant>,
    pub(crate) last_trim: Option<Instant>,
    pub(crate) last_measured: Option<Instant>,
    pub(crate) told_sensors: Duration,
    /// Workers that take a last checkpoint before they end.
    pub(crate) leaving: BTreeMap<TaskId, JoinHandle<Option<WorkUnits>>>,
    pub(crate) walls: Option<SandboxStatus>,
    pub(crate) grid: Grid,
    pub(crate) chat: Chat,
    /// Work units per second of a task at full duty, as last measured; 0 before.
    pub(crate) speed: u64,
    /// Hours of the week in which this device worked.
    pub(crate) availability: fog_scheduler::Availability,
    /// Hour in which the availability was last updated.
    pub(crate) looked_back: Option<i64>,
    pub(crate) recording: VecDeque<crate::tasks::recording::Recording>,
    /// Reason why the engine ends by itself.
    pub(crate) gone: watch::Sender<Option<ApiError>>,
}

/// A task that runs in a worker.
pub(crate) struct Active {
    pub(crate) claim: Claim,
    pub(crate) view: ActiveTask,
    pub(crate) memory: u64,
    /// Additional memory until the task runs: a compiler may take more, and a restored state comes on top.
    pub(crate) starting: u64,
    /// Whether the job belongs to another device.
    pub(crate) is_hosted: bool,
    /// Priority of the job.
    pub(crate) rank: Rank,
    pub(crate) duty: watch::Sender<Percent>,
    pub(crate) pid: Option<u32>,
    pub(crate) running_since: Option<Instant>,
    pub(crate) worked: Duration,
    pub(crate) mean_units: Option<WorkUnits>,
    /// Whether a checkpoint was taken since the task started.
    pub(crate) has_advanced: bool,
    pub(crate) job_task: AbortHandle,
    pub(crate) wishes: mpsc::Sender<SaveRequest>,
}

impl Active {
    /// Memory in bytes that the task takes from the lent memory.
    pub(crate) fn charge(&self) -> u64 {
        self.memory.saturating_add(self.starting)
    }

    /// Time for which the task has run in this attempt.
    pub(crate) fn worked(&self) -> Duration {
        self.worked + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Current point of the history.
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) last: Instant,
    pub(crate) duty_millis: f64,
    pub(crate) worked: Duration,
    pub(crate) units: u64,
    pub(crate) stored: StoredSpan,
}

/// Stored part of the current point.
pub(crate) struct StoredSpan {
    /// Time that names the row of the point.
    pub(crate) at: Option<UnixMillis>,
    /// Time at which that row was begun or last checked.
    pub(crate) since: Instant,
    pub(crate) worked: Duration,
    pub(crate) units: u64,
}

impl Span {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        let stored = StoredSpan { at: None, since: now, worked: Duration::ZERO, units: 0 };
        Self { begun: now, last: now, duty_millis: 0.0, worked: Duration::ZERO, units: 0, stored }
    }
}

impl Engine {
    pub(crate) fn new(
        config: EngineConfig,
        mut store: Store,
        clock: Clock,
        to_self: mpsc::Sender<EngineMessage>,
        events: broadcast::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let stored = store.settings()?;
        let saved = stored.get(CLOCK_KEY).and_then(|state| serde_json::from_value(state.clone()).ok());
        let shift = clock.resume(saved.as_ref());
        let now = clock.unix();
        if shift != 0 {
            tracing::warn!(millis = shift, "the calendar was set since the last run; what waits moves with it");
            store.shift_times(shift)?;
            cleanup::shift_times(store.folder(), shift);
        }
        let recovered = store.recover(now)?;
        let lost = store.sweep_blobs()?;
        if lost > 0 {
            tracing::warn!(lost, "stored files that the database does not know were moved to the folder 'set-aside'");
        }
        cleanup::sweep_arrivals(store.folder());
        if recovered > 0 {
            tracing::info!(recovered, "tasks of the last run go back to the queue");
        }
        let settings = Settings::new(&stored);
        let snoozed_until = stored.get(SNOOZE_KEY).and_then(Value::as_i64).map(|until| UnixMillis(until.saturating_add(shift)));
        let snoozed_until = snoozed_until.filter(|until| *until > now);
        let sensors = sensors::start(sensor_config(&settings, &config), config.device.clone(), to_self.clone())?;
        let finishing = stored.contains_key(FINISHING_KEY) && settings.flag("contributing");
        let policy = policy_from(settings.values(), snoozed_until.map(|until| clock.to_moment(until)), finishing);
        let (duty, requested_duty) = (watch::Sender::new(Percent::ZERO), watch::Sender::new(Percent::ZERO));
        // Without a key, checkpoints would not be encrypted: none are taken, and the log, the status and
        // `fog doctor` say so.
        let key = checkpoint_key(store.folder(), true).inspect_err(|error| tracing::error!(%error, "no checkpoints: their key cannot be had"));
        let key_problem = key.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let key = key.ok().flatten();
        let grid = Grid::new(key.as_ref());
        let identity = key.as_ref().map(|key| Identity::new(&blake3::derive_key("fog-compute 2026-11 identity of this device", key.as_slice())));
        let ctx = Context {
            config,
            store,
            clock,
            to_self,
            out: Effects::default(),
            settings,
            unstored: Unstored::default(),
            rules: Eligibility::new(policy),
            key,
            key_problem,
            identity,
            directory: Directory::default(),
            net: None,
            began: Instant::now(),
            is_stopping: false,
        };
        let mut this = Self {
            ctx,
            events,
            snoozed_until,
            finishing,
            to_finish: if finishing { stored.get(FINISHING_KEY).map(tasks_in).unwrap_or_default() } else { Vec::new() },
            filter: Filter::default(),
            sensor_faults: Vec::new(),
            sensors,
            awake: KeepAwake::default(),
            active: BTreeMap::new(),
            estimates: Estimates::default(),
            duty,
            requested_duty,
            run_now: crate::tasks::run_now::stored(&stored),
            memory_waits: Vec::new(),
            last_status: Status::default(),
            last_status_at: None,
            is_status_due: true,
            span: Span::begin(),
            last_chores: None,
            last_trim: None,
            last_measured: None,
            told_sensors: Duration::ZERO,
            leaving: BTreeMap::new(),
            walls: None,
            grid,
            chat: Chat::default(),
            speed: 0,
            availability: fog_scheduler::Availability::default(),
            looked_back: None,
            recording: VecDeque::new(),
            gone: watch::Sender::new(None),
        };
        this.start_grid()?;
        this.grid.traffic.move_by(shift, now);
        this.chat.clock_was_set(&mut this.ctx, shift);
        if let Some(until) = this.snoozed_until.filter(|_| shift != 0) {
            this.ctx.store.set_settings(&[(SNOOZE_KEY.to_owned(), Some(until.0.into()))])?;
        }
        this.remember_clock();
        this.chat.look_at_chat(&mut this.ctx)?;
        Ok(this)
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<EngineMessage>) {
        let (program, to) = (self.ctx.config.worker.clone(), self.ctx.to_self.clone());
        tokio::spawn(async move {
            let walls = fog_runtime::check_walls(&program).await.inspect_err(|error| tracing::warn!(%error, "no worker answers"));
            // A send fails only when the loop is gone.
            let _ = to.send(EngineMessage::SandboxStatus(walls.ok())).await;
        });
        if let Err(error) = crate::duty::sleep::watch(self.ctx.to_self.clone()) {
            tracing::warn!(%error, "nothing is saved when the system goes to sleep");
        }
        while !self.ctx.is_stopping {
            let (timeout, status) = (self.next_timeout(), self.status_due_in());
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                () = tokio::time::sleep(timeout) => {
                    self.ctx.rules.handle_timeout(self.ctx.clock.moment());
                    // The rules react to a new sample, not to the passing of time.
                    let _ = self.sensors.try_send(SensorOrder::Now);
                }
                // Pieces of work are done between messages.
                () = std::future::ready(()), if self.has_pieces() => self.do_piece(),
                // The status is sent below.
                () = tokio::time::sleep(status.unwrap_or_default()), if status.is_some() => {}
            }
            if self.check_folder() {
                self.after_change();
                self.look_at_clock();
            }
            self.drain();
        }
        // From now on nobody answers requests for room.
        self.end_room();
        let chat = self.chat.stop();
        self.record_all();
        self.shutdown();
        if let Some(ended) = chat {
            // Chat gets a moment for its goodbye and for ending its links.
            let _ = tokio::time::timeout(CHAT_ENDS, ended).await;
        }
        for (task, leaving) in std::mem::take(&mut self.leaving) {
            // The task fails only by being dropped.
            if let Ok(Some(units)) = leaving.await {
                self.saved_last(task, units);
            }
        }
        self.save_what_went();
        self.drain();
    }

    /// Carries out the effects of the handlers that have run.
    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.ctx.out.pop() {
            match effect {
                // A send fails only without listeners; the next listener asks for a snapshot.
                Effect::Publish(event) => drop(self.events.send(event)),
                // The front end may be gone.
                Effect::Answer(to, reply) => drop(to.send(*reply)),
                Effect::Send(node, message) => {
                    if let Some(net) = &self.ctx.net {
                        net.say(node, *message);
                    }
                }
                // The thread may have ended.
                Effect::Signal(to) => drop(to.send(())),
            }
        }
    }

    /// Receiver of the reason why the engine ends by itself.
    pub(crate) fn why_gone(&self) -> watch::Receiver<Option<ApiError>> {
        self.gone.subscribe()
    }

    pub(crate) fn handle(&mut self, message: EngineMessage) {
        if !self.check_folder() {
            return self.refuse(message);
        }
        self.look_at_clock();
        match message {
            EngineMessage::SandboxStatus(walls) => self.walls = walls,
            EngineMessage::Measured(other) => self.measured(other),
            EngineMessage::Room(request) => self.answer_room(request),
            EngineMessage::Saved(task, units) => self.saved_last(task, units),
            EngineMessage::WorkerLeft => self.sweep_states(),
            EngineMessage::Sleep(done) => self.save_all(done),
            EngineMessage::Input => self.ctx.rules.handle_input(self.ctx.clock.moment()),
            EngineMessage::Sample(sample) => {
                let now = self.ctx.clock.moment();
                let Sample { mut readings, faults } = *sample;
                // The device does not pause because of a result that it is writing: that got its room.
                readings.disk_free = readings.disk_free.map(|free| free.saturating_add(self.ctx.store.holds().incoming()));
                self.sensor_faults = faults;
                let readings = self.filter.accept(readings, now);
                self.ctx.rules.handle_readings(readings, now);
                self.chores();
            }
            EngineMessage::Task(attempt, news) => {
                if let Err(error) = self.task_news(attempt, news) {
                    tracing::error!(%error, "a task's news could not be stored");
                }
            }
            EngineMessage::Net(news) => {
                if let Err(error) = self.net_news(*news) {
                    tracing::error!(%error, "what came over the network could not be stored");
                }
            }
            EngineMessage::Chat(driver, news) => {
                if let Err(error) = self.chat.chat_news(&mut self.ctx, driver, *news) {
                    tracing::error!(%error, "what was heard in the mesh could not be stored");
                }
            }
            EngineMessage::Estimate(news) => self.estimate_news(*news),
            EngineMessage::Call(command, answer) => self.command(*command, answer),
            EngineMessage::Prepared(prepared, answer) => {
                let reply = prepared.and_then(|prepared| self.accept(prepared));
                self.ctx.out.answer(answer, reply);
            }
            EngineMessage::MovedIn(luggage, answer) => {
                let reply = self.chat.moved_in(&mut self.ctx, *luggage);
                self.ctx.out.answer(answer, reply);
            }
        }
    }

    /// Moves everything that waits for a time when the calendar was set.
    pub(crate) fn look_at_clock(&mut self) {
        let shift = self.ctx.clock.look();
        if shift == 0 {
            return;
        }
        tracing::warn!(millis = shift, "the calendar was set; what waits moves with it");
        if let Err(error) = self.ctx.store.shift_times(shift) {
            tracing::error!(%error, "deadlines could not be moved with the calendar");
        }
        cleanup::shift_times(self.ctx.store.folder(), shift);
        for untaken in self.grid.hosted.values_mut().filter_map(|hosted| hosted.untaken.as_mut()) {
            untaken.since.0 = untaken.since.0.saturating_add(shift);
        }
        let hosted = self.grid.hosted.values_mut().map(|hosted| &mut hosted.deadline);
        let arriving = self.grid.arriving.values_mut().flat_map(|arriving| [&mut arriving.deadline, &mut arriving.until]);
        for deadline in hosted.chain(arriving) {
            deadline.0 = deadline.0.saturating_add(shift);
        }
        for evidence in self.ctx.directory.evidence.values_mut() {
            evidence.at_ms = evidence.at_ms.saturating_add(shift);
        }
        self.grid.traffic.move_by(shift, self.ctx.clock.unix());
        self.chat.clock_was_set(&mut self.ctx, shift);
        if let Some(at) = &mut self.span.stored.at {
            at.0 = at.0.saturating_add(shift);
        }
        for active in self.active.values_mut() {
            active.rank.deadline.0 = active.rank.deadline.0.saturating_add(shift);
        }
        if let Some(until) = self.snoozed_until {
            self.set_snooze(Some(UnixMillis(until.0.saturating_add(shift))));
        }
        self.remember_clock();
    }

    /// Stores the state of both clocks for the next run.
    pub(crate) fn remember_clock(&mut self) {
        let state = serde_json::to_value(self.ctx.clock.state()).ok();
        if let Err(error) = self.ctx.store.set_settings(&[(CLOCK_KEY.to_owned(), state)]) {
            tracing::error!(%error, "the time cannot be noted");
        }
    }

    pub(crate) fn next_timeout(&self) -> Duration {
        let rules = self.ctx.rules.poll_timeout().map(|(at, _)| Duration::from_millis(at.since(self.ctx.clock.moment())));
        let quiet = if self.grid.is_busy(self.ctx.net.is_some()) { BUSY_PACE } else { QUIET_PACE };
        let quiet = self.ctx.unstored.wait().map_or(quiet, |wait| wait.min(quiet));
        let quiet = self.invites_due_in().map_or(quiet, |wait| wait.min(quiet));
        rules.unwrap_or(quiet).min(quiet).max(Duration::from_millis(5))
    }

    /// Handles the consequences of any change: duties of the workers, new tasks, one event.
    pub(crate) fn after_change(&mut self) {
        self.store_wishes();
        self.account();
        self.set_duties();
        if self.finishing && self.active.is_empty() && self.to_finish.is_empty() {
            self.set_contributing(false);
        }
        self.fill_estimates();
        self.withdraw_held();
        if let Err(error) = self.fill_requested().and_then(|()| self.fill()) {
            tracing::error!(%error, "no task could be started");
        }
        self.answer_invites();
        self.grid_tick();
        if let Err(error) = self.lend() {
            tracing::error!(%error, "tasks could not be given to other devices");
        }
        self.say_hello();
        let is_working = self.active.values().any(|active| !active.view.frozen);
        self.awake.want(is_working && self.ctx.settings.flag("keep_awake") && self.ctx.rules.readings().charging != Some(false));
        let open = self.counts();
        let has_work = !self.active.is_empty() || self.estimates.is_busy() || open.queued + open.running > 0;
        let pace = if self.ctx.settings.flag("contributing") && has_work { BUSY_PACE } else { QUIET_PACE };
        // The sensors' queue is full only while they sample; the next change tries again.
        if pace != self.told_sensors && self.sensors.try_send(SensorOrder::Pace(pace)).is_ok() {
            self.told_sensors = pace;
        }
        self.status_changed();
    }

    /// Ends the workers, puts their tasks back and closes the current point of the history.
    pub(crate) fn shutdown(&mut self) {
        self.stop_net();
        let jobs: Vec<JobId> = self.active.values().map(|active| active.claim.task.job).collect();
        for job in jobs {
            self.drop_tasks_of(job, "the engine stopped");
        }
        if self.span.begun.elapsed() > Duration::from_secs(5) {
            self.close_span();
        }
        self.remember_clock();
        self.store_wishes_now();
        tracing::info!("the engine has stopped; unfinished tasks wait for the next start");
    }
}

pub(crate) fn sensor_config(settings: &Settings, config: &EngineConfig) -> SensorConfig {
    SensorConfig {
        exclusive_programs: settings.list("exclusive_programs"),
        unmetered_only: settings.flag("stop_when_metered"),
        energy_source: settings.text("energy_source").to_owned(),
        data_folder: config.data_folder.clone(),
    }
}
