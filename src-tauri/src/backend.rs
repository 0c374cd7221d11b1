//! The engine behind the window: that of a daemon if one runs, otherwise an own one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fog_api::{ApiError, Command, Event, Reply};
use fog_engine::{ChatSettings, DeviceReadings, EngineConfig, EngineHandle, EventSubscription, PhoneRadio};
use fog_ipc::{Client, Events};
use fog_runtime::WorkerProgram;
use fog_types::ErrorKind;
use tokio::sync::RwLock;

/// Device interfaces that only the app can reach.
#[derive(Clone, Default)]
pub(crate) struct Shell {
    /// Readings of the device's own sensors.
    pub(crate) device: Option<DeviceReadings>,
    /// Radio of a phone.
    pub(crate) radio: Option<Arc<dyn PhoneRadio>>,
}

pub(crate) struct Backend {
    data_folder: PathBuf,
    shell: Shell,
    link: RwLock<Link>,
}

#[derive(Clone)]
enum Link {
    Hosted(EngineHandle),
    Attached(Client),
    /// No engine could be started or reached; each call tries again and reports why.
    Missing,
}

/// Event stream of a hosted or attached engine.
pub(crate) enum Subscription {
    Hosted(EngineHandle, EventSubscription),
    Attached(Events),
    Missing,
}

/// Pause before the next attempt after no engine could be reached.
const MISSING_PAUSE: Duration = Duration::from_secs(10);

impl Backend {
    /// Opens the backend. Without an engine, as when the database is damaged, the window shows the reason
    /// and a remedy.
    pub(crate) async fn open(data_folder: PathBuf, shell: Shell) -> Self {
        let link = link(&data_folder, shell.clone()).await.unwrap_or_else(|error| {
            tracing::error!(error = %format!("{error:#}"), "no engine can be started");
            Link::Missing
        });
        Self { data_folder, shell, link: RwLock::new(link) }
    }

    /// Runs a command. When the daemon has gone, it is repeated once on an own engine.
    pub(crate) async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        let link = self.link.read().await.clone();
        match link.call(command.clone()).await {
            Err(error) if error.kind == ErrorKind::NotRunning => {
                self.reopen().await.map_err(|e| ApiError::new(ErrorKind::NotRunning, format!("{e:#}")))?;
                self.link.read().await.clone().call(command).await
            }
            other => other,
        }
    }

    pub(crate) async fn subscribe(&self) -> Subscription {
        match &*self.link.read().await {
            Link::Hosted(engine) => Subscription::Hosted(engine.clone(), engine.subscribe()),
            Link::Attached(client) => Subscription::Attached(client.subscribe().await),
            Link::Missing => Subscription::Missing,
        }
    }

    pub(crate) async fn reopen(&self) -> anyhow::Result<()> {
        let mut held = self.link.write().await;
        // Two callers may both find the old engine gone; the second must keep the link that the first made.
        let is_alive = match &*held {
            Link::Attached(client) => !client.is_closed(),
            Link::Hosted(engine) => !engine.has_stopped(),
            Link::Missing => false,
        };
        if is_alive {
            return Ok(());
        }
        // An engine whose data folder went away is not restarted silently.
        if let Link::Hosted(engine) = &*held
            && let Some(why) = engine.why_stopped()
        {
            return Err(why.into());
        }
        if matches!(&*held, Link::Attached(_)) && !self.data_folder.is_dir() {
            anyhow::bail!(
                "the data folder {} is gone; put it back, and start the app again",
                self.data_folder.display()
            );
        }
        *held = link(&self.data_folder, self.shell.clone()).await?;
        Ok(())
    }

    /// Stops an own engine; a daemon keeps running.
    pub(crate) async fn close(&self) {
        if let Link::Hosted(engine) = &*self.link.read().await {
            // An engine that is gone has stopped already.
            let _ = engine.call(Command::Shutdown).await;
            engine.stopped().await;
        }
    }

    pub(crate) async fn is_attached(&self) -> bool {
        matches!(&*self.link.read().await, Link::Attached(_))
    }
}

async fn link(data_folder: &std::path::Path, shell: Shell) -> anyhow::Result<Link> {
    match Client::connect(&fog_ipc::endpoint(data_folder)).await {
        Ok(client) => return Ok(Link::Attached(client)),
        Err(fog_ipc::ClientError::NotRunning(_)) => {}
        Err(other) => return Err(other.into()),
    }
    // A phone cannot start a second program; its tasks run in threads.
    let worker = if cfg!(mobile) { WorkerProgram::Thread } else { WorkerProgram::this()? };
    let config = EngineConfig {
        data_folder: data_folder.to_owned(),
        worker,
        examples: fog_engine::examples_folder(),
        device: shell.device,
        network: fog_engine::NetSettings::default(),
        chat: ChatSettings { phone: shell.radio, ..ChatSettings::default() },
    };
    let engine = fog_engine::start(config)?;
    let (served, folder) = (engine.clone(), data_folder.to_owned());
    // The socket lets `fog` work beside the window; without it only the window works.
    tokio::spawn(async move {
        if let Err(error) = fog_engine::serve(served, &folder).await {
            tracing::warn!(%error, "the fog command cannot reach this app");
        }
    });
    Ok(Link::Hosted(engine))
}

impl Link {
    async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        match self {
            Self::Hosted(engine) => engine.call(command).await,
            Self::Attached(client) => client.call(command).await,
            Self::Missing => Err(ApiError::new(ErrorKind::NotRunning, "no engine is running")),
        }
    }
}

impl Subscription {
    /// Returns the next event; `None` when the engine is gone.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Hosted(engine, events) => tokio::select! {
                event = events.next() => event,
                () = engine.stopped() => None,
            },
            Self::Attached(events) => match events.next().await {
                Ok(event) => event,
                Err(()) => Some(missed()),
            },
            Self::Missing => {
                tokio::time::sleep(MISSING_PAUSE).await;
                None
            }
        }
    }
}

/// Returns the event that makes the window read everything again.
pub(crate) fn missed() -> Event {
    Event { revision: 0, body: fog_api::EventBody::Missed }
}
