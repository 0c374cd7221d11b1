//! The system going to sleep: holds it back for the moment that saving takes.

use tokio::sync::mpsc;

use crate::core::Message;

/// Starts watching, in a thread of its own, until the loop is gone. Where the system does not tell,
/// the last checkpoint before sleep is that of the interval.
pub(crate) fn watch(to: mpsc::Sender<Message>) -> std::io::Result<()> {
    if cfg!(target_os = "linux") {
        std::thread::Builder::new().name("sleep".to_owned()).stack_size(256 << 10).spawn(move || system::watch(&to))?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod system {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use zbus::blocking::{Connection, Proxy};
    use zbus::zvariant::OwnedFd;

    use crate::core::Message;

    /// logind waits 5 s by default for those who hold it back.
    const PATIENCE: Duration = Duration::from_secs(4);

    pub(super) fn watch(to: &mpsc::Sender<Message>) {
        if let Err(error) = follow(to) {
            tracing::debug!(%error, "the system does not tell when it goes to sleep");
        }
    }

    /// <https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html>
    fn follow(to: &mpsc::Sender<Message>) -> zbus::Result<()> {
        let name = "org.freedesktop.login1";
        let bus = Connection::system()?;
        let logind = Proxy::new(&bus, name, "/org/freedesktop/login1", "org.freedesktop.login1.Manager")?;
        let hold = || logind.call::<_, _, OwnedFd>("Inhibit", &("sleep", "Fog Compute", "Saves the work under way", "delay"));
        let signals = logind.receive_signal("PrepareForSleep")?;
        let mut held = Some(hold()?);
        for signal in signals {
            if !signal.body().deserialize::<bool>()? {
                held = Some(hold()?);
                continue;
            }
            let (done, saved) = sync_channel(1);
            if to.blocking_send(Message::Sleep(done)).is_err() {
                return Ok(());
            }
            // Saved or not, the system sleeps when its patience is over.
            let _ = saved.recv_timeout(PATIENCE);
            held = None;
        }
        drop(held);
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn watch(_to: &tokio::sync::mpsc::Sender<crate::core::Message>) {}
}
