use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog_api::{ApiError, Command, Event, PROTOCOL_VERSION, Reply, Request, ServerMessage};
use fog_types::{ErrorKind, HasKind};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::frame;
use crate::listener::{Endpoint, connect, is_of_another_user};
use crate::token::{self, Side, Token};

const EVENT_QUEUE: usize = 256;
/// Longest time that an engine may take to answer a greeting. A busy machine may need seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which a client keeps trying to reach an engine whose socket is full.
const CROWDED_PATIENCE: Duration = Duration::from_secs(8);
/// Time for which a client keeps trying an engine that ends connections after the client's proof.
const UNPROVEN_PATIENCE: Duration = Duration::from_secs(1);
/// Wait between two connection attempts.
const CROWDED_WAIT: Duration = Duration::from_millis(10);

/// A connection to an engine. Clones share it; it ends with the last clone and the last [`Events`] of it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Requests as encoded frames.
    requests: mpsc::Sender<Vec<u8>>,
    waiting: Waiting,
    next_id: Arc<AtomicU64>,
    /// The reader task holds the strong sender, so that events end with the connection.
    events: broadcast::WeakSender<Event>,
    /// Release of the engine.
    pub version: String,
}

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Reply, ApiError>>>>>>;

/// Events of a connection. The connection stays open at least as long as they do.
#[derive(Debug)]
pub struct Events {
    events: Option<broadcast::Receiver<Event>>,
    _connection: mpsc::Sender<Vec<u8>>,
}

/// Reason why there is no connection, or why it broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No engine answers at the endpoint.
    #[error("no Fog Compute engine is running here; start the app, or run `fog daemon`")]
    NotRunning(#[source] io::Error),
    /// The engine or its data folder belongs to another user.
    #[error("the engine of {} belongs to another user, and you may not use it; run this as that user, or give a data folder of your own with --data-dir", folder.display())]
    Forbidden {
        /// Data folder of that engine.
        folder: PathBuf,
    },
    /// The engine speaks another protocol version.
    #[error(
        "the running engine is release {version} and speaks protocol {protocol}, this program {PROTOCOL_VERSION}; restart the older one"
    )]
    Incompatible {
        /// Protocol version of the engine.
        protocol: u32,
        /// Release of the engine.
        version: String,
    },
    /// The token of the data folder cannot be read.
    #[error("this engine answers only who can read {path}: {source}")]
    NoToken {
        /// Path of the token file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// An engine accepted the connection and did not answer in time.
    #[error(
        "the engine is there and does not answer; the machine may be very busy, so try again, or restart the engine"
    )]
    Silent,
    /// An engine is there, and other programs of this user take its socket faster than it can answer.
    #[error(
        "the engine is running and too many programs of yours connect to it at once; end them, or try again"
    )]
    Crowded,
    /// The other end does not speak this protocol, or does not know the token.
    #[error("what answers there is not the Fog Compute engine of this data folder")]
    Stranger,
}

/// Reason why one connection attempt failed.
enum Refused {
    /// The engine had no place for the connection.
    Full,
    /// The engine ended the connection after the proof: it rejects the token, or needed the place.
    Unproven,
    /// A failure that another attempt would meet again.
    For(ClientError),
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::For(error)
    }
}

impl HasKind for ClientError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRunning(_) | Self::Silent => ErrorKind::NotRunning,
            Self::NoToken { .. } | Self::Forbidden { .. } => ErrorKind::Storage,
            Self::Crowded => ErrorKind::LimitReached,
            Self::Incompatible { .. } | Self::Stranger => ErrorKind::Incompatible,
        }
    }
}

