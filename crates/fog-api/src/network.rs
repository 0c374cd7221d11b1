use fog_types::job::{Prefer, Service};
use serde::{Deserialize, Serialize};

/// Networks this device joined, and what goes on there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkView {
    /// The id of this device; empty before it joined anything.
    pub id: String,
    /// What others see it called.
    pub name: String,
    /// What was joined.
    pub joined: Vec<JoinedNetwork>,
    /// It takes part now.
    pub is_on: bool,
    /// Why it does not although it joined, or what is wrong; empty otherwise.
    pub problem: String,
    /// How far it can be reached.
    pub reach: ReachView,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Devices that can be reached now.
    pub peers: Vec<PeerView>,
    /// Bytes received since the start of the period, beyond the local network.
    pub received: u64,
    /// Bytes sent since the start of the period, beyond the local network.
    pub sent: u64,
    /// Most bytes in a period of 30 days; 0 means no limit.
    pub data_cap: u64,
    /// Messages to whole networks that were heard and passed on.
    pub adverts: u64,
    /// By how many milliseconds the clocks of most devices here are ahead of this one's, below 0 behind it; none where they
    /// agree, or nobody can tell whose is wrong.
    pub clock_off_ms: Option<i64>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNetwork {
    /// `lan`, `open`, or what the group is called.
    pub name: String,
    /// It is a private group.
    pub is_group: bool,
    /// When.
    pub joined_ms: i64,
}

/// How far a device can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachView {
    /// Not found out.
    #[default]
    Unknown,
    /// From anywhere.
    Public,
    /// Through a relay.
    Relayed,
}

/// Whether bytes to a device go through another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerPath {
    /// Straight.
    Direct,
    /// Through a relay.
    Relayed,
    /// Not at all now.
    None,
}

/// Another device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Why it is known: `lan`, `open`, the name of a group, or empty.
    pub network: String,
    /// It can be talked to now.
    pub connected: bool,
    /// `quic`, `tcp`, `websocket`; empty when it is not connected.
    pub transport: String,
    /// Straight or relayed.
    pub path: PeerPath,
    /// Its address, for people.
    pub address: String,
    /// Milliseconds there and back.
    pub round_trip_ms: Option<u32>,
    /// Tasks it could take now.
    pub free: u16,
    /// Tasks it takes at once.
    pub slots: u16,
    /// Share of processor time it lends, 0 to 100.
    pub duty: u8,
    /// Tasks of this device it has now.
    pub lent: u32,
    /// Tasks of its that this device has now.
    pub hosted: u32,
    /// The chance that a task comes back right from it, in thousandths, from what was seen of it.
    pub reliability: u16,
    /// When it was last heard of.
    pub seen_ms: i64,
    /// By how many milliseconds its clock is ahead of this device's, in whole seconds; below 0 behind it. None where that is
    /// not known.
    #[serde(default)]
    pub clock_off_ms: Option<i64>,
}

/// Where one task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlace {
    /// Its place in the job.
    pub index: u32,
    /// Who has it.
    pub node: String,
    /// What its owner calls that device.
    pub name: String,
    /// `offered`, `fetching`, `waiting`, `running`, `paused`, `checking`, `done` or `lost`.
    pub state: String,
    /// Work units so far.
    pub units: u64,
    /// Of the whole, in thousandths.
    pub permille: Option<u16>,
}

/// Where tasks could go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    /// Tasks, replicas counted.
    pub tasks: u32,
    /// How many of them the plan is made of: the first ones, where there are very many.
    #[serde(default)]
    pub planned: u32,
    /// Tasks of the plan that find no place now and wait.
    pub waiting: u32,
    /// The choices of which none is better in everything.
    pub front: Vec<PlanPoint>,
    /// Which of them is taken.
    pub chosen: usize,
    /// What was preferred.
    pub prefer: Prefer,
    /// Why that one, in a sentence.
    pub why: String,
}

/// One choice: all tasks placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanPoint {
    /// Until the last result, in seconds.
    pub seconds: f64,
    /// In work units, the price of one being one.
    pub cost: f64,
    /// Watt-hours, and the wear of batteries counted as such.
    pub energy: f64,
    /// The chance that something has to be done again, 0 to 1.
    pub risk: f64,
    /// How unevenly the load lies, 0 to 1.
    pub unfairness: f64,
    /// Tasks on each device: its id, its name, how many.
    pub shares: Vec<(String, String, u32)>,
}

/// Whether a class of service was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseView {
    /// There is time still.
    Open,
    /// It was.
    Kept,
    /// It was not.
    Broken,
}

/// What was asked of other devices for a job, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridView {
    /// What is promised.
    pub service: Service,
    /// Whether it was kept.
    pub promise: PromiseView,
    /// Why it was not; empty otherwise.
    pub why: String,
    /// Why its waiting tasks are not lent to devices that are there; empty otherwise.
    #[serde(default)]
    pub withheld: String,
    /// Devices that run each task.
    pub devices: u32,
    /// The least number of devices that agreed on any finished task.
    pub agreed: u32,
    /// Thousandths of a credit that its accepted results cost.
    pub spent: u64,
    /// Thousandths of a credit that are put aside for tasks that are lent now.
    pub reserved: u64,
    /// Spot checks, and those that found a wrong result.
    pub checks: (u32, u32),
}

/// Credits between devices, in thousandths. A credit is a thousand million work units at the usual price.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditView {
    /// For work done for others, by their receipts.
    pub earned: u64,
    /// For work of others that was accepted.
    pub spent: u64,
    /// Put aside for tasks that are lent now.
    pub reserved: u64,
    /// Most that may be owed; 0 means no limit.
    pub limit: u64,
    /// With each device.
    pub peers: Vec<PeerCredit>,
}

/// Credits with one device, in thousandths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCredit {
    /// Which.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// From it.
    pub earned: u64,
    /// To it.
    pub spent: u64,
    /// Put aside for tasks it has now.
    pub reserved: u64,
}
