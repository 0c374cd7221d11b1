//! The requester's side: which leases there are of which task, and what follows from what workers say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use fog_types::{JobId, NodeId, TaskId};

use crate::content::Content;
use crate::lease::{Effect, GivenUp, Lease, LeaseState, Need};
use crate::message::{Answer, Decline, LeaseId, Standing, TaskResult};
use crate::trust::{Choice, Evidence, Verdict, judge};

/// An offer that is not answered by then is taken back, in milliseconds.
const ANSWER: u64 = 10_000;
/// A worker that says nothing for this long has lost its lease (Bacalhau's dead-node time), in milliseconds.
const SILENCE: u64 = 60_000;
/// A worker that cannot be reached for this long has.
const ABSENCE: u64 = 10_000;
/// A task that stands still this long is given to somebody else too.
const STILL: u64 = 120_000;
/// A task whose units have not grown for this long is given to somebody else too, whatever is said of it.
const NO_PROGRESS: u64 = 600_000;
/// One that has taken so many times as long as others of its job is, too (backup tasks as in MapReduce), but not before this.
const OVERDUE: u64 = 4;
const NEVER_OVERDUE: u64 = 60_000;
/// Results of a job that say how long its tasks take.
const USUAL_OF: u32 = 3;
/// A worker that declined or failed is not asked again about the same task for this long.
const SULK: u64 = 60_000;
/// One that was full or resting may have room soon.
const MOMENT: u64 = 2_000;
/// A node that declined so many times in a row is asked ever more rarely, each pause twice the one before, up to the longest.
const PATIENCE: u32 = 8;
const LONGEST_REST: u64 = 600_000;
/// How often a node declined is forgotten this long after its pause.
const REST_FORGOTTEN: u64 = 3_600_000;
/// Leases of one task that are remembered.
const MAX_LEASES: usize = 32;
/// Stands for the identity of a result when a worker says that nobody could do the task: no identity looks like this.
const HOPELESS: &str = "hopeless";

struct Task {
    need: Need,
    leases: BTreeSet<LeaseId>,
    results: Vec<Given>,
    checkpoint: Option<(u64, NodeId, Content)>,
    sulking: BTreeMap<NodeId, u64>,
    /// Turned away once as by a device that does not know who asks.
    estranged: BTreeSet<NodeId>,
    /// Not offered before, after a failure.
    not_before: u64,
    /// Nodes that failed at it without saying that others would too.
    failed: BTreeSet<NodeId>,
    /// What a worker said that gave it up as hopeless.
    problem: String,
}

/// A result that was checked, with how much its giver's word counted then.
struct Given {
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
        // Too few who say that nobody can do it count as if they had said nothing.
        let counts_hopeless = self.given_up_by() >= self.need.hopeless as usize;
        let counted = self.results.iter().filter(|given| counts_hopeless || given.hash != HOPELESS);
        let given: Vec<(NodeId, String)> = counted.map(|given| (given.node, given.hash.clone())).collect();
        let evidence = |node| self.results.iter().find(|given| given.node == node).map(|given| given.evidence).unwrap_or_default();
        judge(&given, self.need.choice, evidence)
    }
}

/// A node that is not asked about anything for a while.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    until: u64,
    /// Times in a row that it declined, several offers of one moment counted once.
    declines: u32,
}

impl Rest {
    fn declined(&mut self, now: u64) {
        if self.until <= now {
            self.declines = self.declines.saturating_add(1);
            let doubled = self.declines.saturating_sub(PATIENCE).min(16);
            self.until = now + (MOMENT << doubled).min(LONGEST_REST);
        }
    }
}

/// Everything a requester knows about its tasks at other nodes.
#[derive(Default)]
pub struct Requester {
    tasks: BTreeMap<TaskId, Task>,
    leases: BTreeMap<LeaseId, Lease>,
    by_node: BTreeMap<NodeId, BTreeSet<LeaseId>>,
    /// Tasks that want a worker.
    open: BTreeSet<TaskId>,
    /// Where the last look at them ended.
    looked: Option<TaskId>,
    /// Nodes that are not asked about anything: they declined or were silent.
    resting: BTreeMap<NodeId, Rest>,
    /// How long tasks of a job took, in milliseconds: how many, and their mean.
    usual: BTreeMap<JobId, (u32, f64)>,
    effects: VecDeque<Effect>,
}

