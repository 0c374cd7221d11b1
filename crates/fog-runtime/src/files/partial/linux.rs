use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};

/// Creates a file without a name (`O_TMPFILE` of open(2)); `None` where the file system has no such files
/// or `/proc` is missing, so that the file could not be named.
pub(super) fn unnamed(folder: &Path, mode: u32) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, folder, flags, Mode::from_raw_mode(mode)).ok()?);
    std::fs::symlink_metadata(place(&file)).is_ok().then_some(file)
}

/// Gives a file without a name a name that is not in use.
pub(super) fn link(file: &File, to: &Path) -> io::Result<()> {
    Ok(linkat(CWD, place(file), CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

/// Path of an open file by its descriptor; linking by the descriptor alone needs a privilege.
fn place(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
