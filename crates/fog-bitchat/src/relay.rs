//! Decides whether, where and when a packet is relayed.

use sha2::{Digest as _, Sha256};

use crate::frame::{Frame, Kind};
use crate::identity::PeerId;

/// State of a node on which its decision depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Id of this node.
    pub me: PeerId,
    /// Number of links of this node.
    pub links: usize,
}

/// Decision to relay a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// TTL for the next hop.
    pub ttl: u8,
    /// Range of the delay in milliseconds: at least the first, less than the second.
    pub delay: (u64, u64),
    /// Only neighbour to relay to, because the sender chose the route; `None` otherwise.
    pub next: Option<PeerId>,
    /// Whether the relay is cancelled if the packet is heard again during the delay.
    pub may_cancel: bool,
    /// Whether only some of many links are used ([`choose_links`]); else all.
    pub to_some: bool,
}

/// Decides about a packet that is new and, as far as can be told, genuine; `None` when it is not relayed.
/// `is_neighbour` tells whether there is a link to a peer.
///
/// The rules are those of the iOS app, which put less load on the air.
#[must_use]
pub fn decide(frame: &Frame, load: Load, is_neighbour: impl Fn(PeerId) -> bool) -> Option<Relay> {
    let is_mine = frame.sender == load.me || frame.recipient == Some(load.me);
    if frame.kind == Kind::REQUEST_SYNC || frame.ttl <= 1 || is_mine {
        return None;
    }
    let is_directed = !frame.is_broadcast();
    let is_private = matches!(
        frame.kind,
        Kind::FRAGMENT | Kind::ENCRYPTED | Kind::COURIER | Kind::PING | Kind::PONG | Kind::NOSTR_CARRIER
    );
    let (limit, delay) = match frame.kind {
        Kind::HANDSHAKE => (frame.ttl, (10, 35)),
        _ if is_directed && is_private => (frame.ttl, (20, 60)),
        Kind::FRAGMENT | Kind::VOICE => (frame.ttl.min(if load.links >= 6 { 5 } else { 7 }), (8, 25)),
        kind => {
            let limit = match load.links {
                0..=2 => frame.ttl,
                3..=5 if kind == Kind::ANNOUNCE => frame.ttl.min(7),
                3..=5 => frame.ttl.min(6),
                _ => frame.ttl.clamp(2, 5),
            };
            let delay = match load.links {
                0..=2 => (10, 40),
                3..=5 => (60, 150),
                6..=9 => (80, 180),
                _ => (100, 220),
            };
            (limit, delay)
        }
    };
    let next = match &frame.route {
        Some(route) if is_directed => {
            let ours = route.iter().position(|hop| *hop == load.me);
            // A route that passes this node twice is a loop.
            if route.iter().filter(|hop| **hop == load.me).count() > 1 {
                return None;
            }
            let next = match ours {
                Some(at) => route.get(at + 1).copied().or(frame.recipient),
                None => route.first().copied(),
            };
            next.filter(|next| is_neighbour(*next))
        }
        _ => None,
    };
    let to_some = !is_directed && !matches!(frame.kind, Kind::FRAGMENT | Kind::ANNOUNCE);
    Some(Relay { ttl: limit - 1, delay, next, may_cancel: load.links > 2 && next.is_none(), to_some })
}

