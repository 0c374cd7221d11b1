//! Entries of a folder, by name and in the order of their slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::NodeId;

/// Entries of a folder.
///
/// Each entry keeps its slot while others come and go, so that a listing can continue: no remaining entry
/// is left out or listed twice.
#[derive(Debug, Default)]
pub(crate) struct Dir {
    by_name: BTreeMap<Arc<str>, Entry>,
    by_slot: BTreeMap<u64, Arc<str>>,
    /// Slot of the next entry.
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: NodeId,
    slot: u64,
}

/// Folder as it is read from a checkpoint: name, node and slot of each entry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct DirState {
    pub(super) entries: Vec<(String, u32, u64)>,
    pub(super) next: u64,
}

impl Dir {
    pub(super) fn get(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).map(|entry| entry.id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Slot of the next entry.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Adds an entry, or changes the node of an existing name.
    pub(super) fn insert(&mut self, name: &str, id: NodeId) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.id = id;
            return;
        }
        self.insert_at(name, id, self.next);
        self.next += 1;
    }

    fn insert_at(&mut self, name: &str, id: NodeId, slot: u64) {
        let name: Arc<str> = name.into();
        self.by_slot.insert(slot, Arc::clone(&name));
        self.by_name.insert(name, Entry { id, slot });
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(entry) = self.by_name.remove(name) {
            self.by_slot.remove(&entry.slot);
        }
    }

    /// Renames an entry. It keeps its slot, so that a listing does not show it again; if it replaces an
    /// entry, it takes that entry's slot.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let Some(entry) = self.by_name.remove(from) else { return };
        self.by_slot.remove(&entry.slot);
        match self.by_name.get_mut(to) {
            Some(replaced) => replaced.id = entry.id,
            None => self.insert_at(to, entry.id, entry.slot),
        }
    }

    /// Entries in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.by_name.iter().map(|(name, entry)| (&**name, entry.id))
    }

    /// Entries with slots from `first` up to but not including `end`: slot, name, node.
    pub(crate) fn listing(&self, first: u64, end: u64) -> impl Iterator<Item = (u64, &str, NodeId)> {
        self.by_slot
            .range(first..end.max(first))
            .filter_map(move |(slot, name)| Some((*slot, &**name, self.get(name)?)))
    }

    /// Reads a folder of an untrusted checkpoint; `None` when names or slots are not valid. The caller must
    /// check the nodes.
    pub(super) fn restore(state: &DirState) -> Option<Self> {
        let mut dir = Self { next: state.next, ..Self::default() };
        for (name, id, slot) in &state.entries {
            let is_name = !name.is_empty()
                && name.len() <= super::MAX_NAME_BYTES
                && !name.contains(['/', '\0'])
                && name != "."
                && name != "..";
            if !is_name
                || *slot >= state.next
                || dir.by_name.contains_key(name.as_str())
                || dir.by_slot.contains_key(slot)
            {
                return None;
            }
            dir.insert_at(name, *id as NodeId, *slot);
        }
        // A listing also uses the slot behind the last one, and two more for the dots.
        (state.next < u64::MAX / 2).then_some(dir)
    }
}

/// Serializes like [`DirState`], without a copy.
impl Serialize for Dir {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            entries: Entries<'a>,
            next: u64,
        }
        Shown { entries: Entries(self), next: self.next }.serialize(serializer)
    }
}

/// Entries in the order of their slots.
struct Entries<'a>(&'a Dir);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Every slot has a name, and every name an entry.
        serializer.collect_seq(
            self.0
                .by_slot
                .iter()
                .map(|(slot, name)| (&**name, self.0.get(name).unwrap_or_default() as u32, *slot)),
        )
    }
}
