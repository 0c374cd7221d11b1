use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::plugin::{PluginApi, PluginHandle};
use tauri::{AppHandle, Manager, Runtime};

use crate::radio::{Outgoing, RadioEvent};

#[cfg(target_os = "ios")]
tauri::ios_plugin_binding!(init_plugin_fog);

/// Sensor readings of a phone. `None` means unknown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PhoneReadings {
    /// Battery charge in percent.
    pub battery: Option<f32>,
    /// Whether the phone is on external power.
    pub charging: Option<bool>,
    /// Kind of external power: `mains`, `usb` or `wireless`. Android only.
    pub charger: Option<String>,
    /// Battery temperature in °C. Android only.
    pub battery_temp: Option<f32>,
    /// Thermal pressure: 0 nominal, 1 fair, 2 serious, 3 critical.
    pub thermal: Option<u8>,
    /// Whether the network in use is metered.
    pub metered: Option<bool>,
    /// Milliseconds since the screen was switched off; 0 while it is on.
    pub idle_ms: Option<u64>,
}

/// Error from the native side of the plugin.
#[derive(Debug, thiserror::Error)]
#[error("the phone's side of the plugin: {0}")]
pub struct PhoneError(#[from] tauri::plugin::mobile::PluginInvokeError);

/// Callback for radio events; returns whether it wants more.
type Listener = Box<dyn Fn(RadioEvent) -> bool + Send>;

/// Active session and its listener.
type Listening = Arc<Mutex<Option<(u64, Listener)>>>;

/// Handle to the native side of the plugin; part of the app's state.
pub struct Device<R: Runtime> {
    handle: PluginHandle<R>,
    /// Channel for all sessions: Tauri never frees a channel.
    events: Channel<()>,
    listening: Listening,
}

pub(crate) fn register<R: Runtime>(
    app: &AppHandle<R>,
    api: PluginApi<R, ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_os = "android")]
    let handle = api.register_android_plugin("network.fog.plugin", "FogPlugin")?;
    #[cfg(target_os = "ios")]
    let handle = api.register_ios_plugin(init_plugin_fog)?;
    let listening = Listening::default();
    let hears = listening.clone();
    let events = Channel::new(move |body: InvokeResponseBody| {
        // An event that cannot be parsed is ignored.
        if let Ok(event) = body.deserialize::<RadioEvent>() {
            let mut listening = hears.lock().unwrap_or_else(PoisonError::into_inner);
            if listening.as_ref().is_some_and(|(_, listener)| !listener(event)) {
                *listening = None;
            }
        }
        Ok(())
    });
    app.manage(Device { handle, events, listening });
    Ok(())
}

#[derive(Serialize)]
struct Notification<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    session: u64,
    saves_power: bool,
    events: &'a Channel<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pace {
    session: u64,
    saves_power: bool,
}

#[derive(Serialize)]
struct Stop {
    session: u64,
}

#[derive(Serialize)]
struct Close {
    id: u64,
}

#[derive(Deserialize)]
struct Sent {
    sent: bool,
}

impl<R: Runtime> Device<R> {
    /// Reads the phone's sensors once.
    ///
    /// # Errors
    /// When the native side does not answer.
    pub fn readings(&self) -> Result<PhoneReadings, PhoneError> {
        Ok(self.handle.run_mobile_plugin("readings", ())?)
    }

    /// Shows the notification of a foreground service with this text; an empty text ends it.
    ///
    /// # Errors
    /// When the native side refuses.
    pub fn foreground(&self, text: &str) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin("foreground", Notification { text })?)
    }

    /// Starts Bluetooth and ends the session before. `listener` is called on the phone's own threads and
    /// must not block; it is dropped once it returns false.
    ///
    /// # Errors
    /// When the native side refuses. A radio that is off or forbidden is no error, but an event.
    pub async fn start_radio(
        &self,
        session: u64,
        saves_power: bool,
        listener: impl Fn(RadioEvent) -> bool + Send + 'static,
    ) -> Result<(), PhoneError> {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some((session, Box::new(listener)));
        Ok(self
            .handle
            .run_mobile_plugin_async("bluetoothStart", Start { session, saves_power, events: &self.events })
            .await?)
    }

    /// Sets how often the radio looks for peers, if this is the active session.
    ///
    /// # Errors
    /// When the native side refuses.
    pub async fn pace_radio(&self, session: u64, saves_power: bool) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin_async("bluetoothPace", Pace { session, saves_power }).await?)
    }

    /// Ends this session with all its links, if it is the active one.
    ///
    /// # Errors
    /// When the native side refuses.
    pub async fn stop_radio(&self, session: u64) -> Result<(), PhoneError> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|(running, _)| *running == session);
        Ok(self.handle.run_mobile_plugin_async("bluetoothStop", Stop { session }).await?)
    }

    /// Sends a packet over a link; returns whether it was sent. The next packet waits until then.
    ///
    /// # Errors
    /// When the native side refuses.
    pub async fn send_packet(&self, id: u64, packet: &[u8]) -> Result<bool, PhoneError> {
        let answer: Sent =
            self.handle.run_mobile_plugin_async("bluetoothSend", Outgoing::new(id, packet)).await?;
        Ok(answer.sent)
    }

    /// Closes a link.
    ///
    /// # Errors
    /// When the native side refuses.
    pub async fn close_link(&self, id: u64) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin_async("bluetoothClose", Close { id }).await?)
    }
}
