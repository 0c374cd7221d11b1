//! Events of the network, its periodic work, and the announcement of its view.

use fog_api::{EventBody, NetworkView};
use fog_grid::{Capacity, Relation};
use fog_transport::{NetEvent, PeerClass};

use crate::context::Context;
use crate::effects::Input;
use crate::network::Network;

impl Network {
    /// Does the periodic work of the network; `lends` and `wants` are what this device lends now and the
    /// number of its tasks that wait for others.
    pub(crate) fn tick(&mut self, ctx: &mut Context, lends: Capacity, wants: usize, is_hosting: bool) {
        self.ask_the_silent(ctx);
        self.advertise(ctx, lends, wants);
        self.call_known(ctx);
        self.call_far(ctx, lends, wants, is_hosting);
    }

    /// Announces a view of the network if anything in it except bytes has changed.
    pub(crate) fn announce_network(&mut self, ctx: &mut Context, view: NetworkView) {
        let told = &self.told;
        let is_same = NetworkView { received: told.received, sent: told.sent, ..view.clone() } == *told;
        if !is_same {
            self.told = view.clone();
            ctx.announce(EventBody::Network(Box::new(view)));
        }
    }

    /// Handles an event of the network with this number; one that was left may still send events.
    pub(crate) fn net_event(&mut self, ctx: &mut Context, number: u64, event: NetEvent) {
        if ctx.net.as_ref().is_none_or(|net| net.number != number) {
            return;
        }
        match event {
            NetEvent::Connected { node, route } => {
                let is_new = !ctx.directory.peers.contains_key(&node);
                let peer = ctx.directory.peers.entry(node).or_default();
                let was_local = peer.route.as_ref().is_some_and(|route| route.is_local);
                let is_local = route.is_local;
                peer.route = Some(route);
                ctx.out.input(Input::PeerUp(node));
                if is_new || was_local != is_local {
                    ctx.out.input(Input::HelloWanted(node));
                }
            }
            NetEvent::Disconnected { node } => {
                // The traffic is counted while its peer is still known.
                self.count_traffic(ctx);
                let was_related = ctx.directory.related(node) != Relation::Stranger;
                ctx.directory.peers.remove(&node);
                if let Some(net) = &ctx.net {
                    net.forget(node);
                    net.relations.forget(node);
                    net.transport
                        .set_class(node, if was_related { PeerClass::Known } else { PeerClass::Stranger });
                }
                ctx.out.input(Input::PeerDown(node));
            }
            NetEvent::RoundTrip { node, millis } => {
                if let Some(peer) = ctx.directory.peers.get_mut(&node) {
                    peer.round_trip = Some(millis);
                }
            }
            NetEvent::Addresses { node, addresses, .. } => {
                let now = ctx.now();
                if let Some(peer) = ctx.directory.peers.get_mut(&node) {
                    let has_changed = peer.addresses != addresses;
                    peer.addresses.clone_from(&addresses);
                    let is_related =
                        peer.relation.as_ref().is_some_and(|relation| *relation != Relation::Stranger);
                    if has_changed && is_related && peer.writes.take(now) {
                        self.remember_addresses(ctx, node, &addresses);
                    }
                }
            }
            NetEvent::Listening(addresses) => {
                self.listening = addresses;
                self.answer_invites(ctx);
            }
            NetEvent::Reach(reach) => self.reach = reach,
            NetEvent::Gossip { id, from, author, topic, data } => {
                let is_fit = self.handle_advert(ctx, author, &topic, &data);
                if let Some(net) = &ctx.net {
                    net.transport.judge(id, from, is_fit);
                }
            }
            NetEvent::Incoming(_) => {}
        }
    }
}
