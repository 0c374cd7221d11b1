//! Private groups of at most 16 members that share one key, which is replaced whenever the members change.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use sha2::{Digest as _, Sha256};

use crate::bytes::{Reader, WireError, fixed, put16, text};
use crate::identity::{Identity, PeerId, fingerprint, verify};
use crate::node::MAX_MEMBERS;

/// Maximum length of the name of a group or a member, in bytes.
pub const MAX_NAME: usize = 64;
const MAX_CIPHERTEXT: usize = 60_000;

/// Member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// SHA-256 of the member's Noise key.
    pub fingerprint: [u8; 32],
    /// Ed25519 key of the member.
    pub signing: [u8; 32],
    /// Nickname of the member, at most 64 bytes.
    pub nickname: String,
}

/// State of a group as its members know it; an invitation or a new key brings the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Id of the group on the wire.
    pub id: [u8; 16],
    /// Display name of the group.
    pub name: String,
    /// Key of the group in this epoch.
    pub key: [u8; 32],
    /// Number of the current key; rises with each new key.
    pub epoch: u32,
    /// Members of the group, the creator among them.
    pub members: Vec<Member>,
    /// Fingerprint of the creator, who alone may change the group.
    pub creator: [u8; 32],
    signature: [u8; 64],
}

/// A text that a member said in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupText {
    /// Id of the text; opaque.
    pub id: String,
    /// Signing key of the author, who is in the roster.
    pub signing: [u8; 32],
    /// Nickname that the author gives themselves.
    pub nickname: String,
    /// Time at which it was written, in milliseconds since 1970, by the author's clock.
    pub at: u64,
    /// The text itself.
    pub text: String,
}

/// Member entry for the owner of an identity.
#[must_use]
pub fn member(identity: &Identity, nickname: &str) -> Member {
    Member::of(&identity.keys(), nickname)
}

/// Part of a name that is sent: at most [`MAX_NAME`] bytes.
pub(crate) fn cut_name(name: &str) -> &str {
    crate::text::cut(name, MAX_NAME)
}

impl Group {
    /// Makes and signs a group, or its next epoch; called by its creator, who is among the members.
    #[must_use]
    pub fn make(
        identity: &Identity,
        id: [u8; 16],
        name: &str,
        key: [u8; 32],
        epoch: u32,
        mut members: Vec<Member>,
    ) -> Self {
        members.truncate(MAX_MEMBERS);
        let creator = fingerprint(&identity.keys().noise);
        let mut group = Self { id, name: name.to_owned(), key, epoch, members, creator, signature: [0; 64] };
        group.signature = identity.sign(&group.to_sign());
        group
    }

    fn roster(&self) -> Vec<u8> {
        let mut out = vec![self.members.len() as u8];
        for member in &self.members {
            out.extend(member.fingerprint);
            out.extend(member.signing);
            out.push(member.nickname.len() as u8);
            out.extend(member.nickname.bytes());
        }
        out
    }

    fn to_sign(&self) -> Vec<u8> {
        let mut out = b"bitchat-group-v1".to_vec();
        out.extend(self.id);
        out.extend(self.epoch.to_be_bytes());
        for part in [self.key.as_slice(), &self.roster(), self.name.as_bytes()] {
            out.extend(Sha256::digest(part));
        }
        out
    }

