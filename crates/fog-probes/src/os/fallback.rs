#![allow(dead_code, reason = "other systems replace some of these with readings of their own")]

use fog_eligibility::{Charger, ThermalPressure};

use crate::os::SlowReadings;

/// Source without readings, for systems without one.
#[derive(Default)]
pub(crate) struct Source;

impl Source {
    #[expect(clippy::unused_self, reason = "the same shape on every system")]
    pub(crate) fn ask(&mut self) -> Option<SlowReadings> {
        None
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
