//! Bundles (Bundle Protocol 7, RFC 9171) in the one form that Fog nodes write.
//!
//! A bundle has a primary block, the previous node, the hop count, the lock of its receipt, and a sealed
//! payload; every block has a CRC-32C. RFC 9171 allows many encodings of the same bundle; only the one of
//! [`Bundle::encode`] is accepted, so that a bundle has the same bytes on every node.

use ciborium::Value;
use crc::{CRC_32_ISCSI, Crc};
use sha2::{Digest as _, Sha256};

/// Maximum size of a payload in bytes, chosen so that a bundle fits in one message of 48 KiB.
pub const MAX_PAYLOAD: usize = 32 << 10;
/// Maximum size of an encoded bundle in bytes: the payload and the other blocks.
pub const MAX_BUNDLE: usize = MAX_PAYLOAD + 512;
/// Maximum lifetime of a bundle in milliseconds: seven days.
pub const MAX_LIFE: u64 = 7 * 24 * 3_600_000;

/// Milliseconds of Unix time at which DTN time begins, 2000-01-01 (RFC 9171, section 4.2.6).
pub(crate) const DTN_EPOCH: u64 = 946_684_800_000;
/// Flag of a bundle that must not be fragmented (section 4.2.3).
const WHOLE: u64 = 0x04;
/// CRC type CRC-32C (section 4.2.1).
const CRC32C: u64 = 2;
const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Block types of sections 4.3.2, 4.4.1 and 4.4.3; that of the lock is for private use (section 9.1).
const PAYLOAD: u64 = 1;
const PREVIOUS_NODE: u64 = 6;
const HOP_COUNT: u64 = 10;
const LOCK: u64 = 192;
/// Maximum nesting depth of CBOR in a block: the block, an endpoint or timestamp, and some reserve.
const DEPTH: usize = 6;

/// A DTN bundle: a message in transit that its carriers cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Peer id of the author. Carriers cannot verify it; only opening the payload does.
    pub source: [u8; 8],
    /// Peer id of the recipient.
    pub destination: [u8; 8],
    /// Time of creation in milliseconds of Unix time, after the year 2000.
    pub created: u64,
    /// Number that distinguishes bundles of one source from the same millisecond.
    pub sequence: u64,
    /// Lifetime in milliseconds after `created`, at most [`MAX_LIFE`].
    pub life: u64,
    /// Node that forwarded the bundle last; `None` at its source.
    pub previous: Option<[u8; 8]>,
    /// Maximum number of hops, at least 1.
    pub hop_limit: u8,
    /// Number of hops so far, at most `hop_limit`.
    pub hops: u8,
    /// SHA-256 of the token sealed in the payload: a node that names the token has opened the payload.
    pub lock: [u8; 32],
    /// Sealed payload of at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// Reasons why bytes are not a bundle. The sender gets no error, and the bytes are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bundle is longer than [`MAX_BUNDLE`].
    #[error("a bundle of {length} bytes")]
    TooLong {
        /// Length that was received, in bytes.
        length: usize,
    },
    /// The bytes are not CBOR, or not the expected blocks.
    #[error("not a bundle: {what}")]
    Malformed {
        /// The part that is wrong.
        what: &'static str,
    },
    /// A checksum is wrong, or the encoding is not that of [`Bundle::encode`].
    #[error("the bytes of the bundle are not those that were written")]
    Damaged,
}

