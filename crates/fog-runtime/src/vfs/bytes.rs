//! Reading and writing of files, and accounting for the quota.

use std::fs::File;
use std::io;

use super::{Kind, NODE_COST, NodeId, Vfs};
use crate::wasi::{BYTES_PER_UNIT, Errno};

impl Vfs {
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), Errno> {
        if self.used.saturating_add(bytes) > self.quota {
            return Err(Errno::NoSpc);
        }
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Ok(())
    }

    pub(super) fn refund(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Cost of a node with its first name.
    pub(super) fn cost(kind: &Kind) -> u64 {
        NODE_COST
            + match kind {
                Kind::Memory(content) => content.len(),
                Kind::Link(text) => text.len() as u64,
                Kind::Dir(_) | Kind::Host { .. } | Kind::Null | Kind::Progress | Kind::Free => 0,
            }
    }

    pub(crate) fn size(&self, id: NodeId) -> u64 {
        match &self.node(id).kind {
            Kind::Memory(content) => content.len(),
            Kind::Host { len, .. } => *len,
            Kind::Link(text) => text.len() as u64,
            Kind::Dir(_) | Kind::Null | Kind::Progress | Kind::Free => 0,
        }
    }

    pub(crate) fn read_at(&self, id: NodeId, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
        match &self.node(id).kind {
            Kind::Memory(content) => Ok(content.read(buffer, at)),
            Kind::Host { file, len } => read_host(file, *len, buffer, at),
            Kind::Null | Kind::Progress => Ok(0),
            Kind::Dir(_) => Err(Errno::IsDir),
            Kind::Link(_) | Kind::Free => Err(Errno::Inval),
        }
    }

    pub(crate) fn write_at(&mut self, id: NodeId, bytes: &[u8], at: u64, now: u64) -> Result<usize, Errno> {
        let old = match &self.node(id).kind {
            Kind::Memory(content) => content.len(),
            Kind::Null | Kind::Progress => return Ok(bytes.len()),
            Kind::Dir(_) => return Err(Errno::IsDir),
            Kind::Host { .. } => return Err(Errno::RoFs),
            Kind::Link(_) | Kind::Free => return Err(Errno::Inval),
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = at.checked_add(bytes.len() as u64).ok_or(Errno::FBig)?;
        // As on a full disk, what fits is written, and only a write of nothing fails.
        let room = self.quota.saturating_sub(self.used);
        let end = end.min(old.saturating_add(room));
        if end <= at {
            return Err(Errno::NoSpc);
        }
        let taken = (end - at) as usize;
        self.resize(id, old.max(end))?;
        let Kind::Memory(content) = &mut self.nodes[id].kind else { return Err(Errno::RoFs) };
        let written = content.write(&bytes[..taken], at);
        let Ok(zeros) = written else {
            self.resize(id, old)?;
            return Err(Errno::NoSpc);
        };
        self.work(zeros as u64 / BYTES_PER_UNIT);
        self.modified(id, now);
        Ok(taken)
    }

    pub(crate) fn resize(&mut self, id: NodeId, len: u64) -> Result<(), Errno> {
        let old = self.size(id);
        if !matches!(self.node(id).kind, Kind::Memory(_)) {
            return Err(Errno::RoFs);
        }
        if len > old {
            self.charge(len - old)?;
        }
        let Kind::Memory(content) = &mut self.nodes[id].kind else { return Err(Errno::RoFs) };
        match content.set_len(len) {
            Ok(pieces) => self.visit(pieces as u64),
            Err(_) => {
                self.refund(len.saturating_sub(old));
                return Err(Errno::NoSpc);
            }
        }
        self.refund(old.saturating_sub(len));
        Ok(())
    }
}

#[cfg(unix)]
fn read_host(file: &File, len: u64, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    use std::os::unix::fs::FileExt;
    read_fully(len, buffer, at, |part, offset| file.read_at(part, offset))
}

#[cfg(windows)]
fn read_host(file: &File, len: u64, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    use std::os::windows::fs::FileExt;
    read_fully(len, buffer, at, |part, offset| file.seek_read(part, offset))
}

/// Reads until the buffer is full: short reads depend on the host and must not be visible to the job.
fn read_fully(
    len: u64,
    buffer: &mut [u8],
    at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> Result<usize, Errno> {
    let want = buffer.len().min(usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX));
    let mut done = 0;
    while done < want {
        match read(&mut buffer[done..want], at + done as u64) {
            Ok(0) => return Err(Errno::Io),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Errno::Io),
        }
    }
    Ok(done)
}
