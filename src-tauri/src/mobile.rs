//! What is different on phones: where the app starts, where readings come from, and the
//! notification the system wants while work goes on.

use fog_api::Status;
use fog_engine::{Charger, DeviceReadings, Readings, ThermalPressure};
use tauri::{AppHandle, Manager, Wry};
use tauri_plugin_fog::Device;

/// Phones start here.
#[tauri::mobile_entry_point]
fn main() {
    if let Err(error) = crate::run() {
        tracing::error!(error = %format!("{error:#}"), "the app cannot start");
    }
}

/// The phone's own sensors; unknown while its side of the plugin does not answer.
pub(crate) fn readings(app: AppHandle) -> DeviceReadings {
    DeviceReadings::new(move || {
        let told = app.state::<Device<Wry>>().readings().unwrap_or_else(|error| {
            tracing::debug!(%error, "no readings");
            tauri_plugin_fog::PhoneReadings::default()
        });
        Readings {
            battery_present: told.battery.map(|_| true),
            battery: told.battery,
            charging: told.charging,
            charger: told.charger.as_deref().and_then(Charger::from_word),
            battery_temp: told.battery_temp,
            thermal: told.thermal.map(|level| match level {
                0 => ThermalPressure::Nominal,
                1 => ThermalPressure::Fair,
                2 => ThermalPressure::Serious,
                _ => ThermalPressure::Critical,
            }),
            metered: told.metered,
            idle: told.idle_ms.map(|millis| std::time::Duration::from_millis(millis).as_secs_f32()),
            ..Readings::default()
        }
    })
}

/// A phone's notifications say what was not read.
pub(crate) fn show_unread(_app: &AppHandle, _unread: u32, _words: &fog_words::Words) {}

/// Android lets an app work without a window only while it shows that it does.
pub(crate) fn show_state(app: &AppHandle, status: &Status, words: &fog_words::Words) {
    let text = if status.active.is_empty() { String::new() } else { words.pill(status) };
    if let Err(error) = app.state::<Device<Wry>>().foreground(&text) {
        tracing::debug!(%error, "no notification of the work");
    }
}
