//! Files written for a user: beside the file they replace, until they are whole.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use fog_types::path::numbered;

use super::partial::{self, Partial};
use super::{not_a_file, replaceable};

/// A file that is being written. The existing file of that name stays until [`finish`](Self::finish).
/// Dropping it before that removes the written part, as does a kill where the system has files without a
/// name.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    /// Written part; `None` after [`finish`](Self::finish).
    partial: Option<Partial>,
}

impl NewFile {
    /// Begins a file that will replace `target`, even if that is a link.
    ///
    /// # Errors
    /// The errors of creating a file in that folder and of opening the existing file for writing.
    pub fn begin(target: PathBuf) -> io::Result<Self> {
        Self::begin_with(target, 0o666)
    }

    /// Begins a file like [`begin`](Self::begin); if `target` does not exist, only this user may read it.
    ///
    /// # Errors
    /// The same as for [`begin`](Self::begin).
    pub fn begin_private(target: PathBuf) -> io::Result<Self> {
        Self::begin_with(target, 0o600)
    }

    fn begin_with(target: PathBuf, mode: u32) -> io::Result<Self> {
        let before = match std::fs::symlink_metadata(&target) {
            Ok(about) if about.is_file() => {
                // A file that is write-protected must not be replaced.
                drop(File::options().write(true).open(&target)?);
                Some(about.permissions())
            }
            Ok(about) if !about.is_symlink() => {
                return Err(not_a_file(&about, "only a file can be replaced"));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => None,
        };
        let folder =
            target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial = Partial::begin(folder, mode)?;
        if let Some(permissions) = before {
            partial.file().set_permissions(permissions)?;
        }
        Ok(Self { target, partial: Some(partial) })
    }

    /// Makes the written bytes durable.
    ///
    /// # Errors
    /// The error of the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.partial.as_ref().map_or(Ok(()), |partial| partial.file().sync_all())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The error of renaming; the existing file stays then.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        if let Some(partial) = self.partial.take() {
            partial.finish(&self.target)?;
        }
        Ok(std::mem::take(&mut self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.partial.as_ref().map_or(Ok(()), |partial| partial.file().flush())
    }
}

/// Replaces the regular file at `path`, or the target of a link there, by a file of these bytes. On an
/// error the old file stays.
///
/// # Errors
/// The errors of [`replaceable`], [`NewFile::begin`] and of writing.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::begin(replaceable(path)?)?;
    file.write_all(bytes)?;
    file.finish().map(drop)
}

/// Writes a file like [`replace_file`]; a device or a pipe is written to instead of replaced.
///
/// # Errors
/// The errors of writing the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => std::fs::write(path, bytes),
        _ => replace_file(path, bytes),
    }
}

/// A folder that the files of one result are written to.
///
/// Files from before are replaced, each when the new file is whole. A file of the same result is never
/// replaced, even where the file system treats two names as one. Temporary files that killed processes left
/// are removed. Links below the folder are not followed.
#[derive(Debug)]
pub struct OutputFolder {
    root: PathBuf,
    written: HashSet<PathBuf>,
    /// Folders from which temporary files of killed processes were removed.
    swept: HashSet<PathBuf>,
}

