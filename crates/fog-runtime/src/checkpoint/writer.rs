//! Checkpoint files: a whole checkpoint, then what changed, each part behind the last. A part that is
//! torn or changed takes those behind it along; what lies before it stands.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::{Chain, Generation, MAGIC};
use super::{Checkpoint, CheckpointBytes, CheckpointError};
use crate::seal::{self, Key};

/// Pieces of the state are parts of this size.
const PIECE: usize = 1 << 20;
pub(super) const SEALED: &[u8; 8] = b"FOGSEAL1";
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
    open: Option<Open>,
    /// Used again for every part: new memory costs a page fault for every 4 KiB.
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

#[derive(Debug)]
struct Written {
    chain: Chain,
    whole: u64,
    length: u64,
    added: u32,
    logs: [usize; 2],
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    chain: Chain,
    /// What it is added to; none for a whole one, which goes to a file of its own.
    base: Option<Written>,
    bytes: u64,
}

pub(super) fn is_checkpoint(path: &Path) -> bool {
    let mut begins = [0; 8];
    crate::files::open_regular(path).and_then(|mut file| file.read_exact(&mut begins)).is_ok() && [MAGIC, SEALED].contains(&&begins)
}

/// Whether a file may be taken for one of ours: a checkpoint, or as much of one as a crash left of it.
fn looks_ours(path: &Path) -> bool {
    let mut begins = Vec::new();
    let read = crate::files::open_regular(path).and_then(|file| file.take(8).read_to_end(&mut begins));
    read.is_ok() && [MAGIC, SEALED].iter().any(|magic| magic.starts_with(&begins))
}

impl CheckpointWriter {
    /// For the file at `path`; sealed when there is a key.
    #[must_use]
    pub fn new(path: PathBuf, key: Option<Key>) -> Self {
        Self { path, key, written: None, open: None, plain: Vec::new(), sealed: Vec::new() }
    }

    /// Looks whether a checkpoint can be written: whether the file's name and those beside it, `<file>.previous` and
    /// `<file>.partial`, are free or hold checkpoints, and whether a file can be begun there.
    ///
    /// # Errors
    /// [`CheckpointError::File`] when they hold something else, which nobody said may be replaced, or the folder takes no
    /// file.
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
        // Sealed ones lie in a folder of ours, where a damaged one must not stop all others.
        if self.key.is_some() {
            return Ok(());
        }
        let names = [
            (self.path.clone(), "it would be replaced by one"),
            (previous(&self.path), "the checkpoint before the newest is kept there"),
            (with_end(&self.path, "partial"), "a checkpoint is written there first"),
        ];
        for (path, why) in names {
            // A link or pipe is not read; whoever writes says so.
            let is_foreign = std::fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir() || about.is_file() && !looks_ours(&path));
            if is_foreign {
                let what = format!("{} is no checkpoint, and {why}; move it away, or choose another name", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
        }
        Ok(())
    }

    /// Goes on at another path, to which the file was moved with its folder.
    pub fn moved_to(&mut self, path: PathBuf) {
        self.path = path;
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
        self.start(whole)?;
        self.finish(generation)
    }

