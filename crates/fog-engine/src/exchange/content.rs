//! Content exchange: sealing and fetching files.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fog_grid::{CHUNK, Content, ContentKey, ContentReply, ContentRequest, Manifest, Sealer};
use fog_store::{BlobFile, BlobIntake, ContentRow};
use fog_transport::{Channel, Link, Transport, read_frame, write_frame};
use fog_types::{BlobId, NodeId};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::exchange::chunk_writer::ChunkWriter;
use crate::exchange::content_delivery::CHANGED;
use crate::exchange::sealed_state::{StateFile, TAG};
use crate::exchange::transfers::{Fetches, Turn};

/// Chunks that are requested at once: 64 MiB.
const RUN: u32 = 256;
/// Time without progress after which a transfer is given up; its bytes are kept.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time without any bytes after which a transfer is given up. It is shorter, because the transfer holds a
/// place that others could use.
const FIRST_PATIENCE: Duration = Duration::from_secs(20);
/// Least average rate of a transfer in bytes per second, that of a modem; `GRACE` is added for dialling
/// holders.
const LEAST_RATE: u64 = 16 << 10;
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 180 });
/// Chunks that may wait for the network, or for the thread that opens and writes them: 4 MiB.
pub(crate) const AHEAD: usize = 16;
/// Largest manifest in bytes; `MAX_CHUNK` is the largest sealed chunk.
const MAX_MANIFEST: u32 = 2 << 20;
const MAX_CHUNK: u32 = (CHUNK + 64) as u32;

/// Seals a stored file for others: reads it once, checks its hash and hashes its sealed chunks. The stored
/// file itself stays unsealed.
pub(crate) fn seal(path: &Path, blob: BlobId, key: ContentKey) -> Result<ContentRow, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let (sealer, mut manifest) = (Sealer::new(&key, size), Manifest::begin(size));
    let mut chunk = vec![0; CHUNK];
    let mut left = size;
    let mut hasher = blake3::Hasher::new();
    loop {
        let take = left.min(CHUNK as u64) as usize;
        file.read_exact(&mut chunk[..take]).map_err(|e| e.to_string())?;
        hasher.update(&chunk[..take]);
        let sealed = sealer.seal(manifest.count(), &chunk[..take]).map_err(|e| e.to_string())?;
        manifest.add(&sealed);
        left -= take as u64;
        if left == 0 {
            break;
        }
    }
    if *hasher.finalize().as_bytes() != blob.0 {
        return Err(format!("{}: {CHANGED}", path.display()));
    }
    Ok(ContentRow {
        id: BlobId(manifest.id().0).to_string(),
        blob,
        size,
        key: key.0,
        manifest: manifest.to_bytes(),
        open: None,
    })
}

/// Fetches content from any of its holders, continues an earlier transfer, and checks every chunk. A
/// transfer slower than [`LEAST_RATE`] is given up, because it holds a place that others could use. Its
/// bytes are kept.
pub(crate) async fn fetch(
    transport: &Arc<dyn Transport>,
    fetches: &Fetches,
    holders: &[NodeId],
    content: &Content,
    data_folder: &Path,
) -> Result<(BlobFile, ContentRow), String> {
    let (file, manifest) = fetch_timely(transport, fetches, holders, content, false, data_folder).await?;
    let row = ContentRow {
        id: BlobId(content.id.0).to_string(),
        blob: content.blob,
        size: content.size,
        key: content.key.0,
        manifest: manifest.to_bytes(),
        open: None,
    };
    Ok((file, row))
}

/// Like [`fetch`], for the state of a task, which is stored sealed as it arrives. An incomplete state is
/// removed.
pub(crate) async fn fetch_state(
    transport: &Arc<dyn Transport>,
    fetches: &Fetches,
    holder: NodeId,
    content: &Content,
    data_folder: &Path,
) -> Result<StateFile, String> {
    let (file, _) = fetch_timely(transport, fetches, &[holder], content, true, data_folder).await?;
    Ok(StateFile { file, content: *content })
}

