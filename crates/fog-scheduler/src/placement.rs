//! Placement of tasks on machines.

use std::collections::BTreeMap;

use fog_types::job::Prefer;
use rand::{Rng, RngExt as _};

use crate::nsga2::{Evaluation, Nsga2, Problem, Settings};

/// Machine that can take tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Number of tasks that run at once.
    pub slots: u32,
    /// Bytes of memory for all tasks together.
    pub memory: u64,
    /// Bytes of disk for all tasks together.
    pub disk: u64,
    /// Work units per second of one task, at the duty that the machine lends.
    pub speed: f64,
    /// Price of a work unit, with 1 as the usual price.
    pub price: f64,
    /// Watts of one busy slot, including the wear of a battery.
    pub watts: f64,
    /// Probability that a task comes back with a valid result, 0 to 1.
    pub reliability: f64,
    /// Share of time in which the machine is expected to work, 0 to 1.
    pub availability: f64,
    /// Bandwidth to the machine in bytes per second.
    pub bandwidth: f64,
}

/// Task to be placed; replicas are separate tasks of the same group.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Number of work units that the task will take.
    pub units: f64,
    /// Maximum bytes of memory of the task.
    pub memory: u64,
    /// Maximum bytes of disk of the task.
    pub disk: u64,
    /// Bytes of input that the task needs on its machine.
    pub input: f64,
    /// Machines that have the input already.
    pub present: Vec<usize>,
    /// Seconds from now within which the task must be done.
    pub deadline: f64,
    /// Group of the task; tasks of one group must be on different machines.
    pub group: u32,
    /// Machines that the task must not go to.
    pub avoid: Vec<usize>,
}

/// Estimate for a placement of all tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds until the last result.
    pub seconds: f64,
    /// Cost as the sum of work units times prices.
    pub cost: f64,
    /// Energy in watt-hours.
    pub energy: f64,
    /// Expected share of tasks that have to be done again, 0 to 1.
    pub risk: f64,
    /// Unevenness of the machines' busy times, 0 to 1: their standard deviation over its sum with the mean.
    pub unfairness: f64,
}

/// Placement of tasks with its estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Machine of each task; `None` if the task waits.
    pub machine: Vec<Option<usize>>,
    /// Estimate for the placement.
    pub estimate: Estimate,
}

struct Placing<'a> {
    machines: &'a [Machine],
    works: &'a [Work],
    /// Machines that each task may go to.
    allowed: Vec<Vec<u32>>,
}

/// Machine of each task, or [`WAITS`].
type Genome = Vec<u32>;
const WAITS: u32 = u32::MAX;

#[derive(Clone, Default)]
struct Load {
    slots: u32,
    memory: u64,
    disk: u64,
    seconds: f64,
}

