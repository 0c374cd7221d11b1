//! The history of a run: a checkpoint and the identity of the state at each mark, so that anybody can
//! run one segment of it again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{CheckpointWriter, FromWorker, Mark, Report, SavedState, Segments, Worker, WorkerEvent, WorkerProgram, prepare};
use fog_types::{ErrorKind, WorkUnits};
use serde::{Deserialize, Serialize};

use crate::args::SegmentArgs;
use crate::checkpoint::{self, Origin};
use crate::connect::Context;
use crate::output::{Failure, print_json, print_text};
use crate::screen::Screen;

const FORMAT: u32 = 1;
const INDEX: &str = "history.json";

/// What is written about a run.
#[derive(Debug, Serialize, Deserialize)]
struct History {
    format: u32,
    /// BLAKE3 of the module.
    module: String,
    /// Units between two marks.
    segment: u64,
    marks: Vec<Mark>,
    end: Option<End>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct End {
    units: u64,
    result_hash: Option<String>,
}

impl End {
    fn of(report: &Report, screen: &Screen) -> Self {
        Self { units: report.units.0, result_hash: screen.result_hash(report) }
    }
}

/// Writes the history of a program that runs in the foreground.
pub struct Historian {
    folder: PathBuf,
    history: History,
    /// A mark whose checkpoint is on its way.
    pending: Option<Mark>,
}

impl Historian {
    pub fn new(folder: &Path, segments: Segments, module: blake3::Hash) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|e| Failure::storage(folder, &e))?;
        if folder.join(INDEX).exists() {
            return Err(Failure::input(format!("{} already holds a history; choose another folder", folder.display())));
        }
        let history = History { format: FORMAT, module: module.to_hex().to_string(), segment: segments.units, marks: Vec::new(), end: None };
        let historian = Self { folder: folder.to_owned(), history, pending: None };
        historian.write()?;
        Ok(historian)
    }

    pub fn mark(&mut self, mark: Mark) {
        self.pending = Some(mark);
    }

    /// A checkpoint is complete; it is kept if a mark waits for it.
    pub fn keep(&mut self, origin: &Origin, saved: &SavedState, state: &[u8], screen: &Screen) -> Result<(), Failure> {
        let Some(mark) = self.pending.take() else { return Ok(()) };
        let path = self.folder.join(format!("{}.fog", mark.number));
        let generation = origin.generation(saved, state.to_vec(), screen);
        CheckpointWriter::new(path, None).write(&generation, true).map_err(|e| Failure::of(&e))?;
        self.history.marks.push(mark);
        self.write()
    }

    pub fn end(&mut self, report: &Report, screen: &Screen) -> Result<(), Failure> {
        self.history.end = Some(End::of(report, screen));
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        let path = self.folder.join(INDEX);
        let text = serde_json::to_vec_pretty(&self.history).map_err(|e| Failure::bug(e.to_string()))?;
        // Renamed into place: a kill leaves the old one or the new one.
        let partial = self.folder.join("history.json.partial");
        std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, &path)).map_err(|e| Failure::storage(&path, &e))
    }
}

/// What a segment came to.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Reached {
    units: u64,
    /// Identity of the state at the mark, or of the result at the end.
    identity: Option<String>,
}

/// `fog verify segment`: runs one segment of a history again and compares.
pub async fn verify(context: &Context, args: &SegmentArgs) -> Result<ExitCode, Failure> {
    let index = args.history.join(INDEX);
    let text = std::fs::read(&index).map_err(|e| Failure::input(format!("{}: {e}", index.display())))?;
    let history: History = serde_json::from_slice(&text).map_err(|e| Failure::input(format!("{} is not a history: {e}", index.display())))?;
    if history.format != FORMAT {
        return Err(Failure::input(format!("{} has format {}, this program reads {FORMAT}", index.display(), history.format)));
    }
    let count = history.marks.len() + usize::from(history.end.is_some());
    let (Some(first), true) = (history.marks.first(), args.segment < count) else {
        return Err(Failure { kind: ErrorKind::NotFound, message: format!("this history has {count} segments, numbered from 0") });
    };
    let expected = match history.marks.get(args.segment) {
        Some(mark) => Reached { units: mark.units, identity: Some(mark.state.clone()) },
        None => history.end.as_ref().map_or(Reached { units: 0, identity: None }, |end| Reached { units: end.units, identity: end.result_hash.clone() }),
    };
    let begins = args.segment.checked_sub(1).and_then(|before| history.marks.get(before));
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    let mut from = checkpoint::unpack(&args.history.join(format!("{}.fog", begins.unwrap_or(first).number)), scratch.path())?;
    let module = std::fs::read(&from.module).map_err(|e| Failure::storage(&from.module, &e))?;
    if blake3::hash(&module).to_hex().as_str() != history.module {
        return Err(Failure::input("the checkpoint is of another program than the history"));
    }
    // The first segment begins at the beginning.
    let (state, stdout) = if begins.is_some() { (Some(from.state), from.stdout) } else { (None, Vec::new()) };
    let program = WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let engine = args.engine.into();
    let artifact = fog_engine::artifact_path(&context.data_folder, &history.module, engine);
    prepare(&program, &from.module, &artifact, engine).await.map_err(|e| Failure::of(&e))?;
    from.spec.segments = Some(Segments::of(history.segment, false));
    (from.spec.artifact, from.spec.engine) = (artifact, engine);
    let mut screen = Screen::new(None, true);
    screen.take(FromWorker::Stdout(stdout))?;
    let found = reach(&program, from.spec, state, &mut screen).await?;
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

/// Runs to the next mark or the end.
async fn reach(program: &WorkerProgram, spec: fog_runtime::TaskSpec, state: Option<Vec<u8>>, screen: &mut Screen) -> Result<Reached, Failure> {
    let mut worker = Worker::spawn(program, spec, state).map_err(|e| Failure::of(&e))?;
    while let Some(event) = worker.events.recv().await {
        match event {
            WorkerEvent::Message(FromWorker::Mark(mark)) => return Ok(Reached { units: mark.units, identity: Some(mark.state) }),
            WorkerEvent::Message(FromWorker::Done(report)) => {
                let End { units, result_hash } = End::of(&report, screen);
                return Ok(Reached { units, identity: result_hash });
            }
            WorkerEvent::Message(FromWorker::Failed { message, .. }) => return Err(Failure::input(message)),
            WorkerEvent::Message(message) => screen.take(message)?,
            WorkerEvent::Frozen(_) => {}
            WorkerEvent::Gone(error) => return Err(Failure::of(&error)),
        }
    }
    Err(Failure::bug("the worker said nothing"))
}
