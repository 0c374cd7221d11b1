//! Jobs that try to use all memory in every possible way: the worker stays within the job's limits and its
//! own needs.

mod modules;

use fog_runtime::{Outcome, Priority, TaskSpec, WorkerProgram};
use fog_types::{ByteCount, Limits};

use self::modules::Hostile;
use crate::support::{Compiled, Measured, compiled, is_full, measure_from, program};

/// Memory that a worker needs beside the job's memory and files.
const WORKER: ByteCount = ByteCount::mib(64);
/// Modules of the short form: each has broken the bound or comes closest to it in its way.
const MOST_TELLING: [&str; 6] = [
    "all of memory and all of the disk",
    "splinters of files",
    "a large file with many names",
    "as many open files as can be",
    "as many long names as can be, and a full disk",
    "frames that are deep",
];

/// Worker program with a higher priority, because other programs run on the machine meanwhile.
fn worker() -> WorkerProgram {
    program("run").with_priority(Priority::Asked)
}

fn limits() -> Limits {
    Limits { memory: ByteCount::mib(32), disk: ByteCount::mib(64), wall_seconds: 60, ..Limits::default() }
}

async fn prepared(module: &Hostile) -> Compiled {
    let mut job = compiled(&module.wat, limits(), 100).await;
    let long = |number| format!("{number:16384}");
    job.spec = TaskSpec {
        segments: module.segments,
        args: (0..module.arguments).map(long).collect(),
        env: (0..module.arguments).map(|number| (number.to_string(), long(number))).collect(),
        ..job.spec
    };
    job
}

/// Returns the problem with the end of a job, or with its use of more than `most` bytes.
fn problem(module: &Hostile, ended: &Measured, most: u64) -> Option<String> {
    let name = module.name;
    let largest = ended.saved.iter().max().copied().unwrap_or(0);
    println!(
        "{name}: {:?}, resident {} MiB of {}, {} files, {} checkpoints of up to {} KiB, {:?}",
        ended.report.outcome,
        ended.resident >> 20,
        most >> 20,
        ended.files,
        ended.saved.len(),
        largest >> 10,
        ended.elapsed
    );
    let checks = [
        (ended.report.outcome == module.outcome, "ended in another way"),
        (largest >= module.least_saved, "was not saved while it had everything"),
        (ended.resident <= most, "took more than its limits"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| format!("{name} {what}: {ended:?}"))
}

#[tokio::test]
async fn no_job_makes_its_worker_larger_than_its_limits() {
    let most = limits().memory.0 + limits().disk.0 + WORKER.0;
    let modules = modules::all();
    assert!(modules.len() >= 20);
    let mut problems = Vec::new();
    for module in modules.into_iter().filter(|module| is_full() || MOST_TELLING.contains(&module.name)) {
        let job = prepared(&module).await;
        // A worker that dies is a problem: reaching a limit must be reported.
        let spec = job.spec.clone();
        match tokio::spawn(async { measure_from(&worker(), spec, None).await }).await {
            Ok((ended, _)) => problems.extend(problem(&module, &ended, most)),
            Err(died) => problems.push(format!("{}: {died}", module.name)),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The state to continue from is in memory once while memory and files are filled from it.
#[tokio::test]
async fn a_job_that_is_continued_has_its_state_in_memory_once() {
    let module = modules::all().swap_remove(0);
    let job = prepared(&module).await;
    let (_, state) = measure_from(&worker(), job.spec.clone(), None).await;
    let most = limits().memory.0 + limits().disk.0 + WORKER.0 + state.len() as u64;
    let (ended, _) = measure_from(&worker(), job.spec.clone(), Some(state)).await;
    assert_eq!(problem(&Hostile { least_saved: 0, ..module }, &ended, most), None);
}

/// Room for checkpoints comes from the job's stack, not from its disk quota.
#[tokio::test]
async fn a_job_that_may_keep_no_files_is_saved_and_continued() {
    let small = Limits { memory: ByteCount::mib(16), disk: ByteCount(0), ..limits() };
    let Hostile { segments, .. } = modules::all().swap_remove(0);
    let job = compiled(&modules::working(), small.clone(), 100).await;
    let (ended, state) = measure_from(&worker(), TaskSpec { segments, ..job.spec.clone() }, None).await;
    assert_eq!((ended.report.outcome, ended.saved.is_empty()), (Outcome::Exited(0), false));
    let (ended, _) = measure_from(&worker(), job.spec.clone(), Some(state)).await;
    assert_eq!(ended.report.outcome, Outcome::Exited(0));
    assert!(ended.resident <= small.memory.0 + WORKER.0, "{ended:?}");
}
