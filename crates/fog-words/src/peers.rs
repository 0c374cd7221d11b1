//! Sentences about other devices.

use fog_api::{NetworkView, PeerView};

use crate::Words;

/// Greatest difference of clocks, in milliseconds, that is not mentioned: a message may have been delayed.
const CLOCK_OFF_MS: u64 = 120_000;

impl Words {
    /// Returns a note that this device's clock is wrong, if most other devices show another time.
    #[must_use]
    pub fn own_clock(&self, network: &NetworkView) -> Option<String> {
        let off_ms = network.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let key = if off_ms > 0 { "network-clock-slow" } else { "network-clock-fast" };
        Some(self.with(key, &[("span", self.span(off_ms.unsigned_abs() / 1000).into())]))
    }

    /// Returns a note about the difference of another device's clock from this one, if there is one.
    #[must_use]
    pub fn clock_of_peer(&self, peer: &PeerView) -> Option<String> {
        let off_ms = peer.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let key = if off_ms > 0 { "network-their-clock-ahead" } else { "network-their-clock-behind" };
        Some(self.with(key, &[("span", self.span(off_ms.unsigned_abs() / 1000).into())]))
    }
}
