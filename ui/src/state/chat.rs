//! State of the chat page: the open thread with the messages read so far, drafts, and the pane beside it.

use std::collections::BTreeMap;

use fog_api::{ChatCommand, ChatMessage, Command, MessageState, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::pages::chat::is_group;
use crate::state::{Page, act, focus_soon, go, say_error, ui, words};

/// Number of messages read at once.
pub const PAGE: u32 = 50;
/// Number of messages kept while the newest are in sight; older ones are read again when needed.
const KEPT: usize = 200;
/// Greatest number of messages kept; beyond it the oldest are dropped, even while they are in sight.
const MOST: usize = 5000;
/// Greatest number of command answers kept in a thread.
const MAX_NOTES: usize = 20;
/// Pause in milliseconds after which the author's name is shown again.
const GROUP_MS: i64 = 5 * 60_000;

/// Content of the pane beside the thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Beside {
    /// An empty pane.
    #[default]
    Nothing,
    /// People nearby, with their links.
    Room,
    /// A person, by id.
    Person(String),
    /// A group, by id.
    Group(String),
    /// The form that creates a group.
    NewGroup,
    /// The board of notes.
    Board,
    /// Settings of chat.
    Settings,
}

impl Beside {
    /// Returns the pane that belongs to a thread.
    pub fn of(with: &str) -> Self {
        match with {
            "" => Self::Room,
            group if is_group(group) => Self::Group(group.to_owned()),
            person => Self::Person(person.to_owned()),
        }
    }
}

/// Signals of chat. They outlive the page, so that its state is found again.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Open thread: a person's or group's id, empty for the room; `None` while only the list is shown.
    pub with: RwSignal<Option<String>>,
    /// Messages of the open thread.
    pub log: RwSignal<Log>,
    /// Reason why the messages could not be read.
    pub problem: RwSignal<Option<String>>,
    /// Counter that rises when the messages must be read again.
    pub changed: RwSignal<u64>,
    /// Unsent texts, by thread.
    pub drafts: RwSignal<BTreeMap<String, String>>,
    /// Pane beside the thread.
    pub beside: RwSignal<Beside>,
}

impl Talk {
    /// Opens the thread of the last window, otherwise the room where it fits beside the list.
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

/// An entry of the message list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The start of a day.
    Day {
        /// Local day, in days since 1970.
        day: i64,
        /// Number of the message after it.
        row: i64,
        /// A moment of the day.
        at_ms: i64,
    },
    /// A message.
    Message {
        /// The message.
        message: Box<ChatMessage>,
        /// Whether the author's name is shown above it.
        is_first: bool,
    },
    /// The answer to a command.
    Note {
        /// Number of the note.
        number: u64,
        /// Text of the note.
        text: String,
    },
}

impl Item {
    /// Returns a key that is stable for an entry; the state of a message is not part of it.
    pub fn key(&self) -> (u8, i64, bool) {
        match self {
            Self::Day { row, .. } => (0, *row, false),
            Self::Message { message, is_first } => (1, message.row, *is_first),
            Self::Note { number, .. } => (2, *number as i64, false),
        }
    }
}

/// Messages of one thread read so far, without a gap from the oldest of them to the newest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// Id of the thread.
    pub with: String,
    /// Whether the first page has been read.
    pub is_read: bool,
    /// Whether nothing older exists.
    pub is_whole: bool,
    messages: Vec<ChatMessage>,
    notes: Vec<(i64, u64, String)>,
    noted: u64,
}

impl Log {
    /// Creates an empty log.
    pub fn new(with: &str) -> Self {
        Self { with: with.to_owned(), ..Self::default() }
    }

    /// Returns the newest message's number; 0 when there is none.
    pub fn newest(&self) -> i64 {
        self.messages.last().map_or(0, |message| message.row)
    }

    /// Returns the oldest message's number.
    pub fn oldest(&self) -> Option<i64> {
        self.messages.first().map(|message| message.row)
    }

    /// Returns a value that changes with every message and note at the end.
    pub fn end(&self) -> (i64, u64) {
        (self.newest(), self.noted)
    }

    /// Returns the newest message.
    pub fn last(&self) -> Option<&ChatMessage> {
        self.messages.last()
    }

    /// Returns the newest answer to a command.
    pub fn last_note(&self) -> Option<&str> {
        self.notes.last().map(|(.., text)| text.as_str())
    }

    /// Returns the state of a message.
    pub fn state_of(&self, row: i64) -> Option<MessageState> {
        let place = self.messages.binary_search_by_key(&row, |message| message.row).ok()?;
        self.messages.get(place).map(|message| message.state)
    }

