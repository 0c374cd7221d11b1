//! `fog chat people`, `block` and `favourite`: people, and the marks that they have here.

use std::process::ExitCode;

use fog_api::{ChatCommand, Command, PersonChange, PersonLink, PersonView};
use serde_json::json;

use super::{explain, view};
use crate::connect::{Context, engine_now};
use crate::output::{Failure, print_json, print_table};

pub(super) async fn change(
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

pub(super) fn link_word(link: PersonLink) -> &'static str {
    match link {
        PersonLink::Gone => "away",
        PersonLink::Relayed => "through others",
        PersonLink::Network => "network",
        PersonLink::Bluetooth => "bluetooth",
    }
}

pub(super) async fn people(context: &Context) -> Result<ExitCode, Failure> {
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

/// Whether `name` means this person, with or without digits of the id.
pub(super) fn is_called(person: &PersonView, name: &str) -> bool {
    let name = name.trim_start_matches('@');
    person.nickname == name || person.label == name
}
