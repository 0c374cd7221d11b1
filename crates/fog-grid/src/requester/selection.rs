//! Requester: tasks that need another worker, and nodes that may be asked.

use std::collections::BTreeSet;
use std::ops::Bound;

use fog_types::{NodeId, TaskId};

use super::{PATIENCE, Requester, Task};
use crate::lease::{Lease, LeaseState};
use crate::trust::Verdict;

impl Requester {
    /// Returns at most `limit` tasks that need workers, with the number of workers and the nodes that must
    /// not be asked. If there are more tasks, the next call returns others.
    #[must_use]
    pub fn wanting(&mut self, limit: usize, now: u64) -> Vec<(TaskId, u32, BTreeSet<NodeId>)> {
        let from = self.looked.take().filter(|_| self.open.len() > limit);
        let rest = self.open.range((from.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let before = from.map(|from| self.open.range(..=from)).into_iter().flatten();
        let look_at = |id: &TaskId| {
            let task = self.tasks.get(id).filter(|task| task.not_before <= now)?;
            let held = task.leases.iter().filter_map(|lease| self.leases.get(lease));
            let working = held.filter(|lease| lease.state != LeaseState::Lost).map(|lease| lease.node);
            let backoff_until =
                task.backoff_until.iter().filter(|(_, until)| **until > now).map(|(node, _)| *node);
            let avoid =
                working.chain(backoff_until).chain(task.results.iter().map(|given| given.node)).collect();
            Some((*id, self.wants(task), avoid))
        };
        let found: Vec<_> = rest.chain(before).filter_map(look_at).take(limit).collect();
        self.looked = found.last().map(|(id, _, _)| *id);
        found
    }

    fn wants(&self, task: &Task) -> u32 {
        let live =
            task.leases.iter().filter_map(|id| self.leases.get(id)).filter(|lease| lease.is_live()).count()
                as u32;
        let more = match task.verdict() {
            Verdict::Accept(_) => 0,
            Verdict::More(more) => more,
        };
        let replicas = task.need.replicas.saturating_sub(task.results.len() as u32);
        replicas.max(more).saturating_sub(live)
    }

    /// Updates `open` for a task; called after every change that may affect whether it needs a worker.
    pub(super) fn reconsider(&mut self, id: TaskId) {
        let is_open = self.tasks.get(&id).is_some_and(|task| self.wants(task) > 0);
        if is_open {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
    }

    /// Holds back a task that failed: it is not offered to any node before `until`.
    pub fn hold(&mut self, task: TaskId, until: u64) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.not_before = until;
        }
    }

    /// Returns whether a node is in a pause and must not be asked.
    #[must_use]
    pub fn is_resting(&self, node: NodeId, now: u64) -> bool {
        self.busy_until.get(&node).is_some_and(|rest| rest.until > now)
    }

    /// Handles the report of a node that it has room: the node may be asked again at once, unless it
    /// declined more than 8 times in a row. Returns the number of offers that the node has not answered;
    /// its free slots do not account for them.
    pub fn handle_room(&mut self, node: NodeId) -> usize {
        if let Some(rest) = self.busy_until.get_mut(&node).filter(|rest| rest.declines <= PATIENCE) {
            rest.until = 0;
        }
        self.leases_at(node).filter(|lease| lease.state == LeaseState::Offered).count()
    }

    /// Returns the number of tasks that need another worker.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Returns whether a task has an overdue lease that is not lost; another attempt at such a task is less
    /// urgent than a task that no worker has.
    #[must_use]
    pub fn is_second_try(&self, task: TaskId) -> bool {
        self.leases_of(task).any(|(_, lease)| lease.is_overdue && lease.state != LeaseState::Lost)
    }

    /// Returns the number of leases that occupy a slot of a node.
    pub fn held_by(&self, node: NodeId) -> u32 {
        let counts = |lease: &&Lease| matches!(lease.state, LeaseState::Offered | LeaseState::Held(_));
        u32::try_from(self.leases_at(node).filter(counts).count()).unwrap_or(u32::MAX)
    }
}
