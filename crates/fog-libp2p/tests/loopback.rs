//! Real nodes over real sockets of this machine.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::future::Pending;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fog_libp2p::{Config, LibP2p};
use fog_transport::{Boxed, Channel, NetEvent, PeerClass, Transport as _, read_frame, write_frame};
use fog_types::NodeId;
use futures::StreamExt as _;
use futures::future::poll_fn;
use libp2p::core::muxing::{StreamMuxer as _, StreamMuxerBox};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, SwarmBuilder, noise, quic, relay, yamux};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

struct Node {
    net: LibP2p,
    events: mpsc::Receiver<NetEvent>,
    addresses: Vec<String>,
}

async fn node(seed: u8, config: Config) -> Node {
    let (net, events) = LibP2p::start(&[seed; 32], &Config { loopback: true, ..config }).unwrap();
    let mut node = Node { net, events, addresses: Vec::new() };
    while node.addresses.len() < 3 {
        if let NetEvent::Listening(all) = node.next().await {
            node.addresses = all;
        }
    }
    node
}

impl Node {
    async fn next(&mut self) -> NetEvent {
        timeout(Duration::from_secs(30), self.events.recv()).await.expect("nothing happens").unwrap()
    }

    fn on(&self, part: &str) -> Vec<String> {
        self.addresses.iter().filter(|address| address.contains(part)).cloned().collect()
    }

    async fn until<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }
}

#[tokio::test]
async fn links_over_quic_tcp_and_websocket() {
    let mut server = node(1, Config::default()).await;
    for (seed, part, name) in [(2, "quic-v1", "quic"), (3, "/tcp/", "tcp"), (4, "/ws", "websocket")] {
        let mut client = node(seed, Config::default()).await;
        let only: Vec<String> =
            server.on(part).into_iter().filter(|a| name != "tcp" || !a.contains("/ws")).collect();
        client.net.dial(server.net.local(), only);
        let route = client
            .until(|event| if let NetEvent::Connected { route, .. } = event { Some(route) } else { None })
            .await;
        assert_eq!((route.transport, route.is_relayed, route.is_local), (name, false, true));
        let mut link = client.net.open(server.net.local(), Channel::Control).await.unwrap();
        write_frame(&mut link.pipe, name.as_bytes()).await.unwrap();
        let mut theirs =
            server.until(|event| if let NetEvent::Incoming(link) = event { Some(link) } else { None }).await;
        assert_eq!((theirs.node, theirs.channel), (client.net.local(), Channel::Control));
        assert_eq!(read_frame(&mut theirs.pipe, 100).await.unwrap(), name.as_bytes());
        let (received, sent) = client.net.traffic();
        assert!(received > 100 && sent > 100, "{received} {sent}");
        drop(client);
        let gone = server
            .until(|event| if let NetEvent::Disconnected { node } = event { Some(node) } else { None })
            .await;
        assert_eq!(gone, theirs.node);
    }
}

