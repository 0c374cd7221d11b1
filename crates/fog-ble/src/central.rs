//! The central role: finds other devices, writes to them and receives their notifications.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use btleplug::api::{
    Central as _, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter, WriteType,
};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use fog_transport::{PacketEnd, packet_link};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::cooldown::Candidates;
use crate::peripheral::{DeviceId, Server, Writers, device_id, end_links};
use crate::{Config, News, State, limit_of};

/// UUIDs of the service and of its one characteristic.
pub(crate) const SERVICE: Uuid = Uuid::from_u128(0xF47B_5E2D_4A9E_4C5A_9B3F_8E1D_2C3A_4B5C);
pub(crate) const CHARACTERISTIC: Uuid = Uuid::from_u128(0xA1B2_C3D4_E5F6_4A5B_8C9D_0E1F_2A3B_4C5D);

const PATIENCE: Duration = Duration::from_secs(8);
/// Silence after which a link is closed: every node announces itself several times in this span. The
/// program at the other end may have been killed while its system kept the connection.
const DEAF: Duration = Duration::from_secs(120);
/// Maximum time to end all links.
const ENDING: Duration = Duration::from_millis(1_500);
/// Interval between connection attempts; there is one attempt at a time.
const TICK: Duration = Duration::from_millis(500);
const LOOK_AT_POWER: Duration = Duration::from_secs(3);
/// Seconds for which a scan runs and pauses: with few links, with many, to save power.
const ALWAYS: (u64, u64) = (30, 0);
const SETTLED: (u64, u64) = (5, 10);
const SAVING: (u64, u64) = (4, 26);

/// Adapter with this name, or the first one, and its name.
pub(crate) async fn find(wanted: Option<&str>) -> Result<(Adapter, String), String> {
    let gone = |error: btleplug::Error| {
        tracing::debug!(%error, "no Bluetooth service");
        if error.to_string().contains("AccessDenied") {
            "this user may not use Bluetooth; add it to the group `bluetooth` and log in again".to_owned()
        } else if cfg!(target_os = "linux") {
            "the Bluetooth service does not answer; install BlueZ and start `bluetooth.service`".to_owned()
        } else {
            format!("Bluetooth does not answer: {error}")
        }
    };
    let manager = Manager::new().await.map_err(gone)?;
    let adapters = manager.adapters().await.map_err(gone)?;
    let mut names = Vec::new();
    for adapter in adapters {
        let info = adapter.adapter_info().await.unwrap_or_default();
        let name = adapter_name(&info);
        if wanted.is_none_or(|wanted| wanted == name) {
            let is_off = adapter.adapter_state().await.is_ok_and(|state| state == CentralState::PoweredOff);
            return if is_off { Err(OFF.to_owned()) } else { Ok((adapter, name)) };
        }
        names.push(name);
    }
    Err(match wanted {
        Some(wanted) if !names.is_empty() => {
            format!("there is no Bluetooth adapter {wanted}; there is {}", names.join(", "))
        }
        _ => "this device has no Bluetooth adapter that can be used".to_owned(),
    })
}

const OFF: &str = "Bluetooth is off; switch it on in the system's settings";

/// Uses an adapter in both roles until it is gone or off; returns the reason.
pub(crate) async fn both_roles(
    adapter: &Adapter,
    name: &str,
    config: &Config,
    news: &mpsc::Sender<News>,
) -> String {
    let writers = Writers::default();
    let (server, problem) = match Server::start(name, news.clone(), writers.clone()).await {
        Ok(server) => (Some(server), String::new()),
        Err(problem) => (None, problem),
    };
    let state = if problem.is_empty() { State::On } else { State::CentralOnly };
    if news.send(News::State { state, adapter: name.to_owned(), problem }).await.is_err() {
        return String::new();
    }
    let central = look_for_others(adapter, config, news, &writers);
    match server {
        Some(server) => tokio::select! {
            problem = central => problem,
            problem = server.serve() => problem,
        },
        None => central.await,
    }
}

fn writes_here(writers: &Writers<DeviceId>, peripheral: &Peripheral) -> bool {
    writers.lock().unwrap_or_else(PoisonError::into_inner).contains(&device_id(peripheral))
}

/// Result of the task of a link.
enum Ended {
    Failed(PeripheralId),
    Lost(PeripheralId),
}

