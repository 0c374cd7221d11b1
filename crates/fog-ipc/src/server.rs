use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use fog_api::{ApiError, Command, Event, PROTOCOL_VERSION, Reply, Request, Response, ServerMessage};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::frame;
use crate::listener::{Listener, Stream};

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// Commands of one connection under way at once.
const MAX_CALLS: usize = 16;

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
pub async fn serve<S: Service>(endpoint: &Path, service: Arc<S>, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut listener = Listener::bind(endpoint).await?;
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return Ok(()) };
        tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => {
                let stream = accepted?;
                let service = Arc::clone(&service);
                connections.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(stream, service).await {
                        tracing::debug!(%error, "a front end's connection ended");
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

async fn converse<S: Service>(stream: Stream, service: Arc<S>) -> Result<(), frame::FrameError> {
    let (mut from, mut to) = tokio::io::split(stream);
    let hello = ServerMessage::Hello { protocol: PROTOCOL_VERSION, version: env!("CARGO_PKG_VERSION").to_owned() };
    frame::write(&mut to, &hello).await?;
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
