//! Names of nodes: create, link, rename, remove.

use super::paths::check_said;
use super::{Dir, Kind, MAX_NODES, MAX_PATH_BYTES, NODE_COST, Node, NodeId, ROOT, Vfs};
use crate::wasi::Errno;

impl Vfs {
    pub(crate) fn create_file(&mut self, folder: NodeId, name: &str, now: u64) -> Result<NodeId, Errno> {
        self.create(folder, name, Kind::Memory(super::Content::default()), 0, now)
    }

    pub(crate) fn create_dir(&mut self, folder: NodeId, name: &str, now: u64) -> Result<NodeId, Errno> {
        self.create(folder, name, Kind::Dir(Dir::default()), 0, now)
    }

    /// Makes a symbolic link with the text `text`, whose target need not exist.
    pub(crate) fn create_link(
        &mut self,
        folder: NodeId,
        name: &str,
        text: &str,
        now: u64,
    ) -> Result<NodeId, Errno> {
        check_said(text)?;
        self.create(folder, name, Kind::Link(text.into()), text.len() as u64, now)
    }

    fn create(
        &mut self,
        folder: NodeId,
        name: &str,
        kind: Kind,
        bytes: u64,
        now: u64,
    ) -> Result<NodeId, Errno> {
        self.check_new(folder, name)?;
        if self.free.is_empty() && self.nodes.len() >= MAX_NODES + self.fixed {
            return Err(Errno::NoSpc);
        }
        self.charge(NODE_COST + bytes)?;
        let node =
            Node { kind, writable: true, parent: ROOT, name_bytes: 0, times: [now; 3], links: 0, opens: 0 };
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
        self.attach(folder, name, id);
        self.modified(folder, now);
        Ok(id)
    }

    /// Checks that `folder` can take a name of this length.
    fn check_new(&self, folder: NodeId, name: &str) -> Result<(), Errno> {
        let node = self.node(folder);
        if !node.writable {
            return Err(Errno::RoFs);
        }
        // The folder was removed while it is open: nothing can be added to it.
        if node.links == 0 {
            return Err(Errno::NoEnt);
        }
        if self.names >= MAX_NODES {
            return Err(Errno::NoSpc);
        }
        if self.prefix_bytes(folder) + name.len() > MAX_PATH_BYTES { Err(Errno::NameTooLong) } else { Ok(()) }
    }

    /// Bytes before a name in `folder` in a path from the root.
    fn prefix_bytes(&self, mut folder: NodeId) -> usize {
        let mut bytes = 0;
        while folder != ROOT {
            self.visit(1);
            bytes += usize::from(self.node(folder).name_bytes) + 1;
            folder = self.node(folder).parent;
        }
        bytes
    }

    /// Length of the longest path below `folder`, relative to it, in bytes.
    fn longest_below(&self, folder: NodeId) -> usize {
        let (mut longest, mut open) = (0, vec![(folder, 0)]);
        while let Some((id, prefix)) = open.pop() {
            let Kind::Dir(dir) = &self.node(id).kind else { continue };
            self.visit(dir.len() as u64 + 1);
            for (name, child) in dir.iter() {
                longest = longest.max(prefix + name.len());
                if self.is_dir(child) {
                    open.push((child, prefix + name.len() + 1));
                }
            }
        }
        longest
    }

    /// Adds a name for `id`, which the caller has checked.
    pub(super) fn attach(&mut self, folder: NodeId, name: &str, id: NodeId) {
        if let Kind::Dir(dir) = &mut self.nodes[folder].kind {
            dir.insert(name, id);
        }
        let node = &mut self.nodes[id];
        node.links += 1;
        (node.parent, node.name_bytes) = (folder, name.len() as u16);
        self.names += 1;
    }

    /// Gives a file another name.
    pub(crate) fn link(&mut self, id: NodeId, folder: NodeId, name: &str, now: u64) -> Result<(), Errno> {
        if self.is_dir(id) {
            return Err(Errno::Perm);
        }
        if self.child(folder, name).is_some() {
            return Err(Errno::Exist);
        }
        let node = self.node(id);
        if !node.writable {
            return Err(Errno::XDev);
        }
        if node.links == 0 {
            return Err(Errno::NoEnt);
        }
        self.check_new(folder, name)?;
        self.charge(NODE_COST)?;
        self.attach(folder, name, id);
        self.changed(id, now);
        self.modified(folder, now);
        Ok(())
    }

