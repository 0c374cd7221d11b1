use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fog_api::{ApiError, Command, Event, PROTOCOL_VERSION, Reply, Request, Response, ServerMessage};
use fog_types::ErrorKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::frame;
use crate::listener::{Endpoint, Listener, Stream};
use crate::token::{self, Side, Token};

/// Front ends that are served at once; further ones are refused.
const MAX_CONNECTIONS: usize = 512;
/// Connections that may subscribe to events. The rest are kept for commands, such as the one that switches
/// off.
const MAX_LISTENERS: usize = 256;
/// Connections that have not proven yet that they know the token. The process with most of them loses its
/// oldest to make room for a new one: an ordinary client proves itself within milliseconds, and is not
/// affected by the connections of another program.
const MAX_GREETING: usize = 64;
/// Front ends beyond [`MAX_CONNECTIONS`] that are told so at once. Further ones are closed without a
/// message.
const MAX_REFUSED: usize = 32;
/// Time in which a refused front end may send the command that is then answered with the refusal.
const REFUSED_TIME: Duration = Duration::from_secs(2);
/// Wait after a failed accept, for example when the process has no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Commands of one connection that run at once.
const MAX_CALLS: usize = 16;
/// Longest time a connection may take to prove that it knows the token.
const GREETING: Duration = Duration::from_secs(30);

/// The engine behind the socket.
pub trait Service: Send + Sync + 'static {
    /// Carries out a command.
    fn call(&self, command: Command) -> impl Future<Output = Result<Reply, ApiError>> + Send;
    /// Returns a stream of all events from now on.
    fn events(&self) -> impl EventStream;
}

/// A stream of events that never blocks its source.
pub trait EventStream: Send + 'static {
    /// Returns the next event; `None` when the stream has ended.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// Serves until `stop` is ready.
///
/// # Errors
/// Fails when the endpoint cannot be taken, for example because another engine answers there.
pub async fn serve<S: Service>(
    endpoint: &Endpoint,
    service: Arc<S>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut listener = Listener::bind(&endpoint.address).await?;
    // The token is written before any greeting is answered; connections made meanwhile wait.
    let token = Arc::new(Token::create(&endpoint.token)?);
    let places = Places {
        all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
        refused: Arc::new(Semaphore::new(MAX_REFUSED)),
    };
    let mut connections = JoinSet::new();
    let mut greeting = Greeting::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, process) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a front end could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let is_known = Arc::new(AtomicBool::new(false));
        let (service, token) = (Arc::clone(&service), Arc::clone(&token));
        let (places, known) = (places.clone(), Arc::clone(&is_known));
        let handle = connections.spawn(async move {
            if let Err(error) = converse(stream, service, &token, &known, places).await {
                tracing::debug!(%error, "a front end's connection ended");
            }
        });
        greeting.add(handle, is_known, process);
    }
}

/// Places for connections, by use.
#[derive(Clone)]
struct Places {
    all: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    refused: Arc<Semaphore>,
}

/// A connection that has not yet proven that it knows the token.
struct Unknown {
    handle: AbortHandle,
    is_known: Arc<AtomicBool>,
    /// Id of the process that connected. All connections without a known process count as one process.
    process: Option<i32>,
}

/// All connections that have not proven themselves yet, oldest first.
#[derive(Default)]
struct Greeting(VecDeque<Unknown>);

impl Greeting {
    fn add(&mut self, handle: AbortHandle, is_known: Arc<AtomicBool>, process: Option<i32>) {
        self.0.retain(|unknown| !unknown.handle.is_finished() && !unknown.is_known.load(Ordering::Relaxed));
        if self.0.len() >= MAX_GREETING
            && let Some(oldest) = self.oldest_of_the_most().and_then(|at| self.0.remove(at))
        {
            oldest.handle.abort();
        }
        self.0.push_back(Unknown { handle, is_known, process });
    }

