//! Keeps the system awake while tasks run, if the user wants that.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Inhibitor of automatic sleep. Requests to the system may take a while, so a separate thread makes them.
#[derive(Debug, Default)]
pub(crate) struct KeepAwake {
    orders: Option<SyncSender<bool>>,
    is_told: bool,
}

impl KeepAwake {
    /// Starts or stops keeping the system awake. Called at every change, so an order that a full queue
    /// refuses is repeated later.
    pub(crate) fn want(&mut self, wanted: bool) {
        if self.is_told == wanted {
            return;
        }
        let start = || {
            let (orders, received) = sync_channel(4);
            std::thread::Builder::new()
                .name("awake".to_owned())
                .stack_size(256 << 10)
                .spawn(move || system::follow(&received))
                .ok()?;
            Some(orders)
        };
        self.orders = self.orders.take().or_else(start);
        if self.orders.as_ref().is_some_and(|orders| orders.try_send(wanted).is_ok()) {
            self.is_told = wanted;
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod system {
    use super::Receiver;

    pub(super) fn follow(orders: &Receiver<bool>) {
        let mut held = None;
        for wanted in orders {
            drop(held.take());
            if wanted {
                let hold = keepawake::Builder::default()
                    .idle(true)
                    .reason("Works on jobs")
                    .app_name("Fog Compute")
                    .app_reverse_domain("network.fog.compute")
                    .create();
                held =
                    hold.inspect_err(|error| tracing::warn!(%error, "the system cannot be kept awake")).ok();
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod system {
    /// Ignores the orders: a phone decides itself when it sleeps, and honours only its foreground service.
    pub(super) fn follow(orders: &super::Receiver<bool>) {
        for _ in orders {}
    }
}
