//! Bytes of a file in memory, in pieces: parts that were never written take no memory, and parts that are
//! cut off free theirs.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Size of a piece, bytes.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Content of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    len: u64,
    /// Pieces in order; `None` is a piece of zeros, and missing bytes at the end of a piece are zeros too.
    pieces: Vec<Option<Piece>>,
}

/// Piece of a file, shared by all names of the file in a result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece(Arc<Vec<u8>>);

impl Piece {
    /// Frees the memory behind its end.
    ///
    /// The bytes move to a new allocation. Shrinking in place would leave a gap that no whole piece fits
    /// into, and a job that keeps one byte of every piece could fill all memory with such gaps.
    fn give_back(&mut self) {
        let (old, room) = (&self.0, rounded(self.0.len()));
        let mut bytes = Vec::new();
        if old.capacity() > room && bytes.try_reserve_exact(room).is_ok() {
            bytes.extend_from_slice(old);
            self.0 = Arc::new(bytes);
        }
    }
}

/// Memory could not be allocated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether its pieces lie within its length, for content from an untrusted checkpoint.
    pub(super) fn is_sound(&self) -> bool {
        let lies_within = |(number, piece): (usize, &Option<Piece>)| {
            let room = self.len.saturating_sub(number as u64 * PIECE_BYTES as u64).min(PIECE_BYTES as u64);
            piece.as_ref().is_none_or(|piece| piece.0.len() as u64 <= room)
        };
        self.pieces.len() as u64 == self.len.div_ceil(PIECE_BYTES as u64)
            && self.pieces.iter().enumerate().all(lies_within)
    }

    /// Bytes of memory used.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        self.pieces.capacity() * size_of::<Option<Piece>>()
            + self.pieces.iter().flatten().map(|piece| piece.0.capacity()).sum::<usize>()
    }

    /// Copies bytes from position `at` into `buffer`; returns how many were copied.
    pub(crate) fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let count = buffer.len().min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < count {
            let (number, offset) = place(at + done as u64);
            let target = &mut buffer[done..count.min(done + PIECE_BYTES - offset)];
            done += target.len();
            let bytes = self
                .pieces
                .get(number)
                .and_then(Option::as_ref)
                .and_then(|piece| piece.0.get(offset..))
                .unwrap_or_default();
            let there = bytes.len().min(target.len());
            target[..there].copy_from_slice(&bytes[..there]);
            target[there..].fill(0);
        }
        count
    }

    /// Overwrites bytes within the file; returns how many bytes before them were filled with zeros.
    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> Result<usize, NoMemory> {
        let (mut done, mut zeros) = (0, 0);
        while done < bytes.len() {
            let (number, offset) = place(at + done as u64);
            let part = &bytes[done..bytes.len().min(done + PIECE_BYTES - offset)];
            let Some(piece) = self.pieces.get_mut(number) else { return Err(NoMemory) };
            let piece = Arc::make_mut(&mut piece.get_or_insert_with(|| Piece(Arc::default())).0);
            let (old, end) = (piece.len(), offset + part.len());
            if end > old {
                if end > piece.capacity() {
                    piece.try_reserve_exact(rounded(end) - old).map_err(|_| NoMemory)?;
                }
                zeros += offset.saturating_sub(old);
                piece.resize(end, 0);
            }
            piece[offset..end].copy_from_slice(part);
            done += part.len();
        }
        Ok(zeros)
    }

    /// Shortens the file or extends it with zeros; returns by how many pieces it changed.
    pub(super) fn set_len(&mut self, len: u64) -> Result<usize, NoMemory> {
        let count = usize::try_from(len.div_ceil(PIECE_BYTES as u64)).map_err(|_| NoMemory)?;
        let before = self.pieces.len();
        if count > before {
            self.pieces.try_reserve(count - before).map_err(|_| NoMemory)?;
            self.pieces.resize(count, None);
        } else if len < self.len {
            self.pieces.truncate(count);
            if self.pieces.capacity() > 2 * count {
                self.pieces.shrink_to_fit();
            }
            let (_, end) = place(len);
            if let (Some(Some(piece)), true) = (self.pieces.last_mut(), end > 0) {
                Arc::make_mut(&mut piece.0).truncate(end);
                piece.give_back();
            }
        }
        self.len = len;
        Ok(count.abs_diff(before))
    }

    /// Returns all bytes of the file.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        assert_eq!(self.read(&mut bytes, 0), bytes.len());
        bytes
    }
}

fn place(at: u64) -> (usize, usize) {
    (usize::try_from(at / PIECE_BYTES as u64).unwrap_or(usize::MAX), (at % PIECE_BYTES as u64) as usize)
}

/// Capacity for a piece of this length: at most an eighth more, so that appending does not copy each time.
fn rounded(len: usize) -> usize {
    len.next_multiple_of((len / 16).next_power_of_two().clamp(64, 4096)).min(PIECE_BYTES)
}

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(PieceVisitor)
    }
}

struct PieceVisitor;

impl<'de> Visitor<'de> for PieceVisitor {
    type Value = Piece;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes of a file")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Piece, E> {
        Ok(Piece(Arc::new(bytes.to_vec())))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Piece, E> {
        Ok(Piece(Arc::new(bytes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Piece, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Piece(Arc::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_gives_its_memory_back_and_comes_back_as_zeros() {
        let mut content = Content::default();
        for _ in 0..3 {
            content.set_len(10 << 20).unwrap();
            for at in (0..10_u64 << 20).step_by(1 << 16) {
                content.write(&[7; 1 << 16], at).unwrap();
            }
            assert!(content.resident() >= 10 << 20);
            content.set_len(100).unwrap();
            assert!(content.resident() < 1 << 10, "{}", content.resident());
            content.set_len(1 << 20).unwrap();
            let mut bytes = vec![1; 1 << 20];
            assert_eq!(content.read(&mut bytes, 0), 1 << 20);
            assert!(bytes[..100].iter().all(|byte| *byte == 7) && bytes[100..].iter().all(|byte| *byte == 0));
            content.set_len(0).unwrap();
            assert!(content.resident() < 64, "{}", content.resident());
        }
    }

    #[test]
    fn holes_take_no_memory() {
        let mut content = Content::default();
        content.set_len(1 << 30).unwrap();
        content.write(b"end", (1 << 30) - 3).unwrap();
        assert!(content.resident() < 1 << 20, "{}", content.resident());
        assert!(content.is_sound());
        let (mut begin, mut end) = ([1; 8], [1; 8]);
        assert_eq!(content.read(&mut begin, 0), 8);
        assert_eq!(content.read(&mut end, (1 << 30) - 5), 5);
        assert_eq!((begin, &end), ([0; 8], b"\0\0end\x01\x01\x01"));
    }

    #[test]
    fn appending_byte_by_byte_wastes_an_eighth_at_most() {
        let mut content = Content::default();
        for at in 0..200_000_u64 {
            content.set_len(at + 1).unwrap();
            content.write(&[at as u8], at).unwrap();
            assert!(content.resident() as u64 <= at + at / 8 + 200, "{} for {at}", content.resident());
        }
        assert!(content.bytes().iter().enumerate().all(|(at, byte)| *byte == at as u8));
    }
}
