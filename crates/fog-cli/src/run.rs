use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{FromWorker, LimitKind, Mount, Outcome, Report, TaskSpec, Worker, WorkerEvent, WorkerProgram, prepare};
use fog_types::job::{check_inside_path, parse_span};
use fog_types::{ByteCount, ErrorKind, Limits, Percent, WorkUnits};

use crate::args::RunArgs;
use crate::connect::Context;
use crate::output::Failure;

/// A limit ended the program; what `timeout` of coreutils uses.
const LIMIT_REACHED: u8 = 124;
/// The program cannot run; what shells use.
const CANNOT_RUN: u8 = 126;

/// `fog run`: in the foreground, without the engine; output goes to standard output as it comes.
pub async fn run(context: &Context, args: RunArgs) -> Result<ExitCode, Failure> {
    let limits = limits(&args)?;
    let module = std::fs::read(&args.module).map_err(|e| Failure::input(format!("{}: {e}", args.module.display())))?;
    if module.len() as u64 > limits.module.0 {
        return Err(Failure { kind: ErrorKind::LimitReached, message: format!("{} is larger than {}", args.module.display(), limits.module) });
    }
    let program = WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let artifact = context.data_folder.join("compiled").join(format!("{}-{}.cwasm", blake3::hash(&module), env!("CARGO_PKG_VERSION")));
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    let spec = spec(&args, limits, artifact.clone(), scratch.path())?;
    let mut screen = Screen::new(args.out.clone(), context.json);
    for is_last_try in [false, true] {
        screen.note("compiling");
        match prepare(&program, &args.module, &artifact).await {
            Ok(_) => {}
            Err(fog_runtime::WorkerError::Module { message }) => {
                screen.end(None, Some(&message))?;
                return Ok(ExitCode::from(CANNOT_RUN));
            }
            Err(error) => return Err(Failure::of(&error)),
        }
        match follow(&program, spec.clone(), &mut screen).await? {
            Some(report) => return screen.finish(&report),
            None if is_last_try => break,
            // Compiled by another build, or damaged: once more from the module.
            None => drop(std::fs::remove_file(&artifact)),
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

fn spec(args: &RunArgs, limits: Limits, artifact: PathBuf, scratch: &Path) -> Result<TaskSpec, Failure> {
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
        artifact,
        program: args.module.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        args: args.arg.iter().chain(&args.rest).cloned().collect(),
        env,
        stdin,
        inputs,
        limits,
        seed: args.seed,
        duty: Percent::new(args.duty),
    })
}

fn readable(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::File::open(path).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    std::path::absolute(path).map_err(|e| Failure::storage(path, &e))
}

/// `None` when the compiled module was stale.
async fn follow(program: &WorkerProgram, spec: TaskSpec, screen: &mut Screen) -> Result<Option<Report>, Failure> {
    let mut worker = Worker::spawn(program, spec).map_err(|e| Failure::of(&e))?;
    loop {
        match worker.events.recv().await {
            Some(WorkerEvent::Message(FromWorker::Done(report))) => return Ok(Some(report)),
            Some(WorkerEvent::Message(FromWorker::Failed { stale: true, .. })) => return Ok(None),
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(Failure::bug(message)),
            Some(WorkerEvent::Message(message)) => screen.take(message)?,
            Some(WorkerEvent::Frozen(_)) => {}
            Some(WorkerEvent::Gone(error)) => return Err(Failure::of(&error)),
            None => return Err(Failure::bug("the worker said nothing")),
        }
    }
}

/// Where a run's words go: output to standard output, progress to a terminal on standard error.
struct Screen {
    out: Option<PathBuf>,
    json: bool,
    shows_progress: bool,
    has_line: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    files: Vec<String>,
}

impl Screen {
    fn new(out: Option<PathBuf>, json: bool) -> Self {
        Self { out, json, shows_progress: std::io::stderr().is_terminal() && !json, has_line: false, stdout: Vec::new(), stderr: Vec::new(), files: Vec::new() }
    }

    fn note(&mut self, text: &str) {
        if self.shows_progress {
            eprint!("\r\x1b[K{text}");
            self.has_line = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            eprint!("\r\x1b[K");
        }
    }

    fn take(&mut self, message: FromWorker) -> Result<(), Failure> {
        match message {
            FromWorker::Started => self.clear(),
            FromWorker::Stdout(bytes) if self.json => self.stdout.extend(bytes),
            FromWorker::Stderr(bytes) if self.json => self.stderr.extend(bytes),
            FromWorker::Stdout(bytes) => {
                self.clear();
                let mut stdout = std::io::stdout().lock();
                // A reader that went away is not an error of the program that runs.
                let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
            }
            FromWorker::Stderr(bytes) => {
                self.clear();
                let _ = std::io::stderr().lock().write_all(&bytes);
            }
            FromWorker::Progress { units, permille } => {
                let done = permille.map_or_else(String::new, |p| format!("{} %, ", p / 10));
                self.note(&format!("{done}{}", WorkUnits(units)));
            }
            FromWorker::File { path, chunk } => self.write(&path, &chunk)?,
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, path: &str, chunk: &[u8]) -> Result<(), Failure> {
        check_inside_path(path).map_err(|e| Failure::bug(e.to_string()))?;
        let is_new = self.files.last().is_none_or(|last| last != path);
        if is_new {
            self.files.push(path.to_owned());
        }
        let Some(folder) = &self.out else { return Ok(()) };
        let target = folder.join(path);
        let failed = |e: std::io::Error| Failure::storage(&target, &e);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = std::fs::File::options();
        let options = if is_new { options.create(true).write(true).truncate(true) } else { options.append(true) };
        options.open(&target).and_then(|mut file| file.write_all(chunk)).map_err(failed)
    }

    fn finish(mut self, report: &Report) -> Result<ExitCode, Failure> {
        let (code, problem) = match &report.outcome {
            // Exit codes have a byte on most systems; anything else must not look like success.
            Outcome::Exited(code) => (u8::try_from(*code).unwrap_or(255), None),
            Outcome::Trapped(what) => (134, Some(format!("the program broke off: {what}"))),
            Outcome::Limit(LimitKind::Units) => (LIMIT_REACHED, Some("the limit of work units was reached; --units raises it".to_owned())),
            Outcome::Limit(LimitKind::WallTime) => (LIMIT_REACHED, Some("the limit of running time was reached; --wall raises it".to_owned())),
            Outcome::Limit(LimitKind::Stack) => (LIMIT_REACHED, Some("the stack overflowed".to_owned())),
            Outcome::Refused(why) => (CANNOT_RUN, Some(format!("the module cannot run: {why}"))),
        };
        if self.out.is_none() && !self.files.is_empty() && !self.json {
            eprintln!("fog: the program left {} files; --out DIR keeps them", self.files.len());
        }
        self.end(Some(report), problem.as_deref())?;
        Ok(ExitCode::from(code))
    }

    fn end(&mut self, report: Option<&Report>, problem: Option<&str>) -> Result<(), Failure> {
        self.clear();
        if self.json {
            let exit_code = report.and_then(|report| if let Outcome::Exited(code) = report.outcome { Some(code) } else { None });
            return crate::output::print_json(&serde_json::json!({
                "exit_code": exit_code,
                "problem": problem,
                "units": report.map(|report| report.units),
                "memory": report.map(|report| report.memory),
                "disk": report.map(|report| report.disk),
                "active_ms": report.map(|report| report.active_millis),
                "stdout": String::from_utf8_lossy(&self.stdout),
                "stderr": String::from_utf8_lossy(&self.stderr),
                "files": self.files,
            }));
        }
        if let Some(problem) = problem {
            eprintln!("fog: {problem}");
        }
        Ok(())
    }
}
