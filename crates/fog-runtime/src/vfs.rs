//! Virtual file system of a job: a tree in memory, with inputs read from opened host files.
//!
//! Everything is deterministic: listings follow the order in which names were added, inode numbers are
//! positions, times come from the job's own clock. Everything is bounded: bytes by the quota, nodes and
//! names by [`MAX_NODES`], paths by [`MAX_PATH_BYTES`], which also bounds the depth of the tree and every
//! walk.

mod bytes;
mod content;
mod dir;
mod names;
mod outputs;
mod paths;
mod state;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io;

pub(crate) use self::content::Content;
pub(crate) use self::dir::Dir;
pub(crate) use self::paths::{Found, MAX_NAME_BYTES, MAX_SAID_BYTES, wants_folder};
pub(crate) use self::state::{VfsShown, VfsState};
use crate::wasi::VISIT_UNITS;

pub(crate) type NodeId = usize;
pub(crate) const ROOT: NodeId = 0;
/// Largest number of nodes that a job can make, and of names.
const MAX_NODES: usize = 100_000;
/// Cost of a name against the disk quota, bytes, so that empty files are not free.
const NODE_COST: u64 = 256;
/// Longest path from the root, bytes; a result allows no longer ones.
const MAX_PATH_BYTES: usize = 1024;
/// Start of every job's clock: 2020-01-01 00:00 UTC, in nanoseconds since 1970.
pub(crate) const CLOCK_START_NANOS: u64 = 1_577_836_800 * 1_000_000_000;

/// File tree with its quota.
pub(crate) struct Vfs {
    nodes: Vec<Node>,
    /// Ids of removed nodes, to be reused.
    free: Vec<NodeId>,
    /// Number of nodes that exist from the beginning and stay.
    fixed: usize,
    /// Folder whose contents are not kept.
    tmp: NodeId,
    /// Number of names that the job made.
    names: usize,
    quota: u64,
    used: u64,
    peak: u64,
    /// Units of work since the last [`Vfs::take_work`].
    work: Cell<u64>,
}

pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Whether it can be changed; false for inputs and devices.
    pub(crate) writable: bool,
    /// Folder that holds it, if it is a folder.
    pub(crate) parent: NodeId,
    /// Length of its name there.
    name_bytes: u16,
    /// Times of the last access, change of content and change of anything, nanoseconds since 1970.
    pub(crate) times: [u64; 3],
    /// Number of names.
    links: u32,
    opens: u32,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Dir(Dir),
    Memory(Content),
    Host {
        file: File,
        len: u64,
    },
    /// A symbolic link with its text.
    Link(Box<str>),
    Null,
    /// Device to which the job writes its progress in percent.
    Progress,
    /// A removed node.
    Free,
}

impl Vfs {
    pub(crate) fn new(quota: u64) -> Self {
        let mut vfs = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            fixed: 0,
            tmp: ROOT,
            names: 0,
            quota,
            used: 0,
            peak: 0,
            work: Cell::new(0),
        };
        vfs.fix(Kind::Dir(Dir::default()), true);
        vfs.nodes[ROOT].links = 1;
        let dev = vfs.fix_at(ROOT, "dev", Kind::Dir(Dir::default()), false);
        vfs.fix_at(dev, "null", Kind::Null, false);
        vfs.fix_at(dev, "progress", Kind::Progress, false);
        vfs.fix_at(ROOT, "in", Kind::Dir(Dir::default()), false);
        vfs.tmp = vfs.fix_at(ROOT, "tmp", Kind::Dir(Dir::default()), true);
        vfs
    }

    /// Adds a node that exists from the beginning.
    fn fix(&mut self, kind: Kind, writable: bool) -> NodeId {
        self.nodes.push(Node {
            kind,
            writable,
            parent: ROOT,
            name_bytes: 0,
            times: [CLOCK_START_NANOS; 3],
            links: 0,
            opens: 0,
        });
        self.fixed = self.nodes.len();
        self.nodes.len() - 1
    }

    fn fix_at(&mut self, folder: NodeId, name: &str, kind: Kind, writable: bool) -> NodeId {
        let id = self.fix(kind, writable);
        self.attach(folder, name, id);
        // Only names that the job makes are counted.
        self.names = 0;
        id
    }

    /// Adds a read-only host file as `/in/<name>`, with the folders on its path.
    pub(crate) fn add_input(&mut self, name: &str, file: File) -> io::Result<()> {
        let len = file.metadata()?.len();
        let mut at = self.child(ROOT, "in").ok_or(io::ErrorKind::NotFound)?;
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                self.fix_at(at, part, Kind::Host { file, len }, false);
                return Ok(());
            }
            at = match self.child(at, part) {
                Some(next) => next,
                None => self.fix_at(at, part, Kind::Dir(Dir::default()), false),
            };
        }
        Ok(())
    }

    /// Adds a read-only host file without a name.
    pub(crate) fn add_nameless(&mut self, file: File) -> io::Result<NodeId> {
        let len = file.metadata()?.len();
        Ok(self.fix(Kind::Host { file, len }, false))
    }

    /// Node of `/dev/null`.
    pub(crate) fn null(&self) -> NodeId {
        self.child(ROOT, "dev").and_then(|dev| self.child(dev, "null")).unwrap_or(ROOT)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn child(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        match &self.nodes[dir].kind {
            Kind::Dir(dir) => dir.get(name),
            _ => None,
        }
    }

    /// Upper bound of the bytes of its state, names included.
    pub(crate) fn state_limit(&self) -> u64 {
        self.quota.saturating_mul(2).saturating_add(16 << 20)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    pub(crate) fn is_dir(&self, id: NodeId) -> bool {
        matches!(self.nodes[id].kind, Kind::Dir(_))
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

    /// Frees the bytes of a node that has no name and is not open.
    fn release(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.links == 0 && node.opens == 0 && id >= self.fixed && !matches!(node.kind, Kind::Free) {
            let cost = Self::cost(&node.kind);
            node.kind = Kind::Free;
            node.writable = false;
            self.refund(cost);
            self.free.push(id);
        }
    }

    /// Notes a change of a node's content.
    pub(crate) fn modified(&mut self, id: NodeId, now: u64) {
        let [_, modified, changed] = &mut self.nodes[id].times;
        (*modified, *changed) = (now, now);
    }

    /// Notes a change of anything about a node.
    fn changed(&mut self, id: NodeId, now: u64) {
        self.nodes[id].times[2] = now;
    }

    /// Sets those of the times of last access and of change of content that are given.
    pub(crate) fn set_times(&mut self, id: NodeId, accessed: Option<u64>, modified: Option<u64>, now: u64) {
        let times = &mut self.nodes[id].times;
        *times = [accessed.unwrap_or(times[0]), modified.unwrap_or(times[1]), now];
    }

    /// Charges for entries, names or pieces that were visited.
    pub(crate) fn visit(&self, count: u64) {
        self.work(count.saturating_mul(VISIT_UNITS));
    }

    pub(crate) fn work(&self, units: u64) {
        self.work.set(self.work.get().saturating_add(units));
    }

    /// Returns the units of work since the last call.
    pub(crate) fn take_work(&self) -> u64 {
        self.work.take()
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of memory that files use.
    #[cfg(test)]
    pub(crate) fn resident(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| if let Kind::Memory(content) = &node.kind { content.resident() } else { 0 })
            .sum()
    }
}
