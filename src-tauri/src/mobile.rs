//! Differences on phones: the entry point, the source of readings, the notification that the system
//! requires during work, and the radio.

use std::sync::Arc;

use fog_api::Status;
use fog_engine::{
    Charger, DeviceReadings, PhoneAnswer, PhoneNews, PhoneRadio, PhoneState, Readings, ThermalPressure,
};
use tauri::{AppHandle, Manager, Wry};
use tauri_plugin_fog::{Device, PhoneError, RadioEvent, RadioState};
use tokio::sync::mpsc;

/// Entry point on phones.
#[tauri::mobile_entry_point]
fn main() {
    if let Err(error) = crate::run() {
        tracing::error!(error = %format!("{error:#}"), "the app cannot start");
    }
}

/// Returns the phone's sensors; readings are unknown while the native side does not answer.
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

/// Does nothing: a phone's notifications show unread messages.
pub(crate) fn show_unread(_app: &AppHandle, _unread: u32, _words: &fog_words::Words) {}

/// Shows the state in a notification, without which Android lets no app work in the background.
pub(crate) fn show_state(app: &AppHandle, status: &Status, words: &fog_words::Words) {
    let text = if status.active.is_empty() { String::new() } else { words.pill(status) };
    if let Err(error) = app.state::<Device<Wry>>().foreground(&text) {
        tracing::debug!(%error, "no notification of the work");
    }
}

/// Returns the phone's Bluetooth radio.
pub(crate) fn radio(app: AppHandle) -> Arc<dyn PhoneRadio> {
    Arc::new(Radio(app))
}

#[derive(Debug)]
struct Radio(AppHandle);

impl PhoneRadio for Radio {
    fn start(
        &self,
        session: u64,
        saves_power: bool,
        tell: mpsc::Sender<PhoneNews>,
    ) -> PhoneAnswer<Result<(), String>> {
        let app = self.0.clone();
        Box::pin(async move {
            // When the channel is full or closed, the session ends and is started again.
            let listener = move |event| tell.try_send(news(event)).is_ok();
            app.state::<Device<Wry>>()
                .start_radio(session, saves_power, listener)
                .await
                .map_err(|error| error.to_string())
        })
    }

    fn save_power(&self, session: u64, saves_power: bool) {
        let app = self.0.clone();
        tauri::async_runtime::spawn(async move {
            asked(app.state::<Device<Wry>>().pace_radio(session, saves_power).await)
        });
    }

    fn stop(&self, session: u64) {
        let app = self.0.clone();
        tauri::async_runtime::spawn(
            async move { asked(app.state::<Device<Wry>>().stop_radio(session).await) },
        );
    }

    fn send(&self, id: u64, packet: Vec<u8>) -> PhoneAnswer<bool> {
        let app = self.0.clone();
        Box::pin(async move {
            app.state::<Device<Wry>>().send_packet(id, &packet).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "a packet was not sent");
                false
            })
        })
    }

    fn close(&self, id: u64) {
        let app = self.0.clone();
        tauri::async_runtime::spawn(async move { asked(app.state::<Device<Wry>>().close_link(id).await) });
    }
}

fn asked(answer: Result<(), PhoneError>) {
    if let Err(error) = answer {
        tracing::debug!(%error, "the phone's radio does not answer");
    }
}

fn news(event: RadioEvent) -> PhoneNews {
    match event {
        RadioEvent::Link { id, limit, is_incoming } => PhoneNews::Link { id, limit, is_incoming },
        RadioEvent::Packet { id, packet } => PhoneNews::Packet { id, packet },
        RadioEvent::Closed { id } => PhoneNews::Closed { id },
        RadioEvent::State { state } => PhoneNews::State(match state {
            RadioState::On => PhoneState::On,
            RadioState::CentralOnly => PhoneState::CentralOnly,
            RadioState::Off => PhoneState::Off,
            RadioState::Forbidden => PhoneState::Forbidden,
            RadioState::Missing => PhoneState::Missing,
        }),
    }
}
