//! Output and files that a worker sends, kept within the job's limits whatever the worker claims. Files are written on a thread of their own:
//! each has to be durable, and of thousands of them that takes a while.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fog_runtime::{FromWorker, LimitKind, Outcome, Report, WorkerError, result_hash};
use fog_store::{BlobFile, BlobWriter, StoreError};
use fog_types::path::{Remarks, ResultNames};
use fog_types::{ByteCount, HasKind};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::tasks::{Launch, Left, TaskEnd};

/// Most files of one result; a program can make no more.
const MAX_FILES: usize = 100_000;
/// Pieces of files on their way to the disk.
const WAITING: usize = 16;
/// Files that are made durable together, and are open until then.
const TOGETHER: usize = 32;

/// Keeps what a worker sends.
pub(crate) struct Collector {
    data_folder: PathBuf,
    stdout: BlobWriter,
    stderr: BlobWriter,
    pub(crate) stdout_bytes: Vec<u8>,
    pub(crate) stderr_bytes: Vec<u8>,
    files: Option<Files>,
    disk_left: u64,
}

impl Collector {
    pub(crate) fn new(launch: &Launch) -> Result<Box<Self>, WorkerError> {
        let log = launch.spec.limits.log;
        let writer = || BlobWriter::create(&launch.data_folder, log).map_err(storage);
        Ok(Box::new(Self {
            data_folder: launch.data_folder.clone(),
            stdout: writer()?,
            stderr: writer()?,
            stdout_bytes: Vec::new(),
            stderr_bytes: Vec::new(),
            files: None,
            disk_left: launch.spec.limits.disk.0,
        }))
    }

