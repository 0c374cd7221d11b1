//! Bytes of a checkpoint file: parts, each with its length and checksum, and after the parts of each
//! generation a checksum over all parts so far.

use std::io::Read;

use serde_json::{from_slice, to_vec};

use super::{CHECKPOINT_FORMAT, Checkpoint, CheckpointFiles, CheckpointHeader};
use crate::snapshot::Snapshot;

pub(super) const MAGIC: &[u8; 8] = b"FOGCKPT1";
pub(super) const NO_BEGINNING: &str = "its beginning is missing";
pub(super) const ANOTHER_TASK: &str = "a part of it belongs to another task";
pub(super) const APART: &str = "its state lies apart";
pub(super) const CUT_OFF: &str = "it is cut off";
pub(super) const CHANGED: &str = "a part of it is changed";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    End = 0,
    Header = 1,
    Stdout = 2,
    Stderr = 3,
    State = 4,
    Module = 5,
    Input = 6,
    Stdin = 7,
}

/// One checkpoint as it is written: the first of a file, or an addition to it.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Task and progress.
    pub header: CheckpointHeader,
    /// Standard output so far.
    pub stdout: Vec<u8>,
    /// Standard error so far.
    pub stderr: Vec<u8>,
    /// Encoded [`Snapshot`], whole or with the changes since the last one.
    pub state: Vec<u8>,
    /// Original module, inputs in the order of the header, and standard input; `None` when they are stored
    /// elsewhere under their hashes.
    pub files: Option<CheckpointFiles>,
}

/// Running checksum over all parts so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(Box<blake3::Hasher>);

impl Chain {
    /// Bytes at the beginning of every file.
    pub(super) fn beginning() -> &'static [u8] {
        MAGIC
    }

    /// Appends a piece of the state to `out`.
    pub(super) fn state(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.put(out, Part::State, piece);
    }

    /// Appends the parts after the state, and the end mark, to `out`. `files` only if the file contains
    /// them; of the logs, only the new bytes.
    pub(super) fn rest(
        &mut self,
        generation: &Generation,
        files: Option<&CheckpointFiles>,
        known_logs: [usize; 2],
        out: &mut Vec<u8>,
    ) {
        self.put(out, Part::Header, &to_vec(&generation.header).unwrap_or_default());
        if let Some(files) = files {
            self.put(out, Part::Module, &files.module);
            files.inputs.iter().for_each(|input| self.put(out, Part::Input, input));
            files.stdin.iter().for_each(|stdin| self.put(out, Part::Stdin, stdin));
        }
        self.put(out, Part::Stdout, generation.stdout.get(known_logs[0]..).unwrap_or_default());
        self.put(out, Part::Stderr, generation.stderr.get(known_logs[1]..).unwrap_or_default());
        out.push(Part::End as u8);
        out.extend_from_slice(self.0.finalize().as_bytes());
    }

    fn put(&mut self, out: &mut Vec<u8>, part: Part, bytes: &[u8]) {
        let sum = checksum(part as u8, bytes);
        self.0.update(sum.as_bytes());
        out.push(part as u8);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(sum.as_bytes());
        out.extend_from_slice(bytes);
    }
}

fn checksum(kind: u8, bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(bytes);
    hasher.finalize()
}

impl Checkpoint {
    /// Decodes bytes like [`Self::decode_from`].
    pub(super) fn decode(mut bytes: &[u8]) -> Result<(Self, Option<String>), String> {
        Self::decode_from(&mut bytes)
    }

    /// Reads untrusted bytes: returns the newest whole generation and the problem of the one behind it.
    /// Only one more generation is in memory at a time.
    pub(super) fn decode_from(from: &mut dyn Read) -> Result<(Self, Option<String>), String> {
        let mut begins = [0; MAGIC.len()];
        if from.read_exact(&mut begins).is_err() || begins != *MAGIC {
            return Err("it does not begin like one".to_owned());
        }
        let mut chain = blake3::Hasher::new();
        let mut found: Option<Self> = None;
        loop {
            let next = match (Parts::read(from, &mut chain), &mut found) {
                (Ok(None), _) => return found.map(|found| (found, None)).ok_or_else(|| CUT_OFF.to_owned()),
                (Ok(Some(parts)), None) => Self::first(parts).map(|first| found = Some(first)),
                (Ok(Some(parts)), Some(found)) => found.add(parts),
                (Err(problem), _) => Err(problem),
            };
            if let Err(problem) = next {
                return found.map(|found| (found, Some(problem.clone()))).ok_or(problem);
            }
        }
    }

