//! Jobs whose tasks no device takes because all nearby devices are full or at rest; their owners are told.

use std::collections::{BTreeMap, BTreeSet};

use fog_grid::{Answer, Decline, Lease, LeaseId, LeaseState};
use fog_store::JobRow;
use fog_types::{ByteCount, JobId, Limits, NodeId};

use crate::context::Context;
use crate::exchange::Exchange;

/// Sentence about a job that is larger than what each nearby device lends.
fn too_large(limits: &Limits, memory: u64, disk: u64) -> String {
    format!(
        "each task may take {} of memory and {} of disk, and the devices near lend {} and {} at most now. They are asked again; lower limits \
         of the job (--memory, --disk) help at once",
        limits.footprint(),
        limits.disk,
        ByteCount(memory),
        ByteCount(disk)
    )
}

/// Sentence with the number of nearby devices that are full and at rest.
fn sentence(full: usize, resting: usize) -> String {
    let devices = |count: usize| if count == 1 { "1 device".to_owned() } else { format!("{count} devices") };
    let is = |count: usize| if count == 1 { "is" } else { "are" };
    let rests = |count: usize| if count == 1 { "rests" } else { "rest" };
    let state = match (full, resting) {
        (full, 0) => format!("{} near {} full", devices(full), is(full)),
        (0, resting) => format!("{} near {}", devices(resting), rests(resting)),
        (full, resting) => format!(
            "of {} near {full} {} full and {resting} {}",
            devices(full + resting),
            is(full),
            rests(resting)
        ),
    };
    format!("{state}; no other one is there. They are asked again")
}

impl Exchange {
    /// Notes a device's answer to an offer of a job.
    pub(crate) fn note_answer(&mut self, node: NodeId, lease: LeaseId, answer: Answer) {
        let Some(job) = self.requester.lease(lease, node).map(|lease| lease.task.job) else { return };
        match answer {
            Answer::Declined(why @ (Decline::Full | Decline::Resting)) => {
                self.declined.entry(job).or_default().insert(node, why == Decline::Resting);
            }
            Answer::Accepted | Answer::Declined(_) => {
                if let Some(declined) = self.declined.get_mut(&job) {
                    declined.remove(&node);
                }
            }
        }
    }

    /// Finds the jobs of which no task is lent because every nearby device is full or at rest, and
    /// announces changes. `wanted` are the jobs with tasks that need a device.
    pub(crate) fn look_for_room(&mut self, ctx: &mut Context, wanted: &BTreeMap<JobId, Option<JobRow>>) {
        let requester = &self.requester;
        self.declined.retain(|job, _| requester.tasks_of(*job).next().is_some());
        let is_taken = |lease: &&Lease| !matches!(lease.state, LeaseState::Offered | LeaseState::Lost);
        let lent = requester.leases().filter(is_taken).map(|lease| lease.task.job);
        let somewhere: BTreeSet<JobId> = lent.chain(ctx.load.running.iter().map(|task| task.job)).collect();
        let waiting = wanted.iter().filter(|(job, _)| !somewhere.contains(job));
        let mut crowded: BTreeMap<JobId, String> =
            waiting.filter_map(|(job, row)| Some((*job, self.crowd_of(ctx, row.as_ref()?)?))).collect();
        // Nothing changes while all tasks of a job are offered.
        let is_offered = |job: &JobId| {
            !wanted.contains_key(job) && !somewhere.contains(job) && requester.tasks_of(*job).next().is_some()
        };
        crowded.extend(
            self.crowded.iter().filter(|(job, _)| is_offered(job)).map(|(job, why)| (*job, why.clone())),
        );
        let before = std::mem::replace(&mut self.crowded, crowded);
        let jobs: BTreeSet<JobId> = before.keys().chain(self.crowded.keys()).copied().collect();
        for job in jobs {
            if before.get(&job) != self.crowded.get(&job) {
                ctx.announce_job(job);
            }
        }
    }

    fn crowd_of(&self, ctx: &Context, job: &JobRow) -> Option<String> {
        let (mut full, mut resting, mut small) = (0, 0, 0);
        let (mut most_memory, mut most_disk) = (0, 0);
        let (limits, declined) = (&job.file.limits, self.declined.get(&job.id));
        for node in self.lenders(ctx) {
            let peer = ctx.directory.peers.get(&node)?;
            let is_small = peer.capacity.memory < limits.footprint().0 || peer.capacity.disk < limits.disk.0;
            (most_memory, most_disk) =
                (most_memory.max(peer.capacity.memory), most_disk.max(peer.capacity.disk));
            match declined.and_then(|declined| declined.get(&node)) {
                _ if peer.capacity.duty == 0 => resting += 1,
                Some(true) => resting += 1,
                _ if is_small && peer.free() > 0 => small += 1,
                Some(false) => full += 1,
                None if peer.free() == 0 => full += 1,
                // This device may take it.
                None => return None,
            }
        }
        if small > 0 && full + resting == 0 {
            return Some(too_large(limits, most_memory, most_disk));
        }
        (full + resting + small > 0).then(|| sentence(full + small, resting))
    }
}
