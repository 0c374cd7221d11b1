//! Arguments of `fog run`, `fog checkpoint` and `fog verify`, and of the program that runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Program: a WebAssembly command for WASI preview 1
    #[arg(required_unless_present = "from")]
    pub module: Option<PathBuf>,
    /// Checkpoint to continue from; it contains program, arguments and inputs. Output printed before the
    /// checkpoint is printed again, so that the output is complete
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "arg", "env", "stdin", "input", "memory", "units", "wall", "disk", "seed", "rest"])]
    pub from: Option<PathBuf>,
    /// File for checkpoints, written during the run and on interruption (SIGTERM, Ctrl-C, closed terminal)
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, requires = "checkpoint", value_parser = positive)]
    pub every: f64,
    /// Folder that gets a checkpoint and the hash of the state at each mark, for `fog verify segment`
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    pub history: Option<PathBuf>,
    /// Work units between two marks, rounded up to a multiple of 5 million
    #[arg(long, value_name = "UNITS", default_value_t = 1_000_000_000, requires = "history", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000_000))]
    pub segment: u64,
    /// Engine that runs the program; results and work units are the same on each
    #[arg(long, value_enum, default_value_t = EngineChoice::Compiled)]
    pub engine: EngineChoice,
    /// Share of processor time, 1 to 100
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub duty: u8,
    /// Arguments, inputs and limits of the program
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// Arguments, inputs and limits of a program, for `fog run` and `fog submit`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub struct ProgramArgs {
    /// Argument for the program; may be repeated
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true)]
    pub arg: Vec<String>,
    /// Environment variable for the program; may be repeated
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// File for the program's standard input; - for the standard input of this command
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// File that the program may read as /in/NAME; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub input: Vec<String>,
    /// Folder for the files that the program writes; `fog submit` waits for them
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Memory limit in MiB
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// Limit of work units
    #[arg(long, value_name = "N")]
    pub units: Option<u64>,
    /// Limit of processor time, such as 90s or 2h
    #[arg(long, value_name = "SPAN")]
    pub wall: Option<String>,
    /// Limit of bytes in files, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<String>,
    /// Seed of the program's random numbers
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Arguments for the program, passed on unchanged
    #[arg(last = true, value_name = "ARGS")]
    pub rest: Vec<String>,
}

impl ProgramArgs {
    /// Whether no option except `--out` is given.
    pub fn is_out_alone(&self) -> bool {
        *self == Self { out: self.out.clone(), ..Self::default() }
    }
}

/// Engine that runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// Machine code for this processor
    Compiled,
    /// Interpreter: slower, available on every processor
    Interpreted,
}

impl From<EngineChoice> for fog_runtime::EngineKind {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Compiled => Self::Compiled,
            EngineChoice::Interpreted => Self::Interpreted,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum VerifyVerb {
    /// Run one segment of a history again and compare; exit code 1 if it differs
    #[command(
        after_help = "Examples:\n  fog verify segment long.history --segment 3\n  fog verify segment long.history --segment 3 --engine interpreted --json"
    )]
    Segment(SegmentArgs),
}

#[derive(Debug, Args)]
pub struct SegmentArgs {
    /// Folder that `fog run --history` wrote
    #[arg(value_name = "DIR")]
    pub history: PathBuf,
    /// Number of the segment, from 0
    #[arg(long, value_name = "K")]
    pub segment: usize,
    /// Engine that runs the segment
    #[arg(long, value_enum, default_value_t = EngineChoice::Compiled)]
    pub engine: EngineChoice,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|n: &f64| *n > 0.0 && *n <= 1e9)
        .ok_or_else(|| "a number of seconds above 0".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum CheckpointVerb {
    /// Show the task of a checkpoint and its progress
    #[command(
        after_help = "Examples:\n  fog checkpoint inspect long.fog\n  fog checkpoint inspect long.fog --json"
    )]
    Inspect {
        /// Checkpoint file
        file: PathBuf,
    },
}
