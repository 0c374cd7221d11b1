//! Recording of results whose files are already in place. The rows of many files are written in steps, so
//! that other requests wait for one step only.

use fog_api::EventBody;
use fog_grid::LeaseId;
use fog_store::{
    Claim, FailedAttempt, Output, PlacedFiles, ROWS_AT_ONCE, RenamedRow, StoreError, TaskResult,
};
use fog_types::TaskId;
use fog_types::path::Renamed;

use crate::context::Context;
use crate::disk_room::is_no_room;
use crate::effects::Input;
use crate::tasks::Tasks;
use crate::tasks::checkpoints::checkpoint_path;
use crate::tasks::runner::TaskDone;

/// A result whose rows are being written, because it has many files.
pub(crate) struct Recording {
    claim: Claim,
    /// Number of files that already have a row.
    written: usize,
    result: Recorded,
}

enum Recorded {
    /// A result of this device.
    Own(Box<TaskDone>),
    /// An accepted result of another device.
    Lent { task: TaskId, winner: LeaseId, placed: PlacedFiles, outputs: Vec<Output> },
}

impl Recording {
    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }
}

impl Recorded {
    fn files(&self) -> (&PlacedFiles, &[Output]) {
        match self {
            Self::Own(done) => (&done.placed, &done.outputs),
            Self::Lent { placed, outputs, .. } => (placed, outputs),
        }
    }
}

impl Tasks {
    /// Handles a task that ended with a result. Only the rows of its files remain to be written.
    pub(crate) fn task_done(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        done: Box<TaskDone>,
    ) -> Result<(), StoreError> {
        let report = &done.report;
        if report.active_millis >= 20 {
            let speed = report.units.0.saturating_mul(1000) / report.active_millis;
            self.speed = if self.speed == 0 { speed } else { (self.speed * 3 + speed) / 4 };
        }
        if let Err(error) =
            ctx.store.make_room_for(&done.placed, &[], ctx.settings.storage_cap(), ctx.clock.unix())
        {
            return self.own_not_stored(ctx, claim, &done, &error);
        }
        if done.outputs.len() > ROWS_AT_ONCE {
            self.recording.push_back(Recording { claim, written: 0, result: Recorded::Own(done) });
            return Ok(());
        }
        self.record_own(ctx, claim, *done)
    }

    /// Queues an accepted result with many files, which are already in place.
    pub(crate) fn record_lent(
        &mut self,
        task: TaskId,
        winner: LeaseId,
        claim: Claim,
        placed: PlacedFiles,
        outputs: Vec<Output>,
    ) {
        self.recording.push_back(Recording {
            claim,
            written: 0,
            result: Recorded::Lent { task, winner, placed, outputs },
        });
    }

    /// Whether there is long work that is done in steps.
    pub(crate) fn has_pieces(&self, ctx: &Context) -> bool {
        !self.recording.is_empty() || ctx.store.is_ending() || ctx.store.is_sweeping()
    }

    pub(crate) fn do_piece(&mut self, ctx: &mut Context) {
        self.record_some(ctx);
        if let Err(error) = ctx.store.sweep_ending() {
            tracing::error!(%error, "tasks of a job that has ended could not all be cancelled; the next start goes on");
        }
        if ctx.store.is_sweeping()
            && let Err(error) = ctx.store.sweep_removed()
        {
            tracing::error!(%error, "the rows of removed jobs cannot be deleted");
        }
    }

    /// Writes the next rows of a result with many files.
    pub(crate) fn record_some(&mut self, ctx: &mut Context) {
        let Some(mut recording) = self.recording.pop_front() else { return };
        let claim = recording.claim;
        let (placed, outputs) = recording.result.files();
        let rest = outputs.get(recording.written..).unwrap_or_default();
        let next = rest.get(..ROWS_AT_ONCE).unwrap_or(rest);
        let (count, is_last) = (next.len(), next.len() == rest.len());
        match (ctx.store.stage_outputs(claim, placed, next, ctx.clock.unix()), recording.result) {
            (Ok(true), result) if !is_last => {
                recording.written += count;
                self.recording.push_front(Recording { result, ..recording });
            }
            (Ok(true), Recorded::Own(done)) => {
                let recorded = self.record_own(ctx, claim, *done);
                not_stored(recorded);
            }
            (Ok(true), Recorded::Lent { task, winner, placed, .. }) => {
                ctx.out.input(Input::LentRecorded { task, winner, placed: Ok(placed) })
            }
            (Ok(false), result) => {
                tracing::debug!(task = %claim.task, "its result is not wanted any more");
                if let Recorded::Lent { task, .. } = result {
                    ctx.out.input(Input::LentUnwanted(task));
                }
            }
            (Err(error), Recorded::Own(done)) => {
                let noted = self.own_not_stored(ctx, claim, &done, &error);
                not_stored(noted);
            }
            (Err(error), Recorded::Lent { task, winner, .. }) => {
                ctx.out.input(Input::LentRecorded { task, winner, placed: Err(error) })
            }
        }
    }

    /// Whether results wait to be recorded.
    pub(crate) fn is_recording(&self) -> bool {
        !self.recording.is_empty()
    }

    fn own_not_stored(
        &mut self,
        ctx: &mut Context,
        claim: Claim,
        done: &TaskDone,
        error: &StoreError,
    ) -> Result<(), StoreError> {
        if is_no_room(error) {
            self.no_room(ctx, claim, error, done.report.units)?;
            ctx.out.input(Input::JobEnded(claim.task.job));
            return Ok(());
        }
        let failed = FailedAttempt {
            problem: format!("its result could not be stored: {error}"),
            units: done.report.units,
            exit_code: None,
            logs: None,
        };
        self.record_failure(ctx, claim, &failed, false)?;
        ctx.out.input(Input::JobEnded(claim.task.job));
        Ok(())
    }

    fn record_own(&mut self, ctx: &mut Context, claim: Claim, done: TaskDone) -> Result<(), StoreError> {
        let now = ctx.clock.unix();
        if let Err(error) = ctx.store.add_rest(&done.placed, &[], now) {
            return self.own_not_stored(ctx, claim, &done, &error);
        }
        let TaskDone { report, stdout, stderr, outputs, placed: _placed, hash, remarks } = done;
        let result = TaskResult {
            exit_code: 0,
            units: report.units,
            active_millis: report.active_millis,
            memory: report.memory.0,
            result_hash: hash,
            agreed: 1,
            stdout,
            stderr,
            stdout_dropped: report.stdout_dropped,
            stderr_dropped: report.stderr_dropped,
            outputs,
        };
        let state = ctx.store.finish_task(claim, &result, now)?;
        // The checkpoint is removed only now, so that a kill before this point loses no work that it holds.
        ctx.out.delete(checkpoint_path(ctx.store.folder(), claim.task));
        if state.is_some() {
            if !remarks.is_empty() {
                let row = |one: &Renamed| RenamedRow {
                    name: one.name.clone(),
                    kept: one.kept.clone(),
                    reason: one.reason.unwrap_or_default().to_owned(),
                };
                let renamed: Vec<RenamedRow> = remarks.files().iter().map(row).collect();
                ctx.store.note_result(claim.task, &remarks.to_string(), &renamed, remarks.count())?;
            }
            ctx.announce(EventBody::TaskFinished { job: claim.task.job, index: claim.task.index });
            ctx.announce_job(claim.task.job);
        }
        self.announce_end(ctx, claim.task.job, state)?;
        ctx.out.input(Input::JobEnded(claim.task.job));
        Ok(())
    }
}

fn not_stored(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a result could not be recorded");
    }
}
