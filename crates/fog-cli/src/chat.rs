//! `fog chat`: chat with people near.

mod board;
mod groups;
mod identity;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use fog_api::{
    ChatCommand, ChatMessage, ChatView, Command, EventBody, MessageState, PersonChange, PersonLink,
    PersonView, RadioState, Reply,
};
use fog_ipc::{Client, Events};
use fog_types::text::{clean, clean_lines};
use fog_types::{ByteCount, ErrorKind};
use fog_words::Words;
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::args::chat::{BoardVerb, ChatArgs, ChatVerb, GroupVerb};
use crate::connect::{Context, absolute, engine_now, unexpected};
use crate::output::{Failure, complain, print_json, print_table, print_text, say, say_part};

/// Greatest size of a file that is handed to the engine; the engine itself enforces the limit of chat.
const MAX_GIVEN: ByteCount = ByteCount::mib(1);

/// Runs `fog chat …`.
pub async fn chat(context: &Context, args: ChatArgs) -> Result<ExitCode, Failure> {
    match args.verb {
        None => talk(context, args.to.as_deref().unwrap_or_default()).await,
        Some(ChatVerb::Tail) => tail(context).await,
        Some(ChatVerb::Send { to, file, wait, text }) => {
            send(context, to.unwrap_or_default(), file.as_deref(), wait, &text.join(" ")).await
        }
        Some(ChatVerb::Log { to, limit, search, output }) => {
            log(context, to.unwrap_or_default(), limit, search, output.as_deref()).await
        }
        Some(ChatVerb::File { row, output }) => file(context, row, &output).await,
        Some(ChatVerb::People) => people(context).await,
        Some(ChatVerb::Verify { code: Some(code), .. }) => scan(context, code).await,
        Some(ChatVerb::Verify { who: Some(who), fingerprint: Some(fingerprint), .. }) => {
            compare(context, who, &fingerprint).await
        }
        Some(ChatVerb::Verify { .. }) => card(context).await,
        Some(ChatVerb::Block { who, undo }) => {
            change(context, who, PersonChange::Blocked(!undo), json!({ "blocked": !undo })).await
        }
        Some(ChatVerb::Favourite { who, undo }) => {
            change(context, who, PersonChange::Favourite(!undo), json!({ "favourite": !undo })).await
        }
        Some(ChatVerb::Group { verb }) => groups::group(context, verb.unwrap_or(GroupVerb::List)).await,
        Some(ChatVerb::Board { verb }) => board::board(context, verb.unwrap_or(BoardVerb::List)).await,
        Some(ChatVerb::Identity { verb }) => identity::identity(context, verb).await,
        Some(ChatVerb::Wipe { yes }) => wipe(context, yes).await,
    }
}