impl OutputFolder {
    /// Creates the value; the folder at `root` is made with the first file.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, written: HashSet::new(), swept: HashSet::new() }
    }

    /// Checks whether files can be written to a folder at `root`, or such a folder can be made. Leaves no
    /// changes.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] when `root` or a part of its path is not a folder; otherwise the
    /// error of the attempt, such as [`io::ErrorKind::ReadOnlyFilesystem`].
    pub fn check(root: &Path) -> io::Result<()> {
        let mut there = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        loop {
            match std::fs::metadata(there) {
                Ok(about) if !about.is_dir() && there == root => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        "it is not a folder, which the files go to",
                    ));
                }
                Ok(about) if !about.is_dir() => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        format!("{} is not a folder", there.display()),
                    ));
                }
                Ok(_) => break,
                // A dangling link exists, but no folder can be made in its place.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && std::fs::symlink_metadata(there).is_err() => {}
                // The parent that is not a folder is named in a later turn.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
            there = there.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        }
        if there == root { partial::try_file(there) } else { partial::try_folder(there) }
    }

    /// Begins the file at `path` below the folder; [`finish`](Self::finish) gives it its name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the path leads out of the folder or something other than a file
    /// is there, and the errors of creating a file.
    pub fn create(&mut self, path: &str) -> io::Result<NewFile> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if let Some(problem) = fog_types::path::path_problem(path) {
            return Err(invalid(problem));
        }
        // A second check, in case the first one lets a path through that is not relative on this system.
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
        if self.swept.insert(folder.clone()) {
            partial::sweep(&folder);
        }
        for number in 1.. {
            let target = folder.join(numbered(name, number));
            // A link is replaced, not followed, so it hides no written file.
            let is_link = std::fs::symlink_metadata(&target).is_ok_and(|about| about.is_symlink());
            if !is_link && std::fs::canonicalize(&target).is_ok_and(|real| self.written.contains(&real)) {
                continue;
            }
            return NewFile::begin(target);
        }
        Err(invalid("there is no free name"))
    }

    /// Gives a file its name and returns its path; call it before the next file is begun.
    ///
    /// # Errors
    /// The same as for [`NewFile::finish`].
    pub fn finish(&mut self, file: NewFile) -> io::Result<PathBuf> {
        let path = file.finish()?;
        self.written.insert(std::fs::canonicalize(&path)?);
        Ok(path)
    }

    /// Number of files written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len()
    }

    /// Whether no file was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }
}

/// Makes a folder of a result if it does not exist; links are refused, because they lead elsewhere.
fn enter(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let about = std::fs::symlink_metadata(folder)?;
    let wrong = |what: &str| {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is {what}", folder.display())))
    };
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
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
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
        // A later result replaces the files of an earlier one.
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
        assert_eq!(
            (names(folder.path()), std::fs::read(folder.path().join("a")).unwrap()),
            (vec!["a".to_owned()], b"old".to_vec())
        );
        put(&mut out, "a", b"new");
        assert_eq!(
            (names(folder.path()), std::fs::read(folder.path().join("a")).unwrap()),
            (vec!["a".to_owned()], b"new".to_vec())
        );
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        for name in ["", "folder", "new", "new/deep/er", "folder/new"] {
            OutputFolder::check(&at(name)).unwrap();
        }
        OutputFolder::check(Path::new("")).unwrap();
        for name in ["file", "file/new", "file/new/deep"] {
            assert_eq!(
                OutputFolder::check(&at(name)).unwrap_err().kind(),
                io::ErrorKind::NotADirectory,
                "{name}"
            );
        }
        assert_eq!(
            (names(folder.path()), names(&at("folder"))),
            (vec!["file".to_owned(), "folder".to_owned()], vec![]),
            "nothing was left there"
        );
        // On Linux not even the superuser can create files there.
        #[cfg(target_os = "linux")]
        for path in ["/proc/self/fd", "/proc/self/new", "/proc/new/deep"] {
            assert!(OutputFolder::check(Path::new(path)).is_err(), "{path}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
            assert!(OutputFolder::check(&at("dangling")).is_err());
        }
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
        assert_eq!(
            (std::fs::read(&path).unwrap(), path.metadata().unwrap().permissions().mode() & 0o777),
            (b"new".to_vec(), 0o600)
        );
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
        assert_eq!(
            (names(&outside), std::fs::read(outside.join("there")).unwrap()),
            (vec!["there".to_owned()], b"theirs".to_vec())
        );
        // The folder itself may be a link: the user named it.
        symlink(&root, folder.path().join("link")).unwrap();
        put(&mut OutputFolder::new(folder.path().join("link")), "through", b"ours");
        assert!(root.join("through").is_file());
    }
}
