use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::{capture, command, sh, target};
use crate::{examples, setup, ui};

/// Sets up, builds and starts the app, or the daemon without a display.
pub fn run(headless: bool, release: bool) -> anyhow::Result<()> {
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
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
    with_window(profile)
}

/// Starts the app; on a first start also the protein search in it.
fn with_window(profile: &str) -> anyhow::Result<()> {
    let fog = Fog::of(profile);
    let mut app = command(&target().join(profile).join("fog-compute").to_string_lossy(), &[])
        .spawn()
        .context("the app does not start")?;
    if fog.wait(&mut app)? && fog.is_new() {
        println!(
            "\nA first start: an example job is queued, and working beside you is switched on to let you see it run."
        );
        println!(
            "Both are in the window's settings, or: {} settings set run_while_in_use=off contributing=off\n",
            fog.program
        );
        // The window is useful even if the example fails.
        match fog.example(&["first_run_done=true"]) {
            Ok(Example::Finished) => println!(
                "\nThe job is done; the window shows it. Closing the window leaves the app in the tray."
            ),
            Ok(Example::Waits) => println!(
                "\nThe job goes on by itself; the window shows it. Closing the window leaves the app in the tray."
            ),
            Err(error) => println!("The example did not finish: {error:#}"),
        }
    }
    app.wait()?;
    Ok(())
}

/// Starts the daemon and runs the protein search to its printed result.
fn without_display(profile: &str) -> anyhow::Result<()> {
    let fog = Fog::of(profile);
    let mut ours = None;
    if !fog.does(&["status"]) {
        // The daemon has its own log, so that a reader of this command's output does not wait for it.
        let log = target().join("daemon.log");
        println!("The daemon's log: {}", log.display());
        let mut daemon = command(&fog.program, &["daemon", "--log-file", &log.to_string_lossy()]);
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = daemon.spawn().context("the daemon does not start")?;
        if !fog.wait(&mut daemon)? {
            stop(Some(daemon));
            bail!("the daemon does not answer");
        }
        ours = Some(daemon);
    }
    println!(
        "\nThis machine has no display and you are at its terminal, so working beside you is switched on for it:"
    );
    let done = match fog.example(&[]) {
        Ok(Example::Finished) => "The job is done.",
        Ok(Example::Waits) => "The job waits, as said above, and goes on by itself.",
        Err(error) => {
            stop(ours);
            return Err(error);
        }
    };
    println!("\n{done} The daemon keeps running; in another terminal try:\n");
    for line in [
        "status",
        "why",
        "submit --example path-tracer --watch > picture.png",
        "submit --example lucas-lehmer --watch --now",
        "jobs",
        "settings list",
        "--help",
    ] {
        println!("  {} {line}", fog.program);
    }
    println!("\nStop it with Ctrl-C, or: {} shutdown", fog.program);
    // Without a terminal, as in a script, this command returns; `fog shutdown` stops the daemon.
    if let Some(mut daemon) = ours.filter(|_| std::io::IsTerminal::is_terminal(&std::io::stdin())) {
        daemon.wait()?;
    }
    Ok(())
}

/// The `fog` command that was just built.
struct Fog {
    program: String,
}

impl Fog {
    fn of(profile: &str) -> Self {
        Self { program: target().join(profile).join("fog").to_string_lossy().into_owned() }
    }

    fn does(&self, args: &[&str]) -> bool {
        command(&self.program, args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Waits until an engine answers; returns false when none does within 20 s or its process ended.
    fn wait(&self, process: &mut Child) -> anyhow::Result<bool> {
        let limit = Instant::now() + Duration::from_secs(20);
        while !self.does(&["status"]) {
            if Instant::now() > limit || process.try_wait()?.is_some() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(true)
    }

    /// Whether this data folder is unused: no job was submitted and no choice made.
    fn is_new(&self) -> bool {
        let says = |args: &[&str], wanted: &str| {
            capture(&self.program, args).split_whitespace().collect::<String>().contains(wanted)
        };
        says(&["settings", "get", "first_run_done", "--json"], "false")
            && capture(&self.program, &["jobs", "--json"]).trim() == "[]"
    }

    /// Runs the protein search now, beside other programs. Rules that protect the device still hold, and
    /// then the wait has a limit.
    fn example(&self, more: &[&str]) -> anyhow::Result<Example> {
        sh(
            &self.program,
            &[&["settings", "set", "contributing=on", "run_while_in_use=on", "unknown_idle=allow"], more]
                .concat(),
        )?;
        let args = ["submit", "--example", "protein-search", "--watch", "--now", "--stall-timeout", "60s"];
        let status = command(&self.program, &args).status().context("fog does not start")?;
        match status.code() {
            Some(0) => Ok(Example::Finished),
            Some(STALLED) => Ok(Example::Waits),
            _ => bail!("fog {} ended with {status}", args.join(" ")),
        }
    }
}

/// Exit code of `fog submit` when it stopped waiting for a job that is kept.
const STALLED: i32 = 75;

/// Outcome of the example job.
enum Example {
    Finished,
    /// The example may not run now; the reason and a remedy were printed.
    Waits,
}

fn stop(daemon: Option<Child>) {
    if let Some(mut daemon) = daemon {
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
}
