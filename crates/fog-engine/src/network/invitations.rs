//! Invitations into groups, which wait for an address of this device.

use std::time::{Duration, Instant};

use fog_api::{ApiError, Reply};
use fog_grid::{Group, Invite};
use fog_types::ErrorKind;
use rand::RngExt as _;

use crate::context::Context;
use crate::effects::Answer;
use crate::network::Network;
use crate::network::errors::NetworkError;
use crate::network::membership::{LAN, OPEN};

/// Time in which a new network should report its listening addresses.
const LISTENING: Duration = Duration::from_secs(3);
/// Most characters of a group's name.
const MAX_NAME: usize = 60;
/// Most addresses in an invitation, to keep its QR code readable.
const INVITED: usize = 4;

impl Network {
    /// Answers a request for an invitation, once this device has an address: without one it is useless.
    pub(crate) fn invite_when_listening(&mut self, ctx: &mut Context, group: Option<String>, answer: Answer) {
        let made = self.invite(ctx, group.as_deref());
        if made.is_ok() && self.is_about_to_listen(ctx) {
            return self.invites.push((group, answer));
        }
        ctx.out.answer(answer, made);
    }

    /// Answers the requests for invitations that waited for an address of this device.
    pub(crate) fn answer_invites(&mut self, ctx: &mut Context) {
        if self.invites.is_empty() || self.is_about_to_listen(ctx) {
            return;
        }
        for (group, answer) in std::mem::take(&mut self.invites) {
            let made = self.invite(ctx, group.as_deref());
            ctx.out.answer(answer, made);
        }
    }

    pub(crate) fn invite(&mut self, ctx: &mut Context, group: Option<&str>) -> Result<Reply, ApiError> {
        if ctx.identity.is_none() {
            return Err(NetworkError::NoKeyToInvite.into());
        }
        let name = group.map(str::trim).map_or_else(
            || self.groups.first().map_or("home", |group| &group.name).to_owned(),
            str::to_owned,
        );
        if name == LAN || name == OPEN {
            return Err(NetworkError::NeedsNoInvitation { name }.into());
        }
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(NetworkError::BadGroupName { most: MAX_NAME }.into());
        }
        if !self.groups.iter().any(|known| known.name == name) {
            let group = Group { name: name.clone(), secret: ctx.rng().random() };
            self.add_network(ctx, &name, Some(&group))?;
            self.restart_net(ctx);
        }
        let (Some(group), Some(node)) = (self.groups.iter().find(|known| known.name == name), ctx.me())
        else {
            return Err(ApiError::new(ErrorKind::Bug, "the group that was just made is not there"));
        };
        let mut addresses = self.listening.clone();
        // Relayed addresses come first because they work from anywhere, then those with QUIC.
        addresses.sort_by_key(|address| {
            (!address.contains("p2p-circuit"), !address.contains("quic"), address.contains("/ip6/"))
        });
        addresses.truncate(INVITED);
        let text = Invite { group: group.clone(), node, addresses }.to_string();
        Ok(Reply::Invite { group: name, text })
    }

    /// Whether the network was started a moment ago and has no listening address yet.
    pub(crate) fn is_about_to_listen(&self, ctx: &Context) -> bool {
        ctx.net.is_some()
            && self.listening.is_empty()
            && self.listens_in(ctx).is_some_and(|wait| !wait.is_zero())
    }

    /// Time after which a new network without a listening address is not waited for any more.
    fn listens_in(&self, ctx: &Context) -> Option<Duration> {
        self.net_began.map(|began| LISTENING.saturating_sub(ctx.since(began)))
    }

    /// Returns when requests for invitations are answered even without an address, and why.
    pub(crate) fn poll_timeout(&self, ctx: &Context) -> Option<(Instant, &'static str)> {
        let until =
            self.net_began.filter(|_| !self.invites.is_empty() && self.is_about_to_listen(ctx))? + LISTENING;
        Some((until, "an invitation has waited for an address"))
    }
}
