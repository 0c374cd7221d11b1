//! Checkpoints on the command line: kept while a program runs, unpacked to continue, looked into.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use fog_runtime::{Checkpoint, CheckpointFiles, CheckpointHeader, CheckpointWriter, EngineKind, Generation, Mount, SavedState, TaskSpec, Worker};
use fog_types::text::clean;
use fog_types::{ByteCount, ErrorKind, Percent, WorkUnits};
use tokio::time::Instant;

use crate::connect::Context;
use crate::output::{Failure, print_json, print_text, say};
use crate::screen::Screen;
use crate::signals::{self, Signals};

/// How long a program may take to its next safe point before an interruption stops waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program to continue, with its files where a worker can open them.
pub struct Continued {
    pub module: PathBuf,
    /// Identity of the task, whatever its state.
    pub task: String,
    pub spec: TaskSpec,
    pub state: Vec<u8>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Reads a checkpoint and puts its module and inputs into `scratch`.
pub fn unpack(path: &Path, scratch: &Path) -> Result<Continued, Failure> {
    let (checkpoint, problem) = Checkpoint::read(path, None).map_err(|e| Failure::of(&e))?;
    if let Some(problem) = problem {
        say!("fog: {problem}; continuing from the checkpoint before it");
    }
    let files = checkpoint.files.ok_or_else(|| {
        Failure::input(format!("{} holds no program: it belongs to an engine; export it there with `fog job export-checkpoint`", path.display()))
    })?;
    let task = checkpoint.header.task_identity();
    let put = |name: String, bytes: &[u8]| {
        let target = scratch.join(name);
        std::fs::write(&target, bytes).map(|()| target.clone()).map_err(|e| Failure::storage(&target, &e))
    };
    let header = checkpoint.header;
    let module = put("module.wasm".to_owned(), &files.module)?;
    let mut inputs = Vec::new();
    for (number, ((name, _), bytes)) in header.inputs.iter().zip(&files.inputs).enumerate() {
        // Names come from a file that may come from anywhere; they only live inside the program.
        fog_types::job::check_inside_path(name).map_err(|e| Failure::input(e.to_string()))?;
        inputs.push(Mount { name: name.clone(), path: put(format!("input-{number}"), bytes)? });
    }
    if let Some(problem) = header.limits.problem() {
        return Err(Failure::input(problem));
    }
    let spec = TaskSpec {
        artifact: PathBuf::new(),
        engine: EngineKind::Compiled,
        program: header.program,
        args: header.args,
        env: header.env,
        stdin: files.stdin.map(|bytes| put("stdin".to_owned(), &bytes)).transpose()?,
        inputs,
        limits: header.limits,
        seed: header.seed,
        duty: Percent::FULL,
        segments: None,
    };
    let state = checkpoint.snapshot.encode().map_err(|e| Failure::bug(e.to_string()))?;
    Ok(Continued { module, task, spec, state, stdout: checkpoint.stdout, stderr: checkpoint.stderr })
}

/// What a program in the foreground was started from: goes into each checkpoint of it.
pub struct Origin {
    pub spec: TaskSpec,
    pub module: blake3::Hash,
    files: CheckpointFiles,
    inputs: Vec<(String, String)>,
    stdin: Option<String>,
}

impl Origin {
    pub fn new(spec: &TaskSpec, module: Vec<u8>) -> Result<Self, Failure> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| Failure::storage(path, &e));
        let files = CheckpointFiles {
            module,
            inputs: spec.inputs.iter().map(|mount| read(&mount.path)).collect::<Result<_, _>>()?,
            stdin: spec.stdin.as_deref().map(read).transpose()?,
        };
        let id = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        Ok(Self {
            spec: spec.clone(),
            module: blake3::hash(&files.module),
            inputs: spec.inputs.iter().zip(&files.inputs).map(|(mount, bytes)| (mount.name.clone(), id(bytes))).collect(),
            stdin: files.stdin.as_deref().map(id),
            files,
        })
    }

    /// Identity of the task, whatever its state.
    pub fn task_identity(&self) -> String {
        self.header().task_identity()
    }

    fn header(&self) -> CheckpointHeader {
        CheckpointHeader::new(&self.spec, self.module, self.inputs.clone(), self.stdin.clone())
    }

    /// A checkpoint of it, as a worker has just sent it.
    pub fn generation(&self, saved: &SavedState, state: Vec<u8>, screen: &Screen) -> Generation {
        let header = self.header().saved(saved, now_ms());
        let files = saved.whole.then(|| self.files.clone());
        Generation { header, stdout: screen.stdout.clone(), stderr: screen.stderr.clone(), state, files }
    }
}

/// Writes checkpoints of a program that runs in the foreground.
pub struct Keeper {
    path: PathBuf,
    writer: CheckpointWriter,
    every: Duration,
    next: Instant,
    signals: Signals,
    /// The exit code of an interruption, once there was one.
    interrupted: Option<(u8, Instant)>,
    has_warned: bool,
}

