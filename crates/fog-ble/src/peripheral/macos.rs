//! Peripheral role on CoreBluetooth, which hides addresses: it gives devices identifiers, the same in both
//! roles.
//!
//! All callbacks come on one queue, and objects of CoreBluetooth are used on that queue only.

#![expect(unsafe_code, reason = "calls of CoreBluetooth, and what it calls back")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use btleplug::api::Peripheral as _;
use btleplug::platform::Peripheral;
use dispatch2::{DispatchQueue, DispatchRetained};
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2::{AnyThread, DefinedClass, define_class, msg_send};
use objc2_core_bluetooth::{
    CBATTError, CBATTRequest, CBAdvertisementDataServiceUUIDsKey, CBAttributePermissions, CBCentral,
    CBCharacteristic, CBCharacteristicProperties, CBManagerState, CBMutableCharacteristic, CBMutableService,
    CBPeripheralManager, CBPeripheralManagerDelegate, CBService, CBUUID,
};
use objc2_foundation::{
    NSArray, NSData, NSDictionary, NSError, NSObject, NSObjectProtocol, NSString, NSUUID,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::told::{self, QUEUE, Told, Write, put_together, serve};
use super::{Links, Notifier, Outgoing, PATIENCE, Refusal, Writers, refused};
use crate::central::{CHARACTERISTIC, SERVICE};
use crate::{News, limit_of};

/// Identifier that CoreBluetooth gave a device.
pub(crate) type DeviceId = Uuid;

pub(crate) fn device_id(peripheral: &Peripheral) -> DeviceId {
    // An identifier displays as a UUID; the nil UUID stands for none.
    Uuid::parse_str(&peripheral.id().to_string()).unwrap_or_default()
}

/// Time after adding the service before advertising: a device that connects at once would not find it.
const AFTER_ADDING: Duration = Duration::from_millis(400);
/// Time for the user to allow Bluetooth; until then the central role finds nothing either.
const SETTLING: Duration = Duration::from_secs(60);
/// Interval of retries of a notification for which there was no room, unless room is reported sooner.
const ROOM: Duration = Duration::from_millis(100);

/// Wrapper of values that are used on the queue only.
struct OnQueue<T>(T);

// SAFETY: the value is reached through `get` alone, which runs on the one serial queue only. Elsewhere it
// is moved and released, and its reference count is atomic.
unsafe impl<T> Send for OnQueue<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for OnQueue<T> {}

impl<T> OnQueue<T> {
    fn get(&self) -> &T {
        &self.0
    }
}

type Answer = OnQueue<Retained<CBATTRequest>>;

/// Result of the last request of a kind.
type Outcome = Result<(), String>;

struct Callbacks {
    told: mpsc::Sender<Told<DeviceId, Answer>>,
    power: watch::Sender<CBManagerState>,
    added: watch::Sender<Outcome>,
    advertised: watch::Sender<Outcome>,
    room: Arc<Notify>,
    subscribers: Arc<Mutex<HashSet<DeviceId>>>,
}

define_class!(
    // SAFETY: NSObject may be subclassed, and the subclass has no code for its release.
    #[unsafe(super(NSObject))]
    #[thread_kind = AnyThread]
    #[name = "FogPeripheralDelegate"]
    #[ivars = Callbacks]
    struct Delegate;

    unsafe impl NSObjectProtocol for Delegate {}

    unsafe impl CBPeripheralManagerDelegate for Delegate {
        #[unsafe(method(peripheralManagerDidUpdateState:))]
        fn powered(&self, manager: &CBPeripheralManager) {
            // SAFETY: the caller is the live manager.
            self.ivars().power.send_replace(unsafe { manager.state() });
        }

        #[unsafe(method(peripheralManager:didAddService:error:))]
        fn added(&self, _: &CBPeripheralManager, _: &CBService, error: Option<&NSError>) {
            // A closed channel is fine.
            let _ = self.ivars().added.send(outcome(error));
        }

        #[unsafe(method(peripheralManagerDidStartAdvertising:error:))]
        fn advertised(&self, _: &CBPeripheralManager, error: Option<&NSError>) {
            // A closed channel is fine.
            let _ = self.ivars().advertised.send(outcome(error));
        }

        #[unsafe(method(peripheralManager:central:didSubscribeToCharacteristic:))]
        fn subscribed(&self, _: &CBPeripheralManager, central: &CBCentral, _: &CBCharacteristic) {
            self.ivars().subscribers.lock().unwrap_or_else(PoisonError::into_inner).insert(id_of(central));
        }

        #[unsafe(method(peripheralManager:central:didUnsubscribeFromCharacteristic:))]
        fn unsubscribed(&self, _: &CBPeripheralManager, central: &CBCentral, _: &CBCharacteristic) {
            let device = id_of(central);
            self.ivars().subscribers.lock().unwrap_or_else(PoisonError::into_inner).remove(&device);
            // If the queue is full, the link is closed later because of its silence.
            let _ = self.ivars().told.try_send(Told::Gone(device));
        }

        #[unsafe(method(peripheralManagerIsReadyToUpdateSubscribers:))]
        fn room(&self, _: &CBPeripheralManager) {
            self.ivars().room.notify_one();
        }

        #[unsafe(method(peripheralManager:didReceiveReadRequest:))]
        fn read(&self, manager: &CBPeripheralManager, request: &CBATTRequest) {
            // SAFETY: both are live; a request is answered once.
            unsafe {
                request.setValue(Some(&NSData::new()));
                manager.respondToRequest_withResult(request, CBATTError::Success);
            }
        }

        #[unsafe(method(peripheralManager:didReceiveWriteRequests:))]
        fn written(&self, manager: &CBPeripheralManager, requests: &NSArray<CBATTRequest>) {
            let requests = requests.to_vec();
            // An answer to the first request answers all.
            let Some(first) = requests.first().cloned() else { return };
            let refuse = |answer: &Answer, error| {
                // SAFETY: both are live; a request is answered once.
                unsafe { manager.respondToRequest_withResult(answer.get(), error) };
            };
            let writes =
                match put_together(requests.iter().map(|request| piece(request)).collect(), OnQueue(first)) {
                    Ok(writes) => writes,
                    Err(answer) => return refuse(&answer, CBATTError::InvalidOffset),
                };
            for write in writes {
                if let Err(error) = self.ivars().told.try_send(Told::Write(write))
                    && let Told::Write(Write { answer: Some(answer), .. }) = error.into_inner()
                {
                    refuse(&answer, CBATTError::InsufficientResources);
                }
            }
        }
    }
);

impl Delegate {
    fn new(callbacks: Callbacks) -> Retained<Self> {
        let this = Self::alloc().set_ivars(callbacks);
        // SAFETY: the usual initialisation of an NSObject.
        unsafe { msg_send![super(this), init] }
    }
}

fn outcome(error: Option<&NSError>) -> Outcome {
    error.map_or(Ok(()), |error| Err(error.localizedDescription().to_string()))
}

fn id_of(central: &CBCentral) -> DeviceId {
    // SAFETY: the central is live and has an identifier.
    Uuid::from_bytes(unsafe { central.identifier() }.as_bytes())
}

fn piece(request: &CBATTRequest) -> Write<DeviceId, Answer> {
    // SAFETY: the request is live, and only read.
    unsafe {
        let central = request.central();
        // A notification is three bytes shorter than the MTU.
        let mtu = u16::try_from(central.maximumUpdateValueLength().saturating_add(3)).unwrap_or(u16::MAX);
        let packet = request.value().map(|value| value.to_vec()).unwrap_or_default();
        Write {
            device: id_of(&central),
            limit: limit_of(mtu),
            offset: request.offset(),
            packet,
            answer: None,
        }
    }
}

struct Parts {
    manager: Retained<CBPeripheralManager>,
    characteristic: Retained<CBMutableCharacteristic>,
    service: Retained<CBMutableService>,
    /// The manager does not retain its delegate.
    _delegate: Retained<Delegate>,
}

struct Radio {
    queue: DispatchRetained<DispatchQueue>,
    parts: Arc<OnQueue<Parts>>,
    added: watch::Receiver<Outcome>,
    advertised: watch::Receiver<Outcome>,
    room: Arc<Notify>,
    subscribers: Arc<Mutex<HashSet<DeviceId>>>,
}

fn uuid_of(uuid: Uuid) -> Retained<CBUUID> {
    // SAFETY: any UUID is valid here.
    unsafe { CBUUID::UUIDWithNSUUID(&NSUUID::from_bytes(*uuid.as_bytes())) }
}

impl Radio {
    fn new(told: mpsc::Sender<Told<DeviceId, Answer>>) -> (Self, watch::Receiver<CBManagerState>) {
        let (power, powered) = watch::channel(CBManagerState::Unknown);
        let ((add, added), (advertise, advertised)) = (watch::channel(Ok(())), watch::channel(Ok(())));
        let (room, subscribers) = (Arc::<Notify>::default(), Arc::<Mutex<HashSet<DeviceId>>>::default());
        let delegate = Delegate::new(Callbacks {
            told,
            power,
            added: add,
            advertised: advertise,
            room: room.clone(),
            subscribers: subscribers.clone(),
        });
        let queue = DispatchQueue::new("network.fog.ble", None);
        // SAFETY: the delegate has the right type and lives as long as the manager, the queue is serial,
        // and a characteristic without a value of its own may be writable.
        let (manager, characteristic, service) = unsafe {
            let characteristic = CBMutableCharacteristic::initWithType_properties_value_permissions(
                CBMutableCharacteristic::alloc(),
                &uuid_of(CHARACTERISTIC),
                // Reads carry no data, but phones expect them.
                CBCharacteristicProperties::Read
                    | CBCharacteristicProperties::Write
                    | CBCharacteristicProperties::WriteWithoutResponse
                    | CBCharacteristicProperties::Notify,
                None,
                CBAttributePermissions::Readable | CBAttributePermissions::Writeable,
            );
            let service =
                CBMutableService::initWithType_primary(CBMutableService::alloc(), &uuid_of(SERVICE), true);
            let held: &CBCharacteristic = &characteristic;
            service.setCharacteristics(Some(&NSArray::from_slice(&[held])));
            let manager = CBPeripheralManager::initWithDelegate_queue(
                CBPeripheralManager::alloc(),
                Some(ProtocolObject::from_ref(&*delegate)),
                Some(&queue),
            );
            (manager, characteristic, service)
        };
        let parts = Arc::new(OnQueue(Parts { manager, characteristic, service, _delegate: delegate }));
        (Self { queue, parts, added, advertised, room, subscribers }, powered)
    }

    /// Runs `work` on the queue; `None` if the queue is gone.
    async fn on_queue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Parts) -> T + Send + 'static,
    ) -> Option<T> {
        let ((done, result), parts) = (oneshot::channel(), self.parts.clone());
        self.queue.exec_async(move || {
            // A closed channel is fine.
            let _ = done.send(work(parts.get()));
        });
        result.await.ok()
    }

    async fn add_service(&self) -> Outcome {
        let added = next(&self.added);
        // SAFETY: both are live, and the service is added once.
        self.on_queue(|parts| unsafe { parts.manager.addService(&parts.service) }).await;
        ended(added).await
    }

    async fn begin_to_advertise(&self) -> Outcome {
        let advertised = next(&self.advertised);
        let is_on = self.on_queue(|parts| {
            // SAFETY: all are live; the key takes an array of UUIDs.
            unsafe {
                if parts.manager.isAdvertising() {
                    return true;
                }
                // Only the service: no name.
                let services = NSArray::from_retained_slice(&[uuid_of(SERVICE)]);
                let value: &AnyObject = &services;
                let what = NSDictionary::<NSString, AnyObject>::from_slices(
                    &[CBAdvertisementDataServiceUUIDsKey],
                    &[value],
                );
                parts.manager.startAdvertising(Some(&what));
                false
            }
        });
        if is_on.await == Some(true) { Ok(()) } else { ended(advertised).await }
    }
}

