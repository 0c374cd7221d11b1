//! The clocks of other devices beside this one's: what they say about its own, and by which time their adverts are young.

use fog_grid::{Relation, clock_correction};
use fog_types::NodeId;
use fog_types::text::clean_name;

use super::Core;
use crate::doctor::Clocks;

/// Devices whose clocks are remembered.
const MAX_CLOCKS: usize = 1000;

impl Core {
    /// This device's time without a calendar, in milliseconds: it goes on evenly when somebody sets the clock.
    fn even_ms(&self) -> i64 {
        i64::try_from(self.clock.moment().0).unwrap_or(i64::MAX)
    }

    /// A device of a shared network said what its clock shows.
    pub(super) fn note_clock(&mut self, node: NodeId, shown_ms: i64) {
        let ahead = shown_ms.saturating_sub(self.even_ms());
        self.grid.clocks.insert(node, ahead);
        while self.grid.clocks.len() > MAX_CLOCKS {
            let away = self.grid.clocks.keys().find(|known| !self.grid.peers.contains_key(*known)).copied();
            let Some(gone) = away.or_else(|| self.grid.clocks.keys().next().copied()) else { break };
            self.grid.clocks.remove(&gone);
        }
    }

    /// Time that a device's clock shows now, in milliseconds since 1970.
    fn clock_of(&self, node: NodeId) -> Option<i64> {
        self.grid.clocks.get(&node).map(|ahead| ahead.saturating_add(self.even_ms()))
    }

    /// By how many milliseconds a device's clock is ahead of this one's, in whole seconds.
    pub(super) fn clock_off(&self, node: NodeId) -> Option<i64> {
        let off = self.clock_of(node)?.saturating_sub(self.clock.unix().0);
        Some(off / 1000 * 1000)
    }

    /// By how much this device's clock is behind most others; 0 where nobody can tell. The open network has no say: whoever
    /// makes up devices there would set it.
    pub(super) fn clock_correction(&self) -> i64 {
        let near = self.grid.peers.iter().filter(|(_, peer)| matches!(peer.relation, Some(Relation::Group(_) | Relation::Lan)));
        let offsets: Vec<i64> = near.filter_map(|(node, _)| self.clock_off(*node)).collect();
        clock_correction(self.clock.unix().0, &offsets)
    }

    /// Times of day by which what a device says to everybody may be young: this device's, that of most here, and its own.
    pub(super) fn clocks_of(&self, author: NodeId) -> Vec<i64> {
        let now = self.clock.unix().0;
        [now, now.saturating_add(self.clock_correction())].into_iter().chain(self.clock_of(author)).collect()
    }

    pub(super) fn clock_view(&self) -> Clocks {
        let known = self.grid.peers.iter().filter_map(|(node, peer)| Some((*node, peer, self.clock_off(*node)?)));
        let named = known.map(|(node, peer, off)| (Some(clean_name(&peer.name)).filter(|name| !name.is_empty()).unwrap_or_else(|| node.short()), off));
        Clocks { correction_ms: self.clock_correction(), others: named.collect() }
    }
}
