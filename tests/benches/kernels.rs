//! `cargo xtask bench`: cost of counting, stopping and continuing on a dozen kernels, compared with native
//! builds and a plain engine, the best of interleaved runs.
//!
//! Each kernel computes the same check value everywhere; a row with a different value is marked and does
//! not count.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fog_instrument::{Abilities, accepted, instrument, names};
use fog_runtime::{Control, EngineKind, Observer, Order, Taken, TaskSpec, compile};
use fog_types::{Limits, Percent, WorkUnits};
use wasmtime::{Config, Engine, Linker, Module, OptLevel, Store, WasmFeatures};

/// Name and rounds of each kernel, chosen for some tenths of a second natively.
const KERNELS: [(&str, u32); 13] = [
    ("matmul", 6),
    ("hash", 4),
    ("sieve", 4),
    ("collatz", 1),
    ("sort", 2),
    ("fib", 1),
    ("saxpy", 4),
    ("adler", 4),
    ("scan", 2),
    ("jacobi", 6),
    ("lu", 4),
    ("floyd", 3),
    ("bodies", 3),
];
const RUNS: usize = 5;

/// Way in which a kernel runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Native,
    Plain,
    /// With the engine's own canonical NaNs.
    Canonical,
    Counted,
    /// Counted and able to stop.
    Stopping,
    /// Counted and able to stop, with canonical NaNs, as every job.
    Job,
    /// As a job, from a stop after the first slice to the end, with the whole state restored.
    Restored,
}

const WAYS: [Way; 7] =
    [Way::Native, Way::Plain, Way::Canonical, Way::Counted, Way::Stopping, Way::Job, Way::Restored];

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn main() {
    let (Some(native), Some(module)) = (path("FOG_KERNELS_NATIVE"), path("FOG_KERNELS_WASM")) else {
        println!("kernels: run through `cargo xtask bench`, which builds them");
        return;
    };
    let only = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let bytes = std::fs::read(&module).unwrap();
    let rewritten = |stop, canonical_nans| {
        instrument(&bytes, accepted(), Abilities { stop, canonical_nans, ..Abilities::default() }).unwrap()
    };
    let (counting, stopping, all) = (rewritten(false, false), rewritten(true, false), rewritten(true, true));
    let plain = Engines::new(&bytes, false);
    let canonical = Engines::new(&bytes, true);
    let counted = Engines::new(&counting, false);
    let stoppable = Engines::new(&stopping, false);
    let everything = Engines::new(&all, false);
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("kernels.cwasm");
    std::fs::write(&artifact, compile(&bytes, EngineKind::Compiled).unwrap()).unwrap();
    println!("\nRatios to plain wasmtime: time of the best of {RUNS} interleaved runs.");
    println!(
        "{:<10} {:>10} {:>10} {:>9} {:>11} {:>9} {:>10} {:>10} {:>10}",
        "kernel", "native", "plain", "", "its NaNs", "counted", "stopping", "as a job", "restored"
    );
    let mut ratios: Vec<[f64; 7]> = Vec::new();
    for (name, rounds) in
        KERNELS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        let mut best = [Duration::MAX; 7];
        let mut checks = [const { String::new() }; 7];
        for _ in 0..RUNS {
            for (n, way) in WAYS.into_iter().enumerate() {
                let (took, check) = match way {
                    Way::Native => run_native(&native, name, rounds),
                    Way::Plain => plain.run(name, rounds),
                    Way::Canonical => canonical.run(name, rounds),
                    Way::Counted => counted.run(name, rounds),
                    Way::Stopping => stoppable.run(name, rounds),
                    Way::Job => everything.run(name, rounds),
                    Way::Restored => run_restored(&artifact, name, rounds),
                };
                best[n] = best[n].min(took);
                checks[n] = check;
            }
        }
        if checks.iter().any(|check| *check != checks[0] || check.is_empty()) {
            println!("{name:<10} they disagree: {checks:?}");
            continue;
        }
        let base = best[1].as_secs_f64();
        let row = best.map(|time| time.as_secs_f64() / base);
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        println!(
            "{name:<10} {:>10} {:>10} {:>8.2}× {:>10.2}× {:>8.2}× {:>9.2}× {:>9.2}× {:>9.2}×",
            ms(best[0]),
            ms(best[1]),
            row[0],
            row[2],
            row[3],
            row[4],
            row[5],
            row[6]
        );
        ratios.push(row);
    }
    let mean =
        |n: usize| (ratios.iter().map(|row| row[n].ln()).sum::<f64>() / ratios.len().max(1) as f64).exp();
    let most = |n: usize| ratios.iter().map(|row| row[n]).fold(0.0, f64::max);
    let line = |what: &str, of: &dyn Fn(usize) -> f64| {
        println!(
            "{what:<10} {:>10} {:>10} {:>8.2}× {:>10.2}× {:>8.2}× {:>9.2}× {:>9.2}× {:>9.2}×",
            "",
            "",
            of(0),
            of(2),
            of(3),
            of(4),
            of(5),
            of(6)
        );
    };
    line("mean", &mean);
    line("most", &most);
    println!("targets: counted ≤ 1.15 mean and ≤ 1.6 each, stopping ≤ 1.25 and ≤ 1.8");
    println!(
        "as a job, to plain with the engine's own canonical NaNs: {:.2}×; to native: {:.2}×",
        mean(5) / mean(2),
        mean(5) / mean(0)
    );
    let size = |wasm: &[u8]| format!("{:.0} KiB", wasm.len() as f64 / 1024.0);
    println!(
        "size of the module {}, counted {}, as a job {}; compiled {}, {}, {}",
        size(&bytes),
        size(&counting),
        size(&all),
        size(&plain.compiled()),
        size(&counted.compiled()),
        size(&everything.compiled())
    );
}

