//! Hellos: the first message over a link, by which two nodes learn what they share and lend.

use fog_api::settings::keys;
use std::time::Duration;

use fog_grid::{Capacity, Hello, Message, Relation, VERSION};
use fog_transport::PeerClass;
use fog_types::NodeId;

use crate::context::Context;
use crate::directory::Peer;
use crate::effects::Input;
use crate::network::Network;

/// Number of hellos to a device that does not answer: nodes of other programs never do.
const MOST_ASKED: u8 = 6;

/// Shortest time between two accepted restarts of a device, since each costs a write and a new link.
const ANEW: Duration = Duration::from_secs(5);

/// Most tasks that a device can claim to run at once.
const MOST_SLOTS: u16 = 1024;

impl Network {
    /// Tells a device what this one lends to it.
    pub(crate) fn send_hello(&mut self, ctx: &mut Context, node: NodeId, capacity: Capacity) {
        if let Some(hello) = self.hello(ctx, node, capacity) {
            ctx.say(node, Message::Hello(hello));
        }
    }

    fn hello(&self, ctx: &Context, to: NodeId, capacity: Capacity) -> Option<Hello> {
        let me = ctx.me()?;
        let groups = self.groups.iter().take(16).map(|group| (group.id(), group.proof(me, to))).collect();
        Some(Hello {
            version: VERSION,
            name: self.device_name(ctx),
            lan: self.lan,
            open: self.open,
            groups,
            capacity,
            has_heard: ctx.directory.related(to) != Relation::Stranger,
            clock_ms: ctx.clock.unix().0,
        })
    }

    pub(crate) fn device_name(&self, ctx: &Context) -> String {
        let set = ctx.settings.text(keys::DEVICE_NAME).trim();
        let name = if set.is_empty() { fog_probes::host_name() } else { set.to_owned() };
        name.chars().filter(|c| !c.is_control()).take(60).collect()
    }

    /// Repeats the hello on a new link to devices that have not answered: the answer may have gone to a
    /// dead connection, which neither side notices at once.
    pub(crate) fn ask_the_silent(&mut self, ctx: &mut Context) {
        let mut silent = Vec::new();
        for (node, peer) in &mut ctx.directory.peers {
            if peer.route.is_some() && peer.relation.is_none() && peer.asked < MOST_ASKED {
                peer.asked += 1;
                silent.push(*node);
            }
        }
        for node in silent {
            self.renew_link(ctx, node);
            ctx.out.input(Input::HelloWanted(node));
        }
    }

    /// Drops the control link to a device, so that the next message opens a new one.
    fn renew_link(&self, ctx: &Context, node: NodeId) {
        if let Some(net) = &ctx.net {
            net.forget(node);
        }
    }

    pub(crate) fn handle_hello(&mut self, ctx: &mut Context, node: NodeId, hello: &Hello) {
        let Some(me) = ctx.me() else { return };
        // A device is reported connected before its hello: this one is gone, and its hello was read late.
        if !ctx.directory.peers.contains_key(&node) {
            return;
        }
        let is_local = ctx
            .directory
            .peers
            .get(&node)
            .and_then(|peer| peer.route.as_ref())
            .is_some_and(|route| route.is_local);
        let shared = self.groups.iter().find(|group| {
            let id = group.id();
            hello.groups.iter().any(|(theirs, proof)| *theirs == id && group.accepts(*proof, node, me))
        });
        let relation = match shared {
            Some(group) => Relation::Group(group.name.clone()),
            None if self.lan && hello.lan && is_local => Relation::Lan,
            None if self.open && hello.open => Relation::Open,
            None => Relation::Stranger,
        };
        let is_fitting = hello.version == VERSION && relation != Relation::Stranger;
        if is_fitting {
            self.note_clock(ctx, node, hello.clock_ms);
        }
        ctx.out.input(Input::PeerRoom(node));
        let now = ctx.now();
        let peer: &mut Peer = ctx.directory.peers.entry(node).or_default();
        let is_new = peer.relation.as_ref() != Some(&relation);
        if let Some(net) = &ctx.net {
            let is_related = relation != Relation::Stranger;
            net.relations.set(node, is_related);
            net.transport.set_class(node, if is_related { PeerClass::Related } else { PeerClass::Stranger });
        }
        peer.name.clone_from(&hello.name);
        // Exaggerated claims are cut to the size of the largest machine.
        let slots = hello.capacity.slots.min(MOST_SLOTS);
        peer.capacity = Capacity { slots, free: hello.capacity.free.min(slots), ..hello.capacity };
        peer.promised = 0;
        peer.relation = Some(relation);
        // A device that claims to restart all the time is not believed each time.
        let begins_anew = !is_new
            && !hello.has_heard
            && peer.began_anew.is_none_or(|last| now.saturating_duration_since(last) >= ANEW);
        if begins_anew {
            peer.began_anew = Some(now);
        }
        let has_turned = is_new && is_fitting && peer.writes.take(now);
        if is_fitting && (has_turned || begins_anew) {
            let addresses = peer.addresses.clone();
            self.remember_addresses(ctx, node, &addresses);
            if !is_new {
                // The device has restarted, here or at another address: its old connections are dead.
                if let Some(net) = &ctx.net {
                    net.transport.drop_old_connections(node);
                }
                self.renew_link(ctx, node);
            }
            // The device may have connected before it knew the relation, or what it waits for.
            ctx.out.input(Input::HelloWanted(node));
            ctx.out.input(Input::PeerReturned { node, is_new_run: !hello.has_heard });
        }
    }
}
