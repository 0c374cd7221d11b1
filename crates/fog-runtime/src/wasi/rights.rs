//! Rights of descriptors.
//!
//! Reading and writing are granted when a program asks for them. All other rights that make sense for a
//! file are granted without being asked for, as other runtimes do, because many programs ask for few.
//! Rights that a program gives up are gone, for the descriptor and for all that is opened through it.

use serde::{Deserialize, Serialize};

use super::Errno;

pub(super) const FD_DATASYNC: u64 = 1;
pub(super) const FD_READ: u64 = 1 << 1;
pub(super) const FD_SEEK: u64 = 1 << 2;
pub(super) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
pub(super) const FD_SYNC: u64 = 1 << 4;
pub(super) const FD_TELL: u64 = 1 << 5;
pub(super) const FD_WRITE: u64 = 1 << 6;
pub(super) const FD_ADVISE: u64 = 1 << 7;
pub(super) const FD_ALLOCATE: u64 = 1 << 8;
pub(super) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
pub(super) const PATH_CREATE_FILE: u64 = 1 << 10;
pub(super) const PATH_LINK_SOURCE: u64 = 1 << 11;
pub(super) const PATH_LINK_TARGET: u64 = 1 << 12;
pub(super) const PATH_OPEN: u64 = 1 << 13;
pub(super) const FD_READDIR: u64 = 1 << 14;
pub(super) const PATH_READLINK: u64 = 1 << 15;
pub(super) const PATH_RENAME_SOURCE: u64 = 1 << 16;
pub(super) const PATH_RENAME_TARGET: u64 = 1 << 17;
pub(super) const PATH_FILESTAT_GET: u64 = 1 << 18;
pub(super) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
pub(super) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
pub(super) const FD_FILESTAT_GET: u64 = 1 << 21;
pub(super) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
pub(super) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
pub(super) const PATH_SYMLINK: u64 = 1 << 24;
pub(super) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
pub(super) const PATH_UNLINK_FILE: u64 = 1 << 26;
pub(super) const POLL_FD_READWRITE: u64 = 1 << 27;

/// Rights that every descriptor can have.
const ANY: u64 =
    FD_DATASYNC | FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_FILESTAT_GET | FD_FILESTAT_SET_TIMES | POLL_FD_READWRITE;
/// Rights that need a file opened for writing.
const WRITING: u64 = FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
const FILE: u64 = ANY | WRITING | FD_READ | FD_SEEK | FD_TELL | FD_ADVISE;
const DIR: u64 = ANY
    | PATH_CREATE_DIRECTORY
    | PATH_CREATE_FILE
    | PATH_LINK_SOURCE
    | PATH_LINK_TARGET
    | PATH_OPEN
    | FD_READDIR
    | PATH_READLINK
    | PATH_RENAME_SOURCE
    | PATH_RENAME_TARGET
    | PATH_FILESTAT_GET
    | PATH_FILESTAT_SET_SIZE
    | PATH_FILESTAT_SET_TIMES
    | PATH_SYMLINK
    | PATH_REMOVE_DIRECTORY
    | PATH_UNLINK_FILE;

/// Rights of a descriptor, and of those opened through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rights {
    pub(super) base: u64,
    pub(super) inheriting: u64,
}

impl Rights {
    pub(super) fn of_root() -> Self {
        Self { base: DIR, inheriting: DIR | FILE }
    }

    pub(super) fn of_file(readable: bool, writable: bool) -> Self {
        let missing = if readable { 0 } else { FD_READ } | if writable { 0 } else { WRITING };
        Self { base: FILE & !missing, inheriting: 0 }
    }

    /// Rights of standard output, which cannot seek. Its type is not a character device, because a C
    /// library would take one that cannot seek for a terminal.
    pub(super) fn of_stream() -> Self {
        Self { base: ANY | FD_WRITE, inheriting: 0 }
    }

    pub(super) fn has(self, right: u64) -> bool {
        self.base & right == right
    }

    /// Rights of a file or folder opened through a folder with these rights.
    pub(super) fn opening(self, is_dir: bool, asked: u64) -> Result<Self, Errno> {
        if asked & (FD_READ | FD_WRITE) & !self.inheriting != 0 {
            return Err(Errno::NotCapable);
        }
        let opened = if is_dir {
            Self { base: DIR, inheriting: self.inheriting }
        } else {
            Self::of_file(asked & FD_READ != 0, asked & FD_WRITE != 0)
        };
        Ok(Self { base: opened.base & self.inheriting, ..opened })
    }

    /// Gives up all other rights; fails when asked for rights that are not held.
    pub(super) fn limit(&mut self, base: u64, inheriting: u64) -> Result<(), Errno> {
        if base & !self.base != 0 || inheriting & !self.inheriting != 0 {
            return Err(Errno::NotCapable);
        }
        *self = Self { base, inheriting };
        Ok(())
    }
}
