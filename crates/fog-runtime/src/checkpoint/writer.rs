//! Writes checkpoint files: a whole checkpoint, then additions with the changes. A part that is torn or
//! changed makes all parts after it unusable, but not those before it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::{Chain, Generation, MAGIC};
use super::{Checkpoint, CheckpointBytes, CheckpointError};
use crate::seal::{self, Key};

/// Size of the pieces into which the state is divided, bytes.
const PIECE: usize = 1 << 20;
pub(super) const SEALED: &[u8; 8] = b"FOGSEAL1";
/// Ratio of additions to the whole checkpoint above which a new file is written, with one more addition of
/// the size of the last.
const ADDED_PART: u64 = 1;
/// Size up to which additions never cause a new file, bytes.
const SMALL: u64 = 1 << 20;
/// Largest number of additions to one file.
const MOST_ADDED: u32 = 200;

/// Writes the checkpoints of one task to one file. Before a new whole checkpoint, the old file becomes
/// `<file>.previous`.
#[derive(Debug)]
pub struct CheckpointWriter {
    path: PathBuf,
    key: Option<Key>,
    /// State of the file, once this writer has begun it.
    written: Option<Written>,
    open: Option<Open>,
    /// Reused for every part, because fresh memory costs a page fault for every 4 KiB.
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

#[derive(Debug)]
struct Written {
    chain: Chain,
    whole: u64,
    length: u64,
    added: u32,
    /// Size of the last addition.
    last: u64,
    logs: [usize; 2],
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    chain: Chain,
    /// File that it is added to; `None` for a whole checkpoint, which goes to a new file.
    base: Option<Written>,
    bytes: u64,
}

pub(super) fn is_checkpoint(path: &Path) -> bool {
    let mut begins = [0; 8];
    crate::files::open_regular(path).and_then(|mut file| file.read_exact(&mut begins)).is_ok()
        && [MAGIC, SEALED].contains(&&begins)
}

/// Whether a file may be replaced: it is a checkpoint, or the beginning of one that a crash left.
fn looks_ours(path: &Path) -> bool {
    let mut begins = Vec::new();
    let read = crate::files::open_regular(path).and_then(|file| file.take(8).read_to_end(&mut begins));
    read.is_ok() && [MAGIC, SEALED].iter().any(|magic| magic.starts_with(&begins))
}

impl CheckpointWriter {
    /// Creates a writer for the file at `path`; with a key, checkpoints are sealed.
    #[must_use]
    pub fn new(path: PathBuf, key: Option<Key>) -> Self {
        Self { path, key, written: None, open: None, plain: Vec::new(), sealed: Vec::new() }
    }

    /// Checks whether a checkpoint can be written: whether the names `<file>`, `<file>.previous` and
    /// `<file>.partial` are free or hold checkpoints, and whether a file can be created there.
    ///
    /// # Errors
    /// [`CheckpointError::File`] when another file has one of the names or the folder takes no file.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let partial = with_end(&self.path, "partial");
        let begin = || {
            private(&partial).and_then(|file| {
                drop(file);
                std::fs::remove_file(&partial)
            })
        };
        self.check_beside().and_then(|()| begin()).map_err(|source| self.problem(source))
    }

