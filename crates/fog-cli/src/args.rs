//! Arguments of the command line, parsed with clap.

pub mod chat;
mod job;
mod network;
mod run;
mod settings;
mod submit;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use chat::ChatArgs;
pub use job::{JobVerb, JobsArgs};
pub use network::{DevnetArgs, NetworkArgs, NetworkVerb};
pub use run::{CheckpointVerb, ProgramArgs, RunArgs, SegmentArgs, VerifyVerb};
pub use settings::SettingsVerb;
pub use submit::SubmitArgs;

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

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Number of hours shown
    #[arg(long, default_value_t = 24)]
    pub hours: u32,
}
