//! Ranges of the values that a sensor can give, used by the filter, the probes and `fog why --with`.

use std::ops::RangeInclusive;

/// Charge of a battery, percent.
pub const BATTERY_PERCENT: RangeInclusive<f32> = 0.0..=100.0;
/// Temperature of a battery, °C.
pub const BATTERY_CELSIUS: RangeInclusive<f32> = -30.0..=90.0;
/// Temperature of a processor, °C. Some drivers report 127.5, 255 or -273 when they have no value.
pub const CPU_CELSIUS: RangeInclusive<f32> = -30.0..=125.0;
/// Time since the last input, seconds.
pub const IDLE_SECONDS: RangeInclusive<f32> = 0.0..=1e9;
/// Processor use, percent.
pub const LOAD_PERCENT: RangeInclusive<f32> = 0.0..=100.0;
/// Energy price or amount of carbon, in the unit of its source.
pub const ENERGY: RangeInclusive<f32> = -1e6..=1e6;
/// Speed of a fan, revolutions per minute. Some drivers report 65535 when they have no value.
pub const FAN_RPM: RangeInclusive<u32> = 0..=29_999;
/// Local time, minutes since Monday 00:00.
pub const MINUTE_OF_WEEK: RangeInclusive<u16> = 0..=10_079;

/// Returns the value if it lies in `range`; NaN never does.
#[must_use]
pub fn plausible<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>) -> Option<T> {
    range.contains(&value).then_some(value)
}