    /// Whether no message or note is known.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.notes.is_empty()
    }

    /// Adds or updates a message. A message older than the oldest one read is ignored: others may lie
    /// between them.
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

    /// Takes the newest page, newest first, which was requested when `known` was the newest number.
    /// Messages that came as events since then stay, as do older pages, unless the thread begins in this
    /// page or there may be a gap between them.
    pub fn take_newest(&mut self, mut page: Vec<ChatMessage>, known: i64, limit: u32) {
        page.reverse();
        let is_whole = (page.len() as u32) < limit;
        let (first, last) =
            (page.first().map_or(i64::MAX, |m| m.row), page.last().map_or(0, |m| m.row).max(known));
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

    /// Drops messages far above the newest ones; returns whether there were any.
    pub fn trim(&mut self) -> bool {
        let is_long = self.messages.len() > 2 * KEPT;
        if is_long {
            self.messages.drain(..self.messages.len() - KEPT);
            self.is_whole = false;
        }
        is_long
    }

    /// Adds the answer to a command after the present messages.
    pub fn note(&mut self, text: String) {
        self.noted += 1;
        self.notes.push((self.newest(), self.noted, text));
        if self.notes.len() > MAX_NOTES {
            self.notes.remove(0);
        }
    }

    /// Returns every entry, the oldest first. `day_of` gives the local day of a moment.
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
            let goes_on = |last: &ChatMessage| {
                last.from == message.from
                    && last.name == message.name
                    && (message.at_ms - last.at_ms).abs() < GROUP_MS
            };
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

/// Adds or updates a message when its thread is open.
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

/// Shows a thread and moves the keyboard focus to its text field.
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
        // In a narrow window the pane covers the thread, and an on-screen keyboard half of the messages.
        talk.beside.set(Beside::Nothing);
        focus_soon("chat-back".to_owned());
    } else {
        focus_soon("chat-text".to_owned());
    }
}

/// Returns to the list, with the keyboard focus on the thread that was open.
pub fn close_thread() {
    let talk = ui().talk;
    let open = talk.with.get_untracked();
    talk.with.set(None);
    talk.beside.set(Beside::Nothing);
    bridge::forget("chat");
    focus_soon(thread_id(&open.unwrap_or_default()));
}

/// Returns the element id of a thread in the list.
pub fn thread_id(with: &str) -> String {
    if with.is_empty() { "thread-room".to_owned() } else { format!("thread-{with}") }
}

/// Reads the newest messages of the open thread.
pub fn read_thread() {
    let talk = ui().talk;
    let Some(with) = talk.with.get_untracked() else { return };
    let known = talk.log.with_untracked(Log::newest);
    spawn_local(async move {
        let answer = bridge::call(Command::Chat(ChatCommand::Thread {
            with: with.clone(),
            before: None,
            limit: PAGE,
            search: String::new(),
        }))
        .await;
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
            Err(error) => talk.problem.set(Some(words().error(&error))),
        }
    });
}

/// Deletes keys, messages and people, and starts again in the room.
pub fn wipe() {
    let talk = ui().talk;
    act(Command::Chat(ChatCommand::Wipe));
    talk.drafts.set(BTreeMap::new());
    talk.log.set(Log::new(""));
    bridge::remember("chat", "");
    talk.with.set(Some(String::new()));
    talk.beside.set(Beside::Nothing);
}

/// Handles the answer to a sent text or file: shows it at once, with a note below. Returns whether it was
/// accepted.
pub fn said(reply: Result<Reply, fog_api::ApiError>) -> bool {
    let talk = ui().talk;
    match reply {
        Ok(Reply::ChatSaid { messages, note }) => {
            // A command such as `/msg` may have used another thread.
            if let Some(other) = messages
                .first()
                .map(|message| message.with.clone())
                .filter(|with| talk.log.with_untracked(|log| log.with != *with))
            {
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
            say_error(&error);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(row: i64) -> ChatMessage {
        ChatMessage {
            row,
            from: "anna".to_owned(),
            at_ms: row * 1000,
            state: MessageState::Received,
            ..ChatMessage::default()
        }
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
        assert_eq!(
            (rows(&log), log.is_whole),
            ((20..=22).collect(), false),
            "what was said from 11 to 19 is not known"
        );
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
        assert_eq!(
            (rows(&log), log.state_of(2), log.state_of(7)),
            (vec![1, 2, 3], Some(MessageState::Read), None)
        );
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
                Item::Message { message, is_first } => {
                    format!("{}{}", message.row, if is_first { "!" } else { "" })
                }
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
        assert_eq!(
            (log.messages.len(), log.oldest(), log.newest(), log.is_whole),
            (KEPT, Some(301), 500, false)
        );
        (501..20_000).for_each(|row| log.take(&said(row)));
        assert!(log.messages.len() <= MOST && log.newest() == 19_999);
    }
}
