use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::{command, finish, sh, target};
use crate::{examples, setup, ui};

/// Sets up, builds and starts.
pub fn run(headless: bool, release: bool) -> anyhow::Result<()> {
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let headless = headless || (cfg!(target_os = "linux") && !has_display);
    let begun = Instant::now();
    let profile = if release { "release" } else { "debug" };
    if headless {
        println!("[1/3] Rust targets");
        setup::rust_targets(&["wasm32-wasip1"])?;
        println!("[2/3] The fog command and the example jobs (the first time takes some minutes)");
        let mut args = vec!["build", "--quiet", "-p", "fog-cli"];
        args.extend(release.then_some("--release"));
        sh("cargo", &args)?;
        examples::build(profile)?;
        println!("[3/3] Starting after {:.0} s", begun.elapsed().as_secs_f32());
        return without_display(profile);
    }
    println!("[1/3] System packages and Rust targets");
    setup::for_build()?;
    println!("[2/3] The app and the example jobs (the first time takes some minutes)");
    ui::build_app(release)?;
    examples::build(profile)?;
    println!("[3/3] Starting after {:.0} s", begun.elapsed().as_secs_f32());
    finish(command(&target().join(profile).join("fog-compute").to_string_lossy(), &[]))
}

/// The daemon, and the protein search to its printed result.
fn without_display(profile: &str) -> anyhow::Result<()> {
    let fog = target().join(profile).join("fog").to_string_lossy().into_owned();
    let fog_does = |args: &[&str]| command(&fog, args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let mut ours = None;
    if !fog_does(&["status"]) {
        // A log of its own: whoever reads this command's output must not have to wait for the daemon.
        let log = target().join("daemon.log");
        println!("The daemon's log: {}", log.display());
        let mut daemon = command(&fog, &["daemon", "--log-file", &log.to_string_lossy()]);
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ours = Some(daemon.spawn().context("the daemon does not start")?);
        let limit = Instant::now() + Duration::from_secs(20);
        while !fog_does(&["status"]) {
            if Instant::now() > limit {
                stop(ours);
                bail!("the daemon does not answer");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    println!("\nThis machine has no display and you are at its terminal, so working beside you is switched on for it:");
    let result = sh(&fog, &["settings", "set", "contributing=on", "run_while_in_use=on", "unknown_idle=allow"])
        .and_then(|()| sh(&fog, &["submit", "--example", "protein-search", "--watch"]));
    if let Err(error) = result {
        stop(ours);
        return Err(error);
    }
    println!("\nThe job is done. The daemon keeps running; in another terminal try:\n");
    for line in ["status", "why", "submit --example path-tracer --watch > picture.png", "jobs", "settings list", "--help"] {
        println!("  {fog} {line}");
    }
    println!("\nStop it with Ctrl-C, or: {fog} shutdown");
    // A script that gave no terminal wants to go on; the daemon is stopped by `fog shutdown`.
    if let Some(mut daemon) = ours.filter(|_| std::io::IsTerminal::is_terminal(&std::io::stdin())) {
        daemon.wait()?;
    }
    Ok(())
}

fn stop(daemon: Option<Child>) {
    if let Some(mut daemon) = daemon {
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
}
