//! Estimates of jobs: one at a time, with the duty and memory of any job of this device.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use fog_api::{ApiError, MemoryWait, Reply};
use fog_types::text::clean_name;
use fog_types::{ByteCount, JobId, Percent};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::message::EngineMessage;
use crate::tasks::Tasks;
use crate::tasks::errors::TaskError;
use crate::tasks::estimate::{Share, estimate};
use crate::tasks::memory_budget;
use crate::tasks::submit::{self, Prepared};

/// Estimates that may wait at once.
const MAX_WAITING: usize = 16;

/// Options of an estimate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// Longest run of the sample in seconds.
    pub(crate) seconds: u32,
    /// Whether it runs regardless of other programs.
    pub(crate) now: bool,
}

/// A job whose estimate is awaited.
pub(crate) struct Wanted {
    prepared: Prepared,
    ask: Ask,
    answer: oneshot::Sender<Result<Reply, ApiError>>,
}

#[cfg(test)]
impl Wanted {
    pub(crate) fn new(
        prepared: Prepared,
        now: bool,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) -> Self {
        Self { prepared, ask: Ask { seconds: 1, now }, answer }
    }
}

/// News of an estimate for the loop.
#[expect(clippy::large_enum_variant, reason = "it travels in a box")]
pub(crate) enum EstimateEvent {
    /// The files of a job were read.
    Prepared(Wanted),
    /// The estimate was answered, or is not wanted any more.
    Ended,
}

/// Queue of estimates.
#[derive(Default)]
pub(crate) struct Estimates {
    waiting: VecDeque<Wanted>,
    runs: bool,
    /// Memory in bytes that the running estimate takes, or that is kept free for the next.
    pub(crate) memory: u64,
    /// Reason why the next estimate does not begin, when that is for lack of memory.
    pub(crate) wait: Option<MemoryWait>,
}

impl Estimates {
    /// Whether an estimate runs or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.runs || !self.waiting.is_empty()
    }
}

impl Tasks {
    pub(crate) fn estimate(
        &self,
        ctx: &Context,
        text: String,
        folder: PathBuf,
        ask: Ask,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let (to, place) = (ctx.to_self.clone(), ctx.copy_place());
        tokio::task::spawn_blocking(move || {
            let prepared = submit::prepare(&text, &folder, &place, &|| !answer.is_closed());
            match prepared {
                // A send fails only when the loop is gone.
                Ok(prepared) => drop(to.blocking_send(EngineMessage::Estimate(Box::new(
                    EstimateEvent::Prepared(Wanted { prepared, ask, answer }),
                )))),
                // A send fails only when the front end is gone.
                Err(error) => drop(answer.send(Err(error))),
            }
        });
    }

    pub(crate) fn handle_estimate_event(&mut self, ctx: &mut Context, news: EstimateEvent) {
        match news {
            EstimateEvent::Prepared(wanted) => self.want_estimate(ctx, wanted),
            EstimateEvent::Ended => (self.estimates.runs, self.estimates.memory) = (false, 0),
        }
    }

    fn want_estimate(&mut self, ctx: &mut Context, wanted: Wanted) {
        let (footprint, most) = (wanted.prepared.file.limits.footprint(), ByteCount(ctx.memory_ever()));
        let problem = if footprint > most {
            TaskError::TooMuchMemory { footprint, most }
        } else if self.estimates.waiting.len() >= MAX_WAITING {
            TaskError::TooManyEstimates { most: MAX_WAITING }
        } else {
            return self.estimates.waiting.push_back(wanted);
        };
        // A send fails only when the front end is gone.
        let _ = wanted.answer.send(Err(problem.into()));
    }

    /// Begins the next estimate when the device works and lends the memory for it.
    pub(crate) fn fill_estimates(&mut self, ctx: &mut Context) {
        self.estimates.waiting.retain(|wanted| !wanted.answer.is_closed());
        self.estimates.wait = None;
        if self.estimates.runs {
            return;
        }
        self.estimates.memory = 0;
        let Some(next) = self.estimates.waiting.front() else { return };
        let duty = if next.ask.now { &self.requested_duty } else { &ctx.work_duty };
        if *duty.borrow() == Percent::ZERO || ctx.finishing || ctx.is_stopping {
            return;
        }
        let duty = duty.subscribe();
        let (file, module) = (&next.prepared.file, next.prepared.blobs.module);
        let found = next.prepared.copied.iter().find(|blob| blob.id() == module);
        let module_bytes = found.and_then(|blob| memory_budget::length(blob.path())).unwrap_or(0);
        let (budget, used) = (self.memory_budget(ctx), self.memory_used(ctx));
        let charge = ctx.charge_for(&file.limits, module, module_bytes, budget);
        if used.saturating_add(charge) > budget {
            let spare = crate::tasks::scheduler::in_steps(budget.saturating_sub(used));
            self.estimates.wait =
                Some(MemoryWait { job: JobId(0), name: clean_name(&file.name), wanted: charge, spare });
            // The memory is kept free for it, or new tasks would take it for ever.
            self.estimates.memory = charge;
            return;
        }
        let Some(Wanted { prepared, ask, mut answer }) = self.estimates.waiting.pop_front() else { return };
        (self.estimates.runs, self.estimates.memory) = (true, charge);
        let share = Share {
            program: ctx.config.worker.clone(),
            data_folder: ctx.store.folder().to_owned(),
            room: ctx.room_for(RoomUse::Owner),
            compile: memory_budget::compile_limits(module_bytes, budget),
            duty,
            limit: Duration::from_secs(u64::from(ask.seconds.clamp(1, 600))),
            slots: ctx.settings.slots(),
        };
        let to = ctx.to_self.clone();
        tokio::spawn(async move {
            tokio::select! {
                estimated = estimate(prepared, share) => drop(answer.send(estimated.map(Reply::Estimate))),
                // The front end is gone, so the worker is dropped.
                () = answer.closed() => {}
            }
            // A send fails only when the loop is gone.
            let _ = to.send(EngineMessage::Estimate(Box::new(EstimateEvent::Ended))).await;
        });
    }
}
