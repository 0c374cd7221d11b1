//! The history of a run: a checkpoint and the identity of the state at each mark, so that anybody can
//! run one segment of it again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{CheckpointWriter, FromWorker, History, HistoryEnd, HistoryMark, Mark, Report, SavedState, Segments, Worker, WorkerEvent, WorkerProgram};
use fog_types::{ErrorKind, WorkUnits};
use serde::Serialize;

use crate::args::SegmentArgs;
use crate::checkpoint::{self, Origin};
use crate::compiled;
use crate::connect::Context;
use crate::output::{Failure, print_json, print_text};
use crate::screen::Screen;

fn end_of(report: &Report, screen: &Screen) -> HistoryEnd {
    HistoryEnd { units: report.units.0, result_hash: screen.result_hash(report) }
}

/// Writes the history of a program that runs in the foreground.
pub struct Historian {
    folder: PathBuf,
    history: History,
    /// A mark whose checkpoint is on its way.
    pending: Option<Mark>,
}

impl Historian {
    pub fn new(folder: &Path, segments: Segments, origin: &Origin) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|e| Failure::storage(folder, &e))?;
        if History::exists(folder) {
            return Err(Failure::input(format!("{} already holds a history; choose another folder", folder.display())));
        }
        let historian =
            Self { folder: folder.to_owned(), history: History::new(&origin.module.to_hex(), &origin.task_identity(), segments.units), pending: None };
        historian.write()?;
        Ok(historian)
    }

    pub fn mark(&mut self, mark: Mark) {
        self.pending = Some(mark);
    }

    /// A checkpoint is complete; it is kept if a mark waits for it.
    pub fn keep(&mut self, origin: &Origin, saved: &SavedState, state: &[u8], screen: &Screen) -> Result<(), Failure> {
        let Some(mark) = self.pending.take() else { return Ok(()) };
        let generation = origin.generation(saved, state.to_vec(), screen);
        CheckpointWriter::new(History::checkpoint(&self.folder, mark.number), None).write(&generation, true).map_err(|e| Failure::of(&e))?;
        self.history.add(HistoryMark::new(mark, &screen.stdout)).map_err(|e| Failure::of(&e))?;
        self.write()
    }

    pub fn end(&mut self, report: &Report, screen: &Screen) -> Result<(), Failure> {
        self.history.end = Some(end_of(report, screen));
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        self.history.write(&self.folder).map_err(|e| Failure::of(&e))
    }
}

/// What a segment came to.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Reached {
    units: u64,
    /// Identity of the state at the mark, or of the result at the end.
    identity: Option<String>,
    /// BLAKE3 of standard output so far; the result at the end covers it.
    stdout: Option<String>,
}

impl Reached {
    fn mark(mark: &HistoryMark) -> Self {
        Self { units: mark.mark.units, identity: Some(mark.mark.state.clone()), stdout: Some(mark.stdout.clone()) }
    }

    fn end(end: &HistoryEnd) -> Self {
        Self { units: end.units, identity: end.result_hash.clone(), stdout: None }
    }
}

