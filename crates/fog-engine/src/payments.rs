//! Payments: credits for work between devices. They are reserved before a task is offered, settled with its
//! receipt, released when there is no result, and earned with receipts of others.
//!
//! The exchange says what it wants as inputs, and hears whether a reservation was granted.

use fog_api::settings::keys;
use fog_api::{ApiError, CreditView, PeerCredit, Reply};
use fog_grid::LeaseId;
use fog_store::StoreError;
use fog_types::{JobId, NodeId};

use crate::context::Context;
use crate::effects::Input;
use crate::query::to_api;

/// Credits of this device. They are rows alone.
pub(crate) struct Payments;

impl Payments {
    /// Releases reservations of leases that ended with the last run.
    pub(crate) fn restore(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        ctx.store.release_stray_credits()
    }

    /// Reserves the credit that a task will cost, unless that exceeds the limit on what this device may owe.
    pub(crate) fn reserve(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        job: JobId,
        milli: u64,
    ) -> Result<(), StoreError> {
        let limit = limit(ctx);
        let sums = ctx.store.credits()?;
        let owed = sums.spent.saturating_add(sums.reserved).saturating_add(milli).saturating_sub(sums.earned);
        let is_granted = limit == 0 || owed <= limit;
        if is_granted {
            ctx.store.reserve_credit(&lease.to_string(), node, job, milli, ctx.clock.unix())?;
        }
        ctx.out.input(Input::Reserved { lease, is_granted });
        Ok(())
    }

    /// Settles a lease whose result was accepted: the amount of its receipt is spent, whatever was reserved.
    pub(crate) fn settle(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        job: JobId,
        milli: u64,
    ) -> Result<(), StoreError> {
        ctx.store.settle_credit(&lease.to_string(), node, job, milli, ctx.clock.unix())
    }

    /// Releases what was reserved for a lease that ended without a result.
    pub(crate) fn release(&mut self, ctx: &mut Context, lease: LeaseId) -> Result<(), StoreError> {
        ctx.store.release_credit(&lease.to_string())
    }

    /// Records a receipt for work that was done here.
    pub(crate) fn earn(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        milli: u64,
    ) -> Result<(), StoreError> {
        ctx.store.earn_credit(&lease.to_string(), node, milli, ctx.clock.unix())
    }

    /// Credit that was earned, spent and reserved.
    pub(crate) fn credits(&self, ctx: &Context) -> Result<Reply, ApiError> {
        let sums = ctx.store.credits().map_err(to_api)?;
        let peers = ctx.store.credits_by_node().map_err(to_api)?.into_iter().map(|(node, row)| PeerCredit {
            id: node.to_string(),
            name: ctx.directory.peer_name(node),
            earned: row.earned,
            spent: row.spent,
            reserved: row.reserved,
        });
        let limit = limit(ctx);
        Ok(Reply::Credits(CreditView {
            earned: sums.earned,
            spent: sums.spent,
            reserved: sums.reserved,
            limit,
            peers: peers.collect(),
        }))
    }
}

/// Thousandths of a credit that this device may owe; 0 is no limit. A limit below one of them is one.
fn limit(ctx: &Context) -> u64 {
    (ctx.settings.number(keys::CREDIT_LIMIT) * 1000.0).ceil() as u64
}
