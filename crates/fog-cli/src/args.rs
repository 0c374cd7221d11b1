//! The command line, as clap reads it.

pub mod chat;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fog_types::JobId;

use chat::ChatArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0   done          1  answered no, or a job failed   2  wrong arguments
  65  bad input     66 not found                      69 no engine runs
  70  a bug here    74 file or disk                   75 state or limit forbids it
  76  other version 78 not supported here             141 nobody reads its output any more
`fog run` passes on the exit code of the program it ran; 124 a limit ended it, 126 it cannot run.

Environment: FOG_DATA_DIR (as --data-dir), FOG_EXAMPLES, FOG_LOG (such as info or fog_engine=debug), FOG_KEYCHAIN
(off: the key of the checkpoints goes to a file), LANG.";

/// Lend your device's idle time, and run jobs on it
#[derive(Debug, Parser)]
#[command(name = "fog", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Folder with jobs, results and settings
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the engine without a window, until it is stopped
    #[command(after_help = "Examples:\n  fog daemon\n  fog daemon --data-dir /var/lib/fog\n  FOG_LOG=debug fog daemon")]
    Daemon(DaemonArgs),
    /// Is it working, on what, and why not
    #[command(after_help = "Examples:\n  fog status\n  fog status --watch\n  fog status --json")]
    Status(WatchArgs),
    /// Every reason why the device does not work, or not at full speed
    #[command(after_help = "Examples:\n  fog why\n  fog why --with battery=35,charging=false\n  fog why --trace recorded.jsonl")]
    Why(WhyArgs),
    /// Switch contributing on
    #[command(after_help = "Example:\n  fog on")]
    On,
    /// Switch contributing off
    #[command(after_help = "Examples:\n  fog off\n  fog off --finish    # let running tasks end first")]
    Off(OffArgs),
    /// Pause for some minutes
    #[command(after_help = "Examples:\n  fog snooze 30\n  fog snooze 0    # end the pause")]
    Snooze(SnoozeArgs),
    /// Read and change settings
    #[command(
        subcommand,
        after_help = "Examples:\n  fog settings list\n  fog settings set battery_stop=50 run_on_battery=on\n  fog settings export -o fog.json"
    )]
    Settings(SettingsVerb),
    /// Run a WASI program here and now, without the engine or a network
    #[command(
        after_help = "Examples:\n  fog run hello.wasm\n  fog run sort.wasm --stdin words.txt > sorted.txt\n  fog run tool.wasm --input data.csv=./data.csv --out results -- --fast /in/data.csv\n  fog run long.wasm --checkpoint long.fog --every 10\n  fog run --from long.fog"
    )]
    Run(Box<RunArgs>),
    /// Look into checkpoints
    #[command(subcommand, after_help = "Examples:\n  fog checkpoint inspect long.fog\n  fog checkpoint inspect long.fog --json")]
    Checkpoint(CheckpointVerb),
    /// Check work that somebody else did, by doing a part of it again
    #[command(
        subcommand,
        after_help = "Examples:\n  fog run long.wasm --history long.history --segment 5000000000\n  fog verify segment long.history --segment 3\n  fog verify segment long.history --segment 3 --engine interpreted --json"
    )]
    Verify(VerifyVerb),
    /// Give the engine a job
    #[command(
        after_help = "Examples:\n  fog submit job.toml\n  fog submit job.toml --estimate\n  fog submit program.wasm --wait\n  fog submit tool.wasm --input data.csv=./data.csv --out results --watch -- --fast /in/data.csv\n  fog submit moved.fog\n  fog submit job.toml --where grid --replicas 2 --watch\n  fog submit job.toml --where grid --service gold --deadline 2h\n  fog submit job.toml --where grid --adaptive --spot-checks 5\n  fog submit --example protein-search --watch\n  fog submit job.toml --watch --now    # also while other programs use the device\n  fog submit --list-examples"
    )]
    Submit(Box<SubmitArgs>),
    /// List jobs, newest first
    #[command(after_help = "Examples:\n  fog jobs\n  fog jobs --state running --state queued\n  fog jobs --json | jq '.[].id'")]
    Jobs(JobsArgs),
    /// Look at one job or change it
    #[command(
        subcommand,
        after_help = "Examples:\n  fog job show 12\n  fog job logs 12 --task 3\n  fog job result 12 -o results\n  fog job cancel 12\n  fog job export-checkpoint 12 -o half.fog"
    )]
    Job(JobVerb),
    /// What the device did
    #[command(after_help = "Examples:\n  fog history\n  fog history --hours 720 --json")]
    History(HistoryArgs),
    /// Check sensors, folders and the engine
    #[command(after_help = "Example:\n  fog doctor")]
    Doctor,
    /// Share work with other devices: the local network, a private group, or anybody
    #[command(
        after_help = "Examples:\n  fog network                   # what was joined, and how far this device can be reached\n  fog network join lan          # share with devices on the same network\n  fog network invite            # a text and a QR code for another device\n  fog network join FOG1…        # on the other device\n  fog network leave lan"
    )]
    Network(NetworkArgs),
    /// Start several devices on this machine that share work, to try things out
    #[command(
        after_help = "Examples:\n  fog devnet 5\n  fog devnet 3 --folder ./net    # keep their folders\n  fog --data-dir ./net/node-1 submit --example lucas-lehmer --where grid --watch"
    )]
    Devnet(DevnetArgs),
    /// The devices that are known
    #[command(after_help = "Examples:\n  fog peers\n  fog peers --json | jq '.[] | select(.connected) | .name'")]
    Peers,
    /// Talk to people near, over Bluetooth and joined networks, without internet
    #[command(
        after_help = "Examples:\n  fog chat                              # talk in the room of everybody\n  fog chat --to anna                    # talk to one person\n  fog chat send 'hello everybody'\n  fog chat send --to anna 'see you at 8'\n  fog chat send --to anna --file map.png\n  fog chat tail --json                  # one event a line\n  fog chat people\n  fog chat group create hikers anna ben # a private group\n  fog chat send --to hikers 'at the hut'\n  fog chat verify                       # a QR code for the other person\n  fog chat wipe --yes\n\nBluetooth is used by `fog daemon --ble`, or after `fog settings set chat_bluetooth=on`."
    )]
    Chat(ChatArgs),
    /// What was earned, spent and put aside between devices. A credit is a thousand million work units
    #[command(after_help = "Examples:\n  fog credits\n  fog credits --json | jq .earned\n  fog settings set credit_limit=100")]
    Credits,
    /// Stop the engine; unfinished tasks wait for its next start
    #[command(after_help = "Example:\n  fog shutdown")]
    Shutdown,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  fog completions bash > ~/.local/share/bash-completion/completions/fog")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Chat over Bluetooth LE with people near; a headless relay together with --relay
    #[arg(long)]
    pub ble: bool,
    /// The Bluetooth adapter, such as hci0; the first when not given
    #[arg(long, value_name = "NAME", requires = "ble")]
    pub adapter: Option<String>,
    /// Write the log here instead of to standard error; at 8 MiB it begins anew, and the full one gets .1 behind its name
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Relay for devices that cannot reach each other: for a machine that is always on
    #[arg(long)]
    pub relay: bool,
    /// UDP and TCP port for other devices; WebSocket has the next one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// A device to begin with, as /ip4/…/udp/…/quic-v1/p2p/ID; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub bootstrap: Vec<String>,
    /// Give counters for Prometheus at http://127.0.0.1:PORT/metrics
    #[arg(long, value_name = "PORT")]
    pub metrics: Option<u16>,
    /// Talk to devices on this machine only
    #[arg(long, hide = true)]
    pub loopback: bool,
}

