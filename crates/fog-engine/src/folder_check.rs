//! Check of the data folder: an engine whose folder was moved or deleted writes nothing more by its path,
//! and ends.

use fog_api::ApiError;
use fog_store::StoreError;

use crate::event_loop::Engine;
use crate::message::EngineMessage;
use crate::query::to_api;

impl Engine {
    /// Checks that the data folder is still the one that was opened. If it is not, the engine ends and reports
    /// the reason.
    pub(crate) fn check_folder(&mut self) -> bool {
        if self.gone.borrow().is_some() {
            return false;
        }
        let Err(error) = self.ctx.store.check_place() else { return true };
        tracing::error!(%error, "the engine stops");
        self.ctx.is_stopping = true;
        self.gone.send_replace(Some(to_api(error)));
        false
    }

    /// Answers a message with the reason why the engine ends.
    pub(crate) fn refuse(&self, message: EngineMessage) {
        let gone = || {
            self.gone.borrow().clone().unwrap_or_else(|| {
                to_api(StoreError::Gone { path: self.ctx.store.folder().to_owned(), now: None })
            })
        };
        let answer = match message {
            EngineMessage::Call(_, answer)
            | EngineMessage::Prepared(_, answer)
            | EngineMessage::MovedIn(_, answer) => answer,
            EngineMessage::Sleep(done) => {
                // The sleep watcher may have given up waiting.
                let _ = done.try_send(());
                return;
            }
            // Their senders see that nobody answers.
            EngineMessage::Sample(_)
            | EngineMessage::Input
            | EngineMessage::Task(..)
            | EngineMessage::Saved(..)
            | EngineMessage::WorkerLeft
            | EngineMessage::SandboxStatus(_)
            | EngineMessage::Measured(_)
            | EngineMessage::Room(_)
            | EngineMessage::Net(_)
            | EngineMessage::Exchange(_)
            | EngineMessage::Chat(..)
            | EngineMessage::Estimate(_) => return,
        };
        let error: ApiError = gone();
        // A send fails only when the front end is gone.
        let _ = answer.send(Err(error));
    }

    /// Saves the database, which only this process can still read after its file was deleted.
    pub(crate) fn save_what_went(&self) {
        let is_database = self.gone.borrow().is_some()
            && self.ctx.store.folder().is_dir()
            && !self.ctx.store.folder().join("fog.sqlite").exists();
        if !is_database {
            return;
        }
        match self.ctx.store.save_aside() {
            Ok(path) => {
                tracing::error!(path = %path.display(), "the database was deleted; this is a copy of it as it was: put it back as fog.sqlite")
            }
            Err(error) => tracing::error!(%error, "the database was deleted, and cannot be saved"),
        }
    }
}
