//! `fog chat verify`: proof that a person is who they say, by a code or a fingerprint.

use std::process::ExitCode;
use std::time::Duration;

use fog_api::{ChatCommand, Command, EventBody, PersonChange, PersonView, Reply};
use fog_types::ErrorKind;
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::json;

use super::people::is_called;
use super::{next, view};
use crate::connect::Context;
use crate::output::{Failure, print_json, print_text, say};

pub(super) async fn card(context: &Context) -> Result<ExitCode, Failure> {
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

pub(super) async fn scan(context: &Context, card: String) -> Result<ExitCode, Failure> {
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

pub(super) async fn compare(context: &Context, who: String, fingerprint: &str) -> Result<ExitCode, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_groups() {
        assert_eq!(
            groups("00112233445566778899aabbccddeeff00112233"),
            "0011 2233 4455 6677 8899 aabb ccdd eeff\n0011 2233"
        );
    }
}
