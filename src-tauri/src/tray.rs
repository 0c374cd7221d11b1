//! The tray icon: state and number of unread messages, with entries to pause, finish and quit.

use std::sync::{Arc, Mutex, PoisonError};

use fog_api::{Command, DutyCommand, Status};
use fog_words::Words;
use tauri::image::Image;
use tauri::menu::{Menu, MenuItem, PredefinedMenuItem};
use tauri::tray::TrayIconBuilder;
use tauri::{AppHandle, Emitter, Manager, Wry};

use crate::backend::Backend;
use crate::integration::words;

const ID: &str = "main";
/// Key of the chat page in the window.
const CHAT: &str = "page-chat";

pub(crate) fn install(app: &AppHandle) -> tauri::Result<()> {
    let words = words(None);
    let chat = MenuItem::with_id(app, "chat", words.t("page-chat"), true, None::<&str>)?;
    let tray = TrayIconBuilder::with_id(ID)
        .icon(icon("paused")?)
        .tooltip("Fog Compute")
        .menu(&menu(app, &words, &chat)?);
    app.manage(ChatEntry(chat));
    tray.on_menu_event(|app, event| chosen(app, event.id().as_ref())).build(app).map(drop)
}

/// Menu entry with the number of unread messages.
struct ChatEntry(MenuItem<Wry>);

fn menu(app: &AppHandle, words: &Words, chat: &MenuItem<Wry>) -> tauri::Result<Menu<Wry>> {
    let item = |id: &str, text: String| MenuItem::with_id(app, id, text, true, None::<&str>);
    let pause = |span: &str| format!("{}: {}", words.t("pause"), words.t(span));
    Menu::with_items(
        app,
        &[
            &item("open", words.t("tray-open"))?,
            chat,
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
        "chat" => return show_chat(app),
        "quit" => return app.exit(0),
        "pause-30" => Command::Duty(DutyCommand::Snooze { minutes: 30 }),
        "pause-60" => Command::Duty(DutyCommand::Snooze { minutes: 60 }),
        "end-pause" => Command::Duty(DutyCommand::Snooze { minutes: 0 }),
        "finish" => Command::Duty(DutyCommand::FinishThenStop),
        _ => return,
    };
    let backend = Arc::clone(&app.state::<Arc<Backend>>());
    tauri::async_runtime::spawn(async move {
        if let Err(error) = backend.call(command).await {
            tracing::warn!(%error, "the tray's command was not carried out");
        }
    });
}

/// Shows the window; creates it if it was closed.
pub(crate) fn show_window(app: &AppHandle) {
    let result = match app.get_webview_window("main") {
        Some(window) => window.show().and_then(|()| window.unminimize()).and_then(|()| window.set_focus()),
        None => crate::open_window(app, false, None),
    };
    if let Err(error) = result {
        tracing::warn!(%error, "the window cannot be shown");
    }
}

fn show_chat(app: &AppHandle) {
    if app.get_webview_window("main").is_some() {
        // A page that does not receive the event stays where it is.
        let _ = app.emit("page", CHAT);
        return show_window(app);
    }
    if let Err(error) = crate::open_window(app, false, Some(CHAT)) {
        tracing::warn!(%error, "the window cannot be shown");
    }
}

/// Icon and tooltip shown last: each change is a round trip through the window system, so unchanged ones
/// are skipped.
static SHOWN: Mutex<(&str, String)> = Mutex::new(("", String::new()));
static UNREAD: Mutex<Option<String>> = Mutex::new(None);

/// Shows the number of unread messages in the menu, and beside the icon where the system supports it.
pub(crate) fn show_unread(app: &AppHandle, unread: u32, words: &Words) {
    let Some(tray) = app.tray_by_id(ID) else { return };
    let text = match unread {
        0 => words.t("page-chat"),
        n => {
            format!("{} · {}", words.t("page-chat"), words.with("chat-unread", &[("n", f64::from(n).into())]))
        }
    };
    let before = UNREAD.lock().unwrap_or_else(PoisonError::into_inner).replace(text.clone());
    if before.as_ref() == Some(&text) {
        return;
    }
    let title = (unread > 0).then(|| unread.min(99).to_string());
    let shown = tray.set_title(title).and_then(|()| app.state::<ChatEntry>().0.set_text(text));
    if let Err(error) = shown {
        tracing::debug!(%error, "the tray shows no messages");
    }
}

/// Updates icon and tooltip.
pub(crate) fn show_state(app: &AppHandle, status: &Status, words: &Words) {
    let Some(tray) = app.tray_by_id(ID) else { return };
    let name = match status {
        s if !s.contributing || s.snoozed_until_ms.is_some() => "paused",
        s if s.verdict.duty == 0 => "waiting",
        _ => "working",
    };
    let wanted = (name, words.pill(status));
    let before =
        std::mem::replace(&mut *SHOWN.lock().unwrap_or_else(PoisonError::into_inner), wanted.clone());
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