    /// Encodes the group for a session.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when a field is longer than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(400);
        put16(&mut out, 0x01, &self.id)?;
        put16(&mut out, 0x02, self.name.as_bytes())?;
        put16(&mut out, 0x03, &self.key)?;
        put16(&mut out, 0x04, &self.epoch.to_be_bytes())?;
        put16(&mut out, 0x05, &self.roster())?;
        put16(&mut out, 0x06, &self.creator)?;
        put16(&mut out, 0x07, &self.signature)?;
        Ok(out)
    }

    /// Decodes a group from the session of `sender`, who must be its creator and have signed it.
    ///
    /// # Errors
    /// [`WireError`] when a field is missing or malformed, or the creator or signature is wrong.
    pub fn decode(body: &[u8], sender: PeerId) -> Result<Self, WireError> {
        let group = Self::decode_own(body)?;
        if group.creator.starts_with(&sender.0) { Ok(group) } else { Err(WireError::Invalid(0x06)) }
    }

    /// Decodes a group from this device's own store; its creator must have signed it.
    pub(crate) fn decode_own(body: &[u8]) -> Result<Self, WireError> {
        let mut group = Self {
            id: [0; 16],
            name: String::new(),
            key: [0; 32],
            epoch: 0,
            members: Vec::new(),
            creator: [0; 32],
            signature: [0; 64],
        };
        let mut there = 0u8;
        let mut reader = Reader(body);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => group.id = fixed(kind, value)?,
                0x02 if value.len() > 255 => return Err(WireError::TooLong),
                0x02 => group.name = text(kind, value)?,
                0x03 => group.key = fixed(kind, value)?,
                0x04 => group.epoch = u32::from_be_bytes(fixed(kind, value)?),
                0x05 => group.members = members_of(value)?,
                0x06 => group.creator = fixed(kind, value)?,
                0x07 => group.signature = fixed(kind, value)?,
                _ => continue,
            }
            there |= 1 << kind;
        }
        if let Some(missing) = (1..=7).find(|kind| there >> kind & 1 == 0) {
            return Err(WireError::Missing(missing));
        }
        let creator = group
            .members
            .iter()
            .find(|member| member.fingerprint == group.creator)
            .ok_or(WireError::Invalid(0x06))?;
        let is_theirs = verify(&creator.signing, &group.to_sign(), &group.signature);
        if is_theirs { Ok(group) } else { Err(WireError::Invalid(0x07)) }
    }

    fn about(&self) -> Vec<u8> {
        [self.id.as_slice(), &self.epoch.to_be_bytes()].concat()
    }

    /// Encrypts and signs a text for the group, as the payload of a packet. `nonce` is 12 fresh random
    /// bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when the text does not fit.
    pub fn seal(&self, identity: &Identity, text: &GroupText, nonce: [u8; 12]) -> Result<Vec<u8>, WireError> {
        let mut open = Vec::with_capacity(text.text.len() + 250);
        put16(&mut open, 0x01, text.id.as_bytes())?;
        put16(&mut open, 0x02, &identity.keys().signing)?;
        put16(&mut open, 0x03, text.nickname.as_bytes())?;
        put16(&mut open, 0x04, &text.at.to_be_bytes())?;
        put16(&mut open, 0x05, text.text.as_bytes())?;
        put16(&mut open, 0x06, &identity.sign(&self.text_to_sign(&text.id, text.at, &text.text)))?;
        let about = self.about();
        let sealed = self
            .cipher()
            .encrypt(&Nonce::from(nonce), Payload { msg: &open, aad: &about })
            .map_err(|_| WireError::TooLong)?;
        let mut out = Vec::with_capacity(sealed.len() + 50);
        put16(&mut out, 0x01, &self.id)?;
        put16(&mut out, 0x02, &self.epoch.to_be_bytes())?;
        put16(&mut out, 0x03, &nonce)?;
        put16(&mut out, 0x04, &sealed)?;
        Ok(out)
    }

    /// Decrypts the payload of a packet of this group and epoch and verifies that its author is a member.
    ///
    /// # Errors
    /// [`WireError`] when the payload is malformed, of another group or epoch, or not signed by a member.
    pub fn open(&self, payload: &[u8]) -> Result<GroupText, WireError> {
        let (mut id, mut epoch, mut nonce, mut sealed) = (None, None, None, None);
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => id = Some(fixed::<16>(kind, value)?),
                0x02 => epoch = Some(u32::from_be_bytes(fixed(kind, value)?)),
                0x03 => nonce = Some(fixed::<12>(kind, value)?),
                0x04 if value.len() > MAX_CIPHERTEXT => return Err(WireError::TooLong),
                0x04 => sealed = Some(value),
                _ => {}
            }
        }
        if id != Some(self.id) || epoch != Some(self.epoch) {
            return Err(WireError::Invalid(0x01));
        }
        let (nonce, sealed) =
            (nonce.ok_or(WireError::Missing(0x03))?, sealed.ok_or(WireError::Missing(0x04))?);
        let about = self.about();
        let open = self
            .cipher()
            .decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: &about })
            .map_err(|_| WireError::Invalid(0x04))?;
        self.read_text(&open)
    }

    fn read_text(&self, open: &[u8]) -> Result<GroupText, WireError> {
        let mut said = GroupText {
            id: String::new(),
            signing: [0; 32],
            nickname: String::new(),
            at: 0,
            text: String::new(),
        };
        let mut signature = None;
        let mut reader = Reader(open);
        while !reader.is_empty() {
            let (kind, value) = reader.field16()?;
            match kind {
                0x01 => said.id = text(kind, value)?,
                0x02 => said.signing = fixed(kind, value)?,
                0x03 => said.nickname = text(kind, value)?,
                0x04 => said.at = u64::from_be_bytes(fixed(kind, value)?),
                0x05 => said.text = text(kind, value)?,
                0x06 => signature = Some(fixed(kind, value)?),
                _ => {}
            }
        }
        let signature = signature.ok_or(WireError::Missing(0x06))?;
        let is_member = self.members.iter().any(|member| member.signing == said.signing);
        let is_theirs =
            is_member && verify(&said.signing, &self.text_to_sign(&said.id, said.at, &said.text), &signature);
        if is_theirs { Ok(said) } else { Err(WireError::Invalid(0x06)) }
    }

    fn text_to_sign(&self, id: &str, at: u64, text: &str) -> Vec<u8> {
        let mut out = b"bitchat-group-msg-v1".to_vec();
        out.extend(self.about());
        out.extend(id.bytes());
        out.extend(at.to_be_bytes());
        out.extend(text.bytes());
        out
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(&self.key))
    }
}

