//! Report of a run.

use std::fmt;

use serde::Serialize;

/// Figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Number of devices.
    pub nodes: usize,
    /// Number of tasks submitted.
    pub tasks: u64,
    /// Number of tasks whose result was believed.
    pub accepted: u64,
    /// Number of these tasks with a wrong result.
    pub wrong: u64,
    /// Number of tasks accepted more than once; must be 0.
    pub twice: u64,
    /// Hours of virtual time until the last task was accepted or the time was up.
    pub hours: f64,
    /// Work units of the accepted tasks, each task counted once.
    pub useful: f64,
    /// Work units that devices computed.
    pub computed: f64,
    /// Work units of the second and further results of tasks.
    pub checking: f64,
    /// Jain's index of the work of each device relative to what it could have done, 0 to 1.
    pub fairness: f64,
    /// Share of the time in which slots of working devices were busy.
    pub busy: f64,
    /// Bytes of messages per device and hour.
    pub bytes_per_node_hour: f64,
    /// Bytes of shipped checkpoints per device and hour.
    pub state_bytes_per_node_hour: f64,
    /// Number of leases per accepted task.
    pub leases_per_task: f64,
    /// Number of events.
    pub events: u64,
    /// Seconds of real time of the run.
    pub seconds: f64,
}

impl Report {
    /// Returns the share of wrong results among those believed.
    #[must_use]
    pub fn wrong_share(&self) -> f64 {
        self.wrong as f64 / self.accepted.max(1) as f64
    }

    /// Returns the work that was repeated because a device was lost, relative to the useful work.
    #[must_use]
    pub fn redone(&self) -> f64 {
        (self.computed - self.checking - self.useful).max(0.0) / self.useful.max(1.0)
    }

    /// Returns the work that was done only to compare, relative to the useful work.
    #[must_use]
    pub fn cost_of_checking(&self) -> f64 {
        self.checking / self.useful.max(1.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "devices                     {}", self.nodes)?;
        writeln!(
            f,
            "tasks accepted              {} of {} ({} twice) in {:.1} h",
            self.accepted, self.tasks, self.twice, self.hours
        )?;
        writeln!(f, "wrong results accepted      {} ({:.4} %)", self.wrong, self.wrong_share() * 100.0)?;
        writeln!(f, "work done again             {:.2} % of the useful", self.redone() * 100.0)?;
        writeln!(f, "work to compare             {:.2} % of the useful", self.cost_of_checking() * 100.0)?;
        writeln!(f, "leases for a task           {:.2}", self.leases_per_task)?;
        writeln!(f, "slots busy                  {:.1} %", self.busy * 100.0)?;
        writeln!(f, "fairness (Jain)             {:.3}", self.fairness)?;
        writeln!(f, "messages, device and hour   {:.1} kB", self.bytes_per_node_hour / 1e3)?;
        writeln!(f, "states, device and hour     {:.1} MB", self.state_bytes_per_node_hour / 1e6)?;
        write!(f, "{} events in {:.1} s", self.events, self.seconds)
    }
}
