//! Effects of engine events on the desktop: they are passed to the window, the tray shows the state, bad
//! news becomes a notification, a setting controls autostart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fog_api::settings::keys;
use fog_api::{ChatCommand, ChatView, Command, EventBody, Notice, Reply, SettingsCommand};
use fog_types::text::{clean_lines, escape_markup};
use fog_words::Words;
use serde_json::Value;
use tauri::{AppHandle, Emitter, Manager};
use tauri_plugin_notification::NotificationExt;

use crate::backend::{Backend, missed};
#[cfg(mobile)]
use crate::mobile::{show_state, show_unread};
#[cfg(desktop)]
use crate::tray::{show_state, show_unread};

/// Follows the engine's events while the app runs.
pub(crate) fn start(app: AppHandle, backend: Arc<Backend>) {
    tauri::async_runtime::spawn(async move {
        let mut known = Known::default();
        loop {
            let mut events = backend.subscribe().await;
            // Another engine numbers its events anew, so the window's state is void.
            let _ = app.emit("fog", missed());
            if let Ok(Reply::Snapshot(snapshot)) = backend.call(Command::Snapshot).await {
                known.settings = snapshot.settings;
                autostart(&app, known.flag("autostart", false));
                known.chat = snapshot.chat;
                show_state(&app, &snapshot.status, &known.words());
                show_unread(&app, known.chat.unread(), &known.words());
            }
            while let Some(event) = events.next().await {
                react(&app, &backend, &mut known, &event.body).await;
                // A closed window receives nothing, and asks for a snapshot when it opens.
                let _ = app.emit("fog", &event);
            }
            let _ = app.emit("fog", missed());
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Err(error) = backend.reopen().await {
                tracing::warn!(error = %format!("{error:#}"), "no engine can be reached");
            }
        }
    });
}

/// Settings and chat state as of the last event.
#[derive(Default)]
struct Known {
    settings: BTreeMap<String, Value>,
    chat: ChatView,
}

