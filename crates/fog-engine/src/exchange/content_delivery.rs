//! Content for others: answers to requests for stored files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fog_grid::{CHUNK, ContentKey, ContentReply, ContentRequest, Sealer};
use fog_store::ContentRow;
use fog_transport::{Link, write_frame};
use fog_types::BlobId;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::spawn_blocking;

use crate::exchange::ExchangeEvent;
use crate::exchange::content::AHEAD;
use crate::exchange::sealed_state::TAG;
use crate::message::EngineMessage;

/// Error for a stored file that has changed, raised before any of it is sent.
pub(crate) const CHANGED: &str = "the stored file was changed since it was stored, so it is not sent";
const SHORTER: &str = "the file here is shorter than it was, so it is not sent";

/// Receiver of the news that a requested stored file is damaged or missing.
pub(crate) struct DamageReport {
    pub(crate) blob: BlobId,
    pub(crate) to: mpsc::Sender<EngineMessage>,
}

impl DamageReport {
    async fn send(self) {
        // A send fails only when the engine has stopped.
        let _ = self.to.send(EngineMessage::Exchange(Box::new(ExchangeEvent::Damaged(self.blob)))).await;
    }
}

/// Answers a request. `found` is the content and the path of its bytes. Damage is reported before the other
/// side can notice it.
pub(crate) async fn serve(
    mut link: Link,
    request: ContentRequest,
    found: Option<(ContentRow, PathBuf)>,
    damage: Option<DamageReport>,
) {
    let is_gone = found.is_none();
    let served = async {
        let Some((row, path)) = found else {
            return Err("it is not here".to_owned());
        };
        write_frame(&mut link.pipe, &ContentReply::Here { size: row.size }.encode())
            .await
            .map_err(|e| e.to_string())?;
        let Some(from) = request.from else {
            return write_frame(&mut link.pipe, &row.manifest).await.map_err(|e| e.to_string());
        };
        let mut outgoing = spawn_blocking(move || Outgoing::open(&row, &path, from, request.count))
            .await
            .map_err(|e| e.to_string())??;
        while !outgoing.is_done() {
            // A thread seals chunks while earlier ones are sent; it ends when too many wait.
            let (to, mut pieces) = mpsc::channel(AHEAD);
            let sealing = spawn_blocking(move || outgoing.seal(&to).map(|()| outgoing));
            while let Some(sealed) = pieces.recv().await {
                write_frame(&mut link.pipe, &sealed).await.map_err(|e| e.to_string())?;
            }
            outgoing = sealing.await.map_err(|e| e.to_string())??;
        }
        Ok(())
    };
    if let Err(error) = served.await {
        tracing::debug!(node = %link.node, error, "content was not sent to its end");
        if let Some(damage) = damage.filter(|_| is_gone || error == CHANGED || error == SHORTER) {
            damage.send().await;
        }
        if is_gone {
            // A requester that misses this reply asks another device anyway.
            let _ = write_frame(&mut link.pipe, &ContentReply::Unknown.encode()).await;
        }
    }
    // An orderly shutdown lets the last bytes arrive.
    let _ = link.pipe.shutdown().await;
}

/// Tells a requester to ask again later.
pub(crate) async fn turn_away(mut link: Link) {
    if let Err(error) = write_frame(&mut link.pipe, &ContentReply::Busy.encode()).await {
        tracing::debug!(node = %link.node, %error, "not answered");
    }
    // An orderly shutdown lets the last bytes arrive.
    let _ = link.pipe.shutdown().await;
}

/// A requested run of chunks.
pub(crate) struct Outgoing {
    sealer: Sealer,
    file: File,
    size: u64,
    /// Whether the stored file holds the sealed chunks.
    is_sealed: bool,
    /// Concatenated hashes of the sealed chunks.
    hashes: Vec<u8>,
    at: u32,
    end: u32,
    /// Sealed chunk that no receiver has taken yet.
    left: Option<Vec<u8>>,
}

impl Outgoing {
    pub(crate) fn open(row: &ContentRow, path: &Path, from: u32, count: u32) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let is_sealed = row.open.is_some();
        let stored = CHUNK as u64 + if is_sealed { TAG } else { 0 };
        file.seek(SeekFrom::Start(u64::from(from) * stored)).map_err(|e| e.to_string())?;
        let end = from.saturating_add(count).min((row.manifest.len() / 32) as u32);
        Ok(Self {
            sealer: Sealer::new(&ContentKey(row.key), row.size),
            file,
            size: row.size,
            is_sealed,
            hashes: row.manifest.clone(),
            at: from,
            end,
            left: None,
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.end && self.left.is_none()
    }

    /// Seals chunks until there are no more, or the receiver is full.
    fn seal(&mut self, to: &mpsc::Sender<Vec<u8>>) -> Result<(), String> {
        while !self.is_done() {
            let piece = match self.left.take() {
                Some(left) => left,
                None => self.next()?,
            };
            match to.try_send(piece) {
                Ok(()) => {}
                Err(TrySendError::Full(piece)) => {
                    self.left = Some(piece);
                    return Ok(());
                }
                // The link broke, which its writer reports.
                Err(TrySendError::Closed(_)) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Vec<u8>, String> {
        let open = self.size.saturating_sub(u64::from(self.at) * CHUNK as u64).min(CHUNK as u64);
        let length = open + if self.is_sealed { TAG } else { 0 };
        let mut piece = Vec::with_capacity(CHUNK + 16);
        if self.file.by_ref().take(length).read_to_end(&mut piece).map_err(|e| e.to_string())?
            < length as usize
        {
            return Err(SHORTER.to_owned());
        }
        if !self.is_sealed {
            self.sealer.seal_in_place(self.at, &mut piece).map_err(|e| e.to_string())?;
        }
        // The receiver would notice the change as well, and blame this device.
        if self.hashes.as_chunks::<32>().0.get(self.at as usize) != Some(blake3::hash(&piece).as_bytes()) {
            return Err(CHANGED.to_owned());
        }
        self.at += 1;
        Ok(piece)
    }
}
