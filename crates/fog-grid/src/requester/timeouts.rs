//! Requester: what happens to a lease when time passes.

use fog_types::NodeId;

use super::{BUSY_BACKOFF_MS, Requester};
use crate::lease::{Effect, Lease, LeaseState};
use crate::message::{LeaseId, WorkerState};

/// Milliseconds after which an unanswered offer is withdrawn.
const OFFER_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds of silence after which a worker loses its lease (Bacalhau's dead-node time).
const HEARTBEAT_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds after which an unreachable worker loses its lease.
pub(super) const UNREACHABLE_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds after which a paused task is offered to another worker too.
pub(super) const STALL_TIMEOUT_MS: u64 = 120_000;
/// Milliseconds without new work units after which a task is offered to another worker too.
pub(super) const NO_PROGRESS: u64 = 600_000;
/// Multiple of the mean time of a job's tasks after which a lease is overdue (backup tasks as in
/// MapReduce), and the minimum in milliseconds.
const OVERDUE: u64 = 4;
const NEVER_OVERDUE: u64 = 60_000;
/// Number of results of a job that are needed to know how long its tasks take.
const USUAL_OF: u32 = 3;
/// Milliseconds after the end of its pause at which the declines of a node are forgotten.
const REST_FORGOTTEN: u64 = 3_600_000;

impl Requester {
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
}
