//! `fog chat send`, `log` and `file`: messages and their files.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use fog_api::{ChatCommand, ChatMessage, Command, EventBody, MessageState, Reply};
use fog_types::ByteCount;
use fog_types::text::{clean, clean_lines};
use fog_words::Words;
use serde_json::json;

use super::{explain_clock, next, view};
use crate::connect::{Context, absolute, unexpected};
use crate::output::{Failure, print_json, print_text, say};

/// Greatest size of a file that is handed to the engine; the engine itself enforces the limit of chat.
const MAX_GIVEN: ByteCount = ByteCount::mib(1);

pub(super) async fn send(
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

pub(super) async fn log(
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

pub(super) async fn file(context: &Context, row: i64, output: &Path) -> Result<ExitCode, Failure> {
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

pub(super) fn line(words: &Words, message: &ChatMessage) -> String {
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
}
