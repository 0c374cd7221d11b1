//! Peripheral role on BlueZ, which tells who writes, but not who subscribes or disconnects.

use std::sync::Arc;
use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle};
use bluer::gatt::local::{
    Application, ApplicationHandle, Characteristic, CharacteristicNotifier, CharacteristicNotify,
    CharacteristicNotifyMethod, CharacteristicRead, CharacteristicWrite, CharacteristicWriteMethod,
    CharacteristicWriteRequest, ReqError, Service,
};
use bluer::{Adapter, Address};
use btleplug::api::Peripheral as _;
use btleplug::platform::Peripheral;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{interval, sleep, timeout};

use super::{
    ADVERTISE_AGAIN, LOOK_AT_LINKS, Links, Notifier, Outgoing, Refusal, SETTING_UP, Writers, refused,
    send_each,
};
use crate::central::{CHARACTERISTIC, SERVICE};
use crate::{News, limit_of};

/// Bluetooth address of a device.
pub(crate) type DeviceId = Address;

pub(crate) fn device_id(peripheral: &Peripheral) -> DeviceId {
    Address(peripheral.address().into_inner())
}

/// Time after which a link that does not end is left to its other end, which notices the silence.
const ENDING: Duration = Duration::from_secs(5);

struct State {
    links: Arc<Links<DeviceId>>,
    notifier: Mutex<Option<CharacteristicNotifier>>,
}

/// The service, registered and advertised.
pub(crate) struct Server {
    adapter: Adapter,
    state: Arc<State>,
    outgoing: Outgoing,
    advertised: AdvertisementHandle,
    _application: ApplicationHandle,
}

fn advertisement() -> Advertisement {
    // Only the service: no name, and no id that could be tracked.
    Advertisement { service_uuids: [SERVICE].into(), discoverable: Some(true), ..Advertisement::default() }
}

impl Server {
    /// # Errors
    /// A message that tells why others cannot find this device.
    pub(crate) async fn start(
        adapter: &str,
        news: mpsc::Sender<News>,
        writers: Writers<DeviceId>,
    ) -> Result<Self, String> {
        let session = bluer::Session::new().await.map_err(refused)?;
        let adapter = session.adapter(adapter).map_err(refused)?;
        end_leftovers(&adapter).await;
        let (links, outgoing) = Links::new(news, writers);
        let state = Arc::new(State { links, notifier: Mutex::default() });
        let application = adapter.serve_gatt_application(application(&state)).await.map_err(refused)?;
        let advertised = adapter.advertise(advertisement()).await.map_err(refused)?;
        Ok(Self { adapter, state, outgoing, advertised, _application: application })
    }

    /// Serves until the adapter is gone; returns the reason.
    pub(crate) async fn serve(self) -> String {
        let Self { adapter, state, outgoing, advertised, .. } = self;
        tokio::select! {
            problem = keep_advertising(&adapter, &state, advertised) => problem,
            () = look_at_links(&adapter, &state) => String::new(),
            () = send_each(&*state, outgoing) => String::new(),
        }
    }
}

/// Ends the links of these devices, whichever side began them.
pub(crate) async fn end_links(adapter: &str, devices: Vec<DeviceId>) {
    let Ok(session) = bluer::Session::new().await else { return };
    let Ok(adapter) = session.adapter(adapter) else { return };
    for address in devices {
        if let Ok(device) = adapter.device(address) {
            // An error means that the device is gone already.
            let _ = device.disconnect().await;
        }
    }
}

/// Ends links that an earlier, killed process left behind. Such a device still relies on its link, but its
/// subscription is lost. Only devices with this service that are neither paired nor trusted are
/// disconnected, so a headset stays.
async fn end_leftovers(adapter: &Adapter) {
    let Ok(addresses) = adapter.device_addresses().await else { return };
    for address in addresses {
        let Ok(device) = adapter.device(address) else { continue };
        let is_ours = async || {
            let has_service = device.uuids().await?.is_some_and(|services| services.contains(&SERVICE));
            bluer::Result::Ok(
                has_service
                    && device.is_connected().await?
                    && !device.is_paired().await?
                    && !device.is_trusted().await?,
            )
        };
        if is_ours().await.unwrap_or(false) {
            tracing::debug!(?address, "a link of before is ended");
            if let Ok(Err(error)) = timeout(ENDING, device.disconnect()).await {
                tracing::debug!(%error, ?address, "a link of before cannot be ended");
            }
        }
    }
}

fn application(state: &Arc<State>) -> Application {
    let (writes, notifies) = (state.clone(), state.clone());
    let characteristic = Characteristic {
        uuid: CHARACTERISTIC,
        // Reads carry no data, but phones expect them.
        read: Some(CharacteristicRead {
            read: true,
            fun: Box::new(|_| Box::pin(async { Ok(Vec::new()) })),
            ..CharacteristicRead::default()
        }),
        write: Some(CharacteristicWrite {
            write: true,
            write_without_response: true,
            method: CharacteristicWriteMethod::Fun(Box::new(move |packet, request| {
                Box::pin(written(writes.clone(), packet, request))
            })),
            ..CharacteristicWrite::default()
        }),
        notify: Some(CharacteristicNotify {
            notify: true,
            method: CharacteristicNotifyMethod::Fun(Box::new(move |notifier| {
                let state = notifies.clone();
                Box::pin(async move {
                    *state.notifier.lock().await = Some(notifier);
                    state.links.changed.notify_one();
                })
            })),
            ..CharacteristicNotify::default()
        }),
        ..Characteristic::default()
    };
    let service =
        Service { uuid: SERVICE, primary: true, characteristics: vec![characteristic], ..Service::default() };
    Application { services: vec![service], ..Application::default() }
}

async fn written(
    state: Arc<State>,
    packet: Vec<u8>,
    request: CharacteristicWriteRequest,
) -> Result<(), ReqError> {
    let taken = state
        .links
        .written(&request.device_address, limit_of(request.mtu), request.offset.into(), packet)
        .await;
    taken.map_err(|refusal| match refusal {
        Refusal::NotAPacket => ReqError::InvalidOffset,
        Refusal::Busy => ReqError::Failed,
    })
}

impl Notifier for State {
    async fn notify(&self, packet: Vec<u8>) {
        let mut notifier = self.notifier.lock().await;
        if let Some(open) = notifier.as_mut()
            && let Err(error) = open.notify(packet).await
        {
            tracing::debug!(%error, "nobody listens");
            *notifier = None;
        }
    }
}

/// Closes links of devices that disconnected; BlueZ does not report that otherwise.
async fn look_at_links(adapter: &Adapter, state: &State) {
    let mut tick = interval(LOOK_AT_LINKS);
    loop {
        tick.tick().await;
        for address in state.links.devices().await {
            let is_here = match adapter.device(address) {
                Ok(device) => device.is_connected().await.unwrap_or(false),
                Err(_) => false,
            };
            if !is_here {
                state.links.gone(&address).await;
            }
        }
    }
}

/// Restarts advertising: BlueZ stops it when a device connects, and does not report that.
async fn keep_advertising(adapter: &Adapter, state: &State, first: AdvertisementHandle) -> String {
    let mut advertised = Some(first);
    loop {
        // A timeout and a change have the same effect.
        let _ = timeout(ADVERTISE_AGAIN, state.links.changed.notified()).await;
        sleep(SETTING_UP).await;
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
