//! Identity of nodes: Ed25519 signatures (RFC 8032) over postcard bytes and a purpose.

use std::fmt;
use std::marker::PhantomData;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use fog_types::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Secret signing key of this node.
pub struct Identity(SigningKey);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node())
    }
}

impl Identity {
    /// Creates the identity from its 32 secret bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Returns the public key, which is the id of the node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a value for a purpose.
    #[must_use]
    pub fn sign<T: Serialize + Purpose>(&self, value: &T) -> Signed<T> {
        // The types of this crate always encode: no map lacks its length and no enum is untagged.
        let bytes = postcard::to_stdvec(value).unwrap_or_default();
        let signature = self.0.sign(&with_purpose::<T>(&bytes)).to_vec();
        Signed { bytes, signature, of: PhantomData }
    }
}

/// Purpose of a signature, so that a signature for one purpose is not valid for another.
pub trait Purpose {
    /// Word that is unique to this purpose.
    const PURPOSE: &'static str;
}

fn with_purpose<T: Purpose>(bytes: &[u8]) -> Vec<u8> {
    [b"fog-compute 2026-11 ", T::PURPOSE.as_bytes(), b"\0", bytes].concat()
}

/// Value as its author encoded it, with the signature over those bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Vec<u8>,
    #[serde(skip)]
    of: PhantomData<T>,
}

/// Reason for which a signed value is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The signature is not by that node or not for that purpose.
    #[error("the signature is not that of the device")]
    Signature,
    /// The signature is valid, but the signed bytes cannot be decoded.
    #[error("the signed message cannot be read")]
    Malformed,
}

impl<T: Purpose + Serialize + DeserializeOwned> Signed<T> {
    /// Returns the value if `author` signed it.
    ///
    /// # Errors
    /// [`SignedError::Signature`] if `author` did not sign it, [`SignedError::Malformed`] if it cannot be
    /// decoded.
    pub fn open(&self, author: NodeId) -> Result<T, SignedError> {
        let key = VerifyingKey::from_bytes(&author.0).map_err(|_| SignedError::Signature)?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| SignedError::Signature)?;
        key.verify_strict(&with_purpose::<T>(&self.bytes), &signature).map_err(|_| SignedError::Signature)?;
        let (value, rest) = postcard::take_from_bytes(&self.bytes).map_err(|_| SignedError::Malformed)?;
        if rest.is_empty() { Ok(value) } else { Err(SignedError::Malformed) }
    }

    /// Returns the signed bytes without any check.
    #[must_use]
    pub fn unchecked_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the BLAKE3 hash of the signed bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct A(u32);
    impl Purpose for A {
        const PURPOSE: &'static str = "a";
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct B(u32);
    impl Purpose for B {
        const PURPOSE: &'static str = "b";
    }

    #[test]
    fn a_signature_holds_for_its_author_its_value_and_its_purpose() {
        let (me, other) = (Identity::new(&[1; 32]), Identity::new(&[2; 32]));
        let signed = me.sign(&A(7));
        assert_eq!(signed.open(me.node()), Ok(A(7)));
        assert_eq!(signed.open(other.node()), Err(SignedError::Signature));
        let stolen: Signed<B> =
            Signed { bytes: signed.bytes.clone(), signature: signed.signature.clone(), of: PhantomData };
        assert_eq!(stolen.open(me.node()), Err(SignedError::Signature));
        let mut altered = signed;
        altered.bytes[0] ^= 1;
        assert_eq!(altered.open(me.node()), Err(SignedError::Signature));
    }
}
