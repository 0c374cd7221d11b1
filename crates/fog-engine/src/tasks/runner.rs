//! Running of one task, from the claim to its result. Runs beside the loop and reports to it.

use std::path::PathBuf;

use fog_runtime::{
    Checkpoint, CompileLimits, EngineKind, FromWorker, Mount, Report, Segments, TaskSpec, Worker,
    WorkerError, WorkerEvent, WorkerProgram, prepare_within,
};
use fog_store::{BlobFile, Blobs, Claim, Holds, Output, PlacedFiles, StoreError};
use fog_types::job::{JobFile, Map};
use fog_types::path::Remarks;
use fog_types::{BlobId, Percent, WorkUnits};
use tokio::sync::{mpsc, watch};

use crate::disk_room::{CompiledRoom, DiskRoom, is_no_room};
use crate::message::EngineMessage;
use crate::tasks::checkpoints::{CheckpointPlace, SaveRequest, Saver};
use crate::tasks::histories::{Historian, HistoryProblem};
use crate::tasks::output_collector::{AttemptError, Collector};
use crate::tasks::stored_files::Stored;

/// Everything that a task needs from the store, looked up before it starts.
pub(crate) struct Launch {
    pub(crate) claim: Claim,
    pub(crate) program: WorkerProgram,
    pub(crate) data_folder: PathBuf,
    /// Table that holds the files of the result until they have rows.
    pub(crate) holds: Holds,
    /// Handle for requesting room for the result and the compiled module.
    pub(crate) room: DiskRoom,
    pub(crate) module: PathBuf,
    /// Stored files that the task reads, each with its role in the job; the module first.
    pub(crate) files: Vec<(String, Stored)>,
    pub(crate) artifact: PathBuf,
    /// Limits of compiling the module, within the lent memory.
    pub(crate) compile: CompileLimits,
    pub(crate) spec: TaskSpec,
    pub(crate) place: CheckpointPlace,
    /// Most bytes that all histories may take.
    pub(crate) history_cap: u64,
}

impl Launch {
    /// Compares the stored files that the task reads with their hashes, on another thread. The module is
    /// included only if it must be compiled.
    pub(crate) async fn check_files(&self) -> Result<(), UnusableFiles> {
        let is_compiled = tokio::fs::try_exists(&self.artifact).await.unwrap_or(false);
        let files: Vec<_> = self.files.iter().skip(usize::from(is_compiled)).cloned().collect();
        let checked = tokio::task::spawn_blocking(move || {
            let mut found = UnusableFiles { problem: String::new(), damaged: Vec::new() };
            for (what, stored) in files {
                if let Err(error) = stored.check() {
                    if matches!(error, StoreError::Changed { .. } | StoreError::NoBlob(_)) {
                        found.damaged.push(stored.id());
                    }
                    if found.problem.is_empty() {
                        found.problem = unusable(&what, &error);
                    }
                }
            }
            if found.problem.is_empty() { Ok(()) } else { Err(found) }
        });
        checked.await.unwrap_or_else(|e| Err(UnusableFiles { problem: e.to_string(), damaged: Vec::new() }))
    }

    /// Opens the history, if the job asks for segments.
    async fn historian(&self) -> Option<Historian> {
        let segments = self.spec.segments?;
        Historian::open(
            self.data_folder.clone(),
            self.room.clone(),
            self.claim.task,
            self.place.header(&self.spec),
            segments.units,
            self.history_cap,
        )
        .await
    }

    /// Compiles the module unless that was done.
    pub(crate) async fn compile(&self, duty: &watch::Receiver<Percent>) -> Result<(), AttemptError> {
        let room = CompiledRoom::new(self.room.clone(), self.artifact.clone());
        let compiled = prepare_within(
            &self.program,
            &self.module,
            &self.artifact,
            self.spec.engine,
            Some(self.compile),
            duty.clone(),
            Some(&room),
        )
        .await;
        match (compiled, room.refusal()) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(no_room)) => Err(no_room.into()),
            (Err(error), None) => Err(error.into()),
        }
    }
}

