//! The board: notes signed by their authors that stay for days (outer type 0x23, section 6.10 of the
//! specification).

use crate::bytes::{Reader, WireError, fixed, put16, text};
use crate::identity::{Identity, verify};

/// Maximum size of the text of a note, in bytes.
pub const MAX_NOTE: usize = 512;
const MAX_GEOHASH: usize = 12;
const MAX_NICKNAME: usize = 64;
/// Maximum lifetime of a note, in milliseconds.
pub const MAX_NOTE_LIFE: u64 = 7 * 24 * 3_600_000;
/// Tolerated difference between clocks, in milliseconds.
pub(crate) const SLACK: u64 = 3_600_000;

const POST: u8 = 1;
const TOMBSTONE: u8 = 2;

/// A note on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Random id of the note.
    pub id: [u8; 16],
    /// Geohash of the area that the note is for, at most 12 characters; empty for the whole mesh.
    pub geohash: String,
    /// Text of the note, 1 to 512 bytes.
    pub text: String,
    /// Ed25519 key of the author.
    pub author: [u8; 32],
    /// Name that the author gives themselves, at most 64 bytes.
    pub nickname: String,
    /// Time at which the note was written, in milliseconds since 1970.
    pub created: u64,
    /// Time at which the note expires, in milliseconds since 1970.
    pub expires: u64,
    /// Whether the author marked the note as urgent.
    pub is_urgent: bool,
}

/// Removal of a note by its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) id: [u8; 16],
    pub(crate) author: [u8; 32],
    pub(crate) at: u64,
}

/// Contents of a board packet; the signature of the author was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Note(Note),
    Tombstone(Tombstone),
}

fn counted8(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn counted16(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl Note {
    fn to_sign(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.text.len());
        counted8(&mut out, b"bitchat-board-v1");
        out.extend(self.id);
        counted16(&mut out, self.geohash.as_bytes());
        counted16(&mut out, self.text.as_bytes());
        out.extend(self.author);
        counted16(&mut out, self.nickname.as_bytes());
        out.extend(self.created.to_be_bytes());
        out.extend(self.expires.to_be_bytes());
        out.push(u8::from(self.is_urgent));
        out
    }

    fn check(&self) -> Result<(), WireError> {
        if self.text.is_empty() || self.text.len() > MAX_NOTE {
            return Err(WireError::Invalid(0x04));
        }
        if self.geohash.len() > MAX_GEOHASH || !self.geohash.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err(WireError::Invalid(0x03));
        }
        if self.nickname.len() > MAX_NICKNAME {
            return Err(WireError::Invalid(0x06));
        }
        if self.expires <= self.created || self.expires - self.created > MAX_NOTE_LIFE {
            return Err(WireError::Invalid(0x08));
        }
        Ok(())
    }

    /// Encodes the note as the payload of a packet, signed by its author.
    ///
    /// # Errors
    /// [`WireError::Invalid`] when a part is too long or the lifetime exceeds seven days.
    pub(crate) fn encode(&self, author: &Identity) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let mut out = Vec::with_capacity(180 + self.text.len());
        put16(&mut out, 0x01, &[POST])?;
        put16(&mut out, 0x02, &self.id)?;
        put16(&mut out, 0x03, self.geohash.as_bytes())?;
        put16(&mut out, 0x04, self.text.as_bytes())?;
        put16(&mut out, 0x05, &self.author)?;
        put16(&mut out, 0x06, self.nickname.as_bytes())?;
        put16(&mut out, 0x07, &self.created.to_be_bytes())?;
        put16(&mut out, 0x08, &self.expires.to_be_bytes())?;
        put16(&mut out, 0x09, &[u8::from(self.is_urgent)])?;
        put16(&mut out, 0x0A, &author.sign(&self.to_sign()))?;
        Ok(out)
    }
}

impl Tombstone {
    fn to_sign(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        counted8(&mut out, b"bitchat-board-del-v1");
        out.extend(self.id);
        out.extend(self.at.to_be_bytes());
        out
    }

    pub(crate) fn encode(&self, author: &Identity) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(160);
        put16(&mut out, 0x01, &[TOMBSTONE])?;
        put16(&mut out, 0x02, &self.id)?;
        put16(&mut out, 0x05, &self.author)?;
        put16(&mut out, 0x0B, &self.at.to_be_bytes())?;
        put16(&mut out, 0x0A, &author.sign(&self.to_sign()))?;
        Ok(out)
    }
}

