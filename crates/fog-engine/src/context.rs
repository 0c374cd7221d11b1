//! Context of every handler: the store, the clocks, the settings, what other subsystems show, and the
//! effects of the input that is handled.

use std::time::Instant;

use fog_api::EventBody;
use fog_eligibility::Eligibility;
use fog_grid::{Identity, Message};
use fog_runtime::Key;
use fog_store::Store;
use fog_types::{JobId, NodeId};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::directory::Directory;
use crate::duty::owner_requests::Unstored;
use crate::duty::policy::Settings;
use crate::effects::Effects;
use crate::handle::EngineConfig;
use crate::message::EngineMessage;
use crate::network::runtime::Net;
use crate::views;

/// What a handler reads and changes beside its own subsystem.
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
    /// Other devices; `network` alone changes who is there.
    pub(crate) directory: Directory,
    /// The running network; `network` alone starts and stops it.
    pub(crate) net: Option<Net>,
    pub(crate) began: Instant,
    pub(crate) is_stopping: bool,
}

impl Context {
    /// Milliseconds since the start, by a clock that only goes forward.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
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
}
