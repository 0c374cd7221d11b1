//! Resolution of paths to nodes.

use super::{Kind, NodeId, ROOT, Vfs};
use crate::wasi::Errno;

/// Longest path in one call, and longest text of a symbolic link, bytes.
pub(crate) const MAX_SAID_BYTES: usize = 4096;
/// Longest name, bytes.
pub(crate) const MAX_NAME_BYTES: usize = 255;
/// Bytes of a path that cost as much as one part of it.
const BYTES_PER_VISIT: usize = 16;
/// Largest number of symbolic links followed in one path.
const MAX_FOLLOWED: usize = 40;

/// Result of resolving a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Folder of the last name, or the folder itself when there is no last name.
    pub(crate) folder: NodeId,
    /// Last name; `None` when the path ends in `.` or `..`.
    pub(crate) name: Option<String>,
    /// Node at the path, if there is one.
    pub(crate) id: Option<NodeId>,
    /// Whether the path ends in a slash, so that it must be a folder.
    pub(crate) is_slashed: bool,
}

/// Checks a path or the text of a link by itself.
pub(super) fn check_said(path: &str) -> Result<(), Errno> {
    if path.is_empty() {
        return Err(Errno::NoEnt);
    }
    if path.len() > MAX_SAID_BYTES {
        return Err(Errno::NameTooLong);
    }
    if path.contains('\0') {
        return Err(Errno::Inval);
    }
    // Paths are relative to an open folder.
    if path.starts_with('/') { Err(Errno::Perm) } else { Ok(()) }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// Whether the path must be a folder.
pub(crate) fn wants_folder(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}

impl Vfs {
    /// Resolves `path` from the folder `dir`, which it cannot leave. Follows symbolic links on the way, and
    /// at its end with `follow`.
    pub(crate) fn resolve(&self, dir: NodeId, path: &str, follow: bool) -> Result<Found, Errno> {
        check_said(path)?;
        self.read_through(path);
        let mut is_slashed = wants_folder(path);
        let mut trail = vec![dir];
        let mut pending: Vec<&str> = parts(path).rev().collect();
        let mut followed = 0;
        while let Some(part) = pending.pop() {
            self.visit(1);
            let here = trail.last().copied().unwrap_or(ROOT);
            if part == ".." {
                // The root is its own parent; the parent of another folder was not opened with it.
                if trail.len() > 1 {
                    trail.pop();
                } else if here != ROOT {
                    return Err(Errno::Perm);
                }
                continue;
            }
            if part.len() > MAX_NAME_BYTES {
                return Err(Errno::NameTooLong);
            }
            let is_last = pending.is_empty();
            let Some(id) = self.child(here, part) else {
                if is_last {
                    return Ok(Found { folder: here, name: Some(part.to_owned()), id: None, is_slashed });
                }
                return Err(Errno::NoEnt);
            };
            match &self.node(id).kind {
                Kind::Link(text) if !is_last || follow => {
                    followed += 1;
                    if followed > MAX_FOLLOWED {
                        return Err(Errno::Loop);
                    }
                    check_said(text)?;
                    self.read_through(text);
                    is_slashed |= is_last && wants_folder(text);
                    pending.extend(parts(text).rev());
                }
                Kind::Dir(_) if !is_last => trail.push(id),
                Kind::Dir(_) => {
                    return Ok(Found { folder: here, name: Some(part.to_owned()), id: Some(id), is_slashed });
                }
                Kind::Memory(_)
                | Kind::Host { .. }
                | Kind::Null
                | Kind::Progress
                | Kind::Link(_)
                | Kind::Free => {
                    if !is_last || is_slashed {
                        return Err(Errno::NotDir);
                    }
                    return Ok(Found { folder: here, name: Some(part.to_owned()), id: Some(id), is_slashed });
                }
            }
        }
        let folder = trail.last().copied().unwrap_or(ROOT);
        Ok(Found { folder, name: None, id: Some(folder), is_slashed })
    }

    /// Charges for the length of a path: thousands of `.` are not parts but take time to skip.
    fn read_through(&self, path: &str) {
        self.visit((path.len() / BYTES_PER_VISIT) as u64);
    }

    /// Returns the node at `path`.
    pub(crate) fn lookup(&self, dir: NodeId, path: &str, follow: bool) -> Result<NodeId, Errno> {
        self.resolve(dir, path, follow || wants_folder(path))?.id.ok_or(Errno::NoEnt)
    }
}
