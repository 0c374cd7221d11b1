//! What only a phone's own languages can do: battery, heat, metered network, and a foreground
//! service that keeps the app alive while it works. The Kotlin is in `android/`, the Swift in `ios/`.
//!
//! On the desktop the plugin is empty: `fog-probes` reads the sensors there.

use tauri::Runtime;
use tauri::plugin::{Builder, TauriPlugin};

#[cfg(mobile)]
mod mobile;
#[cfg(mobile)]
pub use mobile::{Device, PhoneError, PhoneReadings};

/// Registers the plugin.
#[must_use]
pub fn init<R: Runtime>() -> TauriPlugin<R> {
    let builder = Builder::new("fog");
    #[cfg(mobile)]
    let builder = builder.setup(mobile::register);
    builder.build()
}
