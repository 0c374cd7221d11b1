//! Results of tasks that ran here: recorded once their files lie where they stay.

use fog_api::EventBody;
use fog_store::{Claim, FailedAttempt, RenamedRow, StoreError, TaskResult};
use fog_types::path::Renamed;

use super::Core;
use crate::checkpoints::checkpoint_path;
use crate::tasks::TaskDone;

impl Core {
    /// Records a result. What takes long with many files was done beside the loop.
    pub(super) fn task_done(&mut self, claim: Claim, done: TaskDone) -> Result<(), StoreError> {
        let (now, cap) = (self.clock.unix(), self.settings.storage_cap());
        let TaskDone { report, stdout, stderr, outputs, placed, hash, remarks } = done;
        if report.active_millis >= 20 {
            let speed = report.units.0.saturating_mul(1000) / report.active_millis;
            self.speed = if self.speed == 0 { speed } else { (self.speed * 3 + speed) / 4 };
        }
        if let Err(error) = self.store.add_placed(&placed, &[], cap, now) {
            let failed = FailedAttempt { problem: format!("its result could not be stored: {error}"), units: report.units, exit_code: None, logs: None };
            return self.record_failure(claim, &failed, false);
        }
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
        let state = self.store.finish_task(claim, &result, now)?;
        // Not before: a kill until here costs no more than what came after it.
        fog_runtime::Checkpoint::remove(&checkpoint_path(self.store.folder(), claim.task));
        if state.is_some() {
            if !remarks.is_empty() {
                let row = |one: &Renamed| RenamedRow { name: one.name.clone(), kept: one.kept.clone(), reason: one.reason.unwrap_or_default().to_owned() };
                let renamed: Vec<RenamedRow> = remarks.files().iter().map(row).collect();
                self.store.note_result(claim.task, &remarks.to_string(), &renamed, remarks.count())?;
            }
            self.announce(EventBody::TaskFinished { job: claim.task.job, index: claim.task.index });
            self.announce_job(claim.task.job);
        }
        self.announce_end(claim.task.job, state)
    }
}