fn run_native(program: &Path, name: &str, rounds: u32) -> (Duration, String) {
    let begun = Instant::now();
    let output = Command::new(program).args([name, &rounds.to_string()]).output().unwrap();
    (begun.elapsed(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

struct Engines {
    engine: Engine,
    module: Module,
}

impl Engines {
    fn new(wasm: &[u8], canonical: bool) -> Self {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed).cranelift_nan_canonicalization(canonical);
        config.wasm_features(WasmFeatures::MULTI_MEMORY, true).wasm_branch_hinting(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        Self { engine, module }
    }

    fn compiled(&self) -> Vec<u8> {
        self.module.serialize().unwrap()
    }

    fn run(&self, name: &str, rounds: u32) -> (Duration, String) {
        let mut linker = Linker::new(&self.engine);
        let mut store = Store::new(&self.engine, 0_i64);
        // Grants slices like the runtime.
        linker.func_wrap(names::MODULE, names::CHECK, |left: i64| left + 5_000_000).unwrap();
        // The kernels themselves call no imports.
        linker.define_unknown_imports_as_traps(&self.module).unwrap();
        let instance = linker.instantiate(&mut store, &self.module).unwrap();
        let kernel = instance.get_typed_func::<u32, u64>(&mut store, &format!("kernel_{name}")).unwrap();
        let begun = Instant::now();
        let check = kernel.call(&mut store, rounds).unwrap();
        (begun.elapsed(), check.to_string())
    }
}

/// Stops once after the first slice, and measures the rest.
fn run_restored(artifact: &Path, name: &str, rounds: u32) -> (Duration, String) {
    let spec = TaskSpec {
        artifact: artifact.to_owned(),
        engine: EngineKind::Compiled,
        program: "kernels".to_owned(),
        args: vec![name.to_owned(), rounds.to_string()],
        env: vec![],
        stdin: None,
        inputs: vec![],
        limits: Limits {
            memory: fog_types::ByteCount(256 << 20),
            units: WorkUnits(1 << 50),
            wall_seconds: 600,
            ..Limits::default()
        },
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    };
    let out = Arc::new(Mutex::new(Vec::new()));
    let since = Arc::new(Mutex::new(None));
    let once = Once { since: Arc::clone(&since), asked: false };
    let (report, _) =
        fog_runtime::run(&spec, None, Box::new(Printed(Arc::clone(&out))), Box::new(once), || {}).unwrap();
    assert_eq!(report.outcome, fog_runtime::Outcome::Exited(0));
    let took = since.lock().unwrap().map_or(Duration::MAX, |since: Instant| since.elapsed());
    (took, String::from_utf8_lossy(&out.lock().unwrap()).trim().to_owned())
}

struct Printed(Arc<Mutex<Vec<u8>>>);

impl Observer for Printed {
    fn output(&mut self, _stderr: bool, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn progress(&mut self, _permille: u16) {}
}

struct Once {
    since: Arc<Mutex<Option<Instant>>>,
    asked: bool,
}

impl Control for Once {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        if self.asked {
            return Order::Go;
        }
        self.asked = true;
        Order::Save { whole: true }
    }

    fn save(&mut self, snapshot: Result<Taken<'_>, String>) {
        snapshot.unwrap().snapshot().unwrap();
        *self.since.lock().unwrap() = Some(Instant::now());
    }
}
