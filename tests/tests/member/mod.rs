//! A group member controlled by a test, which may break the protocol.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::time::Duration;

use fog_grid::{Advert, Capacity, Group, Hello, Identity, Invite, MAX_MESSAGE, Message, TaskOffer, VERSION};
use fog_libp2p::{Config, LibP2p};
use fog_transport::{Channel, Link, NetEvent, PeerClass, Transport as _, read_frame, write_frame};
use fog_types::NodeId;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A group member controlled by the test.
pub struct Member {
    pub net: LibP2p,
    pub events: mpsc::Receiver<NetEvent>,
    pub me: Identity,
    pub victim: NodeId,
}

impl Member {
    /// Connects without a greeting.
    pub async fn connect(invite: &Invite) -> Self {
        let secret: [u8; 32] = rand::random();
        let (net, events) = LibP2p::start(&secret, &Config { loopback: true, ..Config::default() }).unwrap();
        let mut this = Self { net, events, me: Identity::new(&secret), victim: invite.node };
        this.net.dial(invite.node, invite.addresses.clone());
        this.until(|event| matches!(event, NetEvent::Connected { .. }).then_some(())).await;
        // This node accepts all data.
        this.net.set_class(invite.node, PeerClass::Related);
        this
    }

    /// Connects and proves its membership.
    pub async fn join(invite: &Invite) -> Self {
        let this = Self::connect(invite).await;
        this.greet(invite, 0).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        this
    }

    /// Proves its membership, with a clock that is a number of milliseconds ahead.
    pub async fn greet(&self, invite: &Invite, ahead_ms: i64) {
        let proof = invite.group.proof(self.me.node(), invite.node);
        let capacity = Capacity {
            slots: 64,
            free: 64,
            memory: 1 << 40,
            disk: 1 << 40,
            duty: 100,
            speed: 1 << 40,
            battery: None,
            forecast: 1000,
        };
        let groups = vec![(invite.group.id(), proof)];
        let hello = Hello {
            version: VERSION,
            name: "mallory".to_owned(),
            lan: false,
            open: false,
            groups,
            capacity,
            has_heard: false,
            clock_ms: fog_tests::now_ms() + ahead_ms,
        };
        let mut link = self.control().await;
        write_frame(&mut link.pipe, &Message::Hello(hello).encode()).await.unwrap();
    }

    /// Advertises room to the whole group, with a clock that is a number of milliseconds ahead.
    pub fn advertise(&self, group: &Group, ahead_ms: i64) {
        let topic = blake3::Hash::from_bytes(blake3::derive_key(
            "fog-compute 2026-11 topic of a group",
            &group.secret,
        ))
        .to_hex();
        let topic = format!("fog/1/{topic}");
        let capacity = Capacity { slots: 8, free: 8, duty: 100, ..Capacity::default() };
        let at_ms = fog_tests::now_ms() + ahead_ms;
        let advert = Advert {
            node: self.me.node(),
            at_ms,
            name: "mallory".to_owned(),
            capacity,
            wants: 0,
            addresses: Vec::new(),
        };
        self.net.join_topic(&topic);
        self.net.publish(&topic, advert.encode(Some(group), rand::random()));
    }

    pub async fn until<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        loop {
            let event =
                timeout(Duration::from_secs(30), self.events.recv()).await.expect("nothing happens").unwrap();
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    pub async fn control(&self) -> Link {
        self.net.open(self.victim, Channel::Control).await.unwrap()
    }

    /// Waits for an offer, as an extremely fast device.
    pub async fn offered(&mut self) -> TaskOffer {
        let author = self.victim;
        loop {
            let mut link = self
                .until(|event| if let NetEvent::Incoming(link) = event { Some(link) } else { None })
                .await;
            while let Ok(Ok(bytes)) =
                timeout(Duration::from_secs(20), read_frame(&mut link.pipe, MAX_MESSAGE)).await
            {
                if let Ok(Message::Offer(signed)) = Message::decode(&bytes) {
                    return signed.open(author).unwrap();
                }
            }
        }
    }
}
