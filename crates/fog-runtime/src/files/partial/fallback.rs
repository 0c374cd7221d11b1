use std::fs::File;
use std::io;
use std::path::Path;

/// Returns `None`: these systems have no files without a name.
pub(super) fn unnamed(_folder: &Path, _mode: u32) -> Option<File> {
    None
}

pub(super) fn link(_file: &File, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