#[tokio::test]
async fn content_goes_beside_libp2p_on_one_network_and_is_counted_and_cut_like_all_else() {
    const SIZE: usize = 4 << 20;
    let mut server = node(5, Config::default()).await;
    let mut client = node(6, Config { known: server.on("quic-v1"), ..Config::default() }).await;
    client.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
    server.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
    let libp2p = |node: &Node| {
        let metrics = node.net.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with("libp2p_bandwidth_bytes_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let mut link = client.net.open(server.net.local(), Channel::Content).await.unwrap();
    let mut theirs =
        server.until(|event| if let NetEvent::Incoming(link) = event { Some(link) } else { None }).await;
    assert_eq!((theirs.node, theirs.channel), (client.net.local(), Channel::Content));
    let before = libp2p(&server);
    let sending = tokio::spawn(async move {
        write_frame(&mut theirs.pipe, &vec![7; SIZE]).await.unwrap();
        theirs
    });
    assert_eq!(read_frame(&mut link.pipe, SIZE as u32).await.unwrap(), vec![7; SIZE]);
    let mut theirs = sending.await.unwrap();
    assert!(libp2p(&server) - before < SIZE as u64 / 2, "it went through libp2p");
    assert!(
        server.net.traffic().1 > SIZE as u64 && client.net.traffic().0 > SIZE as u64,
        "it was not counted"
    );
    // Leaving the network ends the link at both ends.
    drop(client);
    assert!(read_frame(&mut link.pipe, 64).await.is_err());
    assert!(read_frame(&mut theirs.pipe, 64).await.is_err());
}

/// Covers both kinds of dials from the port on which the node listens.
#[tokio::test]
async fn a_port_that_something_else_has_on_another_address_keeps_nobody_from_calling() {
    let server = node(51, Config::default()).await;
    let port =
        |address: &String| address.split('/').nth(4).and_then(|port| port.parse::<u16>().ok()).unwrap();
    for (seed, part) in [(52, "/tcp/"), (53, "/ws")] {
        let mut client = node(seed, Config::default()).await;
        let others: Vec<_> = client
            .on("/tcp/")
            .iter()
            .map(|address| std::net::TcpListener::bind(("127.0.0.9", port(address))).unwrap())
            .collect();
        let only: Vec<String> =
            server.on(part).into_iter().filter(|a| part == "/ws" || !a.contains("/ws")).collect();
        client.net.dial(server.net.local(), only);
        client.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
        drop(others);
    }
}

/// Expects a delay, since each stream costs libp2p time that the engine does not count.
#[tokio::test]
async fn streams_of_a_related_node_wait_for_their_turn() {
    let mut server = node(7, Config::default()).await;
    for (seed, part) in [(8, "quic-v1"), (9, "/tcp/")] {
        let mut client = node(seed, Config::default()).await;
        server.net.set_class(client.net.local(), PeerClass::Related);
        client.net.dial(
            server.net.local(),
            server.on(part).into_iter().filter(|address| !address.contains("/ws")).collect(),
        );
        client.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
        let begun = tokio::time::Instant::now();
        for number in 0..650 {
            client
                .net
                .open(server.net.local(), Channel::Control)
                .await
                .unwrap_or_else(|error| panic!("{part}: stream {number}: {error}"));
            server.until(|event| matches!(event, NetEvent::Incoming(_)).then_some(())).await;
        }
        let taken = begun.elapsed();
        assert!(
            taken > Duration::from_secs(2),
            "{part}: 650 streams were taken in {taken:?}; 512 at once and 50 a second were to be"
        );
    }
}

#[tokio::test]
async fn nodes_of_a_meeting_place_find_each_other_through_a_third() {
    let middle = node(11, Config::default()).await;
    let known = middle.on("quic-v1");
    let mut a = node(12, Config { known: known.clone(), ..Config::default() }).await;
    let b = node(13, Config { known, ..Config::default() }).await;
    b.net.meet(&[7; 32]);
    a.net.meet(&[7; 32]);
    let wanted = b.net.local();
    timeout(
        Duration::from_secs(90),
        a.until(|event| matches!(event, NetEvent::Connected { node, .. } if node == wanted).then_some(())),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn gossip_reaches_who_is_not_connected_once_it_was_judged_fit() {
    let mut middle = node(21, Config::default()).await;
    let known = middle.on("quic-v1");
    let a = node(22, Config { known: known.clone(), ..Config::default() }).await;
    let mut c = node(23, Config { known, ..Config::default() }).await;
    for node in [&middle.net, &a.net, &c.net] {
        node.join_topic("t");
    }
    let author = a.net.local();
    let judging = tokio::spawn(async move {
        loop {
            let (id, from) =
                middle
                    .until(|event| {
                        if let NetEvent::Gossip { id, from, .. } = event { Some((id, from)) } else { None }
                    })
                    .await;
            middle.net.judge(id, from, true);
        }
    });
    let hearing =
        tokio::spawn(async move {
            c.until(|event| {
                if let NetEvent::Gossip { author, data, .. } = event { Some((author, data)) } else { None }
            })
            .await
        });
    for n in 0..60u8 {
        if hearing.is_finished() {
            break;
        }
        a.net.publish("t", vec![n; 8]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (who, data) = hearing.await.unwrap();
    assert_eq!((who, data.len()), (author, 8));
    judging.abort();
}

/// Sends messages in a row, which arrive in one piece and must not be taken for one message that is too
/// long.
#[tokio::test]
async fn large_gossip_in_a_row_arrives() {
    let mut a = node(24, Config::default()).await;
    let known = a.on("quic-v1");
    let mut b = node(25, Config { known, ..Config::default() }).await;
    for node in [&a.net, &b.net] {
        node.join_topic("t");
    }
    let other = b.net.local();
    a.until(|event| matches!(event, NetEvent::Connected { node, .. } if node == other).then_some(())).await;
    let (to, mut heard) = mpsc::channel(256);
    let hearing = tokio::spawn(async move {
        loop {
            let (id, from, data) = b
                .until(|event| {
                    if let NetEvent::Gossip { id, from, data, .. } = event {
                        Some((id, from, data))
                    } else {
                        None
                    }
                })
                .await;
            b.net.judge(id, from, true);
            to.send(data).await.unwrap();
        }
    });
    for n in 0..60u8 {
        a.net.publish("t", vec![n; 8]);
        if timeout(Duration::from_millis(500), heard.recv()).await.is_ok() {
            break;
        }
    }
    // The largest total that a stranger may send.
    for n in 0..24u8 {
        a.net.publish("t", vec![n; 3500]);
    }
    let mut large = std::collections::BTreeSet::new();
    while large.len() < 24 {
        let Ok(Some(data)) = timeout(Duration::from_secs(10), heard.recv()).await else { break };
        if data.len() == 3500 {
            large.insert(data[0]);
        }
    }
    assert_eq!(large.len(), 24, "the stream broke off");
    hearing.abort();
}

#[tokio::test]
async fn what_nobody_has_is_not_reached() {
    let a = node(31, Config::default()).await;
    assert!(a.net.open(NodeId([9; 32]), Channel::Content).await.is_err());
}

#[tokio::test]
async fn half_open_connections_of_one_address_refuse_nobody_else() {
    let server = node(41, Config::default()).await;
    let port: u16 = server
        .on("/tcp/")
        .iter()
        .find(|a| !a.contains("/ws"))
        .unwrap()
        .split('/')
        .nth(4)
        .unwrap()
        .parse()
        .unwrap();
    // The connections are opened and send nothing.
    let mut silent = Vec::new();
    for n in 0..300u16 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2 + (n % 4) as u8], 0).into()).unwrap();
        if let Ok(Ok(stream)) =
            timeout(Duration::from_secs(2), socket.connect(([127, 0, 0, 1], port).into())).await
        {
            silent.push(stream);
        }
    }
    let only: Vec<String> = server.on("/tcp/").into_iter().filter(|a| !a.contains("/ws")).collect();
    let mut client = node(42, Config::default()).await;
    client.net.dial(server.net.local(), only);
    let met = client.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(()));
    // Shorter than the time limit of half-open connections.
    timeout(Duration::from_secs(8), met).await.expect("the half-open connections of others keep it out");
    drop(silent);
}

#[tokio::test]
async fn a_stranger_is_cut_off_and_uses_up_nothing() {
    let mut server = node(43, Config::default()).await;
    let mut client = node(44, Config { known: server.on("quic-v1"), ..Config::default() }).await;
    client.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
    client.net.set_class(server.net.local(), PeerClass::Related);
    let mut link = client.net.open(server.net.local(), Channel::Control).await.unwrap();
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while write_frame(&mut link.pipe, &[7; 10_000]).await.is_ok() && sent < 1000 {
            sent += 1;
        }
        sent
    });
    let mut theirs =
        server.until(|event| if let NetEvent::Incoming(link) = event { Some(link) } else { None }).await;
    let mut read = 0;
    while read_frame(&mut theirs.pipe, 10_000).await.is_ok() {
        read += 10_000;
    }
    assert!(read < 150_000, "{read} bytes of a stranger were read");
    sending.abort();
    let gone = client.net.local();
    server
        .until(|event| matches!(event, NetEvent::Disconnected { node } if node == gone).then_some(()))
        .await;
    assert_eq!(server.net.take_traffic(), vec![], "bytes of this machine count against the cap");
    // The stranger is refused, and a related node may send without limit.
    let mut friend = node(45, Config { known: server.on("quic-v1"), ..Config::default() }).await;
    friend.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
    server.net.set_class(friend.net.local(), PeerClass::Related);
    friend.net.set_class(server.net.local(), PeerClass::Related);
    let mut link = friend.net.open(server.net.local(), Channel::Control).await.unwrap();
    tokio::spawn(async move {
        for _ in 0..100 {
            write_frame(&mut link.pipe, &[7; 10_000]).await.unwrap();
        }
        link
    });
    let mut theirs = server
        .until(|event| match event {
            NetEvent::Incoming(link) => Some(link),
            NetEvent::Connected { node, .. } => {
                assert_ne!(node, gone, "it came back at once");
                None
            }
            _ => None,
        })
        .await;
    for _ in 0..100 {
        read_frame(&mut theirs.pipe, 10_000).await.unwrap();
    }
}

