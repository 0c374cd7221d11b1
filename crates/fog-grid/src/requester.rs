//! Requester side of the job exchange: the leases of each task, and the reactions to what workers report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use fog_types::{JobId, NodeId, TaskId};

use crate::content::Content;
use crate::lease::{Effect, GivenUp, Lease, LeaseState, Replication};
use crate::message::{Answer, Decline, LeaseId, TaskResult, WorkerState};
use crate::trust::{AcceptanceRule, Evidence, Verdict, judge};

/// Milliseconds after which an unanswered offer is withdrawn.
const OFFER_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds of silence after which a worker loses its lease (Bacalhau's dead-node time).
const HEARTBEAT_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds after which an unreachable worker loses its lease.
const UNREACHABLE_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds after which a paused task is offered to another worker too.
const STALL_TIMEOUT_MS: u64 = 120_000;
/// Milliseconds without new work units after which a task is offered to another worker too.
const NO_PROGRESS: u64 = 600_000;
/// Multiple of the mean time of a job's tasks after which a lease is overdue (backup tasks as in
/// MapReduce), and the minimum in milliseconds.
const OVERDUE: u64 = 4;
const NEVER_OVERDUE: u64 = 60_000;
/// Number of results of a job that are needed to know how long its tasks take.
const USUAL_OF: u32 = 3;
/// Milliseconds for which a worker that declined or failed is not asked again about the same task.
const DECLINE_BACKOFF_MS: u64 = 60_000;
/// Milliseconds of the first pause after a node declined or did not answer; it may soon have room.
const BUSY_BACKOFF_MS: u64 = 2_000;
/// Number of declines in a row after which each pause is twice the one before, and the longest pause in
/// milliseconds.
const PATIENCE: u32 = 8;
const LONGEST_REST: u64 = 600_000;
/// Milliseconds after the end of its pause at which the declines of a node are forgotten.
const REST_FORGOTTEN: u64 = 3_600_000;
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

    /// Records a checkpoint of a task that this node stores, if it holds more units than the known one.
    pub fn record_checkpoint(&mut self, task: TaskId, units: u64, from: NodeId, content: Content) {
        if let Some(known) = self.tasks.get_mut(&task)
            && known.checkpoint.as_ref().is_none_or(|(best, _, _)| *best < units)
        {
            known.checkpoint = Some((units, from, content));
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
    fn reconsider(&mut self, id: TaskId) {
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

    /// Returns the time at which a lease becomes overdue, if ever.
    fn overdue_at(&self, lease: &Lease) -> Option<u64> {
        // A result that was handed in has as long again for the transfer of its files.
        let (begun, grown) = match lease.state {
            LeaseState::Held(_) => (lease.begun, lease.grown),
            LeaseState::Fetching => {
                (lease.handed.unwrap_or(lease.since), lease.handed.unwrap_or(lease.since))
            }
            LeaseState::Offered | LeaseState::Done(_) | LeaseState::Lost => return None,
        };
        let usual = self.usual.get(&lease.task.job).filter(|(count, _)| *count >= USUAL_OF);
        let slow = usual
            .map_or(u64::MAX, |(_, mean)| begun + (*mean as u64).saturating_mul(OVERDUE).max(NEVER_OVERDUE));
        Some(slow.min(grown + NO_PROGRESS)).filter(|_| !lease.is_overdue)
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

    /// Handles the answer of a worker to an offer.
    pub fn handle_answer(&mut self, id: LeaseId, node: NodeId, answer: Answer, now: u64) {
        match (answer, self.hear(id, node, now)) {
            (Answer::Accepted, Some(lease)) if lease.state == LeaseState::Offered => {
                lease.state = LeaseState::Held(WorkerState::Fetching);
                lease.since = now;
                self.busy_until.remove(&node);
            }
            (Answer::Declined(why), Some(lease)) if lease.state == LeaseState::Offered => {
                let task = lease.task;
                // A worker that has just come back may not know this node yet; only its second refusal is
                // taken seriously.
                let is_strange = why == Decline::NotWelcome
                    && self.tasks.get_mut(&task).is_some_and(|known| known.rejected_once.insert(node));
                let is_momentary = is_strange || matches!(why, Decline::Full | Decline::Resting);
                self.busy_until.entry(node).or_default().declined(now);
                self.end(
                    id,
                    format!("declined: {why:?}"),
                    false,
                    if is_momentary { now } else { now + DECLINE_BACKOFF_MS },
                );
            }
            (Answer::Accepted, None) => self.release(node, id),
            _ => {}
        }
    }

    fn release(&mut self, node: NodeId, lease: LeaseId) {
        self.effects.push_back(Effect::Release { node, lease, why: "it is not needed any more" });
    }

    /// Handles the progress report of a worker. Returns `None` if the worker has no such lease, which is
    /// then released, or has handed in its result.
    pub fn handle_heartbeat(
        &mut self,
        id: LeaseId,
        node: NodeId,
        standing: WorkerState,
        units: u64,
        permille: Option<u16>,
        now: u64,
    ) -> Option<TaskId> {
        let Some(lease) = self.hear(id, node, now) else {
            self.release(node, id);
            return None;
        };
        match lease.state {
            LeaseState::Offered | LeaseState::Held(_) | LeaseState::Lost => {
                let has_changed = lease.state != LeaseState::Held(standing);
                if has_changed {
                    lease.state = LeaseState::Held(standing);
                    lease.since = now;
                    lease.is_stuck = false;
                }
                // The first units of a running task replace those of the checkpoint, whose maker may have
                // claimed too many.
                let begins = standing == WorkerState::Running && !lease.has_run;
                lease.has_run |= begins;
                if begins || units > lease.units {
                    (lease.units, lease.grown) = (units, now);
                }
                lease.permille = permille.or(lease.permille);
                let task = lease.task;
                if has_changed {
                    self.reconsider(task);
                }
                Some(task)
            }
            LeaseState::Fetching | LeaseState::Done(_) => None,
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

    /// Handles a result whose signature was checked.
    pub fn handle_result(&mut self, node: NodeId, result: TaskResult, now: u64) {
        let id = result.lease;
        let Some(lease) = self.hear(id, node, now) else {
            self.release(node, id);
            return;
        };
        match lease.state {
            LeaseState::Fetching | LeaseState::Done(_) => {}
            LeaseState::Offered | LeaseState::Held(_) | LeaseState::Lost => {
                lease.state = LeaseState::Fetching;
                lease.since = now;
                lease.handed.get_or_insert(now);
                lease.units = result.units.0;
                lease.is_stuck = false;
                let task = lease.task;
                self.effects.push_back(Effect::FetchResult { lease: id, node, result: Box::new(result) });
                self.reconsider(task);
            }
        }
    }

    /// Handles a result whose files could not be fetched now; the worker hands it in again.
    pub fn handle_not_fetched(&mut self, id: LeaseId, now: u64) {
        if let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.state == LeaseState::Fetching) {
            lease.state = LeaseState::Held(WorkerState::Waiting);
            lease.since = now;
            lease.heard = now;
        }
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

    /// Handles the check of a result: its hash, or the problem because of which its lease ends.
    pub fn handle_checked(
        &mut self,
        id: LeaseId,
        checked: Result<String, String>,
        evidence: impl Fn(NodeId) -> Evidence,
        now: u64,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        match checked {
            Err(problem) => self.end(id, problem, true, now + DECLINE_BACKOFF_MS),
            Ok(hash) => {
                lease.state = LeaseState::Done(hash.clone());
                let (count, mean) = self.usual.entry(lease.task.job).or_default();
                *count = count.saturating_add(1);
                *mean += (now.saturating_sub(lease.begun) as f64 - *mean) / f64::from(*count);
                let (id_of_task, node) = (lease.task, lease.node);
                let Some(task) = self.tasks.get_mut(&id_of_task) else { return };
                task.results.push(SubmittedResult { node, hash, lease: id, evidence: evidence(node) });
                self.decide(id_of_task);
                self.reconsider(id_of_task);
            }
        }
    }

    /// Handles a result whose worker did not give the requested proof: the result is believed only if
    /// another node gives the same.
    pub fn handle_unproven(&mut self, id: LeaseId, hash: String, now: u64) {
        if let Some(task) = self.task_of(id).and_then(|task| self.tasks.get_mut(&task)) {
            task.need.replicas = task.need.replicas.max(2);
            task.need.choice = match task.need.choice {
                AcceptanceRule::Quorum(k) => AcceptanceRule::Quorum(k.max(2)),
                AcceptanceRule::Confidence(_) | AcceptanceRule::Adaptive(_) => AcceptanceRule::Quorum(2),
            };
        }
        self.handle_checked(id, Ok(hash), |_| Evidence::default(), now);
    }

    /// Handles a result whose files come too slowly: another worker is asked too. The result is still taken
    /// if it arrives later.
    pub fn handle_too_slow(&mut self, id: LeaseId, now: u64) {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.state == LeaseState::Fetching) else {
            return;
        };
        lease.heard = now;
        self.lose(id, "its result came too slowly", now);
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

    /// Queues the effect that follows once the results of a task decide it.
    fn decide(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Verdict::Accept(right) = task.verdict() else { return };
        let (leases, wrong): (Vec<&SubmittedResult>, Vec<&SubmittedResult>) =
            task.results.iter().partition(|given| given.hash == right);
        let ids = |list: Vec<&SubmittedResult>| list.into_iter().map(|given| given.lease).collect();
        let effect = if right == HOPELESS {
            Effect::Fail { task: id, problem: task.problem.clone(), leases: ids(leases), wrong: ids(wrong) }
        } else {
            Effect::Accept { task: id, leases: ids(leases), wrong: ids(wrong) }
        };
        self.effects.push_back(effect);
    }

    /// Handles a worker that gives up; `None` if it has no such lease or has already handed in or given up.
    /// A claim that the task is hopeless is believed by the same rule and with the same weight as a result.
    pub fn handle_failed(
        &mut self,
        id: LeaseId,
        node: NodeId,
        problem: String,
        is_hopeless: bool,
        evidence: impl Fn(NodeId) -> Evidence,
        now: u64,
    ) -> Option<GivenUp> {
        let lease = self.hear(id, node, now)?;
        // A result that was handed in or a task that was given up before is not revoked.
        if matches!(lease.state, LeaseState::Fetching | LeaseState::Done(_)) {
            return None;
        }
        let task = lease.task;
        if !is_hopeless {
            let known = self.tasks.get_mut(&task)?;
            let is_alone = known.need.choice == AcceptanceRule::Quorum(1);
            let counts = known.failed.insert(node) || is_alone;
            self.end(id, problem, false, now + DECLINE_BACKOFF_MS);
            return Some(if counts { GivenUp::Failed } else { GivenUp::FailedAgain });
        }
        lease.state = LeaseState::Done(HOPELESS.to_owned());
        let known = self.tasks.get_mut(&task)?;
        known.problem = problem;
        known.results.push(SubmittedResult {
            node,
            hash: HOPELESS.to_owned(),
            lease: id,
            evidence: evidence(node),
        });
        self.decide(task);
        self.reconsider(task);
        Some(GivenUp::Hopeless)
    }

    /// Handles a result that is wrong by its own statements: its lease ends.
    pub fn handle_refused(&mut self, id: LeaseId, why: String, now: u64) {
        if self
            .leases
            .get(&id)
            .is_some_and(|lease| !matches!(lease.state, LeaseState::Fetching | LeaseState::Done(_)))
        {
            self.end(id, why, false, now + DECLINE_BACKOFF_MS);
        }
    }

    /// Handles a believed result that could not be stored. Its workers still have it and hand it in again,
    /// and then it is fetched and judged anew.
    pub fn handle_not_stored(&mut self, id: TaskId, now: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let given = std::mem::take(&mut task.results);
        for one in given {
            if one.hash == HOPELESS {
                task.results.push(one);
            } else if let Some(lease) = self.leases.get_mut(&one.lease) {
                lease.state = LeaseState::Held(WorkerState::Waiting);
                lease.since = now;
                lease.heard = now;
                // The second transfer is not the fault of the worker.
                lease.handed = None;
            }
        }
        self.reconsider(id);
    }

    /// Queues an effect that could not be carried out yet again.
    pub fn put_back(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Returns the minimum number of nodes that a task needs for its result to be believed.
    #[must_use]
    pub fn replicas_of(&self, task: TaskId) -> u32 {
        let of = |known: &Task| {
            if known.given_up_by() > 0 {
                known.need.replicas.max(known.need.hopeless)
            } else {
                known.need.replicas
            }
        };
        self.tasks.get(&task).map_or(0, of)
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

    /// Handles that a worker becomes reachable or unreachable.
    pub fn handle_reach(&mut self, node: NodeId, is_there: bool, now: u64) {
        for id in self.by_node.get(&node).into_iter().flatten() {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.away = if is_there { None } else { lease.away.or(Some(now)) };
            }
        }
    }

    /// Handles the passing of time; `now` is in milliseconds of a monotonic clock.
    pub fn handle_timeout(&mut self, now: u64) {
        self.busy_until.retain(|_, rest| rest.until.saturating_add(REST_FORGOTTEN) > now);
        let (mut unanswered, mut lost, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
        for (id, lease) in &mut self.leases {
            let is_away = lease.away.is_some_and(|since| now.saturating_sub(since) >= UNREACHABLE_TIMEOUT_MS);
            match lease.state {
                LeaseState::Offered if is_away || now.saturating_sub(lease.since) >= OFFER_TIMEOUT_MS => {
                    unanswered.push(*id)
                }
                LeaseState::Held(_) if is_away || now.saturating_sub(lease.heard) >= HEARTBEAT_TIMEOUT_MS => {
                    lost.push(*id)
                }
                LeaseState::Held(WorkerState::Paused)
                    if !lease.is_stuck && now.saturating_sub(lease.since) >= STALL_TIMEOUT_MS =>
                {
                    lease.is_stuck = true;
                    stuck.push(lease.task);
                }
                _ => {}
            }
        }
        let is_due = |lease: &Lease| self.overdue_at(lease).is_some_and(|at| at <= now);
        let overdue: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| is_due(lease)).map(|(id, _)| *id).collect();
        for lease in overdue {
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.is_overdue = true;
                stuck.push(lease.task);
            }
        }
        for id in unanswered {
            if let Some(node) = self.node_of(id) {
                self.effects.push_back(Effect::Release {
                    node,
                    lease: id,
                    why: "the offer was not answered in time",
                });
                // A lost message is no reason to avoid a device for long.
                let rest = self.busy_until.entry(node).or_default();
                rest.until = rest.until.max(now + BUSY_BACKOFF_MS);
            }
            self.end(id, "no answer to the offer".to_owned(), false, now);
        }
        for id in lost {
            self.lose(id, "the device is gone", now);
        }
        for task in stuck {
            self.reconsider(task);
        }
    }

    /// Returns the earliest time at which [`Self::handle_timeout`] has something to do, if any.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let at = |lease: &Lease| {
            let away = lease.away.map_or(u64::MAX, |since| since + UNREACHABLE_TIMEOUT_MS);
            match lease.state {
                LeaseState::Offered => Some(away.min(lease.since + OFFER_TIMEOUT_MS)),
                LeaseState::Held(WorkerState::Paused) if !lease.is_stuck => {
                    Some(away.min(lease.heard + HEARTBEAT_TIMEOUT_MS).min(lease.since + STALL_TIMEOUT_MS))
                }
                LeaseState::Held(_) => Some(away.min(lease.heard + HEARTBEAT_TIMEOUT_MS)),
                _ => None,
            }
        };
        self.leases
            .values()
            .filter_map(|lease| at(lease).into_iter().chain(self.overdue_at(lease)).min())
            .min()
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
