//! Identities: two long-lived keys, and short ids made from one of them.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Short id of a peer, used as sender and recipient of packets: the first 8 bytes of its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 8]);

impl PeerId {
    /// Id that addresses everybody.
    pub const EVERYBODY: Self = Self([0xff; 8]);

    /// Id of the owner of a Noise key.
    #[must_use]
    pub fn of(noise: &[u8; 32]) -> Self {
        Self::of_fingerprint(&fingerprint(noise))
    }

    pub(crate) fn of_fingerprint([a, b, c, d, e, f, g, h, ..]: &[u8; 32]) -> Self {
        Self([*a, *b, *c, *d, *e, *f, *g, *h])
    }

    /// Parses 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// SHA-256 of a Noise key, which people compare to verify each other.
pub(crate) fn fingerprint(noise: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(noise).into()
}

/// Fingerprint as the apps show it: 64 lower-case hexadecimal digits.
#[must_use]
pub fn fingerprint_text(noise: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(&fingerprint(noise))
}

/// Public keys of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerKeys {
    /// X25519 key, for Noise.
    pub noise: [u8; 32],
    /// Ed25519 key, for signatures.
    pub signing: [u8; 32],
}

impl PeerKeys {
    /// Short id of the owner.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::of(&self.noise)
    }

    /// Whether the owner made a signature; strict: signatures that libraries might judge differently are
    /// rejected.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        verify(&self.signing, message, signature)
    }
}

pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key) else { return false };
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
}

/// Whether a Noise key is a point of small order, with which every peer would agree on the same secret.
pub(crate) fn is_weak(noise: &[u8; 32]) -> bool {
    // Any clamped scalar tells: a contributory exchange never gives zero.
    !StaticSecret::from([0x42; 32]).diffie_hellman(&PublicKey::from(*noise)).was_contributory()
}

/// Secret keys of this device; never logged.
#[derive(Clone)]
pub struct Identity {
    noise: StaticSecret,
    signing: SigningKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer())
    }
}

impl Identity {
    /// Makes an identity from two independent secrets of 32 random bytes each.
    #[must_use]
    pub fn new(noise: [u8; 32], signing: [u8; 32]) -> Self {
        Self { noise: StaticSecret::from(noise), signing: SigningKey::from_bytes(&signing) }
    }

    /// Both secrets, for the key store: Noise, then signing.
    #[must_use]
    pub fn to_secrets(&self) -> Zeroizing<[u8; 64]> {
        let mut secrets = Zeroizing::new([0; 64]);
        secrets[..32].copy_from_slice(self.noise.as_bytes());
        secrets[32..].copy_from_slice(&self.signing.to_bytes());
        secrets
    }

    /// Public keys of this device.
    #[must_use]
    pub fn keys(&self) -> PeerKeys {
        PeerKeys {
            noise: PublicKey::from(&self.noise).to_bytes(),
            signing: self.signing.verifying_key().to_bytes(),
        }
    }

    /// Short id of this device.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.keys().peer()
    }

    /// Signs a message with the Ed25519 key.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    pub(crate) fn noise_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.noise.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The keys of the worked examples: bytes 01…20 and 21…40.
    pub(crate) fn alice() -> Identity {
        let from = |first: u8| std::array::from_fn(|n| first + n as u8);
        Identity::new(from(0x01), from(0x21))
    }

    #[test]
    fn keys_and_names_are_those_of_the_worked_example() {
        let keys = alice().keys();
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(hex(&keys.noise), "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c");
        assert_eq!(hex(&keys.signing), "e7f162a10bec559afea195e4dce84b69568d5d2cb0963eb446c0685e2b17f2f0");
        assert_eq!(
            fingerprint_text(&keys.noise),
            "aaa8fff703b50b2297f4f6e13508f72420d96fd01ebb84cb074449caaef64041"
        );
        assert_eq!(keys.peer().to_string(), "aaa8fff703b50b22");
        assert_eq!(PeerId::parse("AAA8fff703b50b22"), Some(keys.peer()));
        assert_eq!(PeerId::parse("aaa8"), None);
    }

    #[test]
    fn weak_keys_are_known() {
        assert!(!is_weak(&alice().keys().noise));
        assert!(is_weak(&[0; 32]));
        let mut one = [0; 32];
        one[0] = 1;
        assert!(is_weak(&one));
    }
}
