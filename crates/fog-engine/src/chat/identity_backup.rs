//! Transfer of an identity to another device: a file that a passphrase opens.
//!
//! Argon2id (RFC 9106, second recommended option) derives the key and XChaCha20-Poly1305 seals. Messages
//! are not moved, nor the keys of letters and bundles on their way to the old device.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fog_api::ApiError;
use fog_types::ErrorKind;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::chat::errors::ChatError;
use crate::chat::{ContactRecord, Vault};

/// Fewest characters of a passphrase.
pub(crate) const MIN_PASSPHRASE: usize = 10;
const VERSION: u32 = 1;
/// Cost of Argon2id: memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (64 << 10, 3, 4);
/// Highest cost that is accepted from a file, which is not trusted.
const MAX_COST: (u32, u32, u32) = (256 << 10, 10, 16);
/// Longest file in bytes; the data of ten thousand people fits.
const MAX_FILE: u64 = 16 << 20;
const ABOUT: &[u8] = b"fog-compute identity";

/// Content of the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct IdentityBackup {
    /// Both secrets of the identity in base64, as [`fog_bitchat::Identity::to_secrets`] returns them.
    secrets: Zeroizing<String>,
    pub(crate) nickname: String,
    pub(crate) people: Vec<ContactRecord>,
    /// Groups with their keys, in base64.
    groups: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    fog_identity: u32,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    sealed: String,
}

fn key_of(
    passphrase: &str,
    salt: &[u8],
    (memory, passes, lanes): (u32, u32, u32),
) -> Result<Vault, argon2::Error> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(memory, passes, lanes, Some(32))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        passphrase.as_bytes(),
        salt,
        &mut *key,
    )?;
    Ok(Vault::new(&key))
}

impl IdentityBackup {
    pub(crate) fn pack(
        identity: &fog_bitchat::Identity,
        nickname: String,
        people: Vec<ContactRecord>,
        groups: &[u8],
    ) -> Self {
        let secrets = Zeroizing::new(STANDARD.encode(*identity.to_secrets()));
        Self { secrets, nickname, people, groups: Zeroizing::new(STANDARD.encode(groups)) }
    }

    pub(crate) fn secrets(&self) -> Option<Zeroizing<[u8; 64]>> {
        let bytes = Zeroizing::new(STANDARD.decode(self.secrets.as_bytes()).ok()?);
        let mut secrets = Zeroizing::new([0; 64]);
        (bytes.len() == 64).then(|| secrets.copy_from_slice(&bytes))?;
        Some(secrets)
    }

    pub(crate) fn groups(&self) -> Vec<u8> {
        STANDARD.decode(self.groups.as_bytes()).unwrap_or_default()
    }

    /// Writes a new file that only its owner may read.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the file exists already, [`ErrorKind::Storage`] when it cannot be
    /// written.
    pub(crate) fn write(&self, path: &Path, passphrase: &str) -> Result<(), ApiError> {
        let salt: [u8; 16] = rand::random();
        let bug = |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::Bug, error);
        let open = Zeroizing::new(serde_json::to_vec(self).map_err(|error| bug(&error))?);
        let sealed = key_of(passphrase, &salt, COST).map_err(|error| bug(&error))?.seal(ABOUT, &open);
        let (memory_kib, passes, lanes) = COST;
        let file = Sealed {
            fog_identity: VERSION,
            memory_kib,
            passes,
            lanes,
            salt: STANDARD.encode(salt),
            sealed: STANDARD.encode(sealed),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| bug(&error))?;
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ChatError::FileExists { path: path.to_path_buf() },
            _ => ChatError::CannotWrite { path: path.to_path_buf(), why: error.to_string() },
        })?;
        Ok(())
    }

    /// Reads a file written by [`Self::write`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the file is missing, [`ErrorKind::BadInput`] when it is no such file,
    /// cannot be read or the passphrase is wrong, [`ErrorKind::Incompatible`] when a later version wrote
    /// it.
    pub(crate) fn read(path: &Path, passphrase: &str) -> Result<Self, ApiError> {
        let mut text = Vec::new();
        let read =
            fog_runtime::open_regular(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
        read.map_err(|error| {
            let (path, why) = (path.to_path_buf(), error.to_string());
            if error.kind() == std::io::ErrorKind::NotFound {
                ChatError::FileMissing { path, why }
            } else {
                ChatError::FileUnreadable { path, why }
            }
        })?;
        let other = || ChatError::NoIdentity { path: path.to_path_buf() };
        let file: Sealed = serde_json::from_slice(&text).map_err(|_| other())?;
        if file.fog_identity != VERSION {
            return Err(ChatError::IdentityTooNew.into());
        }
        if file.memory_kib > MAX_COST.0 || file.passes > MAX_COST.1 || file.lanes > MAX_COST.2 {
            return Err(other().into());
        }
        let (Ok(salt), Ok(sealed)) = (STANDARD.decode(&file.salt), STANDARD.decode(&file.sealed)) else {
            return Err(other().into());
        };
        let key =
            key_of(passphrase, &salt, (file.memory_kib, file.passes, file.lanes)).map_err(|_| other())?;
        let open = key.open(ABOUT, &sealed).map(Zeroizing::new);
        let open = open.ok_or(ChatError::WrongPassphrase)?;
        serde_json::from_slice(&open).map_err(|_| other().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_with_its_passphrase_alone_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anna.json");
        let identity = fog_bitchat::Identity::new([1; 32], [2; 32]);
        let backup = IdentityBackup::pack(
            &identity,
            "Zoë Müller".to_owned(),
            vec![ContactRecord { nickname: "Bernd am Hang".to_owned(), ..ContactRecord::default() }],
            b"groups",
        );
        backup.write(&path, "correct horse battery").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // Base64 cannot contain these names by chance.
        assert!(!text.contains("Zoë") && !text.contains("Bernd am"), "{text}");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        assert_eq!(backup.write(&path, "another passphrase").unwrap_err().kind, ErrorKind::Conflict);
        let read = IdentityBackup::read(&path, "correct horse battery").unwrap();
        assert_eq!(
            (read.nickname.as_str(), read.people[0].nickname.as_str(), read.groups()),
            ("Zoë Müller", "Bernd am Hang", b"groups".to_vec())
        );
        assert_eq!(*read.secrets().unwrap(), *identity.to_secrets());
        let kind =
            |path: &Path, passphrase| IdentityBackup::read(path, passphrase).err().map(|error| error.kind);
        assert_eq!(kind(&path, "correct horse batterz"), Some(ErrorKind::BadInput));
        // A file that asks for too much memory, one of a later version, and one that is no JSON.
        for (from, to, expected) in [
            ("\"memory_kib\": 65536", "\"memory_kib\": 4000000000", ErrorKind::BadInput),
            ("\"fog_identity\": 1", "\"fog_identity\": 2", ErrorKind::Incompatible),
            ("{", "", ErrorKind::BadInput),
        ] {
            let other = folder.path().join("other.json");
            std::fs::write(&other, text.replacen(from, to, 1)).unwrap();
            assert_eq!(kind(&other, "correct horse battery"), Some(expected), "{from}");
        }
        assert_eq!(kind(&folder.path().join("none"), "x"), Some(ErrorKind::NotFound));
    }
}
