use std::fmt;
use std::sync::Arc;

use fog_eligibility::Readings;

/// Readings that only the host application can take, such as those of the Kotlin and Swift code on phones.
#[derive(Clone)]
pub struct DeviceReadings(Arc<dyn Fn() -> Readings + Send + Sync>);

impl DeviceReadings {
    /// Creates the readings from `read`, which the sensor thread calls at every sample; it may take some
    /// milliseconds.
    pub fn new(read: impl Fn() -> Readings + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Replaces readings of this crate by those that the host application knows.
    pub(crate) fn overlay(&self, readings: &mut Readings) {
        let told = (self.0)();
        let over = |known: &mut Option<f32>, told: Option<f32>| *known = told.or(*known);
        over(&mut readings.battery, told.battery);
        over(&mut readings.battery_temp, told.battery_temp);
        over(&mut readings.idle, told.idle);
        readings.battery_present = told.battery_present.or(readings.battery_present);
        readings.charging = told.charging.or(readings.charging);
        readings.charger = told.charger.or(readings.charger);
        readings.thermal = told.thermal.or(readings.thermal);
        readings.metered = told.metered.or(readings.metered);
    }
}

impl fmt::Debug for DeviceReadings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceReadings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_is_believed_where_it_speaks() {
        let shell = DeviceReadings::new(|| Readings {
            battery: Some(41.0),
            charging: Some(false),
            ..Readings::default()
        });
        let mut readings = Readings { battery: Some(90.0), metered: Some(true), ..Readings::default() };
        shell.overlay(&mut readings);
        assert_eq!(
            readings,
            Readings {
                battery: Some(41.0),
                charging: Some(false),
                metered: Some(true),
                ..Readings::default()
            }
        );
    }
}
