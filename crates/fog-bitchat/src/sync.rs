//! Set reconciliation: a node sends a compact filter of the packets it has, and a neighbour sends the
//! others.

use sha2::{Digest as _, Sha256};

use crate::bytes::{Reader, WireError, bits, fixed, from_bits, put16};
use crate::frame::{Frame, Kind};

/// Bits of each remainder: one in 128 missing packets may look present.
const PRECISION: u8 = 7;
/// Maximum size of a filter that is sent, and of one that is accepted, in bytes.
const BUDGET: usize = 400;
const MAX_FILTER: usize = 1024;
const MAX_WANTED: usize = 60;

/// Id of a packet: the first half of a SHA-256 over kind, sender, time and payload.
#[must_use]
pub fn packet_id(frame: &Frame) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update([frame.kind.0]);
    hasher.update(frame.sender.0);
    hasher.update(frame.timestamp.to_be_bytes());
    hasher.update(frame.payload());
    let [head, _] = *hasher.finalize().as_chunks::<16>().0 else { unreachable!("a hash of 32 bytes") };
    head
}

fn hash(id: &[u8; 16]) -> u64 {
    let digest = Sha256::digest(id);
    digest.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head)) & (u64::MAX >> 1)
}

/// Golomb-coded set of packet ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Number of bits of each remainder, 1 to 32.
    pub precision: u8,
    /// Exclusive upper bound of the hashed values.
    pub modulus: u32,
    /// Differences between the sorted values, coded.
    pub stream: Vec<u8>,
}

impl Filter {
    /// Filter of these ids, newest first; the oldest are left out so that it has at most 400 bytes.
    #[must_use]
    pub fn of(ids: &[[u8; 16]]) -> Self {
        let mut count = ids.len().min(BUDGET * 8 / (usize::from(PRECISION) + 2));
        loop {
            let modulus = if count == 0 { 1 } else { (count as u32) << PRECISION };
            let stream = encode(values(&ids[..count], modulus), PRECISION);
            if stream.len() <= BUDGET || count == 0 {
                return Self { precision: PRECISION, modulus, stream };
            }
            count -= (count / 10).max(1);
        }
    }

    /// Returns a test whether a packet is in the filter; false positives are possible.
    pub fn lookup(&self) -> impl Fn(&[u8; 16]) -> bool + use<> {
        let values = decode(&self.stream, self.precision, self.modulus);
        let modulus = self.modulus;
        move |id| modulus > 1 && values.binary_search(&value(id, modulus)).is_ok()
    }
}

fn value(id: &[u8; 16], modulus: u32) -> u32 {
    ((hash(id) % u64::from(modulus.max(1))) as u32).max(1)
}

fn values(ids: &[[u8; 16]], modulus: u32) -> Vec<u32> {
    let mut values: Vec<u32> = ids.iter().map(|id| value(id, modulus)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn encode(values: Vec<u32>, precision: u8) -> Vec<u8> {
    let mut bits = Bits::default();
    let mut last = 0;
    for value in values {
        let difference = value - last - 1;
        last = value;
        for _ in 0..difference >> precision {
            bits.push(true);
        }
        bits.push(false);
        for bit in (0..precision).rev() {
            bits.push(difference >> bit & 1 == 1);
        }
    }
    bits.bytes
}

/// Decodes the values; ends at the end of the stream or at the first value that is out of range.
fn decode(stream: &[u8], precision: u8, modulus: u32) -> Vec<u32> {
    let mut values = Vec::new();
    let mut bits = stream.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let mut last: u64 = 0;
    loop {
        let mut quotient: u64 = 0;
        loop {
            match bits.next() {
                Some(true) => quotient += 1,
                Some(false) => break,
                None => return values,
            }
        }
        let mut remainder: u64 = 0;
        for _ in 0..precision {
            let Some(bit) = bits.next() else { return values };
            remainder = remainder << 1 | u64::from(bit);
        }
        last += (quotient << precision) + remainder + 1;
        match u32::try_from(last) {
            Ok(value) if value < modulus => values.push(value),
            _ => return values,
        }
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u8,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used);
        }
        self.used = (self.used + 1) % 8;
    }
}

