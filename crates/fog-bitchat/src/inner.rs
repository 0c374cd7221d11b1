//! Messages inside a Noise session: a type byte and a body.

use crate::announce::Capabilities;
use crate::bytes::{Reader, WireError, fixed, put8, text};
use crate::file::FilePacket;
use crate::identity::{Identity, verify};
use crate::voice::VoiceFrame;
use crate::vouch::{self, Vouch};

const TEXT: u8 = 0x01;
const READ: u8 = 0x02;
const DELIVERED: u8 = 0x03;
const GROUP_INVITE: u8 = 0x06;
const GROUP_UPDATE: u8 = 0x07;
const VOICE: u8 = 0x08;
const OLD_FILE: u8 = 0x09;
const CHALLENGE: u8 = 0x10;
const RESPONSE: u8 = 0x11;
const VOUCHES: u8 = 0x12;
const FILE: u8 = 0x20;
const STATE: u8 = 0x21;
/// Extension of Fog nodes; sent only to peers that stated that they understand it.
const FOG_PEER: u8 = 0xf0;

/// Maximum length of the text and of the id of a private message, in bytes.
pub(crate) const MAX_TEXT: usize = 255;

/// A message inside a Noise session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inner {
    /// A private text.
    Text(MessageText),
    /// The message of this id was read.
    Read(String),
    /// The message of this id arrived.
    Delivered(String),
    /// State of the other side; the session binds it to its Noise key.
    State(PeerState),
    /// A file.
    File(FilePacket),
    /// A packet of live voice.
    Voice(VoiceFrame),
    /// Asks the peer to prove that it holds the key that was scanned.
    Challenge(Verification),
    /// Proof that the peer holds the key in question.
    Response(Verification, [u8; 64]),
    /// Invitation into a group, an encoded [`crate::Group`].
    GroupInvite(Vec<u8>),
    /// New key of a group, an encoded [`crate::Group`].
    GroupUpdate(Vec<u8>),
    /// Vouches for the peers that the other side verified; only the first 16 are sent.
    Vouches(Vec<Vouch>),
    /// Message of one Fog node to another, decoded by the caller.
    FogPeer(Vec<u8>),
    /// Message of an unknown, newer type.
    Unknown(u8),
}

/// A private text with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageText {
    /// Id of the message; opaque, a UUID from the apps.
    pub id: String,
    /// The text, at most 255 bytes.
    pub text: String,
}

/// Capabilities and signing key that a peer states inside the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerState {
    /// Capabilities of the peer.
    pub capabilities: Capabilities,
    /// Ed25519 key of the peer.
    pub signing: [u8; 32],
}

/// Challenge to prove the possession of a Noise key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Noise key in question.
    pub noise: [u8; 32],
    /// Nonce chosen by the peer that asks.
    pub nonce: Vec<u8>,
}

impl MessageText {
    /// # Errors
    /// [`WireError::TooLong`] above 255 bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(self.id.len() + self.text.len() + 4);
        put8(&mut out, 0x00, self.id.as_bytes())?;
        put8(&mut out, 0x01, self.text.as_bytes())?;
        Ok(out)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let (mut id, mut content) = (None, None);
        let mut reader = Reader(body);
        while !reader.is_empty() {
            match reader.field8()? {
                (kind @ 0x00, value) => id = Some(text(kind, value)?),
                (kind @ 0x01, value) => content = Some(text(kind, value)?),
                (kind, _) => return Err(WireError::Unexpected(kind)),
            }
        }
        Ok(Self { id: id.ok_or(WireError::Missing(0x00))?, text: content.ok_or(WireError::Missing(0x01))? })
    }
}

