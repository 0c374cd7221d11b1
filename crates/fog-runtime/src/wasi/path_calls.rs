use super::context::Target;
use super::{Call, Context, Errno, GuestMemory};
use crate::vfs::Kind;

const OFLAG_CREATE: u32 = 1;
const OFLAG_DIRECTORY: u32 = 2;
const OFLAG_EXCLUSIVE: u32 = 4;
const OFLAG_TRUNCATE: u32 = 8;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

/// The calls that name files by path. There are no links of either kind.
impl Context {
    pub(super) fn path_create_directory(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32) -> Call {
        let (dir, path) = (self.dir(fd)?, m.text(path, len)?);
        let now = self.now();
        match self.vfs.locate(dir, path)? {
            (folder, Some(name)) if self.vfs.child(folder, name).is_none() => self.vfs.create(folder, name, true, now).map(drop),
            _ => Err(Errno::Exist),
        }
    }

    pub(super) fn path_filestat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, _flags: u32, path: u32, len: u32, out: u32) -> Call {
        let id = self.vfs.lookup(self.dir(fd)?, m.text(path, len)?)?;
        m.put(out, &self.filestat(Target::Node(id)))
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_filestat_set_times(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        _flags: u32,
        path: u32,
        len: u32,
        _atim: u64,
        mtim: u64,
        fst: u32,
    ) -> Call {
        let id = self.vfs.lookup(self.dir(fd)?, m.text(path, len)?)?;
        self.set_times(id, mtim, fst)
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_link(&mut self, _m: &mut GuestMemory<'_>, _fd: u32, _flags: u32, _path: u32, _len: u32, _to: u32, _new: u32, _new_len: u32) -> Call {
        Err(Errno::NotSup)
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_open(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        _dirflags: u32,
        path: u32,
        len: u32,
        oflags: u32,
        base: u64,
        _inheriting: u64,
        fdflags: u32,
        out: u32,
    ) -> Call {
        let (dir, path) = (self.dir(fd)?, m.text(path, len)?);
        let now = self.now();
        let found = self.vfs.locate(dir, path)?;
        let existing = match found {
            (folder, None) => Some(folder),
            (folder, Some(name)) => self.vfs.child(folder, name),
        };
        let (readable, writable) = (base & RIGHT_READ != 0, base & RIGHT_WRITE != 0);
        let id = match (existing, found.1) {
            (Some(_), _) if oflags & OFLAG_CREATE != 0 && oflags & OFLAG_EXCLUSIVE != 0 => return Err(Errno::Exist),
            (Some(id), _) => {
                let is_dir = self.vfs.is_dir(id);
                if oflags & OFLAG_DIRECTORY != 0 && !is_dir {
                    return Err(Errno::NotDir);
                }
                if is_dir && (oflags & OFLAG_TRUNCATE != 0 || oflags & (OFLAG_CREATE | OFLAG_DIRECTORY) == OFLAG_CREATE) {
                    return Err(Errno::IsDir);
                }
                if writable && matches!(self.vfs.node(id).kind, Kind::Host { .. }) {
                    return Err(Errno::RoFs);
                }
                if oflags & OFLAG_TRUNCATE != 0 && matches!(self.vfs.node(id).kind, Kind::Memory(_)) {
                    if !writable {
                        return Err(Errno::Inval);
                    }
                    self.vfs.resize(id, 0)?;
                    self.vfs.touch(id, now);
                }
                id
            }
            (None, Some(name)) if oflags & OFLAG_CREATE != 0 => {
                if oflags & OFLAG_DIRECTORY != 0 {
                    return Err(Errno::Inval);
                }
                if path.ends_with('/') {
                    return Err(Errno::IsDir);
                }
                self.vfs.create(found.0, name, false, now)?
            }
            (None, _) => return Err(Errno::NoEnt),
        };
        let number = self.open(id, readable, writable, fdflags & 1 != 0)?;
        m.put_u32(out, number)
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_readlink(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32, _buffer: u32, _buffer_len: u32, _out: u32) -> Call {
        self.vfs.lookup(self.dir(fd)?, m.text(path, len)?)?;
        Err(Errno::Inval)
    }

    pub(super) fn path_remove_directory(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32) -> Call {
        self.remove(m, fd, path, len, true)
    }

    pub(super) fn path_unlink_file(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32) -> Call {
        self.remove(m, fd, path, len, false)
    }

    fn remove(&mut self, m: &GuestMemory<'_>, fd: u32, path: u32, len: u32, is_dir: bool) -> Call {
        let now = self.now();
        match self.vfs.locate(self.dir(fd)?, m.text(path, len)?)? {
            (folder, Some(name)) => self.vfs.unlink(folder, name, is_dir, now),
            (_, None) => Err(Errno::Inval),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_rename(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32, to: u32, new: u32, new_len: u32) -> Call {
        let from = self.vfs.locate(self.dir(fd)?, m.text(path, len)?)?;
        let to = self.vfs.locate(self.dir(to)?, m.text(new, new_len)?)?;
        let now = self.now();
        match (from, to) {
            ((from, Some(old)), (to, Some(new))) => self.vfs.rename((from, old), (to, new), now),
            _ => Err(Errno::Inval),
        }
    }

    pub(super) fn path_symlink(&mut self, _m: &mut GuestMemory<'_>, _old: u32, _old_len: u32, _fd: u32, _new: u32, _new_len: u32) -> Call {
        Err(Errno::NotSup)
    }
}
