use anyhow::bail;

use crate::shell::{capture, sh, works};

/// Packages for building and running the app.
const BUILD: &[&str] = &[
    "build-essential",
    "pkg-config",
    "curl",
    "libwebkit2gtk-4.1-dev",
    "libxdo-dev",
    "libssl-dev",
    "libayatana-appindicator3-dev",
    "librsvg2-dev",
];
/// Further packages for the tests.
const TEST: &[&str] = &[
    "xvfb",
    "webkit2gtk-driver",
    "xdotool",
    "openbox",
    "dbus",
    "dbus-x11",
    "gnome-keyring",
    "clang",
    "lld",
    "wasi-libc",
    "libclang-rt-dev-wasm32",
    "emboss",
    "imagemagick",
    "dpkg-dev",
    "fonts-dejavu-core",
    "iproute2",
    "nftables",
    "faketime",
];
const RUST_TARGETS: &[&str] = &["wasm32-unknown-unknown", "wasm32-wasip1"];

/// Installs everything for building and testing.
pub fn setup() -> anyhow::Result<()> {
    for_build()?;
    for_test()
}

/// Installs the Rust targets and packages of the app. Prints nothing when everything is there.
pub fn for_build() -> anyhow::Result<()> {
    rust_targets(RUST_TARGETS)?;
    packages(BUILD)
}

/// Installs the packages of the tests.
pub fn for_test() -> anyhow::Result<()> {
    packages(TEST)
}

/// Adds missing Rust targets.
pub fn rust_targets(wanted: &[&str]) -> anyhow::Result<()> {
    let installed = capture("rustup", &["target", "list", "--installed"]);
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|target| !installed.lines().any(|line| line == *target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !works("rustup", &["--version"]) {
        bail!(
            "these Rust targets are missing: {}. Install them with your system's Rust packages, or install rustup",
            missing.join(", ")
        );
    }
    sh("rustup", &[&["target", "add"], missing.as_slice()].concat())
}

/// Installs missing Debian packages; on other systems prints what to install.
pub fn packages(wanted: &[&str]) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        println!("On this system install what Tauri asks for: https://tauri.app/start/prerequisites/");
        return Ok(());
    }
    if !works("dpkg-query", &["--version"]) {
        println!(
            "This is not Debian or Ubuntu. Make sure your system has the counterparts of: {}",
            wanted.join(" ")
        );
        return Ok(());
    }
    let is_installed =
        |name: &&str| capture("dpkg-query", &["-W", "-f=${Status}", name]).contains("install ok installed");
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing: {}", missing.join(" "));
    let is_root = capture("id", &["-u"]).trim() == "0";
    let (program, prefix): (&str, &[&str]) = if is_root {
        ("env", &["DEBIAN_FRONTEND=noninteractive"])
    } else {
        ("sudo", &["env", "DEBIAN_FRONTEND=noninteractive"])
    };
    sh(program, &[prefix, &["apt-get", "update", "-qq"]].concat())?;
    sh(
        program,
        &[prefix, &["apt-get", "install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()]
            .concat(),
    )
}
