//! Files that are written for a user: beside what they replace, until they are whole.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fog_types::path::numbered;

use super::{not_a_file, replaceable};

/// Names that are tried for a file on its way; each is taken only by a process of the same number that was killed.
const MAX_TRIES: u32 = 1_000;

/// A file on its way to its name. What has that name stays as it is until [`finish`](Self::finish); dropped before that,
/// nothing is left of what was written.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    partial: PathBuf,
    /// Closed once it has its name.
    file: Option<File>,
}

impl NewFile {
    /// Begins a file that will be `target`; a link of that name will be replaced itself.
    ///
    /// # Errors
    /// As making a file in that folder and as writing to the one that is there.
    pub fn begin(target: PathBuf) -> io::Result<Self> {
        let before = match std::fs::symlink_metadata(&target) {
            Ok(about) if about.is_file() => {
                // One that its owner protects stays, as if it were written to.
                drop(File::options().write(true).open(&target)?);
                Some(about.permissions())
            }
            Ok(about) if !about.is_symlink() => return Err(not_a_file(&about, "only a file can be replaced")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => None,
        };
        let (partial, file) = exclusive(target.parent().unwrap_or(Path::new("")))?;
        let new = Self { target, partial, file: Some(file) };
        if let (Some(permissions), Some(file)) = (before, &new.file) {
            file.set_permissions(permissions)?;
        }
        Ok(new)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// As renaming; what had that name stays then.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        // Some systems rename no open file.
        let file = self.file.take();
        let is_open = file.is_some();
        drop(file);
        let renamed = if is_open { std::fs::rename(&self.partial, &self.target) } else { Ok(()) };
        if renamed.is_err() {
            let _ = std::fs::remove_file(&self.partial);
        }
        renamed.map(|()| std::mem::take(&mut self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// A file of a name that nothing has.
fn exclusive(folder: &Path) -> io::Result<(PathBuf, File)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut tries = 0;
    loop {
        let path = folder.join(format!(".fog-{}-{}.partial", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
        tries += 1;
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MAX_TRIES => {}
            made => return Ok((path, made?)),
        }
    }
}

/// Replaces the regular file at `path`, or the one that a link there leads to, by one of these bytes; on an error it is as
/// it was.
///
/// # Errors
/// As [`replaceable`] and [`NewFile::begin`].
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::begin(replaceable(path)?)?;
    file.write_all(bytes)?;
    file.finish().map(drop)
}

/// As [`replace_file`], and writes into a device or a pipe, which stay what they are.
///
/// # Errors
/// As writing a file.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => std::fs::write(path, bytes),
        _ => replace_file(path, bytes),
    }
}

/// A folder that the files of one result are written to.
///
/// Files that were there before are replaced, each once the new one is whole. One that was just written is not, also
/// where the file system takes two names for one. Nothing below the folder is followed that leads elsewhere.
#[derive(Debug)]
pub struct OutputFolder {
    root: PathBuf,
    written: HashSet<PathBuf>,
}

impl OutputFolder {
    /// The folder at `root`, which is made when the first file is.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, written: HashSet::new() }
    }

    /// Looks whether files can be written to a folder at `root`: nothing is there, or a folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] when it is something else.
    pub fn check(root: &Path) -> io::Result<()> {
        match std::fs::metadata(root) {
            Ok(about) if !about.is_dir() => Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder, which the files go to")),
            _ => Ok(()),
        }
    }

    /// Begins the file at `path` below the folder; [`finish`](Self::finish) gives it its name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the path leads out of the folder or something is there that is no
    /// file, and as making a file.
    pub fn create(&mut self, path: &str) -> io::Result<NewFile> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if let Some(problem) = fog_types::path::path_problem(path) {
            return Err(invalid(problem));
        }
        // What the check above lets through is relative on every system; this holds if it should not be.
        if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(invalid("it leads out of the folder"));
        }
        std::fs::create_dir_all(&self.root)?;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = self.root.clone();
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder.push(part);
            enter(&folder)?;
        }
        for number in 1.. {
            let target = folder.join(numbered(name, number));
            // A link is replaced, not followed, so it takes no file that was written.
            let is_link = std::fs::symlink_metadata(&target).is_ok_and(|about| about.is_symlink());
            if !is_link && std::fs::canonicalize(&target).is_ok_and(|real| self.written.contains(&real)) {
                continue;
            }
            return NewFile::begin(target);
        }
        Err(invalid("there is no free name"))
    }

    /// Gives a file its name and returns where it is. The next one is to be begun after that.
    ///
    /// # Errors
    /// As [`NewFile::finish`].
    pub fn finish(&mut self, file: NewFile) -> io::Result<PathBuf> {
        let path = file.finish()?;
        self.written.insert(std::fs::canonicalize(&path)?);
        Ok(path)
    }

    /// Number of files written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len()
    }

    /// Whether none was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }
}

