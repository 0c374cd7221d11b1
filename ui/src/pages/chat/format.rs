//! Formatting of people, times and messages of chat. Pure, so that it is tested natively.

use fog_api::{ChatMessage, ChatView, PersonLink, PersonView};
use fog_words::Words;

/// Greatest length of one private message in bytes; a longer text is sent in several.
pub const MAX_PRIVATE: usize = 255;
/// Length in bytes from which on the remaining room is shown.
const NEAR_LIMIT: usize = 200;
/// Number of colours for ids; the style sheet has as many.
const HUES: u32 = 8;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Display class of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Shown as a picture.
    Picture,
    /// Played as a sound.
    Sound,
    /// Only saved.
    Other,
}

impl Sort {
    /// Returns the class of a media type. Only types that the page can show without running anything count
    /// as pictures.
    pub fn of(mime: &str) -> Self {
        match mime {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Self::Picture,
            _ if mime.starts_with("audio/") => Self::Sound,
            _ => Self::Other,
        }
    }

    /// Returns the suffix of its text keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Sound => "sound",
            Self::Other => "file",
        }
    }
}

/// Returns the suffix of a link's text keys.
pub fn link_word(link: PersonLink) -> &'static str {
    match link {
        PersonLink::Gone => "gone",
        PersonLink::Relayed => "relayed",
        PersonLink::Network => "network",
        PersonLink::Bluetooth => "bluetooth",
    }
}

