//! Event loop: the one place where state changes.

#[cfg(test)]
mod blocking_tests;
mod routes;
mod start;
mod timeouts;
#[cfg(test)]
mod timeouts_tests;
#[cfg(test)]
mod transaction_tests;
mod turn;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_api::{ApiError, Event, Status};
use fog_runtime::SandboxStatus;
use fog_types::UnixMillis;
use tokio::sync::{broadcast, mpsc, watch};

use crate::chat::Chat;
use crate::cleanup;
use crate::context::Context;
use crate::duty::Duty;
use crate::exchange::Exchange;
use crate::message::EngineMessage;
use crate::network::Network;
use crate::payments::Payments;
use crate::tasks::Tasks;

/// Interval of sampling while there is something to run; `QUIET_PACE` applies otherwise.
pub(crate) const BUSY_PACE: Duration = Duration::from_secs(1);
pub(crate) const QUIET_PACE: Duration = Duration::from_secs(10);
/// Time for chat to say goodbye and to end its links when the engine stops.
pub(crate) const CHAT_ENDS: Duration = Duration::from_secs(4);

/// The engine: its subsystems, and what they share.
pub(crate) struct Engine {
    pub(crate) ctx: Context,
    pub(crate) duty: Duty,
    pub(crate) tasks: Tasks,
    pub(crate) network: Network,
    pub(crate) exchange: Exchange,
    pub(crate) chat: Chat,
    pub(crate) payments: Payments,
    /// Events for front ends.
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) last_status: Status,
    pub(crate) last_status_at: Option<Instant>,
    /// Whether something has changed since the last status.
    pub(crate) is_status_due: bool,
    pub(crate) last_chores: Option<Instant>,
    pub(crate) last_trim: Option<Instant>,
    pub(crate) last_measured: Option<Instant>,
    /// Whether something that was done could not be stored.
    pub(crate) has_lost: bool,
    /// Isolation that is available to workers here; `None` when no worker answers.
    pub(crate) sandbox: Option<SandboxStatus>,
    /// Earliest deadline of an open job.
    pub(crate) deadline: Option<UnixMillis>,
    /// Reason why work is due after the present input, if it is.
    pub(crate) due: Option<&'static str>,
    /// Number of timeouts in a row after which something stayed due, and the earliest time of the next one.
    pub(crate) overdue: u32,
    pub(crate) no_timeout_before: Option<Instant>,
    /// Number of times that work was due, by reason.
    pub(crate) turns: BTreeMap<&'static str, u64>,
    pub(crate) last_tick: Option<Instant>,
    /// Whether there was work with other devices at the last tick, so that its end shows without delay.
    pub(crate) was_busy: bool,
    /// Reason why the engine ends by itself.
    pub(crate) gone: watch::Sender<Option<ApiError>>,
}

