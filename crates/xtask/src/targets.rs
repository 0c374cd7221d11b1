use std::fs;

use anyhow::Context;

use crate::shell::{command, finish, target};
use crate::{setup, ui};

/// Packages that every app and the command consist of.
const ENGINE: &[&str] = &[
    "-p",
    "fog-types",
    "-p",
    "fog-api",
    "-p",
    "fog-words",
    "-p",
    "fog-eligibility",
    "-p",
    "fog-probes",
    "-p",
    "fog-instrument",
    "-p",
    "fog-runtime",
    "-p",
    "fog-store",
    "-p",
    "fog-grid",
    "-p",
    "fog-scheduler",
    "-p",
    "fog-transport",
    "-p",
    "fog-libp2p",
    "-p",
    "fog-engine",
    "-p",
    "fog-ipc",
];
const COMMAND: &[&str] = &["-p", "fog-cli"];
const APP: &[&str] = &["-p", "fog-compute", "-p", "tauri-plugin-fog"];

/// Type-checks for Android, iOS and macOS with stand-in C compilers, and builds for Windows.
pub fn check() -> anyhow::Result<()> {
    let rust =
        ["aarch64-linux-android", "aarch64-apple-ios", "aarch64-apple-darwin", "x86_64-pc-windows-gnu"];
    setup::rust_targets(&rust)?;
    setup::packages(&[
        "gcc-mingw-w64-x86-64",
        "g++-mingw-w64-x86-64",
        "gcc-aarch64-linux-gnu",
        "g++-aarch64-linux-gnu",
    ])?;
    // The app's build embeds the window's files.
    setup::rust_targets(&["wasm32-unknown-unknown"])?;
    ui::build(false)?;
    let mut windows = command(
        "cargo",
        &[&["build", "--quiet", "--target", "x86_64-pc-windows-gnu"], ENGINE, COMMAND, APP].concat(),
    );
    windows.env("CARGO_PROFILE_DEV_DEBUG", "0");
    finish(windows)?;

    let mut android =
        command("cargo", &[&["check", "--quiet", "--target", "aarch64-linux-android"], ENGINE, APP].concat());
    for (tool, program) in
        [("CC", "aarch64-linux-gnu-gcc"), ("CXX", "aarch64-linux-gnu-g++"), ("AR", "aarch64-linux-gnu-ar")]
    {
        android.env(format!("{tool}_aarch64_linux_android"), program);
    }
    android.env("CFLAGS_aarch64_linux_android", "-D_GNU_SOURCE");
    finish(android)?;

    let stand_in = apple_stand_in()?;
    for (name, packages) in [
        ("aarch64-apple-ios", [ENGINE, APP].concat()),
        ("aarch64-apple-darwin", [ENGINE, COMMAND, APP].concat()),
    ] {
        let mut apple =
            command("cargo", &[&["check", "--quiet", "--target", name], packages.as_slice()].concat());
        let underscored = name.replace('-', "_");
        apple
            .env(format!("CC_{underscored}"), &stand_in)
            .env(format!("CXX_{underscored}"), &stand_in)
            .env("SDKROOT", target());
        finish(apple)?;
    }
    println!("Windows builds; Android, iOS and macOS type-check. None of them was run on hardware.");
    Ok(())
}

/// Creates a compiler wrapper that drops Apple's own options and Objective-C. Enough for type checks;
/// nothing is linked.
fn apple_stand_in() -> anyhow::Result<std::path::PathBuf> {
    let path = target().join("apple-cc");
    let script = "#!/bin/sh\nargs=\nskip=\nfor a; do\n  if [ -n \"$skip\" ]; then skip=; continue; fi\n  case \"$a\" in\n    -arch|-isysroot|-target) skip=1 ;;\n    --target=*|-m*-version-min=*|-W*|-g*|-f*exceptions|-fobjc*) ;;\n    *.m|*.mm) args=\"$args -x c /dev/null\" ;;\n    *) args=\"$args '$a'\" ;;\n  esac\ndone\neval exec aarch64-linux-gnu-gcc -w -D_GNU_SOURCE $args\n";
    fs::write(&path, script)?;
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .context("the stand-in compiler")?;
    Ok(path)
}
