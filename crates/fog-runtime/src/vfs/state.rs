//! State of the file tree in a checkpoint.

use serde::{Deserialize, Serialize, Serializer};

use super::dir::DirState;
use super::paths::check_said;
use super::{Content, Dir, Kind, MAX_NODES, MAX_PATH_BYTES, NODE_COST, Node, NodeId, ROOT, Vfs};

/// File tree as it is read from a checkpoint. Fixed nodes are identified by position; the bytes of inputs
/// belong to the task.
///
/// Names, parents, opens and bytes used follow from the rest and are not stored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(crate) struct VfsState {
    nodes: Vec<NodeState>,
    free: Vec<u32>,
    peak: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct NodeState {
    kind: KindState,
    times: [u64; 3],
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
enum KindState {
    Dir(DirState),
    Memory(Content),
    Link(String),
    /// An input of this length.
    Host(u64),
    /// A device, or a folder that cannot be changed.
    Given,
    Free,
}

/// File tree as it is written to a checkpoint: the format of [`VfsState`], without a copy.
#[derive(Serialize)]
pub(crate) struct VfsShown<'a> {
    nodes: Nodes<'a>,
    free: Places<'a>,
    peak: u64,
}

struct Nodes<'a>(&'a [Node]);

struct Places<'a>(&'a [NodeId]);

/// Node in the format of [`NodeState`].
#[derive(Serialize)]
struct NodeShown<'a> {
    kind: KindShown<'a>,
    times: [u64; 3],
}

/// Kind in the format of [`KindState`].
#[derive(Serialize)]
enum KindShown<'a> {
    Dir(&'a Dir),
    Memory(&'a Content),
    Link(&'a str),
    Host(u64),
    Given,
    Free,
}

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|node| NodeShown {
            kind: match &node.kind {
                Kind::Dir(dir) if node.writable => KindShown::Dir(dir),
                Kind::Memory(content) => KindShown::Memory(content),
                Kind::Link(text) => KindShown::Link(text),
                Kind::Host { len, .. } => KindShown::Host(*len),
                Kind::Dir(_) | Kind::Null | Kind::Progress => KindShown::Given,
                Kind::Free => KindShown::Free,
            },
            times: node.times,
        }))
    }
}

impl Serialize for Places<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|id| *id as u32))
    }
}

const NO_TREE: &str = "its folders do not form a tree";
const NO_FIT: &str = "its files do not fit this task";

