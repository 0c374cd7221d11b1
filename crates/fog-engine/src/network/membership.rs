//! Networks: joining and leaving them, and the addresses of their devices.

use fog_api::{ApiError, JoinedNetwork};
use fog_grid::{ContentKey, Evidence, Group, Invite, Sealer};
use fog_store::NetworkRow;
use fog_transport::PeerClass;
use fog_types::{BlobId, ErrorKind, NodeId};

use crate::context::Context;
use crate::network::errors::NetworkError;
use crate::network::lifecycle::TRAFFIC_KEY;
use crate::network::{Known, Network};
use crate::query::to_api;

pub(crate) const LAN: &str = "lan";
pub(crate) const OPEN: &str = "open";

impl Network {
    /// Reads the joined networks, to take part again.
    pub(crate) fn restore(&mut self, ctx: &mut Context) -> Result<(), fog_store::StoreError> {
        for row in ctx.store.networks()? {
            self.know_network(ctx, &row);
        }
        for row in ctx.store.peers(1000)? {
            if let Ok(evidence) = serde_json::from_str::<Evidence>(&row.evidence) {
                ctx.directory.evidence.insert(row.node, evidence);
            }
        }
        if let Some(traffic) = ctx.store.settings()?.get(TRAFFIC_KEY) {
            ctx.traffic = serde_json::from_value(traffic.clone()).unwrap_or_default();
        }
        Ok(())
    }

    fn know_network(&mut self, ctx: &mut Context, row: &NetworkRow) {
        let is_group = row.sealed.is_some();
        match (&row.sealed, row.name.as_str()) {
            (Some(sealed), _) => match self.open_group(ctx, row, sealed) {
                Some(group) => self.groups.push(group),
                None => {
                    return tracing::error!(
                        name = row.name,
                        "a group cannot be entered: its secret does not open with this device's key"
                    );
                }
            },
            (None, LAN) => self.lan = true,
            (None, _) => self.open = true,
        }
        self.joined.push(JoinedNetwork { name: row.name.clone(), is_group, joined_ms: row.joined.0 });
    }

    /// Creates the sealer of a group's secret. Each entry has its own key, so a fixed position in the
    /// cipher stream is used once.
    fn group_sealer(&self, ctx: &Context, name: &str, joined_ms: i64, size: u64) -> Sealer {
        let about = blake3::hash(format!("{joined_ms} {name}").as_bytes());
        Sealer::new(&ContentKey::derive(&ctx.secret, BlobId(*about.as_bytes())), size)
    }

    fn open_group(&self, ctx: &Context, row: &NetworkRow, sealed: &[u8]) -> Option<Group> {
        let open = self.group_sealer(ctx, &row.name, row.joined.0, 32).open(0, sealed).ok()?;
        Some(Group { name: row.name.clone(), secret: open.try_into().ok()? })
    }

    pub(crate) fn join_network(&mut self, ctx: &mut Context, what: &str) -> Result<(), ApiError> {
        if ctx.identity.is_none() {
            return Err(NetworkError::NoKeyToJoin.into());
        }
        let what = what.trim();
        let before = self.joined.len();
        if what == LAN || what == OPEN {
            if !self.joined.iter().any(|known| known.name == what) {
                self.add_network(ctx, what, None)?;
            }
        } else {
            let invite: Invite = what.parse().map_err(|error: fog_grid::InviteError| {
                NetworkError::BadInvitation { why: error.to_string() }
            })?;
            if Some(invite.node) == ctx.me() {
                return Err(NetworkError::OwnInvitation.into());
            }
            if !self.groups.iter().any(|known| known.id() == invite.group.id()) {
                let mut group = invite.group.clone();
                let taken = |name: &str| {
                    name == LAN || name == OPEN || self.joined.iter().any(|known| known.name == name)
                };
                if taken(&group.name) {
                    group.name = (2..)
                        .map(|n| format!("{} {n}", invite.group.name))
                        .find(|name| !taken(name))
                        .unwrap_or_default();
                }
                self.add_network(ctx, &group.name.clone(), Some(&group))?;
            }
            self.remember_addresses(ctx, invite.node, &invite.addresses);
            // The user wants these devices dialled now, however often they were before.
            self.called.clear();
            if let Some(net) = &ctx.net {
                net.transport.set_class(invite.node, PeerClass::Known);
            }
            self.known.insert(invite.node, Known::new(invite.addresses, ctx.now()));
        }
        if self.joined.len() == before && ctx.net.is_some() {
            // The device is a member already: existing connections stay.
            self.call_known(ctx);
        } else {
            self.restart_net(ctx);
        }
        Ok(())
    }