/// Makes a folder of a result unless it is there. A link would lead elsewhere.
fn enter(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let about = std::fs::symlink_metadata(folder)?;
    let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is {what}", folder.display())));
    if about.is_symlink() {
        return wrong("a link, which is not followed; remove it, or choose another folder");
    }
    if about.is_dir() { Ok(()) } else { wrong("no folder; remove it, or choose another folder") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(out: &mut OutputFolder, path: &str, bytes: &[u8]) -> PathBuf {
        let mut file = out.create(path).unwrap();
        file.write_all(bytes).unwrap();
        out.finish(file).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_of_a_result_stays_in_its_folder_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        let mut out = OutputFolder::new(root.clone());
        for path in ["../a", "/a", "C:x", "a/../../b", "NUL"] {
            assert_eq!(out.create(path).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        put(&mut out, "a/b.txt", b"1");
        assert_eq!(put(&mut out, "a/b.txt", b"2"), root.join("a/b-2.txt"));
        assert_eq!(std::fs::read(root.join("a/b.txt")).unwrap(), b"1");
        assert_eq!(out.len(), 2);
        // Another time the files of before are replaced.
        assert_eq!(put(&mut OutputFolder::new(root.clone()), "a/b.txt", b"3"), root.join("a/b.txt"));
        assert_eq!(std::fs::read(root.join("a/b.txt")).unwrap(), b"3");
    }

    #[test]
    fn what_was_there_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = OutputFolder::new(folder.path().to_owned());
        std::fs::write(folder.path().join("a"), "old").unwrap();
        for name in ["a", "b"] {
            let mut file = out.create(name).unwrap();
            file.write_all(b"half").unwrap();
            assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"old");
            drop(file);
        }
        assert_eq!((names(folder.path()), std::fs::read(folder.path().join("a")).unwrap()), (vec!["a".to_owned()], b"old".to_vec()));
        put(&mut out, "a", b"new");
        assert_eq!((names(folder.path()), std::fs::read(folder.path().join("a")).unwrap()), (vec!["a".to_owned()], b"new".to_vec()));
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_who_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), path.metadata().unwrap().permissions().mode() & 0o777), (b"new".to_vec(), 0o600));
        write_file(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
        assert!(replace_file(Path::new("/dev/null"), b"gone").is_err());
        assert!(write_file(Path::new("/dev/full"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn no_link_in_the_folder_is_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("out"), folder.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("there"), "theirs").unwrap();
        symlink(outside.join("new"), root.join("dangling")).unwrap();
        symlink(outside.join("there"), root.join("leading")).unwrap();
        symlink(&outside, root.join("sub")).unwrap();
        let mut out = OutputFolder::new(root.clone());
        for name in ["dangling", "leading"] {
            put(&mut out, name, b"ours");
            assert!(std::fs::symlink_metadata(root.join(name)).unwrap().is_file(), "{name}");
        }
        let error = out.create("sub/there").unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
        assert_eq!((names(&outside), std::fs::read(outside.join("there")).unwrap()), (vec!["there".to_owned()], b"theirs".to_vec()));
        // The folder itself was named by whoever wants the result.
        symlink(&root, folder.path().join("link")).unwrap();
        put(&mut OutputFolder::new(folder.path().join("link")), "through", b"ours");
        assert!(root.join("through").is_file());
    }
}
