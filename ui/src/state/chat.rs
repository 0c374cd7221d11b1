//! What is open of chat: one thread with the messages read so far, what is being written, what is shown beside it.

use std::collections::BTreeMap;

use fog_api::{ChatMessage, Command, MessageState, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::pages::chat::is_group;
use crate::state::{Page, act, focus_soon, go, say, ui};

/// Messages read at once.
pub const PAGE: u32 = 50;
/// Messages kept while the newest are looked at; older ones are read again when wanted.
const KEPT: usize = 200;
/// Messages kept at the most; beyond that the oldest go, even from under somebody who reads them.
const MOST: usize = 5000;
/// Answers to commands kept in a thread.
const MAX_NOTES: usize = 20;
/// A pause that begins a new group of messages, as the name above it does.
const GROUP_MS: i64 = 5 * 60_000;

/// What is shown beside the thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// Who is near, and how.
    Room,
    /// Somebody, by id.
    Person(String),
    /// A group, by id.
    Group(String),
    /// A form that makes one.
    NewGroup,
    /// The board.
    Board,
    /// Settings of chat.
    Settings,
}

impl Beside {
    /// What belongs beside a thread.
    pub fn of(with: &str) -> Self {
        match with {
            "" => Self::Room,
            group if is_group(group) => Self::Group(group.to_owned()),
            person => Self::Person(person.to_owned()),
        }
    }
}

/// Signals of chat. They outlive the page, so coming back finds what was left.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// The open thread: a person's id, empty for the room; `None` while only the list is shown.
    pub with: RwSignal<Option<String>>,
    /// Its messages.
    pub log: RwSignal<Log>,
    /// Why they could not be read.
    pub problem: RwSignal<Option<String>>,
    /// Rises when they should be read again.
    pub changed: RwSignal<u64>,
    /// What is being written, by thread.
    pub drafts: RwSignal<BTreeMap<String, String>>,
    /// What is shown beside the thread.
    pub beside: RwSignal<Beside>,
}

impl Talk {
    /// Open is what was when the window closed, else the room where it has its place beside the list.
    pub fn new() -> Self {
        let with = bridge::recall("chat").or_else(|| (!bridge::is_narrow()).then(String::new));
        Self {
            log: RwSignal::new(Log::new(with.as_deref().unwrap_or_default())),
            with: RwSignal::new(with),
            problem: RwSignal::new(None),
            changed: RwSignal::new(0),
            drafts: RwSignal::new(BTreeMap::new()),
            beside: RwSignal::new(Beside::Nothing),
        }
    }
}

/// A line between or among the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A day begins.
    Day {
        /// Days since 1970, here.
        day: i64,
        /// The message after it.
        row: i64,
        /// A moment of the day.
        at_ms: i64,
    },
    /// A message.
    Message {
        /// Which.
        message: Box<ChatMessage>,
        /// It has its author's name above it.
        is_first: bool,
    },
    /// The answer to a command.
    Note {
        /// Its number.
        number: u64,
        /// What it says.
        text: String,
    },
}

impl Item {
    /// What stays the same while the line does; a message's state is not part of it.
    pub fn key(&self) -> (u8, i64, bool) {
        match self {
            Self::Day { row, .. } => (0, *row, false),
            Self::Message { message, is_first } => (1, message.row, *is_first),
            Self::Note { number, .. } => (2, *number as i64, false),
        }
    }
}

/// The messages of one thread that were read so far, without a hole from the oldest of them to the newest there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// The thread.
    pub with: String,
    /// The first page came.
    pub is_read: bool,
    /// There is nothing older.
    pub is_whole: bool,
    messages: Vec<ChatMessage>,
    notes: Vec<(i64, u64, String)>,
    noted: u64,
}

impl Log {
    /// Nothing is read yet.
    pub fn new(with: &str) -> Self {
        Self { with: with.to_owned(), ..Self::default() }
    }

