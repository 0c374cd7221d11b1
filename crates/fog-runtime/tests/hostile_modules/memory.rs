//! Jobs that want all the memory there is, by every way there is: the worker stays within the job's limits
//! and what it needs for itself.

mod modules;

use fog_types::{ByteCount, Limits};

use crate::support::{compiled, is_full, measure};

/// What a worker needs beside the job's memory and files.
const WORKER: ByteCount = ByteCount::mib(64);
/// So many are run in the short form.
const MOST_TELLING: usize = 8;

#[tokio::test]
async fn no_job_makes_its_worker_larger_than_its_limits() {
    let limits = Limits { memory: ByteCount::mib(32), disk: ByteCount::mib(64), wall_seconds: 60, ..Limits::default() };
    let most = limits.memory.0 + limits.disk.0 + WORKER.0;
    let modules = modules::all();
    assert!(modules.len() >= 20);
    let count = if is_full() { modules.len() } else { MOST_TELLING };
    for module in modules.into_iter().take(count) {
        let name = module.name;
        let mut job = compiled(&module.wat, limits.clone(), 100).await;
        job.spec.segments = module.segments;
        let long = |number| format!("{number:16384}");
        job.spec.args = (0..module.arguments).map(long).collect();
        job.spec.env = (0..module.arguments).map(|number| (number.to_string(), long(number))).collect();
        // A worker that dies fails this: reaching a limit has its own ending.
        let ended = measure(job.spec.clone(), 0).await;
        let (resident, largest) = (ended.resident >> 20, ended.saved.iter().max().copied().unwrap_or(0));
        println!(
            "{name}: {:?}, resident {resident} MiB of {}, {} files, {} checkpoints of up to {} KiB, {:?}",
            ended.report.outcome,
            most >> 20,
            ended.files,
            ended.saved.len(),
            largest >> 10,
            ended.elapsed
        );
        assert_eq!(ended.report.outcome, module.outcome, "{name}: {ended:?}");
        assert!(largest >= module.least_saved, "{name} was not saved while it had everything: {ended:?}");
        assert!(ended.resident <= most, "{name}: {ended:?}");
    }
}
