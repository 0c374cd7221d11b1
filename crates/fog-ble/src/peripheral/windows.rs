//! Peripheral role on the Windows Runtime, which advertises the service itself; the rest of the
//! advertisement is fixed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use btleplug::api::{BDAddr, Peripheral as _};
use btleplug::platform::Peripheral;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;
use windows::Devices::Bluetooth::GenericAttributeProfile::{
    GattCharacteristicProperties, GattLocalCharacteristic, GattLocalCharacteristicParameters,
    GattLocalCharacteristicResult, GattProtectionLevel, GattProtocolError, GattReadRequestedEventArgs,
    GattServiceProvider, GattServiceProviderAdvertisementStatus, GattServiceProviderAdvertisingParameters,
    GattSession, GattSessionStatus, GattSubscribedClient, GattWriteOption, GattWriteRequest,
    GattWriteRequestedEventArgs,
};
use windows::Devices::Bluetooth::{BluetoothAdapter, BluetoothError};
use windows::Foundation::{Deferral, TypedEventHandler};
use windows::Storage::Streams::{DataReader, DataWriter, IBuffer};
use windows::core::{GUID, Ref, Result as WinResult};
use windows_future::IAsyncOperation;

use super::told::{self, QUEUE, Told, Write, serve};
use super::{Links, Notifier, Outgoing, PATIENCE, Refusal, Writers, refused};
use crate::central::{CHARACTERISTIC, SERVICE};
use crate::{News, limit_of};

/// Bluetooth address of a device.
pub(crate) type DeviceId = BDAddr;

pub(crate) fn device_id(peripheral: &Peripheral) -> DeviceId {
    peripheral.address()
}

type Tell = mpsc::Sender<Told<DeviceId, Answer>>;

/// A pending write. Dropping it answers it, as refused by default, because every write has to be answered.
struct Answer {
    request: GattWriteRequest,
    deferral: Deferral,
    taken: Result<(), Refusal>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let answer = || {
            // A write without response must not be answered.
            if self.request.Option()? == GattWriteOption::WriteWithResponse {
                match self.taken {
                    Ok(()) => self.request.Respond()?,
                    Err(Refusal::NotAPacket) => {
                        self.request.RespondWithProtocolError(GattProtocolError::InvalidOffset()?)?
                    }
                    Err(Refusal::Busy) => {
                        self.request.RespondWithProtocolError(GattProtocolError::InsufficientResources()?)?
                    }
                }
            }
            Ok(())
        };
        let answered: WinResult<()> = answer();
        if let Err(error) = answered.and(self.deferral.Complete()) {
            tracing::debug!(%error, "a write was not answered");
        }
    }
}

struct Radio {
    provider: GattServiceProvider,
    characteristic: GattLocalCharacteristic,
    /// Tokens of the three handlers: reads, writes, subscribers.
    tokens: [i64; 3],
}

fn guid(uuid: Uuid) -> GUID {
    GUID::from_u128(uuid.as_u128())
}

/// Device at the other end of a session: its id ends in its address.
fn device_of(session: &GattSession) -> Option<DeviceId> {
    let id = session.DeviceId().and_then(|id| id.Id()).ok()?.to_string_lossy();
    id.rsplit('-').next()?.parse().ok()
}

fn bytes_of(buffer: &IBuffer) -> WinResult<Vec<u8>> {
    let reader = DataReader::FromBuffer(buffer)?;
    let mut bytes = vec![0; reader.UnconsumedBufferLength()? as usize];
    reader.ReadBytes(&mut bytes)?;
    Ok(bytes)
}

fn buffer_of(bytes: &[u8]) -> WinResult<IBuffer> {
    let writer = DataWriter::new()?;
    writer.WriteBytes(bytes)?;
    writer.DetachBuffer()
}

impl Radio {
    async fn new(tell: &Tell) -> Result<Self, String> {
        let adapter = BluetoothAdapter::GetDefaultAsync().map_err(refused)?.await.map_err(refused)?;
        if !adapter.IsPeripheralRoleSupported().map_err(refused)? {
            return Err(refused("it cannot be a peripheral"));
        }
        let made =
            GattServiceProvider::CreateAsync(guid(SERVICE)).map_err(refused)?.await.map_err(refused)?;
        match made.Error().map_err(refused)? {
            BluetoothError::Success => {}
            error => return Err(refused(format!("the service: {}", error.0))),
        }
        let provider = made.ServiceProvider().map_err(refused)?;
        let made = begin(&provider).map_err(refused)?.await.map_err(refused)?;
        match made.Error().map_err(refused)? {
            BluetoothError::Success => {}
            error => return Err(refused(format!("the characteristic: {}", error.0))),
        }
        let characteristic = made.Characteristic().map_err(refused)?;
        let tokens = listen(&characteristic, tell).map_err(refused)?;
        Ok(Self { provider, characteristic, tokens })
    }

    fn begin_to_advertise(&self) -> WinResult<()> {
        // Stopping first could take the service away from connected devices, so running advertising is left
        // alone.
        match self.provider.AdvertisementStatus()? {
            GattServiceProviderAdvertisementStatus::Started
            | GattServiceProviderAdvertisementStatus::StartedWithoutAllAdvertisementData => return Ok(()),
            GattServiceProviderAdvertisementStatus::Aborted => self.provider.StopAdvertising()?,
            _ => {}
        }
        let how = GattServiceProviderAdvertisingParameters::new()?;
        how.SetIsConnectable(true)?;
        how.SetIsDiscoverable(true)?;
        self.provider.StartAdvertisingWithParameters(&how)
    }
}

