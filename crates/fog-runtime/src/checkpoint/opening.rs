//! Reads checkpoint files, opening sealed ones piece by piece with one piece in memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::CheckpointError;
use super::writer::SEALED;
use crate::seal::{self, Key, PIECE, PREFIX, TAG};

/// Bytes of a checkpoint file, unsealed as they are read.
#[derive(Debug)]
pub struct CheckpointBytes(Kind);

#[derive(Debug)]
enum Kind {
    Open(io::Chain<io::Cursor<Vec<u8>>, BufReader<File>>),
    Sealed(Opening<BufReader<File>>),
}

impl CheckpointBytes {
    /// Opens the file at `path`, which errors call `named`.
    pub(super) fn begin(path: &Path, named: &Path, key: Option<&Key>) -> Result<Self, CheckpointError> {
        let at = |source| CheckpointError::File { path: named.to_owned(), source };
        let sealed = || CheckpointError::Sealed { path: named.to_owned() };
        let mut file = BufReader::new(crate::files::open_regular(path).map_err(at)?);
        let mut begins = Vec::new();
        file.by_ref().take(SEALED.len() as u64).read_to_end(&mut begins).map_err(at)?;
        if begins != SEALED {
            return Ok(Self(Kind::Open(io::Cursor::new(begins).chain(file))));
        }
        let mut opening = Opening::new(file, *key.ok_or_else(sealed)?);
        if opening.next().map_err(at)? { Ok(Self(Kind::Sealed(opening))) } else { Err(sealed()) }
    }

    /// Whether the bytes ended early because a part of the file is cut off or changed.
    pub(super) fn is_torn(&self) -> bool {
        matches!(&self.0, Kind::Sealed(opening) if opening.is_torn)
    }
}

impl Read for CheckpointBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Open(file) => file.read(into),
            Kind::Sealed(opening) => opening.read(into),
        }
    }
}

/// Reads the plain bytes of sealed parts; ends at the first piece that cannot be opened.
#[derive(Debug)]
struct Opening<R> {
    from: R,
    key: Key,
    /// Part that is being read.
    part: Option<Part>,
    /// Current piece, of which `taken` bytes have been read.
    piece: Vec<u8>,
    taken: usize,
    is_over: bool,
    is_torn: bool,
}

#[derive(Debug)]
struct Part {
    prefix: [u8; PREFIX],
    left: u64,
    number: u32,
}

impl<R: Read> Opening<R> {
    fn new(from: R, key: Key) -> Self {
        Self { from, key, part: None, piece: Vec::new(), taken: 0, is_over: false, is_torn: false }
    }

    /// Opens the next piece that is not empty; returns false after the last.
    fn next(&mut self) -> io::Result<bool> {
        while !self.is_over {
            self.taken = 0;
            match self.open_next()? {
                // An empty text is sealed as one empty piece.
                Some(true) if self.piece.is_empty() => {}
                Some(is_right) => {
                    self.is_torn = !is_right;
                    self.is_over = !is_right;
                }
                None => self.is_over = true,
            }
            if !self.piece.is_empty() && !self.is_over {
                return Ok(true);
            }
        }
        self.piece.clear();
        Ok(false)
    }

    /// Opens the next piece and returns whether it is valid; `None` at the end of the file.
    fn open_next(&mut self) -> io::Result<Option<bool>> {
        let mut part = match self.part.take() {
            Some(part) => part,
            None => {
                let mut begins = Vec::with_capacity(8 + PREFIX);
                self.from.by_ref().take((8 + PREFIX) as u64).read_to_end(&mut begins)?;
                if begins.is_empty() {
                    return Ok(None);
                }
                let Some((length, Ok(prefix))) =
                    begins.split_first_chunk::<8>().map(|(length, prefix)| (length, prefix.try_into()))
                else {
                    return Ok(Some(false));
                };
                Part { prefix, left: u64::from_le_bytes(*length).saturating_sub(PREFIX as u64), number: 0 }
            }
        };
        let length = part.left.min((PIECE + TAG) as u64);
        self.piece.clear();
        if self.from.by_ref().take(length).read_to_end(&mut self.piece)? as u64 != length {
            return Ok(Some(false));
        }
        part.left -= length;
        let is_right =
            seal::open_piece(&self.key, &part.prefix, part.number, part.left == 0, &mut self.piece);
        if let (true, Some(number)) = (part.left > 0, part.number.checked_add(1)) {
            self.part = Some(Part { number, ..part });
        }
        Ok(Some(is_right))
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() && !self.next()? {
            return Ok(0);
        }
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reader that records the largest read.
    struct Counting<R> {
        from: R,
        most: usize,
    }

    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.from.read(into)?;
            self.most = self.most.max(length);
            Ok(length)
        }
    }

    #[test]
    fn a_long_part_is_opened_with_one_piece_in_memory() {
        let key = seal::new_key();
        let text: Vec<u8> = (0..9 * PIECE + 5).map(|n| (n / 7) as u8).collect();
        let part = |text: &[u8]| {
            let sealed = seal::seal(&key, text).unwrap();
            [&(sealed.len() as u64).to_le_bytes()[..], &sealed].concat()
        };
        let file = [part(&text), part(b""), part(b"more")].concat();
        let mut opening = Opening::new(Counting { from: &file[..], most: 0 }, key);
        let mut found = Vec::new();
        let mut into = vec![0; 100_000];
        loop {
            let length = opening.read(&mut into).unwrap();
            if length == 0 {
                break;
            }
            found.extend_from_slice(&into[..length]);
            assert!(opening.piece.capacity() <= 2 * (PIECE + TAG), "{}", opening.piece.capacity());
        }
        assert!(found == [&text[..], b"more"].concat() && !opening.is_torn);
        assert!(opening.from.most <= PIECE + TAG);
        // When the file is cut or changed, the bytes before that piece can still be read.
        for (at, whole) in
            [(file.len() - 1, text.len()), (20 + 3 * (PIECE + TAG), 3 * PIECE), (20, 0), (9, 0)]
        {
            let mut changed = file.clone();
            changed[at] ^= 1;
            for damaged in [&changed[..], &file[..at]] {
                let mut opening = Opening::new(damaged, key);
                let mut found = Vec::new();
                opening.read_to_end(&mut found).unwrap();
                assert!(found == text[..whole] && opening.is_torn, "{at}: {}", found.len());
            }
        }
    }
}
