//! Record of the packets that were seen recently.

use std::collections::{BTreeMap, VecDeque};

use crate::frame::Frame;
use crate::sync::packet_id;

const CAPACITY: usize = 4096;
/// Milliseconds for which a packet is remembered.
const AGE: u64 = 300_000;

/// Recently seen packets, by the hash of sender, time, kind and payload. Only genuine packets are added, so
/// that a forger cannot make the packets of others look old.
#[derive(Debug, Default)]
pub struct Dedup {
    seen: BTreeMap<[u8; 16], u64>,
    order: VecDeque<([u8; 16], u64)>,
}

impl Dedup {
    /// Whether a packet was seen.
    #[must_use]
    pub fn has(&self, frame: &Frame) -> bool {
        self.seen.contains_key(&packet_id(frame))
    }

    /// Remembers a packet; returns whether it is new.
    pub fn add(&mut self, frame: &Frame, now: u64) -> bool {
        while self.order.front().is_some_and(|(_, at)| now.saturating_sub(*at) > AGE)
            || self.order.len() >= CAPACITY
        {
            let Some((old, _)) = self.order.pop_front() else { break };
            self.seen.remove(&old);
        }
        let key = packet_id(frame);
        if self.seen.insert(key, now).is_some() {
            return false;
        }
        self.order.push_back((key, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;
    use crate::identity::PeerId;

    #[test]
    fn copies_are_known_whatever_their_way_was() {
        let mut seen = Dedup::default();
        let frame = Frame::new(Kind::MESSAGE, PeerId([1; 8]), 5, b"hello".to_vec());
        assert!(seen.add(&frame, 0));
        assert!(!seen.add(&Frame { ttl: 2, is_requested: true, ..frame.clone() }, 10));
        assert!(seen.has(&frame));
        assert!(seen.add(&Frame { timestamp: 6, ..frame.clone() }, 10));
        assert!(seen.add(&frame, AGE + 1), "after five minutes it may come again");
    }

    #[test]
    fn it_does_not_grow() {
        let mut seen = Dedup::default();
        for n in 0..20_000 {
            seen.add(&Frame::new(Kind::MESSAGE, PeerId([1; 8]), n, Vec::new()), 0);
        }
        assert!(seen.seen.len() <= CAPACITY && seen.order.len() == seen.seen.len());
    }
}
