//! Collection of everything that a task needs before it starts.

use fog_api::settings::keys;
use std::time::Duration;

use fog_runtime::{EngineKind, Priority};
use fog_store::{Claim, StoreError};
use fog_types::job::Map;
use fog_types::text::clean_name;
use fog_types::{BlobId, Percent, TaskId};

use crate::cleanup;
use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::tasks::checkpoints::{CheckpointPlace, artifact_path, checkpoint_path};
use crate::tasks::memory_budget;
use crate::tasks::runner::{self, Launch};
use crate::tasks::stored_files::Stored;

impl Context {
    /// Collects what a task needs before it starts, at this duty and priority; its compiler gets at most `budget` bytes
    /// of memory.
    pub(crate) fn launch(
        &self,
        claim: Claim,
        job: &fog_store::JobRow,
        duty: Percent,
        priority: Priority,
        budget: u64,
    ) -> Result<Launch, StoreError> {
        let artifact =
            artifact_path(self.store.folder(), &job.blobs.module.to_string(), EngineKind::Compiled);
        cleanup::touch(&artifact);
        let spec = runner::spec_of(
            &job.file,
            &job.blobs,
            claim.task.index,
            |id| self.store.blob(id),
            artifact.clone(),
            duty,
        )?;
        let place = self.place_of(job, claim.task);
        let module = self.store.blob(job.blobs.module)?;
        let files = files_of(job, claim.task.index)
            .into_iter()
            .map(|(what, id)| Ok((what, Stored::of_task(&self.store, id)?)));
        let files = files.collect::<Result<_, StoreError>>()?;
        let module_bytes = memory_budget::length(&module).unwrap_or(0);
        Ok(Launch {
            place,
            compile: memory_budget::compile_limits(module_bytes, budget),
            history_cap: self.settings.storage_cap().0 / 2,
            claim,
            program: self.config.worker.clone().with_priority(priority),
            data_folder: self.store.folder().to_owned(),
            holds: self.store.holds(),
            room: self.room_for(RoomUse::Work),
            module,
            files,
            artifact,
            spec,
        })
    }

    pub(crate) fn place_of(&self, job: &fog_store::JobRow, task: TaskId) -> CheckpointPlace {
        let mut inputs: Vec<(String, String)> =
            job.blobs.inputs.iter().map(|(name, id)| (name.clone(), id.to_string())).collect();
        if let (Map::Inputs(_), Some(id)) = (&job.file.map, job.blobs.items.get(task.index as usize)) {
            inputs.push(("item".to_owned(), id.to_string()));
        }
        CheckpointPlace {
            path: checkpoint_path(self.store.folder(), task),
            key: self.key,
            module: blake3::Hash::from_bytes(job.blobs.module.0),
            inputs,
            stdin: job.blobs.stdin.map(|id| id.to_string()),
            every: Duration::from_secs_f64(self.settings.number(keys::CHECKPOINT_EVERY).max(1.0)),
            room: self.room_for(RoomUse::Checkpoint),
            cap: if self.key.is_some() { self.settings.storage_cap().0 / 2 } else { 0 },
        }
    }
}

/// Stored files that a task reads, each with its role in the job; the module first.
pub(crate) fn files_of(job: &fog_store::JobRow, index: u32) -> Vec<(String, BlobId)> {
    let mut files = vec![("its program".to_owned(), job.blobs.module)];
    files.extend(job.blobs.inputs.iter().map(|(name, id)| (format!("its input {}", clean_name(name)), *id)));
    if let (Map::Inputs(_), Some(id)) = (&job.file.map, job.blobs.items.get(index as usize)) {
        files.push((format!("the input of task {index}"), *id));
    }
    files.extend(job.blobs.stdin.map(|id| ("its standard input".to_owned(), id)));
    files
}
