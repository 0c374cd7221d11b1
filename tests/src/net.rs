//! Networks of namespaces: hosts, switches, routers with address translation. Needs root; everything is
//! removed on drop.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether namespaces can be created here.
#[must_use]
pub fn is_possible() -> bool {
    // Two trials at once would be in each other's way, and one of the tests be left out.
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let name = format!("fogtry{}", std::process::id());
        let made = ip(&["netns", "add", &name]).is_ok();
        // Removes the trial namespace.
        let _ = ip(&["netns", "del", &name]);
        made
    })
}

/// Whether a test that needs namespaces and these programs is skipped, which is printed. In the full form
/// it panics instead, so that nothing stays untested.
#[must_use]
pub fn is_skipped(programs: &[&str]) -> bool {
    let is_there = |program: &&&str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let missing = programs.iter().find(|program| !is_there(program));
    let why = match missing {
        _ if !is_possible() => "network namespaces need root, and `ip`".to_owned(),
        Some(program) => format!("`{program}` is not installed; `cargo xtask setup` does that"),
        None => return false,
    };
    skipped(&why, crate::is_full());
    true
}

fn skipped(why: &str, is_full: bool) {
    assert!(!is_full, "the full form cannot go without this test: {why}");
    eprintln!("skipped: {why}");
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    run("ip", args)
}

/// A network namespace.
pub struct Host {
    /// Name for `ip netns`.
    pub name: String,
}

impl Host {
    /// Creates an empty namespace with a loopback interface.
    ///
    /// # Errors
    /// When the namespace cannot be created.
    pub fn new(what: &str) -> anyhow::Result<Self> {
        let name = format!("fog{}x{}{what}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let host = Self { name };
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn ip(&self, args: &[&str]) -> anyhow::Result<()> {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// Runs a program in the namespace.
    ///
    /// # Errors
    /// When the program fails.
    pub fn exec(&self, args: &[&str]) -> anyhow::Result<()> {
        ip(&[&["netns", "exec", &self.name], args].concat())
    }

    /// Creates a bridge in the namespace: a switch for other hosts.
    ///
    /// # Errors
    /// When the bridge cannot be created.
    pub fn switch(&self) -> anyhow::Result<()> {
        self.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0"])?;
        self.ip(&["link", "set", "br0", "up"])
    }

    /// Connects `host` to this switch with an address; `port` names the interface at the switch.
    ///
    /// # Errors
    /// When an interface cannot be set up.
    pub fn plug(&self, host: &Self, port: &str, device: &str, address: &str) -> anyhow::Result<()> {
        ip(&[
            "link", "add", port, "netns", &self.name, "type", "veth", "peer", "name", device, "netns",
            &host.name,
        ])?;
        self.ip(&["link", "set", port, "master", "br0"])?;
        self.ip(&["link", "set", port, "up"])?;
        host.ip(&["addr", "add", address, "dev", device])?;
        host.ip(&["link", "set", device, "up"])
    }

    /// Connects this switch with another one; `port` names the interface here, `other` the one there.
    ///
    /// # Errors
    /// When an interface cannot be set up.
    pub fn join(&self, switch: &Self, port: &str, other: &str) -> anyhow::Result<()> {
        ip(&[
            "link",
            "add",
            port,
            "netns",
            &self.name,
            "type",
            "veth",
            "peer",
            "name",
            other,
            "netns",
            &switch.name,
        ])?;
        for (host, device) in [(self, port), (switch, other)] {
            host.ip(&["link", "set", device, "master", "br0"])?;
            host.ip(&["link", "set", device, "up"])?;
        }
        Ok(())
    }

    /// Translates addresses of traffic that leaves by `device`, like a home router. `is_symmetric` draws a
    /// new port for every destination.
    ///
    /// # Errors
    /// When nftables fails.
    pub fn translate(&self, device: &str, is_symmetric: bool) -> anyhow::Result<()> {
        self.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let how = if is_symmetric { "masquerade random,fully-random" } else { "masquerade persistent" };
        self.exec(&["nft", "add table ip nat"])?;
        self.exec(&["nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }"])?;
        self.exec(&["nft", &format!("add rule ip nat post oifname \"{device}\" {how}")])?;
        // Only answers to traffic from inside are let in.
        self.exec(&["nft", "add table ip fw"])?;
        self.exec(&[
            "nft",
            "add chain ip fw pass { type filter hook forward priority 0 ; policy accept ; }",
        ])?;
        self.exec(&["nft", &format!("add rule ip fw pass iifname \"{device}\" ct state new drop")])?;
        // Dropped silently, as home routers do: an answer would also take the port from traffic from
        // inside.
        self.exec(&["nft", "add chain ip fw own { type filter hook input priority 0 ; policy accept ; }"])?;
        self.exec(&["nft", &format!("add rule ip fw own iifname \"{device}\" drop")])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The kernel removes the interfaces in the namespace too.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "cannot go without this test: no root")]
    fn what_is_skipped_fails_in_the_full_form() {
        skipped("no root", false);
        skipped("no root", true);
    }
}
