//! Access to the engine: a program that can read the token in the data folder may command it. Neither side
//! sends the token; each proves knowledge of it over a nonce that the other has just drawn. A program that
//! answers in the engine's place therefore learns nothing and is not believed.

use std::io::{self, Write};
use std::path::Path;

/// Length of the token in bytes.
const BYTES: usize = 32;

/// Draws a random nonce for one connection, in hexadecimal.
pub(crate) fn nonce() -> String {
    blake3::Hash::from_bytes(rand::random()).to_hex().to_string()
}

/// Side of the connection that proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Secret of one run of the engine.
pub(crate) struct Token([u8; BYTES]);

impl Token {
    /// Draws a new token and writes it to a file that only this user can read.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let token = Self(rand::random());
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        // The temporary file has mode 0600; on Windows the user's folder keeps others out.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&token.0)?;
        file.persist(path)?;
        Ok(token)
    }

    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not a token"))
    }

    /// Proof of `side` over the `nonce` that the other side has drawn.
    pub(crate) fn proof(&self, side: Side, nonce: &str) -> String {
        let role = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        blake3::keyed_hash(&self.0, format!("fog-compute ipc v2 {role} {nonce}").as_bytes())
            .to_hex()
            .to_string()
    }

    /// Checks a proof in constant time.
    pub(crate) fn accepts(&self, side: Side, nonce: &str, proof: &str) -> bool {
        let expected = blake3::Hash::from_hex(self.proof(side, nonce));
        matches!((expected, blake3::Hash::from_hex(proof)), (Ok(expected), Ok(proof)) if expected == proof)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    #[test]
    fn only_who_reads_the_file_can_prove_it_and_only_as_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.token");
        let ours = Token::create(&path).unwrap();
        let read = Token::read(&path).unwrap();
        let (drawn, other) = (nonce(), nonce());
        let proof = read.proof(Side::Client, &drawn);
        assert!(ours.accepts(Side::Client, &drawn, &proof));
        assert!(!ours.accepts(Side::Server, &drawn, &proof), "sent back as it came");
        assert!(!ours.accepts(Side::Client, &other, &proof), "heard before");
        assert!(!Token::create(&path).unwrap().accepts(Side::Client, &drawn, &proof), "of the run before");
        for nonsense in ["", "00", &"zz".repeat(32)] {
            assert!(!ours.accepts(Side::Client, &drawn, nonsense));
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(Token::read(&path).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_user() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.token");
        Token::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
