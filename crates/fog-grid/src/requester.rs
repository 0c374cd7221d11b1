//! Requester side of the job exchange: the leases of each task, and the reactions to what workers report.

mod checkpoints;
mod reports;
mod results;
mod selection;
mod timeouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fog_types::{JobId, NodeId, TaskId};

use crate::content::Content;
use crate::lease::{Effect, Lease, LeaseState, Replication};
use crate::message::{LeaseId, WorkerState};
use crate::trust::{Evidence, Verdict, judge};

/// Milliseconds for which a worker that declined or failed is not asked again about the same task.
const DECLINE_BACKOFF_MS: u64 = 60_000;
/// Milliseconds of the first pause after a node declined or did not answer; it may soon have room.
const BUSY_BACKOFF_MS: u64 = 2_000;
/// Number of declines in a row after which each pause is twice the one before, and the longest pause in
/// milliseconds.
const PATIENCE: u32 = 8;
const LONGEST_REST: u64 = 600_000;
/// Number of leases per task above which a lost one is forgotten for a new one.
const MAX_LEASES: usize = 32;
/// Hash that stands for the claim of a worker that no node can do the task; no real hash looks like this.
const HOPELESS: &str = "hopeless";

struct Task {
    need: Replication,
    leases: BTreeSet<LeaseId>,
    results: Vec<SubmittedResult>,
    checkpoint: Option<(u64, NodeId, Content)>,
    backoff_until: BTreeMap<NodeId, u64>,
    /// Nodes that declined as not welcome once, perhaps because they did not know this node yet.
    rejected_once: BTreeSet<NodeId>,
    /// Time before which the task is not offered again after a failure.
    not_before: u64,
    /// Nodes that failed at the task without calling it hopeless.
    failed: BTreeSet<NodeId>,
    /// Problem stated by a worker that gave the task up as hopeless.
    problem: String,
}

/// Checked result, with the evidence about its worker at that time.
struct SubmittedResult {
    node: NodeId,
    hash: String,
    lease: LeaseId,
    evidence: Evidence,
}

impl Task {
    fn given_up_by(&self) -> usize {
        self.results.iter().filter(|given| given.hash == HOPELESS).count()
    }

    fn verdict(&self) -> Verdict {
        // Too few claims that the task is hopeless are ignored.
        let counts_hopeless = self.given_up_by() >= self.need.hopeless as usize;
        let counted = self.results.iter().filter(|given| counts_hopeless || given.hash != HOPELESS);
        let given: Vec<(NodeId, String)> = counted.map(|given| (given.node, given.hash.clone())).collect();
        let evidence = |node| {
            self.results
                .iter()
                .find(|given| given.node == node)
                .map(|given| given.evidence)
                .unwrap_or_default()
        };
        judge(&given, self.need.choice, evidence)
    }
}

/// Pause during which a node is not asked about anything.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    until: u64,
    /// Number of declines in a row; several declines at one moment count once.
    declines: u32,
}

impl Rest {
    fn declined(&mut self, now: u64) {
        if self.until <= now {
            self.declines = self.declines.saturating_add(1);
            let doubled = self.declines.saturating_sub(PATIENCE).min(16);
            self.until = now + (BUSY_BACKOFF_MS << doubled).min(LONGEST_REST);
        }
    }
}

/// Tasks that a requester gives to other nodes, with their leases.
#[derive(Default)]
pub struct Requester {
    tasks: BTreeMap<TaskId, Task>,
    leases: BTreeMap<LeaseId, Lease>,
    by_node: BTreeMap<NodeId, BTreeSet<LeaseId>>,
    /// Tasks that need another worker.
    open: BTreeSet<TaskId>,
    /// Last task that [`Self::wanting`] returned; the next call continues after it.
    looked: Option<TaskId>,
    /// Nodes that are not asked about anything because they declined or did not answer.
    busy_until: BTreeMap<NodeId, Rest>,
    /// Number of results of each job, and the mean time of its tasks in milliseconds.
    usual: BTreeMap<JobId, (u32, f64)>,
    effects: VecDeque<Effect>,
}

impl Requester {
    /// Adds a task that other nodes shall run.
    pub fn add(&mut self, task: TaskId, need: Replication) {
        let new = Task {
            need,
            leases: BTreeSet::new(),
            results: Vec::new(),
            checkpoint: None,
            backoff_until: BTreeMap::new(),
            rejected_once: BTreeSet::new(),
            not_before: 0,
            failed: BTreeSet::new(),
            problem: String::new(),
        };
        self.tasks.entry(task).or_insert(new);
        self.reconsider(task);
    }

