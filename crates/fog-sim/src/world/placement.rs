//! Simulated world: which tasks a requester offers to which devices.

use std::collections::BTreeMap;

use fog_grid::LeaseId;
use fog_scheduler::{Machine, Work};
use fog_types::job::Prefer;

use super::{Event, ToDevice, World, device_of, node_of};

/// Maximum number of tasks that are placed at once.
const AT_ONCE: u32 = 64;

impl World {
    pub(super) fn place_soon(&mut self, asker: u32) {
        let one = &mut self.askers[asker as usize];
        let has_room =
            one.requester.open() > 0 && one.neighbours.iter().any(|n| n.is_here && n.works && n.free > 0);
        if has_room && !one.is_placing {
            one.is_placing = true;
            self.at(self.now + 200, Event::Place(asker));
        }
    }

    pub(super) fn place(&mut self, asker: u32) {
        let now = self.now;
        let one = &mut self.askers[asker as usize];
        one.is_placing = false;
        let mut machines = Vec::new();
        let mut devices = Vec::new();
        for neighbour in one.neighbours.iter().filter(|n| {
            n.is_here && n.works && n.free > 0 && !one.requester.is_resting(node_of(n.device), now)
        }) {
            let device = &self.lenders[neighbour.device as usize].device;
            devices.push(neighbour.device);
            machines.push(Machine {
                slots: neighbour.free as u32,
                memory: 1 << 40,
                disk: 1 << 40,
                speed: device.speed,
                price: 1.0,
                watts: 15.0,
                reliability: neighbour.evidence.reliability(),
                availability: 1.0,
                bandwidth: 5e6,
            });
        }
        let room: u32 = machines.iter().map(|machine| machine.slots).sum();
        let places: BTreeMap<u32, usize> =
            devices.iter().enumerate().map(|(at, device)| (*device, at)).collect();
        let (mut works, mut tasks) = (Vec::new(), Vec::new());
        for (task, wants, avoid) in one.requester.wanting(room.min(AT_ONCE) as usize, now) {
            let work = Work {
                units: self.scenario.minutes * 60e9,
                memory: 1 << 28,
                disk: 1 << 28,
                input: 1e6,
                present: Vec::new(),
                deadline: 1e9,
                group: task.index,
                avoid: avoid.iter().filter_map(|node| places.get(&device_of(*node)).copied()).collect(),
            };
            for _ in 0..wants {
                works.push(work.clone());
                tasks.push(task);
            }
        }
        let placed = fog_scheduler::quick(&machines, &works, Prefer::Balanced);
        for (task, machine) in tasks.into_iter().zip(placed) {
            let Some(device) = machine.and_then(|at| devices.get(at)).copied() else { continue };
            self.leases += 1;
            let mut lease = [0; 16];
            lease[..8].copy_from_slice(&self.leases.to_be_bytes());
            let lease = LeaseId(lease);
            let one = &mut self.askers[asker as usize];
            let begin = one.requester.checkpoint(task).map_or(0.0, |(units, _)| units as f64);
            one.requester.offered(lease, task, node_of(device), now);
            if let Some(place) = one.places.get(&device) {
                one.neighbours[*place as usize].free -= 1;
            }
            self.tell(device, ToDevice::Offer { from: asker, task, lease, begin });
        }
        self.do_effects(asker);
    }
}
