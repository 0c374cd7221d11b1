//! The data folder is looked at: an engine whose folder went writes nothing by its path any more, and ends.

use fog_api::ApiError;
use fog_store::StoreError;

use super::{Core, Message};
use crate::query::to_api;

impl Core {
    /// Whether the data folder is the one that was opened. Otherwise the engine ends, and says why.
    pub(super) fn has_folder(&mut self) -> bool {
        if self.gone.borrow().is_some() {
            return false;
        }
        let Err(error) = self.store.check_place() else { return true };
        tracing::error!(%error, "the engine stops");
        self.is_stopping = true;
        self.gone.send_replace(Some(to_api(error)));
        false
    }

    /// Answers that the engine ends.
    pub(super) fn refuse(&self, message: Message) {
        let gone = || self.gone.borrow().clone().unwrap_or_else(|| to_api(StoreError::Gone { path: self.store.folder().to_owned(), now: None }));
        let answer = match message {
            Message::Call(_, answer) | Message::Prepared(_, answer) | Message::MovedIn(_, answer) => answer,
            Message::Sleep(done) => {
                // Who waits may have given up.
                let _ = done.try_send(());
                return;
            }
            _ => return,
        };
        let error: ApiError = gone();
        // Nobody waiting means the front end went away.
        let _ = answer.send(Err(error));
    }

    /// Saves what only this process can still read, once everything else is done.
    pub(super) fn save_what_went(&self) {
        let is_database = self.gone.borrow().is_some() && self.store.folder().is_dir() && !self.store.folder().join("fog.sqlite").exists();
        if !is_database {
            return;
        }
        match self.store.save_aside() {
            Ok(path) => tracing::error!(path = %path.display(), "the database was deleted; this is a copy of it as it was: put it back as fog.sqlite"),
            Err(error) => tracing::error!(%error, "the database was deleted, and cannot be saved"),
        }
    }
}
