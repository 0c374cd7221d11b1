//! Event loop: the one place where state changes.

mod accepting;
#[cfg(test)]
mod answers_tests;
mod books;
mod chatting;
mod checking;
mod clocks;
mod commands;
mod crowded;
#[cfg(test)]
mod damaged_tests;
mod estimating;
#[cfg(test)]
mod estimating_tests;
mod finishing;
mod folder;
mod gossip;
mod grouping;
mod hearing;
#[cfg(test)]
mod hosted_tests;
mod hosting;
mod knowing;
mod lending;
mod linking;
mod moving;
mod network;
mod peers;
mod pinging;
mod places;
#[cfg(test)]
mod places_tests;
mod placing;
mod posting;
mod proving;
mod requesting;
mod resting;
mod run_now;
mod saving;
mod scheduling;
mod showing;
mod speaking;
mod states;
#[cfg(test)]
mod states_tests;
mod telling;
#[cfg(test)]
mod turned_tests;
mod untaken;
#[cfg(test)]
mod untaken_tests;
mod wishes;
#[cfg(test)]
mod wishes_tests;

use self::estimating::Estimates;

pub(crate) use checking::SpotCheck;
pub(crate) use estimating::EstimateNews;
pub(crate) use gossip::{Far, Told};
pub(crate) use proving::Proof;
pub(crate) use resting::{Answerable, Failures};
pub(crate) use telling::ToTell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use fog_api::{ActiveTask, ApiError, Command, Event, MemoryWait, Reply, Status};
use fog_eligibility::{Eligibility, Filter};
use fog_probes::{SensorConfig, SensorFault};
use fog_runtime::{Key, Walls};
use fog_store::{Claim, OtherFiles, Rank, Reservation, Store};
use fog_types::{JobId, Percent, TaskId, UnixMillis, WorkUnits};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::awake::Awake;
use crate::chat::{Chat, ChatNews, Luggage};
use crate::checkpoints::SaveWish;
use crate::clock::Clock;
use crate::grid::{Grid, NetNews};
use crate::handle::EngineConfig;
use crate::keychain::checkpoint_key;
use crate::leftovers;
use crate::policy::{Settings, policy_from};
use crate::sensing::{self, Sample, SensorOrder};
use crate::submit::Prepared;
use crate::tasks::TaskNews;

/// Interval of sampling while there is something to run; `QUIET_PACE` applies otherwise.
const BUSY_PACE: Duration = Duration::from_secs(1);
const QUIET_PACE: Duration = Duration::from_secs(10);
/// Time for chat to say goodbye and to end its links when the engine stops.
const CHAT_ENDS: Duration = Duration::from_secs(4);
/// Key of the end of a pause by hand among the stored settings.
const SNOOZE_KEY: &str = "_snoozed_until_ms";
/// Key of the state of both clocks at the last run.
const CLOCK_KEY: &str = "_clock";
/// Key that exists while no new tasks are started and contributing ends with the running ones. Its value
/// lists these tasks as pairs of job and index.
const FINISHING_KEY: &str = "_finishing";

/// Reads the tasks from the value of [`FINISHING_KEY`].
fn tasks_in(value: &Value) -> Vec<TaskId> {
    let task = |pair: &Value| Some(TaskId { job: JobId(pair.get(0)?.as_u64()?), index: u32::try_from(pair.get(1)?.as_u64()?).ok()? });
    value.as_array().into_iter().flatten().filter_map(task).collect()
}

