//! Chat: the board, and what people who were verified say of others.

use std::collections::BTreeMap;

use fog_api::{ApiError, EventBody, NoteView, Notice, Reply};
use fog_bitchat::{MAX_NOTE, MAX_NOTE_LIFE, MAX_NOTES_OF_ONE, Note, PeerId, Vouch};
use fog_store::StoreError;
use fog_types::ErrorKind;

use super::Core;
use super::chatting::refuse;
use super::hearing::{WORDS, clean};
use crate::chat::{Order, Word};

const HOUR_MS: u64 = 3_600_000;
/// What one person says of others that is kept, and what all say.
const MAX_WORDS_OF_ONE: usize = 64;
const MAX_WORDS: usize = 2_000;

fn note_id(note: &Note) -> String {
    format!("{:032x}", u128::from_be_bytes(note.id))
}

/// Of a note of somebody else: line breaks stay, nothing that moves a cursor or turns the text does.
fn clean_text(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

impl Core {
    fn is_my_note(&self, note: &Note) -> bool {
        self.chat.me.is_some_and(|me| me.signing == note.author)
    }

    /// Who wrote a note, when they are known.
    fn author_of(&self, note: &Note) -> Option<&fog_api::PersonView> {
        self.chat.people.values().find(|known| known.keys.is_some_and(|keys| keys.signing == note.author)).map(|known| &known.view)
    }

    pub(super) fn note_views(&self) -> Vec<NoteView> {
        let now = self.clock.unix().0.max(0) as u64;
        let shown = self.chat.board.iter().filter(|note| note.expires > now && self.author_of(note).is_none_or(|author| !author.is_blocked));
        let view = |note: &Note| NoteView {
            id: note_id(note),
            text: clean_text(&note.text),
            author: self.author_of(note).map(|author| author.id.clone()).unwrap_or_default(),
            name: clean(&note.nickname),
            is_mine: self.is_my_note(note),
            is_urgent: note.is_urgent,
            at_ms: note.created.cast_signed(),
            until_ms: note.expires.cast_signed(),
        };
        shown.map(view).collect()
    }

    pub(super) fn chat_post(&mut self, text: &str, is_urgent: bool, hours: u32) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_NOTE {
            let why = format!("a note has 1 to {MAX_NOTE} bytes, this one {}; nothing was put on the board", text.len());
            return Err(refuse(ErrorKind::BadInput, why));
        }
        let life = u64::from(hours) * HOUR_MS;
        if hours == 0 || life > MAX_NOTE_LIFE {
            return Err(refuse(ErrorKind::BadInput, "a note stays for 1 to 168 hours, which are seven days; nothing was put on the board"));
        }
        let now = self.clock.unix().0.max(0) as u64;
        if self.chat.board.iter().filter(|note| self.is_my_note(note) && note.expires > now).count() >= MAX_NOTES_OF_ONE {
            let why = format!("{MAX_NOTES_OF_ONE} notes of this device are on the board, which is all that others keep; take one down first");
            return Err(refuse(ErrorKind::Conflict, why));
        }
        let id: [u8; 16] = rand::random();
        self.order(Order::Post { id, text: text.to_owned(), is_urgent, life })?;
        Ok(Reply::Text(format!("{:032x}", u128::from_be_bytes(id))))
    }

    pub(super) fn chat_take_down(&mut self, id: &str) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let id = id.trim().to_lowercase();
        let fits: Vec<&Note> = self.chat.board.iter().filter(|note| !id.is_empty() && note_id(note).starts_with(&id)).collect();
        let note = match fits[..] {
            [note] if self.is_my_note(note) => note,
            [note] => {
                let why = format!("{} wrote this note and alone takes it down; block them to see nothing of theirs", clean(&note.nickname));
                return Err(refuse(ErrorKind::Conflict, why));
            }
            [] => return Err(refuse(ErrorKind::NotFound, format!("there is no note {id} on the board; `fog chat board` lists them"))),
            _ => return Err(refuse(ErrorKind::Conflict, format!("several notes begin with {id}; say more digits"))),
        };
        self.order(Order::TakeDown(note.id))?;
        Ok(Reply::Done)
    }

    /// A note came: somebody who is known may want it to be noticed.
    pub(super) fn noticed(&mut self, note: &Note) {
        let author = self.author_of(note).filter(|author| note.is_urgent && !author.is_blocked);
        if let Some(name) = author.map(|author| author.nickname.clone()) {
            let notice = Notice::ChatMessage { with: String::new(), name, text: clean_text(&note.text) };
            self.announce(EventBody::Notice(notice));
        }
    }

    /// Somebody whom the user verified says whom they verified.
    pub(super) fn vouched(&mut self, by: PeerId, whom: &[Vouch]) -> Result<(), StoreError> {
        let words = self.chat.words.entry(by.to_string()).or_default();
        for vouch in whom {
            let word = Word { fingerprint: vouch.fingerprint_text(), signing: vouch.signing, until: vouch.until() };
            words.retain(|known| known.fingerprint != word.fingerprint);
            words.push(word);
        }
        let too_many = words.len().saturating_sub(MAX_WORDS_OF_ONE);
        words.drain(..too_many);
        while self.chat.words.values().map(Vec::len).sum::<usize>() > MAX_WORDS {
            let ends_first = |words: &Vec<Word>| words.iter().map(|word| word.until).min();
            let Some(by) = self.chat.words.iter().min_by_key(|(_, words)| ends_first(words)).map(|(by, _)| by.clone()) else { break };
            self.chat.words.remove(&by);
        }
        self.write_words()?;
        self.look_at_words();
        Ok(())
    }

    fn write_words(&mut self) -> Result<(), StoreError> {
        let state = serde_json::to_vec(&self.chat.words).unwrap_or_default();
        self.write_down(WORDS, &state).map(drop)
    }

    /// What those are called who verified somebody, and whom the user verified.
    pub(super) fn vouched_by(&self, id: &str) -> Vec<String> {
        let now = self.clock.unix().0.max(0) as u64;
        let Some((person, keys)) = self.chat.people.get(id).and_then(|known| Some((&known.view, known.keys?))) else { return Vec::new() };
        let says_so = |word: &Word| word.until > now && word.fingerprint == person.fingerprint && word.signing == keys.signing;
        let givers = self.chat.words.iter().filter(|(_, words)| words.iter().any(says_so));
        let trusted = |by: &str| self.chat.people.get(by).map(|known| &known.view).filter(|giver| giver.is_verified && !giver.is_blocked);
        givers.filter_map(|(by, _)| trusted(by)).map(|giver| giver.nickname.clone()).collect()
    }

    /// Finds out anew for whom somebody vouches.
    pub(super) fn look_at_words(&mut self) {
        let now: BTreeMap<String, Vec<String>> = self.chat.people.keys().map(|id| (id.clone(), self.vouched_by(id))).collect();
        let mut changed = Vec::new();
        for (id, vouched_by) in now {
            if let Some(known) = self.chat.people.get_mut(&id).filter(|known| known.view.vouched_by != vouched_by) {
                known.view.vouched_by = vouched_by;
                changed.push(known.view.clone());
            }
        }
        for person in changed {
            self.announce(EventBody::ChatPerson(Box::new(person)));
        }
    }

    /// Words count for a month.
    pub(super) fn forget_old_words(&mut self) {
        let now = self.clock.unix().0.max(0) as u64;
        if !self.chat.words.values().flatten().any(|word| word.until <= now) {
            return;
        }
        self.chat.words.values_mut().for_each(|words| words.retain(|word| word.until > now));
        self.chat.words.retain(|_, words| !words.is_empty());
        if let Err(error) = self.write_words() {
            tracing::error!(%error, "what people say of others cannot be written down");
        }
        self.look_at_words();
    }
}