impl DaemonArgs {
    /// How it takes part in networks.
    pub fn network(&self) -> fog_engine::NetSettings {
        fog_engine::NetSettings { loopback: self.loopback, relay: self.relay, port: self.port, known: self.bootstrap.clone() }
    }
}

/// `fog devnet N`
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// How many
    #[arg(value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=50))]
    pub count: u16,
    /// Where their folders are; a new one that is removed at the end when not given
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `fog network …`
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// What to do; shows the state when not given
    #[command(subcommand)]
    pub verb: Option<NetworkVerb>,
}

/// A verb of `fog network`.
#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// What was joined, and how far this device can be reached
    #[command(after_help = "Examples:\n  fog network status\n  fog network status --json")]
    Status,
    /// Join a network
    #[command(after_help = "Examples:\n  fog network join lan\n  fog network join FOG1…    # what `fog network invite` printed on another device")]
    Join {
        /// lan, open, or an invitation
        #[arg(value_name = "lan|open|INVITE")]
        what: String,
    },
    /// Show a text and a QR code that let another device into a private group
    #[command(after_help = "Examples:\n  fog network invite\n  fog network invite --group friends")]
    Invite {
        /// The group; made when there is none of this name
        #[arg(long)]
        group: Option<String>,
    },
    /// Leave a network
    #[command(after_help = "Examples:\n  fog network leave lan\n  fog network leave    # all of them")]
    Leave {
        /// lan, open or the name of a group; all of them when not given
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Print a line whenever something changes, until interrupted
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Pretend these readings: name=value, separated by commas. Nothing is changed
    #[arg(long, value_name = "K=V,…", value_delimiter = ',')]
    pub with: Vec<String>,
    /// Replay recorded readings (JSON lines) through the rules and print every change
    #[arg(long, value_name = "FILE", conflicts_with = "with")]
    pub trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct OffArgs {
    /// Let running tasks end first
    #[arg(long)]
    pub finish: bool,
}

#[derive(Debug, Args)]
pub struct SnoozeArgs {
    /// How long, up to a week; 0 ends a pause
    #[arg(default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=10_080))]
    pub minutes: u32,
}

#[derive(Debug, Subcommand)]
pub enum SettingsVerb {
    /// Every setting with its value, default and range
    #[command(after_help = "Examples:\n  fog settings list\n  fog settings list --json")]
    List,
    /// One value
    #[command(after_help = "Example:\n  fog settings get battery_stop")]
    Get {
        /// Its key
        key: String,
    },
    /// Change settings, all or none
    #[command(after_help = "Examples:\n  fog settings set battery_stop=50 run_on_battery=on\n  fog settings set battery_stop=    # the default again")]
    Set {
        /// KEY=VALUE; an empty value returns to the default
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
    /// Write all settings to one file
    #[command(after_help = "Example:\n  fog settings export -o fog.json")]
    Export {
        /// Where to; standard output when not given
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take settings from an exported file, all or none
    #[command(after_help = "Example:\n  fog settings import fog.json")]
    Import {
        /// The file
        file: PathBuf,
    },
    /// Return every setting to its default
    #[command(after_help = "Example:\n  fog settings reset")]
    Reset,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The program: a WebAssembly command for WASI preview 1
    #[arg(required_unless_present = "from")]
    pub module: Option<PathBuf>,
    /// Continue from this checkpoint: program, arguments and inputs are in it. What was printed
    /// before is printed again, so that the output is whole
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "arg", "env", "stdin", "input", "memory", "units", "wall", "disk", "seed", "rest"])]
    pub from: Option<PathBuf>,
    /// Write checkpoints here while it runs, and when it is interrupted (SIGTERM, Ctrl-C, a terminal that is closed)
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, requires = "checkpoint", value_parser = positive)]
    pub every: f64,
    /// Keep a checkpoint and the identity of the state at each mark in this folder, for
    /// `fog verify segment`
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    pub history: Option<PathBuf>,
    /// Work units between two marks, rounded up to a multiple of 5 million
    #[arg(long, value_name = "UNITS", default_value_t = 1_000_000_000, requires = "history", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000_000))]
    pub segment: u64,
    /// What runs it; results and work units are the same
    #[arg(long, value_enum, default_value_t = EngineChoice::Compiled)]
    pub engine: EngineChoice,
    /// Share of processor time, 1 to 100
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub duty: u8,
    /// What the program is given
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// What a program is given, run here or submitted.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub struct ProgramArgs {
    /// One argument for the program; may be repeated
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true)]
    pub arg: Vec<String>,
    /// One variable for the program; may be repeated
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// File for the program's standard input; - for this command's own
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// A file the program may read as /in/NAME; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub input: Vec<String>,
    /// Folder for the files the program leaves; `fog submit` waits for them
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Most memory, in MiB
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// Most work units
    #[arg(long, value_name = "N")]
    pub units: Option<u64>,
    /// Most processor time, such as 90s or 2h
    #[arg(long, value_name = "SPAN")]
    pub wall: Option<String>,
    /// Most bytes in files, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<String>,
    /// Seed of everything random in the program
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Arguments for the program, as they are
    #[arg(last = true, value_name = "ARGS")]
    pub rest: Vec<String>,
}

