//! Announces: packets in which a node states its name, keys, neighbours and capabilities.

use crate::bytes::{Reader, WireError, bits, fixed, from_bits, put8, text};
use crate::identity::{PeerId, PeerKeys, is_weak};

const NICKNAME: u8 = 0x01;
const NOISE_KEY: u8 = 0x02;
const SIGNING_KEY: u8 = 0x03;
const NEIGHBOURS: u8 = 0x04;
const CAPABILITIES: u8 = 0x05;
const BRIDGE: u8 = 0x06;
const MAX_NEIGHBOURS: usize = 10;

/// Capabilities of a node, as the bits that the protocol defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

#[allow(missing_docs, reason = "names of the protocol")]
impl Capabilities {
    pub const PREKEYS: Self = Self(1);
    pub const GROUPS: Self = Self(1 << 3);
    pub const BOARD: Self = Self(1 << 4);
    pub const VOUCH: Self = Self(1 << 5);
    pub const MESH_DIAGNOSTICS: Self = Self(1 << 6);
    pub const BRIDGE: Self = Self(1 << 7);
    pub const PRIVATE_MEDIA: Self = Self(1 << 8);
    pub const PRIVATE_MEDIA_RECEIPTS: Self = Self(1 << 9);
    /// A Fog node; the bit is far above those of the protocol. Stated in sessions only: an announce has no
    /// room for it.
    pub const FOG_PEER: Self = Self(1 << 40);
}

impl Capabilities {
    /// Whether all capabilities of `others` are among these.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Union of these capabilities and `others`.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        bits(self.0)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(from_bits(bytes))
    }
}

/// Contents of an announce packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// Name that the node gives itself, at most 255 bytes; nobody vouches for it.
    pub nickname: String,
    /// The node's keys.
    pub keys: PeerKeys,
    /// Peers that the node has a link to, at most 10.
    pub neighbours: Vec<PeerId>,
    /// Capabilities of the node; `None` if the announce states none.
    pub capabilities: Option<Capabilities>,
    /// Geohash of the area that the node bridges to, at most 12 characters.
    pub bridge: Option<String>,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            nickname: String::new(),
            keys: PeerKeys { noise: [0; 32], signing: [0; 32] },
            neighbours: Vec::new(),
            capabilities: None,
            bridge: None,
        }
    }
}

impl Announce {
    /// Encodes the announce as the payload of a packet.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when the nickname or another field is longer than 255 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(100);
        put8(&mut out, NICKNAME, self.nickname.as_bytes())?;
        put8(&mut out, NOISE_KEY, &self.keys.noise)?;
        put8(&mut out, SIGNING_KEY, &self.keys.signing)?;
        if !self.neighbours.is_empty() {
            put8(
                &mut out,
                NEIGHBOURS,
                &self.neighbours.iter().take(MAX_NEIGHBOURS).flat_map(|peer| peer.0).collect::<Vec<_>>(),
            )?;
        }
        if let Some(capabilities) = self.capabilities {
            put8(&mut out, CAPABILITIES, &capabilities.to_bytes())?;
        }
        if let Some(bridge) = &self.bridge {
            put8(&mut out, BRIDGE, bridge.as_bytes())?;
        }
        Ok(out)
    }

    /// Decodes the payload of a packet; unknown fields are skipped.
    ///
    /// # Errors
    /// [`WireError`] when the nickname or a key is missing, a length runs past the end, a field is invalid,
    /// or the Noise key is a point of small order.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (mut nickname, mut noise, mut signing) = (None, None, None);
        let mut announce = Self::default();
        let mut reader = Reader(payload);
        while !reader.is_empty() {
            let (kind, value) = reader.field8()?;
            match kind {
                NICKNAME => nickname = Some(text(kind, value)?),
                NOISE_KEY => noise = Some(fixed(kind, value)?),
                SIGNING_KEY => signing = Some(fixed(kind, value)?),
                NEIGHBOURS => {
                    announce.neighbours = value
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .take(MAX_NEIGHBOURS)
                        .map(|peer| PeerId(*peer))
                        .collect()
                }
                CAPABILITIES if !value.is_empty() => {
                    announce.capabilities = Some(Capabilities::from_bytes(value))
                }
                BRIDGE if value.len() <= 12 && value.is_ascii() => announce.bridge = Some(text(kind, value)?),
                _ => {}
            }
        }
        announce.nickname = nickname.ok_or(WireError::Missing(NICKNAME))?;
        announce.keys = PeerKeys {
            noise: noise.ok_or(WireError::Missing(NOISE_KEY))?,
            signing: signing.ok_or(WireError::Missing(SIGNING_KEY))?,
        };
        if is_weak(&announce.keys.noise) {
            return Err(WireError::Invalid(NOISE_KEY));
        }
        Ok(announce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    #[test]
    fn capabilities_are_as_short_as_they_can_be() {
        let cases: [(u64, &[u8]); 7] = [
            (0, &[0]),
            (1, &[1]),
            (1 << 6, &[0x40]),
            (1 << 8, &[0, 1]),
            (1 << 9, &[0, 2]),
            (1 << 10, &[0, 4]),
            (1 << 11, &[0, 8]),
        ];
        for (bits, bytes) in cases {
            assert_eq!(Capabilities(bits).to_bytes(), bytes);
            assert_eq!(Capabilities::from_bytes(bytes), Capabilities(bits));
        }
        assert_eq!(Capabilities::from_bytes(&[0xff; 20]), Capabilities(u64::MAX));
    }

    #[test]
    fn the_vector_with_a_field_that_nobody_knows() {
        let mut bytes = b"\x01\x03bob\x02\x20".to_vec();
        bytes.extend([0x11; 32]);
        bytes.extend(b"\x03\x20");
        bytes.extend([0x22; 32]);
        bytes.extend([0x05, 0x02, 0x00, 0x01, 0x7f, 0x02, 0xca, 0xfe]);
        let announce = Announce::decode(&bytes).unwrap();
        assert_eq!(
            (announce.nickname.as_str(), announce.keys.noise, announce.keys.signing),
            ("bob", [0x11; 32], [0x22; 32])
        );
        assert_eq!(announce.capabilities, Some(Capabilities::PRIVATE_MEDIA));
        assert_eq!(announce.encode().unwrap(), bytes[..bytes.len() - 4]);
    }

    #[test]
    fn an_announce_that_ends_in_its_key_is_refused() {
        assert_eq!(Announce::decode(b"\x01\x03bob\x02\x20\x11"), Err(WireError::Short));
        assert_eq!(Announce::decode(b"\x01\x03bob"), Err(WireError::Missing(NOISE_KEY)));
        let keys = PeerKeys { noise: [0; 32], ..alice().keys() };
        let weak = Announce { nickname: "x".to_owned(), keys, ..Announce::default() }.encode().unwrap();
        assert_eq!(Announce::decode(&weak), Err(WireError::Invalid(NOISE_KEY)));
    }

    #[test]
    fn order_does_not_matter_and_everything_comes_back() {
        let announce = Announce {
            nickname: "Zoë".to_owned(),
            keys: alice().keys(),
            neighbours: vec![PeerId([1; 8]), PeerId([2; 8])],
            capabilities: Some(Capabilities(0)),
            bridge: Some("u33db".to_owned()),
        };
        let bytes = announce.encode().unwrap();
        assert_eq!(Announce::decode(&bytes), Ok(announce.clone()));
        let (name, rest) = bytes.split_at(6);
        assert_eq!(Announce::decode(&[rest, name].concat()), Ok(announce));
    }
}
