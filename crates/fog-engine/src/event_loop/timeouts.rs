//! When the engine is due next and why, and the work that follows changes.

use std::time::{Duration, Instant};

use fog_api::settings::keys;
use fog_grid::Message;

use crate::effects::Input;
use crate::event_loop::{BUSY_PACE, Engine, QUIET_PACE};
use crate::message::{EngineMessage, Heard};
use crate::network::NetworkEvent;

/// Shortest time between two timeouts. It doubles while something stays due after it was handled, as on a
/// full disk, [`MOST_DOUBLED`] times at most.
const MIN_WAIT: Duration = Duration::from_millis(5);
const MOST_DOUBLED: u32 = 8;

impl EngineMessage {
    /// Returns the reason why work follows a message of this kind, whatever it changes; `None` when work
    /// follows only changed rows and what subsystems tell each other.
    fn follow_up(&self) -> Option<&'static str> {
        match self {
            Self::Call(..) => Some("a command"),
            Self::Prepared(..) => Some("a job was prepared"),
            Self::Sample(_) => Some("a sample of the sensors"),
            Self::Input => Some("an input of the user"),
            Self::Sleep(_) => Some("the system goes to sleep"),
            Self::Task(_, event) => (!event.is_progress()).then_some("an event of a task"),
            Self::Exchange(_) => Some("an event of the exchange"),
            Self::Estimate(_) => Some("an event of an estimate"),
            Self::WorkerLeft | Self::Saved(..) => Some("a worker ended"),
            Self::Measured(_) => Some("the disk was measured"),
            Self::Net(event) => match &**event {
                NetworkEvent::Said(_, heard, _)
                    if matches!(**heard, Heard::Plain(Message::Heartbeat { .. })) =>
                {
                    None
                }
                NetworkEvent::Said(..) => Some("a message of a device"),
                NetworkEvent::Event(..) => Some("an event of the network"),
                NetworkEvent::ChatLink(_) | NetworkEvent::ContentRequested(..) => None,
            },
            Self::SandboxStatus(_) | Self::Room(_) | Self::Chat(..) | Self::MovedIn(..) => None,
        }
    }
}

impl Input {
    /// Returns the reason why work follows this input; `None` when it changes nothing that other work
    /// depends on.
    pub(crate) fn follow_up(&self) -> Option<&'static str> {
        match self {
            Self::TaskStarted { .. }
            | Self::TaskFrozen { .. }
            | Self::TaskWaits(_)
            | Self::JobEnded(_)
            | Self::EndTasks { .. } => Some("a task changed"),
            Self::JobSubmitted(_) | Self::JobChanged(_) | Self::SweepStates => Some("a job changed"),
            Self::LentFailed { .. }
            | Self::LentRecorded { .. }
            | Self::LentUnwanted(_)
            | Self::RecordLent { .. } => Some("a lent task changed"),
            Self::FailedElsewhere { .. } | Self::FinishedElsewhere { .. } => Some("a lent task changed"),
            Self::PeerUp(_)
            | Self::PeerDown(_)
            | Self::PeerRoom(_)
            | Self::PeerReturned { .. }
            | Self::NetworkStopped(_) => Some("a device changed"),
            Self::Reserve { .. }
            | Self::Reserved { .. }
            | Self::Settle { .. }
            | Self::Release(_)
            | Self::Earn { .. } => Some("a payment"),
            Self::FinishingChanged | Self::SettingsChanged => Some("a setting changed"),
            Self::TaskProgress { .. }
            | Self::TaskSaved { .. }
            | Self::HelloWanted(_)
            | Self::SendHello { .. }
            | Self::Sample => None,
        }
    }
}

impl Engine {
    /// Notes that work is due, for this reason unless there is one already.
    pub(crate) fn set_due(&mut self, why: &'static str) {
        self.due.get_or_insert(why);
    }

    /// Notes the work that follows a message.
    pub(crate) fn set_due_by(&mut self, message: &EngineMessage) {
        if let Some(why) = message.follow_up() {
            self.set_due(why);
        }
    }

