//! Packets of the mesh and their encoding.

use crate::bytes::Reader;
use crate::identity::{Identity, PeerId, PeerKeys};
use crate::{compress, padding};

/// Maximum payload, in bytes, before and after compression: a file of 1 MiB with its overhead.
pub const MAX_PAYLOAD: usize = 1_179_760;
/// Maximum number of hops of a packet; a higher TTL is reduced to this.
pub const MAX_TTL: u8 = 7;

const HAS_RECIPIENT: u8 = 0x01;
const HAS_SIGNATURE: u8 = 0x02;
const IS_COMPRESSED: u8 = 0x04;
const HAS_ROUTE: u8 = 0x08;
const IS_REQUESTED: u8 = 0x10;

/// Type byte of a packet. Unknown types are relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

#[allow(missing_docs, reason = "names of the protocol")]
impl Kind {
    pub const ANNOUNCE: Self = Self(0x01);
    pub const MESSAGE: Self = Self(0x02);
    pub const LEAVE: Self = Self(0x03);
    pub const COURIER: Self = Self(0x04);
    pub const HANDSHAKE: Self = Self(0x10);
    pub const ENCRYPTED: Self = Self(0x11);
    pub const FRAGMENT: Self = Self(0x20);
    pub const REQUEST_SYNC: Self = Self(0x21);
    pub const FILE: Self = Self(0x22);
    pub const BOARD_POST: Self = Self(0x23);
    pub const PREKEYS: Self = Self(0x24);
    pub const GROUP_MESSAGE: Self = Self(0x25);
    pub const PING: Self = Self(0x26);
    pub const PONG: Self = Self(0x27);
    pub const NOSTR_CARRIER: Self = Self(0x28);
    pub const VOICE: Self = Self(0x29);
}

/// Reasons why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The version is neither 1 nor 2.
    #[error("a packet of version {0}")]
    Version(u8),
    /// The packet ends too early.
    #[error("a packet that ends too early")]
    Short,
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("a packet with {0} bytes, more than is taken")]
    TooLong(usize),
    /// The payload cannot be decompressed to the size that it states.
    #[error("a packet whose contents cannot be decompressed")]
    Compression,
}

/// Payload of a packet, open and compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// Payload before compression.
    open: Vec<u8>,
    /// Payload as received or to be sent, if compressed.
    packed: Option<Vec<u8>>,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Version 1, or 2 for long payloads and routes.
    pub version: u8,
    /// Type of the packet.
    pub kind: Kind,
    /// Number of hops left.
    pub ttl: u8,
    /// Time in milliseconds since 1970, by the sender's clock.
    pub timestamp: u64,
    /// Peer that made the packet.
    pub sender: PeerId,
    /// Recipient; `None` and [`PeerId::EVERYBODY`] both mean everybody.
    pub recipient: Option<PeerId>,
    /// Nodes that the packet is to pass, without both ends. Only in version 2.
    pub route: Option<Vec<PeerId>>,
    /// Whether the packet answers a request to synchronise, and so may be old.
    pub is_requested: bool,
    /// Ed25519 signature over [`Self::preimage`].
    pub signature: Option<[u8; 64]>,
    pub(crate) body: Body,
}

/// A packet together with the bytes it was received as, which are relayed unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The decoded packet.
    pub frame: Frame,
    bytes: Vec<u8>,
}

impl Frame {
    /// Builds an unsigned packet to everybody: of version 1, or 2 if the payload exceeds 65,535 bytes.
    #[must_use]
    pub fn new(kind: Kind, sender: PeerId, timestamp: u64, payload: Vec<u8>) -> Self {
        let version = if payload.len() > usize::from(u16::MAX) { 2 } else { 1 };
        Self {
            version,
            kind,
            ttl: MAX_TTL,
            timestamp,
            sender,
            recipient: None,
            route: None,
            is_requested: false,
            signature: None,
            body: Body { open: payload, packed: None },
        }
    }

    /// Sets the recipient.
    #[must_use]
    pub fn to(mut self, recipient: PeerId) -> Self {
        self.recipient = Some(recipient);
        self
    }

    /// Signs the packet. Later changes, except of the TTL and the requested mark, invalidate the signature.
    #[must_use]
    pub fn signed(mut self, identity: &Identity) -> Self {
        self.signature = Some(identity.sign(&self.preimage()));
        self
    }

