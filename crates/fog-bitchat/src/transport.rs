//! One direction of a session: each ciphertext is preceded by a counter of four bytes.

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};

use crate::session::SessionError;

/// Size of the replay window: number of messages that may arrive out of order.
const WINDOW: u32 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// AEAD cipher with its message counter and replay window.
pub(crate) struct Cipher {
    aead: ChaCha20Poly1305,
    next: u32,
    seen: [u64; WORDS],
}

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { aead: ChaCha20Poly1305::new(Key::from_slice(key)), next: 0, seen: [0; WORDS] }
    }

    pub(crate) fn sent(&self) -> u32 {
        self.next
    }

    fn nonce(counter: u32) -> Nonce {
        // Nonce of Noise: four zero bytes, then the counter in little-endian order.
        let mut nonce = [0; 12];
        nonce[4..8].copy_from_slice(&counter.to_le_bytes());
        nonce.into()
    }

    /// Encrypts a message; `None` once the counter is exhausted.
    pub(crate) fn seal(&mut self, open: &[u8]) -> Option<Vec<u8>> {
        let counter = self.next;
        self.next = counter.checked_add(1)?;
        let sealed = self.aead.encrypt(&Self::nonce(counter), open).ok()?;
        Some([counter.to_be_bytes().as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, SessionError> {
        let (head, sealed) = message.split_first_chunk::<4>().ok_or(SessionError::Sealed)?;
        let counter = u32::from_be_bytes(*head);
        if counter == u32::MAX || self.was_seen(counter) {
            return Err(SessionError::Replayed);
        }
        let open = self.aead.decrypt(&Self::nonce(counter), sealed).map_err(|_| SessionError::Sealed)?;
        self.mark(counter);
        Ok(open)
    }

    /// `next` is one above the highest counter received; bit n of `seen` stands for a counter modulo the
    /// window.
    fn was_seen(&self, counter: u32) -> bool {
        if counter >= self.next {
            return false;
        }
        self.next - counter > WINDOW || self.seen[(counter % WINDOW / 64) as usize] >> (counter % 64) & 1 == 1
    }

    fn mark(&mut self, counter: u32) {
        if counter >= self.next {
            // Skipped counters take the places of those that leave the window.
            for skipped in self.next.max((counter + 1).saturating_sub(WINDOW))..=counter {
                self.seen[(skipped % WINDOW / 64) as usize] &= !(1 << (skipped % 64));
            }
            self.next = counter + 1;
        }
        self.seen[(counter % WINDOW / 64) as usize] |= 1 << (counter % 64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (Cipher, Cipher) {
        let key = std::array::from_fn(|n| n as u8);
        (Cipher::new(&key), Cipher::new(&key))
    }

    #[test]
    fn the_worked_example() {
        let (mut out, mut back) = pair();
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let text = data_encoding::HEXLOWER.decode(b"0100026d3101026869").unwrap();
        let first = out.seal(&text).unwrap();
        assert_eq!(hex(&first), "0000000019b8405c9ce7a4b97a7ad1a044b7473e2f4bdca5bf5b8b57d1");
        let second = out.seal(b"\x03m1").unwrap();
        assert_eq!(hex(&second), "000000019c3ac2c9c28c05bd46f25135611925216195b4");
        assert_eq!(back.open(&second), Ok(b"\x03m1".to_vec()));
        assert_eq!(back.open(&first), Ok(text), "they may overtake each other");
        assert_eq!(back.open(&first), Err(SessionError::Replayed));
        assert_eq!(back.open(&second), Err(SessionError::Replayed));
        assert_eq!(back.open(&[0, 0, 0]), Err(SessionError::Sealed));
    }

    #[test]
    fn what_cannot_be_opened_changes_nothing() {
        let (mut out, mut back) = pair();
        let mut forged = out.seal(b"one").unwrap();
        forged[2] = 9;
        assert_eq!(back.open(&forged), Err(SessionError::Sealed));
        forged[2] = 0;
        assert_eq!(back.open(&forged), Ok(b"one".to_vec()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Compares with a model that remembers every counter.
        #[test]
        fn each_number_opens_once_and_only_within_the_window(steps in proptest::collection::vec((0u32..3000, any::<bool>()), 1..300)) {
            let (mut out, mut back) = pair();
            let sealed: Vec<Vec<u8>> = (0u32..6000).map(|n| out.seal(&n.to_be_bytes()).unwrap()).collect();
            let (mut opened, mut highest) = (BTreeSet::new(), None);
            for (step, is_far) in steps {
                let counter = if is_far { step } else { highest.unwrap_or(0u32).saturating_sub(step % 1500) + step % 7 };
                let is_old = highest.is_some_and(|highest| highest >= counter && highest - counter >= WINDOW);
                let expected = !is_old && !opened.contains(&counter);
                prop_assert_eq!(back.open(&sealed[counter as usize]).is_ok(), expected, "{} after {:?}", counter, highest);
                if expected {
                    opened.insert(counter);
                    highest = highest.max(Some(counter));
                }
            }
        }
    }
}