impl Known {
    fn words(&self) -> Words {
        words(self.settings.get(keys::LANGUAGE.key()))
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.settings.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Whether notifications of messages are silent at this hour; never when both limits are equal.
    fn is_quiet(&self, hour: i8) -> bool {
        let at = |key| self.settings.get(key).and_then(Value::as_f64).unwrap_or(0.0) as i8;
        let (from, to) = (at(keys::CHAT_QUIET_FROM.key()), at(keys::CHAT_QUIET_TO.key()));
        if from <= to { (from..to).contains(&hour) } else { hour >= from || hour < to }
    }
}

async fn react(app: &AppHandle, backend: &Backend, known: &mut Known, body: &EventBody) {
    match body {
        EventBody::Settings(settings) => {
            known.settings.clone_from(settings);
            autostart(app, known.flag("autostart", false));
        }
        EventBody::Missed => {
            if let Ok(Reply::Settings(settings)) = backend.call(Command::Settings(SettingsCommand::Get)).await
            {
                known.settings = settings;
                autostart(app, known.flag("autostart", false));
            }
            if let Ok(Reply::Chat(chat)) = backend.call(Command::Chat(ChatCommand::Show)).await {
                known.chat = *chat;
                show_unread(app, known.chat.unread(), &known.words());
            }
        }
        EventBody::Chat(chat) => {
            known.chat.clone_from(chat);
            show_unread(app, known.chat.unread(), &known.words());
        }
        EventBody::ChatMessage(message) => {
            known.chat.put_message(message);
            show_unread(app, known.chat.unread(), &known.words());
        }
        EventBody::Notice(notice) => {
            let is_seen =
                app.get_webview_window("main").is_some_and(|window| window.is_focused().unwrap_or(false));
            let is_quiet = matches!(notice, Notice::ChatMessage { .. } | Notice::ChatInvited { .. })
                && known.is_quiet(jiff::Zoned::now().hour());
            if known.flag("notifications", true) && !is_seen && !is_quiet {
                notify(app, notice, &known.words());
            }
        }
        EventBody::Status(status) => show_state(app, status, &known.words()),
        _ => {}
    }
}

fn notify(app: &AppHandle, notice: &Notice, words: &Words) {
    let Some(text) = notice_text(notice, words) else { return };
    let app = app.clone();
    // Querying the server's capabilities blocks.
    tauri::async_runtime::spawn_blocking(move || {
        let text = if reads_markup() { escape_markup(&text) } else { text };
        if let Err(error) = app.notification().builder().title("Fog Compute").body(text).show() {
            tracing::debug!(%error, "the system shows no notifications");
        }
    });
}

/// Whether the notification server interprets markup; texts of other people must then be escaped.
#[cfg(all(unix, not(any(target_os = "macos", target_os = "ios", target_os = "android"))))]
fn reads_markup() -> bool {
    // A server that does not answer may interpret markup, as most do: at worst its text shows `&lt;`.
    notify_rust::get_capabilities()
        .map_or(true, |capabilities| capabilities.iter().any(|one| one == "body-markup"))
}

/// Returns false: notifications of these systems show plain text.
#[cfg(not(all(unix, not(any(target_os = "macos", target_os = "ios", target_os = "android")))))]
fn reads_markup() -> bool {
    false
}

/// Returns the text of a notification, on a few lines; names, texts and problems in it come from others.
/// `None` for an event without a notification.
fn notice_text(notice: &Notice, words: &Words) -> Option<String> {
    let text = match notice {
        Notice::JobFinished { name, .. } => words.with("notice-finished", &[("name", name.as_str().into())]),
        Notice::JobFailed { name, problem, .. } => words
            .with("notice-failed", &[("name", name.as_str().into()), ("problem", problem.as_str().into())]),
        Notice::ChatMessage { name, text, .. } => {
            words.with("notice-chat", &[("name", name.as_str().into()), ("text", text.as_str().into())])
        }
        Notice::ChatInvited { name, group, .. } => {
            words.with("notice-invited", &[("name", name.as_str().into()), ("group", group.as_str().into())])
        }
        Notice::JobStopped { name, problem, .. } => words
            .with("notice-stopped", &[("name", name.as_str().into()), ("problem", problem.as_str().into())]),
        _ => return None,
    };
    Some(clean_lines(&text))
}

/// Returns the texts for a `language` setting.
pub(crate) fn words(setting: Option<&Value>) -> Words {
    let environment = || {
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
            .unwrap_or_default()
    };
    match setting.and_then(Value::as_str) {
        Some(code) if code != "system" => Words::new(code),
        _ => Words::new(&environment()),
    }
}

#[cfg(desktop)]
fn autostart(app: &AppHandle, wanted: bool) {
    use tauri_plugin_autostart::ManagerExt;
    let launcher = app.autolaunch();
    if launcher.is_enabled().unwrap_or(false) != wanted {
        let result = if wanted { launcher.enable() } else { launcher.disable() };
        if let Err(error) = result {
            tracing::warn!(%error, "starting with the system cannot be changed");
        }
    }
}

#[cfg(mobile)]
fn autostart(_app: &AppHandle, _wanted: bool) {}

/// Whether a single instance can be enforced: on Linux this needs the session bus.
#[cfg(desktop)]
pub(crate) fn can_be_single() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let has_runtime_bus = std::env::var_os("XDG_RUNTIME_DIR")
        .is_some_and(|folder| std::path::Path::new(&folder).join("bus").exists());
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() || has_runtime_bus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_text_in_a_notification() {
        let notice = Notice::ChatMessage {
            with: String::new(),
            name: "ann\u{202e}a".to_owned(),
            text: "<a href=\"http://x\">Update & win</a>\u{1b}[2J".to_owned(),
        };
        let text = notice_text(&notice, &Words::new("en")).unwrap_or_default();
        assert!(text.contains("anna") && !text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        let marked = escape_markup(&text);
        assert!(
            marked.contains("&lt;a href=") && marked.contains("Update &amp; win") && !marked.contains('<'),
            "{marked:?}"
        );
    }

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let known = |from: f64, to: f64| Known {
            settings: BTreeMap::from([
                ("chat_quiet_from".to_owned(), from.into()),
                ("chat_quiet_to".to_owned(), to.into()),
            ]),
            ..Known::default()
        };
        let night = known(22.0, 7.0);
        assert_eq!([21, 22, 0, 6, 7].map(|hour| night.is_quiet(hour)), [false, true, true, true, false]);
        assert_eq!([11, 12, 13].map(|hour| known(12.0, 13.0).is_quiet(hour)), [false, true, false]);
        assert!(!(0..24).any(|hour| known(0.0, 0.0).is_quiet(hour)));
    }
}