    fn first(mut parts: Parts) -> Result<Self, String> {
        let header = parts.header()?;
        let (snapshot, state_bytes) = parts.snapshot(&header)?;
        if !snapshot.is_whole() {
            return Err(NO_BEGINNING.to_owned());
        }
        let files = parts.module.take().map(|module| CheckpointFiles {
            module,
            inputs: std::mem::take(&mut parts.inputs),
            stdin: parts.stdin.take(),
        });
        if let Some(files) = &files
            && !files.are_of(&header)
        {
            return Err("its files are not those of its header".to_owned());
        }
        let (stdout, stderr) = parts.logs()?;
        Ok(Self { header, stdout, stderr, snapshot, files, added: 0, state_bytes })
    }

    /// Applies an addition, completely or not at all.
    fn add(&mut self, mut parts: Parts) -> Result<(), String> {
        let header = parts.header()?;
        if !header.is_of_run(&self.header) {
            return Err(ANOTHER_TASK.to_owned());
        }
        let (stdout, stderr) = parts.logs()?;
        let (snapshot, state_bytes) = parts.snapshot(&header)?;
        self.snapshot.advance(snapshot).map_err(|e| e.to_string())?;
        self.header = header;
        self.stdout.extend_from_slice(&stdout);
        self.stderr.extend_from_slice(&stderr);
        self.added += 1;
        self.state_bytes += state_bytes;
        Ok(())
    }
}

impl CheckpointFiles {
    fn are_of(&self, header: &CheckpointHeader) -> bool {
        let is = |bytes: &[u8], id: &str| blake3::hash(bytes).to_hex().as_str() == id;
        let inputs = self.inputs.len() == header.inputs.len()
            && self.inputs.iter().zip(&header.inputs).all(|(bytes, (_, id))| is(bytes, id));
        let stdin = match (&self.stdin, &header.stdin) {
            (Some(bytes), Some(id)) => is(bytes, id),
            (None, None) => true,
            _ => false,
        };
        is(&self.module, &header.module) && inputs && stdin
    }
}

/// Parts of one generation, the first of each kind.
#[derive(Default)]
struct Parts {
    header: Option<Vec<u8>>,
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
    /// State, put together from its pieces, which are separate parts.
    state: Option<Vec<u8>>,
    module: Option<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    stdin: Option<Vec<u8>>,
    last_kind: u8,
}

impl Parts {
    /// Reads one generation with valid checksums from `from`; `None` at the end.
    fn read(from: &mut dyn Read, chain: &mut blake3::Hasher) -> Result<Option<Self>, String> {
        let mut parts = Self::default();
        Ok(each_part(from, chain, |from, kind, length, sum| parts.add(kind, length, sum, from))?
            .then_some(parts))
    }

    fn add(&mut self, kind: u8, length: u64, sum: &[u8; 32], from: &mut dyn Read) -> Result<(), String> {
        if kind == Part::State as u8 && self.state.is_some() && self.last_kind != kind {
            return Err(APART.to_owned());
        }
        self.last_kind = kind;
        // Pieces of the state are appended to the earlier ones.
        let mut bytes =
            if kind == Part::State as u8 { self.state.take().unwrap_or_default() } else { Vec::new() };
        let begins = bytes.len();
        // Allocates only as bytes arrive, whatever the length says.
        from.take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        let content = bytes.get(begins..).unwrap_or_default();
        if content.len() as u64 != length {
            return Err(CUT_OFF.to_owned());
        }
        if *checksum(kind, content).as_bytes() != *sum {
            return Err(CHANGED.to_owned());
        }
        let place = match kind {
            kind if kind == Part::Header as u8 => &mut self.header,
            kind if kind == Part::Stdout as u8 => &mut self.stdout,
            kind if kind == Part::Stderr as u8 => &mut self.stderr,
            kind if kind == Part::State as u8 => &mut self.state,
            kind if kind == Part::Module as u8 => &mut self.module,
            kind if kind == Part::Stdin as u8 => &mut self.stdin,
            kind if kind == Part::Input as u8 => {
                self.inputs.push(bytes);
                return Ok(());
            }
            _ => return Ok(()),
        };
        place.get_or_insert(bytes);
        Ok(())
    }

