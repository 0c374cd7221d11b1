//! Classification of addresses, and names resolved by the system.

use std::net::IpAddr;
use std::str::FromStr;

use fog_transport::Route;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Greatest number of addresses kept of a node.
pub(crate) const MAX_ADDRESSES: usize = 16;

pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// Whether an address belongs to this machine or its local network: RFC 1918, 4193, 3927, 4291.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
            |v4| is_local(v4.into()),
        ),
    }
}

/// Whether an address may be reachable from anywhere: not local, not behind carrier-grade NAT (RFC 6598).
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    let is_shared =
        |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64);
    !is_relayed(address)
        && ip_of(address).is_some_and(|ip| !is_local(ip) && !is_shared(ip) && !ip.is_multicast())
}

pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

pub(crate) fn transport_of(address: &Multiaddr) -> &'static str {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    if has(|part| matches!(part, Protocol::QuicV1)) {
        "quic"
    } else if has(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_))) {
        "websocket"
    } else {
        "tcp"
    }
}

pub(crate) fn route_of(address: &Multiaddr, is_relayed: bool) -> Route {
    Route {
        transport: transport_of(address),
        is_relayed,
        is_local: !is_relayed && ip_of(address).is_some_and(is_local),
        address: address.to_string(),
    }
}

/// Parses addresses from outside; keeps the valid ones, at most [`MAX_ADDRESSES`].
pub(crate) fn parse_all(texts: &[String]) -> Vec<Multiaddr> {
    texts.iter().take(MAX_ADDRESSES).filter_map(|text| Multiaddr::from_str(text).ok()).collect()
}

/// Whether an address named by another node may be dialled. Otherwise a gossip message could make every
/// node connect to an address of its author's choice: names to look up, services of this machine or of its
/// local network.
#[must_use]
pub fn is_callable(text: &str, is_from_afar: bool, loopback: bool) -> bool {
    let Ok(address) = Multiaddr::from_str(text) else { return false };
    let is_name = |part: &Protocol<'_>| {
        matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
    };
    if address.iter().any(|part| is_name(&part)) {
        return false;
    }
    let Some(ip) = ip_of(&address).map(|ip| ip.to_canonical()) else { return false };
    if loopback {
        return ip.is_loopback();
    }
    // Services that answer any connection have low ports; nodes have not, except for 443, which every
    // firewall lets through.
    let is_low = |part: Protocol<'_>| matches!(part, Protocol::Tcp(port) | Protocol::Udp(port) if port < 1024 && port != 443);
    if address.iter().any(is_low)
        || ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip == IpAddr::from([255; 4])
    {
        return false;
    }
    !is_from_afar || !is_local(ip)
}

/// Filters the addresses that a node announces for itself: only those that may be dialled are kept. A
/// remote node has no local addresses.
pub(crate) fn told_of_itself(
    addresses: Vec<Multiaddr>,
    is_from_here: bool,
    loopback: bool,
) -> Vec<Multiaddr> {
    let mut kept: Vec<Multiaddr> = addresses
        .into_iter()
        .filter(|address| is_callable(&address.to_string(), !is_from_here, loopback))
        .collect();
    kept.sort_by_key(|address| (is_relayed(address), transport_of(address) != "quic"));
    kept.dedup();
    kept.truncate(MAX_ADDRESSES);
    kept
}

