use std::time::Duration;

use zbus::blocking::{Connection, Proxy};
use zbus::zvariant::OwnedFd;

use super::BeforeSleep;

/// Time for saving; logind delays sleep by 5 s by default.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn watch(before: BeforeSleep) -> std::io::Result<()> {
    let run = move || {
        if let Err(error) = follow(&before) {
            tracing::debug!(%error, "the system does not tell when it goes to sleep");
        }
    };
    std::thread::Builder::new().name("sleep".to_owned()).stack_size(256 << 10).spawn(run).map(drop)
}

/// Follows the sleep signals of logind:
/// <https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html>.
fn follow(before: &BeforeSleep) -> zbus::Result<()> {
    let bus = Connection::system()?;
    let logind = Proxy::new(
        &bus,
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
    )?;
    let hold = || {
        logind
            .call::<_, _, OwnedFd>("Inhibit", &("sleep", "Fog Compute", "Saves the work under way", "delay"))
    };
    let signals = logind.receive_signal("PrepareForSleep")?;
    let mut held = Some(hold()?);
    for signal in signals {
        if !signal.body().deserialize::<bool>()? {
            held = Some(hold()?);
            continue;
        }
        // The system sleeps after its delay even if saving has not ended.
        if !before(PATIENCE) {
            return Ok(());
        }
        held = None;
    }
    drop(held);
    Ok(())
}
