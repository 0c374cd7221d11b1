//! Fragmentation of packets that do not fit into one write or notification.

use std::collections::BTreeMap;

use crate::bytes::{Reader, WireError};
use crate::frame::{Frame, Kind, MAX_PAYLOAD, Raw};
use crate::identity::PeerId;

/// Maximum data of one fragment, in bytes; keeps every frame within 512 bytes.
pub const MAX_FRAGMENT_DATA: usize = 454;
/// Bytes of a fragment's frame beside its data: header, sender, recipient, fragment header.
const OVERHEAD: usize = 14 + 8 + 8 + 13;
/// Maximum number of fragments that Android reassembles.
const MAX_SENT: usize = 256;
const MAX_RECEIVED: u16 = 10_000;
/// Maximum number of incomplete packets of one sender and in total; the oldest is dropped.
const MAX_SETS_OF_ONE: usize = 16;
const MAX_SETS: usize = 128;
/// Maximum bytes of one incomplete packet (a file with its overhead) and of all of them.
const MAX_SET: usize = MAX_PAYLOAD + 1024;
const MAX_ALL: usize = 8 << 20;
/// Milliseconds after which an incomplete packet is dropped.
const LIFE: u64 = 30_000;
/// Milliseconds without a fragment after which neighbours may be asked for the missing ones.
const STALLED: u64 = 5_000;
/// Maximum bytes that a sender may have cut off because they looked like padding (bitchat-android#903).
const MAX_CUT: usize = 16;

/// A fragment of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Random id, the same for all fragments of a packet.
    pub id: [u8; 8],
    /// Index of the fragment, from 0.
    pub index: u16,
    /// Number of fragments of the packet.
    pub total: u16,
    /// Kind of the packet that was split.
    pub inner: Kind,
    /// Bytes of this fragment.
    pub data: Vec<u8>,
}

impl Fragment {
    /// Encodes the fragment as the payload of a packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(13 + self.data.len());
        out.extend(self.id);
        out.extend(self.index.to_be_bytes());
        out.extend(self.total.to_be_bytes());
        out.push(self.inner.0);
        out.extend_from_slice(&self.data);
        out
    }

    /// Decodes the payload of a packet.
    ///
    /// # Errors
    /// [`WireError`] when there is no data, the index is out of range, or the packet is itself a fragment.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(payload);
        let (id, index, total, inner) = (reader.array()?, reader.u16()?, reader.u16()?, Kind(reader.u8()?));
        if reader.is_empty() {
            return Err(WireError::Short);
        }
        if index >= total || total > MAX_RECEIVED || inner == Kind::FRAGMENT {
            return Err(WireError::Invalid(inner.0));
        }
        Ok(Self { id, index, total, inner, data: reader.0.to_vec() })
    }
}

/// Splits a packet that is longer than `limit` bytes into fragments, in order; a shorter one is returned as
/// it is. `id` is random. The packet is split in its encoded form, padding included.
///
/// # Errors
/// [`WireError::TooLong`] when more than 256 fragments would be needed.
pub fn split(frame: &Frame, id: [u8; 8], limit: usize) -> Result<Vec<Frame>, WireError> {
    let bytes = frame.encode();
    if bytes.len() <= limit {
        return Ok(vec![frame.clone()]);
    }
    let route = frame.route.as_ref().map_or(0, |route| 2 + 1 + 8 * route.len());
    let room = MAX_FRAGMENT_DATA.saturating_sub(route).min(limit.saturating_sub(OVERHEAD + route)).max(1);
    let pieces = bytes.chunks(room);
    let total = pieces.len();
    if total > MAX_SENT {
        return Err(WireError::TooLong);
    }
    let fragment = |(index, data): (usize, &[u8])| {
        let payload =
            Fragment { id, index: index as u16, total: total as u16, inner: frame.kind, data: data.to_vec() }
                .encode();
        let mut one = Frame::new(Kind::FRAGMENT, frame.sender, frame.timestamp, payload);
        one.version = if frame.route.is_some() { 2 } else { 1 };
        (one.ttl, one.recipient, one.is_requested) = (frame.ttl, frame.recipient, frame.is_requested);
        one.route.clone_from(&frame.route);
        one
    };
    Ok(pieces.enumerate().map(fragment).collect())
}

struct Set {
    total: u16,
    inner: Kind,
    pieces: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
    begun: u64,
    moved: u64,
    asked: Option<u64>,
}

