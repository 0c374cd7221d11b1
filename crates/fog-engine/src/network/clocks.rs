//! Clocks of other devices relative to this one: their deviations, and the times by which adverts count as
//! recent.

use fog_grid::{Relation, clock_correction};
use fog_types::NodeId;
use fog_types::text::clean_name;

use crate::context::Context;
use crate::doctor::Clocks;
use crate::network::Network;

/// Most devices whose clocks are remembered.
const MAX_CLOCKS: usize = 1000;

impl Network {
    /// Time of this device in milliseconds that advances evenly even when the calendar is set.
    fn even_ms(&self, ctx: &Context) -> i64 {
        i64::try_from(ctx.clock.moment().0).unwrap_or(i64::MAX)
    }

    /// Notes the time that a device of a shared network shows.
    pub(crate) fn note_clock(&mut self, ctx: &mut Context, node: NodeId, shown_ms: i64) {
        let ahead = shown_ms.saturating_sub(self.even_ms(ctx));
        self.clocks.insert(node, ahead);
        while self.clocks.len() > MAX_CLOCKS {
            let away = self.clocks.keys().find(|known| !ctx.directory.peers.contains_key(*known)).copied();
            let Some(gone) = away.or_else(|| self.clocks.keys().next().copied()) else { break };
            self.clocks.remove(&gone);
        }
    }

    /// Time that a device's clock shows now, in milliseconds since 1970.
    fn clock_of(&self, ctx: &Context, node: NodeId) -> Option<i64> {
        self.clocks.get(&node).map(|ahead| ahead.saturating_add(self.even_ms(ctx)))
    }

    /// Milliseconds by which a device's clock is ahead of this one's, in whole seconds.
    pub(crate) fn clock_off(&self, ctx: &Context, node: NodeId) -> Option<i64> {
        let off = self.clock_of(ctx, node)?.saturating_sub(ctx.clock.unix().0);
        Some(off / 1000 * 1000)
    }

    /// Milliseconds by which this device's clock is behind most others; 0 if that is unknown. The open
    /// network does not count, since invented devices there could set it.
    pub(crate) fn clock_correction(&self, ctx: &Context) -> i64 {
        let near = ctx
            .directory
            .peers
            .iter()
            .filter(|(_, peer)| matches!(peer.relation, Some(Relation::Group(_) | Relation::Lan)));
        let offsets: Vec<i64> = near.filter_map(|(node, _)| self.clock_off(ctx, *node)).collect();
        clock_correction(ctx.clock.unix().0, &offsets)
    }

    /// Times by which an advert of `author` may count as recent: this device's, that of most devices
    /// nearby, and the author's.
    pub(crate) fn clocks_of(&self, ctx: &Context, author: NodeId) -> Vec<i64> {
        let now = ctx.clock.unix().0;
        [now, now.saturating_add(self.clock_correction(ctx))]
            .into_iter()
            .chain(self.clock_of(ctx, author))
            .collect()
    }

    pub(crate) fn clock_view(&self, ctx: &Context) -> Clocks {
        let known = ctx
            .directory
            .peers
            .iter()
            .filter_map(|(node, peer)| Some((*node, peer, self.clock_off(ctx, *node)?)));
        let named = known.map(|(node, peer, off)| {
            (
                Some(clean_name(&peer.name)).filter(|name| !name.is_empty()).unwrap_or_else(|| node.short()),
                off,
            )
        });
        Clocks { correction_ms: self.clock_correction(ctx), others: named.collect() }
    }
}
