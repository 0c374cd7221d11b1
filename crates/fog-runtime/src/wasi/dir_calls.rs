use super::context::Target;
use super::rights::FD_READDIR;
use super::{BYTES_PER_UNIT, Call, Context, Errno, GuestMemory, VISIT_UNITS};
use crate::vfs::{Kind, ROOT};

/// Bytes of an entry before its name.
const ENTRY_BYTES: usize = 24;
/// Number of cookies for the dots; entries follow by slot.
const DOT_COOKIES: u64 = 2;

/// Calls on open folders.
impl Context {
    pub(super) fn fd_prestat_get(&mut self, m: &mut GuestMemory<'_>, fd: u32, out: u32) -> Call {
        // The job has one preopened folder: its root, on descriptor 3.
        if fd != 3 || self.dir(3, 0) != Ok(ROOT) {
            return Err(Errno::BadF);
        }
        m.put_u32(out, 0)?;
        m.put_u32(super::memory::offset(out, 4)?, 1)
    }

    pub(super) fn fd_prestat_dir_name(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
    ) -> Call {
        if fd != 3 || self.dir(3, 0) != Ok(ROOT) {
            return Err(Errno::BadF);
        }
        if len < 1 {
            return Err(Errno::NameTooLong);
        }
        m.put(path, b"/")
    }

    /// Lists entries by their slots. A cookie is the slot after which to continue, so it stays valid while
    /// names are added, removed or changed; names added after the beginning of a listing appear in the next
    /// one.
    pub(super) fn fd_readdir(
        &mut self,
        m: &mut GuestMemory<'_>,
        fd: u32,
        buffer: u32,
        len: u32,
        cookie: u64,
        out: u32,
    ) -> Call {
        let id = self.dir(fd, FD_READDIR)?;
        let Kind::Dir(dir) = &self.vfs.node(id).kind else { return Err(Errno::NotDir) };
        let end = if cookie == 0 { dir.next() } else { self.fd(fd)?.listing_end };
        let dots = [(1, ".", id), (DOT_COOKIES, "..", self.vfs.node(id).parent)];
        let entries = dir
            .listing(cookie.saturating_sub(DOT_COOKIES), end)
            .map(|(slot, name, child)| (slot + DOT_COOKIES + 1, name, child));
        let mut written = Vec::new();
        let mut visited: u64 = 0;
        for (next, name, child) in dots.into_iter().filter(|(next, ..)| *next > cookie).chain(entries) {
            if written.len() >= len as usize {
                break;
            }
            visited += 1;
            written.reserve(ENTRY_BYTES + name.len());
            written.extend_from_slice(&next.to_le_bytes());
            written.extend_from_slice(&Self::inode(child).to_le_bytes());
            written.extend_from_slice(&(name.len() as u32).to_le_bytes());
            written.push(self.file_type(Target::Node(child)));
            written.extend_from_slice(&[0; 3]);
            written.extend_from_slice(name.as_bytes());
        }
        self.vfs.work(visited * VISIT_UNITS + written.len() as u64 / BYTES_PER_UNIT);
        written.truncate(len as usize);
        m.put(buffer, &written)?;
        self.fd_mut(fd)?.listing_end = end;
        m.put_u32(out, written.len() as u32)
    }
}
