use super::context::{FDFLAGS, Target};
use super::rights::{
    FD_ADVISE, FD_ALLOCATE, FD_DATASYNC, FD_FDSTAT_SET_FLAGS, FD_FILESTAT_GET, FD_FILESTAT_SET_SIZE,
    FD_FILESTAT_SET_TIMES, FD_READ, FD_SEEK, FD_SYNC, FD_TELL, FD_WRITE,
};
use super::{Call, Context, Errno, GuestMemory};
use crate::vfs::{Kind, NodeId};

const TYPE_UNKNOWN: u8 = 0;
const TYPE_CHARACTER: u8 = 2;
const TYPE_DIRECTORY: u8 = 3;
const TYPE_REGULAR: u8 = 4;
const TYPE_LINK: u8 = 7;
/// Cost of each buffer of a read or write, in bytes moved.
const IOV_BYTES: u64 = 512;
const FST_ATIM: u32 = 1;
const FST_ATIM_NOW: u32 = 1 << 1;
const FST_MTIM: u32 = 1 << 2;
const FST_MTIM_NOW: u32 = 1 << 3;

/// Calls on open files.
impl Context {
    pub(super) fn fd_advise(
        &mut self,
        _m: &mut GuestMemory<'_>,
        fd: u32,
        _offset: u64,
        _len: u64,
        advice: u32,
    ) -> Call {
        self.node_of(fd)?;
        self.allowed(fd, FD_ADVISE)?;
        if advice > 5 { Err(Errno::Inval) } else { Ok(()) }
    }

    pub(super) fn fd_allocate(&mut self, _m: &mut GuestMemory<'_>, fd: u32, offset: u64, len: u64) -> Call {
        let id = self.writable_node(fd)?;
        self.allowed(fd, FD_ALLOCATE)?;
        let end = offset.checked_add(len).ok_or(Errno::FBig)?;
        let today = self.today();
        if end > self.vfs.size(id) {
            self.vfs.resize(id, end)?;
            self.vfs.modified(id, today);
        }
        Ok(())
    }

    pub(super) fn fd_close(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.close(fd)
    }

    pub(super) fn fd_datasync(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.allowed(fd, FD_DATASYNC).map(drop)
    }

    pub(super) fn fd_sync(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.allowed(fd, FD_SYNC).map(drop)
    }

