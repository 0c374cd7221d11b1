//! Files that a job leaves as its result.

use std::collections::{BTreeMap, BTreeSet};

use fog_types::path::portable_path;

use super::{Content, Kind, NodeId, ROOT, Vfs};
use crate::outcome::{LeftOut, LeftOutFile, LeftOutReason, MAX_OUTPUT_FILES, MAX_OUTPUT_PATHS};

/// Largest number of left out files that are named.
const MAX_NAMED: usize = 100;

/// Files of a result in path order, and files that were left out.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) files: Vec<(String, Content)>,
    pub(crate) left_out: LeftOut,
}

/// Files found so far.
#[derive(Default)]
pub(super) struct Search {
    kept: BTreeMap<String, NodeId>,
    path_bytes: usize,
    pub(super) left_out: LeftOut,
}

impl Search {
    fn leave_out(&mut self, path: &str, reason: LeftOutReason) {
        self.left_out.count += 1;
        if self.left_out.files.len() < MAX_NAMED {
            self.left_out.files.push(LeftOutFile { path: path.to_owned(), reason });
        }
    }

    pub(super) fn found(&mut self, path: &str, id: NodeId) {
        // A name that some systems cannot keep stays; the receiver stores it under the nearest valid name.
        if portable_path(path).is_none() {
            return self.leave_out(path, LeftOutReason::Name);
        }
        self.path_bytes += path.len();
        self.kept.insert(path.to_owned(), id);
        while self.kept.len() > MAX_OUTPUT_FILES || self.path_bytes > MAX_OUTPUT_PATHS {
            let Some((last, _)) = self.kept.pop_last() else { break };
            self.path_bytes -= last.len();
            self.leave_out(&last, LeftOutReason::TooMany);
        }
    }
}

impl Vfs {
    /// Returns every file that the job made outside `/tmp`, in path order.
    ///
    /// A file with several names is listed under each, as long as all copies stay within the quota, because
    /// the receiver stores each as a file. Here they share memory.
    pub(crate) fn outputs(mut self) -> Outputs {
        let mut search = Search::default();
        self.search(ROOT, &mut String::new(), &mut search);
        let mut taken: BTreeMap<NodeId, Content> = BTreeMap::new();
        let once: BTreeSet<NodeId> = search.kept.values().copied().collect();
        let mut room = self.quota.saturating_sub(once.into_iter().map(|id| self.size(id)).sum());
        let mut outputs = Outputs::default();
        for (path, id) in std::mem::take(&mut search.kept) {
            if let Some(content) = taken.get(&id) {
                match room.checked_sub(content.len()) {
                    Some(rest) => room = rest,
                    None => {
                        search.leave_out(&path, LeftOutReason::SecondName);
                        continue;
                    }
                }
                outputs.files.push((path, content.clone()));
            } else if let Kind::Memory(content) = std::mem::replace(&mut self.nodes[id].kind, Kind::Free) {
                taken.insert(id, content.clone());
                outputs.files.push((path, content));
            }
        }
        outputs.left_out = search.left_out;
        outputs
    }

    /// Searches a folder. Recursion is bounded by some hundred levels, because paths are bounded.
    fn search(&self, folder: NodeId, path: &mut String, search: &mut Search) {
        let Kind::Dir(dir) = &self.node(folder).kind else { return };
        for (name, id) in dir.iter().filter(|(_, id)| *id >= self.fixed) {
            let length = path.len();
            if length > 0 {
                path.push('/');
            }
            path.push_str(name);
            match &self.node(id).kind {
                Kind::Dir(dir) if dir.is_empty() => search.leave_out(path, LeftOutReason::EmptyFolder),
                Kind::Dir(_) => self.search(id, path, search),
                Kind::Memory(_) => search.found(path, id),
                Kind::Link(_) => search.leave_out(path, LeftOutReason::Link),
                Kind::Host { .. } | Kind::Null | Kind::Progress | Kind::Free => {}
            }
            path.truncate(length);
        }
    }
}
