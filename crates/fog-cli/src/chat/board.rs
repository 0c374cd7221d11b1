//! `fog chat board`: notes that stay for days.

use std::process::ExitCode;

use fog_api::{ChatCommand, Command, NoteView, Reply};
use fog_types::text::clean;
use serde_json::json;

use super::view;
use crate::args::chat::BoardVerb;
use crate::connect::{Context, now_ms};
use crate::output::{Failure, print_json, print_text, say};

pub(super) async fn board(context: &Context, verb: BoardVerb) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    match verb {
        BoardVerb::List => {
            let notes = view(&client).await?.board;
            if context.json {
                print_json(&notes)?;
            } else if notes.is_empty() {
                say!("Nothing is on the board; `fog chat board post TEXT` puts a note there.");
            } else {
                notes.iter().for_each(|note| print_text(&shown(context, note)));
            }
        }
        BoardVerb::Post { urgent, hours, text } => {
            let posted = client
                .call(Command::Chat(ChatCommand::Post { text: text.join(" "), is_urgent: urgent, hours }))
                .await?;
            let Reply::Text(id) = posted else { return Err(Failure::bug("no answer of its kind")) };
            if context.json {
                print_json(&json!({ "id": id }))?;
            } else {
                print_text(&format!("The note is on the board for {hours} h.\nIts id: {id}"));
            }
        }
        BoardVerb::Remove { id } => {
            client.call(Command::Chat(ChatCommand::TakeDown { id: id.clone() })).await?;
            if context.json {
                print_json(&json!({ "removed": id }))?;
            } else {
                print_text("The note is taken down; others take it down when they hear of it.");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Formats a note: author and time on one line, the text below.
fn shown(context: &Context, note: &NoteView) -> String {
    let words = context.words(None);
    let name = if note.is_mine { "you".to_owned() } else { clean(&note.name) };
    let stranger = if note.author.is_empty() && !note.is_mine { " (not met yet)" } else { "" };
    let until = jiff::Timestamp::from_millisecond(note.until_ms)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %H:%M").to_string());
    let urgent = if note.is_urgent { "urgent, " } else { "" };
    let id = note.id.get(..8).unwrap_or_default();
    let text: Vec<String> = note.text.lines().map(|line| format!("    {}", clean(line))).collect();
    format!(
        "{id}  {name}{stranger}, {}, {urgent}until {}\n{}",
        words.ago(note.at_ms, now_ms()),
        until.unwrap_or_default(),
        text.join("\n")
    )
}
