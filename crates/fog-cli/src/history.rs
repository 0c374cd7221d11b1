//! The history of a run: a checkpoint and the identity of the state at each mark, so that one segment can
//! be run again by anybody.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{
    CheckpointWriter, FromWorker, History, HistoryEnd, HistoryMark, Mark, Report, SavedState, Segments,
    Worker, WorkerEvent, WorkerProgram,
};
use fog_types::{ErrorKind, WorkUnits};
use serde::Serialize;

use crate::args::SegmentArgs;
use crate::checkpoint::{self, Origin};
use crate::compiled;
use crate::connect::Context;
use crate::keeper::Trouble;
use crate::output::{Failure, print_json, print_text, say};
use crate::screen::Screen;

fn end_of(report: &Report, screen: &Screen) -> HistoryEnd {
    HistoryEnd { units: report.units.0, result_hash: screen.result_hash(report) }
}

/// Writes the history of a program that runs in the foreground.
pub struct Historian {
    folder: PathBuf,
    history: History,
    /// Mark whose checkpoint has not arrived yet.
    pending: Option<Mark>,
    trouble: Trouble,
    /// Number of marks whose checkpoints could not be written.
    lacking: u64,
}

impl Historian {
    pub fn new(folder: &Path, segments: Segments, origin: &Origin) -> Result<Self, Failure> {
        let refuse = |why: String| {
            Failure::input(format!(
                "no history can be written to {}: {why}. Nothing was run",
                folder.display()
            ))
        };
        std::fs::create_dir_all(folder).map_err(|e| refuse(e.to_string()))?;
        if History::exists(folder) {
            return Err(refuse("it already holds one; choose another folder".to_owned()));
        }
        History::check(folder).map_err(|e| refuse(e.to_string()))?;
        let history = History::new(&origin.module.to_hex(), &origin.task_identity(), segments.units);
        history.write(folder).map_err(|e| refuse(e.to_string()))?;
        Ok(Self {
            folder: folder.to_owned(),
            history,
            pending: None,
            trouble: Trouble::default(),
            lacking: 0,
        })
    }

    pub fn mark(&mut self, mark: Mark) {
        self.pending = Some(mark);
    }

    /// Keeps a complete checkpoint if a mark waits for it. A write error does not end the program: a mark
    /// without its checkpoint ends a segment, and no segment begins there.
    pub fn keep(
        &mut self,
        origin: &Origin,
        saved: &SavedState,
        state: &[u8],
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        let Some(mark) = self.pending.take() else { return Ok(()) };
        let (number, units) = (mark.number, WorkUnits(mark.units));
        let generation = origin.generation(saved, state.to_vec(), screen);
        let kept = CheckpointWriter::new(History::checkpoint(&self.folder, number), None)
            .write(&generation, true)
            .map_err(|e| e.to_string());
        self.lacking += u64::from(kept.is_err());
        self.history.add(HistoryMark::new(mark, &screen.stdout)).map_err(|e| Failure::of(&e))?;
        match kept.and(self.write()) {
            Ok(()) => self
                .trouble
                .end(screen, || format!("the history is written again, from mark {number} at {units} on")),
            Err(error) => {
                let goes_on = "The program goes on, and it is tried again at the next mark; segments up to here can be checked";
                self.trouble.meet(screen, || {
                    format!("the history could not be written at mark {number}, {units}: {error}. {goes_on}")
                });
            }
        }
        Ok(())
    }

    /// Writes the end of the run into the history.
    ///
    /// # Errors
    /// When a part of the history could not be kept.
    pub fn end(mut self, report: &Report, screen: &mut Screen) -> Result<(), Failure> {
        self.history.end = Some(end_of(report, screen));
        let folder = self.folder.display();
        let lacks = |what: &str| {
            Failure::new(ErrorKind::Storage, format!("the history in {folder} is not whole: {what}"))
        };
        self.write().map_err(|e| lacks(&format!("its end could not be written: {e}")))?;
        match self.lacking {
            0 if self.history.marks.is_empty() => {
                screen.clear();
                let (units, segment) = (report.units, WorkUnits(self.history.segment));
                say!(
                    "fog: the program ended at {units}, before the first mark at {segment}: nothing of its history can be checked; --segment sets them nearer"
                );
                Ok(())
            }
            0 => Ok(()),
            1 => Err(lacks(
                "a checkpoint could not be written, and the segment that begins there cannot be checked",
            )),
            count => Err(lacks(&format!(
                "{count} checkpoints could not be written, and the segments that begin there cannot be checked"
            ))),
        }
    }

    fn write(&self) -> Result<(), String> {
        self.history.write(&self.folder).map_err(|e| e.to_string())
    }
}

/// State or result that a segment reached.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Reached {
    units: u64,
    /// Identity of the state at the mark, or of the result at the end.
    identity: Option<String>,
    /// BLAKE3 of the standard output so far; `None` at the end, where the result covers it.
    stdout: Option<String>,
}

impl Reached {
    fn mark(mark: &HistoryMark) -> Self {
        Self {
            units: mark.mark.units,
            identity: Some(mark.mark.state.clone()),
            stdout: Some(mark.stdout.clone()),
        }
    }

    fn end(end: &HistoryEnd) -> Self {
        Self { units: end.units, identity: end.result_hash.clone(), stdout: None }
    }

