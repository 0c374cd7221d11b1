//! Arguments of the command line, parsed with clap.

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
    /// Command to run
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the engine without a window, until it is stopped
    #[command(
        after_help = "Examples:\n  fog daemon\n  fog daemon --data-dir /var/lib/fog\n  FOG_LOG=debug fog daemon"
    )]
    Daemon(DaemonArgs),
    /// Show whether the device works, on which jobs, and why not
    #[command(after_help = "Examples:\n  fog status\n  fog status --watch\n  fog status --json")]
    Status(WatchArgs),
    /// List every reason why the device does not work, or not at full speed
    #[command(
        after_help = "Examples:\n  fog why\n  fog why --with battery=35,charging=false\n  fog why --trace recorded.jsonl"
    )]
    Why(WhyArgs),
    /// Switch contributing on
    #[command(after_help = "Example:\n  fog on")]
    On,
    /// Switch contributing off
    #[command(after_help = "Examples:\n  fog off\n  fog off --finish    # let running tasks end first")]
    Off(OffArgs),
    /// Pause for a number of minutes
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
    /// Inspect checkpoints
    #[command(
        subcommand,
        after_help = "Examples:\n  fog checkpoint inspect long.fog\n  fog checkpoint inspect long.fog --json"
    )]
    Checkpoint(CheckpointVerb),
    /// Verify work that another device did by running a part of it again
    #[command(
        subcommand,
        after_help = "Examples:\n  fog run long.wasm --history long.history --segment 5000000000\n  fog verify segment long.history --segment 3\n  fog verify segment long.history --segment 3 --engine interpreted --json"
    )]
    Verify(VerifyVerb),
    /// Submit a job to the engine
    #[command(
        after_help = "Examples:\n  fog submit job.toml\n  fog submit job.toml --estimate\n  fog submit program.wasm --wait\n  fog submit tool.wasm --input data.csv=./data.csv --out results --watch -- --fast /in/data.csv\n  fog submit moved.fog\n  fog submit job.toml --where grid --replicas 2 --watch\n  fog submit job.toml --where grid --service gold --deadline 2h\n  fog submit job.toml --where grid --adaptive --spot-checks 5\n  fog submit --example protein-search --watch\n  fog submit job.toml --watch --now    # also while other programs use the device\n  fog submit --list-examples"
    )]
    Submit(Box<SubmitArgs>),
    /// List jobs, newest first
    #[command(
        after_help = "Examples:\n  fog jobs\n  fog jobs --state running --state queued\n  fog jobs --json | jq '.[].id'"
    )]
    Jobs(JobsArgs),
    /// Show or change one job
    #[command(
        subcommand,
        after_help = "Examples:\n  fog job show 12\n  fog job logs 12 --task 3\n  fog job result 12 -o results\n  fog job cancel 12\n  fog job export-checkpoint 12 -o half.fog"
    )]
    Job(JobVerb),
    /// Show what the device did
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
    /// List the known devices
    #[command(
        after_help = "Examples:\n  fog peers\n  fog peers --json | jq '.[] | select(.connected) | .name'"
    )]
    Peers,
    /// Talk to people near, over Bluetooth and joined networks, without internet
    #[command(
        after_help = "Examples:\n  fog chat                              # talk in the room of everybody\n  fog chat --to anna                    # talk to one person\n  fog chat send 'hello everybody'\n  fog chat send --to anna 'see you at 8'\n  fog chat send --to anna --file map.png\n  fog chat tail --json                  # one event a line\n  fog chat people\n  fog chat group create hikers anna ben # a private group\n  fog chat send --to hikers 'at the hut'\n  fog chat verify                       # a QR code for the other person\n  fog chat wipe --yes\n\nBluetooth is used by `fog daemon --ble`, or after `fog settings set chat_bluetooth=on`."
    )]
    Chat(ChatArgs),
    /// Show credits earned, spent and reserved between devices. One credit is a thousand million work units
    #[command(
        after_help = "Examples:\n  fog credits\n  fog credits --json | jq .earned\n  fog settings set credit_limit=100"
    )]
    Credits,
    /// Stop the engine; unfinished tasks wait for its next start
    #[command(after_help = "Example:\n  fog shutdown")]
    Shutdown,
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  fog completions bash > ~/.local/share/bash-completion/completions/fog"
    )]
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Chat over Bluetooth LE with people near; together with --relay, a headless relay
    #[arg(long)]
    pub ble: bool,
    /// Bluetooth adapter, such as hci0 (default: the first one)
    #[arg(long, value_name = "NAME", requires = "ble")]
    pub adapter: Option<String>,
    /// Log file instead of standard error; at 8 MiB a new one begins and the full one is kept with the
    /// suffix .1
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Relay for devices that cannot reach each other; meant for a machine that is always on
    #[arg(long)]
    pub relay: bool,
    /// UDP and TCP port for other devices; WebSocket has the next one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Address of a first peer, as /ip4/…/udp/…/quic-v1/p2p/ID; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub bootstrap: Vec<String>,
    /// Serve counters for Prometheus at http://127.0.0.1:PORT/metrics
    #[arg(long, value_name = "PORT")]
    pub metrics: Option<u16>,
    /// Talk to devices on this machine only
    #[arg(long, hide = true)]
    pub loopback: bool,
}

