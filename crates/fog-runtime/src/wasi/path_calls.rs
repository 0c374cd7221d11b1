use super::context::{FDFLAGS, Target};
use super::rights::{
    FD_WRITE, PATH_CREATE_DIRECTORY, PATH_CREATE_FILE, PATH_FILESTAT_GET, PATH_FILESTAT_SET_SIZE,
    PATH_FILESTAT_SET_TIMES, PATH_LINK_SOURCE, PATH_LINK_TARGET, PATH_OPEN, PATH_READLINK,
    PATH_REMOVE_DIRECTORY, PATH_RENAME_SOURCE, PATH_RENAME_TARGET, PATH_SYMLINK, PATH_UNLINK_FILE,
};
use super::{Call, Context, Errno, GuestMemory};
use crate::vfs::{Found, Kind, NodeId, wants_folder};

const OFLAG_CREATE: u32 = 1;
const OFLAG_DIRECTORY: u32 = 2;
const OFLAG_EXCLUSIVE: u32 = 4;
const OFLAG_TRUNCATE: u32 = 8;
const LOOKUP_FOLLOW: u32 = 1;

/// Calls that name files by path.
impl Context {
    pub(super) fn path_create_directory(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
    ) -> Call {
        let found = self.vfs.resolve(self.dir(fd, PATH_CREATE_DIRECTORY)?, m.text(path, len)?, false)?;
        let today = self.today();
        match found {
            Found { folder, name: Some(name), id: None, .. } => {
                self.vfs.create_dir(folder, &name, today).map(drop)
            }
            _ => Err(Errno::Exist),
        }
    }

