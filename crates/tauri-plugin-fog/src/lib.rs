//! Access to phone functions that only native code has: battery, heat, metered network, a foreground
//! service that keeps the app alive while it works, and Bluetooth. The Kotlin code is in `android/`, the
//! Swift code in `ios/`.
//!
//! On the desktop the plugin is empty: `fog-probes` reads the sensors, `fog-ble` uses the radio.

use tauri::Runtime;
use tauri::plugin::{Builder, TauriPlugin};

#[cfg(mobile)]
mod mobile;
#[cfg(any(mobile, test))]
mod radio;
#[cfg(mobile)]
pub use mobile::{Device, PhoneError, PhoneReadings};
#[cfg(mobile)]
pub use radio::{RadioEvent, RadioState};

/// Registers the plugin.
#[must_use]
pub fn init<R: Runtime>() -> TauriPlugin<R> {
    let builder = Builder::new("fog");
    #[cfg(mobile)]
    let builder = builder.setup(mobile::register);
    builder.build()
}
