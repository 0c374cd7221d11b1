//! Arguments of `fog submit`.

use std::path::PathBuf;

use clap::Args;

use super::run::ProgramArgs;

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
