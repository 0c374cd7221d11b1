//! Chat: threads of messages as the user reads, searches, exports and clears them.

use std::path::Path;

use fog_api::settings::keys;
use fog_api::{ApiError, ChatMessage, Reply};
use fog_bitchat::PeerId;

use crate::chat::errors::ChatError;
use crate::chat::{Chat, ServiceCommand};
use crate::context::Context;
use crate::query::to_api;

/// Messages that a search looks through at once.
const SEARCHED: u32 = 500;

impl Chat {
    pub(crate) fn chat_thread(
        &self,
        ctx: &Context,
        with: &str,
        before: Option<i64>,
        limit: u32,
        search: &str,
    ) -> Result<Reply, ApiError> {
        let (thread, limit) = (self.thread_of(with)?, limit.clamp(1, 500));
        let wanted = search.trim().to_lowercase();
        let mut found: Vec<ChatMessage> = Vec::new();
        let mut before = before;
        loop {
            let rows = ctx
                .store
                .chat_thread(&thread, before, if wanted.is_empty() { limit } else { SEARCHED })
                .map_err(to_api)?;
            let is_end = wanted.is_empty() || rows.len() < SEARCHED as usize;
            before = rows.last().map(|row| row.id);
            // Stored messages are sealed, so each is opened for the search.
            let views = rows.iter().map(|row| self.message_view(row));
            found.extend(
                views.filter(|message| wanted.is_empty() || message.text.to_lowercase().contains(&wanted)),
            );
            if is_end || found.len() >= limit as usize {
                found.truncate(limit as usize);
                return Ok(Reply::ChatMessages(found));
            }
        }
    }

    pub(crate) fn chat_seen(&mut self, ctx: &mut Context, with: &str) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        let seen = ctx.store.see_chat(&thread).map_err(to_api)?;
        if seen.is_empty() {
            return Ok(Reply::Done);
        }
        if let Some(from) = PeerId::parse(&thread).filter(|_| ctx.settings.flag(keys::CHAT_RECEIPTS)) {
            for row in seen.iter().filter(|row| !row.is_mine) {
                // A lost read receipt does no harm.
                let _ = self.order(ServiceCommand::ConfirmRead {
                    from,
                    mid: row.mid.split('#').next().unwrap_or_default().to_owned(),
                });
            }
        }
        self.announce_chat();
        Ok(Reply::Done)
    }

    pub(crate) fn chat_export(&self, ctx: &Context, with: &str, path: &Path) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        let mut rows = ctx.store.chat_thread(&thread, None, u32::MAX >> 1).map_err(to_api)?;
        rows.reverse();
        let messages: Vec<ChatMessage> = rows.iter().map(|row| self.message_view(row)).collect();
        let text = if path.extension().is_some_and(|ending| ending == "json") {
            serde_json::to_string_pretty(&messages).unwrap_or_default()
        } else {
            messages.iter().map(export_line).collect()
        };
        // A pipe would block the engine until something reads from it.
        let written = fog_runtime::replace_file(path, text.as_bytes());
        written
            .map_err(|error| ChatError::CannotWrite { path: path.to_path_buf(), why: error.to_string() })?;
        Ok(Reply::exported(vec![path.display().to_string()]))
    }

    pub(crate) fn chat_clear(&mut self, ctx: &mut Context, with: &str) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        ctx.store.clear_chat(&thread).map_err(to_api)?;
        if let (Some(peer), Some(driver)) = (PeerId::parse(&thread), &self.driver) {
            driver.order(ServiceCommand::DropOutbox(peer));
        }
        self.announce_chat();
        Ok(Reply::Done)
    }
}

fn export_line(message: &ChatMessage) -> String {
    let at = jiff::Timestamp::from_millisecond(message.at_ms)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let file = message
        .file
        .as_ref()
        .map(|file| format!(" [file {}, {} bytes]", file.mime, file.size))
        .unwrap_or_default();
    // Further lines of a text are indented, so that none looks like another person's message.
    format!("{at} {}: {}{file}\n", message.name, message.text.replace(['\r', '\n'], "\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::commands::new_mid;

    #[test]
    fn a_line_of_an_export_says_when_who_and_what() {
        let file =
            Some(fog_api::ChatFileView { name: "a.png".to_owned(), mime: "image/png".to_owned(), size: 9 });
        let message = ChatMessage {
            at_ms: 0,
            name: "anna".to_owned(),
            text: "a.png".to_owned(),
            file,
            ..ChatMessage::default()
        };
        assert_eq!(export_line(&message), "1970-01-01 00:00:00 anna: a.png [file image/png, 9 bytes]\n");
        let ids = [new_mid(), new_mid()];
        assert!(ids[0] != ids[1] && ids[0].len() == 36);
    }
}
