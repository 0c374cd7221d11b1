//! Places of this device that offers take while their files are on their way: how many, and for how long.

use fog_grid::{Capacity, Message};
use fog_store::StoreError;
use fog_types::{NodeId, UnixMillis};

use super::Core;
use super::hosting::shorten;

/// Offers of one requester whose files are on their way.
const MAX_ARRIVING: usize = 64;
/// How long files of an offer may be on their way, in milliseconds. What has come by then is kept for another try.
const MAX_ARRIVAL_MS: u64 = 6 * 3_600_000;
/// How long nothing more is taken from a requester whose files took longer than that, in milliseconds: others come first.
const REST_MS: u64 = 3_600_000;

impl Core {
    /// What this device lends to a node now. Files on their way for one requester take half of the places at the most, or
    /// the only one: whoever lets them trickle leaves the others to those who do not.
    pub(super) fn capacity_for(&self, node: NodeId) -> Capacity {
        let capacity = self.capacity();
        let most = usize::from(capacity.slots / 2).clamp(1, MAX_ARRIVING);
        let taken = self.grid.arriving.values().filter(|arriving| arriving.node == node).count();
        let left = u16::try_from(most.saturating_sub(taken)).unwrap_or(u16::MAX);
        Capacity { free: capacity.free.min(left), ..capacity }
    }

    /// The moment at which an offer is given up whose files have not come, one that nobody wants any longer than `deadline`.
    pub(super) fn arrives_until(&self, deadline: UnixMillis) -> UnixMillis {
        UnixMillis(self.clock.lived().0.saturating_add_unsigned(MAX_ARRIVAL_MS)).min(deadline)
    }

    /// Whether the files of a requester have lately taken so long that others come first.
    pub(super) fn has_trickled(&self, node: NodeId) -> bool {
        self.grid.trickled.get(&node).is_some_and(|until| *until > self.clock.moment())
    }

    /// Gives up offers whose files have not come in time.
    pub(super) fn arrival_tick(&mut self) -> Result<(), StoreError> {
        let (now, moment) = (self.clock.lived(), self.clock.moment());
        self.grid.trickled.retain(|_, until| *until > moment);
        let late: Vec<_> = self.grid.arriving.iter().filter(|(_, arriving)| arriving.until <= now).map(|(lease, _)| *lease).collect();
        if late.is_empty() {
            return Ok(());
        }
        for lease in late {
            let Some(arriving) = self.grid.arriving.remove(&lease) else { continue };
            if arriving.until < arriving.deadline {
                self.grid.trickled.insert(arriving.node, moment.plus(REST_MS));
            }
            let problem = shorten("its files did not come in time");
            self.grid.say(arriving.node, Message::Failed { lease, problem, is_hopeless: false });
        }
        self.fetch_parked();
        Ok(())
    }
}
