//! Placement of tasks on devices: collects what is known of the devices for the scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fog_api::{ApiError, PlacementCommand, PlacementView, PlanPoint, Reply};
use fog_grid::{LeaseState, Relation};
use fog_scheduler::{Availability, HOURS, Machine, Settings, Work};
use fog_store::{JobRow, Sample, StoreError};
use fog_types::job::{GridOptions, JobFile, Prefer};
use fog_types::{JobId, NodeId, TaskId, UnixMillis};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::directory::Peer;
use crate::effects::Answer;
use crate::exchange::Exchange;
use crate::exchange::errors::ExchangeError;

/// Work units per second of a device that has not reported its speed: a slow laptop.
const USUAL_SPEED: f64 = 5e8;
/// Work units of a task of which nothing is known.
pub(crate) const USUAL_UNITS: f64 = 1e9;
/// Watts of one busy core on mains; on a battery the value includes wear.
const WATTS: f64 = 15.0;
const WATTS_ON_BATTERY: f64 = 45.0;
/// Bytes per second on a local network, on others, and through a relay.
const BANDWIDTH: [f64; 3] = [5e7, 5e6, 1e6];
const HOUR_MILLIS: i64 = 3_600_000;
/// Hours for which a device forecasts its availability.
const AHEAD_HOURS: f64 = 4.0;
/// Most tasks in one plan.
const MAX_PLANNED: u32 = 1000;

/// A task that needs devices.
pub(crate) struct Wanted {
    pub(crate) task: TaskId,
    pub(crate) wants: u32,
    pub(crate) avoid: BTreeSet<NodeId>,
}

fn machine_of(peer: &Peer, reliability: f64) -> Machine {
    let c = &peer.capacity;
    let speed = if c.speed == 0 { USUAL_SPEED } else { c.speed as f64 };
    let bandwidth = match &peer.route {
        Some(route) if route.is_relayed => BANDWIDTH[2],
        Some(route) if route.is_local => BANDWIDTH[0],
        _ => BANDWIDTH[1],
    };
    Machine {
        slots: peer.free(),
        memory: c.memory,
        disk: c.disk,
        speed: speed * f64::from(c.duty.min(100)) / 100.0,
        price: 1.0,
        watts: if c.battery.is_some() { WATTS_ON_BATTERY } else { WATTS },
        reliability,
        availability: f64::from(c.forecast.min(1000)) / 1000.0,
        bandwidth,
    }
}

impl Exchange {
    pub(crate) fn command(&mut self, ctx: &mut Context, command: PlacementCommand, answer: Answer) {
        match command {
            PlacementCommand::Places { id } => {
                let places = self.places(ctx, id);
                ctx.out.answer(answer, places);
            }
            PlacementCommand::Plan { job_file, folder, grid } => {
                self.plan(ctx, &job_file, Path::new(&folder), grid, answer)
            }
            PlacementCommand::PlanJob { id } => self.plan_job(ctx, id, answer),
        }
    }

    /// Devices that can be given work now.
    pub(crate) fn machines(&self, ctx: &Context) -> (Vec<NodeId>, Vec<Machine>) {
        let now = ctx.now_ms();
        let is_candidate = |node: NodeId, peer: &Peer| {
            let is_related = peer.relation.as_ref().is_some_and(|relation| *relation != Relation::Stranger);
            is_related
                && peer.route.is_some()
                && peer.capacity.duty > 0
                && !self.requester.is_resting(node, now)
                && !ctx.is_rationed(node)
        };
        let candidates = ctx.directory.peers.iter().filter(|(node, peer)| is_candidate(**node, peer));
        let machine = |node: NodeId, peer: &Peer| {
            let evidence = ctx.directory.evidence(node);
            let mut machine = machine_of(peer, evidence.reliability());
            // The device's claim of free places is bounded by the evidence about it.
            machine.slots = machine.slots.min(evidence.window().saturating_sub(self.requester.held_by(node)));
            machine
        };
        candidates.map(|(node, peer)| (*node, machine(*node, peer))).unzip()
    }

    /// Devices that can be given work now or later.
    pub(crate) fn lenders(&self, ctx: &Context) -> impl Iterator<Item = NodeId> {
        let is_related =
            |peer: &Peer| peer.relation.as_ref().is_some_and(|relation| *relation != Relation::Stranger);
        ctx.directory
            .peers
            .iter()
            .filter(move |(_, peer)| is_related(peer) && peer.route.is_some() && peer.capacity.slots > 0)
            .map(|(node, _)| *node)
    }

