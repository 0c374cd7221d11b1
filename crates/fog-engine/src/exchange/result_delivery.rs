//! Ends of hosted jobs: preparing their results, reporting them, and reporting them later when that was
//! impossible at once.

use std::path::Path;

use fog_grid::{Content, ContentKey, LeaseId, Message, TaskResult};
use fog_store::{BlobFile, ContentRow, Reader, StoreError, TaskRow};
use fog_types::{BlobId, ByteCount, JobId, JobState, NodeId, TaskId, TaskState};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::exchange::content;
use crate::exchange::worker::shorten;
use crate::exchange::{Exchange, ExchangeEvent, Hosted, content_of};
use crate::message::EngineMessage;

/// Most attempts to prepare a result, over some minutes, before its requester is told that there is none.
const MOST_TELLINGS: u32 = 10;
/// Sealed files that are stored at once; the loop does other work in between.
const NOTED_AT_ONCE: usize = 256;

impl Exchange {
    /// Handles the end of a hosted job: prepares and reports its result or failure. If that is impossible
    /// now, the next tick tries again.
    pub(crate) fn host_ended(&mut self, ctx: &mut Context, job: JobId) -> Result<(), StoreError> {
        let Some(hosted) = self
            .hosted
            .get(&job)
            .filter(|hosted| hosted.message.is_none() && hosted.delivery.is_due(ctx.now()))
        else {
            return Ok(());
        };
        let (lease, requester, tries) = (hosted.lease, hosted.requester, hosted.delivery.tries);
        let row = ctx.store.job(job)?;
        match row.state {
            JobState::Finished => {
                let sealing = self.seal_result_beside(ctx, job);
                if sealing.is_err() && tries >= MOST_TELLINGS {
                    return self.give_up_delivery(ctx, job, lease, requester);
                }
                if let (Ok(is_under_way), Some(hosted)) = (&sealing, self.hosted.get_mut(&job)) {
                    hosted.delivery.is_under_way = *is_under_way;
                }
                sealing.map(drop)
            }
            JobState::Failed | JobState::Cancelled => {
                let task = ctx.store.task(TaskId { job, index: 0 })?;
                // The job failed before its attempts were used up, so it would fail on the next device as
                // well.
                let is_hopeless = row.state == JobState::Failed
                    && task.state == TaskState::Failed
                    && task.attempts < row.file.attempts;
                let problem = if row.state == JobState::Cancelled {
                    "its owner does not want to run it".to_owned()
                } else {
                    row.problem
                };
                let message = Message::Failed { lease, problem: shorten(&problem), is_hopeless };
                self.resend_results(ctx, job, requester, &message)
            }
            JobState::Queued | JobState::Running | JobState::Paused => Ok(()),
        }
    }

    /// Reports ends of hosted jobs that could not be reported at once, because the network was left, the
    /// disk was full or the program was killed. Otherwise their requesters would receive heartbeats until
    /// the deadline.
    pub(crate) fn tell_ends(&mut self, ctx: &mut Context) {
        let untold = |hosted: &Hosted| hosted.message.is_none() && hosted.delivery.is_due(ctx.now());
        let jobs: Vec<JobId> =
            self.hosted.iter().filter(|(_, hosted)| untold(hosted)).map(|(job, _)| *job).collect();
        for job in jobs {
            let told = match ctx.store.job_state(job) {
                Ok(state) if state.is_final() => self.host_ended(ctx, job),
                Ok(_) => continue,
                Err(StoreError::NoJob(_)) => {
                    if let Some(Hosted { lease, requester, .. }) = self.hosted.remove(&job) {
                        ctx.say(
                            requester,
                            Message::Failed {
                                lease,
                                problem: "its owner removed it".to_owned(),
                                is_hopeless: false,
                            },
                        );
                    }
                    continue;
                }
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                tracing::warn!(%job, %error, "the end of a hosted job cannot be said yet");
                if let Some(hosted) = self.hosted.get_mut(&job) {
                    hosted.delivery.failed(ctx.now());
                }
            }
        }
    }