    /// The newest message's number; 0 when there is none.
    pub fn newest(&self) -> i64 {
        self.messages.last().map_or(0, |message| message.row)
    }

    /// The oldest message's number.
    pub fn oldest(&self) -> Option<i64> {
        self.messages.first().map(|message| message.row)
    }

    /// Rises with every message and note at the end.
    pub fn end(&self) -> (i64, u64) {
        (self.newest(), self.noted)
    }

    /// The newest message.
    pub fn last(&self) -> Option<&ChatMessage> {
        self.messages.last()
    }

    /// The newest answer to a command.
    pub fn last_note(&self) -> Option<&str> {
        self.notes.last().map(|(.., text)| text.as_str())
    }

    /// How far a message is.
    pub fn state_of(&self, row: i64) -> Option<MessageState> {
        let place = self.messages.binary_search_by_key(&row, |message| message.row).ok()?;
        self.messages.get(place).map(|message| message.state)
    }

    /// Nothing was said, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.notes.is_empty()
    }

    /// Takes a message that is new or got further. One from before the oldest that was read is left where it is:
    /// between them there may be others.
    pub fn take(&mut self, message: &ChatMessage) {
        match self.messages.binary_search_by_key(&message.row, |known| known.row) {
            Ok(place) => self.messages[place].clone_from(message),
            Err(0) if !self.messages.is_empty() && !self.is_whole => {}
            Err(place) => self.messages.insert(place, message.clone()),
        }
        if self.messages.len() > MOST {
            self.messages.drain(..MOST / 2);
            self.is_whole = false;
        }
    }

    /// Takes the newest page, newest first, that was asked for when `known` was the newest number. What came as an
    /// event since then stays; so do older pages, unless the thread begins in this one or something may be missing
    /// between them.
    pub fn take_newest(&mut self, mut page: Vec<ChatMessage>, known: i64, limit: u32) {
        page.reverse();
        let is_whole = (page.len() as u32) < limit;
        let (first, last) = (page.first().map_or(i64::MAX, |m| m.row), page.last().map_or(0, |m| m.row).max(known));
        let mut messages = std::mem::take(&mut self.messages);
        let since = messages.split_off(messages.partition_point(|message| message.row <= last));
        messages.retain(|message| !is_whole && first <= known && message.row < first);
        self.is_whole = is_whole || (self.is_whole && !messages.is_empty());
        messages.append(&mut page);
        messages.extend(since);
        self.messages = messages;
        self.is_read = true;
    }

    /// Takes a page of older messages, newest first.
    pub fn take_older(&mut self, mut page: Vec<ChatMessage>, limit: u32) {
        self.is_whole = (page.len() as u32) < limit;
        page.reverse();
        let oldest = self.oldest().unwrap_or(i64::MAX);
        page.retain(|message| message.row < oldest);
        page.append(&mut self.messages);
        self.messages = page;
    }

    /// Forgets what is far above the newest messages; whether there was something.
    pub fn trim(&mut self) -> bool {
        let is_long = self.messages.len() > 2 * KEPT;
        if is_long {
            self.messages.drain(..self.messages.len() - KEPT);
            self.is_whole = false;
        }
        is_long
    }

    /// Puts the answer to a command after what there is now.
    pub fn note(&mut self, text: String) {
        self.noted += 1;
        self.notes.push((self.newest(), self.noted, text));
        if self.notes.len() > MAX_NOTES {
            self.notes.remove(0);
        }
    }

    /// Every line, the oldest first. `day_of` says on which day a moment is here.
    pub fn items(&self, day_of: impl Fn(i64) -> i64) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.messages.len() + 8);
        let mut notes = self.notes.iter().peekable();
        let mut before: Option<(&ChatMessage, i64)> = None;
        for message in &self.messages {
            while let Some((_, number, text)) = notes.next_if(|(after, ..)| *after < message.row) {
                items.push(Item::Note { number: *number, text: text.clone() });
            }
            let day = day_of(message.at_ms);
            let is_new_day = before.is_none_or(|(_, known)| known != day);
            if is_new_day {
                items.push(Item::Day { day, row: message.row, at_ms: message.at_ms });
            }
            let goes_on = |last: &ChatMessage| last.from == message.from && last.name == message.name && (message.at_ms - last.at_ms).abs() < GROUP_MS;
            let is_first = is_new_day || !before.is_some_and(|(last, _)| goes_on(last));
            items.push(Item::Message { message: Box::new(message.clone()), is_first });
            before = Some((message, day));
        }
        items.extend(notes.map(|(_, number, text)| Item::Note { number: *number, text: text.clone() }));
        items
    }
}

