//! Fog nodes among each other: which linked peers are Fog nodes, and the messages between them.
//!
//! A node states that it is one only in its peer state, which the apps ignore; so a session is begun with
//! every linked peer that may be one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Node};
use crate::announce::Capabilities;
use crate::identity::PeerId;
use crate::inner::Inner;

/// Maximum size of a message, in bytes.
const MAX_MESSAGE: usize = 48 << 10;
/// Milliseconds between two tries to begin a session with a peer that may be a Fog node.
const AGAIN: u64 = 120_000;
/// Milliseconds before the first try of the node with the higher id.
const FIRST: u64 = 10_000;

#[derive(Default)]
pub(super) struct FogPeers {
    here: BTreeSet<PeerId>,
    tried: BTreeMap<PeerId, u64>,
}

impl FogPeers {
    pub(super) fn is_here(&self, peer: PeerId) -> bool {
        self.here.contains(&peer)
    }
}

impl Node {
    /// Sends a message of at most 48 KiB to a Fog node that is here; returns whether it was sent.
    pub fn send_to_fog_peer(&mut self, peer: PeerId, bytes: Vec<u8>, now: u64) -> bool {
        bytes.len() <= MAX_MESSAGE
            && self.fog_peers.is_here(peer)
            && self.send_in_session(peer, &Inner::FogPeer(bytes), now)
    }

    pub(super) fn handle_fog_peer_message(&mut self, peer: PeerId, bytes: Vec<u8>) {
        if self.fog_peers.is_here(peer) && bytes.len() <= MAX_MESSAGE {
            self.say(Event::FogPeerMessage(peer, bytes));
        }
    }

    /// Updates whether a peer counts as a Fog node, after its link, session or state changed.
    pub(super) fn update_fog_peer(&mut self, peer: PeerId) {
        let stated = self.people.get(&peer).and_then(|known| known.stated).unwrap_or_default();
        let is_one =
            self.config.is_fog_peer && stated.has(Capabilities::FOG_PEER) && self.link_to(peer).is_some();
        match self.sessions.noise_key(peer).filter(|_| is_one) {
            Some(noise) if self.fog_peers.here.insert(peer) => self.say(Event::FogPeer { peer, noise }),
            None if self.fog_peers.here.remove(&peer) => self.say(Event::FogPeerGone(peer)),
            _ => {}
        }
    }

    /// A session began: the peer may have lost what was said in the previous one.
    pub(super) fn begin_anew_with(&mut self, peer: PeerId) {
        self.fog_peers.here.remove(&peer);
    }

    /// Begins sessions with possible Fog nodes: at once if this id is the lower one, else after 10 s.
    pub(super) fn find_fog_peers(&mut self, now: u64) {
        if !self.config.is_fog_peer {
            return;
        }
        self.fog_peers.tried.retain(|peer, _| self.people.contains_key(peer));
        let linked: BTreeSet<PeerId> =
            self.links.values().filter_map(|link| link.peer).map(|(peer, _)| peer).collect();
        for peer in linked {
            let announced = self.people.get(&peer).map(|known| known.announced).unwrap_or_default();
            if self.sessions.has(peer) || !announced.has(Capabilities::PREKEYS) {
                continue;
            }
            // The other node may believe in a session that this one has lost.
            let first = if self.me < peer { 0 } else { (now + FIRST).saturating_sub(AGAIN) };
            let last = *self.fog_peers.tried.entry(peer).or_insert(first);
            if now.saturating_sub(last) >= AGAIN {
                self.fog_peers.tried.insert(peer, now);
                self.begin_session(peer, now);
            }
        }
    }
}
