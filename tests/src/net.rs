//! Networks of namespaces: hosts, switches, routers that translate addresses. Needs root; everything is
//! gone when it is dropped.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether namespaces can be made here.
#[must_use]
pub fn is_possible() -> bool {
    let name = format!("fogtry{}", std::process::id());
    let made = ip(&["netns", "add", &name]).is_ok();
    // Made a moment ago, and only tried.
    let _ = ip(&["netns", "del", &name]);
    made
}

/// Whether a test that needs namespaces and these programs is skipped here, which it says. In the full form it fails
/// instead: what was not tried is not shown.
#[must_use]
pub fn is_skipped(programs: &[&str]) -> bool {
    let is_there = |program: &&&str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
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
    /// As `ip netns` knows it.
    pub name: String,
}

impl Host {
    /// An empty one with loopback.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(what: &str) -> anyhow::Result<Self> {
        let name = format!("fog{}x{}{what}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let host = Self { name };
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// `ip` inside it.
    ///
    /// # Errors
    /// When it refuses.
    pub fn ip(&self, args: &[&str]) -> anyhow::Result<()> {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// Any program inside it.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, args: &[&str]) -> anyhow::Result<()> {
        ip(&[&["netns", "exec", &self.name], args].concat())
    }

    /// A bridge inside it: the switch that others plug into.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn switch(&self) -> anyhow::Result<()> {
        self.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0"])?;
        self.ip(&["link", "set", "br0", "up"])
    }

    /// Plugs `host` into this switch with an address; the port here is called after `port`.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn plug(&self, host: &Self, port: &str, device: &str, address: &str) -> anyhow::Result<()> {
        ip(&["link", "add", port, "netns", &self.name, "type", "veth", "peer", "name", device, "netns", &host.name])?;
        self.ip(&["link", "set", port, "master", "br0"])?;
        self.ip(&["link", "set", port, "up"])?;
        host.ip(&["addr", "add", address, "dev", device])?;
        host.ip(&["link", "set", device, "up"])
    }

    /// Joins this switch and another one by a cable; the port here is called after `port`, there `other`.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn join(&self, switch: &Self, port: &str, other: &str) -> anyhow::Result<()> {
        ip(&["link", "add", port, "netns", &self.name, "type", "veth", "peer", "name", other, "netns", &switch.name])?;
        for (host, device) in [(self, port), (switch, other)] {
            host.ip(&["link", "set", device, "master", "br0"])?;
            host.ip(&["link", "set", device, "up"])?;
        }
        Ok(())
    }

    /// Translates addresses of whatever goes out by `device`: a home router. `is_symmetric` draws a new
    /// port for every destination.
    ///
    /// # Errors
    /// When nftables refuses.
    pub fn translate(&self, device: &str, is_symmetric: bool) -> anyhow::Result<()> {
        self.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let how = if is_symmetric { "masquerade random,fully-random" } else { "masquerade persistent" };
        self.exec(&["nft", "add table ip nat"])?;
        self.exec(&["nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }"])?;
        self.exec(&["nft", &format!("add rule ip nat post oifname \"{device}\" {how}")])?;
        // What was not asked for from inside stays outside.
        self.exec(&["nft", "add table ip fw"])?;
        self.exec(&["nft", "add chain ip fw pass { type filter hook forward priority 0 ; policy accept ; }"])?;
        self.exec(&["nft", &format!("add rule ip fw pass iifname \"{device}\" ct state new drop")])?;
        // Unanswered, as home routers do: an answer would also take the port from what comes from inside.
        self.exec(&["nft", "add chain ip fw own { type filter hook input priority 0 ; policy accept ; }"])?;
        self.exec(&["nft", &format!("add rule ip fw own iifname \"{device}\" drop")])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The kernel takes the devices inside along.
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