/// Whether this is the open thread.
pub fn is_open(with: &str) -> bool {
    ui().talk.with.with_untracked(|open| open.as_deref() == Some(with))
}

/// Takes a message that is new or got further, when its thread is open.
pub fn heard(message: &ChatMessage) {
    if !is_open(&message.with) {
        return;
    }
    let is_elsewhere = ui().page.get_untracked() != Page::Chat;
    ui().talk.log.update(|log| {
        log.take(message);
        if is_elsewhere {
            log.trim();
        }
    });
}

/// Shows a thread, with the keyboard where one writes.
pub fn open_thread(with: &str) {
    let talk = ui().talk;
    if ui().page.get_untracked() != Page::Chat {
        go(Page::Chat);
    }
    if !is_open(with) {
        bridge::remember("chat", with);
        talk.log.set(Log::new(with));
        talk.problem.set(None);
        talk.beside.update(|beside| {
            if *beside != Beside::Nothing {
                *beside = Beside::of(with);
            }
        });
        talk.with.set(Some(with.to_owned()));
    }
    if bridge::is_narrow() {
        // What lies beside a thread lies over it here, and a keyboard would cover half of what was said.
        talk.beside.set(Beside::Nothing);
        focus_soon("chat-back".to_owned());
    } else {
        focus_soon("chat-text".to_owned());
    }
}

/// Goes back to the list, with the keyboard on what was open.
pub fn close_thread() {
    let talk = ui().talk;
    let open = talk.with.get_untracked();
    talk.with.set(None);
    talk.beside.set(Beside::Nothing);
    bridge::forget("chat");
    focus_soon(thread_id(&open.unwrap_or_default()));
}

/// The id of a thread's line in the list.
pub fn thread_id(with: &str) -> String {
    if with.is_empty() { "thread-room".to_owned() } else { format!("thread-{with}") }
}

/// Reads the newest messages of the open thread.
pub fn read_thread() {
    let talk = ui().talk;
    let Some(with) = talk.with.get_untracked() else { return };
    let known = talk.log.with_untracked(Log::newest);
    spawn_local(async move {
        let answer = bridge::call(Command::ChatThread { with: with.clone(), before: None, limit: PAGE, search: String::new() }).await;
        // The thread may have been left meanwhile.
        if talk.log.with_untracked(|log| log.with != with) {
            return;
        }
        match answer {
            Ok(Reply::ChatMessages(page)) => {
                talk.problem.set(None);
                talk.log.update(|log| log.take_newest(page, known, PAGE));
            }
            Ok(_) => {}
            Err(error) => talk.problem.set(Some(error.message)),
        }
    });
}

/// Deletes keys, messages and people, and begins anew in the room.
pub fn wipe() {
    let talk = ui().talk;
    act(Command::ChatWipe);
    talk.drafts.set(BTreeMap::new());
    talk.log.set(Log::new(""));
    bridge::remember("chat", "");
    talk.with.set(Some(String::new()));
    talk.beside.set(Beside::Nothing);
}

