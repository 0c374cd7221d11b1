//! Keys of chat, and the data that they seal in the store.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use fog_bitchat::Identity;
use fog_runtime::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

const NONCE: usize = 24;
const ABOUT_KEYS: &[u8] = b"keys of chat";

/// Seals with one key. The nonce is random, and long enough for that.
pub(crate) struct Vault(XChaCha20Poly1305);

impl Vault {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Vault for the keys of chat themselves, with a key derived from this device's key.
    pub(crate) fn of_device(key: &Key) -> Self {
        Self::new(&blake3::derive_key("fog-compute 2026-11 keys of chat", key.as_slice()))
    }

    /// Seals `open`. The same `about` is needed to open the result.
    pub(crate) fn seal(&self, about: &[u8], open: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let mut sealed = nonce.to_vec();
        // Encryption fails only above 256 GB.
        sealed.extend(
            self.0.encrypt(XNonce::from_slice(&nonce), Payload { msg: open, aad: about }).unwrap_or_default(),
        );
        sealed
    }

    pub(crate) fn open(&self, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        self.0.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: about }).ok()
    }

    pub(crate) fn seal_value(&self, about: &str, value: &impl Serialize) -> Vec<u8> {
        self.seal(about.as_bytes(), &serde_json::to_vec(value).unwrap_or_default())
    }

    pub(crate) fn open_value<T: DeserializeOwned>(&self, about: &str, sealed: &[u8]) -> Option<T> {
        serde_json::from_slice(&self.open(about.as_bytes(), sealed)?).ok()
    }
}

/// Secrets of chat: two of the identity and one of the history.
pub(crate) struct Secrets(Zeroizing<[u8; 96]>);

impl Secrets {
    pub(crate) fn fresh() -> Self {
        let mut secrets = Zeroizing::new([0; 96]);
        for part in secrets.chunks_mut(32) {
            part.copy_from_slice(&rand::random::<[u8; 32]>());
        }
        Self(secrets)
    }

    pub(crate) fn seal(&self, device: &Vault) -> Vec<u8> {
        device.seal(ABOUT_KEYS, &*self.0)
    }

    pub(crate) fn open(device: &Vault, sealed: &[u8]) -> Option<Self> {
        let open = Zeroizing::new(device.open(ABOUT_KEYS, sealed)?);
        let mut secrets = Zeroizing::new([0; 96]);
        (open.len() == 96).then(|| secrets.copy_from_slice(&open))?;
        Some(Self(secrets))
    }

    fn part(&self, n: usize) -> Zeroizing<[u8; 32]> {
        let mut part = Zeroizing::new([0; 32]);
        part.copy_from_slice(&self.0[n * 32..][..32]);
        part
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(*self.part(0), *self.part(1))
    }

    /// Replaces the identity and keeps the key of the history.
    pub(crate) fn with_identity(&self, identity: &[u8; 64]) -> Self {
        let mut secrets = self.0.clone();
        secrets[..64].copy_from_slice(identity);
        Self(secrets)
    }

    /// Key that seals the ratchet's state for carried messages.
    pub(crate) fn ratchet_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key("fog-compute 2026-11 keys of carried messages", &self.0[64..]))
    }

    pub(crate) fn vault(&self) -> Vault {
        Vault::new(&self.part(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_open_with_the_key_of_their_device_alone() {
        let device = Vault::of_device(&fog_runtime::new_key());
        let secrets = Secrets::fresh();
        let sealed = secrets.seal(&device);
        let again = Secrets::open(&device, &sealed).unwrap();
        assert_eq!(again.identity().peer(), secrets.identity().peer());
        assert!(Secrets::open(&Vault::of_device(&fog_runtime::new_key()), &sealed).is_none());
        let row = secrets.vault().seal_value("anna", &"words");
        assert_eq!(again.vault().open_value::<String>("anna", &row).as_deref(), Some("words"));
        // A row of one thread cannot be put into another.
        assert_eq!(again.vault().open_value::<String>("ben", &row), None);
        assert_eq!(again.vault().open_value::<String>("anna", &row[..10]), None);
    }
}
