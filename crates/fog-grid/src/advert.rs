//! What a node says to a whole network about itself, seldom: that it has room, or work. Nothing is agreed
//! on that way; whoever is interested opens a link and negotiates there.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use fog_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::invite::Group;
use crate::message::Capacity;

/// An advert that is older, or that far ahead, is not passed on; milliseconds.
const MAX_AGE: u64 = 600_000;
/// A node's adverts are this far apart at least, in milliseconds; others are not passed on.
const MIN_GAP: u64 = 20_000;
/// Authors that are remembered for that.
const MAX_AUTHORS: usize = 4096;
const MAX_NAME: usize = 240;
const MAX_ADDRESSES: usize = 4;
const MAX_ADDRESS: usize = 256;
const NONCE: usize = 24;

/// What a node lends, and whether it has work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Who; also the author of the message that carries it.
    pub node: NodeId,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What the owner calls the device, up to 60 characters.
    pub name: String,
    /// What it lends.
    pub capacity: Capacity,
    /// Its tasks that wait for a device.
    pub wants: u32,
    /// Where it can be reached, at most four.
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

    /// For the wire; sealed for the members of a group, so that whoever else passes it on learns nothing.
    /// The nonce must be drawn anew each time.
    #[must_use]
    pub fn encode(&self, group: Option<&Group>, nonce: [u8; NONCE]) -> Vec<u8> {
        // Values of ours always encode, and are short enough to be sealed.
        let open = postcard::to_stdvec(self).unwrap_or_default();
        let Some(group) = group else { return open };
        let payload = Payload { msg: &open, aad: &self.node.0 };
        let sealed = cipher(group).encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// From the wire; `None` when nobody should pass it on. `now_ms` are the times of day by which it may be young, in
    /// milliseconds since 1970: clocks need not agree.
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
    XChaCha20Poly1305::new(&blake3::derive_key("fog-compute 2026-11 adverts of a group", &group.secret).into())
}

/// How often each node says something to everybody.
#[derive(Debug, Default)]
pub struct Pace {
    last: BTreeMap<NodeId, u64>,
}

impl Pace {
    /// Whether a message of this author is not too soon after its last one; milliseconds of a clock that
    /// only goes forward.
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
        assert_eq!(Advert::decode(&bytes, NodeId([2; 32]), Some(&group(1)), &[1_000_000]), None, "in somebody else's name");
        let open = advert().encode(None, [0; NONCE]);
        assert_eq!(Advert::decode(&open, ME, None, &[1_000_000]), Some(advert()));
    }

    #[test]
    fn what_is_old_or_beyond_bounds_goes_no_further() {
        let decode = |advert: &Advert, now: i64| Advert::decode(&advert.encode(None, [0; NONCE]), ME, None, &[now]);
        let limit = MAX_AGE as i64;
        assert_eq!(decode(&advert(), 1_000_000 + limit + 1), None);
        assert_eq!(decode(&advert(), 1_000_000 + limit), Some(advert()));
        for at_ms in [i64::MIN, i64::MAX] {
            assert_eq!(decode(&Advert { at_ms, ..advert() }, -5), None);
        }
        // By its author's clock it is young.
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
