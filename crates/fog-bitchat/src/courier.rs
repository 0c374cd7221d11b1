//! Sealed letters that other nodes carry, and the one-time keys that they are sealed to.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use snow::Builder;

use crate::bytes::{Reader, WireError, fixed, put16};
use crate::identity::{Identity, PeerId, is_weak, verify};
use crate::inner::{Inner, MessageText};

const PATTERN: &str = "Noise_X_25519_ChaChaPoly_SHA256";
/// Maximum size of the ciphertext of a letter, in bytes.
const MAX_CIPHERTEXT: usize = 16_384;
/// Maximum number of copies that a letter may still be split into.
const MAX_COPIES: u8 = 8;
/// Maximum time for which a letter is carried and tolerated clock difference, in milliseconds.
pub(crate) const LIFE: u64 = 24 * 3_600_000;
const SLACK: u64 = 3_600_000;
/// Bytes that Noise X adds to its payload: ephemeral key, sealed static key, tag.
const OVERHEAD: usize = 32 + 48 + 16;
const DAY: u64 = 86_400_000;
pub(crate) const MAX_PREKEYS: usize = 8;

/// A letter. Its carriers learn neither its author nor, without the recipient's key, its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Tag that those who have the recipient's key recognise; changes each day.
    pub tag: [u8; 16],
    /// Time at which the letter expires, in milliseconds since 1970.
    pub expires: u64,
    /// Noise X message to the recipient's static key or to one of their one-time keys.
    pub ciphertext: Vec<u8>,
    /// Number of copies that this one may be split into, itself included.
    pub copies: u8,
    /// Id of the one-time key that the letter is sealed to; `None` for the static key.
    pub prekey: Option<u32>,
}

/// Message and author of an opened letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Noise key of the author.
    pub from: [u8; 32],
    /// Message in the letter.
    pub message: MessageText,
}

/// Tag of letters to the owner of a Noise key on a day, counted from 1970.
fn tag_of(noise: &[u8; 32], day: u32) -> [u8; 16] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(noise) else { unreachable!("any length is a key") };
    mac.update(b"bitchat-courier-tag-v1");
    mac.update(&day.to_be_bytes());
    let [head, _] = *mac.finalize().into_bytes().as_chunks::<16>().0 else {
        unreachable!("a hash of 32 bytes")
    };
    head
}

impl Letter {
    /// Seals a text for somebody who is away: to their one-time key if one is given, else to their static
    /// key. `ephemeral` is 32 fresh random bytes.
    #[must_use]
    pub fn seal(
        identity: &Identity,
        to: &[u8; 32],
        prekey: Option<(u32, [u8; 32])>,
        message: &MessageText,
        ephemeral: &[u8; 32],
        now: u64,
    ) -> Option<Self> {
        let open = Inner::Text(message.clone()).encode().ok()?;
        let secret = identity.noise_secret();
        let key = prekey.map_or(*to, |(_, key)| key);
        let prologue = prologue(prekey.map(|(id, _)| id));
        let builder = Builder::new(PATTERN.parse().ok()?)
            .prologue(&prologue)
            .ok()?
            .local_private_key(secret.as_slice())
            .ok()?;
        let mut noise = builder
            .remote_public_key(&key)
            .ok()?
            .fixed_ephemeral_key_for_testing_only(ephemeral)
            .build_initiator()
            .ok()?;
        let mut ciphertext = vec![0; open.len() + OVERHEAD];
        let length = noise.write_message(&open, &mut ciphertext).ok()?;
        ciphertext.truncate(length);
        Some(Self {
            tag: tag_of(to, (now / DAY) as u32),
            expires: now + LIFE,
            ciphertext,
            copies: 4,
            prekey: prekey.map(|(id, _)| id),
        })
    }

    /// Whether the letter is for the owner of this Noise key: its tag is of yesterday, today or, by a clock
    /// that is ahead, tomorrow.
    #[must_use]
    pub fn is_for(&self, noise: &[u8; 32], now: u64) -> bool {
        let today = (now / DAY) as u32;
        [today.saturating_sub(1), today, today + 1].into_iter().any(|day| tag_of(noise, day) == self.tag)
    }