    pub(crate) fn add_network(
        &mut self,
        ctx: &mut Context,
        name: &str,
        group: Option<&Group>,
    ) -> Result<(), ApiError> {
        let joined = ctx.clock.unix();
        let sealed = group
            .map(|group| self.group_sealer(ctx, name, joined.0, 32).seal(0, &group.secret))
            .transpose()
            .map_err(|e| ApiError::new(ErrorKind::Bug, e))?;
        let row = NetworkRow { name: name.to_owned(), sealed, joined };
        ctx.store.add_network(&row).map_err(to_api)?;
        ctx.unstored.joins(name);
        self.know_network(ctx, &row);
        Ok(())
    }

    pub(crate) fn leave_network(&mut self, ctx: &mut Context, name: Option<&str>) -> Result<(), ApiError> {
        let leaves: Vec<String> = self
            .joined
            .iter()
            .map(|known| known.name.clone())
            .filter(|known| name.is_none_or(|name| name == known))
            .collect();
        let gone = match ctx.store.remove_network(name) {
            Ok(gone) => {
                ctx.note_left(leaves);
                gone
            }
            Err(error) => {
                let gone = leaves.len();
                ctx.leave_later(leaves, &error);
                gone
            }
        };
        if gone == 0 {
            return Err(name
                .map_or(NetworkError::NoneJoined, |name| NetworkError::NotJoined { name: name.to_owned() })
                .into());
        }
        self.groups.clear();
        self.joined.clear();
        (self.lan, self.open) = (false, false);
        // If the networks cannot be read, all of them are left.
        let stays = ctx
            .store
            .networks()
            .inspect_err(|error| tracing::error!(%error, "the other networks cannot be read"))
            .unwrap_or_default();
        for row in stays.iter().filter(|row| !ctx.unstored.has_left(&row.name)).collect::<Vec<_>>() {
            self.know_network(ctx, row);
        }
        self.restart_net(ctx);
        Ok(())
    }

    /// Networks as the store has them, but for those that were left.
    fn rows(ctx: &Context) -> Option<Vec<NetworkRow>> {
        let rows = ctx
            .store
            .networks()
            .inspect_err(|error| tracing::error!(%error, "the joined networks cannot be read"));
        Some(rows.ok()?.into_iter().filter(|row| !ctx.unstored.has_left(&row.name)).collect())
    }

    /// Whether a network was joined that could not be stored.
    pub(crate) fn is_unlike_rows(&self, ctx: &Context) -> bool {
        Self::rows(ctx).is_some_and(|rows| {
            self.joined.iter().any(|joined| rows.iter().all(|row| row.name != joined.name))
        })
    }

    /// Takes part in the stored networks alone. Requests for invitations into others are refused.
    pub(crate) fn reload(&mut self, ctx: &mut Context) {
        let Some(rows) = Self::rows(ctx) else { return };
        self.groups.clear();
        self.joined.clear();
        (self.lan, self.open) = (false, false);
        for row in &rows {
            self.know_network(ctx, row);
        }
        for (_, answer) in std::mem::take(&mut self.invites) {
            ctx.out.answer(answer, Err(NetworkError::GroupNotStored.into()));
        }
        self.restart_net(ctx);
    }

    pub(crate) fn remember_addresses(&mut self, ctx: &mut Context, node: NodeId, addresses: &[String]) {
        let name = ctx.directory.peers.get(&node).map(|peer| peer.name.as_str()).unwrap_or_default();
        let connected =
            ctx.directory.peers.iter().filter(|(_, peer)| peer.route.is_some()).map(|(node, _)| *node);
        if let Err(error) = ctx.store.touch_peer(node, name, addresses, connected, ctx.clock.unix()) {
            tracing::warn!(%error, "a device is not remembered");
        }
    }
}
