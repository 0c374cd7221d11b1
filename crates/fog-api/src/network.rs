use fog_types::job::{Prefer, Service};
use serde::{Deserialize, Serialize};

/// Joined networks, known devices and traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkView {
    /// Node id of this device; empty while no network is joined.
    pub id: String,
    /// Name under which other devices see this one.
    pub name: String,
    /// Networks that this device joined.
    pub joined: Vec<JoinedNetwork>,
    /// Whether the network is running now.
    pub is_on: bool,
    /// Reason why the network does not run or what is wrong with it; empty otherwise.
    pub problem: String,
    /// Reachability of this device from outside.
    pub reach: ReachView,
    /// Addresses on which this device listens.
    pub addresses: Vec<String>,
    /// Devices that are reachable now.
    pub peers: Vec<PeerView>,
    /// Bytes received from outside the local network since the start of the period.
    pub received: u64,
    /// Bytes sent outside the local network since the start of the period.
    pub sent: u64,
    /// Limit for traffic in a period of 30 days, in bytes; 0 means no limit.
    pub data_cap: u64,
    /// Number of GossipSub adverts that were accepted and passed on.
    pub adverts: u64,
    /// Milliseconds by which the clocks of most devices here are ahead of this one; negative when they are
    /// behind. `None` when they agree or no majority shows which clock is wrong.
    pub clock_off_ms: Option<i64>,
}

/// One joined network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNetwork {
    /// `lan`, `open`, or the name of the group.
    pub name: String,
    /// Whether the network is a private group.
    pub is_group: bool,
    /// Time at which the network was joined.
    pub joined_ms: i64,
}

/// Reachability of a device from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachView {
    /// Not known yet.
    #[default]
    Unknown,
    /// Reachable from anywhere.
    Public,
    /// Reachable only through a relay.
    Relayed,
}

/// Kind of connection to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerPath {
    /// Connected directly.
    Direct,
    /// Connected through a relay.
    Relayed,
    /// Not connected now.
    None,
}

/// Another device of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Node id of the device.
    pub id: String,
    /// Name that the owner gave the device.
    pub name: String,
    /// Network through which the device is known: `lan`, `open`, the name of a group, or empty.
    pub network: String,
    /// Whether the device is connected now.
    pub connected: bool,
    /// Transport of the connection: `quic`, `tcp` or `websocket`; empty without a connection.
    pub transport: String,
    /// Direct or relayed connection.
    pub path: PeerPath,
    /// Address of the connection, for display.
    pub address: String,
    /// Round-trip time in milliseconds.
    pub round_trip_ms: Option<u32>,
    /// Number of further tasks that the device can take now.
    pub free: u16,
    /// Number of tasks that the device runs at once.
    pub slots: u16,
    /// Share of processor time that the device lends, 0 to 100 percent.
    pub duty: u8,
    /// Number of this device's tasks that the peer holds now.
    pub lent: u32,
    /// Number of the peer's tasks that this device holds now.
    pub hosted: u32,
    /// Chance that the peer returns a correct result, in thousandths, from past results.
    pub reliability: u16,
    /// Time at which the peer was last heard.
    pub seen_ms: i64,
    /// Milliseconds by which the peer's clock is ahead of this one, in whole seconds; negative when it is
    /// behind. `None` when it is unknown.
    #[serde(default)]
    pub clock_off_ms: Option<i64>,
}

/// One task and the device that holds its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlace {
    /// Index of the task.
    pub index: u32,
    /// Node id of the device.
    pub node: String,
    /// Name of the device.
    pub name: String,
    /// Lease state: `offered`, `fetching`, `waiting`, `running`, `paused`, `checking`, `done` or `lost`.
    pub state: String,
    /// Work units used so far.
    pub units: u64,
    /// Progress in thousandths; `None` when it is unknown.
    pub permille: Option<u16>,
}

/// Possible placements of tasks on other devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    /// Number of tasks, including replicas.
    pub tasks: u32,
    /// Number of tasks in the plan; of very many, only the first ones are planned.
    #[serde(default)]
    pub planned: u32,
    /// Number of planned tasks that find no device now and wait.
    pub waiting: u32,
    /// Pareto-optimal choices.
    pub front: Vec<PlanPoint>,
    /// Index of the selected choice in `front`.
    pub chosen: usize,
    /// Preference by which the choice was selected.
    pub prefer: Prefer,
    /// One sentence that explains the selection.
    pub why: String,
}

/// One choice: a placement of all planned tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanPoint {
    /// Seconds until the last result.
    pub seconds: f64,
    /// Price of all tasks, in work units at the usual price.
    pub cost: f64,
    /// Energy in watt-hours, including the wear of batteries.
    pub energy: f64,
    /// Chance that a task has to be done again, 0 to 1.
    pub risk: f64,
    /// Unevenness of the load, 0 (even) to 1.
    pub unfairness: f64,
    /// Tasks on each device: node id, name, number of tasks.
    pub shares: Vec<(String, String, u32)>,
}

/// State of the promise that a class of service makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseView {
    /// Neither kept nor broken yet.
    Open,
    /// Kept by the result in time.
    Kept,
    /// Broken by a missing, late or insufficiently confirmed result.
    Broken,
}

/// Terms and progress of a job on other devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridView {
    /// Class of service of the job.
    pub service: Service,
    /// State of the promised service.
    pub promise: PromiseView,
    /// Reason why the promise was broken; empty otherwise.
    pub why: String,
    /// Reason why waiting tasks are not lent to reachable devices; empty otherwise.
    #[serde(default)]
    pub withheld: String,
    /// Number of devices that run each task.
    pub devices: u32,
    /// Smallest number of devices that agreed on the result of a finished task.
    pub agreed: u32,
    /// Cost of the accepted results, in thousandths of a credit.
    pub spent: u64,
    /// Credits reserved for tasks that are lent now, in thousandths.
    pub reserved: u64,
    /// Number of spot checks, and of those that found a wrong result.
    pub checks: (u32, u32),
}

/// Credits between devices, in thousandths. One credit pays for 10⁹ work units at the usual price.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditView {
    /// Credits earned by work for others, according to receipts.
    pub earned: u64,
    /// Credits spent on accepted results of others.
    pub spent: u64,
    /// Credits reserved for tasks that are lent now.
    pub reserved: u64,
    /// Limit for the debt of this device; 0 means no limit.
    pub limit: u64,
    /// Credits by device.
    pub peers: Vec<PeerCredit>,
}

/// Credits with one device, in thousandths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCredit {
    /// Node id of the device.
    pub id: String,
    /// Name that the owner gave the device.
    pub name: String,
    /// Credits earned from the device.
    pub earned: u64,
    /// Credits spent on work of the device.
    pub spent: u64,
    /// Credits reserved for tasks that the device holds now.
    pub reserved: u64,
}