    /// Whether the letter may still be carried.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        self.expires > now && self.expires <= now + LIFE + SLACK
    }

    /// Opens the letter with this device's static key, or with the one-time key that it names.
    #[must_use]
    pub fn open(&self, identity: &Identity, prekey: impl Fn(u32) -> Option<[u8; 32]>) -> Option<Opened> {
        let secret = match self.prekey {
            Some(id) => prekey(id)?,
            None => *identity.noise_secret(),
        };
        let prologue = prologue(self.prekey);
        let builder =
            Builder::new(PATTERN.parse().ok()?).prologue(&prologue).ok()?.local_private_key(&secret).ok()?;
        let mut noise = builder.build_responder().ok()?;
        let mut open = vec![0; self.ciphertext.len()];
        let length = noise.read_message(&self.ciphertext, &mut open).ok()?;
        let from: [u8; 32] = noise.get_remote_static()?.try_into().ok()?;
        match Inner::decode(&open[..length]) {
            Ok(Inner::Text(message)) if !is_weak(&from) => Some(Opened { from, message }),
            _ => None,
        }
    }

    /// Hands half of the copies to another carrier; `None` when only one is left.
    pub fn halve(&mut self) -> Option<Self> {
        let given = self.copies / 2;
        (given > 0).then(|| {
            self.copies -= given;
            Self { copies: given, ..self.clone() }
        })
    }

    /// Encodes the letter as the payload of a packet.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when the ciphertext exceeds 16,384 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        if self.ciphertext.len() > MAX_CIPHERTEXT {
            return Err(WireError::TooLong);
        }
        let mut out = Vec::with_capacity(self.ciphertext.len() + 60);
        put16(&mut out, 0x01, &self.tag)?;
        put16(&mut out, 0x02, &self.expires.to_be_bytes())?;
        put16(&mut out, 0x03, &self.ciphertext)?;
        if self.copies != 1 {
            put16(&mut out, 0x04, &[self.copies])?;
        }
        if let Some(id) = self.prekey {
            put16(&mut out, 0x05, &id.to_be_bytes())?;
        }
        Ok(out)
    }

    /// Decodes the payload of a packet; unknown fields are skipped.
    ///
    /// # Errors
    /// [`WireError`] when a field is missing or malformed.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (mut tag, mut expires, mut ciphertext, mut copies, mut prekey) = (None, None, None, 1, None);
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => tag = Some(fixed(kind, value)?),
                0x02 => expires = Some(u64::from_be_bytes(fixed(kind, value)?)),
                0x03 if value.len() > MAX_CIPHERTEXT || value.len() < OVERHEAD => {
                    return Err(WireError::Invalid(kind));
                }
                0x03 => ciphertext = Some(value.to_vec()),
                0x04 => copies = fixed::<1>(kind, value)?[0].clamp(1, MAX_COPIES),
                0x05 => prekey = Some(u32::from_be_bytes(fixed(kind, value)?)),
                _ => {}
            }
        }
        Ok(Self {
            tag: tag.ok_or(WireError::Missing(0x01))?,
            expires: expires.ok_or(WireError::Missing(0x02))?,
            ciphertext: ciphertext.ok_or(WireError::Missing(0x03))?,
            copies,
            prekey,
        })
    }
}

fn prologue(prekey: Option<u32>) -> Vec<u8> {
    match prekey {
        None => b"bitchat-courier-v1".to_vec(),
        Some(id) => [b"bitchat-prekey-v1".as_slice(), &id.to_be_bytes()].concat(),
    }
}

/// Signed bundle of one-time keys that a peer offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prekeys {
    /// Noise key of the peer that offers the keys.
    pub noise: [u8; 32],
    /// One-time keys with their ids, at most 8.
    pub keys: Vec<(u32, [u8; 32])>,
    /// Time at which the bundle was made, in milliseconds since 1970.
    pub made: u64,
    signature: [u8; 64],
}

impl Prekeys {
    /// Signs one-time keys of this device; keys beyond the eighth are dropped.
    #[must_use]
    pub fn offer(identity: &Identity, keys: Vec<(u32, [u8; 32])>, made: u64) -> Self {
        let mut offer = Self { noise: identity.keys().noise, keys, made, signature: [0; 64] };
        offer.keys.truncate(MAX_PREKEYS);
        offer.signature = identity.sign(&offer.to_sign());
        offer
    }

    /// Id of the peer that offers the keys.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::of(&self.noise)
    }

    /// Whether the owner of this signing key signed the bundle.
    #[must_use]
    pub fn is_by(&self, signing: &[u8; 32]) -> bool {
        verify(signing, &self.to_sign(), &self.signature)
    }

    fn entries(&self) -> Vec<u8> {
        self.keys.iter().flat_map(|(id, key)| id.to_be_bytes().into_iter().chain(*key)).collect()
    }

    fn to_sign(&self) -> Vec<u8> {
        let context = b"bitchat-prekey-bundle-v1";
        let mut out = vec![context.len() as u8];
        out.extend(context);
        out.extend(self.noise);
        out.push(self.keys.len() as u8);
        out.extend(self.entries());
        out.extend(self.made.to_be_bytes());
        out
    }

    /// Encodes the bundle as the payload of a packet.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when a field is longer than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(500);
        put16(&mut out, 0x01, &self.noise)?;
        put16(&mut out, 0x02, &self.entries())?;
        put16(&mut out, 0x03, &self.made.to_be_bytes())?;
        put16(&mut out, 0x04, &self.signature)?;
        Ok(out)
    }

    /// Decodes the payload of a packet: one to eight keys with distinct ids.
    ///
    /// # Errors
    /// [`WireError`] when a field is missing or malformed, an id is repeated or a key is weak.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (mut noise, mut keys, mut made, mut signature) = (None, None, None, None);
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => noise = Some(fixed(kind, value)?),
                0x02 => keys = Some(entries_of(kind, value)?),
                0x03 => made = Some(u64::from_be_bytes(fixed(kind, value)?)),
                0x04 => signature = Some(fixed(kind, value)?),
                _ => {}
            }
        }
        Ok(Self {
            noise: noise.ok_or(WireError::Missing(0x01))?,
            keys: keys.ok_or(WireError::Missing(0x02))?,
            made: made.ok_or(WireError::Missing(0x03))?,
            signature: signature.ok_or(WireError::Missing(0x04))?,
        })
    }
}

