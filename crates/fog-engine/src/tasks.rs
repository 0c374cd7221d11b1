//! One running task: from the claim to what the worker left. Runs beside the loop and reports to it.

use std::path::PathBuf;

use fog_runtime::{
    Checkpoint, CompileLimits, EngineKind, FromWorker, Mount, Report, Segments, TaskSpec, Worker, WorkerError, WorkerEvent, WorkerProgram, prepare_within,
};
use fog_store::{BlobFile, Blobs, Claim, Holds, Output, PlacedFiles, StoreError};
use fog_types::job::{JobFile, Map};
use fog_types::path::Remarks;
use fog_types::{BlobId, Percent, WorkUnits};
use tokio::sync::{mpsc, watch};

use crate::checkpoints::{CheckpointPlace, SaveWish, Saver};
use crate::collecting::{Collector, RoomAsker};
use crate::core::Message;
use crate::histories::{Historian, HistoryProblem};
use crate::stored::Stored;

/// Everything a task needs from the store, looked up before it starts.
pub(crate) struct Launch {
    pub(crate) claim: Claim,
    pub(crate) program: WorkerProgram,
    pub(crate) data_folder: PathBuf,
    /// The table that holds the files of the result until they have rows.
    pub(crate) holds: Holds,
    pub(crate) room: RoomAsker,
    pub(crate) module: PathBuf,
    /// The stored files that it reads, each with what it is to the job; the module first.
    pub(crate) files: Vec<(String, Stored)>,
    pub(crate) artifact: PathBuf,
    /// What compiling the module may take: no more than is lent.
    pub(crate) compile: CompileLimits,
    pub(crate) spec: TaskSpec,
    pub(crate) place: CheckpointPlace,
    /// Most bytes that histories may take.
    pub(crate) history_cap: u64,
}

impl Launch {
    /// Compares the stored files that the task reads with their hashes, the module where it is to be compiled; reads them
    /// beside the loop.
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

    /// Of a task whose job wants one.
    async fn historian(&self) -> Option<Historian> {
        let segments = self.spec.segments?;
        Historian::open(self.data_folder.clone(), self.claim.task, self.place.header(&self.spec), segments.units, self.history_cap).await
    }
}

/// Why a task does not run on the files that are stored for it.
#[derive(Debug)]
pub(crate) struct UnusableFiles {
    /// A sentence about the first of them.
    pub(crate) problem: String,
    /// Those that are not what was stored, or are gone; not those that could only not be read now.
    pub(crate) damaged: Vec<BlobId>,
}

/// Says which file of a task cannot be used, and what to do.
pub(crate) fn unusable(what: &str, error: &StoreError) -> String {
    match error {
        StoreError::Changed { path } => format!(
            "{what} is not what was stored, so nothing ran on it: the stored file {} was changed on the disk. Submit the job again with the original file, \
             which is stored anew, or put the stored one back from a copy and run the job again",
            path.display()
        ),
        StoreError::NoBlob(id) => format!("{what} is missing: the stored file {id} is gone. Submit the job again with the original file"),
        error => format!("{what} cannot be read: {error}"),
    }
}

/// What a task says to the loop.
#[derive(Debug)]
pub(crate) enum TaskNews {
    /// Its worker runs as this process, from a checkpoint with these units, or 0.
    Started { pid: Option<u32>, units: u64 },
    /// The task runs: its state is restored.
    Began,
    /// Units so far and the job's own progress.
    Progress { units: u64, permille: Option<u16> },
    /// It stands still, or goes on.
    Frozen(bool),
    /// A checkpoint is on disk.
    Saved { units: u64 },
    /// The task ended with a result.
    Done(Box<TaskDone>),
    /// The task ended without a result.
    Ended(Box<TaskEnd>),
}

/// The result that a worker left, with its files on disk.
#[derive(Debug)]
pub(crate) enum Left {
    /// A result.
    Result {
        report: Report,
        stdout: BlobFile,
        stderr: BlobFile,
        files: Vec<(String, BlobFile)>,
        hash: String,
        /// Files whose names were changed or that were left out.
        remarks: Remarks,
    },
    /// None.
    Nothing(TaskEnd),
}

/// A result whose files lie where they stay, and have no rows yet.
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

/// How a task ended that has no result, with its files on disk but not yet in the store.
#[derive(Debug)]
pub(crate) enum TaskEnd {
    /// In a way another attempt cannot change.
    Hopeless { problem: String, report: Option<Report>, logs: Option<(BlobFile, BlobFile)> },
    /// Before it ran: stored files that it reads are not what was stored.
    Damaged { problem: String, blobs: Vec<BlobId> },
    /// In a way another attempt may change.
    Unlucky { problem: String, report: Option<Report>, logs: Option<(BlobFile, BlobFile)> },
}

