//! Checks a checkpoint from beginning to end with only a piece of it in memory.

use std::io::{self, Read};

use super::CheckpointHeader;
use super::format::{
    ANOTHER_TASK, APART, CHANGED, CUT_OFF, Head, MAGIC, NO_BEGINNING, Next, Part, check_told, missing,
    next_part, parse_header,
};
use crate::snapshot::Snapshot;

/// Largest number of bytes of a part in memory at once.
const PIECE: usize = 64 << 10;
/// Largest header that is read, bytes: names, arguments and variables of a task.
const MOST_HEADER: u64 = 4 << 20;

/// Header and output hash of the newest whole generation of a checkpoint. Its state was read: it has the
/// form of a state and matches the header. Its memory was not expanded, and whether the task really reaches
/// this state was not checked.
#[derive(Debug, Clone)]
pub struct CheckpointSurvey {
    /// Task and progress.
    pub header: CheckpointHeader,
    /// BLAKE3 of standard output so far.
    pub stdout: blake3::Hash,
    /// State without the contents of memory.
    pub(super) outline: Snapshot,
}

impl CheckpointSurvey {
    /// Reads untrusted bytes to their end and checks every checksum.
    ///
    /// # Errors
    /// A description of the problem when the bytes hold no whole generation.
    pub fn read(mut from: impl Read) -> Result<Self, String> {
        let mut begins = [0; MAGIC.len()];
        if from.read_exact(&mut begins).is_err() || begins != *MAGIC {
            return Err("it does not begin like one".to_owned());
        }
        let (mut chain, mut stdout) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut found: Option<Self> = None;
        loop {
            let next = match generation(&mut from, &mut chain, &mut stdout) {
                Ok(None) => return found.ok_or_else(|| CUT_OFF.to_owned()),
                Ok(Some((header, outline))) => {
                    follows(found.as_ref(), &header, &outline).map(|()| (header, outline))
                }
                Err(problem) => Err(problem),
            };
            match next {
                Ok((header, outline)) => found = Some(Self { header, stdout: stdout.finalize(), outline }),
                Err(problem) => return found.ok_or(problem),
            }
        }
    }
}

fn follows(
    before: Option<&CheckpointSurvey>,
    header: &CheckpointHeader,
    outline: &Snapshot,
) -> Result<(), String> {
    let Some(before) = before else {
        return if outline.is_whole() { Ok(()) } else { Err(NO_BEGINNING.to_owned()) };
    };
    if !header.is_of_run(&before.header) {
        return Err(ANOTHER_TASK.to_owned());
    }
    if outline.follows(&before.outline) {
        Ok(())
    } else {
        Err("a part of it does not follow the one before".to_owned())
    }
}

/// Reads one generation from `from`; `None` at the end.
fn generation(
    from: &mut dyn Read,
    chain: &mut blake3::Hasher,
    stdout: &mut blake3::Hasher,
) -> Result<Option<(CheckpointHeader, Snapshot)>, String> {
    let (mut header, mut outline): (Option<CheckpointHeader>, Option<Snapshot>) = (None, None);
    let [mut has_stdout, mut has_stderr] = [false; 2];
    let mut next = next_part(from, chain, true)?;
    loop {
        let head = match next {
            Next::Part(head) => head,
            Next::End => break,
            Next::Nothing => return Ok(None),
        };
        let is = |part: Part| head.kind == part as u8;
        if is(Part::State) && outline.is_none() {
            let mut state = State {
                from: &mut *from,
                chain: &mut *chain,
                piece: Pieces::new(head),
                taken: 0,
                behind: None,
            };
            let found = Snapshot::outline_from(&mut state);
            // A problem with the bytes says more than the error of decoding them.
            let behind = state.behind.transpose()?;
            outline = Some(found.map_err(|e| e.to_string())?);
            next = behind.ok_or_else(|| CUT_OFF.to_owned())?;
            continue;
        }
        if is(Part::State) {
            return Err(APART.to_owned());
        }
        // Only the first part of each kind counts.
        let (is_header, is_stdout) = (is(Part::Header) && header.is_none(), is(Part::Stdout) && !has_stdout);
        if is_header && head.length > MOST_HEADER {
            return Err("its header is too long".to_owned());
        }
        let mut kept = Vec::new();
        let mut pieces = Pieces::new(head);
        while pieces.fill(from)? {
            if is_stdout {
                stdout.update(&pieces.bytes);
            }
            if is_header {
                kept.extend_from_slice(&pieces.bytes);
            }
        }
        if is_header {
            header = Some(parse_header(&kept)?);
        }
        has_stdout |= is_stdout;
        has_stderr |= is(Part::Stderr);
        next = next_part(from, chain, false)?;
    }
    let outline = outline.ok_or_else(|| missing(Part::State))?;
    for (has, part) in [(has_stdout, Part::Stdout), (has_stderr, Part::Stderr)] {
        if !has {
            return Err(missing(part));
        }
    }
    let header = header.ok_or_else(|| missing(Part::Header))?;
    check_told(&header, &outline)?;
    Ok(Some((header, outline)))
}

/// Reader of the content of a part, piece by piece.
struct Pieces {
    left: u64,
    sum: [u8; 32],
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
}

impl Pieces {
    fn new(head: Head) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[head.kind]);
        Self { left: head.length, sum: head.sum, hasher, bytes: Vec::new() }
    }

    /// Reads the next piece from `from`; returns false after the last if the checksum matches.
    fn fill(&mut self, from: &mut dyn Read) -> Result<bool, String> {
        self.bytes.clear();
        if self.left == 0 {
            return if *self.hasher.finalize().as_bytes() == self.sum {
                Ok(false)
            } else {
                Err(CHANGED.to_owned())
            };
        }
        let most = self.left.min(PIECE as u64);
        from.take(most).read_to_end(&mut self.bytes).map_err(|e| e.to_string())?;
        if self.bytes.len() as u64 != most {
            return Err(CUT_OFF.to_owned());
        }
        self.hasher.update(&self.bytes);
        self.left -= most;
        Ok(true)
    }
}

/// Reader of the bytes of a state, whose pieces are separate parts.
struct State<'a> {
    from: &'a mut dyn Read,
    chain: &'a mut blake3::Hasher,
    piece: Pieces,
    /// Number of bytes of the current piece that were read.
    taken: usize,
    /// Head of the part after the state, or the problem with a part of the state.
    behind: Option<Result<Next, String>>,
}

impl State<'_> {
    /// Reads the next piece; returns whether there is one.
    fn advance(&mut self) -> Result<bool, String> {
        loop {
            if self.piece.fill(self.from)? {
                return Ok(true);
            }
            match next_part(self.from, self.chain, false)? {
                Next::Part(head) if head.kind == Part::State as u8 => self.piece = Pieces::new(head),
                behind => {
                    self.behind = Some(Ok(behind));
                    return Ok(false);
                }
            }
        }
    }
}

impl Read for State<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.bytes.len() {
            self.taken = 0;
            if self.behind.is_some() {
                return Ok(0);
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(problem) => {
                    self.behind = Some(Err(problem));
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        let rest = self.piece.bytes.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}
