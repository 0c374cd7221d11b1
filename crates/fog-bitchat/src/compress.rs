//! Raw DEFLATE (RFC 1951), with the rules of the apps for when to compress.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::{DeflateDecoder, ZlibDecoder};
use flate2::write::DeflateEncoder;

/// Minimum length of a payload that is compressed, in bytes.
const FROM: usize = 100;
/// Maximum ratio of the original to the compressed size; a higher one is taken for a decompression bomb.
const MAX_RATIO: usize = 50_000;

/// Whether the apps would try to compress the payload.
pub(crate) fn is_worth_trying(payload: &[u8]) -> bool {
    if payload.len() < FROM {
        return false;
    }
    let mut seen = [false; 256];
    payload.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    // distinct / min(length, 256) < 0.9
    distinct * 10 < payload.len().min(256) * 9
}

/// Compresses at zlib's default level; `None` unless the result is shorter.
pub(crate) fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(payload).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < payload.len())
}

/// Decompresses exactly `size` bytes from a complete stream, raw or in zlib format.
pub(crate) fn inflate(packed: &[u8], size: usize, limit: usize) -> Option<Vec<u8>> {
    if packed.is_empty() || size == 0 || size > limit || size / packed.len() > MAX_RATIO {
        return None;
    }
    let mut raw = DeflateDecoder::new(packed);
    read_exactly(&mut raw, size).filter(|_| raw.total_in() == packed.len() as u64).or_else(|| {
        let mut wrapped = ZlibDecoder::new(packed);
        read_exactly(&mut wrapped, size).filter(|_| wrapped.total_in() == packed.len() as u64)
    })
}

fn read_exactly(from: &mut impl std::io::Read, size: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size.min(64 << 10));
    from.take(size as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() == size).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_comes_back() {
        let text = "hello mesh, hello mesh, hello mesh. ".repeat(8).into_bytes();
        assert!(is_worth_trying(&text));
        let packed = deflate(&text).unwrap();
        assert!(packed.len() < text.len());
        assert_eq!(inflate(&packed, text.len(), 1 << 20), Some(text.clone()));
        // Wrong sizes, a size above the limit, bytes after the end, and a decompression bomb.
        assert_eq!(inflate(&packed, text.len() - 1, 1 << 20), None);
        assert_eq!(inflate(&packed, text.len() + 1, 1 << 20), None);
        assert_eq!(inflate(&packed, text.len(), 10), None);
        assert_eq!(inflate(&[packed.as_slice(), &[0]].concat(), text.len(), 1 << 20), None);
        assert_eq!(inflate(&[0x03, 0x00], 200_000, 1 << 20), None);
        assert_eq!(inflate(&[], 1, 1 << 20), None);
    }

    #[test]
    fn short_or_varied_payloads_are_left_alone() {
        assert!(!is_worth_trying(&[0; 99]));
        assert!(is_worth_trying(&[0; 100]));
        assert!(!is_worth_trying(&(0..=255).collect::<Vec<u8>>()));
    }
}
