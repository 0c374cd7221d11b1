//! Repository chores; the main ones are `cargo xtask run` and `cargo xtask test`.

mod bench;
mod examples;
mod fuzz;
mod graph;
mod lanes;
mod run;
mod setup;
mod shell;
mod targets;
mod test;
mod tidy;
mod ui;

use clap::{Parser, Subcommand};

/// Chores of this repository
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the other chores need: system packages (Debian, Ubuntu) and Rust targets
    Setup,
    /// Set up, build and start the app; without a display the daemon and an example job
    Run {
        /// Run as on a machine without a display
        #[arg(long)]
        headless: bool,
        /// Build optimised
        #[arg(long)]
        release: bool,
    },
    /// Set up and run every check of CI
    Test {
        /// Also run the long forms of the test suites
        #[arg(long)]
        full: bool,
        /// Run only the window tests
        #[arg(long)]
        only_window: bool,
    },
    /// Run the benchmarks, beside other programs where these can be installed
    Bench,
    /// Simulate thousands of devices in virtual time: completion, waste, fairness, liars. Takes some
    /// minutes
    Sim {
        /// Number of devices
        #[arg(long, default_value_t = 10_000)]
        nodes: usize,
        /// Number of tasks
        #[arg(long, default_value_t = 1_000_000)]
        tasks: u64,
    },
    /// Run the coverage-guided fuzz targets of tests/fuzz
    Fuzz {
        /// Number of inputs for each target
        #[arg(long, default_value_t = 1_000_000)]
        runs: u64,
        /// Only this target: job_file, ipc_frame, worker_frame, grid_message, mesh_packet, carried_message,
        /// module, instrument or checkpoint
        target: Option<String>,
    },
    /// Build the window's files into dist/
    Ui {
        /// Build optimised
        #[arg(long)]
        release: bool,
    },
    /// Build the example jobs beside the programs
    Examples,
    /// Check rules of the source that neither the compiler nor Clippy checks
    Tidy {
        /// Rewrite the list of known exceptions instead
        #[arg(long)]
        write_exceptions: bool,
    },
    /// Print which subsystems of the engine use which; fails when they form a circle
    Graph {
        /// Print every file with the files whose methods it calls
        #[arg(long)]
        files: bool,
    },
    /// Type-check every crate that ships for other systems
    CheckTargets,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Setup => setup::setup(),
        Chore::Run { headless, release } => run::run(headless, release),
        Chore::Test { full, only_window } => test::test(full, only_window),
        Chore::Bench => bench::bench(),
        Chore::Sim { nodes, tasks } => {
            let (nodes, tasks) = (nodes.to_string(), tasks.to_string());
            shell::sh(
                "cargo",
                &[
                    "run",
                    "--quiet",
                    "--release",
                    "--locked",
                    "-p",
                    "fog-sim",
                    "--",
                    "--nodes",
                    &nodes,
                    "--tasks",
                    &tasks,
                ],
            )
        }
        Chore::Fuzz { runs, target } => fuzz::fuzz(runs, target.as_deref()),
        Chore::Ui { release } => ui::build(release),
        Chore::Examples => examples::build("debug"),
        Chore::Tidy { write_exceptions } => tidy::tidy(write_exceptions),
        Chore::Graph { files } => graph::graph(files),
        Chore::CheckTargets => targets::check(),
    }
}
