//! Collects the output and files that a worker sends, within the job's limits whatever the worker claims. A
//! separate thread writes the files: each must be durable, which takes a while for thousands of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fog_runtime::{FromWorker, LimitKind, Outcome, Report, WorkerError, result_hash};
use fog_store::{BlobFile, BlobWriter, Reservation, StoreError};
use fog_types::path::{Remarks, ResultNames};
use fog_types::{ByteCount, on_disk};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::disk_room::DiskRoom;
use crate::tasks::runner::{Launch, Left, TaskOutcome};

/// Most files of one result. A program cannot create more.
const MAX_FILES: usize = 100_000;
/// Pieces of files that may wait for the disk.
const WAITING: usize = 16;
/// Bytes on disk of output for which room is requested at once.
const LOG_AHEAD: u64 = 64 << 10;
/// Bytes on disk for which room is requested at once, beyond what the worker announced.
const UNSAID_AHEAD: u64 = 1 << 20;
/// Number of files that are made durable together and stay open until then.
const TOGETHER: usize = 32;

/// Reason why an attempt ends without an outcome of the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The store takes nothing more of what the task left, through no fault of the job.
    #[error("what the task left cannot be stored: {0}")]
    Store(#[from] StoreError),
}

fn nonsense(message: impl ToString) -> AttemptError {
    WorkerError::ProtocolViolation { message: message.to_string() }.into()
}

/// Collector of everything that a worker sends.
pub(crate) struct Collector {
    data_folder: PathBuf,
    stdout: BlobWriter,
    stderr: BlobWriter,
    pub(crate) stdout_bytes: Vec<u8>,
    pub(crate) stderr_bytes: Vec<u8>,
    /// Room for the two logs.
    log_room: Reservation,
    files: Option<Files>,
    disk_left: u64,
    /// Bytes on disk that the files take, as the worker says.
    said: u64,
    room: DiskRoom,
}

impl Collector {
    pub(crate) async fn new(launch: &Launch) -> Result<Box<Self>, AttemptError> {
        let log = launch.spec.limits.log;
        let mut log_room = launch.room.none();
        launch.room.extend(&mut log_room, 2 * on_disk(0), LOG_AHEAD).await?;
        let mut writer = || {
            log_room.use_up(on_disk(0));
            BlobWriter::create(&launch.data_folder, log)
        };
        let (stdout, stderr) = (writer()?, writer()?);
        Ok(Box::new(Self {
            data_folder: launch.data_folder.clone(),
            stdout,
            stderr,
            stdout_bytes: Vec::new(),
            stderr_bytes: Vec::new(),
            log_room,
            files: None,
            disk_left: launch.spec.limits.disk.0,
            said: 0,
            room: launch.room.clone(),
        }))
    }

