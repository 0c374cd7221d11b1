//! Choice of the device to connect to next, and pauses after failures.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Maximum number of links as central; phones use the same.
pub(crate) const MAX_LINKS: usize = 6;
/// Pause after a failed connection, and after a lost one.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
const AFTER_LOSS: Duration = Duration::from_secs(3);
/// Maximum pause; each failure in a row makes it longer.
const LONGEST: Duration = Duration::from_secs(120);
/// Age of an advertisement from which its address counts as outdated: connecting to it hangs, and can break
/// a working link.
const STALE: Duration = Duration::from_secs(20);
/// Maximum number of devices remembered.
const MAX_DEVICES: usize = 200;

struct Device {
    heard: Instant,
    free_at: Instant,
    failures: u32,
    is_linked: bool,
}

/// Devices that advertise the service.
pub(crate) struct Candidates<Id>(HashMap<Id, Device>);

impl<Id: Clone + Eq + Hash> Candidates<Id> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(crate) fn heard(&mut self, id: &Id, now: Instant) {
        if let Some(device) = self.0.get_mut(id) {
            device.heard = now;
            return;
        }
        if self.0.len() >= MAX_DEVICES {
            let oldest = self
                .0
                .iter()
                .filter(|(_, device)| !device.is_linked)
                .min_by_key(|(_, device)| device.heard)
                .map(|(id, _)| id.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(id.clone(), Device { heard: now, free_at: now, failures: 0, is_linked: false });
    }

    /// Whether a device is known to advertise the service.
    pub(crate) fn knows(&self, id: &Id) -> bool {
        self.0.contains_key(id)
    }

    pub(crate) fn links(&self) -> usize {
        self.0.values().filter(|device| device.is_linked).count()
    }

    /// Device to connect to now: the one heard last among those that are free.
    pub(crate) fn next(&self, now: Instant) -> Option<Id> {
        if self.links() >= MAX_LINKS {
            return None;
        }
        let free = |device: &Device| {
            !device.is_linked && device.free_at <= now && now.duration_since(device.heard) < STALE
        };
        self.0
            .iter()
            .filter(|(_, device)| free(device))
            .max_by_key(|(_, device)| device.heard)
            .map(|(id, _)| id.clone())
    }

    pub(crate) fn linked(&mut self, id: &Id) {
        if let Some(device) = self.0.get_mut(id) {
            device.is_linked = true;
            device.failures = 0;
        }
    }

    /// Records that a connection failed.
    pub(crate) fn failed(&mut self, id: &Id, now: Instant) {
        if let Some(device) = self.0.get_mut(id) {
            device.failures += 1;
            device.is_linked = false;
            device.free_at = now + (AFTER_FAILURE * device.failures).min(LONGEST);
        }
    }

    /// Records that a link was lost.
    pub(crate) fn lost(&mut self, id: &Id, now: Instant) {
        if let Some(device) = self.0.get_mut(id) {
            device.is_linked = false;
            device.free_at = now + AFTER_LOSS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_each_time_and_old_addresses_are_left_alone() {
        let (mut known, start) = (Candidates::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        known.heard(&1, at(0));
        assert_eq!(known.next(at(0)), Some(1));
        known.failed(&1, at(0));
        known.heard(&1, at(14));
        assert_eq!((known.next(at(14)), known.next(at(15))), (None, Some(1)));
        known.failed(&1, at(15));
        known.heard(&1, at(44));
        assert_eq!((known.next(at(44)), known.next(at(45)), known.next(at(70))), (None, Some(1), None));
    }

    #[test]
    fn there_are_six_links_and_no_more() {
        let (mut known, now) = (Candidates::new(), Instant::now());
        for id in 0..8 {
            known.heard(&id, now);
        }
        for _ in 0..6 {
            let id = known.next(now).unwrap();
            known.linked(&id);
        }
        assert_eq!((known.links(), known.next(now)), (6, None));
        let id = (0..8).find(|id| known.0[id].is_linked).unwrap();
        known.lost(&id, now);
        assert!(known.next(now).is_some_and(|other| other != id), "who was just lost waits");
        for id in 100..1_000 {
            known.heard(&id, now);
        }
        assert_eq!((known.0.len(), known.links()), (MAX_DEVICES, 5));
    }
}
