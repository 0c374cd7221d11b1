use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{EngineKind, FromWorker, Mount, Report, Segments, TaskSpec, Worker, WorkerEvent, WorkerProgram, prepare};
use fog_types::job::{check_inside_path, parse_span};
use fog_types::{ByteCount, ErrorKind, Limits, Percent, WorkUnits};

use crate::args::RunArgs;
use crate::checkpoint::{self, Keeper, Origin};
use crate::connect::Context;
use crate::history::Historian;
use crate::output::Failure;
use crate::screen::{CANNOT_RUN, Screen};

/// `fog run`: in the foreground, without the engine; output goes to standard output as it comes.
pub async fn run(context: &Context, args: RunArgs) -> Result<ExitCode, Failure> {
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    let mut screen = Screen::new(args.out.clone(), context.json);
    let engine = args.engine.into();
    let (module, mut spec, state) = match (&args.from, &args.module) {
        (Some(from), _) => {
            let continued = checkpoint::unpack(from, scratch.path())?;
            screen.take(FromWorker::Stdout(continued.stdout))?;
            screen.take(FromWorker::Stderr(continued.stderr))?;
            (continued.module, continued.spec, Some(continued.state))
        }
        (None, Some(module)) => (module.clone(), spec(&args, module, scratch.path())?, None),
        (None, None) => return Err(Failure::input("a program, or --from with a checkpoint, is needed")),
    };
    let bytes = std::fs::read(&module).map_err(|e| Failure::input(format!("{}: {e}", module.display())))?;
    if bytes.len() as u64 > spec.limits.module.0 {
        return Err(Failure { kind: ErrorKind::LimitReached, message: format!("{} is larger than {}", module.display(), spec.limits.module) });
    }
    let program = WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let artifact = fog_engine::artifact_path(&context.data_folder, &blake3::hash(&bytes).to_hex(), engine);
    (spec.artifact, spec.engine, spec.duty) = (artifact.clone(), engine, Percent::new(args.duty));
    spec.segments = args.history.as_ref().map(|_| Segments::of(args.segment, true));
    let keeper = args.checkpoint.as_ref().map(|path| Keeper::new(path, std::time::Duration::from_secs_f64(args.every))).transpose()?;
    let origin = if args.checkpoint.is_some() || args.history.is_some() { Some(Origin::new(&spec, bytes)?) } else { None };
    let historian = match (&args.history, spec.segments, &origin) {
        (Some(folder), Some(segments), Some(origin)) => Some(Historian::new(folder, segments, origin)?),
        _ => None,
    };
    let mut record = Record { origin, keeper, historian };
    for is_last_try in [false, true] {
        screen.note("compiling");
        match prepare(&program, &module, &artifact, engine).await {
            Ok(_) => {}
            Err(fog_runtime::WorkerError::Module { message }) => {
                screen.end(None, Some(&message))?;
                return Ok(ExitCode::from(CANNOT_RUN));
            }
            Err(error) => return Err(Failure::of(&error)),
        }
        match follow(&program, spec.clone(), state.clone(), &mut screen, &mut record).await? {
            Followed::Ended(report) => {
                if let Some(historian) = &mut record.historian {
                    historian.end(&report, &screen)?;
                }
                return screen.finish(&report);
            }
            Followed::Interrupted(code) => {
                screen.clear();
                return Ok(ExitCode::from(code));
            }
            Followed::Stale if is_last_try => break,
            // Compiled by another build, or damaged: once more from the module.
            Followed::Stale => drop(std::fs::remove_file(&artifact)),
        }
    }
    Err(Failure::bug("the compiled module cannot be loaded"))
}

fn limits(args: &RunArgs) -> Result<Limits, Failure> {
    let base = Limits::default();
    let limits = Limits {
        memory: args.memory.map_or(base.memory, ByteCount::mib),
        units: args.units.map_or(base.units, WorkUnits),
        wall_seconds: args.wall.as_deref().map_or(Ok(base.wall_seconds), parse_span).map_err(Failure::input)?,
        disk: args.disk.as_deref().map_or(Ok(base.disk), str::parse).map_err(Failure::input)?,
        // The terminal or file behind it is the limit.
        log: ByteCount::mib(64),
        ..base
    };
    limits.problem().map_or(Ok(limits), |problem| Err(Failure::input(problem)))
}

