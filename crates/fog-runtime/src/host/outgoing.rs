//! The messages to a worker: first all that its task begins with, then what is wanted of it. A worker that reads slowly, or
//! is stopped, keeps nobody waiting.

use fog_types::Percent;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::WorkerError;
use crate::protocol::{ToWorker, encode_frame};

/// Words on their way to a worker; of those that wait, only the newest of each kind.
pub(super) struct Outgoing {
    /// `None` once the worker reads no more; what it has written is read to the end.
    to: Option<Box<dyn AsyncWrite + Send + Sync + Unpin>>,
    frame: Vec<u8>,
    /// How much of the frame is written.
    written: usize,
    /// Of the state that the task goes on from. The worker listens to nothing else before it has all of them.
    pieces: Option<mpsc::Receiver<Vec<u8>>>,
    duty: Option<Percent>,
    save: Option<bool>,
}

impl Outgoing {
    /// Begins with the word that starts the task and the state that belongs to it.
    ///
    /// # Errors
    /// [`WorkerError::Nonsense`] when the word cannot be encoded.
    pub(super) fn begin(to: Box<dyn AsyncWrite + Send + Sync + Unpin>, start: &ToWorker, pieces: mpsc::Receiver<Vec<u8>>) -> Result<Self, WorkerError> {
        let mut outgoing = Self { to: Some(to), frame: Vec::new(), written: 0, pieces: Some(pieces), duty: None, save: None };
        outgoing.load(start)?;
        Ok(outgoing)
    }

    pub(super) fn set_duty(&mut self, duty: Percent) {
        self.duty = Some(duty);
    }

    /// Asks for a checkpoint; a whole one when any of those that wait wants one.
    pub(super) fn ask_to_save(&mut self, whole: bool) {
        self.save = Some(whole || self.save == Some(true));
    }

    /// Whether there is something to say to somebody who listens.
    pub(super) fn has_more(&self) -> bool {
        self.to.is_some() && (self.written < self.frame.len() || self.pieces.is_some() || self.duty.is_some() || self.save.is_some())
    }

    /// Writes as much as the worker takes at once. Nothing is lost or said twice when it is dropped before its end.
    ///
    /// # Errors
    /// [`WorkerError::Nonsense`] when a word cannot be encoded.
    pub(super) async fn go_on(&mut self) -> Result<(), WorkerError> {
        if self.written == self.frame.len() && !self.next().await? {
            return Ok(());
        }
        let Some(to) = &mut self.to else { return Ok(()) };
        match to.write(&self.frame[self.written..]).await {
            Ok(written @ 1..) => self.written += written,
            // It has ended or is about to; what it said before is still to be read.
            Ok(0) | Err(_) => self.to = None,
        }
        Ok(())
    }

    /// Makes the next frame; false when there is none.
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
        self.frame = encode_frame(message).map_err(|error| WorkerError::Nonsense { message: error.to_string() })?;
        self.written = 0;
        Ok(true)
    }
}