impl Bundle {
    /// Id on every node: the first half of SHA-256 over source, creation time and sequence number.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.source);
        hash.update(self.created.to_be_bytes());
        hash.update(self.sequence.to_be_bytes());
        let hash = hash.finalize();
        std::array::from_fn(|n| hash[n])
    }

    /// Time at which the bundle expires, in milliseconds of Unix time.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.created.saturating_add(self.life)
    }

    /// The bundle as node `me` forwards it, one hop further; `None` when the hop limit is reached.
    #[must_use]
    pub fn forwarded(mut self, me: [u8; 8]) -> Option<Self> {
        self.hops = self.hops.checked_add(1).filter(|hops| *hops <= self.hop_limit)?;
        self.previous = Some(me);
        Some(self)
    }

    /// Encodes the bundle as RFC 9171 demands: an array of blocks that ends with the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + 400);
        bytes.push(0x9f);
        let timestamp =
            Value::Array(vec![self.created.saturating_sub(DTN_EPOCH).into(), self.sequence.into()]);
        let nobody = Value::Array(vec![1.into(), 0.into()]);
        let (destination, source) = (endpoint(&self.destination, "chat"), endpoint(&self.source, "chat"));
        put_block(
            &mut bytes,
            vec![
                7.into(),
                WHOLE.into(),
                CRC32C.into(),
                destination,
                source,
                nobody,
                timestamp,
                self.life.into(),
            ],
        );
        if let Some(previous) = self.previous {
            put_extension(&mut bytes, PREVIOUS_NODE, 2, cbor(&endpoint(&previous, "")));
        }
        put_extension(
            &mut bytes,
            HOP_COUNT,
            3,
            cbor(&Value::Array(vec![self.hop_limit.into(), self.hops.into()])),
        );
        put_extension(&mut bytes, LOCK, 4, cbor(&Value::Bytes(self.lock.to_vec())));
        put_extension(&mut bytes, PAYLOAD, 1, self.payload.clone());
        bytes.push(0xff);
        bytes
    }

    /// Decodes the encoding of [`Self::encode`].
    ///
    /// # Errors
    ///
    /// [`BundleError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError::TooLong { length: bytes.len() });
        }
        let mut rest = bytes.strip_prefix(&[0x9f]).ok_or(malformed("no array of blocks"))?;
        let primary = array(next(&mut rest)?)?;
        let [version, flags, crc, destination, source, _, timestamp, life, _] = exactly(primary)?;
        if [number(&version)?, number(&flags)?, number(&crc)?] != [7, WHOLE, CRC32C] {
            return Err(malformed("version, flags or checksum of the primary block"));
        }
        let [time, sequence] = exactly(array(timestamp)?)?;
        let created = number(&time)?
            .checked_add(DTN_EPOCH)
            .filter(|created| *created > DTN_EPOCH)
            .ok_or(malformed("creation time"))?;
        let life = number(&life).ok().filter(|life| *life <= MAX_LIFE).ok_or(malformed("lifetime"))?;
        let (mut previous, mut hops, mut lock, mut payload) = (None, None, None, None);
        while payload.is_none() {
            let [kind, _, _, _, data, _] = exactly(array(next(&mut rest)?)?)?;
            let Value::Bytes(data) = data else { return Err(malformed("block data")) };
            match number(&kind)? {
                PREVIOUS_NODE if previous.is_none() => previous = Some(node(&inner(&data)?, "")?),
                HOP_COUNT if hops.is_none() => {
                    let [limit, count] = exactly(array(inner(&data)?)?)?;
                    hops = Some((byte(&limit)?, byte(&count)?));
                }
                LOCK if lock.is_none() => {
                    lock =
                        inner(&data)?.as_bytes().and_then(|lock| <[u8; 32]>::try_from(lock.as_slice()).ok())
                }
                PAYLOAD => payload = Some(data),
                _ => return Err(malformed("a block that does not belong there")),
            }
        }
        let (hop_limit, hops) =
            hops.filter(|(limit, count)| *limit > 0 && count <= limit).ok_or(malformed("hop count"))?;
        let bundle = Self {
            source: node(&source, "chat")?,
            destination: node(&destination, "chat")?,
            created,
            sequence: number(&sequence)?,
            life,
            previous,
            hop_limit,
            hops,
            lock: lock.ok_or(malformed("lock"))?,
            payload: payload.filter(|payload| payload.len() <= MAX_PAYLOAD).ok_or(malformed("payload"))?,
        };
        // This also compares checksums, order and numbers of the blocks, and the encoding of numbers.
        if bundle.encode() == bytes { Ok(bundle) } else { Err(BundleError::Damaged) }
    }
}

