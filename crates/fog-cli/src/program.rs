//! Arguments, inputs and limits of a program, the same for `fog run` and `fog submit`: equal options make
//! equal tasks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fog_api::{Command, JobCommand};
use fog_runtime::{EngineKind, Mount, TaskSpec};
use fog_types::job::{check_input_names, check_inside_path, name_of_module, parse_span};
use fog_types::{ByteCount, ErrorKind, Limits, Percent, WorkUnits};
use serde::Serialize;

use crate::args::ProgramArgs;
use crate::output::Failure;
use crate::source;

/// Bytes kept of standard output and of standard error, where they are kept at all.
pub const KEPT_LOG: ByteCount = ByteCount::mib(64);

/// A program with its arguments and inputs, in files that can be opened again.
#[derive(Debug)]
pub struct Program {
    pub module: PathBuf,
    /// `argv[0]`, and the name of the job.
    pub name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdin: Option<PathBuf>,
    inputs: BTreeMap<String, PathBuf>,
    limits: Limits,
    seed: u64,
}

impl Program {
    /// Builds a program from the command line. Input that is not a regular file is copied into `scratch`,
    /// which must live as long as the program runs or until it is submitted.
    pub fn new(module: &Path, args: &ProgramArgs, scratch: &Path) -> Result<Self, Failure> {
        let limits = limits(args)?;
        let env = args.env.iter().map(|pair| split(pair, "K=V")).collect::<Result<_, _>>()?;
        let mut inputs = BTreeMap::new();
        for (number, pair) in args.input.iter().enumerate() {
            let (name, path) = split(pair, "NAME=PATH")?;
            check_inside_path(&name).map_err(|e| Failure::input(e.to_string()))?;
            let file = source::settle(Path::new(&path), scratch.join(format!("input-{number}")))?;
            if inputs.insert(name.clone(), file).is_some() {
                return Err(Failure::input(format!("the input '{name}' is given twice")));
            }
        }
        check_input_names(inputs.keys().map(String::as_str)).map_err(|e| Failure::input(e.to_string()))?;
        let copy = scratch.join("stdin");
        let stdin = match &args.stdin {
            // A program that stops and continues must find its input again, so it is kept in a file.
            Some(path) if path == Path::new("-") => Some(source::settle_stdin(copy)?),
            Some(path) => Some(source::settle(path, copy)?),
            None => None,
        };
        Ok(Self {
            name: name_of_module(&module.file_name().unwrap_or_default().to_string_lossy()),
            module: source::settle(module, scratch.join("module.wasm"))?,
            args: args.arg.iter().chain(&args.rest).cloned().collect(),
            env,
            stdin,
            inputs,
            limits,
            seed: args.seed,
        })
    }

    /// Returns the task, to be run in the foreground.
    pub fn spec(self) -> TaskSpec {
        TaskSpec {
            artifact: PathBuf::new(),
            engine: EngineKind::Compiled,
            program: self.name,
            args: self.args,
            env: self.env.into_iter().collect(),
            stdin: self.stdin,
            inputs: self.inputs.into_iter().map(|(name, path)| Mount { name, path }).collect(),
            limits: self.limits,
            seed: self.seed,
            duty: Percent::FULL,
            segments: None,
        }
    }

    /// Returns the command that submits the program. Its files must exist until the command is answered.
    pub fn submission(&self) -> Result<Command, Failure> {
        if let Some(word) = self
            .args
            .iter()
            .chain(self.env.values())
            .find(|text| PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder)))
        {
            let message = format!(
                "'{word}' holds a word that a job replaces, one of {}; `fog run` takes it as it is",
                PLACEHOLDERS.join(" ")
            );
            return Err(Failure::new(ErrorKind::Unsupported, message));
        }
        let Limits { memory, disk, units, wall_seconds, log, .. } = &self.limits;
        let text = |path: &Path| fog_engine::as_text(path).map_err(Failure::from);
        let file = JobText {
            version: fog_types::job::VERSION,
            name: &self.name,
            module: text(&self.module)?,
            args: &self.args,
            seed: self.seed,
            stdin: self.stdin.as_deref().map(text).transpose()?,
            env: &self.env,
            inputs: self
                .inputs
                .iter()
                .map(|(name, path)| Ok((name.as_str(), text(path)?)))
                .collect::<Result<_, Failure>>()?,
            limits: LimitsText {
                memory: memory.0,
                disk: disk.0,
                units: units.0,
                wall: *wall_seconds,
                log: log.0,
            },
        };
        let job_file = toml::to_string(&file)
            .map_err(|e| Failure::input(format!("this program cannot be put into a job file: {e}")))?;
        let folder = text(&std::path::absolute(".").map_err(|e| Failure::storage(Path::new("."), &e))?)?;
        Ok(Command::Jobs(JobCommand::Submit { job_file, folder, grid: None, deadline_seconds: None }))
    }
}