/// Request for packets: those that the requester has, and the kinds that it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// Filter of the packets that the requester has.
    pub filter: Filter,
    /// Wanted kinds as bits; `None` means announces and messages.
    pub kinds: Option<u64>,
    /// Time in milliseconds since 1970; the filter covers no packets from before it.
    pub since: Option<u64>,
    /// Ids of incomplete packets whose fragments the requester is missing.
    pub fragments: Vec<[u8; 8]>,
}

impl SyncRequest {
    /// Encodes the request as the payload of a packet with TTL 0.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when a field is longer than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(self.filter.stream.len() + 40);
        put16(&mut out, 0x01, &[self.filter.precision])?;
        put16(&mut out, 0x02, &self.filter.modulus.to_be_bytes())?;
        put16(&mut out, 0x03, &self.filter.stream)?;
        if let Some(kinds) = self.kinds {
            put16(&mut out, 0x04, &bits(kinds))?;
        }
        if let Some(since) = self.since {
            put16(&mut out, 0x05, &since.to_be_bytes())?;
        }
        if !self.fragments.is_empty() {
            let ids: Vec<String> =
                self.fragments.iter().take(MAX_WANTED).map(|id| data_encoding::HEXLOWER.encode(id)).collect();
            put16(&mut out, 0x06, ids.join(",").as_bytes())?;
        }
        Ok(out)
    }

    /// Decodes the payload of a packet; unknown fields are skipped.
    ///
    /// # Errors
    /// [`WireError`] when a field is missing, malformed or too long.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (mut precision, mut modulus, mut stream) = (None, None, None);
        let (mut kinds, mut since, mut fragments) = (None, None, Vec::new());
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => precision = Some(fixed::<1>(kind, value)?[0]),
                0x02 => modulus = Some(u32::from_be_bytes(fixed(kind, value)?)),
                0x03 if value.len() > MAX_FILTER => return Err(WireError::TooLong),
                0x03 => stream = Some(value.to_vec()),
                0x04 if value.is_empty() || value.len() > 8 => return Err(WireError::Invalid(kind)),
                0x04 => kinds = Some(from_bits(value)),
                0x05 => since = Some(u64::from_be_bytes(fixed(kind, value)?)),
                0x06 => {
                    fragments =
                        value.split(|byte| *byte == b',').take(MAX_WANTED).filter_map(fragment_id).collect()
                }
                _ => {}
            }
        }
        let precision = precision.filter(|bits| (1..=32).contains(bits)).ok_or(WireError::Missing(0x01))?;
        let modulus = modulus.filter(|modulus| *modulus > 0).ok_or(WireError::Missing(0x02))?;
        let filter = Filter { precision, modulus, stream: stream.ok_or(WireError::Missing(0x03))? };
        Ok(Self { filter, kinds, since, fragments })
    }

    /// Whether packets of a kind are wanted.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        let bit = match kind {
            Kind::ANNOUNCE => 0,
            Kind::MESSAGE => 1,
            Kind::LEAVE => 2,
            Kind::HANDSHAKE => 3,
            Kind::ENCRYPTED => 4,
            Kind::FRAGMENT => 5,
            Kind::REQUEST_SYNC => 6,
            Kind::FILE => 7,
            Kind::BOARD_POST => 8,
            Kind::PREKEYS => 9,
            Kind::GROUP_MESSAGE => 10,
            _ => return false,
        };
        self.kinds.unwrap_or(0b11) >> bit & 1 == 1
    }
}

