//! The bytes of a checkpoint file: parts, each with its length and checksum, and after those of one
//! generation a checksum over all so far.

use std::borrow::Cow;

use serde_json::{from_slice, to_vec};

use super::{CHECKPOINT_FORMAT, Checkpoint, CheckpointFiles, CheckpointHeader};
use crate::snapshot::Snapshot;

pub(super) const MAGIC: &[u8; 8] = b"FOGCKPT1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    End = 0,
    Header = 1,
    Stdout = 2,
    Stderr = 3,
    State = 4,
    Module = 5,
    Input = 6,
    Stdin = 7,
}

/// One checkpoint as it is written: the first of a file, or what is added to it.
#[derive(Debug, Clone)]
pub struct Generation {
    /// What it is of and how far.
    pub header: CheckpointHeader,
    /// Everything the job wrote so far.
    pub stdout: Vec<u8>,
    /// The same for standard error.
    pub stderr: Vec<u8>,
    /// The encoded [`Snapshot`], or what of it was not written before.
    pub state: Vec<u8>,
    /// The original module, its inputs in the header's order, and its standard input; none when
    /// they are kept elsewhere under their hashes.
    pub files: Option<CheckpointFiles>,
}

/// What the parts so far add up to.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(Box<blake3::Hasher>);

impl Chain {
    /// What every file begins with.
    pub(super) fn beginning() -> &'static [u8] {
        MAGIC
    }

    /// A piece of the state, as it comes.
    pub(super) fn state(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.put(out, Part::State, piece);
    }

    /// What follows the state: everything else, and the end. `files` only where they are kept; of the
    /// logs, what is new.
    pub(super) fn rest(&mut self, generation: &Generation, files: Option<&CheckpointFiles>, known_logs: [usize; 2], out: &mut Vec<u8>) {
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
    /// Reads bytes that may come from anywhere: the newest generation that is whole, and what is
    /// wrong with those behind it.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Option<String>), String> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin like one")?;
        let mut chain = blake3::Hasher::new();
        let mut found: Option<Self> = None;
        while !rest.is_empty() {
            let next = generation(&mut rest, &mut chain).and_then(|parts| match &mut found {
                None => Self::first(&parts).map(|first| found = Some(first)),
                Some(found) => found.add(&parts),
            });
            if let Err(problem) = next {
                return found.map(|found| (found, Some(problem.clone()))).ok_or(problem);
            }
        }
        found.map(|found| (found, None)).ok_or_else(|| "it is cut off".to_owned())
    }

    fn first(parts: &Parts<'_>) -> Result<Self, String> {
        let header = parts.header()?;
        let snapshot = parts.snapshot(&header)?;
        if !snapshot.is_whole() {
            return Err("its beginning is missing".to_owned());
        }
        let files = parts.one(Part::Module).map(|module| CheckpointFiles {
            module: module.to_vec(),
            inputs: parts.0.iter().filter(|(kind, _)| *kind == Part::Input as u8).map(|(_, content)| content.to_vec()).collect(),
            stdin: parts.one(Part::Stdin).map(<[u8]>::to_vec),
        });
        if let Some(files) = &files
            && !files.are_of(&header)
        {
            return Err("its files are not those of its header".to_owned());
        }
        let (stdout, stderr) = (parts.need(Part::Stdout)?.to_vec(), parts.need(Part::Stderr)?.to_vec());
        let state_bytes = parts.state()?.len() as u64;
        Ok(Self { header, stdout, stderr, snapshot, files, added: 0, state_bytes })
    }

    /// Takes over what changed; all of it or nothing.
    fn add(&mut self, parts: &Parts<'_>) -> Result<(), String> {
        let header = parts.header()?;
        let CheckpointHeader { units, memory, taken_ms, .. } = header;
        if header != (CheckpointHeader { units, memory, taken_ms, ..self.header.clone() }) {
            return Err("a part of it belongs to another task".to_owned());
        }
        let (stdout, stderr, state) = (parts.need(Part::Stdout)?, parts.need(Part::Stderr)?, parts.state()?);
        self.snapshot.advance(parts.snapshot(&header)?).map_err(|e| e.to_string())?;
        self.header = header;
        self.stdout.extend_from_slice(stdout);
        self.stderr.extend_from_slice(stderr);
        self.added += 1;
        self.state_bytes += state.len() as u64;
        Ok(())
    }
}