/// Reason why a task cannot run on its stored files.
#[derive(Debug)]
pub(crate) struct UnusableFiles {
    /// Sentence about the first unusable file.
    pub(crate) problem: String,
    /// Files that are changed or missing, without those that only cannot be read now.
    pub(crate) damaged: Vec<BlobId>,
}

/// Sentence that says which file of a task cannot be used, and what to do.
pub(crate) fn unusable(what: &str, error: &StoreError) -> String {
    match error {
        StoreError::Changed { path } => format!(
            "{what} is not what was stored, so nothing ran on it: the stored file {} was changed on the disk. Submit the job again with the original file, \
             which is stored anew, or put the stored one back from a copy and run the job again",
            path.display()
        ),
        StoreError::NoBlob(id) => format!(
            "{what} is missing: the stored file {id} is gone. Submit the job again with the original file"
        ),
        error => format!("{what} cannot be read: {error}"),
    }
}

/// Message of a task to the loop.
#[derive(Debug)]
pub(crate) enum TaskEvent {
    /// The worker runs as process `pid`, from a checkpoint with these units, or 0.
    Started { pid: Option<u32>, units: u64 },
    /// The task runs: its state is restored.
    Began,
    /// Work units so far, and the progress that the job itself reports.
    Progress { units: u64, permille: Option<u16> },
    /// The task is frozen, or continues.
    Frozen(bool),
    /// A checkpoint is on disk.
    Saved { units: u64 },
    /// A checkpoint had no room on the disk, with the reason.
    NotSaved(String),
    /// The task ended with a result.
    Done(Box<TaskDone>),
    /// The task ended without a result.
    Ended(Box<TaskOutcome>),
}

impl TaskEvent {
    /// Whether the event is of progress alone, which makes nothing else due.
    pub(crate) fn is_progress(&self) -> bool {
        matches!(self, Self::Progress { .. } | Self::Saved { .. })
    }
}

/// Outcome of a worker, with its files on disk.
#[derive(Debug)]
pub(crate) enum Left {
    /// The worker left a result.
    Result {
        report: Report,
        stdout: BlobFile,
        stderr: BlobFile,
        files: Vec<(String, BlobFile)>,
        hash: String,
        /// Files whose names were changed or that were left out.
        remarks: Remarks,
    },
    /// The worker left no result.
    Nothing(TaskOutcome),
}

/// A result whose files are in their final places, and have no rows yet.
#[derive(Debug)]
pub(crate) struct TaskDone {
    pub(crate) report: Report,
    pub(crate) stdout: BlobId,
    pub(crate) stderr: BlobId,
    pub(crate) outputs: Vec<Output>,
    pub(crate) placed: PlacedFiles,
    pub(crate) hash: String,
    /// Files whose names were changed or that were left out.
    pub(crate) remarks: Remarks,
}

/// End of a task without a result; its files are on disk but not yet in the store.
#[derive(Debug)]
pub(crate) enum TaskOutcome {
    /// The task failed in a way that another attempt cannot change.
    PermanentFailure { problem: String, report: Option<Report>, logs: Option<(BlobFile, BlobFile)> },
    /// The task did not run, because stored files that it reads are damaged.
    Damaged { problem: String, blobs: Vec<BlobId> },
    /// The disk has no room for what the task left, or for what it needs.
    NoRoom(StoreError),
    /// The task failed in a way that another attempt may change.
    TransientFailure { problem: String, report: Option<Report>, logs: Option<(BlobFile, BlobFile)> },
}