/// Placeholders that a job file replaces in arguments and variables.
const PLACEHOLDERS: [&str; 4] = ["{index}", "{count}", "{value}", "{item}"];

/// The part of a job file that a command line can express. Tables come last in TOML.
#[derive(Serialize)]
struct JobText<'a> {
    version: u32,
    name: &'a str,
    module: String,
    args: &'a [String],
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
    env: &'a BTreeMap<String, String>,
    inputs: BTreeMap<&'a str, String>,
    limits: LimitsText,
}

#[derive(Serialize)]
struct LimitsText {
    memory: u64,
    disk: u64,
    units: u64,
    wall: u64,
    log: u64,
}

fn split(text: &str, what: &str) -> Result<(String, String), Failure> {
    text.split_once('=')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .ok_or_else(|| Failure::input(format!("'{text}' is not {what}")))
}

fn limits(args: &ProgramArgs) -> Result<Limits, Failure> {
    let base = Limits::default();
    let limits = Limits {
        memory: args.memory.map_or(base.memory, ByteCount::mib),
        units: args.units.map_or(base.units, WorkUnits),
        wall_seconds: args
            .wall
            .as_deref()
            .map_or(Ok(base.wall_seconds), parse_span)
            .map_err(Failure::input)?,
        disk: args.disk.as_deref().map_or(Ok(base.disk), str::parse).map_err(Failure::input)?,
        log: KEPT_LOG,
        ..base
    };
    limits.problem().map_or(Ok(limits), |problem| Err(Failure::input(problem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_submitted_is_what_would_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["tool \"x\".wasm", "data", "words"] {
            std::fs::write(at(name), "content").unwrap();
        }
        let args = ProgramArgs {
            arg: vec!["--fast".to_owned(), "quote\" \n line".to_owned()],
            rest: vec!["/in/data".to_owned()],
            env: vec!["B=2".to_owned(), "A=1=1".to_owned()],
            stdin: Some(at("words")),
            input: vec![format!("data={}", at("data").display())],
            memory: Some(32),
            units: Some(1_000_000),
            wall: Some("2min".to_owned()),
            disk: Some("1MiB".to_owned()),
            seed: 7,
            ..ProgramArgs::default()
        };
        let program = |args: &ProgramArgs| Program::new(&at("tool \"x\".wasm"), args, folder.path());
        let Command::Jobs(JobCommand::Submit { job_file, .. }) =
            program(&args).unwrap().submission().unwrap()
        else {
            panic!("no job")
        };
        let job = fog_types::job::parse(&job_file).unwrap();
        let spec = program(&args).unwrap().spec();
        assert_eq!(
            (job.args_of(0), job.env_of(0), job.seed, job.name),
            (spec.args, spec.env, spec.seed, spec.program)
        );
        assert_eq!(job.limits, spec.limits);
        assert_eq!(job.stdin.map(PathBuf::from), spec.stdin);
        let inputs: Vec<Mount> =
            job.inputs.into_iter().map(|(name, path)| Mount { name, path: path.into() }).collect();
        assert_eq!(inputs, spec.inputs);
        let replaced = ProgramArgs { rest: vec!["{index}".to_owned()], ..ProgramArgs::default() };
        assert!(program(&replaced).unwrap().submission().is_err());
        let twice = ProgramArgs {
            input: vec![args.input[0].clone(), args.input[0].clone()],
            ..ProgramArgs::default()
        };
        assert!(program(&twice).is_err());
        let case = ProgramArgs {
            input: ["a", "A"].map(|name| format!("{name}={}", at("data").display())).to_vec(),
            ..ProgramArgs::default()
        };
        assert!(program(&case).unwrap_err().error.message.contains("same name"));
        let device =
            ProgramArgs { input: vec![format!("NUL={}", at("data").display())], ..ProgramArgs::default() };
        assert!(program(&device).unwrap_err().error.message.contains("device"));
    }
}
