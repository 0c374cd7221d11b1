//! Tests of chat with several engines over a network in memory: real nodes of the mesh, no radio.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_api::{ChatCommand, ChatMessage, GroupChange, MessageState, PersonChange, PersonLink};
use fog_types::ErrorKind;

use crate::scenario::Town;
use crate::test_engine::prelude::*;

const NAMES: [&str; 3] = ["anna", "bert", "cleo"];

/// People in one local network who know each other.
async fn neighbours(count: usize) -> Town {
    let mut town = Town::of(count);
    for (who, name) in NAMES.iter().enumerate().take(count) {
        town.set(who, "chat_nickname", *name);
        town.join(who, "lan").unwrap();
    }
    town.until("they see each other", |town| (0..count).all(|who| present(town, who).len() == count - 1))
        .await;
    town
}

/// Nicknames of the people whom a device can reach.
fn present(town: &Town, who: usize) -> Vec<String> {
    let engine = &town.devices[who].engine;
    let view = engine.chat.chat_view(&engine.ctx);
    view.people
        .into_iter()
        .filter(|person| person.link != PersonLink::Gone)
        .map(|person| person.nickname)
        .collect()
}

fn chat(town: &mut Town, who: usize, command: ChatCommand) -> Result<Reply, ApiError> {
    town.ask(who, Command::Chat(command))
}

fn say(town: &mut Town, who: usize, to: &str, text: &str) -> Vec<ChatMessage> {
    match chat(town, who, ChatCommand::Say { to: to.to_owned(), text: text.to_owned() }) {
        Ok(Reply::ChatSaid { messages, .. }) => messages,
        other => panic!("{other:?}"),
    }
}

fn thread(town: &mut Town, who: usize, with: &str) -> Vec<ChatMessage> {
    match chat(
        town,
        who,
        ChatCommand::Thread { with: with.to_owned(), before: None, limit: 50, search: String::new() },
    ) {
        Ok(Reply::ChatMessages(messages)) => messages,
        other => panic!("{other:?}"),
    }
}

fn unread(town: &Town, who: usize) -> u64 {
    let engine = &town.devices[who].engine;
    engine.chat.chat_view(&engine.ctx).threads.iter().map(|thread| u64::from(thread.unread)).sum()
}

#[tokio::test]
async fn a_text_for_everybody_reaches_everybody_once() {
    let mut town = neighbours(3).await;
    say(&mut town, 0, "", "hello all");
    town.until("it arrives", |town| (1..3).all(|who| thread(town, who, "").len() == 1)).await;
    for who in 1..3 {
        let heard = thread(&mut town, who, "");
        assert_eq!(
            (heard[0].text.as_str(), heard[0].name.as_str(), heard[0].state),
            ("hello all", "anna", MessageState::Received)
        );
        assert_eq!(unread(&town, who), 1);
        chat(&mut town, who, ChatCommand::Seen { with: String::new() }).unwrap();
        assert_eq!(unread(&town, who), 0);
    }
    assert_eq!(thread(&mut town, 0, "")[0].state, MessageState::Sent);
}