impl DaemonArgs {
    /// Returns the network settings of the daemon.
    pub fn network(&self) -> fog_engine::NetSettings {
        fog_engine::NetSettings {
            loopback: self.loopback,
            relay: self.relay,
            port: self.port,
            known: self.bootstrap.clone(),
        }
    }
}

/// `fog devnet N`
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// Number of devices
    #[arg(value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=50))]
    pub count: u16,
    /// Folder for the devices' data; when not given, a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `fog network …`
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Command to run; shows the state when not given
    #[command(subcommand)]
    pub verb: Option<NetworkVerb>,
}

/// A verb of `fog network`.
#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// Show the joined networks and how far this device can be reached
    #[command(after_help = "Examples:\n  fog network status\n  fog network status --json")]
    Status,
    /// Join a network
    #[command(
        after_help = "Examples:\n  fog network join lan\n  fog network join FOG1…    # what `fog network invite` printed on another device"
    )]
    Join {
        /// lan, open, or an invitation
        #[arg(value_name = "lan|open|INVITE")]
        what: String,
    },
    /// Show a text and a QR code that let another device into a private group
    #[command(after_help = "Examples:\n  fog network invite\n  fog network invite --group friends")]
    Invite {
        /// Name of the group; created when it does not exist
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
    /// Readings to assume, as name=value, separated by commas; nothing is changed
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
    /// Minutes to pause, up to a week; 0 ends a pause
    #[arg(default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=10_080))]
    pub minutes: u32,
}

