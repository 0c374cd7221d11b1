//! The libp2p behaviours in use, each with the settings whose defaults do not fit.

use std::sync::Arc;
use std::time::Duration;

use fog_transport::MAX_GOSSIP;
use libp2p::gossipsub::{self, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds, ValidationMode};
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    StreamProtocol, autonat, connection_limits, dcutr, identify, identity::Keypair, ping, relay, upnp,
};

use crate::Config;
use crate::gate::Gate;
use crate::neighbours::Neighbours;
use crate::relay_places::RelayPlaces;

/// Separate protocol name, so that nodes of other networks stay out of the routing table.
pub(crate) const KAD: StreamProtocol = StreamProtocol::new("/fog/kad/1");
/// Protocol that identifies a relay.
pub(crate) const RELAY_HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
/// Greatest number of buffered bytes of gossip. The library applies this limit to its whole buffer, not to
/// one message: the rest of a message, and the 8 KiB of one read with any messages that follow.
const MAX_FRAME: usize = 32 << 10;
/// Greatest number of message ids announced at once, of some 80 bytes each.
const NAMED_AT_ONCE: usize = 128;
const _: () =
    assert!(MAX_GOSSIP + 1024 + (8 << 10) < MAX_FRAME && NAMED_AT_ONCE * 100 + (8 << 10) < MAX_FRAME);
const IDENTIFY: &str = "/fog/1";

/// Refuses new connections once this process uses a gigabyte.
#[cfg(not(target_os = "ios"))]
type Memory = libp2p::memory_connection_limits::Behaviour;
#[cfg(target_os = "ios")]
type Memory = libp2p::swarm::dummy::Behaviour;

fn memory() -> Memory {
    #[cfg(not(target_os = "ios"))]
    return Memory::with_max_bytes(1 << 30);
    #[cfg(target_os = "ios")]
    return Memory {};
}

#[derive(NetworkBehaviour)]
pub(crate) struct Parts {
    gate: Gate,
    limits: connection_limits::Behaviour,
    memory: Memory,
    pub(crate) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) gossip: gossipsub::Behaviour,
    neighbours: Toggle<Neighbours>,
    autonat: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
    relay_client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    dcutr: dcutr::Behaviour,
    upnp: Toggle<upnp::tokio::Behaviour>,
    pub(crate) streams: libp2p_stream::Behaviour,
}

impl Parts {
    pub(crate) fn new(
        key: &Keypair,
        relay_client: relay::client::Behaviour,
        config: &Config,
        gate: Gate,
        places: &Arc<RelayPlaces>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let me = key.public().to_peer_id();
        // Enough links for one home, with room for nodes that only look something up; the gate limits
        // strangers.
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_outgoing(Some(64))
            .with_max_established_incoming(Some(512))
            .with_max_established_outgoing(Some(256))
            // The swarm closes connections beyond half of this number. A node with a new address must get
            // in for that: its former connections are still open here.
            .with_max_established_per_peer(Some(8));
        let mut kad_config = kad::Config::new(KAD);
        kad_config
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_periodic_bootstrap_interval(Some(Duration::from_secs(900)))
            .set_provider_record_ttl(Some(Duration::from_secs(3600)))
            .set_provider_publication_interval(Some(Duration::from_secs(1200)))
            .disjoint_query_paths(true);
        let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), kad_config);
        // A node without a confirmed address is a Kademlia client; on a local network every node can be
        // reached.
        kad.set_mode((config.lan || config.relay || config.loopback).then_some(kad::Mode::Server));
        let gossip_config = gossipsub::ConfigBuilder::default()
            .heartbeat_interval(Duration::from_secs(5))
            .validation_mode(ValidationMode::Strict)
            .validate_messages()
            .max_transmit_size(MAX_FRAME)
            .max_control_messages_sent(NAMED_AT_ONCE)
            .build()?;
        let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), gossip_config)?;
        gossip.with_peer_score(PeerScoreParams::default(), PeerScoreThresholds::default())?;
        let neighbours = if config.lan && !config.loopback { Some(Neighbours::new(me)?) } else { None };
        let relay = config.relay.then(|| {
            let mut relay = relay::Behaviour::new(me, places.config());
            relay.set_status(Some(relay::Status::Enable));
            relay
        });
        Ok(Self {
            gate,
            limits: connection_limits::Behaviour::new(limits),
            memory: memory(),
            identify: identify::Behaviour::new(
                identify::Config::new(IDENTIFY.to_owned(), key.public())
                    .with_agent_version(format!("fog-compute/{}", env!("CARGO_PKG_VERSION")))
                    .with_push_listen_addr_updates(true),
            ),
            // QUIC detects silence itself; ping does so for TCP, and measures the round-trip time.
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(Duration::from_secs(15))
                    .with_timeout(Duration::from_secs(10)),
            ),
            kad,
            gossip,
            neighbours: neighbours.into(),
            autonat: (!config.loopback).then(autonat::v2::client::Behaviour::default).into(),
            autonat_server: (!config.loopback).then(autonat::v2::server::Behaviour::default).into(),
            relay_client,
            relay: relay.into(),
            dcutr: dcutr::Behaviour::new(me),
            upnp: (config.open && !config.loopback).then(upnp::tokio::Behaviour::default).into(),
            streams: libp2p_stream::Behaviour::new(),
        })
    }
}

/// Greatest number of providers of a meeting place that are dialled at once.
pub(crate) const MEET_AT_MOST: usize = 16;
