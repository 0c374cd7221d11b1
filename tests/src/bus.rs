//! A message bus for one test, with those parts of a login manager and a network manager that Fog uses.
#![allow(missing_docs, reason = "of a trait that zbus's macro adds for the signal")]

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context;
use zbus::blocking::{Connection, connection};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::OwnedFd;

/// A `dbus-daemon` that ends with the test.
pub struct Bus {
    process: Child,
    /// Address of the bus, for `DBUS_SYSTEM_BUS_ADDRESS` or `DBUS_SESSION_BUS_ADDRESS`.
    pub address: String,
}

impl Bus {
    /// Starts a bus.
    ///
    /// # Errors
    /// When there is no `dbus-daemon`; `cargo xtask setup` installs it.
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("dbus-daemon");
        command
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().context("dbus-daemon, which `cargo xtask setup` installs")?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut address)?;
        Ok(Self { process, address: address.trim().to_owned() })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // The bus may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers of the managers, and requests to them.
#[derive(Debug, Default)]
pub struct Said {
    /// Time since which all sessions are idle.
    pub idle_since: Option<SystemTime>,
    /// Inhibitors of other programs: what, mode and process.
    pub inhibitors: Vec<(String, String, u32)>,
    /// `NMMetered`: 0 unknown, 1 yes, 2 no, 3 probably, 4 probably not.
    pub metered: u32,
    /// Inhibitors that were requested: what, mode, and the end that closes on release.
    pub holds: Vec<(String, String, UnixStream)>,
}

/// A login manager and a network manager.
pub struct Managers {
    /// The bus of the managers.
    pub bus: Bus,
    /// Answers of the managers.
    pub said: Arc<Mutex<Said>>,
    connection: Connection,
}

const LOGIND: &str = "/org/freedesktop/login1";
const NETWORK: &str = "/org/freedesktop/NetworkManager";

impl Managers {
    /// Starts both on a new bus.
    ///
    /// # Errors
    /// When there is no `dbus-daemon`.
    pub fn start() -> anyhow::Result<Self> {
        let bus = Bus::start()?;
        let said = Arc::<Mutex<Said>>::default();
        let connection = connection::Builder::address(bus.address.as_str())?
            .name("org.freedesktop.login1")?
            .name("org.freedesktop.NetworkManager")?
            .serve_at(LOGIND, Logind(Arc::clone(&said)))?
            .serve_at(NETWORK, Network(Arc::clone(&said)))?
            .build()?;
        Ok(Self { bus, said, connection })
    }

    /// Changes the answers; the idle hint is announced as logind does.
    ///
    /// # Errors
    /// When the bus is gone.
    pub fn say(&self, change: impl FnOnce(&mut Said)) -> anyhow::Result<()> {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let logind = self.connection.object_server().interface::<_, Logind>(LOGIND)?;
        zbus::block_on(logind.get().idle_hint_changed(logind.signal_emitter()))?;
        Ok(())
    }

    /// Sends the signal for the beginning or the end of sleep.
    ///
    /// # Errors
    /// When the bus is gone.
    pub fn sleep(&self, start: bool) -> anyhow::Result<()> {
        let logind = self.connection.object_server().interface::<_, Logind>(LOGIND)?;
        zbus::block_on(Logind::prepare_for_sleep(logind.signal_emitter(), start))?;
        Ok(())
    }

    /// Removes and returns the newest inhibitor of this kind.
    #[must_use]
    pub fn take_hold(&self, what: &str, mode: &str) -> Option<UnixStream> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let at = said.holds.iter().rposition(|(kind, how, _)| kind == what && how == mode)?;
        Some(said.holds.remove(at).2)
    }
}

struct Logind(Arc<Mutex<Said>>);

impl Logind {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: &str, _who: &str, _why: &str, mode: &str) -> zbus::fdo::Result<OwnedFd> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| zbus::fdo::Error::Failed(error.to_string()))?;
        self.said().holds.push((what.to_owned(), mode.to_owned(), ours));
        Ok(std::os::fd::OwnedFd::from(theirs).into())
    }

    fn list_inhibitors(&self) -> Vec<(String, String, String, String, u32, u32)> {
        let said = self.said();
        said.inhibitors
            .iter()
            .map(|(what, mode, pid)| (what.clone(), String::new(), String::new(), mode.clone(), 0, *pid))
            .collect()
    }

    #[zbus(property)]
    fn idle_hint(&self) -> bool {
        self.said().idle_since.is_some()
    }

    #[zbus(property)]
    fn idle_since_hint(&self) -> u64 {
        let since = self.said().idle_since.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_micros() as u64)
    }

    /// Signal for the beginning and the end of sleep.
    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

struct Network(Arc<Mutex<Said>>);

#[zbus::interface(name = "org.freedesktop.NetworkManager")]
impl Network {
    #[zbus(property)]
    fn metered(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).metered
    }
}