pub(crate) enum Message {
    Call(Box<Command>, oneshot::Sender<Result<Reply, ApiError>>),
    Sample(Box<Sample>),
    Input,
    Task(u64, TaskNews),
    /// The task of a leaving worker was saved at so many units.
    Saved(TaskId, WorkUnits),
    /// The system is about to sleep and waits for the answer.
    Sleep(SyncSender<()>),
    /// Isolation that is available to workers here; `None` when no worker answers.
    Walls(Option<Walls>),
    /// Result of measuring the files beside the stored ones.
    Measured(OtherFiles),
    /// A request for room: bytes on disk that a result still needs.
    Room(u64, oneshot::Sender<Result<Reservation, fog_store::StoreError>>),
    /// News from the network.
    Net(Box<NetNews>),
    /// News from the chat thread with this number.
    Chat(u64, Box<ChatNews>),
    /// News of an estimate.
    Estimate(Box<EstimateNews>),
    Prepared(Box<Result<Prepared, ApiError>>, oneshot::Sender<Result<Reply, ApiError>>),
    /// Identity that was read from a file.
    MovedIn(Box<Result<Luggage, ApiError>>, oneshot::Sender<Result<Reply, ApiError>>),
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
    /// Tasks that a restarted run still has to finish and has not started again.
    to_finish: Vec<TaskId>,
    filter: Filter,
    /// Sensors that are missing in the newest sample.
    sensor_faults: Vec<SensorFault>,
    rules: Eligibility,
    sensors: SyncSender<SensorOrder>,
    awake: Awake,
    active: BTreeMap<u64, Active>,
    /// Jobs whose estimate is awaited.
    estimates: Estimates,
    /// Duty of work outside the queue of tasks: estimates and replayed segments.
    duty: watch::Sender<Percent>,
    /// Duty of an estimate that the owner asked for now.
    requested_duty: watch::Sender<Percent>,
    /// Jobs that run regardless of other programs, until they end.
    run_now: BTreeSet<JobId>,
    /// Jobs that were passed over for lack of memory.
    memory_waits: Vec<MemoryWait>,
    last_status: Status,
    last_status_at: Option<Instant>,
    /// Whether something has changed since the last status.
    is_status_due: bool,
    span: Span,
    last_chores: Option<Instant>,
    last_trim: Option<Instant>,
    last_measured: Option<Instant>,
    told_sensors: Duration,
    /// Workers that take a last checkpoint before they end.
    leaving: BTreeMap<TaskId, JoinHandle<Option<WorkUnits>>>,
    walls: Option<Walls>,
    key: Option<Key>,
    /// Reason why there is no key; empty otherwise.
    key_problem: String,
    grid: Grid,
    chat: Chat,
    /// Work units per second of a task at full duty, as last measured; 0 before.
    speed: u64,
    /// Hours of the week in which this device worked.
    availability: fog_scheduler::Availability,
    /// Hour in which the availability was last updated.
    looked_back: Option<i64>,
    unstored: wishes::Unstored,
    recording: VecDeque<finishing::Recording>,
    is_stopping: bool,
    /// Reason why the engine ends by itself.
    gone: watch::Sender<Option<ApiError>>,
}

/// A task that runs in a worker.
struct Active {
    claim: Claim,
    view: ActiveTask,
    memory: u64,
    /// Additional memory until the task runs: a compiler may take more, and a restored state comes on top.
    starting: u64,
    /// Whether the job belongs to another device.
    is_hosted: bool,
    /// Priority of the job.
    rank: Rank,
    duty: watch::Sender<Percent>,
    pid: Option<u32>,
    running_since: Option<Instant>,
    worked: Duration,
    mean_units: Option<WorkUnits>,
    /// Whether a checkpoint was taken since the task started.
    has_advanced: bool,
    job_task: AbortHandle,
    wishes: mpsc::Sender<SaveWish>,
}

impl Active {
    /// Memory in bytes that the task takes from the lent memory.
    fn charge(&self) -> u64 {
        self.memory.saturating_add(self.starting)
    }

