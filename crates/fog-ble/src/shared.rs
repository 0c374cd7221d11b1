//! Deduplication of notifications, which go to all subscribers: a packet of several links is sent once.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Maximum number of packets that are remembered.
const MAX_SENT: usize = 256;

/// Record of the packets that were sent, for links that share one transmission.
#[derive(Default)]
pub(crate) struct Shared {
    /// Links that count as having sent a packet, by the hash of the packet.
    sent: BTreeMap<u64, Vec<u64>>,
    order: VecDeque<u64>,
}

impl Shared {
    /// Registers a packet of a link. Returns whether it has to be sent: not if it was sent for another link
    /// and this one asks for it for the first time.
    pub(crate) fn register_packet(&mut self, link: u64, packet: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        packet.hash(&mut hasher);
        let key = hasher.finish();
        match self.sent.get_mut(&key) {
            Some(links) if !links.contains(&link) => {
                links.push(link);
                false
            }
            // A repetition by the same link is intended.
            Some(links) => {
                *links = vec![link];
                true
            }
            None => {
                if self.order.len() >= MAX_SENT
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.sent.remove(&oldest);
                }
                self.order.push_back(key);
                self.sent.insert(key, vec![link]);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_for_three_links_goes_out_once_and_again_when_it_is_said_again() {
        let mut shared = Shared::default();
        assert_eq!([1, 2, 3].map(|link| shared.register_packet(link, b"hello")), [true, false, false]);
        assert_eq!([2, 1, 3].map(|link| shared.register_packet(link, b"hello")), [true, false, false]);
        assert!(shared.register_packet(2, b"other"));
        for n in 0..1000u32 {
            shared.register_packet(1, &n.to_be_bytes());
        }
        assert!(shared.sent.len() <= MAX_SENT && shared.order.len() <= MAX_SENT);
    }
}