/// Builds the spec of one task of a job, whose blobs were found on disk.
pub(crate) fn spec_of<E>(
    file: &JobFile,
    blobs: &Blobs,
    index: u32,
    path_of: impl Fn(BlobId) -> Result<PathBuf, E>,
    artifact: PathBuf,
    duty: Percent,
) -> Result<TaskSpec, E> {
    let mut inputs: Vec<Mount> = blobs
        .inputs
        .iter()
        .map(|(name, id)| Ok(Mount { name: name.clone(), path: path_of(*id)? }))
        .collect::<Result<_, E>>()?;
    if let (Map::Inputs(_), Some(id)) = (&file.map, blobs.items.get(index as usize)) {
        inputs.push(Mount { name: "item".to_owned(), path: path_of(*id)? });
    }
    Ok(TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: file.name.clone(),
        args: file.args_of(index),
        env: file.env_of(index),
        stdin: blobs.stdin.map(path_of).transpose()?,
        inputs,
        limits: file.limits.clone(),
        // Tasks of one job draw different random numbers, the same on every run.
        seed: file.seed.wrapping_add(u64::from(index)),
        duty,
        segments: file.segment.map(|segment| Segments::of(segment.0, true)),
    })
}

/// Runs a task to its end and reports on the way. Dropping the future kills the worker.
pub(crate) async fn run(
    launch: Launch,
    mut duty: watch::Receiver<Percent>,
    mut wishes: mpsc::Receiver<SaveRequest>,
    to: mpsc::Sender<EngineMessage>,
) {
    let attempt = launch.claim.attempt;
    let ended = |end| TaskEvent::Ended(Box::new(end));
    let news = match attempt_once(&launch, &mut duty, &mut wishes, &to).await {
        Ok(left) => left.placed(&launch, &mut wishes).await,
        // The module may be valid: another device lends more memory, or this one does at another time.
        Err(AttemptError::Worker(WorkerError::CompileMemory { limit })) if is_compiled_with_less(&launch) => {
            let problem = format!(
                "compiling its program took more than {limit} of memory, which is what this device lends now; lend more, or run it elsewhere"
            );
            ended(TaskOutcome::TransientFailure { problem, report: None, logs: None })
        }
        Err(AttemptError::Worker(error)) if error.is_permanent() => {
            ended(TaskOutcome::PermanentFailure { problem: error.to_string(), report: None, logs: None })
        }
        Err(AttemptError::Store(error)) if is_no_room(&error) => ended(TaskOutcome::NoRoom(error)),
        Err(error) => {
            ended(TaskOutcome::TransientFailure { problem: error.to_string(), report: None, logs: None })
        }
    };
    // A send fails only when the engine has stopped; the task is put back at the next start.
    let _ = to.send(EngineMessage::Task(attempt, news)).await;
}

fn is_compiled_with_less(launch: &Launch) -> bool {
    launch.module.metadata().is_ok_and(|about| launch.compile.memory < CompileLimits::of(about.len()).memory)
}

async fn attempt_once(
    launch: &Launch,
    duty: &mut watch::Receiver<Percent>,
    wishes: &mut mpsc::Receiver<SaveRequest>,
    to: &mpsc::Sender<EngineMessage>,
) -> Result<Left, AttemptError> {
    for is_last_try in [false, true] {
        let checked = tokio::select! {
            checked = launch.check_files() => checked,
            () = refuse_saves(wishes) => Ok(()),
        };
        match checked {
            Ok(()) => {}
            Err(UnusableFiles { problem, damaged }) if damaged.is_empty() => {
                return Ok(Left::Nothing(TaskOutcome::TransientFailure {
                    problem,
                    report: None,
                    logs: None,
                }));
            }
            Err(UnusableFiles { problem, damaged }) => {
                return Ok(Left::Nothing(TaskOutcome::Damaged { problem, blobs: damaged }));
            }
        }
        let compile_duty = duty.clone();
        tokio::select! {
            compiled = launch.compile(&compile_duty) => compiled?,
            () = refuse_saves(wishes) => {}
        }
        let mut spec = launch.spec.clone();
        spec.duty = *duty.borrow_and_update();
        let mut collector = Collector::new(launch).await?;
        let mut saver = Saver::new(&launch.place, &launch.spec);
        let mut historian = launch.historian().await;
        // A checkpoint that is damaged or of another task is ignored, and the task begins anew. It may be
        // as large as all that the task holds, so it is loaded last and freed once its worker has it.
        let worker = match launch.place.load(&launch.spec).await {
            Some(Checkpoint { header, stdout, stderr, snapshot, .. }) => {
                collector.take(FromWorker::Stdout(stdout)).await?;
                collector.take(FromWorker::Stderr(stderr)).await?;
                saver.units = header.units;
                Worker::resume(&launch.program, spec, snapshot)?
            }
            None => Worker::spawn(&launch.program, spec, None)?,
        };
        let mut links = Links { attempt: launch.claim.attempt, duty, wishes, to };
        let watched = watch_worker(worker, &mut collector, &mut saver, historian.as_mut(), &mut links).await;
        saver.settle().await;
        match watched? {
            Some(report) => {
                let left = collector.finish(report).await?;
                if let (Some(historian), Left::Result { report, hash, .. }) = (historian, &left) {
                    historian.end(report.units.0, hash).await;
                }
                return Ok(left);
            }
            None if is_last_try => break,
            None => {
                // The compiled module is damaged or of another build: it is compiled once more.
                let _ = tokio::fs::remove_file(&launch.artifact).await;
            }
        }
    }
    Err(WorkerError::ProtocolViolation { message: "the compiled module cannot be loaded".to_owned() }.into())
}