    /// Reports that the result of a hosted job is lost or cannot be prepared, so that its requester asks
    /// another device.
    fn give_up_delivery(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        lease: LeaseId,
        requester: NodeId,
    ) -> Result<(), StoreError> {
        let problem = "it was done, and its result could not be made ready to be fetched".to_owned();
        self.resend_results(ctx, job, requester, &Message::Failed { lease, problem, is_hopeless: false })
    }

    /// Stores and sends a message about the end of a job; it is repeated until it is answered.
    pub(crate) fn resend_results(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        requester: NodeId,
        message: &Message,
    ) -> Result<(), StoreError> {
        let bytes = message.encode();
        ctx.store.set_hosted_message(job, &bytes)?;
        if let Some(hosted) = self.hosted.get_mut(&job) {
            hosted.message = Some(bytes);
            hosted.last_beat = Some(ctx.now());
        }
        self.note_untaken(ctx, job)?;
        ctx.say(requester, message.clone());
        Ok(())
    }

    /// Seals the files of a result on another thread, because there may be very many. Returns false when
    /// there is no network.
    fn seal_result_beside(&self, ctx: &mut Context, job: JobId) -> Result<bool, StoreError> {
        let Some(net) = &ctx.net else { return Ok(false) };
        // The thread reads the rows of the result, which this input may have written.
        let (go, stored) = oneshot::channel();
        // A missing task is noticed at once.
        ctx.store.task(TaskId { job, index: 0 })?;
        let (folder, secret, to) = (ctx.store.folder().to_owned(), ctx.secret, ctx.to_self.clone());
        net.spawn_blocking(move || {
            if stored.blocking_recv().is_err() {
                return;
            }
            let note = |rows: Vec<ContentRow>| {
                let (noted, is_noted) = oneshot::channel();
                // A send fails only when the engine has stopped.
                let _ =
                    to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::Noted(rows, noted))));
                is_noted.blocking_recv().unwrap_or_else(|_| Err("the engine stopped".to_owned()))
            };
            let told = ToTell::prepare(&folder, &secret, job, note);
            let _ = to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::ToTell(job, told))));
        });
        ctx.out.signal(go);
        Ok(true)
    }

    /// Handles the sealed files of a result. A failure is tried again, up to [`MOST_TELLINGS`] times.
    pub(crate) fn result_sealed(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        told: Result<ToTell, String>,
    ) -> Result<(), StoreError> {
        let Some(hosted) = self.hosted.get_mut(&job).filter(|hosted| hosted.message.is_none()) else {
            return Ok(());
        };
        hosted.delivery.is_under_way = false;
        let (lease, requester, tries) = (hosted.lease, hosted.requester, hosted.delivery.tries);
        let said = match told {
            Ok(told) => self.send_result(ctx, job, told),
            Err(error) => {
                tracing::error!(error, "the files of a result could not be made ready for others");
                Ok(false)
            }
        };
        if matches!(said, Ok(true)) {
            return Ok(());
        }
        if tries >= MOST_TELLINGS {
            return self.give_up_delivery(ctx, job, lease, requester);
        }
        if let Some(hosted) = self.hosted.get_mut(&job) {
            hosted.delivery.failed(ctx.now());
        }
        said.map(drop)
    }

    /// Reports the result of a hosted job. Returns false when that is impossible now.
    fn send_result(&mut self, ctx: &mut Context, job: JobId, told: ToTell) -> Result<bool, StoreError> {
        let Some(hosted) = self.hosted.get(&job) else { return Ok(true) };
        let (lease, offer, requester) = (hosted.lease, hosted.offer_hash, hosted.requester);
        let ToTell { task, hash, stdout, stderr, outputs, list } = told;
        let list = match list {
            Some((blob, row)) => Some(self.keep_list(ctx, job, blob, &row)?),
            None => None,
        };
        let history = self.history_for(ctx, task.id)?;
        let Some(identity) = &ctx.identity else { return Ok(false) };
        let result = TaskResult {
            lease,
            worker: identity.node(),
            offer,
            units: task.units,
            active_ms: task.active_millis,
            memory: task.memory,
            hash,
            stdout: (stdout, task.stdout_dropped),
            stderr: (stderr, task.stderr_dropped),
            outputs,
            list,
            history,
        };
        let said = result.check().and_then(|()| {
            let message = Message::Result(Box::new(identity.sign(&result)));
            let fits = message.encode().len() <= fog_grid::MAX_MESSAGE as usize;
            if fits {
                Ok(message)
            } else {
                Err("it left more files than can be told of to another device".to_owned())
            }
        });
        // The result would always be refused, and the next worker would leave as many files.
        let message = said.unwrap_or_else(|problem| Message::Failed {
            lease,
            problem: shorten(&problem),
            is_hopeless: true,
        });
        self.resend_results(ctx, job, requester, &message)?;
        Ok(true)
    }

    /// Stores the list of a result's files as a content of its own.
    fn keep_list(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        blob: BlobFile,
        row: &ContentRow,
    ) -> Result<Content, StoreError> {
        ctx.store.add_blob(blob, ctx.settings.storage_cap(), ctx.clock.unix())?;
        ctx.store.hold_blob(job, row.blob)?;
        ctx.store.put_contents(std::slice::from_ref(row))?;
        content_of(row).ok_or(StoreError::NoBlob(row.blob))
    }
}

