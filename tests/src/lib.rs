//! Support for the suites across crates: real programs in temporary folders. The suites are in `tests/`,
//! the benchmarks in `benches/`.

#[cfg(target_os = "linux")]
pub mod bus;
#[cfg(target_os = "linux")]
pub mod drag;
#[cfg(target_os = "linux")]
pub mod foreign;
pub mod jobs;
#[cfg(target_os = "linux")]
pub mod net;
#[cfg(target_os = "linux")]
pub mod window;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// Returns the `fog` command under test: `FOG_BIN`, otherwise the build in the target folder.
#[must_use]
pub fn fog_binary() -> PathBuf {
    program("FOG_BIN", "fog")
}

/// Returns the app under test: `FOG_APP`, otherwise the build in the target folder.
#[must_use]
pub fn app_binary() -> PathBuf {
    program("FOG_APP", "fog-compute")
}

fn program(variable: &str, name: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    // The test itself is in target/<profile>/deps.
    let beside = || std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(2)?.join(name)));
    named.or_else(beside).unwrap_or_else(|| PathBuf::from(name))
}

/// Whether the long forms of tests were requested (`cargo xtask test --full`).
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("FOG_TEST_FULL").is_some()
}

/// Returns the milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}

/// Returns a folder for pictures and logs that CI keeps.
#[must_use]
pub fn artefacts() -> PathBuf {
    let folder = std::env::var_os("FOG_ARTEFACTS")
        .map_or_else(|| std::env::temp_dir().join("fog-artefacts"), PathBuf::from);
    // A test that cannot write there fails itself.
    let _ = std::fs::create_dir_all(&folder);
    folder
}

/// A temporary data folder, with an engine while a test needs one.
pub struct Bench {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    daemon_args: Vec<String>,
    daemon_env: Vec<(String, String)>,
    namespace: Option<String>,
}

