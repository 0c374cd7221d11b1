//! Commands of the window that need the app. All others go through `call`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fog_api::settings::{EXPORT_VERSION, ExportFile, parse_export};
use fog_api::{ApiError, Command, JobCommand, Reply, SettingsCommand};
use fog_types::job::GridOptions;
use fog_types::{ByteCount, ErrorKind};
use tauri::{AppHandle, State};
use tauri_plugin_dialog::{DialogExt, FilePath};

use crate::backend::Backend;

type Engine<'a> = State<'a, Arc<Backend>>;

#[tauri::command]
pub(crate) async fn call(engine: Engine<'_>, command: Command) -> Result<Reply, ApiError> {
    let mut reply = engine.call(command).await?;
    if let Reply::Snapshot(snapshot) = &mut reply {
        snapshot.attached = engine.is_attached().await;
    }
    Ok(reply)
}

#[tauri::command]
pub(crate) async fn submit_path(
    engine: Engine<'_>,
    path: PathBuf,
    grid: Option<GridOptions>,
) -> Result<Reply, ApiError> {
    let mut command = fog_engine::submission(&path)?;
    match &mut command {
        Command::Jobs(JobCommand::Submit { grid: wish, .. }) => *wish = grid,
        _ if grid.is_some() => {
            let message = "a checkpoint goes on where it is submitted; choose this device for it";
            return Err(ApiError::new(ErrorKind::BadInput, message));
        }
        _ => {}
    }
    engine.call(command).await
}

#[tauri::command]
pub(crate) async fn estimate_path(engine: Engine<'_>, path: PathBuf) -> Result<Reply, ApiError> {
    match fog_engine::submission(&path)? {
        // The user of the window uses the device, which alone is no reason to wait.
        Command::Jobs(JobCommand::Submit { job_file, folder, .. }) => {
            engine
                .call(Command::Jobs(JobCommand::Estimate { job_file, folder, seconds: 10, now: true }))
                .await
        }
        _ => Err(ApiError::new(
            ErrorKind::BadInput,
            "a checkpoint is not estimated: it goes on from where it is",
        )),
    }
}

#[tauri::command]
pub(crate) async fn pick_file(app: AppHandle, kind: String) -> Result<Option<String>, ApiError> {
    let extensions: &[&str] = if kind == "job" { &["wasm", "toml", "fog"] } else { &["json"] };
    let dialog = app.dialog().file().add_filter(kind, extensions);
    let (answer, answered) = tokio::sync::oneshot::channel();
    dialog.pick_file(move |path| drop(answer.send(path)));
    let Some(path) = answered.await.ok().flatten() else { return Ok(None) };
    picked(&app, path).map(|path| Some(path.to_string_lossy().into_owned()))
}

#[tauri::command]
pub(crate) async fn pick_folder(app: AppHandle) -> Result<Option<String>, ApiError> {
    #[cfg(desktop)]
    {
        let (answer, answered) = tokio::sync::oneshot::channel();
        app.dialog().file().pick_folder(move |path| drop(answer.send(path)));
        Ok(answered.await.ok().flatten().map(|path| path.to_string()))
    }
    #[cfg(mobile)]
    {
        use tauri::Manager;
        Ok(app.path().document_dir().ok().map(|path| path.to_string_lossy().into_owned()))
    }
}

#[tauri::command]
pub(crate) async fn export_settings(app: AppHandle, engine: Engine<'_>) -> Result<Option<String>, ApiError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    app.dialog().file().set_file_name("fog-settings.json").save_file(move |path| drop(answer.send(path)));
    let Some(path) = answered.await.ok().flatten() else { return Ok(None) };
    let Reply::Settings(settings) = engine.call(Command::Settings(SettingsCommand::Get)).await? else {
        return Ok(None);
    };
    let name = path.to_string();
    let text = serde_json::to_string_pretty(&ExportFile { fog_settings: EXPORT_VERSION, settings })
        .map_err(|e| bad(Path::new(&name), &e))?;
    save(&app, path, &(text + "\n")).map_err(|e| bad(Path::new(&name), &e))?;
    Ok(Some(name))
}

#[tauri::command]
pub(crate) async fn import_settings(app: AppHandle, engine: Engine<'_>) -> Result<bool, ApiError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    app.dialog().file().add_filter("json", &["json"]).pick_file(move |path| drop(answer.send(path)));
    let Some(path) = answered.await.ok().flatten() else { return Ok(false) };
    let path = picked(&app, path)?;
    let (changes, _) = parse_export(&read_small(&path)?).map_err(|e| bad(&path, &e))?;
    engine.call(Command::Settings(SettingsCommand::Set { changes })).await.map(|_| true)
}

/// Returns the path of a file that the user chose.
#[cfg(desktop)]
fn picked(_app: &AppHandle, path: FilePath) -> Result<PathBuf, ApiError> {
    let name = path.to_string();
    path.into_path().map_err(|e| bad(Path::new(&name), &e))
}

#[cfg(desktop)]
fn save(_app: &AppHandle, path: FilePath, text: &str) -> std::io::Result<()> {
    fog_runtime::write_file(&path.into_path().map_err(std::io::Error::other)?, text.as_bytes())
}

/// Returns the path of a file that the user chose. Android gives an address that only its own file API
/// opens; such a file is copied, and named after its content.
#[cfg(mobile)]
fn picked(app: &AppHandle, path: FilePath) -> Result<PathBuf, ApiError> {
    use tauri::Manager;
    use tauri_plugin_fs::FsExt;
    let path = match path {
        FilePath::Path(path) => return Ok(path),
        address => address,
    };
    let name = path.to_string();
    let error = |e: &dyn std::fmt::Display| bad(Path::new(&name), e);
    let bytes = app.fs().read(path).map_err(|e| error(&e))?;
    let folder = app.path().app_cache_dir().map_err(|e| error(&e))?;
    let copy = folder.join(match bytes.first_chunk::<4>() {
        Some(b"\0asm") => "picked.wasm",
        _ if bytes.starts_with(b"{") => "picked.json",
        _ => "picked.toml",
    });
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&copy, bytes)).map_err(|e| error(&e))?;
    Ok(copy)
}

#[cfg(mobile)]
fn save(app: &AppHandle, path: FilePath, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use tauri_plugin_fs::{FsExt, OpenOptions};
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    app.fs().open(path, options)?.write_all(text.as_bytes())
}

/// Reads a text file that the user chose, without a byte order mark; job and settings files are small.
fn read_small(path: &Path) -> Result<String, ApiError> {
    let most = ByteCount(fog_types::job::MAX_FILE_BYTES as u64);
    let bytes = fog_runtime::read_regular(path, most).map_err(|e| bad(path, &e))?;
    fog_types::decode_text(&bytes).map_err(|e| bad(path, &e))
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::BadInput, format!("{}: {error}. Nothing was changed", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    #[test]
    fn a_settings_file_is_read_in_every_form_that_editors_write() {
        let path = std::env::temp_dir().join(format!("fog-settings-{}.json", std::process::id()));
        let text = "{ \"a\": \"grün\" }";
        let wide: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for bytes in [text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), wide] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_small(&path).unwrap(), text);
        }
        std::fs::write(&path, vec![b' '; fog_types::job::MAX_FILE_BYTES + 1]).unwrap();
        assert!(read_small(&path).unwrap_err().message.contains("larger"));
        std::fs::remove_file(&path).unwrap();
        #[cfg(unix)]
        assert!(read_small(Path::new("/dev/zero")).is_err());
    }
}
