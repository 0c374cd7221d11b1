use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog_eligibility::ThermalPressure;
use zbus::blocking::Connection;
use zbus::zvariant::OwnedValue;

use super::SlowReadings;

const EVERY: Duration = Duration::from_secs(5);
/// A bus that has not answered for this long says nothing any more.
const EXPIRES: Duration = Duration::from_secs(30);

/// logind's inhibitors and NetworkManager's idea of metered, asked for in a thread of its own.
pub(crate) struct Slow {
    latest: Arc<Mutex<Option<(Instant, SlowReadings)>>>,
}

type Inhibitor = (String, String, String, String, u32, u32);

impl Slow {
    pub(crate) fn start() -> Self {
        let latest = Arc::new(Mutex::new(None));
        let shared = Arc::downgrade(&latest);
        let run = move || {
            let mut bus = None;
            while let Some(latest) = shared.upgrade() {
                bus = bus.or_else(|| Connection::system().ok());
                if let Some(connection) = &bus {
                    let readings = SlowReadings { inhibited: inhibited(connection), metered: metered(connection) };
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), readings));
                }
                drop(latest);
                std::thread::sleep(if bus.is_some() { EVERY } else { EXPIRES });
            }
        };
        // Without the thread these readings stay unknown.
        let _ = std::thread::Builder::new().name("bus".to_owned()).spawn(run);
        Self { latest }
    }

    pub(crate) fn latest(&self) -> SlowReadings {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.filter(|(at, _)| at.elapsed() < EXPIRES).map(|(_, readings)| readings).unwrap_or_default()
    }
}

/// <https://www.freedesktop.org/wiki/Software/systemd/inhibit/>: somebody blocks `idle`.
fn inhibited(bus: &Connection) -> Option<bool> {
    let reply =
        bus.call_method(Some("org.freedesktop.login1"), "/org/freedesktop/login1", Some("org.freedesktop.login1.Manager"), "ListInhibitors", &()).ok()?;
    let list: Vec<Inhibitor> = reply.body().deserialize().ok()?;
    Some(list.iter().any(|(what, _, _, mode, _, _)| mode == "block" && what.split(':').any(|w| w == "idle")))
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

/// Any mains adapter that says it is off line, and none that is on.
pub(crate) fn on_battery() -> Option<bool> {
    let supplies = std::fs::read_dir("/sys/class/power_supply").ok()?;
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let mut known = None;
    for supply in supplies.flatten().map(|entry| entry.path()) {
        let is_mains = read(supply.join("type")).is_some_and(|kind| kind == "Mains" || kind == "USB");
        match read(supply.join("online")).as_deref() {
            Some("1") if is_mains => return Some(false),
            Some("0") if is_mains => known = Some(true),
            _ => {}
        }
    }
    known
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