/// Builds the spec of one task of a job; blobs have been found on disk.
pub(crate) fn spec_of<E>(
    file: &JobFile,
    blobs: &Blobs,
    index: u32,
    path_of: impl Fn(BlobId) -> Result<PathBuf, E>,
    artifact: PathBuf,
    duty: Percent,
) -> Result<TaskSpec, E> {
    let mut inputs: Vec<Mount> = blobs.inputs.iter().map(|(name, id)| Ok(Mount { name: name.clone(), path: path_of(*id)? })).collect::<Result<_, E>>()?;
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
        // Tasks of one job draw different numbers, the same ones every time.
        seed: file.seed.wrapping_add(u64::from(index)),
        duty,
        segments: file.segment.map(|segment| Segments::of(segment.0, true)),
    })
}

/// Runs a task to its end and reports on the way. Dropping the future kills the worker.
pub(crate) async fn run(launch: Launch, mut duty: watch::Receiver<Percent>, mut wishes: mpsc::Receiver<SaveWish>, to: mpsc::Sender<Message>) {
    let attempt = launch.claim.attempt;
    let ended = |end| TaskNews::Ended(Box::new(end));
    let news = match attempt_once(&launch, &mut duty, &mut wishes, &to).await {
        Ok(left) => left.placed(&launch, &mut wishes).await,
        // The module may be as good as any; another device lends more, or this one another time.
        Err(WorkerError::CompileMemory { limit }) if is_compiled_with_less(&launch) => {
            let problem =
                format!("compiling its program took more than {limit} of memory, which is what this device lends now; lend more, or run it elsewhere");
            ended(TaskEnd::Unlucky { problem, report: None, logs: None })
        }
        Err(error) if error.is_permanent() => ended(TaskEnd::Hopeless { problem: error.to_string(), report: None, logs: None }),
        Err(error) => ended(TaskEnd::Unlucky { problem: error.to_string(), report: None, logs: None }),
    };
    // The loop being gone means the engine stopped; the task is put back at the next start.
    let _ = to.send(Message::Task(attempt, news)).await;
}

fn is_compiled_with_less(launch: &Launch) -> bool {
    launch.module.metadata().is_ok_and(|about| launch.compile.memory < CompileLimits::of(about.len()).memory)
}

async fn attempt_once(
    launch: &Launch,
    duty: &mut watch::Receiver<Percent>,
    wishes: &mut mpsc::Receiver<SaveWish>,
    to: &mpsc::Sender<Message>,
) -> Result<Left, WorkerError> {
    for is_last_try in [false, true] {
        let checked = tokio::select! {
            checked = launch.check_files() => checked,
            () = refuse_saves(wishes) => Ok(()),
        };
        match checked {
            Ok(()) => {}
            Err(UnusableFiles { problem, damaged }) if damaged.is_empty() => return Ok(Left::Nothing(TaskEnd::Unlucky { problem, report: None, logs: None })),
            Err(UnusableFiles { problem, damaged }) => return Ok(Left::Nothing(TaskEnd::Damaged { problem, blobs: damaged })),
        }
        let compiling = prepare_within(&launch.program, &launch.module, &launch.artifact, launch.spec.engine, Some(launch.compile), duty.clone());
        tokio::select! {
            compiled = compiling => {
                compiled?;
            }
            () = refuse_saves(wishes) => {}
        }
        let mut spec = launch.spec.clone();
        spec.duty = *duty.borrow_and_update();
        let mut collector = Collector::new(launch)?;
        let mut saver = Saver::new(&launch.place, &launch.spec);
        let mut historian = launch.historian().await;
        // A checkpoint that is damaged or of something else is left alone; the task begins anew. It may be as large as all
        // that the task holds, so it is read last and is gone once its worker has it.
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
                // Compiled by another build, or damaged: once more from the module.
                let _ = tokio::fs::remove_file(&launch.artifact).await;
            }
        }
    }
    Err(WorkerError::Nonsense { message: "the compiled module cannot be loaded".to_owned() })
}