async fn fetch_timely(
    transport: &Arc<dyn Transport>,
    fetches: &Fetches,
    holders: &[NodeId],
    content: &Content,
    is_state: bool,
    data_folder: &Path,
) -> Result<(BlobFile, Manifest), String> {
    let turn = fetches.begin(content, is_state, data_folder).await?;
    let most = Duration::from_secs(content.size / LEAST_RATE).saturating_add(GRACE);
    let fetched = tokio::time::timeout(
        most,
        Box::pin(fetch_whole(transport, holders, content, is_state, &turn, data_folder)),
    )
    .await;
    fetched.unwrap_or_else(|_| Err("a file could not be fetched: it comes too slowly".to_owned()))
}

/// Error: content that belongs together did not arrive in time.
pub(crate) struct TooSlow;

/// Least time for one of many files: its requests take round trips, however small it is.
const LEAST_TIME: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });

/// Time for content that belongs together: each file by its size, and one grace for all. A grace for each
/// would let thousands of small files hold a place for days.
fn time_for(contents: &[Content]) -> Duration {
    let each = contents.iter().map(|content| Duration::from_secs(content.size / LEAST_RATE).max(LEAST_TIME));
    each.fold(GRACE, Duration::saturating_add)
}

/// Runs the fetch of these contents within their common time.
pub(crate) async fn in_time<T>(
    contents: &[Content],
    fetching: impl Future<Output = T>,
) -> Result<T, TooSlow> {
    tokio::time::timeout(time_for(contents), Box::pin(fetching)).await.map_err(|_| TooSlow)
}

async fn fetch_whole(
    transport: &Arc<dyn Transport>,
    holders: &[NodeId],
    content: &Content,
    is_state: bool,
    turn: &Turn,
    data_folder: &Path,
) -> Result<(BlobFile, Manifest), String> {
    let path = turn.path.as_path();
    let begun = Instant::now();
    let mut moved = begun;
    let mut intake = None;
    let mut problem = "nobody has it".to_owned();
    for round in 0u32.. {
        for holder in holders {
            let before = length(path).await;
            match fetch_from(transport, *holder, content, is_state, &mut intake, turn).await {
                Ok(()) => break,
                Err(error) => problem = error,
            }
            if length(path).await > before {
                moved = Instant::now();
            }
        }
        if let Some(done) = intake.take_if(|intake: &mut Intake| intake.is_whole()) {
            let (folder, blob, arrived) = (data_folder.to_owned(), content.blob, begun.elapsed());
            let file = spawn_blocking(move || done.finish(&folder, blob)).await.map_err(|e| e.to_string())?;
            tracing::debug!(bytes = content.size, ?arrived, stored = ?begun.elapsed(), "content was fetched");
            return file;
        }
        let patience = if intake.is_none() && length(path).await == 0 { FIRST_PATIENCE } else { PATIENCE };
        if moved.elapsed() > patience {
            break;
        }
        sleep(Duration::from_millis(200 << round.min(5))).await;
    }
    Err(format!("a file could not be fetched: {problem}"))
}

/// Sink for the chunks of one content, in order: checks, opens, hashes and writes them.
pub(crate) struct Intake {
    manifest: Manifest,
    sealer: Sealer,
    pub(crate) blob: BlobIntake,
    /// Hash of the opened bytes of a state, whose chunks are written sealed; `None` for other content.
    open: Option<blake3::Hasher>,
    at: u32,
}

impl Intake {
    /// Continues an earlier transfer: whole chunks count, and a partial one at the end is fetched again. A
    /// state begins anew.
    fn resume(path: &Path, content: &Content, is_state: bool, manifest: Manifest) -> Result<Self, String> {
        let sealer = Sealer::new(&content.key, content.size);
        if is_state {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
                _ => {}
            }
            let blob = BlobIntake::resume(path, CHUNK as u64 + TAG, u64::MAX).map_err(|e| e.to_string())?;
            return Ok(Self { sealer, manifest, blob, open: Some(blake3::Hasher::new()), at: 0 });
        }
        let blob = BlobIntake::resume(path, CHUNK as u64, content.size).map_err(|e| e.to_string())?;
        let is_whole = blob.size() == content.size && content.size > 0;
        let at = if is_whole { manifest.count() } else { (blob.size() / CHUNK as u64) as u32 };
        Ok(Self { sealer, manifest, blob, open: None, at })
    }

    fn is_whole(&self) -> bool {
        self.at == self.manifest.count()
    }

    pub(crate) fn take(&mut self, mut piece: Vec<u8>) -> Result<(), String> {
        self.manifest.check(self.at, &piece).map_err(|e| e.to_string())?;
        if self.open.is_some() {
            self.blob.write(&piece).map_err(|e| e.to_string())?;
        }
        self.sealer.open_in_place(self.at, &mut piece).map_err(|e| e.to_string())?;
        match &mut self.open {
            Some(open) => drop(open.update(&piece)),
            None => self.blob.write(&piece).map_err(|e| e.to_string())?,
        }
        self.at += 1;
        Ok(())
    }

    fn finish(self, data_folder: &Path, open: BlobId) -> Result<(BlobFile, Manifest), String> {
        let stored = match &self.open {
            None => open,
            Some(hasher) if *hasher.finalize().as_bytes() == open.0 => self.blob.id(),
            Some(_) => return Err(format!("what was fetched is not {open}")),
        };
        let file = self.blob.finish(data_folder, stored).map_err(|e| e.to_string())?;
        Ok((file, self.manifest))
    }
}

