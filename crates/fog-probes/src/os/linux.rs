use fog_eligibility::{Charger, ThermalPressure};
use zbus::blocking::Connection;
use zbus::zvariant::OwnedValue;

use super::SlowReadings;

/// logind's inhibitors and NetworkManager's idea of metered.
#[derive(Default)]
pub(crate) struct Source {
    bus: Option<Connection>,
}

type Inhibitor = (String, String, String, String, u32, u32);

impl Source {
    /// `None` without a bus.
    pub(crate) fn ask(&mut self) -> Option<SlowReadings> {
        self.bus = self.bus.take().or_else(|| Connection::system().ok());
        self.bus.as_ref().map(|bus| SlowReadings { inhibited: inhibited(bus), metered: metered(bus) })
    }
}

/// <https://www.freedesktop.org/wiki/Software/systemd/inhibit/>: somebody but us blocks `idle`.
fn inhibited(bus: &Connection) -> Option<bool> {
    let reply =
        bus.call_method(Some("org.freedesktop.login1"), "/org/freedesktop/login1", Some("org.freedesktop.login1.Manager"), "ListInhibitors", &()).ok()?;
    let list: Vec<Inhibitor> = reply.body().deserialize().ok()?;
    let own = std::process::id();
    Some(list.iter().any(|(what, _, _, mode, _, pid)| *pid != own && mode == "block" && what.split(':').any(|w| w == "idle")))
}

/// <https://networkmanager.dev/docs/api/latest/nm-dbus-types.html#NMMetered>: 1 yes, 3 probably.
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

/// Linux has no such judgement.
pub(crate) fn thermal_pressure() -> Option<ThermalPressure> {
    None
}

/// X11 tells through the input monitor; Wayland does not tell.
pub(crate) fn fullscreen() -> Option<bool> {
    None
}

/// Every kind of external power that says it is off line, and none that is on.
pub(crate) fn on_battery() -> Option<bool> {
    let supplies = supplies();
    (!supplies.is_empty()).then(|| supplies.iter().all(|(_, online)| !online))
}

/// The best of what is plugged in.
pub(crate) fn charger() -> Option<Charger> {
    supplies().into_iter().filter(|(_, online)| *online).map(|(kind, _)| kind).min()
}

/// External power and whether it is on, of
/// <https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-class-power>.
fn supplies() -> Vec<(Charger, bool)> {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let entries = std::fs::read_dir("/sys/class/power_supply").into_iter().flatten().flatten();
    let supply = |folder: std::path::PathBuf| {
        let kind = match read(folder.join("type"))?.as_str() {
            "Mains" => Charger::Mains,
            "USB" => Charger::Usb,
            "Wireless" => Charger::Wireless,
            _ => return None,
        };
        // 2 is a port with a programmable supply behind it.
        match read(folder.join("online"))?.as_str() {
            "0" => Some((kind, false)),
            "1" | "2" => Some((kind, true)),
            _ => None,
        }
    };
    entries.filter_map(|entry| supply(entry.path())).collect()
}

/// The fastest fan of <https://docs.kernel.org/hwmon/sysfs-interface.html>.
pub(crate) fn fan_rpm() -> Option<u32> {
    let chips = std::fs::read_dir("/sys/class/hwmon").ok()?;
    chips
        .flatten()
        .flat_map(|chip| (1..=8).map(move |n| chip.path().join(format!("fan{n}_input"))))
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .max()
}
