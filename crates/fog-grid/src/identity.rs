//! Who said something: Ed25519 signatures (RFC 8032) over postcard bytes with a purpose.

use std::fmt;
use std::marker::PhantomData;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use fog_types::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The secret of this node.
pub struct Identity(SigningKey);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node())
    }
}

impl Identity {
    /// From the 32 secret bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Its public name.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a value for a purpose.
    #[must_use]
    pub fn sign<T: Serialize + Purpose>(&self, value: &T) -> Signed<T> {
        // Values of ours always encode: no maps without length, no untagged enums.
        let bytes = postcard::to_stdvec(value).unwrap_or_default();
        let signature = self.0.sign(&with_purpose::<T>(&bytes)).to_vec();
        Signed { bytes, signature, of: PhantomData }
    }
}

/// What a signature is for, so that one for another purpose is worth nothing.
pub trait Purpose {
    /// A word of its own.
    const PURPOSE: &'static str;
}

fn with_purpose<T: Purpose>(bytes: &[u8]) -> Vec<u8> {
    [b"fog-compute 2026-11 ", T::PURPOSE.as_bytes(), b"\0", bytes].concat()
}

/// A value as its author encoded it, and the signature over those bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Vec<u8>,
    #[serde(skip)]
    of: PhantomData<T>,
}

/// Why a signed value is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Not signed by that node for that purpose.
    #[error("the signature is not that of the device")]
    Signature,
    /// Signed nonsense.
    #[error("the signed message cannot be read")]
    Malformed,
}

impl<T: Purpose + Serialize + DeserializeOwned> Signed<T> {
    /// The value, if `author` signed it.
    ///
    /// # Errors
    /// [`SignedError`].
    pub fn open(&self, author: NodeId) -> Result<T, SignedError> {
        let key = VerifyingKey::from_bytes(&author.0).map_err(|_| SignedError::Signature)?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| SignedError::Signature)?;
        key.verify_strict(&with_purpose::<T>(&self.bytes), &signature).map_err(|_| SignedError::Signature)?;
        let (value, rest) = postcard::take_from_bytes(&self.bytes).map_err(|_| SignedError::Malformed)?;
        if rest.is_empty() { Ok(value) } else { Err(SignedError::Malformed) }
    }

    /// The signed bytes, of which nothing is known yet.
    #[must_use]
    pub fn unchecked_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names the signed bytes.
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
        let stolen: Signed<B> = Signed { bytes: signed.bytes.clone(), signature: signed.signature.clone(), of: PhantomData };
        assert_eq!(stolen.open(me.node()), Err(SignedError::Signature));
        let mut altered = signed;
        altered.bytes[0] ^= 1;
        assert_eq!(altered.open(me.node()), Err(SignedError::Signature));
    }
}
