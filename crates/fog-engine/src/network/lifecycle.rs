//! Network threads: starting and stopping them by the rules, and the traffic that is allowed.

use std::time::Duration;

use fog_api::settings::keys;
use fog_libp2p::Config;
use fog_transport::{PeerClass, Reach};
use fog_types::NodeId;

use crate::context::Context;
use crate::effects::Input;
use crate::network::runtime::Net;
use crate::network::{Known, Network};

/// Key of the traffic of this period among the stored settings.
pub(crate) const TRAFFIC_KEY: &str = "_traffic";
/// Number of known devices that are dialled at the start: first the most recent of those with work in
/// either direction, up to half of the places, then the most recent of all, so that invented nodes cannot
/// take all places.
const CALLED: usize = 32;
/// Time after which a network that could not be started is tried again.
const RETRY: Duration = Duration::from_secs(10);

impl Network {
    /// Reason why no traffic is allowed although a network was joined.
    fn forbidden(&self, ctx: &Context) -> Option<String> {
        if !ctx.settings.flag(keys::NETWORK_WHEN_METERED) && ctx.rules.readings().metered == Some(true) {
            return Some("the connection is metered; nothing is sent until it is not".to_owned());
        }
        let cap = ctx.data_cap();
        (cap > 0 && ctx.traffic.used() >= cap)
            .then(|| format!("the data limit of {} in 30 days is used up", fog_types::ByteCount(cap)))
    }

    pub(crate) fn restart_net(&mut self, ctx: &mut Context) {
        self.retry_at = None;
        self.stop_net(ctx);
        self.check_network(ctx);
    }

    pub(crate) fn stop_net(&mut self, ctx: &mut Context) {
        self.last_stored = None;
        self.count_traffic(ctx);
        ctx.net = None;
        let gone = std::mem::take(&mut ctx.directory.peers).into_keys().collect();
        self.listening.clear();
        self.reach = Reach::Unknown;
        self.advertised = None;
        self.far.clear();
        ctx.out.input(Input::NetworkStopped(gone));
    }

    /// Starts or stops the network according to the joined networks and the rules.
    pub(crate) fn check_network(&mut self, ctx: &mut Context) {
        let wanted = !self.joined.is_empty() && !ctx.is_stopping;
        let forbidden = if wanted { self.forbidden(ctx) } else { None };
        let should_run = wanted && forbidden.is_none();
        if should_run == ctx.net.is_some() {
            if !should_run {
                self.problem = forbidden.unwrap_or_default();
            }
            return;
        }
        if !should_run {
            self.problem = forbidden.unwrap_or_default();
            self.stop_net(ctx);
            return;
        }
        if self.retry_at.is_some_and(|at| at > ctx.now()) {
            return;
        }
        let Some(secret) = ctx
            .key
            .map(|key| blake3::derive_key("fog-compute 2026-11 identity of this device", key.as_slice()))
        else {
            return;
        };
        let mut known = ctx.store.peers(1000).unwrap_or_default();
        let config = Config {
            lan: self.lan,
            open: self.open,
            loopback: ctx.config.network.loopback,
            relay: ctx.config.network.relay,
            port: ctx.config.network.port.unwrap_or(ctx.settings.number(keys::NETWORK_PORT) as u16),
            known: ctx.config.network.known.clone(),
        };
        match start(ctx, &secret, &config) {
            Ok(net) => {
                self.problem.clear();
                for group in &self.groups {
                    net.transport.meet(&group.id().0);
                }
                if self.open {
                    net.transport.meet(blake3::hash(b"fog-compute open network 1").as_bytes());
                }
                // Devices with work in either direction get their places first.
                let has_worked = |node| {
                    let evidence = ctx.directory.evidence(node);
                    evidence.valid + evidence.receipted > 0.0
                };
                let places: Vec<(NodeId, bool)> =
                    known.iter().map(|peer| (peer.node, has_worked(peer.node))).collect();
                let mut first: Vec<NodeId> =
                    places.iter().filter(|(_, is_known)| *is_known).map(|(node, _)| *node).collect();
                first.truncate(CALLED / 2);
                known.sort_by_key(|peer| !first.contains(&peer.node));
                known.truncate(CALLED);
                let begun = ctx.now();
                self.known =
                    known.into_iter().map(|peer| (peer.node, Known::new(peer.addresses, begun))).collect();
                for (node, is_known) in places {
                    if is_known {
                        net.transport.set_class(node, PeerClass::Known);
                    }
                }
                ctx.net = Some(net);
                self.net_began = Some(ctx.now());
                self.join_topics(ctx);
                self.call_known(ctx);
            }
            Err(error) => {
                tracing::warn!(%error, "no network");
                self.problem = error.to_string();
                // The next attempt follows at a later tick, or when a network is joined.
                self.retry_at = Some(ctx.now() + RETRY);
            }
        }
    }

    pub(crate) fn count_traffic(&mut self, ctx: &mut Context) {
        let Some(net) = &ctx.net else { return };
        ctx.traffic.begin(ctx.clock.unix().0);
        let cap = ctx.data_cap();
        for of in net.transport.take_traffic() {
            let relation = ctx.directory.related(of.node);
            ctx.traffic.add(of, &relation);
            if ctx.traffic.is_over_share(of.node, &relation, cap) {
                tracing::debug!(node = %of.node, "it has had its share of the data limit");
                net.transport.cut_off(of.node);
            }
        }
        // Each write waits for the disk; a crash loses at most a minute's count.
        if self.last_stored.is_some_and(|last| ctx.since(last) < Duration::from_secs(60)) {
            return;
        }
        self.last_stored = Some(ctx.now());
        if let Ok(value) = serde_json::to_value(&ctx.traffic)
            && let Err(error) = ctx.store.set_settings(&[(TRAFFIC_KEY.to_owned(), Some(value))])
        {
            tracing::warn!(%error, "the bytes of this period are not remembered");
        }
    }
}

/// Starts the network of a device.
fn start(ctx: &Context, secret: &[u8; 32], config: &Config) -> anyhow::Result<Net> {
    #[cfg(test)]
    if let (Some(network), Some(me)) = (&ctx.in_memory, ctx.me()) {
        return Ok(Net::in_memory(network, me, ctx.to_self.clone()));
    }
    Net::start(secret, config, ctx.to_self.clone())
}
