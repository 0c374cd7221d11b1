//! Writing of arriving chunks beside the tasks that read them from the network.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::exchange::content::{AHEAD, Intake};

/// Time for which an idle thread waits for the next chunk. Threads are few, so a slow reader or sender must
/// not hold one.
const LINGER: Duration = Duration::from_millis(2);

/// Chunks on their way to the disk: a queue, and a thread that writes while there are any.
pub(crate) struct ChunkWriter {
    /// Sink, while no thread has it.
    intake: Option<Intake>,
    at_work: Option<JoinHandle<(Intake, Result<(), String>)>>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    pieces: Mutex<VecDeque<Vec<u8>>>,
    /// Signalled when a chunk was taken from the queue.
    taken: Notify,
    /// Whether no more chunks will come.
    is_last: AtomicBool,
}

impl Waiting {
    fn pieces(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next chunk, if it arrives soon.
    fn next(&self) -> Option<Vec<u8>> {
        let begun = Instant::now();
        loop {
            let next = self.pieces().pop_front();
            if next.is_some() {
                self.taken.notify_one();
            }
            if next.is_some() || self.is_last.load(Ordering::Acquire) || begun.elapsed() > LINGER {
                return next;
            }
            std::thread::sleep(LINGER / 20);
        }
    }
}

impl Drop for ChunkWriter {
    /// Stops the thread of an aborted transfer, so that the next transfer has the file for itself.
    fn drop(&mut self) {
        self.waiting.is_last.store(true, Ordering::Release);
        self.waiting.pieces().clear();
    }
}

impl ChunkWriter {
    pub(crate) fn new(intake: Intake) -> Self {
        Self { intake: Some(intake), at_work: None, waiting: Arc::default() }
    }

    /// Returns the sink, unless a thread has it.
    pub(crate) fn into_intake(mut self) -> Option<Intake> {
        self.intake.take()
    }

    /// Queues a chunk, once there is room in the queue.
    pub(crate) async fn add(&mut self, piece: Vec<u8>) -> Result<(), String> {
        while self.waiting.pieces().len() >= AHEAD {
            let Some(at_work) = &mut self.at_work else { break };
            tokio::select! {
                () = self.waiting.taken.notified() => {}
                ended = at_work => {
                    self.at_work = None;
                    self.ended(ended)?;
                }
            }
        }
        self.waiting.pieces().push_back(piece);
        let is_busy = self.at_work.as_ref().is_some_and(|at_work| !at_work.is_finished());
        if is_busy { Ok(()) } else { self.write().await }
    }

    /// Starts a thread for the waiting chunks, once the previous thread has ended.
    async fn write(&mut self) -> Result<(), String> {
        self.settle().await?;
        if self.waiting.pieces().is_empty() {
            return Ok(());
        }
        let (Some(mut taking), waiting) = (self.intake.take(), self.waiting.clone()) else { return Ok(()) };
        self.at_work = Some(spawn_blocking(move || {
            while let Some(piece) = waiting.next() {
                if let Err(wrong) = taking.take(piece) {
                    return (taking, Err(wrong));
                }
                if let Some(file) = taking.blob.to_sync() {
                    // Only the final sync of the whole file decides about errors.
                    drop(spawn_blocking(move || file.sync_data()));
                }
            }
            (taking, Ok(()))
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        let Some(at_work) = self.at_work.take() else { return Ok(()) };
        let ended = at_work.await;
        self.ended(ended)
    }

    fn ended(&mut self, ended: Result<(Intake, Result<(), String>), JoinError>) -> Result<(), String> {
        // After a panic the file stays, and the next attempt continues from it.
        let (taking, taken) = ended.map_err(|e| e.to_string())?;
        self.intake = Some(taking);
        taken
    }

    /// Waits until all queued chunks are written.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        self.waiting.is_last.store(true, Ordering::Release);
        self.write().await?;
        self.settle().await
    }
}
