//! Commands about jobs.

use std::path::PathBuf;

use base64::Engine as _;
use fog_api::{ApiError, EventBody, JobCommand, Reply};
use fog_store::{PlacedFiles, Reader, Store};
use fog_types::{BlobId, JobId, TaskId};

use crate::context::Context;
use crate::effects::{Answer, Input};
use crate::message::EngineMessage;
use crate::query::{self, to_api};
use crate::tasks::checkpoints::checkpoint_path;
use crate::tasks::errors::TaskError;
use crate::tasks::submit::{self, Prepared, SubmitOptions};
use crate::tasks::{Tasks, assemble, checkpoint_import, estimates, results};
use crate::views;

impl Tasks {
    pub(crate) fn command(&mut self, ctx: &mut Context, command: JobCommand, answer: Answer) {
        let reply = match command {
            JobCommand::Submit { job_file, folder, grid, deadline_seconds } => {
                return self.submit(
                    ctx,
                    job_file,
                    folder.into(),
                    SubmitOptions { grid, deadline_seconds },
                    answer,
                );
            }
            JobCommand::SubmitCheckpoint { path } => return self.submit_checkpoint(ctx, path.into(), answer),
            JobCommand::SubmitExample { name, grid, deadline_seconds } => {
                let found = ctx
                    .config
                    .examples
                    .as_ref()
                    .map(|folder| folder.join(&name))
                    .filter(|_| !name.contains(['/', '\\', '.']));
                match found
                    .and_then(|folder| Some((std::fs::read_to_string(folder.join("job.toml")).ok()?, folder)))
                {
                    Some((text, folder)) => {
                        return self.submit(
                            ctx,
                            text,
                            folder,
                            SubmitOptions { grid, deadline_seconds },
                            answer,
                        );
                    }
                    None => Err(TaskError::NoSuchExample { name }.into()),
                }
            }
            JobCommand::Estimate { job_file, folder, seconds, now } => {
                return self.estimate(ctx, job_file, folder.into(), estimates::Ask { seconds, now }, answer);
            }
            JobCommand::Examples => Ok(Reply::Examples(
                ctx.config.examples.as_deref().map(crate::list_examples).unwrap_or_default(),
            )),
            JobCommand::List(query) => query::jobs(&ctx.store, &query).map(|mut jobs| {
                jobs.retain_mut(|job| ctx.unstored.apply(job));
                Reply::Jobs(jobs)
            }),
            JobCommand::Show { id, tasks_from } => return self.show(ctx, id, tasks_from, None, answer),
            JobCommand::Outputs { id, index, after } => {
                return ctx
                    .beside(answer, move |store| query::outputs(store, TaskId { job: id, index }, &after));
            }
            JobCommand::Renamed { id, index, from } => {
                return ctx
                    .beside(answer, move |store| query::renamed(store, TaskId { job: id, index }, from));
            }
            JobCommand::Change { id, action } => self.change_job(ctx, id, action),
            JobCommand::Log { id, index, stderr } => {
                return ctx.beside_job(id, answer, move |store| {
                    results::log(store, TaskId { job: id, index }, stderr)
                });
            }
            JobCommand::Output { id, index, path } => {
                return ctx.beside_job(id, answer, move |store| {
                    let bytes = results::output(store, id, index, &path)?.into_bytes()?;
                    let mime = assemble::mime_of(&bytes).to_owned();
                    Ok(Reply::Bytes { mime, base64: base64::engine::general_purpose::STANDARD.encode(bytes) })
                });
            }
            JobCommand::Read { id, part, from, limit } => {
                return ctx.beside_job(id, answer, move |store| {
                    results::piece(store, id, &part, from, limit)?.read()
                });
            }
            JobCommand::Export { id, folder } => {
                return ctx.beside_job(id, answer, move |store| {
                    results::export(store, id, PathBuf::from(folder))?.write()
                });
            }
            JobCommand::Checkpoint { id } => return self.checkpoint(ctx, id, answer),
            JobCommand::ExportCheckpoint { id, index, path } => {
                return self.export_checkpoint(ctx, id, index, path.into(), answer);
            }
            JobCommand::ExportHistory { id, index, folder } => {
                return self.export_history(ctx, id, index, folder.into(), answer);
            }
        };
        ctx.out.answer(answer, reply);
    }

