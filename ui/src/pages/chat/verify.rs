use fog_api::{ChatCommand, ChatView, Command, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;
use qrcode::QrCode;
use qrcode::render::svg;

use crate::bridge;
use crate::pages::chat::format::name_of;
use crate::state::{say, say_error, t, ui, words};

/// Age at which a shown code is replaced; codes are valid for five minutes.
const FRESH_MS: i64 = 4 * 60_000;

/// Verification by codes: the own one to be scanned, and a field for the other.
#[component]
pub fn Verify(view: Memo<ChatView>) -> impl IntoView {
    let is_open = RwSignal::new(false);
    view! {
        <button id="chat-verify" aria-expanded=move || is_open.get().to_string() on:click=move |_| is_open.update(|open| *open = !*open)>{move || t("chat-verify")}</button>
        <Show when=move || is_open.get()>
            <OwnCode />
            <TheirCode view />
        </Show>
    }
}

#[component]
fn OwnCode() -> impl IntoView {
    let card = RwSignal::new(None::<Result<String, String>>);
    let made_ms = RwSignal::new(0_i64);
    let is_old = Memo::new(move |_| ui().now.get() - made_ms.get() > FRESH_MS);
    Effect::new(move |_| {
        if !is_old.get() {
            return;
        }
        spawn_local(async move {
            let answer = match bridge::call(Command::Chat(ChatCommand::Card)).await {
                Ok(Reply::Text(text)) => Ok(text),
                Ok(_) => return,
                Err(error) => Err(words().error(&error)),
            };
            // After an error the next attempt follows in four minutes.
            made_ms.try_set(bridge::now_ms());
            card.try_set(Some(answer));
        });
    });
    // Black on white in both colour schemes, as cameras need it.
    let code = |text: &str| {
        QrCode::new(text.as_bytes())
            .map(|code| code.render::<svg::Color<'_>>().min_dimensions(200, 200).build())
            .unwrap_or_default()
    };
    view! {
        <div class="stack invitation" role="group" aria-label=move || t("chat-own-code")>
            <p class="meta">{move || t("chat-own-code-why")}</p>
            {move || card.get().map(|card| match card {
                Ok(text) => view! {
                    <div class="qr" id="chat-qr" role="img" aria-label=move || t("chat-own-code") inner_html=code(&text)></div>
                    <details>
                        <summary>{move || t("chat-code-text")}</summary>
                        <textarea id="chat-card" readonly rows="4" aria-label=move || t("chat-own-code") prop:value=text></textarea>
                    </details>
                }.into_any(),
                Err(problem) => view! { <p class="bad" role="alert">{problem}</p> }.into_any(),
            })}
        </div>
    }
}

#[component]
fn TheirCode(view: Memo<ChatView>) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let check = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let card = text.get_untracked().trim().to_owned();
        spawn_local(async move {
            match bridge::call(Command::Chat(ChatCommand::Scan { card })).await {
                Ok(Reply::Text(id)) => {
                    text.try_set(String::new());
                    let name = view.try_with_untracked(|view| name_of(&id, &view.people)).unwrap_or(id);
                    say(false, words().with("chat-scan-asked", &[("name", name.into())]));
                }
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    view! {
        <form class="stack" on:submit=check>
            <label class="grow">{move || t("chat-scan-label")}
                <input id="chat-scan" type="text" autocomplete="off" placeholder="bitchat://verify?…" prop:value=move || text.get() on:input=move |event| text.set(event_target_value(&event)) />
            </label>
            <button type="submit" disabled=move || text.with(|text| text.trim().is_empty())>{move || t("chat-scan")}</button>
        </form>
    }
}