fn spec(args: &RunArgs, module: &Path, scratch: &Path) -> Result<TaskSpec, Failure> {
    let limits = limits(args)?;
    let split = |text: &str, what: &str| {
        text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| Failure::input(format!("'{text}' is not {what}")))
    };
    let env = args.env.iter().map(|pair| split(pair, "K=V")).collect::<Result<_, _>>()?;
    let mut inputs = Vec::new();
    for pair in &args.input {
        let (name, path) = split(pair, "NAME=PATH")?;
        check_inside_path(&name).map_err(|e| Failure::input(e.to_string()))?;
        inputs.push(Mount { name, path: readable(Path::new(&path))? });
    }
    let stdin = match &args.stdin {
        Some(path) if path == Path::new("-") => {
            // A program that stops and goes on must find its input again, so it is kept in a file.
            let copy = scratch.join("stdin");
            let mut bytes = Vec::new();
            std::io::stdin().lock().take(1 << 30).read_to_end(&mut bytes).map_err(|e| Failure::storage(&copy, &e))?;
            std::fs::write(&copy, bytes).map_err(|e| Failure::storage(&copy, &e))?;
            Some(copy)
        }
        Some(path) => Some(readable(path)?),
        None => None,
    };
    Ok(TaskSpec {
        artifact: PathBuf::new(),
        engine: EngineKind::Compiled,
        program: module.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        args: args.arg.iter().chain(&args.rest).cloned().collect(),
        env,
        stdin,
        inputs,
        limits,
        seed: args.seed,
        duty: Percent::new(args.duty),
        segments: None,
    })
}

fn readable(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::File::open(path).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    std::path::absolute(path).map_err(|e| Failure::storage(path, &e))
}

/// What is kept of a run while it goes.
struct Record {
    /// There when one of the others is.
    origin: Option<Origin>,
    keeper: Option<Keeper>,
    historian: Option<Historian>,
}

/// How far a worker was followed.
enum Followed {
    Ended(Report),
    /// The compiled module was stale.
    Stale,
    /// A signal; this process ends with this code.
    Interrupted(u8),
}

async fn follow(program: &WorkerProgram, spec: TaskSpec, state: Option<Vec<u8>>, screen: &mut Screen, record: &mut Record) -> Result<Followed, Failure> {
    let mut pieces = Vec::new();
    let mut worker = Worker::spawn(program, spec, state).map_err(|e| Failure::of(&e))?;
    loop {
        let event = match &mut record.keeper {
            None => worker.events.recv().await,
            Some(keeper) => tokio::select! {
                event = worker.events.recv() => event,
                () = keeper.due() => {
                    keeper.ask(&worker);
                    continue;
                }
            },
        };
        match event {
            Some(WorkerEvent::Message(FromWorker::Done(report))) => return Ok(Followed::Ended(report)),
            Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(Followed::Stale),
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(Failure::input(message)),
            Some(WorkerEvent::Message(FromWorker::State(piece))) => pieces.extend(piece),
            Some(WorkerEvent::Message(FromWorker::Mark(mark))) => record.historian.iter_mut().for_each(|historian| historian.mark(mark.clone())),
            Some(WorkerEvent::Message(FromWorker::Saved(saved))) => {
                let Some(origin) = &record.origin else { continue };
                let state = std::mem::take(&mut pieces);
                if let (Some(historian), Ok(saved)) = (&mut record.historian, &saved) {
                    historian.keep(origin, saved, &state, screen)?;
                }
                if let Some(keeper) = &mut record.keeper
                    && let Some(code) = keeper.keep(saved.map(|saved| (origin, saved, state)), screen)?
                {
                    return Ok(Followed::Interrupted(code));
                }
            }
            Some(WorkerEvent::Message(message)) => screen.take(message)?,
            Some(WorkerEvent::Frozen(_)) => {}
            Some(WorkerEvent::Gone(error)) => return Err(Failure::of(&error)),
            None => return Err(Failure::bug("the worker said nothing")),
        }
    }
}