#[derive(Debug, Subcommand)]
pub enum SettingsVerb {
    /// List every setting with its value, default and range
    #[command(after_help = "Examples:\n  fog settings list\n  fog settings list --json")]
    List,
    /// Print one value
    #[command(after_help = "Example:\n  fog settings get battery_stop")]
    Get {
        /// Key of the setting
        key: String,
    },
    /// Change settings, all or none
    #[command(
        after_help = "Examples:\n  fog settings set battery_stop=50 run_on_battery=on\n  fog settings set battery_stop=    # the default again"
    )]
    Set {
        /// KEY=VALUE; an empty value returns to the default
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
    /// Write all settings to one file
    #[command(after_help = "Example:\n  fog settings export -o fog.json")]
    Export {
        /// File to write (default: standard output)
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Import settings from an exported file, all or none
    #[command(after_help = "Example:\n  fog settings import fog.json")]
    Import {
        /// Exported file
        file: PathBuf,
    },
    /// Return every setting to its default
    #[command(after_help = "Example:\n  fog settings reset")]
    Reset,
}

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

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("waits").args(["wait", "watch", "out"]).multiple(true)))]
pub struct SubmitArgs {
    /// Job file (.toml), program (.wasm), or exported checkpoint (.fog) to continue here
    #[arg(value_name = "JOB.toml|MODULE.wasm|CHECKPOINT.fog", required_unless_present_any = ["example", "list_examples"])]
    pub file: Option<PathBuf>,
    /// Arguments, inputs and limits of a program; a job file has its own
    #[command(flatten)]
    pub program: ProgramArgs,
    /// Name of an example job that ships with the program
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub example: Option<String>,
    /// List the example jobs that ship with the program
    #[arg(long, conflicts_with_all = ["file", "example"])]
    pub list_examples: bool,
    /// Devices that run the job: this one, or others that share a network with it
    #[arg(long = "where", value_enum, default_value_t = Place::Local)]
    pub place: Place,
    /// Number of devices that run each task; a majority must return the same result
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub replicas: u32,
    /// Ask devices until the odds of a wrong result are below 1 in TRUST, instead of counting equal results
    #[arg(long, value_name = "TRUST", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub trust: Option<u32>,
    /// Compare two results while a device is not well known; after n correct results in a row (at least
    /// ten), compare only one result in n
    #[arg(long, conflicts_with = "trust")]
    pub adaptive: bool,
    /// Service class: one device for each task, two that agree, or two of three; at 1, 2.5 and 5 times the
    /// price
    #[arg(long, value_enum, default_value_t = Class::Bronze)]
    pub service: Class,
    /// Pay up to twice as much for early results
    #[arg(long)]
    pub bonus: bool,
    /// Percentage of tasks with a known result that are given out a second time
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub spot_checks: u8,
    /// Main goal when several devices could run a task
    #[arg(long, value_enum, default_value_t = Preference::Balanced)]
    pub prefer: Preference,
    /// Time after which the result is not needed any more, such as 30min or 2d
    #[arg(long, value_name = "SPAN")]
    pub deadline: Option<String>,
    /// Submit nothing; run the beginning of the first task and estimate what the job would cost here
    #[arg(long, conflicts_with_all = ["example", "list_examples", "wait", "watch"])]
    pub estimate: bool,
    /// Longest run of the --estimate sample, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "estimate", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub sample: u32,
    /// Wait for the end; exit code 0 only if the job finished
    #[arg(long)]
    pub wait: bool,
    /// Wait, show progress on standard error, print the result
    #[arg(long)]
    pub watch: bool,
    /// Run the job now and to its end, even while you or other programs use the device. Rules that protect
    /// the device (battery, heat, disk, memory) still hold
    #[arg(long, conflicts_with = "list_examples")]
    pub now: bool,
    /// Stop waiting (exit code 75) when nothing of the job ran for this long, such as 90s; the job is kept
    #[arg(long, value_name = "SPAN", requires = "waits")]
    pub stall_timeout: Option<String>,
}

/// Devices that run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// This device
    Local,
    /// Other devices that share a network with it
    Grid,
}

/// Service class of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// One device for each task
    Bronze,
    /// Two devices whose results must be equal
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

/// Main goal of placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preference {
    /// A balance of all goals
    Balanced,
    /// An early result
    Fast,
    /// A low price
    Cheap,
    /// Little energy and little wear of batteries
    Green,
    /// Low risk that work is repeated
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
    /// Returns the longest time in which nothing of the job runs.
    ///
    /// # Errors
    /// When the time span cannot be parsed.
    pub fn stall_timeout(&self) -> Result<Option<std::time::Duration>, crate::output::Failure> {
        let seconds = self
            .stall_timeout
            .as_deref()
            .map(fog_types::job::parse_span)
            .transpose()
            .map_err(crate::output::Failure::input)?;
        Ok(seconds.map(std::time::Duration::from_secs))
    }

    /// Returns the wish to run on other devices; `None` for a job of this device.
    pub fn grid(&self) -> Option<fog_types::job::GridOptions> {
        let wish = fog_types::job::GridOptions {
            replicas: self.replicas,
            prefer: self.prefer.into(),
            trust: self.trust,
            adaptive: self.adaptive,
            service: self.service.into(),
            bonus: self.bonus,
            spot_checks: self.spot_checks,
        };
        // Options that only other devices can fulfil imply the grid.
        let is_meant = self.replicas > 1
            || self.trust.is_some()
            || self.adaptive
            || self.service != Class::Bronze
            || self.spot_checks > 0;
        (self.place == Place::Grid || is_meant).then_some(wish)
    }
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only jobs in this state: queued, running, paused, finished, failed, cancelled; may be repeated
    #[arg(long)]
    pub state: Vec<String>,
    /// Only jobs whose name contains this text
    #[arg(long, default_value = "")]
    pub name: String,
    /// Greatest number of jobs listed
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Only jobs with a number below this
    #[arg(long)]
    pub before: Option<JobId>,
}

