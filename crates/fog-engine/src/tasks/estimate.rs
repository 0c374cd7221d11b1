//! Estimate of a job's cost on this device, from running the beginning of its first task.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fog_api::{ApiError, EstimateView};
use fog_runtime::{
    CompileLimits, EngineKind, FromWorker, LimitKind, Outcome, Priority, Report, Worker, WorkerError,
    WorkerEvent, WorkerProgram, prepare_within,
};
use fog_types::{ByteCount, ErrorKind, HasKind, Percent};
use tokio::sync::watch;

use crate::disk_room::{CompiledRoom, DiskRoom};
use crate::tasks::checkpoints::artifact_path;
use crate::tasks::errors::TaskError;
use crate::tasks::runner::spec_of;
use crate::tasks::submit::Prepared;

/// Share of this device that an estimate may take.
pub(crate) struct Share {
    pub(crate) program: WorkerProgram,
    pub(crate) data_folder: PathBuf,
    /// Handle for requesting room for the compiled module.
    pub(crate) room: DiskRoom,
    /// Limits of compiling the module.
    pub(crate) compile: CompileLimits,
    /// Duty of every job; the sample is frozen at 0.
    pub(crate) duty: watch::Receiver<Percent>,
    /// Longest run of the sample, without the time in which it is frozen.
    pub(crate) limit: Duration,
    /// Number of tasks that run at once.
    pub(crate) slots: usize,
}

/// Progress of a sample.
struct Sample {
    units: u64,
    permille: Option<u16>,
    /// Milliseconds of running time, converted to full speed.
    millis: u64,
    report: Option<Report>,
}

/// Runs the first task for a while and extrapolates. Only the compiled module is kept.
pub(crate) async fn estimate(prepared: Prepared, share: Share) -> Result<EstimateView, ApiError> {
    let Share { program, data_folder, room, compile, mut duty, limit, slots } = share;
    let gone = || ApiError::new(ErrorKind::Bug, "a file of the job is gone");
    let path_of = |id| {
        prepared
            .copied
            .iter()
            .find(|blob| blob.id() == id)
            .map(|blob| blob.path().to_owned())
            .ok_or_else(gone)
    };
    // The front end waits, and the seconds are limited.
    let program = program.with_priority(Priority::Asked);
    let module = path_of(prepared.blobs.module)?;
    let artifact = artifact_path(&data_folder, &prepared.blobs.module.to_string(), EngineKind::Compiled);
    let mut spec = spec_of(&prepared.file, &prepared.blobs, 0, path_of, artifact.clone(), Percent::ZERO)?;
    let mut found = None;
    // The module is compiled again if the cached one is of another build or damaged.
    for _ in 0..2 {
        let room = CompiledRoom::new(room.clone(), artifact.clone());
        prepare_within(
            &program,
            &module,
            &artifact,
            EngineKind::Compiled,
            Some(compile),
            duty.clone(),
            Some(&room),
        )
        .await
        .map_err(worker)?;
        drop(room);
        spec.duty = *duty.borrow_and_update();
        let sampled = Worker::spawn(&program, spec.clone(), None).map_err(worker)?;
        found = sample(sampled, spec.duty, limit, &mut duty).await.map_err(worker)?;
        if found.is_some() {
            break;
        }
        let _ = tokio::fs::remove_file(&artifact).await;
    }
    let sample =
        found.ok_or_else(|| ApiError::new(ErrorKind::Bug, "the compiled module cannot be loaded"))?;
    if let Some(problem) = sample.report.as_ref().and_then(|report| problem(&report.outcome)) {
        return Err(problem.into());
    }
    Ok(extrapolate(&sample, prepared.file.task_count(), slots, prepared.file.limits.memory))
}