#[tokio::test]
async fn a_private_text_is_delivered_and_read_and_seen_by_nobody_else() {
    let mut town = neighbours(3).await;
    let sent = say(&mut town, 0, "bert", "for you alone");
    assert_eq!((sent.len(), sent[0].state), (1, MessageState::Queued));
    town.until("it is delivered", |town| thread(town, 0, "bert")[0].state == MessageState::Delivered).await;
    assert_eq!(thread(&mut town, 1, "anna")[0].text, "for you alone");
    chat(&mut town, 1, ChatCommand::Seen { with: "anna".to_owned() }).unwrap();
    town.until("it is read", |town| thread(town, 0, "bert")[0].state == MessageState::Read).await;
    assert!(thread(&mut town, 2, "").is_empty() && unread(&town, 2) == 0);
    let nobody =
        chat(&mut town, 0, ChatCommand::Say { to: "dora".to_owned(), text: "hello".to_owned() }).unwrap_err();
    assert_eq!(nobody.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_blocked_person_reaches_nobody_who_blocked_them() {
    let mut town = neighbours(2).await;
    chat(&mut town, 1, ChatCommand::Person { who: "anna".to_owned(), change: PersonChange::Blocked(true) })
        .unwrap();
    say(&mut town, 0, "bert", "are you there?");
    say(&mut town, 0, "", "anybody?");
    town.pass(std::time::Duration::from_millis(300)).await;
    assert!(
        thread(&mut town, 1, "").is_empty() && thread(&mut town, 1, "anna").is_empty(),
        "it is heard all the same"
    );
    chat(&mut town, 1, ChatCommand::Person { who: "anna".to_owned(), change: PersonChange::Blocked(false) })
        .unwrap();
    say(&mut town, 0, "", "and now?");
    town.until("it arrives", |town| thread(town, 1, "").iter().any(|message| message.text == "and now?"))
        .await;
}

#[tokio::test]
async fn what_is_said_in_a_group_stays_in_it() {
    let mut town = neighbours(3).await;
    let create = GroupChange::Create { name: "plans".to_owned(), members: vec!["bert".to_owned()] };
    let made = town.ask_and_wait(0, Command::Chat(ChatCommand::Group(create))).await.unwrap();
    let Reply::Text(group) = made else { panic!("{made:?}") };
    town.until("bert is in it", |town| {
        let engine = &town.devices[1].engine;
        engine.chat.chat_view(&engine.ctx).groups.iter().any(|group| group.name == "plans")
    })
    .await;
    say(&mut town, 0, "#plans", "at eight");
    town.until("bert reads it", |town| {
        thread(town, 1, "#plans").iter().any(|message| message.text == "at eight")
    })
    .await;
    let outside = chat(&mut town, 2, ChatCommand::Say { to: group, text: "me too".to_owned() });
    assert!(outside.is_err(), "{outside:?}");
}

/// Groups and notes live in the chat thread, which has them before they are stored.
#[tokio::test]
async fn a_group_and_a_note_are_there_after_a_kill_once_they_were_answered() {
    let mut town = neighbours(1).await;
    let create = |name: &str| {
        Command::Chat(ChatCommand::Group(GroupChange::Create { name: name.to_owned(), members: Vec::new() }))
    };
    let post =
        |text: &str| Command::Chat(ChatCommand::Post { text: text.to_owned(), is_urgent: false, hours: 4 });
    town.ask_and_wait(0, create("plans")).await.unwrap();
    let Ok(Reply::Text(first)) = town.ask_and_wait(0, post("soup at noon")).await else { panic!("no id") };
    town.ask_and_wait(0, Command::Chat(ChatCommand::TakeDown { id: first })).await.unwrap();
    town.ask_and_wait(0, post("soup at one")).await.unwrap();
    let there = |town: &Town| {
        let engine = &town.devices[0].engine;
        let view = engine.chat.chat_view(&engine.ctx);
        (
            view.groups.into_iter().map(|group| group.name).collect::<Vec<_>>(),
            view.board.into_iter().map(|note| note.text).collect::<Vec<_>>(),
        )
    };
    let expected = (vec!["plans".to_owned()], vec!["soup at one".to_owned()]);
    assert_eq!(there(&town), expected);
    town.restart(0);
    assert_eq!(there(&town), expected);
    // What cannot be stored is said to be so, and is stored later.
    town.devices[0].engine.ctx.store.fail_commits(true);
    let refused = town.ask_and_wait(0, create("hikers")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Storage, "{refused}");
    assert_eq!(town.ask_and_wait(0, post("tea at five")).await.unwrap_err().kind, ErrorKind::Storage);
    town.devices[0].engine.ctx.store.fail_commits(false);
    town.pass(std::time::Duration::from_millis(1500)).await;
    town.restart(0);
    let (groups, notes) = there(&town);
    assert!(
        groups.contains(&"hikers".to_owned()) && notes.contains(&"tea at five".to_owned()),
        "{groups:?} {notes:?}"
    );
}

/// Keys of one identity beside groups and a nickname of another would be neither.
#[tokio::test]
async fn an_identity_that_cannot_be_stored_is_not_taken_over() {
    let mut town = neighbours(2).await;
    let path = town.devices[0].engine.ctx.store.folder().join("anna.id").display().to_string();
    let secret = || fog_api::Secret("a long passphrase".to_owned());
    let out = ChatCommand::MoveOut { path: path.clone(), passphrase: secret() };
    town.ask_and_wait(0, Command::Chat(out)).await.unwrap();
    let create = GroupChange::Create { name: "plans".to_owned(), members: Vec::new() };
    town.ask_and_wait(1, Command::Chat(ChatCommand::Group(create))).await.unwrap();
    let seen = |town: &Town| {
        let engine = &town.devices[1].engine;
        let view = engine.chat.chat_view(&engine.ctx);
        (
            view.me,
            view.groups.len(),
            engine.ctx.settings.text(fog_api::settings::keys::CHAT_NICKNAME).to_owned(),
        )
    };
    let before = seen(&town);
    town.devices[1].engine.ctx.store.fail_commits(true);
    let take = ChatCommand::MoveIn { path, passphrase: secret() };
    let refused = town.ask_and_wait(1, Command::Chat(take.clone())).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Storage);
    assert_eq!(seen(&town), before, "the new identity is in use");
    town.devices[1].engine.ctx.store.fail_commits(false);
    town.pass(std::time::Duration::from_millis(300)).await;
    town.restart(1);
    assert_eq!(seen(&town), before);
    // With room it is taken over.
    town.ask_and_wait(1, Command::Chat(take)).await.unwrap();
    let after = seen(&town);
    assert!(after.0 != before.0 && after.2 == "anna", "{after:?}");
}

#[tokio::test]
async fn messages_outlive_a_restart_and_a_wipe_leaves_none() {
    let mut town = neighbours(2).await;
    say(&mut town, 0, "bert", "keep this");
    town.until("it is delivered", |town| thread(town, 0, "bert")[0].state == MessageState::Delivered).await;
    town.restart(0);
    assert_eq!(thread(&mut town, 0, "bert")[0].text, "keep this");
    let before = town.devices[0].engine.chat.chat_view(&town.devices[0].engine.ctx).me;
    chat(&mut town, 0, ChatCommand::Wipe).unwrap();
    let engine = &town.devices[0].engine;
    let view = engine.chat.chat_view(&engine.ctx);
    assert!(view.threads.is_empty() && view.people.is_empty() && view.me != before, "{view:?}");
    assert!(
        chat(
            &mut town,
            0,
            ChatCommand::Thread { with: "bert".to_owned(), before: None, limit: 5, search: String::new() }
        )
        .is_err(),
        "bert is known"
    );
}

#[tokio::test]
async fn what_chat_is_asked_for_wrongly_is_refused_and_nothing_is_sent() {
    let mut town = neighbours(2).await;
    let refused = |town: &mut Town, command| chat(town, 0, command).unwrap_err().kind;
    let text = |text: &str| ChatCommand::Say { to: String::new(), text: text.to_owned() };
    assert_eq!(refused(&mut town, text("  ")), ErrorKind::BadInput);
    assert_eq!(refused(&mut town, text(&"x".repeat(20_000))), ErrorKind::BadInput);
    assert_eq!(refused(&mut town, text("/nonsense")), ErrorKind::BadInput);
    let give = |base64: &str| ChatCommand::Give {
        to: "bert".to_owned(),
        name: "a.txt".to_owned(),
        base64: base64.to_owned(),
    };
    assert_eq!(refused(&mut town, give("not base64!")), ErrorKind::BadInput);
    assert_eq!(refused(&mut town, give("")), ErrorKind::BadInput);
    assert_eq!(refused(&mut town, give(&"A".repeat(200_000))), ErrorKind::BadInput);
    assert_eq!(refused(&mut town, ChatCommand::File { row: 99 }), ErrorKind::NotFound);
    assert_eq!(refused(&mut town, ChatCommand::Again { row: 99 }), ErrorKind::NotFound);
    assert_eq!(
        refused(&mut town, ChatCommand::Post { text: String::new(), is_urgent: false, hours: 4 }),
        ErrorKind::BadInput
    );
    assert!(thread(&mut town, 0, "").is_empty() && thread(&mut town, 0, "bert").is_empty());
    town.set(0, "chat", false);
    assert_eq!(refused(&mut town, text("hello")), ErrorKind::Conflict);
}