async fn look_for_others(
    adapter: &Adapter,
    config: &Config,
    news: &mpsc::Sender<News>,
    writers: &Writers<DeviceId>,
) -> String {
    let lost = |error: btleplug::Error| {
        tracing::debug!(%error, "the adapter is gone");
        "the Bluetooth adapter is gone or was switched off".to_owned()
    };
    let mut events = match adapter.events().await {
        Ok(events) => events,
        Err(error) => return lost(error),
    };
    let (mut known, mut running) = (Candidates::new(), HashMap::new());
    let mut links: JoinSet<Ended> = JoinSet::new();
    let (up, mut came_up) = mpsc::channel::<PeripheralId>(8);
    let (mut tick, mut power) = (interval(TICK), interval(LOOK_AT_POWER));
    let mut scan = Scan::new();
    let mut trying: Option<PeripheralId> = None;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(CentralEvent::DeviceDisconnected(id)) => {
                    // The stream of notifications would never end by itself.
                    if let Some(task) = running.remove(&id) {
                        let task: tokio::task::AbortHandle = task;
                        task.abort();
                        trying = trying.filter(|other| *other != id);
                        known.lost(&id, Instant::now());
                    }
                }
                Some(CentralEvent::DeviceDiscovered(id) | CentralEvent::DeviceUpdated(id) | CentralEvent::RssiUpdate { id, .. }
                    | CentralEvent::ServicesAdvertisement { id, .. }) => {
                    // BlueZ also reports devices that do not match the filter.
                    if known.knows(&id) || advertises(adapter, &id).await {
                        known.heard(&id, Instant::now());
                    }
                }
                Some(_) => {}
                None => return "the Bluetooth service was stopped".to_owned(),
            },
            Some(id) = came_up.recv() => {
                trying = trying.filter(|other| *other != id);
                // The device may be gone already.
                if running.contains_key(&id) {
                    known.linked(&id);
                }
            }
            Some(ended) = links.join_next(), if !links.is_empty() => match ended {
                Ok(Ended::Failed(id)) => {
                    trying = trying.filter(|other| *other != id);
                    running.remove(&id);
                    known.failed(&id, Instant::now());
                }
                Ok(Ended::Lost(id)) => {
                    running.remove(&id);
                    known.lost(&id, Instant::now());
                }
                // The task was aborted when its device was disconnected.
                Err(_) => {}
            },
            _ = tick.tick() => {
                if news.is_closed() {
                    links.abort_all();
                    let called = running.into_keys().collect();
                    let calling = writers.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
                    end_all(adapter, called, calling).await;
                    return String::new();
                }
                let saves = config.saves_power.load(Ordering::Relaxed);
                let pace = if saves { SAVING } else if known.links() <= 2 { ALWAYS } else { SETTLED };
                if let Err(error) = scan.tick(adapter, pace).await {
                    return lost(error);
                }
                if trying.is_some() {
                    continue;
                }
                if let Some(id) = known.next(Instant::now()) {
                    let Ok(peripheral) = adapter.peripheral(&id).await else {
                        known.failed(&id, Instant::now());
                        continue;
                    };
                    trying = Some(id.clone());
                    let (up, news, writers) = (up.clone(), news.clone(), writers.clone());
                    running.insert(id.clone(), links.spawn(link(peripheral, id, up, news, writers)));
                }
            }
            _ = power.tick() => match adapter.adapter_state().await {
                Ok(CentralState::PoweredOff) => return OFF.to_owned(),
                Ok(_) => {}
                Err(error) => return lost(error),
            },
        }
    }
}

/// Ends the links of both roles; otherwise the system keeps them, and the other devices rely on them.
async fn end_all(adapter: &Adapter, called: Vec<PeripheralId>, calling: Vec<DeviceId>) {
    let name = adapter.adapter_info().await.map(|info| adapter_name(&info)).unwrap_or_default();
    let called = async {
        for id in called {
            if let Ok(peripheral) = adapter.peripheral(&id).await {
                // An error means that the device is gone already.
                let _ = peripheral.disconnect().await;
            }
        }
    };
    // Links that do not end in time are left to the system.
    let _ = timeout(ENDING, async { tokio::join!(called, end_links(&name, calling)) }).await;
}

/// Name of an adapter: `hci0` in `hci0 (usb:…)` or in a path that ends with it.
fn adapter_name(info: &str) -> String {
    info.split_whitespace().next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
}

