//! Collects the output and files that a worker sends, within the job's limits whatever the worker claims. A
//! separate thread writes the files: each must be durable, which takes a while for thousands of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fog_runtime::{FromWorker, LimitKind, Outcome, Report, WorkerError, result_hash};
use fog_store::{BlobFile, BlobWriter, Reservation, StoreError, on_disk};
use fog_types::path::{Remarks, ResultNames};
use fog_types::{ByteCount, HasKind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::message::EngineMessage;
use crate::tasks::runner::{Launch, Left, TaskOutcome};

/// Most files of one result. A program cannot create more.
const MAX_FILES: usize = 100_000;
/// Pieces of files that may wait for the disk.
const WAITING: usize = 16;
/// Bytes on disk of a result for which no room is requested; most results are smaller.
const UNASKED: u64 = 1 << 20;
/// Number of files ahead for which room is requested, up to `MOST_AHEAD` bytes.
const FILES_AHEAD: u64 = 256;
const MOST_AHEAD: u64 = 64 << 20;
/// Number of files that are made durable together and stay open until then.
const TOGETHER: usize = 32;

/// Handle for requesting room on the disk from the loop.
#[derive(Debug, Clone)]
pub(crate) struct RoomAsker(pub(crate) mpsc::Sender<EngineMessage>);

impl RoomAsker {
    /// Requests room for `bytes` on the disk. Blocks this thread until the loop has answered.
    fn ask(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.blocking_send(EngineMessage::Room(bytes, reply)).is_ok();
        let answer = if asked { answer.blocking_recv().ok() } else { None };
        answer.unwrap_or_else(|| Err(StoreError::Damaged("the engine stops".to_owned())))
    }
}

/// Collector of everything that a worker sends.
pub(crate) struct Collector {
    data_folder: PathBuf,
    stdout: BlobWriter,
    stderr: BlobWriter,
    pub(crate) stdout_bytes: Vec<u8>,
    pub(crate) stderr_bytes: Vec<u8>,
    files: Option<Files>,
    disk_left: u64,
    room: RoomAsker,
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
            room: launch.room.clone(),
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
                let files = self.files.get_or_insert_with(|| Files::begin(self.data_folder.clone(), self.room.clone()));
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
            let Kept { files, mut remarks, room: _room } = kept;
            let files: Vec<(String, BlobFile)> = files.into_iter().collect();
            let listed = files.iter().map(|(path, file)| (path.as_str(), blake3::Hash::from_bytes(file.id().0)));
            report.left_out.remark(&mut remarks);
            let hash = result_hash(0, report.units, stdout_bytes, listed).to_hex().to_string();
            return Left::Result { report, stdout, stderr, files, hash, remarks };
        }
        Outcome::Limit(LimitKind::WallTime) => {
            let problem = limit("running time");
            return Left::Nothing(TaskOutcome::TransientFailure { problem, report: Some(report), logs: Some((stdout, stderr)) });
        }
        Outcome::Exited(code) => format!("the program ended with code {code}"),
        Outcome::Trapped(what) => format!("the program broke off: {what}"),
        Outcome::Limit(LimitKind::Units) => limit("work units"),
        Outcome::Limit(LimitKind::Stack) => limit("stack"),
        Outcome::Limit(LimitKind::Memory) => "it used more memory than its limits allow".to_owned(),
        Outcome::Refused(why) => format!("the module cannot run: {why}"),
    };
    Left::Nothing(TaskOutcome::PermanentFailure { problem, report: Some(report), logs: Some((stdout, stderr)) })
}

/// The thread that writes files.
struct Files {
    to: mpsc::Sender<(String, Vec<u8>)>,
    thread: JoinHandle<Result<Kept, StoreError>>,
}

impl Files {
    fn begin(data_folder: PathBuf, room: RoomAsker) -> Self {
        let (to, from) = mpsc::channel(WAITING);
        Self { to, thread: tokio::task::spawn_blocking(move || Intake::new(data_folder, room).run(from)) }
    }

    /// Ends the input and waits for the thread.
    async fn end(self) -> Result<Kept, WorkerError> {
        drop(self.to);
        self.thread.await.map_err(stopped)?.map_err(storage)
    }
}