    /// Time for which the task has run in this attempt.
    fn worked(&self) -> Duration {
        self.worked + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Current point of the history.
struct Span {
    begun: Instant,
    last: Instant,
    duty_millis: f64,
    worked: Duration,
    units: u64,
    stored: StoredSpan,
}

/// Stored part of the current point.
struct StoredSpan {
    /// Time that names the row of the point.
    at: Option<UnixMillis>,
    /// Time at which that row was begun or last checked.
    since: Instant,
    worked: Duration,
    units: u64,
}

impl Span {
    fn begin() -> Self {
        let now = Instant::now();
        let stored = StoredSpan { at: None, since: now, worked: Duration::ZERO, units: 0 };
        Self { begun: now, last: now, duty_millis: 0.0, worked: Duration::ZERO, units: 0, stored }
    }
}

impl Core {
    pub(crate) fn new(
        config: EngineConfig,
        mut store: Store,
        clock: Clock,
        to_self: mpsc::Sender<Message>,
        events: broadcast::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let stored = store.settings()?;
        let saved = stored.get(CLOCK_KEY).and_then(|state| serde_json::from_value(state.clone()).ok());
        let shift = clock.resume(saved.as_ref());
        let now = clock.unix();
        if shift != 0 {
            tracing::warn!(millis = shift, "the calendar was set since the last run; what waits moves with it");
            store.shift_times(shift)?;
            leftovers::shift_times(store.folder(), shift);
        }
        let recovered = store.recover(now)?;
        let lost = store.sweep_blobs()?;
        if lost > 0 {
            tracing::warn!(lost, "stored files that the database does not know were moved to the folder 'set-aside'");
        }
        leftovers::sweep_arrivals(store.folder());
        if recovered > 0 {
            tracing::info!(recovered, "tasks of the last run go back to the queue");
        }
        let settings = Settings::new(&stored);
        let snoozed_until = stored.get(SNOOZE_KEY).and_then(Value::as_i64).map(|until| UnixMillis(until.saturating_add(shift)));
        let snoozed_until = snoozed_until.filter(|until| *until > now);
        let sensors = sensing::start(sensor_config(&settings, &config), config.device.clone(), to_self.clone())?;
        let finishing = stored.contains_key(FINISHING_KEY) && settings.flag("contributing");
        let policy = policy_from(settings.values(), snoozed_until.map(|until| clock.to_moment(until)), finishing);
        let (duty, requested_duty) = (watch::Sender::new(Percent::ZERO), watch::Sender::new(Percent::ZERO));
        // Without a key, checkpoints would not be encrypted: none are taken, and the log, the status and
        // `fog doctor` say so.
        let key = checkpoint_key(store.folder(), true).inspect_err(|error| tracing::error!(%error, "no checkpoints: their key cannot be had"));
        let key_problem = key.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let key = key.ok().flatten();
        let grid = Grid::new(key.as_ref());
        let mut this = Self {
            config,
            store,
            clock,
            to_self,
            events,
            revision: 0,
            settings,
            snoozed_until,
            finishing,
            to_finish: if finishing { stored.get(FINISHING_KEY).map(tasks_in).unwrap_or_default() } else { Vec::new() },
            filter: Filter::default(),
            sensor_faults: Vec::new(),
            rules: Eligibility::new(policy),
            sensors,
            awake: Awake::default(),
            active: BTreeMap::new(),
            estimates: Estimates::default(),
            duty,
            requested_duty,
            run_now: run_now::stored(&stored),
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
            key,
            key_problem,
            grid,
            chat: Chat::default(),
            speed: 0,
            availability: fog_scheduler::Availability::default(),
            looked_back: None,
            unstored: wishes::Unstored::default(),
            recording: VecDeque::new(),
            is_stopping: false,
            gone: watch::Sender::new(None),
        };
        this.start_grid()?;
        this.grid.traffic.move_by(shift, now);
        this.chat.moved = shift;
        if let Some(until) = this.snoozed_until.filter(|_| shift != 0) {
            this.store.set_settings(&[(SNOOZE_KEY.to_owned(), Some(until.0.into()))])?;
        }
        this.remember_clock();
        this.look_at_chat()?;
        Ok(this)
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let (program, to) = (self.config.worker.clone(), self.to_self.clone());
        tokio::spawn(async move {
            let walls = fog_runtime::check_walls(&program).await.inspect_err(|error| tracing::warn!(%error, "no worker answers"));
            // A send fails only when the loop is gone.
            let _ = to.send(Message::Walls(walls.ok())).await;
        });
        if let Err(error) = crate::sleep::watch(self.to_self.clone()) {
            tracing::warn!(%error, "nothing is saved when the system goes to sleep");
        }
        while !self.is_stopping {
            let (timeout, status) = (self.next_timeout(), self.status_due_in());
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                () = tokio::time::sleep(timeout) => {
                    self.rules.handle_timeout(self.clock.moment());
                    // The rules react to a new sample, not to the passing of time.
                    let _ = self.sensors.try_send(SensorOrder::Now);
                }
                // Pieces of work are done between messages.
                () = std::future::ready(()), if self.has_pieces() => self.do_piece(),
                // The status is sent below.
                () = tokio::time::sleep(status.unwrap_or_default()), if status.is_some() => {}
            }
            if self.has_folder() {
                self.after_change();
                self.look_at_clock();
            }
        }
        let chat = self.chat.driver.take().map(crate::chat::Driver::stop);
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
    }

    /// Receiver of the reason why the engine ends by itself.
    pub(crate) fn why_gone(&self) -> watch::Receiver<Option<ApiError>> {
        self.gone.subscribe()
    }

    fn handle(&mut self, message: Message) {
        if !self.has_folder() {
            return self.refuse(message);
        }
        self.look_at_clock();
        match message {
            Message::Walls(walls) => self.walls = walls,
            Message::Measured(other) => self.measured(other),
            Message::Room(bytes, reply) => drop(reply.send(self.make_room(bytes))),
            Message::Saved(task, units) => self.saved_last(task, units),
            Message::Sleep(done) => self.save_all(done),
            Message::Input => self.rules.handle_input(self.clock.moment()),
            Message::Sample(sample) => {
                let now = self.clock.moment();
                let Sample { readings, faults } = *sample;
                self.sensor_faults = faults;
                let readings = self.filter.accept(readings, now);
                self.rules.handle_readings(readings, now);
                self.chores();
            }
            Message::Task(attempt, news) => {
                if let Err(error) = self.task_news(attempt, news) {
                    tracing::error!(%error, "a task's news could not be stored");
                }
            }
            Message::Net(news) => {
                if let Err(error) = self.net_news(*news) {
                    tracing::error!(%error, "what came over the network could not be stored");
                }
            }
            Message::Chat(driver, news) => {
                if let Err(error) = self.chat_news(driver, *news) {
                    tracing::error!(%error, "what was heard in the mesh could not be stored");
                }
            }
            Message::Estimate(news) => self.estimate_news(*news),
            Message::Call(command, answer) => self.command(*command, answer),
            Message::Prepared(prepared, answer) => {
                let reply = prepared.and_then(|prepared| self.accept(prepared));
                let _ = answer.send(reply);
            }
            Message::MovedIn(luggage, answer) => {
                let reply = self.moved_in(*luggage);
                let _ = answer.send(reply);
            }
        }
    }

    /// Moves everything that waits for a time when the calendar was set.
    fn look_at_clock(&mut self) {
        let shift = self.clock.look();
        if shift == 0 {
            return;
        }
        tracing::warn!(millis = shift, "the calendar was set; what waits moves with it");
        if let Err(error) = self.store.shift_times(shift) {
            tracing::error!(%error, "deadlines could not be moved with the calendar");
        }
        leftovers::shift_times(self.store.folder(), shift);
        for untaken in self.grid.hosted.values_mut().filter_map(|hosted| hosted.untaken.as_mut()) {
            untaken.since.0 = untaken.since.0.saturating_add(shift);
        }
        let hosted = self.grid.hosted.values_mut().map(|hosted| &mut hosted.deadline);
        let arriving = self.grid.arriving.values_mut().flat_map(|arriving| [&mut arriving.deadline, &mut arriving.until]);
        for deadline in hosted.chain(arriving) {
            deadline.0 = deadline.0.saturating_add(shift);
        }
        for evidence in self.grid.evidence.values_mut() {
            evidence.at_ms = evidence.at_ms.saturating_add(shift);
        }
        self.grid.traffic.move_by(shift, self.clock.unix());
        self.move_words(shift);
        if self.chat.driver.is_none() {
            // A running chat thread notices the change itself.
            self.chat.moved = self.chat.moved.saturating_add(shift);
        }
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
    fn remember_clock(&mut self) {
        let state = serde_json::to_value(self.clock.state()).ok();
        if let Err(error) = self.store.set_settings(&[(CLOCK_KEY.to_owned(), state)]) {
            tracing::error!(%error, "the time cannot be noted");
        }
    }

    fn next_timeout(&self) -> Duration {
        let rules = self.rules.poll_timeout().map(|(at, _)| Duration::from_millis(at.since(self.clock.moment())));
        let quiet = if self.grid.is_busy() { BUSY_PACE } else { QUIET_PACE };
        let quiet = self.unstored.wait().map_or(quiet, |wait| wait.min(quiet));
        rules.unwrap_or(quiet).min(quiet).max(Duration::from_millis(5))
    }

    /// Handles the consequences of any change: duties of the workers, new tasks, one event.
    fn after_change(&mut self) {
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
        self.grid_tick();
        if let Err(error) = self.lend() {
            tracing::error!(%error, "tasks could not be given to other devices");
        }
        self.say_hello();
        let is_working = self.active.values().any(|active| !active.view.frozen);
        self.awake.want(is_working && self.settings.flag("keep_awake") && self.rules.readings().charging != Some(false));
        let open = self.counts();
        let has_work = !self.active.is_empty() || self.estimates.is_busy() || open.queued + open.running > 0;
        let pace = if self.settings.flag("contributing") && has_work { BUSY_PACE } else { QUIET_PACE };
        // The sensors' queue is full only while they sample; the next change tries again.
        if pace != self.told_sensors && self.sensors.try_send(SensorOrder::Pace(pace)).is_ok() {
            self.told_sensors = pace;
        }
        self.status_changed();
    }

    /// Ends the workers, puts their tasks back and closes the current point of the history.
    fn shutdown(&mut self) {
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

fn sensor_config(settings: &Settings, config: &EngineConfig) -> SensorConfig {
    SensorConfig {
        exclusive_programs: settings.list("exclusive_programs"),
        unmetered_only: settings.flag("stop_when_metered"),
        energy_source: settings.text("energy_source").to_owned(),
        data_folder: config.data_folder.clone(),
    }
}