impl Placing<'_> {
    fn fits(&self, load: &Load, machine: u32, work: &Work) -> bool {
        let m = &self.machines[machine as usize];
        load.slots < m.slots
            && load.memory.saturating_add(work.memory) <= m.memory
            && load.disk.saturating_add(work.disk) <= m.disk
    }

    fn add(&self, load: &mut Load, machine: u32, work: &Work) {
        load.slots += 1;
        load.memory += work.memory;
        load.disk += work.disk;
        load.seconds = load.seconds.max(self.seconds(machine, work));
    }

    /// Returns the seconds until a task is done on a machine: the transfer of its input, then the run at
    /// the machine's availability.
    fn seconds(&self, machine: u32, work: &Work) -> f64 {
        let m = &self.machines[machine as usize];
        let travel =
            if work.present.contains(&(machine as usize)) { 0.0 } else { work.input / m.bandwidth.max(1.0) };
        travel + work.units / (m.speed * m.availability.max(0.01)).max(1.0)
    }

    /// Moves every task that does not fit, or shares a machine with its replica, to another machine or lets
    /// it wait, so that no candidate overcommits a machine.
    fn repair(&self, genome: &mut Genome) {
        let mut loads = vec![Load::default(); self.machines.len()];
        let mut taken: std::collections::BTreeSet<(u32, u32)> = std::collections::BTreeSet::new();
        for (gene, (work, allowed)) in genome.iter_mut().zip(self.works.iter().zip(&self.allowed)) {
            let is_free = |machine: u32, loads: &[Load], taken: &std::collections::BTreeSet<(u32, u32)>| {
                self.fits(&loads[machine as usize], machine, work) && !taken.contains(&(work.group, machine))
            };
            if *gene == WAITS || !is_free(*gene, &loads, &taken) {
                // The search starts at the former machine, so that displaced tasks do not all go to the
                // first machine.
                let from =
                    allowed.partition_point(|machine| *machine < *gene % self.machines.len().max(1) as u32);
                let found = allowed[from..]
                    .iter()
                    .chain(&allowed[..from])
                    .find(|machine| is_free(**machine, &loads, &taken));
                *gene = found.copied().unwrap_or(WAITS);
            }
            if *gene != WAITS {
                self.add(&mut loads[*gene as usize], *gene, work);
                taken.insert((work.group, *gene));
            }
        }
    }

    fn estimate(&self, genome: &Genome) -> Estimate {
        let mut finish: BTreeMap<u32, f64> = BTreeMap::new();
        let (mut last, mut cost, mut energy, mut risk, mut placed) = (0.0f64, 0.0, 0.0, 0.0, 0.0);
        for (gene, work) in genome.iter().zip(self.works).filter(|(gene, _)| **gene != WAITS) {
            let m = &self.machines[*gene as usize];
            let seconds = self.seconds(*gene, work);
            last = last.max(seconds);
            *finish.entry(*gene).or_default() += seconds;
            cost += work.units * m.price;
            energy += m.watts * work.units / m.speed.max(1.0) / 3600.0;
            // A machine that leaves before the task is done loses unsaved work: half a task on average.
            risk += 1.0 - m.reliability * (0.5 + 0.5 * m.availability);
            placed += 1.0;
        }
        let busy: Vec<f64> = finish
            .iter()
            .map(|(machine, seconds)| seconds / f64::from(self.machines[*machine as usize].slots.max(1)))
            .collect();
        let mean = busy.iter().sum::<f64>() / busy.len().max(1) as f64;
        let spread =
            (busy.iter().map(|b| (b - mean) * (b - mean)).sum::<f64>() / busy.len().max(1) as f64).sqrt();
        let unfairness = if mean > 0.0 { (spread / (spread + mean)).min(1.0) } else { 0.0 };
        Estimate {
            seconds: last,
            cost,
            energy,
            risk: if placed > 0.0 { risk / placed } else { 0.0 },
            unfairness,
        }
    }

    /// Returns the violation of a placement: the delays past the deadlines, each as a share of its
    /// deadline. Waiting tasks count as none, as no repaired placement lets a task wait while there is
    /// room.
    fn violation(&self, genome: &Genome) -> f64 {
        let late = |(gene, work): (&u32, &Work)| {
            if *gene == WAITS {
                0.0
            } else {
                ((self.seconds(*gene, work) - work.deadline) / work.deadline.max(1.0)).max(0.0)
            }
        };
        genome.iter().zip(self.works).map(late).sum()
    }

    /// Places the longest tasks first, each on the machine with the least `weight`.
    fn greedy(&self, weight: impl Fn(&Self, u32, &Work, &Load) -> f64) -> Genome {
        let mut order: Vec<usize> = (0..self.works.len()).collect();
        order.sort_by(|a, b| self.works[*b].units.total_cmp(&self.works[*a].units));
        let mut loads = vec![Load::default(); self.machines.len()];
        let mut taken: std::collections::BTreeSet<(u32, u32)> = std::collections::BTreeSet::new();
        let mut genome = vec![WAITS; self.works.len()];
        for at in order {
            let work = &self.works[at];
            let free = self.allowed[at].iter().filter(|m| {
                self.fits(&loads[**m as usize], **m, work) && !taken.contains(&(work.group, **m))
            });
            let best = free.min_by(|a, b| {
                weight(self, **a, work, &loads[**a as usize]).total_cmp(&weight(
                    self,
                    **b,
                    work,
                    &loads[**b as usize],
                ))
            });
            if let Some(machine) = best.copied() {
                self.add(&mut loads[machine as usize], machine, work);
                taken.insert((work.group, machine));
                genome[at] = machine;
            }
        }
        genome
    }

    fn corners(&self) -> Vec<Genome> {
        vec![
            self.greedy(|p, m, work, _| p.seconds(m, work)),
            self.greedy(|p, m, _, _| p.machines[m as usize].price),
            self.greedy(|p, m, _, _| p.machines[m as usize].watts / p.machines[m as usize].speed.max(1.0)),
            self.greedy(|p, m, _, _| {
                -(p.machines[m as usize].reliability * (0.5 + 0.5 * p.machines[m as usize].availability))
            }),
            self.greedy(|p, m, _, load| {
                f64::from(load.slots) / f64::from(p.machines[m as usize].slots.max(1))
            }),
        ]
    }
}