impl Keeper {
    pub fn new(path: &Path, every: Duration) -> Result<Self, Failure> {
        let refuse = |why: &str| Failure::input(format!("no checkpoint can be written to {}: {why}", path.display()));
        // A link leads to the file that is written; a device or pipe is not replaced by a file.
        let target = fog_runtime::replaceable(path).map_err(|e| refuse(&e.to_string()))?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        if !folder.is_dir() {
            return Err(refuse("its folder does not exist"));
        }
        let signals = Signals::new().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
        let writer = CheckpointWriter::new(target, None);
        writer.check().map_err(|e| Failure::input(format!("{e}. Nothing was run")))?;
        Ok(Self { path: path.to_owned(), writer, every, next: Instant::now() + every, signals, interrupted: None, has_warned: false })
    }

    /// Returns when a checkpoint should be taken: the interval is over or somebody interrupts.
    pub async fn due(&mut self) {
        let next = self.interrupted.map_or(self.next, |(_, until)| until);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                if let Some((code, _)) = self.interrupted {
                    say!("fog: interrupted; it met no safe point, so the last checkpoint stands");
                    std::process::exit(i32::from(code));
                }
                self.next = Instant::now() + self.every;
            }
            code = self.signals.next() => {
                match self.interrupted {
                    // The terminal goes because of what was asked before.
                    Some(_) if signals::is_hangup(code) => {}
                    // Asked twice: at once.
                    Some(_) => std::process::exit(i32::from(code)),
                    None => self.interrupted = Some((code, Instant::now() + PATIENCE)),
                }
            }
        }
    }

    /// Interrupts the program: what it says cannot be passed on any more. False when somebody interrupted it before.
    pub fn interrupt(&mut self, code: u8, worker: &Worker) -> bool {
        let is_first = self.interrupted.is_none();
        if is_first {
            self.interrupted = Some((code, Instant::now() + PATIENCE));
            self.ask(worker);
        }
        is_first
    }

    /// Asks the worker for a checkpoint.
    pub fn ask(&self, worker: &Worker) {
        worker.save(self.writer.wants_whole());
    }

    /// A checkpoint is complete; the exit code when the program was interrupted.
    pub fn keep(&mut self, saved: Result<(&Origin, SavedState, Vec<u8>), String>, screen: &mut Screen) -> Result<Option<u8>, Failure> {
        let code = self.interrupted.map(|(code, _)| code);
        let (origin, saved, state) = match saved {
            Ok(saved) => saved,
            Err(reason) => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    screen.clear();
                    say!("fog: no checkpoint can be taken of this program: {reason}");
                }
                return Ok(code);
            }
        };
        let generation = origin.generation(&saved, state, screen);
        self.writer.write(&generation, saved.whole).map_err(|e| Failure::of(&e))?;
        if code.is_some() {
            screen.clear();
            say!("fog: interrupted at {}; continue with: fog run --from {}", WorkUnits(generation.header.units), self.path.display());
        }
        Ok(code)
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `fog checkpoint inspect`.
pub fn inspect(context: &Context, path: &Path) -> Result<ExitCode, Failure> {
    let key = fog_engine::checkpoint_key(&context.data_folder, false).ok().flatten();
    let (checkpoint, problem) = Checkpoint::read(path, key.as_ref()).map_err(|e| Failure::of(&e))?;
    let header = &checkpoint.header;
    let problem = problem.map(|problem| problem.to_string());
    if context.json {
        print_json(&serde_json::json!({
            "format": header.format,
            "state_version": header.state_version,
            "cost_version": header.cost_version,
            "units": header.units,
            "memory": header.memory,
            "module": header.module,
            "program": header.program,
            "args": header.args,
            "env": header.env,
            "inputs": header.inputs,
            "stdin": header.stdin,
            "seed": header.seed,
            "limits": header.limits,
            "taken_ms": header.taken_ms,
            "stdout_bytes": checkpoint.stdout.len(),
            "stderr_bytes": checkpoint.stderr.len(),
            "state_bytes": checkpoint.state_bytes,
            "added": checkpoint.added,
            "has_files": checkpoint.files.is_some(),
            "problem": problem,
        }))?;
    } else {
        // A checkpoint may be anybody's.
        print_text(&clean(&format!("{} {}", header.program, header.args.join(" "))));
        print_text(&format!("  module   {}", header.module));
        print_text(&format!("  units    {}", WorkUnits(header.units)));
        print_text(&format!("  memory   {}", ByteCount(header.memory)));
        print_text(&format!("  state    {}, format {}, cost table {}", ByteCount(checkpoint.state_bytes), header.format, header.cost_version));
        if checkpoint.added > 0 {
            print_text(&format!("           a whole one and {} with what changed", checkpoint.added));
        }
        let carried = if checkpoint.files.is_some() {
            "with its program and inputs: fog run --from continues it anywhere"
        } else {
            "without its program, which is in the engine's folder"
        };
        print_text(&format!("  {carried}"));
    }
    if let Some(problem) = problem {
        return Err(Failure { kind: ErrorKind::BadInput, message: format!("{problem}; this is the checkpoint before it") });
    }
    Ok(ExitCode::SUCCESS)
}
