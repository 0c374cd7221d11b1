//! Sealed content: any node may carry it, only a node that has the key can read it.
//!
//! A file is cut into chunks of 256 KiB, each sealed with ChaCha20-Poly1305 (RFC 8439) under a key of this
//! file and with its position as nonce. The BLAKE3 hashes of the sealed chunks form the manifest, and the
//! hash of the manifest is the id. So a chunk from any peer can be checked by itself, a transfer can resume
//! at any chunk, and a node that only carries content learns nothing but sizes.

use std::fmt;

use fog_types::BlobId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// Number of bytes of a chunk before sealing; the last chunk may have fewer.
pub const CHUNK: usize = 256 << 10;
/// Maximum number of bytes of one content: 16 GiB, with a manifest of 2 MiB.
pub const MAX_CONTENT: u64 = 16 << 30;
const TAG: usize = 16;

/// Id of sealed content: the hash of its manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentId(pub [u8; 32]);

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({})", BlobId(self.0))
    }
}

/// Key that opens sealed content; never logged.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentKey(pub [u8; 32]);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(…)")
    }
}

impl ContentKey {
    /// Derives the key of a node for a file. A node has the same key for the same file, so content that a
    /// worker fetched for one job also serves the next one; the sealed files of two nodes have nothing in
    /// common.
    #[must_use]
    pub fn derive(secret: &[u8; 32], blob: BlobId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fog-compute 2026-11 key of sealed content");
        hasher.update(secret).update(&blob.0);
        Self(*hasher.finalize().as_bytes())
    }
}

/// Sealed content that a node may fetch and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Id of the sealed content.
    pub id: ContentId,
    /// BLAKE3 hash of the bytes before sealing.
    pub blob: BlobId,
    /// Number of bytes before sealing.
    pub size: u64,
    /// Key that opens the content.
    pub key: ContentKey,
}

/// Reason for which a chunk or manifest is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The chunk does not belong at this position, or is too long.
    #[error("a piece of the content is not what it should be")]
    Wrong,
    /// The chunk was not sealed with this key.
    #[error("a piece of the content cannot be opened")]
    Sealed,
    /// The manifest does not belong to this id and size.
    #[error("the list of pieces is not that of the content")]
    Manifest,
}

/// Cipher that seals and opens the chunks of one content.
pub struct Sealer {
    cipher: LessSafeKey,
    size: u64,
}

/// Returns the number of chunks of content of `size` bytes, at least one.
fn chunks_of(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64).max(1)
}

impl Sealer {
    /// Creates a sealer for content of `size` bytes before sealing.
    #[must_use]
    pub fn new(key: &ContentKey, size: u64) -> Self {
        let Ok(key) = UnboundKey::new(&CHACHA20_POLY1305, &key.0) else {
            unreachable!("a key of this cipher has 32 bytes")
        };
        Self { cipher: LessSafeKey::new(key), size }
    }

    fn nonce(at: u32) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&at.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn about(&self) -> Aad<[u8; 8]> {
        Aad::from(self.size.to_le_bytes())
    }

    /// Seals the chunk at position `at`; the sealed chunk is 16 bytes longer.
    ///
    /// # Errors
    /// [`SealError::Wrong`] if the chunk is longer than [`CHUNK`].
    pub fn seal(&self, at: u32, open: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut chunk = Vec::with_capacity(open.len() + TAG);
        chunk.extend_from_slice(open);
        self.seal_in_place(at, &mut chunk).map(|()| chunk)
    }

    /// Seals a chunk as [`Self::seal`] does, but in place.
    ///
    /// # Errors
    /// [`SealError::Wrong`] if the chunk is longer than [`CHUNK`].
    pub fn seal_in_place(&self, at: u32, chunk: &mut Vec<u8>) -> Result<(), SealError> {
        if chunk.len() > CHUNK {
            return Err(SealError::Wrong);
        }
        self.cipher
            .seal_in_place_append_tag(Self::nonce(at), self.about(), chunk)
            .map_err(|_| SealError::Wrong)
    }

    /// Opens the sealed chunk at position `at`.
    ///
    /// # Errors
    /// [`SealError::Sealed`] if the chunk was not sealed with this key, for this position and size.
    pub fn open(&self, at: u32, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut chunk = sealed.to_vec();
        self.open_in_place(at, &mut chunk).map(|()| chunk)
    }

    /// Opens a chunk as [`Self::open`] does, but in place.
    ///
    /// # Errors
    /// [`SealError::Sealed`] if the chunk was not sealed with this key, for this position and size.
    pub fn open_in_place(&self, at: u32, chunk: &mut Vec<u8>) -> Result<(), SealError> {
        let open = self
            .cipher
            .open_in_place(Self::nonce(at), self.about(), chunk)
            .map_err(|_| SealError::Sealed)?
            .len();
        chunk.truncate(open);
        Ok(())
    }
}

/// Manifest of a content: the hashes of its sealed chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    size: u64,
    hashes: Vec<[u8; 32]>,
}

impl Manifest {
    /// Creates an empty manifest for content of `size` bytes before sealing; chunks are added in order.
    #[must_use]
    pub fn begin(size: u64) -> Self {
        Self { size, hashes: Vec::new() }
    }

