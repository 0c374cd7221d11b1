//! Checkpoints on request: of running tasks, before the system sleeps, and for export.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use fog_api::{ApiError, CheckpointView, Reply};
use fog_store::JobRow;
use fog_types::{ErrorKind, JobId, Percent, TaskId};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::query::to_api;
use crate::tasks::Tasks;
use crate::tasks::checkpoints::{self, CheckpointPlace, Parts, checkpoint_path};
use crate::tasks::errors::TaskError;
use crate::tasks::histories;
use crate::tasks::runner;

/// Longest wait for a requested checkpoint.
const SAVE_PATIENCE: Duration = Duration::from_secs(15);

impl Tasks {
    /// Saves every running task, then signals `done`.
    pub(crate) fn save_all(&self, done: SyncSender<()>) {
        let asked: Vec<_> = self
            .active
            .values()
            .filter_map(|active| {
                let (wish, saved) = oneshot::channel();
                active.wishes.try_send(wish).ok().map(|()| saved)
            })
            .collect();
        tokio::spawn(async move {
            for saved in asked {
                let _ = tokio::time::timeout(SAVE_PATIENCE, saved).await;
            }
            // The sleep watcher may have given up waiting.
            let _ = done.try_send(());
        });
    }

    /// Requests a checkpoint from the running tasks of a job. Returns a receiver of the answer for each.
    pub(crate) fn ask_to_save(
        &self,
        id: JobId,
        index: Option<u32>,
    ) -> Vec<(u32, oneshot::Receiver<Result<u64, String>>)> {
        let of_job = self.active.values().filter(|active| {
            active.claim.task.job == id && index.is_none_or(|index| active.claim.task.index == index)
        });
        of_job
            .filter_map(|active| {
                let (wish, saved) = oneshot::channel();
                active.wishes.try_send(wish).ok().map(|()| (active.claim.task.index, saved))
            })
            .collect()
    }

    pub(crate) fn checkpoint(
        &self,
        ctx: &Context,
        id: JobId,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let asked = match ctx.store.job(id) {
            Ok(_) => self.ask_to_save(id, None),
            Err(error) => return drop(answer.send(Err(to_api(error)))),
        };
        if asked.is_empty() {
            return drop(answer.send(Err(TaskError::NoneRuns { id }.into())));
        }
        let taken_ms = ctx.clock.unix().0;
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for (index, saved) in asked {
                match tokio::time::timeout(SAVE_PATIENCE, saved).await {
                    Ok(Ok(Ok(units))) => taken.push(CheckpointView { index, units, taken_ms }),
                    Ok(Ok(Err(why))) => {
                        return drop(answer.send(Err(TaskError::NotSaved { index, why }.into())));
                    }
                    // The task has ended meanwhile, or does not reach a safe point.
                    _ => {}
                }
            }
            let _ = answer.send(if taken.is_empty() {
                Err(TaskError::NoneSaved { id }.into())
            } else {
                Ok(Reply::Checkpoints(taken))
            });
        });
    }

    /// Place of a task's checkpoint, and the files that an export includes.
    fn parts_of(
        &self,
        ctx: &Context,
        job: &JobRow,
        task: TaskId,
    ) -> Result<(CheckpointPlace, Parts), ApiError> {
        let spec = runner::spec_of(
            &job.file,
            &job.blobs,
            task.index,
            |id| ctx.store.blob(id),
            PathBuf::new(),
            Percent::FULL,
        )
        .map_err(to_api)?;
        let parts = Parts {
            module: ctx.store.blob(job.blobs.module).map_err(to_api)?,
            inputs: spec.inputs.into_iter().map(|mount| mount.path).collect(),
            stdin: spec.stdin,
        };
        Ok((ctx.place_of(job, task), parts))
    }

    pub(crate) fn export_history(
        &self,
        ctx: &Context,
        id: JobId,
        index: u32,
        folder: PathBuf,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let task = TaskId { job: id, index };
        let prepared = ctx.store.job(id).map_err(to_api).and_then(|job| {
            if index >= job.tasks_total {
                return Err(
                    TaskError::NoSuchTask { id, index, last: job.tasks_total.saturating_sub(1) }.into()
                );
            }
            self.parts_of(ctx, &job, task)
        });
        let (place, parts) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let data_folder = ctx.store.folder().to_owned();
        tokio::task::spawn_blocking(move || {
            drop(
                answer.send(
                    histories::export(&data_folder, task, &place, &parts, &folder).map(Reply::TaskHistory),
                ),
            )
        });
    }

    pub(crate) fn export_checkpoint(
        &self,
        ctx: &Context,
        id: JobId,
        index: Option<u32>,
        path: PathBuf,
        answer: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let prepared = || -> Result<_, ApiError> {
            let job = ctx.store.job(id).map_err(to_api)?;
            let running = self
                .active
                .values()
                .find(|active| active.claim.task.job == id)
                .map(|active| active.claim.task.index);
            let kept = || {
                (0..job.tasks_total).find(|index| {
                    checkpoint_path(ctx.store.folder(), TaskId { job: id, index: *index }).exists()
                })
            };
            let index = index.or(running).or_else(kept).ok_or(TaskError::NoCheckpoints { id })?;
            let (place, parts) = self.parts_of(ctx, &job, TaskId { job: id, index })?;
            Ok((index, place, parts, self.ask_to_save(id, Some(index))))
        };
        let (index, place, parts, asked) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return drop(answer.send(Err(error))),
        };
        tokio::spawn(async move {
            for (_, saved) in asked {
                // If no new checkpoint is made, the existing one is exported.
                let _ = tokio::time::timeout(SAVE_PATIENCE, saved).await;
            }
            let exported =
                tokio::task::spawn_blocking(move || checkpoints::export(&place, &parts, &path)).await;
            let exported = exported.unwrap_or_else(|e| Err(ApiError::new(ErrorKind::Bug, e)));
            let _ = answer.send(exported.map(|(units, taken_ms)| {
                Reply::Checkpoints(vec![CheckpointView { index, units, taken_ms }])
            }));
        });
    }
}