impl Left {
    /// Puts the files of a result in their final places on another thread, since many files take seconds.
    async fn placed(self, launch: &Launch, wishes: &mut mpsc::Receiver<SaveRequest>) -> TaskEvent {
        let (report, stdout, stderr, files, hash, remarks) = match self {
            Self::Result { report, stdout, stderr, files, hash, remarks } => {
                (report, stdout, stderr, files, hash, remarks)
            }
            Self::Nothing(end) => return TaskEvent::Ended(Box::new(end)),
        };
        let (stdout_id, stderr_id) = (stdout.id(), stderr.id());
        let outputs = files
            .iter()
            .map(|(path, file)| Output { path: path.clone(), blob: file.id(), size: file.size() })
            .collect();
        let (folder, holds) = (launch.data_folder.clone(), launch.holds.clone());
        let all = files.into_iter().map(|(_, file)| file).chain([stdout, stderr]).collect();
        let placing = tokio::task::spawn_blocking(move || PlacedFiles::place(&folder, &holds, all));
        let placed = tokio::select! {
            placed = placing => placed.map_err(|error| error.to_string()).and_then(|placed| placed.map_err(|error| error.to_string())),
            () = refuse_saves(wishes) => Err(String::new()),
        };
        match placed {
            Ok(placed) => TaskEvent::Done(Box::new(TaskDone {
                report,
                stdout: stdout_id,
                stderr: stderr_id,
                outputs,
                placed,
                hash,
                remarks,
            })),
            Err(problem) => {
                let problem = format!("its result could not be stored: {problem}");
                TaskEvent::Ended(Box::new(TaskOutcome::TransientFailure {
                    problem,
                    report: Some(report),
                    logs: None,
                }))
            }
        }
    }
}

/// Refuses requests for a checkpoint at once, so that the loop need not wait when it ends the task. Never
/// returns.
async fn refuse_saves(wishes: &mut mpsc::Receiver<SaveRequest>) {
    while let Some(wish) = wishes.recv().await {
        let _ = wish.send(Err("the program does not run now".to_owned()));
    }
    std::future::pending().await
}

/// Follows a worker to its end; `None` when its compiled module was stale.
async fn watch_worker(
    worker: Worker,
    collector: &mut Collector,
    saver: &mut Saver<'_>,
    historian: Option<&mut Historian>,
    links: &mut Links<'_>,
) -> Result<Option<Report>, AttemptError> {
    let share = worker.duty();
    let mut duty = links.duty.clone();
    // The duty is passed to the worker separately, because following the worker may wait for the disk.
    let pass_on = async {
        duty.mark_changed();
        while duty.changed().await.is_ok() {
            share.send_replace(*duty.borrow_and_update());
        }
    };
    tokio::select! {
        biased;
        // The loop dropped this task.
        () = pass_on => std::future::pending().await,
        ended = follow_worker(worker, collector, saver, historian, links) => ended,
    }
}

