//! Reads of small kernel files.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Folder in which the kernel lists devices by class.
pub(crate) const CLASS: &str = "/sys/class";
/// Largest number of bytes read from a file; sysfs files hold no more.
const MAX_BYTES: u64 = 4096;
/// Largest number of devices of one class that are read.
const MAX_FOLDERS: usize = 256;

/// Trimmed text of a file; `None` when it is missing, does not answer or is empty.
pub(crate) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Sorted entries of a folder; `None` when it cannot be listed.
pub(crate) fn folders(path: &Path) -> Option<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).ok()?.flatten().take(MAX_FOLDERS).map(|entry| entry.path()).collect();
    found.sort();
    Some(found)
}