    /// Answers with a job, its tasks and the reason why other devices do not run it yet.
    pub(crate) fn show(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        tasks_from: u32,
        withheld: Option<String>,
        answer: Answer,
    ) {
        let live = self.live_of(ctx, id);
        let wished = self.job_state(ctx, id).ok().filter(|_| ctx.unstored.holds(id));
        ctx.beside(answer, move |store| {
            query::job(store, id, tasks_from, withheld.as_deref(), &live, wished)
        });
    }

    pub(crate) fn submit(
        &self,
        ctx: &Context,
        text: String,
        folder: PathBuf,
        wish: SubmitOptions,
        answer: Answer,
    ) {
        let (to, holds, place) = (ctx.to_self.clone(), ctx.store.holds(), ctx.copy_place());
        tokio::task::spawn_blocking(move || {
            let prepared = submit::prepare(&text, &folder, &place, &|| !answer.is_closed())
                .and_then(|prepared| prepared.with(wish)?.placed(&place.data_folder, &holds));
            let _ = to.blocking_send(EngineMessage::Prepared(Box::new(prepared), answer));
        });
    }

    fn submit_checkpoint(&self, ctx: &Context, path: PathBuf, answer: Answer) {
        let (to, holds, key, place) = (ctx.to_self.clone(), ctx.store.holds(), ctx.key, ctx.copy_place());
        tokio::task::spawn_blocking(move || {
            let prepared = checkpoint_import::prepare(&path, &place, key)
                .and_then(|prepared| prepared.placed(&place.data_folder, &holds));
            let _ = to.blocking_send(EngineMessage::Prepared(Box::new(prepared), answer));
        });
    }
}

impl Context {
    /// Places the copied blobs and accepts the job, which from then on survives a crash.
    pub(crate) fn accept(&mut self, prepared: Prepared) -> Result<Reply, ApiError> {
        let (now, cap) = (self.clock.unix(), self.settings.storage_cap());
        let fog_store::Blobs { module, stdin, inputs, items } = &prepared.blobs;
        let needed: Vec<BlobId> =
            std::iter::once(module).chain(stdin).chain(inputs.values()).chain(items).copied().collect();
        let placed = prepared.placed.map_or_else(
            || PlacedFiles::place(self.store.folder(), &self.store.holds(), prepared.copied),
            Ok,
        );
        placed.and_then(|placed| self.store.add_placed(&placed, &needed, cap, now)).map_err(to_api)?;
        for held in &prepared.held {
            self.store.add_rest(held, &[], now).map_err(to_api)?;
        }
        let owner = prepared.owner.unwrap_or_else(|| crate::tasks::scheduler::OWN_JOB.to_owned());
        let new =
            fog_store::NewJob { file: prepared.file, blobs: prepared.blobs, owner, grid: prepared.grid, now };
        let id = match prepared.hosted {
            Some(row) => self.store.insert_hosted_job(&new, row),
            None => self.store.insert_job(&new),
        };
        let id = id.map_err(to_api)?;
        if let Some(checkpoint) = prepared.checkpoint {
            let path = checkpoint_path(self.store.folder(), TaskId { job: id, index: 0 });
            self.out.made(path.clone());
            if let Err(error) = checkpoint.persist(path) {
                // The job is valid without the state and begins anew.
                tracing::error!(%error, "the state of a job that moved here is lost");
            }
        }
        if prepared.grid.is_some() {
            self.out.input(Input::JobSubmitted(id));
        }
        let job = views::job_summary(&(&self.store.job(id).map_err(to_api)?).into());
        self.announce(EventBody::Job(job.clone()));
        self.out.input(Input::Sample);
        Ok(Reply::Submitted { job })
    }

    /// Answers from the store and its files on another thread, so that the loop is not blocked.
    pub(crate) fn beside(
        &self,
        answer: Answer,
        find: impl FnOnce(&Store) -> Result<Reply, ApiError> + Send + 'static,
    ) {
        let folder = self.store.folder().to_owned();
        // A send fails only when the front end is gone.
        tokio::task::spawn_blocking(move || {
            drop(answer.send(Reader::open(&folder).map_err(to_api).and_then(|store| find(&store))))
        });
    }

    /// Answers as [`Context::beside`] does, about one job.
    pub(crate) fn beside_job(
        &self,
        id: JobId,
        answer: Answer,
        find: impl FnOnce(&Store) -> Result<Reply, ApiError> + Send + 'static,
    ) {
        self.beside(answer, move |store| results::of_job(store, id, find));
    }
}
