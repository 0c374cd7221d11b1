//! States of tasks on disk: sealed from the network to the worker, and read chunk by chunk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fog_grid::{CHUNK, Content, ContentKey, Manifest, Sealer};
use fog_runtime::CheckpointSurvey;
use fog_store::{BlobFile, BlobWriter, ContentRow};
use fog_types::{BlobId, ByteCount, on_disk};

/// Bytes that sealing adds to a chunk.
pub(crate) const TAG: u64 = 16;

use crate::disk_room::DiskRoom;
use crate::exchange::NotReturned;

/// Conditions for keeping a saved state.
#[derive(Debug, Clone)]
pub(crate) struct StateClaim {
    /// Identity of its task as in a checkpoint header.
    pub(crate) task: String,
    /// Work units that the state is said to hold.
    pub(crate) units: u64,
    /// Most work units that the job allows.
    pub(crate) most: u64,
}

/// A fetched state: its sealed chunks as they arrived. The key is in memory only.
pub(crate) struct StateFile {
    pub(crate) file: BlobFile,
    pub(crate) content: Content,
}

impl StateFile {
    /// Checks the state against its description and returns its work units, which may be more if the file
    /// grew since the description. The file is read to its end, one chunk in memory at a time and without
    /// expanding it: the next worker notices whether it can be restored.
    ///
    /// # Errors
    /// [`NotReturned::Wrong`] when the file is no state of the task, or its units are fewer than stated or
    /// more than allowed.
    pub(crate) fn check(&self, claim: &StateClaim) -> Result<u64, NotReturned> {
        let bytes = self.open().map_err(NotReturned::Unreachable)?;
        let header = CheckpointSurvey::read(std::io::BufReader::new(bytes))
            .map_err(|problem| NotReturned::Wrong(format!("it is no state of a task: {problem}")))?
            .header;
        if header.task_identity() != claim.task {
            return Err(NotReturned::Wrong("it is the state of another task".to_owned()));
        }
        if header.units < claim.units || header.units > claim.most {
            return Err(NotReturned::Wrong(format!(
                "it holds {} work units; {} were said, and {} are allowed",
                header.units, claim.units, claim.most
            )));
        }
        Ok(header.units)
    }

    /// Reader of the unsealed bytes.
    pub(crate) fn open(&self) -> Result<impl Read + use<>, String> {
        let file = File::open(self.file.path()).map_err(|e| e.to_string())?;
        Ok(Opening {
            file,
            sealer: Sealer::new(&self.content.key, self.content.size),
            left: self.content.size,
            at: 0,
            piece: Vec::new(),
            taken: 0,
        })
    }
}

struct Opening {
    file: File,
    sealer: Sealer,
    /// Unsealed bytes after the current chunk.
    left: u64,
    at: u32,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for Opening {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            if self.left == 0 {
                return Ok(0);
            }
            let open = self.left.min(CHUNK as u64);
            self.piece.clear();
            self.taken = 0;
            self.file.by_ref().take(open + TAG).read_to_end(&mut self.piece)?;
            self.sealer.open_in_place(self.at, &mut self.piece).map_err(io::Error::other)?;
            self.at += 1;
            self.left -= open;
        }
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

/// Seals the data that `open` reads, twice, into a file of the store whose chunks are served as they are:
/// states must not be stored unsealed on any disk. The key is derived from this device's secret and is not
/// stored. Without `room`, nothing is asked before the file is written.
pub(crate) fn seal_stored<R: Read>(
    open: impl Fn() -> Result<R, String>,
    data_folder: &Path,
    secret: &[u8; 32],
    room: Option<&DiskRoom>,
) -> Result<(BlobFile, ContentRow), String> {
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut open()?, &mut hasher).map_err(|e| e.to_string())?;
    let id = hasher.finalize();
    let key = ContentKey::derive(secret, BlobId(*id.as_bytes()));
    let (sealer, mut manifest) = (Sealer::new(&key, size), Manifest::begin(size));
    let room = room
        .map(|room| room.ask_blocking(on_disk(size + (size / CHUNK as u64 + 1) * TAG)))
        .transpose()
        .map_err(|e| e.to_string())?;
    let mut writer = BlobWriter::create(data_folder, ByteCount(u64::MAX)).map_err(|e| e.to_string())?;
    if let Some(room) = room {
        writer = writer.with_room(room);
    }
    // The source may have grown since.
    let mut from = open()?.take(size);
    let mut again = blake3::Hasher::new();
    let mut piece = Vec::with_capacity(CHUNK + TAG as usize);
    loop {
        piece.clear();
        from.by_ref().take(CHUNK as u64).read_to_end(&mut piece).map_err(|e| e.to_string())?;
        if piece.is_empty() && manifest.count() > 0 {
            break;
        }
        again.update(&piece);
        sealer.seal_in_place(manifest.count(), &mut piece).map_err(|e| e.to_string())?;
        manifest.add(&piece);
        writer.write(&piece).map_err(|e| e.to_string())?;
    }
    if again.finalize() != id {
        return Err("the state changed while it was sealed".to_owned());
    }
    let stored = writer.finish().map_err(|e| e.to_string())?;
    let row = ContentRow {
        id: BlobId(manifest.id().0).to_string(),
        blob: stored.id(),
        size,
        key: key.0,
        manifest: manifest.to_bytes(),
        open: Some(BlobId(*id.as_bytes())),
    };
    Ok((stored, row))
}