    pub(super) fn path_filestat_get(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        flags: u32,
        path: u32,
        len: u32,
        out: u32,
    ) -> Call {
        let id = self.vfs.lookup(
            self.dir(fd, PATH_FILESTAT_GET)?,
            m.text(path, len)?,
            flags & LOOKUP_FOLLOW != 0,
        )?;
        m.put(out, &self.filestat(Target::Node(id)))
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_filestat_set_times(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        flags: u32,
        path: u32,
        len: u32,
        atim: u64,
        mtim: u64,
        fst: u32,
    ) -> Call {
        let id = self.vfs.lookup(
            self.dir(fd, PATH_FILESTAT_SET_TIMES)?,
            m.text(path, len)?,
            flags & LOOKUP_FOLLOW != 0,
        )?;
        self.set_times(id, atim, mtim, fst)
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_link(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        flags: u32,
        path: u32,
        len: u32,
        to: u32,
        new: u32,
        new_len: u32,
    ) -> Call {
        let id = self.vfs.lookup(
            self.dir(fd, PATH_LINK_SOURCE)?,
            m.text(path, len)?,
            flags & LOOKUP_FOLLOW != 0,
        )?;
        let found = self.vfs.resolve(self.dir(to, PATH_LINK_TARGET)?, m.text(new, new_len)?, false)?;
        let today = self.today();
        match found {
            Found { id: Some(_), .. } | Found { name: None, .. } => Err(Errno::Exist),
            Found { is_slashed: true, .. } => Err(Errno::NoEnt),
            Found { folder, name: Some(name), .. } => self.vfs.link(id, folder, &name, today),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_open(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        dirflags: u32,
        path: u32,
        len: u32,
        oflags: u32,
        base: u64,
        _inheriting: u64,
        fdflags: u32,
        out: u32,
    ) -> Call {
        let (dir, path) = (self.dir(fd, PATH_OPEN)?, m.text(path, len)?);
        let fdflags =
            u16::try_from(fdflags).ok().filter(|flags| flags & !FDFLAGS == 0).ok_or(Errno::Inval)?;
        if oflags > OFLAG_CREATE | OFLAG_DIRECTORY | OFLAG_EXCLUSIVE | OFLAG_TRUNCATE {
            return Err(Errno::Inval);
        }
        let is_new = oflags & OFLAG_CREATE != 0 && oflags & OFLAG_EXCLUSIVE != 0;
        let follow = dirflags & LOOKUP_FOLLOW != 0 || wants_folder(path);
        let found = self.vfs.resolve(dir, path, follow && !is_new)?;
        self.free_fd()?;
        let parent = self.fd(fd)?.rights;
        let id = match found {
            Found { id: Some(_), .. } if is_new => return Err(Errno::Exist),
            Found { id: Some(id), .. } => {
                self.check_open(id, oflags, base)?;
                let rights = parent.opening(self.vfs.is_dir(id), base)?;
                if oflags & OFLAG_TRUNCATE != 0 {
                    self.allowed(fd, PATH_FILESTAT_SET_SIZE)?;
                    self.truncate(id)?;
                }
                let number = self.open(id, rights, fdflags)?;
                return m.put_u32(out, number);
            }
            Found { folder, name: Some(name), is_slashed, .. } if oflags & OFLAG_CREATE != 0 => {
                if oflags & OFLAG_DIRECTORY != 0 {
                    return Err(Errno::Inval);
                }
                if is_slashed {
                    return Err(Errno::IsDir);
                }
                self.allowed(fd, PATH_CREATE_FILE)?;
                parent.opening(false, base)?;
                let today = self.today();
                self.vfs.create_file(folder, &name, today)?
            }
            Found { .. } => return Err(Errno::NoEnt),
        };
        let number = self.open(id, parent.opening(false, base)?, fdflags)?;
        m.put_u32(out, number)
    }

    /// Checks that the node can be opened with these flags and rights.
    fn check_open(&self, id: NodeId, oflags: u32, base: u64) -> Call {
        let is_writing = base & FD_WRITE != 0 || oflags & OFLAG_TRUNCATE != 0;
        let wants_dir = oflags & OFLAG_DIRECTORY != 0;
        match self.vfs.node(id).kind {
            // Following the link was not asked for.
            Kind::Link(_) => Err(Errno::Loop),
            Kind::Dir(_) if is_writing || (oflags & OFLAG_CREATE != 0 && !wants_dir) => Err(Errno::IsDir),
            Kind::Dir(_) => Ok(()),
            _ if wants_dir => Err(Errno::NotDir),
            Kind::Host { .. } if is_writing => Err(Errno::RoFs),
            Kind::Host { .. } | Kind::Memory(_) | Kind::Null | Kind::Progress => Ok(()),
            Kind::Free => Err(Errno::NoEnt),
        }
    }

    fn truncate(&mut self, id: NodeId) -> Call {
        if matches!(self.vfs.node(id).kind, Kind::Memory(_)) {
            let today = self.today();
            self.vfs.resize(id, 0)?;
            self.vfs.modified(id, today);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_readlink(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
        buffer: u32,
        buffer_len: u32,
        out: u32,
    ) -> Call {
        let id = self.vfs.lookup(self.dir(fd, PATH_READLINK)?, m.text(path, len)?, false)?;
        let Kind::Link(text) = &self.vfs.node(id).kind else { return Err(Errno::Inval) };
        let bytes = &text.as_bytes()[..text.len().min(buffer_len as usize)];
        self.moved += bytes.len() as u64;
        m.put(buffer, bytes)?;
        m.put_u32(out, bytes.len() as u32)
    }

    pub(super) fn path_remove_directory(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
    ) -> Call {
        let found = self.vfs.resolve(self.dir(fd, PATH_REMOVE_DIRECTORY)?, m.text(path, len)?, false)?;
        self.remove(&found, true)
    }

    pub(super) fn path_unlink_file(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32) -> Call {
        let found = self.vfs.resolve(self.dir(fd, PATH_UNLINK_FILE)?, m.text(path, len)?, false)?;
        self.remove(&found, false)
    }

    fn remove(&mut self, found: &Found, is_dir: bool) -> Call {
        let today = self.today();
        match &found.name {
            Some(name) => self.vfs.unlink(found.folder, name, is_dir, today),
            None => Err(Errno::Inval),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn path_rename(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
        to: u32,
        new: u32,
        new_len: u32,
    ) -> Call {
        let from = self.vfs.resolve(self.dir(fd, PATH_RENAME_SOURCE)?, m.text(path, len)?, false)?;
        let to = self.vfs.resolve(self.dir(to, PATH_RENAME_TARGET)?, m.text(new, new_len)?, false)?;
        let today = self.today();
        let (Some(old), Some(new)) = (&from.name, &to.name) else { return Err(Errno::Inval) };
        let id = from.id.ok_or(Errno::NoEnt)?;
        if to.is_slashed && !self.vfs.is_dir(id) {
            return Err(Errno::NotDir);
        }
        self.vfs.rename((from.folder, old), (to.folder, new), today)
    }

    pub(super) fn path_symlink(
        &mut self,
        m: &mut GuestMemory<'_>,
        old: u32,
        old_len: u32,
        fd: u32,
        new: u32,
        new_len: u32,
    ) -> Call {
        let text = m.text(old, old_len)?;
        let found = self.vfs.resolve(self.dir(fd, PATH_SYMLINK)?, m.text(new, new_len)?, false)?;
        let today = self.today();
        match found {
            Found { id: Some(_), .. } | Found { name: None, .. } => Err(Errno::Exist),
            Found { is_slashed: true, .. } => Err(Errno::NoEnt),
            Found { folder, name: Some(name), .. } => {
                self.moved += text.len() as u64;
                self.vfs.create_link(folder, &name, text, today).map(drop)
            }
        }
    }
}