    pub(super) fn fd_fdstat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        let entry = *self.fd(fd)?;
        let mut stat = [0u8; 24];
        stat[0] = self.file_type(entry.target);
        stat[2..4].copy_from_slice(&entry.flags.to_le_bytes());
        stat[8..16].copy_from_slice(&entry.rights.base.to_le_bytes());
        stat[16..24].copy_from_slice(&entry.rights.inheriting.to_le_bytes());
        m.put(out, &stat)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, _m: &mut GuestMemory<'_>, fd: u32, flags: u32) -> Call {
        self.allowed(fd, FD_FDSTAT_SET_FLAGS)?;
        let flags = u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS == 0).ok_or(Errno::Inval)?;
        self.fd_mut(fd)?.flags = flags;
        Ok(())
    }

    pub(super) fn fd_fdstat_set_rights(
        &mut self,
        _m: &mut GuestMemory<'_>,
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> Call {
        self.fd_mut(fd)?.rights.limit(base, inheriting)
    }

    pub(super) fn fd_filestat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        let target = self.allowed(fd, FD_FILESTAT_GET)?.target;
        m.put(out, &self.filestat(target))
    }

    pub(super) fn fd_filestat_set_size(&mut self, _m: &mut GuestMemory<'_>, fd: u32, size: u64) -> Call {
        let id = self.writable_node(fd)?;
        self.allowed(fd, FD_FILESTAT_SET_SIZE)?;
        let today = self.today();
        self.vfs.resize(id, size)?;
        self.vfs.modified(id, today);
        Ok(())
    }

    pub(super) fn fd_filestat_set_times(
        &mut self,
        _m: &mut GuestMemory<'_>,
        fd: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> Call {
        let id = self.node_of(fd)?;
        self.allowed(fd, FD_FILESTAT_SET_TIMES)?;
        self.set_times(id, atim, mtim, flags)
    }

    pub(super) fn set_times(&mut self, id: NodeId, atim: u64, mtim: u64, flags: u32) -> Call {
        let today = self.today();
        let time = |given: u32, now: u32, time: u64| match (flags & given != 0, flags & now != 0) {
            (true, true) => Err(Errno::Inval),
            (true, false) => Ok(Some(time)),
            (false, true) => Ok(Some(today)),
            (false, false) => Ok(None),
        };
        let (accessed, modified) = (time(FST_ATIM, FST_ATIM_NOW, atim)?, time(FST_MTIM, FST_MTIM_NOW, mtim)?);
        if flags > FST_ATIM | FST_ATIM_NOW | FST_MTIM | FST_MTIM_NOW {
            return Err(Errno::Inval);
        }
        if !self.vfs.node(id).writable {
            return Err(Errno::RoFs);
        }
        self.vfs.set_times(id, accessed, modified, today);
        Ok(())
    }

    pub(super) fn fd_pread(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        count: u32,
        offset: u64,
        out: u32,
    ) -> Call {
        let id = self.readable_node(fd)?;
        let total = self.read_into(m, id, iovs, count, offset)?;
        m.put_u32(out, total)
    }

    pub(super) fn fd_read(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        count: u32,
        out: u32,
    ) -> Call {
        let id = self.readable_node(fd)?;
        let position = self.fd(fd)?.position;
        let total = self.read_into(m, id, iovs, count, position)?;
        self.fd_mut(fd)?.position = position.saturating_add(u64::from(total));
        m.put_u32(out, total)
    }

    fn read_into(
        &mut self,
        m: &mut GuestMemory<'_>,
        id: NodeId,
        iovs: u32,
        count: u32,
        mut at: u64,
    ) -> Result<u32, Errno> {
        let mut total = 0u32;
        let iovs = m.iovs(iovs, count)?;
        self.moved += iovs.len() as u64 * IOV_BYTES;
        for (address, len) in iovs {
            let n = self.vfs.read_at(id, m.slice_mut(address, len)?, at)?;
            at = at.saturating_add(n as u64);
            self.moved += n as u64;
            total = total.checked_add(n as u32).ok_or(Errno::Inval)?;
            if n < len as usize {
                break;
            }
        }
        Ok(total)
    }

    pub(super) fn fd_pwrite(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        count: u32,
        offset: u64,
        out: u32,
    ) -> Call {
        let id = self.writable_node(fd)?;
        let total = self.write_from(m, id, iovs, count, offset)?;
        m.put_u32(out, total)
    }

    pub(super) fn fd_write(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        count: u32,
        out: u32,
    ) -> Call {
        let entry = *self.fd(fd)?;
        let total = match entry.target {
            Target::Stdout | Target::Stderr => {
                if !entry.rights.has(FD_WRITE) {
                    return Err(Errno::BadF);
                }
                let mut total = 0u32;
                for (address, len) in m.iovs(iovs, count)? {
                    self.log(entry.target == Target::Stderr, m.slice(address, len)?);
                    total = total.checked_add(len).ok_or(Errno::Inval)?;
                }
                total
            }
            Target::Node(_) => {
                let id = self.writable_node(fd)?;
                let at = if entry.is_appending() { self.vfs.size(id) } else { entry.position };
                let total = self.write_from(m, id, iovs, count, at)?;
                self.fd_mut(fd)?.position = at.saturating_add(u64::from(total));
                total
            }
        };
        m.put_u32(out, total)
    }

    fn write_from(
        &mut self,
        m: &GuestMemory<'_>,
        id: NodeId,
        iovs: u32,
        count: u32,
        mut at: u64,
    ) -> Result<u32, Errno> {
        let today = self.today();
        let mut total = 0u32;
        let iovs = m.iovs(iovs, count)?;
        self.moved += iovs.len() as u64 * IOV_BYTES;
        for (address, len) in iovs {
            let bytes = m.slice(address, len)?;
            if self.is_progress(id) {
                self.progress(bytes);
            }
            let n = match self.vfs.write_at(id, bytes, at, today) {
                Ok(n) => n,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            };
            at = at.saturating_add(n as u64);
            self.moved += n as u64;
            total = total.checked_add(n as u32).ok_or(Errno::Inval)?;
            if n < len as usize {
                break;
            }
        }
        Ok(total)
    }

    pub(super) fn fd_renumber(&mut self, _m: &mut GuestMemory<'_>, from: u32, to: u32) -> Call {
        self.fd(from)?;
        self.fd(to)?;
        if from != to {
            self.close(to)?;
            self.fds[to as usize] = self.fds[from as usize].take();
        }
        Ok(())
    }

    pub(super) fn fd_seek(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        delta: i64,
        whence: u32,
        out: u32,
    ) -> Call {
        let id = self.node_of(fd)?;
        if self.vfs.is_dir(id) {
            return Err(Errno::BadF);
        }
        self.allowed(fd, if (delta, whence) == (0, 1) { FD_TELL } else { FD_SEEK })?;
        let base = match whence {
            0 => 0,
            1 => self.fd(fd)?.position,
            2 => self.vfs.size(id),
            _ => return Err(Errno::Inval),
        };
        let position =
            base.checked_add_signed(delta).filter(|p| i64::try_from(*p).is_ok()).ok_or(Errno::Inval)?;
        self.fd_mut(fd)?.position = position;
        m.put_u64(out, position)
    }

    pub(super) fn fd_tell(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        if self.vfs.is_dir(self.node_of(fd)?) {
            return Err(Errno::BadF);
        }
        let position = self.allowed(fd, FD_TELL)?.position;
        m.put_u64(out, position)
    }

    pub(super) fn inode(id: NodeId) -> u64 {
        // Some libraries take inode 0 for none.
        id as u64 + 1
    }

    pub(super) fn filestat(&self, target: Target) -> [u8; 64] {
        let mut stat = [0u8; 64];
        let (inode, links, size, times) = match target {
            Target::Node(id) => {
                (Self::inode(id), self.vfs.links(id), self.vfs.size(id), self.vfs.node(id).times)
            }
            Target::Stdout | Target::Stderr => (0, 1, 0, [crate::vfs::CLOCK_START_NANOS; 3]),
        };
        stat[8..16].copy_from_slice(&inode.to_le_bytes());
        stat[16] = self.file_type(target);
        stat[24..32].copy_from_slice(&links.to_le_bytes());
        stat[32..40].copy_from_slice(&size.to_le_bytes());
        for (field, time) in [40, 48, 56].into_iter().zip(times) {
            stat[field..field + 8].copy_from_slice(&time.to_le_bytes());
        }
        stat
    }

    pub(super) fn file_type(&self, target: Target) -> u8 {
        match target {
            // Like a pipe, for which preview 1 has no file type.
            Target::Stdout | Target::Stderr => TYPE_UNKNOWN,
            Target::Node(id) => match self.vfs.node(id).kind {
                Kind::Dir(_) => TYPE_DIRECTORY,
                Kind::Memory(_) | Kind::Host { .. } => TYPE_REGULAR,
                Kind::Link(_) => TYPE_LINK,
                Kind::Null | Kind::Progress => TYPE_CHARACTER,
                Kind::Free => TYPE_UNKNOWN,
            },
        }
    }

    fn readable_node(&self, fd: u32) -> Result<NodeId, Errno> {
        self.file_with(fd, FD_READ)
    }

    fn writable_node(&self, fd: u32) -> Result<NodeId, Errno> {
        self.file_with(fd, FD_WRITE)
    }

    /// Returns the file of a descriptor that was opened for this right.
    fn file_with(&self, fd: u32, right: u64) -> Result<NodeId, Errno> {
        let entry = self.fd(fd)?;
        match entry.target {
            Target::Node(id) if self.vfs.is_dir(id) => Err(Errno::IsDir),
            Target::Node(id) if entry.rights.has(right) => Ok(id),
            Target::Node(_) | Target::Stdout | Target::Stderr => Err(Errno::BadF),
        }
    }
}
