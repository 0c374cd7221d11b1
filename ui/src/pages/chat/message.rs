use fog_api::{ChatCommand, ChatMessage, ChatView, Command, MessageState};
use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::bridge;
use crate::pages::chat::attachment::Attachment;
use crate::pages::chat::format::{clock, hue, name_of, short_id};
use crate::pages::chat::threads::exact;
use crate::state::chat::Beside;
use crate::state::{act, focus_soon, t, ui, words};

/// One message: own ones on the right, others on the left with the author's name in colour.
#[component]
pub fn Message(
    message: ChatMessage,
    is_first: bool,
    view: Memo<ChatView>,
    grown: Callback<()>,
) -> impl IntoView {
    let talk = ui().talk;
    let stated = StoredValue::new(message.clone());
    let stated = move || {
        stated.with_value(|message| words().stated(message, |at| clock(at, bridge::minutes_ahead(at))))
    };
    let ChatMessage { row, from, name, text, at_ms, file, state, .. } = message;
    let is_own = from.is_empty();
    // The name at the time of the message; the colour and the button identify the author.
    let name = if name.is_empty() { view.with_untracked(|view| name_of(&from, &view.people)) } else { name };
    let now = Memo::new(move |_| talk.log.with(|log| log.state_of(row)).unwrap_or(state));
    let time = clock(at_ms, bridge::minutes_ahead(at_ms));
    let title = move || exact(at_ms, words().language());
    let author = (is_first && !is_own).then(|| {
        let (class, hint) = (format!("plain author {}", hue(&from)), short_id(&from).to_owned());
        let show = move |_| {
            talk.beside.set(Beside::Person(from.clone()));
            focus_soon("chat-beside-close".to_owned());
        };
        view! { <button class=class title=hint on:click=show>{name}</button> }
    });
    let body = match file {
        Some(file) => view! { <Attachment row file grown /> }.into_any(),
        None => view! { <p class="said">{text}</p> }.into_any(),
    };
    view! {
        <li class="message" class:own=is_own class:first=is_first id=format!("message-{row}") data-row=row.to_string()>
            {author}
            <div class="bubble">
                {body}
                <p class="foot meta">
                    {is_own.then(|| view! { <span class="hidden-text">{move || t("chat-you")}</span> })}
                    <span title=title>{time}</span>
                    {move || stated().map(|text| view! { <span class="stated">{text}</span> })}
                    {move || view! { <State row state=now.get() /> }}
                </p>
            </div>
        </li>
    }
}

/// State of an own message: an icon, with a word while it is not final.
#[component]
fn State(row: i64, state: MessageState) -> impl IntoView {
    let icon = match state {
        MessageState::Received => return ().into_any(),
        MessageState::Queued => lu::LuClock,
        MessageState::Carried => lu::LuPackage,
        MessageState::Sent => lu::LuCheck,
        MessageState::Delivered => lu::LuCheckCheck,
        MessageState::Read => lu::LuEye,
        MessageState::Failed => lu::LuCircleAlert,
    };
    let word = move || t(&format!("chat-state-{}", state.as_str()));
    let is_quiet = matches!(state, MessageState::Sent | MessageState::Delivered | MessageState::Read);
    view! {
        <span class="message-state" class:bad=state == MessageState::Failed data-state=state.as_str() title=word>
            <Icon icon=icon width="14" height="14" attr:aria-hidden="true" /><span class:hidden-text=is_quiet>{word}</span>
        </span>
        {(state == MessageState::Failed).then(|| view! {
            <button class="plain again" on:click=move |_| act(Command::Chat(ChatCommand::Again { row }))>{move || t("chat-again")}</button>
        })}
    }
    .into_any()
}
