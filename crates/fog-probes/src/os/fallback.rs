#![allow(dead_code, reason = "other systems replace some of these with readings of their own")]

use fog_eligibility::{Charger, ThermalPressure};

use crate::os::SlowReadings;

/// Unknown on this system.
pub(crate) struct Slow;

impl Slow {
    pub(crate) fn start() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same shape on every system")]
    pub(crate) fn has_looked(&self) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "the same shape on every system")]
    pub(crate) fn latest(&self) -> SlowReadings {
        SlowReadings::default()
    }
}

pub(crate) fn thermal_pressure() -> Option<ThermalPressure> {
    None
}

pub(crate) fn fan_rpm() -> Option<u32> {
    None
}

pub(crate) fn fullscreen() -> Option<bool> {
    None
}

pub(crate) fn charger() -> Option<Charger> {
    None
}

pub(crate) fn on_battery() -> Option<bool> {
    None
}
