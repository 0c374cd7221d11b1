//! Which values a sensor can give. The filter, the probes and `fog why --with` all ask here.

use std::ops::RangeInclusive;

/// Charge of a battery, percent.
pub const BATTERY_PERCENT: RangeInclusive<f32> = 0.0..=100.0;
/// Temperature of a battery, °C.
pub const BATTERY_CELSIUS: RangeInclusive<f32> = -30.0..=90.0;
/// Temperature of a processor, °C. Drivers say 127.5, 255 or -273 when they have no value.
pub const CPU_CELSIUS: RangeInclusive<f32> = -30.0..=125.0;
/// Time since the last input, seconds.
pub const IDLE_SECONDS: RangeInclusive<f32> = 0.0..=1e9;
/// Processor use, percent.
pub const LOAD_PERCENT: RangeInclusive<f32> = 0.0..=100.0;
/// A price or an amount of carbon, in the unit of its source.
pub const ENERGY: RangeInclusive<f32> = -1e6..=1e6;
/// Speed of a fan, revolutions per minute. Drivers say 65535 when they have no value.
pub const FAN_RPM: RangeInclusive<u32> = 0..=29_999;
/// Local time, minutes since Monday 00:00.
pub const MINUTE_OF_WEEK: RangeInclusive<u16> = 0..=10_079;

/// The value, if a sensor can give it. What is not a number never can.
#[must_use]
pub fn plausible<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>) -> Option<T> {
    range.contains(&value).then_some(value)
}