fn fragment_id(text: &[u8]) -> Option<[u8; 8]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::tests::alice;

    fn unhex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_worked_example() {
        let ids: Vec<[u8; 16]> = (1..=4).map(|n| [n; 16]).collect();
        assert_eq!(hash(&ids[0]), 0x4c8c_d41c_ef90_7c4d);
        let filter = Filter::of(&ids);
        assert_eq!((filter.modulus, values(&ids, filter.modulus)), (512, vec![54, 77, 158, 326]));
        assert_eq!(filter.stream, unhex("3516509380"));
        let request = SyncRequest { filter, kinds: None, since: None, fragments: Vec::new() };
        assert_eq!(request.encode().unwrap(), unhex("01000107020004000002000300053516509380"));
        let has = request.filter.lookup();
        assert!(ids.iter().all(&has) && !has(&[9; 16]));
    }

    #[test]
    fn the_vectors_of_the_apps() {
        let bytes = unhex("0100011302000401020304030002aabb");
        let request = SyncRequest::decode(&bytes).unwrap();
        assert_eq!(request.filter, Filter { precision: 19, modulus: 0x0102_0304, stream: vec![0xaa, 0xbb] });
        assert_eq!(request.encode().unwrap(), bytes);
        assert_eq!(SyncRequest::decode(&[unhex("7f0002cafe"), bytes].concat()), Ok(request));
        assert_eq!(SyncRequest::decode(&unhex("0100011302000401020304")), Err(WireError::Missing(0x03)));
    }

    #[test]
    fn the_name_of_the_worked_message() {
        let frame = Frame::new(Kind::MESSAGE, alice().peer(), 1_750_000_000_123, b"hello mesh".to_vec());
        assert_eq!(packet_id(&frame).to_vec(), unhex("ae170875dba3a5ce89b267c76e6c86e7"));
    }

    #[test]
    fn nothing_is_in_an_empty_filter() {
        let empty = Filter::of(&[]);
        assert_eq!((empty.modulus, empty.stream.len()), (1, 0));
        assert!(!empty.lookup()(&[1; 16]));
    }

    #[test]
    fn kinds_are_bits_and_messages_are_usual() {
        let mut request = SyncRequest {
            filter: Filter::of(&[]),
            kinds: None,
            since: Some(7),
            fragments: vec![[0xab; 8]; 3],
        };
        assert!(
            request.wants(Kind::ANNOUNCE)
                && request.wants(Kind::MESSAGE)
                && !request.wants(Kind::FILE)
                && !request.wants(Kind::VOICE)
        );
        assert_eq!(SyncRequest::decode(&request.encode().unwrap()), Ok(request.clone()));
        request.kinds = Some(1 << 10);
        assert!(request.wants(Kind::GROUP_MESSAGE) && !request.wants(Kind::MESSAGE));
        assert_eq!(SyncRequest::decode(&request.encode().unwrap()), Ok(request));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_is_in_is_found_and_little_else_is(seeds in proptest::collection::hash_set(any::<[u8; 16]>(), 0..300)) {
            let ids: Vec<[u8; 16]> = seeds.into_iter().collect();
            let filter = Filter::of(&ids);
            prop_assert!(filter.stream.len() <= BUDGET);
            let has = filter.lookup();
            prop_assert!(ids.iter().all(&has));
            let wrong = (0..1000u32).filter(|n| has(&std::array::from_fn(|at| (n >> (at % 4 * 8)) as u8))).count();
            prop_assert!(wrong < 60, "{} of 1000 look present", wrong);
        }

        #[test]
        fn more_than_fit_leave_the_oldest_out(count in 300usize..900) {
            let ids: Vec<[u8; 16]> = (0..count).map(|n| std::array::from_fn(|at| (n >> (at % 2 * 8)) as u8 ^ at as u8)).collect();
            let filter = Filter::of(&ids);
            prop_assert!(filter.stream.len() <= BUDGET);
            let has = filter.lookup();
            prop_assert!(ids[..200].iter().all(has));
        }

        #[test]
        fn no_filter_makes_it_panic(precision in 1u8..=32, modulus in 1u32.., stream in proptest::collection::vec(any::<u8>(), 0..1024)) {
            let _ = Filter { precision, modulus, stream }.lookup()(&[1; 16]);
        }
    }
}
