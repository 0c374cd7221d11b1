//! `fog chat group`: private groups.

use std::process::ExitCode;

use fog_api::{ChatCommand, Command, GroupChange, GroupView, Reply};
use serde_json::json;

use super::view;
use crate::args::chat::GroupVerb;
use crate::connect::Context;
use crate::output::{Failure, print_json, print_table, print_text, say};

pub(super) async fn group(context: &Context, verb: GroupVerb) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let (change, said) = match verb {
        GroupVerb::List => {
            let mut groups = view(&client).await?.groups;
            groups.retain(|group| !group.members.is_empty());
            return groups_of(context, &groups);
        }
        GroupVerb::Create { name, who } => {
            // The hint can be pasted into a shell, whatever the name contains.
            let quoted = name.replace('\'', "'\\''");
            let said = format!("The group '{name}' is made. `fog chat send --to '{quoted}' TEXT` talks in it.");
            (GroupChange::Create { name, members: who }, said)
        }
        GroupVerb::Add { group, who } => {
            let said = format!("{who} is taken in, and told when they are here.");
            (GroupChange::Add { group, who }, said)
        }
        GroupVerb::Remove { group, who } => {
            let said = format!("{who} is taken out and reads nothing from now on.");
            (GroupChange::Remove { group, who }, said)
        }
        GroupVerb::Leave { group } => (
            GroupChange::Leave { group },
            "This device is not in the group any more. What was said in it stays; `fog chat log --to` and its id show it.".to_owned(),
        ),
    };
    let Reply::Text(id) = client.call(Command::Chat(ChatCommand::Group(change))).await? else {
        return Err(Failure::bug("no answer of its kind"));
    };
    if context.json {
        print_json(&json!({ "id": id }))?;
    } else {
        print_text(&format!("{said}\nIts id: {id}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn groups_of(context: &Context, groups: &[GroupView]) -> Result<ExitCode, Failure> {
    if context.json {
        print_json(&groups)?;
    } else if groups.is_empty() {
        say!("This device is in no group; `fog chat group create NAME WHO` makes one.");
    } else {
        let mut rows = vec![["name", "made by", "members", "id"].map(str::to_owned).to_vec()];
        for group in groups {
            let called = |member: &fog_api::MemberView| {
                if member.is_me { "you".to_owned() } else { member.nickname.clone() }
            };
            let creator =
                group.members.iter().find(|member| member.is_creator).map(called).unwrap_or_default();
            let members: Vec<String> = group.members.iter().map(called).collect();
            rows.push(vec![group.name.clone(), creator, members.join(", "), group.id.clone()]);
        }
        print_table(&rows);
    }
    Ok(ExitCode::SUCCESS)
}
