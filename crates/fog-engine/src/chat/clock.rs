//! The time that the mesh goes by: the calendar, which packets carry, going forward evenly between two looks.

use std::sync::Arc;

use crate::clock::TimeSource;

/// From here a clock was set.
const JUMP_MS: i64 = 2_000;
/// Time between two starts of the device is believed after this time without the calendar being set.
const SETTLE_MS: u64 = 3_600_000;

/// How the calendar was set since what was written down was.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// By so many milliseconds.
    pub(crate) by: i64,
    /// And between two starts of the device seem to be so many, which are not believed yet.
    pub(crate) gap: i64,
}

/// Result of a look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Milliseconds since 1970.
    pub(super) now: u64,
    /// By how much the calendar was set since the last look, or 0.
    pub(super) set_by: i64,
    /// By how much everything that waits has to be moved beside that: what was not believed and is now.
    pub(super) believed: i64,
}

/// Milliseconds since 1970 that go forward evenly, also while the device sleeps, and follow its calendar when it is set.
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
            // What is set back was no time between two starts.
            self.gap -= self.gap.min(set_by.saturating_neg()).max(0);
            self.settled = steady.saturating_add(SETTLE_MS);
        }
        let believed = if steady >= self.settled { -std::mem::take(&mut self.gap) } else { 0 };
        Look { now: u64::try_from(now).unwrap_or(0), set_by, believed }
    }
}