/// Receiver of the next outcome.
fn next(outcome: &watch::Receiver<Outcome>) -> watch::Receiver<Outcome> {
    let mut outcome = outcome.clone();
    outcome.mark_unchanged();
    outcome
}

async fn ended(mut outcome: watch::Receiver<Outcome>) -> Outcome {
    match timeout(PATIENCE, outcome.changed()).await {
        Ok(Ok(())) => outcome.borrow().clone(),
        _ => Err("it does not answer".to_owned()),
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        let parts = self.parts.clone();
        self.queue.exec_async(move || {
            let parts = parts.get();
            // SAFETY: the manager is live; no callback comes after this.
            unsafe {
                parts.manager.stopAdvertising();
                parts.manager.removeAllServices();
                parts.manager.setDelegate(None);
            }
        });
    }
}

impl Notifier for Radio {
    async fn notify(&self, packet: Vec<u8>) {
        let packet = Arc::new(packet);
        let sent = async {
            loop {
                let value = packet.clone();
                // SAFETY: all are live, and the characteristic is the manager's.
                let sent = self.on_queue(move |parts| unsafe {
                    parts.manager.updateValue_forCharacteristic_onSubscribedCentrals(
                        &NSData::with_bytes(&value),
                        &parts.characteristic,
                        None,
                    )
                });
                if sent.await != Some(false) {
                    return;
                }
                // A timeout and a signal have the same effect.
                let _ = timeout(ROOM, self.room.notified()).await;
            }
        };
        if timeout(PATIENCE, sent).await.is_err() {
            tracing::debug!("nobody takes notifications");
        }
    }
}

