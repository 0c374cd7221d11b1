use std::path::Path;

use anyhow::Context;

use crate::shell::{command, finish, root, target};

/// Compiler flags for libFuzzer's coverage feedback (those of cargo-fuzz, without a sanitizer: the decoders
/// are safe Rust). All of them are stable.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// A fuzz target: its name, the longest input, and its seeds.
struct Target {
    name: &'static str,
    max_bytes: u32,
    seeds: fn(&Path) -> anyhow::Result<()>,
}

const TARGETS: [Target; 10] = [
    Target { name: "job_file", max_bytes: 4096, seeds: job_files },
    Target { name: "settings_file", max_bytes: 4096, seeds: settings },
    Target { name: "ipc_frame", max_bytes: 2048, seeds: no_seeds },
    Target { name: "worker_frame", max_bytes: 2048, seeds: no_seeds },
    Target { name: "grid_message", max_bytes: 2048, seeds: no_seeds },
    Target { name: "mesh_packet", max_bytes: 2048, seeds: no_seeds },
    Target { name: "carried_message", max_bytes: 4096, seeds: no_seeds },
    Target { name: "module", max_bytes: 4096, seeds: modules },
    Target { name: "instrument", max_bytes: 4096, seeds: modules },
    Target { name: "checkpoint", max_bytes: 16384, seeds: checkpoints },
];

/// Runs every target, or the named one, for `runs` inputs. Findings stay in target/fuzz.
pub fn fuzz(runs: u64, only: Option<&str>) -> anyhow::Result<()> {
    let folder = target().join("fuzz");
    let host = crate::shell::capture("rustc", &["-vV"]);
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not tell its host")?;
    let chosen = || TARGETS.iter().filter(|target| only.is_none_or(|only| only == target.name));
    anyhow::ensure!(
        chosen().next().is_some(),
        "no such target; there are {}",
        TARGETS.map(|target| target.name).join(", ")
    );
    // With an explicit target, the flags do not apply to build scripts.
    let mut build = command(
        "cargo",
        &["build", "--quiet", "--release", "--target", host, "--manifest-path", "tests/fuzz/Cargo.toml"],
    );
    build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &folder);
    finish(build)?;
    for target in chosen() {
        let corpus = folder.join("corpus").join(target.name);
        std::fs::create_dir_all(&corpus)?;
        (target.seeds)(&corpus)?;
        let program = folder.join(host).join("release").join(target.name);
        let findings = format!("-artifact_prefix={}/{}-", folder.display(), target.name);
        let (runs, length) = (format!("-runs={runs}"), format!("-max_len={}", target.max_bytes));
        finish(command(
            &program.to_string_lossy(),
            &[
                &corpus.to_string_lossy(),
                &runs,
                &length,
                &findings,
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-verbosity=0",
                "-print_final_stats=1",
            ],
        ))?;
    }
    Ok(())
}

fn job_files(corpus: &Path) -> anyhow::Result<()> {
    for example in crate::examples::EXAMPLES {
        std::fs::copy(root().join("examples").join(example).join("job.toml"), corpus.join(example))?;
    }
    Ok(())
}

fn settings(corpus: &Path) -> anyhow::Result<()> {
    let some = "{\"fog_settings\": 1, \"settings\": {\"battery_stop\": 45, \"theme\": \"dark\", \"exclusive_programs\": [\"game\"], \"autostart\": true, \"later\": 1}}";
    Ok(std::fs::write(corpus.join("some"), some)?)
}

/// Writes module seeds. Example programs would be cut off, so a handwritten module has one section of each
/// kind.
fn modules(corpus: &Path) -> anyhow::Result<()> {
    let module: &[u8] = &[
        0, b'a', b's', b'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 4, 4, 1, 0x70, 0, 1, 5, 3, 1, 0, 1,
        6, 6, 1, 0x7f, 1, 0x41, 0, 0x0b, 7, 10, 1, 6, b'_', b's', b't', b'a', b'r', b't', 0, 0, 9, 7, 1, 0,
        0x41, 0, 0x0b, 1, 0, 10, 9, 1, 7, 0, 3, 0x40, 0x0c, 0, 0x0b, 0x0b, 11, 7, 1, 0, 0x41, 0, 0x0b, 1,
        b'x',
    ];
    Ok(std::fs::write(corpus.join("every-section"), module)?)
}

fn checkpoints(corpus: &Path) -> anyhow::Result<()> {
    std::fs::copy(root().join("tests/fuzz/seeds/checkpoint.fog"), corpus.join("whole"))?;
    Ok(())
}

fn no_seeds(_corpus: &Path) -> anyhow::Result<()> {
    Ok(())
}