impl PeerState {
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = vec![1];
        put8(&mut out, 0x01, &self.capabilities.to_bytes())?;
        put8(&mut out, 0x02, &self.signing)?;
        Ok(out)
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(body);
        let version = reader.u8()?;
        if version != 1 {
            return Err(WireError::Invalid(version));
        }
        let (mut capabilities, mut signing) = (None, None);
        while !reader.is_empty() {
            let (kind, value) = reader.field8()?;
            match kind {
                0x01 => {
                    let bits = Capabilities::from_bytes(value);
                    if value.len() > 8 || bits.to_bytes() != value {
                        return Err(WireError::Invalid(kind));
                    }
                    if capabilities.replace(bits).is_some() {
                        return Err(WireError::Unexpected(kind));
                    }
                }
                0x02 => {
                    let key = fixed(kind, value)?;
                    if signing.replace(key).is_some() {
                        return Err(WireError::Unexpected(kind));
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            capabilities: capabilities.ok_or(WireError::Missing(0x01))?,
            signing: signing.ok_or(WireError::Missing(0x02))?,
        })
    }
}

impl Verification {
    fn to_sign(&self) -> Vec<u8> {
        let hex = data_encoding::HEXLOWER.encode(&self.noise);
        let mut out = b"bitchat-verify-resp-v1".to_vec();
        out.push(hex.len() as u8);
        out.extend(hex.bytes());
        out.extend_from_slice(&self.nonce);
        out
    }

    /// Returns the answer; `None` when the question is about another key.
    #[must_use]
    pub fn answer(&self, identity: &Identity) -> Option<Inner> {
        (identity.keys().noise == self.noise)
            .then(|| Inner::Response(self.clone(), identity.sign(&self.to_sign())))
    }

    /// Whether an answer belongs to this question and is signed with this key.
    #[must_use]
    pub fn is_answered_by(&self, answer: &Self, signature: &[u8; 64], signing: &[u8; 32]) -> bool {
        self == answer && verify(signing, &self.to_sign(), signature)
    }

    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(100);
        put8(&mut out, 0x01, data_encoding::HEXLOWER.encode(&self.noise).as_bytes())?;
        put8(&mut out, 0x02, &self.nonce)?;
        Ok(out)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut field = |wanted: u8| match reader.field8()? {
            (kind, value) if kind == wanted => Ok(value),
            (kind, _) => Err(WireError::Unexpected(kind)),
        };
        let noise =
            data_encoding::HEXLOWER_PERMISSIVE.decode(field(0x01)?).ok().and_then(|key| key.try_into().ok());
        Ok(Self { noise: noise.ok_or(WireError::Invalid(0x01))?, nonce: field(0x02)?.to_vec() })
    }
}

