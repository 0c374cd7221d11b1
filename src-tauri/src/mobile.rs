/// Phones start here.
#[tauri::mobile_entry_point]
fn main() {
    if let Err(error) = crate::run() {
        tracing::error!(error = %format!("{error:#}"), "the app cannot start");
    }
}
