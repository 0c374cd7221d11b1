//! Receipts: stored with the acceptance of a result, and sent until the worker has stored them.
//!
//! A worker that has stored a receipt releases its lease, which is the acknowledgement. Neither a cut link
//! nor a crash between result and receipt leaves it unpaid.

use std::time::{Duration, Instant};

use fog_grid::{LeaseId, Message, Receipt};
use fog_store::StoreError;
use fog_types::{NodeId, UnixMillis};

use crate::context::Context;
use crate::exchange::{Exchange, lease_from};

/// First wait for the acknowledgement of a receipt; each further one is twice as long.
const REPEAT_AFTER: Duration = Duration::from_secs(10);
/// Most waits that are doubled, so that the longest is some three hours.
const MOST_DOUBLED: u32 = 10;
/// Milliseconds after which a receipt is given up whose worker never came back.
const KEPT_MS: i64 = 60 * 86_400_000;
/// Most receipts that are sent at once; the others follow at the next ticks.
const AT_ONCE: usize = 64;
/// Interval at which old receipts are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// A receipt that is on its way.
pub(crate) struct Outgoing {
    node: NodeId,
    tries: u32,
    due: Instant,
}

impl Exchange {
    /// Reads the receipts that are on their way.
    pub(crate) fn restore_receipts(&mut self, ctx: &Context) -> Result<(), StoreError> {
        let now = ctx.now();
        let rows =
            ctx.store.receipts()?.into_iter().filter_map(|(lease, node)| Some((lease_from(&lease)?, node)));
        self.receipts = rows.map(|(lease, node)| (lease, Outgoing { node, tries: 0, due: now })).collect();
        Ok(())
    }

    /// Signs a receipt, stores it with the changes of this input, and sends it once they are stored.
    pub(crate) fn give_receipt(&mut self, ctx: &mut Context, receipt: Receipt) -> Result<(), StoreError> {
        let Some(identity) = &ctx.identity else { return Ok(()) };
        let (lease, node) = (receipt.lease, receipt.worker);
        let message = Message::Receipt(Box::new(identity.sign(&receipt)));
        ctx.store.put_receipt(&lease.to_string(), node, &message.encode(), ctx.clock.lived())?;
        self.receipts.insert(lease, Outgoing { node, tries: 0, due: ctx.now() + REPEAT_AFTER });
        ctx.say(node, message);
        Ok(())
    }

    /// Sends the receipt for a lease again. Returns whether there is one for this node.
    pub(crate) fn repeat_receipt(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        lease: LeaseId,
    ) -> Result<bool, StoreError> {
        let Some(bytes) = ctx.store.receipt(&lease.to_string(), node)? else { return Ok(false) };
        match Message::decode(&bytes) {
            Ok(message) => ctx.say(node, message),
            Err(error) => {
                tracing::error!(%lease, %error, "a stored receipt cannot be read");
                return Ok(false);
            }
        }
        if let Some(outgoing) = self.receipts.get_mut(&lease) {
            outgoing.due = ctx.now() + REPEAT_AFTER * (1 << outgoing.tries.min(MOST_DOUBLED));
            outgoing.tries = outgoing.tries.saturating_add(1);
        }
        Ok(true)
    }

    /// Handles the acknowledgement of a receipt: its worker needs the lease no longer.
    pub(crate) fn receipt_stored(
        &mut self,
        ctx: &mut Context,
        node: NodeId,
        lease: LeaseId,
    ) -> Result<(), StoreError> {
        if self.receipts.get(&lease).is_some_and(|outgoing| outgoing.node == node) {
            ctx.store.end_receipt(&lease.to_string(), node)?;
            self.receipts.remove(&lease);
        }
        Ok(())
    }

    /// Time at which the next receipt to a connected node is due.
    pub(crate) fn receipt_due(&self, ctx: &Context) -> Option<Instant> {
        self.receipts
            .values()
            .filter(|outgoing| ctx.directory.peers.contains_key(&outgoing.node))
            .map(|outgoing| outgoing.due)
            .min()
    }

    /// Sends the receipts that are due to connected nodes, or all of those for one node that has returned.
    pub(crate) fn send_receipts(
        &mut self,
        ctx: &mut Context,
        returned: Option<NodeId>,
    ) -> Result<(), StoreError> {
        let now = ctx.now();
        let is_due = |outgoing: &Outgoing| match returned {
            Some(node) => outgoing.node == node,
            None => outgoing.due <= now && ctx.directory.peers.contains_key(&outgoing.node),
        };
        let due: Vec<(LeaseId, NodeId)> = self
            .receipts
            .iter()
            .filter(|(_, outgoing)| is_due(outgoing))
            .map(|(lease, outgoing)| (*lease, outgoing.node))
            .take(AT_ONCE)
            .collect();
        for (lease, node) in due {
            if !self.repeat_receipt(ctx, node, lease)? {
                self.receipts.remove(&lease);
            }
        }
        if self.expired_at.is_none_or(|at| ctx.since(at) >= EXPIRE_EVERY) {
            self.expired_at = Some(now);
            ctx.store.expire_receipts(UnixMillis(ctx.clock.lived().0.saturating_sub(KEPT_MS)))?;
        }
        Ok(())
    }
}
