//! Requester: answers of workers to offers, and their progress.

use fog_types::{NodeId, TaskId};

use super::{DECLINE_BACKOFF_MS, Requester};
use crate::lease::LeaseState;
use crate::message::{Answer, Decline, LeaseId, WorkerState};

impl Requester {
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
}
