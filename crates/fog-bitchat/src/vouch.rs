//! Vouches: statements of a peer about the peers it verified in person (inner type 0x12, section 8.7 of the
//! specification).

use crate::bytes::{Reader, WireError, fixed, put8};
use crate::identity::{Identity, PeerId, PeerKeys, fingerprint, verify};

/// Maximum number of vouches in one list.
pub(crate) const MAX_LISTED: usize = 16;
/// Milliseconds for which a vouch is valid.
const LIFE: u64 = 30 * 24 * 3_600_000;
/// Milliseconds by which the time of a vouch may be ahead of this clock.
const AHEAD: u64 = 3_600_000;

/// Statement of a peer that it verified the keys of another peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vouch {
    /// SHA-256 of the verified peer's Noise key.
    pub fingerprint: [u8; 32],
    /// Ed25519 key of the verified peer.
    pub signing: [u8; 32],
    /// Time at which the vouch was given, in milliseconds since 1970.
    pub at: u64,
    signature: [u8; 64],
}

fn to_sign(fingerprint: &[u8; 32], signing: &[u8; 32], at: u64) -> Vec<u8> {
    [b"bitchat-vouch-v1".as_slice(), fingerprint, signing, &at.to_be_bytes()].concat()
}

impl Vouch {
    pub(crate) fn of(keys: &PeerKeys, by: &Identity, at: u64) -> Self {
        let fingerprint = fingerprint(&keys.noise);
        let signature = by.sign(&to_sign(&fingerprint, &keys.signing, at));
        Self { fingerprint, signing: keys.signing, at, signature }
    }

    /// Id of the verified peer.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::of_fingerprint(&self.fingerprint)
    }

    /// Fingerprint of the verified peer as people compare it: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn fingerprint_text(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.fingerprint)
    }

    /// Whether the vouch is for these keys.
    #[must_use]
    pub fn is_for(&self, keys: &PeerKeys) -> bool {
        self.fingerprint == fingerprint(&keys.noise) && self.signing == keys.signing
    }

    /// Time at which the vouch expires, in milliseconds since 1970.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.at.saturating_add(LIFE)
    }

    pub(crate) fn is_in_time(&self, now: u64) -> bool {
        self.at < now + AHEAD && now < self.until()
    }

    pub(crate) fn is_by(&self, signing: &[u8; 32]) -> bool {
        verify(signing, &to_sign(&self.fingerprint, &self.signing, self.at), &self.signature)
    }

    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(144);
        put8(&mut out, 0x01, &self.fingerprint)?;
        put8(&mut out, 0x02, &self.signing)?;
        put8(&mut out, 0x03, &self.at.to_be_bytes())?;
        put8(&mut out, 0x04, &self.signature)?;
        Ok(out)
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let (mut fingerprint, mut signing, mut at, mut signature) = (None, None, None, None);
        let mut reader = Reader(body);
        while !reader.is_empty() {
            match reader.field8()? {
                (kind @ 0x01, value) => fingerprint = Some(fixed(kind, value)?),
                (kind @ 0x02, value) => signing = Some(fixed(kind, value)?),
                (kind @ 0x03, value) => at = Some(u64::from_be_bytes(fixed(kind, value)?)),
                (kind @ 0x04, value) => signature = Some(fixed(kind, value)?),
                _ => {}
            }
        }
        Ok(Self {
            fingerprint: fingerprint.ok_or(WireError::Missing(0x01))?,
            signing: signing.ok_or(WireError::Missing(0x02))?,
            at: at.ok_or(WireError::Missing(0x03))?,
            signature: signature.ok_or(WireError::Missing(0x04))?,
        })
    }
}

/// Encodes a list for a session; only the first 16 vouches are sent.
///
/// # Errors
/// [`WireError::TooLong`] when a field is too long.
pub(crate) fn encode(vouches: &[Vouch]) -> Result<Vec<u8>, WireError> {
    let listed = &vouches[..vouches.len().min(MAX_LISTED)];
    let mut out = vec![listed.len() as u8];
    for vouch in listed {
        let body = vouch.encode()?;
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
    }
    Ok(out)
}

/// Decodes a list from a session.
///
/// # Errors
/// [`WireError`] when the list is too long or any entry is malformed.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Vouch>, WireError> {
    let mut reader = Reader(body);
    let count = reader.u8()?;
    if usize::from(count) > MAX_LISTED {
        return Err(WireError::TooLong);
    }
    (0..count)
        .map(|_| {
            let length = reader.u16()?;
            Vouch::decode(reader.take(usize::from(length))?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    const NOW: u64 = 1_750_000_000_000;

    fn ben() -> Identity {
        Identity::new([3; 32], [4; 32])
    }

    #[test]
    fn a_list_has_the_form_of_the_specification() {
        let vouch = Vouch::of(&ben().keys(), &alice(), NOW);
        let bytes = encode(&[vouch]).unwrap();
        // A count, a 16-bit length, and four fields with 8-bit lengths.
        assert_eq!((bytes.len(), &bytes[..5]), (3 + 34 + 34 + 10 + 66, [1, 0, 144, 0x01, 32].as_slice()));
        assert_eq!(bytes[5..37], fingerprint(&ben().keys().noise));
        assert_eq!(bytes[71..81], [&[0x03, 8], NOW.to_be_bytes().as_slice()].concat());
        assert_eq!(decode(&bytes), Ok(vec![vouch]));
        assert_eq!(
            (vouch.peer(), vouch.is_for(&ben().keys()), vouch.is_for(&alice().keys())),
            (ben().peer(), true, false)
        );
        assert_eq!(decode(&encode(&[vouch; 20]).unwrap()).map(|list| list.len()), Ok(MAX_LISTED));
    }

    #[test]
    fn a_word_is_of_who_gave_it_for_these_keys_and_for_a_month() {
        let vouch = Vouch::of(&ben().keys(), &alice(), NOW);
        let giver = alice().keys().signing;
        assert!(vouch.is_by(&giver) && !vouch.is_by(&ben().keys().signing));
        for other in [
            Vouch { signing: [9; 32], ..vouch },
            Vouch { at: NOW + 1, ..vouch },
            Vouch { fingerprint: [9; 32], ..vouch },
        ] {
            assert!(!other.is_by(&giver));
        }
        let day = 24 * 3_600_000;
        assert_eq!(
            [NOW - day, NOW - 3_000_000, NOW, NOW + 29 * day, NOW + 30 * day]
                .map(|now| vouch.is_in_time(now)),
            [false, true, true, true, false]
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let whole = encode(&[Vouch::of(&ben().keys(), &alice(), NOW)]).unwrap();
        assert!((0..whole.len()).all(|end| decode(&whole[..end]).is_err()));
        assert_eq!(decode(&[17]), Err(WireError::TooLong));
        assert_eq!(decode(&[0]), Ok(Vec::new()));
        assert_eq!(decode(&[1, 0, 0]), Err(WireError::Missing(0x01)));
    }
}