    pub(crate) async fn take(&mut self, message: FromWorker) -> Result<(), WorkerError> {
        match message {
            FromWorker::Stdout(bytes) => {
                self.stdout.write(&bytes).map_err(storage)?;
                self.stdout_bytes.extend_from_slice(&bytes);
            }
            FromWorker::Stderr(bytes) => {
                self.stderr.write(&bytes).map_err(storage)?;
                self.stderr_bytes.extend_from_slice(&bytes);
            }
            FromWorker::File { path, chunk } => {
                self.disk_left = self
                    .disk_left
                    .checked_sub(chunk.len() as u64)
                    .ok_or_else(|| WorkerError::Nonsense { message: "more output than its disk limit".to_owned() })?;
                let files = self.files.get_or_insert_with(|| Files::begin(self.data_folder.clone()));
                if files.to.send((path, chunk)).await.is_err() {
                    // It ends before its sender for one reason only.
                    if let Some(files) = self.files.take() {
                        files.end().await?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) async fn finish(mut self: Box<Self>, report: Report) -> Result<Left, WorkerError> {
        let kept = match self.files.take() {
            Some(files) => files.end().await?,
            None => Kept::default(),
        };
        let left = tokio::task::spawn_blocking(move || {
            let Self { stdout, stderr, stdout_bytes, .. } = *self;
            Ok(left(report, stdout.finish()?, stderr.finish()?, &stdout_bytes, kept))
        });
        left.await.map_err(stopped)?.map_err(storage)
    }
}

fn left(report: Report, stdout: BlobFile, stderr: BlobFile, stdout_bytes: &[u8], kept: Kept) -> Left {
    let limit = |what: &str| format!("it reached its limit of {what}");
    let problem = match &report.outcome {
        Outcome::Exited(0) => {
            let Kept { files, mut remarks } = kept;
            let files: Vec<(String, BlobFile)> = files.into_iter().collect();
            let listed = files.iter().map(|(path, file)| (path.as_str(), blake3::Hash::from_bytes(file.id().0)));
            report.left_out.remark(&mut remarks);
            let hash = result_hash(0, report.units, stdout_bytes, listed).to_hex().to_string();
            return Left::Result { report, stdout, stderr, files, hash, remarks };
        }
        Outcome::Limit(LimitKind::WallTime) => {
            let problem = limit("running time");
            return Left::Nothing(TaskEnd::Unlucky { problem, report: Some(report), logs: Some((stdout, stderr)) });
        }
        Outcome::Exited(code) => format!("the program ended with code {code}"),
        Outcome::Trapped(what) => format!("the program broke off: {what}"),
        Outcome::Limit(LimitKind::Units) => limit("work units"),
        Outcome::Limit(LimitKind::Stack) => limit("stack"),
        Outcome::Limit(LimitKind::Memory) => "it used more memory than its limits allow".to_owned(),
        Outcome::Refused(why) => format!("the module cannot run: {why}"),
    };
    Left::Nothing(TaskEnd::Hopeless { problem, report: Some(report), logs: Some((stdout, stderr)) })
}

/// The thread that writes files.
struct Files {
    to: mpsc::Sender<(String, Vec<u8>)>,
    thread: JoinHandle<Result<Kept, StoreError>>,
}

impl Files {
    fn begin(data_folder: PathBuf) -> Self {
        let (to, from) = mpsc::channel(WAITING);
        Self { to, thread: tokio::task::spawn_blocking(move || Intake::new(data_folder).run(from)) }
    }

    /// No more comes.
    async fn end(self) -> Result<Kept, WorkerError> {
        drop(self.to);
        self.thread.await.map_err(stopped)?.map_err(storage)
    }
}

/// Files of a result, under the names they are kept by.
struct Kept {
    files: BTreeMap<String, BlobFile>,
    remarks: Remarks,
}

impl Default for Kept {
    fn default() -> Self {
        Self { files: BTreeMap::new(), remarks: Remarks::keeping_all() }
    }
}

struct Intake {
    data_folder: PathBuf,
    kept: Kept,
    names: ResultNames,
    /// The one that comes in: as the worker calls it, and its name and where it goes unless it is left out.
    incoming: Option<(String, Option<(String, BlobWriter)>)>,
    /// Whole ones that are not durable yet.
    whole: Vec<(String, BlobWriter)>,
    count: usize,
}

impl Intake {
    fn new(data_folder: PathBuf) -> Self {
        Self { data_folder, kept: Kept::default(), names: ResultNames::default(), incoming: None, whole: Vec::new(), count: 0 }
    }

    fn run(mut self, mut from: mpsc::Receiver<(String, Vec<u8>)>) -> Result<Kept, StoreError> {
        while let Some((path, chunk)) = from.blocking_recv() {
            if self.incoming.as_ref().is_none_or(|(said, _)| *said != path) {
                self.close();
                if self.whole.len() >= TOGETHER {
                    self.settle()?;
                }
                self.open(path)?;
            }
            if let Some((_, Some((_, writer)))) = &mut self.incoming {
                writer.write(&chunk)?;
            }
        }
        self.close();
        self.settle()?;
        Ok(self.kept)
    }

    /// A name that cannot be kept is no reason to lose the result, and would be the same on another try.
    fn open(&mut self, said: String) -> Result<(), StoreError> {
        let name = if self.count < MAX_FILES { self.names.add(&said) } else { None };
        self.kept.remarks.file(&said, name.as_deref());
        let kept = match name {
            Some(name) => {
                self.count += 1;
                Some((name, BlobWriter::create(&self.data_folder, ByteCount(u64::MAX))?))
            }
            None => None,
        };
        self.incoming = Some((said, kept));
        Ok(())
    }

    fn close(&mut self) {
        if let Some((_, Some(whole))) = self.incoming.take() {
            self.whole.push(whole);
        }
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        let (names, writers): (Vec<String>, Vec<BlobWriter>) = std::mem::take(&mut self.whole).into_iter().unzip();
        self.kept.files.extend(names.into_iter().zip(BlobWriter::finish_all(writers)?));
        Ok(())
    }
}

fn stopped(error: JoinError) -> WorkerError {
    WorkerError::Nonsense { message: error.to_string() }
}

fn storage(error: StoreError) -> WorkerError {
    WorkerError::Storage { kind: error.kind(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_no_fault_of_the_worker() {
        let Err(problem) = BlobWriter::create(std::path::Path::new("/dev/null/no folder"), ByteCount(1)) else { panic!("it is no folder") };
        let error = storage(problem);
        assert_eq!(error.kind(), fog_types::ErrorKind::Storage);
        assert!(!error.is_permanent() && error.to_string().contains("cannot be stored") && !error.to_string().contains("nonsense"), "{error}");
    }
}