    /// Begins a checkpoint whose state comes in pieces: [`piece`](Self::piece) takes them as they
    /// come, [`finish`](Self::finish) the rest. Until then what was there stays.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn start(&mut self, whole: bool) -> Result<(), CheckpointError> {
        self.abandon();
        let opened = if whole { self.begin() } else { self.append() };
        self.open = Some(opened.map_err(|source| self.problem(source))?);
        Ok(())
    }

    /// The next piece of the state.
    ///
    /// # Errors
    /// As [`write`](Self::write); the checkpoint is given up then.
    pub fn piece(&mut self, state: &[u8]) -> Result<(), CheckpointError> {
        let written = self.put(|chain, out| chain.state(state, out));
        written.map_err(|source| {
            self.abandon();
            self.problem(source)
        })
    }

    /// The rest of the state and everything else; then it is durable.
    ///
    /// # Errors
    /// As [`write`](Self::write); the checkpoint is given up then.
    pub fn finish(&mut self, generation: &Generation) -> Result<(), CheckpointError> {
        self.close(generation).map_err(|source| {
            self.abandon();
            self.problem(source)
        })
    }

    /// Gives up the checkpoint that was begun; the ones before it stay.
    pub fn abandon(&mut self) {
        let Some(open) = self.open.take() else { return };
        match open.base {
            // A full disk may keep this from working; what lies before is readable either way.
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
        self.put(|chain, out| chain.rest(generation, generation.files.as_ref().filter(|_| is_first), known_logs, out))?;
        let logs = [generation.stdout.len(), generation.stderr.len()];
        let Some(open) = &self.open else { return Ok(()) };
        if !is_first {
            open.file.sync_data()?;
        } else {
            open.file.sync_all()?;
            self.rename()?;
        }
        self.written = self.open.take().map(|open| match open.base {
            Some(base) => Written { chain: open.chain, length: open.bytes, added: base.added + 1, logs, ..base },
            None => Written { chain: open.chain, whole: open.bytes, length: open.bytes, added: 0, logs },
        });
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        // Whatever else was put there in the meantime is not ours to move away.
        for path in [&self.path, &previous(&self.path)] {
            if std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a regular file", path.display())));
            }
        }
        // Something else may have taken this name in the meantime; it would not be a checkpoint before.
        if self.key.is_some() || looks_ours(&self.path) {
            match std::fs::rename(&self.path, previous(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(with_end(&self.path, "partial"), &self.path)?;
        // The names are safe once the folder is; systems that cannot sync one need no such thing.
        if let Some(Ok(folder)) = self.path.parent().map(|folder| File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// A part as it lies in the file: its length and itself, sealed, where there is a key.
fn seal_part<'a>(key: Option<&Key>, plain: &'a [u8], sealed: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let Some(key) = key else { return Ok(plain) };
    sealed.clear();
    sealed.extend_from_slice(&[0; 8]);
    seal::seal_into(key, plain, sealed)?;
    let length = (sealed.len() - 8) as u64;
    sealed[..8].copy_from_slice(&length.to_le_bytes());
    Ok(sealed)
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
    let damaged = |problem| CheckpointError::Damaged { path: named.to_owned(), problem };
    let mut bytes = CheckpointBytes::begin(path, named, key)?;
    let (checkpoint, problem) = Checkpoint::decode_from(&mut bytes).map_err(damaged)?;
    Ok((checkpoint, problem.or_else(|| bytes.is_torn().then(|| "a part of it is cut off or changed".to_owned())).map(damaged)))
}

/// The bytes of the checkpoint at `path`, or of the one before it.
pub(super) fn open(path: &Path, key: Option<&Key>) -> Result<CheckpointBytes, CheckpointError> {
    CheckpointBytes::begin(path, path, key).or_else(|error| CheckpointBytes::begin(&previous(path), path, key).map_err(|_| error))
}

/// Writes the open bytes of a checkpoint to a new file at `path`, sealed piece by piece.
pub(super) fn seal_from(mut from: impl Read, path: &Path, key: &Key) -> Result<(), CheckpointError> {
    let at = |source| CheckpointError::File { path: path.to_owned(), source };
    let mut file = private(path).map_err(at)?;
    file.write_all(SEALED).map_err(at)?;
    let (mut plain, mut sealed, mut is_first) = (Vec::new(), Vec::new(), true);
    loop {
        plain.clear();
        from.by_ref().take(PIECE as u64).read_to_end(&mut plain).map_err(at)?;
        if std::mem::take(&mut is_first) && !plain.starts_with(MAGIC) {
            return Err(CheckpointError::Damaged { path: path.to_owned(), problem: "it does not begin like one".to_owned() });
        }
        if plain.is_empty() {
            return file.sync_all().map_err(at);
        }
        file.write_all(seal_part(Some(key), &plain, &mut sealed).map_err(at)?).map_err(at)?;
    }
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
    // What a crash left, or a link or pipe that somebody put there: its name is ours.
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
