//! `fog chat`: chat with people near.

mod board;
mod groups;
mod identity;
mod messages;
mod people;
mod tail;
mod verification;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use fog_api::{ChatCommand, ChatView, Command, EventBody, PersonChange, PersonLink, RadioState, Reply};
use fog_ipc::{Client, Events};
use fog_types::ErrorKind;
use fog_words::Words;
use serde_json::json;

use messages::{file, log, send};
use people::{change, people};
use tail::{tail, talk};
use verification::{card, compare, scan};

use crate::args::chat::{BoardVerb, ChatArgs, ChatVerb, GroupVerb};
use crate::connect::{Context, unexpected};
use crate::output::{Failure, complain, print_json, print_text, say, say_part};

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