/// Files of a result by the names under which they are kept.
struct Kept {
    files: BTreeMap<String, BlobFile>,
    remarks: Remarks,
    /// Reservations of room for the files, held until the files have their names.
    room: Vec<Reservation>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { files: BTreeMap::new(), remarks: Remarks::keeping_all(), room: Vec::new() }
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
    room: RoomAsker,
    /// Bytes that the files take on disk; `granted` are the bytes for which there is room.
    taken: u64,
    granted: u64,
}

impl Intake {
    fn new(data_folder: PathBuf, room: RoomAsker) -> Self {
        let (kept, names) = (Kept::default(), ResultNames::default());
        Self { data_folder, kept, names, incoming: None, whole: Vec::new(), count: 0, room, taken: 0, granted: UNASKED }
    }

    /// Takes room from the reservations, so that a result stops at the storage setting and not after it is
    /// wholly on disk.
    fn take_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.taken += bytes;
        if self.taken <= self.granted {
            return Ok(());
        }
        let lacking = self.taken - self.granted;
        // Room for small files is requested for several at once, since each request may have to remove
        // rows.
        let ahead = (self.taken / self.count.max(1) as u64 * FILES_AHEAD).clamp(lacking, lacking.max(MOST_AHEAD));
        let room = match self.room.ask(ahead) {
            Err(StoreError::Full { .. }) if ahead > lacking => self.room.ask(lacking),
            other => other,
        };
        let room = room.map_err(|error| match error {
            StoreError::Full { cap, .. } => StoreError::Full { wanted: ByteCount(self.taken), cap },
            other => other,
        })?;
        self.granted += room.bytes();
        self.kept.room.push(room);
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
            if let Some((_, Some((_, writer)))) = &mut self.incoming {
                let more = on_disk(writer.size() + chunk.len() as u64) - on_disk(writer.size());
                writer.write(&chunk)?;
                self.take_room(more)?;
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

    /// Returns the bytes on disk of the files in a folder.
    fn lies(folder: &std::path::Path) -> u64 {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| file.metadata().map_or(0, |about| on_disk(about.len()))).sum()
    }

    /// A result that exceeds the storage setting must be refused before it is wholly written.
    #[test]
    fn a_result_stops_where_the_storage_setting_does() {
        let folder = tempfile::tempdir().unwrap();
        let cap = ByteCount::mib(4);
        let mut store = fog_store::Store::open(folder.path()).unwrap();
        let (to, mut asked) = mpsc::channel(4);
        let (pieces, from) = mpsc::channel(WAITING);
        let incoming = folder.path().join("incoming");
        let intake = Intake::new(folder.path().to_owned(), RoomAsker(to));
        let thread = std::thread::spawn(move || intake.run(from));
        let sender = std::thread::spawn(move || (0..2_000).take_while(|n| pieces.blocking_send((n.to_string(), vec![7; 10])).is_ok()).count());
        let mut most = 0;
        while let Some(EngineMessage::Room(bytes, reply)) = asked.blocking_recv() {
            most = most.max(lies(&incoming));
            reply.send(store.reserve(bytes, cap, fog_types::UnixMillis(1))).unwrap();
        }
        let ended = thread.join().unwrap();
        assert!(matches!(ended, Err(StoreError::Full { wanted, .. }) if wanted > cap), "{:?}", ended.map(|kept| kept.files.len()));
        assert!(sender.join().unwrap() < 1_500, "it took all of them");
        assert!((2 << 20..=(4 << 20) + (1 << 20)).contains(&most), "{most} bytes lay there");
        store.set_other_files(fog_store::OtherFiles::measure(folder.path()));
        assert_eq!((lies(&incoming), store.disk_use().unwrap().other.incoming), (0, 0), "nothing of it is left, nor its room");
        assert!(store.reserve(3 << 20, cap, fog_types::UnixMillis(2)).is_ok());
    }

    #[test]
    fn what_cannot_be_stored_is_no_fault_of_the_worker() {
        let Err(problem) = BlobWriter::create(std::path::Path::new("/dev/null/no folder"), ByteCount(1)) else { panic!("it is no folder") };
        let error = storage(problem);
        assert_eq!(error.kind(), fog_types::ErrorKind::Storage);
        assert!(!error.is_permanent() && error.to_string().contains("cannot be stored") && !error.to_string().contains("nonsense"), "{error}");
    }
}
