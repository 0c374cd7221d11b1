//! The board: notes for everybody who comes by, and a form to post one.

use fog_api::{ChatCommand, ChatView, Command, NoteView, Reply};
use icondata_lu as lu;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_icons::Icon;

use crate::bridge;
use crate::components::ask::Ask;
use crate::pages::chat::format::{hue, name_of};
use crate::pages::chat::threads::exact;
use crate::state::chat::Beside;
use crate::state::{act, focus_soon, say_error, t, ui, words};

/// Greatest length of a note in bytes.
const MOST: usize = 512;
/// Greatest number of notes of one device.
const MINE: usize = 5;
/// Times for which a note stays, in hours, each with the key of its word.
const STAYS: [(u32, &str); 4] =
    [(6, "chat-board-6h"), (24, "chat-board-day"), (72, "chat-board-3days"), (168, "chat-board-week")];

/// Opens the board beside the thread.
#[component]
pub fn Opener(view: Memo<ChatView>) -> impl IntoView {
    let count = Memo::new(move |_| view.with(|view| view.board.len()));
    let open = move |_| {
        ui().talk.beside.set(Beside::Board);
        focus_soon("chat-beside-close".to_owned());
    };
    view! {
        <button id="chat-board" class="plain" on:click=open>
            <Icon icon=lu::LuPin width="16" height="16" attr:aria-hidden="true" />
            {move || words().with("chat-board-count", &[("n", (count.get() as f64).into())])}
        </button>
    }
}

/// The notes on the board, the newest first.
#[component]
pub fn Board(view: Memo<ChatView>) -> impl IntoView {
    let notes = Memo::new(move |_| view.with(|view| view.board.clone()));
    let has_room =
        Memo::new(move |_| notes.with(|notes| notes.iter().filter(|note| note.is_mine).count() < MINE));
    view! {
        <p class="meta">{move || t("chat-board-why")}</p>
        <Show when=move || has_room.get() fallback=|| view! { <p class="meta" role="status">{move || t("chat-board-full")}</p> }><Form /></Show>
        <Show when=move || !notes.with(Vec::is_empty) fallback=|| view! { <p class="meta">{move || t("chat-board-empty")}</p> }>
            <ul class="people notes" id="notes" aria-label=move || t("chat-board")>
                <For each=move || notes.get() key=|note| note.id.clone() let:note><NoteLine note view /></For>
            </ul>
        </Show>
    }
}

#[component]
fn NoteLine(note: NoteView, view: Memo<ChatView>) -> impl IntoView {
    let NoteView { id, text, author, name, is_mine, is_urgent, at_ms, until_ms } = note;
    let line = format!("note-{id}");
    let whose = if is_mine {
        view! { <span class="author">{move || t("chat-you")}</span> }.into_any()
    } else if author.is_empty() {
        // Nobody here has met the author: the name is unverified.
        view! { <span class="author">{name}</span> <span class="meta">{move || t("chat-board-stranger")}</span> }.into_any()
    } else {
        let (class, shown) = (
            format!("plain author {}", hue(&author)),
            view.with_untracked(|view| name_of(&author, &view.people)),
        );
        view! { <button class=class on:click=move |_| ui().talk.beside.set(Beside::Person(author.clone()))>{shown}</button> }.into_any()
    };
    let ago = move || words().ago(at_ms, ui().now.get());
    let until =
        move || words().with("chat-board-until", &[("when", exact(until_ms, words().language()).into())]);
    view! {
        <li class="stack tight" id=line>
            <p class="row spread tight"><span class="row tight grow">{whose}</span> <span class="meta">{ago}</span></p>
            {is_urgent.then(|| view! { <p class="row tight bad"><Icon icon=lu::LuTriangleAlert width="14" height="14" attr:aria-hidden="true" /> {move || t("chat-board-urgent")}</p> })}
            <p class="note-text">{text}</p>
            <p class="row spread tight"><span class="meta">{until}</span>
                {is_mine.then(|| view! {
                    <Ask label="chat-board-take-down" sure="chat-board-take-down-sure" yes="chat-board-take-down" no="cancel" on_yes=move |()| act(Command::Chat(ChatCommand::TakeDown { id: id.clone() })) />
                })}
            </p>
        </li>
    }
}

/// Form that posts a note.
#[component]
fn Form() -> impl IntoView {
    let text = RwSignal::new(String::new());
    let hours = RwSignal::new(24_u32);
    let is_urgent = RwSignal::new(false);
    let is_busy = RwSignal::new(false);
    let used = Memo::new(move |_| text.with(|text| text.trim().len()));
    let fits = move || (1..=MOST).contains(&used.get());
    let is_over = Memo::new(move |_| used.get() > MOST);
    let post = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        if !fits() || is_busy.get_untracked() {
            return;
        }
        is_busy.set(true);
        let command = Command::Chat(ChatCommand::Post {
            text: text.get_untracked(),
            is_urgent: is_urgent.get_untracked(),
            hours: hours.get_untracked(),
        });
        spawn_local(async move {
            match bridge::call(command).await {
                Ok(Reply::Text(_)) => {
                    text.try_set(String::new());
                    is_urgent.try_set(false);
                }
                Ok(_) => {}
                // The typed text stays.
                Err(error) => say_error(&error),
            }
            is_busy.try_set(false);
        });
    };
    let left = move || {
        (used.get() > MOST * 3 / 4).then(|| {
            words().with(
                "chat-room-left",
                &[("used", (used.get() as f64).into()), ("most", (MOST as f64).into())],
            )
        })
    };
    view! {
        <form class="stack" on:submit=post>
            <label class="stack tight"><span>{move || t("chat-board-text")}</span>
                <textarea id="board-text" rows="3" prop:value=move || text.get() on:input=move |event| text.set(event_target_value(&event)) aria-invalid=move || is_over.get().to_string()></textarea>
            </label>
            <p class="meta" role="status" class:bad=is_over>{left}</p>
            <div class="row">
                <label class="row tight">{move || t("chat-board-stays")}
                    <select id="board-hours" on:change=move |event| hours.set(event_target_value(&event).parse().unwrap_or(24))>
                        {STAYS.map(|(n, word)| view! { <option value=n.to_string() selected=move || hours.get() == n>{move || t(word)}</option> }).collect_view()}
                    </select>
                </label>
                <label class="row tight"><input type="checkbox" id="board-urgent" prop:checked=is_urgent on:change=move |event| is_urgent.set(event_target_checked(&event)) /> {move || t("chat-board-urgent")}</label>
            </div>
            <div class="row"><button id="board-post" class="primary" disabled=move || is_busy.get() || !fits()>{move || t("chat-board-post")}</button></div>
        </form>
    }
}