impl CheckpointFiles {
    fn are_of(&self, header: &CheckpointHeader) -> bool {
        let is = |bytes: &[u8], id: &str| blake3::hash(bytes).to_hex().as_str() == id;
        let inputs = self.inputs.len() == header.inputs.len() && self.inputs.iter().zip(&header.inputs).all(|(bytes, (_, id))| is(bytes, id));
        let stdin = match (&self.stdin, &header.stdin) {
            (Some(bytes), Some(id)) => is(bytes, id),
            (None, None) => true,
            _ => false,
        };
        is(&self.module, &header.module) && inputs && stdin
    }
}

/// The parts of one generation.
struct Parts<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Parts<'a> {
    fn one(&self, part: Part) -> Option<&'a [u8]> {
        self.0.iter().find(|(kind, _)| *kind == part as u8).map(|(_, content)| *content)
    }

    fn need(&self, part: Part) -> Result<&'a [u8], String> {
        self.one(part).ok_or_else(|| format!("its {part:?} is missing"))
    }

    /// The state, whose pieces are parts of their own.
    fn state(&self) -> Result<Cow<'a, [u8]>, String> {
        let mut pieces = self.0.iter().filter(|(kind, _)| *kind == Part::State as u8).map(|(_, content)| *content);
        let first = pieces.next().ok_or_else(|| format!("its {:?} is missing", Part::State))?;
        let mut all = Cow::Borrowed(first);
        pieces.for_each(|piece| all.to_mut().extend_from_slice(piece));
        Ok(all)
    }

    fn header(&self) -> Result<CheckpointHeader, String> {
        let header: CheckpointHeader = from_slice(self.need(Part::Header)?).map_err(|e| format!("its header cannot be read: {e}"))?;
        if header.format != CHECKPOINT_FORMAT {
            return Err(format!("it has format {}, this program reads {CHECKPOINT_FORMAT}", header.format));
        }
        Ok(header)
    }

    fn snapshot(&self, header: &CheckpointHeader) -> Result<Snapshot, String> {
        let snapshot = Snapshot::decode(&self.state()?).map_err(|e| e.to_string())?;
        if (snapshot.units().0, snapshot.memory_bytes()) != (header.units, header.memory) {
            return Err("its header does not tell what it holds".to_owned());
        }
        Ok(snapshot)
    }
}

/// Takes one generation off `rest`; its checksums are right.
fn generation<'a>(rest: &mut &'a [u8], chain: &mut blake3::Hasher) -> Result<Parts<'a>, String> {
    let cut = || "it is cut off".to_owned();
    let mut parts = Vec::new();
    loop {
        let (kind, after) = rest.split_first().ok_or_else(cut)?;
        if *kind == Part::End as u8 {
            let (sum, after) = after.split_first_chunk::<32>().ok_or_else(cut)?;
            if *chain.finalize().as_bytes() != *sum {
                return Err("its checksum is wrong".to_owned());
            }
            *rest = after;
            return Ok(Parts(parts));
        }
        let (length, after) = after.split_first_chunk::<8>().ok_or_else(cut)?;
        let (sum, after) = after.split_first_chunk::<32>().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let (content, after) = after.split_at_checked(length).ok_or_else(cut)?;
        if checksum(*kind, content) != *sum {
            return Err("a part of it is changed".to_owned());
        }
        chain.update(sum);
        parts.push((*kind, content));
        *rest = after;
    }
}
