//! A program that shares only the published libp2p library with Fog: its ping, identify and Kademlia
//! behaviours, as in its tutorials. It meets a real daemon.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::time::Duration;

use fog_tests::Bench;
use futures::StreamExt as _;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, SwarmBuilder, identify, kad, noise, ping, tcp, yamux};

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

fn foreign() -> libp2p::Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| Behaviour {
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(1))),
            identify: identify::Behaviour::new(identify::Config::new(
                "/somebody-else/1".to_owned(),
                key.public(),
            )),
            kad: kad::Behaviour::with_config(
                key.public().to_peer_id(),
                kad::store::MemoryStore::new(key.public().to_peer_id()),
                kad::Config::new(StreamProtocol::new("/fog/kad/1")),
            ),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

#[test]
fn a_program_of_the_library_pings_identifies_and_finds_our_nodes() {
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    let status = a.json(&["network", "status"]).unwrap();
    let peer_of = |bench: &Bench| {
        bench.json(&["network", "status"]).unwrap()["id"].as_str().unwrap().parse::<PeerId>().unwrap()
    };
    let (anna, ben) = (peer_of(&a), peer_of(&b));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for part in ["quic-v1", "/tcp/"] {
        let all = status["addresses"].as_array().unwrap().iter().filter_map(|address| address.as_str());
        let address: Multiaddr = all
            .into_iter()
            .find(|address| address.contains(part) && !address.contains("/ws"))
            .unwrap()
            .parse()
            .unwrap();
        let (mut pinged, mut identified, mut found) = (false, false, false);
        let meeting = async {
            let mut swarm = foreign();
            swarm.dial(address.clone()).unwrap();
            while !(pinged && identified && found) {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                        peer, result: Ok(_), ..
                    })) => pinged |= peer == anna,
                    // Ben may also identify himself once he was found.
                    SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                        peer_id,
                        info,
                        ..
                    })) if peer_id == anna => {
                        assert!(info.agent_version.starts_with("fog-compute/"), "{}", info.agent_version);
                        assert!(
                            info.protocols.iter().any(|protocol| protocol.as_ref() == "/fog/kad/1"),
                            "{:?}",
                            info.protocols
                        );
                        identified = true;
                        for address in info.listen_addrs {
                            swarm.behaviour_mut().kad.add_address(&peer_id, address);
                        }
                        swarm.behaviour_mut().kad.get_closest_peers(ben);
                    }
                    SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                        result: kad::QueryResult::GetClosestPeers(Ok(closest)),
                        step,
                        ..
                    })) => {
                        found |= closest.peers.iter().any(|peer| peer.peer_id == ben);
                        if step.last && !found {
                            // Ben may not be in Anna's routing table yet.
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            swarm.behaviour_mut().kad.get_closest_peers(ben);
                        }
                    }
                    _ => {}
                }
            }
        };
        let met = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), meeting).await });
        assert!(met.is_ok(), "{part}: pinged {pinged}, identified {identified}, found {found}");
    }
    // The program is a stranger: it is no device of the group, and got nothing.
    assert_eq!(a.friends(), 1);
}
