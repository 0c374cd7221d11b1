//! Files that are being written: without a name where the system supports that, else under a temporary
//! name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest number of names that are tried; a killed process with the same id may have left some.
const MAX_TRIES: u32 = 1_000;

/// A file that is being written; dropping it removes it.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    /// Temporary name; `None` for a file without a name.
    name: Option<Name>,
}

impl Partial {
    /// Creates a file in `folder` with the permissions `mode`, less the user's mask.
    pub(super) fn begin(folder: &Path, mode: u32) -> io::Result<Self> {
        match os::unnamed(folder, mode) {
            Some(file) => Ok(Self { file, name: None }),
            None => Self::named(folder, mode),
        }
    }

    fn named(folder: &Path, mode: u32) -> io::Result<Self> {
        let (name, file) = exclusive(folder, |path| new_file(path, mode))?;
        // The lock shows processes that share the folder but not the process ids that the file is in use.
        let _ = file.try_lock();
        Ok(Self { file, name: Some(Name(name)) })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its final name in the same folder, replacing a file of that name.
    pub(super) fn finish(self, target: &Path) -> io::Result<()> {
        let Self { file, name } = self;
        let name = match name {
            Some(name) => name,
            None => match os::link(&file, target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // A link cannot replace a file, so the file gets a temporary name and is renamed.
                    let folder = target
                        .parent()
                        .filter(|folder| !folder.as_os_str().is_empty())
                        .unwrap_or(Path::new("."));
                    Name(exclusive(folder, |path| os::link(&file, path))?.0)
                }
                linked => return linked,
            },
        };
        // Some systems cannot rename an open file.
        drop(file);
        name.replace(target)
    }
}

/// Temporary name; dropping it removes the file.
#[derive(Debug)]
struct Name(PathBuf);

impl Name {
    fn replace(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, target)?;
        self.0.clear();
        Ok(())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

/// Makes a file or folder under a name that is not in use.
fn exclusive<T>(folder: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut tries = 0;
    loop {
        let path = folder.join(format!(
            ".fog-{}-{}.partial",
            std::process::id(),
            CALLS.fetch_add(1, Ordering::Relaxed)
        ));
        tries += 1;
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MAX_TRIES => {}
            made => return Ok((path, made?)),
        }
    }
}

/// Checks whether a file can be created in `folder`.
pub(super) fn try_file(folder: &Path) -> io::Result<()> {
    Partial::begin(folder, 0o600).map(drop)
}

/// Checks whether a folder can be created in `folder`.
pub(super) fn try_folder(folder: &Path) -> io::Result<()> {
    let (path, ()) = exclusive(folder, |path| std::fs::create_dir(path))?;
    std::fs::remove_dir(path)
}

/// Removes temporary files in `folder` that killed processes left.
pub(super) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(writer_of).filter(|pid| is_gone(*pid)) else { continue };
        let path = entry.path();
        // Folders of this name come from [`try_folder`]; only empty ones are removed.
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir(&path),
            Ok(kind) if kind.is_file() && is_free(&path) => std::fs::remove_file(&path),
            _ => continue,
        };
        if let Err(error) = removed {
            tracing::debug!(%error, pid, path = %path.display(), "the beginning of a file cannot be removed");
        }
    }
}

/// Id of the process that created a temporary file of this name.
fn writer_of(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(".fog-")?.strip_suffix(".partial")?.split_once('-')?;
    number.parse::<u64>().ok()?;
    pid.parse().ok()
}

/// Whether no process holds the file's lock; false when unknown.
fn is_free(path: &Path) -> bool {
    File::options().read(true).write(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Whether no process has this id.
#[cfg(unix)]
fn is_gone(pid: u32) -> bool {
    let pid = pid.try_into().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn is_gone(_pid: u32) -> bool {
    false
}

#[cfg(target_os = "linux")]
#[path = "partial/linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "partial/fallback.rs"]
mod os;

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Id of a process that has ended.
    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_file_on_its_way_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let partial = Partial::begin(folder.path(), 0o666).unwrap();
        partial.file().write_all(b"half").unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        partial.finish(&folder.path().join("new")).unwrap();
        // The same with a file of the same name in place.
        let partial = Partial::begin(folder.path(), 0o666).unwrap();
        partial.file().write_all(b"whole").unwrap();
        partial.finish(&folder.path().join("new")).unwrap();
        assert_eq!(
            (names(folder.path()), std::fs::read(folder.path().join("new")).unwrap()),
            (vec!["new".to_owned()], b"whole".to_vec())
        );
    }

    #[test]
    fn a_named_one_takes_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["one", "two"] {
            let partial = Partial::named(folder.path(), 0o600).unwrap();
            partial.file().write_all(content.as_bytes()).unwrap();
            assert_eq!(
                names(folder.path())
                    .iter()
                    .filter(|name| writer_of(name) == Some(std::process::id()))
                    .count(),
                1
            );
            partial.finish(&folder.path().join("new")).unwrap();
            assert_eq!(std::fs::read(folder.path().join("new")).unwrap(), content.as_bytes());
        }
        drop(Partial::named(folder.path(), 0o600).unwrap());
        assert_eq!(names(folder.path()), ["new"]);
    }

    #[test]
    fn what_dead_processes_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dead = dead();
        let at = |name: &str| folder.path().join(name);
        let held = format!(".fog-{dead}-2.partial");
        let kept = [".fog-1-0.partial", ".fog-x-0.partial", ".fog-7.partial", &held, "fog-7-0.partial"];
        for name in kept {
            std::fs::write(at(name), "x").unwrap();
        }
        let writer = File::options().write(true).open(at(&held)).unwrap();
        writer.try_lock().unwrap();
        let ours = Partial::named(folder.path(), 0o600).unwrap();
        let before = names(folder.path());
        std::fs::write(at(&format!(".fog-{dead}-0.partial")), "half").unwrap();
        std::fs::create_dir(at(&format!(".fog-{dead}-1.partial"))).unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()), before);
        drop(ours);
    }
}
