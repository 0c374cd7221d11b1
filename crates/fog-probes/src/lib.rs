//! Sensor readings of this device, one file per operating system and kind, and a trace player.
//!
//! A sensor that is missing or silent gives `None`. `fog-eligibility` judges the readings.

mod civil;
mod device;
mod energy;
mod fault;
mod heat;
mod input;
mod load;
mod os;
mod power;
mod sensors;
mod sleep;
#[cfg(target_os = "linux")]
mod sysfs;
mod trace;

pub use civil::{minute_of_week, zone_change};
pub use device::DeviceReadings;
pub use energy::parse_number;
pub use fault::SensorFault;
pub use input::InputSource;
pub use load::ram_total;
pub use sensors::{SensorConfig, Sensors, disk_free};
pub use sleep::{BeforeSleep, watch_sleep};
pub use trace::{TraceError, TraceLine, parse_trace};

/// Host name of this machine; empty when the system does not give one.
#[must_use]
pub fn host_name() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}
