//! Checkpoints on the command line: created from a running program, unpacked to continue, inspected.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{
    Checkpoint, CheckpointFiles, CheckpointHeader, EngineKind, Generation, Mount, SavedState, TaskSpec,
};
use fog_types::text::clean;
use fog_types::{ByteCount, ErrorKind, Percent, WorkUnits};

use crate::connect::Context;
use crate::output::{Failure, print_json, print_text, say};
use crate::screen::Screen;

/// A program to continue, with its files where a worker can open them.
pub struct Continued {
    pub module: PathBuf,
    /// Identity of the task, independent of its state.
    pub task: String,
    pub spec: TaskSpec,
    pub state: Vec<u8>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Reads a checkpoint and writes its module and inputs into `scratch`.
pub fn unpack(path: &Path, scratch: &Path) -> Result<Continued, Failure> {
    let (checkpoint, problem) = Checkpoint::read(path, None).map_err(|e| Failure::of(&e))?;
    if let Some(problem) = problem {
        say!("fog: {problem}; continuing from the checkpoint before it");
    }
    let files = checkpoint.files.ok_or_else(|| {
        Failure::input(format!(
            "{} holds no program: it belongs to an engine; export it there with `fog job export-checkpoint`",
            path.display()
        ))
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
        // The checkpoint may come from anywhere; its names are used only inside the program.
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

/// Origin of a program in the foreground; part of each of its checkpoints.
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
            inputs: spec
                .inputs
                .iter()
                .zip(&files.inputs)
                .map(|(mount, bytes)| (mount.name.clone(), id(bytes)))
                .collect(),
            stdin: files.stdin.as_deref().map(id),
            files,
        })
    }

    /// Returns the identity of the task, independent of its state.
    pub fn task_identity(&self) -> String {
        self.header().task_identity()
    }

    fn header(&self) -> CheckpointHeader {
        CheckpointHeader::new(&self.spec, self.module, self.inputs.clone(), self.stdin.clone())
    }

    /// Returns a checkpoint of the program, made of the state that a worker has just sent.
    pub fn generation(&self, saved: &SavedState, state: Vec<u8>, screen: &Screen) -> Generation {
        let header = self.header().saved(saved, now_ms());
        let files = saved.whole.then(|| self.files.clone());
        Generation { header, stdout: screen.stdout.clone(), stderr: screen.stderr.clone(), state, files }
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs `fog checkpoint inspect`.
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
        // A checkpoint may come from a stranger.
        print_text(&clean(&format!("{} {}", header.program, header.args.join(" "))));
        print_text(&format!("  module   {}", header.module));
        print_text(&format!("  units    {}", WorkUnits(header.units)));
        print_text(&format!("  memory   {}", ByteCount(header.memory)));
        print_text(&format!(
            "  state    {}, format {}, cost table {}",
            ByteCount(checkpoint.state_bytes),
            header.format,
            header.cost_version
        ));
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
        return Err(Failure::new(
            ErrorKind::BadInput,
            format!("{problem}; this is the checkpoint before it"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}
