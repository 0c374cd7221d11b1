//! Chat: notes on the board.

use std::collections::BTreeMap;

use fog_api::{ApiError, EventBody, NoteView, Notice, PersonView, Reply};
use fog_bitchat::{MAX_NOTE, MAX_NOTE_LIFE, MAX_NOTES_OF_ONE, Note};
use fog_types::text::{clean_lines, clean_name};
use rand::RngExt as _;

use crate::chat::errors::ChatError;
use crate::chat::{Change, Chat};
use crate::context::Context;

const HOUR_MS: u64 = 3_600_000;

/// Id of a note, derived from the author's key as well: authors choose note ids, so an id may be used
/// twice.
fn note_id(id: &[u8; 16], author: &[u8; 32]) -> String {
    blake3::hash(&[id.as_slice(), author].concat()).to_hex()[..32].to_owned()
}

/// Id of a note's author, or the beginning of the signing key if the author was not met yet.
fn author_id(note: &Note, author: Option<&PersonView>) -> String {
    author.map_or_else(
        || note.author[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        |author| author.id.clone(),
    )
}

impl Chat {
    fn is_my_note(&self, note: &Note) -> bool {
        self.me.is_some_and(|me| me.signing == note.author)
    }

    /// Author of a note, if known.
    fn author_of(&self, note: &Note) -> Option<&PersonView> {
        self.people
            .values()
            .find(|known| known.keys.is_some_and(|keys| keys.signing == note.author))
            .map(|known| &known.view)
    }

    pub(crate) fn note_views(&self, ctx: &Context) -> Vec<NoteView> {
        if self.board.is_empty() {
            return Vec::new();
        }
        let now = ctx.clock.unix().0.max(0) as u64;
        let known: BTreeMap<[u8; 32], &PersonView> =
            self.people.values().filter_map(|known| Some((known.keys?.signing, &known.view))).collect();
        let is_blocked = |note: &Note| known.get(&note.author).is_some_and(|author| author.is_blocked);
        let shown = self.board.iter().filter(|note| note.expires > now && !is_blocked(note));
        let view = |note: &Note| NoteView {
            id: note_id(&note.id, &note.author),
            text: clean_lines(&note.text),
            author: known.get(&note.author).map(|author| author.id.clone()).unwrap_or_default(),
            name: if self.is_my_note(note) {
                clean_name(&note.nickname)
            } else {
                self.names.label(&author_id(note, known.get(&note.author).copied()), &note.nickname)
            },
            is_mine: self.is_my_note(note),
            is_urgent: note.is_urgent,
            at_ms: note.created.cast_signed(),
            until_ms: note.expires.cast_signed(),
        };
        shown.map(view).collect()
    }

    pub(crate) fn chat_post(
        &mut self,
        ctx: &mut Context,
        text: &str,
        is_urgent: bool,
        hours: u32,
    ) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_NOTE {
            return Err(ChatError::BadNoteSize { most: MAX_NOTE, size: text.len() }.into());
        }
        let life = u64::from(hours) * HOUR_MS;
        if hours == 0 || life > MAX_NOTE_LIFE {
            return Err(ChatError::BadNoteLife.into());
        }
        let now = ctx.clock.unix().0.max(0) as u64;
        if self.board.iter().filter(|note| self.is_my_note(note) && note.expires > now).count()
            >= MAX_NOTES_OF_ONE
        {
            return Err(ChatError::TooManyNotes { most: MAX_NOTES_OF_ONE }.into());
        }
        let id: [u8; 16] = ctx.rng().random();
        self.order_change(Change::Post { id, text: text.to_owned(), is_urgent, life })?;
        Ok(Reply::Text(self.me.map(|me| note_id(&id, &me.signing)).unwrap_or_default()))
    }

    pub(crate) fn chat_take_down(&mut self, id: &str) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let id = id.trim().to_lowercase();
        let fits: Vec<&Note> = self
            .board
            .iter()
            .filter(|note| !id.is_empty() && note_id(&note.id, &note.author).starts_with(&id))
            .collect();
        let note = match fits[..] {
            [note] if self.is_my_note(note) => note,
            [note] => return Err(ChatError::ForeignNote { author: clean_name(&note.nickname) }.into()),
            [] => return Err(ChatError::UnknownNote { id }.into()),
            _ => return Err(ChatError::SeveralNotes { id }.into()),
        };
        let id = note.id;
        self.order_change(Change::TakeDown(id))?;
        Ok(Reply::Done)
    }

    /// Announces an urgent note if its author is known and not blocked.
    pub(crate) fn noticed(&mut self, ctx: &mut Context, note: &Note) {
        let author = self.author_of(note).filter(|author| note.is_urgent && !author.is_blocked);
        if let Some(name) = author.map(|author| author.label.clone()) {
            let notice = Notice::ChatMessage { with: String::new(), name, text: clean_lines(&note.text) };
            ctx.announce(EventBody::Notice(notice));
        }
    }
}
