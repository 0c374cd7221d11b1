use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::plugin::{PluginApi, PluginHandle};
use tauri::{AppHandle, Manager, Runtime};

use crate::radio::{Outgoing, RadioEvent};

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

/// Hears what the radio tells; gives whether it goes on listening.
type Listener = Box<dyn Fn(RadioEvent) -> bool + Send>;

/// Of which session it hears.
type Listening = Arc<Mutex<Option<(u64, Listener)>>>;

/// The phone's side of the plugin; in the app's state.
pub struct Device<R: Runtime> {
    handle: PluginHandle<R>,
    /// Tauri keeps a channel for good, so there is one for all sessions.
    events: Channel<()>,
    listening: Listening,
}

pub(crate) fn register<R: Runtime>(app: &AppHandle<R>, api: PluginApi<R, ()>) -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_os = "android")]
    let handle = api.register_android_plugin("network.fog.plugin", "FogPlugin")?;
    #[cfg(target_os = "ios")]
    let handle = api.register_ios_plugin(init_plugin_fog)?;
    let listening = Listening::default();
    let hears = listening.clone();
    let events = Channel::new(move |body: InvokeResponseBody| {
        // What the phone's side writes wrongly is of no use to anybody.
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
    /// One pass over the phone's sensors.
    ///
    /// # Errors
    /// When the phone's side does not answer.
    pub fn readings(&self) -> Result<PhoneReadings, PhoneError> {
        Ok(self.handle.run_mobile_plugin("readings", ())?)
    }

    /// Shows the notification of a foreground service with this text; an empty text ends it.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub fn foreground(&self, text: &str) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin("foreground", Notification { text })?)
    }

    /// Begins to use Bluetooth, and ends the session before. `listener` is called on the phone's own threads and must not
    /// wait; it hears nothing more once it gave false.
    ///
    /// # Errors
    /// When the phone's side refuses. Being off or forbidden is no error: it is told.
    pub async fn start_radio(&self, session: u64, saves_power: bool, listener: impl Fn(RadioEvent) -> bool + Send + 'static) -> Result<(), PhoneError> {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some((session, Box::new(listener)));
        Ok(self.handle.run_mobile_plugin_async("bluetoothStart", Start { session, saves_power, events: &self.events }).await?)
    }

    /// How often the radio looks for others, if this session is the one that runs.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub async fn pace_radio(&self, session: u64, saves_power: bool) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin_async("bluetoothPace", Pace { session, saves_power }).await?)
    }

    /// Ends this session with all its links, if it is the one that runs.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub async fn stop_radio(&self, session: u64) -> Result<(), PhoneError> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(running, _)| *running == session);
        Ok(self.handle.run_mobile_plugin_async("bluetoothStop", Stop { session }).await?)
    }

    /// Sends a packet over a link; gives whether it went out. The next one waits until this is done.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub async fn send_packet(&self, id: u64, packet: &[u8]) -> Result<bool, PhoneError> {
        let answer: Sent = self.handle.run_mobile_plugin_async("bluetoothSend", Outgoing::new(id, packet)).await?;
        Ok(answer.sent)
    }

    /// Closes a link.
    ///
    /// # Errors
    /// When the phone's side refuses.
    pub async fn close_link(&self, id: u64) -> Result<(), PhoneError> {
        Ok(self.handle.run_mobile_plugin_async("bluetoothClose", Close { id }).await?)
    }
}