impl Engine {
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<EngineMessage>) {
        let (program, to) = (self.ctx.config.worker.clone(), self.ctx.to_self.clone());
        tokio::spawn(async move {
            let sandbox = fog_runtime::check_sandbox(&program)
                .await
                .inspect_err(|error| tracing::warn!(%error, "no worker answers"));
            // A send fails only when the loop is gone.
            let _ = to.send(EngineMessage::SandboxStatus(sandbox.ok())).await;
        });
        if let Err(error) = crate::duty::sleep::watch(self.ctx.to_self.clone()) {
            tracing::warn!(%error, "nothing is saved when the system goes to sleep");
        }
        while !self.ctx.is_stopping {
            let ((timeout, why), status) = (self.next_timeout(), self.status_due_in());
            if timeout.is_zero() {
                // Messages and pieces of work that never end must not put it off.
                self.time_out(why);
                continue;
            }
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.turn(|this| this.handle(message)),
                    None => break,
                },
                () = tokio::time::sleep(timeout) => self.time_out(why),
                // Pieces of work are done between messages.
                () = std::future::ready(()), if self.tasks.has_pieces(&self.ctx) => self.turn(Self::do_piece),
                () = tokio::time::sleep(status.unwrap_or_default()), if status.is_some() => self.announce_status(),
            }
            self.follow_up();
            self.drain();
        }
        // From now on nobody answers requests for room.
        self.turn(|this| this.ctx.end_room(this.tasks.states_at_most()));
        let chat = self.chat.stop();
        while self.check_folder() && self.tasks.is_recording() {
            self.turn(|this| this.tasks.record_some(&mut this.ctx));
        }
        self.turn(Self::shutdown);
        if let Some(ended) = chat {
            // Chat gets a moment for its goodbye and for ending its links.
            let _ = tokio::time::timeout(CHAT_ENDS, ended).await;
        }
        for (task, leaving) in self.tasks.take_leaving() {
            // The task fails only by being dropped.
            if let Ok(Some(units)) = leaving.await {
                self.turn(|this| this.tasks.saved_last(&mut this.ctx, task, units));
            }
        }
        self.save_what_went();
        self.drain();
    }

    /// Does the next piece of long work.
    fn do_piece(&mut self) {
        if self.check_folder() {
            self.tasks.do_piece(&mut self.ctx);
        }
    }

    /// Receiver of the reason why the engine ends by itself.
    pub(crate) fn why_gone(&self) -> watch::Receiver<Option<ApiError>> {
        self.gone.subscribe()
    }

    pub(crate) fn handle(&mut self, message: EngineMessage) {
        if !self.check_folder() {
            return self.refuse(message);
        }
        self.follow_clock();
        self.set_due_by(&message);
        match message {
            EngineMessage::SandboxStatus(sandbox) => self.sandbox = sandbox,
            EngineMessage::Measured(other) => self.measured(other),
            EngineMessage::Room(request) => self.ctx.answer_room(request),
            EngineMessage::Saved(task, units) => self.tasks.saved_last(&mut self.ctx, task, units),
            EngineMessage::WorkerLeft => self.sweep_states(),
            EngineMessage::Sleep(done) => self.tasks.save_all(done),
            EngineMessage::Input => self.ctx.rules.handle_input(self.ctx.clock.moment()),
            EngineMessage::Sample(sample) => {
                self.duty.handle_sample(&mut self.ctx, *sample);
                self.chores();
            }
            EngineMessage::Task(attempt, news) => {
                if let Err(error) = self.tasks.handle_task_event(&mut self.ctx, attempt, news) {
                    tracing::error!(%error, "a task's news could not be stored");
                }
            }
            EngineMessage::Exchange(event) => {
                if let Err(error) = self.exchange.handle_event(&mut self.ctx, *event) {
                    tracing::error!(%error, "what other devices sent could not be stored");
                }
            }
            EngineMessage::Net(event) => {
                if let Err(error) = self.network_event(*event) {
                    tracing::error!(%error, "what came over the network could not be stored");
                }
            }
            EngineMessage::Chat(driver, news) => {
                if let Err(error) = self.chat.handle_service_event(&mut self.ctx, driver, *news) {
                    tracing::error!(%error, "what was heard in the mesh could not be stored");
                }
            }
            EngineMessage::Estimate(news) => self.tasks.handle_estimate_event(&mut self.ctx, *news),
            EngineMessage::Call(command, answer) => self.command(*command, answer),
            EngineMessage::Prepared(prepared, answer) => {
                let reply = prepared.and_then(|prepared| self.ctx.accept(prepared));
                self.ctx.out.answer(answer, reply);
            }
            EngineMessage::MovedIn(backup, answer) => {
                let reply = self.chat.moved_in(&mut self.ctx, *backup);
                self.ctx.out.answer(answer, reply);
            }
        }
    }

    /// Moves everything that waits for a time when the calendar was set.
    pub(crate) fn follow_clock(&mut self) {
        let shift = self.ctx.clock.look();
        if shift == 0 {
            return;
        }
        tracing::warn!(millis = shift, "the calendar was set; what waits moves with it");
        if let Err(error) = self.ctx.store.shift_times(shift) {
            tracing::error!(%error, "deadlines could not be moved with the calendar");
        }
        cleanup::shift_times(self.ctx.store.folder(), shift);
        self.exchange.clock_was_set(shift);
        for evidence in self.ctx.directory.evidence.values_mut() {
            evidence.at_ms = evidence.at_ms.saturating_add(shift);
        }
        self.ctx.traffic.move_by(shift, self.ctx.clock.unix());
        self.chat.clock_was_set(&mut self.ctx, shift);
        self.tasks.clock_was_set(shift);
        self.duty.clock_was_set(&mut self.ctx, shift);
        self.ctx.remember_clock();
    }

    /// Ends the workers, puts their tasks back and closes the current point of the history.
    pub(crate) fn shutdown(&mut self) {
        self.network.stop_net(&mut self.ctx);
        self.tasks.shutdown(&mut self.ctx);
        self.ctx.remember_clock();
        self.ctx.store_wishes_now();
        tracing::info!("the engine has stopped; unfinished tasks wait for the next start");
    }
}
