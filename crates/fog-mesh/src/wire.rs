//! Messages between two Fog nodes that meet: one byte of version, one of kind, then fields of fixed length
//! and counted lists, in network byte order.

use std::collections::BTreeSet;

use crate::MAX_BUNDLE;

/// Maximum size of a message in bytes, given by the transport.
pub(crate) const MAX_MESSAGE: usize = 48 << 10;
/// Maximum number of likelihoods in a summary; the highest are sent.
pub(crate) const MAX_LIKELIHOODS: usize = 500;
/// Maximum number of bundle ids in a summary; the newest are sent. The others are found out
/// when they are offered.
pub(crate) const MAX_IDS: usize = 500;
/// Maximum number of receipts in a message; the newest are sent.
pub(crate) const MAX_RECEIPTS: usize = 300;

const VERSION: u8 = 1;

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// Summary of what a node can reach, has, and knows to have arrived.
    Summary {
        /// Delivery likelihoods by destination, from 0 to 1.
        likelihoods: Vec<([u8; 8], f64)>,
        /// Ids of the bundles that the node carries or received.
        ids: BTreeSet<[u8; 16]>,
        /// Receipts: ids of delivered bundles with their tokens.
        receipts: Vec<([u8; 16], [u8; 16])>,
    },
    /// A bundle, and the number of copies handed over.
    Give { copies: u8, bundle: Vec<u8> },
    /// Answer to a bundle that was given.
    Answer { id: [u8; 16], answer: Answer },
    /// Receipts: ids of delivered bundles with their tokens.
    Receipts(Vec<([u8; 16], [u8; 16])>),
}

/// Answer to a bundle that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The bundle is carried from now on, or reached its recipient.
    Taken,
    /// The node had the bundle before.
    Known,
    /// There is no room for the bundle, or it is invalid.
    Refused,
}

impl Message {
    /// Encodes the message; at most [`MAX_MESSAGE`] bytes when the lists keep to their bounds.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Summary { likelihoods, ids, receipts } => {
                bytes.push(1);
                put_count(&mut bytes, likelihoods.len());
                for (node, likely) in likelihoods {
                    bytes.extend_from_slice(node);
                    // Rounded down, so that two nodes that report the same number to each other do not see
                    // it grow.
                    bytes.extend_from_slice(
                        &((likely.clamp(0.0, 1.0) * f64::from(u16::MAX)) as u16).to_be_bytes(),
                    );
                }
                put_count(&mut bytes, ids.len());
                ids.iter().for_each(|id| bytes.extend_from_slice(id));
                put_pairs(&mut bytes, receipts);
            }
            Self::Give { copies, bundle } => {
                bytes.extend_from_slice(&[2, *copies]);
                bytes.extend_from_slice(bundle);
            }
            Self::Answer { id, answer } => {
                bytes.push(3);
                bytes.extend_from_slice(id);
                bytes.push(match answer {
                    Answer::Taken => 0,
                    Answer::Known => 1,
                    Answer::Refused => 2,
                });
            }
            Self::Receipts(receipts) => {
                bytes.push(4);
                put_pairs(&mut bytes, receipts);
            }
        }
        bytes
    }

    /// Decodes a message; `None` when its version or kind is unknown, or it is too long or malformed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_MESSAGE {
            return None;
        }
        let mut reader = Reader(bytes);
        if reader.byte()? != VERSION {
            return None;
        }
        let message = match reader.byte()? {
            1 => {
                let likelihoods = reader.list(MAX_LIKELIHOODS, |reader| {
                    Some((
                        reader.array()?,
                        f64::from(u16::from_be_bytes(reader.array()?)) / f64::from(u16::MAX),
                    ))
                })?;
                let ids = reader.list(MAX_IDS, Reader::array)?.into_iter().collect();
                Self::Summary { likelihoods, ids, receipts: reader.pairs()? }
            }
            2 => {
                let copies = reader.byte()?;
                Self::Give {
                    copies,
                    bundle: reader.take(reader.0.len()).filter(|bundle| bundle.len() <= MAX_BUNDLE)?.to_vec(),
                }
            }
            3 => {
                let id = reader.array()?;
                let answer = match reader.byte()? {
                    0 => Answer::Taken,
                    1 => Answer::Known,
                    2 => Answer::Refused,
                    _ => return None,
                };
                Self::Answer { id, answer }
            }
            4 => Self::Receipts(reader.pairs()?),
            _ => return None,
        };
        reader.0.is_empty().then_some(message)
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_pairs(bytes: &mut Vec<u8>, pairs: &[([u8; 16], [u8; 16])]) {
    put_count(bytes, pairs.len());
    pairs.iter().for_each(|(id, token)| bytes.extend_from_slice(&[*id, *token].concat()));
}

/// Reader that takes bytes from the front; `None` when there are too few.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a counted list of at most `most` items.
    pub(crate) fn list<T>(
        &mut self,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::from(u16::from_be_bytes(self.array()?));
        if count > most {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn pairs(&mut self) -> Option<Vec<([u8; 16], [u8; 16])>> {
        self.list(MAX_RECEIPTS, |reader| Some((reader.array()?, reader.array()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_message() -> impl Strategy<Value = Message> {
        let pairs = || proptest::collection::vec(any::<([u8; 16], [u8; 16])>(), 0..10);
        let likelihoods = proptest::collection::vec(
            (any::<[u8; 8]>(), prop_oneof![Just(0.0), Just(1.0), Just(0.2)]),
            0..10,
        );
        let ids = proptest::collection::btree_set(any::<[u8; 16]>(), 0..10);
        prop_oneof![
            (likelihoods, ids, pairs()).prop_map(|(likelihoods, ids, receipts)| Message::Summary {
                likelihoods,
                ids,
                receipts
            }),
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(copies, bundle)| Message::Give { copies, bundle }),
            (any::<[u8; 16]>(), prop_oneof![Just(Answer::Taken), Just(Answer::Known), Just(Answer::Refused)])
                .prop_map(|(id, answer)| Message::Answer { id, answer }),
            pairs().prop_map(Message::Receipts),
        ]
    }

    #[test]
    fn the_largest_messages_fit_the_pipe() {
        let summary = Message::Summary {
            likelihoods: vec![([1; 8], 0.5); MAX_LIKELIHOODS],
            ids: (0..MAX_IDS as u128).map(u128::to_be_bytes).collect(),
            receipts: vec![([1; 16], [2; 16]); MAX_RECEIPTS],
        };
        let give = Message::Give { copies: 1, bundle: vec![0; MAX_BUNDLE] };
        for message in [summary, give] {
            assert!(message.encode().len() <= MAX_MESSAGE && Message::decode(&message.encode()).is_some());
        }
        assert_eq!(
            Message::decode(&Message::Receipts(vec![([1; 16], [2; 16]); MAX_RECEIPTS + 1]).encode()),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(message in any_message()) {
            let bytes = message.encode();
            prop_assert_eq!(Message::decode(&bytes), Some(message.clone()));
            if !matches!(message, Message::Give { .. }) {
                prop_assert_eq!(Message::decode(&[&bytes[..], &[0]].concat()), None);
                prop_assert_eq!(Message::decode(&bytes[..bytes.len() - 1]), None);
            }
        }

        #[test]
        fn any_bytes_are_heard_without_panic(kind in 0u8..6, rest in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Message::decode(&rest);
            let _ = Message::decode(&[&[VERSION, kind][..], &rest].concat());
        }
    }
}