    /// Returns the differences as sentences.
    fn differences(&self, found: &Self) -> Vec<String> {
        let place = |reached: &Self| {
            format!(
                "{} at {} units",
                if reached.stdout.is_some() { "a mark" } else { "the end" },
                reached.units
            )
        };
        if self.stdout.is_some() != found.stdout.is_some() {
            return vec![format!("claimed {}, found {}", place(self), place(found))];
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let identity = if self.stdout.is_some() { "state" } else { "result" };
        let parts = [
            ("units", self.units.to_string(), found.units.to_string()),
            (identity, text(&self.identity), text(&found.identity)),
            ("output", text(&self.stdout), text(&found.stdout)),
        ];
        parts
            .into_iter()
            .filter(|(_, claimed, found)| claimed != found)
            .map(|(what, claimed, found)| format!("{what}: claimed {claimed}, found {found}"))
            .collect()
    }
}

/// Describes how the state in a checkpoint differs from the mark that it belongs to.
fn unlike(claimed: &Mark, found: &Mark) -> String {
    let parts = [
        ("mark", claimed.number.to_string(), found.number.to_string()),
        ("units", claimed.units.to_string(), found.units.to_string()),
        ("state", claimed.state.clone(), found.state.clone()),
    ];
    let differ = parts.into_iter().filter(|(_, claimed, found)| claimed != found);
    differ
        .map(|(what, claimed, found)| format!("its {what} is {found}, claimed is {claimed}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Runs `fog verify segment`: runs one segment of a history again and compares.
pub async fn verify(context: &Context, args: &SegmentArgs) -> Result<ExitCode, Failure> {
    let history = History::read(&args.history).map_err(|e| Failure::of(&e))?;
    let count = history.segments();
    let none = |message: String| Failure::new(ErrorKind::NotFound, message);
    let Some(first) = history.marks.first() else {
        let end = history
            .end
            .as_ref()
            .map_or_else(String::new, |end| format!(" and an end at {}", WorkUnits(end.units)));
        let segment = WorkUnits(history.segment);
        return Err(none(format!(
            "this history has no marks{end}, and they lie {segment} apart: without a checkpoint nothing of it can be run again"
        )));
    };
    if args.segment >= count {
        return Err(none(format!(
            "this history has no segment {}; its segments are numbered from 0 to {}",
            args.segment,
            count - 1
        )));
    }
    let expected = match (history.marks.get(args.segment), &history.end) {
        (Some(mark), _) => Reached::mark(mark),
        (None, Some(end)) => Reached::end(end),
        (None, None) => return Err(Failure::bug("a segment without an end")),
    };
    let begins = args.segment.checked_sub(1).and_then(|before| history.marks.get(before));
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    // The first segment starts at the beginning: any checkpoint contains its program.
    let place = |mark: &HistoryMark| History::checkpoint(&args.history, mark.mark.number);
    let path = match begins {
        Some(begins) => place(begins),
        None => history.marks.iter().map(place).find(|path| path.exists()).unwrap_or_else(|| place(first)),
    };
    let unkept = |failure: Failure| match failure.error.kind {
        ErrorKind::NotFound => {
            failure.with(&format!("segment {} needs this checkpoint, which was not kept", args.segment))
        }
        _ => failure,
    };
    let mut from = checkpoint::unpack(&path, scratch.path()).map_err(unkept)?;
    let module = std::fs::read(&from.module).map_err(|e| Failure::storage(&from.module, &e))?;
    if blake3::hash(&module).to_hex().as_str() != history.module {
        return Err(Failure::input("the checkpoint is of another program than the history"));
    }
    if from.task != history.task {
        return Err(Failure::input(
            "the checkpoint is of another run than the history: its arguments, inputs, limits or seed differ",
        ));
    }
    if begins.is_some_and(|begins| begins.stdout != blake3::hash(&from.stdout).to_hex().as_str()) {
        return Err(Failure::input(
            "the checkpoint holds other output than the history says was written so far",
        ));
    }
    let (state, stdout) = if begins.is_some() { (Some(from.state), from.stdout) } else { (None, Vec::new()) };
    fog_runtime::suspend_with_workers().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
    let program =
        WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let engine = args.engine.into();
    let artifact = fog_engine::artifact_path(&context.data_folder, &history.module, engine);
    let artifact = compiled::prepare(&program, &from.module, &artifact, scratch.path(), engine)
        .await
        .map_err(|e| Failure::of(&e))?;
    from.spec.segments = Some(Segments::of(history.segment, false));
    (from.spec.artifact, from.spec.engine) = (artifact, engine);
    let mut screen = Screen::new(None, true, true);
    screen.take(FromWorker::Stdout(stdout))?;
    let found = reach(&program, from.spec, state, begins.map(|begins| &begins.mark), &mut screen).await?;
    let ok = found == expected;
    let segment = format!("segment {} of 0 to {}", args.segment, count - 1);
    if context.json {
        print_json(
            &serde_json::json!({ "segment": args.segment, "ok": ok, "expected": expected, "found": found }),
        )?;
    } else if ok {
        let length = found.units - begins.map_or(0, |begins| begins.mark.units).min(found.units);
        print_text(&format!("{segment} is right: {}, up to {}", WorkUnits(length), WorkUnits(found.units)));
    } else {
        print_text(&format!("{segment} is WRONG"));
        expected.differences(&found).iter().for_each(|difference| print_text(&format!("  {difference}")));
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// Runs to the next mark or the end. The checkpoint at the start must match the history: otherwise segments
/// that are correct one by one would not add up to one run.
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
                    let differ = unlike(begins, &mark);
                    return Err(Failure::input(format!(
                        "the checkpoint of mark {} is not what the history says: {differ}",
                        begins.number
                    )));
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
