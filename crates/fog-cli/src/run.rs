use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use fog_runtime::{FromWorker, Priority, Report, Segments, TaskSpec, Worker, WorkerEvent, WorkerProgram};
use fog_types::{ByteCount, ErrorKind, Percent};

use crate::args::RunArgs;
use crate::checkpoint::{self, Origin};
use crate::compiled;
use crate::connect::Context;
use crate::history::Historian;
use crate::keeper::{Due, Keeper};
use crate::output::Failure;
use crate::program::Program;
use crate::screen::{CANNOT_RUN, Screen};
use crate::source;

/// Runs `fog run`: in the foreground, without the engine; output is passed on as it comes.
pub async fn run(context: &Context, args: RunArgs) -> Result<ExitCode, Failure> {
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    // Output is passed on as it comes. It is also kept, within a limit, where it is needed later.
    let keeps_output = context.json || args.checkpoint.is_some() || args.history.is_some();
    if let Some(out) = &args.program.out {
        Screen::check(out)?;
    }
    let mut screen = Screen::new(args.program.out.clone(), context.json, keeps_output);
    let engine = args.engine.into();
    let (module, mut spec, state) = match (&args.from, &args.module) {
        (Some(from), _) => {
            let continued = checkpoint::unpack(from, scratch.path())?;
            screen.take(FromWorker::Stdout(continued.stdout))?;
            screen.take(FromWorker::Stderr(continued.stderr))?;
            (continued.module, continued.spec, Some(continued.state))
        }
        (None, Some(module)) => {
            let program = Program::new(module, &args.program, scratch.path())?;
            let (module, mut spec) = (program.module.clone(), program.spec());
            if !keeps_output {
                spec.limits.log = ByteCount(u64::MAX);
            }
            (module, spec, None)
        }
        (None, None) => return Err(Failure::input("a program, or --from with a checkpoint, is needed")),
    };
    let mut bytes = Vec::new();
    let read = fog_runtime::open_regular(&module)
        .and_then(|file| file.take(spec.limits.module.0 + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::file(&module, &e))?;
    if bytes.len() as u64 > spec.limits.module.0 {
        return Err(Failure::new(
            ErrorKind::LimitReached,
            format!("{} is larger than {}", module.display(), spec.limits.module),
        ));
    }
    fog_runtime::suspend_with_workers().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
    let program =
        WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    // The user waits for the program.
    let program = program.with_priority(Priority::Asked);
    let mut cached = fog_engine::artifact_path(&context.data_folder, &blake3::hash(&bytes).to_hex(), engine);
    (spec.engine, spec.duty) = (engine, Percent::new(args.duty));
    spec.segments = args.history.as_ref().map(|_| Segments::of(args.segment, true));
    let every = std::time::Duration::from_secs_f64(args.every);
    let keeper =
        args.checkpoint.as_ref().map(|path| Keeper::new(path, args.from.as_deref(), every)).transpose()?;
    let origin = if args.checkpoint.is_some() || args.history.is_some() {
        Some(Origin::new(&spec, bytes)?)
    } else {
        None
    };
    let historian = match (&args.history, spec.segments, &origin) {
        (Some(folder), Some(segments), Some(origin)) => Some(Historian::new(folder, segments, origin)?),
        _ => None,
    };
    let mut record = Record { origin, keeper, historian };
    for is_last_try in [false, true] {
        screen.note("compiling");
        let prepared = compiled::prepare(&program, &module, &cached, scratch.path(), engine);
        let prepared = match &mut record.keeper {
            None => prepared.await,
            Some(keeper) => tokio::select! {
                prepared = prepared => prepared,
                code = keeper.interrupted(&mut screen) => return Ok(ExitCode::from(code)),
            },
        };
        match prepared {
            Ok(artifact) => spec.artifact = artifact,
            Err(fog_runtime::WorkerError::Module { message }) => {
                screen.end(None, Some(&message))?;
                return Ok(ExitCode::from(CANNOT_RUN));
            }
            Err(error) => return Err(Failure::of(&error)),
        }
        match follow(&program, spec.clone(), state.clone(), &mut screen, &mut record).await? {
            Followed::Ended(report) => {
                let kept = record.historian.map_or(Ok(()), |historian| historian.end(&report, &mut screen));
                if args.from.is_none() && args.program.stdin.is_none() {
                    source::hint_at_stdin();
                }
                // The result is complete, even if its history is not.
                let code = screen.finish(&report)?;
                return kept.map(|()| code);
            }
            Followed::Interrupted(code) => {
                screen.clear();
                return Ok(ExitCode::from(code));
            }
            Followed::Stale if is_last_try => break,
            // The module was compiled by another build or is damaged: compiled once more.
            Followed::Stale => {
                if std::fs::remove_file(&spec.artifact).is_err() {
                    cached = scratch.path().join("anew.cwasm");
                }
            }
        }
    }
    Err(Failure::bug("the compiled module cannot be loaded"))
}

/// Records kept during a run.
struct Record {
    /// Origin of the program; present when one of the others is.
    origin: Option<Origin>,
    keeper: Option<Keeper>,
    historian: Option<Historian>,
}

/// Outcome of following a worker.
enum Followed {
    Ended(Report),
    /// The compiled module is stale.
    Stale,
    /// A signal interrupted the run; this process ends with this code.
    Interrupted(u8),
}

async fn follow(
    program: &WorkerProgram,
    spec: TaskSpec,
    state: Option<Vec<u8>>,
    screen: &mut Screen,
    record: &mut Record,
) -> Result<Followed, Failure> {
    let mut pieces = Vec::new();
    // Error that prevents output from being passed on. The state until then is saved first.
    let mut mute: Option<Failure> = None;
    let mut worker = Worker::spawn(program, spec, state).map_err(|e| Failure::of(&e))?;
    loop {
        let event = match &mut record.keeper {
            None => worker.events.recv().await,
            Some(keeper) => tokio::select! {
                event = worker.events.recv() => event,
                due = keeper.due(screen) => match due {
                    Due::Ask => {
                        keeper.ask(&worker);
                        continue;
                    }
                    Due::Wait => continue,
                    Due::End(code) => return Ok(Followed::Interrupted(code)),
                },
            },
        };
        match event {
            Some(WorkerEvent::Message(FromWorker::Done(report))) => {
                return mute.map_or(Ok(Followed::Ended(report)), Err);
            }
            Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(Followed::Stale),
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => {
                return Err(Failure::input(message));
            }
            Some(WorkerEvent::Message(FromWorker::State(piece))) => {
                record.keeper.iter_mut().for_each(Keeper::at_safe_point);
                pieces.extend(piece);
            }
            Some(WorkerEvent::Message(FromWorker::Mark(mark))) => {
                record.historian.iter_mut().for_each(|historian| historian.mark(mark.clone()))
            }
            Some(WorkerEvent::Message(FromWorker::Saved(saved))) => {
                let Some(origin) = &record.origin else { continue };
                let state = std::mem::take(&mut pieces);
                if let (Some(historian), Ok(saved)) = (&mut record.historian, &saved) {
                    historian.keep(origin, saved, &state, screen)?;
                }
                if let Some(keeper) = &mut record.keeper
                    && let Some(code) = keeper.keep(saved.map(|saved| (origin, saved, state)), screen)
                {
                    return mute.map_or(Ok(Followed::Interrupted(code)), Err);
                }
            }
            Some(WorkerEvent::Message(message)) => {
                let Err(failure) = screen.take(message) else { continue };
                let Some(keeper) = &mut record.keeper else { return Err(failure) };
                if keeper.interrupt(failure.exit_code(), &worker) {
                    mute = Some(failure);
                }
            }
            Some(WorkerEvent::Frozen(_)) => {}
            Some(WorkerEvent::Gone(error)) => return Err(Failure::of(&error)),
            None => return Err(Failure::bug("the worker said nothing")),
        }
    }
}