    pub(crate) fn check_beside(&self) -> io::Result<()> {
        // Sealed checkpoints are in a folder of their own, where a damaged file must not stop new ones.
        if self.key.is_some() {
            return Ok(());
        }
        let names = [
            (self.path.clone(), "it would be replaced by one"),
            (previous(&self.path), "the checkpoint before the newest is kept there"),
            (with_end(&self.path, "partial"), "a checkpoint is written there first"),
        ];
        for (path, why) in names {
            // Links and pipes are not read here; writing refuses them.
            let is_foreign = std::fs::symlink_metadata(&path)
                .is_ok_and(|about| about.is_dir() || about.is_file() && !looks_ours(&path));
            if is_foreign {
                let what = format!(
                    "{} is no checkpoint, and {why}; move it away, or choose another name",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
        }
        Ok(())
    }

    /// Continues at another path, after the file was moved there.
    pub fn moved_to(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Whether the next snapshot must be a whole one.
    #[must_use]
    pub fn wants_whole(&self) -> bool {
        self.written.as_ref().is_none_or(|written| {
            let added = written.length - written.whole;
            written.added >= MOST_ADDED || added > SMALL && added + written.last > written.whole * ADDED_PART
        })
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.written.as_ref().map_or(0, |written| written.length)
    }

    /// Writes a checkpoint so that a crash at any time leaves it or the one before. `generation` holds all
    /// output so far; its files are written only with a whole checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::File`]; the earlier checkpoints stay, and the next one must be whole.
    pub fn write(&mut self, generation: &Generation, whole: bool) -> Result<(), CheckpointError> {
        self.start(whole)?;
        self.finish(generation)
    }

    /// Begins a checkpoint whose state comes in pieces: [`piece`](Self::piece) takes each of them,
    /// [`finish`](Self::finish) the rest. Until then the earlier checkpoints stay.
    ///
    /// # Errors
    /// The same as for [`write`](Self::write).
    pub fn start(&mut self, whole: bool) -> Result<(), CheckpointError> {
        self.abandon();
        let opened = if whole { self.begin() } else { self.append() };
        self.open = Some(opened.map_err(|source| self.problem(source))?);
        Ok(())
    }

    /// Writes the next piece of the state.
    ///
    /// # Errors
    /// The same as for [`write`](Self::write); the checkpoint is abandoned then.
    pub fn piece(&mut self, state: &[u8]) -> Result<(), CheckpointError> {
        let written = self.put(|chain, out| chain.state(state, out));
        written.map_err(|source| {
            self.abandon();
            self.problem(source)
        })
    }

    /// Writes the rest of the state and all other parts, and makes the checkpoint durable.
    ///
    /// # Errors
    /// The same as for [`write`](Self::write); the checkpoint is abandoned then.
    pub fn finish(&mut self, generation: &Generation) -> Result<(), CheckpointError> {
        self.close(generation).map_err(|source| {
            self.abandon();
            self.problem(source)
        })
    }

    /// Abandons the checkpoint that was begun; the earlier ones stay.
    pub fn abandon(&mut self) {
        let Some(open) = self.open.take() else { return };
        match open.base {
            // This may fail, as on a full disk; the checkpoints before it can be read anyway.
            Some(base) => drop(open.file.set_len(base.length)),
            None => drop(std::fs::remove_file(with_end(&self.path, "partial"))),
        }
    }

    fn problem(&self, source: io::Error) -> CheckpointError {
        CheckpointError::File { path: self.path.clone(), source }
    }

    fn begin(&mut self) -> io::Result<Open> {
        self.written = None;
        self.check_beside()?;
        let partial = with_end(&self.path, "partial");
        let mut file = private(&partial)?;
        match self.write_beginning(&mut file).and_then(|()| file.stream_position()) {
            Ok(bytes) => Ok(Open { file, chain: Chain::default(), base: None, bytes }),
            Err(error) => {
                drop(file);
                let _ = std::fs::remove_file(&partial);
                Err(error)
            }
        }
    }

    fn write_beginning(&mut self, file: &mut File) -> io::Result<()> {
        if self.key.is_some() {
            file.write_all(SEALED)?;
        }
        self.plain.clear();
        self.plain.extend_from_slice(Chain::beginning());
        let part = seal_part(self.key.as_ref(), &self.plain, &mut self.sealed)?;
        file.write_all(part)
    }

    fn append(&mut self) -> io::Result<Open> {
        let base = self.written.take().ok_or_else(|| io::Error::other("there is nothing to add to"))?;
        let file = File::options().append(true).open(&self.path)?;
        if file.metadata()?.len() != base.length {
            return Err(io::Error::other("somebody else has changed it"));
        }
        Ok(Open { file, chain: base.chain.clone(), bytes: base.length, base: Some(base) })
    }

    fn put(&mut self, encode: impl FnOnce(&mut Chain, &mut Vec<u8>)) -> io::Result<()> {
        let open = self.open.as_mut().ok_or_else(|| io::Error::other("no checkpoint was begun"))?;
        self.plain.clear();
        encode(&mut open.chain, &mut self.plain);
        let part = seal_part(self.key.as_ref(), &self.plain, &mut self.sealed)?;
        open.file.write_all(part)?;
        open.bytes += part.len() as u64;
        Ok(())
    }

    fn close(&mut self, generation: &Generation) -> io::Result<()> {
        for piece in generation.state.chunks(PIECE) {
            self.put(|chain, out| chain.state(piece, out))?;
        }
        let (is_first, known_logs) = match self.open.as_ref().and_then(|open| open.base.as_ref()) {
            Some(base) => (false, base.logs),
            None => (true, [0, 0]),
        };
        self.put(|chain, out| {
            chain.rest(generation, generation.files.as_ref().filter(|_| is_first), known_logs, out)
        })?;
        let logs = [generation.stdout.len(), generation.stderr.len()];
        let Some(open) = &self.open else { return Ok(()) };
        if !is_first {
            open.file.sync_data()?;
        } else {
            open.file.sync_all()?;
            self.rename()?;
        }
        self.written = self.open.take().map(|open| match open.base {
            Some(base) => Written {
                chain: open.chain,
                length: open.bytes,
                added: base.added + 1,
                last: open.bytes - base.length,
                logs,
                ..base
            },
            None => {
                Written { chain: open.chain, whole: open.bytes, length: open.bytes, added: 0, last: 0, logs }
            }
        });
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        // Anything but a regular file under these names must not be moved away.
        for path in [&self.path, &previous(&self.path)] {
            if std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} is not a regular file", path.display()),
                ));
            }
        }
        // If another file took this name in the meantime, it must not become the previous checkpoint.
        if self.key.is_some() || looks_ours(&self.path) {
            match std::fs::rename(&self.path, previous(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(with_end(&self.path, "partial"), &self.path)?;
        // Renames are durable once the folder is synced; systems that cannot sync a folder need no sync.
        if let Some(Ok(folder)) = self
            .path
            .parent()
            .map(|folder| File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }))
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Returns a part as it is written to the file: with a key, its length and its sealed bytes.
fn seal_part<'a>(key: Option<&Key>, plain: &'a [u8], sealed: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let Some(key) = key else { return Ok(plain) };
    sealed.clear();
    sealed.extend_from_slice(&[0; 8]);
    seal::seal_into(key, plain, sealed)?;
    let length = (sealed.len() - 8) as u64;
    sealed[..8].copy_from_slice(&length.to_le_bytes());
    Ok(sealed)
}

/// Reads the newest whole checkpoint at `path` or, if there is none, in the previous file. If it is not the
/// newest, the problem is returned with it.
///
/// # Errors
/// [`CheckpointError`] of the newer file when neither can be used.
pub(super) fn read(
    path: &Path,
    key: Option<&Key>,
) -> Result<(Checkpoint, Option<CheckpointError>), CheckpointError> {
    match read_one(path, path, key) {
        Ok(found) => Ok(found),
        Err(error) => match read_one(&previous(path), path, key) {
            Ok((checkpoint, _)) => Ok((checkpoint, Some(error))),
            Err(_) => Err(error),
        },
    }
}

fn read_one(
    path: &Path,
    named: &Path,
    key: Option<&Key>,
) -> Result<(Checkpoint, Option<CheckpointError>), CheckpointError> {
    let damaged = |problem| CheckpointError::Damaged { path: named.to_owned(), problem };
    let mut bytes = CheckpointBytes::begin(path, named, key)?;
    let (checkpoint, problem) = Checkpoint::decode_from(&mut bytes).map_err(damaged)?;
    Ok((
        checkpoint,
        problem
            .or_else(|| bytes.is_torn().then(|| "a part of it is cut off or changed".to_owned()))
            .map(damaged),
    ))
}

/// Opens the checkpoint file at `path`, or else the previous one.
pub(super) fn open(path: &Path, key: Option<&Key>) -> Result<CheckpointBytes, CheckpointError> {
    CheckpointBytes::begin(path, path, key)
        .or_else(|error| CheckpointBytes::begin(&previous(path), path, key).map_err(|_| error))
}

/// Writes the plain bytes of a checkpoint to a new file at `path`, sealed piece by piece.
pub(super) fn seal_from(mut from: impl Read, path: &Path, key: &Key) -> Result<(), CheckpointError> {
    let at = |source| CheckpointError::File { path: path.to_owned(), source };
    let mut file = private(path).map_err(at)?;
    file.write_all(SEALED).map_err(at)?;
    let (mut plain, mut sealed, mut is_first) = (Vec::new(), Vec::new(), true);
    loop {
        plain.clear();
        from.by_ref().take(PIECE as u64).read_to_end(&mut plain).map_err(at)?;
        if std::mem::take(&mut is_first) && !plain.starts_with(MAGIC) {
            return Err(CheckpointError::Damaged {
                path: path.to_owned(),
                problem: "it does not begin like one".to_owned(),
            });
        }
        if plain.is_empty() {
            return file.sync_all().map_err(at);
        }
        file.write_all(seal_part(Some(key), &plain, &mut sealed).map_err(at)?).map_err(at)?;
    }
}

/// Removes the checkpoint before the newest one at `path`, if the newest is there. Returns its size in
/// bytes.
pub(super) fn remove_previous(path: &Path) -> Option<u64> {
    let previous = previous(path);
    let size = std::fs::metadata(&previous).ok().filter(|_| path.is_file())?.len();
    std::fs::remove_file(previous).ok().map(|()| size)
}

/// Removes the checkpoint at `path`, the previous one and a partial one; missing files are ignored.
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

/// Creates a file that only its owner can read.
fn private(path: &Path) -> io::Result<File> {
    // Removes a file that a crash left, or a link or pipe under this reserved name.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
