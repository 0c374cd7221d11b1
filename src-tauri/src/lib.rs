//! The desktop and phone app: one window for an engine that is hosted here or by a daemon.
//!
//! Besides the plugin, this is the only crate that uses Tauri. Commands are passed on as in `fog-api`;
//! tray, notifications and autostart are in `integration` and `tray`.

mod backend;
mod commands;
mod display;
mod integration;
#[cfg(mobile)]
mod mobile;
#[cfg(desktop)]
mod tray;

use std::sync::Arc;

use anyhow::Context as _;
use tauri::webview::PageLoadEvent;
use tauri::{Manager, RunEvent, WebviewUrl, WebviewWindowBuilder};

use crate::backend::{Backend, Shell};

pub use crate::display::NoDisplay;

/// Runs the app until it is quit.
///
/// # Errors
/// [`NoDisplay`] when there is no display; otherwise when there is no data folder, or the window system
/// refuses.
pub fn run() -> anyhow::Result<()> {
    display::check()?;
    // The engine may be hosted here, where other devices cause many log messages.
    fog_engine::start_log(None, "warn").context("the log cannot begin")?;
    let hidden = std::env::args().any(|arg| arg == "--hidden");
    let app = builder()
        .setup(move |app| {
            let backend =
                Arc::new(tauri::async_runtime::block_on(Backend::open(data_folder(app)?, shell(app))));
            app.manage(Arc::clone(&backend));
            integration::start(app.handle().clone(), backend);
            #[cfg(desktop)]
            tray::install(app.handle())?;
            open_window(app.handle(), hidden, None)?;
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("the app cannot start")?;
    app.run(|app, event| match event {
        // Closing the window leaves the engine in the tray.
        RunEvent::ExitRequested { api, code: None, .. } => api.prevent_exit(),
        RunEvent::Exit => tauri::async_runtime::block_on(app.state::<Arc<Backend>>().close()),
        _ => {}
    });
    Ok(())
}

fn builder() -> tauri::Builder<tauri::Wry> {
    let builder = tauri::Builder::default();
    // Must be the first plugin: a second start shows the window of the first.
    #[cfg(desktop)]
    let builder = if integration::can_be_single() {
        builder.plugin(tauri_plugin_single_instance::init(|app, _, _| tray::show_window(app)))
    } else {
        builder
    };
    #[cfg(desktop)]
    let builder = builder
        .plugin(tauri_plugin_autostart::init(
            tauri_plugin_autostart::MacosLauncher::LaunchAgent,
            Some(vec!["--hidden"]),
        ))
        .plugin(tauri_plugin_window_state::Builder::default().build());
    #[cfg(mobile)]
    let builder = builder.plugin(tauri_plugin_fs::init());
    builder
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_fog::init())
        .invoke_handler(tauri::generate_handler![
            commands::call,
            commands::submit_path,
            commands::estimate_path,
            commands::pick_file,
            commands::pick_folder,
            commands::export_settings,
            commands::import_settings
        ])
}

/// Creates the window with the given page or the last one; it is shown once the page is loaded, so that
/// nothing flashes.
pub(crate) fn open_window(app: &tauri::AppHandle, hidden: bool, page: Option<&str>) -> tauri::Result<()> {
    let mut window = WebviewWindowBuilder::new(app, "main", WebviewUrl::default());
    if let Some(page) = page {
        // The page looks there for what was open when the last window closed.
        window = window.initialization_script(format!("localStorage.setItem('page', '{page}')"));
    }
    #[cfg(desktop)]
    let window =
        window.title("Fog Compute").inner_size(1080.0, 760.0).min_inner_size(340.0, 480.0).visible(false);
    window
        .on_page_load(move |window, payload| {
            if payload.event() == PageLoadEvent::Finished && !hidden {
                #[cfg(desktop)]
                let _ = window.show();
                let _ = &window;
            }
        })
        .build()
        .map(drop)
}

/// Returns the device interfaces for `fog-probes` and `fog-ble`; none on the desktop.
#[cfg(desktop)]
fn shell(_app: &tauri::App) -> Shell {
    Shell::default()
}

#[cfg(mobile)]
fn shell(app: &tauri::App) -> Shell {
    Shell {
        device: Some(mobile::readings(app.handle().clone())),
        radio: Some(mobile::radio(app.handle().clone())),
    }
}

#[cfg(desktop)]
fn data_folder(_app: &tauri::App) -> Result<std::path::PathBuf, fog_engine::NoDataFolder> {
    fog_engine::default_data_folder()
}

#[cfg(mobile)]
fn data_folder(app: &tauri::App) -> Result<std::path::PathBuf, fog_engine::NoDataFolder> {
    app.path().app_data_dir().or_else(|_| fog_engine::default_data_folder())
}
