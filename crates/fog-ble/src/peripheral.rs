//! The peripheral role: is found by other devices, which write and are notified.
//!
//! A notification goes to all subscribers, and BlueZ does not tell who subscribed. So a link begins with
//! the first write of a device, and a packet that several links send at once is sent once. This module
//! holds the part that is the same on every system; each system has its radio in a submodule.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(target_os = "macos", windows, test))]
mod told;
#[cfg(windows)]
mod windows;

use std::collections::{HashMap, HashSet};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fog_transport::{PacketEnd, packet_link};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{sleep, timeout};

/// Does nothing here: links that others began end with this program on this system.
#[cfg(any(target_os = "macos", windows))]
pub(crate) async fn end_links(_adapter: &str, _devices: Vec<DeviceId>) {}

#[cfg(target_os = "linux")]
pub(crate) use linux::{DeviceId, Server, device_id, end_links};
#[cfg(target_os = "macos")]
pub(crate) use macos::{DeviceId, Server, device_id};
#[cfg(windows)]
pub(crate) use windows::{DeviceId, Server, device_id};

use crate::News;
use crate::shared::Shared;

/// Maximum number of links that other devices begin.
const MAX_LINKS: usize = 8;
/// Interval of checks of advertising: it stops by itself, and some systems do not report that.
const ADVERTISE_AGAIN: Duration = Duration::from_secs(30);
/// Pause before advertising again, because a device that just connected is still setting up its link.
const SETTING_UP: Duration = Duration::from_millis(500);
const LOOK_AT_LINKS: Duration = Duration::from_secs(2);
/// Pause between two notifications; bursts are lost between two BlueZ hosts.
const PACE: Duration = Duration::from_millis(12);
/// Time after which a link is closed if its packets are not taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Devices that are linked to this one as centrals. The system has one connection for both roles, so ending
/// it for one role ends it for the other.
pub(crate) type Writers<Id> = Arc<std::sync::Mutex<HashSet<Id>>>;

/// Identifier that a system gives another device, the same in both roles.
pub(crate) trait Device: Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Device for T {}

/// Reason why a packet was refused; reported to the device that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The write is empty or has an offset, so it is no packet.
    NotAPacket,
    /// There are too many links, or the packets of this one are not taken.
    Busy,
}

/// Sends packets to all subscribers.
pub(crate) trait Notifier: Sync {
    /// Completes when the system accepted or refused the packet.
    fn notify(&self, packet: Vec<u8>) -> impl Future<Output = ()> + Send;
}

struct Link<Id: Device> {
    heard: mpsc::Sender<Vec<u8>>,
    sending: tokio::task::AbortHandle,
    device: Id,
    writers: Writers<Id>,
}

impl<Id: Device> Drop for Link<Id> {
    fn drop(&mut self) {
        self.sending.abort();
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.device);
    }
}

struct Open<Id: Device> {
    by_device: HashMap<Id, Link<Id>>,
    next: u64,
}

/// Links of the devices that write to this one.
pub(crate) struct Links<Id: Device> {
    open: Mutex<Open<Id>>,
    /// Packets to send to all subscribers, with the link that each is of.
    outgoing: mpsc::Sender<(u64, Vec<u8>)>,
    /// Signals that a device came or went, so that advertising is checked.
    changed: Notify,
    news: mpsc::Sender<News>,
    writers: Writers<Id>,
}

/// Packets that wait for [`send_each`].
pub(crate) type Outgoing = mpsc::Receiver<(u64, Vec<u8>)>;

impl<Id: Device> Links<Id> {
    pub(crate) fn new(news: mpsc::Sender<News>, writers: Writers<Id>) -> (Arc<Self>, Outgoing) {
        let (outgoing, to_send) = mpsc::channel(32);
        let open = Mutex::new(Open { by_device: HashMap::new(), next: 0 });
        (Arc::new(Self { open, outgoing, changed: Notify::new(), news, writers }), to_send)
    }

    /// Handles a write; returns once the packet was taken. `limit` is the maximum size of a notification,
    /// in bytes.
    pub(crate) async fn written(
        &self,
        device: &Id,
        limit: usize,
        offset: usize,
        packet: Vec<u8>,
    ) -> Result<(), Refusal> {
        if offset != 0 || packet.is_empty() {
            return Err(Refusal::NotAPacket);
        }
        let heard = {
            let mut open = self.open.lock().await;
            match open.by_device.get(device) {
                Some(link) if !link.heard.is_closed() => link.heard.clone(),
                _ => self.open(&mut open, device, limit).await?,
            }
        };
        if let Ok(Ok(())) = timeout(PATIENCE, heard.send(packet)).await {
            return Ok(());
        }
        let mut open = self.open.lock().await;
        // The device may have another link by now.
        if open.by_device.get(device).is_some_and(|link| link.heard.same_channel(&heard)) {
            open.by_device.remove(device);
        }
        Err(Refusal::Busy)
    }

    async fn open(
        &self,
        open: &mut Open<Id>,
        device: &Id,
        limit: usize,
    ) -> Result<mpsc::Sender<Vec<u8>>, Refusal> {
        open.by_device.retain(|_, link| !link.heard.is_closed());
        if open.by_device.len() >= MAX_LINKS {
            return Err(Refusal::Busy);
        }
        let (packets, PacketEnd { mut out, inbound }) = packet_link(limit, true, false);
        tracing::debug!(?device, limit, "linked by another device");
        self.news.send(News::Link(packets)).await.map_err(|_| Refusal::Busy)?;
        open.next += 1;
        let (id, outgoing) = (open.next, self.outgoing.clone());
        let closing = inbound.clone();
        let sending = tokio::spawn(async move {
            loop {
                tokio::select! {
                    packet = out.recv() => match packet {
                        Some(packet) => if outgoing.send((id, packet)).await.is_err() { return },
                        None => return,
                    },
                    // When the other channel of the link closes, this one ends too.
                    () = closing.closed() => return,
                }
            }
        });
        let link = Link {
            heard: inbound.clone(),
            sending: sending.abort_handle(),
            device: device.clone(),
            writers: self.writers.clone(),
        };
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(device.clone());
        open.by_device.insert(device.clone(), link);
        self.changed.notify_one();
        Ok(inbound)
    }

    /// Closes the link of a device that is gone.
    pub(crate) async fn gone(&self, device: &Id) {
        if self.open.lock().await.by_device.remove(device).is_some() {
            tracing::debug!(?device, "the device is gone");
            self.changed.notify_one();
        }
    }

    /// Devices with an open link.
    pub(crate) async fn devices(&self) -> Vec<Id> {
        self.open.lock().await.by_device.keys().cloned().collect()
    }
}

/// Sends the waiting packets, each once for all links that it is for.
pub(crate) async fn send_each(notifier: &impl Notifier, mut outgoing: Outgoing) {
    let mut shared = Shared::default();
    while let Some((link, packet)) = outgoing.recv().await {
        if shared.register_packet(link, &packet) {
            notifier.notify(packet).await;
            sleep(PACE).await;
        }
    }
}

/// Message for a system that does not let others find this device.
fn refused(error: impl Display) -> String {
    format!("this adapter cannot be found by others ({error}); it finds them while their app is open")
}
