//! Runs the test programs side by side: most of the end-to-end ones wait more than they compute.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::{command, target};

/// Programs that run at once.
const LANES: usize = 2;
/// Programs that use every processor all the time, so that timeouts of others would mean nothing beside them. They run first.
const ALONE: [&str; 1] = ["ble"];
/// Programs that take longest; they start first, so that none of them runs alone at the end.
const LONGEST: [&str; 11] = [
    "grid",
    "results",
    "checkpoints",
    "chat",
    "hostile_modules",
    "rewriting",
    "liars",
    "kills",
    "requests",
    "desktop",
    "talk",
];

/// Characters of a failed program's output that are printed again.
const MAX_REPEATED: usize = 6_000;

/// One test program.
struct Program {
    name: String,
    path: PathBuf,
    /// Folder of its package, where Cargo would run it.
    folder: PathBuf,
}

/// Builds and runs every test of the workspace; `prepare` sets what the programs find in their environment.
///
/// Each program's output is printed as a whole when it has ended.
pub fn run(prepare: impl Fn(&mut Command) + Sync) -> anyhow::Result<()> {
    let mut programs = programs()?;
    programs.sort_by_key(|program| {
        LONGEST.iter().position(|name| *name == program.name).unwrap_or(LONGEST.len())
    });
    println!("{} test programs, {LANES} at a time", programs.len());
    let (alone, together): (VecDeque<Program>, VecDeque<Program>) =
        programs.into_iter().partition(|program| ALONE.contains(&program.name.as_str()));
    let ended = Mutex::new(Vec::new());
    for (lanes, programs) in [(1, alone), (LANES, together)] {
        let waiting = Mutex::new(programs);
        std::thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some(program) = next else { return };
                        let begun = Instant::now();
                        let problem = run_one(&program, &prepare).err();
                        ended.lock().unwrap_or_else(PoisonError::into_inner).push((
                            program.name,
                            begun.elapsed(),
                            problem,
                        ));
                    }
                });
            }
        });
    }
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(_, took, _)| std::cmp::Reverse(*took));
    let longest: Vec<String> = ended
        .iter()
        .take_while(|(_, took, _)| *took > Duration::from_secs(30))
        .map(|(name, took, _)| said(name, *took))
        .collect();
    println!("\nThe longest: {}", longest.join(", "));
    for (name, _, problem) in &ended {
        if let Some(problem) = problem {
            // Once more where a reader looks first: the end.
            println!("\n\x1b[1m{name} failed\x1b[0m\n{problem:?}");
        }
    }
    let failed: Vec<&str> =
        ended.iter().filter(|(_, _, problem)| problem.is_some()).map(|(name, _, _)| name.as_str()).collect();
    if !failed.is_empty() {
        bail!("tests failed: {}", failed.join(", "));
    }
    crate::shell::sh("cargo", &["test", "--quiet", "--locked", "--workspace", "--doc"])
}

/// Failures that a test program printed: from the first heading "failures:", a limited part.
fn failures(text: &str) -> &str {
    let begin = text.find("\nfailures:").map_or(text.len().saturating_sub(MAX_REPEATED), |at| at + 1);
    let begin = text.ceil_char_boundary(begin);
    let end = text.floor_char_boundary((begin + MAX_REPEATED).min(text.len()));
    &text[begin..end]
}

fn said(name: &str, took: Duration) -> String {
    format!("{name} {:.0} s", took.as_secs_f32())
}

fn programs() -> anyhow::Result<Vec<Program>> {
    let mut build = command(
        "cargo",
        &["test", "--quiet", "--locked", "--workspace", "--no-run", "--message-format=json"],
    );
    let output = build.stderr(Stdio::inherit()).output().context("cargo does not start")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let mut list = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let artifact: Value = serde_json::from_slice(line).context("what Cargo says of its work")?;
        if artifact["reason"] != "compiler-artifact" || artifact["profile"]["test"] != true {
            continue;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (path, name, manifest) = (
            text(&artifact["executable"]),
            text(&artifact["target"]["name"]),
            text(&artifact["manifest_path"]),
        );
        if let (Some(path), Some(name), Some(manifest)) = (path, name, manifest) {
            let folder = Path::new(&manifest).parent().unwrap_or_else(|| Path::new(".")).to_owned();
            list.push(Program { name, path: path.into(), folder });
        }
    }
    Ok(list)
}

fn run_one(program: &Program, prepare: &impl Fn(&mut Command)) -> anyhow::Result<()> {
    let begun = Instant::now();
    // Both streams go to one file, in the order in which they were written.
    let folder = target().join("test-output");
    std::fs::create_dir_all(&folder)?;
    let log = folder.join(format!("{}.txt", program.path.file_name().unwrap_or_default().to_string_lossy()));
    let file = std::fs::File::create(&log)?;
    let mut test = command(&program.path.to_string_lossy(), &[]);
    test.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder).stdin(Stdio::null());
    test.stdout(file.try_clone()?).stderr(file);
    prepare(&mut test);
    let status = test.status().with_context(|| format!("{} does not start", program.name))?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    // One call, so that the other lane does not write in between.
    println!(
        "\n\x1b[1m$ {}\x1b[0m\n{}\n  {}",
        program.path.display(),
        text.trim(),
        said(&program.name, begun.elapsed())
    );
    if !status.success() {
        bail!("{} ended with {status}:\n{}", program.name, failures(&text));
    }
    Ok(())
}
