//! Commands of front ends: which subsystem answers them.

use fog_api::{ApiError, Command, JobCommand, NetworkCommand, NetworkView, Reply};
use fog_types::UnixMillis;

use crate::doctor;
use crate::effects::Answer;
use crate::event_loop::Engine;
use crate::query::to_api;
use crate::views;

impl Engine {
    pub(crate) fn command(&mut self, command: Command, answer: Answer) {
        let reply = match command {
            Command::Duty(command) => self.duty.command(&mut self.ctx, command),
            Command::Settings(command) => self.duty.settings_command(&mut self.ctx, command),
            Command::Jobs(JobCommand::Show { id, tasks_from }) => {
                let withheld = self.exchange.why_waiting(id).map(str::to_owned);
                return self.tasks.show(&mut self.ctx, id, tasks_from, withheld, answer);
            }
            Command::Jobs(command) => return self.tasks.command(&mut self.ctx, command, answer),
            Command::Placement(command) => return self.exchange.command(&mut self.ctx, command, answer),
            Command::Network(NetworkCommand::Invite { group }) => {
                return self.network.invite_when_listening(&mut self.ctx, group, answer);
            }
            Command::Network(command) => self.network_command(command),
            Command::Chat(command) => return self.chat.command(&mut self.ctx, command, answer),
            Command::Snapshot => self.snapshot().map(|snapshot| Reply::Snapshot(Box::new(snapshot))),
            Command::History { hours, points } => self.history(hours, points),
            Command::Credits => self.payments.credits(&self.ctx),
            Command::Metrics => self.metrics(),
            Command::Doctor => Ok(self.doctor()),
            Command::Shutdown => {
                self.ctx.is_stopping = true;
                Ok(Reply::Done)
            }
        };
        self.ctx.out.answer(answer, reply);
    }

    fn network_command(&mut self, command: NetworkCommand) -> Result<Reply, ApiError> {
        match command {
            NetworkCommand::Join { what } => self.network.join_network(&mut self.ctx, &what)?,
            NetworkCommand::Leave { name } => self.network.leave_network(&mut self.ctx, name.as_deref())?,
            NetworkCommand::Peers => {
                return self.network.peers(&self.ctx, &|node| self.exchange.counts_of(node));
            }
            NetworkCommand::Show | NetworkCommand::Invite { .. } => {}
        }
        self.settle();
        Ok(Reply::Network(Box::new(self.network_view())))
    }

    /// View of the networks and of the devices in them.
    pub(crate) fn network_view(&self) -> NetworkView {
        self.network.view(&self.ctx, &|node| self.exchange.counts_of(node))
    }

    fn history(&self, hours: u32, points: u32) -> Result<Reply, ApiError> {
        let now = self.ctx.clock.unix();
        let since = UnixMillis(now.0 - i64::from(hours.min(24 * 400)) * 3_600_000);
        let samples = self.ctx.store.samples(since, now, points.clamp(1, 2000)).map_err(to_api)?;
        Ok(Reply::History(samples.into_iter().map(views::history_point).collect()))
    }

    fn doctor(&self) -> Reply {
        let (faults, filter) = self.duty.faults();
        Reply::Checks(doctor::checks(doctor::Known {
            readings: self.ctx.rules.readings(),
            data_folder: self.ctx.store.folder(),
            has_examples: self.ctx.config.examples.is_some(),
            rejected: filter.rejected(),
            faults,
            sandbox: self.sandbox,
            disk: self.ctx.store.disk_use().ok().map(|found| (found, self.ctx.settings.storage_cap())),
            key_problem: &self.ctx.key_problem,
            clocks: self.network.clock_view(&self.ctx),
        }))
    }
}
