//! `cargo xtask bench`: what a job costs beside the same program compiled natively and in a plain
//! engine: six kernels, the best of interleaved runs, ratios within this run.
//!
//! Each kernel computes the same check value in all three, or the row is not printed.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use fog_tests::Bench;
use wasmtime::{Config, Engine, Linker, Module, OptLevel, Store};

/// Name and rounds: about half a second natively.
const KERNELS: [(&str, u32); 6] = [("matmul", 12), ("hash", 12), ("sieve", 12), ("collatz", 2), ("sort", 6), ("fib", 3)];
const RUNS: usize = 5;

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn main() {
    let (Some(native), Some(module)) = (path("FOG_KERNELS_NATIVE"), path("FOG_KERNELS_WASM")) else {
        println!("kernels: run through `cargo xtask bench`, which builds them");
        return;
    };
    let only = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let bench = Bench::new().unwrap();
    let plain = Plain::new(&module);
    println!("\n{:<12} {:>10} {:>16} {:>14} {:>12} {:>12}", "kernel", "native", "plain wasmtime", "fog run", "to native", "to plain");
    let mut ratios = Vec::new();
    for (name, rounds) in KERNELS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let mut best = [Duration::MAX; 3];
        let mut checks = [const { String::new() }; 3];
        for _ in 0..RUNS {
            let begun = Instant::now();
            let output = Command::new(&native).args([name, &rounds.to_string()]).output().unwrap();
            best[0] = best[0].min(begun.elapsed());
            checks[0] = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let (took, check) = plain.run(name, rounds);
            best[1] = best[1].min(took);
            checks[1] = check.to_string();
            let begun = Instant::now();
            let job = bench.fog(&["run", &module.to_string_lossy(), "--memory", "256", "--units", "1000000000000", "--", name, &rounds.to_string()]).unwrap();
            best[2] = best[2].min(begun.elapsed());
            checks[2] = String::from_utf8_lossy(&job.stdout).trim().to_owned();
        }
        if checks.iter().any(|check| *check != checks[0] || check.is_empty()) {
            println!("{name:<12} the three disagree: {checks:?}");
            continue;
        }
        let [native, plain, ours] = best.map(|time| time.as_secs_f64());
        ratios.push((ours / native, ours / plain, name));
        let ms = |seconds: f64| format!("{:.0} ms", seconds * 1e3);
        println!("{name:<12} {:>10} {:>16} {:>14} {:>11.2}× {:>11.2}×", ms(native), ms(plain), ms(ours), ours / native, ours / plain);
    }
    let mean = |of: fn(&(f64, f64, &str)) -> f64| {
        let five: Vec<f64> = ratios.iter().filter(|row| row.2 != "fib").map(|row| of(row).ln()).collect();
        (five.iter().sum::<f64>() / five.len().max(1) as f64).exp()
    };
    println!("{:<12} {:>10} {:>16} {:>14} {:>11.2}× {:>11.2}×   (target ≤ 1.6× native; five without fib)", "mean", "", "", "", mean(|r| r.0), mean(|r| r.1));
}

/// Wasmtime without metering, canonical NaNs or limits.
struct Plain {
    engine: Engine,
    module: Module,
}

impl Plain {
    fn new(path: &std::path::Path) -> Self {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, std::fs::read(path).unwrap()).unwrap();
        Self { engine, module }
    }

    fn run(&self, name: &str, rounds: u32) -> (Duration, u64) {
        let mut linker = Linker::new(&self.engine);
        // The kernels themselves call nothing.
        linker.define_unknown_imports_as_traps(&self.module).unwrap();
        let mut store = Store::new(&self.engine, ());
        let instance = linker.instantiate(&mut store, &self.module).unwrap();
        let kernel = instance.get_typed_func::<u32, u64>(&mut store, &format!("kernel_{name}")).unwrap();
        let begun = Instant::now();
        let check = kernel.call(&mut store, rounds).unwrap();
        (begun.elapsed(), check)
    }
}
