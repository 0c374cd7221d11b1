//! Messages to a worker: first the task and its state, then requests. A worker that reads slowly, or is
//! stopped, blocks nothing else.

use fog_types::Percent;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::WorkerError;
use crate::protocol::{ToWorker, encode_frame};

/// Messages that wait for a worker; of the requests, only the newest of each kind.
pub(super) struct Outgoing {
    /// Pipe to the worker; `None` once the worker no longer reads, while its output is read to the end.
    to: Option<Box<dyn AsyncWrite + Send + Sync + Unpin>>,
    frame: Vec<u8>,
    /// Number of bytes of the frame that are written.
    written: usize,
    /// Pieces of the state that the task continues from, which the worker reads before any other message.
    pieces: Option<mpsc::Receiver<Vec<u8>>>,
    duty: Option<Percent>,
    save: Option<bool>,
}

impl Outgoing {
    /// Begins with the message that starts the task and the state that belongs to it.
    ///
    /// # Errors
    /// [`WorkerError::ProtocolViolation`] when the message cannot be encoded.
    pub(super) fn begin(
        to: Box<dyn AsyncWrite + Send + Sync + Unpin>,
        start: &ToWorker,
        pieces: mpsc::Receiver<Vec<u8>>,
    ) -> Result<Self, WorkerError> {
        let mut outgoing = Self {
            to: Some(to),
            frame: Vec::new(),
            written: 0,
            pieces: Some(pieces),
            duty: None,
            save: None,
        };
        outgoing.load(start)?;
        Ok(outgoing)
    }

    pub(super) fn set_duty(&mut self, duty: Percent) {
        self.duty = Some(duty);
    }

    /// Requests a checkpoint; a whole one if any waiting request wants one.
    pub(super) fn ask_to_save(&mut self, whole: bool) {
        self.save = Some(whole || self.save == Some(true));
    }

    /// Whether a message waits and the worker still reads.
    pub(super) fn has_more(&self) -> bool {
        self.to.is_some()
            && (self.written < self.frame.len()
                || self.pieces.is_some()
                || self.duty.is_some()
                || self.save.is_some())
    }

    /// Writes as much as the worker takes at once. Dropping the future loses and repeats nothing.
    ///
    /// # Errors
    /// [`WorkerError::ProtocolViolation`] when a message cannot be encoded.
    pub(super) async fn go_on(&mut self) -> Result<(), WorkerError> {
        if self.written == self.frame.len() && !self.next().await? {
            return Ok(());
        }
        let Some(to) = &mut self.to else { return Ok(()) };
        match to.write(&self.frame[self.written..]).await {
            Ok(written @ 1..) => self.written += written,
            // The worker has ended or is about to; its earlier output is still to be read.
            Ok(0) | Err(_) => self.to = None,
        }
        Ok(())
    }

    /// Loads the next frame; returns false when there is none.
    async fn next(&mut self) -> Result<bool, WorkerError> {
        if let Some(pieces) = &mut self.pieces {
            if let Some(piece) = pieces.recv().await {
                return self.load(&ToWorker::State(piece));
            }
            self.pieces = None;
        }
        if let Some(duty) = self.duty.take() {
            return self.load(&ToWorker::Duty(duty));
        }
        match self.save.take() {
            Some(whole) => self.load(&ToWorker::Save { whole }),
            None => Ok(false),
        }
    }

    fn load(&mut self, message: &ToWorker) -> Result<bool, WorkerError> {
        self.frame = encode_frame(message)
            .map_err(|error| WorkerError::ProtocolViolation { message: error.to_string() })?;
        self.written = 0;
        Ok(true)
    }
}