fn begin(provider: &GattServiceProvider) -> WinResult<IAsyncOperation<GattLocalCharacteristicResult>> {
    let parameters = GattLocalCharacteristicParameters::new()?;
    // Reads carry no data, but phones expect them. The descriptor of notifications is added by the system.
    parameters.SetCharacteristicProperties(
        GattCharacteristicProperties::Read
            | GattCharacteristicProperties::Write
            | GattCharacteristicProperties::WriteWithoutResponse
            | GattCharacteristicProperties::Notify,
    )?;
    parameters.SetReadProtectionLevel(GattProtectionLevel::Plain)?;
    parameters.SetWriteProtectionLevel(GattProtectionLevel::Plain)?;
    provider.Service()?.CreateCharacteristicAsync(guid(CHARACTERISTIC), &parameters)
}

/// Registers the handlers; Windows calls them on its own threads, which may block.
fn listen(characteristic: &GattLocalCharacteristic, tell: &Tell) -> WinResult<[i64; 3]> {
    let reads = characteristic.ReadRequested(&TypedEventHandler::new(
        |_, args: Ref<GattReadRequestedEventArgs>| {
            let args = args.ok()?;
            let deferral = args.GetDeferral()?;
            let answered = args
                .GetRequestAsync()
                .and_then(|request| request.join())
                .and_then(|request| request.RespondWithValue(&buffer_of(&[])?));
            answered.and(deferral.Complete())
        },
    ))?;
    let to = tell.clone();
    let writes = characteristic.WriteRequested(&TypedEventHandler::new(
        move |_, args: Ref<GattWriteRequestedEventArgs>| {
            let args = args.ok()?;
            let deferral = args.GetDeferral()?;
            match args.GetRequestAsync().and_then(|request| request.join()) {
                // Dropping the answer refuses the write and completes the deferral, also where the session cannot be had.
                Ok(request) => {
                    let answer = Answer { request, deferral, taken: Err(Refusal::Busy) };
                    written(&args.Session()?, answer, &to)
                }
                Err(error) => deferral.Complete().and(Err(error)),
            }
        },
    ))?;
    let (to, before) = (tell.clone(), Mutex::new(HashSet::new()));
    let subscribers = characteristic.SubscribedClientsChanged(&TypedEventHandler::new(
        move |characteristic: Ref<GattLocalCharacteristic>, _| {
            let now = subscribers_of(characteristic.ok()?)?;
            let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
            for device in before.difference(&now) {
                // If the queue is full, the link is closed later because of its silence.
                let _ = to.try_send(Told::Gone(*device));
            }
            *before = now;
            Ok(())
        },
    ))?;
    Ok([reads, writes, subscribers])
}

fn written(session: &GattSession, answer: Answer, tell: &Tell) -> WinResult<()> {
    let (offset, packet) = (answer.request.Offset()? as usize, bytes_of(&answer.request.Value()?)?);
    if let Some(device) = device_of(session) {
        let limit = limit_of(session.MaxPduSize()?);
        // If the queue is full, the answer is dropped, which refuses the write.
        let _ = tell.try_send(Told::Write(Write { device, limit, offset, packet, answer: Some(answer) }));
    }
    Ok(())
}

/// Devices that are subscribed and connected; one that vanished may stay in the system's list.
fn subscribers_of(characteristic: &GattLocalCharacteristic) -> WinResult<HashSet<DeviceId>> {
    let session = |client: GattSubscribedClient| {
        client.Session().ok().filter(|session| session.SessionStatus() == Ok(GattSessionStatus::Active))
    };
    Ok(characteristic
        .SubscribedClients()?
        .into_iter()
        .filter_map(session)
        .filter_map(|session| device_of(&session))
        .collect())
}

impl Drop for Radio {
    fn drop(&mut self) {
        let [reads, writes, subscribers] = self.tokens;
        let ended = [
            self.characteristic.RemoveReadRequested(reads),
            self.characteristic.RemoveWriteRequested(writes),
            self.characteristic.RemoveSubscribedClientsChanged(subscribers),
            self.provider.StopAdvertising(),
        ];
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "the service was not ended");
        }
    }
}

impl Notifier for Radio {
    async fn notify(&self, packet: Vec<u8>) {
        // The buffer's writer must not be held across the await.
        let begun = buffer_of(&packet).and_then(|buffer| self.characteristic.NotifyValueAsync(&buffer));
        match timeout(PATIENCE, async { begun?.await }).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "nobody listens"),
            Err(_) => tracing::debug!("nobody takes notifications"),
        }
    }
}

impl told::Radio for Radio {
    type Id = DeviceId;
    type Answer = Answer;

    fn answer(&self, mut answer: Answer, taken: Result<(), Refusal>) {
        answer.taken = taken;
    }

    fn subscribers(&self) -> HashSet<DeviceId> {
        subscribers_of(&self.characteristic).unwrap_or_default()
    }

    async fn advertise(&self) {
        if let Err(error) = self.begin_to_advertise() {
            tracing::debug!(%error, "not advertised");
        }
    }
}

/// The service, created and advertised.
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
        let radio =
            timeout(PATIENCE, Radio::new(&tell)).await.map_err(|_| refused("it does not answer"))??;
        radio.begin_to_advertise().map_err(refused)?;
        Ok(Self { radio, links, outgoing, told })
    }

    /// Serves until it is dropped; the central role notices when Bluetooth is switched off.
    pub(crate) async fn serve(self) -> String {
        serve(&self.radio, &self.links, self.outgoing, self.told).await;
        String::new()
    }
}