fn members_of(roster: &[u8]) -> Result<Vec<Member>, WireError> {
    let mut reader = Reader(roster);
    let count = usize::from(reader.u8()?);
    if count > MAX_MEMBERS {
        return Err(WireError::Invalid(0x05));
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let (fingerprint, signing, length) = (reader.array()?, reader.array()?, usize::from(reader.u8()?));
        if length > MAX_NAME {
            return Err(WireError::TooLong);
        }
        members.push(Member { fingerprint, signing, nickname: text(0x05, reader.take(length)?)? });
    }
    if reader.is_empty() { Ok(members) } else { Err(WireError::Invalid(0x05)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    fn bob() -> Identity {
        Identity::new([9; 32], [8; 32])
    }

    fn group(epoch: u32, members: Vec<Member>) -> Group {
        Group::make(&alice(), [7; 16], "hikers", [5; 32], epoch, members)
    }

    fn said(text: &str) -> GroupText {
        GroupText {
            id: "g1".to_owned(),
            signing: bob().keys().signing,
            nickname: "bob".to_owned(),
            at: 42,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_invitation_counts_only_from_its_creator() {
        let made = group(1, vec![member(&alice(), "alice"), member(&bob(), "bob")]);
        let bytes = made.encode().unwrap();
        assert_eq!(Group::decode(&bytes, alice().peer()), Ok(made));
        assert!(Group::decode(&bytes, bob().peer()).is_err());
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(Group::decode(&altered, alice().peer()).is_err(), "byte {place}");
        }
        assert!(
            Group::decode(&group(1, vec![member(&bob(), "bob")]).encode().unwrap(), alice().peer()).is_err(),
            "its creator is not in it"
        );
    }

    #[test]
    fn what_members_say_is_read_by_members_of_the_epoch() {
        let both = group(1, vec![member(&alice(), "alice"), member(&bob(), "bob")]);
        let sealed = both.seal(&bob(), &said("at the hut"), [1; 12]).unwrap();
        assert_eq!(both.open(&sealed), Ok(said("at the hut")));
        let alone = group(2, vec![member(&alice(), "alice")]);
        assert!(alone.open(&sealed).is_err());
        // The author is not in the roster, but has the key.
        let sealed = alone.seal(&bob(), &said("still here"), [2; 12]).unwrap();
        assert_eq!(alone.open(&sealed), Err(WireError::Invalid(0x06)));
        let mut altered = both.seal(&bob(), &said("x"), [3; 12]).unwrap();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        assert!(both.open(&altered).is_err());
    }
}