    /// Compresses the payload if the apps would try to and the result is shorter. iPhones verify a
    /// signature over it only if their own encoder produces the same bytes.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        if compress::is_worth_trying(&self.body.open) {
            self.body.packed = compress::deflate(&self.body.open);
        }
        self
    }

    /// Payload, decompressed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.body.open
    }

    /// Whether the packet is for everybody.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.recipient.is_none_or(|recipient| recipient == PeerId::EVERYBODY)
    }

    /// Decodes a packet; bytes after its end are padding.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are not a packet.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        read(bytes).map(|(frame, _)| frame)
    }

    /// Encodes the packet for sending; only Noise packets are padded.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = self.bare(self.ttl, self.is_requested, self.signature.as_ref());
        if matches!(self.kind, Kind::HANDSHAKE | Kind::ENCRYPTED) { padding::pad(bytes) } else { bytes }
    }

    /// Bytes that are signed: the packet without TTL, requested mark and signature, always padded.
    #[must_use]
    pub fn preimage(&self) -> Vec<u8> {
        padding::pad(self.bare(0, false, None))
    }

    /// Whether the signature is by these keys, over the payload as it was received. An iPhone that relayed
    /// the packet may have compressed it again: then the payload is also tried as zlib compresses it, and
    /// uncompressed.
    #[must_use]
    pub fn is_by(&self, keys: &PeerKeys) -> bool {
        let Some(signature) = &self.signature else { return false };
        if keys.verify(&self.preimage(), signature) {
            return true;
        }
        if self.body.packed.is_none() {
            return false;
        }
        let with = |packed: Option<Vec<u8>>| {
            let other = Self { body: Body { open: self.body.open.clone(), packed }, ..self.clone() };
            keys.verify(&other.preimage(), signature)
        };
        compress::deflate(&self.body.open).is_some_and(|packed| with(Some(packed))) || with(None)
    }

    fn bare(&self, ttl: u8, is_requested: bool, signature: Option<&[u8; 64]>) -> Vec<u8> {
        let route = self.route.as_ref().filter(|_| self.version >= 2);
        let wire = self.body.packed.as_ref().unwrap_or(&self.body.open);
        let size_field = if self.version == 1 { 2 } else { 4 };
        let length = wire.len() + if self.body.packed.is_some() { size_field } else { 0 };
        let mut out = Vec::with_capacity(length + 128);
        let mut flags = 0;
        for (flag, is_set) in [
            (HAS_RECIPIENT, self.recipient.is_some()),
            (HAS_SIGNATURE, signature.is_some()),
            (IS_COMPRESSED, self.body.packed.is_some()),
            (HAS_ROUTE, route.is_some()),
            (IS_REQUESTED, is_requested),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        out.extend([self.version, self.kind.0, ttl]);
        out.extend(self.timestamp.to_be_bytes());
        out.push(flags);
        let size = |out: &mut Vec<u8>, value: usize| {
            let bytes = (value as u32).to_be_bytes();
            out.extend_from_slice(&bytes[4 - size_field..]);
        };
        size(&mut out, length);
        out.extend(self.sender.0);
        out.extend(self.recipient.iter().flat_map(|peer| peer.0));
        if let Some(route) = route {
            out.push(route.len().min(255) as u8);
            out.extend(route.iter().take(255).flat_map(|peer| peer.0));
        }
        if self.body.packed.is_some() {
            size(&mut out, self.body.open.len());
        }
        out.extend_from_slice(wire);
        out.extend(signature.iter().flat_map(|signature| signature.iter()));
        out
    }
}

impl Raw {
    /// Decodes a packet and keeps its bytes, without padding.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are not a packet.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (frame, bytes) = read(bytes)?;
        Ok(Self { frame, bytes: bytes.to_vec() })
    }

    /// Bytes of the packet for the next hop; only the TTL changes.
    #[must_use]
    pub fn with_ttl(&self, ttl: u8) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(place) = bytes.get_mut(2) {
            *place = ttl;
        }
        if matches!(self.frame.kind, Kind::HANDSHAKE | Kind::ENCRYPTED) { padding::pad(bytes) } else { bytes }
    }

    /// Bytes of a stored packet as an answer to a request to synchronise: TTL 0, marked as requested.
    #[must_use]
    pub fn as_answer(&self) -> Vec<u8> {
        let mut bytes = self.with_ttl(0);
        if let Some(flags) = bytes.get_mut(11) {
            *flags |= IS_REQUESTED;
        }
        bytes
    }

    /// Bytes of the packet, without padding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Decodes a packet and returns it with its bytes; tried with possible padding, then without it.
fn read(bytes: &[u8]) -> Result<(Frame, &[u8]), FrameError> {
    let (bytes, (frame, length)) = match parse(bytes) {
        Ok(found) => (bytes, found),
        Err(error) => {
            let bare = padding::unpad(bytes);
            if bare.len() == bytes.len() {
                return Err(error);
            }
            (bare, parse(bare)?)
        }
    };
    Ok((frame, &bytes[..length]))
}

/// Decodes a packet and returns it with its length in bytes.
fn parse(bytes: &[u8]) -> Result<(Frame, usize), FrameError> {
    let short = |_| FrameError::Short;
    let mut reader = Reader(bytes);
    let version = reader.u8().map_err(short)?;
    if !(1..=2).contains(&version) {
        return Err(FrameError::Version(version));
    }
    let kind = Kind(reader.u8().map_err(short)?);
    let ttl = reader.u8().map_err(short)?.min(MAX_TTL);
    let timestamp = reader.u64().map_err(short)?;
    let flags = reader.u8().map_err(short)?;
    let has = |flag: u8| flags & flag != 0;
    let size = |reader: &mut Reader<'_>| {
        let size =
            if version == 1 { reader.u16().map(usize::from) } else { reader.u32().map(|size| size as usize) };
        size.map_err(short)
    };
    let length = size(&mut reader)?;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    let sender = PeerId(reader.array().map_err(short)?);
    let recipient = if has(HAS_RECIPIENT) { Some(PeerId(reader.array().map_err(short)?)) } else { None };
    let mut route = None;
    if version == 2 && has(HAS_ROUTE) {
        let mut hops = Vec::new();
        for _ in 0..reader.u8().map_err(short)? {
            hops.push(PeerId(reader.array().map_err(short)?));
        }
        route = Some(hops);
    }
    let mut payload = Reader(reader.take(length).map_err(short)?);
    let body = if has(IS_COMPRESSED) {
        let original = size(&mut payload)?;
        let open = compress::inflate(payload.0, original, MAX_PAYLOAD).ok_or(FrameError::Compression)?;
        Body { open, packed: Some(payload.0.to_vec()) }
    } else {
        Body { open: payload.0.to_vec(), packed: None }
    };
    let signature = if has(HAS_SIGNATURE) { Some(reader.array().map_err(short)?) } else { None };
    let frame = Frame {
        version,
        kind,
        ttl,
        timestamp,
        sender,
        recipient,
        route,
        is_requested: has(IS_REQUESTED),
        signature,
        body,
    };
    Ok((frame, bytes.len() - reader.0.len()))
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
