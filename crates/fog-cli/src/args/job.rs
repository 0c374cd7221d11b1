//! Arguments of `fog jobs` and `fog job`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fog_types::JobId;

use super::submit::Preference;

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