#[tokio::test]
async fn a_stranger_that_only_opens_and_ends_streams_over_quic_is_cut_off() {
    let server = node(46, Config::default()).await;
    let mut quic = quic::tokio::Transport::new(quic::Config::new(&Keypair::generate_ed25519()));
    let address: Multiaddr = server.on("quic-v1").remove(0).parse().unwrap();
    let dialled = quic.dial(address, DialOpts { role: Endpoint::Dialer, port_use: PortUse::New }).unwrap();
    let (_, mut connection) = timeout(Duration::from_secs(30), dialled).await.unwrap().unwrap();
    let mut opened = 0;
    while opened < 10_000 {
        // A dropped stream ends without data.
        let next =
            timeout(Duration::from_secs(60), poll_fn(|cx| Pin::new(&mut connection).poll_outbound(cx)))
                .await
                .expect("it is neither let nor cut off");
        if next.map(drop).is_err() {
            break;
        }
        opened += 1;
    }
    // The number of streams that the other side may have open comes on top.
    assert!(opened < 2000, "{opened} streams were opened");
}

/// Asks a relay for a reservation; returns whether it was refused for lack of places.
async fn is_refused(relay: &Node, key: Keypair) -> bool {
    let builder = SwarmBuilder::with_existing_identity(key).with_tokio().with_quic();
    let builder = builder.with_relay_client(noise::Config::new, yamux::Config::default).unwrap();
    let mut swarm = builder.with_behaviour(|_, client| client).unwrap().build();
    let address: Multiaddr = relay.on("quic-v1").remove(0).parse().unwrap();
    swarm.listen_on(address.with(Protocol::P2pCircuit)).unwrap();
    loop {
        match timeout(Duration::from_secs(30), swarm.select_next_some())
            .await
            .expect("the relay does not answer")
        {
            SwarmEvent::Behaviour(relay::client::Event::ReservationReqAccepted { .. }) => return false,
            SwarmEvent::ListenerClosed { reason, .. } => {
                return format!("{reason:?}").contains("ResourceLimitExceeded");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_relay_has_few_places_for_strangers_and_always_one_for_a_related_node() {
    let relay = node(47, Config { relay: true, ..Config::default() }).await;
    let mut taken = 0;
    for _ in 0..12 {
        taken += usize::from(!is_refused(&relay, Keypair::generate_ed25519()).await);
    }
    assert!((1..=4).contains(&taken), "{taken} strangers of one address have a place");
    let friend = Keypair::generate_ed25519();
    relay.net.set_class(
        NodeId::from_peer_id_bytes(&friend.public().to_peer_id().to_bytes()).unwrap(),
        PeerClass::Related,
    );
    assert!(!is_refused(&relay, friend).await);
}

/// A TCP transport from a chosen address of this machine, since places are shared by address.
struct From4(Ipv4Addr);

impl libp2p::core::Transport for From4 {
    type Output = Compat<TcpStream>;
    type Error = io::Error;
    type ListenerUpgrade = Pending<io::Result<Self::Output>>;
    type Dial = Boxed<io::Result<Self::Output>>;

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
        let from = self.0;
        let port = address
            .iter()
            .find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
            .unwrap();
        Ok(Box::pin(async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            Ok(socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?.compat())
        }))
    }

    fn poll(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

/// Opens a connection that authenticates and then stays silent; `None` when it is refused.
async fn silent(server: &Node, key: &Keypair, from: Ipv4Addr) -> Option<StreamMuxerBox> {
    let address: Multiaddr =
        server.on("/tcp/").into_iter().find(|address| !address.contains("/ws")).unwrap().parse().unwrap();
    let transport = From4(from)
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(key).unwrap())
        .multiplex(yamux::Config::default());
    let dialled =
        transport.boxed().dial(address, DialOpts { role: Endpoint::Dialer, port_use: PortUse::New }).unwrap();
    timeout(Duration::from_secs(5), dialled).await.ok()?.ok().map(|(_, muxer)| muxer)
}

fn id_of(key: &Keypair) -> NodeId {
    NodeId::from_peer_id_bytes(&key.public().to_peer_id().to_bytes()).unwrap()
}

/// Returns when the other side closes the connection.
async fn end_of(connection: &mut StreamMuxerBox) {
    let mut asked = Vec::new();
    while let Ok(stream) = poll_fn(|cx| {
        if let Poll::Ready(Err(error)) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut *connection).poll_inbound(cx)
    })
    .await
    {
        asked.push(stream);
    }
}

#[tokio::test]
async fn idle_strangers_shut_out_neither_a_member_nor_who_is_at_work() {
    let mut server = node(51, Config::default()).await;
    let mut worker = node(52, Config { known: server.on("quic-v1"), ..Config::default() }).await;
    worker.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
    server.net.set_class(worker.net.local(), PeerClass::Related);
    let mut member = node(53, Config::default()).await;
    server.net.set_class(member.net.local(), PeerClass::Known);
    let mut held = Vec::new();
    for n in 0..256_u16 {
        held.extend(
            silent(&server, &Keypair::generate_ed25519(), Ipv4Addr::new(127, 0, 0, 2 + (n % 16) as u8)).await,
        );
    }
    // There are 128 places for strangers: the rest was refused, or replaced an earlier one.
    let (mut staying, mut ended) = (Vec::new(), 0);
    for mut connection in held {
        match timeout(Duration::from_millis(20), end_of(&mut connection)).await {
            Ok(()) => ended += 1,
            Err(_) => staying.push(connection),
        }
    }
    assert!(staying.len() >= 100 && ended >= 100, "{} stay and {ended} were refused", staying.len());
    // The member was here before, and dials from an address without a reserved place while all places are
    // taken.
    member.net.dial(server.net.local(), server.on("quic-v1"));
    let met = member.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(()));
    timeout(Duration::from_secs(20), met).await.expect("a member is shut out");
    // The member is connected and heard.
    for (net, class) in [(&member.net, "a member"), (&worker.net, "a worker")] {
        net.set_class(server.net.local(), PeerClass::Related);
        let mut link = net.open(server.net.local(), Channel::Control).await.unwrap();
        write_frame(&mut link.pipe, class.as_bytes()).await.unwrap();
        let who = net.local();
        let mut theirs = server
            .until(|event| match event {
                NetEvent::Incoming(link) if link.node == who => Some(link),
                NetEvent::Disconnected { node } => {
                    assert_ne!(node, who, "{class} was hung up on");
                    None
                }
                _ => None,
            })
            .await;
        assert_eq!(read_frame(&mut theirs.pipe, 100).await.unwrap(), class.as_bytes());
    }
    // An unknown node, such as a member that was just invited, gets a place as soon as the time for the
    // others' greeting is over.
    let mut new = node(54, Config::default()).await;
    let mut tries = 0;
    loop {
        new.net.dial(server.net.local(), server.on("quic-v1"));
        let stays = async {
            new.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
            new.net.set_class(server.net.local(), PeerClass::Related);
            new.net.open(server.net.local(), Channel::Control).await.is_ok()
        };
        if timeout(Duration::from_secs(3), stays).await == Ok(true) {
            break;
        }
        tries += 1;
        assert!(tries < 15, "a new member is shut out");
    }
    drop(staying);
}

/// Expects the newest connection of a restarted node to stay, and older ones, which are dead, to be closed.
#[tokio::test]
async fn connections_of_before_are_closed_when_a_node_begins_anew() {
    let mut server = node(55, Config::default()).await;
    let key = Keypair::generate_ed25519();
    server.net.set_class(id_of(&key), PeerClass::Related);
    let mut before = silent(&server, &key, Ipv4Addr::LOCALHOST).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut newest = silent(&server, &key, Ipv4Addr::LOCALHOST).await.unwrap();
    // Both connections are open.
    assert!(
        timeout(
            Duration::from_secs(1),
            futures::future::select(Box::pin(end_of(&mut before)), Box::pin(end_of(&mut newest)))
        )
        .await
        .is_err()
    );
    server.net.drop_old_connections(id_of(&key));
    timeout(Duration::from_secs(5), end_of(&mut before)).await.expect("it is still open");
    assert!(timeout(Duration::from_secs(1), end_of(&mut newest)).await.is_err(), "the newest went too");
    while let Ok(event) = server.events.try_recv() {
        assert!(!matches!(event, NetEvent::Disconnected { .. }), "it was taken for gone");
    }
}