    fn work_of(job: &JobFile, units: f64, input: u64, deadline: f64, group: u32) -> Work {
        Work {
            units,
            memory: job.limits.footprint().0,
            disk: job.limits.disk.0,
            input: input as f64,
            present: Vec::new(),
            deadline: deadline.max(1.0),
            group,
            avoid: Vec::new(),
        }
    }

    /// Selects a device for each task that finds one.
    pub(crate) fn place(
        &self,
        ctx: &Context,
        wanted: &[Wanted],
        jobs: &BTreeMap<JobId, Option<JobRow>>,
    ) -> Result<Vec<(TaskId, NodeId)>, StoreError> {
        let (nodes, mut machines) = self.machines(ctx);
        if wanted.is_empty() || machines.iter().all(|machine| machine.slots == 0) {
            return Ok(Vec::new());
        }
        let now = ctx.clock.unix();
        // Each job's preference decides where its own tasks go. Tasks with the least time choose first.
        let mut by_preference: Vec<(Prefer, Vec<Work>, Vec<TaskId>)> = Vec::new();
        let mut units: BTreeMap<JobId, f64> = BTreeMap::new();
        let holders = self.holders();
        for (group, one) in wanted.iter().enumerate() {
            let Some(Some(job)) = jobs.get(&one.task.job) else { continue };
            let mean = match units.get(&job.id) {
                Some(known) => *known,
                None => {
                    let mean = ctx.store.mean_units(job.id)?.map_or(USUAL_UNITS, |units| units.0 as f64);
                    units.insert(job.id, mean);
                    mean
                }
            };
            let prefer = job.grid.unwrap_or_default().prefer;
            let mut work = Self::work_of(
                &job.file,
                mean,
                1 << 20,
                (job.deadline.0 - now.0) as f64 / 1000.0,
                group as u32,
            );
            work.avoid = nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| one.avoid.contains(node))
                .map(|(at, _)| at)
                .collect();
            let has_it = |node: &NodeId| holders.get(&job.id).is_some_and(|holders| holders.contains(node));
            work.present =
                nodes.iter().enumerate().filter(|(_, node)| has_it(node)).map(|(at, _)| at).collect();
            let at = by_preference.iter().position(|(known, _, _)| *known == prefer).unwrap_or_else(|| {
                by_preference.push((prefer, Vec::new(), Vec::new()));
                by_preference.len() - 1
            });
            let Some((_, works, tasks)) = by_preference.get_mut(at) else { continue };
            for _ in 0..one.wants {
                works.push(work.clone());
                tasks.push(one.task);
            }
        }
        let mut places = Vec::new();
        for (prefer, works, tasks) in by_preference {
            let placed = fog_scheduler::quick(&machines, &works, prefer);
            for (task, at) in tasks.into_iter().zip(placed) {
                let Some((at, node)) = at.and_then(|at| Some((at, *nodes.get(at)?))) else { continue };
                if let Some(machine) = machines.get_mut(at) {
                    machine.slots = machine.slots.saturating_sub(1);
                }
                places.push((task, node));
            }
        }
        Ok(places)
    }

    /// Devices that have the files of each job, because they were lent a task of it.
    fn holders(&self) -> BTreeMap<JobId, BTreeSet<NodeId>> {
        let mut holders: BTreeMap<JobId, BTreeSet<NodeId>> = BTreeMap::new();
        for lease in self
            .requester
            .leases()
            .filter(|lease| !matches!(lease.state, LeaseState::Offered | LeaseState::Lost))
        {
            holders.entry(lease.task.job).or_default().insert(lease.node);
        }
        holders
    }

    /// Plans the placement of a job file's tasks without submitting it.
    pub(crate) fn plan(
        &self,
        ctx: &Context,
        text: &str,
        folder: &Path,
        wish: GridOptions,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let job = match fog_types::job::parse(text) {
            Ok(job) => job,
            // A send fails only when the front end is gone.
            Err(error) => return drop(answer.send(Err(ApiError::of(&error)))),
        };
        let size = |path: &String| std::fs::metadata(folder.join(path)).map_or(0, |about| about.len());
        let input = size(&job.module)
            + job.inputs.values().map(size).sum::<u64>()
            + job.stdin.as_ref().map_or(0, size);
        self.plan_works(
            ctx,
            &job,
            USUAL_UNITS,
            input,
            job.task_count(),
            job.deadline_seconds as f64,
            wish,
            answer,
        );
    }

    /// Plans the placement of a submitted job's unfinished tasks.
    pub(crate) fn plan_job(
        &self,
        ctx: &Context,
        id: JobId,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let found = ctx
            .store
            .job(id)
            .and_then(|job| Ok((ctx.store.mean_units(id)?, job)))
            .map_err(crate::query::to_api);
        let (units, job) = match found {
            Ok((units, job)) => (units.map_or(USUAL_UNITS, |units| units.0 as f64), job),
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Some(wish) = job.grid else {
            return drop(answer.send(Err(ExchangeError::OnlyHere { job: id }.into())));
        };
        let blobs =
            std::iter::once(&job.blobs.module).chain(job.blobs.inputs.values()).chain(&job.blobs.stdin);
        let input = blobs
            .filter_map(|blob| std::fs::metadata(ctx.store.blob(*blob).ok()?).ok())
            .map(|about| about.len())
            .sum();
        let left = (job.deadline.0 - ctx.clock.unix().0) as f64 / 1000.0;
        self.plan_works(
            ctx,
            &job.file,
            units,
            input,
            job.tasks_total - job.tasks_finished,
            left,
            wish,
            answer,
        );
    }

    /// Searches for plans on another thread.
    #[expect(clippy::too_many_arguments, reason = "what a task is like, and how many of it")]
    fn plan_works(
        &self,
        ctx: &Context,
        job: &JobFile,
        units: f64,
        input: u64,
        tasks: u32,
        left: f64,
        wish: GridOptions,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let (nodes, mut machines) = self.machines(ctx);
        // The plan assumes that no other task is lent.
        for (node, machine) in nodes.iter().zip(&mut machines) {
            machine.slots = ctx.directory.peers.get(node).map_or(0, |peer| u32::from(peer.capacity.slots));
        }
        if nodes.is_empty() {
            return drop(answer.send(Err(ExchangeError::NobodyHere.into())));
        }
        let names: Vec<(String, String)> =
            nodes.iter().map(|node| (node.to_string(), ctx.directory.peer_name(*node))).collect();
        let works: Vec<Work> = (0..tasks.min(MAX_PLANNED))
            .flat_map(|index| (0..wish.devices()).map(move |_| index))
            .map(|index| Self::work_of(job, units, input, left, index))
            .collect();
        let total = tasks.saturating_mul(wish.devices());
        tokio::task::spawn_blocking(move || {
            let settings = Settings { population: 60, generations: if works.len() > 200 { 40 } else { 120 } };
            let front = fog_scheduler::plan(&machines, &works, settings, &mut rand::rng());
            let reply = match fog_scheduler::choose(&front, wish.prefer) {
                Some((chosen, why)) if !works.is_empty() => {
                    let waiting = front
                        .get(chosen)
                        .map_or(0, |plan| plan.machine.iter().filter(|machine| machine.is_none()).count())
                        as u32;
                    let points = front.iter().map(|plan| point(plan, &names)).collect();
                    let view = PlacementView {
                        tasks: total,
                        planned: works.len() as u32,
                        waiting,
                        front: points,
                        chosen,
                        prefer: wish.prefer,
                        why,
                    };
                    Ok(Reply::Placement(Box::new(view)))
                }
                _ => Err(ExchangeError::NoTasks.into()),
            };
            let _ = answer.send(reply);
        });
    }

    /// Updates the availability of this device from its history of four weeks, once an hour.
    pub(crate) fn update_availability(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.clock.unix();
        let hour = Some(now.0 / HOUR_MILLIS);
        if self.looked_back != hour {
            let since = UnixMillis(now.0 - 28 * 24 * HOUR_MILLIS);
            self.availability = habits(&ctx.store.samples(since, now, 2000)?);
            self.looked_back = hour;
        }
        Ok(())
    }

    /// Probability in thousandths that this device works in the next hours; 1000 where its history says
    /// nothing.
    pub(crate) fn forecast(&self, ctx: &Context) -> u16 {
        let share = self.availability.forecast(hour_of_week(ctx.clock.unix().0), AHEAD_HOURS).unwrap_or(1.0);
        (share * 1000.0) as u16
    }
}

