use super::context::{CLOCK_START_NANOS, Target};
use super::{Call, Context, Errno, GuestMemory};
use crate::vfs::{Kind, NodeId, ROOT};

const TYPE_CHARACTER: u8 = 2;
const TYPE_DIRECTORY: u8 = 3;
const TYPE_REGULAR: u8 = 4;
const FDFLAG_APPEND: u16 = 1;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;
const ALL_RIGHTS: u64 = (1 << 30) - 1;

/// The calls on open files.
impl Context {
    pub(super) fn fd_advise(&mut self, _m: &mut GuestMemory<'_>, fd: u32, _offset: u64, _len: u64, _advice: u32) -> Call {
        self.node_of(fd).map(drop)
    }

    pub(super) fn fd_allocate(&mut self, _m: &mut GuestMemory<'_>, fd: u32, offset: u64, len: u64) -> Call {
        let id = self.writable_node(fd)?;
        let end = offset.checked_add(len).ok_or(Errno::FBig)?;
        if end > self.vfs.size(id) { self.vfs.resize(id, end) } else { Ok(()) }
    }

    pub(super) fn fd_close(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.close(fd)
    }

    pub(super) fn fd_datasync(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.fd(fd).map(drop)
    }

    pub(super) fn fd_sync(&mut self, _m: &mut GuestMemory<'_>, fd: u32) -> Call {
        self.fd(fd).map(drop)
    }