impl ProgramArgs {
    /// Whether nothing of it is given to a program.
    pub fn is_out_alone(&self) -> bool {
        *self == Self { out: self.out.clone(), ..Self::default() }
    }
}

/// What runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// Machine code of this processor
    Compiled,
    /// The interpreter: slower, on every processor
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
    /// Run one segment of a history again and compare; exit code 1 if it is wrong
    #[command(
        after_help = "Examples:\n  fog verify segment long.history --segment 3\n  fog verify segment long.history --segment 3 --engine interpreted --json"
    )]
    Segment(SegmentArgs),
}

#[derive(Debug, Args)]
pub struct SegmentArgs {
    /// The folder that `fog run --history` wrote
    #[arg(value_name = "DIR")]
    pub history: PathBuf,
    /// Which segment, from 0
    #[arg(long, value_name = "K")]
    pub segment: usize,
    /// What runs it
    #[arg(long, value_enum, default_value_t = EngineChoice::Compiled)]
    pub engine: EngineChoice,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| *n > 0.0 && *n <= 1e9).ok_or_else(|| "a number of seconds above 0".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum CheckpointVerb {
    /// What a checkpoint is of, and how far it is
    #[command(after_help = "Examples:\n  fog checkpoint inspect long.fog\n  fog checkpoint inspect long.fog --json")]
    Inspect {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("waits").args(["wait", "watch", "out"]).multiple(true)))]