impl Item {
    /// Decodes the payload of a packet. Unknown fields are skipped; unknown flags stay part of the signed
    /// bytes.
    ///
    /// # Errors
    /// [`WireError`] when the payload is malformed; [`WireError::Invalid`] of field 0x0A when the signature
    /// is wrong.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (item, signed, signature) = Self::read(payload)?;
        if verify(item.author(), &signed, &signature) { Ok(item) } else { Err(WireError::Invalid(0x0A)) }
    }

    /// Decodes a payload from this device's own store, whose signature was verified before.
    pub(crate) fn decode_own(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload).map(|(item, ..)| item)
    }

    /// Returns the item, the bytes that its author signed, and the signature.
    fn read(payload: &[u8]) -> Result<(Self, Vec<u8>, [u8; 64]), WireError> {
        let (mut kind, mut id, mut author, mut signature) = (None, None, None, None);
        let (mut geohash, mut content, mut nickname) = (String::new(), String::new(), String::new());
        let (mut created, mut expires, mut at, mut flags) = (None, None, None, None);
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            match reader.field16()? {
                (field @ 0x01, value) => kind = Some(fixed::<1>(field, value)?[0]),
                (field @ 0x02, value) => id = Some(fixed(field, value)?),
                (field @ 0x03, value) => geohash = text(field, value)?,
                (field @ 0x04, value) => content = text(field, value)?,
                (field @ 0x05, value) => author = Some(fixed(field, value)?),
                (field @ 0x06, value) => nickname = text(field, value)?,
                (field @ 0x07, value) => created = Some(u64::from_be_bytes(fixed(field, value)?)),
                (field @ 0x08, value) => expires = Some(u64::from_be_bytes(fixed(field, value)?)),
                (field @ 0x09, value) => flags = Some(fixed::<1>(field, value)?[0]),
                (field @ 0x0A, value) => signature = Some(fixed(field, value)?),
                (field @ 0x0B, value) => at = Some(u64::from_be_bytes(fixed(field, value)?)),
                _ => {}
            }
        }
        let id = id.ok_or(WireError::Missing(0x02))?;
        let author = author.ok_or(WireError::Missing(0x05))?;
        let signature: [u8; 64] = signature.ok_or(WireError::Missing(0x0A))?;
        Ok(match kind.ok_or(WireError::Missing(0x01))? {
            POST => {
                let (created, expires) =
                    (created.ok_or(WireError::Missing(0x07))?, expires.ok_or(WireError::Missing(0x08))?);
                let flags = flags.unwrap_or(0);
                let note = Note {
                    id,
                    geohash,
                    text: content,
                    author,
                    nickname,
                    created,
                    expires,
                    is_urgent: flags & 1 == 1,
                };
                note.check()?;
                let mut signed = note.to_sign();
                // The signature covers unknown flags as well.
                if let Some(last) = signed.last_mut() {
                    *last = flags;
                }
                (Self::Note(note), signed, signature)
            }
            TOMBSTONE => {
                let tombstone = Tombstone { id, author, at: at.ok_or(WireError::Missing(0x0B))? };
                (Self::Tombstone(tombstone), tombstone.to_sign(), signature)
            }
            _ => return Err(WireError::Invalid(0x01)),
        })
    }

    pub(crate) fn author(&self) -> &[u8; 32] {
        match self {
            Self::Note(note) => &note.author,
            Self::Tombstone(tombstone) => &tombstone.author,
        }
    }

    pub(crate) fn id(&self) -> &[u8; 16] {
        match self {
            Self::Note(note) => &note.id,
            Self::Tombstone(tombstone) => &tombstone.id,
        }
    }

    /// Times at which the item was made and at which it expires, in milliseconds since 1970.
    pub(crate) fn life(&self) -> (u64, u64) {
        match self {
            Self::Note(note) => (note.created, note.expires),
            // The note that the tombstone removes has expired by then.
            Self::Tombstone(tombstone) => (tombstone.at, tombstone.at.saturating_add(MAX_NOTE_LIFE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    const NOW: u64 = 1_750_000_000_000;

    fn note(text: &str) -> Note {
        Note {
            id: [7; 16],
            geohash: String::new(),
            text: text.to_owned(),
            author: alice().keys().signing,
            nickname: "alice".to_owned(),
            created: NOW,
            expires: NOW + 3_600_000,
            is_urgent: true,
        }
    }

    #[test]
    fn a_note_has_the_fields_of_the_specification_and_comes_back() {
        let note = note("soup at the hut");
        let bytes = note.encode(&alice()).unwrap();
        assert_eq!(bytes[..4], [0x01, 0, 1, 1]);
        assert_eq!(bytes[4..23], [&[0x02, 0, 16], [7; 16].as_slice()].concat());
        // An empty geohash, then the text.
        assert_eq!(bytes[23..29], [0x03, 0, 0, 0x04, 0, 15]);
        assert_eq!(bytes.len(), 4 + 19 + 3 + 18 + 35 + 8 + 11 + 11 + 4 + 67);
        assert_eq!(Item::decode(&bytes), Ok(Item::Note(note.clone())));
        let signed = note.to_sign();
        assert_eq!(signed[..17], [&[16], b"bitchat-board-v1".as_slice()].concat());
        assert_eq!(signed[33..37], [0, 0, 0, 15]);
        assert_eq!(signed.last(), Some(&1));
        let tombstone = Tombstone { id: [7; 16], author: note.author, at: NOW + 5 };
        assert_eq!(tombstone.to_sign()[..21], [&[20], b"bitchat-board-del-v1".as_slice()].concat());
        assert_eq!(Item::decode(&tombstone.encode(&alice()).unwrap()), Ok(Item::Tombstone(tombstone)));
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let bytes = note("soup at the hut").encode(&alice()).unwrap();
        // The signature does not cover lengths and kinds of fields, but a change of them changes what is
        // read.
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(Item::decode(&other).is_err(), "byte {place}");
        }
        assert!((0..bytes.len()).all(|end| Item::decode(&bytes[..end]).is_err()));
        let more = [bytes.as_slice(), &[0x7f, 0, 1, 9]].concat();
        assert!(Item::decode(&more).is_ok(), "a field that nobody knows is skipped");
    }

    #[test]
    fn notes_have_bounds() {
        let cases = [
            note(""),
            note(&"x".repeat(513)),
            Note { geohash: "u33dbu33dbu33".to_owned(), ..note("a") },
            Note { nickname: "x".repeat(65), ..note("a") },
            Note { expires: NOW, ..note("a") },
            Note { expires: NOW + MAX_NOTE_LIFE + 1, ..note("a") },
        ];
        for case in cases {
            assert!(case.encode(&alice()).is_err(), "{case:?}");
        }
        assert!(note(&"x".repeat(512)).encode(&alice()).is_ok());
    }
}