impl Problem<5> for Placing<'_> {
    type Genome = Genome;

    fn random(&self, rng: &mut impl Rng) -> Genome {
        let mut genome: Genome = Vec::with_capacity(self.allowed.len());
        for allowed in &self.allowed {
            genome.push(if allowed.is_empty() { WAITS } else { allowed[rng.random_range(0..allowed.len())] });
        }
        self.repair(&mut genome);
        genome
    }

    fn evaluate(&self, genome: &Genome) -> Evaluation<5> {
        let e = self.estimate(genome);
        Evaluation {
            objectives: [e.seconds, e.cost, e.energy, e.risk, e.unfairness],
            violation: self.violation(genome),
        }
    }

    fn cross(&self, a: &Genome, b: &Genome, rng: &mut impl Rng) -> (Genome, Genome) {
        let (mut x, mut y) = (a.clone(), b.clone());
        for at in 0..x.len() {
            if rng.random_bool(0.5) {
                std::mem::swap(&mut x[at], &mut y[at]);
            }
        }
        (x, y)
    }

    fn mutate(&self, genome: &mut Genome, rng: &mut impl Rng) {
        let count = 1 + genome.len() / 50;
        for _ in 0..count.min(genome.len()) {
            let at = rng.random_range(0..genome.len());
            if let Some(machine) = self.allowed[at].get(rng.random_range(0..self.allowed[at].len().max(1))) {
                genome[at] = *machine;
            }
        }
        self.repair(genome);
    }
}

fn placing<'a>(machines: &'a [Machine], works: &'a [Work]) -> Placing<'a> {
    let allowed = works
        .iter()
        .map(|work| {
            let fits = |at: usize| {
                machines[at].slots > 0
                    && machines[at].memory >= work.memory
                    && machines[at].disk >= work.disk
                    && machines[at].speed > 0.0
            };
            (0..machines.len())
                .filter(|at| !work.avoid.contains(at) && fits(*at))
                .map(|at| at as u32)
                .collect()
        })
        .collect();
    Placing { machines, works, allowed }
}

fn plan_of(placing: &Placing<'_>, genome: &Genome) -> Plan {
    Plan {
        machine: genome.iter().map(|gene| (*gene != WAITS).then_some(*gene as usize)).collect(),
        estimate: placing.estimate(genome),
    }
}

/// Returns the placements that no other one dominates; none overcommits a machine, and tasks without a
/// place wait. The list is empty only if there is nothing to place.
#[must_use]
pub fn plan(machines: &[Machine], works: &[Work], settings: Settings, rng: &mut impl Rng) -> Vec<Plan> {
    if works.is_empty() {
        return Vec::new();
    }
    let placing = placing(machines, works);
    let found = Nsga2::run(&placing, settings, placing.corners(), rng);
    let mut front: Vec<Plan> = found.front().into_iter().map(|one| plan_of(&placing, &one.genome)).collect();
    if front.is_empty() {
        // No placement meets every deadline, so the fastest one is taken.
        front.extend(placing.corners().first().map(|genome| plan_of(&placing, genome)));
    }
    front.sort_by(|a, b| {
        a.estimate.seconds.total_cmp(&b.estimate.seconds).then(a.estimate.cost.total_cmp(&b.estimate.cost))
    });
    front.dedup_by(|a, b| a.estimate == b.estimate);
    front
}

