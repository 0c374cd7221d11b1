use fog_api::{ChatCommand, ChatView, Command, PersonChange, PersonLink, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::components::ask::Ask;
use crate::pages::chat::format::{groups, name_of, short_id};
use crate::pages::chat::marks::{Link, Marks};
use crate::pages::chat::threads::exact;
use crate::pages::chat::verify::Verify;
use crate::state::chat::open_thread;
use crate::state::{act, say, say_error, t, ui, words};

/// Details of a person: identity, verification and actions.
#[component]
pub fn Person(id: String, view: Memo<ChatView>) -> impl IntoView {
    let name = view.with_untracked(|view| name_of(&id, &view.people));
    let id = StoredValue::new(id);
    let person = Memo::new(move |_| {
        id.with_value(|id| view.with(|view| view.people.iter().find(|person| person.id == *id).cloned()))
    });
    let is = move |wanted: fn(&fog_api::PersonView) -> bool| {
        person.with(|person| person.as_ref().is_some_and(wanted))
    };
    let change =
        move |change: PersonChange| act(Command::Chat(ChatCommand::Person { who: id.get_value(), change }));
    let link = move || person.with(|person| person.as_ref().map(|person| person.link).unwrap_or_default());
    let seen = move || {
        let at = person.with(|person| {
            person
                .as_ref()
                .filter(|person| person.link == PersonLink::Gone && person.seen_ms > 0)
                .map(|person| person.seen_ms)
        });
        at.map(|at| {
            let words = words();
            let ago = words.ago(at, ui().now.get());
            view! { <p class="meta" title=exact(at, words.language())>{words.with("chat-last-heard", &[("ago", ago.into())])}</p> }
        })
    };
    let clock = move || {
        let text = person.with(|person| person.as_ref().and_then(|person| words().clock_of(person)));
        text.map(|text| view! { <p class="meta" id="person-clock">{text}</p> })
    };
    let vouched = move || {
        let by = person
            .with(|person| person.as_ref().map(|person| person.vouched_by.join(", ")).unwrap_or_default());
        (!by.is_empty()).then(|| view! { <p id="person-vouched">{words().with("chat-vouched-by", &[("names", by.into())])}</p> })
    };
    let fingerprint = Memo::new(move |_| {
        person.with(|person| person.as_ref().map(|person| person.fingerprint.clone()).unwrap_or_default())
    });
    view! {
        <div class="row spread">
            <p class="row tight">{move || view! { <Link link=link() /> }} {move || person.get().map(|person| view! { <Marks person /> })}</p>
            <span class="meta mono" title=id.get_value()>{id.with_value(|id| short_id(id).to_owned())}</span>
        </div>
        {seen}
        {clock}
        <Show when=move || !ui().talk.with.with(|open| id.with_value(|id| open.as_ref() == Some(id)))>
            <button id="person-write" class="primary" on:click=move |_| id.with_value(|id| open_thread(id))>{move || t("chat-write")}</button>
        </Show>
        <div class="row">
            <button id="person-favourite" aria-pressed=move || is(|p| p.is_favourite).to_string() on:click=move |_| change(PersonChange::Favourite(!is(|p| p.is_favourite)))>{move || t("chat-favourite")}</button>
            <Show when=move || is(|p| p.is_blocked) fallback=move || view! {
                <Ask label="chat-block" sure="chat-block-sure" yes="chat-block" no="cancel" on_yes=move |()| change(PersonChange::Blocked(true)) />
            }>
                <button id="person-unblock" on:click=move |_| change(PersonChange::Blocked(false))>{move || t("chat-unblock")}</button>
            </Show>
        </div>
        <section class="stack" aria-label=move || t("chat-fingerprint")>
            <h2>{move || t("chat-fingerprint")}</h2>
            <p id="person-trust" class:good=move || is(|p| p.is_verified) class:meta=move || !is(|p| p.is_verified)>
                {move || t(if is(|p| p.is_verified) { "chat-is-verified" } else { "chat-not-verified" })}
            </p>
            {vouched}
            <Fingerprint digits=fingerprint id="person-fingerprint" />
            <details>
                <summary>{move || t("chat-own-fingerprint")}</summary>
                <Fingerprint digits=Memo::new(move |_| view.with(|view| view.fingerprint.clone())) id="own-fingerprint" />
            </details>
            <Show when=move || is(|p| p.is_verified) fallback=move || view! {
                <Ask label="chat-compared" sure="chat-compared-sure" yes="chat-compared" no="cancel" is_gentle=true on_yes=move |()| change(PersonChange::Verified(true)) />
            }>
                <button on:click=move |_| change(PersonChange::Verified(false))>{move || t("chat-forget-compared")}</button>
            </Show>
            <Verify view />
        </section>
        <div class="row">
            <Keep with=id.get_value() name />
            <Ask label="chat-clear" sure="chat-clear-sure" yes="chat-clear-yes" on_yes=move |()| act(Command::Chat(ChatCommand::Clear { with: id.get_value() })) />
        </div>
    }
}

/// A fingerprint in groups of four digits and two columns, to be read out.
#[component]
fn Fingerprint(digits: Memo<String>, id: &'static str) -> impl IntoView {
    let shown =
        move || groups(&digits.get()).into_iter().map(|group| view! { <li>{group}</li> }).collect_view();
    view! { <ol class="fingerprint mono" id=id aria-label=move || t("chat-fingerprint")>{shown}</ol> }
}

/// Exports a thread to a file in a chosen folder.
#[component]
pub fn Keep(with: String, name: String) -> impl IntoView {
    let export = move |ending: &'static str| {
        let (with, file) = (with.clone(), format!("{}.{ending}", file_name(&name)));
        spawn_local(async move {
            let folder = match bridge::pick_folder().await {
                Ok(Some(folder)) => folder,
                Ok(None) => return,
                Err(error) => return say_error(&error),
            };
            match bridge::call(Command::Chat(ChatCommand::Export { with, path: format!("{folder}/{file}") }))
                .await
            {
                Ok(Reply::Exported { files, .. }) => {
                    say(false, words().with("chat-exported", &[("path", files.join(", ").into())]))
                }
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let as_json = export.clone();
    view! {
        <button class="export" on:click=move |_| export("txt")>{move || t("chat-export")}</button>
        <button class="export-json" title=move || t("chat-export-json-why") on:click=move |_| as_json("json")>{move || t("chat-export-json")}</button>
    }
}

/// Returns a file name that is valid on every system: letters, digits and dashes.
fn file_name(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("chat-{}", clean.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_leads_out_of_no_folder() {
        assert_eq!(
            [file_name("../../etc/passwd"), file_name("Änne #1"), file_name(&"x".repeat(99))],
            ["chat-etc-passwd".to_owned(), "chat-Änne--1".to_owned(), format!("chat-{}", "x".repeat(40))]
        );
    }
}
