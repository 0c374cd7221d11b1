//! The files a job sees: a tree in memory, with inputs read from opened host files.
//!
//! Deterministic by construction: names are kept in order, inode numbers are positions, times are
//! the job's own clock.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::wasi::Errno;

pub(crate) type NodeId = usize;
pub(crate) const ROOT: NodeId = 0;
const MAX_NODES: usize = 100_000;
/// What a name costs against the disk quota, so that empty files are not free.
const NODE_COST: u64 = 256;

/// The tree and its quota.
pub(crate) struct Vfs {
    nodes: Vec<Node>,
    /// Places of removed nodes, to be used again.
    free: Vec<NodeId>,
    quota: u64,
    used: u64,
    peak: u64,
}

pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// False for inputs and devices.
    pub(crate) writable: bool,
    pub(crate) parent: NodeId,
    /// The job's clock at the last change, nanoseconds.
    pub(crate) modified: u64,
    links: u32,
    opens: u32,
}

pub(crate) enum Kind {
    Dir(BTreeMap<String, NodeId>),
    Memory(Vec<u8>),
    Host {
        file: File,
        len: u64,
    },
    Null,
    /// Numbers written here are the job's progress in percent.
    Progress,
}

/// The tree as a checkpoint keeps it. Inputs are kept by their place; their bytes are the job's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VfsState {
    nodes: Vec<NodeState>,
    free: Vec<u32>,
    used: u64,
    peak: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NodeState {
    kind: KindState,
    writable: bool,
    parent: u32,
    modified: u64,
    links: u32,
    opens: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum KindState {
    Dir(Vec<(String, u32)>),
    Memory(#[serde(with = "serde_bytes")] Vec<u8>),
    /// An input of this length.
    Host(u64),
    Null,
    Progress,
}

impl Vfs {
    pub(crate) fn state(&self) -> VfsState {
        let small = |id: &NodeId| *id as u32;
        let node = |node: &Node| NodeState {
            kind: match &node.kind {
                Kind::Dir(children) => KindState::Dir(children.iter().map(|(name, id)| (name.clone(), small(id))).collect()),
                Kind::Memory(data) => KindState::Memory(data.clone()),
                Kind::Host { len, .. } => KindState::Host(*len),
                Kind::Null => KindState::Null,
                Kind::Progress => KindState::Progress,
            },
            writable: node.writable,
            parent: small(&node.parent),
            modified: node.modified,
            links: node.links,
            opens: node.opens,
        };
        VfsState { nodes: self.nodes.iter().map(node).collect(), free: self.free.iter().map(small).collect(), used: self.used, peak: self.peak }
    }

    /// Takes the state of a checkpoint over a fresh tree with the same inputs.
    ///
    /// The state may come from anywhere: every number in it is checked.
    pub(crate) fn restore(&mut self, state: VfsState) -> Result<(), String> {
        let count = state.nodes.len();
        if count < self.nodes.len() || count > MAX_NODES || state.used > self.quota {
            return Err("its files do not fit this task".to_owned());
        }
        let place = |id: u32| usize::try_from(id).ok().filter(|id| *id < count).ok_or_else(|| "a file has no place".to_owned());
        let mut fresh: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        for (id, node) in state.nodes.into_iter().enumerate() {
            let kind = match node.kind {
                KindState::Dir(children) => Kind::Dir(children.into_iter().map(|(name, id)| Ok((name, place(id)?))).collect::<Result<_, String>>()?),
                KindState::Memory(data) => Kind::Memory(data),
                KindState::Host(len) => match fresh.get_mut(id).and_then(Option::take).map(|node| node.kind) {
                    Some(Kind::Host { file, len: here }) if here == len => Kind::Host { file, len },
                    _ => return Err("an input is not the one it was taken with".to_owned()),
                },
                KindState::Null => Kind::Null,
                KindState::Progress => Kind::Progress,
            };
            let (writable, modified, links, opens) = (node.writable, node.modified, node.links, node.opens);
            self.nodes.push(Node { kind, writable, parent: place(node.parent)?, modified, links, opens });
        }
        if !self.is_dir(ROOT) || self.has_cycle() {
            return Err("its folders do not form a tree".to_owned());
        }
        self.free = state.free.into_iter().map(place).collect::<Result<_, String>>()?;
        (self.used, self.peak) = (state.used, state.peak);
        Ok(())
    }

    /// Whether some folder cannot reach the root by its parents.
    fn has_cycle(&self) -> bool {
        (0..self.nodes.len()).any(|id| {
            let mut at = id;
            let mut steps = 0;
            while at != ROOT && steps <= 4096 {
                at = self.nodes[at].parent;
                steps += 1;
            }
            at != ROOT
        })
    }

    pub(crate) fn new(quota: u64) -> Self {
        let root = Node { kind: Kind::Dir(BTreeMap::new()), writable: true, parent: ROOT, modified: 0, links: 1, opens: 1 };
        let mut vfs = Self { nodes: vec![root], free: Vec::new(), quota, used: 0, peak: 0 };
        let dev = vfs.attach(ROOT, "dev", Kind::Dir(BTreeMap::new()));
        vfs.attach(dev, "null", Kind::Null);
        vfs.attach(dev, "progress", Kind::Progress);
        vfs.attach(ROOT, "in", Kind::Dir(BTreeMap::new()));
        vfs
    }

    /// Puts a read-only host file at `/in/<name>`, making folders on the way.
    pub(crate) fn add_input(&mut self, name: &str, file: File) -> io::Result<()> {
        let len = file.metadata()?.len();
        let mut at = self.child(ROOT, "in").ok_or(io::ErrorKind::NotFound)?;
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                self.attach(at, part, Kind::Host { file, len });
                return Ok(());
            }
            at = match self.child(at, part) {
                Some(next) => next,
                None => self.attach(at, part, Kind::Dir(BTreeMap::new())),
            };
        }
        Ok(())
    }

    fn attach(&mut self, parent: NodeId, name: &str, kind: Kind) -> NodeId {
        let node = Node { kind, writable: false, parent, modified: 0, links: 1, opens: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        if let Kind::Dir(children) = &mut self.nodes[parent].kind {
            children.insert(name.to_owned(), id);
        }
        id
    }

    pub(crate) fn has(&self, id: NodeId) -> bool {
        id < self.nodes.len()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn child(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        match &self.nodes[dir].kind {
            Kind::Dir(children) => children.get(name).copied(),
            _ => None,
        }
    }

    /// Most bytes its state can take, names and all.
    pub(crate) fn state_limit(&self) -> u64 {
        self.quota.saturating_mul(2).saturating_add(16 << 20)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    pub(crate) fn is_dir(&self, id: NodeId) -> bool {
        matches!(self.nodes[id].kind, Kind::Dir(_))
    }

    pub(crate) fn size(&self, id: NodeId) -> u64 {
        match &self.nodes[id].kind {
            Kind::Memory(data) => data.len() as u64,
            Kind::Host { len, .. } => *len,
            _ => 0,
        }
    }

    pub(crate) fn links(&self, id: NodeId) -> u64 {
        u64::from(self.nodes[id].links)
    }

    pub(crate) fn opened(&mut self, id: NodeId) {
        self.nodes[id].opens += 1;
    }

    pub(crate) fn closed(&mut self, id: NodeId) {
        self.nodes[id].opens = self.nodes[id].opens.saturating_sub(1);
        self.release(id);
    }

    /// Frees the bytes of a file that nobody can reach any more.
    fn release(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.links == 0 && node.opens == 0 && node.writable {
            let bytes = if let Kind::Memory(data) = &node.kind { data.len() as u64 } else { 0 };
            node.kind = Kind::Null;
            node.writable = false;
            self.used -= (bytes + NODE_COST).min(self.used);
            self.free.push(id);
        }
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Errno> {
        if self.used.saturating_add(bytes) > self.quota {
            return Err(Errno::NoSpc);
        }
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Ok(())
    }

    /// Walks `path` from `dir`. Returns the folder and the last name; `None` as a name means the
    /// path names the folder itself (`.`, `/`, `a/..`).
    pub(crate) fn locate<'p>(&self, dir: NodeId, path: &'p str) -> Result<(NodeId, Option<&'p str>), Errno> {
        if path.is_empty() {
            return Err(Errno::NoEnt);
        }
        if path.len() > 4096 {
            return Err(Errno::NameTooLong);
        }
        let mut at = dir;
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
        while let Some(part) = parts.next() {
            if part.len() > 255 {
                return Err(Errno::NameTooLong);
            }
            if part == ".." {
                // The root is its own parent: there is nothing above to reach.
                at = self.nodes[at].parent;
            } else if parts.peek().is_none() {
                if !self.is_dir(at) {
                    return Err(Errno::NotDir);
                }
                if path.ends_with('/') && self.child(at, part).is_some_and(|id| !self.is_dir(id)) {
                    return Err(Errno::NotDir);
                }
                return Ok((at, Some(part)));
            } else {
                let next = self.child(at, part).ok_or(Errno::NoEnt)?;
                if !self.is_dir(next) {
                    return Err(Errno::NotDir);
                }
                at = next;
            }
        }
        Ok((at, None))
    }

    /// The node that `path` names.
    pub(crate) fn lookup(&self, dir: NodeId, path: &str) -> Result<NodeId, Errno> {
        match self.locate(dir, path)? {
            (folder, None) => Ok(folder),
            (folder, Some(name)) => self.child(folder, name).ok_or(Errno::NoEnt),
        }
    }

    pub(crate) fn create(&mut self, folder: NodeId, name: &str, is_dir: bool, now: u64) -> Result<NodeId, Errno> {
        if !self.nodes[folder].writable {
            return Err(Errno::RoFs);
        }
        if self.nodes[folder].links == 0 {
            return Err(Errno::NoEnt);
        }
        if self.free.is_empty() && self.nodes.len() >= MAX_NODES {
            return Err(Errno::NoSpc);
        }
        self.charge(NODE_COST)?;
        let kind = if is_dir { Kind::Dir(BTreeMap::new()) } else { Kind::Memory(Vec::new()) };
        let id = self.attach(folder, name, kind);
        self.nodes[id].writable = true;
        self.touch(id, now);
        self.touch(folder, now);
        Ok(id)
    }

    pub(crate) fn touch(&mut self, id: NodeId, now: u64) {
        self.nodes[id].modified = now;
    }

    pub(crate) fn unlink(&mut self, folder: NodeId, name: &str, want_dir: bool, now: u64) -> Result<(), Errno> {
        let id = self.child(folder, name).ok_or(Errno::NoEnt)?;
        match (&self.nodes[id].kind, want_dir) {
            (Kind::Dir(_), false) => return Err(Errno::IsDir),
            (Kind::Dir(children), true) if !children.is_empty() => return Err(Errno::NotEmpty),
            (Kind::Dir(_), true) | (_, false) => {}
            (_, true) => return Err(Errno::NotDir),
        }
        if !self.nodes[id].writable || !self.nodes[folder].writable {
            return Err(Errno::RoFs);
        }
        self.detach(folder, name, id);
        self.touch(folder, now);
        Ok(())
    }

    fn detach(&mut self, folder: NodeId, name: &str, id: NodeId) {
        if let Kind::Dir(children) = &mut self.nodes[folder].kind {
            children.remove(name);
        }
        self.nodes[id].links = 0;
        self.release(id);
    }

    pub(crate) fn rename(&mut self, from: (NodeId, &str), to: (NodeId, &str), now: u64) -> Result<(), Errno> {
        let id = self.child(from.0, from.1).ok_or(Errno::NoEnt)?;
        if !self.nodes[id].writable || !self.nodes[from.0].writable || !self.nodes[to.0].writable {
            return Err(Errno::RoFs);
        }
        let mut above = to.0;
        while above != ROOT {
            if above == id {
                return Err(Errno::Inval);
            }
            above = self.nodes[above].parent;
        }
        if let Some(old) = self.child(to.0, to.1) {
            if old == id {
                return Ok(());
            }
            match (self.is_dir(id), &self.nodes[old].kind) {
                (true, Kind::Dir(children)) if !children.is_empty() => return Err(Errno::NotEmpty),
                (true, Kind::Dir(_)) => {}
                (true, _) => return Err(Errno::NotDir),
                (false, Kind::Dir(_)) => return Err(Errno::IsDir),
                (false, _) => {}
            }
            self.detach(to.0, to.1, old);
        }
        if let Kind::Dir(children) = &mut self.nodes[from.0].kind {
            children.remove(from.1);
        }
        if let Kind::Dir(children) = &mut self.nodes[to.0].kind {
            children.insert(to.1.to_owned(), id);
        }
        self.nodes[id].parent = to.0;
        self.touch(from.0, now);
        self.touch(to.0, now);
        Ok(())
    }

    pub(crate) fn read_at(&self, id: NodeId, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
        match &self.nodes[id].kind {
            Kind::Memory(data) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
                let n = buffer.len().min(data.len() - start);
                buffer[..n].copy_from_slice(&data[start..start + n]);
                Ok(n)
            }
            Kind::Host { file, len } => read_host(file, *len, buffer, at),
            Kind::Null | Kind::Progress => Ok(0),
            Kind::Dir(_) => Err(Errno::IsDir),
        }
    }

    pub(crate) fn write_at(&mut self, id: NodeId, bytes: &[u8], at: u64, now: u64) -> Result<usize, Errno> {
        let Kind::Memory(data) = &self.nodes[id].kind else {
            return match self.nodes[id].kind {
                Kind::Null | Kind::Progress => Ok(bytes.len()),
                Kind::Dir(_) => Err(Errno::IsDir),
                _ => Err(Errno::RoFs),
            };
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        let old = data.len() as u64;
        let end = at.checked_add(bytes.len() as u64).ok_or(Errno::FBig)?;
        // As on a full disk: write what fits, and only fail when nothing does.
        let room = self.quota.saturating_sub(self.used);
        let end = end.min(old.max(old.saturating_add(room)));
        if end <= at {
            return Err(Errno::NoSpc);
        }
        let taken = (end - at) as usize;
        self.resize(id, old.max(end))?;
        if let Kind::Memory(data) = &mut self.nodes[id].kind {
            data[at as usize..end as usize].copy_from_slice(&bytes[..taken]);
        }
        self.touch(id, now);
        Ok(taken)
    }

    pub(crate) fn resize(&mut self, id: NodeId, len: u64) -> Result<(), Errno> {
        let old = self.size(id);
        if len > old {
            self.charge(len - old)?;
        }
        let Kind::Memory(data) = &mut self.nodes[id].kind else { return Err(Errno::RoFs) };
        let target = usize::try_from(len).map_err(|_| Errno::FBig)?;
        if target > data.len() {
            if data.try_reserve(target - data.len()).is_err() {
                self.used -= len - old;
                return Err(Errno::NoSpc);
            }
        } else {
            self.used -= (old - len).min(self.used);
        }
        data.resize(target, 0);
        Ok(())
    }

    /// Every file outside `/in`, `/dev` and `/tmp`, in path order: what the job leaves.
    pub(crate) fn outputs(self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        let mut nodes: Vec<Option<Kind>> = self.nodes.into_iter().map(|node| Some(node.kind)).collect();
        while let Some((path, id)) = open.pop() {
            match nodes[id].take() {
                Some(Kind::Dir(children)) => {
                    for (name, child) in children {
                        if path.is_empty() && matches!(name.as_str(), "in" | "dev" | "tmp") {
                            continue;
                        }
                        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                        open.push((path, child));
                    }
                }
                Some(Kind::Memory(data)) => found.push((path, data)),
                _ => {}
            }
        }
        found.sort();
        found
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

/// Short reads depend on the host; the job must not see them.
fn read_fully(len: u64, buffer: &mut [u8], at: u64, mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> Result<usize, Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(vfs: &mut Vfs, name: &str) -> NodeId {
        vfs.create(ROOT, name, false, 0).unwrap()
    }

    #[test]
    fn a_write_past_the_quota_is_cut_and_the_next_fails() {
        let mut vfs = Vfs::new(NODE_COST + 10);
        let id = file(&mut vfs, "a");
        assert_eq!(vfs.write_at(id, &[1; 16], 0, 0), Ok(10));
        assert_eq!(vfs.write_at(id, &[1; 16], 10, 0), Err(Errno::NoSpc));
        assert_eq!(vfs.write_at(id, &[2; 4], 0, 0), Ok(4), "overwriting costs nothing");
        assert_eq!(vfs.create(ROOT, "b", false, 0), Err(Errno::NoSpc));
    }

    #[test]
    fn removing_a_file_gives_its_room_back_once_it_is_closed() {
        let mut vfs = Vfs::new(NODE_COST + 10);
        let id = file(&mut vfs, "a");
        vfs.opened(id);
        vfs.write_at(id, &[1; 10], 0, 0).unwrap();
        vfs.unlink(ROOT, "a", false, 0).unwrap();
        assert_eq!(vfs.create(ROOT, "b", false, 0), Err(Errno::NoSpc));
        vfs.closed(id);
        assert!(vfs.create(ROOT, "b", false, 0).is_ok());
    }

    #[test]
    fn nothing_lies_above_the_root() {
        let vfs = Vfs::new(0);
        assert_eq!(vfs.lookup(ROOT, "../../../in"), vfs.lookup(ROOT, "in"));
        assert_eq!(vfs.lookup(ROOT, "/../.."), Ok(ROOT));
        assert_eq!(vfs.lookup(ROOT, "in/passwd"), Err(Errno::NoEnt));
    }

    #[test]
    fn inputs_and_devices_cannot_be_changed() {
        let mut vfs = Vfs::new(1 << 20);
        let input = vfs.lookup(ROOT, "in").unwrap();
        assert_eq!(vfs.create(input, "x", false, 0), Err(Errno::RoFs));
        assert_eq!(vfs.unlink(ROOT, "in", true, 0), Err(Errno::RoFs));
        assert_eq!(vfs.rename((ROOT, "in"), (ROOT, "mine"), 0), Err(Errno::RoFs));
    }

    #[test]
    fn a_folder_cannot_move_into_itself() {
        let mut vfs = Vfs::new(1 << 20);
        let a = vfs.create(ROOT, "a", true, 0).unwrap();
        let b = vfs.create(a, "b", true, 0).unwrap();
        assert_eq!(vfs.rename((ROOT, "a"), (b, "c"), 0), Err(Errno::Inval));
    }

    #[test]
    fn outputs_leave_out_inputs_devices_and_scratch() {
        let mut vfs = Vfs::new(1 << 20);
        let out = vfs.create(ROOT, "out", true, 0).unwrap();
        let tmp = vfs.create(ROOT, "tmp", true, 0).unwrap();
        vfs.create(out, "b", false, 0).unwrap();
        vfs.create(tmp, "scratch", false, 0).unwrap();
        file(&mut vfs, "a");
        let names: Vec<String> = vfs.outputs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "out/b"]);
    }
}