/// Follows a worker for a while; `None` when its compiled module was stale.
async fn sample(
    mut worker: Worker,
    begins: Percent,
    limit: Duration,
    duty: &mut watch::Receiver<Percent>,
) -> Result<Option<Sample>, WorkerError> {
    let mut pace = Pace::new(begins, Instant::now());
    let mut sample = Sample { units: 0, permille: None, millis: 0, report: None };
    loop {
        let left = limit.saturating_sub(pace.passed(Instant::now()).0);
        let event = tokio::select! {
            biased;
            changed = duty.changed() => {
                if changed.is_err() {
                    // The loop is gone, and this task ends with it.
                    std::future::pending::<()>().await;
                }
                let duty = *duty.borrow_and_update();
                worker.set_duty(duty);
                pace.change(duty, Instant::now());
                continue;
            }
            () = tokio::time::sleep(left), if pace.duty > Percent::ZERO => break,
            event = worker.events.recv() => event,
        };
        match event {
            Some(WorkerEvent::Message(FromWorker::Progress { units, permille })) => {
                (sample.units, sample.permille) = (units, permille);
                sample.millis = pace.passed(Instant::now()).1.as_millis() as u64;
            }
            Some(WorkerEvent::Message(FromWorker::Done(report))) => {
                (sample.units, sample.millis) = (report.units.0, report.active_millis);
                sample.report = Some(report);
                break;
            }
            Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(None),
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => {
                return Err(WorkerError::ProtocolViolation { message });
            }
            Some(WorkerEvent::Gone(error)) => return Err(error),
            None => return Err(WorkerError::Died { status: "no word".to_owned() }),
            Some(_) => {}
        }
    }
    Ok(Some(sample))
}

/// Running time of a sample whose duty changes.
struct Pace {
    duty: Percent,
    since: Instant,
    ran: Duration,
    full: Duration,
}

impl Pace {
    fn new(duty: Percent, now: Instant) -> Self {
        Self { duty, since: now, ran: Duration::ZERO, full: Duration::ZERO }
    }

    /// Returns the time the sample ran, and the equivalent time at full speed.
    fn passed(&self, now: Instant) -> (Duration, Duration) {
        if self.duty == Percent::ZERO {
            return (self.ran, self.full);
        }
        let span = now.saturating_duration_since(self.since);
        (self.ran + span, self.full + span.mul_f64(f64::from(self.duty.get()) / 100.0))
    }

    fn change(&mut self, duty: Percent, now: Instant) {
        (self.ran, self.full) = self.passed(now);
        (self.duty, self.since) = (duty, now);
    }
}

/// Extrapolates from the first task to all, with one task per slot at once.
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

fn problem(outcome: &Outcome) -> Option<TaskError> {
    match outcome {
        Outcome::Exited(0) => None,
        Outcome::Exited(code) => Some(TaskError::FirstTaskExited { code: *code }),
        Outcome::Trapped(why) | Outcome::Refused(why) => {
            Some(TaskError::FirstTaskFailed { why: why.clone() })
        }
        Outcome::Limit(LimitKind::Units) => Some(TaskError::FirstTaskReachedUnits),
        Outcome::Limit(LimitKind::WallTime) => Some(TaskError::FirstTaskReachedTime),
        Outcome::Limit(LimitKind::Memory) => Some(TaskError::FirstTaskReachedMemory),
        Outcome::Limit(LimitKind::Stack) => Some(TaskError::FirstTaskOverflowed),
    }
}

fn worker(error: WorkerError) -> ApiError {
    TaskError::EstimateFailed { why: error.to_string() }.of_kind(error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_for_all_and_part_of_one_for_the_whole() {
        let part = Sample { units: 1_000, permille: Some(250), millis: 2_000, report: None };
        let found = extrapolate(&part, 10, 4, ByteCount(7));
        assert_eq!(
            (found.units, found.seconds, found.memory, found.is_whole),
            (Some(40_000), Some(24), 7, false)
        );
        let silent = Sample { permille: None, ..part };
        let found = extrapolate(&silent, 10, 4, ByteCount(7));
        assert_eq!((found.units, found.seconds, found.sample_units), (None, None, 1_000));
    }

    #[test]
    fn a_sample_that_stands_still_takes_none_of_its_time() {
        let (begun, seconds) = (Instant::now(), Duration::from_secs);
        let mut pace = Pace::new(Percent::ZERO, begun);
        assert_eq!(pace.passed(begun + seconds(1000)), (seconds(0), seconds(0)));
        pace.change(Percent::FULL, begun + seconds(1000));
        pace.change(Percent::new(50), begun + seconds(1004));
        pace.change(Percent::ZERO, begun + seconds(1006));
        // Two seconds at half the speed count as one.
        assert_eq!(pace.passed(begun + seconds(9000)), (seconds(6), seconds(5)));
    }
}