    fn logs(&mut self) -> Result<(Vec<u8>, Vec<u8>), String> {
        let need = |log: &mut Option<Vec<u8>>, part| log.take().ok_or_else(|| missing(part));
        Ok((need(&mut self.stdout, Part::Stdout)?, need(&mut self.stderr, Part::Stderr)?))
    }

    fn header(&self) -> Result<CheckpointHeader, String> {
        let bytes = self.header.as_deref().ok_or_else(|| missing(Part::Header))?;
        parse_header(bytes)
    }

    /// Takes the state and returns it with its number of bytes.
    fn snapshot(&mut self, header: &CheckpointHeader) -> Result<(Snapshot, u64), String> {
        let bytes = self.state.take().ok_or_else(|| missing(Part::State))?;
        let snapshot = Snapshot::decode(&bytes).map_err(|e| e.to_string())?;
        check_told(header, &snapshot)?;
        Ok((snapshot, bytes.len() as u64))
    }
}

/// Checks that the header matches the state.
pub(super) fn check_told(header: &CheckpointHeader, snapshot: &Snapshot) -> Result<(), String> {
    if (snapshot.units().0, snapshot.memory_bytes()) == (header.units, header.memory) {
        Ok(())
    } else {
        Err("its header does not tell what it holds".to_owned())
    }
}

/// Reads the parts of one generation. `take` reads each part from `from`, given its kind, length in bytes
/// and checksum, and compares the checksum. Returns false at the end of `from`.
fn each_part(
    from: &mut dyn Read,
    chain: &mut blake3::Hasher,
    mut take: impl FnMut(&mut dyn Read, u8, u64, &[u8; 32]) -> Result<(), String>,
) -> Result<bool, String> {
    let mut is_first = true;
    loop {
        match next_part(from, chain, is_first)? {
            Next::Part(Head { kind, length, sum }) => take(from, kind, length, &sum)?,
            Next::End => return Ok(true),
            Next::Nothing => return Ok(false),
        }
        is_first = false;
    }
}

/// Bytes before the content of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: u8,
    /// Number of bytes of content that follow.
    pub(super) length: u64,
    /// Checksum of kind and content, which the reader must compare.
    pub(super) sum: [u8; 32],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    Part(Head),
    /// End of a generation, whose checksum is right.
    End,
    /// No more generations.
    Nothing,
}

/// Reads the head of the next part; at the first part of a generation, the input may also end.
pub(super) fn next_part(
    from: &mut dyn Read,
    chain: &mut blake3::Hasher,
    is_first: bool,
) -> Result<Next, String> {
    let cut = |_| CUT_OFF.to_owned();
    let mut kind = [0];
    match from.read_exact(&mut kind) {
        Err(_) if is_first => return Ok(Next::Nothing),
        read => read.map_err(cut)?,
    }
    let (kind, mut length, mut sum) = (kind[0], [0; 8], [0; 32]);
    if kind == Part::End as u8 {
        from.read_exact(&mut sum).map_err(cut)?;
        return if *chain.finalize().as_bytes() == sum {
            Ok(Next::End)
        } else {
            Err("its checksum is wrong".to_owned())
        };
    }
    from.read_exact(&mut length).map_err(cut)?;
    from.read_exact(&mut sum).map_err(cut)?;
    // The reader stops when the content of a part does not match its checksum.
    chain.update(&sum);
    Ok(Next::Part(Head { kind, length: u64::from_le_bytes(length), sum }))
}

pub(super) fn parse_header(bytes: &[u8]) -> Result<CheckpointHeader, String> {
    let header: CheckpointHeader =
        from_slice(bytes).map_err(|e| format!("its header cannot be read: {e}"))?;
    if header.format != CHECKPOINT_FORMAT {
        return Err(format!("it has format {}, this program reads {CHECKPOINT_FORMAT}", header.format));
    }
    Ok(header)
}

pub(super) fn missing(part: Part) -> String {
    format!("its {part:?} is missing")
}
