//! Times every program in both ways and prints the table.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use fog_instrument::{Abilities, accepted, instrument};
use fog_runtime::{Control, EngineKind, Observer, Order, Outcome, Taken, TaskSpec};
use fog_types::{ByteCount, Limits, Percent, WorkUnits};
use rustix::time::{ClockId, clock_gettime};

use crate::host::Plain;
use crate::work::{KERNELS, Work, build, kernel, programs};

const RUNS: usize = 5;
const MEAN_TARGET: f64 = 1.1;
const MOST_TARGET: f64 = 1.25;

/// Prints a row for each program, and the targets.
pub fn table() {
    let only = std::env::args().skip(1).find(|name| !name.starts_with('-'));
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let folder = tempfile::tempdir().unwrap();
    println!(
        "\nProcessor time as a job beside plain wasmtime, instantiating included: the best of {RUNS} interleaved runs each."
    );
    println!(
        "{:<10} {:>10} {:>9} {:>9} {:>9} {:>17} {:>10}",
        "", "plain", "counted", "stopping", "as a job", "compiling: plain", "as a job"
    );
    let mut rows = Vec::new();
    for (name, program, stdin) in programs() {
        if is_wanted(name) {
            rows.push(row(name, build(name, program, stdin, folder.path()), folder.path()));
        }
    }
    for (name, rounds) in KERNELS {
        if is_wanted(name) {
            rows.push(row(name, kernel(name, rounds), folder.path()));
        }
    }
    println!("coremark is the port to Rust of that name, 1.0.0: Debian has no source of EEMBC's.");
    let counted: Vec<f64> = rows.iter().flatten().copied().collect();
    if counted.is_empty() {
        return;
    }
    let mean = (counted.iter().map(|ratio| ratio.ln()).sum::<f64>() / counted.len() as f64).exp();
    let most = counted.iter().copied().fold(0.0, f64::max);
    let verdict = |value: f64, target: f64| if value <= target { "met" } else { "missed" };
    println!("{} of {} count", counted.len(), rows.len());
    println!("geometric mean {mean:.3}×, target ≤ {MEAN_TARGET}: {}", verdict(mean, MEAN_TARGET));
    println!("most {most:.3}×, target ≤ {MOST_TARGET}: {}", verdict(most, MOST_TARGET));
}

/// Prints a row; returns its ratio if it counts.
fn row(name: &str, work: anyhow::Result<Work>, folder: &Path) -> Option<f64> {
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    match work.and_then(|work| measure(&work, folder)) {
        Ok(Times { plain, parts, job, compiling: [first, second] }) => {
            let [counted, stopping, ratio] =
                [parts[0], parts[1], job].map(|time| time.as_secs_f64() / plain.as_secs_f64());
            println!(
                "{name:<10} {:>10} {counted:>8.3}× {stopping:>8.3}× {ratio:>8.3}× {:>17} {:>10}",
                ms(plain),
                ms(first),
                ms(second)
            );
            Some(ratio)
        }
        Err(error) => {
            println!("{name:<10} does not count: {error:#}");
            None
        }
    }
}

/// Processor times of one run in each way, and of compiling.
struct Times {
    plain: Duration,
    /// In plain wasmtime too, instrumented to count, and to count and stop.
    parts: [Duration; 2],
    job: Duration,
    compiling: [Duration; 2],
}

fn measure(work: &Work, folder: &Path) -> anyhow::Result<Times> {
    let bytes = std::fs::read(&work.wasm)?;
    let (input, artifact) = (folder.join("stdin"), folder.join("artifact"));
    std::fs::write(&input, &work.stdin)?;
    let native = Command::new(&work.native).args(&work.args).stdin(std::fs::File::open(&input)?).output()?;
    ensure!(
        native.status.success() && !native.stdout.is_empty(),
        "its native build: {}",
        String::from_utf8_lossy(&native.stderr)
    );
    let (plain_compiling, module) =
        timed(|| Plain::new(&bytes).map_err(|error| anyhow!("plain: {error:#}")))?;
    let (job_compiling, compiled) = timed(|| Ok(fog_runtime::compile(&bytes, EngineKind::Compiled)?))?;
    std::fs::write(&artifact, compiled)?;
    let rewritten = |stop| -> anyhow::Result<Plain> {
        let wasm = instrument(
            &bytes,
            accepted(),
            Abilities { stop, canonical_nans: false, ..Abilities::default() },
        )?;
        Plain::new(&wasm).map_err(|error| anyhow!("rewritten: {error:#}"))
    };
    let rewritten = [rewritten(false)?, rewritten(true)?];
    let spec = TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: work.name.clone(),
        args: work.args.clone(),
        env: vec![],
        stdin: Some(input),
        inputs: vec![],
        limits: Limits { units: WorkUnits(1 << 50), log: ByteCount::mib(64), ..Limits::default() },
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    };
    let args: Vec<String> = std::iter::once(&work.name).chain(&work.args).cloned().collect();
    let stdin: Arc<[u8]> = work.stdin.as_slice().into();
    let mut times = Times {
        plain: Duration::MAX,
        parts: [Duration::MAX; 2],
        job: Duration::MAX,
        compiling: [plain_compiling, job_compiling],
    };
    for _ in 0..RUNS {
        let (took, (exit, printed)) = timed(|| {
            module.run(args.clone(), Arc::clone(&stdin)).map_err(|error| anyhow!("plain: {error:#}"))
        })?;
        ensure!(
            exit == 0 && printed == native.stdout,
            "in plain wasmtime it ends with {exit}, and not with what its native build prints"
        );
        times.plain = times.plain.min(took);
        for (module, part) in rewritten.iter().zip(&mut times.parts) {
            let (took, (exit, printed)) = timed(|| {
                module.run(args.clone(), Arc::clone(&stdin)).map_err(|error| anyhow!("rewritten: {error:#}"))
            })?;
            ensure!(
                exit == 0 && printed == native.stdout,
                "rewritten it ends with {exit}, and not with what its native build prints"
            );
            *part = took.min(*part);
        }
        let (took, printed) = timed(|| run_job(&spec))?;
        ensure!(printed == native.stdout, "as a job it does not print what its native build prints");
        times.job = times.job.min(took);
    }
    Ok(times)
}

/// Measures the processor time of all threads of this process during `what`.
fn timed<T>(what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let now = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let begun = now();
    let done = what()?;
    Ok((now() - begun, done))
}

fn run_job(spec: &TaskSpec) -> anyhow::Result<Vec<u8>> {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let (report, _) =
        fog_runtime::run(spec, None, Box::new(Printed(Arc::clone(&printed))), Box::new(Free), || {})?;
    ensure!(report.outcome == Outcome::Exited(0), "as a job: {:?}", report.outcome);
    Ok(std::mem::take(&mut *printed.lock().unwrap_or_else(PoisonError::into_inner)))
}

struct Printed(Arc<Mutex<Vec<u8>>>);

impl Observer for Printed {
    fn output(&mut self, stderr: bool, bytes: &[u8]) {
        if !stderr {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        }
    }

    fn progress(&mut self, _permille: u16) {}
}

/// A control that neither throttles nor asks for checkpoints.
struct Free;

impl Control for Free {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        Order::Go
    }

    fn save(&mut self, _taken: Result<Taken<'_>, String>) {}
}
