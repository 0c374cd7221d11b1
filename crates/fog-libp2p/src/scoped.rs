//! TCP to IPv6 link-local addresses. Such an address needs the interface it belongs to, which a libp2p
//! address does not carry; in a network without other addresses it is the only kind. Every interface with
//! link-local addresses is tried.

use std::future::Pending;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::task::{Context, Poll};

use fog_transport::Boxed;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

/// Greatest number of interfaces tried.
const MAX_INTERFACES: usize = 16;

/// Dials link-local addresses; the other TCP transport listens.
#[derive(Default)]
pub(crate) struct ScopedTcp;

/// Returns IP and port of a plain link-local address, otherwise `None`.
fn link_local(address: &Multiaddr) -> Option<(Ipv6Addr, u16)> {
    let mut parts = address.iter().filter(|part| !matches!(part, Protocol::P2p(_)));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Protocol::Ip6(ip)), Some(Protocol::Tcp(port)), None) if ip.is_unicast_link_local() => {
            Some((ip, port))
        }
        _ => None,
    }
}

/// Returns the interfaces with link-local addresses from the kernel's list, which has address, index in
/// hexadecimal, prefix, scope, flags and name.
fn scopes_in(list: &str) -> Vec<u32> {
    let mut scopes: Vec<u32> = list
        .lines()
        .filter(|line| line.starts_with("fe8"))
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.truncate(MAX_INTERFACES);
    scopes
}

async fn connect(ip: Ipv6Addr, port: u16) -> io::Result<Compat<TcpStream>> {
    // The list exists only on Linux; on other systems the address cannot be reached.
    let list = tokio::fs::read_to_string("/proc/net/if_inet6").await?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for scope in scopes_in(&list) {
        match TcpStream::connect(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream.compat());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Transport for ScopedTcp {
    type Output = Compat<TcpStream>;
    type Error = io::Error;
    type ListenerUpgrade = Pending<io::Result<Compat<TcpStream>>>;
    type Dial = Boxed<io::Result<Compat<TcpStream>>>;

    fn listen_on(&mut self, _id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _id: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        match link_local(&address) {
            Some((ip, port)) => Ok(Box::pin(connect(ip, port))),
            None => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_with_link_local_addresses_are_read_from_the_kernel_s_list() {
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fe80000000000000021122fffe334455 0a 40 20 80     eth0\n\
                    fd770000000000000000000000000001 0a 40 00 80     eth0\n\
                    fe80000000000000021122fffe334456 02 40 20 80    wlan0\n";
        assert_eq!(scopes_in(list), [2, 10]);
        assert_eq!(scopes_in("nonsense\nfe80"), []);
    }

    #[test]
    fn only_link_local_addresses_are_taken() {
        for (text, is_ours) in [
            ("/ip6/fe80::1/tcp/4", true),
            ("/ip6/fd00::1/tcp/4", false),
            ("/ip6/fe80::1/tcp/4/ws", false),
            ("/ip6/fe80::1/udp/4/quic-v1", false),
        ] {
            assert_eq!(link_local(&text.parse().unwrap()).is_some(), is_ours, "{text}");
        }
    }
}
