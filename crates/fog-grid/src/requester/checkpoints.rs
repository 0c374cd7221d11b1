//! Requester: checkpoints of tasks, from which another worker can continue.

use fog_types::{NodeId, TaskId};

use super::Requester;
use crate::content::Content;
use crate::lease::{Effect, Lease, LeaseState};
use crate::message::{LeaseId, WorkerState};
use crate::trust::AcceptanceRule;

impl Requester {
    /// Records a checkpoint of a task that this node stores, if it holds more units than the known one.
    pub fn record_checkpoint(&mut self, task: TaskId, units: u64, from: NodeId, content: Content) {
        if let Some(known) = self.tasks.get_mut(&task)
            && known.checkpoint.as_ref().is_none_or(|(best, _, _)| *best < units)
        {
            known.checkpoint = Some((units, from, content));
        }
    }

    /// Handles the report of a worker that it saved a checkpoint.
    pub fn handle_saved(&mut self, id: LeaseId, node: NodeId, units: u64, content: Content, now: u64) {
        let Some(lease) = self.hear(id, node, now) else { return };
        let task = lease.task;
        let is_newer = self
            .tasks
            .get(&task)
            .is_some_and(|known| known.checkpoint.as_ref().is_none_or(|(best, _, _)| *best < units));
        if is_newer {
            self.effects.push_back(Effect::FetchCheckpoint { lease: id, task, node, units, content });
        }
    }

    /// Handles the loss of the stored checkpoint of a task. Leases that were about to resume from it end,
    /// and the task begins anew. No node is blamed, and each may be asked again at once.
    pub fn handle_state_lost(&mut self, task: TaskId, why: &str, now: u64) {
        let Some(known) = self.tasks.get_mut(&task) else { return };
        known.checkpoint = None;
        let is_coming = |lease: &Lease| {
            lease.units > 0
                && matches!(lease.state, LeaseState::Offered | LeaseState::Held(WorkerState::Fetching))
        };
        let waiting: Vec<(LeaseId, NodeId)> = self
            .leases_of(task)
            .filter(|(_, lease)| is_coming(lease))
            .map(|(id, lease)| (id, lease.node))
            .collect();
        for (id, node) in waiting {
            self.end(id, why.to_owned(), false, now);
            self.effects.push_back(Effect::Release {
                node,
                lease: id,
                why: "the state to go on from is lost",
            });
        }
    }

    /// Returns the checkpoint to resume a task from, with its work units. Returns `None` for a task whose
    /// results are compared: each replica begins from the start, so that none builds on the state of
    /// another worker.
    #[must_use]
    pub fn checkpoint(&self, task: TaskId) -> Option<(u64, Content)> {
        let known = self.tasks.get(&task)?;
        let is_compared = known.need.replicas > 1
            || !known.results.is_empty()
            || known.need.choice != AcceptanceRule::Quorum(1);
        if is_compared {
            return None;
        }
        known.checkpoint.as_ref().map(|(units, _, content)| (*units, *content))
    }
}
