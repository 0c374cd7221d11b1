//! Simulated world: what requesters do with messages of devices, and which results they accept.

use std::collections::BTreeMap;

use fog_grid::{Answer, Content, ContentId, ContentKey, Effect, LeaseId, TaskResult};
use fog_types::{BlobId, NodeId, TaskId};

use super::{Asker, Event, Neighbour, STATE, ToDevice, ToRequester, World, device_of, node_of};

/// Milliseconds that the files of a result travel.
const FETCH: u64 = 1_000;

fn content() -> Content {
    Content { id: ContentId([1; 32]), blob: BlobId([2; 32]), size: STATE, key: ContentKey([3; 32]) }
}

impl World {
    pub(super) fn requester_heard(&mut self, to: u32, from: u32, what: ToRequester) {
        let (node, now) = (node_of(from), self.now);
        let asker = &mut self.askers[to as usize];
        let Some(place) = asker.places.get(&from).copied() else { return };
        match what {
            ToRequester::Answer(lease, answer) => {
                if matches!(answer, Answer::Declined(_)) {
                    asker.neighbours[place as usize].free = 0;
                }
                asker.requester.handle_answer(lease, node, answer, now);
            }
            ToRequester::Beat { lease, standing, units } => {
                asker.requester.handle_heartbeat(lease, node, standing, units, None, now);
            }
            ToRequester::Saved(lease, units) => {
                asker.requester.handle_saved(lease, node, units, content(), now)
            }
            ToRequester::Result(lease, units) => {
                let result = TaskResult {
                    lease,
                    worker: node,
                    offer: [0; 32],
                    units,
                    active_ms: 0,
                    memory: 0,
                    hash: String::new(),
                    stdout: (content(), 0),
                    stderr: (content(), 0),
                    outputs: Vec::new(),
                    list: None,
                    history: None,
                };
                asker.requester.handle_result(node, result, now);
            }
            ToRequester::Hello { free, works } => {
                let unanswered = asker.requester.handle_room(node) as i32;
                let neighbour = &mut asker.neighbours[place as usize];
                neighbour.free = i32::from(free) - unanswered;
                neighbour.works = works;
                neighbour.is_here = true;
            }
            ToRequester::Reach(is_here) => {
                asker.neighbours[place as usize].is_here = is_here;
                asker.requester.handle_reach(node, is_here, now);
            }
            ToRequester::Checked(lease) => {
                let hash = self.given.get(&lease).map(|given| given.hash.clone()).unwrap_or_default();
                let Asker { requester, neighbours, places, .. } = asker;
                let evidence = |node: NodeId| {
                    places
                        .get(&device_of(node))
                        .map(|at| neighbours[*at as usize].evidence)
                        .unwrap_or_default()
                };
                requester.handle_checked(lease, Ok(hash), evidence, now);
            }
        }
        self.do_effects(to);
        self.place_soon(to);
    }

    pub(super) fn do_effects(&mut self, asker: u32) {
        while let Some(effect) = self.askers[asker as usize].requester.poll_effect() {
            match effect {
                Effect::Release { node, lease, .. } => self.tell(device_of(node), ToDevice::Release(lease)),
                Effect::FetchResult { lease, node, .. } => {
                    let what = ToRequester::Checked(lease);
                    self.at(self.now + FETCH, Event::ToRequester { to: asker, from: device_of(node), what });
                }
                Effect::FetchCheckpoint { task, node, units, content, .. } => {
                    self.askers[asker as usize].requester.record_checkpoint(task, units, node, content)
                }
                Effect::Accept { task, leases, wrong } => self.accept(asker, task, &leases, &wrong),
                Effect::Fail { .. } => {}
                Effect::LeaseEnded { node, is_lost, .. } => {
                    let now = self.now as i64;
                    if is_lost && let Some(neighbour) = self.neighbour(asker, node) {
                        neighbour.evidence.saw_lost(now);
                    }
                }
            }
        }
    }

    fn neighbour(&mut self, asker: u32, node: NodeId) -> Option<&mut Neighbour> {
        let asker = &mut self.askers[asker as usize];
        let place = asker.places.get(&device_of(node))?;
        asker.neighbours.get_mut(*place as usize)
    }

    fn accept(&mut self, asker: u32, task: TaskId, right: &[LeaseId], wrong: &[LeaseId]) {
        if !self.askers[asker as usize].requester.has(task) {
            self.report.twice += 1;
            return;
        }
        let now = self.now as i64;
        let nodes: BTreeMap<LeaseId, NodeId> = self.askers[asker as usize]
            .requester
            .leases_of(task)
            .map(|(id, lease)| (id, lease.node))
            .collect();
        let is_wrong =
            right.first().and_then(|lease| self.given.get(lease)).is_some_and(|given| given.is_wrong);
        self.report.accepted += 1;
        self.report.wrong += u64::from(is_wrong);
        self.report.useful += self.askers[asker as usize].units[task.index as usize];
        for (at, lease) in right.iter().chain(wrong).enumerate() {
            if let Some(given) = self.given.remove(lease)
                && at > 0
            {
                self.report.checking += given.units;
            }
            let Some(node) = nodes.get(lease).copied() else { continue };
            if let Some(neighbour) = self.neighbour(asker, node) {
                if at < right.len() && right.len() > 1 {
                    neighbour.evidence.saw_valid(now);
                } else if at < right.len() {
                    neighbour.evidence.saw_unchecked(now);
                } else {
                    neighbour.evidence.saw_invalid(now);
                }
            }
            if at < right.len() {
                self.tell(device_of(node), ToDevice::Receipt);
            }
        }
        self.told.remove(&(asker, task.index));
        self.askers[asker as usize].requester.settle(task, right, wrong);
    }
}