    /// Returns whether a task is known.
    #[must_use]
    pub fn has(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Removes a task that is not wanted any more and releases its leases.
    pub fn remove(&mut self, task: TaskId, why: &'static str) {
        for (id, lease) in self.take_out(task) {
            self.effects.push_back(Effect::Release { node: lease.node, lease: id, why });
        }
    }

    /// Removes a task that has its result and releases all leases but those that gave a result.
    pub fn settle(&mut self, task: TaskId, right: &[LeaseId], wrong: &[LeaseId]) {
        for (id, lease) in self.take_out(task) {
            if !right.contains(&id) && !wrong.contains(&id) {
                self.release(lease.node, id);
                if lease.is_overdue {
                    // The overdue lease made another worker necessary.
                    self.effects.push_back(Effect::LeaseEnded {
                        lease: id,
                        task,
                        node: lease.node,
                        why: "another device was first by far".to_owned(),
                        is_lost: true,
                    });
                }
            }
        }
    }

    fn take_out(&mut self, task: TaskId) -> Vec<(LeaseId, Lease)> {
        self.open.remove(&task);
        let gone = self.tasks.remove(&task).map(|gone| gone.leases).unwrap_or_default();
        if self.tasks_of(task.job).next().is_none() {
            self.usual.remove(&task.job);
        }
        gone.into_iter().filter_map(|id| Some((id, self.forget(id)?))).collect()
    }

    fn remember(&mut self, id: LeaseId, lease: Lease) {
        self.by_node.entry(lease.node).or_default().insert(id);
        self.leases.insert(id, lease);
    }

    fn forget(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        if let Some(ids) = self.by_node.get_mut(&lease.node) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_node.remove(&lease.node);
            }
        }
        Some(lease)
    }

    /// Restores a lease that was stored before a restart.
    pub fn restore(&mut self, id: LeaseId, task: TaskId, node: NodeId, now: u64) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.leases.insert(id);
            self.remember(id, Lease::new(task, node, LeaseState::Held(WorkerState::Waiting), now));
            self.reconsider(task);
        }
    }

    /// Records that a task was offered to a worker, with the checkpoint that is known of it.
    pub fn offered(&mut self, id: LeaseId, task: TaskId, node: NodeId, now: u64) {
        let units = self.checkpoint(task).map_or(0, |(units, _)| units);
        let Some(known) = self.tasks.get_mut(&task) else { return };
        // The new lease replaces an older one of the same node, which was lost.
        let mut gone: Vec<LeaseId> = known
            .leases
            .iter()
            .filter(|id| self.leases.get(id).is_some_and(|lease| lease.node == node))
            .copied()
            .collect();
        if known.leases.len() >= MAX_LEASES {
            // A lost lease makes room.
            gone.extend(
                known
                    .leases
                    .iter()
                    .find(|id| self.leases.get(id).is_none_or(|lease| lease.state == LeaseState::Lost)),
            );
        }
        for old in &gone {
            known.leases.remove(old);
        }
        known.leases.insert(id);
        for old in gone {
            self.forget(old);
        }
        self.remember(id, Lease { units, ..Lease::new(task, node, LeaseState::Offered, now) });
        self.reconsider(task);
    }

    /// Returns the leases of a task.
    pub fn leases_of(&self, task: TaskId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.tasks
            .get(&task)
            .into_iter()
            .flat_map(|known| &known.leases)
            .filter_map(|id| Some((*id, self.leases.get(id)?)))
    }

    /// Returns the leases of a node.
    pub fn leases_at(&self, node: NodeId) -> impl Iterator<Item = &Lease> {
        self.by_node.get(&node).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    /// Returns all leases.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Returns a lease if `node` holds it.
    #[must_use]
    pub fn lease(&self, id: LeaseId, node: NodeId) -> Option<&Lease> {
        self.leases.get(&id).filter(|lease| lease.node == node)
    }

    /// Returns all known tasks.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.keys().copied()
    }

    /// Returns the known tasks of a job without visiting those of other jobs.
    pub fn tasks_of(&self, job: JobId) -> impl Iterator<Item = TaskId> {
        self.tasks.range(TaskId { job, index: 0 }..=TaskId { job, index: u32::MAX }).map(|(task, _)| *task)
    }

    fn hear(&mut self, id: LeaseId, node: NodeId, now: u64) -> Option<&mut Lease> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.node == node)?;
        lease.heard = now;
        lease.away = None;
        Some(lease)
    }

    /// Ends a lease; its worker is not asked about this task until `sulk_until`.
    fn end(&mut self, id: LeaseId, why: String, is_lost: bool, sulk_until: u64) {
        let Some(lease) = self.forget(id) else { return };
        if let Some(task) = self.tasks.get_mut(&lease.task) {
            task.leases.remove(&id);
            task.backoff_until.insert(lease.node, sulk_until);
        }
        self.reconsider(lease.task);
        self.effects.push_back(Effect::LeaseEnded {
            lease: id,
            task: lease.task,
            node: lease.node,
            why,
            is_lost,
        });
    }

    fn release(&mut self, node: NodeId, lease: LeaseId) {
        self.effects.push_back(Effect::Release { node, lease, why: "it is not needed any more" });
    }

    /// Returns the task of a lease.
    #[must_use]
    pub fn task_of(&self, id: LeaseId) -> Option<TaskId> {
        self.leases.get(&id).map(|lease| lease.task)
    }

    /// Returns the worker of a lease.
    #[must_use]
    pub fn node_of(&self, id: LeaseId) -> Option<NodeId> {
        self.leases.get(&id).map(|lease| lease.node)
    }

    /// Marks a lease as lost; its task is given to another worker.
    fn lose(&mut self, id: LeaseId, why: &str, now: u64) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.state = LeaseState::Lost;
        let (task, node) = (lease.task, lease.node);
        if let Some(known) = self.tasks.get_mut(&task) {
            known.backoff_until.insert(node, now + DECLINE_BACKOFF_MS);
        }
        self.reconsider(task);
        self.effects.push_back(Effect::LeaseEnded {
            lease: id,
            task,
            node,
            why: why.to_owned(),
            is_lost: true,
        });
    }

    /// Queues an effect that could not be carried out yet again.
    pub fn put_back(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Returns the nodes that gave a result of a task or hold a lease of it.
    pub fn nodes_of(&self, task: TaskId) -> impl Iterator<Item = NodeId> {
        let known = self.tasks.get(&task);
        let working = self
            .leases_of(task)
            .filter(|(_, lease)| lease.state != LeaseState::Lost)
            .map(|(_, lease)| lease.node);
        working.chain(known.into_iter().flat_map(|known| known.results.iter().map(|given| given.node)))
    }

    /// Whether an action is to be carried out.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Returns the next action to carry out, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

#[cfg(test)]
#[path = "requester_tests.rs"]
mod tests;
