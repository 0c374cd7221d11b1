//! `cargo xtask bench`: NSGA-II compared with pymoo's at the same budget in one run, and the placement of a
//! thousand tasks on a hundred machines.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::f64::consts::PI;
use std::process::Command;
use std::time::Instant;

use fog_scheduler::{Evaluation, Machine, Nsga2, Problem, Settings, Work, plan, quick};
use fog_types::job::Prefer;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

const POPULATION: usize = 100;
const GENERATIONS: usize = 250;
const SEEDS: u64 = 5;

/// The test problems of Zitzler, Deb and Thiele (2000) and DTLZ2 (Deb et al. 2002), with pymoo's operators:
/// simulated binary crossover (eta 15, probability 0.9) and polynomial mutation (eta 20).
struct Test<const M: usize> {
    name: &'static str,
    variables: usize,
    evaluate: fn(&[f64]) -> [f64; M],
    /// Whether all but the first variable are between -5 and 5, as for ZDT4.
    is_wide: bool,
}

impl<const M: usize> Test<M> {
    fn bounds(&self, at: usize) -> (f64, f64) {
        if self.is_wide && at > 0 { (-5.0, 5.0) } else { (0.0, 1.0) }
    }
}

impl<const M: usize> Problem<M> for Test<M> {
    type Genome = Vec<f64>;

    fn random(&self, rng: &mut impl Rng) -> Vec<f64> {
        (0..self.variables).map(|at| rng.random_range(self.bounds(at).0..=self.bounds(at).1)).collect()
    }

    fn evaluate(&self, x: &Vec<f64>) -> Evaluation<M> {
        Evaluation { objectives: (self.evaluate)(x), violation: 0.0 }
    }

    fn cross(&self, a: &Vec<f64>, b: &Vec<f64>, rng: &mut impl Rng) -> (Vec<f64>, Vec<f64>) {
        let (mut x, mut y) = (a.clone(), b.clone());
        if rng.random_bool(0.9) {
            for at in 0..x.len() {
                if rng.random_bool(0.5) && (a[at] - b[at]).abs() > 1e-14 {
                    let (low, high) = self.bounds(at);
                    let (first, second) = (a[at].min(b[at]), a[at].max(b[at]));
                    let u: f64 = rng.random();
                    let spread = |room: f64| {
                        let beta = 1.0 + 2.0 * room / (second - first);
                        let alpha = 2.0 - beta.powi(-16);
                        // Power of 1/16.
                        let part = if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) };
                        part.sqrt().sqrt().sqrt().sqrt()
                    };
                    let c1 = 0.5 * (first + second - spread(first - low) * (second - first));
                    let c2 = 0.5 * (first + second + spread(high - second) * (second - first));
                    let swap = rng.random_bool(0.5);
                    (x[at], y[at]) = if swap { (c2, c1) } else { (c1, c2) };
                    (x[at], y[at]) = (x[at].clamp(low, high), y[at].clamp(low, high));
                }
            }
        }
        (x, y)
    }

    fn mutate(&self, x: &mut Vec<f64>, rng: &mut impl Rng) {
        let chance = 1.0 / x.len() as f64;
        for (at, value) in x.iter_mut().enumerate() {
            if rng.random_bool(chance) {
                let (low, high) = self.bounds(at);
                let span = high - low;
                let (below, above) = ((*value - low) / span, (high - *value) / span);
                let u: f64 = rng.random();
                let delta = if u < 0.5 {
                    (2.0 * u + (1.0 - 2.0 * u) * (1.0 - below).powi(21)).powf(1.0 / 21.0) - 1.0
                } else {
                    1.0 - (2.0 * (1.0 - u) + 2.0 * (u - 0.5) * (1.0 - above).powi(21)).powf(1.0 / 21.0)
                };
                *value = (*value + delta * span).clamp(low, high);
            }
        }
    }
}

fn tail_mean(x: &[f64]) -> f64 {
    1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64
}

fn zdt() -> Vec<Test<2>> {
    let test = |name, variables, is_wide, evaluate| Test { name, variables, evaluate, is_wide };
    vec![
        test("zdt1", 30, false, |x| {
            let g = tail_mean(x);
            [x[0], g * (1.0 - (x[0] / g).sqrt())]
        }),
        test("zdt2", 30, false, |x| {
            let g = tail_mean(x);
            [x[0], g * (1.0 - (x[0] / g).powi(2))]
        }),
        test("zdt3", 30, false, |x| {
            let g = tail_mean(x);
            [x[0], g * (1.0 - (x[0] / g).sqrt() - x[0] / g * (10.0 * PI * x[0]).sin())]
        }),
        test("zdt4", 10, true, |x| {
            let g = 1.0
                + 10.0 * (x.len() - 1) as f64
                + x[1..].iter().map(|v| v * v - 10.0 * (4.0 * PI * v).cos()).sum::<f64>();
            [x[0], g * (1.0 - (x[0] / g).sqrt())]
        }),
        test("zdt6", 10, false, |x| {
            let f = 1.0 - (-4.0 * x[0]).exp() * (6.0 * PI * x[0]).sin().powi(6);
            let g = 1.0 + 9.0 * (x[1..].iter().sum::<f64>() / (x.len() - 1) as f64).powf(0.25);
            [f, g * (1.0 - (f / g).powi(2))]
        }),
    ]
}

fn dtlz2() -> Test<3> {
    let evaluate = |x: &[f64]| {
        let g = x[2..].iter().map(|v| (v - 0.5) * (v - 0.5)).sum::<f64>();
        let (a, b) = (x[0] * PI / 2.0, x[1] * PI / 2.0);
        [(1.0 + g) * a.cos() * b.cos(), (1.0 + g) * a.cos() * b.sin(), (1.0 + g) * a.sin()]
    };
    Test { name: "dtlz2", variables: 12, evaluate, is_wide: false }
}

