//! What only one operating system can tell.

#[cfg(target_os = "linux")]
#[path = "os/linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "os/macos.rs"]
mod system;
#[cfg(windows)]
#[path = "os/windows.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "os/fallback.rs"]
mod system;

pub(crate) use system::{Slow, fan_rpm, fullscreen, thermal_pressure};
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
pub(crate) use system::{charger, on_battery};

/// Readings whose source may hang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SlowReadings {
    pub(crate) inhibited: Option<bool>,
    pub(crate) metered: Option<bool>,
}
