//! Ends of jobs of other devices that ran here: made ready, said, and said later when that could not be at once.

use std::time::Instant;

use fog_grid::{Content, LeaseId, Message, TaskResult};
use fog_store::{BlobFile, StoreError};
use fog_types::{BlobId, ByteCount, JobId, JobState, NodeId, TaskId, TaskState};

use super::Core;
use super::hosting::shorten;
use crate::grid::{Hosted, Sealing, content};

/// Most tries to make a result ready, over some minutes, before its requester hears that there is none.
const MOST_TELLINGS: u32 = 10;

impl Core {
    /// A hosted job is over, one way or the other. What it came to is made ready and said; when that cannot be now, it is
    /// looked at again with the next tick.
    pub(super) fn host_ended(&mut self, job: JobId) -> Result<(), StoreError> {
        let Some(hosted) = self.grid.hosted.get(&job).filter(|hosted| hosted.message.is_none() && hosted.telling.is_due()) else { return Ok(()) };
        let (lease, requester, tries) = (hosted.lease, hosted.requester, hosted.telling.tries);
        let row = self.store.job(job)?;
        match row.state {
            JobState::Finished => {
                let task = self.store.task(TaskId { job, index: 0 })?;
                let outputs = self.store.outputs(task.id)?;
                let blobs = task.stdout.into_iter().chain(task.stderr).chain(outputs.iter().map(|output| output.blob)).collect();
                let sealing = self.seal_beside(Sealing::Result(job), blobs);
                if sealing.is_err() && tries >= MOST_TELLINGS {
                    return self.give_up_telling(job, lease, requester);
                }
                if let (Ok(is_under_way), Some(hosted)) = (&sealing, self.grid.hosted.get_mut(&job)) {
                    hosted.telling.is_under_way = *is_under_way;
                }
                sealing.map(drop)
            }
            JobState::Failed | JobState::Cancelled => {
                let task = self.store.task(TaskId { job, index: 0 })?;
                // Ended before its tries were used up: the next device would see the same.
                let is_hopeless = row.state == JobState::Failed && task.state == TaskState::Failed && task.attempts < row.file.attempts;
                let problem = if row.state == JobState::Cancelled { "its owner does not want to run it".to_owned() } else { row.problem };
                let message = Message::Failed { lease, problem: shorten(&problem), is_hopeless };
                self.keep_saying(job, requester, &message)
            }
            JobState::Queued | JobState::Running | JobState::Paused => Ok(()),
        }
    }

    /// Ends of hosted jobs that could not be said when they came: the network was left, the disk was full, or this program
    /// was killed in between. Without this their requesters would hear heartbeats until the deadline.
    pub(super) fn tell_ends(&mut self) {
        let untold = |hosted: &Hosted| hosted.message.is_none() && hosted.telling.is_due();
        let jobs: Vec<JobId> = self.grid.hosted.iter().filter(|(_, hosted)| untold(hosted)).map(|(job, _)| *job).collect();
        for job in jobs {
            let told = match self.store.job_state(job) {
                Ok(state) if state.is_final() => self.host_ended(job),
                Ok(_) => continue,
                Err(StoreError::NoJob(_)) => {
                    if let Some(Hosted { lease, requester, .. }) = self.grid.hosted.remove(&job) {
                        self.grid.say(requester, Message::Failed { lease, problem: "its owner removed it".to_owned(), is_hopeless: false });
                    }
                    continue;
                }
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                tracing::warn!(%job, %error, "the end of a hosted job cannot be said yet");
                if let Some(hosted) = self.grid.hosted.get_mut(&job) {
                    hosted.telling.failed();
                }
            }
        }
    }

    /// What a hosted job came to is gone, or cannot be made ready on this device: its requester is to ask another one.
    fn give_up_telling(&mut self, job: JobId, lease: LeaseId, requester: NodeId) -> Result<(), StoreError> {
        let problem = "it was done, and its result could not be made ready to be fetched".to_owned();
        self.keep_saying(job, requester, &Message::Failed { lease, problem, is_hopeless: false })
    }