impl Vfs {
    /// Returns the tree for writing to a checkpoint, without a copy.
    pub(crate) fn shown(&self) -> VfsShown<'_> {
        VfsShown { nodes: Nodes(&self.nodes), free: Places(&self.free), peak: self.peak }
    }

    /// Returns the tree as it is read from a checkpoint.
    #[cfg(test)]
    pub(crate) fn state(&self) -> VfsState {
        let bytes = postcard::to_stdvec(&self.shown()).unwrap();
        let state = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&state).unwrap(), bytes, "what is shown is what is read");
        state
    }

    /// Restores the state of a checkpoint into a new tree with the same inputs. `opened` are the nodes of
    /// open descriptors.
    ///
    /// The state is untrusted and checked completely.
    pub(crate) fn restore(&mut self, state: VfsState, opened: &[NodeId]) -> Result<(), String> {
        if state.nodes.len() < self.fixed || state.nodes.len() > MAX_NODES + self.fixed {
            return Err(NO_FIT.to_owned());
        }
        for (id, node) in state.nodes.into_iter().enumerate() {
            self.restore_node(id, node)?;
        }
        for id in opened {
            let node = self.nodes.get_mut(*id).filter(|node| !matches!(node.kind, Kind::Free));
            node.ok_or("an open file is none of its files")?.opens += 1;
        }
        self.restore_names()?;
        self.restore_free(&state.free)?;
        let cost = |node: &Node| Self::cost(&node.kind) + NODE_COST * u64::from(node.links.saturating_sub(1));
        let made = self.nodes.iter().skip(self.fixed).filter(|node| !matches!(node.kind, Kind::Free));
        self.used = made.map(cost).fold(0, u64::saturating_add);
        self.peak = state.peak.max(self.used);
        if self.peak > self.quota || self.names > MAX_NODES {
            return Err(NO_FIT.to_owned());
        }
        Ok(())
    }

    fn restore_node(&mut self, id: NodeId, state: NodeState) -> Result<(), String> {
        let dir = |state: &DirState| {
            Dir::restore(state).map(Kind::Dir).ok_or("a folder's names are not what names can be")
        };
        if let Some(node) = self.nodes.get_mut(id).filter(|_| id < self.fixed) {
            match (&node.kind, &state.kind) {
                (Kind::Host { len, .. }, KindState::Host(before)) if len == before => {}
                (Kind::Dir(_), KindState::Dir(entries)) if node.writable => node.kind = dir(entries)?,
                (Kind::Dir(_), KindState::Given) if !node.writable => {}
                (Kind::Null | Kind::Progress, KindState::Given) => {}
                (Kind::Host { .. }, _) | (_, KindState::Host(_)) => {
                    return Err("an input is not the one it was taken with".to_owned());
                }
                _ => return Err(NO_FIT.to_owned()),
            }
            node.times = state.times;
            return Ok(());
        }
        let kind = match state.kind {
            KindState::Dir(entries) => dir(&entries)?,
            KindState::Memory(content) if content.is_sound() => Kind::Memory(content),
            KindState::Memory(_) => return Err("a file is longer than it says".to_owned()),
            KindState::Link(text) => {
                check_said(&text).map_err(|_| "a link says what none can")?;
                Kind::Link(text.into())
            }
            KindState::Free => Kind::Free,
            KindState::Host(_) | KindState::Given => {
                return Err("an input is not the one it was taken with".to_owned());
            }
        };
        let writable = !matches!(kind, Kind::Free);
        self.nodes.push(Node {
            kind,
            writable,
            parent: ROOT,
            name_bytes: 0,
            times: state.times,
            links: 0,
            opens: 0,
        });
        Ok(())
    }

    /// Rebuilds names and parents, and checks that every name leads to a node, every folder has one name or
    /// is open without any, and every named node can be reached from the root.
    fn restore_names(&mut self) -> Result<(), String> {
        let count = self.nodes.len();
        let mut fixed_names = 0;
        for id in 0..count {
            let node = &self.nodes[id];
            let Kind::Dir(dir) = &node.kind else { continue };
            // Other fixed nodes stay as they were made.
            if !node.writable {
                continue;
            }
            let entries: Vec<(String, NodeId)> =
                dir.iter().map(|(name, child)| (name.to_owned(), child)).collect();
            for (name, child) in entries {
                if child >= count || matches!(self.nodes[child].kind, Kind::Free) {
                    return Err("a file has no place".to_owned());
                }
                if child < self.fixed {
                    let is_as_made = id == ROOT
                        && self.nodes[child].parent == ROOT
                        && matches!(name.as_str(), "dev" | "in" | "tmp");
                    if !is_as_made || usize::from(self.nodes[child].name_bytes) != name.len() || child == ROOT
                    {
                        return Err(NO_TREE.to_owned());
                    }
                    fixed_names += 1;
                    continue;
                }
                if self.is_dir(child) && self.nodes[child].links > 0 {
                    return Err(NO_TREE.to_owned());
                }
                let node = &mut self.nodes[child];
                node.links = node.links.checked_add(1).ok_or(NO_TREE)?;
                (node.parent, node.name_bytes) = (id, name.len() as u16);
                self.names += 1;
            }
        }
        if fixed_names != 3 {
            return Err(NO_TREE.to_owned());
        }
        self.check_reached()
    }

    fn check_reached(&self) -> Result<(), String> {
        let mut open = vec![(ROOT, 0)];
        let mut reached = 0;
        while let Some((id, prefix)) = open.pop() {
            let Kind::Dir(dir) = &self.node(id).kind else { continue };
            for (name, child) in dir.iter().filter(|(_, child)| *child >= self.fixed || *child == self.tmp) {
                if prefix + name.len() > MAX_PATH_BYTES {
                    return Err("a path is too long".to_owned());
                }
                if self.is_dir(child) {
                    reached += usize::from(child >= self.fixed);
                    open.push((child, prefix + name.len() + 1));
                }
            }
        }
        let made = self.nodes.iter().skip(self.fixed);
        let named = made.clone().filter(|node| matches!(node.kind, Kind::Dir(_)) && node.links > 0).count();
        let is_lost = |node: &Node| {
            node.links == 0
                && !matches!(node.kind, Kind::Free)
                && (node.opens == 0 || matches!(&node.kind, Kind::Dir(dir) if !dir.is_empty()))
        };
        if reached != named || made.clone().any(is_lost) {
            return Err(NO_TREE.to_owned());
        }
        Ok(())
    }

    fn restore_free(&mut self, free: &[u32]) -> Result<(), String> {
        let mut seen = vec![false; self.nodes.len()];
        for id in free {
            let id = *id as NodeId;
            let is_free = self.nodes.get(id).is_some_and(|node| matches!(node.kind, Kind::Free));
            if !is_free || std::mem::replace(&mut seen[id], true) {
                return Err("a file has no place".to_owned());
            }
        }
        if self.nodes.iter().filter(|node| matches!(node.kind, Kind::Free)).count() != free.len() {
            return Err("a file has no place".to_owned());
        }
        self.free = free.iter().map(|id| *id as NodeId).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with a folder, a file with two names, a link, and a free node.
    fn honest() -> VfsState {
        let mut vfs = Vfs::new(1 << 20);
        let folder = vfs.create_dir(ROOT, "d", 0).unwrap();
        let id = vfs.create_file(folder, "f", 0).unwrap();
        vfs.write_at(id, b"bytes", 0, 0).unwrap();
        vfs.link(id, ROOT, "second", 0).unwrap();
        vfs.create_link(folder, "l", "f", 0).unwrap();
        vfs.create_dir(ROOT, "gone", 0).unwrap();
        vfs.unlink(ROOT, "gone", true, 0).unwrap();
        vfs.state()
    }

    fn take(change: impl FnOnce(&mut VfsState)) -> Result<(), String> {
        let mut state = honest();
        change(&mut state);
        Vfs::new(1 << 20).restore(state, &[])
    }

    fn entries(state: &mut VfsState, id: usize) -> &mut DirState {
        let KindState::Dir(dir) = &mut state.nodes[id].kind else { panic!("{id} is no folder") };
        dir
    }

    #[test]
    fn what_a_checkpoint_says_is_checked() {
        let fixed = Vfs::new(0).fixed;
        assert_eq!(take(|_| {}), Ok(()));
        let (folder, file, link, free) = (fixed, fixed + 1, fixed + 2, fixed + 3);
        type Change = (&'static str, Box<dyn FnOnce(&mut VfsState)>);
        let changes: [Change; 17] = [
            ("a folder in itself", Box::new(|s| entries(s, ROOT).entries.retain(|e| e.0 != "d"))),
            (
                "a ring",
                Box::new(move |s| {
                    entries(s, ROOT).entries.retain(|e| e.0 != "d");
                    entries(s, folder).entries.push(("me".to_owned(), folder as u32, 2));
                    entries(s, folder).next = 3;
                }),
            ),
            (
                "two names of a folder",
                Box::new(move |s| {
                    entries(s, ROOT).entries.push(("again".to_owned(), folder as u32, 99));
                    entries(s, ROOT).next = 100;
                }),
            ),
            (
                "the root below",
                Box::new(move |s| {
                    entries(s, folder).entries.push(("root".to_owned(), 0, 2));
                    entries(s, folder).next = 3;
                }),
            ),
            ("no inputs", Box::new(|s| entries(s, ROOT).entries.retain(|e| e.0 != "in"))),
            (
                "another device",
                Box::new(|s| {
                    entries(s, ROOT).entries.iter_mut().filter(|e| e.0 == "dev").for_each(|e| e.1 = 4)
                }),
            ),
            ("a name that is none", Box::new(move |s| entries(s, folder).entries[0].0 = "a/b".to_owned())),
            ("dots", Box::new(move |s| entries(s, folder).entries[0].0 = "..".to_owned())),
            ("a slot of two", Box::new(move |s| entries(s, folder).entries[1].2 = 0)),
            ("a slot to come", Box::new(move |s| entries(s, folder).next = 1)),
            ("a node that is not there", Box::new(move |s| entries(s, folder).entries[0].1 = 1000)),
            ("a name of nothing", Box::new(move |s| entries(s, folder).entries[0].1 = free as u32)),
            ("free twice", Box::new(|s| s.free.push(s.free[0]))),
            ("free and not", Box::new(move |s| s.free[0] = file as u32)),
            ("free and forgotten", Box::new(|s| s.free.clear())),
            ("too many bytes", Box::new(|s| s.peak = 1 << 21)),
            ("a link out", Box::new(move |s| s.nodes[link].kind = KindState::Link("/etc".to_owned()))),
        ];
        for (what, change) in changes {
            assert!(take(change).is_err(), "{what}");
        }
    }
}
