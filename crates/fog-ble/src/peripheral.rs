//! Being found, and links from those who found us: they write, and are notified. BlueZ only.
//!
//! BlueZ does not say who subscribes, and a notification goes to all who did. So a link begins with the first
//! write of a device, and what several links send at once goes out once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle};
use bluer::gatt::local::{
    Application, ApplicationHandle, Characteristic, CharacteristicNotifier, CharacteristicNotify, CharacteristicNotifyMethod, CharacteristicRead,
    CharacteristicWrite, CharacteristicWriteMethod, CharacteristicWriteRequest, ReqError, Service,
};
use bluer::{Adapter, Address};
use fog_transport::{PacketEnd, packet_link};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{interval, sleep, timeout};

use crate::central::{CHARACTERISTIC, SERVICE, Writers};
use crate::shared::Shared;
use crate::{News, limit_of};

/// Links of others to this device.
const MAX_LINKS: usize = 8;
/// BlueZ stops to advertise when somebody connects, and does not say so: it is asked again this often.
const ADVERTISE_AGAIN: Duration = Duration::from_secs(30);
const LOOK_AT_LINKS: Duration = Duration::from_secs(2);
/// Between two notifications; bursts are lost between two BlueZ hosts.
const PACE: Duration = Duration::from_millis(12);
/// A link whose packets nobody here takes is closed after this.
const PATIENCE: Duration = Duration::from_secs(5);

struct Link {
    heard: mpsc::Sender<Vec<u8>>,
    sending: tokio::task::AbortHandle,
    device: Address,
    writers: Writers,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sending.abort();
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.device.0);
    }
}

#[derive(Default)]
struct Links {
    by_device: HashMap<Address, Link>,
    next: u64,
}

struct State {
    links: Mutex<Links>,
    /// Packets on their way to everybody who listens, with the link they are of.
    outgoing: mpsc::Sender<(u64, Vec<u8>)>,
    notifier: Mutex<Option<CharacteristicNotifier>>,
    /// Somebody connected or went: advertising has to be begun anew.
    changed: Notify,
    news: mpsc::Sender<News>,
    writers: Writers,
}

/// The service, registered and advertised.
pub(crate) struct Server {
    adapter: Adapter,
    state: Arc<State>,
    outgoing: mpsc::Receiver<(u64, Vec<u8>)>,
    advertised: AdvertisementHandle,
    _application: ApplicationHandle,
}

fn advertisement() -> Advertisement {
    // The service and nothing else: no name, and no id that could be followed.
    Advertisement { service_uuids: [SERVICE].into(), discoverable: Some(true), ..Advertisement::default() }
}

impl Server {
    /// # Errors
    /// A sentence: why others cannot find this device.
    pub(crate) async fn start(adapter: &str, news: mpsc::Sender<News>, writers: Writers) -> Result<Self, String> {
        let refused = |error: bluer::Error| format!("this adapter cannot be found by others ({error}); it finds them while their app is open");
        let session = bluer::Session::new().await.map_err(refused)?;
        let adapter = session.adapter(adapter).map_err(refused)?;
        let (outgoing, to_send) = mpsc::channel(32);
        let state = Arc::new(State { links: Mutex::default(), outgoing, notifier: Mutex::default(), changed: Notify::new(), news, writers });
        let application = adapter.serve_gatt_application(application(&state)).await.map_err(refused)?;
        let advertised = adapter.advertise(advertisement()).await.map_err(refused)?;
        Ok(Self { adapter, state, outgoing: to_send, advertised, _application: application })
    }

    /// Serves until the adapter is gone; gives why.
    pub(crate) async fn serve(self) -> String {
        let Self { adapter, state, outgoing, advertised, .. } = self;
        tokio::select! {
            problem = keep_advertising(&adapter, &state, advertised) => problem,
            () = look_at_links(&adapter, &state) => String::new(),
            () = notify(&state, outgoing) => String::new(),
        }
    }
}