/// Returns the first digits of an id, for a person without a name.
pub fn short_id(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Returns the name of a person, with the label by which the engine tells equal names apart.
pub fn name_of(id: &str, people: &[PersonView]) -> String {
    let person = people.iter().find(|person| person.id == id);
    // An older engine gives only the nickname.
    let name =
        person.and_then(|person| [&person.label, &person.nickname].into_iter().find(|name| !name.is_empty()));
    name.cloned().unwrap_or_else(|| short_id(id).to_owned())
}

/// Returns the name of a private chat or a group.
pub fn called(with: &str, view: &ChatView) -> String {
    let group = view.groups.iter().find(|group| group.id == with);
    group.map_or_else(|| name_of(with, &view.people), |group| group.name.clone())
}

/// Whether a thread belongs to a group: its id is twice as long as a person's.
pub fn is_group(with: &str) -> bool {
    with.len() == 32
}

/// Returns the colour class of an id, always the same.
pub fn hue(id: &str) -> String {
    let sum = id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("hue-{}", sum % HUES)
}

/// Splits a fingerprint into groups of four digits for comparison.
pub fn groups(fingerprint: &str) -> Vec<String> {
    let digits: Vec<char> = fingerprint.chars().collect();
    digits.chunks(4).map(|group| group.iter().collect()).collect()
}

/// Returns the local day of a moment, in days since 1970.
pub fn day_of(at_ms: i64, minutes_ahead: i64) -> i64 {
    (at_ms + minutes_ahead * MINUTE_MS).div_euclid(DAY_MS)
}

/// Formats the local time of day of a moment: `9:05`.
pub fn clock(at_ms: i64, minutes_ahead: i64) -> String {
    let minutes = (at_ms + minutes_ahead * MINUTE_MS).rem_euclid(DAY_MS) / MINUTE_MS;
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

/// Names a day relative to today; `None` when its date is clearer.
pub fn day_words(words: &Words, day: i64, today: i64) -> Option<String> {
    match today - day {
        0 => Some(words.t("today")),
        1 => Some(words.t("chat-yesterday")),
        _ => None,
    }
}

/// Summarises a message in one line, for the list of threads.
pub fn line(words: &Words, message: &ChatMessage) -> String {
    let said = match &message.file {
        Some(file) => words.t(&format!("chat-a-{}", Sort::of(&file.mime).word())),
        None => message.text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    if message.from.is_empty() {
        words.with("chat-you-said", &[("text", said.into())])
    } else if message.with.is_empty() || is_group(&message.with) {
        format!("{}: {said}", message.name)
    } else {
        said
    }
}

/// Returns the room left in a private message, or that it is split; `None` while there is plenty.
pub fn room_words(words: &Words, text: &str) -> Option<String> {
    let text = text.trim();
    // A command is not sent literally.
    if text.starts_with('/') && !text.starts_with("//") {
        return None;
    }
    match text.len() {
        0..NEAR_LIMIT => None,
        used @ NEAR_LIMIT..=MAX_PRIVATE => Some(words.with(
            "chat-room-left",
            &[("used", (used as f64).into()), ("most", (MAX_PRIVATE as f64).into())],
        )),
        _ => Some(words.with("chat-in-pieces", &[("n", (pieces(text, MAX_PRIVATE) as f64).into())])),
    }
}

/// Returns the number of messages that a text is split into. Cuts like the engine: at a space in the second
/// half of a piece, otherwise between characters.
fn pieces(text: &str, most: usize) -> usize {
    let mut rest = text.trim();
    let mut count = 0;
    while rest.len() > most {
        // A character has at most four bytes, so a piece is never empty.
        let end = rest.floor_char_boundary(most.max(4));
        let cut = rest[..end].rfind(char::is_whitespace).filter(|cut| *cut > most / 2).unwrap_or(end);
        rest = rest[cut..].trim_start();
        count += 1;
    }
    count + usize::from(!rest.is_empty())
}

/// Returns the person whose thread `/msg` with only a name opens: a nickname, if needed with the first
/// digits of the id.
pub fn whom(typed: &str, people: &[PersonView]) -> Option<String> {
    let mut words = typed.split_whitespace();
    let (verb, name) = (words.next()?.to_lowercase(), words.next()?.trim_start_matches('@'));
    if !matches!(verb.as_str(), "/msg" | "/m") || words.next().is_some() {
        return None;
    }
    let mut found = people.iter().filter(|person| person.id == name || name_of(&person.id, people) == name);
    found.next().map(|person| person.id.clone())
}

/// Commands as they are typed, with the keys of their descriptions.
pub const COMMANDS: [(&str, &str); 10] = [
    ("/msg @", "chat-command-msg"),
    ("/who", "chat-command-who"),
    ("/clear", "chat-command-clear"),
    ("/hug @", "chat-command-hug"),
    ("/slap @", "chat-command-slap"),
    ("/block @", "chat-command-block"),
    ("/unblock @", "chat-command-unblock"),
    ("/fav @", "chat-command-fav"),
    ("/unfav @", "chat-command-unfav"),
    ("/group ", "chat-command-group"),
];

/// Returns the commands that start with the typed text, and all of them for `/help`; none for an ordinary
/// text.
pub fn commands_for(typed: &str) -> Vec<(&'static str, &'static str)> {
    let typed = typed.to_lowercase();
    if !typed.starts_with('/') || typed.starts_with("//") || typed.contains('\n') {
        return Vec::new();
    }
    let verb = typed.split_whitespace().next().unwrap_or("/");
    let is_whole = typed.len() > verb.len();
    let fits = |command: &str| {
        let name = command.trim_end_matches([' ', '@']);
        if is_whole {
            name == verb
        } else {
            name.starts_with(verb) || (verb.len() > 2 && "/help".starts_with(verb))
        }
    };
    COMMANDS.into_iter().filter(|(command, _)| fits(command)).collect()
}

#[cfg(test)]
mod tests {
    use fog_api::ChatFileView;

    use super::*;

    fn person(id: &str, nickname: &str) -> PersonView {
        PersonView { id: id.to_owned(), nickname: nickname.to_owned(), ..PersonView::default() }
    }

    #[test]
    fn two_of_the_same_name_are_told_apart_and_who_has_none_has_an_id() {
        let called = |id: &str, label: &str| PersonView { label: label.to_owned(), ..person(id, "anna") };
        let people = [
            called("12ab34cd56ef7890", "anna#12ab"),
            called("ffff34cd56ef7890", "anna#ffff"),
            person("0000111122223333", ""),
        ];
        let names: Vec<_> = people.iter().map(|person| name_of(&person.id, &people)).collect();
        assert_eq!(names, ["anna#12ab", "anna#ffff", "00001111"]);
        // An older engine gives no labels.
        assert_eq!(
            (name_of("1", &[person("1", "anna")]), name_of("77", &people)),
            ("anna".to_owned(), "77".to_owned())
        );
    }

    #[test]
    fn an_id_keeps_its_colour() {
        assert_eq!(hue("12ab34cd56ef7890"), hue("12ab34cd56ef7890"));
        let colours: std::collections::BTreeSet<_> = (0..200).map(|n| hue(&format!("{n:016x}"))).collect();
        assert_eq!(colours.len(), HUES as usize);
    }

    #[test]
    fn a_fingerprint_is_read_in_groups_of_four() {
        assert_eq!(groups("0123456789abcdef"), ["0123", "4567", "89ab", "cdef"]);
        assert_eq!(
            (groups(&"0".repeat(64)).len(), groups("").len(), groups("01234")),
            (16, 0, vec!["0123".to_owned(), "4".to_owned()])
        );
    }

    #[test]
    fn days_and_times_are_those_of_the_place() {
        let noon = 20_000 * DAY_MS + 12 * 60 * MINUTE_MS;
        assert_eq!(
            (clock(noon, 0), clock(noon, 330), clock(noon, -13 * 60)),
            ("12:00".to_owned(), "17:30".to_owned(), "23:00".to_owned())
        );
        assert_eq!(
            (day_of(noon, 0), day_of(noon, 12 * 60), day_of(noon, -13 * 60), day_of(-1, 0)),
            (20_000, 20_001, 19_999, -1)
        );
        let words = Words::new("en");
        let said = [20_000, 19_999, 19_998, 20_001].map(|day| day_words(&words, day, 20_000));
        assert_eq!(said, [Some("Today".to_owned()), Some("Yesterday".to_owned()), None, None]);
    }

    #[test]
    fn a_line_says_who_said_what() {
        let words = Words::new("en");
        let message = |with: &str, from: &str| ChatMessage {
            with: with.to_owned(),
            from: from.to_owned(),
            name: "anna".to_owned(),
            text: "one\n two".to_owned(),
            ..ChatMessage::default()
        };
        assert_eq!(
            [
                line(&words, &message("", "a")),
                line(&words, &message("a", "a")),
                line(&words, &message("a", ""))
            ],
            ["anna: one two", "one two", "You: one two"]
        );
        let file = ChatFileView { name: "x.webp".to_owned(), mime: "image/webp".to_owned(), size: 1 };
        assert_eq!(line(&words, &ChatMessage { file: Some(file), ..message("a", "a") }), "Picture");
        assert_eq!((Sort::of("image/svg+xml"), Sort::of("audio/mp4")), (Sort::Other, Sort::Sound));
    }

    #[test]
    fn bytes_count_and_not_letters() {
        let words = Words::new("en");
        let said = |text: &str| room_words(&words, text);
        assert_eq!(
            (said(""), said(&"a".repeat(199)), said(&format!("/msg @anna {}", "a".repeat(300)))),
            (None, None, None)
        );
        assert_eq!(said(&"ä".repeat(110)), Some("220 of 255 bytes".to_owned()));
        assert_eq!(said(&format!(" {} ", "a".repeat(255))), Some("255 of 255 bytes".to_owned()));
        assert!(said(&"ä".repeat(128)).is_some_and(|text| text.contains('2')));
    }

    #[test]
    fn a_long_text_is_cut_at_spaces_else_between_letters() {
        assert_eq!(
            (pieces("", 255), pieces(&"a".repeat(255), 255), pieces(&"a".repeat(256), 255)),
            (0, 1, 2)
        );
        // A piece holds 85 characters of three bytes, or 63 of four bytes.
        assert_eq!(
            (pieces(&"字".repeat(85), 255), pieces(&"字".repeat(86), 255), pieces(&"🦊".repeat(127), 255)),
            (1, 2, 3)
        );
        assert_eq!((pieces("🦊🦊", 1), pieces("one two three", 8), pieces("a bcdefghijk", 8)), (2, 2, 2));
    }

    #[test]
    fn a_name_alone_after_msg_opens_a_thread() {
        let called = |id: &str, label: &str| PersonView { label: label.to_owned(), ..person(id, "anna") };
        let people = [
            called("12ab34cd56ef7890", "anna#12ab"),
            called("ffff34cd56ef7890", "anna#ffff"),
            person("0000111122223333", "bert"),
        ];
        let found = |typed: &str| whom(typed, &people);
        assert_eq!(
            (found("/msg @bert"), found("/M anna#ffff ")),
            (Some("0000111122223333".to_owned()), Some("ffff34cd56ef7890".to_owned()))
        );
        assert_eq!(
            (found("/msg @bert hello"), found("/msg"), found("/msg @anna"), found("/hug @bert")),
            (None, None, None, None)
        );
    }

    #[test]
    fn what_is_typed_finds_its_commands() {
        let found =
            |typed: &str| commands_for(typed).into_iter().map(|(command, _)| command).collect::<Vec<_>>();
        assert_eq!(
            (found("/").len(), found("/help").len(), found("hello").len(), found("//x").len()),
            (COMMANDS.len(), COMMANDS.len(), 0, 0)
        );
        assert_eq!(
            (found("/un"), found("/FAV @anna"), found("/m")),
            (vec!["/unblock @", "/unfav @"], vec!["/fav @"], vec!["/msg @"])
        );
        assert!(found("/nope").is_empty() && found("/who\n").is_empty());
    }
}