impl Requester {
    /// A task that other nodes shall run.
    pub fn add(&mut self, task: TaskId, need: Need) {
        let new = Task {
            need,
            leases: BTreeSet::new(),
            results: Vec::new(),
            checkpoint: None,
            sulking: BTreeMap::new(),
            estranged: BTreeSet::new(),
            not_before: 0,
            failed: BTreeSet::new(),
            problem: String::new(),
        };
        self.tasks.entry(task).or_insert(new);
        self.reconsider(task);
    }

    /// Whether a task is known.
    #[must_use]
    pub fn has(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// A task is not wanted any more.
    pub fn remove(&mut self, task: TaskId, why: &'static str) {
        for (id, lease) in self.take_out(task) {
            self.effects.push_back(Effect::Release { node: lease.node, lease: id, why });
        }
    }

    /// A task has its result: whoever gave one knows already, everybody else is released.
    pub fn settle(&mut self, task: TaskId, right: &[LeaseId], wrong: &[LeaseId]) {
        for (id, lease) in self.take_out(task) {
            if !right.contains(&id) && !wrong.contains(&id) {
                self.release(lease.node, id);
                if lease.is_overdue {
                    // Somebody else had to do it.
                    self.effects.push_back(Effect::Over {
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

    /// A lease as it was stored before a restart.
    pub fn restore(&mut self, id: LeaseId, task: TaskId, node: NodeId, now: u64) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.leases.insert(id);
            self.remember(id, Lease::new(task, node, LeaseState::Held(Standing::Waiting), now));
            self.reconsider(task);
        }
    }

    /// A checkpoint of a task that is here.
    pub fn has_checkpoint(&mut self, task: TaskId, units: u64, from: NodeId, content: Content) {
        if let Some(known) = self.tasks.get_mut(&task)
            && known.checkpoint.as_ref().is_none_or(|(best, _, _)| *best < units)
        {
            known.checkpoint = Some((units, from, content));
        }
    }

    /// The state of a task that is here is lost: the task begins anew, also at whoever was about to go on from it. Nobody is
    /// blamed, and each may be asked again at once.
    pub fn handle_state_lost(&mut self, task: TaskId, why: &str, now: u64) {
        let Some(known) = self.tasks.get_mut(&task) else { return };
        known.checkpoint = None;
        let is_coming = |lease: &Lease| lease.units > 0 && matches!(lease.state, LeaseState::Offered | LeaseState::Held(Standing::Fetching));
        let waiting: Vec<(LeaseId, NodeId)> = self.leases_of(task).filter(|(_, lease)| is_coming(lease)).map(|(id, lease)| (id, lease.node)).collect();
        for (id, node) in waiting {
            self.end(id, why.to_owned(), false, now);
            self.effects.push_back(Effect::Release { node, lease: id, why: "the state to go on from is lost" });
        }
    }

    /// A state of a task to go on from, here, with its units and who made it. A replica that shall be
    /// compared with others begins from the beginning: its state would be theirs.
    #[must_use]
    pub fn checkpoint(&self, task: TaskId) -> Option<(u64, Content)> {
        let known = self.tasks.get(&task)?;
        let is_compared = known.need.replicas > 1 || !known.results.is_empty() || known.need.choice != Choice::Quorum(1);
        if is_compared {
            return None;
        }
        known.checkpoint.as_ref().map(|(units, _, content)| (*units, *content))
    }

    /// Tasks that want a worker, how many, and who is not to be asked; at most `limit`, and others the next
    /// time when there are more.
    #[must_use]
    pub fn wanting(&mut self, limit: usize, now: u64) -> Vec<(TaskId, u32, BTreeSet<NodeId>)> {
        let from = self.looked.take().filter(|_| self.open.len() > limit);
        let rest = self.open.range((from.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let before = from.map(|from| self.open.range(..=from)).into_iter().flatten();
        let look_at = |id: &TaskId| {
            let task = self.tasks.get(id).filter(|task| task.not_before <= now)?;
            let held = task.leases.iter().filter_map(|lease| self.leases.get(lease));
            let working = held.filter(|lease| lease.state != LeaseState::Lost).map(|lease| lease.node);
            let sulking = task.sulking.iter().filter(|(_, until)| **until > now).map(|(node, _)| *node);
            let avoid = working.chain(sulking).chain(task.results.iter().map(|given| given.node)).collect();
            Some((*id, self.wants(task), avoid))
        };
        let found: Vec<_> = rest.chain(before).filter_map(look_at).take(limit).collect();
        self.looked = found.last().map(|(id, _, _)| *id);
        found
    }

    fn wants(&self, task: &Task) -> u32 {
        let live = task.leases.iter().filter_map(|id| self.leases.get(id)).filter(|lease| lease.is_live()).count() as u32;
        let more = match task.verdict() {
            Verdict::Accept(_) => 0,
            Verdict::More(more) => more,
        };
        let replicas = task.need.replicas.saturating_sub(task.results.len() as u32);
        replicas.max(more).saturating_sub(live)
    }

    /// After everything that may change whether a task wants a worker.
    fn reconsider(&mut self, id: TaskId) {
        let is_open = self.tasks.get(&id).is_some_and(|task| self.wants(task) > 0);
        if is_open {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
    }

    /// A task failed and is not offered to anybody before this time.
    pub fn hold(&mut self, task: TaskId, until: u64) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.not_before = until;
        }
    }

    /// Whether a node is left alone for now.
    #[must_use]
    pub fn is_resting(&self, node: NodeId, now: u64) -> bool {
        self.resting.get(&node).is_some_and(|rest| rest.until > now)
    }

    /// A task was offered to a worker, with the state that is known of it.
    pub fn offered(&mut self, id: LeaseId, task: TaskId, node: NodeId, now: u64) {
        let units = self.checkpoint(task).map_or(0, |(units, _)| units);
        let Some(known) = self.tasks.get_mut(&task) else { return };
        // A node that was lost and is asked again has one lease, the new one.
        let mut gone: Vec<LeaseId> = known.leases.iter().filter(|id| self.leases.get(id).is_some_and(|lease| lease.node == node)).copied().collect();
        if known.leases.len() >= MAX_LEASES {
            // The oldest that leads nowhere makes room.
            gone.extend(known.leases.iter().find(|id| self.leases.get(id).is_none_or(|lease| lease.state == LeaseState::Lost)));
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

    /// The leases of a task.
    pub fn leases_of(&self, task: TaskId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.tasks.get(&task).into_iter().flat_map(|known| &known.leases).filter_map(|id| Some((*id, self.leases.get(id)?)))
    }

    /// The leases of a node.
    pub fn leases_at(&self, node: NodeId) -> impl Iterator<Item = &Lease> {
        self.by_node.get(&node).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    /// Every lease.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// A lease, if `node` has it.
    #[must_use]
    pub fn lease(&self, id: LeaseId, node: NodeId) -> Option<&Lease> {
        self.leases.get(&id).filter(|lease| lease.node == node)
    }

    /// Tasks known here.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.keys().copied()
    }

    /// Tasks of a job known here, found without looking at those of others.
    pub fn tasks_of(&self, job: JobId) -> impl Iterator<Item = TaskId> {
        self.tasks.range(TaskId { job, index: 0 }..=TaskId { job, index: u32::MAX }).map(|(task, _)| *task)
    }

    /// Tasks that want a worker.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether a task is given to one more device only because another takes so long: nothing that nobody has waits for it.
    #[must_use]
    pub fn is_second_try(&self, task: TaskId) -> bool {
        self.leases_of(task).any(|(_, lease)| lease.is_overdue && lease.state != LeaseState::Lost)
    }

    /// Leases that take a place of a node.
    pub fn held_by(&self, node: NodeId) -> u32 {
        let counts = |lease: &&Lease| matches!(lease.state, LeaseState::Offered | LeaseState::Held(_));
        u32::try_from(self.leases_at(node).filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// When a lease is overdue, if ever.
    fn overdue_at(&self, lease: &Lease) -> Option<u64> {
        // What was handed in has as long again to come over.
        let (begun, grown) = match lease.state {
            LeaseState::Held(_) => (lease.begun, lease.grown),
            LeaseState::Fetching => (lease.handed.unwrap_or(lease.since), lease.handed.unwrap_or(lease.since)),
            LeaseState::Offered | LeaseState::Done(_) | LeaseState::Lost => return None,
        };
        let usual = self.usual.get(&lease.task.job).filter(|(count, _)| *count >= USUAL_OF);
        let slow = usual.map_or(u64::MAX, |(_, mean)| begun + (*mean as u64).saturating_mul(OVERDUE).max(NEVER_OVERDUE));
        Some(slow.min(grown + NO_PROGRESS)).filter(|_| !lease.is_overdue)
    }

    fn hear(&mut self, id: LeaseId, node: NodeId, now: u64) -> Option<&mut Lease> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.node == node)?;
        lease.heard = now;
        lease.away = None;
        Some(lease)
    }

    /// The lease is over; its worker is not asked about this task for so long.
    fn end(&mut self, id: LeaseId, why: String, is_lost: bool, sulk_until: u64) {
        let Some(lease) = self.forget(id) else { return };
        if let Some(task) = self.tasks.get_mut(&lease.task) {
            task.leases.remove(&id);
            task.sulking.insert(lease.node, sulk_until);
        }
        self.reconsider(lease.task);
        self.effects.push_back(Effect::Over { lease: id, task: lease.task, node: lease.node, why, is_lost });
    }

    /// A worker answered.
    pub fn handle_answer(&mut self, id: LeaseId, node: NodeId, answer: Answer, now: u64) {
        match (answer, self.hear(id, node, now)) {
            (Answer::Accepted, Some(lease)) if lease.state == LeaseState::Offered => {
                lease.state = LeaseState::Held(Standing::Fetching);
                lease.since = now;
                self.resting.remove(&node);
            }
            (Answer::Declined(why), Some(lease)) if lease.state == LeaseState::Offered => {
                let task = lease.task;
                // One that has just come back says so to somebody it has not heard yet. It means it when it says so again.
                let is_strange = why == Decline::NotWelcome && self.tasks.get_mut(&task).is_some_and(|known| known.estranged.insert(node));
                let is_momentary = is_strange || matches!(why, Decline::Full | Decline::Resting);
                self.resting.entry(node).or_default().declined(now);
                self.end(id, format!("declined: {why:?}"), false, if is_momentary { now } else { now + SULK });
            }
            (Answer::Accepted, None) => self.release(node, id),
            _ => {}
        }
    }

    fn release(&mut self, node: NodeId, lease: LeaseId) {
        self.effects.push_back(Effect::Release { node, lease, why: "it is not needed any more" });
    }

    /// A worker is at it. `None` when it has no such lease: it is told so.
    pub fn handle_heartbeat(&mut self, id: LeaseId, node: NodeId, standing: Standing, units: u64, permille: Option<u16>, now: u64) -> Option<TaskId> {
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
                // What it begins with is what it says itself: the state it was given may be less than its maker claimed.
                let begins = standing == Standing::Running && !lease.has_run;
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

    /// A worker saved a state.
    pub fn handle_saved(&mut self, id: LeaseId, node: NodeId, units: u64, content: Content, now: u64) {
        let Some(lease) = self.hear(id, node, now) else { return };
        let task = lease.task;
        let is_newer = self.tasks.get(&task).is_some_and(|known| known.checkpoint.as_ref().is_none_or(|(best, _, _)| *best < units));
        if is_newer {
            self.effects.push_back(Effect::Keep { lease: id, task, node, units, content });
        }
    }

    /// A worker hands in a result whose signature was checked.
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
                self.effects.push_back(Effect::Check { lease: id, node, result: Box::new(result) });
                self.reconsider(task);
            }
        }
    }

    /// The files of a result could not be fetched now; the worker says it again.
    pub fn handle_not_fetched(&mut self, id: LeaseId, now: u64) {
        if let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.state == LeaseState::Fetching) {
            lease.state = LeaseState::Held(Standing::Waiting);
            lease.since = now;
            lease.heard = now;
        }
    }

    /// A node says that it has room: who was turned away a moment ago may ask again, unless it has declined too often to be
    /// taken at its word. Gives the number of offers it has not answered, which it did not count.
    pub fn handle_room(&mut self, node: NodeId) -> usize {
        if let Some(rest) = self.resting.get_mut(&node).filter(|rest| rest.declines <= PATIENCE) {
            rest.until = 0;
        }
        self.leases_at(node).filter(|lease| lease.state == LeaseState::Offered).count()
    }

    /// Of which task a lease is.
    #[must_use]
    pub fn task_of(&self, id: LeaseId) -> Option<TaskId> {
        self.leases.get(&id).map(|lease| lease.task)
    }

    /// Who has a lease.
    #[must_use]
    pub fn node_of(&self, id: LeaseId) -> Option<NodeId> {
        self.leases.get(&id).map(|lease| lease.node)
    }

    /// The files of a result were fetched and hash to this identity, or not.
    pub fn handle_checked(&mut self, id: LeaseId, checked: Result<String, String>, evidence: impl Fn(NodeId) -> Evidence, now: u64) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        match checked {
            Err(problem) => self.end(id, problem, true, now + SULK),
            Ok(hash) => {
                lease.state = LeaseState::Done(hash.clone());
                let (count, mean) = self.usual.entry(lease.task.job).or_default();
                *count = count.saturating_add(1);
                *mean += (now.saturating_sub(lease.begun) as f64 - *mean) / f64::from(*count);
                let (id_of_task, node) = (lease.task, lease.node);
                let Some(task) = self.tasks.get_mut(&id_of_task) else { return };
                task.results.push(Given { node, hash, lease: id, evidence: evidence(node) });
                self.decide(id_of_task);
                self.reconsider(id_of_task);
            }
        }
    }

    /// A result is here whose giver did not show how it came to it, although it was asked to: it is believed when another
    /// node gives the same, and by no rule that would believe it alone.
    pub fn handle_unproven(&mut self, id: LeaseId, hash: String, now: u64) {
        if let Some(task) = self.task_of(id).and_then(|task| self.tasks.get_mut(&task)) {
            task.need.replicas = task.need.replicas.max(2);
            task.need.choice = match task.need.choice {
                Choice::Quorum(k) => Choice::Quorum(k.max(2)),
                Choice::Confidence(_) | Choice::Adaptive(_) => Choice::Quorum(2),
            };
        }
        self.handle_checked(id, Ok(hash), |_| Evidence::default(), now);
    }

    /// The files of a result come so slowly that nobody waits for them: somebody else is asked too. Should they come in the
    /// end, they are welcome.
    pub fn handle_too_slow(&mut self, id: LeaseId, now: u64) {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.state == LeaseState::Fetching) else { return };
        lease.heard = now;
        self.lose(id, "its result came too slowly", now);
    }

    /// A lease leads nowhere for now; its task is given to somebody else.
    fn lose(&mut self, id: LeaseId, why: &str, now: u64) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.state = LeaseState::Lost;
        let (task, node) = (lease.task, lease.node);
        if let Some(known) = self.tasks.get_mut(&task) {
            known.sulking.insert(node, now + SULK);
        }
        self.reconsider(task);
        self.effects.push_back(Effect::Over { lease: id, task, node, why: why.to_owned(), is_lost: true });
    }

    /// Says what follows once the results of a task decide it.
    fn decide(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Verdict::Accept(right) = task.verdict() else { return };
        let (leases, wrong): (Vec<&Given>, Vec<&Given>) = task.results.iter().partition(|given| given.hash == right);
        let ids = |list: Vec<&Given>| list.into_iter().map(|given| given.lease).collect();
        let effect = if right == HOPELESS {
            Effect::Fail { task: id, problem: task.problem.clone(), leases: ids(leases), wrong: ids(wrong) }
        } else {
            Effect::Accept { task: id, leases: ids(leases), wrong: ids(wrong) }
        };
        self.effects.push_back(effect);
    }

    /// A worker gives up. That nobody could do it is believed like a result is: by the same rule, with the same weight.
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
        // What was handed in, or given up before, is not taken back.
        if matches!(lease.state, LeaseState::Fetching | LeaseState::Done(_)) {
            return None;
        }
        let task = lease.task;
        if !is_hopeless {
            let known = self.tasks.get_mut(&task)?;
            let is_alone = known.need.choice == Choice::Quorum(1);
            let counts = known.failed.insert(node) || is_alone;
            self.end(id, problem, false, now + SULK);
            return Some(if counts { GivenUp::Failed } else { GivenUp::FailedAgain });
        }
        lease.state = LeaseState::Done(HOPELESS.to_owned());
        let known = self.tasks.get_mut(&task)?;
        known.problem = problem;
        known.results.push(Given { node, hash: HOPELESS.to_owned(), lease: id, evidence: evidence(node) });
        self.decide(task);
        self.reconsider(task);
        Some(GivenUp::Hopeless)
    }

    /// What a worker handed in cannot be right, as its words alone show: its lease is over.
    pub fn handle_refused(&mut self, id: LeaseId, why: String, now: u64) {
        if self.leases.get(&id).is_some_and(|lease| !matches!(lease.state, LeaseState::Fetching | LeaseState::Done(_))) {
            self.end(id, why, false, now + SULK);
        }
    }

    /// A result that was believed could not be stored. Its givers still have it and say so again; then it is fetched and
    /// judged anew.
    pub fn handle_not_stored(&mut self, id: TaskId, now: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let given = std::mem::take(&mut task.results);
        for one in given {
            if one.hash == HOPELESS {
                task.results.push(one);
            } else if let Some(lease) = self.leases.get_mut(&one.lease) {
                lease.state = LeaseState::Held(Standing::Waiting);
                lease.since = now;
                lease.heard = now;
                // That it is fetched once more is not its doing.
                lease.handed = None;
            }
        }
        self.reconsider(id);
    }

    /// What could not be done is to be done later.
    pub fn put_back(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Devices that a task needs to be believed, at the least.
    #[must_use]
    pub fn replicas_of(&self, task: TaskId) -> u32 {
        let of = |known: &Task| if known.given_up_by() > 0 { known.need.replicas.max(known.need.hopeless) } else { known.need.replicas };
        self.tasks.get(&task).map_or(0, of)
    }

    /// Nodes that have given a result of a task, or have it now.
    pub fn nodes_of(&self, task: TaskId) -> impl Iterator<Item = NodeId> {
        let known = self.tasks.get(&task);
        let working = self.leases_of(task).filter(|(_, lease)| lease.state != LeaseState::Lost).map(|(_, lease)| lease.node);
        working.chain(known.into_iter().flat_map(|known| known.results.iter().map(|given| given.node)))
    }

    /// A worker can be reached, or not any more.
    pub fn handle_reach(&mut self, node: NodeId, is_there: bool, now: u64) {
        for id in self.by_node.get(&node).into_iter().flatten() {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.away = if is_there { None } else { lease.away.or(Some(now)) };
            }
        }
    }

    /// Time passed; milliseconds of a clock that only goes forward.
    pub fn handle_timeout(&mut self, now: u64) {
        self.resting.retain(|_, rest| rest.until.saturating_add(REST_FORGOTTEN) > now);
        let (mut unanswered, mut lost, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
        for (id, lease) in &mut self.leases {
            let is_away = lease.away.is_some_and(|since| now.saturating_sub(since) >= ABSENCE);
            match lease.state {
                LeaseState::Offered if is_away || now.saturating_sub(lease.since) >= ANSWER => unanswered.push(*id),
                LeaseState::Held(_) if is_away || now.saturating_sub(lease.heard) >= SILENCE => lost.push(*id),
                LeaseState::Held(Standing::Paused) if !lease.is_stuck && now.saturating_sub(lease.since) >= STILL => {
                    lease.is_stuck = true;
                    stuck.push(lease.task);
                }
                _ => {}
            }
        }
        let is_due = |lease: &Lease| self.overdue_at(lease).is_some_and(|at| at <= now);
        let overdue: Vec<LeaseId> = self.leases.iter().filter(|(_, lease)| is_due(lease)).map(|(id, _)| *id).collect();
        for lease in overdue {
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.is_overdue = true;
                stuck.push(lease.task);
            }
        }
        for id in unanswered {
            if let Some(node) = self.node_of(id) {
                self.effects.push_back(Effect::Release { node, lease: id, why: "the offer was not answered in time" });
                // A lost message is no reason to avoid a device for long.
                let rest = self.resting.entry(node).or_default();
                rest.until = rest.until.max(now + MOMENT);
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

    /// When [`Self::handle_timeout`] has something to do at the earliest, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let at = |lease: &Lease| {
            let away = lease.away.map_or(u64::MAX, |since| since + ABSENCE);
            match lease.state {
                LeaseState::Offered => Some(away.min(lease.since + ANSWER)),
                LeaseState::Held(Standing::Paused) if !lease.is_stuck => Some(away.min(lease.heard + SILENCE).min(lease.since + STILL)),
                LeaseState::Held(_) => Some(away.min(lease.heard + SILENCE)),
                _ => None,
            }
        };
        self.leases.values().filter_map(|lease| at(lease).into_iter().chain(self.overdue_at(lease)).min()).min()
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

#[cfg(test)]
#[path = "requester_tests.rs"]
mod tests;
