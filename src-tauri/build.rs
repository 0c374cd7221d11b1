//! Embeds the configuration and generates one permission for each command.

fn main() {
    // The window's files are embedded in the program.
    println!("cargo:rerun-if-changed=dist");
    // The library exports nothing on the desktop; GNU ld would then export everything, more symbols than it
    // can.
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.ends_with("windows-gnu") {
        println!("cargo:rustc-link-arg-cdylib=-Wl,--exclude-all-symbols");
    }
    let commands = [
        "call",
        "submit_path",
        "estimate_path",
        "pick_file",
        "pick_folder",
        "export_settings",
        "import_settings",
    ];
    let attributes = tauri_build::Attributes::new()
        .capabilities_path_pattern("./src-tauri/capabilities/**/*")
        .app_manifest(tauri_build::AppManifest::new().commands(Box::leak(Box::new(commands))));
    if let Err(error) = tauri_build::try_build(attributes) {
        panic!("tauri-build: {error:#}");
    }
}
