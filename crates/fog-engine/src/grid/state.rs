//! States of tasks as they lie on disks: sealed from the network to the worker, and read piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fog_grid::{CHUNK, Content, ContentKey, Manifest, Sealer};
use fog_runtime::CheckpointSurvey;
use fog_store::{BlobFile, BlobWriter, ContentRow};
use fog_types::{BlobId, ByteCount};

/// Bytes that sealing adds to a piece.
pub(crate) const TAG: u64 = 16;

use super::NotReturned;

/// Conditions for keeping a saved state.
#[derive(Debug, Clone)]
pub(crate) struct StateClaim {
    /// Identity of its task, as a checkpoint has it.
    pub(crate) task: String,
    /// Work units that it is said to hold.
    pub(crate) units: u64,
    /// Most work units its job allows.
    pub(crate) most: u64,
}

/// A state that was fetched: its pieces as they came. The key is in memory only.
pub(crate) struct StateFile {
    pub(crate) file: BlobFile,
    pub(crate) content: Content,
}

impl StateFile {
    /// Work units of a state that is what was said of it. A file that was added to since it was told of may hold more. It is
    /// looked through to its end, with a piece of it in memory and without expanding its stretches: whoever goes on from it
    /// finds out whether those can be read, and whether the task comes to it.
    ///
    /// # Errors
    /// [`NotReturned::Wrong`] when it is no state of the task, or less than was said.
    pub(crate) fn check(&self, claim: &StateClaim) -> Result<u64, NotReturned> {
        let bytes = self.open().map_err(NotReturned::Unreachable)?;
        let header = CheckpointSurvey::read(std::io::BufReader::new(bytes))
            .map_err(|problem| NotReturned::Wrong(format!("it is no state of a task: {problem}")))?
            .header;
        if header.task_identity() != claim.task {
            return Err(NotReturned::Wrong("it is the state of another task".to_owned()));
        }
        if header.units < claim.units || header.units > claim.most {
            return Err(NotReturned::Wrong(format!("it holds {} work units; {} were said, and {} are allowed", header.units, claim.units, claim.most)));
        }
        Ok(header.units)
    }

    /// Its open bytes.
    pub(crate) fn open(&self) -> Result<impl Read + use<>, String> {
        let file = File::open(self.file.path()).map_err(|e| e.to_string())?;
        Ok(Opening { file, sealer: Sealer::new(&self.content.key, self.content.size), left: self.content.size, at: 0, piece: Vec::new(), taken: 0 })
    }
}

struct Opening {
    file: File,
    sealer: Sealer,
    /// Open bytes behind the piece under way.
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

/// Seals what `open` reads, which is read twice, into a file of the store whose pieces are served as they are: states of
/// tasks must not lie open on any disk. The key is made of this device's secret and is stored nowhere.
pub(crate) fn seal_stored<R: Read>(open: impl Fn() -> Result<R, String>, data_folder: &Path, secret: &[u8; 32]) -> Result<(BlobFile, ContentRow), String> {
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut open()?, &mut hasher).map_err(|e| e.to_string())?;
    let id = hasher.finalize();
    let key = ContentKey::derive(secret, BlobId(*id.as_bytes()));
    let (sealer, mut manifest) = (Sealer::new(&key, size), Manifest::begin(size));
    let mut writer = BlobWriter::create(data_folder, ByteCount(u64::MAX)).map_err(|e| e.to_string())?;
    // More may have been added since.
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
