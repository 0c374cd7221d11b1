use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use zbus::blocking::proxy::Builder;
use zbus::blocking::{Connection, Proxy};
use zbus::proxy::CacheProperties;

use super::{OnInput, Shared};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const EVERY: Duration = Duration::from_secs(1);

/// Watches the idle hint of all sessions together, which a desktop sets after some time without input and
/// clears at the first input:
/// <https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html>
///
/// Coarser than the other sources: until the hint is set, the device counts as in use. Returns false when
/// no login manager answers.
pub(super) fn start(shared: &Arc<Shared>, on_input: OnInput) -> bool {
    let Ok(bus) = Connection::system() else { return false };
    let Ok(logind) = manager(&bus) else { return false };
    let Ok(first) = idle(&logind) else { return false };
    if let Some(first) = first {
        shared.publish(first, None);
    }
    let changes = Proxy::new(&bus, NAME, PATH, "org.freedesktop.DBus.Properties")
        .and_then(|properties| properties.receive_signal("PropertiesChanged"));
    let Ok(changes) = changes else { return false };
    let look = {
        let (weak, logind) = (Arc::downgrade(shared), logind.clone());
        move || {
            while let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) {
                match idle(&logind) {
                    Ok(Some(idle)) => shared.publish(idle, None),
                    Ok(None) => {}
                    Err(_) => return,
                }
                drop(shared);
                std::thread::sleep(EVERY);
            }
        }
    };
    // Polling alone would notice input up to a second late.
    let weak = Arc::downgrade(shared);
    let listen = move || {
        for _ in changes {
            let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) else { return };
            let was_quiet = shared
                .latest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some_and(|latest| !latest.idle.is_zero());
            let Ok(now) = idle(&logind) else { return };
            let Some(now) = now else { continue };
            shared.publish(now, None);
            if was_quiet && now.is_zero() {
                on_input();
            }
        }
    };
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(run).is_ok()
    };
    spawn("input", Box::new(listen)) && spawn("idle-hint", Box::new(look))
}

fn manager(bus: &Connection) -> zbus::Result<Proxy<'static>> {
    Builder::new(bus)
        .destination(NAME)?
        .path(PATH)?
        .interface("org.freedesktop.login1.Manager")?
        .cache_properties(CacheProperties::No)
        .build()
}

/// Time since the idle hint was set. `None` when that time is in the future: the clock was set back since.
fn idle(logind: &Proxy<'_>) -> zbus::Result<Option<Duration>> {
    if !logind.get_property::<bool>("IdleHint")? {
        return Ok(Some(Duration::ZERO));
    }
    let since = SystemTime::UNIX_EPOCH + Duration::from_micros(logind.get_property("IdleSinceHint")?);
    Ok(SystemTime::now().duration_since(since).ok())
}
