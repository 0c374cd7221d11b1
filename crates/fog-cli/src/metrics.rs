//! `fog daemon --metrics`: counters for Prometheus, on this machine only.

use std::collections::VecDeque;

use fog_api::{Command, Reply};
use fog_engine::EngineHandle;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longest request that is read, in bytes.
const MAX_REQUEST: u64 = 8 << 10;
/// Greatest number of connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Time within which a client must send its request.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Listens on the loopback interface.
///
/// # Errors
/// When the port is taken.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await
}

/// Answers `GET /metrics` until the engine stops.
pub async fn serve(listener: TcpListener, engine: EngineHandle) {
    let mut asking: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let engine = engine.clone();
                let counters = async move { engine.call(Command::Metrics).await };
                admit(&mut asking, answer(stream, counters));
            },
            () = engine.stopped() => return,
        }
    }
}

/// Admits a connection; the oldest one makes room when all places are taken.
fn admit(
    asking: &mut VecDeque<JoinHandle<()>>,
    answer: impl Future<Output = std::io::Result<()>> + Send + 'static,
) {
    asking.retain(|one| !one.is_finished());
    if asking.len() >= MAX_CONNECTIONS
        && let Some(oldest) = asking.pop_front()
    {
        oldest.abort();
    }
    asking.push_back(tokio::spawn(async move {
        if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, answer).await {
            tracing::debug!(%error, "no counters were given");
        }
    }));
}

/// Whether the `Host` header names this machine. A web page can make its own name resolve to it.
fn is_for_us(host: &str) -> bool {
    let host = host.trim();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

async fn answer<E>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    counters: impl Future<Output = Result<Reply, E>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new((&mut stream).take(MAX_REQUEST));
    let mut first = String::new();
    lines.read_line(&mut first).await?;
    let mut rest = String::new();
    let mut is_ours = true;
    while lines.read_line(&mut rest).await? > 2 {
        if let Some((name, host)) = rest.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            is_ours &= is_for_us(host);
        }
        rest.clear();
    }
    let (status, body) = if !is_ours {
        ("421 Misdirected Request", "the counters are for this machine only\n".to_owned())
    } else if first.starts_with("GET /metrics ") {
        match counters.await {
            Ok(Reply::Text(text)) => ("200 OK", text),
            _ => ("503 Service Unavailable", String::new()),
        }
    } else {
        ("404 Not Found", "the counters are at /metrics\n".to_owned())
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(request: &str) -> String {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(request.as_bytes()).await.unwrap();
        answer(ours, async { Ok::<_, ()>(Reply::Text("fog_up 1\n".to_owned())) }).await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn only_who_means_this_machine_is_answered() {
        for host in ["127.0.0.1:9100", "localhost", "LOCALHOST:80", "[::1]:9100", "[::1]"] {
            let text = asked(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("fog_up 1\n"), "{host}: {text}");
        }
        for host in [
            "evil.example:9100",
            "127.0.0.1.evil.example",
            "localhost:9100:x",
            "",
            "127.0.0.1\r\nhost: evil.example",
        ] {
            let text = asked(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(text.starts_with("HTTP/1.1 421") && !text.contains("fog_up"), "{host}: {text}");
        }
        assert!(asked("GET /metrics HTTP/1.0\r\n\r\n").await.contains("fog_up"));
        assert!(asked("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_out() {
        let mut asking = VecDeque::new();
        let silent: Vec<_> = (0..300)
            .map(|_| {
                let (ours, theirs) = tokio::io::duplex(64);
                admit(&mut asking, answer(ours, std::future::pending::<Result<Reply, ()>>()));
                theirs
            })
            .collect();
        assert_eq!(asking.len(), MAX_CONNECTIONS);
        let (ours, mut theirs) = tokio::io::duplex(4096);
        admit(&mut asking, answer(ours, async { Ok::<_, ()>(Reply::Text("fog_up 1\n".to_owned())) }));
        theirs.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("fog_up 1"), "{text}");
        drop(silent);
    }
}
