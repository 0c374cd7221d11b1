//! Chat: files in messages.

use std::path::Path;

use base64::Engine as _;
use fog_api::{ApiError, MessageState, PersonLink, Reply};
use fog_bitchat::{FilePacket, PeerId};
use fog_types::{ByteCount, ErrorKind};

use crate::chat::commands::new_mid;
use crate::chat::errors::ChatError;
use crate::chat::incoming::file_name;
use crate::chat::{Chat, ServiceCommand};
use crate::context::Context;
use crate::query::to_api;

/// Largest file in bytes: Android accepts 256 fragments.
const MAX_FILE: usize = 100 << 10;

impl Chat {
    pub(crate) fn chat_give(
        &mut self,
        ctx: &mut Context,
        to: &str,
        name: String,
        base64: &str,
    ) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let thread = self.thread_of(to)?;
        let to = PeerId::parse(&thread);
        if to.is_none() && !thread.is_empty() {
            return Err(ChatError::FileToGroup.into());
        }
        if base64.len() > MAX_FILE * 4 / 3 + 8 {
            return Err(ChatError::FileTooLarge { most: ByteCount(MAX_FILE as u64) }.into());
        }
        let content = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
        if content.is_empty() || content.len() > MAX_FILE {
            return Err(ChatError::BadFileSize { most: ByteCount(MAX_FILE as u64) }.into());
        }
        if self
            .people
            .get(&thread)
            .is_some_and(|known| known.view.link != PersonLink::Gone && !known.view.takes_files)
        {
            return Err(ChatError::NoPrivateFiles.into());
        }
        let mime = mime_of(&name, &content).to_owned();
        let file = FilePacket { name, mime, content };
        if to.is_some() {
            self.remember(ctx, &thread, true).map_err(to_api)?;
        }
        // Receipts name a file by an id that the protocol derives from its name.
        let id = self.me.zip(to).map(|(me, to)| file.media_id(me.peer(), to)).unwrap_or_default();
        let mid = format!("{id}#{}", new_mid());
        let state = if to.is_some() { MessageState::Queued } else { MessageState::Sent };
        let message = self.store_mine(ctx, &thread, file_name(&file), Some(&file), state, &mid)?;
        self.order_or_fail(ctx, &thread, &mid.clone(), ServiceCommand::SendFile { to, mid, file })?;
        Ok(Reply::ChatSaid { messages: message.into_iter().collect(), note: String::new() })
    }

    /// The opened file of a message, and its description.
    fn attachment(&self, ctx: &Context, row: i64) -> Result<(fog_api::ChatFileView, Vec<u8>), ApiError> {
        let gone = || ChatError::NoFile { row: row.to_string() };
        let found = ctx.store.chat_message(row).map_err(to_api)?.ok_or_else(gone)?;
        let sealed = ctx.store.chat_file(row).map_err(to_api)?.ok_or_else(gone)?;
        let content = self
            .vault
            .as_ref()
            .and_then(|vault| vault.open(found.mid.as_bytes(), &sealed))
            .ok_or_else(gone)?;
        Ok((self.message_view(&found).file.unwrap_or_default(), content))
    }

    pub(crate) fn chat_file(&self, ctx: &Context, row: i64) -> Result<Reply, ApiError> {
        let (file, content) = self.attachment(ctx, row)?;
        Ok(Reply::Bytes {
            mime: file.mime,
            base64: base64::engine::general_purpose::STANDARD.encode(content),
        })
    }

    pub(crate) fn chat_save(&self, ctx: &Context, row: i64, folder: &Path) -> Result<Reply, ApiError> {
        let (file, content) = self.attachment(ctx, row)?;
        for name in free_names(&file.name) {
            let path = folder.join(name);
            let written = std::fs::File::options()
                .write(true)
                .create_new(true)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &content));
            match written {
                Ok(()) => return Ok(Reply::exported(vec![path.display().to_string()])),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ChatError::CannotWrite { path, why: error.to_string() }.into()),
            }
        }
        Err(ChatError::NoFreeName { name: file.name }.into())
    }
}

/// Candidate names for a file: its own name, then `map 2.png`, `map 3.png` and so on.
fn free_names(name: &str) -> impl Iterator<Item = String> {
    let (stem, ending) = name
        .rsplit_once('.')
        .map_or((name.to_owned(), String::new()), |(stem, ending)| (stem.to_owned(), format!(".{ending}")));
    let others = (2..1000).map(move |n| format!("{stem} {n}{ending}"));
    std::iter::once(name.to_owned()).chain(others)
}

/// Media type of a file, by its first bytes and then by its extension.
fn mime_of(name: &str, content: &[u8]) -> &'static str {
    let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    match content {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => match ending.as_str() {
            "m4a" | "mp4" | "aac" => "audio/mp4",
            "txt" | "md" | "log" => "text/plain",
            _ => "application/octet-stream",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_begin_with() {
        assert_eq!(mime_of("a.txt", b"\x89PNG\r\n\x1a\n"), "image/png");
        assert_eq!(mime_of("note.M4A", b"....ftyp"), "audio/mp4");
        assert_eq!(mime_of("x", b"hello"), "application/octet-stream");
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        assert_eq!(
            free_names("map.v2.png").take(3).collect::<Vec<_>>(),
            ["map.v2.png", "map.v2 2.png", "map.v2 3.png"]
        );
        assert_eq!(free_names("file").nth(1).as_deref(), Some("file 2"));
    }
}
