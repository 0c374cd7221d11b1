#[cfg(any(target_os = "macos", windows, test))]
mod listed;
#[cfg(any(target_os = "macos", windows))]
#[path = "power/desktop.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "power/fallback.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "power/linux.rs"]
mod system;

pub(crate) use system::Power;
