//! Chores: measuring the disk, deadlines, and the removal of what is old.

use fog_api::settings::keys;
use std::time::{Duration, Instant};

use fog_store::{Kept, Measured, StoreError};
use fog_types::{JobState, UnixMillis};

use crate::cleanup;
use crate::event_loop::{Engine, QUIET_PACE};
use crate::exchange::transfers;
use crate::message::EngineMessage;
use crate::tasks::{checkpoints, histories};

/// Longest time for which deleting rows of removed jobs may block the loop at once.
const SWEEP_PATIENCE: Duration = Duration::from_millis(20);
/// Interval at which growing tables are trimmed; `MEASURE_PACE` is that of measuring the disk.
const TRIM_PACE: Duration = Duration::from_secs(3600);
const MEASURE_PACE: Duration = Duration::from_secs(30);
/// Number of finished jobs of other devices that stay in the list.
const HOSTED_KEPT: u32 = 1_000;
/// Time for which files are kept whose rows were lost.
const ASIDE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Time for which the beginning of a file is kept when its transfer is not continued.
const TRANSFER_KEPT: Duration = Duration::from_secs(7 * 86_400);

impl Engine {
    /// Deletes rows of removed jobs, for a short while.
    fn sweep_removed(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < SWEEP_PATIENCE {
            match self.ctx.store.sweep_removed() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::error!(%error, "the rows of removed jobs cannot be deleted"),
            }
        }
    }

    /// Measures the files beside the stored ones, on another thread.
    fn measure_disk(&mut self) {
        let is_due = self.ctx.store.is_measure_due()
            || self.last_measured.is_none_or(|at| self.ctx.since(at) >= MEASURE_PACE);
        if !is_due {
            return;
        }
        self.last_measured = Some(self.ctx.now());
        let (holds, folder, to) =
            (self.ctx.store.holds(), self.ctx.store.folder().to_owned(), self.ctx.to_self.clone());
        tokio::task::spawn_blocking(move || {
            // A send fails only when the engine has stopped.
            let _ = to.blocking_send(EngineMessage::Measured(holds.measure(&folder)));
        });
    }

    /// Takes the size of the files beside the stored ones, and evicts files that are not needed if it has
    /// grown.
    pub(crate) fn measured(&mut self, found: Measured) {
        self.ctx.store.set_other_files(found);
        match self.ctx.store.make_room(0, self.ctx.settings.storage_cap(), self.ctx.clock.unix()) {
            // The storage is full of needed files, which is reported when something requests more.
            Ok(()) | Err(StoreError::Full { .. }) => {}
            Err(error) => tracing::error!(%error, "no room can be made"),
        }
    }

    /// Deletes checkpoints and histories of jobs that are over.
    pub(crate) fn sweep_states(&mut self) {
        let folder = self.ctx.store.folder();
        let checkpoints = cleanup::sweep(&checkpoints::folder(folder), |id| !self.ctx.is_over(id));
        let histories =
            cleanup::sweep(&histories::folder(folder), |id| self.exchange.needs_history(&self.ctx, id));
        if checkpoints + histories > 0 {
            self.ctx.store.holds().note_deleted();
            self.measure_disk();
        }
    }

    /// Ends the jobs whose deadline has passed.
    pub(crate) fn expire_jobs(&mut self) {
        match self.ctx.store.expire_jobs(self.ctx.clock.lived()) {
            Ok(late) => {
                for id in &late {
                    self.tasks.drop_tasks_of(&mut self.ctx, *id, "the deadline passed");
                    self.ctx.announce_job(*id);
                    let ended = self.tasks.announce_end(&mut self.ctx, *id, Some(JobState::Failed));
                    // Requesters want their jobs no longer than to the deadline.
                    let given_up = ended.and_then(|()| {
                        if self.ctx.store.is_hosted(*id)? {
                            self.exchange.end_hosted(&mut self.ctx, *id, "the deadline passed")
                        } else {
                            Ok(())
                        }
                    });
                    if let Err(error) = given_up {
                        tracing::warn!(%error, "a job whose deadline passed still holds its files");
                    }
                }
                for id in late {
                    let synced = self.exchange.sync_job(&mut self.ctx, id);
                    if let Err(error) = synced.and(self.exchange.host_ended(&mut self.ctx, id)) {
                        tracing::error!(%error, "other devices were not told that a deadline passed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "deadlines cannot be checked"),
        }
    }

    /// Checks deadlines and removes old jobs, at most once in ten seconds.
    pub(crate) fn chores(&mut self) {
        self.sweep_removed();
        self.measure_disk();
        if self.last_chores.is_some_and(|at| self.ctx.since(at) < QUIET_PACE) {
            return;
        }
        self.last_chores = Some(self.ctx.now());
        self.expire_jobs();
        let (now, lived) = (self.ctx.clock.unix(), self.ctx.clock.lived());
        let keep_from =
            UnixMillis(lived.0 - (self.ctx.settings.number(keys::KEEP_FINISHED_DAYS) * 86_400_000.0) as i64);
        if let Err(error) = self.ctx.store.remove_jobs(keep_from, None) {
            tracing::error!(%error, "old jobs cannot be removed");
        }
        if let Err(error) = self.ctx.store.remove_hosted_over(HOSTED_KEPT) {
            tracing::error!(%error, "old jobs of other devices cannot be removed");
        }
        if self.last_trim.is_none_or(|at| self.ctx.since(at) > TRIM_PACE) {
            self.last_trim = Some(self.ctx.now());
            if let Err(error) = self.ctx.store.trim(Kept::default()) {
                tracing::error!(%error, "old history cannot be removed");
            }
        }
        self.sweep_states();
        cleanup::sweep_old(&transfers::folder(self.ctx.store.folder()), lived, TRANSFER_KEPT);
        cleanup::sweep_old(&self.ctx.store.folder().join("set-aside"), lived, ASIDE_KEPT);
        if let Err(error) = self.exchange.update_availability(&mut self.ctx) {
            tracing::error!(%error, "history cannot be read");
        }
        self.duty.end_snooze(&mut self.ctx, now);
    }
}