/// Reassembles packets. The number of sets, their bytes and their lifetime are bounded for any input.
#[derive(Default)]
pub struct Assembler {
    sets: BTreeMap<(PeerId, [u8; 8]), Set>,
    bytes: usize,
}

impl Assembler {
    /// Takes a fragment, in any order and any number of times. Returns the packet when it is complete, with
    /// a TTL of 0, because its fragments were relayed one by one. `now` is in milliseconds.
    ///
    /// `is_valid` tells whether a packet is genuine; it is asked for packets that lost their last bytes to
    /// a sender that took them for padding.
    pub fn handle(
        &mut self,
        sender: PeerId,
        fragment: Fragment,
        now: u64,
        is_valid: impl Fn(&Frame) -> bool,
    ) -> Option<Raw> {
        let key = (sender, fragment.id);
        if !self.sets.contains_key(&key) {
            self.make_room(sender);
            let set = Set {
                total: fragment.total,
                inner: fragment.inner,
                pieces: BTreeMap::new(),
                bytes: 0,
                begun: now,
                moved: now,
                asked: None,
            };
            self.sets.insert(key, set);
        }
        let set = self.sets.get_mut(&key)?;
        if set.total != fragment.total
            || set.inner != fragment.inner
            || set.pieces.contains_key(&fragment.index)
        {
            return None;
        }
        if set.bytes + fragment.data.len() > MAX_SET {
            self.remove(key);
            return None;
        }
        set.bytes += fragment.data.len();
        self.bytes += fragment.data.len();
        set.moved = now;
        set.pieces.insert(fragment.index, fragment.data);
        if set.pieces.len() < usize::from(set.total) {
            while self.bytes > MAX_ALL {
                self.remove_oldest(None);
            }
            return None;
        }
        let set = self.remove(key)?;
        let bytes: Vec<u8> = set.pieces.into_values().flatten().collect();
        let mut raw = whole(&bytes, &is_valid)?;
        if raw.frame.kind != set.inner || raw.frame.kind == Kind::FRAGMENT || raw.frame.sender != sender {
            return None;
        }
        raw.frame.ttl = 0;
        Some(raw)
    }

    /// Drops packets that are still incomplete after 30 s.
    pub fn handle_timeout(&mut self, now: u64) {
        let old: Vec<_> = self
            .sets
            .iter()
            .filter(|(_, set)| now.saturating_sub(set.begun) > LIFE)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            self.remove(key);
        }
    }

    /// Ids of packets that got no fragment for 5 s, to request from neighbours; each at most every 10 s.
    pub fn stalled(&mut self, now: u64) -> Vec<[u8; 8]> {
        let stalled = self.sets.iter_mut().filter(|(_, set)| {
            now.saturating_sub(set.moved) >= STALLED
                && set.asked.is_none_or(|at| now.saturating_sub(at) >= 2 * STALLED)
        });
        stalled
            .take(60)
            .map(|(key, set)| {
                set.asked = Some(now);
                key.1
            })
            .collect()
    }

    /// Bytes of all incomplete packets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn make_room(&mut self, sender: PeerId) {
        if self.sets.range((sender, [0; 8])..=(sender, [0xff; 8])).count() >= MAX_SETS_OF_ONE {
            self.remove_oldest(Some(sender));
        } else if self.sets.len() >= MAX_SETS {
            self.remove_oldest(None);
        }
    }

    fn remove_oldest(&mut self, of: Option<PeerId>) {
        let candidates = self.sets.iter().filter(|((sender, _), _)| of.is_none_or(|of| of == *sender));
        let oldest = candidates.min_by_key(|(_, set)| set.begun).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: (PeerId, [u8; 8])) -> Option<Set> {
        let set = self.sets.remove(&key)?;
        self.bytes -= set.bytes;
        Some(set)
    }
}

/// Decodes the packet; if that fails, restores the end that a sender may have cut off as padding.
fn whole(bytes: &[u8], is_valid: &impl Fn(&Frame) -> bool) -> Option<Raw> {
    if let Ok(raw) = Raw::decode(bytes) {
        return Some(raw);
    }
    (1..=MAX_CUT).find_map(|cut| {
        let mut longer = bytes.to_vec();
        longer.resize(bytes.len() + cut, cut as u8);
        Raw::decode(&longer).ok().filter(|raw| raw.bytes().len() == longer.len() && is_valid(&raw.frame))
    })
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
