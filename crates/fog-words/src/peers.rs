//! Sentences about other devices.

use fog_api::{NetworkView, PeerView};

use crate::Words;

/// Clocks that differ by less are not worth a word: what one says may have waited for a while.
const CLOCK_OFF_MS: u64 = 120_000;

impl Words {
    /// Whether this device's clock is wrong, as most devices here show.
    #[must_use]
    pub fn own_clock(&self, network: &NetworkView) -> Option<String> {
        let off_ms = network.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let key = if off_ms > 0 { "network-clock-slow" } else { "network-clock-fast" };
        Some(self.with(key, &[("span", self.span(off_ms.unsigned_abs() / 1000).into())]))
    }

    /// How far another device's clock is from this one's, if it is.
    #[must_use]
    pub fn clock_of_peer(&self, peer: &PeerView) -> Option<String> {
        let off_ms = peer.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let key = if off_ms > 0 { "network-their-clock-ahead" } else { "network-their-clock-behind" };
        Some(self.with(key, &[("span", self.span(off_ms.unsigned_abs() / 1000).into())]))
    }
}
