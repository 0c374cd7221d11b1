use fog_eligibility::ThermalPressure;
use zbus::blocking::Connection;
use zbus::zvariant::OwnedValue;

use super::SlowReadings;

/// Inhibitors of logind, and the metered state of NetworkManager.
#[derive(Default)]
pub(crate) struct Source {
    bus: Option<Connection>,
}

type Inhibitor = (String, String, String, String, u32, u32);

impl Source {
    /// Asks both; `None` without a system bus.
    pub(crate) fn ask(&mut self) -> Option<SlowReadings> {
        self.bus = self.bus.take().or_else(|| Connection::system().ok());
        self.bus.as_ref().map(|bus| SlowReadings { inhibited: inhibited(bus), metered: metered(bus) })
    }
}

/// Whether another process blocks `idle`: <https://www.freedesktop.org/wiki/Software/systemd/inhibit/>.
fn inhibited(bus: &Connection) -> Option<bool> {
    let reply = bus
        .call_method(
            Some("org.freedesktop.login1"),
            "/org/freedesktop/login1",
            Some("org.freedesktop.login1.Manager"),
            "ListInhibitors",
            &(),
        )
        .ok()?;
    let list: Vec<Inhibitor> = reply.body().deserialize().ok()?;
    let own = std::process::id();
    Some(list.iter().any(|(what, _, _, mode, _, pid)| {
        *pid != own && mode == "block" && what.split(':').any(|w| w == "idle")
    }))
}

/// Metered state of the network; 1 is yes, 3 is probably:
/// <https://networkmanager.dev/docs/api/latest/nm-dbus-types.html#NMMetered>.
fn metered(bus: &Connection) -> Option<bool> {
    let reply = bus
        .call_method(
            Some("org.freedesktop.NetworkManager"),
            "/org/freedesktop/NetworkManager",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.NetworkManager", "Metered"),
        )
        .ok()?;
    let value: OwnedValue = reply.body().deserialize().ok()?;
    match u32::try_from(value).ok()? {
        1 | 3 => Some(true),
        2 | 4 => Some(false),
        _ => None,
    }
}

/// Linux reports no such level.
pub(crate) fn thermal_pressure() -> Option<ThermalPressure> {
    None
}

/// X11 reports it through the input monitor; Wayland does not report it.
pub(crate) fn fullscreen() -> Option<bool> {
    None
}
