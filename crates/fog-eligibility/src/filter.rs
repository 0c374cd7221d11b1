use std::ops::RangeInclusive;

use crate::plausible::{
    BATTERY_CELSIUS, BATTERY_PERCENT, CPU_CELSIUS, ENERGY, FAN_RPM, IDLE_SECONDS, LOAD_PERCENT,
    MINUTE_OF_WEEK, plausible,
};
use crate::reading::{Moment, Readings};

/// Time for which the last good value replaces a missing or impossible one, milliseconds.
const KEEP_MILLIS: u64 = 30_000;
/// Largest change of the battery charge within [`KEEP_MILLIS`] that is believed, in points. Some drivers
/// report 0 % for a moment.
const BATTERY_JUMP: f32 = 20.0;

/// Rejects impossible readings and keeps the last good one for 30 s, after which it is unknown.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    battery_present: Held<bool>,
    charging: Held<bool>,
    charger: Held<crate::Charger>,
    battery: Held<f32>,
    battery_temp: Held<f32>,
    cpu_temp: Held<f32>,
    thermal: Held<crate::ThermalPressure>,
    idle: Held<f32>,
    inhibited: Held<bool>,
    fullscreen: Held<bool>,
    other_cpu: Held<f32>,
    exclusive: Held<Vec<String>>,
    metered: Held<bool>,
    disk_free: Held<u64>,
    ram_available: Held<u64>,
    energy: Held<f32>,
    fan_rpm: Held<u32>,
    minute_of_week: Held<u16>,
    rejected: u64,
}

#[derive(Debug, Clone)]
struct Held<T>(Option<(T, Moment)>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Held<T> {
    fn take(
        &mut self,
        raw: Option<T>,
        now: Moment,
        possible: impl Fn(&T) -> bool,
        rejected: &mut u64,
    ) -> Option<T> {
        if let Some(value) = raw {
            if possible(&value) {
                self.0 = Some((value, now));
            } else {
                *rejected += 1;
            }
        }
        if self.0.as_ref().is_some_and(|(_, at)| now.since(*at) > KEEP_MILLIS) {
            self.0 = None;
        }
        self.0.as_ref().map(|(value, _)| value.clone())
    }
}

impl Filter {
    /// Passes one sample through. Time must not go backwards between calls.
    pub fn accept(&mut self, raw: Readings, now: Moment) -> Readings {
        let n = &mut self.rejected;
        let within = |range: RangeInclusive<f32>| move |value: &f32| plausible(*value, &range).is_some();
        // The last good charge counts as evidence only while it is held.
        let last_charge =
            self.battery.0.as_ref().filter(|(_, at)| now.since(*at) <= KEEP_MILLIS).map(|(value, _)| *value);
        let charge_possible = |value: &f32| {
            within(BATTERY_PERCENT)(value)
                && last_charge.is_none_or(|last| (value - last).abs() <= BATTERY_JUMP)
        };
        Readings {
            battery_present: self.battery_present.take(raw.battery_present, now, |_| true, n),
            charging: self.charging.take(raw.charging, now, |_| true, n),
            charger: self.charger.take(raw.charger, now, |_| true, n),
            battery: self.battery.take(raw.battery, now, charge_possible, n),
            battery_temp: self.battery_temp.take(raw.battery_temp, now, within(BATTERY_CELSIUS), n),
            cpu_temp: self.cpu_temp.take(raw.cpu_temp, now, within(CPU_CELSIUS), n),
            thermal: self.thermal.take(raw.thermal, now, |_| true, n),
            idle: self.idle.take(raw.idle, now, within(IDLE_SECONDS), n),
            inhibited: self.inhibited.take(raw.inhibited, now, |_| true, n),
            fullscreen: self.fullscreen.take(raw.fullscreen, now, |_| true, n),
            other_cpu: self.other_cpu.take(raw.other_cpu, now, within(LOAD_PERCENT), n),
            exclusive: self.exclusive.take(raw.exclusive, now, |_| true, n),
            metered: self.metered.take(raw.metered, now, |_| true, n),
            disk_free: self.disk_free.take(raw.disk_free, now, |_| true, n),
            ram_available: self.ram_available.take(raw.ram_available, now, |v| *v > 0, n),
            energy: self.energy.take(raw.energy, now, within(ENERGY), n),
            fan_rpm: self.fan_rpm.take(raw.fan_rpm, now, |v| FAN_RPM.contains(v), n),
            minute_of_week: self.minute_of_week.take(
                raw.minute_of_week,
                now,
                |v| MINUTE_OF_WEEK.contains(v),
                n,
            ),
            // A countdown: an old value would be wrong, so none is kept.
            zone_change: raw.zone_change.filter(crate::ZoneChange::is_plausible),
        }
    }

    /// Number of readings rejected as impossible since the start.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn battery(value: f32) -> Readings {
        Readings { battery: Some(value), ..Readings::default() }
    }

    #[test]
    fn a_sudden_zero_is_rejected_and_the_last_good_charge_is_kept_for_30_s() {
        let mut filter = Filter::default();
        assert_eq!(filter.accept(battery(80.0), Moment(0)).battery, Some(80.0));
        assert_eq!(filter.accept(battery(0.0), Moment(1_000)).battery, Some(80.0));
        assert_eq!(filter.accept(battery(0.0), Moment(30_000)).battery, Some(80.0));
        assert_eq!(filter.rejected(), 2);
        // The last good charge is no longer kept, so the new value is accepted.
        assert_eq!(filter.accept(battery(0.0), Moment(30_001)).battery, Some(0.0));
    }

    #[test]
    fn nonsense_is_rejected() {
        let mut filter = Filter::default();
        for value in [f32::NAN, f32::INFINITY, -5.0, 101.0] {
            assert_eq!(filter.accept(battery(value), Moment(0)).battery, None);
        }
        let hot = Readings { cpu_temp: Some(4_000.0), ..Readings::default() };
        assert_eq!(filter.accept(hot, Moment(0)).cpu_temp, None);
    }

    #[test]
    fn a_silent_sensor_becomes_unknown_after_30_s() {
        let mut filter = Filter::default();
        let cool = Readings { cpu_temp: Some(50.0), ..Readings::default() };
        filter.accept(cool, Moment(0));
        assert_eq!(filter.accept(Readings::default(), Moment(30_000)).cpu_temp, Some(50.0));
        assert_eq!(filter.accept(Readings::default(), Moment(30_001)).cpu_temp, None);
    }
}
