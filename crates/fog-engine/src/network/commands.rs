//! Commands about networks.

use fog_api::{NetworkCommand, Reply};

use crate::effects::Answer;
use crate::event_loop::Engine;

impl Engine {
    pub(crate) fn network_command(&mut self, command: NetworkCommand, answer: Answer) {
        let reply = match command {
            NetworkCommand::Show => Ok(Reply::Network(Box::new(self.network_view()))),
            NetworkCommand::Join { what } => self.join_network(&what),
            NetworkCommand::Leave { name } => self.leave_network(name.as_deref()),
            NetworkCommand::Invite { group } => {
                let made = self.invite(group.as_deref());
                if made.is_ok() && self.is_about_to_listen() {
                    // An invitation without an address is useless.
                    return self.grid.invites.push((group, answer));
                }
                made
            }
            NetworkCommand::Peers => self.peers(),
        };
        self.ctx.out.answer(answer, reply);
    }

    /// Answers the requests for invitations that waited for an address of this device.
    pub(crate) fn answer_invites(&mut self) {
        if self.grid.invites.is_empty() || self.is_about_to_listen() {
            return;
        }
        for (group, answer) in std::mem::take(&mut self.grid.invites) {
            let made = self.invite(group.as_deref());
            self.ctx.out.answer(answer, made);
        }
    }
}
