//! Key that seals checkpoints, kept in the system's keychain, or in a file of the data folder if there is
//! none.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fog_runtime::Key;

/// Content of the key file when the key is in the keychain.
const ELSEWHERE: &[u8] = b"in the keychain of this system\n";
/// Environment variable whose value `off` disables the keychain, for machines without a login session and
/// for tests.
const SWITCH: &str = "FOG_KEYCHAIN";
/// Longest wait for the keychain, which may ask a person for a password and answer late or never.
const PATIENCE: Duration = Duration::from_secs(3);

/// Returns the key of this data folder; creates it if missing and `create` is set.
///
/// # Errors
/// Fails when the folder cannot be used, the file holds no key, or the keychain with the key does not open
/// now.
pub fn checkpoint_key(data_folder: &Path, create: bool) -> io::Result<Option<Key>> {
    let path = data_folder.join("checkpoint.key");
    match std::fs::read(&path) {
        Ok(text) if text == ELSEWHERE => match ask(account(data_folder), None)? {
            Some(key) => Ok(Some(key)),
            None => {
                Err(io::Error::other("the keychain no longer holds the key of this folder's checkpoints"))
            }
        },
        Ok(bytes) => {
            let bytes: [u8; 32] = bytes
                .try_into()
                .map_err(|_| io::Error::other(format!("{} does not hold a key", path.display())))?;
            Ok(Some(bytes.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
            let key = fog_runtime::new_key();
            match ask(account(data_folder), Some(key)) {
                Ok(Some(key)) => {
                    write(&path, ELSEWHERE)?;
                    return Ok(Some(key));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(%error, "no keychain answers; the key of the checkpoints goes to a file")
                }
            }
            write(&path, &key)?;
            Ok(Some(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Name of the keychain entry; each data folder has its own key.
fn account(data_folder: &Path) -> String {
    let folder = data_folder.canonicalize().unwrap_or_else(|_| data_folder.to_owned());
    format!("checkpoints {}", &blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex()[..16])
}

/// Puts `new` into the keychain, or reads the existing key. `None` when a new key finds no keychain.
fn ask(account: String, new: Option<Key>) -> io::Result<Option<Key>> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") || !is_there() {
        return if new.is_some() { Ok(None) } else { Err(io::Error::other("no keychain can be reached")) };
    }
    let (answer, answered) = mpsc::sync_channel(1);
    // A separate thread asks, because the keychain may wait for a person and the caller may be an async
    // context.
    std::thread::Builder::new()
        .name("keychain".to_owned())
        .spawn(move || drop(answer.send(system::ask(&account, new))))?;
    answered.recv_timeout(PATIENCE).map_err(|_| io::Error::other("the keychain does not answer"))?.map(Some)
}

/// Whether a keychain may be reachable: on Linux it is a program on the session's bus.
fn is_there() -> bool {
    let has_bus = || {
        std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty())
            || std::env::var_os("XDG_RUNTIME_DIR")
                .is_some_and(|folder| Path::new(&folder).join("bus").exists())
    };
    !cfg!(target_os = "linux") || has_bus()
}

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod system {
    use std::io;

    use fog_runtime::Key;

    pub(super) fn ask(account: &str, new: Option<Key>) -> io::Result<Key> {
        if !is_open() {
            return Err(io::Error::other("the keychain is locked, or there is none yet"));
        }
        let entry = keyring::Entry::new("fog-compute", account).map_err(io::Error::other)?;
        if let Some(key) = new {
            entry.set_secret(&key).map_err(io::Error::other)?;
        }
        // The key is read back, because a key that cannot be read again is useless.
        let bytes: [u8; 32] = entry
            .get_secret()
            .map_err(io::Error::other)?
            .try_into()
            .map_err(|_| io::Error::other("the keychain holds something else under our name"))?;
        Ok(bytes.into())
    }

    /// Whether the default collection is usable without a password prompt: a program that starts with the
    /// session must not show one.
    #[cfg(target_os = "linux")]
    fn is_open() -> bool {
        let locked = || -> zbus::Result<bool> {
            let bus = zbus::blocking::Connection::session()?;
            let name = "org.freedesktop.secrets";
            let service = zbus::blocking::Proxy::new(
                &bus,
                name,
                "/org/freedesktop/secrets",
                "org.freedesktop.Secret.Service",
            )?;
            let path: zbus::zvariant::OwnedObjectPath = service.call("ReadAlias", &("default",))?;
            zbus::blocking::Proxy::new(&bus, name, path, "org.freedesktop.Secret.Collection")?
                .get_property("Locked")
        };
        locked().is_ok_and(|locked| !locked)
    }

    /// Always true: macOS and Windows open the keychain with the session.
    #[cfg(not(target_os = "linux"))]
    fn is_open() -> bool {
        true
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod system {
    use std::io;

    use fog_runtime::Key;

    pub(super) fn ask(_account: &str, _new: Option<Key>) -> io::Result<Key> {
        Err(io::Error::other("not built for this system's keychain yet"))
    }
}
