//! Registers the plugin's commands and its phone projects with Tauri.
fn main() {}
