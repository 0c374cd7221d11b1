//! Swarm: the transports, and the ports on which they listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::upgrade::Version;
use libp2p::core::{ConnectedPoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::metrics::{BandwidthTransport, Registry};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, noise, quic, relay, tcp, websocket};

use super::Swarm;
use crate::StartError;
use crate::any_port::AnyPort;
use crate::doors::{Doors, Timed};
use crate::meter::Meter;
use crate::scoped::ScopedTcp;

type Connections = libp2p::core::transport::Boxed<(PeerId, StreamMuxerBox)>;

/// Builds the transports, each authenticated and counted by node.
pub(super) fn transport(
    key: &Keypair,
    relayed: relay::client::Transport,
    registry: &mut Registry,
    meter: Arc<Meter>,
    doors: Arc<Doors>,
    loopback: bool,
) -> Result<Connections, noise::Error> {
    let streams = || AnyPort(tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)));
    let mut quic_config = quic::Config::new(key);
    quic_config.max_idle_timeout = 20_000;
    quic_config.keep_alive_interval = Duration::from_secs(8);
    // Data that arrive out of order wait in memory, uncounted until the gap is filled; 128 strangers may do
    // so at once. This still allows 20 MB a second on a line of 100 ms.
    quic_config.max_stream_data = 2 << 20;
    quic_config.max_connection_data = 4 << 20;
    // Frames without data are counted too.
    let yamux = {
        let meter = meter.clone();
        move |peer: &PeerId, _: &ConnectedPoint| meter.yamux(*peer)
    };
    let plain = streams()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex_ext(yamux.clone());
    let plain = plain.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let datagrams =
        quic::tokio::Transport::new(quic_config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    // Without a resolver: the one of libp2p finds no configuration on phones.
    let sockets = websocket::Config::new(streams());
    let sockets =
        sockets.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux.clone());
    let sockets = sockets.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let relayed =
        relayed.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux.clone());
    let relayed = relayed.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let scoped =
        ScopedTcp.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex_ext(yamux);
    let scoped = scoped.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let plain = scoped.or_transport(plain).map(|either, _| either.into_inner());
    let direct = plain
        .or_transport(datagrams)
        .map(|either, _| either.into_inner())
        .or_transport(sockets)
        .map(|either, _| either.into_inner());
    let all = relayed.or_transport(direct).map(|either, _| either.into_inner());
    let counted = BandwidthTransport::new(all, registry).map(move |(peer, muxer), endpoint| {
        let counted = meter.connection(peer, StreamMuxerBox::new(muxer), &endpoint);
        (peer, StreamMuxerBox::new(counted))
    });
    // Connections that do not authenticate in time lose their place.
    Ok(Timed::new(counted.boxed(), doors, loopback).boxed())
}

impl Swarm {
    pub(super) fn listen(&mut self) -> Result<(), StartError> {
        let ips: &[IpAddr] = if self.config.loopback {
            &[IpAddr::V4(Ipv4Addr::LOCALHOST)]
        } else {
            &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        };
        let mut problem = String::new();
        let mut count = 0;
        for ip in ips {
            let mut host = Multiaddr::empty();
            host.push(match ip {
                IpAddr::V4(ip) => Protocol::Ip4(*ip),
                IpAddr::V6(ip) => Protocol::Ip6(*ip),
            });
            let port = self.config.port;
            for (what, port) in
                [("quic", port), ("tcp", port), ("ws", if port == 0 { 0 } else { port.saturating_add(1) })]
            {
                let with = |port| {
                    let host = host.clone();
                    match what {
                        "quic" => host.with(Protocol::Udp(port)).with(Protocol::QuicV1),
                        "tcp" => host.with(Protocol::Tcp(port)),
                        _ => host.with(Protocol::Tcp(port)).with(Protocol::Ws("/".into())),
                    }
                };
                match self.swarm.listen_on(with(port)).or_else(|_| self.swarm.listen_on(with(0))) {
                    Ok(_) => count += 1,
                    Err(error) => problem = error.to_string(),
                }
            }
        }
        if count == 0 { Err(StartError::Listen(problem)) } else { Ok(()) }
    }
}
