//! Entries of a system's battery list, and whether the device has a battery.

/// Least energy and voltage of a battery that the device runs on; mice and headsets have less.
const MIN_WATT_HOURS: f32 = 1.0;
const MIN_VOLTS: f32 = 1.0;

/// Kind of an entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// A battery that the device runs on.
    Own,
    /// A battery of something else, such as a mouse.
    Other,
    /// A battery without usable values.
    Unknown,
}

impl Listed {
    /// Returns the kind from energy when full and voltage; a value that is zero or not finite is unknown.
    pub(super) fn of(watt_hours: f32, volts: f32) -> Self {
        let is_known = |value: f32| value.is_finite() && value > 0.0;
        let (energy, voltage) = (is_known(watt_hours), is_known(volts));
        match (energy && watt_hours > MIN_WATT_HOURS, voltage && volts > MIN_VOLTS) {
            (true, true) => Self::Own,
            // One value that is known to be too small is enough.
            (large, high) if (energy && !large) || (voltage && !high) => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// Whether the device has a battery, from all entries; `None` when only an unknown entry may be one.
    pub(super) fn is_any(list: &[Self]) -> Option<bool> {
        if list.contains(&Self::Own) {
            return Some(true);
        }
        if list.contains(&Self::Unknown) { None } else { Some(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_that_does_not_tell_is_not_absent() {
        assert_eq!(Listed::is_any(&[]), Some(false));
        assert_eq!(Listed::of(50.0, 11.4), Listed::Own);
        for (watt_hours, volts) in
            [(0.0, 11.4), (50.0, 0.0), (0.0, 0.0), (f32::NAN, 11.4), (50.0, f32::INFINITY)]
        {
            assert_eq!(Listed::of(watt_hours, volts), Listed::Unknown, "{watt_hours} Wh, {volts} V");
        }
        assert_eq!(Listed::is_any(&[Listed::Unknown]), None);
        assert_eq!(Listed::is_any(&[Listed::Other, Listed::Unknown]), None);
        // One own battery is enough; a mouse does not count.
        assert_eq!(Listed::is_any(&[Listed::Unknown, Listed::Own]), Some(true));
        assert_eq!(
            (Listed::of(0.5, 0.0), Listed::of(0.0, 0.4), Listed::of(0.9, 1.5)),
            (Listed::Other, Listed::Other, Listed::Other)
        );
        assert_eq!(Listed::is_any(&[Listed::Other]), Some(false));
    }
}