impl Bench {
    /// Creates an empty folder.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            daemon: None,
            daemon_args: Vec::new(),
            daemon_env: Vec::new(),
            namespace: None,
        })
    }

    /// Returns the data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns a folder for other files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a `fog` command with these arguments, ready to start.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(fog_binary());
        command
            .args(args)
            .env("FOG_DATA_DIR", self.data())
            .env("LANG", "C")
            .env("FOG_KEYCHAIN", "off")
            .env_remove("LC_ALL")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .current_dir(self.scratch());
        command
    }

    /// Runs `fog` to its end.
    ///
    /// # Errors
    /// When `fog` cannot be started.
    pub fn fog(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.command(args)
            .stdin(Stdio::null())
            .output()
            .context("fog cannot be started; build it with `cargo build -p fog-cli`")
    }

    /// Runs `fog --json …` and parses its output.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let output = self.fog(&[&["--json"], args].concat())?;
        if !output.status.success() {
            bail!("fog {args:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Returns a counter of the engine, by its name and labels.
    ///
    /// # Errors
    /// When the engine does not answer or has no such counter.
    pub fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let endpoint = fog_ipc::endpoint(&self.data());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let reply = runtime.block_on(async {
            anyhow::Ok(fog_ipc::Client::connect(&endpoint).await?.call(fog_api::Command::Metrics).await?)
        })?;
        let fog_api::Reply::Text(text) = reply else { bail!("no counters") };
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .with_context(|| format!("{name} is not among {text}"))
    }

    /// Starts the daemon and waits until it answers; returns how long that took.
    ///
    /// # Errors
    /// When the daemon does not answer within 20 s.
    pub fn start(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let log =
            std::fs::File::options().create(true).append(true).open(self.scratch().join("daemon.log"))?;
        let mut command = self.command(&["daemon"]);
        command.envs(self.daemon_env.iter().map(|(key, value)| (key, value)));
        if let Some(namespace) = &self.namespace {
            let inside = command;
            command = Command::new("ip");
            command
                .args(["netns", "exec", namespace])
                .arg(inside.get_program())
                .args(inside.get_args())
                .current_dir(self.scratch());
            for (key, value) in inside.get_envs() {
                match value {
                    Some(value) => command.env(key, value),
                    None => command.env_remove(key),
                };
            }
        }
        let daemon =
            command.args(&self.daemon_args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        self.daemon = Some(daemon);
        let endpoint = fog_ipc::endpoint(&self.data());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        while begun.elapsed() < Duration::from_secs(20) {
            let answered = runtime.block_on(async {
                fog_ipc::Client::connect(&endpoint).await.ok()?.call(fog_api::Command::Snapshot).await.ok()
            });
            if answered.is_some() {
                return Ok(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("the daemon does not answer: {}", self.log());
    }

    /// Creates a folder with an engine that works whatever the sensors read.
    ///
    /// # Errors
    /// When the folder or the engine cannot be set up.
    pub fn working() -> anyhow::Result<Self> {
        let mut bench = Self::new()?;
        bench.start()?;
        bench.work_always()?;
        Ok(bench)
    }

    /// Makes the next daemon talk to devices on this machine only.
    pub fn stay_on_loopback(&mut self) {
        self.daemon_args = ["--loopback", "--port", "0"].map(str::to_owned).to_vec();
    }

    /// Adds an argument for daemons started later.
    pub fn daemon_option(&mut self, option: &str) {
        self.daemon_args.push(option.to_owned());
    }

    /// Sets the clock of daemons started later ahead of the true time by a number of seconds, or behind it
    /// if negative; monotonic clocks are unchanged. Uses Debian's `faketime`, which `cargo xtask setup`
    /// installs.
    ///
    /// # Errors
    /// When `faketime` is not installed.
    pub fn set_clock_ahead(&mut self, seconds: i64) -> anyhow::Result<()> {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
        anyhow::ensure!(
            Path::new(&library).is_file(),
            "{library} is not there; `cargo xtask setup` or the package `faketime` installs it"
        );
        let env = [
            ("LD_PRELOAD", library),
            ("FAKETIME", format!("{seconds:+}s")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.daemon_env = env.map(|(key, value)| (key.to_owned(), value)).to_vec();
        Ok(())
    }

    /// Starts a device called `name` that works, and talks to devices on this machine only.
    ///
    /// # Errors
    /// When the daemon does not start.
    pub fn device(name: &str) -> anyhow::Result<Self> {
        Self::device_with(name, None, &["--loopback", "--port", "0"])
    }

    /// Starts a device that works, with arguments for its daemon, in a network namespace if one is given.
    ///
    /// # Errors
    /// When the daemon does not start.
    pub fn device_with(name: &str, namespace: Option<&str>, args: &[&str]) -> anyhow::Result<Self> {
        let mut bench = Self::new()?;
        bench.daemon_args = args.iter().map(|arg| (*arg).to_owned()).collect();
        bench.namespace = namespace.map(str::to_owned);
        bench.start()?;
        bench.work_always()?;
        let output = bench.fog(&["settings", "set", &format!("device_name={name}"), "checkpoint_every=1"])?;
        if !output.status.success() {
            bail!("settings: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(bench)
    }

    /// Invites other devices to a private group with this one, and waits until all of them are connected.
    ///
    /// # Errors
    /// When a device does not connect.
    pub fn invite(&self, others: &[&Self]) -> anyhow::Result<()> {
        let invite = self.json(&["network", "invite"])?;
        let text = invite["invite"].as_str().context("no invitation")?;
        let mut ids = Vec::new();
        for other in others {
            other.json(&["network", "join", text])?;
            ids.push(wait_for("an id", Duration::from_secs(5), || {
                other.json(&["network"]).ok()?["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned)
            })?);
        }
        wait_for("meeting", Duration::from_secs(30), || {
            let here = self.reachable();
            ids.iter().all(|id| here.contains(id)).then_some(())
        })
    }

    /// Returns the number of reachable devices of shared networks.
    #[must_use]
    pub fn friends(&self) -> usize {
        self.reachable().len()
    }

    /// Returns the ids of these devices.
    fn reachable(&self) -> Vec<String> {
        let peers = self.json(&["peers"]).unwrap_or_default();
        let here = |peer: &&Value| peer["connected"] == true && peer["network"] != "";
        peers
            .as_array()
            .into_iter()
            .flatten()
            .filter(here)
            .filter_map(|peer| peer["id"].as_str().map(str::to_owned))
            .collect()
    }

    /// Changes settings so that a test machine works whatever its sensors read.
    ///
    /// # Errors
    /// When the engine refuses a setting.
    pub fn work_always(&self) -> anyhow::Result<()> {
        self.json(&["on"]).ok();
        let output = self.fog(&[
            "settings",
            "set",
            "contributing=on",
            "run_while_in_use=on",
            "duty_in_use=100",
            "unknown_idle=allow",
            "other_cpu_stop=100",
            "cpu_temp_stop=105",
            "disk_free_min=0.1",
            "ram_available_min=64",
            "cores=2",
        ])?;
        if !output.status.success() {
            bail!("settings: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Ends the daemon with `kill -9`, like a power cut.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // The daemon may have ended already.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Returns the daemon's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Returns the daemon's log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch().join("daemon.log")).unwrap_or_default()
    }

    /// Writes a module from its text form and returns its path.
    ///
    /// # Errors
    /// When the text is invalid.
    pub fn module(&self, name: &str, wat: &str) -> anyhow::Result<PathBuf> {
        let path = self.scratch().join(name);
        std::fs::write(&path, wat::parse_str(wat)?)?;
        Ok(path)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that is killed on drop.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Factor on time limits for a busy machine. Speed is measured by the benchmarks instead.
const BUSY: u32 = 3;

/// Waits until `done` returns a value.
///
/// # Errors
/// When `done` returns none within `BUSY` times `limit`, the time that a quiet machine needs at most.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    let limit = limit * BUSY;
    loop {
        if let Some(value) = done() {
            return Ok(value);
        }
        if begun.elapsed() > limit {
            bail!("{what} did not happen within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