    pub(super) fn fd_fdstat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        let entry = *self.fd(fd)?;
        let kind = self.file_type(entry.target);
        let mut rights = ALL_RIGHTS;
        if kind != TYPE_DIRECTORY {
            if !entry.readable {
                rights &= !RIGHT_READ;
            }
            if !entry.writable {
                rights &= !RIGHT_WRITE;
            }
            if kind == TYPE_CHARACTER {
                // wasi-libc takes a character device without seek and tell for a terminal.
                rights &= !(1 << 2 | 1 << 5);
            }
        }
        let mut stat = [0u8; 24];
        stat[0] = kind;
        stat[2..4].copy_from_slice(&(if entry.append { FDFLAG_APPEND } else { 0 }).to_le_bytes());
        stat[8..16].copy_from_slice(&rights.to_le_bytes());
        stat[16..24].copy_from_slice(&ALL_RIGHTS.to_le_bytes());
        m.put(out, &stat)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, _m: &mut GuestMemory<'_>, fd: u32, flags: u32) -> Call {
        self.fd_mut(fd)?.append = flags & u32::from(FDFLAG_APPEND) != 0;
        Ok(())
    }

    pub(super) fn fd_fdstat_set_rights(&mut self, _m: &mut GuestMemory<'_>, fd: u32, base: u64, _inheriting: u64) -> Call {
        let entry = self.fd_mut(fd)?;
        entry.readable &= base & RIGHT_READ != 0;
        entry.writable &= base & RIGHT_WRITE != 0;
        Ok(())
    }

    pub(super) fn fd_filestat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        let target = self.fd(fd)?.target;
        m.put(out, &self.filestat(target))
    }

    pub(super) fn fd_filestat_set_size(&mut self, _m: &mut GuestMemory<'_>, fd: u32, size: u64) -> Call {
        let id = self.writable_node(fd)?;
        let now = self.now();
        self.vfs.resize(id, size)?;
        self.vfs.touch(id, now);
        Ok(())
    }

    pub(super) fn fd_filestat_set_times(&mut self, _m: &mut GuestMemory<'_>, fd: u32, _atim: u64, mtim: u64, flags: u32) -> Call {
        let id = self.node_of(fd)?;
        self.set_times(id, mtim, flags)
    }

    pub(super) fn set_times(&mut self, id: NodeId, mtim: u64, flags: u32) -> Call {
        if !self.vfs.node(id).writable {
            return Err(Errno::RoFs);
        }
        let now = self.now();
        match flags & 0b1100 {
            0b0100 => self.vfs.touch(id, mtim.saturating_sub(CLOCK_START_NANOS)),
            0b1000 => self.vfs.touch(id, now),
            0 => {}
            _ => return Err(Errno::Inval),
        }
        Ok(())
    }

    pub(super) fn fd_pread(&mut self, m: &mut GuestMemory<'_>, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Call {
        let id = self.readable_node(fd)?;
        let total = self.read_into(m, id, iovs, count, offset)?;
        m.put_u32(out, total)
    }

    pub(super) fn fd_read(&mut self, m: &mut GuestMemory<'_>, fd: u32, iovs: u32, count: u32, out: u32) -> Call {
        let id = self.readable_node(fd)?;
        let position = self.fd(fd)?.position;
        let total = self.read_into(m, id, iovs, count, position)?;
        self.fd_mut(fd)?.position = position + u64::from(total);
        m.put_u32(out, total)
    }

    fn read_into(&mut self, m: &mut GuestMemory<'_>, id: NodeId, iovs: u32, count: u32, mut at: u64) -> Result<u32, Errno> {
        let mut total = 0u32;
        for (address, len) in m.iovs(iovs, count)? {
            let n = self.vfs.read_at(id, m.slice_mut(address, len)?, at)?;
            at += n as u64;
            self.moved += n as u64;
            total = total.checked_add(n as u32).ok_or(Errno::Inval)?;
            if n < len as usize {
                break;
            }
        }
        Ok(total)
    }

    pub(super) fn fd_prestat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        // One folder is given to the job: its own root, on descriptor 3.
        if fd != 3 || self.dir(3) != Ok(ROOT) {
            return Err(Errno::BadF);
        }
        m.put_u32(out, 0)?;
        m.put_u32(super::memory::offset(out, 4)?, 1)
    }

    pub(super) fn fd_prestat_dir_name(&mut self, m: &mut GuestMemory<'_>, fd: u32, path: u32, len: u32) -> Call {
        if fd != 3 || self.dir(3) != Ok(ROOT) {
            return Err(Errno::BadF);
        }
        if len < 1 {
            return Err(Errno::NameTooLong);
        }
        m.put(path, b"/")
    }

    pub(super) fn fd_pwrite(&mut self, m: &mut GuestMemory<'_>, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Call {
        let id = self.writable_node(fd)?;
        let total = self.write_from(m, id, iovs, count, offset)?;
        m.put_u32(out, total)
    }

    pub(super) fn fd_write(&mut self, m: &mut GuestMemory<'_>, fd: u32, iovs: u32, count: u32, out: u32) -> Call {
        let entry = *self.fd(fd)?;
        let total = match entry.target {
            Target::Stdout | Target::Stderr => {
                let mut total = 0u32;
                for (address, len) in m.iovs(iovs, count)? {
                    self.log(entry.target == Target::Stderr, m.slice(address, len)?);
                    self.moved += u64::from(len);
                    total = total.checked_add(len).ok_or(Errno::Inval)?;
                }
                total
            }
            Target::Node(_) => {
                let id = self.writable_node(fd)?;
                let at = if entry.append { self.vfs.size(id) } else { entry.position };
                let total = self.write_from(m, id, iovs, count, at)?;
                self.fd_mut(fd)?.position = at + u64::from(total);
                total
            }
        };
        m.put_u32(out, total)
    }

    fn write_from(&mut self, m: &GuestMemory<'_>, id: NodeId, iovs: u32, count: u32, mut at: u64) -> Result<u32, Errno> {
        let now = self.now();
        let mut total = 0u32;
        for (address, len) in m.iovs(iovs, count)? {
            let bytes = m.slice(address, len)?;
            if self.is_progress(id) {
                self.progress(bytes);
            }
            let n = match self.vfs.write_at(id, bytes, at, now) {
                Ok(n) => n,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            };
            at += n as u64;
            self.moved += n as u64;
            total = total.checked_add(n as u32).ok_or(Errno::Inval)?;
            if n < len as usize {
                break;
            }
        }
        Ok(total)
    }

    pub(super) fn fd_readdir(&mut self, m: &mut GuestMemory<'_>, fd: u32, buffer: u32, len: u32, cookie: u64, out: u32) -> Call {
        let dir = self.dir(fd)?;
        let Kind::Dir(children) = &self.vfs.node(dir).kind else { return Err(Errno::NotDir) };
        let dots = [(".", dir), ("..", self.vfs.node(dir).parent)];
        let names = dots.into_iter().chain(children.iter().map(|(name, id)| (name.as_str(), *id))).filter(|(name, _)| *name != "\\stdin");
        let start = usize::try_from(cookie).unwrap_or(usize::MAX);
        let mut written = Vec::new();
        for (index, (name, id)) in names.enumerate().skip(start) {
            if written.len() >= len as usize {
                break;
            }
            written.extend_from_slice(&(index as u64 + 1).to_le_bytes());
            written.extend_from_slice(&(id as u64).to_le_bytes());
            written.extend_from_slice(&(name.len() as u32).to_le_bytes());
            written.push(self.file_type(Target::Node(id)));
            written.extend_from_slice(&[0; 3]);
            written.extend_from_slice(name.as_bytes());
        }
        written.truncate(len as usize);
        self.moved += written.len() as u64;
        m.put(buffer, &written)?;
        m.put_u32(out, written.len() as u32)
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

    pub(super) fn fd_seek(&mut self, m: &mut GuestMemory<'_>, fd: u32, delta: i64, whence: u32, out: u32) -> Call {
        let id = self.node_of(fd)?;
        if self.vfs.is_dir(id) {
            return Err(Errno::BadF);
        }
        let base = match whence {
            0 => 0,
            1 => self.fd(fd)?.position,
            2 => self.vfs.size(id),
            _ => return Err(Errno::Inval),
        };
        let position = base.checked_add_signed(delta).filter(|p| i64::try_from(*p).is_ok()).ok_or(Errno::Inval)?;
        self.fd_mut(fd)?.position = position;
        m.put_u64(out, position)
    }

    pub(super) fn fd_tell(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        self.node_of(fd)?;
        let position = self.fd(fd)?.position;
        m.put_u64(out, position)
    }

    pub(super) fn filestat(&self, target: Target) -> [u8; 64] {
        let mut stat = [0u8; 64];
        let (inode, links, size, modified) = match target {
            Target::Node(id) => (id as u64, self.vfs.links(id), self.vfs.size(id), self.vfs.node(id).modified),
            Target::Stdout | Target::Stderr => (0, 1, 0, 0),
        };
        let time = CLOCK_START_NANOS.saturating_add(modified);
        stat[8..16].copy_from_slice(&inode.to_le_bytes());
        stat[16] = self.file_type(target);
        stat[24..32].copy_from_slice(&links.to_le_bytes());
        stat[32..40].copy_from_slice(&size.to_le_bytes());
        for field in [40, 48, 56] {
            stat[field..field + 8].copy_from_slice(&time.to_le_bytes());
        }
        stat
    }

    fn file_type(&self, target: Target) -> u8 {
        match target {
            Target::Stdout | Target::Stderr => TYPE_CHARACTER,
            Target::Node(id) => match self.vfs.node(id).kind {
                Kind::Dir(_) => TYPE_DIRECTORY,
                Kind::Memory(_) | Kind::Host { .. } => TYPE_REGULAR,
                Kind::Null | Kind::Progress => TYPE_CHARACTER,
            },
        }
    }

    fn readable_node(&self, fd: u32) -> Result<NodeId, Errno> {
        if !self.fd(fd)?.readable {
            return Err(Errno::BadF);
        }
        match self.fd(fd)?.target {
            Target::Node(id) if self.vfs.is_dir(id) => Err(Errno::IsDir),
            Target::Node(id) => Ok(id),
            _ => Err(Errno::BadF),
        }
    }

    fn writable_node(&self, fd: u32) -> Result<NodeId, Errno> {
        if !self.fd(fd)?.writable {
            return Err(Errno::BadF);
        }
        match self.fd(fd)?.target {
            Target::Node(id) if self.vfs.is_dir(id) => Err(Errno::IsDir),
            Target::Node(id) => Ok(id),
            _ => Err(Errno::BadF),
        }
    }
}
