//! What a job would cost here, from running the beginning of its first task.

use std::path::PathBuf;
use std::time::Duration;

use fog_api::{ApiError, EstimateView};
use fog_runtime::{EngineKind, FromWorker, LimitKind, Outcome, Priority, Report, Worker, WorkerError, WorkerEvent, WorkerProgram, prepare};
use fog_types::{ByteCount, ErrorKind, HasKind, Percent};
use tokio::time::{Instant, timeout_at};

use crate::checkpoints::artifact_path;
use crate::submit::Prepared;
use crate::tasks::spec_of;

/// How far a sample came.
struct Sample {
    units: u64,
    permille: Option<u16>,
    millis: u64,
    report: Option<Report>,
}

/// Runs the first task for at most `seconds`, and multiplies. Nothing is stored but the compiled module.
pub(crate) async fn estimate(prepared: Prepared, program: WorkerProgram, data_folder: PathBuf, seconds: u32, slots: usize) -> Result<EstimateView, ApiError> {
    let path_of = |id| prepared.copied.iter().find(|blob| blob.id() == id).map(|blob| blob.path().to_owned()).ok_or_else(|| bug("a file of the job is gone"));
    // Somebody waits, for seconds that are counted.
    let program = program.with_priority(Priority::Asked);
    let module = path_of(prepared.blobs.module)?;
    let artifact = artifact_path(&data_folder, &prepared.blobs.module.to_string(), EngineKind::Compiled);
    let spec = spec_of(&prepared.file, &prepared.blobs, 0, path_of, artifact.clone(), Percent::FULL)?;
    let limit = Duration::from_secs(u64::from(seconds));
    let mut found = None;
    // Once more from the module when what was compiled is of another build, or damaged.
    for _ in 0..2 {
        prepare(&program, &module, &artifact, EngineKind::Compiled).await.map_err(worker)?;
        found = sample(Worker::spawn(&program, spec.clone(), None).map_err(worker)?, limit).await.map_err(worker)?;
        if found.is_some() {
            break;
        }
        let _ = tokio::fs::remove_file(&artifact).await;
    }
    let sample = found.ok_or_else(|| bug("the compiled module cannot be loaded"))?;
    if let Some(problem) = sample.report.as_ref().and_then(|report| problem(&report.outcome)) {
        return Err(ApiError { kind: ErrorKind::BadInput, message: format!("the first task ended with an error: {problem}. Nothing was submitted") });
    }
    Ok(extrapolate(&sample, prepared.file.task_count(), slots, prepared.file.limits.memory))
}

/// Follows a worker for a while; `None` when its compiled module was stale.
async fn sample(mut worker: Worker, limit: Duration) -> Result<Option<Sample>, WorkerError> {
    let begun = Instant::now();
    let mut sample = Sample { units: 0, permille: None, millis: 0, report: None };
    while let Ok(event) = timeout_at(begun + limit, worker.events.recv()).await {
        match event {
            Some(WorkerEvent::Message(FromWorker::Progress { units, permille })) => {
                (sample.units, sample.permille) = (units, permille);
                sample.millis = begun.elapsed().as_millis() as u64;
            }
            Some(WorkerEvent::Message(FromWorker::Done(report))) => {
                (sample.units, sample.millis) = (report.units.0, report.active_millis);
                sample.report = Some(report);
                break;
            }
            Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(None),
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(WorkerError::Nonsense { message }),
            Some(WorkerEvent::Gone(error)) => return Err(error),
            None => return Err(WorkerError::Died { status: "no word".to_owned() }),
            Some(_) => {}
        }
    }
    Ok(Some(sample))
}

/// The first task stands for all; as many run at once as there are slots.
fn extrapolate(sample: &Sample, tasks: u32, slots: usize, memory_limit: ByteCount) -> EstimateView {
    let scale = match (&sample.report, sample.permille) {
        (Some(_), _) => Some(1.0),
        (None, Some(permille)) if permille > 0 => Some(1000.0 / f64::from(permille)),
        _ => None,
    };
    let rounds = u64::from(tasks).div_ceil(slots.max(1) as u64) as f64;
    EstimateView {
        tasks,
        at_once: slots as u32,
        sample_units: sample.units,
        sample_ms: sample.millis,
        is_whole: sample.report.is_some(),
        units: scale.map(|scale| (sample.units as f64 * scale * f64::from(tasks)) as u64),
        seconds: scale.map(|scale| (sample.millis as f64 * scale * rounds / 1000.0).ceil() as u64),
        memory: sample.report.as_ref().map_or(memory_limit, |report| report.memory).0,
    }
}

fn problem(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Exited(0) => None,
        Outcome::Exited(code) => Some(format!("code {code}")),
        Outcome::Trapped(what) => Some(what.clone()),
        Outcome::Limit(limit) => Some(limit_words(*limit).to_owned()),
        Outcome::Refused(why) => Some(why.clone()),
    }
}

fn limit_words(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Units => "it reached its limit of work units; `units` among the limits of the job file raises it",
        LimitKind::WallTime => "it reached its limit of running time; `wall` among the limits of the job file raises it",
        LimitKind::Memory => "it used more memory than its limits allow; `memory` and `disk` among the limits of the job file raise them",
        LimitKind::Stack => "the stack overflowed",
    }
}

fn worker(error: WorkerError) -> ApiError {
    ApiError { kind: error.kind(), message: format!("{error}. Nothing was submitted") }
}

fn bug(message: &str) -> ApiError {
    ApiError { kind: ErrorKind::Bug, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_for_all_and_part_of_one_for_the_whole() {
        let part = Sample { units: 1_000, permille: Some(250), millis: 2_000, report: None };
        let found = extrapolate(&part, 10, 4, ByteCount(7));
        assert_eq!((found.units, found.seconds, found.memory, found.is_whole), (Some(40_000), Some(24), 7, false));
        let silent = Sample { permille: None, ..part };
        let found = extrapolate(&silent, 10, 4, ByteCount(7));
        assert_eq!((found.units, found.seconds, found.sample_units), (None, None, 1_000));
    }
}