/// Lock for a receipt: SHA-256 of its token.
#[must_use]
pub fn lock_of(token: &[u8; 16]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Endpoint `dtn://<16 hexadecimal digits>/<service>` (section 4.2.5.1.1): scheme 1 and the rest.
fn endpoint(node: &[u8; 8], service: &str) -> Value {
    let number = u64::from_be_bytes(*node);
    Value::Array(vec![1.into(), Value::Text(format!("//{number:016x}/{service}"))])
}

fn node(endpoint: &Value, service: &str) -> Result<[u8; 8], BundleError> {
    let parts = endpoint.as_array().map(Vec::as_slice).unwrap_or_default();
    let [scheme, Value::Text(name)] = parts else { return Err(malformed("endpoint")) };
    let digits = name.strip_prefix("//").and_then(|rest| rest.strip_suffix(service)?.strip_suffix('/'));
    let digits =
        digits.filter(|digits| digits.len() == 16 && !digits.starts_with('+') && number(scheme) == Ok(1));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(u64::to_be_bytes)
        .ok_or(malformed("name of an endpoint"))
}

fn put_extension(bytes: &mut Vec<u8>, kind: u64, block: u64, data: Vec<u8>) {
    put_block(bytes, vec![kind.into(), block.into(), 0.into(), CRC32C.into(), Value::Bytes(data)]);
}

/// Appends a block with its checksum, computed with zeros in the checksum's place (section 4.2.1).
fn put_block(bytes: &mut Vec<u8>, mut items: Vec<Value>) {
    items.push(Value::Bytes(vec![0; 4]));
    let mut block = cbor(&Value::Array(items));
    let sum = CASTAGNOLI.checksum(&block).to_be_bytes();
    let end = block.len().saturating_sub(sum.len());
    block.truncate(end);
    block.extend_from_slice(&sum);
    bytes.append(&mut block);
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let written = ciborium::into_writer(value, &mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

fn next(rest: &mut &[u8]) -> Result<Value, BundleError> {
    ciborium::de::from_reader_with_recursion_limit(rest, DEPTH).map_err(|_| malformed("no CBOR"))
}

/// CBOR value in the data of a block.
fn inner(mut data: &[u8]) -> Result<Value, BundleError> {
    next(&mut data)
}

fn array(value: Value) -> Result<Vec<Value>, BundleError> {
    value.into_array().map_err(|_| malformed("no array"))
}

fn exactly<const N: usize>(items: Vec<Value>) -> Result<[Value; N], BundleError> {
    items.try_into().map_err(|_| malformed("number of fields"))
}

fn number(value: &Value) -> Result<u64, BundleError> {
    value.as_integer().and_then(|number| u64::try_from(number).ok()).ok_or(malformed("no number"))
}

fn byte(value: &Value) -> Result<u8, BundleError> {
    number(value).and_then(|number| u8::try_from(number).map_err(|_| malformed("no byte")))
}

fn malformed(what: &'static str) -> BundleError {
    BundleError::Malformed { what }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            source: [0x11; 8],
            destination: [0x22; 8],
            created: DTN_EPOCH + 1_000,
            sequence: 5,
            life: 60_000,
            previous: Some([0x33; 8]),
            hop_limit: 16,
            hops: 2,
            lock: [0x44; 32],
            payload: b"sealed".to_vec(),
        }
    }

    /// Bytes derived by hand from RFC 9171, section 4; an independent implementation decodes them, verifies
    /// the checksums and encodes the same.
    #[test]
    fn an_example_is_the_bytes_of_the_rfc() {
        let expected = [
            "9f",                                                        // An array without a length: the blocks.
            "89 07 04 02", // Primary: 9 fields, version 7, not to be cut up, CRC-32C.
            "82 01 77 2f2f 32323232323232323232323232323232 2f63686174", // [1, "//2222222222222222/chat"]
            "82 01 77 2f2f 31313131313131313131313131313131 2f63686174", // [1, "//1111111111111111/chat"]
            "82 01 00",    // Reports to dtn:none.
            "82 1903e8 05", // One second after 2000 began, number 5.
            "19ea60 44dca1da1f", // 60,000 ms; checksum.
            "86 06 02 00 02", // Previous node, block 2, no flags, CRC-32C.
            "56 8201732f2f333333333333333333333333333333332f", // [1, "//3333333333333333/"]
            "44fdc0b79d",
            "86 0a 03 00 02 43 821002 44cdd776d3", // Hop count, block 3: at most 16, now 2.
            "86 18c0 04 00 02 5822 5820",          // Lock, type 192, block 4: 32 bytes.
            "4444444444444444444444444444444444444444444444444444444444444444",
            "44dab920ae",
            "86 01 01 00 02 46 7365616c6564 446cf96a6f", // Payload, block 1: "sealed".
            "ff",
        ];
        let digits = expected.concat().replace(' ', "");
        assert_eq!(bundle().encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>(), digits);
        assert_eq!(CASTAGNOLI.checksum(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }

    #[test]
    fn what_is_out_of_bounds_is_no_bundle() {
        let largest =
            Bundle { payload: vec![7; MAX_PAYLOAD], created: 1 << 60, sequence: u64::MAX, ..bundle() };
        assert!(largest.encode().len() <= MAX_BUNDLE && Bundle::decode(&largest.encode()).is_ok());
        let wrong = [
            Bundle { payload: vec![7; MAX_PAYLOAD + 1], ..bundle() },
            Bundle { life: MAX_LIFE + 1, ..bundle() },
            Bundle { created: DTN_EPOCH, ..bundle() },
            Bundle { hops: 17, ..bundle() },
            Bundle { hop_limit: 0, hops: 0, ..bundle() },
        ];
        for bundle in wrong {
            assert!(Bundle::decode(&bundle.encode()).is_err());
        }
        assert_eq!(
            Bundle::decode(&vec![0x9f; MAX_BUNDLE + 1]),
            Err(BundleError::TooLong { length: MAX_BUNDLE + 1 })
        );
        // Nested arrays do not overflow the stack.
        assert!(Bundle::decode(&[0x9f; MAX_BUNDLE]).is_err());
        // A byte after the end.
        let mut bytes = bundle().encode();
        bytes.push(0);
        assert_eq!(Bundle::decode(&bytes), Err(BundleError::Damaged));
    }

    #[test]
    fn it_is_passed_on_as_often_as_its_limit_says() {
        let mut now = Bundle { hops: 0, hop_limit: 2, previous: None, ..bundle() };
        let id = now.id();
        for n in 1..3 {
            now = now.forwarded([n; 8]).unwrap();
            assert_eq!((now.hops, now.previous, now.id()), (n, Some([n; 8]), id));
        }
        assert_eq!(now.forwarded([3; 8]), None);
    }

    prop_compose! {
        fn any_bundle()(
            (source, destination, previous) in any::<([u8; 8], [u8; 8], Option<[u8; 8]>)>(),
            created in DTN_EPOCH + 1..1 << 50, sequence in any::<u64>(), life in 0..=MAX_LIFE,
            (hop_limit, hops) in (1u8..).prop_flat_map(|limit| (Just(limit), 0..=limit)),
            lock in any::<[u8; 32]>(), payload in proptest::collection::vec(any::<u8>(), 0..600),
        ) -> Bundle {
            Bundle { source, destination, created, sequence, life, previous, hop_limit, hops, lock, payload }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bundle in any_bundle()) {
            prop_assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle));
        }

        #[test]
        fn damage_is_noticed(bundle in any_bundle(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = bundle.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Bundle::decode(&bytes).is_err());
            prop_assert!(Bundle::decode(&bytes[..at]).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Bundle::decode(&bytes);
            bytes.insert(0, 0x9f);
            let _ = Bundle::decode(&bytes);
        }
    }
}