impl Inner {
    /// Encodes the message for a session.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when a field exceeds its maximum length.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let (kind, body) = match self {
            Self::Text(message) => (TEXT, message.encode()?),
            Self::Read(id) => (READ, id.clone().into_bytes()),
            Self::Delivered(id) => (DELIVERED, id.clone().into_bytes()),
            Self::State(state) => (STATE, state.encode()?),
            Self::File(file) => (FILE, file.encode()?),
            Self::Voice(voice) => (VOICE, voice.encode()?),
            Self::Challenge(question) => (CHALLENGE, question.encode()?),
            Self::Response(question, signature) => {
                let mut body = question.encode()?;
                put8(&mut body, 0x03, signature)?;
                (RESPONSE, body)
            }
            Self::GroupInvite(body) => (GROUP_INVITE, body.clone()),
            Self::GroupUpdate(body) => (GROUP_UPDATE, body.clone()),
            Self::Vouches(list) => (VOUCHES, vouch::encode(list)?),
            Self::FogPeer(body) => (FOG_PEER, body.clone()),
            Self::Unknown(kind) => (*kind, Vec::new()),
        };
        let mut out = Vec::with_capacity(body.len() + 1);
        out.push(kind);
        out.extend(body);
        Ok(out)
    }

    /// Decodes a message from a session.
    ///
    /// # Errors
    /// [`WireError`] when the message is empty or its body is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (kind, body) = bytes.split_first().ok_or(WireError::Short)?;
        let id = || match body.len() {
            1..=MAX_TEXT => text(*kind, body),
            _ => Err(WireError::Invalid(*kind)),
        };
        Ok(match *kind {
            TEXT => Self::Text(MessageText::decode(body)?),
            READ => Self::Read(id()?),
            DELIVERED => Self::Delivered(id()?),
            STATE => Self::State(PeerState::decode(body)?),
            FILE | OLD_FILE => Self::File(FilePacket::decode(body)?),
            VOICE => Self::Voice(VoiceFrame::decode(body)?),
            CHALLENGE => Self::Challenge(Verification::decode(&mut Reader(body))?),
            RESPONSE => {
                let mut reader = Reader(body);
                let question = Verification::decode(&mut reader)?;
                match reader.field8()? {
                    (kind @ 0x03, value) => Self::Response(question, fixed(kind, value)?),
                    (kind, _) => return Err(WireError::Unexpected(kind)),
                }
            }
            GROUP_INVITE => Self::GroupInvite(body.to_vec()),
            GROUP_UPDATE => Self::GroupUpdate(body.to_vec()),
            VOUCHES => Self::Vouches(vouch::decode(body)?),
            FOG_PEER => Self::FogPeer(body.to_vec()),
            other => Self::Unknown(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    fn unhex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_text_has_the_bytes_of_the_vector() {
        let text = Inner::Text(MessageText { id: "m1".to_owned(), text: "hi".to_owned() });
        assert_eq!(text.encode().unwrap(), unhex("0100026d3101026869"));
        assert_eq!(Inner::decode(&unhex("0100026d3101026869")), Ok(text));
        assert_eq!(MessageText::decode(&unhex("00026d31")), Err(WireError::Missing(1)));
        assert_eq!(MessageText::decode(&unhex("00026d3101036869")), Err(WireError::Short));
        assert_eq!(MessageText::decode(&unhex("00026d31010268690500")), Err(WireError::Unexpected(5)));
        assert_eq!(
            MessageText { id: String::new(), text: "x".repeat(256) }.encode(),
            Err(WireError::TooLong)
        );
    }

    #[test]
    fn a_state_has_the_bytes_of_the_vector_and_is_taken_in_no_other_form() {
        let signing = std::array::from_fn(|n| n as u8);
        let state = Inner::State(PeerState { capabilities: Capabilities::PRIVATE_MEDIA, signing });
        let key = data_encoding::HEXLOWER.encode(&signing);
        assert_eq!(state.encode().unwrap(), unhex(&format!("2101010200010220{key}")));
        assert_eq!(Inner::decode(&unhex(&format!("21010220{key}7f010001020001"))), Ok(state));
        for wrong in [
            "2101020100000220KEY",
            "21010102000101020001 0220KEY",
            "2102010200010220KEY",
            "21010220KEY",
            "2101010200010220KEY0220KEY",
            "21010103000100 0220KEY",
        ] {
            assert!(Inner::decode(&unhex(&wrong.replace("KEY", &key).replace(' ', ""))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_the_old_code_is_a_file() {
        let bytes = unhex("20010005612e7478740200040000000303000a746578742f706c61696e0400000003010203");
        let file = Inner::decode(&bytes).unwrap();
        assert_eq!(file.encode().unwrap(), bytes);
        let mut old = bytes;
        old[0] = 0x09;
        assert_eq!(Inner::decode(&old), Ok(file));
    }

    #[test]
    fn a_proof_is_of_one_key_and_one_question() {
        let question = Verification { noise: alice().keys().noise, nonce: vec![7; 16] };
        let Some(answer) = question.answer(&alice()) else { panic!("her own key") };
        let read = Inner::decode(&answer.encode().unwrap()).unwrap();
        let Inner::Response(said, signature) = read else { panic!("{read:?}") };
        let signing = alice().keys().signing;
        assert!(question.is_answered_by(&said, &signature, &signing));
        let other = Verification { nonce: vec![8; 16], ..question.clone() };
        assert!(!other.is_answered_by(&said, &signature, &signing));
        assert_eq!(Verification { noise: [9; 32], ..question }.answer(&alice()), None);
    }

    #[test]
    fn what_is_newer_is_known_as_such() {
        assert_eq!(Inner::decode(&[0x77, 1, 2]), Ok(Inner::Unknown(0x77)));
        assert_eq!(Inner::decode(&[]), Err(WireError::Short));
    }
}