async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |about| about.len())
}

async fn ask(
    transport: &Arc<dyn Transport>,
    holder: NodeId,
    request: ContentRequest,
    size: u64,
) -> Result<Link, String> {
    let mut link = transport.open(holder, Channel::Content).await.map_err(|e| e.to_string())?;
    write_frame(&mut link.pipe, &request.encode()).await.map_err(|e| e.to_string())?;
    let reply = read_timely(&mut link, 64).await?;
    match ContentReply::decode(&reply).map_err(|e| e.to_string())? {
        ContentReply::Here { size: found } if found == size => Ok(link),
        ContentReply::Here { .. } => Err("it has another size there".to_owned()),
        ContentReply::Unknown => Err("it is not there any more".to_owned()),
        ContentReply::Busy => Err("the other side is busy".to_owned()),
    }
}

/// Reads a frame that is due; silence is an error. A large frame may take as long as [`LEAST_RATE`]
/// implies.
async fn read_timely(link: &mut Link, limit: u32) -> Result<Vec<u8>, String> {
    let most = Duration::from_secs(10 + u64::from(limit.min(MAX_CHUNK)) / LEAST_RATE);
    let read = tokio::time::timeout(most, read_frame(&mut link.pipe, limit)).await;
    read.map_err(|_| "the other side is silent".to_owned())?.map_err(|e| e.to_string())
}

async fn fetch_from(
    transport: &Arc<dyn Transport>,
    holder: NodeId,
    content: &Content,
    is_state: bool,
    intake: &mut Option<Intake>,
    turn: &Turn,
) -> Result<(), String> {
    let taking = match intake.take() {
        Some(known) => known,
        None => {
            // Content of one chunk is fetched with the first request: its id suffices to check the chunk.
            let is_one = content.size <= CHUNK as u64;
            let request =
                ContentRequest { id: content.id, from: is_one.then_some(0), count: u32::from(is_one) };
            let mut link = ask(transport, holder, request, content.size).await?;
            let bytes = read_timely(&mut link, if is_one { MAX_CHUNK } else { MAX_MANIFEST }).await?;
            let manifest = match is_one {
                true => Manifest::of_one(content.id, content.size, &bytes),
                false => Manifest::from_bytes(content.id, content.size, &bytes),
            };
            let manifest = manifest.map_err(|e| e.to_string())?;
            if is_one {
                turn.make_room_for(content.size + TAG).await?;
            }
            let (path, content) = (turn.path.clone(), *content);
            let begin = move || {
                let mut taking = Intake::resume(&path, &content, is_state, manifest)?;
                if is_one && !taking.is_whole() {
                    taking.take(bytes)?;
                }
                Ok::<_, String>(taking)
            };
            spawn_blocking(begin).await.map_err(|e| e.to_string())??
        }
    };
    if taking.is_whole() {
        turn.note();
        *intake = Some(taking);
        return Ok(());
    }
    let (mut at, end) = (taking.at, taking.manifest.count());
    let mut writing = ChunkWriter::new(taking);
    let reading = async {
        while at < end {
            let count = RUN.min(end - at);
            // A transfer that is resumed begins between two steps.
            turn.make_room_for((u64::from(at) + AHEAD as u64) * (CHUNK as u64 + TAG)).await?;
            let mut link = ask(
                transport,
                holder,
                ContentRequest { id: content.id, from: Some(at), count },
                content.size,
            )
            .await?;
            for _ in 0..count {
                if at.is_multiple_of(AHEAD as u32) {
                    turn.make_room_for((u64::from(at) + AHEAD as u64) * (CHUNK as u64 + TAG)).await?;
                }
                writing.add(read_timely(&mut link, MAX_CHUNK).await?).await?;
                turn.note();
                at += 1;
            }
        }
        Ok::<(), String>(())
    };
    let read = reading.await;
    // Chunks that arrived before a link broke are kept.
    let written = writing.end().await;
    *intake = writing.into_intake();
    written.and(read)
}

