use anyhow::Context;
use wasm_bindgen_cli_support::Bindgen;

use crate::shell::{finish, root, sh, target};

/// Compiles the window's code and puts all its files into `dist/`.
pub fn build(release: bool) -> anyhow::Result<()> {
    let mut args = vec!["build", "--quiet", "--target", "wasm32-unknown-unknown", "-p", "fog-ui", "--lib"];
    if release {
        args.push("--release");
    }
    sh("cargo", &args)?;
    let dist = root().join("dist");
    std::fs::create_dir_all(&dist)?;
    let profile = if release { "release" } else { "debug" };
    let wasm = target().join("wasm32-unknown-unknown").join(profile).join("fog_ui.wasm");
    Bindgen::new()
        .input_path(&wasm)
        .web(true)?
        .typescript(false)
        .remove_name_section(release)
        .remove_producers_section(true)
        .generate(&dist)
        .context("wasm-bindgen")?;
    for entry in std::fs::read_dir(root().join("ui/static"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), dist.join(entry.file_name()))?;
    }
    Ok(())
}

/// Builds the app with the window's files in it.
pub fn build_app(release: bool) -> anyhow::Result<()> {
    build(release)?;
    let mut args = vec!["build", "--quiet", "-p", "fog-compute", "-p", "fog-cli"];
    if release {
        args.push("--release");
    }
    finish(crate::shell::command("cargo", &args))
}