    pub(crate) fn unlink(
        &mut self,
        folder: NodeId,
        name: &str,
        want_dir: bool,
        now: u64,
    ) -> Result<(), Errno> {
        let id = self.child(folder, name).ok_or(Errno::NoEnt)?;
        match (&self.nodes[id].kind, want_dir) {
            (Kind::Dir(_), false) => return Err(Errno::IsDir),
            (Kind::Dir(dir), true) if !dir.is_empty() => return Err(Errno::NotEmpty),
            (Kind::Dir(_), true) | (_, false) => {}
            (_, true) => return Err(Errno::NotDir),
        }
        self.check_movable(folder, id)?;
        if let Kind::Dir(dir) = &mut self.nodes[folder].kind {
            dir.remove(name);
        }
        self.detached(id, now);
        self.modified(folder, now);
        Ok(())
    }

    /// Checks that the name of `id` in `folder` may be removed.
    fn check_movable(&self, folder: NodeId, id: NodeId) -> Result<(), Errno> {
        if !self.node(id).writable || !self.node(folder).writable {
            return Err(Errno::RoFs);
        }
        if id < self.fixed { Err(Errno::Busy) } else { Ok(()) }
    }

    /// Updates a node after one of its names was removed.
    fn detached(&mut self, id: NodeId, now: u64) {
        self.names = self.names.saturating_sub(1);
        let node = &mut self.nodes[id];
        node.links = node.links.saturating_sub(1);
        if node.links > 0 {
            self.refund(NODE_COST);
        } else {
            // Its folder may be removed before it is.
            self.nodes[id].parent = ROOT;
        }
        self.changed(id, now);
        self.release(id);
    }

    pub(crate) fn rename(&mut self, from: (NodeId, &str), to: (NodeId, &str), now: u64) -> Result<(), Errno> {
        let id = self.child(from.0, from.1).ok_or(Errno::NoEnt)?;
        self.check_movable(from.0, id)?;
        let target = self.node(to.0);
        if !target.writable {
            return Err(Errno::RoFs);
        }
        if target.links == 0 {
            return Err(Errno::NoEnt);
        }
        self.check_not_inside(id, to.0)?;
        let replaced = self.child(to.0, to.1);
        if let Some(old) = replaced {
            // Two names of the same file: nothing to do.
            if old == id {
                return Ok(());
            }
            match (self.is_dir(id), &self.nodes[old].kind) {
                (true, Kind::Dir(dir)) if !dir.is_empty() => return Err(Errno::NotEmpty),
                (true, Kind::Dir(_)) => {}
                (true, _) => return Err(Errno::NotDir),
                (false, Kind::Dir(_)) => return Err(Errno::IsDir),
                (false, _) => {}
            }
            self.check_movable(to.0, old)?;
        }
        self.check_length(id, from, to)?;
        if from.0 == to.0 {
            if let Kind::Dir(dir) = &mut self.nodes[to.0].kind {
                dir.rename(from.1, to.1);
            }
        } else {
            if let Kind::Dir(dir) = &mut self.nodes[from.0].kind {
                dir.remove(from.1);
            }
            if let Kind::Dir(dir) = &mut self.nodes[to.0].kind {
                dir.insert(to.1, id);
            }
        }
        (self.nodes[id].parent, self.nodes[id].name_bytes) = (to.0, to.1.len() as u16);
        if let Some(old) = replaced {
            self.detached(old, now);
        }
        self.changed(id, now);
        self.modified(from.0, now);
        self.modified(to.0, now);
        Ok(())
    }

    /// Checks that a folder does not move to below itself.
    fn check_not_inside(&self, id: NodeId, mut folder: NodeId) -> Result<(), Errno> {
        while folder != ROOT {
            self.visit(1);
            if folder == id {
                return Err(Errno::Inval);
            }
            folder = self.node(folder).parent;
        }
        Ok(())
    }

    /// Checks that the paths of everything that moves stay within bounds.
    fn check_length(&self, id: NodeId, from: (NodeId, &str), to: (NodeId, &str)) -> Result<(), Errno> {
        let (old, new) = (self.prefix_bytes(from.0) + from.1.len(), self.prefix_bytes(to.0) + to.1.len());
        let below = if new > old && self.is_dir(id) { self.longest_below(id) } else { 0 };
        let bytes = if below > 0 { new + 1 + below } else { new };
        if bytes > MAX_PATH_BYTES { Err(Errno::NameTooLong) } else { Ok(()) }
    }
}