async fn advertises(adapter: &Adapter, id: &PeripheralId) -> bool {
    let Ok(peripheral) = adapter.peripheral(id).await else { return false };
    peripheral
        .properties()
        .await
        .ok()
        .flatten()
        .is_some_and(|properties| properties.services.contains(&SERVICE))
}

/// Scan that alternates between running and pausing. It is restarted each time, because some systems report
/// a device only once per scan.
struct Scan {
    is_on: bool,
    since: Option<Instant>,
}

impl Scan {
    fn new() -> Self {
        Self { is_on: false, since: None }
    }

    async fn tick(&mut self, adapter: &Adapter, (on, off): (u64, u64)) -> btleplug::Result<()> {
        let span = Duration::from_secs(if self.is_on { on } else { off });
        if self.since.is_some_and(|since| since.elapsed() < span) {
            return Ok(());
        }
        self.since = Some(Instant::now());
        if self.is_on {
            // An error means that the scan has stopped already.
            let _ = adapter.stop_scan().await;
            self.is_on = false;
            if off > 0 {
                return Ok(());
            }
        }
        adapter.start_scan(ScanFilter { services: vec![SERVICE] }).await?;
        self.is_on = true;
        Ok(())
    }
}

async fn link(
    peripheral: Peripheral,
    id: PeripheralId,
    up: mpsc::Sender<PeripheralId>,
    news: mpsc::Sender<News>,
    writers: Writers<DeviceId>,
) -> Ended {
    // Two devices that hear each other for the first time would connect to each other at the same moment.
    tokio::time::sleep(Duration::from_millis(u64::from(jitter() % 1_500))).await;
    let ended = connect(&peripheral, &id, &up, &news).await;
    if !writes_here(&writers, &peripheral) {
        // A connection that was cut off half-way has to be ended too, or each later attempt fails as "in
        // progress".
        let _ = timeout(PATIENCE, peripheral.disconnect()).await;
    }
    match ended {
        Ok(()) => Ended::Lost(id),
        Err(error) => {
            tracing::debug!(%error, ?id, "no link");
            Ended::Failed(id)
        }
    }
}

fn jitter() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) as u32
}

async fn connect(
    peripheral: &Peripheral,
    id: &PeripheralId,
    up: &mpsc::Sender<PeripheralId>,
    news: &mpsc::Sender<News>,
) -> btleplug::Result<()> {
    let slow = |_| btleplug::Error::TimedOut(PATIENCE);
    // The other side may have connected already, or just now: one connection then carries both roles.
    if !peripheral.is_connected().await? {
        let called = timeout(PATIENCE, peripheral.connect()).await.map_err(slow).and_then(|called| called);
        if !peripheral.is_connected().await? {
            called?;
        }
    }
    timeout(PATIENCE, peripheral.discover_services()).await.map_err(slow)??;
    let characteristics = peripheral.characteristics();
    let found = characteristics.into_iter().find(|c| c.uuid == CHARACTERISTIC && c.service_uuid == SERVICE);
    let characteristic = found.ok_or(btleplug::Error::NoSuchCharacteristic)?;
    // Before the subscription, because the other side begins to send at once.
    let mut notifications = peripheral.notifications().await?;
    timeout(PATIENCE, peripheral.subscribe(&characteristic)).await.map_err(slow)??;
    let (packets, PacketEnd { mut out, inbound }) = packet_link(limit_of(peripheral.mtu()), true, true);
    tracing::debug!(?id, limit = packets.limit, "linked");
    if news.send(News::Link(packets)).await.is_err() || up.send(id.clone()).await.is_err() {
        return Ok(());
    }
    let hear = async {
        while let Ok(Some(heard)) = timeout(DEAF, notifications.next()).await {
            if heard.uuid == CHARACTERISTIC && inbound.send(heard.value).await.is_err() {
                return;
            }
        }
    };
    let say = async {
        while let Some(packet) = out.recv().await {
            // Each write is acknowledged before the next: packets are neither lost nor reordered.
            match timeout(PATIENCE, peripheral.write(&characteristic, &packet, WriteType::WithResponse)).await
            {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, length = packet.len(), "a packet was not taken");
                    return;
                }
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = hear => {}
        () = say => {}
    }
    Ok(())
}
