//! The tray: state at a glance, pause, finish, quit.

use std::sync::{Arc, Mutex, PoisonError};

use fog_api::{Command, Status};
use fog_words::Words;
use tauri::image::Image;
use tauri::menu::{Menu, MenuItem, PredefinedMenuItem};
use tauri::tray::TrayIconBuilder;
use tauri::{AppHandle, Manager};

use crate::backend::Backend;
use crate::integration::words;

const ID: &str = "main";

pub(crate) fn install(app: &AppHandle) -> tauri::Result<()> {
    let tray = TrayIconBuilder::with_id(ID).icon(icon("paused")?).tooltip("Fog Compute").menu(&menu(app, &words(None))?);
    tray.on_menu_event(|app, event| chosen(app, event.id().as_ref())).build(app).map(drop)
}

fn menu(app: &AppHandle, words: &Words) -> tauri::Result<Menu<tauri::Wry>> {
    let item = |id: &str, text: String| MenuItem::with_id(app, id, text, true, None::<&str>);
    let pause = |span: &str| format!("{}: {}", words.t("pause"), words.t(span));
    Menu::with_items(
        app,
        &[
            &item("open", words.t("tray-open"))?,
            &PredefinedMenuItem::separator(app)?,
            &item("pause-30", pause("pause-30"))?,
            &item("pause-60", pause("pause-60"))?,
            &item("end-pause", words.t("end-pause"))?,
            &item("finish", words.t("finish-then-stop"))?,
            &PredefinedMenuItem::separator(app)?,
            &item("quit", words.t("tray-quit"))?,
        ],
    )
}

fn chosen(app: &AppHandle, id: &str) {
    let command = match id {
        "open" => return show_window(app),
        "quit" => return app.exit(0),
        "pause-30" => Command::Snooze { minutes: 30 },
        "pause-60" => Command::Snooze { minutes: 60 },
        "end-pause" => Command::Snooze { minutes: 0 },
        "finish" => Command::FinishThenStop,
        _ => return,
    };
    let backend = Arc::clone(&app.state::<Arc<Backend>>());
    tauri::async_runtime::spawn(async move {
        if let Err(error) = backend.call(command).await {
            tracing::warn!(%error, "the tray's command was not carried out");
        }
    });
}

/// Shows the window, making it when it was closed.
pub(crate) fn show_window(app: &AppHandle) {
    let result = match app.get_webview_window("main") {
        Some(window) => window.show().and_then(|()| window.unminimize()).and_then(|()| window.set_focus()),
        None => crate::open_window(app, false),
    };
    if let Err(error) = result {
        tracing::warn!(%error, "the window cannot be shown");
    }
}

/// What the tray shows: each change is a round through the window system, so there are no idle ones.
static SHOWN: Mutex<(&str, String)> = Mutex::new(("", String::new()));

/// Icon and tooltip follow the state.
pub(crate) fn show_state(app: &AppHandle, status: &Status, words: &Words) {
    let Some(tray) = app.tray_by_id(ID) else { return };
    let name = match status {
        s if !s.contributing || s.snoozed_until_ms.is_some() => "paused",
        s if s.verdict.duty == 0 => "waiting",
        _ => "working",
    };
    let wanted = (name, words.pill(status));
    let before = std::mem::replace(&mut *SHOWN.lock().unwrap_or_else(PoisonError::into_inner), wanted.clone());
    let mut shown = Ok(());
    if before.0 != wanted.0 {
        shown = icon(name).and_then(|icon| tray.set_icon(Some(icon)));
    }
    if before.1 != wanted.1 {
        shown = shown.and_then(|()| tray.set_tooltip(Some(format!("Fog Compute · {}", wanted.1))));
    }
    if let Err(error) = shown {
        tracing::debug!(%error, "the tray shows no state");
    }
}

fn icon(name: &str) -> tauri::Result<Image<'static>> {
    Image::from_bytes(match name {
        "working" => include_bytes!("../../icons/tray-working.png"),
        "waiting" => include_bytes!("../../icons/tray-waiting.png"),
        _ => include_bytes!("../../icons/tray-paused.png"),
    })
}