pub struct SubmitArgs {
    /// A job file (.toml), a program (.wasm), or a checkpoint that travels (.fog), which goes on here
    #[arg(value_name = "JOB.toml|MODULE.wasm|CHECKPOINT.fog", required_unless_present_any = ["example", "list_examples"])]
    pub file: Option<PathBuf>,
    /// What the program is given, where FILE is one; a job file says this itself
    #[command(flatten)]
    pub program: ProgramArgs,
    /// One of the jobs that come with the program
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub example: Option<String>,
    /// List the jobs that come with the program
    #[arg(long, conflicts_with_all = ["file", "example"])]
    pub list_examples: bool,
    /// Where it runs: on this device, or on others that share a network with it
    #[arg(long = "where", value_enum, default_value_t = Place::Local)]
    pub place: Place,
    /// Devices that run each task; most of them must come to the same result
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub replicas: u32,
    /// Ask devices until the odds against a result are below 1 in TRUST, instead of counting equal ones
    #[arg(long, value_name = "TRUST", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub trust: Option<u32>,
    /// Compare two results of a device that is not known well, but believe one that gave ten right in a row,
    /// except one time in as many
    #[arg(long, conflicts_with = "trust")]
    pub adaptive: bool,
    /// What is promised: one device for each task, two that agree, or two of three; at 1, 2.5 and 5 times
    /// the price
    #[arg(long, value_enum, default_value_t = Class::Bronze)]
    pub service: Class,
    /// Pay early results more, up to twice
    #[arg(long)]
    pub bonus: bool,
    /// Of a hundred tasks give so many out a second time although their result is known
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub spot_checks: u8,
    /// What matters most when several devices could run a task
    #[arg(long, value_enum, default_value_t = Preference::Balanced)]
    pub prefer: Preference,
    /// Nobody wants the result after this time, such as 30min or 2d
    #[arg(long, value_name = "SPAN")]
    pub deadline: Option<String>,
    /// Submit nothing; run the beginning of the first task and say what the job would cost here
    #[arg(long, conflicts_with_all = ["example", "list_examples", "wait", "watch"])]
    pub estimate: bool,
    /// Longest the sample of --estimate may run, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "estimate", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub sample: u32,
    /// Wait for the end; exit code 0 only if it finished
    #[arg(long)]
    pub wait: bool,
    /// Wait, show progress on standard error, print the result
    #[arg(long)]
    pub watch: bool,
    /// Run it now and to its end, also while you or other programs use the device. Rules that protect the
    /// device (battery, heat, disk, memory) still hold
    #[arg(long, conflicts_with = "list_examples")]
    pub now: bool,
    /// Stop waiting (exit code 75) when nothing of the job ran for this long, such as 90s; the job is kept
    #[arg(long, value_name = "SPAN", requires = "waits")]
    pub stall_timeout: Option<String>,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// On this device
    Local,
    /// On other devices that share a network with it
    Grid,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// One device for each task
    Bronze,
    /// Two devices, whose results must be equal
    Silver,
    /// Three devices, of which two must agree
    Gold,
}

