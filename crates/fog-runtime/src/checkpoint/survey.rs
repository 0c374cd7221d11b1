//! The header and the output of a checkpoint, read without its state.

use std::io::Read;

use super::CheckpointHeader;
use super::format::{MAGIC, Part, each_part, missing, parse_header};

/// Bytes of a part that are in memory at once.
const PIECE: usize = 64 << 10;
/// Largest header that is read: names, arguments and variables of a task.
const MOST_HEADER: u64 = 16 << 20;

/// The newest whole generation of a checkpoint by its header and its output. Its state was not looked into.
#[derive(Debug, Clone)]
pub struct CheckpointSurvey {
    /// Of what it is and how far.
    pub header: CheckpointHeader,
    /// BLAKE3 of everything the job wrote to its standard output so far.
    pub stdout: blake3::Hash,
}

impl CheckpointSurvey {
    /// Reads bytes that may come from anywhere, to their end, with a piece of them in memory. Every checksum is looked at.
    ///
    /// # Errors
    /// When they hold no whole generation; the words say what is wrong.
    pub fn read(mut from: impl Read) -> Result<Self, String> {
        let mut begins = [0; MAGIC.len()];
        if from.read_exact(&mut begins).is_err() || begins != *MAGIC {
            return Err("it does not begin like one".to_owned());
        }
        let (mut chain, mut stdout) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut found: Option<Self> = None;
        loop {
            let next = match generation(&mut from, &mut chain, &mut stdout) {
                Ok(None) => return found.ok_or_else(|| "it is cut off".to_owned()),
                Ok(Some(header)) => follows(found.as_ref(), &header).map(|()| header),
                Err(problem) => Err(problem),
            };
            match next {
                Ok(header) => found = Some(Self { header, stdout: stdout.finalize() }),
                Err(problem) => return found.ok_or(problem),
            }
        }
    }
}

fn follows(before: Option<&CheckpointSurvey>, header: &CheckpointHeader) -> Result<(), String> {
    let CheckpointHeader { units, memory, taken_ms, .. } = *header;
    let is_same = before.is_none_or(|before| *header == CheckpointHeader { units, memory, taken_ms, ..before.header.clone() });
    if is_same { Ok(()) } else { Err("a part of it belongs to another task".to_owned()) }
}

/// Takes one generation off `from`; none where that ends.
fn generation(from: &mut dyn Read, chain: &mut blake3::Hasher, stdout: &mut blake3::Hasher) -> Result<Option<CheckpointHeader>, String> {
    let mut header = None;
    let needed = [Part::State, Part::Stdout, Part::Stderr];
    let mut has = [false; 3];
    let is_whole = each_part(from, chain, |from, kind, length, sum| {
        // Of each kind the first one counts.
        let is_header = kind == Part::Header as u8 && header.is_none();
        let is_stdout = kind == Part::Stdout as u8 && !has[1];
        if is_header && length > MOST_HEADER {
            return Err("its header is too long".to_owned());
        }
        let mut kept = Vec::new();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        pieces(from, length, |piece| {
            hasher.update(piece);
            if is_stdout {
                stdout.update(piece);
            }
            if is_header {
                kept.extend_from_slice(piece);
            }
        })?;
        if *hasher.finalize().as_bytes() != *sum {
            return Err("a part of it is changed".to_owned());
        }
        for (has, part) in has.iter_mut().zip(needed) {
            *has |= kind == part as u8;
        }
        if is_header {
            header = Some(parse_header(&kept)?);
        }
        Ok(())
    })?;
    if !is_whole {
        return Ok(None);
    }
    match has.into_iter().zip(needed).find(|(has, _)| !has) {
        Some((_, part)) => Err(missing(part)),
        None => header.ok_or_else(|| missing(Part::Header)).map(Some),
    }
}

/// Takes so many bytes off `from`, piece by piece.
fn pieces(from: &mut dyn Read, mut length: u64, mut take: impl FnMut(&[u8])) -> Result<(), String> {
    let mut buffer = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    while length > 0 {
        let most = buffer.len().min(usize::try_from(length).unwrap_or(PIECE));
        let piece = buffer.get_mut(..most).unwrap_or_default();
        from.read_exact(piece).map_err(|_| "it is cut off".to_owned())?;
        take(piece);
        length -= most as u64;
    }
    Ok(())
}