/// Reads a stored file up to `limit` bytes, for hashing standard output.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use std::collections::BTreeMap;

    use fog_grid::ContentId;

    use super::*;
    use crate::exchange::content_delivery::Outgoing;
    use crate::exchange::sealed_state::seal_stored;

    fn open_file(path: &Path) -> Result<File, String> {
        File::open(path).map_err(|e| e.to_string())
    }

    /// Transport that answers every request late, but not so late that it counts as silent.
    struct Trickle(BTreeMap<ContentId, u8>);

    impl Transport for Trickle {
        fn local(&self) -> NodeId {
            NodeId([1; 32])
        }
        fn open(
            &self,
            node: NodeId,
            channel: Channel,
        ) -> fog_transport::Boxed<Result<Link, fog_transport::LinkError>> {
            let known = self.0.clone();
            Box::pin(async move {
                let (ours, mut theirs) = tokio::io::duplex(1 << 20);
                tokio::spawn(async move {
                    let asked = read_frame(&mut theirs, 256).await.unwrap();
                    let request = ContentRequest::decode(&asked).unwrap();
                    let (open, key) = ([known[&request.id]], ContentKey([9; 32]));
                    sleep(Duration::from_millis(40)).await;
                    write_frame(&mut theirs, &ContentReply::Here { size: 1 }.encode()).await.unwrap();
                    sleep(Duration::from_millis(40)).await;
                    let sealed = Sealer::new(&key, 1).seal(0, &open).unwrap();
                    let mut manifest = Manifest::begin(1);
                    manifest.add(&sealed);
                    let bytes = if request.from.is_none() { manifest.to_bytes() } else { sealed };
                    // The receiver may have given up.
                    let _ = write_frame(&mut theirs, &bytes).await;
                });
                Ok(Link { node, channel, pipe: Box::new(ours) })
            })
        }
        fn dial(&self, _: NodeId, _: Vec<String>) {}
        fn hang_up(&self, _: NodeId) {}
        fn meet(&self, _: &[u8; 32]) {}
        fn join_topic(&self, _: &str) {}
        fn leave_topic(&self, _: &str) {}
        fn publish(&self, _: &str, _: Vec<u8>) {}
        fn judge(&self, _: Vec<u8>, _: NodeId, _: bool) {}
        fn traffic(&self) -> (u64, u64) {
            (0, 0)
        }
    }

    /// Each file keeps within its own time; all of them together do not.
    #[tokio::test]
    async fn many_small_files_that_come_slowly_hold_no_place_for_days() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<Content> = (0..200u8)
            .map(|n| {
                let mut manifest = Manifest::begin(1);
                manifest.add(&Sealer::new(&ContentKey([9; 32]), 1).seal(0, &[n]).unwrap());
                Content {
                    id: manifest.id(),
                    blob: BlobId(*blake3::hash(&[n]).as_bytes()),
                    size: 1,
                    key: ContentKey([9; 32]),
                }
            })
            .collect();
        let transport: Arc<dyn Transport> =
            Arc::new(Trickle(contents.iter().map(|content| content.id).zip(0..).collect()));
        let fetches = Fetches::default();
        let mut arrived = 0;
        let fetched = in_time(&contents, async {
            for content in &contents {
                fetch(&transport, &fetches, &[NodeId([2; 32])], content, folder.path()).await?;
                arrived += 1;
            }
            Ok::<(), String>(())
        });
        let fetched = fetched.await;
        assert!(
            matches!(fetched, Err(TooSlow)),
            "it went on to the end: {arrived} files of {}",
            contents.len()
        );
        assert!(arrived > 0, "one alone comes in time");
    }

    /// A state that is stored sealed is served like one that is sealed on the way, and opens to the same
    /// bytes.
    #[test]
    fn a_sealed_file_is_served_as_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let secret = [7; 32];
        for size in [0, 1, CHUNK, 2 * CHUNK + 5] {
            let bytes: Vec<u8> = b"FOGCKPT1".iter().copied().cycle().take(size).collect();
            let path = folder.path().join("open");
            std::fs::write(&path, &bytes).unwrap();
            let (stored, row) = seal_stored(|| open_file(&path), folder.path(), &secret, None).unwrap();
            let lies = std::fs::read(stored.path()).unwrap();
            assert!(
                size == 0 || !lies.windows(8).any(|window| window == b"FOGCKPT1"),
                "nothing of it lies open"
            );
            let open = BlobId(*blake3::hash(&bytes).as_bytes());
            assert_eq!(row.open, Some(open));
            let usual = seal(&path, open, ContentKey::derive(&secret, open)).unwrap();
            assert_eq!((&usual.id, &usual.manifest, usual.key), (&row.id, &row.manifest, row.key));
            for from in 0..(row.manifest.len() / 32) as u32 {
                let mut sealed = Outgoing::open(&row, stored.path(), from, 9).unwrap();
                let mut fresh = Outgoing::open(&usual, &path, from, 9).unwrap();
                while !fresh.is_done() {
                    assert_eq!(sealed.next().unwrap(), fresh.next().unwrap());
                }
                assert!(sealed.is_done());
            }
        }
    }

    /// A file is not sent if it changed before or after it was sealed for others.
    #[test]
    fn a_file_that_was_changed_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored");
        let bytes = vec![5; 2 * CHUNK + 5];
        let mut flipped = bytes.clone();
        flipped[CHUNK + 1] ^= 1;
        let blob = BlobId(*blake3::hash(&bytes).as_bytes());
        let key = ContentKey::derive(&[7; 32], blob);
        std::fs::write(&path, &flipped).unwrap();
        assert!(seal(&path, blob, key).unwrap_err().contains("was changed"));
        std::fs::write(&path, &bytes).unwrap();
        let row = seal(&path, blob, key).unwrap();
        std::fs::write(&path, &flipped).unwrap();
        let mut outgoing = Outgoing::open(&row, &path, 0, 9).unwrap();
        assert!(outgoing.next().is_ok(), "its first piece is as it was");
        assert!(outgoing.next().unwrap_err().contains("was changed"));
        std::fs::write(&path, &bytes[..CHUNK]).unwrap();
        let mut outgoing = Outgoing::open(&row, &path, 1, 9).unwrap();
        assert!(outgoing.next().is_err());
    }

    /// A state is stored sealed from its first chunk on, and opens to the original bytes.
    #[test]
    fn a_state_lies_sealed_while_it_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = b"FOGCKPT1".iter().copied().cycle().take(2 * CHUNK + 5).collect();
        let path = folder.path().join("open");
        std::fs::write(&path, &bytes).unwrap();
        let (stored, row) = seal_stored(|| open_file(&path), folder.path(), &[7; 32], None).unwrap();
        let content = crate::exchange::content_of(&row).unwrap();
        let arriving = folder.path().join("arriving");
        // The file is left from an interrupted attempt.
        std::fs::write(&arriving, b"FOGCKPT1").unwrap();
        let manifest = || Manifest::from_bytes(content.id, content.size, &row.manifest).unwrap();
        let take_all = |content: &Content| {
            let mut outgoing = Outgoing::open(&row, stored.path(), 0, 9).unwrap();
            let mut intake = Intake::resume(&arriving, content, true, manifest()).unwrap();
            while !outgoing.is_done() {
                intake.take(outgoing.next().unwrap()).unwrap();
                let lies = std::fs::read(&arriving).unwrap();
                assert!(!lies.windows(8).any(|window| window == b"FOGCKPT1"), "nothing of it lies open");
            }
            assert!(intake.is_whole());
            intake.finish(folder.path(), content.blob)
        };
        let (file, _) = take_all(&content).unwrap();
        let state = StateFile { file, content };
        let mut found = Vec::new();
        state.open().unwrap().read_to_end(&mut found).unwrap();
        assert!(found == bytes);
        // The state is sealed again for the next worker.
        let (_, again) = seal_stored(|| state.open(), folder.path(), &[8; 32], None).unwrap();
        assert_eq!((again.open, again.size), (row.open, row.size));
        // The content differs from its description.
        assert!(take_all(&Content { blob: BlobId([1; 32]), ..content }).is_err());
    }
}
