//! `fog daemon --metrics`: counters for Prometheus, on this machine only.

use fog_api::{Command, Reply};
use fog_engine::EngineHandle;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Longest request that is read.
const MAX_REQUEST: u64 = 8 << 10;
/// Who does not ask within this time is not waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Listens on loopback.
///
/// # Errors
/// When the port is taken.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await
}

/// Answers `GET /metrics` until the engine stops.
pub async fn serve(listener: TcpListener, engine: EngineHandle) {
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                // One after the other: there is one reader, every some seconds.
                if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, answer(stream, &engine)).await {
                    tracing::debug!(%error, "no counters were given");
                }
            },
            () = engine.stopped() => return,
        }
    }
}

async fn answer(mut stream: TcpStream, engine: &EngineHandle) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader.take(MAX_REQUEST));
    let mut first = String::new();
    lines.read_line(&mut first).await?;
    let mut rest = String::new();
    while lines.read_line(&mut rest).await? > 2 {
        rest.clear();
    }
    let (status, body) = if first.starts_with("GET /metrics ") {
        match engine.call(Command::Metrics).await {
            Ok(Reply::Text(text)) => ("200 OK", text),
            _ => ("503 Service Unavailable", String::new()),
        }
    } else {
        ("404 Not Found", "the counters are at /metrics\n".to_owned())
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    writer.write_all(head.as_bytes()).await?;
    writer.write_all(body.as_bytes()).await?;
    writer.shutdown().await
}
