use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fog_api::{ApiError, Command, Event, PROTOCOL_VERSION, Reply, Request, Response, ServerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::frame;
use crate::listener::{Endpoint, Listener, Stream};
use crate::token::{self, Side, Token};

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// Commands of one connection under way at once.
const MAX_CALLS: usize = 16;
/// Longest a connection may take to say who it is.
const GREETING: Duration = Duration::from_secs(30);

/// What stands behind the socket.
pub trait Service: Send + Sync + 'static {
    /// Carries out a command.
    fn call(&self, command: Command) -> impl Future<Output = Result<Reply, ApiError>> + Send;
    /// Everything that happens from now on.
    fn events(&self) -> impl EventStream;
}

/// A stream of events that never blocks its source.
pub trait EventStream: Send + 'static {
    /// The next event; `None` when there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// Serves until `stop` is done.
///
/// # Errors
/// When the endpoint cannot be taken, for example because another engine answers there.
pub async fn serve<S: Service>(endpoint: &Endpoint, service: Arc<S>, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut listener = Listener::bind(&endpoint.address).await?;
    // Written before anybody is answered: who connects meanwhile waits.
    let token = Arc::new(Token::create(&endpoint.token)?);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return Ok(()) };
        tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => {
                let stream = accepted?;
                let (service, token) = (Arc::clone(&service), Arc::clone(&token));
                connections.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(stream, service, &token).await {
                        tracing::debug!(%error, "a front end's connection ended");
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

/// Both sides prove that they know the token; false when the client does not.
async fn greet(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), token: &Token) -> Result<bool, frame::FrameError> {
    let nonce = token::nonce();
    let hello = ServerMessage::Hello { protocol: PROTOCOL_VERSION, version: env!("CARGO_PKG_VERSION").to_owned(), nonce: nonce.clone() };
    frame::write(to, &hello).await?;
    match tokio::time::timeout(GREETING, frame::read::<Request>(from)).await {
        Ok(request) => match request? {
            Some(Request::Prove { proof, nonce: theirs }) if token.accepts(Side::Client, &nonce, &proof) => {
                frame::write(to, &ServerMessage::Welcome { proof: token.proof(Side::Server, &theirs) }).await?;
                Ok(true)
            }
            _ => Ok(false),
        },
        Err(_) => Ok(false),
    }
}

async fn converse<S: Service>(stream: Stream, service: Arc<S>, token: &Token) -> Result<(), frame::FrameError> {
    let (mut from, mut to) = tokio::io::split(stream);
    if !greet(&mut from, &mut to, token).await? {
        tracing::warn!("a front end that does not know the token was refused");
        return Ok(());
    }
    let (answers, mut outgoing) = mpsc::channel::<ServerMessage>(MAX_CALLS * 4);
    let writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            frame::write(&mut to, &message).await?;
        }
        Ok::<(), frame::FrameError>(())
    });
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    // Dropped with the connection, which ends every task of it.
    let mut tasks = JoinSet::new();
    while let Some(request) = frame::read::<Request>(&mut from).await? {
        match request {
            Request::Call { id, command } => {
                let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { break };
                let (service, answers) = (Arc::clone(&service), answers.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    let call: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(service.call(command));
                    let response = Response { id, result: call.await };
                    // A closed queue means the front end is gone; the command was carried out.
                    let _ = answers.send(ServerMessage::Response(Box::new(response))).await;
                });
            }
            // Once is enough.
            Request::Prove { .. } => break,
            Request::Subscribe => {
                let (mut events, answers) = (service.events(), answers.clone());
                tasks.spawn(async move {
                    while let Some(event) = events.next().await {
                        if answers.send(ServerMessage::Event(Box::new(event))).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        if writer.is_finished() {
            break;
        }
    }
    Ok(())
}
