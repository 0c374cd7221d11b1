//! Event loop of the simulation in virtual time.

mod lenders;
mod placement;
mod requesters;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

use fog_grid::{AcceptanceRule, Answer, Evidence, LeaseId, Replication, Requester, WorkerState};
use fog_types::{JobId, NodeId, TaskId, WorkUnits};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::device::{Device, Liars};
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
/// Size of a checkpoint in bytes.
const STATE: u64 = 256 << 10;

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
