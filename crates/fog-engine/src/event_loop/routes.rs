//! Routes: which subsystem hears what. Subsystems never call each other.

use fog_grid::Message;
use fog_store::StoreError;

use crate::effects::Input;
use crate::event_loop::Engine;
use crate::message::Heard;
use crate::network::NetworkEvent;

impl Engine {
    /// Passes on what the subsystems tell each other, until none has anything more to say.
    pub(crate) fn settle(&mut self) {
        loop {
            self.tasks.show_load(&mut self.ctx.load);
            self.ctx.load.replay = self.exchange.replay_memory();
            let Some(input) = self.ctx.out.pop_input() else { return };
            if let Some(why) = input.follow_up() {
                self.set_due(why);
            }
            if let Err(error) = self.route(input) {
                tracing::error!(%error, "what follows from a change could not be stored");
            }
        }
    }

    /// Routes a message of the network's threads.
    pub(crate) fn network_event(&mut self, event: NetworkEvent) -> Result<(), StoreError> {
        match event {
            NetworkEvent::Event(number, event) => self.network.net_event(&mut self.ctx, number, event),
            NetworkEvent::Said(node, heard, done) => {
                let handled = match *heard {
                    Heard::Plain(Message::Hello(hello)) => {
                        self.network.handle_hello(&mut self.ctx, node, &hello);
                        Ok(())
                    }
                    heard => self.exchange.handle_message(&mut self.ctx, node, heard),
                };
                if let Some(done) = done {
                    self.ctx.out.signal(done);
                }
                return handled;
            }
            NetworkEvent::ChatLink(link) => self.chat.handle_link(&mut self.ctx, *link),
            NetworkEvent::ContentRequested(link, request, counted) => {
                return self.exchange.content_requested(&mut self.ctx, link, request, counted);
            }
        }
        Ok(())
    }

    fn route(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            // Tasks → exchange.
            Input::TaskStarted { job, units } => self.exchange.host_began(&mut self.ctx, job, units),
            Input::TaskFrozen { job, frozen } => self.exchange.host_frozen(&mut self.ctx, job, frozen),
            Input::TaskProgress { job, units, permille } => {
                self.exchange.host_progress(&mut self.ctx, job, None, units, permille)
            }
            Input::TaskSaved { task, units } => self.exchange.host_saved(&mut self.ctx, task, units),
            Input::TaskWaits(job) => self.exchange.host_waits(&mut self.ctx, job),
            Input::JobEnded(job) => return self.exchange.host_ended(&mut self.ctx, job),
            Input::JobSubmitted(job) => return self.exchange.sync_job(&mut self.ctx, job),
            Input::JobChanged(job) => return self.exchange.job_changed(&mut self.ctx, job),
            Input::LentFailed { task, is_final, not_before } => {
                return self.exchange.sync_failed(&mut self.ctx, task, is_final, not_before);
            }
            Input::LentRecorded { task, winner, placed } => {
                self.exchange.lent_recorded(&mut self.ctx, task, winner, placed)
            }
            Input::LentUnwanted(task) => self.exchange.lent_unwanted(task),
            // Exchange → tasks.
            Input::RecordLent { task, winner, claim, placed, outputs } => {
                self.tasks.record_lent(task, winner, claim, placed, outputs)
            }
            Input::FailedElsewhere { claim, failed, is_hopeless, at } => {
                return self.tasks.record_failure_at(&mut self.ctx, claim, &failed, is_hopeless, &at);
            }
            Input::FinishedElsewhere { job, state } => {
                return self.tasks.finished_elsewhere(&mut self.ctx, job, state);
            }
            Input::EndTasks { job, why } => self.tasks.drop_tasks_of(&mut self.ctx, job, why),
            // Network → exchange, chat.
            Input::PeerUp(node) => self.exchange.peer_up(&mut self.ctx, node),
            Input::PeerDown(node) => self.exchange.peer_down(&mut self.ctx, node),
            Input::PeerRoom(node) => self.exchange.peer_room(&mut self.ctx, node),
            Input::PeerReturned { node, is_new_run } => {
                self.exchange.greet(&mut self.ctx, node);
                if is_new_run {
                    // Chat links to its previous run are dead.
                    self.chat.forget_links(node);
                }
                self.chat.chat_tick(&mut self.ctx);
            }
            Input::NetworkStopped(gone) => self.exchange.network_stopped(&mut self.ctx, gone),
            Input::HelloWanted(node) => self.exchange.send_hello_to(&mut self.ctx, node),
            // Exchange → network.
            Input::SendHello { node, capacity } => self.network.send_hello(&mut self.ctx, node, capacity),
            // Exchange → payments, and back.
            Input::Reserve { lease, node, job, milli } => {
                return self.payments.reserve(&mut self.ctx, lease, node, job, milli);
            }
            Input::Reserved { lease, is_granted } => {
                return self.exchange.reserved(&mut self.ctx, lease, is_granted);
            }
            Input::Settle { lease, node, job, milli } => {
                return self.payments.settle(&mut self.ctx, lease, node, job, milli);
            }
            Input::Release(lease) => return self.payments.release(&mut self.ctx, lease),
            Input::Earn { lease, node, milli } => {
                return self.payments.earn(&mut self.ctx, lease, node, milli);
            }
            // Duty → tasks, chat.
            Input::FinishingChanged => self.tasks.forget_to_finish(),
            Input::SettingsChanged => return self.chat.apply_settings(&mut self.ctx),
            // To several.
            Input::SweepStates => self.sweep_states(),
            Input::Sample => self.duty.sample_now(),
        }
        Ok(())
    }
}