    /// Returns when something is due next, and the reason.
    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        let ctx = &self.ctx;
        let pace = if self.is_network_busy() { BUSY_PACE } else { QUIET_PACE };
        let periodic = (self.last_tick.map_or_else(|| ctx.now(), |last| last + pace), "periodic work");
        let deadline = self.deadline.map(|at| {
            let left = u64::try_from(at.0.saturating_sub(ctx.clock.lived().0)).unwrap_or(0);
            (ctx.now() + Duration::from_millis(left), "a deadline passes")
        });
        let others = [
            deadline,
            self.duty.poll_timeout(ctx),
            ctx.unstored.poll_timeout(ctx.now()),
            self.network.poll_timeout(ctx),
            self.exchange.poll_timeout(ctx),
            self.chat.poll_timeout(ctx.now()),
        ];
        others
            .into_iter()
            .flatten()
            .fold(periodic, |first, other| if other.0 < first.0 { other } else { first })
    }

    /// Time until the next timeout, and its reason.
    pub(crate) fn next_timeout(&self) -> (Duration, &'static str) {
        let (at, why) = self.poll_timeout();
        let at = self.no_timeout_before.map_or(at, |before| before.max(at));
        (at.saturating_duration_since(self.ctx.now()), why)
    }

    /// Handles a timeout, and notes when the next one may be.
    pub(crate) fn time_out(&mut self, why: &'static str) {
        self.turn(|this| this.handle_timeout(why));
        self.follow_up();
        let now = self.ctx.now();
        let stays_due = self.poll_timeout().0 <= now;
        self.overdue = if stays_due { (self.overdue + 1).min(MOST_DOUBLED) } else { 0 };
        self.no_timeout_before = Some(now + MIN_WAIT * (1 << self.overdue));
    }

    /// Does what is due at this time.
    pub(crate) fn handle_timeout(&mut self, why: &'static str) {
        if !self.check_folder() {
            return;
        }
        self.follow_clock();
        self.duty.handle_timeout(&mut self.ctx);
        self.exchange.handle_timeout(&mut self.ctx);
        self.chat.handle_timeout(&mut self.ctx);
        if self.deadline.is_some_and(|at| at <= self.ctx.clock.lived()) {
            self.deadline = None;
            self.expire_jobs();
        }
        self.set_due(why);
    }

    /// Does the work that changes have made due: duties of the workers, new tasks, offers and hellos to other
    /// devices, and the status.
    pub(crate) fn follow_up(&mut self) {
        if self.chat.is_view_due() {
            self.status_changed();
        }
        let Some(why) = self.due.take() else { return };
        *self.turns.entry(why).or_default() += 1;
        if self.check_folder() {
            self.turn(Self::after_change);
            // What this turn changed is known to it.
            self.due = None;
        }
    }

    /// Brings everything into line with the changes so far.
    pub(crate) fn after_change(&mut self) {
        self.ctx.store_wishes();
        self.tasks.account(&mut self.ctx);
        self.tasks.set_duties(&self.ctx);
        if self.ctx.finishing && self.tasks.has_finished() {
            self.duty.set_contributing(&mut self.ctx, false);
        }
        self.tasks.fill_estimates(&mut self.ctx);
        self.exchange.withdraw_held(&mut self.ctx);
        if let Err(error) =
            self.tasks.fill_requested(&mut self.ctx).and_then(|()| self.tasks.fill(&mut self.ctx))
        {
            tracing::error!(%error, "no task could be started");
        }
        self.settle();
        self.network.answer_invites(&mut self.ctx);
        self.tick();
        if let Err(error) = self.exchange.lend(&mut self.ctx) {
            tracing::error!(%error, "tasks could not be given to other devices");
        }
        self.settle();
        self.exchange.send_hellos(&mut self.ctx);
        self.settle();
        self.duty.keep_awake(&self.ctx, self.tasks.is_working());
        let open = self.counts();
        let has_work = self.tasks.is_busy() || open.queued + open.running > 0;
        self.duty.set_pace(if self.ctx.settings.flag(keys::CONTRIBUTING) && has_work {
            BUSY_PACE
        } else {
            QUIET_PACE
        });
        match self.ctx.store.next_deadline() {
            Ok(deadline) => self.deadline = deadline,
            Err(error) => tracing::error!(%error, "deadlines cannot be read"),
        }
        self.status_changed();
    }

    /// Whether work with other devices must be looked at every second.
    fn is_network_busy(&self) -> bool {
        self.ctx.net.is_some() && (self.was_busy || self.exchange.has_work())
    }

    /// Does the periodic work of networks, exchange and chat.
    fn tick(&mut self) {
        let pace = if self.is_network_busy() { BUSY_PACE } else { QUIET_PACE };
        if self.last_tick.is_some_and(|last| self.ctx.since(last) < pace) {
            return;
        }
        self.last_tick = Some(self.ctx.now());
        self.was_busy = self.exchange.has_work();
        self.network.count_traffic(&mut self.ctx);
        self.network.check_network(&mut self.ctx);
        self.settle();
        self.exchange.tick(&mut self.ctx);
        self.chat.chat_tick(&mut self.ctx);
        self.settle();
        self.exchange.send_hellos(&mut self.ctx);
        self.settle();
        if self.ctx.net.is_some() {
            let (lends, wants) = (self.exchange.capacity(&self.ctx), self.exchange.open_tasks());
            self.network.tick(&mut self.ctx, lends, wants, self.exchange.is_hosting());
            self.settle();
        }
        let view = self.network_view();
        self.network.announce_network(&mut self.ctx, view);
    }
}
