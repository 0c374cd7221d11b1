use fog_api::ChatView;
use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::pages::chat::board::Board;
use crate::pages::chat::format::{called, name_of};
use crate::pages::chat::group::{Group, NewGroup};
use crate::pages::chat::person::Person;
use crate::pages::chat::preferences::Preferences;
use crate::pages::chat::room::Room;
use crate::state::chat::Beside;
use crate::state::{focus_soon, t, ui};

/// The pane beside the thread, or over it in a narrow window.
#[component]
pub fn Side(view: Memo<ChatView>) -> impl IntoView {
    let beside = ui().talk.beside;
    let title = move || match beside.get() {
        Beside::Person(id) => view.with(|view| name_of(&id, &view.people)),
        Beside::Group(id) => view.with(|view| called(&id, view)),
        Beside::NewGroup => t("chat-new-group"),
        Beside::Board => t("chat-board"),
        Beside::Room => t("chat-who-is-near"),
        Beside::Settings | Beside::Nothing => t("chat-settings"),
    };
    // The title alone would repeat the name of the thread.
    let label = move || match beside.get() {
        Beside::Person(_) | Beside::Group(_) => format!("{} · {}", t("chat-details"), title()),
        _ => title(),
    };
    let close = move |_| {
        let was = beside.get_untracked();
        beside.set(Beside::Nothing);
        let opener = match was {
            Beside::Settings => "chat-settings",
            Beside::NewGroup => "chat-new-group",
            Beside::Board => "chat-board",
            _ => "chat-details",
        };
        focus_soon(opener.to_owned());
    };
    view! {
        <section class="chat-beside card stack" id="chat-beside" aria-label=label>
            <div class="row spread">
                <h2>{title}</h2>
                <button id="chat-beside-close" class="plain" aria-label=move || t("close") on:click=close>
                    <Icon icon=lu::LuX width="18" height="18" attr:aria-hidden="true" />
                </button>
            </div>
            {move || match beside.get() {
                Beside::Nothing => ().into_any(),
                Beside::Room => view! { <Room view /> }.into_any(),
                Beside::Group(id) => view! { <Group id view /> }.into_any(),
                Beside::NewGroup => view! { <NewGroup view /> }.into_any(),
                Beside::Board => view! { <Board view /> }.into_any(),
                Beside::Person(id) => view! { <Person id view /> }.into_any(),
                Beside::Settings => view! { <Preferences /> }.into_any(),
            }}
        </section>
    }
}