/// `fog verify segment`: runs one segment of a history again and compares.
pub async fn verify(context: &Context, args: &SegmentArgs) -> Result<ExitCode, Failure> {
    let history = History::read(&args.history).map_err(|e| Failure::of(&e))?;
    let count = history.segments();
    let (Some(first), true) = (history.marks.first(), args.segment < count) else {
        return Err(Failure {
            kind: ErrorKind::NotFound,
            message: format!("this history has no segment {}; its segments are numbered from 0 to {}", args.segment, count.saturating_sub(1)),
        });
    };
    let expected = match (history.marks.get(args.segment), &history.end) {
        (Some(mark), _) => Reached::mark(mark),
        (None, Some(end)) => Reached::end(end),
        (None, None) => return Err(Failure::bug("a segment without an end")),
    };
    let begins = args.segment.checked_sub(1).and_then(|before| history.marks.get(before));
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    let mut from = checkpoint::unpack(&History::checkpoint(&args.history, begins.unwrap_or(first).mark.number), scratch.path())?;
    let module = std::fs::read(&from.module).map_err(|e| Failure::storage(&from.module, &e))?;
    if blake3::hash(&module).to_hex().as_str() != history.module {
        return Err(Failure::input("the checkpoint is of another program than the history"));
    }
    if from.task != history.task {
        return Err(Failure::input("the checkpoint is of another run than the history: its arguments, inputs, limits or seed differ"));
    }
    if begins.is_some_and(|begins| begins.stdout != blake3::hash(&from.stdout).to_hex().as_str()) {
        return Err(Failure::input("the checkpoint holds other output than the history says was written so far"));
    }
    // The first segment begins at the beginning.
    let (state, stdout) = if begins.is_some() { (Some(from.state), from.stdout) } else { (None, Vec::new()) };
    fog_runtime::suspend_with_workers().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
    let program = WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let engine = args.engine.into();
    let artifact = fog_engine::artifact_path(&context.data_folder, &history.module, engine);
    let artifact = compiled::prepare(&program, &from.module, &artifact, scratch.path(), engine).await.map_err(|e| Failure::of(&e))?;
    from.spec.segments = Some(Segments::of(history.segment, false));
    (from.spec.artifact, from.spec.engine) = (artifact, engine);
    let mut screen = Screen::new(None, true, true);
    screen.take(FromWorker::Stdout(stdout))?;
    let found = reach(&program, from.spec, state, begins.map(|begins| &begins.mark), &mut screen).await?;
    let ok = found == expected;
    if context.json {
        print_json(&serde_json::json!({ "segment": args.segment, "ok": ok, "expected": expected, "found": found }))?;
    } else if ok {
        print_text(&format!("segment {} of {count} is right: {}", args.segment, WorkUnits(found.units)));
    } else {
        let identity = |reached: &Reached| reached.identity.clone().unwrap_or_else(|| "no result".to_owned());
        print_text(&format!("segment {} of {count} is WRONG", args.segment));
        print_text(&format!("  claimed {} at {}", identity(&expected), WorkUnits(expected.units)));
        print_text(&format!("  found   {} at {}", identity(&found), WorkUnits(found.units)));
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// Runs to the next mark or the end. The checkpoint it begins with must be what the history says of it:
/// otherwise segments that are right one by one would not make a run.
async fn reach(
    program: &WorkerProgram,
    spec: fog_runtime::TaskSpec,
    state: Option<Vec<u8>>,
    begins: Option<&Mark>,
    screen: &mut Screen,
) -> Result<Reached, Failure> {
    let mut worker = Worker::spawn(program, spec, state).map_err(|e| Failure::of(&e))?;
    let mut at_beginning = begins;
    while let Some(event) = worker.events.recv().await {
        match event {
            WorkerEvent::Message(FromWorker::Mark(mark)) => match at_beginning.take() {
                Some(begins) if *begins == mark => {}
                Some(begins) => {
                    let message = format!(
                        "the checkpoint of mark {} is not what the history says: its state is {}, claimed is {}",
                        begins.number, mark.state, begins.state
                    );
                    return Err(Failure::input(message));
                }
                None => return Ok(Reached::mark(&HistoryMark::new(mark, &screen.stdout))),
            },
            WorkerEvent::Message(FromWorker::Done(report)) => {
                return Ok(Reached::end(&end_of(&report, screen)));
            }
            WorkerEvent::Message(FromWorker::Failed { message, .. }) => return Err(Failure::input(message)),
            WorkerEvent::Message(message) => screen.take(message)?,
            WorkerEvent::Frozen(_) => {}
            WorkerEvent::Gone(error) => return Err(Failure::of(&error)),
        }
    }
    Err(Failure::bug("the worker said nothing"))
}