impl Client {
    /// Connects and checks that both sides speak the same version. Keeps trying for eight seconds while the
    /// engine's socket is full.
    ///
    /// # Errors
    /// [`ClientError`] says why there is no connection.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let begun = Instant::now();
        let mut is_crowded = false;
        loop {
            let refused = match Self::connect_once(endpoint).await {
                Ok(client) => return Ok(client),
                Err(refused) => refused,
            };
            is_crowded |= matches!(refused, Refused::Full);
            let patience = match refused {
                Refused::For(error) => return Err(error),
                Refused::Unproven if !is_crowded => UNPROVEN_PATIENCE,
                Refused::Full | Refused::Unproven => CROWDED_PATIENCE,
            };
            if begun.elapsed() >= patience {
                return Err(if is_crowded { ClientError::Crowded } else { ClientError::Stranger });
            }
            tokio::time::sleep(CROWDED_WAIT).await;
        }
    }

    async fn connect_once(endpoint: &Endpoint) -> Result<Self, Refused> {
        let forbidden = || ClientError::Forbidden {
            folder: endpoint.token.parent().unwrap_or(&endpoint.token).to_owned(),
        };
        let stream = connect(&endpoint.address).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Refused::For(forbidden()),
            // The accept queue is full, so an engine is listening.
            io::ErrorKind::WouldBlock => Refused::Full,
            _ => Refused::For(ClientError::NotRunning(error)),
        })?;
        let (mut from, mut to) = tokio::io::split(stream);
        let hello = tokio::time::timeout(ANSWER_TIMEOUT, frame::read(&mut from)).await;
        let (version, drawn) = match hello {
            Ok(Ok(Some(ServerMessage::Hello { protocol: PROTOCOL_VERSION, version, nonce }))) => {
                (version, nonce)
            }
            Ok(Ok(Some(ServerMessage::Hello { protocol, version, .. }))) => {
                return Err(ClientError::Incompatible { protocol, version }.into());
            }
            Err(_) => return Err(ClientError::Silent.into()),
            // An engine closes connections of other users without a message.
            _ if is_of_another_user(&endpoint.address) => return Err(forbidden().into()),
            // The engine gave the place to another connection before it could greet.
            Ok(Ok(None) | Err(frame::FrameError::Io(_))) => return Err(Refused::Full),
            _ => return Err(ClientError::Stranger.into()),
        };
        let token = Token::read(&endpoint.token).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => forbidden(),
            _ => ClientError::NoToken { path: endpoint.token.clone(), source },
        })?;
        let nonce = token::nonce();
        let prove = Request::Prove { proof: token.proof(Side::Client, &drawn), nonce: nonce.clone() };
        frame::write(&mut to, &prove).await.map_err(|_| Refused::Unproven)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, frame::read(&mut from)).await {
            Ok(Ok(Some(ServerMessage::Welcome { proof }))) if token.accepts(Side::Server, &nonce, &proof) => {
            }
            Err(_) => return Err(ClientError::Silent.into()),
            Ok(Ok(None) | Err(frame::FrameError::Io(_))) => return Err(Refused::Unproven),
            _ => return Err(ClientError::Stranger.into()),
        }
        let (requests, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (events, _) = broadcast::channel::<Event>(EVENT_QUEUE);
        let (answered, announced) = (Arc::clone(&waiting), events);
        let events = announced.downgrade();
        let reader = tokio::spawn(async move {
            while let Ok(Some(message)) = frame::read::<ServerMessage>(&mut from).await {
                match message {
                    ServerMessage::Response(response) => {
                        let waiter = answered
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .as_mut()
                            .and_then(|map| map.remove(&response.id));
                        if let Some(waiter) = waiter {
                            let _ = waiter.send(response.result);
                        }
                    }
                    ServerMessage::Event(event) => {
                        let _ = announced.send(*event);
                    }
                    ServerMessage::Hello { .. } | ServerMessage::Welcome { .. } => {}
                }
            }
            // Dropping the senders tells every caller that no answer will come.
            answered.lock().unwrap_or_else(PoisonError::into_inner).take();
        });
        tokio::spawn(async move {
            while let Some(frame) = outgoing.recv().await {
                if frame::write_frame(&mut to, &frame).await.is_err() {
                    return;
                }
            }
            // All clients and event streams are dropped. The last requests are sent; the reader holds the
            // other half.
            reader.abort();
        });
        Ok(Self { requests, waiting, next_id: Arc::new(AtomicU64::new(1)), events, version })
    }

    /// Sends a command and waits for its answer. Dropping the future does not undo the command.
    ///
    /// # Errors
    /// The engine's error, or [`ErrorKind::NotRunning`] when the connection broke.
    pub async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        let gone = || {
            ApiError::new(
                ErrorKind::NotRunning,
                "the connection to the engine ended before it answered; what it had accepted is kept",
            )
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Encoding comes first: after a failure here no entry is left waiting for an answer.
        let frame = frame::encode(&Request::Call { id, command })
            .map_err(|error| ApiError::new(ErrorKind::LimitReached, error))?;
        let (answer, answered) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(gone()),
        };
        self.requests.send(frame).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Subscribes to events and returns those from now on.
    pub async fn subscribe(&self) -> Events {
        let events = Events {
            events: self.events.upgrade().map(|events| events.subscribe()),
            _connection: self.requests.clone(),
        };
        // On a broken connection the returned events end at once.
        if let Ok(frame) = frame::encode(&Request::Subscribe) {
            let _ = self.requests.send(frame).await;
        }
        events
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Events {
    /// Returns the next event. `Err(())` means that some were missed: ask for a snapshot. `Ok(None)` is the
    /// end.
    ///
    /// # Errors
    /// Fails when this listener was too slow.
    pub async fn next(&mut self) -> Result<Option<Event>, ()> {
        let Some(events) = &mut self.events else { return Ok(None) };
        match events.recv().await {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::RecvError::Closed) => Ok(None),
            Err(broadcast::error::RecvError::Lagged(_)) => Err(()),
        }
    }
}
