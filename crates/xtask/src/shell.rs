use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Returns Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Returns a command that runs in the root of the repository.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    // Cargo sets variables about the running package; a build of another package must not see them.
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n == "CARGO_MANIFEST_DIR")
    }) {
        command.env_remove(name);
    }
    command
}

/// Prints a command, runs it and prints its time; fails when it fails.
pub fn sh(program: &str, args: &[&str]) -> anyhow::Result<()> {
    finish(command(program, args))
}

/// Runs a prepared command like [`sh`].
pub fn finish(mut command: Command) -> anyhow::Result<()> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    println!("\x1b[1m$ {line}\x1b[0m");
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("'{line}' cannot be started"))?;
    if !status.success() {
        bail!("'{line}' failed ({status})");
    }
    println!("  {:.0} s", begun.elapsed().as_secs_f32());
    Ok(())
}

/// Whether a command runs and succeeds; its output is dropped.
pub fn works(program: &str, args: &[&str]) -> bool {
    command(program, args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns the standard output of a command; empty when it fails to start.
pub fn capture(program: &str, args: &[&str]) -> String {
    command(program, args)
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
