use fog_api::settings::keys;
use fog_api::{ChatView, PersonLink, RadioState};
use leptos::prelude::*;

use crate::state::{Page, go, set, setting, t, ui, words};

/// Notice that chat is off, with a button to switch it on.
#[component]
pub fn Off() -> impl IntoView {
    // The setting may be on before the engine has applied it.
    let is_wanted = move || setting(keys::CHAT.key()).as_bool() == Some(true);
    view! {
        <section class="card stack" id="chat-off" aria-label=move || t("page-chat")>
            <Show when=move || !is_wanted() fallback=|| view! { <p role="status">{move || t("chat-starting")}</p> }>
                <h2>{move || t("chat-off")}</h2>
                <p>{move || t("chat-off-why")}</p>
                <div class="row"><button id="chat-on" class="primary" on:click=move |_| set(keys::CHAT.key(), true.into())>{move || t("chat-switch-on")}</button></div>
            </Show>
        </section>
    }
}

/// Problems that keep people from being found, each with a remedy.
#[component]
pub fn Notices(view: Memo<ChatView>) -> impl IntoView {
    let radio = Memo::new(move |_| view.with(|view| view.radio.clone()));
    let is_wanted = Memo::new(move |_| setting(keys::CHAT_BLUETOOTH.key()).as_bool() == Some(true));
    let is_alone = Memo::new(move |_| {
        view.with(|view| view.people.iter().all(|person| person.link == PersonLink::Gone))
    });
    let problem = Memo::new(move |_| {
        radio.with(|radio| {
            Some(radio.problem.clone()).filter(|problem| is_wanted.get() && !problem.is_empty())
        })
    });
    let state = move || {
        let key = radio.with(|radio| match radio.state {
            RadioState::Starting => "chat-radio-starting",
            RadioState::CentralOnly => "chat-radio-central",
            RadioState::Unavailable => "chat-radio-unavailable",
            RadioState::Off | RadioState::On => "",
        });
        (is_wanted.get() && problem.with(Option::is_none) && !key.is_empty()).then(|| t(key))
    };
    let clock = move || view.with(|view| words().clocks(view));
    let has_network =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().is_some_and(|s| !s.network.joined.is_empty())));
    let nobody = move || {
        let is_searching = is_wanted.get() || has_network.get();
        let is_clock_off = view.with(|view| view.clock_off_ms.is_some());
        (is_alone.get() && !is_clock_off && is_searching && problem.with(Option::is_none))
            .then(|| t(if is_wanted.get() { "chat-nobody" } else { "chat-nobody-network" }))
    };
    view! {
        <Show when=move || !is_wanted.get()>
            <div class="card stack notice" id="bluetooth-off">
                <Show when=move || is_alone.get()><p>{move || t("chat-bluetooth-off")}</p></Show>
                <p class="meta">{move || t("chat-bluetooth-why")}</p>
                <div class="row">
                    <button id="use-bluetooth" class:primary=move || is_alone.get() on:click=move |_| set(keys::CHAT_BLUETOOTH.key(), true.into())>{move || t("chat-use-bluetooth")}</button>
                    <Show when=move || !has_network.get()><button class="plain" on:click=move |_| go(Page::Network)>{move || t("chat-join-network")}</button></Show>
                </div>
            </div>
        </Show>
        {move || problem.get().map(|problem| view! {
            <div class="card notice warn" role="status"><h2>{move || t("chat-radio-problem")}</h2><p id="radio-problem">{problem}</p></div>
        })}
        {move || state().map(|text| view! { <p class="meta" role="status" id="radio-state">{text}</p> })}
        {move || clock().map(|text| view! { <div class="card notice warn" role="status"><p id="clock-off">{text}</p></div> })}
        {move || nobody().map(|text| view! { <p class="meta" id="nobody-near">{text}</p> })}
    }
}
