use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) type Stream = tokio::net::UnixStream;

/// Longest socket path that every Unix accepts: macOS has 104 bytes including the final NUL.
const MAX_SOCKET_PATH_BYTES: usize = 103;
/// Name of the socket in its temporary folder.
const SHORT_NAME: &str = "socket";

pub(crate) struct Listener {
    socket: tokio::net::UnixListener,
    path: PathBuf,
    /// Device and inode number of the file made at `path`. Another engine may have replaced that file
    /// since.
    made: Option<(u64, u64)>,
    /// Id of the user who is served.
    owner: u32,
    /// Folder of the socket when `path` is a link to it; removed with the listener.
    _short: Option<TempDir>,
}

impl Listener {
    /// Binds the socket, and takes over one that no engine serves any more.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        if super::is_served(path).await {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another engine answers there"));
        }
        remove_left(path)?;
        let short = if fits(path) { None } else { Some(short_folder()?) };
        let place = short.as_ref().map_or_else(|| path.to_owned(), |folder| folder.path().join(SHORT_NAME));
        let socket = tokio::net::UnixListener::bind(&place)?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o600))?;
        if short.is_some() {
            symlink(&place, path)?;
        }
        Ok(Self {
            socket,
            path: path.to_owned(),
            made: number(path),
            owner: rustix::process::geteuid().as_raw(),
            _short: short,
        })
    }

    /// Returns the next connection of the same user, with the id of its process where the system tells it.
    /// Connections of other users are closed without a message.
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, Option<i32>)> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            if let Ok(peer) = stream.peer_cred()
                && (peer.uid() == self.owner || peer.uid() == 0)
            {
                return Ok((stream, peer.pid()));
            }
            tracing::warn!("a connection of another user was refused");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.made.is_some() && number(&self.path) == self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn number(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
    Stream::connect(place_of(path)?).await
}

/// Whether the file at `path` belongs to another user. Always false for the administrator.
pub(crate) fn is_of_another_user(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    own != 0 && std::fs::metadata(path).is_ok_and(|about| about.uid() != own)
}

fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() < MAX_SOCKET_PATH_BYTES
}

/// Path of the socket behind `path`, which is a link when it is too long for a socket.
fn place_of(path: &Path) -> io::Result<PathBuf> {
    if fits(path) {
        return Ok(path.to_owned());
    }
    let place = std::fs::read_link(path)?;
    // The folder was this user's alone. After its removal another user may create one of the same name.
    let folder = place.parent().unwrap_or(&place);
    if std::fs::symlink_metadata(folder)?.uid() == std::fs::symlink_metadata(path)?.uid() {
        Ok(place)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "the folder of the socket is another user's"))
    }
}

/// Creates a folder with an unpredictable name, accessible to this user only.
fn short_folder() -> io::Result<TempDir> {
    let mut last = io::Error::new(
        io::ErrorKind::InvalidInput,
        "no folder for temporary files has a path short enough for a socket",
    );
    let private = std::fs::Permissions::from_mode(0o700);
    for parent in [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")] {
        match tempfile::Builder::new()
            .prefix("fog-")
            .rand_bytes(12)
            .permissions(private.clone())
            .tempdir_in(&parent)
        {
            Ok(folder) if fits(&folder.path().join(SHORT_NAME)) => return Ok(folder),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Removes the socket that a killed engine left.
fn remove_left(path: &Path) -> io::Result<()> {
    if let Ok(place) = std::fs::read_link(path)
        && place_of(path).is_ok_and(|ours| ours == place)
        && place.file_name().is_some_and(|name| name == SHORT_NAME)
    {
        // The socket may be gone already or may be kept for another reason: the link is removed in any
        // case.
        let _ = std::fs::remove_file(&place);
        let _ = place.parent().map(std::fs::remove_dir);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;
    use crate::endpoint;

    #[tokio::test]
    async fn a_long_folder_is_served_at_its_own_address() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&folder).unwrap();
        let address = endpoint(&folder).address;
        assert_eq!(address, folder.join("fog.sock"));
        assert_eq!(connect(&address).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut listener = Listener::bind(&address).await.unwrap();
        let (served, asked) = tokio::join!(listener.accept(), connect(&address));
        assert!(served.is_ok() && asked.is_ok());
        assert!(Listener::bind(&address).await.is_err(), "it is served");
        let place = std::fs::read_link(&address).unwrap();
        assert_eq!(std::fs::metadata(place.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        // After a kill nothing is removed, and the next listener takes over.
        std::mem::forget(listener);
        let moved = base.path().join("kept");
        std::fs::rename(&place, &moved).unwrap();
        let next = Listener::bind(&address).await.unwrap();
        assert!(connect(&address).await.is_ok() && !place.exists());
        drop(next);
        assert!(!address.exists() && std::fs::symlink_metadata(&address).is_err());
    }

    /// The folder of the first engine was moved away, and a second engine began at the same path.
    #[tokio::test]
    async fn a_socket_of_another_engine_is_left_alone() {
        for length in [1, 120] {
            let base = tempfile::tempdir().unwrap();
            let folder = base.path().join("d".repeat(length));
            std::fs::create_dir(&folder).unwrap();
            let address = endpoint(&folder).address;
            let first = Listener::bind(&address).await.unwrap();
            std::fs::rename(&folder, base.path().join("moved")).unwrap();
            std::fs::create_dir(&folder).unwrap();
            let second = Listener::bind(&address).await.unwrap();
            drop(first);
            assert!(connect(&address).await.is_ok(), "{length}");
            drop(second);
            assert!(std::fs::symlink_metadata(&address).is_err());
        }
    }

    /// A socket is refused when another user recreated its folder.
    #[tokio::test]
    async fn a_folder_of_another_user_is_not_taken_for_the_old_one() {
        if rustix::process::geteuid().as_raw() != 0 {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("d".repeat(120));
        std::fs::create_dir_all(&folder).unwrap();
        let (address, theirs) = (endpoint(&folder).address, base.path().join("fog-taken"));
        std::fs::create_dir(&theirs).unwrap();
        let squatter = std::os::unix::net::UnixListener::bind(theirs.join(SHORT_NAME)).unwrap();
        symlink(theirs.join(SHORT_NAME), &address).unwrap();
        assert!(connect(&address).await.is_ok());
        std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
        assert!(connect(&address).await.is_err());
        let listener = Listener::bind(&address).await.unwrap();
        assert!(connect(&address).await.is_ok() && theirs.join(SHORT_NAME).exists());
        drop((listener, squatter));
    }
}
