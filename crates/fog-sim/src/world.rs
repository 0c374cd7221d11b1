//! Event loop of the simulation in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

use fog_grid::{
    AcceptanceRule, Answer, Content, ContentId, ContentKey, Decline, Effect, Evidence, LeaseId, Replication,
    Requester, TaskResult, WorkerState,
};
use fog_scheduler::{Machine, Work};
use fog_types::job::Prefer;
use fog_types::{BlobId, JobId, NodeId, TaskId, WorkUnits};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::device::{Device, Liars, Mode, Strategy};
use crate::report::Report;
use crate::wire::Sizes;

/// Milliseconds between bundles of heartbeats; with more a worker would count as silent.
const BUNDLE: u64 = 50_000;
/// Number of heartbeats that the product sends in that time.
const BEATS: u64 = 10;
/// Number of checkpoints that the product sends in that time.
const STATES: u64 = 2;
/// Milliseconds between two checks of the timeouts.
const TICK: u64 = 5_000;
/// Milliseconds that the files of a result travel.
const FETCH: u64 = 1_000;
/// Size of a checkpoint in bytes.
const STATE: u64 = 256 << 10;
/// Maximum number of tasks that are placed at once.
const AT_ONCE: u32 = 64;

/// Scenario of a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Number of devices that lend.
    pub nodes: usize,
    /// Number of tasks, shared out among the requesters.
    pub tasks: u64,
    /// Number of requesters; each knows some of the devices that lend.
    pub requesters: usize,
    /// Number of lending devices that each requester knows.
    pub neighbours: usize,
    /// Mean time of a task in minutes, on a device of a thousand million units per second.
    pub minutes: f64,
    /// Rule by which a result is believed.
    pub choice: AcceptanceRule,
    /// Number of devices that run each task from the start.
    pub replicas: u32,
    /// Lying devices, if any.
    pub liars: Option<Liars>,
    /// Number of virtual days after which the run ends in any case.
    pub days: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

enum ToDevice {
    Offer { from: u32, task: TaskId, lease: LeaseId, begin: f64 },
    Release(LeaseId),
    Receipt,
}

enum ToRequester {
    Answer(LeaseId, Answer),
    Beat {
        lease: LeaseId,
        standing: WorkerState,
        units: u64,
    },
    Saved(LeaseId, u64),
    Result(LeaseId, WorkUnits),
    Hello {
        free: u16,
        works: bool,
    },
    Reach(bool),
    /// Message of the requester to itself: the files of a result have come.
    Checked(LeaseId),
}

enum Event {
    Change(u32),
    Bundle(u32),
    Finish { device: u32, lease: LeaseId, turn: u32 },
    Tick(u32),
    Place(u32),
    ToDevice(u32, ToDevice),
    ToRequester { to: u32, from: u32, what: ToRequester },
}

struct Entry {
    at: u64,
    turn: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

struct Run {
    from: u32,
    task: TaskId,
    lease: LeaseId,
    done: f64,
    saved: f64,
    total: f64,
    since: u64,
    turn: u32,
}

struct Lender {
    device: Device,
    runs: Vec<Run>,
    /// Requesters that know the device, with its index among their neighbours.
    known_by: Vec<(u32, u32)>,
    computed: f64,
    /// Slot-milliseconds in which the device could have worked.
    could: f64,
    since: u64,
    is_bundled: bool,
    receipts: u32,
}

struct Neighbour {
    device: u32,
    free: i32,
    works: bool,
    is_here: bool,
    evidence: Evidence,
}

struct Asker {
    requester: Requester,
    neighbours: Vec<Neighbour>,
    /// Index of each device in `neighbours`.
    places: BTreeMap<u32, u32>,
    units: Vec<f64>,
    is_placing: bool,
}

struct Given {
    is_wrong: bool,
    hash: String,
    units: f64,
}

fn node_of(device: u32) -> NodeId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&device.to_le_bytes());
    NodeId(id)
}

fn device_of(node: NodeId) -> u32 {
    u32::from_le_bytes([node.0[0], node.0[1], node.0[2], node.0[3]])
}

fn content() -> Content {
    Content { id: ContentId([1; 32]), blob: BlobId([2; 32]), size: STATE, key: ContentKey([3; 32]) }
}