    /// Says it, and again until it is answered.
    pub(super) fn keep_saying(&mut self, job: JobId, requester: NodeId, message: &Message) -> Result<(), StoreError> {
        let bytes = message.encode();
        self.store.set_hosted_message(job, &bytes)?;
        if let Some(hosted) = self.grid.hosted.get_mut(&job) {
            hosted.message = Some(bytes);
            hosted.last_beat = Some(Instant::now());
        }
        self.note_untaken(job)?;
        self.grid.say(requester, message.clone());
        Ok(())
    }

    /// The files of a result were sealed, or could not be: then it is tried again, and given up in the end.
    pub(super) fn result_sealed(&mut self, job: JobId) -> Result<(), StoreError> {
        let Some(hosted) = self.grid.hosted.get_mut(&job).filter(|hosted| hosted.message.is_none()) else { return Ok(()) };
        hosted.telling.is_under_way = false;
        let (lease, requester, tries) = (hosted.lease, hosted.requester, hosted.telling.tries);
        let said = self.say_result(job);
        if matches!(said, Ok(true)) {
            return Ok(());
        }
        if tries >= MOST_TELLINGS {
            return self.give_up_telling(job, lease, requester);
        }
        if let Some(hosted) = self.grid.hosted.get_mut(&job) {
            hosted.telling.failed();
        }
        said.map(drop)
    }

    /// Says the result of a hosted job. False when not all of it is sealed.
    fn say_result(&mut self, job: JobId) -> Result<bool, StoreError> {
        let Some(hosted) = self.grid.hosted.get(&job) else { return Ok(true) };
        let (lease, offer, requester) = (hosted.lease, hosted.offer_hash, hosted.requester);
        let task = self.store.task(TaskId { job, index: 0 })?;
        let content = |blob: Option<BlobId>| -> Result<Option<Content>, StoreError> { blob.map_or(Ok(None), |blob| self.own_content(blob)) };
        let (Some(stdout), Some(stderr), Some(hash)) = (content(task.stdout)?, content(task.stderr)?, task.result_hash) else { return Ok(false) };
        let mut outputs = Vec::new();
        for output in self.store.outputs(task.id)? {
            let Some(content) = self.own_content(output.blob)? else { return Ok(false) };
            outputs.push((output.path, content));
        }
        let history = self.history_for(task.id)?;
        let list = if outputs.len() > fog_grid::MAX_NAMED { Some(self.listed(job, std::mem::take(&mut outputs))?) } else { None };
        let Some(identity) = &self.grid.identity else { return Ok(false) };
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
            if fits { Ok(message) } else { Err("it left more files than can be told of to another device".to_owned()) }
        });
        // It would be refused for ever; whoever runs it next leaves as many files.
        let message = said.unwrap_or_else(|problem| Message::Failed { lease, problem: shorten(&problem), is_hopeless: true });
        self.keep_saying(job, requester, &message)?;
        Ok(true)
    }

    /// The list of the files of a result, as a content of its own.
    fn listed(&mut self, job: JobId, outputs: Vec<(String, Content)>) -> Result<Content, StoreError> {
        let bytes = fog_grid::list_to_bytes(outputs);
        let blob = BlobFile::copy(self.store.folder(), bytes.as_slice(), ByteCount(u64::MAX))?;
        let sealed = content::seal(blob.path(), blob.id(), self.content_key(blob.id()));
        let row = sealed.map_err(|problem| StoreError::Damaged(format!("the list of a result's files cannot be sealed: {problem}")))?;
        self.store.add_blob(blob, self.settings.storage_cap(), self.clock.unix())?;
        self.store.hold_blob(job, row.blob)?;
        self.store.put_content(&row)?;
        crate::grid::content_of(&row).ok_or(StoreError::NoBlob(row.blob))
    }
}