    pub(crate) async fn take(&mut self, message: FromWorker) -> Result<(), AttemptError> {
        match message {
            FromWorker::Stdout(bytes) => {
                write_log(&mut self.stdout, &bytes, &mut self.log_room, &self.room).await?;
                self.stdout_bytes.extend_from_slice(&bytes);
            }
            FromWorker::Stderr(bytes) => {
                write_log(&mut self.stderr, &bytes, &mut self.log_room, &self.room).await?;
                self.stderr_bytes.extend_from_slice(&bytes);
            }
            FromWorker::Files { on_disk: bytes } => {
                // Each file is rounded up to a block.
                if bytes > self.disk_left.saturating_add(MAX_FILES as u64 * on_disk(0)) {
                    return Err(nonsense("more output than its disk limit"));
                }
                self.said = bytes;
            }
            FromWorker::File { path, chunk } => {
                self.disk_left = self
                    .disk_left
                    .checked_sub(chunk.len() as u64)
                    .ok_or_else(|| nonsense("more output than its disk limit"))?;
                let files = self.files.get_or_insert_with(|| {
                    Files::begin(self.data_folder.clone(), self.room.clone(), self.said)
                });
                if files.to.send((path, chunk)).await.is_err() {
                    // The thread ends before its sender only after an error.
                    if let Some(files) = self.files.take() {
                        files.end().await?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) async fn finish(mut self: Box<Self>, report: Report) -> Result<Left, AttemptError> {
        let kept = match self.files.take() {
            Some(files) => files.end().await?,
            None => Kept::default(),
        };
        let left = tokio::task::spawn_blocking(move || {
            let Self { stdout, stderr, stdout_bytes, .. } = *self;
            Ok(left(report, stdout.finish()?, stderr.finish()?, &stdout_bytes, kept))
        });
        left.await.map_err(nonsense)?
    }
}

/// Appends output to a log, whose room is requested in steps.
async fn write_log(
    log: &mut BlobWriter,
    bytes: &[u8],
    room: &mut Reservation,
    asked: &DiskRoom,
) -> Result<(), AttemptError> {
    let more = on_disk(log.size() + bytes.len() as u64) - on_disk(log.size());
    asked.extend(room, more, LOG_AHEAD).await?;
    log.write(bytes)?;
    room.use_up(more);
    Ok(())
}

fn left(report: Report, stdout: BlobFile, stderr: BlobFile, stdout_bytes: &[u8], kept: Kept) -> Left {
    let limit = |what: &str| format!("it reached its limit of {what}");
    let problem = match &report.outcome {
        Outcome::Exited(0) => {
            let Kept { files, mut remarks } = kept;
            let files: Vec<(String, BlobFile)> = files.into_iter().collect();
            let listed =
                files.iter().map(|(path, file)| (path.as_str(), blake3::Hash::from_bytes(file.id().0)));
            report.left_out.remark(&mut remarks);
            let hash = result_hash(0, report.units, stdout_bytes, listed).to_hex().to_string();
            return Left::Result { report, stdout, stderr, files, hash, remarks };
        }
        Outcome::Limit(LimitKind::WallTime) => {
            let problem = limit("running time");
            return Left::Nothing(TaskOutcome::TransientFailure {
                problem,
                report: Some(report),
                logs: Some((stdout, stderr)),
            });
        }
        Outcome::Exited(code) => format!("the program ended with code {code}"),
        Outcome::Trapped(what) => format!("the program broke off: {what}"),
        Outcome::Limit(LimitKind::Units) => limit("work units"),
        Outcome::Limit(LimitKind::Stack) => limit("stack"),
        Outcome::Limit(LimitKind::Memory) => "it used more memory than its limits allow".to_owned(),
        Outcome::Refused(why) => format!("the module cannot run: {why}"),
    };
    Left::Nothing(TaskOutcome::PermanentFailure {
        problem,
        report: Some(report),
        logs: Some((stdout, stderr)),
    })
}

/// The thread that writes files.
struct Files {
    to: mpsc::Sender<(String, Vec<u8>)>,
    thread: JoinHandle<Result<Kept, StoreError>>,
}

impl Files {
    fn begin(data_folder: PathBuf, room: DiskRoom, said: u64) -> Self {
        let (to, from) = mpsc::channel(WAITING);
        Self {
            to,
            thread: tokio::task::spawn_blocking(move || Intake::new(data_folder, room, said).run(from)),
        }
    }

    /// Ends the input and waits for the thread.
    async fn end(self) -> Result<Kept, AttemptError> {
        drop(self.to);
        Ok(self.thread.await.map_err(nonsense)??)
    }
}

/// Files of a result by the names under which they are kept.
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
    /// File that is being received: its name as the worker states it, then its kept name and writer unless
    /// it is left out.
    incoming: Option<(String, Option<(String, BlobWriter)>)>,
    /// Complete files that are not durable yet.
    whole: Vec<(String, BlobWriter)>,
    count: usize,
    asked: DiskRoom,
    room: Reservation,
    /// Bytes that the files take on disk, and that they take according to the worker.
    taken: u64,
    said: u64,
}

impl Intake {
    fn new(data_folder: PathBuf, asked: DiskRoom, said: u64) -> Self {
        let (kept, names, room) = (Kept::default(), ResultNames::default(), asked.none());
        Self {
            data_folder,
            kept,
            names,
            incoming: None,
            whole: Vec::new(),
            count: 0,
            asked,
            room,
            taken: 0,
            said,
        }
    }

    /// Takes room for the next bytes. All that the worker announced is requested before the first byte is
    /// written, so that a result that does not fit is not half written.
    fn take_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.taken += bytes;
        if self.room.bytes() < bytes {
            let left = self.said.saturating_sub(self.taken - bytes);
            let (wanted, ahead) = if left < bytes { (bytes, UNSAID_AHEAD) } else { (left, 0) };
            let all = ByteCount(self.taken.max(self.said));
            self.asked.extend_blocking(&mut self.room, wanted, ahead).map_err(|error| match error {
                StoreError::Full { cap, .. } => StoreError::Full { wanted: all, cap },
                StoreError::DiskLow { free, kept, .. } => StoreError::DiskLow { wanted: all, free, kept },
                other => other,
            })?;
        }
        Ok(())
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
            if let Some((_, Some((_, writer)))) = &self.incoming {
                let more = on_disk(writer.size() + chunk.len() as u64) - on_disk(writer.size());
                self.take_room(more)?;
                if let Some((_, Some((_, writer)))) = &mut self.incoming {
                    writer.write(&chunk)?;
                }
                self.room.use_up(more);
            }
        }
        self.close();
        self.settle()?;
        Ok(self.kept)
    }

    /// Begins a file. A name that cannot be kept only leaves the file out: the result is not lost, and
    /// another attempt would give the same name.
    fn open(&mut self, said: String) -> Result<(), StoreError> {
        let name = if self.count < MAX_FILES { self.names.add(&said) } else { None };
        self.kept.remarks.file(&said, name.as_deref());
        let kept = match name {
            Some(name) => {
                self.count += 1;
                self.take_room(on_disk(0))?;
                let writer = BlobWriter::create(&self.data_folder, ByteCount(u64::MAX))?;
                self.room.use_up(on_disk(0));
                Some((name, writer))
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
        let (names, writers): (Vec<String>, Vec<BlobWriter>) =
            std::mem::take(&mut self.whole).into_iter().unzip();
        self.kept.files.extend(names.into_iter().zip(BlobWriter::finish_all(writers)?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes on disk of the files in a folder.
    fn lies(folder: &std::path::Path) -> u64 {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| file.metadata().map_or(0, |about| on_disk(about.len()))).sum()
    }

    /// Lets a worker announce `said` bytes and send `files` of one block each, on a store that holds 4 MiB.
    /// Returns how it ended, how many files were taken, and the most bytes that lay in the store.
    async fn receive(said: u64, files: usize) -> (Result<usize, StoreError>, usize, u64) {
        let folder = tempfile::tempdir().unwrap();
        let cap = ByteCount::mib(4);
        let mut store = fog_store::Store::open(folder.path()).unwrap();
        let (room, mut asked) = DiskRoom::answered_by_test(store.holds());
        let (pieces, from) = mpsc::channel(WAITING);
        let incoming = folder.path().join("incoming");
        let intake = Intake::new(folder.path().to_owned(), room, said);
        let thread = tokio::task::spawn_blocking(move || intake.run(from));
        let sender = tokio::spawn(async move {
            for n in 0..files {
                if pieces.send((n.to_string(), vec![7; 10])).await.is_err() {
                    return n;
                }
            }
            files
        });
        let mut most = 0;
        while let Some(request) = asked.recv().await {
            most = most.max(lies(&incoming));
            request.answer(|bytes| store.reserve(bytes, cap, fog_types::UnixMillis(1)));
        }
        most = most.max(lies(&incoming));
        let ended = thread.await.unwrap().map(|kept| kept.files.len());
        assert_eq!(
            (lies(&incoming), store.disk_use().unwrap().incoming),
            (0, 0),
            "nothing of it is left, nor its room"
        );
        assert!(store.reserve(3 << 20, cap, fog_types::UnixMillis(2)).is_ok());
        (ended, sender.await.unwrap(), most)
    }

    /// A result that exceeds the storage setting is refused before any of it is written.
    #[tokio::test]
    async fn a_result_that_does_not_fit_is_not_begun() {
        let said = 2_000 * on_disk(0);
        let (ended, taken, most) = receive(said, 2_000).await;
        assert!(matches!(ended, Err(StoreError::Full { wanted, .. }) if wanted.0 == said), "{ended:?}");
        assert!(taken <= WAITING + 2 && most == 0, "{taken} files, {most} bytes");
        let (ended, ..) = receive(900 * on_disk(0), 900).await;
        assert_eq!(ended.unwrap(), 900);
    }

    #[tokio::test]
    async fn a_worker_that_sends_more_than_it_says_gets_no_more_room() {
        let (ended, taken, most) = receive(on_disk(0), 2_000).await;
        assert!(matches!(ended, Err(StoreError::Full { wanted, .. }) if wanted.0 > 4 << 20), "{ended:?}");
        assert!((1_000..1_100).contains(&taken) && most <= 4 << 20, "{taken} files, {most} bytes");
    }

    #[test]
    fn what_cannot_be_stored_is_no_fault_of_the_worker() {
        let Err(problem) = BlobWriter::create(std::path::Path::new("/dev/null/no folder"), ByteCount(1))
        else {
            panic!("it is no folder")
        };
        let error = AttemptError::from(problem).to_string();
        assert!(error.contains("cannot be stored") && !error.contains("nonsense"), "{error}");
    }
}
