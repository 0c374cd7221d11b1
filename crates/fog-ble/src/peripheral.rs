//! Being found, and links from those who found us: they write, and are notified.
//!
//! A notification goes to all who subscribed, and BlueZ does not say who did. So a link begins with the first
//! write of a device, and what several links send at once goes out once. What is the same on every system is
//! here; each has its radio in a file of its own.

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

/// Links that others began end with this program here.
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

/// Links of others to this device.
const MAX_LINKS: usize = 8;
/// Advertising is looked after this often: it stops by itself, and on some systems nothing says so.
const ADVERTISE_AGAIN: Duration = Duration::from_secs(30);
/// Whoever just connected is in the middle of setting its link up.
const SETTING_UP: Duration = Duration::from_millis(500);
const LOOK_AT_LINKS: Duration = Duration::from_secs(2);
/// Between two notifications; bursts are lost between two BlueZ hosts.
const PACE: Duration = Duration::from_millis(12);
/// A link whose packets nobody here takes is closed after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Devices that are linked to this one as centrals. The system has one connection for both roles: ending it for
/// one ends it for the other.
pub(crate) type Writers<Id> = Arc<std::sync::Mutex<HashSet<Id>>>;

/// What a system calls another device, the same in both roles.
pub(crate) trait Device: Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Device for T {}

/// Why a packet was not taken; the device that wrote it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is a piece of a packet, or nothing.
    NotAPacket,
    /// There are too many links, or nobody here takes what comes.
    Busy,
}

/// Sends a packet to everybody who subscribed.
pub(crate) trait Notifier: Sync {
    /// Ends when the system took it, or does not take it.
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

/// The links of those who write to this device.
pub(crate) struct Links<Id: Device> {
    open: Mutex<Open<Id>>,
    /// Packets on their way to everybody who listens, with the link they are of.
    outgoing: mpsc::Sender<(u64, Vec<u8>)>,
    /// Somebody came or went: advertising has to be looked after.
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

    /// A device wrote; it is answered when the packet was taken. `limit` is the longest notification it gets, bytes.
    pub(crate) async fn written(&self, device: &Id, limit: usize, offset: usize, packet: Vec<u8>) -> Result<(), Refusal> {
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
        // It may be another link of the same device by now.
        if open.by_device.get(device).is_some_and(|link| link.heard.same_channel(&heard)) {
            open.by_device.remove(device);
        }
        Err(Refusal::Busy)
    }

    async fn open(&self, open: &mut Open<Id>, device: &Id, limit: usize) -> Result<mpsc::Sender<Vec<u8>>, Refusal> {
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
                    // The link's other channel closing ends this one as well.
                    () = closing.closed() => return,
                }
            }
        });
        let link = Link { heard: inbound.clone(), sending: sending.abort_handle(), device: device.clone(), writers: self.writers.clone() };
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(device.clone());
        open.by_device.insert(device.clone(), link);
        self.changed.notify_one();
        Ok(inbound)
    }

    /// Closes the link of a device that went.
    pub(crate) async fn gone(&self, device: &Id) {
        if self.open.lock().await.by_device.remove(device).is_some() {
            tracing::debug!(?device, "the device is gone");
            self.changed.notify_one();
        }
    }

    /// Whose links are open.
    pub(crate) async fn devices(&self) -> Vec<Id> {
        self.open.lock().await.by_device.keys().cloned().collect()
    }
}

/// Sends what waits, each packet once however many links it is for.
pub(crate) async fn send_each(notifier: &impl Notifier, mut outgoing: Outgoing) {
    let mut shared = Shared::default();
    while let Some((link, packet)) = outgoing.recv().await {
        if shared.has_to_go(link, &packet) {
            notifier.notify(packet).await;
            sleep(PACE).await;
        }
    }
}

/// The sentence for a system that does not let others find this device.
fn refused(error: impl Display) -> String {
    format!("this adapter cannot be found by others ({error}); it finds them while their app is open")
}
