use serde::{Deserialize, Serialize};
use tauri::plugin::{PluginApi, PluginHandle};
use tauri::{AppHandle, Manager, Runtime};

#[cfg(target_os = "ios")]
tauri::ios_plugin_binding!(init_plugin_fog);

/// What a phone says about itself. `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PhoneReadings {
    /// Charge, percent.
    pub battery: Option<f32>,
    /// On external power.
    pub charging: Option<bool>,
    /// `mains`, `usb` or `wireless`, while on external power. Android only.
    pub charger: Option<String>,
    /// Battery temperature, °C. Android only.
    pub battery_temp: Option<f32>,
    /// 0 nominal, 1 fair, 2 serious, 3 critical.
    pub thermal: Option<u8>,
    /// The network in use is metered.
    pub metered: Option<bool>,
    /// Milliseconds since the screen was switched off; 0 while it is on.
    pub idle_ms: Option<u64>,
}

/// The phone refused.
#[derive(Debug, thiserror::Error)]
#[error("the phone's side of the plugin: {0}")]
pub struct PhoneError(#[from] tauri::plugin::mobile::PluginInvokeError);

/// The phone's side of the plugin; in the app's state.
pub struct Device<R: Runtime>(PluginHandle<R>);

pub(crate) fn register<R: Runtime>(app: &AppHandle<R>, api: PluginApi<R, ()>) -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_os = "android")]
    let handle = api.register_android_plugin("network.fog.plugin", "FogPlugin")?;
    #[cfg(target_os = "ios")]
    let handle = api.register_ios_plugin(init_plugin_fog)?;
    app.manage(Device(handle));
    Ok(())
}

#[derive(Serialize)]
struct Notification<'a> {
    text: &'a str,
}

impl<R: Runtime> Device<R> {
    /// One pass over the phone's sensors.
    ///
    /// # Errors
    /// When the phone's side does not answer.
    pub fn readings(&self) -> Result<PhoneReadings, PhoneError> {
        Ok(self.0.run_mobile_plugin("readings", ())?)
    }

    /// Shows the notification of a foreground service with this text; an empty text ends it.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub fn foreground(&self, text: &str) -> Result<(), PhoneError> {
        Ok(self.0.run_mobile_plugin("foreground", Notification { text })?)
    }
}