/// Resolves names with the system's resolver: the one of libp2p finds no configuration on phones.
pub(crate) async fn resolve(address: Multiaddr) -> Vec<Multiaddr> {
    let name = address.iter().enumerate().find_map(|(at, part)| match part {
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some((at, name.into_owned())),
        _ => None,
    });
    let Some((at, name)) = name else { return vec![address] };
    let Ok(found) = tokio::net::lookup_host((name.as_str(), 0)).await else { return Vec::new() };
    let replaced = found.take(4).filter_map(|socket| {
        address.replace(at, |part| match (part, socket.ip()) {
            (Protocol::Dns(_) | Protocol::Dns4(_), IpAddr::V4(ip)) => Some(Protocol::Ip4(ip)),
            (Protocol::Dns(_) | Protocol::Dns6(_), IpAddr::V6(ip)) => Some(Protocol::Ip6(ip)),
            _ => None,
        })
    });
    replaced.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_public_are_told_apart() {
        for (text, local, public) in [
            ("/ip4/192.168.1.4/udp/4/quic-v1", true, false),
            ("/ip4/127.0.0.1/tcp/4", true, false),
            ("/ip4/100.64.0.1/tcp/4", false, false),
            ("/ip4/198.51.100.7/tcp/4", false, true),
            ("/ip6/fe80::1/tcp/4", true, false),
            ("/ip6/2001:db8::1/tcp/4", false, true),
            (
                "/ip4/198.51.100.7/tcp/4/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
                false,
                false,
            ),
        ] {
            let address: Multiaddr = text.parse().unwrap();
            assert_eq!((is_local(ip_of(&address).unwrap()), is_public(&address)), (local, public), "{text}");
        }
    }

    #[test]
    fn what_others_name_is_called_only_where_it_can_be_a_node() {
        for (text, near, afar) in [
            ("/ip4/198.51.100.7/udp/4001/quic-v1", true, true),
            ("/ip4/198.51.100.7/tcp/443/ws", true, true),
            ("/ip4/198.51.100.7/tcp/25", false, false),
            ("/ip4/192.168.1.1/tcp/4001", true, false),
            ("/ip6/fd00::1/tcp/4001", true, false),
            ("/ip4/127.0.0.1/tcp/4001", false, false),
            ("/ip6/::ffff:127.0.0.1/tcp/4001", false, false),
            ("/dns4/example.org/tcp/4001", false, false),
            ("/ip4/0.0.0.0/tcp/4001", false, false),
            ("nonsense", false, false),
        ] {
            assert_eq!(
                (is_callable(text, false, false), is_callable(text, true, false)),
                (near, afar),
                "{text}"
            );
        }
        assert!(
            is_callable("/ip4/127.0.0.1/tcp/4001", false, true)
                && !is_callable("/ip4/198.51.100.7/tcp/4001", false, true)
        );
    }

    #[test]
    fn a_node_is_not_called_wherever_it_says_it_is() {
        let named = [
            "/ip4/198.51.100.7/tcp/25",
            "/dns4/example.org/tcp/4001",
            "/ip4/198.51.100.7/tcp/4001",
            "/ip4/198.51.100.8/tcp/22/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
            "/ip4/198.51.100.9/tcp/4001/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
            "/ip4/192.168.1.4/udp/4001/quic-v1",
            "/ip4/127.0.0.1/tcp/4001",
        ];
        let all: Vec<Multiaddr> = named.iter().map(|text| text.parse().unwrap()).collect();
        let kept = |is_from_here, loopback| -> Vec<usize> {
            let kept = told_of_itself(all.clone(), is_from_here, loopback);
            kept.iter().map(|address| all.iter().position(|known| known == address).unwrap()).collect()
        };
        assert_eq!(
            (kept(true, false), kept(false, false), kept(true, true)),
            (vec![5, 2, 4], vec![2, 4], vec![6])
        );
    }

    #[test]
    fn transports_have_names() {
        for (text, name) in [
            ("/ip4/1.2.3.4/udp/4/quic-v1", "quic"),
            ("/ip4/1.2.3.4/tcp/4/ws", "websocket"),
            ("/ip4/1.2.3.4/tcp/4", "tcp"),
        ] {
            assert_eq!(transport_of(&text.parse().unwrap()), name);
        }
    }

    #[tokio::test]
    async fn names_are_resolved_by_the_system() {
        let found = resolve("/dns4/localhost/tcp/4".parse().unwrap()).await;
        assert!(found.contains(&"/ip4/127.0.0.1/tcp/4".parse().unwrap()), "{found:?}");
    }
}