/// Availability of this device by the hours of the week. An idle device counts as available.
fn habits(samples: &[Sample]) -> Availability {
    let mut hours: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for sample in samples {
        let hour = hours.entry(sample.at.0 / HOUR_MILLIS).or_default();
        let is_held = !matches!(sample.reason.as_str(), "" | "idle");
        hour.0 += sample.span_millis as f64;
        hour.1 +=
            if is_held { sample.worked_millis.min(sample.span_millis) } else { sample.span_millis } as f64;
    }
    let mut availability = Availability::default();
    for (hour, (span, there)) in hours {
        if span > 0.0 {
            availability.record(hour_of_week(hour * HOUR_MILLIS), there / span);
        }
    }
    availability
}

/// Hour of the week in local time; Monday 00:00 is hour 0.
fn hour_of_week(at_ms: i64) -> usize {
    let zoned =
        jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    let day = usize::from(zoned.weekday().to_monday_zero_offset().unsigned_abs());
    (day * 24 + usize::from(zoned.hour().unsigned_abs())) % HOURS
}

fn point(plan: &fog_scheduler::Plan, names: &[(String, String)]) -> PlanPoint {
    let e = plan.estimate;
    let mut shares: BTreeMap<usize, u32> = BTreeMap::new();
    for machine in plan.machine.iter().flatten() {
        *shares.entry(*machine).or_default() += 1;
    }
    let named = shares.into_iter().filter_map(|(machine, count)| {
        names.get(machine).map(|(id, name)| (id.clone(), name.clone(), count))
    });
    PlanPoint {
        seconds: e.seconds,
        cost: e.cost,
        energy: e.energy,
        risk: e.risk,
        unfairness: e.unfairness,
        shares: named.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fog_types::{Percent, WorkUnits};

    #[test]
    fn a_device_with_nothing_to_do_is_there_and_one_that_is_held_back_is_not() {
        // The same two hours of the day for four weeks, in samples of five minutes.
        let now = UnixMillis(1_790_000_000_000 / HOUR_MILLIS * HOUR_MILLIS);
        let sample = |at: i64, worked: u64, reason: &str| Sample {
            at: UnixMillis(at),
            span_millis: 300_000,
            duty: Percent::ZERO,
            worked_millis: worked,
            units: WorkUnits(0),
            cpu_temp: None,
            battery: None,
            other_cpu: None,
            reason: reason.to_owned(),
        };
        let mut samples = Vec::new();
        for day in 1..=28 {
            let morning = now.0 - day * 24 * HOUR_MILLIS;
            let five = |n: i64| n * 300_000 + 1000;
            samples.extend((0..12).map(|n| sample(morning + five(n), 0, "idle")));
            samples.extend((12..24).map(|n| sample(morning + five(n), 0, "in-use")));
            samples.extend((24..36).map(|n| sample(morning + five(n), 150_000, "in-use")));
        }
        let habits = habits(&samples);
        let share = |hours: i64| habits.forecast(hour_of_week(now.0 + hours * HOUR_MILLIS), 1.0).unwrap();
        assert!(
            share(0) > 0.9 && share(1) < 0.1 && (share(2) - 0.5).abs() < 0.1,
            "{} {} {}",
            share(0),
            share(1),
            share(2)
        );
    }

    #[tokio::test]
    async fn a_map_of_very_many_tasks_tells_how_many_there_are() {
        let mut device = crate::test_engine::test_engine();
        let route = fog_transport::Route {
            transport: "memory",
            is_relayed: false,
            is_local: true,
            address: String::new(),
        };
        let capacity = fog_grid::Capacity {
            slots: 4,
            free: 4,
            memory: 64 << 30,
            disk: 1 << 40,
            duty: 100,
            forecast: 1000,
            ..Default::default()
        };
        let peer = Peer { relation: Some(Relation::Lan), route: Some(route), capacity, ..Peer::default() };
        device.engine.ctx.directory.peers.insert(NodeId([1; 32]), peer);
        let text = "version = 1\nname = \"m\"\nmodule = \"m.wasm\"\n[map]\nrange = [0, 1500]\n";
        let (answer, answered) = oneshot::channel();
        device.engine.exchange.plan(
            &device.engine.ctx,
            text,
            Path::new("."),
            GridOptions { replicas: 1, ..GridOptions::default() },
            answer,
        );
        let Reply::Placement(view) = answered.await.unwrap().unwrap() else { panic!("no placement") };
        assert_eq!((view.tasks, view.planned), (1500, MAX_PLANNED));
        assert_eq!(
            view.waiting + view.front[view.chosen].shares.iter().map(|(.., count)| *count).sum::<u32>(),
            view.planned
        );
    }
}