/// Chooses ceil(log2 n) + 1 of n links, the same ones for the same packet; all of them up to two.
#[must_use]
pub fn choose_links<L: AsRef<str>>(packet: &[u8; 16], links: Vec<L>) -> Vec<L> {
    let count = links.len();
    if count <= 2 {
        return links;
    }
    let wanted = (usize::BITS - (count - 1).leading_zeros()) as usize + 1;
    let id = data_encoding::HEXLOWER.encode(packet);
    let mut ranked: Vec<([u8; 32], L)> = links
        .into_iter()
        .map(|link| (Sha256::digest(format!("{id}::{}", link.as_ref())).into(), link))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(wanted).map(|(_, link)| link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId([0xaa; 8]);
    const YOU: PeerId = PeerId([0xbb; 8]);

    fn frame(kind: Kind, ttl: u8) -> Frame {
        Frame { ttl, ..Frame::new(kind, PeerId([1; 8]), 5, b"x".to_vec()) }
    }

    fn ttl(frame: &Frame, links: usize) -> Option<u8> {
        decide(frame, Load { me: ME, links }, |_| false).map(|relay| relay.ttl)
    }

    #[test]
    fn what_is_never_passed_on() {
        assert_eq!(ttl(&frame(Kind::REQUEST_SYNC, 7), 1), None);
        assert_eq!(ttl(&frame(Kind::MESSAGE, 1), 1), None);
        assert_eq!(ttl(&frame(Kind::MESSAGE, 0), 1), None);
        assert_eq!(ttl(&frame(Kind::ENCRYPTED, 7).to(ME), 1), None);
        assert_eq!(ttl(&Frame { sender: ME, ..frame(Kind::MESSAGE, 7) }, 1), None);
    }

    #[test]
    fn how_far_depends_on_how_many_are_near() {
        let message = frame(Kind::MESSAGE, 7);
        assert_eq!([1, 2, 3, 5, 6, 12].map(|links| ttl(&message, links)), [6, 6, 5, 5, 4, 4].map(Some));
        assert_eq!(ttl(&frame(Kind::ANNOUNCE, 7), 4), Some(6));
        assert_eq!(ttl(&frame(Kind::FRAGMENT, 7), 6), Some(4));
        assert_eq!(ttl(&frame(Kind::FRAGMENT, 7).to(YOU), 6), Some(6));
        assert_eq!(ttl(&frame(Kind::HANDSHAKE, 3).to(YOU), 12), Some(2));
        assert_eq!(ttl(&frame(Kind::MESSAGE, 2), 6), Some(1));
        // Unknown kinds are relayed like the others.
        assert_eq!(ttl(&frame(Kind(0x53), 7), 2), Some(6));
    }

    #[test]
    fn a_chosen_way_is_kept_to_while_its_next_hop_is_near() {
        let route = vec![PeerId([3; 8]), ME, PeerId([4; 8])];
        let routed = Frame { route: Some(route), version: 2, ..frame(Kind::ENCRYPTED, 5).to(YOU) };
        let load = Load { me: ME, links: 3 };
        assert_eq!(decide(&routed, load, |peer| peer == PeerId([4; 8])).unwrap().next, Some(PeerId([4; 8])));
        assert_eq!(decide(&routed, load, |_| false).unwrap().next, None, "flooded instead");
        let last = Frame { route: Some(vec![PeerId([3; 8]), ME]), ..routed.clone() };
        assert_eq!(decide(&last, load, |_| true).unwrap().next, Some(YOU));
        let elsewhere = Frame { route: Some(vec![PeerId([3; 8])]), ..routed.clone() };
        assert_eq!(decide(&elsewhere, load, |_| true).unwrap().next, Some(PeerId([3; 8])));
        let circle = Frame { route: Some(vec![ME, PeerId([3; 8]), ME]), ..routed };
        assert_eq!(decide(&circle, load, |_| true), None);
    }

    #[test]
    fn of_many_links_the_same_few_are_chosen() {
        let links: Vec<String> = (0..8).map(|n| format!("link {n}")).collect();
        let chosen = choose_links(&[7; 16], links.clone());
        assert_eq!(chosen.len(), 4);
        assert_eq!(choose_links(&[7; 16], links.iter().rev().cloned().collect()), chosen);
        assert_ne!(choose_links(&[8; 16], links.clone()), chosen);
        assert_eq!(choose_links(&[7; 16], links[..2].to_vec()).len(), 2);
        assert_eq!(choose_links(&[7; 16], links[..3].to_vec()).len(), 3);
    }
}