impl From<Class> for fog_types::job::Service {
    fn from(class: Class) -> Self {
        match class {
            Class::Bronze => Self::Bronze,
            Class::Silver => Self::Silver,
            Class::Gold => Self::Gold,
        }
    }
}

/// What matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preference {
    /// A bit of everything
    Balanced,
    /// The result soon
    Fast,
    /// A low price
    Cheap,
    /// Little energy, no wear of batteries
    Green,
    /// Little risk of doing it again
    Safe,
}

impl From<Preference> for fog_types::job::Prefer {
    fn from(preference: Preference) -> Self {
        match preference {
            Preference::Balanced => Self::Balanced,
            Preference::Fast => Self::Fast,
            Preference::Cheap => Self::Cheap,
            Preference::Green => Self::Green,
            Preference::Safe => Self::Safe,
        }
    }
}

impl SubmitArgs {
    /// Longest time in which nothing of the job runs.
    pub fn stall_timeout(&self) -> Result<Option<std::time::Duration>, crate::output::Failure> {
        let seconds = self.stall_timeout.as_deref().map(fog_types::job::parse_span).transpose().map_err(crate::output::Failure::input)?;
        Ok(seconds.map(std::time::Duration::from_secs))
    }

    /// That other devices may run it.
    pub fn grid(&self) -> Option<fog_types::job::GridWish> {
        let wish = fog_types::job::GridWish {
            replicas: self.replicas,
            prefer: self.prefer.into(),
            trust: self.trust,
            adaptive: self.adaptive,
            service: self.service.into(),
            bonus: self.bonus,
            spot_checks: self.spot_checks,
        };
        // Whoever asks for what only other devices can give means them.
        let is_meant = self.replicas > 1 || self.trust.is_some() || self.adaptive || self.service != Class::Bronze || self.spot_checks > 0;
        (self.place == Place::Grid || is_meant).then_some(wish)
    }
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only this state: queued, running, paused, finished, failed, cancelled; may be repeated
    #[arg(long)]
    pub state: Vec<String>,
    /// Only names that contain this
    #[arg(long, default_value = "")]
    pub name: String,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Only numbers below this
    #[arg(long)]
    pub before: Option<JobId>,
}