/// Returns the exact area or volume that a front dominates below (1.1, 1.1, …), by slices.
fn hypervolume(points: &[Vec<f64>]) -> f64 {
    const REFERENCE: f64 = 1.1;
    let mut inside: Vec<&Vec<f64>> = points.iter().filter(|p| p.iter().all(|v| *v < REFERENCE)).collect();
    let Some(last) = inside.first().map(|p| p.len() - 1) else { return 0.0 };
    inside.sort_by(|a, b| a[last].total_cmp(&b[last]));
    let mut volume = 0.0;
    for at in 0..inside.len() {
        let end = inside.get(at + 1).map_or(REFERENCE, |next| next[last]);
        let height = end - inside[at][last];
        if height > 0.0 {
            let slice: Vec<Vec<f64>> = inside[..=at].iter().map(|p| p[..last].to_vec()).collect();
            volume += height
                * if last == 1 {
                    REFERENCE - slice.iter().map(|p| p[0]).fold(REFERENCE, f64::min)
                } else {
                    hypervolume(&slice)
                };
        }
    }
    volume
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn ours<const M: usize>(test: &Test<M>) -> (f64, f64) {
    let (mut volumes, mut times) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let begun = Instant::now();
        let found = Nsga2::run(
            test,
            Settings { population: POPULATION, generations: GENERATIONS - 1 },
            Vec::new(),
            &mut StdRng::seed_from_u64(seed),
        );
        times.push(begun.elapsed().as_secs_f64());
        volumes.push(hypervolume(
            &found.front().iter().map(|one| one.worth.objectives.to_vec()).collect::<Vec<_>>(),
        ));
    }
    (median(volumes), median(times))
}

const PYMOO: &str = r#"
import json, sys, time
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.optimize import minimize
from pymoo.problems import get_problem
name, population, generations, seeds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
out = []
for seed in range(seeds):
    problem = get_problem(name, n_var=12, n_obj=3) if name == "dtlz2" else get_problem(name)
    begun = time.perf_counter()
    result = minimize(problem, NSGA2(pop_size=population), ("n_gen", generations), seed=seed, verbose=False)
    out.append({"seconds": time.perf_counter() - begun, "front": result.F.tolist()})
print(json.dumps(out))
"#;

fn theirs(python: &str, name: &str) -> (f64, f64) {
    let args = [name.to_owned(), POPULATION.to_string(), GENERATIONS.to_string(), SEEDS.to_string()];
    let output = Command::new(python).arg("-c").arg(PYMOO).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = runs.as_array().unwrap();
    let front =
        |run: &serde_json::Value| -> Vec<Vec<f64>> { serde_json::from_value(run["front"].clone()).unwrap() };
    (
        median(runs.iter().map(|run| hypervolume(&front(run))).collect()),
        median(runs.iter().map(|run| run["seconds"].as_f64().unwrap()).collect()),
    )
}

fn main() {
    println!("NSGA-II, population {POPULATION}, {GENERATIONS} generations, medians of {SEEDS} seeds");
    let dtlz = dtlz2();
    let mut rows: Vec<(&str, (f64, f64))> = zdt().iter().map(|test| (test.name, ours(test))).collect();
    rows.push((dtlz.name, ours(&dtlz)));
    match std::env::var("FOG_PYMOO") {
        Ok(python) => {
            println!(
                "{:8} {:>12} {:>12} {:>9} {:>10} {:>10} {:>8}",
                "problem", "hypervolume", "pymoo", "ratio", "seconds", "pymoo", "faster"
            );
            for (name, (volume, seconds)) in rows {
                let (their_volume, their_seconds) = theirs(&python, name);
                println!(
                    "{name:8} {volume:12.4} {their_volume:12.4} {:9.4} {seconds:10.4} {their_seconds:10.3} {:7.0}×",
                    volume / their_volume,
                    their_seconds / seconds
                );
            }
        }
        Err(_) => rows.iter().for_each(|(name, (volume, seconds))| {
            println!("{name:8} {volume:12.4} {seconds:10.4} s (FOG_PYMOO names no Python with pymoo)")
        }),
    }
    placement();
}

fn placement() {
    let mut rng = StdRng::seed_from_u64(1);
    let machines: Vec<Machine> = (0..100)
        .map(|_| Machine {
            slots: 12,
            memory: 16 << 30,
            disk: 100 << 30,
            speed: rng.random_range(1e8..2e9),
            price: rng.random_range(0.5..2.0),
            watts: rng.random_range(4.0..60.0),
            reliability: rng.random_range(0.5..0.99),
            availability: rng.random_range(0.2..1.0),
            bandwidth: rng.random_range(1e5..1e7),
        })
        .collect();
    let works: Vec<Work> = (0..1000)
        .map(|group| Work {
            units: rng.random_range(1e8..1e10),
            memory: 512 << 20,
            disk: 1 << 30,
            input: 1e6,
            present: Vec::new(),
            deadline: 1e5,
            group,
            avoid: Vec::new(),
        })
        .collect();
    let begun = Instant::now();
    let placed = quick(&machines, &works, Prefer::Balanced);
    println!(
        "1,000 tasks on 100 machines at once: {:.1} ms, {} placed",
        begun.elapsed().as_secs_f64() * 1e3,
        placed.iter().flatten().count()
    );
    let begun = Instant::now();
    let front = plan(&machines, &works, Settings { population: 60, generations: 40 }, &mut rng);
    println!(
        "1,000 tasks on 100 machines, searched: {:.0} ms, a front of {} (target 1,000 ms)",
        begun.elapsed().as_secs_f64() * 1e3,
        front.len()
    );
}
