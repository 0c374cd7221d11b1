//! Places that offers take on this device while their files arrive: their number and duration.

use std::sync::atomic::Ordering;

use fog_grid::Message;
use fog_store::StoreError;
use fog_types::{NodeId, UnixMillis};

use crate::context::Context;
use crate::exchange::worker::shorten;
use crate::exchange::{Arriving, Exchange};

/// Most offers of one requester whose files are arriving.
pub(crate) const MAX_ARRIVING: usize = 64;
/// Milliseconds for which the files of an offer may be arriving. Files that arrived by then are kept for
/// another attempt.
const MAX_ARRIVAL_MS: u64 = 6 * 3_600_000;
/// Milliseconds for which nothing is accepted from a requester whose files took longer: others come first.
const REST_MS: u64 = 3_600_000;
/// Milliseconds for which an offer may bring no bytes while others wait for its place;
/// `SILENCE_OF_HOLDER_MS` more for each device that is asked before its requester.
const SILENCE_MS: u64 = 5_000;
const SILENCE_OF_HOLDER_MS: u64 = 10_000;
/// Milliseconds after which an offer that is taken back has held a place for nothing, whether bytes arrived
/// or not.
const TAKEN_BACK_MS: u64 = 20_000;

impl Exchange {
    /// Time at which an offer is given up whose files have not arrived; at most its `deadline`.
    pub(crate) fn arrives_until(&self, ctx: &Context, deadline: UnixMillis) -> UnixMillis {
        UnixMillis(ctx.clock.lived().0.saturating_add_unsigned(MAX_ARRIVAL_MS)).min(deadline)
    }

    /// Handles the release of an offer whose files are arriving.
    pub(crate) fn took_back(&mut self, ctx: &mut Context, arriving: &Arriving) {
        let has_come = arriving.has_come.load(Ordering::Relaxed);
        if !has_come || ctx.clock.moment().since(arriving.began) > TAKEN_BACK_MS {
            self.brought_nothing(ctx, arriving.node, arriving.began, 0);
        }
    }

    /// Whether an offer has brought nothing for so long that a waiting requester may have its place.
    fn is_silent(&self, ctx: &Context, arriving: &Arriving) -> bool {
        let patience = SILENCE_MS + SILENCE_OF_HOLDER_MS * arriving.holders.min(2);
        arriving.parked.is_none()
            && !arriving.has_come.load(Ordering::Relaxed)
            && ctx.clock.moment().since(arriving.began) >= patience
    }

    /// Gives up offers whose files have not arrived in time.
    pub(crate) fn arrival_tick(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.clock.lived();
        self.forget_failures(ctx);
        // A requester that rests does not wait for a place.
        let waiting: Vec<NodeId> = self
            .turned_away
            .iter()
            .copied()
            .filter(|node| ctx.directory.peers.contains_key(node) && !self.is_resting(ctx, *node))
            .collect();
        let is_late = |arriving: &Arriving| {
            arriving.until <= now
                || (waiting.iter().any(|node| *node != arriving.node) && self.is_silent(ctx, arriving))
        };
        let late: Vec<_> =
            self.arriving.iter().filter(|(_, arriving)| is_late(arriving)).map(|(lease, _)| *lease).collect();
        if late.is_empty() {
            return Ok(());
        }
        for lease in late {
            let Some(arriving) = self.arriving.remove(&lease) else { continue };
            if arriving.until > now || !arriving.has_come.load(Ordering::Relaxed) {
                self.brought_nothing(ctx, arriving.node, arriving.began, 0);
            }
            if arriving.until <= now && arriving.until < arriving.deadline {
                self.brought_nothing(ctx, arriving.node, arriving.began, REST_MS);
            }
            let problem = shorten("its files did not come in time");
            ctx.say(arriving.node, Message::Failed { lease, problem, is_hopeless: false });
        }
        self.fetch_parked(ctx);
        Ok(())
    }
}