async fn follow_worker(
    mut worker: Worker,
    collector: &mut Collector,
    saver: &mut Saver<'_>,
    mut historian: Option<&mut Historian>,
    links: &mut Links<'_>,
) -> Result<Option<Report>, AttemptError> {
    let (attempt, to) = (links.attempt, links.to);
    let tell = async |news| drop(to.send(EngineMessage::Task(attempt, news)).await);
    tell(TaskEvent::Started { pid: worker.pid(), units: saver.units }).await;
    let mut clock = tokio::time::interval(saver.every());
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock.reset();
    loop {
        tokio::select! {
            biased;
            Some(wish) = links.wishes.recv() => {
                saver.waiting.push(wish);
                saver.ask(&worker);
            }
            // A frozen task was saved when it stopped.
            _ = clock.tick(), if !saver.is_frozen => saver.ask(&worker),
            event = worker.events.recv() => match event {
                Some(WorkerEvent::Message(FromWorker::State(piece))) => saver.take(piece).await?,
                Some(WorkerEvent::Message(FromWorker::Saved(saved))) => {
                    let kept = saver.keep(saved, &collector.stdout_bytes, &collector.stderr_bytes).await;
                    if let Some(historian) = &mut historian {
                        historian.keep(kept.map(|_| saver.path())).await;
                    }
                    match (kept, saver.problem.take()) {
                        (Some(units), _) => tell(TaskEvent::Saved { units }).await,
                        (None, Some(_)) if std::mem::take(&mut saver.may_retry) => saver.ask(&worker),
                        (None, Some(problem)) => tell(TaskEvent::NotSaved(problem)).await,
                        (None, None) => {}
                    }
                }
                Some(WorkerEvent::Message(FromWorker::Mark(mark))) => {
                    if let Some(historian) = &mut historian
                        && let Err(problem) = historian.mark(mark, &collector.stdout_bytes).await
                    {
                        if matches!(problem, HistoryProblem::Differs(_)) {
                            // One of the two states is wrong and it is unknown which, so the task begins
                            // anew without its history.
                            Checkpoint::remove(saver.path());
                            historian.forget();
                        }
                        return Err(WorkerError::ProtocolViolation { message: problem.to_string() }.into());
                    }
                }
                Some(WorkerEvent::Message(FromWorker::Done(report))) => return Ok(Some(report)),
                Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(None),
                Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(WorkerError::ProtocolViolation { message }.into()),
                Some(WorkerEvent::Message(FromWorker::Progress { units, permille })) => tell(TaskEvent::Progress { units, permille }).await,
                Some(WorkerEvent::Message(FromWorker::Started)) => tell(TaskEvent::Began).await,
                Some(WorkerEvent::Message(message)) => collector.take(message).await?,
                Some(WorkerEvent::Frozen(frozen)) => {
                    saver.is_frozen = frozen;
                    if frozen {
                        // The process may end during the pause, so the task is saved.
                        saver.ask(&worker);
                    }
                    tell(TaskEvent::Frozen(frozen)).await;
                }
                Some(WorkerEvent::Gone(error)) => return Err(error.into()),
                None => return Err(WorkerError::Died { status: "no word".to_owned() }.into()),
            },
        }
    }
}

/// Channels of a followed task.
struct Links<'a> {
    attempt: u64,
    duty: &'a mut watch::Receiver<Percent>,
    wishes: &'a mut mpsc::Receiver<SaveRequest>,
    to: &'a mpsc::Sender<EngineMessage>,
}

impl TaskOutcome {
    /// Work units used, as far as they are known.
    pub(crate) fn units(&self) -> WorkUnits {
        match self {
            Self::Damaged { .. } | Self::NoRoom(_) => WorkUnits(0),
            Self::PermanentFailure { report, .. } | Self::TransientFailure { report, .. } => {
                report.as_ref().map_or(WorkUnits(0), |report| report.units)
            }
        }
    }
}