/// Takes the answer to what was said or given: what goes out is shown at once, a note below it.
pub fn said(reply: Result<Reply, fog_api::ApiError>) -> bool {
    let talk = ui().talk;
    match reply {
        Ok(Reply::ChatSaid { messages, note }) => {
            // A command such as `/msg` may have gone to another thread.
            if let Some(other) = messages.first().map(|message| message.with.clone()).filter(|with| talk.log.with_untracked(|log| log.with != *with)) {
                open_thread(&other);
            }
            talk.log.update(|log| {
                messages.iter().for_each(|message| log.take(message));
                if !note.is_empty() {
                    log.note(note);
                }
            });
            true
        }
        Ok(_) => true,
        Err(error) => {
            say(true, error.message);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(row: i64) -> ChatMessage {
        ChatMessage { row, from: "anna".to_owned(), at_ms: row * 1000, state: MessageState::Received, ..ChatMessage::default() }
    }

    fn page(rows: std::ops::RangeInclusive<i64>) -> Vec<ChatMessage> {
        rows.rev().map(said).collect()
    }

    fn rows(log: &Log) -> Vec<i64> {
        log.messages.iter().map(|message| message.row).collect()
    }

    #[test]
    fn pages_and_events_make_one_row_of_messages_without_a_hole() {
        let mut log = Log::new("");
        log.take_newest(page(7..=9), 0, 3);
        log.take(&said(10));
        log.take(&said(2));
        log.take_older(page(4..=6), 3);
        assert_eq!((rows(&log), log.is_whole), ((4..=10).collect(), false));
        log.take_older(page(3..=3), 3);
        assert_eq!((rows(&log), log.is_whole), ((3..=10).collect(), true));
        log.take_newest(page(8..=10), 10, 3);
        assert_eq!((rows(&log), log.is_whole), ((3..=10).collect(), true));
        log.take_newest(page(20..=22), 10, 3);
        assert_eq!((rows(&log), log.is_whole), ((20..=22).collect(), false), "what was said from 11 to 19 is not known");
    }

    #[test]
    fn a_cleared_thread_is_empty_but_for_what_was_said_since() {
        let mut log = Log::new("");
        log.take_newest(page(1..=3), 0, 3);
        let known = log.newest();
        log.take(&said(4));
        log.take_newest(Vec::new(), known, 3);
        assert_eq!((rows(&log), log.is_whole), (vec![4], true));
    }

    #[test]
    fn a_message_that_got_further_stays_in_its_place() {
        let mut log = Log::new("anna");
        log.take_newest(page(1..=3), 0, 50);
        log.take(&ChatMessage { state: MessageState::Read, ..said(2) });
        assert_eq!((rows(&log), log.state_of(2), log.state_of(7)), (vec![1, 2, 3], Some(MessageState::Read), None));
    }

    #[test]
    fn days_names_and_notes_stand_where_they_belong() {
        let mut log = Log::new("");
        log.take_newest(page(1..=2), 0, 50);
        log.note("nobody is here".to_owned());
        log.take(&ChatMessage { from: String::new(), ..said(3) });
        log.take(&said(4));
        let shown: Vec<_> = log
            .items(|at_ms| at_ms / 4000)
            .into_iter()
            .map(|item| match item {
                Item::Day { day, .. } => format!("day {day}"),
                Item::Message { message, is_first } => format!("{}{}", message.row, if is_first { "!" } else { "" }),
                Item::Note { text, .. } => text,
            })
            .collect();
        assert_eq!(shown, ["day 0", "1!", "2", "nobody is here", "3!", "day 1", "4!"]);
    }

    #[test]
    fn a_long_thread_is_cut_from_above_and_can_be_read_again() {
        let mut log = Log::new("");
        log.take_newest(page(1..=500), 0, 501);
        assert!(log.is_whole && log.trim() && !log.trim());
        assert_eq!((log.messages.len(), log.oldest(), log.newest(), log.is_whole), (KEPT, Some(301), 500, false));
        (501..20_000).for_each(|row| log.take(&said(row)));
        assert!(log.messages.len() <= MOST && log.newest() == 19_999);
    }
}
