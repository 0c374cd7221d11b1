//! `fog chat` and `fog chat tail`: messages and people as they come.

use std::process::ExitCode;

use fog_api::{ChatCommand, Command, EventBody, MessageState, PersonLink, PersonView, Reply};
use fog_types::ErrorKind;
use fog_types::text::{clean, clean_lines};
use fog_words::Words;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::messages::line;
use super::people::{is_called, link_word};
use super::{explain, next, view};
use crate::connect::Context;
use crate::output::{Failure, print_text, say};

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

pub(super) async fn tail(context: &Context) -> Result<ExitCode, Failure> {
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
pub(super) async fn talk(context: &Context, to: &str) -> Result<ExitCode, Failure> {
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
    use fog_api::ChatMessage;

    use super::*;

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
}
