//! Moves the identity of this device to another one: saved to a file, or taken over from one.

use fog_api::{ChatCommand, Command, Reply, Secret};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::components::ask::Ask;
use crate::state::{say, say_error, t, words};

/// Shortest length of a passphrase in characters.
const FEWEST: usize = 10;

/// A passphrase field, and buttons to save and to take over.
#[component]
pub fn Moving() -> impl IntoView {
    let passphrase = RwSignal::new(String::new());
    let is_busy = RwSignal::new(false);
    let is_short = Memo::new(move |_| passphrase.with(|text| text.chars().count() < FEWEST));
    let is_off = move || is_short.get() || is_busy.get();
    // The typed passphrase is cleared after use.
    let ask = move |command: Command, done: fn(Reply) -> Option<String>| {
        is_busy.try_set(true);
        spawn_local(async move {
            match bridge::call(command).await {
                Ok(reply) => {
                    if let Some(text) = done(reply) {
                        say(false, text);
                    }
                    passphrase.try_set(String::new());
                }
                Err(error) => say_error(&error),
            }
            is_busy.try_set(false);
        });
    };
    let save = move |_| {
        let secret = Secret(passphrase.get_untracked());
        spawn_local(async move {
            match bridge::pick_folder().await {
                Ok(Some(folder)) => ask(
                    Command::Chat(ChatCommand::MoveOut {
                        path: format!("{folder}/fog-identity.json"),
                        passphrase: secret,
                    }),
                    |reply| match reply {
                        Reply::Exported { files, .. } => {
                            Some(words().with("chat-move-saved", &[("path", files.join(", ").into())]))
                        }
                        _ => None,
                    },
                ),
                Ok(None) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let take = move |()| {
        let secret = Secret(passphrase.get_untracked());
        spawn_local(async move {
            match bridge::pick_file("identity").await {
                Ok(Some(path)) => {
                    ask(Command::Chat(ChatCommand::MoveIn { path, passphrase: secret }), |_| {
                        Some(words().t("chat-move-taken"))
                    })
                }
                Ok(None) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let short = move || words().with("chat-move-short", &[("n", (FEWEST as f64).into())]);
    view! {
        <section class="stack" aria-label=move || t("chat-move")>
            <h2>{move || t("chat-move")}</h2>
            <p class="meta">{move || t("chat-move-why")}</p>
            <label class="stack tight"><span>{move || t("chat-move-passphrase")}</span>
                <input type="password" id="move-passphrase" autocomplete="new-password" prop:value=move || passphrase.get() on:input=move |event| passphrase.set(event_target_value(&event)) />
            </label>
            <p class="meta">{short}</p>
            <div class="row">
                <button id="move-save" disabled=is_off on:click=save>{move || t("chat-move-save")}</button>
                <Show when=move || !is_off() fallback=move || view! { <button disabled=true>{move || t("chat-move-take")}</button> }>
                    <Ask label="chat-move-take" sure="chat-move-take-sure" yes="chat-move-take" no="cancel" on_yes=take />
                </Show>
            </div>
        </section>
    }
}
