//! Encrypted storage of a [`Ratchet`], which is restored whole or not at all.

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vodozemac::olm::{Account, AccountPickle, Session, SessionPickle};
use zeroize::Zeroizing;

use super::{Card, ISSUED, PEERS, Peer, Ratchet, SESSIONS_OF_PEER, SPENT, Talk, VERSION};

/// Length of the version and the nonce before the encrypted part, in bytes.
const HEAD: usize = 1 + 24;

/// Reasons why a stored ratchet cannot be restored. A new one is needed then; peers learn its card at the
/// next meeting, and messages sealed for the old one cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The key is wrong, or the bytes are damaged.
    #[error("the stored keys cannot be opened")]
    Closed,
    /// The state has an unknown version or form.
    #[error("the stored keys are in a form that cannot be read")]
    Unreadable,
}

// JSON, because the types of `vodozemac` need a self-describing format.
#[derive(Serialize, Deserialize)]
struct Stored {
    account: AccountPickle,
    fallback: [u8; 32],
    issued: Vec<[u8; 32]>,
    peers: Vec<StoredPeer>,
    spent: Vec<String>,
    uses: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredPeer {
    noise_key: [u8; 32],
    identity: [u8; 32],
    fallback: [u8; 32],
    once: Vec<[u8; 32]>,
    is_fresh: bool,
    used: u64,
    sessions: Vec<StoredTalk>,
}

#[derive(Serialize, Deserialize)]
struct StoredTalk {
    session: SessionPickle,
    used: u64,
    heard: u64,
}

impl Ratchet {
    /// State to keep over a restart, encrypted with `key` (XChaCha20-Poly1305). The nonce is a keyed hash
    /// of the plaintext: it repeats only for the same plaintext.
    #[must_use]
    pub fn state(&self, key: &[u8; 32]) -> Vec<u8> {
        let peers = self.peers.iter().map(|(noise_key, peer)| StoredPeer {
            noise_key: *noise_key,
            identity: peer.card.identity,
            fallback: peer.card.fallback,
            once: peer.card.once.clone(),
            is_fresh: peer.is_fresh,
            used: peer.used,
            sessions: peer
                .sessions
                .iter()
                .map(|talk| StoredTalk { session: talk.session.pickle(), used: talk.used, heard: talk.heard })
                .collect(),
        });
        let stored = Stored {
            account: self.account.pickle(),
            fallback: self.fallback,
            issued: self.issued.iter().copied().collect(),
            peers: peers.collect(),
            spent: self.spent.iter().cloned().collect(),
            uses: self.uses,
        };
        // Serialising cannot fail here; if it did, the empty state could not be restored.
        let plaintext = Zeroizing::new(serde_json::to_vec(&stored).unwrap_or_default());
        debug_assert!(!plaintext.is_empty());
        let hash = keyed_hash(key, b"fog ratchet nonce", &plaintext);
        let nonce = &hash[..24];
        let sealed = cipher(key).encrypt(XNonce::from_slice(nonce), plaintext.as_slice()).unwrap_or_default();
        [&[VERSION], nonce, &sealed].concat()
    }

    /// Restores the result of [`Self::state`].
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when the key is wrong, or the bytes are damaged or of another form.
    pub fn restore(key: &[u8; 32], bytes: &[u8]) -> Result<Self, RestoreError> {
        let (head, sealed) = bytes.split_at_checked(HEAD).ok_or(RestoreError::Unreadable)?;
        let (version, nonce) = head.split_at(1);
        if version != [VERSION] {
            return Err(RestoreError::Unreadable);
        }
        let plaintext = Zeroizing::new(
            cipher(key).decrypt(XNonce::from_slice(nonce), sealed).map_err(|_| RestoreError::Closed)?,
        );
        let stored: Stored = serde_json::from_slice(&plaintext).map_err(|_| RestoreError::Unreadable)?;
        let peers = stored.peers.into_iter().take(PEERS).map(|peer| {
            let talk = |talk: StoredTalk| Talk {
                session: Session::from_pickle(talk.session),
                used: talk.used,
                heard: talk.heard,
            };
            let sessions = peer.sessions.into_iter().take(SESSIONS_OF_PEER).map(talk).collect();
            let card = Card { identity: peer.identity, fallback: peer.fallback, once: peer.once };
            (peer.noise_key, Peer { card, is_fresh: peer.is_fresh, sessions, used: peer.used })
        });
        Ok(Self {
            account: Account::from_pickle(stored.account),
            fallback: stored.fallback,
            issued: stored.issued.into_iter().take(ISSUED).collect(),
            peers: peers.collect(),
            spent: stored.spent.into_iter().take(SPENT).collect(),
            uses: stored.uses,
            version: 0,
        })
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    let key = Zeroizing::new(keyed_hash(key, b"fog ratchet key", &[]));
    XChaCha20Poly1305::new((&*key).into())
}

/// Keyed hash, separate for each purpose.
fn keyed_hash(key: &[u8; 32], purpose: &[u8], what: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("any length is a key") };
    // Purposes differ in length, so the length is hashed too.
    mac.update(&(purpose.len() as u64).to_be_bytes());
    mac.update(purpose);
    mac.update(what);
    mac.finalize().into_bytes().into()
}
