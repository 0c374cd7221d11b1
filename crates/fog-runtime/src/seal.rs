//! Encryption at rest: ChaCha20-Poly1305 (RFC 8439) over pieces of 1 MiB. The nonce holds the number of the
//! piece, and the additional data whether it is the last (the STREAM construction, Hoang et al. 2015), so
//! that pieces cannot be left out, swapped or cut off.

use std::io;

use chacha20poly1305::aead::{AeadInPlace, KeyInit, OsRng, rand_core::RngCore};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

/// Key for checkpoints at rest.
pub type Key = chacha20poly1305::Key;

pub(crate) const PIECE: usize = 1 << 20;
pub(crate) const TAG: usize = 16;
pub(crate) const PREFIX: usize = 8;

/// Generates a random key.
#[must_use]
pub fn new_key() -> Key {
    ChaCha20Poly1305::generate_key(&mut OsRng)
}

fn nonce(prefix: &[u8], number: u32) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..PREFIX].copy_from_slice(prefix);
    nonce[PREFIX..].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// Seals `bytes`: a random prefix, then each piece with its tag.
#[cfg(test)]
pub(crate) fn seal(key: &Key, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    seal_into(key, bytes, &mut out)?;
    Ok(out)
}

/// Appends the sealed bytes to `out`, a buffer that can be reused.
pub(crate) fn seal_into(key: &Key, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let cipher = ChaCha20Poly1305::new(key);
    let mut prefix = [0; PREFIX];
    OsRng.fill_bytes(&mut prefix);
    out.extend_from_slice(&prefix);
    // An empty text is sealed as one empty piece.
    let count = bytes.len().div_ceil(PIECE).max(1);
    for number in 0..count {
        let piece = &bytes[number * PIECE..bytes.len().min((number + 1) * PIECE)];
        let counter = u32::try_from(number).map_err(io::Error::other)?;
        let is_last = [u8::from(number + 1 == count)];
        let start = out.len();
        out.extend_from_slice(piece);
        let tag = cipher.encrypt_in_place_detached(&nonce(&prefix, counter), &is_last, &mut out[start..]);
        out.extend_from_slice(&tag.map_err(|_| io::Error::other("the checkpoint cannot be sealed"))?);
    }
    Ok(())
}

/// Opens one sealed piece in place; returns false when the key is wrong or a byte was changed.
pub(crate) fn open_piece(
    key: &Key,
    prefix: &[u8; PREFIX],
    number: u32,
    is_last: bool,
    piece: &mut Vec<u8>,
) -> bool {
    let Some(length) = piece.len().checked_sub(TAG) else { return false };
    let (bytes, tag) = piece.split_at_mut(length);
    let tag = Tag::clone_from_slice(tag);
    let opened = ChaCha20Poly1305::new(key).decrypt_in_place_detached(
        &nonce(prefix, number),
        &[u8::from(is_last)],
        bytes,
        &tag,
    );
    piece.truncate(length);
    opened.is_ok()
}

/// Opens sealed bytes; `None` when the key is wrong or a byte was changed.
#[cfg(test)]
pub(crate) fn open(key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
    let (prefix, pieces) = sealed.split_first_chunk::<PREFIX>()?;
    let count = pieces.len().div_ceil(PIECE + TAG);
    let mut out = Vec::new();
    for (number, piece) in pieces.chunks(PIECE + TAG).enumerate() {
        let mut piece = piece.to_vec();
        if !open_piece(key, prefix, number as u32, number + 1 == count, &mut piece) {
            return None;
        }
        out.extend(piece);
    }
    (count > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cannot_be_changed_cut_or_swapped() {
        let key = new_key();
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let text: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let sealed = seal(&key, &text).unwrap();
            assert_eq!(open(&key, &sealed), Some(text.clone()), "{size}");
            assert_eq!(open(&new_key(), &sealed), None);
            assert_eq!(open(&key, &sealed[..sealed.len() - 1]), None);
            if size > PIECE {
                assert_eq!(open(&key, &sealed[..PREFIX + PIECE + TAG]), None, "a whole piece cut off");
            }
            if size == 3 * PIECE {
                let mut swapped = sealed.clone();
                let piece = PIECE + TAG;
                swapped[PREFIX..PREFIX + 2 * piece].rotate_left(piece);
                assert_eq!(open(&key, &swapped), None);
            }
        }
        assert_eq!(open(&key, &[]), None);
    }
}
