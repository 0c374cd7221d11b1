//! Chat: threads on the left, the open one in the middle, people and settings beside it. A phone shows one
//! of them at a time.

mod attachment;
mod beside;
mod board;
mod composer;
mod format;
mod group;
mod map;
mod marks;
mod message;
mod moving;
mod notices;
mod person;
mod preferences;
mod room;
mod thread;
mod threads;
mod verify;
mod voice;

use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::pages::chat::beside::Side;
use crate::pages::chat::board::Opener;
pub use crate::pages::chat::format::is_group;
use crate::pages::chat::notices::{Notices, Off};
use crate::pages::chat::thread::Thread;
use crate::pages::chat::threads::Threads;
use crate::state::chat::Beside;
use crate::state::{focus_soon, t, ui};

/// The chat page. It needs neither contributing nor a network: Bluetooth is enough.
#[component]
pub fn Chat() -> impl IntoView {
    let view =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().map(|s| s.chat.clone()).unwrap_or_default()));
    let is_on = Memo::new(move |_| view.with(|view| view.is_on));
    let talk = ui().talk;
    let is_open = move || talk.with.with(Option::is_some);
    let has_beside = move || talk.beside.get() != Beside::Nothing;
    let new_group = move |_| {
        talk.beside.set(Beside::NewGroup);
        focus_soon("group-name".to_owned());
    };
    let settings = move |_| {
        talk.beside.set(Beside::Settings);
        focus_soon("chat-beside-close".to_owned());
    };
    view! {
        <Show when=move || is_on.get() fallback=Off>
            <div class="chat wide" class:open=is_open class:beside=has_beside>
                <div class="chat-list stack">
                    <Notices view />
                    <Threads view />
                    <Opener view />
                    <button id="chat-new-group" class="plain" on:click=new_group>
                        <Icon icon=lu::LuUsers width="16" height="16" attr:aria-hidden="true" /> {move || t("chat-new-group")}
                    </button>
                    <button id="chat-settings" class="plain" on:click=settings>
                        <Icon icon=lu::LuSettings2 width="16" height="16" attr:aria-hidden="true" /> {move || t("chat-settings")}
                    </button>
                </div>
                {move || talk.with.get().map_or_else(|| view! { <Nothing /> }.into_any(), |with| view! { <Thread with view /> }.into_any())}
                <Show when=has_beside><Side view /></Show>
            </div>
        </Show>
    }
}

/// The middle pane while no thread is open; a phone shows the list instead.
#[component]
fn Nothing() -> impl IntoView {
    view! { <div class="chat-thread card empty"><p class="meta">{move || t("chat-choose")}</p></div> }
}
