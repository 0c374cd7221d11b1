use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use fog_api::{ApiError, Command, Event, EventBody, Reply};
use fog_probes::DeviceReadings;
use fog_runtime::WorkerProgram;
use fog_store::Store;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::chat::ChatSettings;
use crate::clock::Clock;
use crate::event_loop::Engine;
use crate::message::EngineMessage;
use crate::network::runtime::NetSettings;
use crate::tasks::errors::TaskError;

/// Commands that may wait for the loop; further ones wait at their sender.
const COMMAND_QUEUE: usize = 64;
/// Events by which a slow listener may lag before it loses some and is told so.
const EVENT_QUEUE: usize = 256;

/// Configuration of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Data folder; created if missing, and used by one engine at a time.
    pub data_folder: PathBuf,
    /// Program that runs as worker.
    pub worker: WorkerProgram,
    /// Folder of the example jobs.
    pub examples: Option<PathBuf>,
    /// Readings that only the shell around the engine has, such as a phone's battery.
    pub device: Option<DeviceReadings>,
    /// Use of networks, in addition to the settings.
    pub network: NetSettings,
    /// Use of Bluetooth, in addition to the settings.
    pub chat: ChatSettings,
}

/// Handle of a running engine. Clones share the engine, which stops on [`Command::Shutdown`].
#[derive(Debug, Clone)]
pub struct EngineHandle {
    messages: mpsc::Sender<EngineMessage>,
    events: broadcast::Sender<Event>,
    stopped: watch::Receiver<bool>,
    gone: watch::Receiver<Option<ApiError>>,
}

/// Stream of an engine's events.
#[derive(Debug)]
pub struct EventSubscription(broadcast::Receiver<Event>);

/// Opens the data folder and starts the engine on its own thread.
///
/// # Errors
/// Fails when the folder is in use, was written by a newer release, or cannot be used.
pub fn start(config: EngineConfig) -> anyhow::Result<EngineHandle> {
    let store = Store::open(&config.data_folder)?;
    let (messages, inbox) = mpsc::channel(COMMAND_QUEUE);
    let (events, _) = broadcast::channel(EVENT_QUEUE);
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("the engine's loop cannot start")?;
    let engine = Engine::new(config, store, Clock::new(), messages.clone(), events.clone())?;
    let gone = engine.why_gone();
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            runtime.block_on(engine.run(inbox));
            let _ = stop.send(true);
        })
        .context("the engine's thread cannot start")?;
    Ok(EngineHandle { messages, events, stopped, gone })
}

impl EngineHandle {
    /// Carries out a command. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`ApiError`] says what happened and what to do.
    pub async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.messages
            .send(EngineMessage::Call(Box::new(command), answer))
            .await
            .map_err(|_| TaskError::EngineStopped)?;
        answered.await.map_err(|_| TaskError::EngineStopped)?
    }

    /// Subscribes to all events from now on.
    #[must_use]
    pub fn subscribe(&self) -> EventSubscription {
        EventSubscription(self.events.subscribe())
    }

    /// Whether the engine has stopped.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    /// Reason why the engine stopped or is about to stop by itself, because its data folder is gone. `None`
    /// otherwise.
    #[must_use]
    pub fn why_stopped(&self) -> Option<ApiError> {
        self.gone.borrow().clone()
    }

    /// Waits until the engine has stopped.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // An error means that the loop is gone, so the engine has stopped.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl EventSubscription {
    /// Returns the next event; [`EventBody::Missed`] after some were dropped; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                Some(Event { revision: 0, body: EventBody::Missed })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl fog_ipc::Service for EngineHandle {
    async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        Self::call(self, command).await
    }

    fn events(&self) -> impl fog_ipc::EventStream {
        self.subscribe()
    }
}

impl fog_ipc::EventStream for EventSubscription {
    async fn next(&mut self) -> Option<Event> {
        Self::next(self).await
    }
}

/// Serves an engine to other processes of this user until it stops.
///
/// # Errors
/// Fails when the endpoint cannot be taken.
pub async fn serve(handle: EngineHandle, data_folder: &std::path::Path) -> std::io::Result<()> {
    let stopping = handle.clone();
    fog_ipc::serve(&fog_ipc::endpoint(data_folder), Arc::new(handle), async move { stopping.stopped().await })
        .await
}