/// Places few tasks at once without a search: the longest first, each on the machine that is best by
/// `prefer`.
#[must_use]
pub fn quick(machines: &[Machine], works: &[Work], prefer: Prefer) -> Vec<Option<usize>> {
    let placing = placing(machines, works);
    let genome = placing.greedy(|p, at, work, load| {
        let m = &p.machines[at as usize];
        let seconds = p.seconds(at, work);
        let safe = m.reliability * (0.5 + 0.5 * m.availability);
        let busy = 1.0 + f64::from(load.slots) / f64::from(m.slots.max(1));
        match prefer {
            Prefer::Fast => seconds,
            Prefer::Cheap => work.units * m.price,
            Prefer::Green => m.watts * work.units / m.speed.max(1.0),
            Prefer::Safe => 1.0 - safe,
            Prefer::Balanced => {
                seconds * busy / safe.max(0.05) * (0.5 + m.price / 2.0) * (0.7 + m.watts / 100.0)
            }
        }
    });
    genome.into_iter().map(|gene| (gene != WAITS).then_some(gene as usize)).collect()
}

/// Chooses a placement of a front; returns its index and the reason in a sentence. Every value is scaled
/// between the best and the worst of the front, and the preferred objective has the most weight.
#[must_use]
pub fn choose(front: &[Plan], prefer: Prefer) -> Option<(usize, String)> {
    let values = |plan: &Plan| {
        let e = &plan.estimate;
        [e.seconds, e.cost, e.energy, e.risk, e.unfairness]
    };
    let bounds: Vec<(f64, f64)> = (0..5)
        .map(|at| {
            front
                .iter()
                .map(|plan| values(plan)[at])
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                    (low.min(value), high.max(value))
                })
        })
        .collect();
    let weights = match prefer {
        Prefer::Balanced => [1.0, 1.0, 1.0, 1.0, 0.5],
        Prefer::Fast => [10.0, 0.5, 0.5, 1.0, 0.2],
        Prefer::Cheap => [0.5, 10.0, 0.5, 1.0, 0.2],
        Prefer::Green => [0.5, 0.5, 10.0, 1.0, 0.2],
        Prefer::Safe => [0.5, 0.5, 0.5, 10.0, 0.2],
    };
    let score = |plan: &Plan| {
        let scaled = values(plan)
            .into_iter()
            .zip(&bounds)
            .map(|(value, (low, high))| if high > low { (value - low) / (high - low) } else { 0.0 });
        scaled.zip(weights).map(|(value, weight)| value * weight).sum::<f64>()
    };
    let (at, best) = front.iter().enumerate().min_by(|a, b| score(a.1).total_cmp(&score(b.1)))?;
    let e = best.estimate;
    let worst = |at: usize| bounds[at].1;
    let why = match prefer {
        _ if front.len() == 1 => format!("the only choice: done in {:.1} s", e.seconds),
        Prefer::Fast => {
            format!("done in {:.1} s; the slowest of the choices takes {:.1} s", e.seconds, worst(0))
        }
        Prefer::Cheap => {
            format!("costs {:.3e} units; the dearest of the choices costs {:.3e}", e.cost, worst(1))
        }
        Prefer::Green => {
            format!("takes {:.2} Wh; the hungriest of the choices takes {:.2} Wh", e.energy, worst(2))
        }
        Prefer::Safe => format!(
            "{:.1} % of the tasks may have to be done again; at worst it would be {:.1} %",
            e.risk * 100.0,
            worst(3) * 100.0
        ),
        Prefer::Balanced => format!(
            "nothing is best and nothing bad: {:.1} s, {:.2} Wh, a risk of {:.1} %",
            e.seconds,
            e.energy,
            e.risk * 100.0
        ),
    };
    Some((at, why))
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