fn entries_of(kind: u8, value: &[u8]) -> Result<Vec<(u32, [u8; 32])>, WireError> {
    let (entries, rest) = value.as_chunks::<36>();
    let mut keys = Vec::new();
    for entry in entries {
        let mut reader = Reader(entry);
        let (id, key) = (reader.u32()?, reader.array()?);
        if is_weak(&key) || keys.iter().any(|(known, _)| *known == id) {
            return Err(WireError::Invalid(kind));
        }
        keys.push((id, key));
    }
    if rest.is_empty() && (1..=MAX_PREKEYS).contains(&keys.len()) {
        Ok(keys)
    } else {
        Err(WireError::Invalid(kind))
    }
}

#[cfg(test)]
mod tests {
    use x25519_dalek::{PublicKey, StaticSecret};

    use super::*;
    use crate::identity::tests::alice;

    const NOW: u64 = 1_750_000_000_123;

    fn bob() -> Identity {
        Identity::new([9; 32], [8; 32])
    }

    fn text() -> MessageText {
        MessageText { id: "m1".to_owned(), text: "until tomorrow".to_owned() }
    }

    #[test]
    fn the_tag_of_the_worked_example() {
        let tag = tag_of(&alice().keys().noise, 20254);
        assert_eq!(data_encoding::HEXLOWER.encode(&tag), "c67c00dd9d2234454c85ea424e9f0249");
    }

    #[test]
    fn a_letter_is_for_one_person_and_says_who_wrote_it() {
        let letter = Letter::seal(&alice(), &bob().keys().noise, None, &text(), &[3; 32], NOW).unwrap();
        let letter = Letter::decode(&letter.encode().unwrap()).unwrap();
        assert!(letter.is_for(&bob().keys().noise, NOW + DAY) && !letter.is_for(&alice().keys().noise, NOW));
        assert!(!letter.is_for(&bob().keys().noise, NOW + 3 * DAY));
        assert!(letter.is_valid(NOW) && !letter.is_valid(NOW + DAY) && !letter.is_valid(NOW - 2 * SLACK));
        let opened = letter.open(&bob(), |_| None).unwrap();
        assert_eq!((opened.from, opened.message), (alice().keys().noise, text()));
        assert_eq!(letter.open(&alice(), |_| None), None);
        for place in [0, 40, 90, letter.ciphertext.len() - 1] {
            let mut altered = letter.clone();
            altered.ciphertext[place] ^= 1;
            assert_eq!(altered.open(&bob(), |_| None), None);
        }
    }

    #[test]
    fn a_letter_to_a_one_time_key_needs_that_key() {
        let secret = StaticSecret::from([5; 32]);
        let keys = vec![(7, PublicKey::from(&secret).to_bytes())];
        let offer = Prekeys::offer(&bob(), keys, NOW);
        let read = Prekeys::decode(&offer.encode().unwrap()).unwrap();
        assert!(read == offer && read.is_by(&bob().keys().signing) && !read.is_by(&alice().keys().signing));
        let letter = Letter::seal(&alice(), &read.noise, Some(read.keys[0]), &text(), &[3; 32], NOW).unwrap();
        assert_eq!(letter.open(&bob(), |_| None), None);
        assert_eq!(letter.open(&bob(), |id| (id == 7).then_some([5; 32])).unwrap().message, text());
        let mut other = letter;
        other.prekey = Some(8);
        assert_eq!(other.open(&bob(), |_| Some([5; 32])), None, "the id is part of it");
    }

    #[test]
    fn copies_are_halved_until_there_is_one() {
        let mut letter = Letter::seal(&alice(), &bob().keys().noise, None, &text(), &[3; 32], NOW).unwrap();
        let given: Vec<u8> = std::iter::from_fn(|| letter.halve().map(|other| other.copies)).collect();
        assert_eq!((given, letter.copies), (vec![2, 1], 1));
    }

    #[test]
    fn doubled_and_weak_keys_are_no_offer() {
        let key = bob().keys().noise;
        for keys in [vec![(1, key), (1, key)], vec![(1, [0; 32])], vec![]] {
            let bytes = Prekeys::offer(&bob(), keys, NOW).encode().unwrap();
            assert!(Prekeys::decode(&bytes).is_err());
        }
    }
}