struct World {
    scenario: Scenario,
    rng: StdRng,
    now: u64,
    turn: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    lenders: Vec<Lender>,
    askers: Vec<Asker>,
    given: BTreeMap<LeaseId, Given>,
    /// Lying devices that took a task, with their group, by requester and task index.
    told: BTreeMap<(u32, u32), Vec<(u32, usize)>>,
    leases: u64,
    sizes: Sizes,
    bytes: f64,
    state_bytes: f64,
    report: Report,
}

/// Runs a scenario until all tasks are accepted or the time is up.
#[must_use]
pub fn run(scenario: &Scenario) -> Report {
    let begun = Instant::now();
    let mut world = World::new(scenario.clone());
    let limit = (scenario.days * 86_400_000.0) as u64;
    let mut events = 0;
    while world.report.accepted < scenario.tasks {
        let Some(Reverse(entry)) = world.queue.pop() else { break };
        if entry.at > limit {
            break;
        }
        world.now = entry.at;
        world.handle(entry.event);
        events += 1;
    }
    world.finish(events, begun)
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut rng = StdRng::seed_from_u64(scenario.seed);
        let liars = scenario.liars.map_or(0, |liars| (scenario.nodes as f64 * liars.share) as usize);
        let group = scenario.liars.map_or(1, |liars| liars.group.max(1));
        let lenders = (0..scenario.nodes).map(|at| {
            let device = Device::draw(&mut rng, (at < liars).then_some(at / group));
            Lender {
                device,
                runs: Vec::new(),
                known_by: Vec::new(),
                computed: 0.0,
                could: 0.0,
                since: 0,
                is_bundled: false,
                receipts: 0,
            }
        });
        let mut lenders: Vec<Lender> = lenders.collect();
        let mut askers = Vec::new();
        let share = scenario.tasks / scenario.requesters as u64;
        for at in 0..scenario.requesters {
            let mut places = BTreeMap::new();
            let mut neighbours = Vec::new();
            while neighbours.len() < scenario.neighbours.min(scenario.nodes) {
                let device = rng.random_range(0..scenario.nodes) as u32;
                if places.contains_key(&device) {
                    continue;
                }
                places.insert(device, neighbours.len() as u32);
                lenders[device as usize].known_by.push((at as u32, neighbours.len() as u32));
                neighbours.push(Neighbour {
                    device,
                    free: 0,
                    works: false,
                    is_here: false,
                    evidence: Evidence::default(),
                });
            }
            let extra = if at == 0 { scenario.tasks % scenario.requesters as u64 } else { 0 };
            let mut requester = Requester::default();
            let mut units = Vec::new();
            for index in 0..share + extra {
                let choice = match scenario.choice {
                    AcceptanceRule::Adaptive(_) => AcceptanceRule::Adaptive(rng.random()),
                    other => other,
                };
                requester.add(
                    TaskId { job: JobId(1), index: index as u32 },
                    Replication { replicas: scenario.replicas, choice, hopeless: 1 },
                );
                // Most tasks are short and some are long.
                let spread: f64 = (0..4).map(|_| rng.random_range(-1.0..1.0f64)).sum::<f64>() * 0.5;
                units.push(scenario.minutes * 60e9 * spread.exp() * 0.85);
            }
            askers.push(Asker { requester, neighbours, places, units, is_placing: false });
        }
        let mut this = Self {
            rng,
            now: 0,
            turn: 0,
            queue: BinaryHeap::new(),
            lenders,
            askers,
            given: BTreeMap::new(),
            told: BTreeMap::new(),
            leases: 0,
            sizes: Sizes::measure(),
            bytes: 0.0,
            state_bytes: 0.0,
            report: Report { nodes: scenario.nodes, tasks: scenario.tasks, ..Report::default() },
            scenario,
        };
        for device in 0..this.lenders.len() as u32 {
            let at = this.rng.random_range(0..60_000);
            this.at(at, Event::Change(device));
        }
        for asker in 0..this.askers.len() as u32 {
            this.at(TICK, Event::Tick(asker));
        }
        this
    }

    fn at(&mut self, at: u64, event: Event) {
        self.turn += 1;
        self.queue.push(Reverse(Entry { at, turn: self.turn, event }));
    }

    fn travel(&mut self) -> u64 {
        self.now + self.rng.random_range(20..150)
    }

    fn tell(&mut self, device: u32, what: ToDevice) {
        self.bytes +=
            self.sizes.to_device(matches!(what, ToDevice::Offer { .. }), matches!(what, ToDevice::Receipt));
        let at = self.travel();
        self.at(at, Event::ToDevice(device, what));
    }

    fn say(&mut self, device: u32, to: u32, what: ToRequester) {
        self.bytes += match &what {
            ToRequester::Answer(..) => self.sizes.answer,
            ToRequester::Beat { .. } => self.sizes.heartbeat * BEATS as f64,
            ToRequester::Saved(..) => {
                self.state_bytes += (STATE * STATES) as f64;
                self.sizes.saved * STATES as f64
            }
            ToRequester::Result(..) => self.sizes.result,
            ToRequester::Hello { .. } => self.sizes.hello,
            ToRequester::Reach(_) | ToRequester::Checked(_) => 0.0,
        };
        let at = self.travel();
        self.at(at, Event::ToRequester { to, from: device, what });
    }

    fn say_all(&mut self, device: u32, make: impl Fn(&Lender) -> ToRequester) {
        let known_by = self.lenders[device as usize].known_by.clone();
        for (to, _) in known_by {
            let what = make(&self.lenders[device as usize]);
            self.say(device, to, what);
        }
    }

    fn hello(&mut self, device: u32) {
        self.say_all(device, |lender| ToRequester::Hello {
            free: (lender.device.slots as usize).saturating_sub(lender.runs.len()) as u16,
            works: lender.device.mode == Mode::Working,
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Change(device) => self.change(device),
            Event::Bundle(device) => self.bundle(device),
            Event::Finish { device, lease, turn } => self.finished(device, lease, turn),
            Event::Tick(asker) => {
                let requester = &mut self.askers[asker as usize].requester;
                requester.handle_timeout(self.now);
                self.do_effects(asker);
                self.at(self.now + TICK, Event::Tick(asker));
                self.place_soon(asker);
            }
            Event::Place(asker) => self.place(asker),
            Event::ToDevice(device, what) => self.device_heard(device, what),
            Event::ToRequester { to, from, what } => self.requester_heard(to, from, what),
        }
    }

    /// Updates the progress of a device to the current time.
    fn advance(&mut self, device: u32) {
        let now = self.now;
        let lender = &mut self.lenders[device as usize];
        if lender.device.mode == Mode::Working {
            lender.could += (now - lender.since) as f64 * f64::from(lender.device.slots);
            let pace = lender.device.speed * lender.device.duty / 1000.0;
            for run in &mut lender.runs {
                let more = ((now - run.since) as f64 * pace).min(run.total - run.done).max(0.0);
                run.done += more;
                lender.computed += more;
            }
        }
        lender.since = now;
        for run in &mut lender.runs {
            run.since = now;
        }
    }

    /// Schedules the end of each task of a device, as if nothing changed.
    fn foresee(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        if lender.device.mode != Mode::Working {
            return;
        }
        let pace = lender.device.speed * lender.device.duty / 1000.0;
        let mut ends = Vec::new();
        for run in &mut lender.runs {
            run.turn += 1;
            ends.push((((run.total - run.done) / pace).ceil().max(0.0) as u64, run.lease, run.turn));
        }
        for (left, lease, turn) in ends {
            self.at(self.now + left, Event::Finish { device, lease, turn });
        }
    }

    fn change(&mut self, device: u32) {
        self.advance(device);
        let was = self.lenders[device as usize].device.mode;
        let length = self.lenders[device as usize].device.next(self.now as f64, &mut self.rng);
        let is = self.lenders[device as usize].device.mode;
        self.at(self.now + length as u64, Event::Change(device));
        if is == Mode::Gone {
            // In 3 of 10 cases the device goes without warning and loses the work since the last
            // checkpoint.
            let is_sudden = self.rng.random_bool(0.3);
            let lender = &mut self.lenders[device as usize];
            for run in &mut lender.runs {
                if is_sudden {
                    run.done = run.saved;
                } else {
                    run.saved = run.done;
                }
            }
            if was != Mode::Gone {
                self.say_all(device, |_| ToRequester::Reach(false));
            }
            return;
        }
        if was == Mode::Gone {
            self.say_all(device, |_| ToRequester::Reach(true));
        }
        self.foresee(device);
        self.hello(device);
        self.beat(device);
        self.bundle_later(device);
    }

    fn bundle_later(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        if !lender.is_bundled && !lender.runs.is_empty() {
            lender.is_bundled = true;
            self.at(self.now + BUNDLE, Event::Bundle(device));
        }
    }

    fn bundle(&mut self, device: u32) {
        self.lenders[device as usize].is_bundled = false;
        if self.lenders[device as usize].device.mode == Mode::Gone {
            return;
        }
        self.advance(device);
        self.beat(device);
        self.bundle_later(device);
    }

    /// Reports the progress of every task and ships the checkpoints.
    fn beat(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        let standing =
            if lender.device.mode == Mode::Working { WorkerState::Running } else { WorkerState::Paused };
        let mut said = Vec::new();
        for run in &mut lender.runs {
            said.push((run.from, ToRequester::Beat { lease: run.lease, standing, units: run.done as u64 }));
            if run.done > run.saved {
                run.saved = run.done;
                said.push((run.from, ToRequester::Saved(run.lease, run.done as u64)));
            }
        }
        for (to, what) in said {
            self.say(device, to, what);
        }
    }

    fn finished(&mut self, device: u32, lease: LeaseId, turn: u32) {
        self.advance(device);
        let lender = &mut self.lenders[device as usize];
        let Some(at) = lender.runs.iter().position(|run| run.lease == lease && run.turn == turn) else {
            return;
        };
        if lender.device.mode != Mode::Working || lender.runs[at].done + 1.0 < lender.runs[at].total {
            return;
        }
        let run = lender.runs.swap_remove(at);
        let is_wrong = self.lies(device, &run);
        let hash = match (is_wrong, self.lenders[device as usize].device.liars) {
            (true, Some(group)) => format!("wrong {group}"),
            _ => "right".to_owned(),
        };
        self.given.insert(lease, Given { is_wrong, hash, units: run.total });
        self.say(device, run.from, ToRequester::Result(lease, WorkUnits(run.total as u64)));
        self.hello(device);
    }

    fn lies(&self, device: u32, run: &Run) -> bool {
        let (Some(group), Some(liars)) = (self.lenders[device as usize].device.liars, self.scenario.liars)
        else {
            return false;
        };
        match liars.strategy {
            Strategy::Always => true,
            Strategy::Sleeper => self.lenders[device as usize].receipts >= 10,
            Strategy::Patient => self.told.get(&(run.from, run.task.index)).is_some_and(|have| {
                let members: std::collections::BTreeSet<u32> =
                    have.iter().filter(|(_, of)| *of == group).map(|(device, _)| *device).collect();
                members.len() >= 2
            }),
        }
    }

    fn device_heard(&mut self, device: u32, what: ToDevice) {
        if self.lenders[device as usize].device.mode == Mode::Gone {
            return;
        }
        match what {
            ToDevice::Offer { from, task, lease, begin } => {
                let lender = &self.lenders[device as usize];
                let answer = if lender.device.mode != Mode::Working {
                    Answer::Declined(Decline::Resting)
                } else if lender.runs.len() >= lender.device.slots as usize {
                    Answer::Declined(Decline::Full)
                } else {
                    Answer::Accepted
                };
                self.say(device, from, ToRequester::Answer(lease, answer));
                if answer == Answer::Accepted {
                    self.advance(device);
                    if let (Some(group), true) = (
                        self.lenders[device as usize].device.liars,
                        self.scenario.liars.is_some_and(|l| l.strategy == Strategy::Patient),
                    ) {
                        self.told.entry((from, task.index)).or_default().push((device, group));
                    }
                    let total = self.askers[from as usize].units[task.index as usize];
                    let run = Run {
                        from,
                        task,
                        lease,
                        done: begin.min(total),
                        saved: begin.min(total),
                        total,
                        since: self.now,
                        turn: 0,
                    };
                    self.lenders[device as usize].runs.push(run);
                    self.foresee(device);
                    self.bundle_later(device);
                    self.hello(device);
                }
            }
            ToDevice::Release(lease) => {
                self.advance(device);
                let lender = &mut self.lenders[device as usize];
                let before = lender.runs.len();
                lender.runs.retain(|run| run.lease != lease);
                if lender.runs.len() < before {
                    self.hello(device);
                }
            }
            ToDevice::Receipt => self.lenders[device as usize].receipts += 1,
        }
    }

    fn requester_heard(&mut self, to: u32, from: u32, what: ToRequester) {
        let (node, now) = (node_of(from), self.now);
        let asker = &mut self.askers[to as usize];
        let Some(place) = asker.places.get(&from).copied() else { return };
        match what {
            ToRequester::Answer(lease, answer) => {
                if matches!(answer, Answer::Declined(_)) {
                    asker.neighbours[place as usize].free = 0;
                }
                asker.requester.handle_answer(lease, node, answer, now);
            }
            ToRequester::Beat { lease, standing, units } => {
                asker.requester.handle_heartbeat(lease, node, standing, units, None, now);
            }
            ToRequester::Saved(lease, units) => {
                asker.requester.handle_saved(lease, node, units, content(), now)
            }
            ToRequester::Result(lease, units) => {
                let result = TaskResult {
                    lease,
                    worker: node,
                    offer: [0; 32],
                    units,
                    active_ms: 0,
                    memory: 0,
                    hash: String::new(),
                    stdout: (content(), 0),
                    stderr: (content(), 0),
                    outputs: Vec::new(),
                    list: None,
                    history: None,
                };
                asker.requester.handle_result(node, result, now);
            }
            ToRequester::Hello { free, works } => {
                let unanswered = asker.requester.handle_room(node) as i32;
                let neighbour = &mut asker.neighbours[place as usize];
                neighbour.free = i32::from(free) - unanswered;
                neighbour.works = works;
                neighbour.is_here = true;
            }
            ToRequester::Reach(is_here) => {
                asker.neighbours[place as usize].is_here = is_here;
                asker.requester.handle_reach(node, is_here, now);
            }
            ToRequester::Checked(lease) => {
                let hash = self.given.get(&lease).map(|given| given.hash.clone()).unwrap_or_default();
                let Asker { requester, neighbours, places, .. } = asker;
                let evidence = |node: NodeId| {
                    places
                        .get(&device_of(node))
                        .map(|at| neighbours[*at as usize].evidence)
                        .unwrap_or_default()
                };
                requester.handle_checked(lease, Ok(hash), evidence, now);
            }
        }
        self.do_effects(to);
        self.place_soon(to);
    }

    fn do_effects(&mut self, asker: u32) {
        while let Some(effect) = self.askers[asker as usize].requester.poll_effect() {
            match effect {
                Effect::Release { node, lease, .. } => self.tell(device_of(node), ToDevice::Release(lease)),
                Effect::FetchResult { lease, node, .. } => {
                    let what = ToRequester::Checked(lease);
                    self.at(self.now + FETCH, Event::ToRequester { to: asker, from: device_of(node), what });
                }
                Effect::FetchCheckpoint { task, node, units, content, .. } => {
                    self.askers[asker as usize].requester.record_checkpoint(task, units, node, content)
                }
                Effect::Accept { task, leases, wrong } => self.accept(asker, task, &leases, &wrong),
                Effect::Fail { .. } => {}
                Effect::LeaseEnded { node, is_lost, .. } => {
                    let now = self.now as i64;
                    if is_lost && let Some(neighbour) = self.neighbour(asker, node) {
                        neighbour.evidence.saw_lost(now);
                    }
                }
            }
        }
    }

    fn neighbour(&mut self, asker: u32, node: NodeId) -> Option<&mut Neighbour> {
        let asker = &mut self.askers[asker as usize];
        let place = asker.places.get(&device_of(node))?;
        asker.neighbours.get_mut(*place as usize)
    }

    fn accept(&mut self, asker: u32, task: TaskId, right: &[LeaseId], wrong: &[LeaseId]) {
        if !self.askers[asker as usize].requester.has(task) {
            self.report.twice += 1;
            return;
        }
        let now = self.now as i64;
        let nodes: BTreeMap<LeaseId, NodeId> = self.askers[asker as usize]
            .requester
            .leases_of(task)
            .map(|(id, lease)| (id, lease.node))
            .collect();
        let is_wrong =
            right.first().and_then(|lease| self.given.get(lease)).is_some_and(|given| given.is_wrong);
        self.report.accepted += 1;
        self.report.wrong += u64::from(is_wrong);
        self.report.useful += self.askers[asker as usize].units[task.index as usize];
        for (at, lease) in right.iter().chain(wrong).enumerate() {
            if let Some(given) = self.given.remove(lease)
                && at > 0
            {
                self.report.checking += given.units;
            }
            let Some(node) = nodes.get(lease).copied() else { continue };
            if let Some(neighbour) = self.neighbour(asker, node) {
                if at < right.len() && right.len() > 1 {
                    neighbour.evidence.saw_valid(now);
                } else if at < right.len() {
                    neighbour.evidence.saw_unchecked(now);
                } else {
                    neighbour.evidence.saw_invalid(now);
                }
            }
            if at < right.len() {
                self.tell(device_of(node), ToDevice::Receipt);
            }
        }
        self.told.remove(&(asker, task.index));
        self.askers[asker as usize].requester.settle(task, right, wrong);
    }

    fn place_soon(&mut self, asker: u32) {
        let one = &mut self.askers[asker as usize];
        let has_room =
            one.requester.open() > 0 && one.neighbours.iter().any(|n| n.is_here && n.works && n.free > 0);
        if has_room && !one.is_placing {
            one.is_placing = true;
            self.at(self.now + 200, Event::Place(asker));
        }
    }

    fn place(&mut self, asker: u32) {
        let now = self.now;
        let one = &mut self.askers[asker as usize];
        one.is_placing = false;
        let mut machines = Vec::new();
        let mut devices = Vec::new();
        for neighbour in one.neighbours.iter().filter(|n| {
            n.is_here && n.works && n.free > 0 && !one.requester.is_resting(node_of(n.device), now)
        }) {
            let device = &self.lenders[neighbour.device as usize].device;
            devices.push(neighbour.device);
            machines.push(Machine {
                slots: neighbour.free as u32,
                memory: 1 << 40,
                disk: 1 << 40,
                speed: device.speed,
                price: 1.0,
                watts: 15.0,
                reliability: neighbour.evidence.reliability(),
                availability: 1.0,
                bandwidth: 5e6,
            });
        }
        let room: u32 = machines.iter().map(|machine| machine.slots).sum();
        let places: BTreeMap<u32, usize> =
            devices.iter().enumerate().map(|(at, device)| (*device, at)).collect();
        let (mut works, mut tasks) = (Vec::new(), Vec::new());
        for (task, wants, avoid) in one.requester.wanting(room.min(AT_ONCE) as usize, now) {
            let work = Work {
                units: self.scenario.minutes * 60e9,
                memory: 1 << 28,
                disk: 1 << 28,
                input: 1e6,
                present: Vec::new(),
                deadline: 1e9,
                group: task.index,
                avoid: avoid.iter().filter_map(|node| places.get(&device_of(*node)).copied()).collect(),
            };
            for _ in 0..wants {
                works.push(work.clone());
                tasks.push(task);
            }
        }
        let placed = fog_scheduler::quick(&machines, &works, Prefer::Balanced);
        for (task, machine) in tasks.into_iter().zip(placed) {
            let Some(device) = machine.and_then(|at| devices.get(at)).copied() else { continue };
            self.leases += 1;
            let mut lease = [0; 16];
            lease[..8].copy_from_slice(&self.leases.to_be_bytes());
            let lease = LeaseId(lease);
            let one = &mut self.askers[asker as usize];
            let begin = one.requester.checkpoint(task).map_or(0.0, |(units, _)| units as f64);
            one.requester.offered(lease, task, node_of(device), now);
            if let Some(place) = one.places.get(&device) {
                one.neighbours[*place as usize].free -= 1;
            }
            self.tell(device, ToDevice::Offer { from: asker, task, lease, begin });
        }
        self.do_effects(asker);
    }

    fn finish(mut self, events: u64, begun: Instant) -> Report {
        for device in 0..self.lenders.len() as u32 {
            self.advance(device);
        }
        let hours = self.now as f64 / 3.6e6;
        let computed: f64 = self.lenders.iter().map(|lender| lender.computed).sum();
        let could: f64 = self.lenders.iter().map(|lender| lender.could * lender.device.speed / 1000.0).sum();
        let shares: Vec<f64> = self
            .lenders
            .iter()
            .filter(|lender| lender.could > 0.0 && !lender.known_by.is_empty())
            .map(|lender| lender.computed / (lender.could * lender.device.speed / 1000.0))
            .collect();
        let (sum, squares) =
            shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
        let node_hours = self.lenders.len() as f64 * hours.max(1e-9);
        Report {
            hours,
            computed,
            fairness: if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 },
            busy: computed / could.max(1.0),
            bytes_per_node_hour: self.bytes / node_hours,
            state_bytes_per_node_hour: self.state_bytes / node_hours,
            leases_per_task: self.leases as f64 / self.report.accepted.max(1) as f64,
            events,
            seconds: begun.elapsed().as_secs_f64(),
            ..self.report
        }
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
