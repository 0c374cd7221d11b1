use crate::shell::{command, finish, sh, target, works};
use crate::{examples, setup};

/// Builds optimised binaries and runs `tests/benches`, which prints the table.
pub fn bench() -> anyhow::Result<()> {
    setup::packages(&[
        "boinc-client",
        "xvfb",
        "clang",
        "lld",
        "wasi-libc",
        "libclang-rt-dev-wasm32",
        "dpkg-dev",
        "make",
        "tcl",
    ])?;
    crate::ui::build_app(true)?;
    examples::build("release")?;
    sh("cargo", &["build", "--quiet", "--release", "-p", "kernels"])?;
    sh("cargo", &["build", "--quiet", "--target", "wasm32-wasip1", "--profile", "guest", "-p", "kernels"])?;
    let python = pymoo()?;
    let mut bench = command("cargo", &["bench", "-p", "fog-tests"]);
    bench.env("FOG_PYMOO", python);
    bench
        .env("FOG_KERNELS_NATIVE", target().join("release/kernels"))
        .env("FOG_KERNELS_WASM", target().join("wasm32-wasip1/guest/kernels.wasm"));
    bench.env("FOG_BIN", target().join("release/fog")).env("FOG_APP", target().join("release/fog-compute"));
    finish(bench)?;
    sh(
        "ls",
        &[
            "-l",
            &target().join("release/fog").to_string_lossy(),
            &target().join("release/fog-compute").to_string_lossy(),
        ],
    )
}

/// Returns a Python with pymoo, for the comparison with NSGA-II of this repository.
fn pymoo() -> anyhow::Result<std::path::PathBuf> {
    let place = target().join("tools/pymoo");
    let python = place.join("bin/python");
    let has_it = || works(&python.to_string_lossy(), &["-c", "import pymoo"]);
    if !has_it() {
        setup::packages(&["python3-venv"])?;
        sh("python3", &["-m", "venv", &place.to_string_lossy()])?;
        sh(&python.to_string_lossy(), &["-m", "pip", "install", "--quiet", "pymoo"])?;
    }
    Ok(python)
}
