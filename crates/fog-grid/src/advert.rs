//! Adverts with which a node tells a whole network now and then that it has free capacity or work. An
//! advert agrees on nothing; an interested node opens a link and negotiates there.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use fog_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::invite::Group;
use crate::message::Capacity;

/// Maximum difference in milliseconds between the time of an advert and the clock; others are not passed
/// on.
const MAX_AGE: u64 = 600_000;
/// Minimum time between two adverts of one node in milliseconds; earlier ones are not passed on.
const MIN_GAP: u64 = 20_000;
/// Maximum number of authors that [`Pace`] remembers.
const MAX_AUTHORS: usize = 4096;
const MAX_NAME: usize = 240;
const MAX_ADDRESSES: usize = 4;
const MAX_ADDRESS: usize = 256;
const NONCE: usize = 24;

/// Advert of a node: the capacity that it lends, and whether it has work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Node that advertises; must be the author of the message.
    pub node: NodeId,
    /// Time of the advert in milliseconds since 1970.
    pub at_ms: i64,
    /// Name that the owner gave the device, up to 60 characters.
    pub name: String,
    /// Capacity that the node lends.
    pub capacity: Capacity,
    /// Number of tasks of the node that wait for a device.
    pub wants: u32,
    /// Addresses of the node, at most four.
    pub addresses: Vec<String>,
}

impl Advert {
    fn check(&self, author: NodeId, now_ms: &[i64]) -> bool {
        let is_text = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        self.node == author
            && now_ms.iter().any(|now| now.abs_diff(self.at_ms) <= MAX_AGE)
            && is_text(&self.name, MAX_NAME)
            && self.addresses.len() <= MAX_ADDRESSES
            && self.addresses.iter().all(|address| is_text(address, MAX_ADDRESS))
            && self.capacity.free <= self.capacity.slots
            && self.capacity.duty <= 100
    }

    /// Encodes the advert for the wire, sealed for the members of `group` if given, so that other nodes
    /// that pass it on cannot read it. The nonce must be drawn anew for each call.
    #[must_use]
    pub fn encode(&self, group: Option<&Group>, nonce: [u8; NONCE]) -> Vec<u8> {
        // The types of this crate always encode, and an advert is short enough to be sealed.
        let open = postcard::to_stdvec(self).unwrap_or_default();
        let Some(group) = group else { return open };
        let payload = Payload { msg: &open, aad: &self.node.0 };
        let sealed = cipher(group).encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decodes an advert from the wire; `None` if it must not be passed on. `now_ms` are the possible
    /// current times in milliseconds since 1970, as clocks need not agree; the advert must be recent by one
    /// of them.
    #[must_use]
    pub fn decode(bytes: &[u8], author: NodeId, group: Option<&Group>, now_ms: &[i64]) -> Option<Self> {
        let opened = match group {
            Some(group) => {
                let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
                cipher(group).decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &author.0 }).ok()?
            }
            None => bytes.to_vec(),
        };
        let advert: Self = postcard::from_bytes(&opened).ok()?;
        advert.check(author, now_ms).then_some(advert)
    }
}

fn cipher(group: &Group) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(
        &blake3::derive_key("fog-compute 2026-11 adverts of a group", &group.secret).into(),
    )
}

/// Limit on how often each node advertises.
#[derive(Debug, Default)]
pub struct Pace {
    last: BTreeMap<NodeId, u64>,
}

impl Pace {
    /// Returns whether a message of this author may be passed on: the last one is not too recent, and the
    /// author fits in the table. `now` is in milliseconds of a monotonic clock.
    pub fn admits(&mut self, author: NodeId, now: u64) -> bool {
        if self.last.get(&author).is_some_and(|last| now.saturating_sub(*last) < MIN_GAP) {
            return false;
        }
        if self.last.len() >= MAX_AUTHORS {
            self.last.retain(|_, last| now.saturating_sub(*last) < MIN_GAP);
        }
        if self.last.len() >= MAX_AUTHORS {
            return false;
        }
        self.last.insert(author, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ME: NodeId = NodeId([1; 32]);

    fn advert() -> Advert {
        Advert {
            node: ME,
            at_ms: 1_000_000,
            name: "anna's laptop".to_owned(),
            capacity: Capacity { slots: 2, free: 1, duty: 100, ..Capacity::default() },
            wants: 3,
            addresses: vec!["/ip4/10.0.0.1/udp/4170/quic-v1".to_owned()],
        }
    }

    fn group(secret: u8) -> Group {
        Group { name: "home".to_owned(), secret: [secret; 32] }
    }

    #[test]
    fn members_read_it_and_nobody_else() {
        let bytes = advert().encode(Some(&group(1)), [7; NONCE]);
        assert_eq!(Advert::decode(&bytes, ME, Some(&group(1)), &[1_000_000]), Some(advert()));
        assert_eq!(Advert::decode(&bytes, ME, Some(&group(2)), &[1_000_000]), None);
        assert_eq!(Advert::decode(&bytes, ME, None, &[1_000_000]), None);
        assert_eq!(
            Advert::decode(&bytes, NodeId([2; 32]), Some(&group(1)), &[1_000_000]),
            None,
            "in somebody else's name"
        );
        let open = advert().encode(None, [0; NONCE]);
        assert_eq!(Advert::decode(&open, ME, None, &[1_000_000]), Some(advert()));
    }

    #[test]
    fn what_is_old_or_beyond_bounds_goes_no_further() {
        let decode =
            |advert: &Advert, now: i64| Advert::decode(&advert.encode(None, [0; NONCE]), ME, None, &[now]);
        let limit = MAX_AGE as i64;
        assert_eq!(decode(&advert(), 1_000_000 + limit + 1), None);
        assert_eq!(decode(&advert(), 1_000_000 + limit), Some(advert()));
        for at_ms in [i64::MIN, i64::MAX] {
            assert_eq!(decode(&Advert { at_ms, ..advert() }, -5), None);
        }
        // The advert is recent by the clock of its author, which is the second time.
        let apart = Advert::decode(&advert().encode(None, [0; NONCE]), ME, None, &[limit * 9, 1_000_005]);
        assert_eq!(apart, Some(advert()));
        for bad in [
            Advert { name: "x".repeat(241), ..advert() },
            Advert { name: "a\u{7}".to_owned(), ..advert() },
            Advert { addresses: vec![String::new(); 5], ..advert() },
            Advert { capacity: Capacity { slots: 1, free: 2, ..Capacity::default() }, ..advert() },
        ] {
            assert_eq!(decode(&bad, 1_000_000), None);
        }
    }

    #[test]
    fn who_speaks_too_often_is_not_passed_on_and_too_many_take_no_more_memory() {
        let mut pace = Pace::default();
        assert!(pace.admits(ME, 0) && !pace.admits(ME, MIN_GAP - 1) && pace.admits(ME, MIN_GAP));
        for n in 0..10_000u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            pace.admits(NodeId(id), MIN_GAP + 1);
        }
        assert!(pace.last.len() <= MAX_AUTHORS);
        assert!(pace.admits(NodeId([9; 32]), MIN_GAP * 3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Advert::decode(&bytes, ME, None, &[0]);
            let _ = Advert::decode(&bytes, ME, Some(&group(1)), &[0]);
        }
    }
}