#[derive(Debug, Subcommand)]
pub enum JobVerb {
    /// Everything about a job
    #[command(after_help = "Examples:\n  fog job show 3\n  fog job show 3 --from 200 --json | jq .tasks")]
    Show {
        /// Its number
        id: JobId,
        /// The first task that is listed; 50 are, with --json 200
        #[arg(long, default_value_t = 0)]
        from: u32,
    },
    /// What a task printed
    #[command(after_help = "Examples:\n  fog job logs 3\n  fog job logs 3 --task 2 --stderr")]
    Logs {
        /// Its number
        id: JobId,
        /// Which task
        #[arg(long, default_value_t = 0)]
        task: u32,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
    },
    /// Where its tasks could go: the choices of which none is better in everything, and the one taken.
    /// Nothing is submitted
    #[command(after_help = "Examples:\n  fog job map job.toml\n  fog job map job.toml --replicas 2 --prefer cheap --json")]
    Map {
        /// A job file
        #[arg(value_name = "JOB.toml")]
        file: PathBuf,
        /// Devices that run each task
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
        replicas: u32,
        /// What matters most
        #[arg(long, value_enum, default_value_t = Preference::Balanced)]
        prefer: Preference,
    },
    /// Which devices have its tasks
    #[command(after_help = "Example:\n  fog job places 3")]
    Places {
        /// Its number
        id: JobId,
    },
    /// Stop its tasks and start no more
    #[command(after_help = "Examples:\n  fog job pause 3\n  fog job resume 3    # goes on")]
    Pause {
        /// Its number
        id: JobId,
    },
    /// Run it now and to its end, also while you or other programs use the device
    ///
    /// Rules that protect the device (battery, heat, disk, memory) still hold, and so does `fog off`.
    #[command(after_help = "Example:\n  fog job now 3")]
    Now {
        /// Its number
        id: JobId,
    },
    /// Go on with a paused job
    #[command(after_help = "Example:\n  fog job resume 3")]
    Resume {
        /// Its number
        id: JobId,
    },
    /// End it; finished results are kept
    #[command(after_help = "Example:\n  fog job cancel 3")]
    Cancel {
        /// Its number
        id: JobId,
    },
    /// Forget an ended job and its results
    #[command(after_help = "Example:\n  fog job remove 3")]
    Remove {
        /// Its number
        id: JobId,
    },
    /// Take a checkpoint of its running tasks now
    #[command(after_help = "Examples:\n  fog job checkpoint 3\n  fog job checkpoint 3 -o now.fog    # and take it elsewhere")]
    Checkpoint {
        /// Its number
        id: JobId,
        /// Also write one task's checkpoint, with its program and inputs, to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a task's checkpoint, with its program and inputs, to a file that `fog run --from` continues anywhere
    #[command(
        after_help = "Examples:\n  fog job export-checkpoint 3 -o half.fog\n  fog job export-checkpoint 3 --task 2 -o half.fog\n  fog run --from half.fog"
    )]
    ExportCheckpoint {
        /// Its number
        id: JobId,
        /// Which task; the first that has a checkpoint when not given
        #[arg(long)]
        task: Option<u32>,
        /// The file
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write a task's history to a folder: its checkpoint and hash at every mark, with its program and inputs
    ///
    /// The job file's 'segment' says how far the marks lie apart. Check one stretch with `fog verify segment`.
    #[command(after_help = "Examples:\n  fog job export-history 3 -o three.history\n  fog verify segment three.history --segment 0")]
    ExportHistory {
        /// Its number
        id: JobId,
        /// Which task
        #[arg(long, default_value_t = 0)]
        task: u32,
        /// The folder
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Write its results to a folder, or print the assembled result
    #[command(after_help = "Examples:\n  fog job result 3 -o results\n  fog job result 3 > result.txt")]
    Result {
        /// Its number
        id: JobId,
        /// Folder to write to; without it the assembled or only output is printed
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How far back
    #[arg(long, default_value_t = 24)]
    pub hours: u32,
}