    fn oldest_of_the_most(&self) -> Option<usize> {
        let mut counts: BTreeMap<Option<i32>, usize> = BTreeMap::new();
        for unknown in &self.0 {
            *counts.entry(unknown.process).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.0.iter().position(|unknown| counts.get(&unknown.process) == Some(most))
    }
}

/// Lets both sides prove that they know the token. Returns false when the client does not.
async fn greet(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    token: &Token,
) -> Result<bool, frame::FrameError> {
    let nonce = token::nonce();
    let hello = ServerMessage::Hello {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: nonce.clone(),
    };
    frame::write(to, &hello).await?;
    match tokio::time::timeout(GREETING, frame::read_short::<Request>(from)).await {
        Ok(request) => match request? {
            Some(Request::Prove { proof, nonce: theirs }) if token.accepts(Side::Client, &nonce, &proof) => {
                frame::write(to, &ServerMessage::Welcome { proof: token.proof(Side::Server, &theirs) })
                    .await?;
                Ok(true)
            }
            _ => Ok(false),
        },
        Err(_) => Ok(false),
    }
}

/// Answers the first command of a front end for which there is no place.
async fn refuse(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), frame::FrameError> {
    let Ok(asked) = tokio::time::timeout(REFUSED_TIME, frame::read_short::<Request>(from)).await else {
        return Ok(());
    };
    let Some(Request::Call { id, .. }) = asked? else { return Ok(()) };
    let message = format!(
        "{MAX_CONNECTIONS} programs are connected to the engine already; end some of them, and try again"
    );
    let result = Err(ApiError::new(ErrorKind::LimitReached, message));
    frame::write(to, &ServerMessage::Response(Box::new(Response { id, result }))).await
}

async fn converse<S: Service>(
    stream: Stream,
    service: Arc<S>,
    token: &Token,
    is_known: &AtomicBool,
    places: Places,
) -> Result<(), frame::FrameError> {
    let (mut from, mut to) = tokio::io::split(stream);
    if !greet(&mut from, &mut to, token).await? {
        tracing::debug!("a front end that does not know the token was refused");
        return Ok(());
    }
    is_known.store(true, Ordering::Relaxed);
    let Ok(_place) = places.all.try_acquire() else {
        tracing::debug!("a front end was hung up on: {MAX_CONNECTIONS} are connected");
        return match places.refused.try_acquire() {
            Ok(_place) => refuse(&mut from, &mut to).await,
            Err(_) => Ok(()),
        };
    };
    let (answers, mut outgoing) = mpsc::channel::<ServerMessage>(MAX_CALLS * 4);
    let mut writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if let Some(frame) = fitting(message)? {
                frame::write_frame(&mut to, &frame).await?;
            }
        }
        Ok::<(), frame::FrameError>(())
    });
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    // Dropping this set with the connection ends every task of the connection.
    let mut tasks = JoinSet::new();
    // A task of its own reads requests, because reading half a frame must not be cancelled.
    let (requests_in, mut requests) = mpsc::channel::<Request>(1);
    tasks.spawn(async move {
        loop {
            match frame::read::<Request>(&mut from).await {
                Ok(Some(request)) => {
                    if requests_in.send(request).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "a front end's connection ended");
                    return;
                }
            }
        }
    });
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            // No answer can be sent any more, so the connection ends and waiting callers see that.
            _ = &mut writer => break,
        };
        let Some(request) = request else { break };
        match request {
            Request::Call { id, command } => {
                let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { break };
                let (service, answers) = (Arc::clone(&service), answers.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    let call: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(service.call(command));
                    let response = Response { id, result: call.await };
                    // A closed queue means that the front end is gone; the command was carried out.
                    let _ = answers.send(ServerMessage::Response(Box::new(response))).await;
                });
            }
            // A connection proves itself once only.
            Request::Prove { .. } => break,
            Request::Subscribe => {
                let Ok(place) = Arc::clone(&places.listeners).try_acquire_owned() else {
                    tracing::debug!("a front end was hung up on: {MAX_LISTENERS} listen to events");
                    break;
                };
                let (mut events, answers) = (service.events(), answers.clone());
                tasks.spawn(async move {
                    let _place = place;
                    while let Some(event) = events.next().await {
                        if answers.send(ServerMessage::Event(Box::new(event))).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
    Ok(())
}

/// Encodes a message. An answer that is too long becomes an error, since a front end would wait for ever
/// otherwise; an event that is too long is left out.
fn fitting(message: ServerMessage) -> Result<Option<Vec<u8>>, frame::FrameError> {
    let length = match frame::encode(&message) {
        Err(frame::FrameError::TooLong { length, .. }) => length,
        other => return other.map(Some),
    };
    match message {
        ServerMessage::Response(response) => {
            tracing::warn!(length, "an answer was too long to be sent");
            let message =
                "the answer is too long to be sent at once; ask for less, or save the results to a folder";
            let result = Err(ApiError::new(ErrorKind::LimitReached, message));
            frame::encode(&ServerMessage::Response(Box::new(Response { id: response.id, result }))).map(Some)
        }
        ServerMessage::Hello { .. } | ServerMessage::Welcome { .. } | ServerMessage::Event(_) => {
            tracing::warn!(length, "an event was too long to be sent");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_becomes_an_error() {
        let answer = |bytes: usize| {
            let text = "x".repeat(bytes);
            let message =
                ServerMessage::Response(Box::new(Response { id: 7, result: Ok(Reply::Text(text)) }));
            let frame = fitting(message).unwrap().unwrap();
            let (read, _) = frame::decode::<ServerMessage>(&frame).unwrap().unwrap();
            match read {
                ServerMessage::Response(response) => (response.id, response.result),
                other => panic!("{other:?}"),
            }
        };
        assert!(answer(1 << 20).1.is_ok());
        let (id, result) = answer(frame::MAX_FRAME_BYTES);
        assert_eq!((id, result.unwrap_err().kind), (7, ErrorKind::LimitReached));
    }
}
