//! Context of every handler: the store, the clocks, the settings, what other subsystems show, and the
//! effects of the input that is handled.

use std::cell::{RefCell, RefMut};
use std::time::{Duration, Instant};

use fog_api::EventBody;
use fog_eligibility::Eligibility;
use fog_grid::{Identity, Message};
use fog_runtime::Key;
use fog_store::{Store, StoreError};
use fog_types::{JobId, NodeId, Percent, TaskId};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::directory::Directory;
use crate::duty::policy::Settings;
use crate::effects::Effects;
use crate::handle::EngineConfig;
use crate::message::EngineMessage;
pub(crate) use crate::network::runtime::Net;
use crate::owner_requests::Unstored;
use crate::traffic::Traffic;
use crate::views;

/// Key of the state of both clocks at the last run.
pub(crate) const CLOCK_KEY: &str = "_clock";

/// Work of this device, as subsystems show it to each other.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Number of running tasks that are not of other devices.
    pub(crate) own: usize,
    /// Tasks that run.
    pub(crate) running: Vec<TaskId>,
    /// Memory in bytes of running tasks and estimates, and of the segment that is run again.
    pub(crate) run: u64,
    pub(crate) replay: u64,
    /// Work units per second of a task at full duty, as last measured; 0 before.
    pub(crate) speed: u64,
}

impl Load {
    /// Memory in bytes that all work takes.
    pub(crate) fn memory(&self) -> u64 {
        self.run.saturating_add(self.replay)
    }
}

/// State that handlers read and change beside their own subsystem.
pub(crate) struct Context {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// Sender into the event loop, for the threads that a handler starts.
    pub(crate) to_self: mpsc::Sender<EngineMessage>,
    pub(crate) out: Effects,
    /// Settings as the owner wants them. Changed by [`Context::keep_settings`] alone.
    pub(crate) settings: Settings,
    /// Requests of the owner that are in effect and not stored yet.
    pub(crate) unstored: Unstored,
    /// Rules with their verdict; `duty` alone changes them.
    pub(crate) rules: Eligibility,
    /// Key of this device; `None` when it cannot be had.
    pub(crate) key: Option<Key>,
    /// Reason why there is no key; empty otherwise.
    pub(crate) key_problem: String,
    /// Identity of this device in networks; `None` without a key.
    pub(crate) identity: Option<Identity>,
    /// Secret from which the keys of content and of stored groups are derived.
    pub(crate) secret: [u8; 32],
    /// Bytes of this period; `network` alone counts them.
    pub(crate) traffic: Traffic,
    /// Other devices; `network` alone changes who is there.
    pub(crate) directory: Directory,
    /// The running network; `network` alone starts and stops it.
    pub(crate) net: Option<Net>,
    /// Network in memory that takes the place of libp2p.
    #[cfg(test)]
    pub(crate) in_memory: Option<fog_transport::memory::MemoryNetwork>,
    /// Work of this device; the event loop keeps it current.
    pub(crate) load: Load,
    /// Whether contributing ends with the running tasks.
    pub(crate) finishing: bool,
    /// Duty of work outside the queue of tasks: estimates and replayed segments.
    pub(crate) work_duty: watch::Sender<Percent>,
    pub(crate) began: Instant,
    pub(crate) random: RefCell<StdRng>,
    pub(crate) is_stopping: bool,
}

impl Context {
    /// Memory in bytes that this device lends now, also that which is taken.
    pub(crate) fn lent_budget(&self) -> u64 {
        self.memory_budget(self.load.memory())
    }

    /// Current time for durations, by a clock that only goes forward and stands still while the device
    /// sleeps.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Time since an instant of [`Context::now`].
    pub(crate) fn since(&self, at: Instant) -> Duration {
        self.now().saturating_duration_since(at)
    }

    /// Milliseconds since the start, by the clock of [`Context::now`].
    pub(crate) fn now_ms(&self) -> u64 {
        self.since(self.began).as_millis() as u64
    }

    /// Random numbers of this engine: unpredictable, but for engines that a test seeds.
    pub(crate) fn rng(&self) -> RefMut<'_, StdRng> {
        self.random.borrow_mut()
    }

    /// Id of this device in networks; `None` without a key.
    pub(crate) fn me(&self) -> Option<NodeId> {
        self.identity.as_ref().map(Identity::node)
    }

    /// Sends a message to a node once the changes of this input are stored.
    pub(crate) fn say(&mut self, node: NodeId, message: Message) {
        self.out.send(node, message);
    }

    /// Announces an event to all front ends.
    pub(crate) fn announce(&mut self, body: EventBody) {
        self.out.publish(body);
    }

    /// Announces the present state of a job.
    pub(crate) fn announce_job(&mut self, id: JobId) {
        if let Ok(row) = self.store.job(id) {
            let mut job = views::job_summary(&(&row).into());
            if self.unstored.apply(&mut job) {
                self.announce(EventBody::Job(job));
            }
        }
    }

    /// Stores the state of both clocks for the next run.
    pub(crate) fn remember_clock(&mut self) {
        let state = serde_json::to_value(self.clock.state()).ok();
        if let Err(error) = self.store.set_settings(&[(CLOCK_KEY.to_owned(), state)]) {
            tracing::error!(%error, "the time cannot be noted");
        }
    }

    /// Whether a job has ended or is gone. One whose state cannot be read is not over.
    pub(crate) fn is_over(&self, id: JobId) -> bool {
        match self.store.job_state(id) {
            Ok(state) => state.is_final(),
            Err(error) => matches!(error, StoreError::NoJob(_)),
        }
    }

    /// Whether this device's user submitted a job. Another device may use the owner text of own jobs, so
    /// the row in the store decides while it exists.
    pub(crate) fn is_own(&self, id: JobId, owner: &str) -> Result<bool, StoreError> {
        Ok(owner == fog_api::THIS_DEVICE && !self.store.is_hosted(id)?)
    }
}
