//! Clock of the mesh: the calendar, which packets carry, made to advance evenly between two readings.

use std::sync::Arc;

use crate::clock::TimeSource;

/// Deviation in milliseconds from which the clock counts as set.
const JUMP_MS: i64 = 2_000;
/// Milliseconds without a change of the calendar after which the time between two starts is believed.
const SETTLE_MS: u64 = 3_600_000;

/// Change of the calendar since the state was written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Milliseconds by which the calendar was set.
    pub(crate) by: i64,
    /// Milliseconds that seem to lie between two starts of the device and are not believed yet.
    pub(crate) gap: i64,
}

/// Result of reading the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Milliseconds since 1970.
    pub(super) now: u64,
    /// Milliseconds by which the calendar was set since the last reading; 0 if it was not.
    pub(super) set_by: i64,
    /// Further milliseconds by which pending times have to move: the time between starts that is now
    /// believed.
    pub(super) believed: i64,
}

/// Clock in milliseconds since 1970 that advances evenly, also while the device sleeps, and follows the
/// calendar when that is set.
pub(super) struct Clock {
    source: Arc<dyn TimeSource>,
    wall: i64,
    steady: u64,
    gap: i64,
    settled: u64,
}

impl Clock {
    pub(super) fn new(source: Arc<dyn TimeSource>, gap: i64) -> Self {
        let (wall, steady) = (source.wall_ms(), source.steady_ms());
        Self { source, wall, steady, gap: gap.max(0), settled: steady.saturating_add(SETTLE_MS) }
    }

    pub(super) fn look(&mut self) -> Look {
        let (real, steady) = (self.source.wall_ms(), self.source.steady_ms());
        let even = self.wall.saturating_add_unsigned(steady.saturating_sub(self.steady));
        let mut set_by = real.saturating_sub(even);
        let mut now = even;
        if set_by.abs() < JUMP_MS {
            set_by = 0;
        } else {
            (self.wall, self.steady, now) = (real, steady, real);
            // An amount that is set back was no time between two starts.
            self.gap -= self.gap.min(set_by.saturating_neg()).max(0);
            self.settled = steady.saturating_add(SETTLE_MS);
        }
        let believed = if steady >= self.settled { -std::mem::take(&mut self.gap) } else { 0 };
        Look { now: u64::try_from(now).unwrap_or(0), set_by, believed }
    }
}
