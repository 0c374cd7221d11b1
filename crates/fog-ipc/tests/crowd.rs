//! Whoever fills the socket, with the token or without, keeps nobody from giving a command.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fog_api::{ApiError, Command, Event, Reply};
use fog_ipc::{Client, EventStream, Service};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// Longer than any of this takes, and shorter than a connection may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every command; nothing ever happens.
struct Quiet;

struct Nothing;

impl Service for Quiet {
    fn call(&self, _command: Command) -> impl Future<Output = Result<Reply, ApiError>> + Send {
        std::future::ready(Ok(Reply::Done))
    }

    fn events(&self) -> impl EventStream {
        Nothing
    }
}

impl EventStream for Nothing {
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send {
        std::future::pending()
    }
}

fn served(folder: &Path) -> tokio::task::JoinHandle<std::io::Result<()>> {
    let endpoint = fog_ipc::endpoint(folder);
    tokio::spawn(async move { fog_ipc::serve(&endpoint, Arc::new(Quiet), std::future::pending()).await })
}

async fn connected(folder: &Path) -> Client {
    let endpoint = fog_ipc::endpoint(folder);
    for _ in 0..200 {
        if let Ok(client) = Client::connect(&endpoint).await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody answers");
}

async fn is_obeyed(folder: &Path) {
    let asked = async {
        let client = Client::connect(&fog_ipc::endpoint(folder)).await.unwrap();
        client.call(Command::SetContributing { on: false }).await.unwrap()
    };
    assert!(matches!(tokio::time::timeout(PATIENCE, asked).await.expect("a command waits for others"), Reply::Done));
}

#[tokio::test]
async fn silent_connections_keep_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let _server = served(folder.path());
    drop(connected(folder.path()).await);
    let address = fog_ipc::endpoint(folder.path()).address;
    let mut silent = Vec::new();
    for n in 0..300_u32 {
        let mut stream = UnixStream::connect(&address).await.unwrap();
        // Every other one begins a frame that it does not end, and claims a long one.
        if n % 2 == 0 {
            let _ = stream.write_all(&[0, 0, 0, 1, b'{']).await;
        }
        silent.push(stream);
        if n % 100 == 99 {
            is_obeyed(folder.path()).await;
        }
    }
    assert_eq!(silent.len(), 300);
}

#[tokio::test]
async fn many_that_listen_leave_places_for_commands() {
    let folder = tempfile::tempdir().unwrap();
    let _server = served(folder.path());
    drop(connected(folder.path()).await);
    let mut listening = Vec::new();
    for _ in 0..280 {
        let client = Client::connect(&fog_ipc::endpoint(folder.path())).await.unwrap();
        let events = client.subscribe().await;
        listening.push((client, events));
    }
    is_obeyed(folder.path()).await;
    // Those beyond the places for listeners are told by the end of their connection.
    let is_told = || listening.iter().filter(|(client, _)| client.is_closed()).count();
    for _ in 0..400 {
        if is_told() >= 24 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(is_told(), 24);
}
