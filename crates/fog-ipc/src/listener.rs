//! Address of the engine's socket, and the users who are admitted.

use std::path::{Path, PathBuf};

#[cfg(unix)]
pub(crate) use unix::{Listener, Stream, connect, is_of_another_user};
#[cfg(windows)]
pub(crate) use windows::{Listener, Stream, connect};

/// Always false: a pipe admits its owner only, and the system itself reports a refusal.
#[cfg(windows)]
pub(crate) fn is_of_another_user(_address: &Path) -> bool {
    false
}

/// Address at which the engine of one data folder answers, and the token file a front end needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Path of the socket, or name of the pipe.
    pub address: PathBuf,
    /// File with the token of the running engine.
    pub token: PathBuf,
}

/// Returns the endpoint of the engine that works in `data_folder`. It depends on that folder only, not on
/// the environment of the caller.
///
/// On Unix the address is `fog.sock` in that folder: the socket itself, or a link to it where the path
/// would be too long for a socket (107 bytes on Linux, 103 on macOS). On Windows it is a pipe named after
/// the folder.
#[must_use]
pub fn endpoint(data_folder: &Path) -> Endpoint {
    Endpoint { address: address(data_folder), token: data_folder.join("fog.token") }
}

#[cfg(not(windows))]
fn address(data_folder: &Path) -> PathBuf {
    std::path::absolute(data_folder).unwrap_or_else(|_| data_folder.to_owned()).join("fog.sock")
}

#[cfg(windows)]
fn address(data_folder: &Path) -> PathBuf {
    // All spellings of one folder give the same name.
    let folder = std::fs::canonicalize(data_folder)
        .or_else(|_| std::path::absolute(data_folder))
        .unwrap_or_else(|_| data_folder.to_owned());
    let hash = folder
        .to_string_lossy()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    PathBuf::from(format!(r"\\.\pipe\fog-compute-{hash:016x}"))
}

/// Whether an engine answers at `address` now.
#[cfg(unix)]
async fn is_served(address: &Path) -> bool {
    // The accept queue of a socket that is served may be full.
    connect(address).await.map_or_else(|error| error.kind() == std::io::ErrorKind::WouldBlock, |_| true)
}

#[cfg(unix)]
#[path = "listener/unix.rs"]
mod unix;

#[cfg(windows)]
mod windows {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

    /// Listener on a named pipe. Pipes refuse remote clients, and their default rights let only the owner
    /// and administrators write:
    /// <https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights>
    pub(crate) struct Listener {
        next: NamedPipeServer,
        path: PathBuf,
    }

    impl Listener {
        pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
            let next =
                ServerOptions::new().first_pipe_instance(true).reject_remote_clients(true).create(path)?;
            Ok(Self { next, path: path.to_owned() })
        }

        pub(crate) async fn accept(&mut self) -> io::Result<(Stream, Option<i32>)> {
            self.next.connect().await?;
            let next = ServerOptions::new().reject_remote_clients(true).create(&self.path)?;
            Ok((Stream::Server(std::mem::replace(&mut self.next, next)), None))
        }
    }

    pub(crate) enum Stream {
        Server(NamedPipeServer),
        Client(NamedPipeClient),
    }

    pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
        const ERROR_PIPE_BUSY: i32 = 231;
        loop {
            match ClientOptions::new().open(path) {
                Err(e) if e.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
                    tokio::time::sleep(Duration::from_millis(20)).await
                }
                other => return other.map(Stream::Client),
            }
        }
    }

    impl AsyncRead for Stream {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Server(pipe) => Pin::new(pipe).poll_read(cx, buf),
                Self::Client(pipe) => Pin::new(pipe).poll_read(cx, buf),
            }
        }
    }

    impl AsyncWrite for Stream {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Server(pipe) => Pin::new(pipe).poll_write(cx, buf),
                Self::Client(pipe) => Pin::new(pipe).poll_write(cx, buf),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Server(pipe) => Pin::new(pipe).poll_flush(cx),
                Self::Client(pipe) => Pin::new(pipe).poll_flush(cx),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Server(pipe) => Pin::new(pipe).poll_shutdown(cx),
                Self::Client(pipe) => Pin::new(pipe).poll_shutdown(cx),
            }
        }
    }
}
