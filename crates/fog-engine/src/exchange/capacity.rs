//! Capacity that this device lends, and the hellos that tell it to other devices.

use std::time::{Duration, Instant};

use fog_grid::{Capacity, LeaseState, Relation};
use fog_types::{NodeId, Percent};

use crate::context::Context;
use crate::effects::Input;
use crate::exchange::Exchange;
use crate::exchange::offer_slots::MAX_ARRIVING;

/// Shortest time between two hellos about a change.
const HELLO_GAP: Duration = Duration::from_millis(500);

impl Exchange {
    /// Capacity that this device lends now.
    pub(crate) fn capacity(&self, ctx: &Context) -> Capacity {
        let duty = if ctx.finishing || ctx.is_stopping { Percent::ZERO } else { ctx.rules.verdict().duty };
        let slots = ctx.settings.slots();
        let waiting =
            self.arriving.len() + self.hosted.values().filter(|hosted| hosted.message.is_none()).count();
        let own = ctx.load.own;
        let readings = ctx.rules.readings();
        Capacity {
            slots: slots as u16,
            free: slots.saturating_sub(waiting + own) as u16,
            memory: ctx.lent_budget().saturating_sub(ctx.load.memory()),
            // Evictable files make way for a job; room promised to other offers does not.
            disk: self
                .arriving
                .values()
                .fold(self.disk_room(ctx), |room, arriving| room.saturating_sub(arriving.room)),
            duty: duty.get(),
            speed: ctx.load.speed,
            battery: (readings.charging == Some(false))
                .then_some(readings.battery)
                .flatten()
                .map(|level| level as u8),
            forecast: self.forecast(ctx),
        }
    }

    /// Capacity that this device lends to a node now. Arriving files of one requester take at most half of
    /// the places, or the only one, so that slow transfers leave the rest to others. While a requester
    /// whose files arrived before is connected, one place is reserved for such requesters, so that invented
    /// nodes cannot take all.
    pub(crate) fn capacity_for(&self, ctx: &Context, node: NodeId) -> Capacity {
        let capacity = self.capacity(ctx);
        let slots = usize::from(capacity.slots);
        let taken = |is_one: &dyn Fn(NodeId) -> bool| {
            self.arriving.values().filter(|arriving| is_one(arriving.node)).count()
        };
        let mut left = (slots / 2).clamp(1, MAX_ARRIVING).saturating_sub(taken(&|other| other == node));
        if slots > 1
            && !self.is_reliable(ctx, node)
            && ctx.directory.peers.keys().any(|other| self.is_reliable(ctx, *other))
        {
            left = left.min((slots - 1).saturating_sub(taken(&|other| !self.is_reliable(ctx, other))));
        }
        if self.is_resting(ctx, node) {
            left = 0;
        }
        Capacity { free: capacity.free.min(u16::try_from(left).unwrap_or(u16::MAX)), ..capacity }
    }

    /// Bytes on disk that are free for work, or can be made free.
    pub(crate) fn disk_room(&self, ctx: &Context) -> u64 {
        let room = || Ok::<_, fog_store::StoreError>(ctx.store.disk_use()?.room(ctx.most_for_work()?.cap.0));
        room().unwrap_or(0)
    }

    pub(crate) fn send_hello_to(&mut self, ctx: &mut Context, node: NodeId) {
        let capacity = self.capacity_for(ctx, node);
        if capacity.free == 0
            && (self.is_resting(ctx, node) || self.arriving.values().any(|arriving| arriving.node == node))
        {
            self.turned_away.insert(node);
        }
        ctx.out.input(Input::SendHello { node, capacity });
    }

    /// Sends a hello to the peers when the lent capacity has changed notably, and each minute.
    pub(crate) fn send_hellos(&mut self, ctx: &mut Context) {
        let is_fresh = self.last_hello.as_ref().is_some_and(|(at, _)| ctx.since(*at) < HELLO_GAP);
        self.hello_waits = is_fresh && !ctx.directory.peers.is_empty();
        if ctx.directory.peers.is_empty() || (is_fresh && self.turned_away.is_empty()) {
            return;
        }
        let capacity = self.capacity(ctx);
        if capacity.free > 0 && capacity.duty > 0 {
            for node in std::mem::take(&mut self.turned_away) {
                if !self.is_resting(ctx, node) && self.capacity_for(ctx, node).free > 0 {
                    self.send_hello_to(ctx, node);
                } else if ctx.directory.peers.contains_key(&node) {
                    self.turned_away.insert(node);
                }
            }
        }
        let brief = |c: &Capacity| (c.free, c.duty == 0, c.slots, c.battery.is_some());
        let is_due = self.last_hello.as_ref().is_none_or(|(at, told)| {
            (brief(told) != brief(&capacity) && !is_fresh) || ctx.since(*at) > Duration::from_secs(60)
        });
        if !is_due {
            return;
        }
        self.last_hello = Some((ctx.now(), capacity));
        let related: Vec<NodeId> = ctx
            .directory
            .peers
            .iter()
            .filter(|(_, peer)| peer.relation.as_ref().is_some_and(|r| *r != Relation::Stranger))
            .map(|(node, _)| *node)
            .collect();
        for node in related {
            self.send_hello_to(ctx, node);
        }
    }

    /// Returns when a hello that was held back may be sent, and why.
    pub(crate) fn hello_due(&self) -> Option<(Instant, &'static str)> {
        let (at, _) = self.last_hello.as_ref().filter(|_| self.hello_waits)?;
        Some((*at + HELLO_GAP, "a hello was held back"))
    }

    /// Number of this device's tasks that are leased to a node now.
    pub(crate) fn lent_to(&self, node: NodeId) -> u32 {
        self.requester.leases_at(node).filter(|lease| lease.state != LeaseState::Lost).count() as u32
    }

    /// Number of jobs of a node that run here or wait to.
    pub(crate) fn hosted_for(&self, node: NodeId) -> u32 {
        self.hosted.values().filter(|hosted| hosted.requester == node && hosted.message.is_none()).count()
            as u32
    }

    /// Number of tasks of this device that wait for another one.
    pub(crate) fn open_tasks(&self) -> usize {
        self.requester.open()
    }

    /// Whether any job of another device is here.
    pub(crate) fn is_hosting(&self) -> bool {
        !self.hosted.is_empty()
    }
}