impl Left {
    /// Puts the files of a result where they stay, beside the loop: of many files that takes seconds.
    async fn placed(self, launch: &Launch, wishes: &mut mpsc::Receiver<SaveWish>) -> TaskNews {
        let (report, stdout, stderr, files, hash, remarks) = match self {
            Self::Result { report, stdout, stderr, files, hash, remarks } => (report, stdout, stderr, files, hash, remarks),
            Self::Nothing(end) => return TaskNews::Ended(Box::new(end)),
        };
        let (stdout_id, stderr_id) = (stdout.id(), stderr.id());
        let outputs = files.iter().map(|(path, file)| Output { path: path.clone(), blob: file.id(), size: file.size() }).collect();
        let (folder, holds) = (launch.data_folder.clone(), launch.holds.clone());
        let all = files.into_iter().map(|(_, file)| file).chain([stdout, stderr]).collect();
        let placing = tokio::task::spawn_blocking(move || PlacedFiles::place(&folder, &holds, all));
        let placed = tokio::select! {
            placed = placing => placed.map_err(|error| error.to_string()).and_then(|placed| placed.map_err(|error| error.to_string())),
            () = refuse_saves(wishes) => Err(String::new()),
        };
        match placed {
            Ok(placed) => TaskNews::Done(Box::new(TaskDone { report, stdout: stdout_id, stderr: stderr_id, outputs, placed, hash, remarks })),
            Err(problem) => {
                let problem = format!("its result could not be stored: {problem}");
                TaskNews::Ended(Box::new(TaskEnd::Unlucky { problem, report: Some(report), logs: None }))
            }
        }
    }
}

/// Answers at once that there is nothing to save: who ends the task need not wait. Never ends.
async fn refuse_saves(wishes: &mut mpsc::Receiver<SaveWish>) {
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
) -> Result<Option<Report>, WorkerError> {
    let share = worker.duty();
    let mut duty = links.duty.clone();
    // Said to the worker beside all else: whoever follows it may wait for the disk.
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
) -> Result<Option<Report>, WorkerError> {
    let (attempt, to) = (links.attempt, links.to);
    let tell = async |news| drop(to.send(Message::Task(attempt, news)).await);
    tell(TaskNews::Started { pid: worker.pid(), units: saver.units }).await;
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
            // A task that stands still has been saved when it stopped.
            _ = clock.tick(), if !saver.is_frozen => saver.ask(&worker),
            event = worker.events.recv() => match event {
                Some(WorkerEvent::Message(FromWorker::State(piece))) => saver.take(piece).await?,
                Some(WorkerEvent::Message(FromWorker::Saved(saved))) => {
                    let kept = saver.keep(saved, &collector.stdout_bytes, &collector.stderr_bytes).await;
                    if let Some(historian) = &mut historian {
                        historian.keep(kept.map(|_| saver.path())).await;
                    }
                    if let Some(units) = kept {
                        tell(TaskNews::Saved { units }).await;
                    }
                }
                Some(WorkerEvent::Message(FromWorker::Mark(mark))) => {
                    if let Some(historian) = &mut historian
                        && let Err(problem) = historian.mark(mark, &collector.stdout_bytes).await
                    {
                        if matches!(problem, HistoryProblem::Differs(_)) {
                            // One of the two is wrong, and nobody can tell which: it begins anew, history and all.
                            Checkpoint::remove(saver.path());
                            historian.forget();
                        }
                        return Err(WorkerError::Nonsense { message: problem.to_string() });
                    }
                }
                Some(WorkerEvent::Message(FromWorker::Done(report))) => return Ok(Some(report)),
                Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(None),
                Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(WorkerError::Nonsense { message }),
                Some(WorkerEvent::Message(FromWorker::Progress { units, permille })) => tell(TaskNews::Progress { units, permille }).await,
                Some(WorkerEvent::Message(FromWorker::Started)) => tell(TaskNews::Began).await,
                Some(WorkerEvent::Message(message)) => collector.take(message).await?,
                Some(WorkerEvent::Frozen(frozen)) => {
                    saver.is_frozen = frozen;
                    if frozen {
                        // Pausing may become the end of this process; nothing is lost then.
                        saver.ask(&worker);
                    }
                    tell(TaskNews::Frozen(frozen)).await;
                }
                Some(WorkerEvent::Gone(error)) => return Err(error),
                None => return Err(WorkerError::Died { status: "no word".to_owned() }),
            },
        }
    }
}

/// What a followed task is connected to.
struct Links<'a> {
    attempt: u64,
    duty: &'a mut watch::Receiver<Percent>,
    wishes: &'a mut mpsc::Receiver<SaveWish>,
    to: &'a mpsc::Sender<Message>,
}

impl TaskEnd {
    /// Units used, as far as they are known.
    pub(crate) fn units(&self) -> WorkUnits {
        match self {
            Self::Damaged { .. } => WorkUnits(0),
            Self::Hopeless { report, .. } | Self::Unlucky { report, .. } => report.as_ref().map_or(WorkUnits(0), |report| report.units),
        }
    }
}