/// Data for the message about a result, with its files as others fetch them.
pub(crate) struct ToTell {
    task: TaskRow,
    hash: String,
    stdout: Content,
    stderr: Content,
    outputs: Vec<(String, Content)>,
    /// List of the files, which replaces `outputs` when there are many.
    list: Option<(BlobFile, ContentRow)>,
}

impl ToTell {
    /// Looks up the files and seals those that are not sealed yet; `note` stores the sealed ones in
    /// portions.
    fn prepare(
        folder: &Path,
        secret: &[u8; 32],
        job: JobId,
        note: impl Fn(Vec<ContentRow>) -> Result<(), String>,
    ) -> Result<Self, String> {
        let text = |error: StoreError| error.to_string();
        let store = Reader::open(folder).map_err(text)?;
        let mut sealed = Vec::new();
        let mut content = |blob: BlobId| -> Result<Content, String> {
            let key = ContentKey::derive(secret, blob);
            let known = store.content_of(blob, &key.0).map_err(text)?;
            let known = known.map(|row| ContentRow {
                key: row.open.map_or(row.key, |open| ContentKey::derive(secret, open).0),
                ..row
            });
            if let Some(content) = known.as_ref().and_then(content_of) {
                return Ok(content);
            }
            let row = content::seal(&store.blob(blob).map_err(text)?, blob, key)?;
            let made = content_of(&row).ok_or("its content has no name")?;
            sealed.push(row);
            if sealed.len() >= NOTED_AT_ONCE {
                note(std::mem::take(&mut sealed))?;
            }
            Ok(made)
        };
        let task = store.task(TaskId { job, index: 0 }).map_err(text)?;
        let missing = || "its result is gone".to_owned();
        let hash = task.result_hash.clone().ok_or_else(missing)?;
        let (stdout, stderr) =
            (content(task.stdout.ok_or_else(missing)?)?, content(task.stderr.ok_or_else(missing)?)?);
        let named = store
            .outputs(task.id)
            .map_err(text)?
            .into_iter()
            .map(|output| Ok((output.path, content(output.blob)?)));
        let mut outputs = named.collect::<Result<Vec<_>, String>>()?;
        note(sealed)?;
        let mut list = None;
        if outputs.len() > fog_grid::MAX_NAMED {
            let bytes = fog_grid::list_to_bytes(std::mem::take(&mut outputs));
            let blob = BlobFile::copy(folder, bytes.as_slice(), ByteCount(u64::MAX)).map_err(text)?;
            let row = content::seal(blob.path(), blob.id(), ContentKey::derive(secret, blob.id()));
            list = Some((
                blob,
                row.map_err(|problem| format!("the list of a result's files cannot be sealed: {problem}"))?,
            ));
        }
        Ok(Self { task, hash, stdout, stderr, outputs, list })
    }
}
