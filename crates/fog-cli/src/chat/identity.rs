//! `fog chat identity`: moves the identity of this device to another one.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use fog_api::{ChatCommand, Command, Reply, Secret};
use serde_json::json;

use super::ask;
use crate::args::chat::IdentityVerb;
use crate::connect::{Context, absolute};
use crate::output::{Failure, print_json, print_text};

pub(super) async fn identity(context: &Context, verb: IdentityVerb) -> Result<ExitCode, Failure> {
    match verb {
        IdentityVerb::Save { file } => {
            let (path, passphrase) = (absolute(&file)?.display().to_string(), passphrase(true)?);
            context.call(Command::Chat(ChatCommand::MoveOut { path: path.clone(), passphrase })).await?;
            if context.json {
                print_json(&json!({ "file": path }))?;
            } else {
                print_text(&format!(
                    "Saved to {path}. `fog chat identity take` on the other device takes it over; then `fog chat wipe` here."
                ));
            }
        }
        IdentityVerb::Take { file, yes } => {
            if !yes {
                ask(
                    "Delete who this device is in the mesh, for ever? Its messages stay.",
                    "this deletes who this device is in the mesh; say --yes",
                )?;
            }
            let (path, passphrase) = (absolute(&file)?.display().to_string(), passphrase(false)?);
            let Reply::Text(id) =
                context.call(Command::Chat(ChatCommand::MoveIn { path, passphrase })).await?
            else {
                return Err(Failure::bug("no answer of its kind"));
            };
            if context.json {
                print_json(&json!({ "id": id }))?;
            } else {
                print_text(&format!(
                    "This device is {id} now. Wipe chat on the other one: two devices of one identity confuse others."
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the passphrase from the keyboard without echo, twice when it is new; or from the first line of
/// standard input.
fn passphrase(is_new: bool) -> Result<Secret, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::input(format!("the passphrase cannot be read: {error}"));
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(unreadable)?;
        return Ok(Secret(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let typed = rpassword::prompt_password("Passphrase: ").map_err(unreadable)?;
    if is_new && rpassword::prompt_password("Once more: ").map_err(unreadable)? != typed {
        return Err(Failure::input("the two are not the same; nothing was written"));
    }
    Ok(Secret(typed))
}