impl told::Radio for Radio {
    type Id = DeviceId;
    type Answer = Answer;

    fn answer(&self, answer: Answer, taken: Result<(), Refusal>) {
        let parts = self.parts.clone();
        self.queue.exec_async(move || {
            let result = match taken {
                Ok(()) => CBATTError::Success,
                Err(Refusal::NotAPacket) => CBATTError::InvalidOffset,
                Err(Refusal::Busy) => CBATTError::InsufficientResources,
            };
            // SAFETY: both are live; a request is answered once.
            unsafe { parts.get().manager.respondToRequest_withResult(answer.get(), result) };
        });
    }

    fn subscribers(&self) -> HashSet<DeviceId> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn advertise(&self) {
        if let Err(error) = self.begin_to_advertise().await {
            tracing::debug!(error, "not advertised");
        }
    }
}

/// The service, added and advertised.
pub(crate) struct Server {
    radio: Radio,
    links: Arc<Links<DeviceId>>,
    outgoing: Outgoing,
    told: mpsc::Receiver<Told<DeviceId, Answer>>,
}

impl Server {
    /// # Errors
    /// A message that tells why others cannot find this device.
    pub(crate) async fn start(
        _adapter: &str,
        news: mpsc::Sender<News>,
        writers: Writers<DeviceId>,
    ) -> Result<Self, String> {
        let (links, outgoing) = Links::new(news, writers);
        let (tell, told) = mpsc::channel(QUEUE);
        let (radio, mut powered) = Radio::new(tell);
        // A service that is added before the radio is on is ignored.
        let is_settled =
            |state: &CBManagerState| ![CBManagerState::Unknown, CBManagerState::Resetting].contains(state);
        match timeout(SETTLING, powered.wait_for(is_settled)).await.map(|state| state.map(|state| *state)) {
            Ok(Ok(CBManagerState::PoweredOn)) => {}
            Ok(Ok(CBManagerState::Unauthorized)) => {
                return Err(
                    "this app may not use Bluetooth; allow it in the system's settings, under privacy"
                        .to_owned(),
                );
            }
            Ok(Ok(CBManagerState::Unsupported)) => return Err(refused("it cannot be a peripheral")),
            Ok(Ok(_)) => return Err(refused("it is off")),
            _ => return Err(refused("it does not answer")),
        }
        radio.add_service().await.map_err(refused)?;
        sleep(AFTER_ADDING).await;
        radio.begin_to_advertise().await.map_err(refused)?;
        Ok(Self { radio, links, outgoing, told })
    }

    /// Serves until it is dropped; the central role notices when Bluetooth is switched off.
    pub(crate) async fn serve(self) -> String {
        serve(&self.radio, &self.links, self.outgoing, self.told).await;
        String::new()
    }
}
