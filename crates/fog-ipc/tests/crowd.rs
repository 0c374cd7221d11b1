//! Programs that fill the socket, with or without the token, keep no other program from giving a command.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fog_api::{ApiError, Command, DutyCommand, Event, Reply};
use fog_ipc::{Client, EventStream, Service};
use fog_types::{ErrorKind, HasKind as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// Longer than any test takes, and shorter than the time in which a connection must prove itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Service that answers every command and has no events.
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
        client.call(Command::Duty(DutyCommand::SetContributing { on: false })).await.unwrap()
    };
    assert!(matches!(
        tokio::time::timeout(PATIENCE, asked).await.expect("a command waits for others"),
        Reply::Done
    ));
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
        // Every second connection claims a long frame and does not finish it.
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
    // Connections beyond the places for listeners are ended by the engine.
    let is_told = || listening.iter().filter(|(client, _)| client.is_closed()).count();
    for _ in 0..400 {
        if is_told() >= 24 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(is_told(), 24);
}

/// Connections that another program opens as fast as it can use up that program's own places only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_connects_without_end_stops_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let _server = served(folder.path());
    drop(connected(folder.path()).await);
    let address = fog_ipc::endpoint(folder.path()).address;
    let script = "import socket,sys\nheld=[]\nwhile True:\n s=socket.socket(socket.AF_UNIX)\n try: s.connect(sys.argv[1])\n except OSError: continue\n held=held[-200:]+[s]\n";
    let started = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(flood) = started else { return eprintln!("skipped: no other program to connect with") };
    let mut flood = Flood(flood);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..20 {
        is_obeyed(folder.path()).await;
    }
    assert!(flood.0.try_wait().unwrap().is_none(), "the flood ended by itself");
}

/// Another program, which is killed when the test ends.
struct Flood(std::process::Child);

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A full socket is not reported as a missing engine, nor an immediate hang-up as a foreign program.
#[tokio::test]
async fn a_full_socket_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = fog_ipc::endpoint(folder.path());
    let listener = tokio::net::UnixListener::bind(&endpoint.address).unwrap();
    let hanging_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = Client::connect(&endpoint).await.unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::LimitReached, 75), "{error}");
    hanging_up.abort();
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let _server = served(folder.path());
    drop(connected(folder.path()).await);
    for _ in 0..700 {
        let client = Client::connect(&fog_ipc::endpoint(folder.path())).await.unwrap();
        assert!(matches!(
            client.call(Command::Duty(DutyCommand::SetContributing { on: true })).await,
            Ok(Reply::Done)
        ));
    }
    // The events keep the connection open, although the client is dropped.
    let mut events = Client::connect(&fog_ipc::endpoint(folder.path())).await.unwrap().subscribe().await;
    assert!(tokio::time::timeout(Duration::from_millis(300), events.next()).await.is_err(), "they ended");
}

#[tokio::test]
async fn whoever_finds_no_place_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let _server = served(folder.path());
    drop(connected(folder.path()).await);
    let mut held = Vec::new();
    let refused = loop {
        let client = Client::connect(&fog_ipc::endpoint(folder.path())).await.unwrap();
        match client.call(Command::Duty(DutyCommand::SetContributing { on: true })).await {
            Ok(_) => held.push(client),
            Err(error) => break error,
        }
    };
    assert!(held.len() >= 500, "{}", held.len());
    assert_eq!(refused.kind, ErrorKind::LimitReached, "{}", refused.message);
}