#[derive(Debug, Subcommand)]
pub enum JobVerb {
    /// Show all details of a job
    #[command(after_help = "Examples:\n  fog job show 3\n  fog job show 3 --from 200 --json | jq .tasks")]
    Show {
        /// Number of the job
        id: JobId,
        /// First task listed; 50 tasks are listed, 200 with --json
        #[arg(long, default_value_t = 0)]
        from: u32,
    },
    /// Print the output of a task
    #[command(after_help = "Examples:\n  fog job logs 3\n  fog job logs 3 --task 2 --stderr")]
    Logs {
        /// Number of the job
        id: JobId,
        /// Number of the task
        #[arg(long, default_value_t = 0)]
        task: u32,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
    },
    /// Show the possible placements of a job: those that no other beats in every goal, and the chosen one.
    /// Nothing is submitted
    #[command(
        after_help = "Examples:\n  fog job map job.toml\n  fog job map job.toml --replicas 2 --prefer cheap --json"
    )]
    Map {
        /// Job file
        #[arg(value_name = "JOB.toml")]
        file: PathBuf,
        /// Number of devices that run each task
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
        replicas: u32,
        /// Main goal
        #[arg(long, value_enum, default_value_t = Preference::Balanced)]
        prefer: Preference,
    },
    /// List the devices that have tasks of a job
    #[command(after_help = "Example:\n  fog job places 3")]
    Places {
        /// Number of the job
        id: JobId,
    },
    /// Pause a job: stop its tasks and start no more
    #[command(after_help = "Examples:\n  fog job pause 3\n  fog job resume 3    # goes on")]
    Pause {
        /// Number of the job
        id: JobId,
    },
    /// Run a job now and to its end, even while you or other programs use the device
    ///
    /// Rules that protect the device (battery, heat, disk, memory) still hold, and so does `fog off`.
    #[command(after_help = "Example:\n  fog job now 3")]
    Now {
        /// Number of the job
        id: JobId,
    },
    /// Resume a paused job
    #[command(after_help = "Example:\n  fog job resume 3")]
    Resume {
        /// Number of the job
        id: JobId,
    },
    /// Cancel a job; finished results are kept
    #[command(after_help = "Example:\n  fog job cancel 3")]
    Cancel {
        /// Number of the job
        id: JobId,
    },
    /// Remove an ended job and its results
    #[command(after_help = "Example:\n  fog job remove 3")]
    Remove {
        /// Number of the job
        id: JobId,
    },
    /// Take a checkpoint of a job's running tasks now
    #[command(
        after_help = "Examples:\n  fog job checkpoint 3\n  fog job checkpoint 3 -o now.fog    # and take it elsewhere"
    )]
    Checkpoint {
        /// Number of the job
        id: JobId,
        /// File that also gets the checkpoint of one task, with its program and inputs
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Export a task's checkpoint, with its program and inputs, to a file that `fog run --from` continues
    /// on any device
    #[command(
        after_help = "Examples:\n  fog job export-checkpoint 3 -o half.fog\n  fog job export-checkpoint 3 --task 2 -o half.fog\n  fog run --from half.fog"
    )]
    ExportCheckpoint {
        /// Number of the job
        id: JobId,
        /// Number of the task (default: the first one with a checkpoint)
        #[arg(long)]
        task: Option<u32>,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Export a task's history to a folder: its checkpoint and hash at every mark, with its program and
    /// inputs
    ///
    /// The distance between marks is set by 'segment' in the job file. `fog verify segment` checks one
    /// segment.
    #[command(
        after_help = "Examples:\n  fog job export-history 3 -o three.history\n  fog verify segment three.history --segment 0"
    )]
    ExportHistory {
        /// Number of the job
        id: JobId,
        /// Number of the task
        #[arg(long, default_value_t = 0)]
        task: u32,
        /// Folder to write
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Write a job's results to a folder, or print the assembled result
    #[command(after_help = "Examples:\n  fog job result 3 -o results\n  fog job result 3 > result.txt")]
    Result {
        /// Number of the job
        id: JobId,
        /// Folder to write; when not given, the assembled or only output is printed
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Number of hours shown
    #[arg(long, default_value_t = 24)]
    pub hours: u32,
}
