//! Checkpoint files: a whole checkpoint, then what changed, each part behind the last. A part that is
//! torn or changed takes those behind it along; what lies before it stands.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::format::{Chain, Generation};
use super::{Checkpoint, CheckpointError};
use crate::seal::{self, Key};

const SEALED: &[u8; 8] = b"FOGSEAL1";
/// A file is written anew when what was added is this many times the whole.
const ADDED_PART: u64 = 2;
/// Additions below this size are never a reason.
const SMALL: u64 = 1 << 20;
/// Most additions to one file.
const MOST_ADDED: u32 = 200;

/// Writes the checkpoints of one task to one file, and the ones before a whole one to
/// `<file>.previous`.
#[derive(Debug)]
pub struct CheckpointWriter {
    path: PathBuf,
    key: Option<Key>,
    /// The file as it stands, once this writer began it.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    chain: Chain,
    whole: u64,
    length: u64,
    added: u32,
    logs: [usize; 2],
}

impl CheckpointWriter {
    /// For the file at `path`; sealed when there is a key.
    #[must_use]
    pub fn new(path: PathBuf, key: Option<Key>) -> Self {
        Self { path, key, written: None }
    }

    /// Whether the next snapshot has to be a whole one.
    #[must_use]
    pub fn wants_whole(&self) -> bool {
        self.written.as_ref().is_none_or(|written| {
            let added = written.length - written.whole;
            written.added >= MOST_ADDED || added > SMALL && added > written.whole * ADDED_PART
        })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.written.as_ref().map_or(0, |written| written.length)
    }

    /// Writes a checkpoint so that a crash at any moment leaves it or the one before. `generation`
    /// holds everything the job has written to stdout and stderr so far; of files, only those of a
    /// whole one are kept.
    ///
    /// # Errors
    /// [`CheckpointError::File`]; what was there stays, and a whole one is wanted next.
    pub fn write(&mut self, generation: &Generation, whole: bool) -> Result<(), CheckpointError> {
        let result = if whole {
            self.begin(generation)
        } else {
            match self.written.take() {
                Some(written) => self.add(written, generation),
                None => Err(io::Error::other("there is nothing to add to")),
            }
        };
        result.map_err(|source| CheckpointError::File { path: self.path.clone(), source })
    }

    fn begin(&mut self, generation: &Generation) -> io::Result<()> {
        self.written = None;
        let mut chain = Chain::default();
        let bytes = self.seal(generation.encode(&mut chain, [0, 0]), Some(SEALED))?;
        let partial = with_end(&self.path, "partial");
        let mut file = private(&partial)?;
        file.write_all(&bytes).and_then(|()| file.sync_all())?;
        drop(file);
        match std::fs::rename(&self.path, previous(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(&partial, &self.path)?;
        // The names are safe once the folder is; systems that cannot sync one need no such thing.
        if let Some(Ok(folder)) = self.path.parent().map(|folder| File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })) {
            let _ = folder.sync_all();
        }
        let length = bytes.len() as u64;
        let logs = [generation.stdout.len(), generation.stderr.len()];
        self.written = Some(Written { chain, whole: length, length, added: 0, logs });
        Ok(())
    }

    fn add(&mut self, mut written: Written, generation: &Generation) -> io::Result<()> {
        let bytes = self.seal(generation.encode(&mut written.chain, written.logs), None)?;
        let mut file = File::options().append(true).open(&self.path)?;
        if file.metadata()?.len() != written.length {
            return Err(io::Error::other("somebody else has changed it"));
        }
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            // A full disk leaves half of it; what was there stays readable either way.
            let _ = file.set_len(written.length);
            return Err(error);
        }
        written.length += bytes.len() as u64;
        written.added += 1;
        written.logs = [generation.stdout.len(), generation.stderr.len()];
        self.written = Some(written);
        Ok(())
    }

    fn seal(&self, bytes: Vec<u8>, magic: Option<&[u8]>) -> io::Result<Vec<u8>> {
        let Some(key) = &self.key else { return Ok(bytes) };
        let sealed = seal::seal(key, &bytes)?;
        let mut out = Vec::with_capacity(sealed.len() + 16);
        out.extend_from_slice(magic.unwrap_or(&[]));
        out.extend_from_slice(&(sealed.len() as u64).to_le_bytes());
        out.extend_from_slice(&sealed);
        Ok(out)
    }
}

/// Reads the newest checkpoint at `path` that is whole, or from the file before it; in those cases
/// the problem comes with it.
///
/// # Errors
/// [`CheckpointError`] of the newer file when neither can be used.
pub(super) fn read(path: &Path, key: Option<&Key>) -> Result<(Checkpoint, Option<CheckpointError>), CheckpointError> {
    match read_one(path, path, key) {
        Ok(found) => Ok(found),
        Err(error) => match read_one(&previous(path), path, key) {
            Ok((checkpoint, _)) => Ok((checkpoint, Some(error))),
            Err(_) => Err(error),
        },
    }
}

fn read_one(path: &Path, named: &Path, key: Option<&Key>) -> Result<(Checkpoint, Option<CheckpointError>), CheckpointError> {
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::File { path: named.to_owned(), source })?;
    let damaged = |problem| CheckpointError::Damaged { path: named.to_owned(), problem };
    let Some(parts) = bytes.strip_prefix(SEALED) else {
        return Checkpoint::decode(&bytes).map(|(checkpoint, problem)| (checkpoint, problem.map(damaged))).map_err(damaged);
    };
    let sealed = || CheckpointError::Sealed { path: named.to_owned() };
    let (plain, is_torn) = open(parts, key.ok_or_else(sealed)?);
    if plain.is_empty() {
        return Err(sealed());
    }
    let (checkpoint, problem) = Checkpoint::decode(&plain).map_err(damaged)?;
    Ok((checkpoint, problem.or_else(|| is_torn.then(|| "a part of it is cut off or changed".to_owned())).map(damaged)))
}

/// As many parts as can be opened, and whether something is left.
fn open(mut parts: &[u8], key: &Key) -> (Vec<u8>, bool) {
    let mut plain = Vec::new();
    while let Some((length, rest)) = parts.split_first_chunk::<8>() {
        let part = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.split_at_checked(length));
        let Some((opened, after)) = part.and_then(|(part, after)| Some((seal::open(key, part)?, after))) else { break };
        plain.extend(opened);
        parts = after;
    }
    (plain, !parts.is_empty())
}

/// Removes the checkpoint at `path` and the one before it. Missing ones are fine.
pub(super) fn remove(path: &Path) {
    for path in [path.to_owned(), previous(path), with_end(path, "partial")] {
        let _ = std::fs::remove_file(path);
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

fn previous(path: &Path) -> PathBuf {
    with_end(path, "previous")
}

/// A new file that only its owner reads.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
