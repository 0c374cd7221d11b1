//! Requester: results and failures that workers report, up to the decision which result is right.

use fog_types::{NodeId, TaskId};

use super::{DECLINE_BACKOFF_MS, HOPELESS, Requester, SubmittedResult, Task};
use crate::lease::{Effect, GivenUp, LeaseState};
use crate::message::{LeaseId, TaskResult, WorkerState};
use crate::trust::{AcceptanceRule, Evidence, Verdict};

impl Requester {
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
}
