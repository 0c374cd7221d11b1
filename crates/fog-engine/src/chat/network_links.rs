//! Chat: links of the mesh to devices of joined networks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog_grid::Relation;
use fog_transport::{Channel, Link, packet_link, packets_over};
use fog_types::NodeId;
use tokio::sync::Notify;

use crate::chat::{Chat, Linked, ServiceCommand};
use crate::context::Context;

/// Longest packet over a network in bytes; files are not split there.
const NETWORK_PACKET: usize = 64 << 10;
/// Most links to one device.
const MAX_LINKS: usize = 3;
/// Wait before a link is tried again with a device that did not accept one.
const LINK_AGAIN: Duration = Duration::from_secs(5);
/// Longest time for opening a link.
const OPENING: Duration = Duration::from_secs(5);

impl Chat {
    fn may_link_chat(&self, ctx: &Context, node: NodeId) -> bool {
        self.driver.is_some() && matches!(ctx.directory.related(node), Relation::Group(_) | Relation::Lan)
    }

    /// Opens a link of the mesh to each device of a group or the local network. Of two devices the one with
    /// the lower id does so at once, and the other only if that fails, since its connection may be a stale
    /// one.
    pub(crate) fn link_chat(&mut self, ctx: &mut Context) {
        let Some(me) = ctx.me() else { return };
        let peers: Vec<NodeId> = ctx
            .directory
            .peers
            .iter()
            .filter(|(_, peer)| peer.route.is_some())
            .map(|(node, _)| *node)
            .collect();
        for node in peers {
            let waits = match self.linked.get(&node) {
                Some(known) => {
                    ctx.since(known.at) < LINK_AGAIN || known.links.iter().any(|link| link.strong_count() > 0)
                }
                None if me > node => {
                    self.linked.insert(node, Linked { at: ctx.now(), links: VecDeque::new() });
                    true
                }
                None => false,
            };
            if waits || !self.may_link_chat(ctx, node) {
                continue;
            }
            let alive = self.alive(ctx.now(), node);
            let (Some(net), Some(driver)) = (&ctx.net, &self.driver) else { return };
            let (transport, orders) = (net.as_transport(), driver.orders());
            net.spawn(async move {
                match tokio::time::timeout(OPENING, transport.open(node, Channel::Chat)).await {
                    Ok(Ok(link)) => carry(link, orders, alive).await,
                    Ok(Err(error)) => tracing::debug!(%node, %error, "no chat link"),
                    Err(_) => tracing::debug!(%node, "no chat link in time"),
                }
            });
        }
    }

    /// Registers a new link to a device. The link lives as long as the returned handle, and ends when that
    /// is notified.
    fn alive(&mut self, now: Instant, node: NodeId) -> Arc<Notify> {
        let alive = Arc::new(Notify::new());
        let known = self.linked.entry(node).or_insert_with(|| Linked { at: now, links: VecDeque::new() });
        known.at = now;
        known.links.retain(|link| link.strong_count() > 0);
        known.links.push_back(Arc::downgrade(&alive));
        // Both sides may open a link at once, and the end of an earlier one may go unnoticed. More links
        // are useless.
        while known.links.len() > MAX_LINKS {
            if let Some(oldest) = known.links.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.notify_one();
            }
        }
        alive
    }

    /// Handles a link of the mesh that a device opened.
    pub(crate) fn handle_link(&mut self, ctx: &mut Context, link: Link) {
        if !self.may_link_chat(ctx, link.node) {
            return;
        }
        let alive = self.alive(ctx.now(), link.node);
        if let (Some(net), Some(driver)) = (&ctx.net, &self.driver) {
            let orders = driver.orders();
            net.spawn(carry(link, orders, alive));
        }
    }
}

/// Carries packets of the mesh over a link until the link or the chat thread ends, or `alive` is notified.
async fn carry(link: Link, orders: tokio::sync::mpsc::WeakSender<ServiceCommand>, alive: Arc<Notify>) {
    let (packets, end) = packet_link(NETWORK_PACKET, false, true);
    // Chat was switched off meanwhile. The sender is not held, so that it does not keep the thread alive.
    let Some(now) = orders.upgrade() else { return };
    if now.send(ServiceCommand::Link(packets)).await.is_err() {
        return;
    }
    drop(now);
    tokio::select! {
        () = packets_over(link.pipe, NETWORK_PACKET as u32, end) => {}
        () = alive.notified() => {}
    }
}