fn application(state: &Arc<State>) -> Application {
    let (writes, notifies) = (state.clone(), state.clone());
    let characteristic = Characteristic {
        uuid: CHARACTERISTIC,
        // Not used for data, but phones expect it to be there.
        read: Some(CharacteristicRead { read: true, fun: Box::new(|_| Box::pin(async { Ok(Vec::new()) })), ..CharacteristicRead::default() }),
        write: Some(CharacteristicWrite {
            write: true,
            write_without_response: true,
            method: CharacteristicWriteMethod::Fun(Box::new(move |packet, request| Box::pin(written(writes.clone(), packet, request)))),
            ..CharacteristicWrite::default()
        }),
        notify: Some(CharacteristicNotify {
            notify: true,
            method: CharacteristicNotifyMethod::Fun(Box::new(move |notifier| {
                let state = notifies.clone();
                Box::pin(async move {
                    *state.notifier.lock().await = Some(notifier);
                    state.changed.notify_one();
                })
            })),
            ..CharacteristicNotify::default()
        }),
        ..Characteristic::default()
    };
    let service = Service { uuid: SERVICE, primary: true, characteristics: vec![characteristic], ..Service::default() };
    Application { services: vec![service], ..Application::default() }
}

/// A device wrote a packet; it is answered when the packet was taken.
async fn written(state: Arc<State>, packet: Vec<u8>, request: CharacteristicWriteRequest) -> Result<(), ReqError> {
    if request.offset != 0 || packet.is_empty() {
        return Err(ReqError::InvalidOffset);
    }
    let heard = {
        let mut links = state.links.lock().await;
        match links.by_device.get(&request.device_address) {
            Some(link) if !link.heard.is_closed() => link.heard.clone(),
            _ => open(&state, &mut links, &request).await?,
        }
    };
    match timeout(PATIENCE, heard.send(packet)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(ReqError::Failed),
    }
}

async fn open(state: &Arc<State>, links: &mut Links, request: &CharacteristicWriteRequest) -> Result<mpsc::Sender<Vec<u8>>, ReqError> {
    links.by_device.retain(|_, link| !link.heard.is_closed());
    if links.by_device.len() >= MAX_LINKS {
        return Err(ReqError::Failed);
    }
    let (packets, PacketEnd { mut out, inbound }) = packet_link(limit_of(request.mtu), true, false);
    tracing::debug!(device = %request.device_address, limit = packets.limit, "linked by another device");
    state.news.send(News::Link(packets)).await.map_err(|_| ReqError::Failed)?;
    links.next += 1;
    let (id, outgoing) = (links.next, state.outgoing.clone());
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
    let device = request.device_address;
    let link = Link { heard: inbound.clone(), sending: sending.abort_handle(), device, writers: state.writers.clone() };
    // The one of before goes first, or it would take the new one's name away.
    drop(links.by_device.remove(&device));
    state.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(device.0);
    links.by_device.insert(device, link);
    state.changed.notify_one();
    Ok(inbound)
}

/// Sends what waits, each packet once however many links it is for.
async fn notify(state: &State, mut outgoing: mpsc::Receiver<(u64, Vec<u8>)>) {
    let mut shared = Shared::default();
    while let Some((link, packet)) = outgoing.recv().await {
        if !shared.has_to_go(link, &packet) {
            continue;
        }
        let mut notifier = state.notifier.lock().await;
        if let Some(open) = notifier.as_mut()
            && let Err(error) = open.notify(packet).await
        {
            tracing::debug!(%error, "nobody listens");
            *notifier = None;
        }
        drop(notifier);
        sleep(PACE).await;
    }
}

/// Closes links of devices that went; BlueZ tells of them nowhere else.
async fn look_at_links(adapter: &Adapter, state: &State) {
    let mut tick = interval(LOOK_AT_LINKS);
    loop {
        tick.tick().await;
        let devices: Vec<Address> = state.links.lock().await.by_device.keys().copied().collect();
        for address in devices {
            let is_here = match adapter.device(address) {
                Ok(device) => device.is_connected().await.unwrap_or(false),
                Err(_) => false,
            };
            if !is_here {
                tracing::debug!(device = %address, "the device is gone");
                state.links.lock().await.by_device.remove(&address);
                state.changed.notify_one();
            }
        }
    }
}

async fn keep_advertising(adapter: &Adapter, state: &State, first: AdvertisementHandle) -> String {
    let mut advertised = Some(first);
    loop {
        // Elapsed or changed: the same follows.
        let _ = timeout(ADVERTISE_AGAIN, state.changed.notified()).await;
        // The other side is in the middle of setting its link up.
        sleep(Duration::from_millis(500)).await;
        drop(advertised.take());
        sleep(Duration::from_millis(200)).await;
        match adapter.advertise(advertisement()).await {
            Ok(handle) => advertised = Some(handle),
            Err(error) => {
                tracing::debug!(%error, "not advertised");
                if !adapter.is_powered().await.unwrap_or(false) {
                    return "Bluetooth is off; switch it on in the system's settings".to_owned();
                }
            }
        }
    }
}
