//! Swarm: what nodes say of themselves over Identify.

use std::time::{Duration, Instant};

use fog_transport::NetEvent;
use libp2p::{PeerId, identify};

use super::Swarm;
use crate::behaviour::{KAD, RELAY_HOP};
use crate::{address, node_of};

/// Identify updates that a node may send: a number at once, and one more per interval. A node sends one
/// when its addresses change. A node that sends ten times as many at once is cut off for a while.
const SAID_AT_ONCE: u32 = 30;
const SAID_EACH: Duration = Duration::from_secs(2);

/// Number of Identify updates of a node, decaying with time.
#[derive(Default)]
pub(super) struct Told {
    count: u32,
    last: Option<Instant>,
}

impl Told {
    /// Counts an update; returns true when there are too many.
    fn count_update(&mut self, now: Instant) -> bool {
        let forgiven =
            self.last.map_or(0, |last| now.saturating_duration_since(last).as_secs() / SAID_EACH.as_secs());
        if forgiven > 0 || self.last.is_none() {
            self.count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
            self.last = Some(now);
        }
        self.count = self.count.saturating_add(1);
        self.count > SAID_AT_ONCE
    }
}

impl Swarm {
    pub(super) async fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(node) = node_of(&peer) else { return };
        if let Some(known) = self.peers.get_mut(&peer)
            && known.told_of_itself.count_update(Instant::now())
        {
            if known.told_of_itself.count > 10 * SAID_AT_ONCE {
                tracing::debug!(%peer, "it says all the time where it is");
                self.meter.cut_off(peer);
            }
            return;
        }
        let is_relay = info.protocols.contains(&RELAY_HOP);
        let from_here = self.peers.get(&peer).is_some_and(|p| p.connections.iter().any(|c| c.route.is_local));
        let addresses = address::told_of_itself(info.listen_addrs, from_here, self.config.loopback);
        if info.protocols.contains(&KAD) {
            for address in &addresses {
                self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            }
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.is_relay = is_relay;
            known.addresses.clone_from(&addresses);
        }
        self.say(NetEvent::Addresses {
            node,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            is_relay,
        })
        .await;
        if is_relay {
            self.reserve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_has_a_rate() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let taken = (0..500).filter(|n| !told.count_update(begun + Duration::from_millis(2 * n))).count();
        assert_eq!(taken, SAID_AT_ONCE as usize);
        assert!(told.count > 10 * SAID_AT_ONCE);
        // A node whose addresses change now and then is always heard.
        let mut told = Told::default();
        assert!((0..500).all(|n| !told.count_update(begun + Duration::from_secs(3 * n))));
    }
}