async fn change(
    context: &Context,
    who: String,
    change: PersonChange,
    done: serde_json::Value,
) -> Result<ExitCode, Failure> {
    context.call(Command::Chat(ChatCommand::Person { who: who.clone(), change })).await?;
    if context.json {
        print_json(&json!({ "who": who, "changed": done }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the next event; `None` at the end of the stream, [`EventBody::Missed`] after a gap.
async fn next(events: &mut Events) -> Option<EventBody> {
    events.next().await.map_or(Some(EventBody::Missed), |event| event.map(|event| event.body))
}

async fn view(client: &Client) -> Result<ChatView, Failure> {
    match client.call(Command::Chat(ChatCommand::Show)).await? {
        Reply::Chat(view) => Ok(*view),
        other => Err(unexpected(&other)),
    }
}

async fn send(
    context: &Context,
    to: String,
    file: Option<&Path>,
    wait: Option<u64>,
    text: &str,
) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let mut events = client.subscribe().await;
    let command = match file {
        Some(path) => {
            let read = fog_runtime::read_regular(path, MAX_GIVEN);
            let bytes = read.map_err(|error| Failure::file(path, &error).with("nothing was sent"))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Command::Chat(ChatCommand::Give {
                to,
                name,
                base64: base64::engine::general_purpose::STANDARD.encode(bytes),
            })
        }
        None => Command::Chat(ChatCommand::Say { to, text: text.to_owned() }),
    };
    let Reply::ChatSaid { mut messages, note } = client.call(command).await? else {
        return Err(Failure::bug("no answer of its kind"));
    };
    if let Some(seconds) = wait {
        let arrive = async {
            while messages.iter().any(|message| message.state < MessageState::Delivered) {
                let Some(body) = next(&mut events).await else { return };
                if let EventBody::ChatMessage(changed) = body
                    && let Some(known) = messages.iter_mut().find(|message| message.row == changed.row)
                {
                    *known = *changed;
                }
            }
        };
        // Messages that have not arrived by then are still on their way.
        let _ = tokio::time::timeout(Duration::from_secs(seconds), arrive).await;
    }
    if context.json {
        print_json(&json!({ "messages": messages, "note": note }))?;
    } else if !note.is_empty() {
        print_text(&clean_lines(&note));
    } else if let Some(message) = messages.last() {
        say!("{}", state_words(message.state));
    }
    if !context.json {
        // Phones may hide messages whose time stamps come from a clock that is off.
        explain_clock(&view(&client).await?, &context.words_here().await);
    }
    let has_arrived =
        messages.iter().all(|message| matches!(message.state, MessageState::Delivered | MessageState::Read));
    Ok(if wait.is_some() && !has_arrived { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn state_words(state: MessageState) -> &'static str {
    match state {
        MessageState::Received => "received",
        MessageState::Queued => "waits until they are here, or somebody who carries it; it is kept for a day",
        MessageState::Carried => "somebody carries it; it arrives when they meet",
        MessageState::Sent => "sent",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Failed => "given up; `fog chat send` again",
    }
}

async fn log(
    context: &Context,
    with: String,
    limit: u32,
    search: String,
    output: Option<&Path>,
) -> Result<ExitCode, Failure> {
    if let Some(path) = output {
        let path = absolute(path)?.display().to_string();
        context.call(Command::Chat(ChatCommand::Export { with, path: path.clone() })).await?;
        if context.json {
            print_json(&json!({ "file": path }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let words = context.words_here().await;
    match context
        .call(Command::Chat(ChatCommand::Thread { with: with.clone(), before: None, limit, search }))
        .await?
    {
        Reply::ChatMessages(list) if context.json => print_json(&list)?,
        Reply::ChatMessages(list) => {
            list.iter().rev().for_each(|message| print_text(&line(&words, message)));
            // Messages printed for a person count as read; with JSON a program may have asked for other
            // reasons.
            context.call(Command::Chat(ChatCommand::Seen { with })).await?;
        }
        other => return Err(unexpected(&other)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn file(context: &Context, row: i64, output: &Path) -> Result<ExitCode, Failure> {
    let Reply::Bytes { base64, .. } = context.call(Command::Chat(ChatCommand::File { row })).await? else {
        return Err(Failure::bug("no answer of its kind"));
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .map_err(|error| Failure::bug(error.to_string()))?;
    fog_runtime::write_file(output, &bytes).map_err(|error| Failure::storage(output, &error))?;
    if context.json {
        print_json(&json!({ "file": output, "bytes": bytes.len() }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn clock(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string());
    at.unwrap_or_default()
}

fn line(words: &Words, message: &ChatMessage) -> String {
    // The id of a group is twice as long as that of a person.
    let place = match message.with.len() {
        0 => "",
        16 => " (private)",
        _ => " (group)",
    };
    let file = message
        .file
        .as_ref()
        .map(|file| format!(" [{}, {} bytes; fog chat file {} -o FILE]", file.mime, file.size, message.row))
        .unwrap_or_default();
    let state = if message.from.is_empty() && message.with.len() == 16 {
        format!("  ({})", message.state.as_str())
    } else {
        String::new()
    };
    let stated = words.stated(message, clock).map(|stated| format!(" [{stated}]")).unwrap_or_default();
    clean(&format!("{}{stated} {}{place}: {}{file}{state}", clock(message.at_ms), message.name, message.text))
}

fn link_word(link: PersonLink) -> &'static str {
    match link {
        PersonLink::Gone => "away",
        PersonLink::Relayed => "through others",
        PersonLink::Network => "network",
        PersonLink::Bluetooth => "bluetooth",
    }
}

async fn people(context: &Context) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let view = view(&client).await?;
    if context.json {
        print_json(&view.people)?;
        return Ok(ExitCode::SUCCESS);
    }
    explain(&view, &context.words_here().await);
    if view.people.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let (words, now) = (context.words_here().await, engine_now(&client).await);
    let mut rows =
        vec![["name", "reached by", "session", "marks", "heard", "id"].map(str::to_owned).to_vec()];
    for person in &view.people {
        let marks = [
            (person.is_verified, "verified"),
            (person.is_favourite, "favourite"),
            (person.is_blocked, "blocked"),
        ];
        let mut marks: Vec<String> =
            marks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word.to_owned()).collect();
        if !person.is_verified && !person.vouched_by.is_empty() {
            marks.push(format!("vouched for by {}", person.vouched_by.join(", ")));
        }
        marks.extend(words.clock_of(person));
        let session = if person.has_session { "encrypted" } else { "-" };
        rows.push(vec![
            person.label.clone(),
            link_word(person.link).to_owned(),
            session.to_owned(),
            marks.join(", "),
            words.ago(person.seen_ms, now),
            person.id.clone(),
        ]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error why nobody may be reachable.
fn explain(view: &ChatView, words: &Words) {
    if !view.is_on {
        say!("Chat is off; `fog settings set chat=on` switches it on.");
    } else if !view.radio.problem.is_empty() {
        say!("Bluetooth: {}.", view.radio.problem);
    } else if view.radio.state == RadioState::Off {
        say!(
            "Bluetooth is not used; `fog settings set chat_bluetooth=on` uses it. People of joined networks are reached anyway."
        );
    } else if view.clock_off_ms.is_none() && view.people.iter().all(|person| person.link == PersonLink::Gone)
    {
        say!("Nobody is near.");
    }
    if view.carried > 0 {
        complain(&words.with("chat-carrying", &[("n", f64::from(view.carried).into())]));
    }
    explain_clock(view, words);
}

fn explain_clock(view: &ChatView, words: &Words) {
    if let Some(text) = words.clocks(view) {
        say!("{text}");
    }
}

async fn card(context: &Context) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let view = view(&client).await?;
    let Reply::Text(text) = client.call(Command::Chat(ChatCommand::Card)).await? else {
        return Err(Failure::bug("no answer of its kind"));
    };
    if context.json {
        print_json(&json!({ "id": view.me, "fingerprint": view.fingerprint, "code": text }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print_text("Let the other person scan this within five minutes:");
    if let Ok(code) = QrCode::new(text.as_bytes()) {
        print_text(&code.render::<unicode::Dense1x2>().quiet_zone(true).build());
    }
    print_text(&format!("{text}\n\nOr compare the fingerprint:\n{}", groups(&view.fingerprint)));
    Ok(ExitCode::SUCCESS)
}

/// Splits hexadecimal digits into groups of four, eight groups on a line, as people read them out.
fn groups(fingerprint: &str) -> String {
    let groups: Vec<&str> =
        (0..fingerprint.len() / 4).filter_map(|n| fingerprint.get(n * 4..n * 4 + 4)).collect();
    groups.chunks(8).map(|row| row.join(" ")).collect::<Vec<_>>().join("\n")
}

async fn scan(context: &Context, card: String) -> Result<ExitCode, Failure> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let client = context.client().await?;
    let mut events = client.subscribe().await;
    let Reply::Text(id) = client.call(Command::Chat(ChatCommand::Scan { card })).await? else {
        return Err(Failure::bug("no answer of its kind"));
    };
    let proved = async {
        while let Some(body) = next(&mut events).await {
            if let EventBody::ChatPerson(person) = body
                && person.id == id
                && person.is_verified
            {
                return Some(person.label);
            }
        }
        None
    };
    match tokio::time::timeout(PATIENCE, proved).await {
        Ok(Some(name)) => {
            if context.json {
                print_json(&json!({ "id": id, "verified": true }))?;
            } else {
                print_text(&format!("{name} is verified: their device proved the keys of the code."));
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            if context.json {
                print_json(&json!({ "id": id, "verified": false }))?;
            }
            say!(
                "No proof came in {} s; nothing was changed. They have to be near, with their app open.",
                PATIENCE.as_secs()
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn compare(context: &Context, who: String, fingerprint: &str) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let told: String = fingerprint.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
    let people = view(&client).await?.people;
    let fits = |person: &&PersonView| is_called(person, &who) || person.id == who;
    let same = people.iter().filter(fits).any(|person| person.fingerprint == told);
    if !same {
        let message = format!(
            "that is not the fingerprint of {who}; nothing was changed. If it was read out right, somebody else uses this name"
        );
        return Err(Failure::new(ErrorKind::BadInput, message));
    }
    let id = people
        .iter()
        .find(|person| person.fingerprint == told)
        .map(|person| person.id.clone())
        .unwrap_or_default();
    client
        .call(Command::Chat(ChatCommand::Person { who: id.clone(), change: PersonChange::Verified(true) }))
        .await?;
    if context.json {
        print_json(&json!({ "id": id, "verified": true }))?;
    } else {
        print_text(&format!("{who} is verified."));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether `name` means this person, with or without digits of the id.
fn is_called(person: &PersonView, name: &str) -> bool {
    let name = name.trim_start_matches('@');
    person.nickname == name || person.label == name
}

/// Asks for confirmation before something is deleted for good.
fn ask(question: &str, refusal: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::input(refusal));
    }
    say_part!("{question} Type yes: ");
    // A terminal that cannot be written to gets no answer either.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_err() || answer.trim() != "yes" {
        return Err(Failure::new(ErrorKind::Conflict, "nothing was deleted"));
    }
    Ok(())
}

async fn wipe(context: &Context, yes: bool) -> Result<ExitCode, Failure> {
    if !yes {
        ask(
            "Delete keys, messages and everything known of people, for ever?",
            "this deletes keys, messages and people for ever; say --yes",
        )?;
    }
    context.call(Command::Chat(ChatCommand::Wipe)).await?;
    if context.json {
        print_json(&json!({ "wiped": true }))?;
    } else {
        print_text("Everything is deleted. This device is somebody new.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns one event of the tail; `None` for an event that does not concern chat.
fn tail_line(
    body: &EventBody,
    seen: &mut std::collections::BTreeMap<i64, MessageState>,
) -> Option<serde_json::Value> {
    match body {
        EventBody::ChatMessage(message) => {
            let is_new = seen.insert(message.row, message.state).is_none();
            if seen.len() > 10_000 {
                seen.pop_first();
            }
            let kind = if is_new { "message" } else { "delivery" };
            Some(if is_new {
                json!({ "type": kind, "message": message })
            } else {
                json!({ "type": kind, "row": message.row, "with": message.with, "state": message.state })
            })
        }
        EventBody::ChatPerson(person) => Some(json!({ "type": "person", "person": person })),
        EventBody::Chat(view) => {
            let (radio, off, peers) = (&view.radio, view.clock_off_ms, view.clock_peers);
            Some(
                json!({ "type": "chat", "is_on": view.is_on, "carried": view.carried, "radio": radio, "clock_off_ms": off, "clock_peers": peers }),
            )
        }
        _ => None,
    }
}

async fn tail(context: &Context) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let mut events = client.subscribe().await;
    let begin = view(&client).await?;
    let (mut seen, words) = (std::collections::BTreeMap::new(), context.words_here().await);
    if context.json {
        for person in begin.people.iter().filter(|person| person.link != PersonLink::Gone) {
            print_text(&json!({ "type": "person", "person": person }).to_string());
        }
    } else {
        explain(&begin, &words);
    }
    while let Some(body) = next(&mut events).await {
        if matches!(body, EventBody::Missed) {
            say!("some events were missed; `fog chat log` has the messages");
        }
        let Some(line) = tail_line(&body, &mut seen) else { continue };
        if context.json {
            print_text(&line.to_string());
        } else {
            show(&words, &body, line["type"] == "message");
        }
    }
    Err(Failure::new(ErrorKind::NotRunning, "the engine has stopped"))
}

fn show(words: &Words, body: &EventBody, is_new: bool) {
    match body {
        EventBody::ChatMessage(message) if is_new => print_text(&line(words, message)),
        EventBody::ChatMessage(message) if message.state == MessageState::Failed => {
            print_text(&format!("  {}: given up", line(words, message)))
        }
        EventBody::ChatPerson(person) => {
            print_text(&clean(&format!("* {} is {}", person.label, link_word(person.link))))
        }
        EventBody::Chat(view) => explain(view, words),
        _ => {}
    }
}

/// Sends typed lines and shows received messages.
async fn talk(context: &Context, to: &str) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let mut events = client.subscribe().await;
    let begin = view(&client).await?;
    let shown = context.words_here().await;
    explain(&begin, &shown);
    // Resolved once: a person who takes the name later must not get lines typed for this one.
    let named: Vec<&PersonView> =
        begin.people.iter().filter(|person| !to.is_empty() && is_called(person, to)).collect();
    let group = begin
        .groups
        .iter()
        .find(|group| !group.members.is_empty() && group.name == to.trim_start_matches('#'));
    let id = match (&named[..], group) {
        ([one], _) => one.id.clone(),
        ([], Some(group)) => group.id.clone(),
        _ => to.to_owned(),
    };
    let whom = if to.is_empty() { "everybody near".to_owned() } else { to.to_owned() };
    say!("You are {} and talk to {whom}. /help lists commands; Ctrl+D ends.", begin.nickname);
    if let Reply::ChatMessages(list) = client
        .call(Command::Chat(ChatCommand::Thread {
            with: id.clone(),
            before: None,
            limit: 10,
            search: String::new(),
        }))
        .await?
    {
        for message in list.iter().rev() {
            print_text(&if context.json {
                json!({ "type": "message", "message": message }).to_string()
            } else {
                line(&shown, message)
            });
        }
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut seen = std::collections::BTreeMap::new();
    loop {
        tokio::select! {
            typed = lines.next_line() => {
                let Ok(Some(text)) = typed else { return Ok(ExitCode::SUCCESS) };
                if text.trim().is_empty() {
                    continue;
                }
                match client.call(Command::Chat(ChatCommand::Say { to: id.clone(), text })).await {
                    Ok(Reply::ChatSaid { note, .. }) if !note.is_empty() => {
                        print_text(&if context.json { json!({ "type": "note", "note": note }).to_string() } else { clean_lines(&note) });
                    }
                    Ok(_) => {}
                    Err(error) => say!("{}", shown.error(&error)),
                }
            }
            body = next(&mut events) => {
                let Some(body) = body else { return Err(Failure::new(ErrorKind::NotRunning, "the engine has stopped")) };
                let line = tail_line(&body, &mut seen);
                let is_new = line.as_ref().is_some_and(|line| line["type"] == "message");
                if matches!(&body, EventBody::ChatMessage(message) if message.with == id && message.state == MessageState::Received) {
                    // A receipt that is not sent is no loss.
                    let _ = client.call(Command::Chat(ChatCommand::Seen { with: id.clone() })).await;
                }
                if context.json {
                    line.iter().for_each(|line| print_text(&line.to_string()));
                    // Lines typed here are already on the screen.
                } else if !matches!(&body, EventBody::ChatMessage(message) if message.from.is_empty()) {
                    show(&shown, &body, is_new);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_cannot_move_the_cursor() {
        let file = Some(fog_api::ChatFileView {
            mime: "image/png\u{9b}2J\n".to_owned(),
            ..fog_api::ChatFileView::default()
        });
        let (name, text) =
            ("a\u{1b}[2J\u{202e}".to_owned(), "x\r\n12:00 root: y\u{1b}[31m\u{2028}z".to_owned());
        let message = ChatMessage { name, text, file, ..ChatMessage::default() };
        let shown = line(&Words::new("en"), &message);
        assert!(!shown.chars().any(|c| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}')), "{shown:?}");
    }

    #[test]
    fn the_tail_tells_a_message_once_and_then_what_becomes_of_it() {
        let mut seen = std::collections::BTreeMap::new();
        let message =
            |state| EventBody::ChatMessage(Box::new(ChatMessage { row: 7, state, ..ChatMessage::default() }));
        let kinds: Vec<_> = [MessageState::Queued, MessageState::Sent]
            .map(|state| tail_line(&message(state), &mut seen).unwrap()["type"].clone())
            .into();
        assert_eq!(kinds, ["message", "delivery"]);
        assert_eq!(tail_line(&EventBody::Missed, &mut seen), None);
    }

    #[test]
    fn fingerprints_are_read_in_groups() {
        assert_eq!(
            groups("00112233445566778899aabbccddeeff00112233"),
            "0011 2233 4455 6677 8899 aabb ccdd eeff\n0011 2233"
        );
    }
}