    /// Adds the next sealed chunk.
    pub fn add(&mut self, sealed: &[u8]) {
        self.hashes.push(*blake3::hash(sealed).as_bytes());
    }

    /// Returns the id of the content.
    #[must_use]
    pub fn id(&self) -> ContentId {
        let mut hasher = blake3::Hasher::new_derive_key("fog-compute 2026-11 manifest of sealed content");
        hasher.update(&self.size.to_le_bytes());
        for hash in &self.hashes {
            hasher.update(hash);
        }
        ContentId(*hasher.finalize().as_bytes())
    }

    /// Returns the number of chunks.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// Encodes the manifest for the wire as the concatenated hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// Decodes a manifest from the wire.
    ///
    /// # Errors
    /// [`SealError::Manifest`] if the manifest does not belong to `id` and `size`.
    pub fn from_bytes(id: ContentId, size: u64, bytes: &[u8]) -> Result<Self, SealError> {
        if size > MAX_CONTENT || bytes.len() as u64 != chunks_of(size) * 32 {
            return Err(SealError::Manifest);
        }
        let (hashes, _) = bytes.as_chunks::<32>();
        let manifest = Self { size, hashes: hashes.to_vec() };
        if manifest.id() == id { Ok(manifest) } else { Err(SealError::Manifest) }
    }

    /// Creates the manifest of content that has a single chunk, from that sealed chunk.
    ///
    /// # Errors
    /// [`SealError::Manifest`] if the manifest does not belong to `id` and `size`.
    pub fn of_one(id: ContentId, size: u64, sealed: &[u8]) -> Result<Self, SealError> {
        let mut manifest = Self::begin(size);
        manifest.add(sealed);
        if chunks_of(size) == 1 && manifest.id() == id { Ok(manifest) } else { Err(SealError::Manifest) }
    }

    /// Returns the number of bytes of the sealed chunk at position `at`.
    #[must_use]
    pub fn sealed_length(&self, at: u32) -> usize {
        let begin = u64::from(at) * CHUNK as u64;
        (self.size.saturating_sub(begin).min(CHUNK as u64)) as usize + TAG
    }

    /// Checks that a sealed chunk is the one that belongs at position `at`.
    ///
    /// # Errors
    /// [`SealError::Wrong`] if the chunk is another one.
    pub fn check(&self, at: u32, sealed: &[u8]) -> Result<(), SealError> {
        match self.hashes.get(at as usize) {
            Some(hash)
                if sealed.len() == self.sealed_length(at)
                    && blake3::hash(sealed) == blake3::Hash::from_bytes(*hash) =>
            {
                Ok(())
            }
            _ => Err(SealError::Wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(key: &ContentKey, bytes: &[u8]) -> (Manifest, Vec<Vec<u8>>) {
        let sealer = Sealer::new(key, bytes.len() as u64);
        let mut manifest = Manifest::begin(bytes.len() as u64);
        let open: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(CHUNK).collect() };
        let sealed: Vec<Vec<u8>> =
            open.iter().enumerate().map(|(at, chunk)| sealer.seal(at as u32, chunk).unwrap()).collect();
        sealed.iter().for_each(|chunk| manifest.add(chunk));
        (manifest, sealed)
    }

    #[test]
    fn sealed_content_comes_back_and_one_node_seals_it_the_same_way_twice() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let key = ContentKey::derive(&[1; 32], BlobId(*blake3::hash(&bytes).as_bytes()));
            let (manifest, sealed) = pack(&key, &bytes);
            assert_eq!(manifest, pack(&key, &bytes).0);
            let read = Manifest::from_bytes(manifest.id(), size as u64, &manifest.to_bytes()).unwrap();
            let sealer = Sealer::new(&key, size as u64);
            let mut open = Vec::new();
            for (at, chunk) in sealed.iter().enumerate() {
                read.check(at as u32, chunk).unwrap();
                open.extend(sealer.open(at as u32, chunk).unwrap());
            }
            assert_eq!(open, bytes);
        }
    }

    #[test]
    fn another_node_s_key_seals_it_otherwise() {
        let blob = BlobId([3; 32]);
        assert_ne!(ContentKey::derive(&[1; 32], blob), ContentKey::derive(&[2; 32], blob));
    }

    proptest! {
        #[test]
        fn an_altered_chunk_or_manifest_is_found(byte in 0usize..CHUNK + TAG, bit in 0u8..8, place in 0usize..64) {
            let bytes = vec![5; CHUNK + 100];
            let key = ContentKey([9; 32]);
            let (manifest, mut sealed) = pack(&key, &bytes);
            let second = sealed[1].clone();
            prop_assert!(manifest.check(0, &second).is_err());
            sealed[0][byte] ^= 1 << bit;
            prop_assert!(manifest.check(0, &sealed[0]).is_err());
            prop_assert!(Sealer::new(&key, bytes.len() as u64).open(0, &sealed[0]).is_err());
            let mut wire = manifest.to_bytes();
            wire[place] ^= 1 << bit;
            prop_assert_eq!(Manifest::from_bytes(manifest.id(), bytes.len() as u64, &wire), Err(SealError::Manifest));
        }
    }
}
